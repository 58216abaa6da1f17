"""States: every way to give one, pieces joined by it, packed sequences, and steps one by one."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
import torch

from recc.errors import Unsupported
from recc.fuzz import Shapes
from recc.recurrence import Kind
from recc.runtime.call import state_names
from tests.agree.cases import Arrays, Program, program, programs
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

#: Programs whose pieces can be joined: they run from left to right, along one scan axis.
FORWARD = ("gated_delta", "selective", "lru again", "second", "forward", "functions", "mlstm", "kalman", "hawkes")
BACKWARD = """
recurrence backward(d)
    input x[d], g <= 0
    param w[d]
    state h[d] = w
    h[t] = exp(g[t]) * h[t+1] + x[t] * x[t+2] + t * h[t+2]
    output y[t] = tanh(h[t]) + h[t+1]
"""


@pytest.mark.parametrize("name", FORWARD)
@pytest.mark.parametrize("start", [False, True])
def test_pieces_joined_by_the_state_are_the_whole(name: str, start: bool) -> None:
    """Values, and gradients that flow from piece to piece through the states."""
    case = programs()[name]
    shapes = case.shapes(steps=9, heads=(2,))
    arguments, initial = case.draw(shapes)
    leaves, states = tensors(arguments), tensors(initial) if start else {}
    weights = cotangents(by_kernels(case, leaves, states, None)[0])
    values, expected = by_kernels(case, leaves, states, weights)
    leaves, states = tensors(arguments), tensors(initial) if start else {}
    joined = in_pieces(case, case.op, leaves, states or None)
    agree({n: plain(v) for n, v in joined.items()}, values, 1e-13, "values")
    agree(gradients(joined, weights, {**leaves, **states}), expected, 1e-11, "gradients")


def test_pieces_of_a_program_that_runs_backwards() -> None:
    case = program(BACKWARD)
    shapes = Shapes({"d": 2}, (9,), 2)
    arguments, initial = case.draw(shapes)
    values, expected, weights = by_oracle(case, shapes, arguments, initial)
    found, claimed = by_kernels(case, tensors(arguments), tensors(initial), weights)
    agree(found, values, 1e-10)
    agree(claimed, expected, 1e-10)


@pytest.mark.parametrize("name", FORWARD)
def test_step_by_step_is_the_whole(name: str) -> None:
    case = programs()[name]
    shapes = case.shapes(heads=(2,))
    arguments, _ = case.draw(shapes)
    whole = named(case, case.op(**arguments, output_final_state=True))
    state, parts = None, []
    for t in range(shapes.steps[0]):
        now = {
            s.name: arguments[s.name][:, t] if s.kind is Kind.INPUT else arguments[s.name] for s in case.rec.arguments
        }
        out, state = case.op.step(state, **now)
        parts.append(named(case, (out, state)))
    for symbol in case.rec.outputs:
        together = np.stack([p[symbol.name] for p in parts], 1)
        agree({"y": together}, {"y": whole[symbol.name]}, 1e-13, symbol.name)
    agree(parts[-1], {n: v for n, v in whole.items() if n.startswith("final ")}, 1e-13)


def test_a_program_that_looks_ahead_has_no_steps() -> None:
    with pytest.raises(Unsupported, match=re.escape("`h[t+1]` is read before it is there; call the op as a whole")):
        program(BACKWARD).op.step(None, x=np.zeros((1, 2)), g=np.zeros(1), w=np.zeros(2))
    ahead = program("recurrence ahead\n input x\n state h\n h[t] = h[t-1] + x[t+1]\n output y[t] = h[t]\n")
    with pytest.raises(Unsupported, match=re.escape("`x[t+1]` is read before it is there")):
        ahead.op.step(None, x=np.zeros(1))
    with pytest.raises(Unsupported, match="the program scans over r, c"):
        programs()["roesser"].op.step(None)


@pytest.mark.parametrize("name", FORWARD)
def test_ways_to_give_a_state(name: str) -> None:
    case = programs()[name]
    shapes = case.shapes()
    arguments, initial = case.draw(shapes)
    names = state_names(case.rec)
    slots = [slot.name for slot in case.rec.slots]
    full = [initial.get(n, np.zeros((), np.int64)) for n in names]
    expected = named(case, case.op(**arguments, initial_state=initial, output_final_state=True))
    ways: list[Any] = [tuple(full), list(full), dict(zip(names, full, strict=True))]
    ways += [full[0]] if len(names) == 1 else []
    for way in ways:
        found = named(case, case.op(**arguments, initial_state=way, output_final_state=True))
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value)
    for left in slots:
        some = {n: v for n, v in initial.items() if n != left}
        values, _, _ = by_oracle(case, shapes, arguments, some)
        agree(
            named(case, case.op(**arguments, initial_state=some or None, output_final_state=True)), values, 1e-10, left
        )


def test_the_clock_is_part_of_the_state() -> None:
    case = programs()["functions"]
    shapes = case.shapes(steps=6)
    arguments, _ = case.draw(shapes)
    _, final = case.op(**arguments, output_final_state=True)
    assert state_names(case.rec)[-1] == "t"
    np.testing.assert_array_equal(final.t, [6, 6])
    _, final = case.op(**arguments, output_final_state=True, initial_state={"t": np.array([3, 10])})
    np.testing.assert_array_equal(final.t, [9, 16])
    later, _ = case.op(**arguments, output_final_state=True, initial_state={"t": 10})
    alone = case.op(**{n: v[1:] for n, v in arguments.items()}, initial_state={"t": np.array([10])})
    np.testing.assert_array_equal(later[1:], alone)


OFFSETS = (0, 3, 3, 4, 9, 9, 11)


@pytest.mark.parametrize("name", (*FORWARD, "both", "stencil", "gru", "bidirectional"))
@pytest.mark.parametrize("start", [False, True])
def test_packed_is_separate(name: str, start: bool) -> None:
    """Values and gradients of packed sequences are those of each alone, to the bit; some have no steps."""
    case = programs()[name]
    shapes = case.shapes(steps=OFFSETS[-1], batch=1, heads=(2,))
    arguments, _ = case.draw(shapes)
    count = len(OFFSETS) - 1
    _, initial = case.draw(case.shapes(batch=count, heads=(2,)))
    initial = initial if start else {}
    leaves, states = tensors(arguments), tensors(initial)
    offsets = torch.tensor(OFFSETS)
    weights = cotangents(by_kernels(case, leaves, states, None, cu_seqlens=offsets)[0])
    values, found = by_kernels(case, leaves, states, weights, cu_seqlens=offsets)
    total: Arrays = {}
    for i, (begin, end) in enumerate(itertools.pairwise(OFFSETS)):
        own, state = tensors(cut(case, arguments, begin, end)), tensors({n: v[i : i + 1] for n, v in initial.items()})
        part = {n: w[:, begin:end] if n in _outputs(case) else w[i : i + 1] for n, w in weights.items()}
        alone, claimed = by_kernels(case, own, state, part)
        for key, value in alone.items():
            np.testing.assert_array_equal(
                value, values[key][:, begin:end] if key in _outputs(case) else values[key][i : i + 1]
            )
        for symbol in case.rec.arguments:
            key = f"d {symbol.name}"
            if symbol.kind is Kind.INPUT and key in claimed:
                np.testing.assert_array_equal(claimed[key], found[key][:, begin:end], err_msg=key)
            elif key in claimed:
                total[key] = total.get(key, 0) + claimed[key]
        for slot in state:
            np.testing.assert_array_equal(claimed[f"d {slot}"], found[f"d {slot}"][i : i + 1])
    agree(found, {n: g for n, g in total.items() if n in differentiable(case.rec)}, 1e-12)


def _outputs(case: Program) -> set[str]:
    return {s.name for s in case.rec.outputs}


@pytest.mark.parametrize("name", ["gated_delta", "second", "both"])
def test_nothing_leaks_between_packed_sequences(name: str) -> None:
    """NaN in every other sequence leaves a sequence and its gradients as they are."""
    case = programs()[name]
    shapes = case.shapes(steps=9, batch=1)
    arguments, _ = case.draw(shapes)
    offsets, (begin, end) = [0, 4, 7, 9], (4, 7)
    clean = tensors(arguments)
    weights = cotangents(by_kernels(case, clean, {}, None, cu_seqlens=offsets)[0])
    poisoned = {}
    for symbol in case.rec.arguments:
        value = arguments[symbol.name].copy()
        if symbol.kind is Kind.INPUT and value.dtype.kind == "f":
            value[:, :begin] = value[:, end:] = np.nan
        poisoned[symbol.name] = value
    values, expected = by_kernels(case, clean, {}, weights, cu_seqlens=offsets)
    found, claimed = by_kernels(case, tensors(poisoned), {}, weights, cu_seqlens=offsets)
    for key in _outputs(case):
        np.testing.assert_array_equal(found[key][:, begin:end], values[key][:, begin:end])
    for symbol in case.rec.of_kind(Kind.INPUT):
        key = f"d {symbol.name}"
        np.testing.assert_array_equal(claimed[key][:, begin:end], expected[key][:, begin:end])


def test_a_packed_clock() -> None:
    """Every sequence counts its own steps, from where it was."""
    case = programs()["functions"]
    arguments, _ = case.draw(case.shapes(steps=7, batch=1))
    start = np.array([5, 0, 2])
    whole, final = case.op(**arguments, cu_seqlens=[0, 3, 3, 7], initial_state={"t": start}, output_final_state=True)
    np.testing.assert_array_equal(final.t, [8, 0, 6])
    for i, (begin, end) in enumerate(((0, 3), (3, 3), (3, 7))):
        alone = case.op(**cut(case, arguments, begin, end), initial_state={"t": start[i : i + 1]})
        np.testing.assert_array_equal(whole[:, begin:end], alone)
