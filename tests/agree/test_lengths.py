"""Sequences of every length, axes of every size: none, one, and around the segments of the backward pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recc.backends.c_cpu import spec
from recc.fuzz import Shapes
from recc.runtime.op import Op
from tests.agree.cases import Arrays, Program, program, programs
from tests.agree.harness import agree, by_kernels, by_oracle, differentiable, tensors

SOME = ("gated_delta", "selective", "second", "both", "stencil", "forward", "functions", "roesser", "lif", "kalman")

DECAY = """
recurrence decay
    input x, g <= 0
    param b
    state h = b
    h[t] = exp(g[t]) * h[t-1] + b * x[t]
    output y[t] = h[t] + t * x[t-1]
"""


def _holds(case: Program, shapes: Shapes, arguments: Arrays, initial: Arrays) -> None:
    values, expected, weights = by_oracle(case, shapes, arguments, initial)
    found, gradients = by_kernels(case, tensors(arguments), tensors(initial), weights, steps=case.steps(shapes))
    agree(found, values, 1e-10)
    agree(gradients, {n: g for n, g in expected.items() if n in differentiable(case.rec)}, 1e-10)


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_few_steps(name: str, steps: int) -> None:
    case = programs()[name]
    roots = sorted({a.size_of for a in case.rec.axes})
    sizes = {n: 2 + k for k, n in enumerate(roots)}
    shapes = Shapes(sizes, (steps,) * len(case.rec.scan), 2, (2,))
    arguments, initial = case.draw(shapes)
    _holds(case, shapes, arguments, {})
    _holds(case, shapes, arguments, initial)


@pytest.mark.parametrize("name", SOME)
def test_nothing_to_do(name: str) -> None:
    """No rows, or no heads: nothing comes out, and the gradients of parameters are zero."""
    case = programs()[name]
    for batch, heads in ((0, ()), (0, (2,)), (2, (0,)), (2, (0, 5)), (2, (5, 0))):
        shapes = case.shapes(batch=batch, heads=heads)
        arguments, _ = case.draw(shapes)
        leaves = tensors(arguments)
        result = case.op(**leaves)
        for value in (result,) if isinstance(result, torch.Tensor) else result:
            assert value.shape[0] == batch
            assert value.numel() == 0
        if any(t.requires_grad for t in leaves.values()):
            total = sum(v.abs().sum() for v in ((result,) if isinstance(result, torch.Tensor) else result))
            assert isinstance(total, torch.Tensor)
            total.backward()
            for symbol in case.rec.arguments:
                grad = leaves[symbol.name].grad
                assert grad is None or not grad.abs().sum()


@pytest.mark.parametrize("name", ["gated_delta", "selective", "second", "both", "stencil", "forward", "matrices"])
@pytest.mark.parametrize("size", [0, 1])
def test_axes_of_size_zero_and_one(name: str, size: int) -> None:
    case = programs()[name]
    shapes = Shapes(dict.fromkeys({a.size_of for a in case.rec.axes}, size), (3,), 2, (2,))
    arguments, initial = case.draw(shapes)
    _holds(case, shapes, arguments, initial)


@pytest.mark.parametrize("steps", [127, 128, 129, 256, 257])
def test_around_a_segment(steps: int) -> None:
    case = program(DECAY)
    loop = spec.Specialisation(case.op._native.form(None), {}, "float64", {})
    assert loop.segment(0) == 128
    shapes = Shapes({}, (steps,), 2)
    arguments, initial = case.draw(shapes)
    _holds(case, shapes, arguments, initial)


@pytest.mark.parametrize("name", ["gated_delta", "second", "both", "lru again", "roesser"])
def test_short_segments(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of 8 steps, as large states have: every state of the recomputation, in every pass."""
    monkeypatch.setattr(spec, "_TAPE_BYTES", 0)
    known = programs()[name]

    class Fresh(Program):
        _made: Op = Op(known.rec, backend="c")

        @property
        def op(self) -> Op:
            return self._made

    case = Fresh(known.name, known.rec)
    for steps in (7, 8, 9, 16, 17, 25):
        shapes = case.shapes(steps=steps if len(case.rec.scan) == 1 else steps // 3, batch=1)
        arguments, initial = case.draw(shapes, seed=steps)
        _holds(case, shapes, arguments, initial)


def test_a_program_without_inputs_is_told_its_steps() -> None:
    case = program("""
recurrence orbit(n)
    param a[n], start[n]
    state h[n] = start
    h[t] = sin(a * h[t-1] + t)
    output y[t] = h[t]
""")
    shapes = Shapes({"n": 3}, (6,), 1)
    arguments, initial = case.draw(shapes)
    _holds(case, shapes, arguments, {})
    _holds(case, shapes, arguments, initial)
    many = {"h": np.random.default_rng(0).standard_normal((4, 3))}
    _holds(case, Shapes({"n": 3}, (6,), 4), arguments, many)


def test_rows_come_from_the_states_if_inputs_have_one() -> None:
    case = programs()["selective"]
    shapes = case.shapes(batch=1)
    arguments, _ = case.draw(shapes)
    many = {"h": np.random.default_rng(0).standard_normal((3, *case.draw(shapes)[1]["h"].shape[1:]))}
    _holds(case, case.shapes(batch=3), arguments, many)
