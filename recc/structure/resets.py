"""Resets: conditions under which nothing is kept of the states, found in the coefficients.

A condition resets a stage if it varies in time and every coefficient of the transition is the zero of the
algebra where it holds. It may be written as a choice (`where(done, 0, a * h)`), as a factor
(`(1 - done) * h` with a flag, `live * h`), in any polynomial of flags, or behind names.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from recc.recurrence import Along, Apply, Expr, Kind, Number, Read, Symbol, walk
from recc.structure.affine import Decomposer
from recc.structure.data import Entry, Term
from recc.structure.rename import CannotFollow, rename

_DEEPEST = 100  # expressions and chains of names below this are not looked at
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
        self._known: dict[int, tuple[Expr, Conditions]] = {}
        self._names: dict[str, Conditions] = {}
        self._depth = 0

    def of_term(self, term: Term) -> Conditions:
        """Where one of the coefficients of a term is zero: at every summed place, if it has sums."""
        found = {**self.of(term.left), **self.of(term.right)}
        return {c: None for c in found if not set(c.axes) & set(term.over)}

    def of(self, expr: Expr) -> Conditions:
        """Conditions under which an expression is zero."""
        if self._depth > _DEEPEST:
            return {}
        if id(expr) not in self._known:
            self._depth += 1
            self._known[id(expr)] = (expr, self._of(expr))  # the expression is kept, and with it its number
            self._depth -= 1
        return self._known[id(expr)][1]

    def _of(self, expr: Expr) -> Conditions:
        if expr.dtype == "bool" and self.by.zero == 0:
            return {self.negation(expr): None}
        if isinstance(expr, Read):
            return self._read(expr)
        if not isinstance(expr, Apply):
            return {}
        if expr.fn == "where":
            return self._where(expr)
        if expr.fn in (self.by.times, "neg", "stop"):
            return {c: None for a in expr.args for c in self.of(a)}
        if expr.fn == "div":
            return self.of(expr.args[0])
        if expr.fn in ("add", "sub") and self.by.zero == 0:
            left = self.of(expr.args[0])
            right = self.of(expr.args[1]) if left else {}
            return {**{c: None for c in left if c in right}, **self._flags(expr)}
        return {}

    def _where(self, expr: Apply) -> Conditions:
        condition, *sides = expr.args
        zero = [self._is_zero(s) for s in sides]
        inner = [self.of(s) for s in sides]
        found: Conditions = {condition: None} if zero[0] else {}
        found |= {self.negation(condition): None} if zero[1] else {}
        both = (c for i in inner for c in i if all(z or c in j for z, j in zip(zero, inner, strict=True)))
        return found | dict.fromkeys(both)

    def _is_zero(self, expr: Expr) -> bool:
        if isinstance(expr, Apply) and expr.fn == "neg" and isinstance(expr.args[0], Number):
            return -expr.args[0].value == self.by.zero
        return isinstance(expr, Number) and expr.value == self.by.zero

    def _flags(self, expr: Expr) -> Conditions:
        """The flags of which one value makes a polynomial zero."""
        if not any(e.dtype == "bool" for e in walk(expr)):
            return {}
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

    def _read(self, expr: Read) -> Conditions:
        """What is behind a name that is no state and is read at this step in place."""
        symbol = self.work.symbol(expr.name)
        names: dict[str, str] = {}
        for axis, index in zip(symbol.axes, expr.index, strict=True):
            if not isinstance(index, Along) or index.offset:
                return {}
            names[axis] = index.axis
        try:
            return {} if any(expr.lags) else {rename(self.work, c, names): None for c in self._named(symbol)}
        except CannotFollow:
            return {}

    def _named(self, symbol: Symbol) -> Conditions:
        """The same for the name itself, once."""
        if symbol.name not in self._names:
            self._names[symbol.name] = {}
            equation = self.work.equations.get(symbol.name) or self.work.rec.equation.get(symbol.name)
            if equation is not None and symbol.kind in (Kind.LOCAL, Kind.OUTPUT):
                self._names[symbol.name] = self.of(equation.expr)
        return self._names[symbol.name]

    def negation(self, condition: Expr) -> Expr:
        """Not a condition, without two negations."""
        if isinstance(condition, Apply) and condition.fn == "not":
            return condition.args[0]
        return self.work.apply("not", condition)


__all__ = ["resets"]
