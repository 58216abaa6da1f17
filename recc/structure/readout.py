"""What later equations make of one state: expressions as sums of products with reads of it."""

from __future__ import annotations

import sys

from recc.recurrence import Along, Expr, Read, Recurrence, Stage
from recc.structure.affine import Analysis, NotAffine
from recc.structure.products import Product, Products
from recc.structure.ring import Ring


class Readout(Ring):
    """Decomposition over the ring with respect to one state, at any lag, as others see it.

    Law: the expression is the sum over its products p of `sum over p.bound of (factors * read)`. Nothing is
    put in place of a name, so that the factors are expressions of the program as it stands.
    """

    def __init__(self, rec: Recurrence, state: str):
        stage = Stage((state,), (state,), (0,) * len(rec.scan))
        super().__init__(Analysis(rec, stage, large=sys.maxsize))

    def products(self, expr: Expr) -> Products:
        """The products of an expression. Raises `NotAffine` if it is not affine in the state."""
        return self.collected(self.of(expr))

    def _read(self, expr: Read) -> Products:
        axes = [i.axis for i in expr.index if isinstance(i, Along) and not i.offset]
        if len(set(axes)) < len(expr.index):
            raise NotAffine(expr, "the state is read elsewhere than in place")
        return (Product((), (), expr, False, expr.span),)


__all__ = ["Readout"]
