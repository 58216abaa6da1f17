"""Decomposition over the semirings whose product is +: max-plus, min-plus and log-sum-exp."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isinf

from recc.recurrence import Apply, Expr, Number, Reduce, walk
from recc.structure.affine import Analysis, Decomposer, NotAffine
from recc.structure.build import is_number, number
from recc.structure.poly import Poly, add
from recc.structure.products import Product, Products
from recc.structure.size import Sizes


class _Plus(Decomposer):
    """A semiring whose ⊗ is +: coefficients are sums of factors."""

    times = "add"
    one = 0.0

    def free(self, expr: Expr) -> Products:
        """A state-free expression as a ⊕ of sums; the zero of the semiring is no product at all."""
        if _infinite(expr) == self.zero:
            return ()
        if isinstance(expr, Apply) and expr.fn == self.plus:
            return (*self.free(expr.args[0]), *self.free(expr.args[1]))
        return (Product(self._summands(expr), span=expr.span),)

    def _summands(self, expr: Expr) -> tuple[Expr, ...]:
        if isinstance(expr, Apply) and expr.fn == "add":
            return (*self._summands(expr.args[0]), *self._summands(expr.args[1]))
        if isinstance(expr, Apply) and expr.fn == "sub":
            return (*self._summands(expr.args[0]), *(self.negative(e) for e in self._summands(expr.args[1])))
        return () if is_number(expr, 0) else (expr,)

    def negative(self, expr: Expr) -> Expr:
        """Minus an expression."""
        return self.work.apply("neg", expr)

    def multiplied(self, factors: Sequence[Expr]) -> Expr:
        """The sum of some factors."""
        total: Expr | None = None
        for factor in factors:
            if total is None:
                total = factor
            elif isinstance(factor, Apply) and factor.fn == "neg":
                total = self.work.apply("sub", total, factor.args[0])
            else:
                total = self.work.apply("add", total, factor)
        return number(0) if total is None else total

    def merged(self, products: Sequence[Sequence[Expr]]) -> tuple[Expr, ...] | None:
        """The summands of one term that is the ⊕ of some."""
        polys = [self._poly(p) for p in products]
        if any(p is None for p in polys) or (len(polys) > 1 and (self.plus == "logaddexp" or polys[1:] != polys[:-1])):
            return tuple(products[0]) if len(products) == 1 else (self.added([self.multiplied(p) for p in products]),)
        poly = polys[0]
        assert poly is not None
        if not poly or len(poly) < len(products[0]):
            found = self.analysis.polynomials.expr(poly)
            return () if is_number(found, 0) else (found,)
        return tuple(products[0])

    def _poly(self, factors: Sequence[Expr]) -> Poly | None:
        found: Poly = {}
        for factor in factors:
            found = add(found, self.analysis.polynomials.of(factor))
        return found if len(found) <= 48 else None

    def canonical(self, factors: Sequence[Expr]) -> object:
        """The polynomial of a sum, if it is not too large."""
        poly = self._poly(factors)
        return tuple(factors) if poly is None else frozenset(poly.items())

    def monomials(self, products: Sequence[Sequence[Expr]]) -> list[tuple[Expr, ...]] | None:
        """Each product with its factors split into summands."""
        return [tuple(s for f in p for s in self._summands(f)) for p in products]

    def copies(self, axes: Sequence[str]) -> tuple[Expr, ...]:
        """Nothing: the largest of copies is any of them."""
        return ()

    def apply(self, expr: Apply) -> Products:
        """⊕, and sums with a state-free side."""
        fn, args = expr.fn, expr.args
        if fn == self.plus:
            return (*self.of(args[0]), *self.of(args[1]))
        if fn in ("add", "sub"):
            return self._sum(expr)
        free = self.without_states(expr)
        if free is None:
            raise self.refuse(expr)
        return free

    def _sum(self, expr: Apply) -> Products:
        left, right = expr.args
        if not self.analysis.depends(right):
            factors = self._summands(right)
            factors = factors if expr.fn == "add" else tuple(self.negative(f) for f in factors)
            return self.scaled(self.of(left), factors, expr.span)
        if expr.fn == "add" and not self.analysis.depends(left):
            return self.scaled(self.of(right), self._summands(left), expr.span)
        raise self.refuse(expr)

    def refuse(self, expr: Expr) -> NotAffine:
        """As over the ring, saying that the semiring does not help."""
        found = super().refuse(expr)
        return NotAffine(expr, f"{found.reason} (not linear over {self.name} either)", found.notes)


class MaxPlus(_Plus):
    """⊕ is max, ⊗ is +."""

    name = "max-plus"
    plus, reduction = "max", "max"
    zero = -inf

    def apply(self, expr: Apply) -> Products:
        """`relu` besides, which is the larger of its argument and zero."""
        if expr.fn == "relu":
            return (*self.of(expr.args[0]), *self.free(number(0)))
        return super().apply(expr)


class MinPlus(_Plus):
    """⊕ is min, ⊗ is +."""

    name = "min-plus"
    plus, reduction = "min", "min"
    zero = inf


class LogSumExp(_Plus):
    """⊕ is logaddexp, ⊗ is +: the ring of positive numbers, in logarithms."""

    name = "log-sum-exp"
    plus, reduction = "logaddexp", "logsumexp"
    zero = -inf

    def __init__(self, analysis: Analysis):
        super().__init__(analysis)
        self.sizes = Sizes(analysis.work)

    def copies(self, axes: Sequence[str]) -> tuple[Expr, ...]:
        """The logarithms of the sizes."""
        return tuple(self.work.apply("log", size) for size in super(_Plus, self).copies(axes))

    def apply(self, expr: Apply) -> Products:
        """`softplus` and logarithms of sums of exponentials besides."""
        if expr.fn == "softplus":
            return (*self.of(expr.args[0]), *self.free(number(0)))
        if expr.fn == "log":
            return self._log(expr.args[0])
        if expr.fn == "log1p":
            return (*self._log(expr.args[0]), *self.free(number(0)))
        return super().apply(expr)

    def _log(self, expr: Expr) -> Products:
        """The decomposition of the logarithm of a sum of exponentials."""
        if not self.analysis.depends(expr):
            if isinstance(expr, Apply) and expr.fn == "exp":
                return self.free(expr.args[0])
            if self.sizes.of(expr).low < 0:
                raise NotAffine(expr, f"`{self.analysis.show(expr)}` may be negative inside a logarithm")
            return self.free(self.work.apply("log", expr, span=expr.span))
        if isinstance(expr, Reduce) and expr.fn == "sum":
            return self.summed(self._log(expr.arg), expr.over, expr.span)
        if not isinstance(expr, Apply):
            raise self.refuse(expr)
        args = expr.args
        if expr.fn == "exp":
            return self.of(args[0])
        if expr.fn == "add":
            return (*self._log(args[0]), *self._log(args[1]))
        if expr.fn in ("mul", "div"):
            dependent = [a for a in args if self.analysis.depends(a)]
            free = [a for a in args if not self.analysis.depends(a)]
            if len(dependent) == 1 and dependent[0] is not (args[1] if expr.fn == "div" else None):
                logs = tuple(f for p in self._log(free[0]) for f in p.factors)
                logs = tuple(self.negative(f) for f in logs) if expr.fn == "div" else logs
                return self.scaled(self._log(dependent[0]), logs, expr.span)
        raise self.refuse(expr)


def _infinite(expr: Expr) -> float:
    """`inf` or `-inf` if that is what is written, otherwise zero."""
    if isinstance(expr, Apply) and expr.fn == "neg":
        return -_infinite(expr.args[0])
    return expr.value if isinstance(expr, Number) and isinf(expr.value) else 0.0


def candidates(analysis: Analysis) -> list[tuple[type[Decomposer], set[str]]]:
    """The semirings whose ⊕ the stage has anywhere, each with the functions that belong to it alone."""
    used = {getattr(n, "fn", "") for name in analysis.stage.equations for n in walk(analysis.rec.equation[name].expr)}
    table: list[tuple[type[Decomposer], set[str]]] = [
        (MaxPlus, {"max", "relu"}),
        (MinPlus, {"min"}),
        (LogSumExp, {"logaddexp", "logsumexp", "softplus", "log", "log1p"}),
    ]
    return [(semiring, functions) for semiring, functions in table if functions & used]


__all__ = ["LogSumExp", "MaxPlus", "MinPlus", "candidates"]
