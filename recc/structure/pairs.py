"""Real states that are complex ones, two by two: a map that commutes with multiplication by i.

Two real states x, y are one complex state x + i y if what x takes from x is what y takes from y, and what y
takes from x is minus what x takes from y. Both are compared as sums of products whose coefficients are
polynomials, so that it does not matter how they are written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import inf, sqrt

from recc.recurrence import Apply, Expr
from recc.structure.affine import Decomposer
from recc.structure.build import number
from recc.structure.data import Entry, Pair
from recc.structure.poly import Poly, add, multiply
from recc.structure.products import Products
from recc.structure.size import ANY, Size, Sizes

_MOST_STATES = 8
_POINTWISE = ("identity", "scalar", "diagonal")


def pairs(by: Decomposer, products: Mapping[str, Products], entries: Sequence[Entry]) -> tuple[Pair, ...]:
    """All states of a stage in pairs that are complex states, or none."""
    symbols = [by.work.symbol(name) for name in products]
    real = all(s.dtype == "real" and s.axes == symbols[0].axes for s in symbols)
    if by.name != "ring" or not real or len(symbols) % 2 or not 2 <= len(symbols) <= _MOST_STATES:
        return ()
    for found in _Matching(by, products).matchings([s.name for s in symbols], ()):
        if len(found) == 1:
            return (_rotation(by, Pair(*found[0]), entries),)
        return tuple(Pair(*names) for names in found)
    return ()


class _Matching:
    """Ways to put states in pairs."""

    def __init__(self, by: Decomposer, products: Mapping[str, Products]):
        self.by = by
        self.products = products
        self._known: dict[tuple[str, str, str, str, int], bool] = {}

    def matchings(
        self, left: Sequence[str], found: tuple[tuple[str, str], ...]
    ) -> Iterator[tuple[tuple[str, str], ...]]:
        """Every way to pair the states that are left with one another."""
        if not left:
            yield found
            return
        first, *others = left
        for other in others:
            for pair in ((first, other), (other, first))[: 2 if found else 1]:
                if all(self._linear(pair, q) and self._linear(q, pair) for q in (*found, pair)):
                    yield from self.matchings([s for s in others if s != other], (*found, pair))

    def _linear(self, p: tuple[str, str], q: tuple[str, str]) -> bool:
        """Whether the map from pair q to pair p commutes with multiplication by i."""
        return self._same(p[0], q[0], p[1], q[1], 1) and self._same(p[0], q[1], p[1], q[0], -1)

    def _same(self, target: str, source: str, other: str, instead: str, sign: int) -> bool:
        """Whether `target` takes from `source` what `other` takes from `instead`, times a sign."""
        key = (target, source, other, instead, sign)
        if key not in self._known:
            mine = [p for p in self.products[target] if p.read is not None and p.read.name == source]
            theirs = []
            for p in self.products[other]:
                if p.read is not None and p.read.name == instead:
                    read = replace(p.read, name=source)
                    theirs.append(replace(p, read=read, factors=(number(-sign), *p.factors)))
            self._known[key] = not self.by.collected((*mine, *theirs))
        return self._known[key]


def _rotation(by: Decomposer, pair: Pair, entries: Sequence[Entry]) -> Pair:
    """The pair with its complex coefficient, if the map multiplies by one."""
    parts = {(e.target, e.source): e.parts for e in entries}
    if any(len(p) != 1 or p[0].kind not in _POINTWISE for p in parts.values()) or len(parts) < len(entries):
        return pair
    if len({e.lags for e in entries}) > 1:
        return pair
    here, across = parts.get((pair.real, pair.real)), parts.get((pair.imag, pair.real))
    re = here[0].terms[0].left if here else number(0)
    im = across[0].terms[0].left if across else number(0)
    return replace(pair, re=re, im=im, size=_modulus(by, re, im))


def _modulus(by: Decomposer, re: Expr, im: Expr) -> Size:
    """The size of the modulus, from the sum of squares with `sin² = 1 - cos²`."""
    polynomials = by.analysis.polynomials
    square: Poly = {}
    for part in (re, im):
        poly = polynomials.of(part)
        square = add(square, multiply(poly, poly))
    square = _trigonometric(by, square)
    sizes = Sizes(by.work)
    if len(square) == 1:
        ((monomial, scale),) = square.items()
        if all(n % 2 == 0 for _, n in monomial) and scale > 0:
            half = polynomials.factors(tuple((a, n // 2) for a, n in monomial))
            found = sizes.of(by.work.apply("abs", by.multiplied((number(sqrt(scale)), *half))))
            return replace(found, modulus=True)
    found = sizes.of(polynomials.expr(square))
    if found == ANY:
        return Size(0, inf, modulus=True)
    low, high = max(found.low, 0.0), max(found.high, 0.0)
    return Size(sqrt(low), sqrt(high), found.low_open and found.low >= 0, found.high_open, True)


def _trigonometric(by: Decomposer, poly: Poly) -> Poly:
    """A polynomial with each squared sine as one minus the square of the cosine."""
    polynomials = by.analysis.polynomials
    found: Poly = {}
    for monomial, scale in poly.items():
        term: Poly = {(): scale}
        for atom, power in monomial:
            expr = polynomials.atom(atom)
            factor: Poly = {((atom, power),): Fraction(1)}
            if isinstance(expr, Apply) and expr.fn == "sin" and power == 2:
                cosine = polynomials.of(by.work.apply("cos", *expr.args))
                factor = add({(): Fraction(1)}, multiply(cosine, cosine), Fraction(-1))
            term = multiply(term, factor)
        found = add(found, term)
    return found


__all__ = ["pairs"]
