"""Stand-ins for ways of a program, each with one fault: what the laws have to catch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recc.fuzz.ways.program import Program, Request, Results, Runner, Way
from recc.recurrence import Recurrence

Change = Callable[["Faulty", Request, Results], Results]


@dataclass
class Faulty:
    """A right way whose results one fault changes. `steps` changes those of single steps instead."""

    right: Runner
    change: Change
    steps: Change | None = None
    calls: int = 0

    @property
    def way(self) -> Way:
        return self.right.way

    @property
    def rec(self) -> Recurrence:
        return self.right.rec

    @property
    def exact(self) -> bool:
        return self.right.exact

    @property
    def dtypes(self) -> tuple[str, ...]:
        return self.right.dtypes

    @property
    def packs(self) -> bool:
        return self.right.packs

    @property
    def differentiates(self) -> bool:
        return self.right.differentiates

    def run(self, request: Request) -> Results:
        self.calls += 1
        return self.change(self, request, self.right.run(request))

    def step_by_step(self, request: Request) -> Results | None:
        found = self.right.step_by_step(request)
        return found if self.steps is None or found is None else self.steps(self, request, found)


def with_fault(program: Program, way: Way, change: Change, steps: Change | None = None) -> Program:
    """The program in one way, which has a fault."""
    right = program.runner(way)
    assert right is not None, program.refused.get(way)
    found = Program(program.rec, (way,))
    found._runners[way] = Faulty(right, change, steps)
    return found


def unchanged(way: Faulty, request: Request, found: Results) -> Results:
    """No fault."""
    del way, request
    return found


def of_value(name: str, how: Callable[[Any], Any], when: Callable[[Request], bool] = lambda r: True) -> Change:
    """A fault of one value."""

    def change(way: Faulty, request: Request, found: Results) -> Results:
        del way
        if not when(request) or not found.values[name].size:
            return found
        return replace(found, values={**found.values, name: how(found.values[name].copy())})

    return change


def of_gradient(name: str, how: Callable[[Any], Any], when: Callable[[Request], bool] = lambda r: True) -> Change:
    """A fault of one gradient."""

    def change(way: Faulty, request: Request, found: Results) -> Results:
        del way
        if name not in found.gradients or not when(request):
            return found
        return replace(found, gradients={**found.gradients, name: how(found.gradients[name].copy())})

    return change


def missing(name: str) -> Change:
    """A value that is not there."""

    def change(way: Faulty, request: Request, found: Results) -> Results:
        del way, request
        return replace(found, values={n: v for n, v in found.values.items() if n != name})

    return change


def raising(error: Exception) -> Change:
    """An error in place of results."""

    def change(way: Faulty, request: Request, found: Results) -> Results:
        raise error

    return change


def one_element(value: Any) -> Any:
    """One element is off by a millionth of the largest."""
    value.flat[value.size // 2] += 1e-6 * np.abs(value).max()
    return value


def last_bit(value: Any) -> Any:
    """The last bit of every element is another."""
    return np.nextafter(value, np.inf)


def a_nan(value: Any) -> Any:
    """One element is no number."""
    value.flat[-1] = np.nan
    return value


def swapped_rows(value: Any) -> Any:
    """Two sequences of a batch have changed places."""
    value[[0, 1]] = value[[1, 0]]
    return value


def shifted(value: Any) -> Any:
    """Every step has what belongs to the one before."""
    return np.roll(value, 1, axis=1)


def scaled(by: float) -> Callable[[Any], Any]:
    """All of it is too large."""
    return lambda value: value * by


__all__ = [
    "Change", "Faulty", "a_nan", "last_bit", "missing", "of_gradient", "of_value", "one_element", "raising", "scaled",
    "shifted", "swapped_rows", "unchanged", "with_fault",
]  # fmt: skip
