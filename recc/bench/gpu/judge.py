"""Every family as a plain loop over steps in float64, with torch's own gradients."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from recc.bench.gpu.families import Family


def exact(family: Family, arguments: Mapping[str, Tensor]) -> Tensor:
    """The output in float64, step after step.

    Law: `S[t] = d[t] S[t-1]`, then `S[t] += beta[t] k[t] (v[t] - k[t] · S[t])` with a correction and
    `S[t] += k[t] v[t]` without, and `o[t] = q[t] · S[t]`; for a diagonal scan `h[t] = d[t] h[t-1] + x[t]`.
    Arguments are `[B, T, H, ...]`, the output is `[B, T, H, D]`.
    """
    of = {n: t.double() for n, t in arguments.items()}
    if family.diagonal:
        h, kept = torch.zeros_like(of["x"][:, 0]), []
        for x, d in zip(of["x"].unbind(1), of["g"].exp().unbind(1), strict=True):
            h = d * h + x
            kept.append(h)
        return torch.stack(kept, 1)
    state = torch.zeros_like(of["k"][:, 0, :, :, None] * of["v"][:, 0, :, None, :])
    outputs = []
    for t in range(of["q"].shape[1]):
        key, value = of["k"][:, t], of["v"][:, t]
        state = state * _decay(family, of, t)
        if family.correction:
            value = of["beta"][:, t, :, None] * (value - torch.einsum("bhi,bhij->bhj", key, state))
        state = state + key.unsqueeze(-1) * value.unsqueeze(-2)
        outputs.append(torch.einsum("bhi,bhij->bhj", of["q"][:, t], state))
    return torch.stack(outputs, 1)


def _decay(family: Family, of: Mapping[str, Tensor], t: int) -> Tensor | float:
    """The factor of the state, `[B, H, K or 1, 1]`."""
    if family.decay == "none":
        return 1.0
    if family.decay == "constant":
        return of["gamma"][:, None, None]
    d = of["g"][:, t].exp()
    return d[..., None] if family.decay == "row" else d[..., None, None]


def relative(out: Tensor, ref: Tensor) -> float:
    """`‖out - ref‖ / ‖ref‖` in float64; infinite where anything is not a number."""
    a, b = out.detach().double(), ref.detach().double()
    if not bool(torch.isfinite(a).all()):
        return float("inf")
    return float((a - b).norm() / b.norm())


__all__ = ["exact", "relative"]
