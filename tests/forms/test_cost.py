"""What a form costs and which one is chosen: laws of the numbers, never of the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

import recc
from recc import zoo
from recc.check import load
from recc.errors import Refusal, Unsupported, UsageError
from recc.forms.block import Value
from recc.forms.builder import Builder
from recc.forms.choose import choose, instead, require
from recc.forms.cost import Cost, cost
from recc.forms.device import DEVICES, device_named
from recc.forms.parallel import PARALLEL, derive
from recc.forms.scan_work import BLOCK, SHORT, launches_of, scan_work
from recc.forms.sequential import derive_sequential
from recc.forms.work import Held, Walk
from recc.recurrence import Recurrence
from tests.zoo.core import CORE

NAMES = tuple(n for n in CORE if len(load(zoo.text(n), n)[0].scan) == 1)


@cache
def program(name: str) -> Recurrence:
    return load(zoo.text(name), name)[0]


@cache
def form(name: str, which: str) -> Any:
    return derive_sequential(program(name)) if which == "sequential" else derive(program(name), which)


def sizes_of(rec: Recurrence, size: int = 16) -> dict[str, int]:
    return {a.size_of: size for a in rec.axes}


def costs(name: str, which: str, steps: int, batch: int = 2, **options: Any) -> Cost:
    found = form(name, which)
    if isinstance(found, Refusal):
        pytest.skip(found.reason)
    return cost(found, sizes_of(program(name)), steps, batch, **options)


def work(of: Cost) -> float:
    return of.products + of.scalars


FORMS = [(n, f) for n in NAMES for f in ("sequential", *PARALLEL) if not isinstance(form(n, f), Refusal)]


@pytest.mark.parametrize(("name", "which"), FORMS)
def test_more_steps_and_a_larger_batch_cost_more(name: str, which: str) -> None:
    for backward in (False, True):
        less = costs(name, which, 512, backward=backward)
        for more in (costs(name, which, 2048, backward=backward), costs(name, which, 512, 8, backward=backward)):
            for field in ("moved", "memory", "seconds"):
                assert getattr(more, field) >= getattr(less, field) > 0, field
            assert work(more) >= work(less)


@pytest.mark.parametrize(("name", "which"), FORMS)
def test_gradients_cost_more_than_none(name: str, which: str) -> None:
    forward, both = (costs(name, which, 256, backward=b) for b in (False, True))
    assert both.seconds > forward.seconds
    assert both.launches > forward.launches and both.memory >= forward.memory


@pytest.mark.parametrize(("name", "which"), [(n, f) for n, f in FORMS if f in ("sequential", "chunked")])
def test_steps_and_chunks_are_linear_in_time(name: str, which: str) -> None:
    """Beside what is done once, each step costs the same."""
    found = [costs(name, which, steps) for steps in (1 << 14, 1 << 15, 1 << 16)]
    for field in (work, lambda c: c.moved):
        first, second, third = map(field, found)
        assert third - second == pytest.approx(2 * (second - first), rel=1e-3)
    assert not found[-1].quadratic


@pytest.mark.parametrize("name", [n for n, f in FORMS if f == "scan"])
def test_a_scan_is_linear_in_time_and_not_deep(name: str) -> None:
    """The products of transitions of blocks add the same part at each length."""
    less, more = (costs(name, "scan", BLOCK**k, 1) for k in (3, 4))
    assert work(more) == pytest.approx(BLOCK * work(less), rel=0.2)


def test_a_thin_scan_is_not_deep() -> None:
    less, more = (costs("hgrn", "scan", BLOCK**k, 1) for k in (3, 4))
    assert less.depth < more.depth < less.depth + 4 * BLOCK


@pytest.mark.parametrize("name", [n for n, f in FORMS if f == "matrix"])
def test_the_map_between_all_steps_is_quadratic(name: str) -> None:
    found = form(name, "matrix")
    less, more = (costs(name, "matrix", steps) for steps in (1024, 2048))
    if less.quadratic:
        assert work(more) == pytest.approx(4 * work(less), rel=0.2)
    quadratic = any(
        sum(p.step.root[a] == p.step.root[p.chunk] for a in op.out.axes) > 1
        for p in found.start or found.passes
        for op in p.step.ops
    )
    assert less.quadratic == quadratic


def test_loops_multiply() -> None:
    """Each step of the loop starts its operations again, and they follow one another."""
    less, more = (costs("mamba", "sequential", steps) for steps in (100, 200))
    assert more.depth - less.depth == pytest.approx(less.depth, rel=0.1)
    assert more.launches > 1.9 * less.launches


def test_a_cost_asks_for_nothing_but_operations() -> None:
    """The same program with other names of everything costs the same."""
    text = "recurrence {}({}, {})\n input {}[{}], {}[{}], {} <= 0\n state {}[{}, {}]\n"
    text += " {}[t] = exp({}[t]) * {}[t-1] + {}[t] * {}[t]\n output {}[t] = sum[{}]({}[t])\n"
    found = []
    for r, i, j, k, v, g, s, y in (
        ("r", "i", "j", "k", "v", "g", "S", "y"),
        ("other", "p", "n", "a", "z", "w", "M", "o"),
    ):
        rec = load(text.format(r, i, j, k, i, v, j, g, s, i, j, s, g, s, k, v, y, i, s), "x")[0]
        made = [derive_sequential(rec), *(derive(rec, name) for name in ("scan", "chunked", "matrix"))]
        assert not any(isinstance(m, Refusal) for m in made)
        found.append([cost(m, {i: 8, j: 4}, 100, 3) for m in made])  # type: ignore[arg-type]  # none is a refusal
    assert found[0] == found[1]


def walked(build: Callable[[Builder], Value], sizes: Mapping[str, int], lead: int = 1, full: bool = True) -> Any:
    b = Builder("block", {a: a for a in sizes})
    b.output("out", build(b))
    block = b.build()
    held = {v.name: Held(frozenset(v.axes), full, None, True) for v in block.inputs}
    pieces = list(Walk(block, sizes, lead, held, 1 << 20).pieces())
    return pieces[-1]


def test_a_matrix_product_is_counted_by_its_axes() -> None:
    def build(b: Builder) -> Value:
        x, y = b.input("x", ("i", "j")), b.input("y", ("j", "k"))
        return b.contract((x, y), ("j",))

    (sweep,) = walked(build, {"i": 20, "j": 30, "k": 40}, lead=7).forward
    assert (sweep.products, sweep.matrices) == (7 * 20 * 30 * 40, 7)
    assert sweep.written >= 7 * 20 * 40
    # Two operands that need a gradient are two more products of the same size.
    assert sum(k.products for k in walked(build, {"i": 20, "j": 30, "k": 40}).backward) == 2 * 20 * 30 * 40


def test_what_is_the_same_everywhere_is_computed_once() -> None:
    def build(b: Builder) -> Value:
        return b.map("exp", b.input("x", ("i",)))

    (varying,), (same,) = (walked(build, {"i": 10}, 100, full).forward for full in (True, False))
    assert (varying.written, same.written) == (1000, 10)


def test_a_short_scan_runs_its_steps() -> None:
    sweeps, depth = scan_work(SHORT, ((0, 0),), 1, 8, 8, 0, True, "ring", 1 << 12)
    assert depth == SHORT
    assert sum(k[0] for k in sweeps[:-1]) == pytest.approx(SHORT * launches_of("ring", 0))


def test_the_model_has_the_thresholds_of_the_backend() -> None:
    pytest.importorskip("torch")
    from recc.backends.torch_eager import convolve, scan
    from recc.forms import along_work

    assert (scan._BLOCK, scan._SHORT, scan._WIDE["cpu"]) == (BLOCK, SHORT, DEVICES["cpu"].wide)
    assert DEVICES["cuda"].wide == scan._WIDE_ELSEWHERE
    assert (convolve._SHORT, convolve._MEDIUM) == (along_work.SHORT, along_work.MEDIUM)


def test_compiled_loops_cost_no_launches() -> None:
    rec = program("hgrn")
    compiled = cost(derive_sequential(rec), {"d": 16}, 1000, 4, backend="c")
    loop = cost(derive_sequential(rec), {"d": 16}, 1000, 4)
    assert compiled.launches == 1 < loop.launches
    assert compiled.seconds < loop.seconds / 10


@pytest.mark.parametrize("name", NAMES)
def test_refusals_pass_through(name: str) -> None:
    rec = program(name)
    options = {o.name: o for o in choose(rec, "torch", sizes_of(rec), 64).options}
    assert list(options) == ["sequential", *PARALLEL]
    for which in PARALLEL:
        expected = derive(rec, which)
        if isinstance(expected, Refusal):
            assert options[which].refusal == expected and options[which].cost is None
        else:
            assert options[which].cost is not None


@pytest.mark.parametrize(
    ("name", "sizes", "steps", "expected"),
    [
        ("gated_delta_net", {"i": 64, "j": 64}, 4096, {"chunked"}),
        ("gated_linear_attention", {"i": 64, "j": 64}, 4096, {"chunked"}),
        ("retention", {"i": 64, "j": 64}, 4096, {"chunked", "convolution"}),
        ("hgrn", {"d": 64}, 4096, {"scan", "chunked"}),
        ("s4d", {"d": 64, "n": 16}, 4096, {"convolution", "chunked"}),
        ("gru", {"n": 64}, 4096, {"sequential"}),
        ("mamba", {"d": 64, "n": 16}, 1, {"sequential"}),
        ("kalman", {"n": 4}, 1000, {"sequential"}),
    ],
)
def test_clear_cases(name: str, sizes: dict[str, int], steps: int, expected: set[str]) -> None:
    for backward in (False, True):
        assert choose(program(name), "torch", sizes, steps, 8, backward=backward).name in expected


@pytest.mark.parametrize("name", CORE)
def test_one_step_and_compiled_kernels_are_sequential(name: str) -> None:
    rec = program(name)
    steps = (64,) * len(rec.scan)
    assert choose(rec, "c", sizes_of(rec), steps).name == "sequential"
    found = choose(rec, "c", sizes_of(rec), steps).options
    assert all(o.refusal is not None for o in found[1:])
    taken = choose(rec, "torch", sizes_of(rec), (1,) * len(rec.scan))
    assert taken.name == "sequential"


def test_a_choice_is_made_once() -> None:
    rec = program("mamba")
    first = choose(rec, "torch", {"d": 8, "n": 4}, 1000, 3)
    assert choose(rec, "torch", {"n": 4, "d": 8}, 1050, 3) is first
    assert choose(rec, "torch", {"d": 8, "n": 4}, 2000, 3) is not first
    assert first.taken in first.options


def test_a_chosen_size_of_chunks_is_kept() -> None:
    found = choose(program("gated_delta_net"), "torch", {"i": 64, "j": 64}, 4096, 8, chunk=128)
    assert {o.chunk for o in found.options if o.cost is not None} == {0, 128}
    assert found.chunk == 128


def test_what_does_not_fit_is_not_taken() -> None:
    rec, small = program("gated_linear_attention"), replace(DEVICES["cpu"], memory=1 << 20)
    found = choose(rec, "torch", {"i": 64, "j": 64}, 4096, 8, small)
    assert found.name == "sequential"
    assert all("GiB" in o.out for o in found.options if o.cost is not None and o.name != "sequential")


def numbers(domain: str) -> Recurrence:
    text = (
        f"recurrence r(d)\n input x[d], a[d]{domain}\n state h[d]\n h[t] = a[t] * h[t-1] + x[t]\n output y[t] = h[t]\n"
    )
    return load(text, "r")[0]


def test_promised_decays_are_sound() -> None:
    for domain in (" in [0, 1]", " in [-1, 1]"):
        assert not any(o.notes for o in choose(numbers(domain), "torch", {"d": 8}, 4096).options)


def test_what_is_not_promised_is_said() -> None:
    options = {o.name: o for o in choose(numbers(""), "torch", {"d": 8}, 4096).options}
    for name in ("scan", "chunked", "matrix"):
        (note,) = options[name].notes
        assert "nothing promises" in note.text and not note.bad and not options[name].out


def test_products_that_leave_the_numbers_are_not_taken() -> None:
    rec = numbers(" in [0, 2]")
    options = {o.name: o for o in choose(rec, "torch", {"d": 8}, 4096).options}
    assert "too large for float32" in options["scan"].out and "too large" in options["matrix"].out
    assert not options["chunked"].out  # 64 doublings do not
    assert choose(rec, "torch", {"d": 8}, 4096).name not in ("scan", "matrix")
    assert not {o.name: o for o in choose(rec, "torch", {"d": 8}, 64).options}["scan"].out


def test_a_cascade_is_judged_stage_by_stage() -> None:
    (option,) = [o for o in choose(program("mlstm"), "torch", {"i": 8, "j": 8}, 4096).options if o.name == "chunked"]
    assert option.cost is not None and not option.notes


@pytest.mark.parametrize("which", PARALLEL)
@pytest.mark.parametrize("name", ["gru", "viterbi", "mamba", "lssl", "kalman"])
def test_a_refused_form_says_why_and_what_works(name: str, which: str) -> None:
    found = derive(program(name), which)
    if not isinstance(found, Refusal):
        assert require(program(name), which).rec is program(name)
        return
    with pytest.raises(Unsupported) as error:
        require(program(name), which)
    assert found.reason in str(error.value)
    advice = instead(program(name), which)
    assert advice in str(error.value)
    for other in advice.removeprefix("use form=").split(" or "):
        assert recc.compile(zoo.text(name), backend="torch", form=other.strip("'")) is not None


def test_compiling_a_refused_form() -> None:
    with pytest.raises(
        Unsupported, match="the transition varies in time; use form='sequential' or 'scan' or 'chunked'"
    ):
        recc.compile(zoo.text("mamba"), form="convolution")


def test_devices() -> None:
    assert device_named("cuda:1") is DEVICES["cuda"]
    with pytest.raises(UsageError, match="device: expected one of cpu, cuda"):
        device_named("tpu")
    for device in DEVICES.values():
        assert all(v > 0 for v in (device.products, device.scalars, device.bandwidth, device.launch))


def test_sizes_that_are_not_known_have_a_default() -> None:
    assert choose(program("hgrn")).name in ("sequential", *PARALLEL)
    assert choose(program("roesser"), "torch", {}, (8, 8)).name == "sequential"
