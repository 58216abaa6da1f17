"""Gathers and scatters: reading and adding at places that integers point at."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor


def element(x: Tensor, dim: int, index: int, edge: str) -> Tensor:
    """The element at one place of a dimension, by the edge rule where that lies outside."""
    size = x.shape[dim]
    near = index % size if edge == "wrap" and size else max(0, min(index, size - 1))
    if size == 0 or (edge == "zero" and near != index):
        return x.new_zeros(x.shape[:dim] + x.shape[dim:][1:])
    return x.select(dim, near)


def gather(x: Tensor, index: Tensor, lead: int, shared: int, edge: str) -> Tensor:
    """Reads where an index points.

    Args:
        x: `[*lead, *shared, n, *rest]`.
        index: integers, `[*lead, *shared, *own]`.
        lead: the number of leading dimensions; of size 1 in either tensor where it is the same along them.
        shared: the number of dimensions along which both follow the same position.
        edge: what an index outside of n means: `zero`, `wrap` or `clamp`.

    Returns:
        `[*lead, *shared, *own, *rest]`.
    """
    place = lead + shared
    size = x.shape[place]
    if size == 0:
        lengths = [max(m, n) for m, n in zip(x.shape[:lead], index.shape[:lead], strict=True)]
        return x.new_zeros((*lengths, *index.shape[lead:], *x.shape[place + 1 :]))
    near, hit = _inside(index, size, edge)
    both = [d for d in range(place) if d >= lead or (x.shape[d] != 1 and index.shape[d] != 1)]
    alone = [d for d in range(lead) if d not in both and x.shape[d] != 1]
    one = [d for d in range(lead) if d not in both and x.shape[d] == 1]
    table = x.permute([*both, place, *one, *alone, *range(place + 1, x.dim())])
    rows = prod(table.shape[: len(both) + 1])
    table = table.reshape(rows, *table.shape[len(both) + 1 + len(one) :])
    found = table[_flat(near, both, size)]
    # What only the table has along a leading dimension goes to where the index has size 1.
    for k, d in enumerate(alone):
        found = found.transpose(d, index.dim() + k)
    found = found.squeeze(tuple(range(index.dim(), index.dim() + len(alone))))
    if hit is None:
        return found
    return torch.where(hit.reshape([*hit.shape, *(1 for _ in range(found.dim() - hit.dim()))]), found, 0)


def scatter(x: Tensor, index: Tensor, lead: int, shared: int, size: int, edge: str) -> Tensor:
    """Adds up what an index sends to the same place.

    Args:
        x: `[*lead, *shared, *own, *rest]`.
        index: integers, `[*lead, *shared, *own]`.
        lead: the number of leading dimensions; of size 1 in either tensor where it is the same along them.
        shared: the number of dimensions along which each position is a sum of its own.
        size: the number n of places.
        edge: what an index outside of n means: `zero`, `wrap` or `clamp`.

    Returns:
        `[*lead, *shared, n, *rest]`.
    """
    place, inner = lead + shared, index.dim()
    both = [d for d in range(place) if d >= lead or index.shape[d] != 1]
    alone = [d for d in range(lead) if d not in both]
    lengths = [index.shape[d] if d in both else x.shape[d] for d in range(lead)]
    shape = [*lengths, *x.shape[lead:place], size, *x.shape[inner:]]
    if size == 0:
        return x.new_zeros(shape)
    near, hit = _inside(index, size, edge)
    if hit is not None:
        x = torch.where(hit.reshape([*hit.shape, *(1 for _ in range(x.dim() - hit.dim()))]), x, 0)
    x = x.expand([*lengths, *x.shape[lead:]])
    own = list(range(place, inner))
    moved = x.permute([*both, *own, *alone, *range(inner, x.dim())])
    flat = _flat(near, both, size).permute([*both, *own, *alone]).reshape(moved.shape[: len(both) + len(own)])
    rest = moved.shape[len(both) + len(own) :]
    rows = size * prod([x.shape[d] for d in both])
    made = x.new_zeros((rows, *rest)).index_put((flat,), moved, accumulate=True)
    made = made.reshape([*(x.shape[d] for d in both), size, *rest])
    places = [*both, place, *alone, *range(place + 1, len(shape))]
    return made.permute([places.index(d) for d in range(len(shape))])


def _inside(index: Tensor, size: int, edge: str) -> tuple[Tensor, Tensor | None]:
    """An index moved into the axis by its edge rule, and where it points at something (None: everywhere)."""
    if edge == "wrap":
        return index % size, None
    near = index.clamp(0, size - 1)
    return near, near == index if edge == "zero" else None


def _flat(near: Tensor, both: list[int], size: int) -> Tensor:
    """The row of a table whose rows run over the dimensions `both` of the index, then over the places."""
    stride = size
    for d in reversed(both):
        along = torch.arange(near.shape[d], device=near.device) * stride
        near = near + along.reshape([-1 if k == d else 1 for k in range(near.dim())])
        stride *= near.shape[d]
    return near


__all__ = ["element", "gather", "scatter"]
