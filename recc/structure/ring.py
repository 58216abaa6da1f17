"""Decomposition over the ring (+, *)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from recc.recurrence import Apply, Expr, Matrix, Number, Reduce
from recc.structure.affine import Decomposer
from recc.structure.build import is_number, number, widest
from recc.structure.poly import product
from recc.structure.products import Product, Products
from recc.structure.rename import rename

_MOST = 16  # products that a state-free expression is split into


class Ring(Decomposer):
    """Sums of products: ⊕ is +, ⊗ is *."""

    name = "ring"
    plus, times, reduction = "add", "mul", "sum"
    zero, one = 0.0, 1.0

    def free(self, expr: Expr) -> Products:
        """A state-free expression as a sum of products; sums inside products stay as they are."""
        found = self._split(expr)
        return found if len(found) <= _MOST else (Product((expr,), span=expr.span),)

    def _split(self, expr: Expr) -> Products:
        if isinstance(expr, Number) and expr.value == 0:
            return ()
        if isinstance(expr, Apply) and expr.fn in ("add", "sub"):
            left, right = self._split(expr.args[0]), self._split(expr.args[1])
            return (*left, *(right if expr.fn == "add" else self.scaled(right, (number(-1),), expr.args[1].span)))
        if isinstance(expr, Apply) and expr.fn == "neg":
            return self.scaled(self._split(expr.args[0]), (number(-1),), expr.span)
        return (Product(self._factors(expr), span=expr.span),)

    def _factors(self, expr: Expr) -> tuple[Expr, ...]:
        """The factors of a state-free expression; sums are not multiplied out."""
        if isinstance(expr, Apply) and expr.fn == "mul":
            return (*self._factors(expr.args[0]), *self._factors(expr.args[1]))
        if isinstance(expr, Apply) and expr.fn == "neg":
            return (number(-1), *self._factors(expr.args[0]))
        if isinstance(expr, Apply) and expr.fn == "div":
            return (*self._factors(expr.args[0]), self._inverse(expr.args[1]))
        return () if is_number(expr, 1) else (expr,)

    def _inverse(self, expr: Expr) -> Expr:
        return self.work.apply("div", number(1), expr)

    def multiplied(self, factors: Sequence[Expr]) -> Expr:
        """The product of some factors."""
        return product(self.work, factors)

    def merged(self, products: Sequence[Sequence[Expr]]) -> tuple[Expr, ...] | None:
        """The factors of one product that is the sum of some, or `None` if the sum is zero."""
        poly = self.analysis.polynomials.sum_of_products(products)
        if poly is None:
            return tuple(products[0]) if len(products) == 1 else (self.added([self.multiplied(p) for p in products]),)
        if not poly:
            return None
        if len(poly) > 1 and len(products) == 1:
            return tuple(products[0])
        return self.analysis.polynomials.split(poly)

    def monomials(self, products: Sequence[Sequence[Expr]]) -> list[tuple[Expr, ...]] | None:
        """The sum of some products multiplied out, unless it is too large."""
        poly = self.analysis.polynomials.sum_of_products(products)
        return None if poly is None else [self.analysis.polynomials.factors(m, v) for m, v in poly.items()]

    def canonical(self, factors: Sequence[Expr]) -> object:
        """The polynomial of a product, if it is not too large."""
        poly = self.analysis.polynomials.product(factors)
        return tuple(factors) if poly is None else frozenset(poly.items())

    def added(self, exprs: Sequence[Expr]) -> Expr:
        """The sum of some expressions, with differences written as such."""
        total: Expr | None = None
        for expr in exprs:
            if total is None:
                total = expr
            elif isinstance(expr, Apply) and expr.fn == "neg":
                total = self.work.apply("sub", total, expr.args[0])
            else:
                total = self.work.apply("add", total, expr)
        return number(0) if total is None else total

    def apply(self, expr: Apply) -> Products:
        """Sums and differences; products and quotients with a state-free side; nothing else."""
        fn, args = expr.fn, expr.args
        if fn in ("add", "sub"):
            left, right = self.of(args[0]), self.of(args[1])
            return (*left, *(right if fn == "add" else self.scaled(right, (number(-1),), args[1].span)))
        if fn == "neg":
            return self.scaled(self.of(args[0]), (number(-1),), expr.span)
        if fn == "mul":
            return self._product(expr)
        if fn == "div" and not self.analysis.depends(args[1]):
            return self.scaled(self.of(args[0]), (self._inverse(args[1]),), expr.span)
        if fn in ("re", "conj") and args[0].dtype != "complex":
            return self.of(args[0])
        if fn == "pow" and is_number(args[1], 1):
            return self.of(args[0])
        free = self.without_states(expr)
        if free is None:
            raise self.refuse(expr)
        return free

    def _product(self, expr: Apply) -> Products:
        left, right = expr.args
        if not self.analysis.depends(right):
            return self.scaled(self.of(left), self._factors(right), expr.span)
        if not self.analysis.depends(left):
            return self.scaled(self.of(right), self._factors(left), expr.span)
        sides = [self.collected(self.of(e)) for e in (left, right)]
        for free, other in (sides, sides[::-1]):
            if all(p.read is None for p in free):
                return self.scaled(other, (self.rest(free),), expr.span)
        raise self.refuse(expr)

    def reduce(self, expr: Reduce) -> Products:
        """`sum`, and `mean` as a sum over the size of its axes."""
        if expr.fn == "mean":
            sizes = self.copies(expr.over)
            return self.scaled(self._sum(expr), tuple(self._inverse(s) for s in sizes), expr.span)
        return super().reduce(expr)

    def _sum(self, expr: Reduce) -> Products:
        return self.summed(self.of(expr.arg), expr.over, expr.span)

    def matrix(self, expr: Matrix) -> Products:
        """`solve[n, m](A, b)` is the sum over m of `inv[n, m](A)` times b along m."""
        if expr.fn != "solve" or self.analysis.depends(expr.args[0]):
            raise self.refuse(expr)
        matrix, side = expr.args
        products = self.of(side)
        free = tuple(p for p in products if p.read is None)
        found: list[Product] = []
        for p in products:
            if p.read is None:
                continue
            column = self.work.fresh(expr.cols)
            square = rename(self.work, matrix, {expr.cols: column})
            node = replace(expr, fn="inv", dtype=widest([matrix.dtype, "real"]))
            inverse = self.work.matrix(node, expr.rows, column, (square,))
            moved = self.renamed(p, {expr.rows: column})
            found.append(replace(moved, factors=(inverse, *moved.factors), over=(*moved.over, column), span=expr.span))
        if free:
            solved = self.work.matrix(expr, expr.rows, expr.cols, (matrix, self.rest(free)))
            found.append(Product((solved,), span=expr.span))
        return tuple(found)


__all__ = ["Ring"]
