"""The same recurrences as a user of torch would write them, one step after the other.

A loop takes its inputs apart once (`unbind`) and puts its outputs together once (`stack`): indexing
`x[:, t]` inside it would make its backward pass fill a whole gradient per step, in time quadratic in T.
There are two of each: `…_loop` has the equations as the program has them, `…_tuned_loop` the fewest and
fastest operations of torch that we know.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]


def elementwise_loop(of: Tensors) -> Tensor:
    """h[t] = a[t] h[t-1] + x[t], over `[B, T, D]`."""
    h = torch.zeros_like(of["x"][:, 0])
    found = []
    for a, x in zip(of["a"].unbind(1), of["x"].unbind(1), strict=True):
        h = torch.addcmul(x, a, h)
        found.append(h)
    return torch.stack(found, 1)


def selective_loop(of: Tensors) -> Tensor:
    """h[t] = exp(delta A) h[t-1] + delta B u, y = C h + D u, over `[B, T, D]` and `[B, T, N]`."""
    u, delta, A = of["u"], of["delta"], of["A"]
    h = u.new_zeros(u.shape[0], *A.shape)
    found = []
    for u_t, delta_t, B_t, C_t in zip(*(p.unbind(1) for p in (u, delta, of["B"], of["C"])), strict=True):
        h = torch.exp(delta_t[..., None] * A) * h + delta_t[..., None] * B_t[:, None] * u_t[..., None]
        found.append((C_t[:, None] * h).sum(-1) + of["D"] * u_t)
    return torch.stack(found, 1)


def selective_tuned_loop(of: Tensors) -> Tensor:
    """The same: what does not need the state outside the loop, a fused product and sum, a matrix product."""
    u, delta, A = of["u"], of["delta"], of["A"]
    h = u.new_zeros(u.shape[0], *A.shape)
    found = []
    parts = (delta, delta * u, of["B"], of["C"])
    for delta_t, drive_t, B_t, C_t in zip(*(p.unbind(1) for p in parts), strict=True):
        keep = torch.exp(delta_t.unsqueeze(-1) * A)
        h = torch.addcmul(drive_t.unsqueeze(-1) * B_t.unsqueeze(1), keep, h)
        found.append((h @ C_t.unsqueeze(-1)).squeeze(-1))
    return torch.stack(found, 1) + of["D"] * u


def correction_loop(of: Tensors) -> Tensor:
    """S[t] = e^g (S - beta k (k S)) + beta k v, o = q S, over `[B, T, H, K]` and `[B, T, H, V]`."""
    q, k, v = of["q"], of["k"], of["v"]
    S = q.new_zeros(q.shape[0], q.shape[2], q.shape[3], v.shape[3])
    found = []
    parts = (q[..., None], k[..., None], v[..., None, :], of["g"][..., None, None], of["beta"][..., None, None])
    for q_t, k_t, v_t, g_t, beta_t in zip(*(p.unbind(1) for p in parts), strict=True):
        S = torch.exp(g_t) * (S - beta_t * k_t * (k_t * S).sum(-2, keepdim=True)) + beta_t * k_t * v_t
        found.append((q_t * S).sum(-2))
    return torch.stack(found, 1)


def correction_tuned_loop(of: Tensors) -> Tensor:
    """The same as S = e^g S, then S = S + beta k (v - k S), in matrix products."""
    q, k, v = of["q"], of["k"], of["v"]
    S = q.new_zeros(q.shape[0], q.shape[2], q.shape[3], v.shape[3])
    found = []
    parts = (q, k, k * of["beta"].unsqueeze(-1), v, of["g"].exp())
    for q_t, k_t, scaled_t, v_t, keep_t in zip(*(p.unbind(1) for p in parts), strict=True):
        S = S * keep_t[..., None, None]
        wrong = v_t.unsqueeze(-2) - k_t.unsqueeze(-2) @ S
        S = S + scaled_t.unsqueeze(-1) * wrong
        found.append((q_t.unsqueeze(-2) @ S).squeeze(-2))
    return torch.stack(found, 1)


__all__ = [
    "Tensors",
    "correction_loop",
    "correction_tuned_loop",
    "elementwise_loop",
    "selective_loop",
    "selective_tuned_loop",
]
