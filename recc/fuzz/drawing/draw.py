"""Arguments drawn from the domains that a program declares.

What a caller promises is what is drawn: intervals uniformly, half-lines with a spread of several sizes,
unit vectors on the sphere, indices over their axis. With `edges`, values of some kinds from the edges of
domains are mixed in (`recc.fuzz.drawing.edges`), because that is where kernels break.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import inf, prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recc.recurrence import Domain, Kind, Recurrence, Symbol

from .edges import EVERYWHERE, mixed

Array = NDArray[Any]

_STABLE = 0.5  # a dense matrix of normals times 0.5 / sqrt(n) has spectral radius 0.5 and norm near 1


@dataclass(frozen=True)
class Shapes:
    """The sizes of a run: declared axes by name, steps along each scan axis, B, batch axes.

    `params_have_batch` gives parameters the batch axes too (`[*batch, *axes]`), in place of sharing them.
    """

    sizes: Mapping[str, int]
    steps: tuple[int, ...]
    batch: int = 1
    heads: tuple[int, ...] = field(default=())
    params_have_batch: bool = False

    def of(self, rec: Recurrence, axes: tuple[str, ...]) -> tuple[int, ...]:
        """The sizes of declared axes; `m = n` has the size of `n`."""
        return tuple(self.sizes[rec.axis[a].size_of] for a in axes)


def draw_arguments(
    rec: Recurrence,
    shapes: Shapes,
    rng: np.random.Generator,
    *,
    edges: bool | Collection[str] = False,
    dtype: Any = np.float64,
) -> dict[str, Array]:
    """Draw every argument of a program from its domain.

    `edges` are the kinds of values at the edges of domains that are mixed in; `True` stands for those that
    leave every program stable (`recc.fuzz.drawing.edges.EVERYWHERE`).
    Inputs are `[B, *steps, *heads, *axes]`, parameters and constants `[*axes]` (or `[*heads, *axes]`).
    Real arguments have `dtype`, complex ones its complex kin, the others int64 and bool.
    """
    found = {}
    for symbol in rec.arguments:
        lead: tuple[int, ...] = shapes.heads if shapes.params_have_batch else ()
        if symbol.kind is Kind.INPUT:
            lead = (shapes.batch, *shapes.steps, *shapes.heads)
        found[symbol.name] = draw_symbol(rec, symbol, shapes, lead, rng, edges=edges, dtype=dtype)
    return found


def draw_initial(
    rec: Recurrence, shapes: Shapes, rng: np.random.Generator, *, dtype: Any = np.float64
) -> dict[str, Array]:
    """Draw a state to begin with, `[B, *heads, *axes]` for every slot, from the domain of its symbol."""
    found = {}
    for slot in rec.slots:
        lead = (shapes.batch, *shapes.heads)
        found[slot.name] = draw_symbol(rec, rec.table[slot.symbol], shapes, lead, rng, dtype=dtype)
    return found


def draw_symbol(
    rec: Recurrence,
    symbol: Symbol,
    shapes: Shapes,
    lead: tuple[int, ...],
    rng: np.random.Generator,
    *,
    edges: bool | Collection[str] = False,
    dtype: Any = np.float64,
) -> Array:
    """Draw `[*lead, *axes]` for one symbol.

    Without a domain: standard normal, times `1 / sqrt(n)` for a parameter of two axes or more with n the
    size of its last one, and half that if it is square (a transition then contracts).
    """
    shape = lead + shapes.of(rec, symbol.axes)
    kinds = frozenset(EVERYWHERE if edges is True else edges or ())
    if symbol.dtype == "bool":
        value = rng.random(shape) < 0.5
    elif symbol.dtype == "int":
        value = _draw_int(rec, symbol, shapes, shape, rng)
    else:
        value = _draw_number(rec, symbol, shapes, shape, rng)
    if kinds:
        value = mixed(rec, symbol, value, kinds, rng)
    if value.dtype.kind not in "fc":
        return value
    return value.astype(np.result_type(dtype, np.complex64) if symbol.dtype == "complex" else dtype)


def _draw_number(
    rec: Recurrence, symbol: Symbol, shapes: Shapes, shape: tuple[int, ...], rng: np.random.Generator
) -> Array:
    """A real or complex value, scaled as a program can bear it."""
    value = _draw_real(symbol.domain, shape, rng)
    if symbol.dtype == "complex":
        value = _draw_complex(symbol.domain, shape, rng)
    if symbol.domain.unit:
        return _normalise(value)
    if not symbol.domain.bounded and symbol.kind is not Kind.INPUT:
        return value * _scale(rec, symbol, shapes)
    return value


def _draw_int(
    rec: Recurrence, symbol: Symbol, shapes: Shapes, shape: tuple[int, ...], rng: np.random.Generator
) -> Array:
    domain = symbol.domain
    low = int(np.ceil(domain.lower)) if domain.lower > -inf else 0
    high = int(np.floor(domain.upper)) + 1 if domain.upper < inf else low + 10
    if symbol.indexes is not None:
        low, high = 0, shapes.of(rec, (symbol.indexes,))[0]
    return rng.integers(low, high, shape) if high > low else np.zeros(shape, np.int64)


def _draw_complex(domain: Domain, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """A bound on a complex value is a bound on its magnitude; the phase is free."""
    if not domain.bounded:
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / sqrt(2)
    return np.asarray(_draw_real(domain, shape, rng) * np.exp(2j * np.pi * rng.random(shape)))


def _draw_real(domain: Domain, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    low, high = domain.lower, domain.upper
    if low > -inf and high < inf:
        value = low + (high - low) * rng.random(shape)
        inner = 1e-3 * (high - low)
        return np.clip(value, low + inner * domain.lower_open, high - inner * domain.upper_open)
    if low > -inf or high < inf:
        sign, bound = (1.0, low) if low > -inf else (-1.0, high)
        # log-normal: most values below 1, some at a hundredth, some at several
        return np.asarray(bound + sign * np.exp(rng.standard_normal(shape) * 1.2 - 1.0))
    return rng.standard_normal(shape)


def _normalise(value: Array) -> Array:
    """Unit vectors along the last axis; a vector of zeros becomes the first one."""
    size = np.linalg.norm(value, axis=-1, keepdims=True)
    first = np.zeros_like(value)
    first[..., :1] = 1
    return np.where(size > 0, value / np.where(size > 0, size, 1), first)


def _scale(rec: Recurrence, symbol: Symbol, shapes: Shapes) -> float:
    if len(symbol.axes) < 2:
        return 1.0
    sizes = [rec.axis[a].size_of for a in symbol.axes]
    last = max(1, prod(shapes.of(rec, symbol.axes[-1:])))
    return (_STABLE if sizes[-1] in sizes[:-1] else 1.0) / sqrt(last)


__all__ = ["Shapes", "draw_arguments", "draw_initial", "draw_symbol"]
