"""What the tests of structures share: programs by text, and the law that proves a classification."""

from __future__ import annotations

from functools import cache

import numpy as np

from recc.backends.numpy_reference import run
from recc.check import load
from recc.fuzz import Shapes, draw_arguments, draw_initial
from recc.recurrence import Recurrence
from recc.structure import Affine, Structure, rebuilt, structures


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
    """The structure of the only stage with states, after the law has been checked for it."""
    structure = only(text)
    assert isinstance(structure, Affine), str(structure)
    rebuilt_agrees(program(text), structure)
    return structure


def rebuilt_agrees(rec: Recurrence, structure: Affine, seeds: int = 2, tolerance: float = 1e-12) -> None:
    """The terms and the drive of a stage are its update: the rebuilt program gives the same values."""
    again = rebuilt(structure)
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        sizes = {a.size_of: 0 for a in rec.axes}
        sizes = {name: 2 + (k + seed) % 3 for k, name in enumerate(sorted(sizes))}
        shapes = Shapes(sizes, tuple(4 + k for k in range(len(rec.scan))), 2)
        arguments, initial = draw_arguments(rec, shapes, rng), draw_initial(rec, shapes, rng)
        if "eye" in arguments:  # what makes a random matrix one that can be solved with
            arguments["eye"] = np.eye(len(arguments["eye"]))
        expected = run(rec, arguments, initial=initial, sizes=sizes)
        actual = run(again, arguments, initial=initial, sizes=sizes)
        for values, others in ((expected.outputs, actual.outputs), (expected.final, actual.final)):
            for name, value in values.items():
                scale = max(1.0, float(np.max(np.abs(value[np.isfinite(value)]), initial=0.0)))
                np.testing.assert_allclose(others[name], value, rtol=tolerance, atol=tolerance * scale, err_msg=name)
