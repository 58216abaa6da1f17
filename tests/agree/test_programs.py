"""Every program: kernels against the reference and against torch's gradients, in float64 and float32."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from recc.backends.numpy_reference import run
from recc.forms.verify import verify
from recc.fuzz import Shapes, tolerance
from tests.agree.cases import Arrays, programs
from tests.agree.harness import agree, by_interpreter, by_kernels, by_oracle, differentiable, tensors

NAMES = list(programs())


@cache
def _drawn(name: str) -> tuple[Shapes, Arrays, Arrays]:
    """Arrays whose elements float32 can hold, so that both precisions are given the same numbers."""
    program = programs()[name]
    shapes = program.shapes(heads=(2,))
    arguments, initial = program.draw(shapes)
    return shapes, _rounded(arguments, np.float64), _rounded(initial, np.float64)


@cache
def _expected(name: str) -> tuple[Arrays, Arrays, dict[str, Any]]:
    """Values, gradients and weights by the torch interpreter."""
    program = programs()[name]
    values, gradients, weights = by_oracle(program, *_drawn(name))
    return values, {n: g for n, g in gradients.items() if n in differentiable(program.rec)}, weights


@pytest.mark.parametrize("name", NAMES)
def test_the_interpreted_form(name: str) -> None:
    program = programs()[name]
    shapes, arguments, initial = _drawn(name)
    values, gradients, weights = _expected(name)
    found, claimed = by_interpreter(program, shapes, arguments, initial, weights)
    agree(found, {n: v for n, v in values.items() if n in weights}, 1e-12, "values")
    agree(claimed, gradients, 1e-10, "gradients")


@pytest.mark.parametrize("name", NAMES)
def test_blocks_keep_their_laws(name: str) -> None:
    for lanes in (None, frozenset(s.name for s in programs()[name].rec.arguments)):
        for loop in programs()[name].op._native.form(lanes).passes:
            for block in (loop.prologue, loop.step, loop.step_vjp, loop.prologue_vjp):
                verify(block)


@pytest.mark.parametrize("name", NAMES)
def test_kernels_in_float64(name: str) -> None:
    program = programs()[name]
    shapes, arguments, initial = _drawn(name)
    values, expected, weights = _expected(name)
    steps = program.steps(shapes)
    found, gradients = by_kernels(program, tensors(arguments), tensors(initial), weights, steps=steps)
    sizes = {a.name: shapes.sizes[a.size_of] for a in program.rec.axes}
    reference = run(program.rec, arguments, sizes=sizes, initial=initial, length=shapes.steps[0])
    agree(found, {**reference.outputs, **{f"final {n}": v for n, v in reference.final.items()}}, 1e-10, "reference")
    agree(found, values, 1e-10, "torch")
    agree(gradients, expected, 1e-10, "gradients")


@pytest.mark.parametrize("name", NAMES)
def test_kernels_in_float32(name: str) -> None:
    program = programs()[name]
    shapes, arguments, initial = _drawn(name)
    values, expected, weights = _expected(name)
    leaves, states = tensors(_rounded(arguments, np.float32)), tensors(_rounded(initial, np.float32))
    found, gradients = by_kernels(program, leaves, states, weights, steps=program.steps(shapes))
    agree(found, values, tolerance("float32", shapes.steps[0]), "values")
    agree(gradients, expected, tolerance("float32", shapes.steps[0], gradient=True), "gradients")


def _rounded(arrays: Arrays, dtype: Any) -> Arrays:
    """Arrays with the values of float32 in a given type."""
    found = {}
    for name, value in arrays.items():
        narrow = {"f": np.float32, "c": np.complex64}.get(value.dtype.kind, value.dtype)
        wide = {"f": dtype, "c": np.result_type(dtype, np.complex64)}.get(value.dtype.kind, value.dtype)
        found[name] = value.astype(narrow).astype(wide)
    return found
