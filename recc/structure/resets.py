"""Resets: conditions under which nothing is kept of the states, found in the coefficients.

A condition resets a stage if it varies in time and every coefficient of the transition is the zero of the
algebra where it holds. It may be written as a choice (`where(done, 0, a * h)`), as a factor
(`(1 - done) * h` with a flag, `live * h`), in any polynomial of flags, or behind names.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from recc.recurrence import Along, Apply, Expr, Kind, Number, Read
from recc.structure.affine import Decomposer
from recc.structure.data import Entry, Term
from recc.structure.rename import CannotFollow, rename

_DEEPEST = 12  # names behind names
Conditions = dict[Expr, None]  # an ordered set


def resets(by: Decomposer, entries: Sequence[Entry]) -> tuple[Expr, ...]:
    """The conditions under each of which every coefficient of some entries is zero."""
    finder = _Zeros(by)
    common: Conditions | None = None
    for entry in entries:
        axes = set(by.work.symbol(entry.target).axes)
        for term in (t for p in entry.parts for t in p.terms):
            found = {c: None for c in finder.of_term(term) if c.varies and set(c.axes) <= axes}
            common = found if common is None else {c: None for c in common if c in found}
            if not common:
                return ()
    return tuple(common or ())


class _Zeros:
    """Finds where expressions are the zero of an algebra."""

    def __init__(self, by: Decomposer):
        self.by = by
        self.work = by.work

    def of_term(self, term: Term) -> Conditions:
        """Where one of the coefficients of a term is zero: at every summed place, if it has sums."""
        found = {**self.of(term.left), **self.of(term.right)}
        return {c: None for c in found if not set(c.axes) & set(term.over)}

    def of(self, expr: Expr, depth: int = 0) -> Conditions:
        """Conditions under which an expression is zero."""
        if expr.dtype == "bool" and self.by.zero == 0:
            return {self.negation(expr): None}
        if isinstance(expr, Read):
            return self._named(expr, depth)
        if not isinstance(expr, Apply):
            return {}
        if expr.fn == "where":
            return self._where(expr, depth)
        if expr.fn in (self.by.times, "neg", "stop"):
            return {c: None for a in expr.args for c in self.of(a, depth)}
        if expr.fn == "div":
            return self.of(expr.args[0], depth)
        if expr.fn in ("add", "sub") and self.by.zero == 0:
            left, right = (self.of(a, depth) for a in expr.args)
            return {**{c: None for c in left if c in right}, **self._flags(expr)}
        return {}

    def _where(self, expr: Apply, depth: int) -> Conditions:
        condition, *sides = expr.args
        zero = [self._is_zero(s) for s in sides]
        inner = [self.of(s, depth) for s in sides]
        found: Conditions = {condition: None} if zero[0] else {}
        found |= {self.negation(condition): None} if zero[1] else {}
        return found | {
            c: None for c in (*inner[0], *inner[1]) if all(z or c in i for z, i in zip(zero, inner, strict=True))
        }

    def _is_zero(self, expr: Expr) -> bool:
        if isinstance(expr, Apply) and expr.fn == "neg" and isinstance(expr.args[0], Number):
            return -expr.args[0].value == self.by.zero
        return isinstance(expr, Number) and expr.value == self.by.zero

    def _flags(self, expr: Expr) -> Conditions:
        """The flags of which one value makes a polynomial zero."""
        polynomials = self.by.analysis.polynomials
        poly = polynomials.of(expr)
        found: Conditions = {}
        for number in dict.fromkeys(a for monomial in poly for a, _ in monomial):
            flag = polynomials.atom(number)
            if flag.dtype != "bool":
                continue
            for value, condition in ((1, flag), (0, self.negation(flag))):
                left: dict[object, Fraction] = {}
                for monomial, scale in poly.items():
                    if value or number not in dict(monomial):
                        rest = tuple((a, n) for a, n in monomial if a != number)
                        left[rest] = left.get(rest, Fraction(0)) + scale
                if not any(left.values()):
                    found[condition] = None
        return found

    def _named(self, expr: Read, depth: int) -> Conditions:
        """What is behind a name that is no state and is read at this step in place."""
        equation = self.work.equations.get(expr.name) or self.work.rec.equation.get(expr.name)
        symbol = self.work.symbol(expr.name)
        if equation is None or symbol.kind not in (Kind.LOCAL, Kind.OUTPUT) or any(expr.lags) or depth > _DEEPEST:
            return {}
        names: dict[str, str] = {}
        for axis, index in zip(symbol.axes, expr.index, strict=True):
            if not isinstance(index, Along) or index.offset:
                return {}
            names[axis] = index.axis
        try:
            return {rename(self.work, c, names): None for c in self.of(equation.expr, depth + 1)}
        except CannotFollow:
            return {}

    def negation(self, condition: Expr) -> Expr:
        """Not a condition, without two negations."""
        if isinstance(condition, Apply) and condition.fn == "not":
            return condition.args[0]
        return self.work.apply("not", condition)


__all__ = ["resets"]
