"""Linear recurrences without a loop over time: all steps are unknowns of one system, or weights of one matrix."""

from __future__ import annotations

import torch
from torch import Tensor


def masked(decay: Tensor, drive: Tensor, start: Tensor | None = None) -> Tensor:
    """States `h[t] = decay[t] * h[t-1] + drive[t]` by the dense masked matrix of products of decays.

    `h[t] = sum[s <= t](prod[s < r <= t](decay[r]) * drive[s]) + prod[r <= t](decay[r]) * start`, elementwise in
    what follows `[B, T]`.
    """
    decay, drive = torch.broadcast_tensors(decay, drive)
    steps = torch.arange(decay.shape[1])
    later = (steps[:, None] > steps).reshape(len(steps), len(steps), *[1] * (decay.ndim - 2))
    same = torch.eye(len(steps), dtype=torch.bool).reshape(later.shape)
    factors = torch.where(later, decay[:, :, None], torch.ones((), dtype=decay.dtype))
    weights = torch.where(later | same, torch.cumprod(factors, 1), torch.zeros((), dtype=decay.dtype))
    states = (weights * drive[:, None]).sum(2)
    return states if start is None else states + torch.cumprod(decay, 1) * start[:, None]


def solved(transition: Tensor, drive: Tensor, start: Tensor | None = None) -> Tensor:
    """States `h[t] = transition[t] @ h[t-1] + drive[t]` as the solution of one block bidiagonal system.

    `transition` is `[B, T, N, N]`, `drive` `[B, T, N]`, `start` `[B, N]`.
    """
    batch, steps, size = drive.shape
    dtype = torch.promote_types(transition.dtype, drive.dtype)
    if start is not None:
        first = torch.einsum("bnm,bm->bn", transition[:, 0], start)
        drive = torch.cat([drive[:, :1] + first[:, None], drive[:, 1:]], 1)
    below = torch.zeros(batch, steps, size, steps, size, dtype=dtype)
    for t in range(1, steps):
        below[:, t, :, t - 1] = transition[:, t]
    system = torch.eye(steps * size, dtype=dtype) - below.reshape(batch, steps * size, steps * size)
    found: Tensor = torch.linalg.solve(system, drive.to(dtype).reshape(batch, -1, 1))
    return found.reshape(batch, steps, size)


def flipped(decay: Tensor, drive: Tensor, start: Tensor | None = None) -> Tensor:
    """`masked` against time: `h[t] = decay[t] * h[t+1] + drive[t]`."""
    return masked(decay.flip(1), drive.flip(1), start).flip(1)


__all__ = ["flipped", "masked", "solved"]
