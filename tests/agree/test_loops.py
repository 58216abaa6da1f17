"""Sizes at which loops take other shapes: several iterations together, whole vectors, axes split into tiles."""

from __future__ import annotations

import pytest

from recc.forms.sequential import derive_sequential
from recc.fuzz import Shapes
from recc.runtime.call import bind
from recc.runtime.tiles import choose_tiles
from tests.agree.cases import Program, programs
from tests.agree.harness import agree, by_kernels, by_oracle, differentiable, tensors


def _holds(program: Program, shapes: Shapes) -> None:
    arguments, initial = program.draw(shapes)
    values, expected, weights = by_oracle(program, shapes, arguments, initial)
    steps = program.steps(shapes)
    found, gradients = by_kernels(program, tensors(arguments), tensors(initial), weights, steps=steps)
    agree(found, values, 1e-10, "values")
    agree(gradients, {n: g for n, g in expected.items() if n in differentiable(program.rec)}, 1e-10, "gradients")


#: Inverts a random matrix, which at these sizes costs as many digits as the bound has to spare.
ILL_CONDITIONED = {"matrices"}


@pytest.mark.parametrize("name", [name for name in programs() if name not in ILL_CONDITIONED])
def test_axes_of_several_fours(name: str) -> None:
    program = programs()[name]
    roots = sorted({a.size_of for a in program.rec.axes})
    steps = tuple(5 + k for k in range(len(program.rec.scan)))
    _holds(program, Shapes({axis: 8 + 4 * k for k, axis in enumerate(roots)}, steps, 2))


@pytest.mark.parametrize(
    ("name", "sizes", "count"),
    [("mamba", {"d": 384, "n": 16}, 3), ("hgrn", {"d": 8192}, 4), ("rg_lru", {"d": 4096}, 2)],
)
def test_an_axis_in_tiles(name: str, sizes: dict[str, int], count: int) -> None:
    program = programs()[name]
    shapes = Shapes(sizes, (4,), 2)
    _holds(program, shapes)
    layout = bind(program.rec, (), program.draw(shapes)[0], None, None, None).layout
    tiles = choose_tiles(derive_sequential(program.rec), layout, frozenset())
    assert tiles is not None and tiles.count == count
