"""What emitted modules call beside torch itself: every operation of a Block that is not one line of torch.

Each function takes and gives tensors `[*lead, *axes]` and is made of plain torch operations, so that torch
differentiates it any number of times, compiles it and maps it over batches. Dimensions are counted from the
end. Nothing is written in place, and nothing depends on data but through tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from recc.backends.torch_eager.contract import contract
from recc.backends.torch_eager.lse import logaddexp, softplus
from recc.backends.torch_eager.matrix import expm, expm_vjp, inv, solve, solve_unit_lower
from recc.backends.torch_eager.pick import element, gather, scatter
from recc.backends.torch_eager.running import cumprod, cumsum, segment
from recc.backends.torch_eager.shapes import parts


class Env(NamedTuple):
    """What an emitted function needs to know beside its inputs.

    `lead` has the size of each leading dimension; any tensor may have 1 in its place. `dtype` is that of
    real values.
    """

    lead: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


def number(value: float, env: Env) -> Tensor:
    """A number as a tensor of real, integer or boolean dtype, after its Python type: `[*1]`."""
    kinds = {bool: torch.bool, int: torch.int64}
    return torch.full((1,) * len(env.lead), value, dtype=kinds.get(type(value), env.dtype), device=env.device)


def iota(size: int, env: Env) -> Tensor:
    """The positions along an axis: `[*1, size]`."""
    return torch.arange(size, device=env.device).reshape((1,) * len(env.lead) + (size,))


def spread(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """The tensor with its last dimensions expanded to `sizes`."""
    return x.expand(*x.shape[: x.dim() - len(sizes)], *sizes)


def surrogate(forward: Tensor, backward: Tensor) -> Tensor:
    """The value of `forward` and the derivatives of `backward`: what is added is exactly zero."""
    return forward.detach() + (backward - backward.detach())


def power(x: Tensor, exponent: Tensor) -> Tensor:
    """`x ** exponent`, with no derivative by the exponent unless x > 0."""
    return torch.pow(x, torch.where(x > 0, exponent, exponent.detach()))


def amax(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The largest element over some dimensions, -inf of none. Ties share the derivative evenly."""
    return x.sum(dims) - inf if any(x.shape[d] == 0 for d in dims) else x.amax(dims)


def amin(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The smallest element over some dimensions, inf of none. Ties share the derivative evenly."""
    return x.sum(dims) + inf if any(x.shape[d] == 0 for d in dims) else x.amin(dims)


def prod(x: Tensor, dim: int) -> Tensor:
    """The product along a dimension, by halves: its derivatives need no division, so zeros are exact."""
    while x.shape[dim] > 1:
        half, odd = divmod(x.shape[dim], 2)
        low, high, rest = parts(x, dim, (half, half, odd))
        x = torch.cat([low * high, rest], dim) if odd else low * high
    return x.sum(dim) if x.shape[dim] else x.sum(dim) + 1


def shift(x: Tensor, dim: int, offset: int, edge: str) -> Tensor:
    """`out[i] = x[i + offset]` along a dimension; see `recc.forms.block.Shift`."""
    size = x.shape[dim]
    if size == 0 or offset == 0:
        return x
    if edge == "wrap":
        return x.roll(-offset, dim)
    if edge == "zero":
        if abs(offset) >= size:
            return torch.zeros_like(x)
        return F.pad(x, (0, 0) * (-dim - 1) + (-offset, offset))
    step = min(abs(offset), size)
    last = x.narrow(dim, size - 1 if offset > 0 else 0, 1)
    ends = last.expand([step if d == dim % x.dim() else n for d, n in enumerate(x.shape)])
    rest = x.narrow(dim, step if offset > 0 else 0, size - step)
    return torch.cat([rest, ends] if offset > 0 else [ends, rest], dim)


__all__ = [
    "Env",
    "amax",
    "amin",
    "contract",
    "cumprod",
    "cumsum",
    "element",
    "expm",
    "expm_vjp",
    "gather",
    "inv",
    "iota",
    "logaddexp",
    "number",
    "power",
    "prod",
    "scatter",
    "segment",
    "shift",
    "softplus",
    "solve",
    "solve_unit_lower",
    "spread",
    "surrogate",
]
