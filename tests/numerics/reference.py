"""The step loop of a linear recurrence in float64, with its adjoint, written for these tests alone.

    S[t] = d[t] ⊙ S[t-1] + u[t] ⊗ (w[t] · S[t-1]) + b[t]

Everything before and after it is float64 torch, so that gradients of what the programs are given follow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]


class _Steps(torch.autograd.Function):
    """The states after every step `[T, *state]`; all of time is vectorised but the recurrence itself."""

    @staticmethod
    def forward(ctx: Any, d: Tensor, b: Tensor, first: Tensor, u: Tensor, w: Tensor) -> Tensor:
        arrays = [x.detach().numpy() for x in (d, b, first, u, w)]
        before = np.empty_like(arrays[1])
        states = np.empty_like(arrays[1])
        state = arrays[2]
        with np.errstate(under="ignore"):
            for t, (decay, drive, left, right) in enumerate(zip(arrays[0], arrays[1], *arrays[3:], strict=True)):
                before[t] = state
                state = decay * state + drive
                if left.size:
                    state += left[..., None] * np.einsum("...i,...ij->...j", right, before[t])[..., None, :]
                states[t] = state
        ctx.arrays = (*arrays, before)
        return torch.from_numpy(states)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, ...]:
        d, b, first, u, w, before = ctx.arrays
        given = cotangents[0].numpy()
        back = np.empty_like(b)
        flow = np.zeros_like(first)
        with np.errstate(under="ignore"):
            for t in range(len(b) - 1, -1, -1):
                flow = flow + given[t]
                back[t] = flow
                flow = np.conj(d[t]) * flow
                if u[t].size:
                    flow += w[t][..., None] * np.einsum("...i,...ij->...j", u[t], back[t])[..., None, :]
        d_d = _like(back * np.conj(before), d)
        if not u.size:
            return tuple(map(torch.from_numpy, (d_d, back, flow, np.zeros_like(u), np.zeros_like(w))))
        read = np.einsum("...i,...ij->...j", w, before)
        d_u = np.einsum("...ij,...j->...i", back, read)
        d_w = np.einsum("...ij,...j->...i", before, np.einsum("...i,...ij->...j", u, back))
        return tuple(map(torch.from_numpy, (d_d, back, flow, d_u, d_w)))


def _like(value: Array, target: Array) -> Array:
    """The sum over what was broadcast."""
    axes = tuple(i for i, n in enumerate(target.shape) if n == 1 and value.shape[i] != 1)
    return np.asarray(value.sum(axes, keepdims=True))


def run(d: Tensor, b: Tensor, first: Tensor, u: Tensor | None = None, w: Tensor | None = None) -> Tensor:
    """The states before the first and after every step.

    Args:
        d: `[B, T, *state]`, of size 1 where it is the same.
        b: `[B, T, *state]`.
        first: `[B, *state]`.
        u: `[B, T, K]` for a state `[K, V]`.
        w: the same.

    Returns:
        `[B, T + 1, *state]`.
    """
    none = torch.zeros(b.shape[1], 0, dtype=b.dtype)
    left = none if u is None else u.movedim(1, 0)
    right = none if w is None else w.movedim(1, 0)
    found: Any = _Steps.apply(
        d.movedim(1, 0).expand(b.shape[1], *(-1,) * (d.dim() - 1)), b.movedim(1, 0), first, left, right
    )  # type: ignore[no-untyped-call]  # torch has no types for it
    return torch.cat([first.unsqueeze(1), found.movedim(0, 1)], 1)


__all__ = ["run"]
