"""Coefficients of summed reads as products of columns and rows: a map of low rank, and of which rank.

For a coefficient c over the axes `made` that a sum makes and the axes `over` that it sums,

    c[made, over] = ⊕_r u_r[made] ⊗ w_r[over]

shows that the map has at most as many dimensions as there are terms. Terms come from multiplying out, and
from sums inside the coefficient: `sum[r](U[n, r] * W[m, r])` is as many terms as r is long.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from recc.recurrence import Expr, Reduce
from recc.structure.affine import Decomposer
from recc.structure.build import base_of
from recc.structure.rename import rename

_MOST = 16  # terms of one map; a map of more is dense
_Factors = tuple[Expr, ...]


@dataclass(frozen=True)
class Split:
    """`⊕_ranks (⊗ left) ⊗ (⊗ right)`: nothing of `left` has a summed axis, nothing of `right` one that is made."""

    left: _Factors
    right: _Factors
    ranks: tuple[str, ...] = ()


class Splitter:
    """Takes the coefficients of one read apart.

    Args:
        by: the algebra.
        over: the summed axes.
        made: the axes of the target that the read lacks.
        taken: every axis that the products use, so that new ones are called something else.
    """

    def __init__(self, by: Decomposer, over: Sequence[str], made: Sequence[str], taken: Iterable[str]):
        self.by = by
        self.work = by.work
        self.over = frozenset(over)
        self.made = frozenset(made)
        self.taken = frozenset(taken)
        self.full = {self.work.axes[a].size_of for a in (*over, *made)}

    def separable(self, factor: Expr) -> bool:
        """Whether a factor has no summed axis or none that is made."""
        return not (self.over & set(factor.axes) and self.made & set(factor.axes))

    def splits(self, products: Sequence[_Factors]) -> list[Split] | None:
        """As few terms as can be seen, none with `ranks`; `None` if the products do not come apart."""
        return self._best(products, opened=False)

    def factored(self, products: Sequence[_Factors]) -> list[Split]:
        """Terms of which some have `ranks`; none if the products do not come apart even so."""
        return self._best(products, opened=True) or []

    def _best(self, products: Sequence[_Factors], opened: bool) -> list[Split] | None:
        best: list[Split] | None = None
        for written in (products, self.by.monomials(products)):
            if written is None or len(written) > _MOST:
                continue
            found = self._opened(written) if opened else [Split(*self._sides(p)) for p in written if self._apart(p)]
            if found is None or (not opened and len(found) < len(written)):
                continue
            for grouped in (self._same_right(found), self._same_left(found)):
                if len(grouped) <= _MOST and (best is None or _cost(grouped) < _cost(best)):
                    best = grouped
        return best

    def _apart(self, factors: _Factors) -> bool:
        return all(self.separable(f) for f in factors)

    def _sides(self, factors: _Factors) -> tuple[_Factors, _Factors]:
        right = tuple(f for f in factors if self.over & set(f.axes))
        return tuple(f for f in factors if not self.over & set(f.axes)), right

    # Sums inside a coefficient.

    def _opened(self, products: Sequence[_Factors]) -> list[Split] | None:
        found: list[Split] = []
        for product in products:
            open_ = self._open(product, ())
            if open_ is None:
                return None
            found += open_
        return found

    def _open(self, factors: _Factors, ranks: tuple[str, ...]) -> list[Split] | None:
        """A product whose factors that do not come apart are sums over other axes of what does."""
        place = next((k for k, f in enumerate(factors) if not self.separable(f)), None)
        if place is None:
            return [self._settled(factors, ranks)]
        inner = factors[place]
        if not (isinstance(inner, Reduce) and inner.fn == self.by.reduction):
            return None
        if any(self.work.axes[a].size_of in self.full for a in inner.over):
            return None  # an axis as long as those that it joins bounds nothing
        names: dict[str, str] = {}
        for axis in inner.over:
            base, taken = base_of(axis), {*self.taken, *ranks, *names.values()}
            names[axis] = base if base not in taken else self.work.primed(axis, taken)
        found: list[Split] = []
        for p in self.by.free(rename(self.work, inner.arg, names)):
            rest = (*factors[:place], *p.factors, *factors[place + 1 :])
            if any(f == inner for f in rest):
                return None
            open_ = self._open(rest, (*ranks, *names.values()))
            if open_ is None:
                return None
            found += open_
        return found

    def _settled(self, factors: _Factors, ranks: tuple[str, ...]) -> Split:
        """A product that comes apart; an axis that only one side has is summed there."""
        left, right = self._sides(factors)
        kept: list[str] = []
        for axis in ranks:
            sides = [[f for f in side if axis in f.axes] for side in (left, right)]
            if all(sides):
                kept.append(axis)
            elif sides[1]:
                right = (*(f for f in right if axis not in f.axes), self.by.sum_of(sides[1], (axis,)))
            else:
                left = (*(f for f in left if axis not in f.axes), self.by.sum_of(sides[0], (axis,)))
        return Split(left, right, tuple(kept))

    # Terms that are one.

    def _same_right(self, splits: Sequence[Split]) -> list[Split]:
        """Terms with the same right factors become one."""
        found: list[Split] = []
        for same in self._groups((s, s.right) for s in splits):
            left = self.by.merged([s.left for s in same]) if len(same) > 1 else same[0].left
            if left is not None:
                found.append(Split(left, same[0].right, same[0].ranks))
        return found

    def _same_left(self, splits: Sequence[Split]) -> list[Split]:
        """Terms with the same left factors become one: what has no axis that is made stands on the right."""
        kept = {id(s): tuple(f for f in s.left if self._makes(f, s)) for s in splits}
        found: list[Split] = []
        for same in self._groups((s, kept[id(s)]) for s in splits):
            if len(same) == 1:
                found.append(same[0])
                continue
            right = self.by.merged([(*(f for f in s.left if not self._makes(f, s)), *s.right) for s in same])
            if right is not None:
                found.append(Split(kept[id(same[0])], right, same[0].ranks))
        return found

    def _makes(self, factor: Expr, split: Split) -> bool:
        return bool((self.made | set(split.ranks)) & set(factor.axes))

    def _groups(self, keyed: Iterable[tuple[Split, _Factors]]) -> list[list[Split]]:
        groups: dict[object, list[Split]] = {}
        for split, factors in keyed:
            groups.setdefault((self.by.canonical(factors), split.ranks), []).append(split)
        return list(groups.values())


def _cost(splits: Sequence[Split]) -> tuple[int, int]:
    return sum(bool(s.ranks) for s in splits), len(splits)


__all__ = ["Split", "Splitter"]
