"""Small sample data for pictures, and what a program makes of it.

The fuzzer draws what breaks kernels; a picture wants typical values: decays that last several steps,
parameters that keep a state from growing. One of several draws is taken, always the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recc.backends.numpy_reference import run
from recc.recurrence import Equation, Expr, Kind, Recurrence, Stage, Symbol

Array = NDArray[Any]

STEPS, PLANE, SIZE = 32, 12, 4
_DRAWS = 6
_SLOW, _TYPICAL, _LARGE = 0.2, 0.5, 12.0


@dataclass(frozen=True)
class Sample:
    """Arguments of one sequence, `[1, T, *axes]` for inputs and `[*axes]` for parameters."""

    rec: Recurrence
    arguments: Mapping[str, Array]

    @property
    def sizes(self) -> dict[str, int]:
        """The size of every axis."""
        return {a.name: SIZE for a in self.rec.axes}

    @property
    def length(self) -> int | dict[str, int]:
        """The steps along every scan axis."""
        return STEPS if len(self.rec.scan) == 1 else dict.fromkeys(self.rec.scan, PLANE)

    def impulses(self, source: str, target: str) -> Array:
        """How an output moves when one element of an input does: element 0 of both, `[T of target, T of source]`.

        Exact where the output is affine in the input. Over several scan axes, `[*T]` for an impulse at
        the origin.
        """
        value = self.arguments[source]
        lead = len(self.rec.scan)
        count = STEPS if lead == 1 else 1
        moved = np.repeat(value, count + 1, axis=0)
        rest = (0,) * (value.ndim - 1 - lead)
        for k in range(count):
            moved[(k, *((k,) if lead == 1 else (0,) * lead), *rest)] += 1
        result = self.outputs({**self.arguments, source: moved})[target]
        change = result[:count] - result[count]
        change = change[(..., *(0,) * (change.ndim - 1 - lead))]
        return np.moveaxis(change, 0, -1) if lead == 1 else change[0]

    def outputs(self, arguments: Mapping[str, Array]) -> dict[str, Array]:
        """The reference's outputs for some arguments, `[B, T, *axes]`."""
        return run(self.rec, arguments, sizes=self.sizes, length=self.length).outputs

    def values(self, rec: Recurrence, expr: Expr) -> Array:
        """An expression of a recurrence with the same arguments, `[T, *axes]`, or `[*axes]` if it does not vary."""
        name = "value of an expression"  # no name of the language has blanks
        symbol = Symbol(name, Kind.OUTPUT, expr.axes, expr.dtype, expr.varies)
        stage = Stage((name,), (), (0,) * len(rec.scan))
        shown = replace(
            rec,
            symbols=(*rec.symbols, symbol),
            equations=(*rec.equations, Equation(name, expr)),
            stages=(*rec.stages, stage),
        )
        sizes = {a.name: SIZE for a in rec.axes}
        found = run(shown, self.arguments, sizes=sizes, length=self.length).outputs[name]
        return np.asarray(found[0])


def samples(rec: Recurrence) -> Iterator[Sample]:
    """A few draws of the same program, always the same ones."""
    for seed in range(_DRAWS):
        rng = np.random.default_rng(seed)
        yield Sample(rec, {s.name: _draw(rec, s, rng) for s in rec.arguments})


def lively(rec: Recurrence) -> Sample:
    """The draw whose outputs are the largest among those that stay small: neither dull nor beyond all bounds."""
    drawn = [(_size(s), s) for s in samples(rec)]
    kept = [d for d in drawn if d[0] <= _LARGE]
    return max(kept, key=lambda d: d[0])[1] if kept else min(drawn, key=lambda d: d[0])[1]


def _size(sample: Sample) -> float:
    with np.errstate(all="ignore"):
        sizes = [float(np.max(np.abs(v))) for v in sample.outputs(sample.arguments).values() if v.size]
    largest = max(sizes, default=0.0)
    return largest if np.isfinite(largest) else inf


def _draw(rec: Recurrence, symbol: Symbol, rng: np.random.Generator) -> Array:
    lead: tuple[int, ...] = ()
    if symbol.kind is Kind.INPUT:
        lead = (1, STEPS) if len(rec.scan) == 1 else (1, *(PLANE for _ in rec.scan))
    shape = (*lead, *(SIZE for _ in symbol.axes))
    if symbol.dtype == "bool":
        return rng.random(shape) < 0.12
    if symbol.dtype == "int":
        return rng.integers(0, SIZE, shape)
    value = _real(symbol, shape, rng)
    if symbol.dtype == "complex":
        phase = np.exp(2j * np.pi * rng.random(shape))
        value = value * phase if symbol.domain.bounded else value + 1j * rng.standard_normal(shape)
    if symbol.domain.unit:
        value = value / np.linalg.norm(value, axis=-1, keepdims=True)
    return np.asarray(value)


def _real(symbol: Symbol, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    low, high = symbol.domain.lower, symbol.domain.upper
    scale = _SLOW if symbol.kind is Kind.INPUT else _TYPICAL
    if low > -inf and high < inf:
        share = rng.random(shape)
        # A parameter between 0 and 1 is most often a decay, which a picture wants to last.
        share = 0.7 + 0.25 * share if symbol.kind is not Kind.INPUT and low >= 0 else share
        return np.asarray(low + (high - low) * share)
    if low > -inf:
        return np.asarray(low + rng.exponential(scale, shape) + 1e-3)
    if high < inf:
        return np.asarray(high - rng.exponential(scale, shape) - 1e-3)
    value = rng.standard_normal(shape)
    if symbol.kind is Kind.INPUT:
        return value
    return value * (_TYPICAL if len(symbol.axes) < 2 else _TYPICAL / sqrt(SIZE))


__all__ = ["PLANE", "SIZE", "STEPS", "Sample", "lively", "samples"]
