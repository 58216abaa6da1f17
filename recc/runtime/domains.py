"""Whether arguments keep the promises of their declarations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import inf

import numpy as np

from recc.errors import UsageError
from recc.recurrence import Apply, Number, Recurrence, Reduce, Symbol, walk
from recc.runtime.host import Array
from recc.show import show_domain

#: How far from 1 a unit vector may be: what its elements' type can hold, with room for 16-bit originals.
_UNIT = {4: 1e-2, 8: 1e-6}

_SEMIRING = frozenset({"max", "min", "logaddexp", "logsumexp"})


def check_domain(rec: Recurrence, symbol: Symbol, array: Array, sizes: Mapping[str, int]) -> None:
    """Verifies that an argument is inside its declared domain.

    Reals have to be numbers, finite ones unless the program works with infinities (it has one, or a
    `max`, `min`, `logaddexp` or `logsumexp`), and within the declared interval; an `int(a)` has to be inside
    axis a, of the size in `sizes`; `bool` may be given as 0 and 1; `unit` is the 2-norm along the last axis.
    Raises `UsageError` with the first element that is outside.
    """
    values = np.asarray(array)
    if symbol.dtype == "bool":
        _require(symbol, values, (values == 0) | (values == 1), "truth values, or 0 and 1")
        return
    if symbol.indexes is not None:
        size = sizes[rec.axis[symbol.indexes].size_of]
        what = f"indices into axis {symbol.indexes!r}, from 0 to {size - 1}"
        _require(symbol, values, (values >= 0) & (values < size), what)
        return
    _require(symbol, values, ~np.isnan(values), "numbers")
    if not works_with_infinities(rec):
        _require(symbol, values, np.isfinite(values), "finite numbers")
    _check_interval(symbol, values)
    if symbol.domain.unit:
        _check_unit(symbol, values)


def _check_interval(symbol: Symbol, values: Array) -> None:
    domain = symbol.domain
    if not domain.bounded:
        return
    inside = (values > domain.lower if domain.lower_open else values >= domain.lower) | (domain.lower == -inf)
    inside = inside & ((values < domain.upper if domain.upper_open else values <= domain.upper) | (domain.upper == inf))
    _require(symbol, values, inside, f"values {show_domain(replace(symbol, domain=replace(domain, unit=False)))}")


def _check_unit(symbol: Symbol, values: Array) -> None:
    size = np.sqrt(np.sum(np.abs(values) ** 2, axis=-1))
    off = np.abs(size - 1) > _UNIT.get(np.finfo(size.dtype).bits // 8, 1e-6)
    if off.any() and values.shape[-1]:
        at, actual = _first(off, size)
        count = int(off.sum())
        expected = f"vectors of norm 1 along axis {symbol.axes[-1]!r}"
        raise _error(symbol, expected, f"norm {actual}{at}{_more(count)}")


def _require(symbol: Symbol, values: Array, inside: Array, expected: str) -> None:
    outside = ~inside
    if outside.any():
        at, actual = _first(outside, values)
        raise _error(symbol, expected, f"{actual}{at}{_more(int(outside.sum()))}")


def _error(symbol: Symbol, expected: str, actual: str) -> UsageError:
    axes = f"[{', '.join(symbol.axes)}]" if symbol.axes else ""
    declared = " ".join(p for p in (f"{symbol.name}{axes}", show_domain(symbol)) if p)
    return UsageError(f"argument {symbol.name!r}", expected, actual, f"it is declared `{declared}`")


def _first(chosen: Array, values: Array) -> tuple[str, str]:
    """Where the first chosen element is, and the element."""
    at = tuple(int(i) for i in np.argwhere(chosen)[0])
    value = values[at]
    text = f"{value:.6g}" if np.issubdtype(values.dtype, np.inexact) else str(value)
    return f" at index {list(at)}" if at else "", text


def _more(count: int) -> str:
    return f", and {count - 1} more" if count > 1 else ""


def works_with_infinities(rec: Recurrence) -> bool:
    """Whether an infinite value has a meaning in a program: it names one, or is over a semiring that has one."""
    exprs = [e.expr for e in rec.equations]
    exprs += [e for s in rec.symbols for e in (s.initial, s.value) if e is not None]
    return any(
        (isinstance(node, Number) and abs(node.value) == inf)
        or (isinstance(node, (Apply, Reduce)) and node.fn in _SEMIRING)
        for expr in exprs
        for node in walk(expr)
    )


__all__ = ["check_domain", "works_with_infinities"]
