"""Whether arguments keep what their domains promise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from recc.errors import UsageError
from recc.recurrence import Recurrence, Symbol
from recc.runtime.host import Array
from recc.show import show_domain

#: How far from 1 the norm of a `unit` vector may be: what rounding its elements to bfloat16 can do.
_UNIT_SLACK = 2.0**-8


def check_domain(rec: Recurrence, symbol: Symbol, array: Any, sizes: Mapping[str, int]) -> None:
    """Verifies the promises of one argument. `sizes` are by root axis.

    Bounds are exact; a NaN is outside every domain, and no value without a domain is checked. A `unit`
    vector has norm 1 to 0.4 %, and an index lies inside its axis. Raises `UsageError` with the first
    element that breaks a promise and how many do.
    """
    values = np.asarray(array)
    if symbol.indexes is not None:
        size = sizes[rec.axis[symbol.indexes].size_of]
        wanted = f"indices into axis {symbol.indexes!r}, from 0 to {size - 1}"
        _tell(symbol, values, (values < 0) | (values >= size), wanted)
    domain = symbol.domain
    if domain.bounded:
        above = values > domain.lower if domain.lower_open else values >= domain.lower
        below = values < domain.upper if domain.upper_open else values <= domain.upper
        _tell(symbol, values, ~(above & below), f"values {show_domain(symbol).removesuffix(' unit')}")
    if domain.unit:
        norms = np.linalg.norm(values, axis=-1)
        wanted = f"vectors of norm 1 along axis {symbol.axes[-1]!r}"
        _tell(symbol, norms, ~(np.abs(norms - 1) <= _UNIT_SLACK), wanted, "norm ")


def _tell(symbol: Symbol, values: Array, outside: Array, wanted: str, what: str = "") -> None:
    count = int(np.count_nonzero(outside))
    if not count:
        return
    at = tuple(int(i) for i in np.argwhere(outside)[0])
    place = f" at {list(at)}" if at else ""
    share = f"{count} of {values.size} are outside"
    raise UsageError(f"argument {symbol.name!r}", wanted, f"{what}{values[at]:g}{place}", share)


__all__ = ["check_domain"]
