"""Matrices of online function approximation, and their form as a normal matrix plus one of low rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recc.errors import UsageError

Array = NDArray[Any]

#: The measures that `hippo` knows, with what their coefficients describe.
MEASURES = {
    "legs": "Legendre polynomials over all of the past, scaled to it; divide by the time passed, or use as it is",
    "legt": "Legendre polynomials over a window of length 1",
    "lagt": "Laguerre polynomials under an exponentially fading past",
    "fout": "Fourier modes over a window of length 1",
}


def hippo(measure: str, n: int) -> tuple[Array, Array]:
    """The matrices `A [n, n]`, `B [n]` of `dc/dt = A c + B f` for the first `n` coefficients of the past of `f`.

    The basis is orthonormal under the measure (`MEASURES`). For `legs` the equation is `dc/dt = (A c + B f) / t`.
    For a window of another length `theta` both are divided by it.

    Raises `UsageError` for another measure or for fewer than one coefficient.

    Source: Gu and others, HiPPO, 2020, and How to Train Your HiPPO, 2022.
    """
    if measure not in MEASURES:
        raise UsageError("measure", f"one of {', '.join(MEASURES)}", repr(measure))
    if n < 1 or (measure == "fout" and n % 2):
        raise UsageError("n", "1 or more, and even for fout (cosines and sines)", str(n))
    index = np.arange(n)
    row, column = index[:, None], index[None, :]
    root = np.sqrt(2.0 * index + 1)
    if measure == "legs":
        a = -np.where(row > column, root[:, None] * root, np.where(row == column, row + 1.0, 0.0))
        return a, root
    if measure == "legt":
        sign = np.where(row < column, (-1.0) ** (row - column), 1.0)
        return -root[:, None] * sign * root, root
    if measure == "lagt":
        return -np.tril(np.ones((n, n))), np.ones(n)
    return _fourier(n)


def _fourier(n: int) -> tuple[Array, Array]:
    """Pairs of cosine and sine by frequency from 0 up; the sine of frequency 0 is there and stays zero."""
    b = np.zeros(n)
    b[0], b[2::2] = 2.0**0.5, 2.0
    frequencies = np.repeat(2 * np.pi * np.arange(n // 2), 2)[:-1]
    frequencies[1::2] = 0
    turn = np.diag(frequencies, -1) - np.diag(frequencies, 1)
    return turn - np.outer(b, b), b * 2.0**0.5


@dataclass(frozen=True)
class LowRank:
    """`A = V (diag(Lambda) - P^T conj(P)) V*` and `B` in the same basis, one of every pair of conjugates.

    `eigenvalues [n/2]`, `P [r, n/2]`, `B [n/2]` and `V [n, n/2]` are complex: half of each, since the other half
    is conjugate and a readout takes twice the real part.
    """

    eigenvalues: Array
    p: Array
    b: Array
    v: Array


def normal_plus_low_rank(measure: str, n: int) -> LowRank:
    """A HiPPO matrix as a normal matrix plus one of low rank, in the eigenbasis of the normal one.

    `A + P^T P` (real `P`) is a skew-symmetric matrix plus a multiple of the identity, and so has orthogonal
    eigenvectors; they come from a Hermitian eigenvalue problem, which is well conditioned where
    the eigenvectors of `A` itself are not. `n` must be even.

    Source: Gu and others, S4, 2022, appendix C.
    """
    a, b = hippo(measure, n)
    if n % 2:
        raise UsageError("n", "an even number, for pairs of conjugates", str(n))
    p = _correction(measure, n)
    normal = a + p.T @ p
    shift = np.mean(np.diag(normal))
    # What is left is skew-symmetric, -i times it Hermitian: eigenvalues real, eigenvectors orthogonal.
    skew = normal - shift * np.eye(n)
    frequencies, vectors = np.linalg.eigh(-0.5j * (skew - skew.T))
    v = vectors[:, n // 2 :]
    frequencies = frequencies[n // 2 :]
    still = frequencies < 1e-9 * max(1.0, frequencies[-1])
    if still.any():
        # Vectors that do not turn may come out real: pairs of them are made conjugate.
        null = np.linalg.svd(skew)[2][n - 2 * int(still.sum()) :]
        v[:, still] = (null[0::2] + 1j * null[1::2]).T / 2**0.5
        frequencies = np.where(still, 0.0, frequencies)
    return LowRank(shift + 1j * frequencies, p @ v.conj(), v.conj().T @ b, v)


def _correction(measure: str, n: int) -> Array:
    """Real rows `P [r, n]` for which `A + P^T P` is skew-symmetric plus a multiple of the identity."""
    index = np.arange(n)
    root = np.sqrt(2.0 * index + 1)
    if measure == "legs":
        return np.asarray(root / 2**0.5)[None]
    if measure == "legt":
        return np.stack([np.where(index % 2 == 0, root, 0), np.where(index % 2 == 1, root, 0)])
    if measure == "lagt":
        return np.full((1, n), 0.5**0.5)
    return hippo(measure, n)[1][None] / 2**0.5


def diagonal_blocks(n: int, blocks: int, measure: str = "legs") -> tuple[Array, Array, Array]:
    """Eigenvalues `[m]`, and `V [n, m]`, `V^-1 [m, n]`, of `blocks` equal blocks of the normal part; m = n / 2.

    `V^-1` belongs to the half of the conjugate pairs that is kept: `2 re(V (V^-1 x)) = x` for real `x`.

    Raises `UsageError` unless every block has an even size.

    Source: Smith, Warrington, Linderman, S5, 2023, section 4.3.
    """
    if blocks < 1 or n % (2 * blocks):
        raise UsageError("blocks", f"a number that cuts n = {n} into blocks of even size", str(blocks))
    part = normal_plus_low_rank(measure, n // blocks)
    v = np.kron(np.eye(blocks), part.v)
    return np.tile(part.eigenvalues, blocks), v, v.conj().T


__all__ = ["MEASURES", "LowRank", "diagonal_blocks", "hippo", "normal_plus_low_rank"]
