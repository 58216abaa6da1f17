"""How a read with its indices becomes an array: transposition, shifts along axes, gathers.

A value is an array `[B, *batch, *axes]` whose declared axes are known from the program. Two values
broadcast by giving the axes that one of them lacks size 1, in header order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import EllipsisType

import numpy as np

from recc.recurrence import Along, Edge, Expr, Read, Recurrence, Symbol

from .functions import Array
from .layout import Layout


@lru_cache(maxsize=4096)
def _insertion(axes: tuple[str, ...], target: tuple[str, ...]) -> tuple[EllipsisType | slice | None, ...] | None:
    if axes == target:
        return None
    return (..., *(slice(None) if a in axes else None for a in target))


def align(value: Array, axes: tuple[str, ...], target: tuple[str, ...]) -> Array:
    """Give the axes of `target` that a value lacks size 1. `axes` are in the order of `target`."""
    index = _insertion(axes, target)
    return value if index is None else np.asarray(value[index])


class Reader:
    """The indexing of one `Read`: everything that does not depend on the step is worked out once.

    Law: element `[b, *r]` of the result is element `[b, *(index_k(b, r))]` of the symbol, or zero where
    an index lies outside an axis whose edge rule is `zero`. The edge rule is that of the declared axis.
    """

    def __init__(self, rec: Recurrence, layout: Layout, node: Read, symbol: Symbol):
        self.node = node
        self.edges: tuple[Edge, ...] = tuple(rec.axis[a].edge for a in symbol.axes)
        self.layout = layout
        self.sizes = layout.shape(symbol.axes)
        self.lead = len(layout.batch)
        self.gathers = tuple(i.expr for i in node.index if not isinstance(i, Along))
        along = [i for i in node.index if isinstance(i, Along)]
        names = [i.axis for i in along]
        self.plain = not self.gathers and not any(i.offset for i in along) and len(set(names)) == len(names)
        order = sorted(range(len(names)), key=lambda k: node.axes.index(names[k])) if self.plain else []
        self.order = None if order == list(range(len(names))) else (*range(self.lead), *(self.lead + k for k in order))

    def __call__(self, value: Array, evaluate: Callable[[Expr], Array]) -> Array:
        """The result, `[B, *batch, *node.axes]`; `evaluate` gives the values of gathered indices."""
        if self.plain:
            return value if self.order is None else value.transpose(self.order)
        axes = self.node.axes
        if 0 in self.sizes:  # every index lies outside
            return np.zeros((*(1,) * self.lead, *self.layout.shape(axes)), value.dtype)
        positions: list[Array] = []
        inside: Array = np.ones((1,) * (self.lead + len(axes)), np.bool_)
        for index, size, edge in zip(self.node.index, self.sizes, self.edges, strict=True):
            if isinstance(index, Along):
                where = np.arange(self.layout.sizes[index.axis]) + index.offset
                where = align(where.reshape(*(1,) * self.lead, -1), (index.axis,), axes)
            else:
                where = align(evaluate(index.expr), index.expr.axes, axes)
            if edge == "wrap":
                where = where % size
            elif edge == "clamp":
                where = np.clip(where, 0, size - 1)
            else:
                inside = inside & (where >= 0) & (where < size)
                where = np.clip(where, 0, size - 1)
            positions.append(where)
        rank = self.lead + len(axes)
        leading = [np.arange(value.shape[k]).reshape(*(1,) * k, -1, *(1,) * (rank - 1 - k)) for k in range(self.lead)]
        picked = value[(*leading, *positions)]
        return np.asarray(np.where(inside, picked, picked.dtype.type(0)))


__all__ = ["Reader", "align"]
