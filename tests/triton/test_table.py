"""The committed table of resources: what is compiled for it, what it is compared with, how it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("triton")

from recc.backends.triton_gpu.binary import TARGETS, Binary, Kernel, Resources
from recc.backends.triton_gpu.build import build
from recc.backends.triton_gpu.offline import kernels_of
from recc.backends.triton_gpu.plan import Space
from recc.forms.sequential import derive_sequential
from tests.agree.cases import program
from tests.triton import resources
from tests.triton.resources import (
    HEAD,
    SHARE,
    Key,
    Names,
    check,
    compiled,
    differences,
    digest,
    due,
    read,
    render,
    rows_of,
    sampled,
    strangers,
    table,
)

#: Kernels of a program that is not there, and digests of their texts.
DIGESTS: Mapping[Names, str] = {("small", f"form{n % 3}", f"kernel{n}"): f"{n:010x}" for n in range(40)}


def taken(digests: Mapping[Names, str] = DIGESTS) -> dict[Key, Binary]:
    """What their binaries take."""
    return {
        (names, target): Binary(names[2], target, Resources(32 + int(names[2][6:]), 0, 64 * k, 1, 4), "")
        for names in digests
        for k, target in enumerate(TARGETS)
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A table of these kernels."""
    check(taken(), DIGESTS, update=True, folder=tmp_path, version="9.9")
    return table(tmp_path, "9.9")


def verdict(path: Path, binaries: Mapping[Key, Binary], digests: Mapping[Names, str] = DIGESTS) -> str:
    """What a test says that has compiled some kernels; nothing if it passes."""
    try:
        check(binaries, digests, update=False, folder=path.parent, version="9.9")
    except AssertionError as problem:
        return str(problem)
    return ""


def test_written_and_read(path: Path) -> None:
    assert verdict(path, taken()) == verdict(path, {}) == ""
    check(taken(), DIGESTS, update=False, folder=path.parent, version="9.8")
    rows = read(path)
    assert rows == rows_of(taken(), DIGESTS)
    assert HEAD + render(rows) == path.read_text()
    assert len({len(line) for line in render(rows).splitlines()}) == 1
    assert strangers(["small"], path.parent) == []
    assert strangers(["other"], path.parent) == ["small"]


def test_there_must_be_a_table(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="there is no table"):
        check(taken(), DIGESTS, update=False, folder=tmp_path, version="9.9")


def test_programs_are_written_one_by_one(path: Path) -> None:
    other = {("other", *names[1:]): text for names, text in DIGESTS.items()}
    check(taken(other), other, update=True, folder=path.parent, version="9.9")
    assert verdict(path, taken()) == ""
    less = {names: text for names, text in DIGESTS.items() if names[2] != "kernel7"}
    assert "small form1 kernel7 sm_80: in the table, and no longer emitted" in verdict(path, {}, less)
    more = {**DIGESTS, ("small", "form0", "new"): "0"}
    assert "small form0 new sm_90: not in the table" in verdict(path, {}, more)
    assert (("small", "form0", "new"), "sm_90") in due(more, path)


def test_every_line_that_is_due_is_compiled(path: Path) -> None:
    sample = due(DIGESTS, path)
    assert 0 < len(sample) < 0.2 * len(read(path))
    changed = {**DIGESTS, ("small", "form1", "kernel7"): "another"}
    assert {*due(changed, path)} - {*sample} <= {(("small", "form1", "kernel7"), target) for target in TARGETS}
    assert {*due(changed, path)} >= {(("small", "form1", "kernel7"), target) for target in TARGETS}
    assert len(due(DIGESTS, path, every=True)) == len(read(path))
    assert {*due(DIGESTS, path, always=[("small", "form2", "kernel8")])} >= {
        (("small", "form2", "kernel8"), target) for target in TARGETS
    }
    unknown = due(DIGESTS, path.with_name("resources-triton-9.8.txt"))
    assert 0 < len(unknown) < 0.2 * len(read(path)), "without a table a sample says whether kernels compile"


def test_the_sample_goes_through_all_lines() -> None:
    """Each state of the table has another one, of about the same size."""
    keys = [(names, target) for names in DIGESTS for target in TARGETS]
    seen: set[Key] = set()
    for seed in range(8 * SHARE):
        found = {key for key in keys if sampled(str(seed), key)}
        assert len(found) <= 6 * len(keys) / SHARE
        seen |= found
    assert seen == {*keys}


def test_a_planted_figure_is_caught(path: Path) -> None:
    """A line of the sample says one register less than the kernel takes."""
    rows = read(path)
    for line, row in enumerate(rows):
        path.write_text(
            HEAD + render([*rows[:line], replace(row, registers=row.registers - 1), *rows[line + 1 :]]), "utf-8"
        )
        # The planted line is itself a state of the table, and it need not be in its own sample.
        if row.key in due(DIGESTS, path):
            break
    else:
        pytest.fail("no line was in the sample of its own change")
    found = {key: binary for key, binary in taken().items() if key in due(DIGESTS, path)}
    where = " ".join([*row.key[0], row.key[1]])
    assert f"  {where}: registers {row.registers - 1} -> {row.registers}\n" in verdict(path, found)
    check(found, DIGESTS, update=True, folder=path.parent, version="9.9")
    assert read(path) == rows


def test_a_changed_text_is_caught(path: Path) -> None:
    """Even where it takes as much as before."""
    changed = {**DIGESTS, ("small", "form1", "kernel7"): "another"}
    for binaries in ({}, taken()):
        said = verdict(path, binaries, changed)
        assert "small form1 kernel7 gfx942: emitted otherwise than when the line was written" in said
        assert "make golden ARGS=tests/triton/test_resources.py" in said
        assert said.count("\n") == 1 + len(TARGETS)
    some = {key: binary for key, binary in taken().items() if key in due(changed, path)}
    check(some, changed, update=True, folder=path.parent, version="9.9")
    assert verdict(path, {}, changed) == ""
    assert len(read(path)) == len(taken()), "the lines of what was not compiled stay"


def test_differences() -> None:
    rows = rows_of(taken(), DIGESTS)
    assert differences(rows, rows) == []
    first, second, *others = rows
    changed = [replace(first, registers=first.registers + 1), replace(second, spills=second.spills + 4)]
    a, b = (" ".join([*row.key[0], row.key[1]]) for row in (first, second))
    assert differences(rows, [*changed, *others]) == [
        f"  {b}: spills {second.spills} -> {second.spills + 4}  (more spills)",
        f"  {a}: registers {first.registers} -> {first.registers + 1}",
    ]
    assert differences(rows, others) == [f"  {x}: in the table, and no longer emitted" for x in (a, b)]
    assert differences(others, rows) == [f"  {x}: not in the table" for x in (a, b)]


def test_what_a_target_cannot_hold(tmp_path: Path) -> None:
    for figures, message in (
        (Resources(256, 0, 0, 1, 4), "256 registers of 255"),
        (Resources(64, 0, 164 * 1024, 1, 4), "167936 bytes of shared memory of 166912"),
        (Resources(255, 0, 0, 1, 16), "16 warps of 255 registers do not fit"),
    ):
        names = ("p", "f", "k")
        with pytest.raises(AssertionError, match=message):
            check({(names, "sm_80"): Binary("f", "sm_80", figures, "")}, {names: "0"}, update=True, folder=tmp_path)
    assert not [*tmp_path.iterdir()]


# Digests.

TEXT = """
recurrence leaky(d)
    input x[d], g <= 0
    state h[d]
    h[t] = exp(g[t]) * h[t-1] + {0} * x[t]
    output y[t] = h[t]
"""


def emitted(text: str, **more: int) -> dict[str, Kernel]:
    form = derive_sequential(program(text).rec)
    assert not hasattr(form, "reason")
    plan = Space(form, {"d": 8}, 1).first()
    return kernels_of(build(replace(plan.forward, **more), replace(plan.backward, **more)))  # type: ignore[arg-type]  # numbers


def test_what_a_digest_depends_on() -> None:
    first = emitted(TEXT.format(2))
    digests = {name: digest(kernel) for name, kernel in first.items()}
    assert len({*digests.values()}) == len(digests)
    ahead = first["pass_1_forward"]
    others = [
        emitted(TEXT.format(3))["pass_1_forward"],
        emitted(TEXT.format(2), warps=2)["pass_1_forward"],
        replace(ahead, aligned=frozenset()),
        replace(ahead, signature={**ahead.signature, "x": "*fp16"}),
        replace(ahead, stages=ahead.stages + 1),
    ]
    found = [digest(kernel) for kernel in (ahead, *others)]
    assert len({*found}) == len(found)


def test_comments_and_layout_are_not_in_a_digest(tmp_path: Path) -> None:
    kernel = emitted(TEXT.format(2))["pass_1_forward"]
    same = resources.functions_of(kernel.path)
    text = (
        kernel.path.read_text()
        .replace("# h[t] = exp(g[t])", "# the state: exp(g[t])")
        .replace(" = tl.load(", " =  tl.load(")
    )
    assert text != kernel.path.read_text()
    other = tmp_path / "other.py"
    other.write_text(text)
    assert resources.functions_of(other) == same


def test_library_functions_are_in_a_digest(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("def a(x):\n    return b(x)\n\n\ndef b(x):\n    return x\n\n\ndef c(x):\n    return a(x)\n")
    assert resources.called(path, "a") == ["a", "b"]
    assert resources.called(path, "c") == ["a", "b", "c"]


def test_compiled_are_the_lines_that_were_asked_for() -> None:
    kernels = {("leaky", "sequential", name): kernel for name, kernel in emitted(TEXT.format(2)).items()}
    key = ("leaky", "sequential", "pass_1_forward")
    found = compiled(kernels, [(key, "sm_90"), (key, "gfx942")], 1)
    assert {*found} == {(key, "sm_90"), (key, "gfx942")}
    assert found[key, "sm_90"].resources.registers > 0
