"""Eigenvalues to start from, and time scales."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recc.errors import UsageError

from .hippo import normal_plus_low_rank

Array = NDArray[Any]


def diagonal(kind: str, n: int) -> Array:
    """`n / 2` complex eigenvalues, one of every pair of conjugates, of diagonal state spaces.

    `linear`: `-1/2 + i pi k`; `inverse`: `-1/2 + i (n/pi) (n/(2k+1) - 1)`; `legs`: those of the normal part of
    the scaled Legendre matrix, which the other two approach. `k = 0 … n/2 - 1`, `n` even.

    Raises `UsageError` for another kind or an odd `n`.

    Source: Gu and others, On the Parameterization and Initialization of Diagonal State Space Models, 2022.
    """
    if n < 2 or n % 2:
        raise UsageError("n", "an even number, for pairs of conjugates", str(n))
    k = np.arange(n // 2)
    if kind == "linear":
        return -0.5 + 1j * np.pi * k
    if kind == "inverse":
        return -0.5 + 1j * (n / np.pi) * (n / (2 * k + 1) - 1)
    if kind == "legs":
        return normal_plus_low_rank("legs", n).eigenvalues
    raise UsageError("kind", "linear, inverse or legs", repr(kind))


def ring(
    n: int, rng: np.random.Generator, low: float = 0.0, high: float = 1.0, phase: float = 2 * np.pi
) -> tuple[Array, Array, Array]:
    """Eigenvalues uniform on a ring of the unit disk, as `nu`, `theta`, `log_gamma`, each `[n]`.

    `lambda = exp(-exp(nu) + i exp(theta))` has a modulus from `low` to `high` with uniform density in area and a
    phase up to `phase`; `gamma = sqrt(1 - |lambda|^2)` makes a state driven by noise have unit variance.

    Raises `UsageError` unless `0 <= low < high <= 1` and `0 < phase`.

    Source: Orvieto and others, Resurrecting Recurrent Neural Networks for Long Sequences, 2023, lemma 3.2.
    """
    if not (0 <= low < high <= 1 and phase > 0):
        raise UsageError("low, high and phase", "0 <= low < high <= 1 and a positive phase", f"{low}, {high}, {phase}")
    # An open interval at both ends: a modulus of 0 or 1 has no logarithm of its logarithm.
    square = low**2 + (high**2 - low**2) * np.clip(rng.random(n), 1e-12, 1 - 1e-12)
    angle = phase * np.clip(rng.random(n), 1e-12, 1.0)
    nu = np.log(-0.5 * np.log(square))
    return nu, np.log(angle), 0.5 * np.log1p(-square)


def arithmetic(d: int, n: int) -> Array:
    """`-1, -2, …, -n` in each of `d` rows: the real transition of selective state spaces.

    Source: Gu, Dao, Mamba, 2023, section 3.6.
    """
    return np.tile(-np.arange(1.0, n + 1), (d, 1))


def log_uniform(
    shape: int | tuple[int, ...], rng: np.random.Generator, low: float = 1e-3, high: float = 0.1, floor: float = 0.0
) -> Array:
    """Time scales with uniform logarithms from `low` to `high`, none below `floor`.

    Raises `UsageError` unless `0 < low <= high`.
    """
    if not 0 < low <= high:
        raise UsageError("low and high", "0 < low <= high", f"{low} and {high}")
    drawn = np.exp(rng.uniform(np.log(low), np.log(high), shape))
    return np.asarray(np.maximum(drawn, floor))


def softplus_inverse(y: Any) -> Array:
    """`x` with `log(1 + exp(x)) = y`, such as the bias that makes `softplus` begin at given time scales.

    Raises `UsageError` for values that are not positive.
    """
    y = np.asarray(y, np.float64)
    if not (y > 0).all():
        raise UsageError("y", "positive values", str(y.min()))
    return np.asarray(y + np.log(-np.expm1(-y)))


__all__ = ["arithmetic", "diagonal", "log_uniform", "ring", "softplus_inverse"]
