"""Sequences of labels, listed: what sums and maxima over paths are taken of."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor


def all_paths(labels: int, steps: int) -> Tensor:
    """Every sequence of labels, `[labels ** steps, steps]`."""
    return torch.tensor(list(product(range(labels), repeat=steps)))


__all__ = ["all_paths"]
