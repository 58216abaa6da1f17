"""Functions of small square matrices, in any NumPy precision (LAPACK stops at float64)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .functions import Array


def solve(matrix: Array, right: Array) -> Array:
    """The x with `matrix @ x = right`, by Gauss-Jordan elimination with partial pivoting.

    `matrix` is `[..., n, n]`, `right` is `[..., n, k]`, leading axes broadcast. A singular matrix gives
    infinities or NaN, as a division by zero does.
    """
    lead = np.broadcast_shapes(matrix.shape[:-2], right.shape[:-2])
    size = matrix.shape[-1]
    dtype = np.result_type(matrix, right)
    left = np.broadcast_to(matrix, (*lead, size, size))
    table = np.concatenate([left, np.broadcast_to(right, (*lead, *right.shape[-2:]))], axis=-1).astype(dtype)
    for column in range(size):
        pivot = column + np.argmax(np.abs(table[..., column:, column]), axis=-1)[..., None, None]
        chosen = np.take_along_axis(table, pivot, axis=-2)
        displaced = table[..., column : column + 1, :].copy()
        np.put_along_axis(table, pivot, displaced, axis=-2)
        chosen = chosen / chosen[..., column : column + 1]
        table = table - table[..., :, column : column + 1] * chosen
        table[..., column : column + 1, :] = chosen
    return np.asarray(table[..., size:])


def inverse(matrix: Array) -> Array:
    """The inverse of `[..., n, n]`."""
    return solve(matrix, np.eye(matrix.shape[-1], dtype=matrix.dtype))


def exponential(matrix: Array, rounded: Callable[[Array], Array] = lambda x: x) -> Array:
    """The matrix exponential of `[..., n, n]`, by scaling, the Taylor series, and squaring.

    `rounded` stands for coarser rounding of what is squared.

    Each matrix is halved until its 1-norm is at most 1/2, where 24 terms reach the last bit of a
    long double, and squared as often. (Moler and Van Loan, 2003, method 3.)
    """
    size = matrix.shape[-1]
    norm = np.abs(matrix).sum(-2).max(-1, initial=0)
    halvings = np.maximum(0, np.ceil(np.log2(np.where(np.isfinite(norm) & (norm > 0), norm, 1))) + 1).astype(np.int64)
    scaled = matrix / (matrix.real.dtype.type(2) ** halvings)[..., None, None]
    term = np.broadcast_to(np.eye(size, dtype=matrix.dtype), matrix.shape)
    total = term
    for n in range(1, 25):
        term = term @ scaled / n
        total = total + term
    for done in range(int(halvings.max(initial=0))):
        total = np.where((halvings > done)[..., None, None], rounded(total) @ rounded(total), total)
    return np.asarray(total)


__all__ = ["exponential", "inverse", "solve"]
