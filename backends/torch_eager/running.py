"""Running sums and products along a dimension, and products over all stretches of it."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from recc.backends.torch_eager.shapes import cut

#: Elements that a running product multiplies one after the other before it joins stretches.
_STRETCH = 8


def cumsum(x: Tensor, dim: int, reverse: bool = False, exclusive: bool = False, every: int = 0) -> Tensor:
    """Running sums; see `recc.forms.block.Cumulate`."""

    def run(y: Tensor) -> Tensor:
        return y.flip(dim).cumsum(dim).flip(dim) if reverse else y.cumsum(dim)

    return _cumulate(x, dim, 0.0, run, reverse, exclusive, every)


def cumprod(x: Tensor, dim: int, reverse: bool = False, exclusive: bool = False, every: int = 0) -> Tensor:
    """Running products; see `recc.forms.block.Cumulate`. No derivative divides, so zeros are exact."""
    return _cumulate(x, dim, 1.0, lambda y: _products(y, dim, reverse), reverse, exclusive, every)


def _cumulate(
    x: Tensor, dim: int, unit: float, run: Callable[[Tensor], Tensor], reverse: bool, exclusive: bool, every: int
) -> Tensor:
    """Cuts into stretches of `every`, moves by one if exclusive, and runs along each of them."""
    size = x.shape[dim]
    if size == 0:
        return x
    if every:
        x = cut(_pad(x, dim, 0, -size % every, unit), dim, (-1, every))
    if exclusive:
        x = _pad(x, dim, -1, 1, unit) if reverse else _pad(x, dim, 1, -1, unit)
    x = run(x)
    return x.flatten(dim - 1, dim).narrow(dim, 0, size) if every else x


def _pad(x: Tensor, dim: int, before: int, after: int, value: float) -> Tensor:
    """Adds elements at both ends of a dimension, or takes them away where the number is negative."""
    return F.pad(x, (0, 0) * (-dim - 1) + (before, after), value=value) if before or after else x


def _products(x: Tensor, dim: int, reverse: bool) -> Tensor:
    """Running products: along short stretches, then over their totals in the same way."""
    size = x.shape[dim]
    if size <= _STRETCH:
        parts = x.unbind(dim)[:: -1 if reverse else 1]
        found = [parts[0]]
        for part in parts[1:]:
            found.append(found[-1] * part)
        return torch.stack(found[:: -1 if reverse else 1], dim)
    x = cut(_pad(x, dim, 0, -size % _STRETCH, 1.0), dim, (-1, _STRETCH))
    inner = _products(x, dim, reverse)
    totals = _products(inner.select(dim, 0 if reverse else -1), dim, reverse)
    before = _pad(totals, dim, -1, 1, 1.0) if reverse else _pad(totals, dim, 1, -1, 1.0)
    return (inner * before.unsqueeze(dim)).flatten(dim - 1, dim).narrow(dim, 0, size)


def segment(x: Tensor) -> Tensor:
    """`out[..., t, s] = product of x[..., r] over s < r <= t`, zero for t < s.

    Two neighbouring blocks become one of twice their size: between a column of the first and a row of the
    second lies what is left of the first, times what has been of the second. Each element of the result is
    made by one product and copied log2(n) times at most, half as many each time.
    """
    size = x.shape[-1]
    if size == 0:
        return x.unsqueeze(-1).expand(*x.shape, 0)
    blocks = _pad(x, -1, 0, (1 << (size - 1).bit_length()) - size, 1.0).unsqueeze(-1)  # [..., blocks, rows]
    whole = torch.ones_like(blocks).unsqueeze(-1)  # [..., blocks, rows, cols]
    while blocks.shape[-2] > 1:
        rows = blocks.shape[-1]
        first, second = cut(blocks, -2, (-1, 2)).unbind(-2)
        above, below = cut(whole, -3, (-1, 2)).unbind(-3)
        across = second.unsqueeze(-1) * above[..., -1:, :]
        whole = torch.cat([F.pad(above, (0, rows)), torch.cat([across, below], -1)], -2)
        blocks = torch.cat([first, second * first[..., -1:]], -1)
    return whole.squeeze(-3)[..., :size, :size]


__all__ = ["cumprod", "cumsum", "segment"]
