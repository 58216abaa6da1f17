"""The printed equations hold: evaluated element by element, they give what the reference gives."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest

from recc.check import load
from recc.explain.adjoint import Adjoint
from recc.explain.chunk import chunk_equations
from recc.explain.combine import Step, combine_equations
from recc.explain.kernel import kernel_equations
from recc.explain.letters import Letters
from recc.explain.linear import Linear, linear
from recc.explain.notation import Big, Binary, Equation, Indexed, Name, Node, Shift, Words
from recc.recurrence import Kind, Recurrence
from recc.structure import Affine, cuts, structures
from tests.explain.evaluate import Evaluator
from tests.explain.runs import STEPS, Run, stored
from tests.structure.generate import affine_program
from tests.zoo.core import CORE

NAMES = CORE


def affine(rec: Recurrence) -> list[tuple[Affine, Linear | None]]:
    handed = cuts(rec)
    return [(s, linear(s, handed)) for s in structures(rec) if isinstance(s, Affine) and len(rec.scan) == 1]


def evaluator(run: Run, rec: Recurrence, equations: list[Equation]) -> Evaluator:
    return Evaluator(
        run.look(rec), frozenset(rec.table), run.sizes, STEPS, rec.scan[0], Letters(rec)["end"], {}, tuple(equations)
    )


def free(node: Node) -> Iterator[str]:
    """The axes and steps that the left side of an equation leaves open."""
    if isinstance(node, Shift) and not node.name.isdigit():
        yield node.name
    elif isinstance(node, Indexed):
        for part in (*node.times, *node.index):
            yield from free(part)
    elif isinstance(node, Binary):
        yield from (*free(node.left), *free(node.right))
    elif isinstance(node, Big):
        bound = {b.name for b in node.below if isinstance(b, Shift)}
        yield from (n for n in free(node.arg) if n not in bound)


def holds(evaluate: Evaluator, equation: Equation, direction: int, margin: int = 0) -> int:
    """Both sides are equal for every step and index. Gives how many there were."""
    assert equation.left is not None
    names = list(dict.fromkeys(free(equation.left)))
    letters = [n for n in names if n.partition("'")[0] not in evaluate.sizes]
    axes = [n for n in names if n not in letters]
    steps = range(1 + margin * (direction > 0), STEPS + 1 - margin * (direction < 0))
    count = 0
    for places in product(*(steps for _ in letters)):
        if any((b - a) * direction > 0 for a, b in pairwise(places)):
            continue  # a ratio is of a later step to an earlier one
        for index in product(*map(evaluate.span, axes)):
            scope = {**dict(zip(letters, places, strict=True)), **dict(zip(axes, index, strict=True))}
            if not isinstance(equation.side, str) and not evaluate.value(equation.side, scope):
                continue
            left, right = evaluate.value(equation.left, scope), evaluate.value(equation.right, scope)
            np.testing.assert_allclose(right, left, rtol=1e-9, atol=1e-11)
            count += 1
    return count


def random(seed: int) -> Recurrence:
    """A random program with affine updates: reads along other axes, shifted, gathered, masked; several states."""
    (rec,) = load(affine_program(seed))
    return rec


#: Seeds whose programs use nothing that is not evaluated here (`solve`).
RANDOM = (0, 1, 2, 3, 6, 7, 8, 9, 13, 14, 23, 28, 42, 48, 54)


@pytest.mark.parametrize("seed", RANDOM)
def test_equations_of_random_programs(seed: int) -> None:
    rec = random(seed)
    the_chunk_equations(rec)
    a_step_is_its_matrix(rec)


@pytest.mark.parametrize("seed", RANDOM)
def test_the_adjoint_of_random_programs(seed: int) -> None:
    rec = random(seed)
    found = [e for _, group in Adjoint(rec, structures(rec)).equations() for e in group]
    if not any(True for e in found for _ in _words(e.right)):
        the_adjoint_is_the_gradient(rec)


@pytest.mark.parametrize("name", NAMES)
def test_the_chunk_equations(name: str) -> None:
    assert the_chunk_equations(stored(name)) > 0 or not [s for _, s in affine(stored(name)) if s and s.keeps]


def the_chunk_equations(rec: Recurrence) -> int:
    checked = 0
    for structure, stage in affine(rec):
        if stage is None or not stage.keeps:
            continue
        equations = [e for _, group in chunk_equations(stage) for e in group]
        evaluate = evaluator(Run(rec), structure.rec, equations)
        checked += sum(holds(evaluate, e, structure.stage.direction[0]) for e in equations)
    return checked


@pytest.mark.parametrize("name", NAMES)
def test_two_steps_at_once(name: str) -> None:
    rec = stored(name)
    for structure, _ in affine(rec):
        if Step(structure).elementwise:
            (_, equations) = combine_equations(structure)[1]
            evaluate = evaluator(Run(rec), structure.rec, equations)
            for equation in equations:
                assert holds(evaluate, equation, structure.stage.direction[0], margin=1)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_its_matrix_and_what_it_adds(name: str) -> None:
    a_step_is_its_matrix(stored(name))


def a_step_is_its_matrix(rec: Recurrence) -> None:
    for structure, _ in affine(rec):
        step = Step(structure)
        if not step.plain or structure.algebra != "ring" or any(rec.axis[a].edge != "zero" for a in step.mixed):
            continue
        evaluate = evaluator(Run(rec), structure.rec, [])
        here = Shift(rec.scan[0])
        for row, (state, depth) in enumerate(step.components):
            axes = rec.table[state].axes
            for t, *index in product(range(1, STEPS + 1), *map(evaluate.span, axes)):
                scope = {here.name: t, **dict(zip(axes, index, strict=True))}
                way = structure.stage.direction[0]
                total = evaluate.value(step.added(row), scope)
                for column, (source, back) in enumerate(step.components):
                    for moved in product(*map(evaluate.span, step.mixed)):
                        inner = {**scope, **dict(zip(step.mixed.values(), moved, strict=True))}
                        place = [inner[step.mixed.get(a, a)] for a in rec.table[source].axes]
                        read = evaluate.look(source, (t - way * back,), tuple(place))
                        total = total + evaluate.value(step.entry(row, column), inner) * read
                assert np.isclose(total, evaluate.look(state, (t - way * (depth - 1),), tuple(index)))


@pytest.mark.parametrize("name", NAMES)
def test_the_kernels(name: str) -> None:
    rec = stored(name)
    for structure, stage in affine(rec):
        if stage is None or stage.low or not stage.keeps:
            continue
        for _, equations in kernel_equations(structure, stage):
            evaluate = evaluator(Run(rec, stateless=True), structure.rec, equations)
            known = [e for e in equations if not _is_kernel(e, rec)]
            assert known
            for equation in known:
                assert holds(evaluate, equation, structure.stage.direction[0])


def _is_kernel(equation: Equation, rec: Recurrence) -> bool:
    left = equation.left
    while isinstance(left, Indexed):
        left = left.base
    return isinstance(left, Name) and left.text not in rec.table


# `lif` has a surrogate, whose gradient is not the slope; the slope of gelu is written as such.
@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("lif", "conv_ssm") and len(stored(n).scan) == 1])
def test_the_adjoint_is_the_gradient(name: str) -> None:
    the_adjoint_is_the_gradient(stored(name))


def the_adjoint_is_the_gradient(rec: Recurrence) -> None:
    start = any(s.initial is not None for s in rec.states)
    # Not every draw is inside the domain of a logarithm or a root.
    runs = (Run(rec, seed, stateless=start) for seed in range(20))
    run = next(r for r in runs if all(np.isfinite(v).all() for v in r.outputs(r.arguments).values()))
    rng = np.random.default_rng(7)
    weights = {s.name: rng.standard_normal(run.outputs(run.arguments)[s.name].shape) for s in rec.outputs}
    adjoint = Adjoint(rec, structures(rec))
    equations = [e for _, group in adjoint.equations() for e in group]
    read_again = {s.name for s in rec.outputs if adjoint.given[s.name]}
    look = run.look(adjoint.program)

    def value(symbol: str, steps: tuple[int, ...], index: tuple[int, ...]) -> Any:
        if not symbol.startswith("∂"):
            return look(symbol, steps, index)
        array = weights[symbol[1:]]
        return array[(0, steps[0] - 1, *index)] if 1 <= steps[0] <= STEPS else 0

    assert not read_again
    edges = {a.name: a.edge for a in rec.axes}
    own = frozenset([*adjoint.program.table, *(f"∂{n}" for n in weights)])
    evaluate = Evaluator(value, own, run.sizes, STEPS, rec.scan[0], "", edges, equations)

    def loss(arguments: dict[str, Any]) -> float:
        return sum(float(np.sum(v * weights[n])) for n, v in run.outputs(arguments).items())

    for symbol in rec.arguments:
        if symbol.dtype not in ("real", "complex"):
            continue
        array = run.arguments[symbol.name]
        direction = rng.standard_normal(array.shape)
        if symbol.dtype == "complex":
            direction = direction + 1j * rng.standard_normal(array.shape)
        claimed = 0.0
        for place in np.ndindex(*array.shape):
            varies = symbol.kind is Kind.INPUT
            node = Indexed(
                Name(f"∂{symbol.name}"),
                (Shift(str(place[1] + 1)),) if varies else (),
                tuple(Shift(str(k)) for k in place[2 * varies :]),
            )
            claimed += (np.conj(evaluate.value(node, {})) * direction[place]).real
        h = 1e-6
        moved = [{**run.arguments, symbol.name: array + k * h * direction} for k in (1, -1)]
        measured = (loss(moved[0]) - loss(moved[1])) / (2 * h)
        assert np.isclose(claimed, measured, rtol=2e-5, atol=1e-6), symbol.name


def test_what_has_no_formula_is_said() -> None:
    equations = [
        e for _, group in Adjoint(stored("conv_ssm"), structures(stored("conv_ssm"))).equations() for e in group
    ]
    words = [w for e in equations for w in _words(e.right)]
    assert any("clamp ends" in w.text for w in words)


def _words(node: Node) -> Iterator[Words]:
    if isinstance(node, Words):
        yield node
    elif isinstance(node, Binary):
        yield from (*_words(node.left), *_words(node.right))
