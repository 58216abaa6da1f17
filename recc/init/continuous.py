"""From continuous to discrete time: `dx/dt = A x + B u` becomes `x[t] = Abar x[t-1] + Bbar u[t]`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recc.errors import UsageError
from recc.forms.small_matrices import expm

Array = NDArray[Any]


def zoh(a: Any, b: Any, delta: Any) -> tuple[Array, Array]:
    """Zero-order hold, exact where the input is constant over a step of `delta`.

    `Abar = exp(delta A)`, `Bbar = A^-1 (exp(delta A) - 1) B`, also where `A` is singular. `a` is a vector of
    eigenvalues or a square matrix `[n, n]`, `b` a vector `[n]` or a matrix `[n, h]`; `delta` is positive: a
    number, or for a vector of eigenvalues one for each. Real in, real out.

    Raises `UsageError` for other shapes and for steps that are not positive.
    """
    a, b, delta = _checked(a, b, delta)
    if a.ndim == 1:
        scaled = a * delta
        gain = delta * _expm1_over(scaled)
        return np.exp(scaled), _rows(gain, b) * b
    columns = b.reshape(len(a), -1)
    n, m = columns.shape
    whole = np.zeros((n + m, n + m), np.result_type(a, b, np.float64))
    whole[:n, :n], whole[:n, n:] = a * delta, columns * delta
    held = expm(whole)
    return held[:n, :n], held[:n, n:].reshape(b.shape)


def bilinear(a: Any, b: Any, delta: Any) -> tuple[Array, Array]:
    """The bilinear transform (Tustin), which keeps stability: `discretise` with `alpha = 1/2`."""
    return discretise(a, b, delta, 0.5)


def discretise(a: Any, b: Any, delta: Any, alpha: float) -> tuple[Array, Array]:
    """The generalised bilinear transform.

    `Abar = (1 - alpha delta A)^-1 (1 + (1 - alpha) delta A)`, `Bbar = (1 - alpha delta A)^-1 delta B`: Euler's
    method for `alpha = 0`, the bilinear transform for 1/2, the backward method for 1. Shapes and errors as
    in `zoh`; `alpha` in [0, 1].

    Source: Zhang, Chen, Tomizuka, 2007; Gu and others, LSSL, 2021.
    """
    if not 0 <= alpha <= 1:
        raise UsageError("alpha", "a number from 0 to 1", str(alpha))
    a, b, delta = _checked(a, b, delta)
    if a.ndim == 1:
        below = 1 / (1 - alpha * delta * a)
        return below * (1 + (1 - alpha) * delta * a), _rows(below * delta, b) * b
    eye = np.eye(len(a))
    below = eye - alpha * delta * a
    return np.linalg.solve(below, eye + (1 - alpha) * delta * a), np.linalg.solve(below, delta * b)


def _checked(a: Any, b: Any, delta: Any) -> tuple[Array, Array, Array]:
    a, b, delta = np.asarray(a), np.asarray(b), np.asarray(delta)
    if a.ndim not in (1, 2) or (a.ndim == 2 and a.shape[0] != a.shape[1]):
        raise UsageError("a", "eigenvalues [n] or a square matrix [n, n]", f"shape {list(a.shape)}")
    if b.ndim not in (1, 2) or len(b) != len(a):
        raise UsageError("b", f"shape [{len(a)}] or [{len(a)}, h]", f"shape {list(b.shape)}")
    if delta.ndim and (a.ndim == 2 or delta.shape != a.shape):
        raise UsageError("delta", "one number, or one for each eigenvalue", f"shape {list(delta.shape)}")
    if not (np.isfinite(delta).all() and (delta > 0).all()):
        raise UsageError("delta", "positive steps", str(delta))
    return a, b, delta


def _rows(factor: Array, b: Array) -> Array:
    """A factor for every row of `b`."""
    return factor[:, None] if b.ndim == 2 else factor


def _expm1_over(x: Array) -> Array:
    """`(exp(x) - 1) / x`, 1 at zero."""
    safe = np.where(x == 0, 1, x)
    return np.where(x == 0, 1, np.expm1(safe) / safe)


__all__ = ["bilinear", "discretise", "zoh"]
