"""Logarithms of sums of exponentials whose derivatives are finite where terms are -inf."""

from __future__ import annotations

from math import inf

import torch
import torch.nn.functional as F
from torch import Tensor


def softplus(x: Tensor) -> Tensor:
    """`log(1 + exp(x))`. Beyond 50 that is x to the last bit of a float64."""
    return F.softplus(x, threshold=50.0)


def logaddexp(x: Tensor, y: Tensor) -> Tensor:
    """`log(exp(x) + exp(y))`, with derivatives of zero where both are -inf.

    Law: `high + softplus(low - high)`. Where `high` is infinite it is the result.
    """
    above = x >= y
    high, low = torch.where(above, x, y), torch.where(above, y, x)
    alone = high.isinf()
    return torch.where(alone, high.detach(), high + softplus(torch.where(alone, 0.0, low - high)))


def logsumexp(x: Tensor, dim: int) -> Tensor:
    """`log(sum(exp(x)))` along a dimension, with derivatives of zero where all are -inf."""
    top = x.detach().amax(dim, keepdim=True)
    anchor = torch.where(top.isinf(), 0.0, top)
    total = (x - anchor).exp().sum(dim)
    empty = total == 0
    return torch.where(empty, -inf, torch.where(empty, 1.0, total).log() + anchor.squeeze(dim))


__all__ = ["logaddexp", "logsumexp", "softplus"]
