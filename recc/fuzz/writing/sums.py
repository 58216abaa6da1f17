"""Sums of products over a ring or a semiring, and the many ways to write the same one down.

An update is made as a tree: leaves, products, sums, and contractions (sums over axes). Written plainly it is the tree
as it stands. Written wildly it is reordered, factors are distributed over sums or pulled out of contractions, signs
move, parts get names, products by positive numbers become divisions. The value stays the same, up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TypeVar

from .phrase import Phrase, add, call, div, mul, neg, number, reduced, sub
from .writer import Writer

T = TypeVar("T")


@dataclass(frozen=True)
class Leaf:
    """A value. `divides`: it is positive and not small, so that one may divide by it."""

    phrase: Phrase
    divides: bool = False


@dataclass(frozen=True)
class Product:
    """The product of some factors."""

    factors: tuple[Node, ...]


@dataclass(frozen=True)
class Sum:
    """A sum of terms, each with whether it is subtracted (in a ring alone)."""

    terms: tuple[tuple[bool, Node], ...]


@dataclass(frozen=True)
class Contract:
    """A sum over axes."""

    over: tuple[str, ...]
    of: Node


Node = Leaf | Product | Sum | Contract


@dataclass(frozen=True)
class Algebra:
    """A ring or semiring: its two operations as the language writes them."""

    name: str
    plus: str
    total: str

    @property
    def is_ring(self) -> bool:
        """Whether it is (+, *)."""
        return self.plus == "+"


RING = Algebra("ring", "+", "sum")
SEMIRINGS = (
    Algebra("max-plus", "max", "max"),
    Algebra("min-plus", "min", "min"),
    Algebra("log-sum-exp", "logaddexp", "logsumexp"),
)


def leaf(phrase: Phrase, divides: bool = False) -> Leaf:
    """A value as a tree."""
    return Leaf(phrase, divides)


def times(*factors: Node) -> Node:
    """A product as a tree."""
    return Product(factors) if len(factors) > 1 else factors[0]


def plus(*terms: Node) -> Node:
    """A sum as a tree."""
    return Sum(tuple((False, t) for t in terms)) if len(terms) > 1 else terms[0]


def minus(first: Node, *others: Node) -> Node:
    """A first term and others that are subtracted from it."""
    return Sum(((False, first), *((True, t) for t in others)))


@dataclass
class Hand:
    """Writes trees down, more wildly the larger `wild` is (a share of the places)."""

    writer: Writer
    wild: float = 0.0
    algebra: Algebra = RING
    role: str = "mid"

    def write(self, node: Node) -> Phrase:
        """The text of a tree."""
        found = self._write(node)
        if not isinstance(node, Leaf) and self._wildly(0.5):
            return self.writer.named(found, "mid", self.role, opened=True)
        return found

    def _wildly(self, share: float = 1.0) -> bool:
        return self.wild > 0 and self.writer.by.chance(self.wild * share)

    def _write(self, node: Node) -> Phrase:
        if isinstance(node, Leaf):
            return node.phrase
        if isinstance(node, Product):
            return self._product(node)
        if isinstance(node, Sum):
            return self._sum(node)
        return self._contract(node)

    def _product(self, node: Product) -> Phrase:
        sums = [k for k, f in enumerate(node.factors) if isinstance(f, Sum)]
        if sums and self._wildly():
            return self._write(distributed(node, sums[0]))
        factors = self._order(node.factors)
        if self.algebra.is_ring:
            return self._ring_product(factors)
        written = [self.write(f) for f in factors]
        if len(written) > 1 and self._wildly():
            return reduce(add, written[2:], sub(written[0], neg(written[1])))
        return reduce(add, written)

    def _ring_product(self, factors: Sequence[Node]) -> Phrase:
        found: Phrase | None = None
        for factor in factors:
            part = self.write(factor)
            if found is not None and isinstance(factor, Leaf) and factor.divides and self._wildly():
                found = div(found, div(number("1"), part))
            elif found is not None and self._wildly(0.3):
                found = neg(mul(found, neg(part)))
            else:
                found = part if found is None else mul(found, part)
        assert found is not None
        return found

    def _sum(self, node: Sum) -> Phrase:
        terms = self._order(node.terms)
        if not self.algebra.is_ring:
            written = [self.write(t) for _, t in terms]
            if len(written) > 2 and self._wildly():
                return call(self.algebra.plus, written[0], self._fold(written[1:]))
            return self._fold(written)
        if len(terms) == 2 and terms[0][0] != terms[1][0] and self._wildly(0.5):
            terms = [(not sign, t) for sign, t in terms]
            return neg(self._signed(terms))
        return self._signed(terms)

    def _fold(self, written: Sequence[Phrase]) -> Phrase:
        return reduce(lambda a, b: call(self.algebra.plus, a, b), written)

    def _signed(self, terms: Sequence[tuple[bool, Node]]) -> Phrase:
        found: Phrase | None = None
        for minus_, term in terms:
            part = self.write(term)
            if found is None:
                found = neg(part) if minus_ else part
            elif self._wildly(0.5):
                found = sub(found, part if minus_ else neg(part))
            else:
                found = (sub if minus_ else add)(found, part)
        assert found is not None
        return found

    def _contract(self, node: Contract) -> Phrase:
        inner = node.of
        if isinstance(inner, Sum) and self._wildly():
            return self._write(Sum(tuple((m, Contract(node.over, t)) for m, t in inner.terms)))
        if isinstance(inner, Product) and self._wildly():
            out = [f for f in inner.factors if not axes_of(f) & set(node.over)]
            rest = [f for f in inner.factors if axes_of(f) & set(node.over)]
            if out and rest:
                return self._write(Product((*out, Contract(node.over, times(*rest)))))
        return reduced(self.algebra.total, node.over, self.write(inner))

    def _order(self, items: Sequence[T]) -> list[T]:
        return self.writer.by.shuffled(items) if self._wildly(1.5) else list(items)


def axes_of(node: Node) -> set[str]:
    """The axes of a tree."""
    if isinstance(node, Leaf):
        return set(node.phrase.axes)
    if isinstance(node, Contract):
        return axes_of(node.of) - set(node.over)
    parts = node.factors if isinstance(node, Product) else tuple(t for _, t in node.terms)
    return set().union(*(axes_of(p) for p in parts))


def distributed(node: Product, at: int) -> Sum:
    """A product with one factor that is a sum, as a sum of products."""
    found = node.factors[at]
    assert isinstance(found, Sum)
    others = node.factors
    return Sum(tuple((m, replace(node, factors=(*others[:at], t, *others[at + 1 :]))) for m, t in found.terms))


__all__ = [
    "RING", "SEMIRINGS", "Algebra", "Contract", "Hand", "Leaf", "Node", "Product", "Sum", "axes_of", "leaf", "minus",
    "plus", "times",
]  # fmt: skip
