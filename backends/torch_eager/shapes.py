"""Shapes, where torch's own functions have no types."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def cut(x: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """One dimension as several, in its place."""
    found: Tensor = torch.unflatten(x, dim, sizes)
    return found


def parts(x: Tensor, dim: int, sizes: Sequence[int]) -> Sequence[Tensor]:
    """The tensor in parts of these sizes along a dimension."""
    return torch.split_with_sizes(x, list(sizes), dim)


def joint(*shapes: Sequence[int]) -> list[int]:
    """The shape that shapes broadcast to."""
    return list(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]  # torch gives it no types


__all__ = ["cut", "joint", "parts"]
