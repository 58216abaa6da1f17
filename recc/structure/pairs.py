"""Real states that are complex ones, two by two, and maps on two axes that come apart: found by composing.

Two real states x, y are one complex state x + i y if the map commutes with multiplication by i: what x takes
from x is what y takes from y, and what y takes from x is minus what x takes from y. A map S ↦ A S B of a state
with two axes is known by the same means: its products are those of a map along one axis after one along the
other. Both compare sums of products as polynomials, whatever the way they are written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf, sqrt
from typing import Literal

from recc.recurrence import Along, Apply, Expr, Read
from recc.structure.affine import Decomposer
from recc.structure.build import number
from recc.structure.data import Entry, Pair
from recc.structure.poly import Monomial, Poly, add, multiply
from recc.structure.products import Product, Products
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
    return Size(sqrt(low), sqrt(high), found.low_open and low > 0, found.high_open, True)


def _trigonometric(by: Decomposer, poly: Poly) -> Poly:
    """A polynomial with each squared sine as one minus the square of the cosine."""
    polynomials = by.analysis.polynomials
    found: Poly = {}
    for monomial, scale in poly.items():
        term: Poly = {(): scale}
        for atom, power in monomial:
            expr = polynomials.atom(atom)
            factor: Poly = {((atom, power),): scale / scale}
            if isinstance(expr, Apply) and expr.fn == "sin" and power == 2:
                cosine: Monomial = ()
                for (part, _), *_ in polynomials.of(by.work.apply("cos", expr.args[0])):
                    cosine = ((part, 2),)
                factor = {(): scale / scale, cosine: -scale / scale}
            term = multiply(term, factor)
        found = add(found, term)
    return found


def sides(by: Decomposer, name: str, products: Products) -> Literal["", "product", "sum"]:
    """How a map that acts on both axes of one state comes apart: S ↦ A S B, S ↦ A S + S B, or neither."""
    first, second = by.work.symbol(name).axes
    groups: dict[tuple[bool, bool], list[Product]] = {}
    for p in products:
        if p.read is None:
            continue
        rows, cols = p.read.index
        if p.read.name != name or not isinstance(rows, Along) or not isinstance(cols, Along):
            return ""
        groups.setdefault((rows.axis != first, cols.axis != second), []).append(p)
    stay, left, right, both = (groups.get(k, []) for k in ((False, False), (True, False), (False, True), (True, True)))
    one_sided = not any(second in f.axes for p in left for f in p.factors)
    one_sided = one_sided and not any(first in f.axes for p in right for f in p.factors)
    alone = not any(f.axes for p in stay for f in p.factors)
    if not both:
        return "sum" if one_sided and alone and left and right else ""
    if not (stay or left or right) and len(both) == 1:
        return "product" if _comes_apart(both[0], first, second) else ""
    if not one_sided or not alone or len(stay) != 1:
        return ""
    composed = [_after(by, x, y) for x in left for y in right]
    scaled = [replace(p, factors=(number(-1), *stay[0].factors, *p.factors)) for p in both]
    return "" if by.name != "ring" or by.collected((*composed, *scaled)) else "product"


def _comes_apart(p: Product, first: str, second: str) -> bool:
    """Whether each factor of a product has the row and its summed axis, or the column and its own."""
    assert p.read is not None
    rows, cols = (i.axis for i in p.read.index if isinstance(i, Along))
    return not any({first, rows} & set(f.axes) and {second, cols} & set(f.axes) for f in p.factors)


def _after(by: Decomposer, left: Product, right: Product) -> Product:
    """A product that mixes rows, of one that mixes columns."""
    assert left.read is not None
    assert right.read is not None
    fresh = by.renamed(right, {a: by.work.fresh(a) for a in right.over})
    over = tuple(a for a in fresh.read.axes if a not in right.read.axes) if isinstance(fresh.read, Read) else ()
    assert fresh.read is not None
    index = (left.read.index[0], fresh.read.index[1])
    read = by.work.read(left.read, index)
    return replace(left, factors=(*left.factors, *fresh.factors), over=(*left.over, *over), read=read)


__all__ = ["pairs", "sides"]
