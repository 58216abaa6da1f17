"""The programs that every arrow is tested on: the zoo, and those of the language tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import recc.zoo
from recc.check import load
from recc.fuzz import Shapes, draw_arguments, draw_initial
from recc.recurrence import Kind, Recurrence
from recc.runtime.op import Op
from tests.fuzz.programs import GRADIENTS_OF_THEIR_OWN, SMOOTH
from tests.zoo.core import CORE

Arrays = dict[str, np.ndarray[Any, Any]]

#: Matrices that must be positive definite, which no domain can say.
_COVARIANCES = {"kalman": ("Q", "P0")}


@dataclass(frozen=True)
class Program:
    """A program with the sizes that all tests share, so that each of its kernels is built once."""

    name: str
    rec: Recurrence

    @property
    def op(self) -> Op:
        """The op on the C backend; one for the whole run."""
        return _op(self.name)

    def shapes(self, *, steps: int = 5, batch: int = 2, heads: tuple[int, ...] = ()) -> Shapes:
        """Sizes that all differ, so that no axis can be taken for another."""
        roots = sorted({a.size_of for a in self.rec.axes})
        sizes = {name: 2 + k for k, name in enumerate(roots)}
        return Shapes(sizes, tuple(steps + k for k in range(len(self.rec.scan))), batch, heads)

    def steps(self, shapes: Shapes) -> int | None:
        """What to pass as `steps`: the number of steps where no input tells it."""
        return None if self.rec.of_kind(Kind.INPUT) else shapes.steps[0]

    def draw(self, shapes: Shapes, seed: int = 0, dtype: Any = np.float64) -> tuple[Arrays, Arrays]:
        """Arguments, and a state to begin with."""
        rng = np.random.default_rng(seed)
        arguments = draw_arguments(self.rec, shapes, rng, dtype=dtype)
        for name in _COVARIANCES.get(self.rec.name, ()):
            root = arguments[name].astype(np.float64)
            arguments[name] = (root @ np.swapaxes(root, -1, -2) + np.eye(root.shape[-1])).astype(dtype)
        return arguments, draw_initial(self.rec, shapes, rng, dtype=dtype)

    def __str__(self) -> str:
        return self.name


@cache
def programs() -> Mapping[str, Program]:
    """Every program by name."""
    zoo = [rec for name in CORE for rec in load(recc.zoo.text(name), name)]
    more = [case.rec for case in SMOOTH + GRADIENTS_OF_THEIR_OWN]
    found = {}
    for rec in (*zoo, *more):
        name = rec.name if rec.name not in found else f"{rec.name} again"
        found[name] = Program(name, rec)
    return found


@cache
def program(text: str) -> Program:
    """A program from text."""
    (rec,) = load(text)
    return Program(text, rec)


@cache
def _op(name: str) -> Op:
    found = programs().get(name)
    return Op(found.rec if found is not None else program(name).rec, backend="c")


__all__ = ["Arrays", "Program", "program", "programs"]
