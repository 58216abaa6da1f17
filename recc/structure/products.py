"""One product of a decomposition."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from recc.diagnostics import NOWHERE, Span
from recc.recurrence import Along, Expr, Read


@dataclass(frozen=True)
class Product:
    """`⊕_over (⊗ factors) ⊗ read`, or without the read.

    `over` are axes that nothing outside the product uses. `stopped` says that no gradient reaches the
    read. `span` is the term in the text.
    """

    factors: tuple[Expr, ...]
    over: tuple[str, ...] = ()
    read: Read | None = None
    stopped: bool = False
    span: Span = field(default=NOWHERE, compare=False)

    @cached_property
    def key(self) -> tuple[object, ...]:
        """Equal for products whose coefficients can be added: the read, whatever the summed axes are called."""
        if self.read is None:
            return (None,)
        places: dict[str, int] = {}
        index: list[object] = []
        for i in self.read.index:
            if isinstance(i, Along) and i.axis in self.over:
                index.append((places.setdefault(i.axis, len(places)), i.offset))
            else:
                index.append(i)
        return self.read.name, self.read.lags, tuple(index), len(self.over), self.stopped

    @property
    def bound(self) -> tuple[str, ...]:
        """The summed axes in the order in which the read has them, then those that it lacks."""
        if self.read is None:
            return self.over
        found: dict[str, None] = {}
        for i in self.read.index:
            for axis in (i.axis,) if isinstance(i, Along) else i.expr.axes:
                if axis in self.over:
                    found[axis] = None
        return (*found, *(a for a in self.over if a not in found))


Products = tuple[Product, ...]

__all__ = ["Product", "Products"]
