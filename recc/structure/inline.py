"""An intermediate of the stage in place of its read: along other axes, shifted, or gathered.

Plain indices are renamed axes. Any other index can only stand in a read, so what multiplies the state
becomes a named intermediate first, and is then read where the intermediate was. Law: beyond an axis with
edge rule `zero` the intermediate is zero, and so is every product that stands for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from recc.recurrence import Along, At, Edge, Expr, Index, Read
from recc.structure.build import number
from recc.structure.products import Product, Products
from recc.structure.rename import CannotFollow, rename

if TYPE_CHECKING:
    from recc.structure.affine import Decomposer


def inlined(by: Decomposer, expr: Read, products: Products) -> Products:
    """The decomposition of a read of an intermediate, given that of the intermediate.

    Raises `CannotFollow` where an index inside it has no counterpart.
    """
    names: dict[str, str] = {}
    moved: dict[str, Index] = {}
    for axis, index in zip(by.work.symbol(expr.name).axes, expr.index, strict=True):
        if isinstance(index, Along) and index.offset == 0:
            names[axis] = index.axis
        else:
            moved[axis] = index
    inline = _Inline(by, expr.name, names, moved)
    return tuple(inline.product(p) for p in products)


class _Inline:
    """Puts the products of one intermediate where one read of it is."""

    def __init__(self, by: Decomposer, name: str, names: Mapping[str, str], moved: Mapping[str, Index]):
        self.by = by
        self.work = by.work
        self.name = name
        self.names = names
        self.moved = moved
        self.edges: dict[str, Edge] = {a: self.work.axes[a].edge for a in moved}

    def product(self, p: Product) -> Product:
        """One product, read where the intermediate is read."""
        if self.moved:
            p = self._movable(p)
        fresh = {a: self.work.fresh(a) for a in p.over}
        if p.read is None:
            return replace(p, factors=tuple(self._placed(f) for f in p.factors))
        p = self.by.renamed(p, fresh) if fresh else p
        assert p.read is not None
        read = self._placed(p.read)
        assert isinstance(read, Read)
        return replace(p, factors=tuple(self._placed(f) for f in p.factors), over=tuple(fresh.values()), read=read)

    def _placed(self, expr: Expr) -> Expr:
        """Plain indices by renaming; others stand in reads that `_movable` has made."""
        if not any(a in self.moved for a in expr.axes):
            return rename(self.work, expr, self.names)
        assert isinstance(expr, Read)
        index: list[Index] = []
        for i in expr.index:
            if isinstance(i, Along) and i.axis in self.moved:
                index.append(self._composed(self.moved[i.axis], i.offset))
            elif isinstance(i, Along):
                index.append(replace(i, axis=self.names.get(i.axis, i.axis)))
            else:
                index.append(At(rename(self.work, i.expr, self.names)))
        return self.work.read(expr, tuple(index))

    def _composed(self, outer: Index, offset: int) -> Index:
        """The index `outer + offset`."""
        if isinstance(outer, Along):
            return replace(outer, offset=outer.offset + offset)
        return At(self.work.apply("add", outer.expr, number(offset))) if offset else outer

    def _movable(self, p: Product) -> Product:
        """A product whose factors are one read, so that it can be shifted or gathered."""
        by, work = self.by, self.work
        if by.zero != 0 and "zero" in self.edges.values():
            raise CannotFollow(f"a shift beyond an axis reads 0, which is not the zero of {by.name}")
        factor = by.multiplied(p.factors)
        lacking = [
            a for a in self.moved if a not in factor.axes and self.edges[a] == "zero" and not self._ends(p, a)
        ]  # fmt: skip
        if lacking:
            factor = by.multiplied((factor, *(work.one(a) for a in lacking)))
        for declared, index in self._pairs(p):
            self._composable(declared, index)
        if not any(a in self.moved for a in factor.axes):
            return p
        return replace(p, factors=(self._readable(factor),))

    def _pairs(self, p: Product) -> list[tuple[str, Index]]:
        """The declared axes of the state with the indices it is read at."""
        return [] if p.read is None else list(zip(self.work.symbol(p.read.name).axes, p.read.index, strict=True))

    def _ends(self, p: Product, axis: str) -> bool:
        """Whether the state's own read is zero beyond an axis, so that the factor need not be."""
        return any(i == Along(axis) and self.work.axes[a].edge == "zero" for a, i in self._pairs(p))

    def _readable(self, factor: Expr) -> Read:
        """A factor as a read that has the edge rules of the intermediate it belongs to."""
        if isinstance(factor, Read):
            declared = zip(self.work.symbol(factor.name).axes, factor.index, strict=True)
            if all(self._same_edge(a, i) for a, i in declared):
                return factor
        return self.work.named(factor, f"{self.name}_part")

    def _same_edge(self, declared: str, index: Index) -> bool:
        edge = self.work.axes[declared].edge
        return isinstance(index, Along) and index.offset == 0 and self.edges.get(index.axis, edge) == edge

    def _composable(self, declared: str, index: Index) -> None:
        """Whether the state's own index may be put together with the one it is read at."""
        if isinstance(index, At):
            if any(a in self.moved for a in index.expr.axes):
                raise CannotFollow("a gather inside a shift")
            return
        if index.axis not in self.moved:
            return
        outer = self.moved[index.axis]
        edge, own = self.edges[index.axis], self.work.axes[declared].edge
        if edge == "zero":
            return  # the factor is zero wherever the read would be wrong
        if edge != own:
            raise CannotFollow("the axes have different edge rules")
        if edge == "clamp" and index.offset and not (isinstance(outer, Along) and outer.offset * index.offset >= 0):
            raise CannotFollow("shifts in two ways over clamped edges")


__all__ = ["inlined"]
