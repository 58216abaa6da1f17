"""What element types hold: 16 bits of a number, and how coarse a type is near its smallest numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..drawing.case import cast
from ..drawing.draw import Array

#: The largest number that an element type stores, with room for rounding, and half the distance between its smallest.
_ENDS: Mapping[str, tuple[float, float]] = {
    "float64": (float("inf"), 2.0**-1074), "float32": (float("inf"), 2.0**-150),
    "float16": (65000.0, 2.0**-25), "bfloat16": (float("inf"), 2.0**-134),
}  # fmt: skip

#: float16 holds numbers of eight bits from here on.
_LEAST_NORMAL = 2.0**-12


def stored(value: Array, dtype: str) -> float:
    """What storing a result adds where its numbers are near the ends of an element type's range."""
    size = np.abs(value[np.isfinite(value)])
    if not size.any():
        return 0.0
    largest, step = _ENDS[dtype]
    if size.max() > largest:
        return float("inf")
    norm = size.max() * np.sqrt(np.mean((size / size.max()) ** 2))
    return float(step / norm)


def weight(value: Array, rng: np.random.Generator) -> Array:
    """A random weight for every element, a number of float16, zero where the result is infinite."""
    return np.where(np.isfinite(value), normal(value, rng), 0)


def normal(like: Array, rng: np.random.Generator) -> Array:
    """Standard normals like an array, complex ones where it is; every element type holds them."""
    parts = [narrowed(rng.standard_normal(like.shape), "bfloat16") for _ in range(1 + (like.dtype.kind == "c"))]
    parts = [np.where(np.abs(part) < _LEAST_NORMAL, 0, part) for part in parts]
    return np.asarray(parts[0] + 1j * parts[1] if len(parts) > 1 else parts[0])


def narrowed(value: Array, dtype: str) -> Array:
    """The nearest numbers of 16 bits, as float64."""
    if value.dtype.kind != "f":
        return value
    if dtype == "float16":
        return cast(value, "float16", "float64")
    bits = value.astype(np.float32).view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> np.uint64(16)) & np.uint64(1))) & np.uint64(0xFFFF0000)).astype(np.uint32)
    return rounded.view(np.float32).astype(np.float64)


__all__ = ["narrowed", "normal", "stored", "weight"]
