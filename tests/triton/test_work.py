"""Cuts that were tuned for the work of a sequence: its heads, coarsely. Its bits depend on nothing else."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

import recc.backends.triton_gpu.tuning
from recc.backends.triton_gpu.build import build
from recc.backends.triton_gpu.plan import Plan, Space
from recc.backends.triton_gpu.tuning import Tuned, bucket, key_of, recall, remember
from recc.forms.parallel import derive
from recc.forms.passes import Parallel
from recc.runtime import gpu, gpu_frame, tuning
from recc.runtime.op import Op
from recc.runtime.tuning import Probe, case_of
from tests.agree.cases import Arrays, program
from tests.agree.harness import tensors
from tests.triton.cases import by_kernels, drawn, shapes

CPU = torch.device("cpu")
STEPS, CHUNK = 6, 4
SIZES = {"i": 3, "j": 12}
#: The parts of the value axis that cuts in the table have, by heads.
WIDTHS = {1: 8, 2: 4}
OF = program("""
recurrence memory(i, j)
    input q[i], k[i], v[j], g <= 0
    state S[i, j]
    S[t] = exp(g[t]) * S[t-1] + k[t] * v[t]
    output o[t] = sum[i](q[t] * S[t])
""")


def space(**more: Any) -> Space:
    form = derive(OF.rec, "chunked", CHUNK)
    assert isinstance(form, Parallel)
    return Space(form, SIZES, 1, **more)


def cut(width: int) -> Plan:
    """A cut with parts of some width along every axis that can be shared."""
    first = space().first()
    return Plan(*(replace(s, tiles=dict.fromkeys(s.tiles, width)) for s in (first.forward, first.backward)))


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Calls tune, and find a cut that was found before: for one head another than for two to four."""
    monkeypatch.setenv("RECC_CACHE", str(tmp_path))
    monkeypatch.setattr(gpu, "tunes", lambda device: True)
    for heads, width in WIDTHS.items():
        assert remember(space(), key_of(space(), heads), Tuned(cut(width))) == cut(width)
    return tmp_path / "tuned"


def run(op: Op, arguments: Arrays, **options: Any) -> dict[str, Arrays]:
    """Outputs and gradients of inputs, in float32, where roundings would show."""
    leaves = tensors(arguments, torch.float32)
    weights = {"o": np.ones(arguments["v"].shape)}
    values, found = by_kernels(OF, op, leaves, {}, weights, **options)
    return {"o": values["o"], **{f"d {n}": found[f"d {n}"] for n in arguments}}


def same(found: Any, expected: Any, where: object) -> None:
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=f"{where}: {name}")


@pytest.mark.parametrize("heads", [(), (2,)])
def test_a_sequence_has_the_same_bits_in_any_company(heads: tuple[int, ...], table: Path) -> None:
    """In a batch, alone, packed alone, packed with others before and behind it."""
    op = Op(OF.rec, "triton", "chunked", CHUNK)
    arguments, _ = drawn(OF, replace(shapes(OF, steps=STEPS, batch=2, heads=heads), sizes=SIZES))
    whole = run(op, arguments)
    alone, other = ({n: x[row : row + 1] for n, x in arguments.items()} for row in (0, 1))
    expected = {n: x[:1] for n, x in whole.items()}
    same(run(op, alone), expected, "alone")
    same(run(op, alone, cu_seqlens=[0, STEPS]), expected, "packed alone")
    packed = {n: np.concatenate([other[n][:, :3], x, other[n][:, :5]], 1) for n, x in alone.items()}
    found = run(op, packed, cu_seqlens=[0, 3, 3 + STEPS, 8 + STEPS])
    same({n: x[:, 3 : 3 + STEPS] for n, x in found.items()}, expected, "packed")
    gpu_side: Any = op._made_gpu
    built = [m.text for m in gpu_side.gpu._modules.values()]
    assert len(built) == 2, "one for packed sequences, one for others"
    assert {t.spec.tiles["j"] for t in built} == {t.back.tiles["j"] for t in built} == {WIDTHS[prod(heads)]}


def test_only_heads_are_in_the_key() -> None:
    op: Any = Op(OF.rec, "triton", "chunked", CHUNK)
    keys = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu, "tunes", lambda device: True)
        for steps, batch, heads in ((5, 1, 3), (70, 1, 4), (5, 9, 2), (5, 1, 5)):
            arguments, _ = drawn(OF, replace(shapes(OF, steps=steps, batch=batch, heads=(heads,)), sizes=SIZES))
            leaves = list(tensors(arguments, torch.float32).values())
            keys.add(gpu_frame.Frame(op._made_gpu.gpu, leaves, [], "0", None, "float32", -1).key)
    assert {k.heads for k in keys} == {4, 16}
    assert len(keys) == 2


def test_calls_that_do_not_tune_know_nothing_of_heads() -> None:
    op: Any = Op(OF.rec, "triton", "chunked", CHUNK)
    assert op._made_gpu.gpu.heads((3,), CPU) == 0


def test_the_work_is_coarse() -> None:
    assert [bucket(n) for n in (0, 1, 2, 4, 5, 16, 17, 64)] == [1, 1, 4, 4, 16, 16, 64, 64]
    assert key_of(space(), 3) == key_of(space(), 4) != key_of(space(), 5)
    assert key_of(space(), 3) == key_of(space(packed=True), 3)


def test_the_first_that_was_kept_stays(table: Path) -> None:
    """Of two processes that tune at once, the second runs what the first found."""
    key = key_of(space(), 1)
    assert remember(space(), key, Tuned(cut(8))) == cut(WIDTHS[1])
    assert recall(space(), key) == cut(WIDTHS[1])
    assert not [p for p in table.iterdir() if p.suffix != ".json"]


def test_what_another_version_emitted_is_not_taken(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recc.backends.triton_gpu.tuning, "_emitter", lambda: "another")
    assert recall(space(), key_of(space(), 1)) is None


def test_cuts_are_timed_with_as_many_heads() -> None:
    arrays = tuning.drawn(OF.rec, SIZES, 6, torch.float32, 3)
    made = case_of(space(), CPU, 6, arrays, torch.float32, 3, 4)
    assert made.arguments["k"].shape == (3, 6, 4, SIZES["i"])
    assert made.outputs["o"].shape == (3, 6, 4, SIZES["j"])
    assert (made.sizes.items, made.sizes.batch) == (12, (4,))


def test_the_probe_sees_what_is_wrong_with_time_in_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: every stretch starts from zero."""
    real = tuning.build

    def built(*specs: Any) -> Any:
        module = real(*specs)
        usual = module.functions.launch

        def launch(kernel: Any, grid: Any, arguments: Any, *more: Any) -> None:
            usual(kernel, grid, arguments, *more)
            for name, value in zip(kernel.arg_names, arguments, strict=True):
                if "_join" in kernel.__name__ and name.endswith("_start"):
                    value.zero_()

        patch.setattr(module.functions, "launch", launch)
        return module

    assert Probe(space(), CPU).judge(cut(4)) == ""
    with pytest.MonkeyPatch.context() as patch:
        monkeypatch.setattr(tuning, "build", built)
        assert "with time in stretches o is off by" in Probe(space(), CPU).judge(cut(4))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 31])
def test_parts_of_a_sum_are_added_in_the_same_order_in_any_company(count: int) -> None:
    """`torch.sum` has an order that depends on all sizes."""
    first = space().first()
    added = build(first.forward, first.backward).functions.added
    x = torch.from_numpy(np.random.default_rng(count).standard_normal((count, 7, 65)).astype(np.float32))
    for rows in (1, 2, 7):
        assert torch.equal(added(x[:, :rows].clone()), added(x.clone())[:rows])
        moved = x.transpose(0, 1)
        assert torch.equal(gpu_frame._folded(moved[:rows], [1]), gpu_frame._folded(moved, [1])[:rows])
    assert torch.allclose(added(x.clone()), x.sum(0), atol=1e-4)
    assert torch.equal(gpu_frame._folded(x, [0])[0], added(x.clone()))
