"""What the tests of structures share: programs by text, and the laws that prove a classification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from recc.backends.numpy_reference import run
from recc.check import load
from recc.fuzz import Shapes, draw_arguments, draw_initial
from recc.recurrence import Equation, Expr, Kind, Recurrence, Stage, Symbol
from recc.structure import Affine, Structure, Workspace, number, rebuilt, structures

Arrays = Mapping[str, Any]


@cache
def program(text: str) -> Recurrence:
    """The only recurrence of a text."""
    (rec,) = load(text)
    return rec


def found(text: str) -> list[Structure]:
    """The structures of the stages with states."""
    return [s for s in structures(program(text)) if s.stage.states]


def only(text: str) -> Structure:
    (structure,) = found(text)
    return structure


def affine(text: str) -> Affine:
    """The structure of the only stage with states, after the laws have been checked for it."""
    structure = only(text)
    assert isinstance(structure, Affine), str(structure)
    laws(program(text), structure)
    return structure


def laws(rec: Recurrence, structure: Affine, seeds: int = 2) -> None:
    """Everything that a structure says of a stage, checked with numbers."""
    rebuilt_agrees(rec, structure, seeds)
    if any(p.factored for e in structure.entries for p in e.parts):
        rebuilt_agrees(rec, factored(structure), 1)
    for condition in structure.resets:
        nothing_is_kept(structure, condition)
    if len(rec.scan) == 1 and structure.order == 1:
        if structure.pairs:
            pairs_are_complex(rec, structure)
        if structure.circulant:
            turning_commutes(rec, structure)
        if structure.sides:
            both_sides(rec, structure)


def rebuilt_agrees(rec: Recurrence, structure: Affine, seeds: int = 2, tolerance: float = 1e-12) -> None:
    """The terms and the drive of a stage are its update: the rebuilt program gives the same values."""
    again = rebuilt(structure)
    for seed in range(seeds):
        arguments, initial, sizes, length = drawn(rec, seed)
        expected = run(rec, arguments, initial=initial, sizes=sizes, length=length)
        actual = run(again, arguments, initial=initial, sizes=sizes, length=length)
        for values, others in ((expected.outputs, actual.outputs), (expected.final, actual.final)):
            for name, value in values.items():
                close(others[name], value, tolerance, name)


def drawn(rec: Recurrence, seed: int, steps: int = 4) -> tuple[Arrays, Arrays, dict[str, int], Any]:
    """Arguments and initial states at random, the sizes of axes, and the length if no input tells it."""
    rng = np.random.default_rng(seed)
    names = sorted({a.size_of for a in rec.axes})
    shapes = Shapes(
        {n: 2 + (k + seed) % 3 for k, n in enumerate(names)}, tuple(steps + k for k in range(len(rec.scan))), 2
    )
    arguments, initial = draw_arguments(rec, shapes, rng), draw_initial(rec, shapes, rng)
    if "eye" in arguments:  # what makes a random matrix one that can be solved with
        arguments["eye"] = np.eye(len(arguments["eye"]))
    told = any(s.kind is Kind.INPUT for s in rec.symbols)
    return arguments, initial, dict(shapes.sizes), None if told else shapes.steps[0]


def close(actual: Any, expected: Any, tolerance: float = 1e-12, name: str = "") -> None:
    scale = max(1.0, float(np.max(np.abs(expected[np.isfinite(expected)]), initial=0.0)))
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * scale, err_msg=name)


def factored(structure: Affine) -> Affine:
    """The structure with the terms of low rank that its dense parts come apart into."""
    entries = tuple(
        replace(e, parts=tuple(replace(p, terms=p.factored or p.terms) for p in e.parts)) for e in structure.entries
    )
    return replace(structure, entries=entries)


def nothing_is_kept(structure: Affine, condition: Expr) -> None:
    """Where a reset holds every coefficient is zero."""
    rec, work = structure.rec, Workspace(structure.rec)
    infinite = {"ring": 0.0, "min-plus": np.inf}.get(structure.algebra, -np.inf)
    times = "mul" if structure.algebra == "ring" else "add"
    checks = []
    for k, term in enumerate(t for e in structure.entries for p in e.parts for t in p.terms):
        whole = work.apply(times, term.left, term.right)
        checks.append((f"check_{k}", work.apply("where", condition, whole, number(infinite))))
    symbols = tuple(Symbol(n, Kind.OUTPUT, e.axes, e.dtype, True) for n, e in checks)
    rec = replace(
        rec,
        symbols=(*rec.symbols, *symbols),
        equations=(*rec.equations, *(Equation(n, e) for n, e in checks)),
        stages=(*rec.stages, *(Stage((n,), (), (0,) * len(rec.scan)) for n, _ in checks)),
    )
    arguments, initial, sizes, length = drawn(rec, 0, steps=12)
    result = run(rec, arguments, initial=initial, sizes=sizes, length=length)
    for name, _ in checks:
        assert np.all(result.outputs[name] == infinite), name


class Step:
    """One step of a program with the same arguments every time: its linear part in the states."""

    def __init__(self, rec: Recurrence):
        self.rec = rec
        self.arguments, self.initial, self.sizes, length = drawn(rec, 3, steps=1)
        self.length = length and 1
        self.start = self._final({})

    def _final(self, initial: Arrays) -> Arrays:
        zeros = {name: np.zeros_like(value) for name, value in self.initial.items()}
        given = {**zeros, **initial}
        return run(self.rec, self.arguments, initial=given, sizes=self.sizes, length=self.length).final

    def __call__(self, **initial: Any) -> Arrays:
        """What the linear part makes of some states; all others are zero."""
        return {name: value - self.start[name] for name, value in self._final(initial).items()}


def pairs_are_complex(rec: Recurrence, structure: Affine) -> None:
    """L(i z) = i L(z)."""
    step = Step(rec)
    z = {n: np.random.default_rng(k).standard_normal(step.initial[n].shape) for k, n in enumerate(structure.states)}
    turned = {}
    for pair in structure.pairs:
        turned |= {pair.real: -z[pair.imag], pair.imag: z[pair.real]}
    once, after = step(**z), step(**turned)
    for pair in structure.pairs:
        close(after[pair.real], -once[pair.imag])
        close(after[pair.imag], once[pair.real])


def turning_commutes(rec: Recurrence, structure: Affine) -> None:
    """L(roll(z)) = roll(L(z))."""
    step = Step(rec)
    z = {n: np.random.default_rng(k).standard_normal(step.initial[n].shape) for k, n in enumerate(structure.states)}
    for axis in structure.circulant:
        place = {n: rec.table[n].axes.index(axis) - len(rec.table[n].axes) for n in z}
        once, after = step(**z), step(**{n: np.roll(v, 1, place[n]) for n, v in z.items()})
        for n in z:
            close(after[n], np.roll(once[n], 1, place[n]))


def both_sides(rec: Recurrence, structure: Affine) -> None:
    """The matrix of S ↦ A S B, with rows of S beside each other and columns beside each other, has rank one.

    That of S ↦ A S + S B is zero wherever both a row and a column would be mixed.
    """
    if structure.algebra != "ring":
        return
    (name,) = structure.states
    step = Step(rec)
    batch, rows, cols = step.initial[name].shape[0], *step.initial[name].shape[-2:]
    matrix = np.zeros((batch, rows, cols, rows, cols))
    for k in range(rows):
        for m in range(cols):
            unit = np.zeros_like(step.initial[name])
            unit[..., k, m] = 1
            matrix[..., k, m] = step(**{name: unit})[name].reshape(batch, rows, cols)
    for one in matrix:
        if structure.sides == "product":
            values = np.linalg.svd(one.transpose(0, 2, 1, 3).reshape(rows * rows, cols * cols))[1]
            assert np.all(values[1:] < 1e-10 * values[0])
        else:
            mixed = one * (1 - np.eye(rows))[:, None, :, None] * (1 - np.eye(cols))[None, :, None, :]
            assert np.allclose(mixed, 0)
