"""The derivative of a weighted sum of results along a random direction, by the reference alone, all steps at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recc.recurrence import Kind

from ..agree import Derivative, refined
from ..drawing.case import Arrays
from ..drawing.draw import Array
from ..ways.program import Request
from .bound import Truth, copies, reference
from .storage import normal

_FIRST, _LEVELS = 2.0**-4, 9


@dataclass(frozen=True)
class Slopes:
    """A derivative by differences with its error, along a direction by the names of gradients.

    `kink` is half of what the derivatives from either side are apart; `size` the sum of magnitudes that the
    objective was added up from.
    """

    value: float
    error: float
    kink: float
    size: float
    direction: Arrays


def slopes(truth: Truth) -> Slopes:
    """The derivative of the weighted sum of a truth's values; worked out once."""
    found: Slopes | None = truth.__dict__.get("slopes")
    if found is None:
        found = truth.__dict__["slopes"] = _slopes(truth)
    return found


def _slopes(truth: Truth) -> Slopes:
    rec, request = truth.rec, truth.request
    rng = np.random.default_rng((*truth.seed, 4))
    moving = {s.name for s in rec.arguments if s.kind is not Kind.CONST and s.dtype in ("real", "complex")}
    direction = {n: normal(v, rng) for n, v in request.arguments.items() if n in moving and v.dtype.kind in "fc"}
    direction.update({f"initial {n}": normal(v, rng) for n, v in request.initial.items()})
    number = np.longdouble
    steps = [number(_FIRST) / number(4) ** k for k in range(_LEVELS)]
    shifts = np.array([number(0), *steps, *(-h for h in steps)], number)
    wide, along = copies(rec, request, len(shifts)), copies(rec, _directed(truth, direction), len(shifts))
    axes = {s.name: 1 + len(request.steps) if s.kind is Kind.INPUT else 0 for s in rec.arguments}
    arguments = {n: _moved(v, along.arguments[n], shifts, axes[n]) for n, v in wide.arguments.items()}
    initial = {n: _moved(v, along.initial[n], shifts, 1) for n, v in wide.initial.items()}
    values = reference(rec, replace(wide, arguments=arguments, initial=initial), number)
    total = np.zeros(len(shifts), number)
    size = np.zeros(len(shifts), number)
    for name, weight in truth.weights.items():
        axis = 1 if name.startswith("final ") else 1 + len(request.steps)
        with np.errstate(invalid="ignore"):  # an infinity with a weight of zero
            terms = np.moveaxis(values[name], axis, 0) * np.conj(weight)
        terms = np.real(terms).reshape(len(shifts), -1)
        terms = np.where(weight.reshape(1, -1) == 0, 0, terms)
        total += terms.sum(1)
        size += np.abs(terms).sum(1)
    return _extrapolated(total, size, steps, direction)


def _directed(truth: Truth, direction: Arrays) -> Request:
    """The direction as if it were a request; zero where nothing moves."""
    arguments = {n: direction.get(n, np.zeros_like(v)) for n, v in truth.request.arguments.items()}
    initial = {n: direction[f"initial {n}"] for n in truth.request.initial}
    return replace(truth.request, arguments=arguments, initial=initial)


def _moved(value: Array, along: Array, shifts: Array, axis: int) -> Array:
    if value.dtype.kind not in "fc":
        return value
    return np.asarray(value + along * shifts.reshape([-1 if k == axis else 1 for k in range(value.ndim)]))


def _extrapolated(total: Array, size: Array, steps: list[Any], direction: Arrays) -> Slopes:
    """Central differences, extrapolated."""
    eps = np.finfo(np.longdouble).eps
    best = Derivative(float("nan"), float("inf"))
    previous: list[Any] = []
    count = len(steps)
    for level, step in enumerate(steps):
        up, down = 1 + level, 1 + count + level
        noise = eps * (size[up] + size[down]) / (2 * step)
        previous, best = refined(previous, (total[up] - total[down]) / (2 * step), noise, best)
    step = steps[-1]
    kink = abs(total[count] - 2 * total[0] + total[-1]) / (2 * step)
    return Slopes(best.value, best.error, float(kink), float(size[0]), direction)


__all__ = ["Slopes", "slopes"]
