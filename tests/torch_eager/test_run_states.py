"""States with the torch backend: every way to give one, pieces joined by it, packed sequences, single steps."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

import recc
from recc.errors import Unsupported, UsageError
from recc.recurrence import Kind
from recc.runtime.call import state_names
from tests.agree.cases import Arrays
from tests.agree.harness import (
    agree,
    by_kernels,
    by_oracle,
    cotangents,
    cut,
    differentiable,
    gradients,
    in_pieces,
    named,
    plain,
    tensors,
)
from tests.torch_eager.programs import TorchProgram, by_torch

FORWARD = ("gated_delta", "selective", "lru again", "second", "forward", "functions", "mlstm", "kalman", "hawkes")
#: A few of them in a parallel form.
WAYS = [by_torch(n) for n in FORWARD] + [
    by_torch("gated_delta", "chunked", 2),
    by_torch("gated_delta", "scan"),
    by_torch("lru again", "scan", 4),
    by_torch("mlstm", "chunked", 3),
    by_torch("second", "scan"),
]
OFFSETS = (0, 3, 3, 4, 9, 9, 11, 14)


def _label(program: TorchProgram) -> str:
    return f"{program.name} {program.form}"


def _outputs(case: TorchProgram) -> set[str]:
    return {s.name for s in case.rec.outputs}


@pytest.mark.parametrize("case", WAYS, ids=_label)
@pytest.mark.parametrize("start", [False, True])
def test_pieces_joined_by_the_state_are_the_whole(case: TorchProgram, start: bool) -> None:
    """Values, and gradients that flow from piece to piece through the states."""
    arguments, initial = case.draw(case.shapes(steps=9, heads=(2,)))
    leaves, states = tensors(arguments), tensors(initial) if start else {}
    weights = cotangents(by_kernels(case, leaves, states, None)[0])
    values, expected = by_kernels(case, leaves, states, weights)
    leaves, states = tensors(arguments), tensors(initial) if start else {}
    joined = in_pieces(case, case.op, leaves, states or None)
    agree({n: plain(v) for n, v in joined.items()}, values, 1e-12, "values")
    agree(gradients(joined, weights, {**leaves, **states}), expected, 1e-10, "gradients")


@pytest.mark.parametrize("case", WAYS, ids=_label)
def test_step_by_step_is_the_whole(case: TorchProgram) -> None:
    shapes = case.shapes(heads=(2,))
    arguments, _ = case.draw(shapes)
    whole = named(case, case.op(**arguments, output_final_state=True))
    state, parts = None, []
    for t in range(shapes.steps[0]):
        now = {n: v[:, t] if case.rec.table[n].kind is Kind.INPUT else v for n, v in arguments.items()}
        out, state = case.op.step(state, **now)
        parts.append(named(case, (out, state)))
    for name in _outputs(case):
        agree({"y": np.stack([p[name] for p in parts], 1)}, {"y": whole[name]}, 1e-12, name)
    agree(parts[-1], {n: v for n, v in whole.items() if n.startswith("final ")}, 1e-12)


@pytest.mark.parametrize("case", WAYS, ids=_label)
def test_some_states_given_and_some_not(case: TorchProgram) -> None:
    shapes = case.shapes()
    arguments, initial = case.draw(shapes)
    for left in initial:
        some = {n: v for n, v in initial.items() if n != left}
        values, _, _ = by_oracle(case, shapes, arguments, some)
        result = case.op(**arguments, initial_state=some or None, output_final_state=True)
        agree(named(case, result), values, 1e-10, left)


@pytest.mark.parametrize("form", ["sequential", "scan"])
def test_the_clock_is_part_of_the_state(form: str) -> None:
    case = by_torch("functions", form)
    arguments, _ = case.draw(case.shapes(steps=6))
    leaves = {n: torch.tensor(v) for n, v in arguments.items()}
    _, final = case.op(**leaves, output_final_state=True)
    assert state_names(case.rec)[-1] == "t"
    assert final.t.tolist() == [6, 6]
    _, final = case.op(**arguments, output_final_state=True, initial_state={"t": np.array([3, 10])})
    np.testing.assert_array_equal(final.t, [9, 16])
    later = case.op(**arguments, initial_state={"t": 10})
    expected = case.op.reference(**arguments, initial_state={"t": 10})
    np.testing.assert_allclose(later, expected, rtol=1e-12)
    with pytest.raises(UsageError, match="2 of them, one for each sequence"):
        case.op(**arguments, initial_state={"t": np.arange(3)})


PACKED = [*WAYS, *(by_torch(n) for n in ("both", "stencil", "gru", "bidirectional")), by_torch("both", "chunked", 2)]


@pytest.mark.parametrize("case", PACKED, ids=_label)
@pytest.mark.parametrize("start", [False, True])
def test_packed_is_separate(case: TorchProgram, start: bool) -> None:
    """Values and gradients of packed sequences are those of each alone; some have no steps, some one length."""
    arguments, _ = case.draw(case.shapes(steps=OFFSETS[-1], batch=1, heads=(2,)))
    _, initial = case.draw(case.shapes(batch=len(OFFSETS) - 1, heads=(2,)))
    initial = initial if start else {}
    leaves, states = tensors(arguments), tensors(initial)
    offsets = torch.tensor(OFFSETS)
    weights = cotangents(by_kernels(case, leaves, states, None, cu_seqlens=offsets)[0])
    values, found = by_kernels(case, leaves, states, weights, cu_seqlens=offsets)
    total: Arrays = {}
    for i, (begin, end) in enumerate(itertools.pairwise(OFFSETS)):
        own, state = tensors(cut(case, arguments, begin, end)), tensors({n: v[i : i + 1] for n, v in initial.items()})

        def piece(name: str, whole: Any, i: int = i, begin: int = begin, end: int = end) -> Any:
            return whole[:, begin:end] if name in _outputs(case) else whole[i : i + 1]

        alone, claimed = by_kernels(case, own, state, {n: piece(n, w) for n, w in weights.items()})
        agree({n: piece(n, values[n]) for n in alone}, alone, 1e-12, i)
        for key, value in claimed.items():
            name = key.removeprefix("d ")
            if name in state:
                agree({key: found[key][i : i + 1]}, {key: value}, 1e-11)
            elif case.rec.table[name].kind is Kind.INPUT:
                agree({key: found[key][:, begin:end]}, {key: value}, 1e-11)
            else:
                total[key] = total.get(key, 0) + value
    agree(found, {n: g for n, g in total.items() if n in differentiable(case.rec)}, 1e-11)


@pytest.mark.parametrize("offsets", [[0], [0, 0, 0]])
def test_no_packed_steps_at_all(offsets: list[int]) -> None:
    case = by_torch("gated_delta")
    arguments, _ = case.draw(case.shapes(steps=0, batch=1))
    out, final = case.op(**arguments, cu_seqlens=offsets, output_final_state=True)
    assert out.shape[:2] == (1, 0)
    assert final.shape[0] == len(offsets) - 1
    assert not final.any()


@pytest.mark.parametrize("case", [by_torch("gated_delta"), by_torch("gated_delta", "chunked", 2), by_torch("both")])
def test_nothing_leaks_between_packed_sequences(case: TorchProgram) -> None:
    """NaN in every other sequence leaves a sequence and its gradients as they are."""
    arguments, _ = case.draw(case.shapes(steps=9, batch=1))
    offsets, (begin, end) = [0, 3, 6, 9], (3, 6)
    clean = tensors(arguments)
    weights = cotangents(by_kernels(case, clean, {}, None, cu_seqlens=offsets)[0])
    poisoned = {n: v.copy() for n, v in arguments.items()}
    for name in (s.name for s in case.rec.of_kind(Kind.INPUT)):
        poisoned[name][:, :begin] = poisoned[name][:, end:] = np.nan
    values, expected = by_kernels(case, clean, {}, weights, cu_seqlens=offsets)
    found, claimed = by_kernels(case, tensors(poisoned), {}, weights, cu_seqlens=offsets)
    for key in _outputs(case):
        np.testing.assert_array_equal(found[key][:, begin:end], values[key][:, begin:end])
    for symbol in case.rec.of_kind(Kind.INPUT):
        key = f"d {symbol.name}"
        np.testing.assert_array_equal(claimed[key][:, begin:end], expected[key][:, begin:end])


def test_a_packed_clock() -> None:
    """Every sequence counts its own steps, from where it was."""
    case = by_torch("functions")
    arguments, _ = case.draw(case.shapes(steps=7, batch=1))
    start = np.array([5, 0, 2])
    whole, final = case.op(**arguments, cu_seqlens=[0, 3, 3, 7], initial_state={"t": start}, output_final_state=True)
    np.testing.assert_array_equal(final.t, [8, 0, 6])
    for i, (begin, end) in enumerate(((0, 3), (3, 3), (3, 7))):
        alone = case.op(**cut(case, arguments, begin, end), initial_state={"t": start[i : i + 1]})
        np.testing.assert_allclose(whole[:, begin:end], alone, rtol=1e-13)


def test_a_program_without_inputs_is_told_its_steps() -> None:
    op = recc.compile(
        "recurrence orbit(n)\n param a[n]\n state h[n] = a\n h[t] = sin(a * h[t-1] + t)\n output y[t] = h[t]\n",
        backend="torch",
    )
    a = np.linspace(0, 1, 3)
    np.testing.assert_allclose(op(a, steps=4), op.reference(a, steps=4), rtol=1e-12)


def test_a_program_that_looks_ahead_has_no_steps() -> None:
    with pytest.raises(Unsupported, match="call the op as a whole"):
        by_torch("both").op.step(None, x=np.zeros((1, 2)), g=np.zeros((1, 2)), w=np.zeros(2))
