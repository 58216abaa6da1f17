"""Gathering the products of a decomposition: one coefficient per read, and nothing that grows without bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from recc.recurrence import Expr
from recc.structure.products import Product, Products

if TYPE_CHECKING:
    from recc.structure.affine import Decomposer

_FEW = 8  # products of one read, before those with the same column become one
_MOST = 16  # products of one read, or without a read, before they become one


def collect(by: Decomposer, products: Products, hint: str) -> Products:
    """The same ⊕ of products, with equal reads gathered.

    A product with sums keeps its factors apart from those of another with the same read, since together
    they may be of low rank; without sums their coefficients become one. What cancels is left out.
    `hint` names what is too large to be written out.
    """
    rest = [p for p in products if p.read is None]
    groups: dict[tuple[object, ...], list[Product]] = {}
    for p in products:
        if p.read is not None:
            p = _inner_sums(by, p)
            group = groups.setdefault(p.key, [])
            if group and p.over:
                p = by.renamed(replace(p, over=group[0].over), dict(zip(p.bound, group[0].bound, strict=True)))
            group.append(p)
    found: list[Product] = []
    for group in groups.values():
        found += _with_sums(by, group, hint) if group[0].over else _without_sums(by, group)
    return (*(_small(by, p, hint) for p in found), *_rest(by, rest, hint))


def _inner_sums(by: Decomposer, p: Product) -> Product:
    """Sums over axes that the read does not have are sums over the factors that have them."""
    assert p.read is not None
    for axis in [a for a in p.over if a not in p.read.axes]:
        inside = [f for f in p.factors if axis in f.axes]
        outside = [f for f in p.factors if axis not in f.axes]
        total = by.sum_of(inside, (axis,))
        p = replace(p, factors=(*outside, total), over=tuple(a for a in p.over if a != axis))
    return p


def _without_sums(by: Decomposer, group: Sequence[Product]) -> list[Product]:
    factors = by.merged([p.factors for p in group])
    if factors is None:
        return []
    return [replace(group[0], factors=factors, span=by.analysis.together([p.span for p in group]))]


def _with_sums(by: Decomposer, group: Sequence[Product], hint: str) -> list[Product]:
    single = [replace(p, factors=f) for p in group if (f := by.merged([p.factors])) is not None]
    if len(single) < 2:
        return single
    together = by.monomials([p.factors for p in single])
    if together is not None and len(together) < len(single):
        single = [replace(p, factors=f) for p, f in zip(single, together, strict=False)]
    if len(single) > _FEW:
        single = _columns(by, single, hint)
    if len(single) > _MOST:
        return [replace(single[0], factors=(by.added([by.multiplied(p.factors) for p in single]),))]
    return single


def _columns(by: Decomposer, group: Sequence[Product], hint: str) -> list[Product]:
    """Products that make the same column as one, whose row gets a name: a product of n maps of the form
    identity plus rank one has 2^n - 1 products, but n columns.
    """
    groups: dict[object, list[tuple[Product, list[Expr], list[Expr]]]] = {}
    for p in group:
        assert p.read is not None
        place = {*p.over, *p.read.axes}
        column = [f for f in p.factors if not set(f.axes) <= place]
        groups.setdefault(by.canonical(column), []).append((p, column, [f for f in p.factors if f not in column]))
    found: list[Product] = []
    for same in groups.values():
        p, column, row = same[0]
        merged = by.merged([row for _, _, row in same]) if len(same) > 1 else tuple(row)
        if merged is not None:
            rows = (by.work.named(by.multiplied(merged), f"{hint}_row"),) if len(same) > 1 else merged
            found.append(replace(p, factors=(*column, *rows)))
    return found


def _rest(by: Decomposer, rest: Sequence[Product], hint: str) -> Products:
    if not rest:
        return ()
    whole = by.rest(tuple(rest))
    shared = by.work.share(whole, f"{hint}_rest")
    if shared is not whole or len(rest) > _MOST:
        return (Product((shared,), span=rest[0].span),)
    return tuple(rest)


def _small(by: Decomposer, p: Product, hint: str) -> Product:
    """Factors that are large get a name; many factors become one for each set of axes."""
    factors: Sequence[Expr] = p.factors
    if len(factors) > _MOST:
        alike: dict[tuple[str, ...], list[Expr]] = {}
        for f in factors:
            alike.setdefault(f.axes, []).append(f)
        factors = [by.multiplied(f) for f in alike.values()]
    return replace(p, factors=tuple(by.work.share(f, f"{hint}_part") for f in factors))


__all__ = ["collect"]
