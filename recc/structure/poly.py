"""Scalar expressions as polynomials, to see that two ways of writing a coefficient are one.

An atom is any expression that is not a sum, a product, a quotient or a whole power; its axes are part of
it, so that `k[i]` and `k[i']` are two atoms. Numbers are exact fractions. Work is bounded: an expression
whose polynomial would have too many monomials is an atom as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import inf, isfinite

from recc.recurrence import Apply, Expr, Number
from recc.structure.build import Workspace, is_number, number

#: Atoms with their exponents, sorted by atom.
Monomial = tuple[tuple[int, int], ...]
Poly = dict[Monomial, Fraction]

MAX_MONOMIALS = 48
_MAX_POWER = 4


class Polynomials:
    """Converts expressions to polynomials over numbered atoms, and back."""

    def __init__(self, work: Workspace):
        self.work = work
        self._ids: dict[Expr, int] = {}
        self._atoms: list[Expr] = []

    def of(self, expr: Expr) -> Poly:
        """The polynomial of an expression."""
        if isinstance(expr, Number) and isfinite(expr.value):
            return {(): Fraction(expr.value)} if expr.value else {}
        if isinstance(expr, Apply):
            found = self._apply(expr)
            if found is not None and len(found) <= MAX_MONOMIALS:
                return found
        return {((self._atom(expr), 1),): Fraction(1)}

    def product(self, factors: Sequence[Expr]) -> Poly | None:
        """The polynomial of a product, or `None` if it is too large."""
        found: Poly = {(): Fraction(1)}
        for factor in factors:
            found = multiply(found, self.of(factor))
            if len(found) > MAX_MONOMIALS:
                return None
        return found

    def sum_of_products(self, products: Sequence[Sequence[Expr]]) -> Poly | None:
        """The polynomial of a sum of products, or `None` if it is too large."""
        found: Poly = {}
        for factors in products:
            one = self.product(factors)
            if one is None:
                return None
            found = add(found, one)
            if len(found) > MAX_MONOMIALS:
                return None
        return found

    def factors(self, monomial: Monomial, scale: Fraction = Fraction(1)) -> tuple[Expr, ...]:
        """The factors of a monomial, the number first if it is not 1."""
        found: list[Expr] = [] if scale == 1 else [number(_float(scale))]
        for atom, power in monomial:
            base = self._atoms[atom]
            if power < 0:
                found += [self.work.apply("div", number(1), base)] * -power
            else:
                found += [base] * power
        return tuple(found)

    def expr(self, poly: Poly) -> Expr:
        """The expression of a polynomial, its common factors pulled out."""
        return product(self.work, self.split(poly))

    def split(self, poly: Poly) -> tuple[Expr, ...]:
        """The common factors of a polynomial's monomials, then what is left, as factors."""
        if not poly:
            return (number(0),)
        if len(poly) == 1:
            ((monomial, scale),) = poly.items()
            return self.factors(monomial, scale)
        common = _common(list(poly))
        rest = multiply(poly, {tuple((a, -n) for a, n in common): Fraction(1)})
        total: Expr | None = None
        for monomial, scale in rest.items():
            term = product(self.work, self.factors(monomial, abs(scale)))
            if total is None:
                total = term if scale > 0 else self.work.apply("neg", term)
            else:
                total = self.work.apply("add" if scale > 0 else "sub", total, term)
        assert total is not None
        return (*self.factors(common), total)

    def atom(self, number: int) -> Expr:
        """The expression that an atom's number stands for."""
        return self._atoms[number]

    def _atom(self, expr: Expr) -> int:
        if expr not in self._ids:
            self._ids[expr] = len(self._atoms)
            self._atoms.append(expr)
        return self._ids[expr]

    def _apply(self, expr: Apply) -> Poly | None:
        """The polynomial of a sum, product, quotient or power; `None` for anything else."""
        args = expr.args
        if expr.fn in ("add", "sub"):
            return add(self.of(args[0]), self.of(args[1]), Fraction(1 if expr.fn == "add" else -1))
        if expr.fn == "neg":
            return add({}, self.of(args[0]), Fraction(-1))
        if expr.fn == "mul":
            left, right = self.of(args[0]), self.of(args[1])
            return multiply(left, right) if len(left) * len(right) <= 4 * MAX_MONOMIALS else None
        if expr.fn == "div":
            return multiply(self.of(args[0]), self._inverse(args[1]))
        power = args[1] if expr.fn == "pow" else None
        if isinstance(power, Number) and power.value == int(power.value) and 0 < power.value <= _MAX_POWER:
            base = found = self.of(args[0])
            for _ in range(int(power.value) - 1):
                found = multiply(found, base)
            return found
        return None

    def _inverse(self, expr: Expr) -> Poly:
        poly = self.of(expr)
        if len(poly) != 1:
            return {((self._atom(expr), -1),): Fraction(1)}
        ((monomial, scale),) = poly.items()
        return {tuple((a, -n) for a, n in monomial): 1 / scale}


def add(left: Poly, right: Poly, scale: Fraction = Fraction(1)) -> Poly:
    """`left + scale * right`."""
    found = dict(left)
    for monomial, value in right.items():
        total = found.get(monomial, Fraction(0)) + scale * value
        if total:
            found[monomial] = total
        else:
            found.pop(monomial, None)
    return found


def multiply(left: Poly, right: Poly) -> Poly:
    """The product of two polynomials."""
    found: Poly = {}
    for a, x in left.items():
        for b, y in right.items():
            monomial = _times(a, b)
            found[monomial] = found.get(monomial, Fraction(0)) + x * y
    return {monomial: value for monomial, value in found.items() if value}


def _times(a: Monomial, b: Monomial) -> Monomial:
    if not a or not b:
        return a or b
    powers = dict(a)
    for atom, power in b:
        powers[atom] = powers.get(atom, 0) + power
    return tuple(sorted((atom, power) for atom, power in powers.items() if power))


def _float(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return inf if value > 0 else -inf


def _common(monomials: list[Monomial]) -> Monomial:
    common = {atom: power for atom, power in monomials[0] if power > 0}
    for monomial in monomials[1:]:
        powers = dict(monomial)
        common = {a: min(n, powers.get(a, 0)) for a, n in common.items() if powers.get(a, 0) > 0}
    return tuple(sorted(common.items()))


def product(work: Workspace, factors: Sequence[Expr]) -> Expr:
    """The product of some factors: numbers merged, `1 / b` written as a quotient."""
    scale = Fraction(1)
    above: Expr | None = None
    below: list[Expr] = []
    for factor in factors:
        if isinstance(factor, Number) and isfinite(factor.value):
            scale *= Fraction(factor.value)
        elif isinstance(factor, Apply) and factor.fn == "div" and is_number(factor.args[0], 1):
            below.append(factor.args[1])
        elif isinstance(factor, Apply) and factor.fn == "neg":
            scale = -scale
            above = factor.args[0] if above is None else work.apply("mul", above, factor.args[0])
        else:
            above = factor if above is None else work.apply("mul", above, factor)
    if scale == 0:
        return number(0)
    size = number(_float(abs(scale)))
    if above is None:
        above = size
    elif abs(scale) != 1:
        above = work.apply("mul", size, above)
    for divisor in below:
        above = work.apply("div", above, divisor)
    if scale > 0:
        return above
    return number(-above.value) if isinstance(above, Number) else work.apply("neg", above)


__all__ = ["MAX_MONOMIALS", "Monomial", "Poly", "Polynomials", "add", "multiply", "product"]
