"""Values at the edges of domains, kind by kind, mixed into arguments that were drawn.

| kind | values |
|---|---|
| `ends` | the bounds of an interval that belong to it, and the numbers next to those that do not; 0 where there is no bound; unit vectors along one axis; the least and the largest index |
| `far` | 80 below an upper bound, so that `exp` of a number <= 0 is nearly nothing; 30 above a lower one; scores of which no exponential can be taken |
| `tiny` | denormal numbers of float32, as far as the domain has them |
| `ties` | one value for all elements |
| `repeated` | the value of the first step at others (the same key again) |
| `flags` | truth values that are all true or all false |
| `infinite` | an infinity that is the zero of the semiring of the stage that reads it |
| `huge` | parameters without a bound a thousand times as large, and almost zero |
"""  # noqa: E501  (a row of a table is one line)

from __future__ import annotations

from collections.abc import Collection
from math import inf, nextafter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recc.recurrence import Domain, Kind, Recurrence, Symbol, reads
from recc.structure import Semiring, structures

Array = NDArray[Any]

KINDS = ("ends", "far", "tiny", "ties", "repeated", "flags", "infinite", "huge")
#: The kinds that leave every program as stable as it was.
EVERYWHERE = ("ends", "far", "tiny")

_SHARE = 0.15
_BELOW = 80.0  # exp(-80) is a normal number of float32, though far below its resolution
_ABOVE = 30.0
_LOUD = 120.0  # exp(120) is no number of float32
_DENORMAL = 1e-40  # of float32
_HUGE, _SMALL = 1e3, 1e-30


def possible(rec: Recurrence) -> tuple[str, ...]:
    """The kinds that some argument of a program can hold."""
    arguments = rec.arguments
    holds = {
        "ends": bool(arguments),
        "far": any(_far(s.domain) for s in arguments) or bool(zeros(rec)),
        "tiny": any(s.dtype == "real" and not s.domain.unit for s in arguments),
        "ties": any(not s.domain.unit for s in arguments),
        "repeated": any(s.kind is Kind.INPUT for s in arguments),
        "flags": any(s.dtype == "bool" for s in arguments),
        "infinite": bool(zeros(rec)),
        "huge": any(_may_be_huge(s) for s in arguments),
    }
    return tuple(kind for kind in KINDS if holds[kind])


def _may_be_huge(symbol: Symbol) -> bool:
    return (
        symbol.kind is not Kind.INPUT and symbol.dtype == "real" and not (symbol.domain.bounded or symbol.domain.unit)
    )


def mixed(rec: Recurrence, symbol: Symbol, drawn: Array, kinds: Collection[str], rng: np.random.Generator) -> Array:
    """A drawn value `[…, *axes]` with values of some kinds at random places; it stays within its domain."""
    value: Array = np.asarray(drawn)
    if not value.size:
        return value
    if symbol.dtype == "bool":
        return np.full_like(value, rng.random() < 0.5) if "flags" in kinds else value
    if symbol.domain.unit:
        value = _one_hot(value, rng) if "ends" in kinds else value
    elif symbol.dtype == "int":
        value = _replaced(value, [value.min(), value.max()], rng) if "ends" in kinds else value
    elif symbol.dtype == "complex":
        value = _replaced(value, [0.0], rng) if "ends" in kinds else value
    else:
        value = _reals(rec, symbol, value, kinds, rng)
    if "ties" in kinds and not symbol.domain.unit:
        value = np.full_like(value, value.flat[0])
    if "repeated" in kinds and symbol.kind is Kind.INPUT and value.ndim > 1:
        chosen = np.less(rng.random(value.shape[1]), 0.5)
        value = np.where(chosen.reshape((1, -1) + (1,) * (value.ndim - 2)), value[:, :1], value)
    return value


def _reals(rec: Recurrence, symbol: Symbol, value: Array, kinds: Collection[str], rng: np.random.Generator) -> Array:
    domain = symbol.domain
    found = [*(_ends(domain) if "ends" in kinds else ()), *(_far(domain) if "far" in kinds else ())]
    if "far" in kinds and symbol.name in zeros(rec):
        found += [v for v in (-_LOUD, _LOUD) if _inside(domain, v)]
    found += [v for v in (_DENORMAL, -_DENORMAL) if "tiny" in kinds and _inside(domain, v)]
    value = _replaced(value, found, rng) if found else value
    if "huge" in kinds and _may_be_huge(symbol):
        value = value * np.where(rng.random(value.shape) < _SHARE, rng.choice([_HUGE, _SMALL], value.shape), 1.0)
    zero = zeros(rec).get(symbol.name) if "infinite" in kinds else None
    return value if zero is None else _replaced(value, [zero], rng)


def zeros(rec: Recurrence) -> dict[str, float]:
    """The inputs that may be infinite, with the infinity: the zero of the semiring of every stage that reads them."""
    found: dict[str, float] = {}
    banned: set[str] = set()
    for structure in structures(rec):
        names = {r.name for name in structure.stage.equations for r in reads(rec.equation[name].expr)}
        if isinstance(structure, Semiring):
            zero = inf if structure.algebra == "min-plus" else -inf
            banned |= {n for n in names if found.get(n, zero) != zero}
            found |= dict.fromkeys(names, zero)
        else:
            banned |= names
    free = {s.name for s in rec.of_kind(Kind.INPUT) if s.dtype == "real" and _inside(s.domain, found.get(s.name, 0.0))}
    return {n: z for n, z in found.items() if n in free - banned}


def _ends(domain: Domain) -> list[float]:
    low, high = domain.lower, domain.upper
    if not domain.bounded:
        return [0.0]
    width = high - low if high - low < inf else 1.0
    # An open end is kept clear of by what both float32 and float64 can hold.
    ends = [low + (1e-6 * width if domain.lower_open else 0.0)] if low > -inf else []
    return ends + ([high - (1e-6 * width if domain.upper_open else 0.0)] if high < inf else [])


def _far(domain: Domain) -> list[float]:
    if domain.bounded and domain.lower == -inf:
        return [domain.upper - _BELOW]
    return [domain.lower + _ABOVE] if domain.bounded and domain.upper == inf else []


def _inside(domain: Domain, value: float) -> bool:
    low = nextafter(domain.lower, inf) if domain.lower_open else domain.lower
    high = nextafter(domain.upper, -inf) if domain.upper_open else domain.upper
    return low <= value <= high


def _replaced(value: Array, by: list[Any], rng: np.random.Generator) -> Array:
    chosen = rng.random(value.shape) < _SHARE
    return np.where(chosen, rng.choice(np.asarray(by), value.shape), value)


def _one_hot(value: Array, rng: np.random.Generator) -> Array:
    """Some of the unit vectors along an axis."""
    chosen = rng.random(value.shape[:-1]) < 2 * _SHARE
    at = rng.integers(0, value.shape[-1], value.shape[:-1])
    vectors = np.zeros_like(value)
    np.put_along_axis(vectors, at[..., None], 1, axis=-1)
    return np.where(chosen[..., None], vectors, value)


__all__ = ["EVERYWHERE", "KINDS", "mixed", "possible", "zeros"]
