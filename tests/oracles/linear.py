"""Other definitions of linear systems: explicit kernels, powers of a matrix, Toeplitz matrices, HiPPO matrices.

Torch, double precision, differentiable by autograd. Time is the second axis of drives `[B, T, ...]`, and the first of
kernels and powers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]


def convolve(kernel: Tensor, drive: Tensor) -> Tensor:
    """`y[t] = sum[s <= t](kernel[t-s] * drive[s])`, elementwise in all other axes, by Fourier transforms.

    `kernel` is `[L, ...]` with any L, `drive` is `[B, T, ...]`. The kernel may lack axes after the first.
    """
    kernel = kernel.reshape(kernel.shape[:1] + (1,) * (drive.ndim - 1 - kernel.ndim) + kernel.shape[1:])
    steps = drive.shape[1]
    size = kernel.shape[0] + steps
    spectrum = torch.fft.fft(kernel, size, dim=0) * torch.fft.fft(drive, size, dim=1)
    found = torch.fft.ifft(spectrum, dim=1)[:, :steps]
    return found if kernel.is_complex() or drive.is_complex() else found.real


def vandermonde(modes: Tensor, count: int) -> Tensor:
    """The powers 0 to `count - 1` of every mode, `[count, ...]`."""
    return torch.stack([modes**k for k in range(count)])


def diagonal(modes: Tensor, drive: Tensor, start: Tensor | None = None) -> Tensor:
    """The states `[B, T, ...]` of a constant diagonal transition, as convolutions with the powers of its modes."""
    steps = drive.shape[1]
    powers = vandermonde(modes, steps + 1)
    found = convolve(powers[:-1], drive)
    return found if start is None else found + powers[1:] * start[:, None]


def varying(logs: Tensor, drive: Tensor, start: Tensor) -> Tensor:
    """The states of a diagonal transition `exp(logs[t])`, by the matrix of all products between two steps."""
    past = torch.cumsum(logs, 1)
    steps = past.shape[1]
    causal = torch.ones(steps, steps, dtype=torch.bool).tril()[(None, ..., *([None] * (past.ndim - 2)))]
    gaps = past[:, :, None] - past[:, None]
    weights = torch.where(causal, torch.exp(torch.where(causal, gaps, 0)), 0)
    return (weights * drive[:, None]).sum(2) + torch.exp(past) * start[:, None]


def powers(matrix: Tensor, count: int) -> Tensor:
    """The powers 0 to `count - 1` of matrices `[..., n, n]`."""
    return torch.stack([torch.linalg.matrix_power(matrix, k) for k in range(count)])


def dense(matrix: Tensor, drive: Tensor, start: Tensor | None = None) -> Tensor:
    """The states `[B, T, ..., n]` of a constant matrix `[..., n, n]`: a block Toeplitz matrix of its powers."""
    steps = drive.shape[1]
    table = powers(matrix, steps + 1)
    if drive.is_complex() and not table.is_complex():
        table = table.to(drive.dtype)
    gap = torch.arange(steps)[:, None] - torch.arange(steps)
    shape = (steps, steps, *([1] * matrix.ndim))
    blocks = torch.where((gap >= 0).reshape(shape), table[gap.clamp(min=0)], 0)  # [T, T, ..., n, n]
    found = torch.einsum("ts...nm,bs...m->bt...n", blocks, drive.to(table.dtype))
    return found if start is None else found + torch.einsum("t...nm,b...m->bt...n", table[1:], start.to(table.dtype))


def bilinear(matrix: Tensor, step: Tensor | float) -> tuple[Tensor, Tensor]:
    """`(I - step/2 A)^-1 (I + step/2 A)` and `(I - step/2 A)^-1 step`, the second to be applied to B."""
    one = torch.eye(matrix.shape[-1], dtype=matrix.dtype)
    inverse = torch.linalg.inv(one - step / 2 * matrix)
    return inverse @ (one + step / 2 * matrix), inverse * step


def register(signal: Tensor, taps: int, start: Tensor | None = None) -> Tensor:
    """The last `taps` values of a signal `[B, T, ...]` at every step, newest first, as `[B, T, ..., taps]`.

    `start` is what a shift register `[B, ..., taps]` holds before the first step.
    """
    before = (
        torch.zeros_like(signal[:, :1]).repeat_interleave(taps, 1) if start is None else start.movedim(-1, 1).flip(1)
    )
    whole = torch.cat([before, signal], 1)
    return torch.stack([whole[:, taps - k : whole.shape[1] - k] for k in range(taps)], -1)


def hippo(measure: str, size: int) -> tuple[Array, Array]:
    """A and B of `c' = A c + B f`, as published: LegS, LegT, LagT, FouT. Gu and others, 2020 and 2022."""
    n = np.arange(size)
    root = np.sqrt(2.0 * n + 1)
    if measure == "legs":
        return -(np.tril(np.outer(root, root), -1) + np.diag(n + 1.0)), root
    if measure == "legt":
        sign = np.where(n[:, None] < n, (-1.0) ** (n[:, None] - n), 1)
        return -sign * np.outer(root, root), root
    if measure == "lagt":
        return -np.tril(np.ones((size, size))), np.ones(size)
    assert measure == "fout" and size % 2 == 0, measure
    rates = np.stack([np.zeros(size // 2), np.arange(size // 2)], -1).reshape(-1)[1:]
    b = np.zeros(size)
    b[::2] = np.sqrt(2)
    b[0] = 1
    return np.pi * (np.diag(rates, -1) - np.diag(rates, 1)) - np.outer(b, b), b


def normal_plus_low_rank(measure: str, size: int) -> tuple[Array, Array, Array]:
    """Eigenvalues, `V* P` and `V* B` of a HiPPO matrix `A = V diag(eigenvalues) V* - P P*`: LegS or FouT."""
    a, b = hippo(measure, size)
    p = np.sqrt(np.arange(size) + 0.5) if measure == "legs" else b
    normal = a + np.outer(p, p)
    mean = float(np.mean(np.diag(normal)))
    rates, basis = np.linalg.eigh(-1j * (normal - mean * np.eye(size)))
    return mean + 1j * rates, basis.conj().T @ p, basis.conj().T @ b


__all__ = [
    "Array",
    "bilinear",
    "convolve",
    "dense",
    "diagonal",
    "hippo",
    "normal_plus_low_rank",
    "powers",
    "register",
    "vandermonde",
    "varying",
]
