"""Functions of small matrices, `[..., n, n]` in float64, as the interpreter of Blocks defines them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def solved(a: Array, b: Array, transposed: bool) -> Array:
    """The x with A x = b, NaN where there is none."""
    del transposed  # `a` is transposed already
    return np.asarray(np.linalg.solve(_regular(a), b[..., None])[..., 0])


def inverse(a: Array) -> Array:
    """The inverse, NaN where there is none."""
    return np.asarray(np.linalg.inv(_regular(a)))


def _regular(a: Array) -> Array:
    """NaN in place of singular matrices, which LAPACK's elimination meets with an exact zero."""
    return np.where((np.linalg.slogdet(a).sign == 0)[..., None, None], np.nan, a)


def substitute(a: Array, b: Array, transposed: bool) -> Array:
    """Solves a unit triangular system row by row: from the first row on, or from the last one back."""
    x = b.copy()
    size = b.shape[-1]
    for i in range(size - 1, -1, -1) if transposed else range(size):
        done = slice(i + 1, None) if transposed else slice(0, i)
        x[..., i] -= np.sum(a[..., i, done] * x[..., done], axis=-1)
    return x


def expm(a: Array, rounded: Callable[[Array], Array] = lambda x: x) -> Array:
    """The matrix exponential, by Taylor series of A / 2^k with norm at most 1/2 and k squarings.

    `rounded` stands for coarser rounding of what is squared. The series is cut after 20 terms: the next one is below
    1e-25. Source: Higham, *Functions of Matrices*, 2008, chapter 10.
    """
    return _along(a, np.zeros_like(a), rounded)[0]


def expm_vjp(a: Array, g: Array, rounded: Callable[[Array], Array] = lambda x: x) -> Array:
    """The gradient of `sum(G * expm(A))`: the derivative of `expm` at the transpose of A in the direction G.

    It is carried along with every step of `expm`: d(X X) = X dX + dX X.
    Source: Higham, *Functions of Matrices*, 2008, sections 3.2 and 10.6.
    """
    a, g = np.broadcast_arrays(np.swapaxes(a, -1, -2), g)
    return _along(a, g, rounded)[1]


def _along(a: Array, direction: Array, rounded: Callable[[Array], Array]) -> tuple[Array, Array]:
    """`expm(A)` and its derivative in a direction."""
    norm = float(np.max(np.sum(np.abs(a), axis=-1), initial=0.0))
    squarings = max(0, math.ceil(math.log2(norm)) + 1) if 0 < norm < math.inf else 0
    scaled, step = a / 2.0**squarings, direction / 2.0**squarings
    term, slope = np.broadcast_to(np.eye(a.shape[-1]), a.shape), np.zeros_like(a)
    result, derivative = term, slope
    for k in range(1, 21):
        slope = (slope @ scaled + term @ step) / k
        term = term @ scaled / k
        result, derivative = result + term, derivative + slope
    for _ in range(squarings):
        left, right = rounded(result), rounded(result)
        derivative = left @ rounded(derivative) + rounded(derivative) @ right
        result = left @ right
    return result, derivative


__all__ = ["expm", "expm_vjp", "inverse", "solved", "substitute"]
