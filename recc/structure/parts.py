"""From collected products to parts: what each term of an update does to the state it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from recc.recurrence import Along, At, Expr, Number, Read
from recc.structure.affine import Decomposer
from recc.structure.build import base_of, is_number
from recc.structure.data import Entry, Kind, Part, Term
from recc.structure.products import Product, Products
from recc.structure.size import Sizes

_MOST_RANK = 16
_Split = tuple[tuple[Expr, ...], tuple[Expr, ...]]


class Parts:
    """Makes the entries of one stage from its products."""

    def __init__(self, by: Decomposer):
        self.by = by
        self.work = by.work
        self.sizes = Sizes(by.work)

    def entries(self, target: str, products: Products) -> tuple[Entry, ...]:
        """How a state depends on each state at each lag."""
        groups: dict[tuple[str, tuple[int, ...]], dict[tuple[object, ...], list[Product]]] = {}
        for p in products:
            if p.read is not None:
                p = self._settled(p, self.work.symbol(target).axes)
                assert p.read is not None
                groups.setdefault((p.read.name, p.read.lags), {}).setdefault(p.key, []).append(p)
        found = []
        for (source, lags), by_key in groups.items():
            parts = tuple(self._part(target, source, same) for same in by_key.values())
            found.append(Entry(target, source, lags, join(parts), parts))
        return tuple(found)

    def _settled(self, p: Product, target: tuple[str, ...]) -> Product:
        """A product whose summed axes have names fit to read: the user's own, or `i'` beside `i`."""
        names: dict[str, str] = {}
        assert p.read is not None
        free = {*target, *p.read.axes, *(a for f in p.factors for a in f.axes)} - set(p.over)
        taken = set(free)
        for axis in p.bound:
            base = base_of(axis)
            names[axis] = base if base not in taken else self.work.primed(axis, taken)
            taken.add(names[axis])
        return self.by.renamed(replace(p, over=tuple(names[a] for a in p.bound)), names) if names else p

    def _part(self, target: str, source: str, same: Sequence[Product]) -> Part:
        """The part of one read. `same` has one product, or several with sums."""
        return self._summed(target, source, same) if same[0].over else self._plain(target, source, same[0])

    def _plain(self, target: str, source: str, p: Product) -> Part:
        """A term without sums: a coefficient for each element, in place or elsewhere."""
        assert p.read is not None
        axes = self.work.symbol(target).axes
        declared = self.work.symbol(source).axes
        coefficient = self.by.multiplied(p.factors)
        one = self.by.multiplied(())
        term = Term(coefficient, one, (), p.read, p.stopped, p.span)
        offsets = tuple((d, i.offset) for d, i in _pairs(declared, p.read) if isinstance(i, Along) and i.offset)
        own = self.work.ordered(a for a in coefficient.axes if a in axes)
        size = self.sizes.of(coefficient)
        along = [i.axis for i in p.read.index if isinstance(i, Along)]
        permuted = set(declared) == set(axes) and any(
            isinstance(i, Along) and i.axis != d for d, i in _pairs(declared, p.read)
        )
        picked = tuple(d for d, i in _pairs(declared, p.read) if isinstance(i, At))
        if picked and set(axes) == set(declared) and set(p.read.axes) == set(declared) - set(picked) and not permuted:
            return Part("low_rank", (term,), mixes=picked, rank=1, size=size, span=p.span)  # one element for all
        if len(along) < len(declared) or len(set(along)) < len(along) or permuted:
            return Part("gather", (term,), mixes=declared, size=size, span=p.span)
        if set(along) != set(axes):
            spread = tuple(a for a in axes if a not in along)
            return Part("low_rank", (term,), mixes=spread, rank=1, size=size, span=p.span)
        if offsets:
            return Part("shift", (term,), own, (), 0, offsets, size, p.span)
        kind: Kind = "identity" if is_number(coefficient, self.by.one) else "diagonal" if own else "scalar"
        return Part(kind, (term,), own, size=size, span=p.span)

    def _summed(self, target: str, source: str, same: Sequence[Product]) -> Part:
        """A term with sums: of low rank if its coefficients come apart, dense otherwise."""
        model = same[0]
        assert model.read is not None
        declared = self.work.symbol(source).axes
        made = tuple(a for a in self.work.symbol(target).axes if a not in model.read.axes)
        mixes = tuple(d for d, i in _pairs(declared, model.read) if not isinstance(i, Along) or i.axis in model.over)
        mixes = (*mixes, *(a for a in made if self._size_of(a) not in map(self._size_of, mixes)))
        splits = self._splits(same, model.over, made) if self._regular(model, declared) else None
        if splits is None:
            terms = tuple(self._dense(p) for p in same)
            whole = self.by.added([self.by.multiplied(p.factors) for p in same])
            decides = next((p for p in same if not all(_separable(f, p.over, made) for f in p.factors)), model)
            return Part("dense", terms, mixes=mixes, size=self.sizes.of(whole), span=decides.span)
        terms = tuple(
            Term(self.by.multiplied(u), self.by.multiplied(w), model.over, model.read, model.stopped, model.span)
            for u, w in splits
        )
        span = self.by.analysis.together([p.span for p in same])
        return Part("low_rank", terms, mixes=mixes, rank=len(terms), span=span)

    def _dense(self, p: Product) -> Term:
        assert p.read is not None
        left = self.by.multiplied(_without(p.factors, p.over))
        return Term(left, self.by.multiplied(_with(p.factors, p.over)), p.over, p.read, p.stopped, p.span)

    def _size_of(self, axis: str) -> str:
        return self.work.axes[axis].size_of

    def _regular(self, p: Product, declared: tuple[str, ...]) -> bool:
        """Whether each index is plain and each summed axis is in one index."""
        assert p.read is not None
        index = p.read.index
        plain = all(isinstance(i, Along) and not i.offset for i in index)
        axes = [i.axis for i in index if isinstance(i, Along)]
        kept = all(a == d for a, d in zip(axes, declared, strict=False) if a not in p.over)
        return plain and kept and len(set(axes)) == len(axes)

    def _splits(self, same: Sequence[Product], over: tuple[str, ...], made: tuple[str, ...]) -> list[_Split] | None:
        """Left and right factors of each term, as few as can be seen; `None` if they do not come apart."""
        written = [p.factors for p in same]
        best: list[_Split] | None = None
        for products in (written, self.by.monomials(written)):
            if products is None or not all(_separable(f, over, made) for p in products for f in p):
                continue
            found = [(_without(p, over), _with(p, over)) for p in products]
            for grouped in (self._grouped(found, 1), self._grouped(found, 0)):
                if len(grouped) <= _MOST_RANK and (best is None or len(grouped) < len(best)):
                    best = grouped
        return best

    def _grouped(self, splits: Sequence[_Split], by: int) -> list[_Split]:
        """Terms with the same right (`by` 1) or left factors (`by` 0) become one; numbers stand on the other side."""
        groups: dict[object, list[_Split]] = {}
        for left, right in splits:
            moved = tuple(f for f in (left, right)[by] if isinstance(f, Number))
            kept = tuple(f for f in (left, right)[by] if not isinstance(f, Number))
            split = ((*moved, *left), kept) if by else (kept, (*moved, *right))
            groups.setdefault(self.by.canonical(split[by]), []).append(split)
        found: list[_Split] = []
        for same in groups.values():
            merged = self.by.merged([s[1 - by] for s in same]) if len(same) > 1 else same[0][1 - by]
            if merged is not None:
                found.append((merged, same[0][1]) if by else (same[0][0], merged))
        return found


def _pairs(declared: tuple[str, ...], read: Read) -> list[tuple[str, Along | At]]:
    return list(zip(declared, read.index, strict=True))


def _separable(factor: Expr, over: tuple[str, ...], made: tuple[str, ...]) -> bool:
    return not (any(a in over for a in factor.axes) and any(a in made for a in factor.axes))


def _with(factors: Sequence[Expr], axes: tuple[str, ...]) -> tuple[Expr, ...]:
    return tuple(f for f in factors if any(a in axes for a in f.axes))


def _without(factors: Sequence[Expr], axes: tuple[str, ...]) -> tuple[Expr, ...]:
    return tuple(f for f in factors if not any(a in axes for a in f.axes))


def join(parts: Sequence[Part]) -> Kind:
    """The kind of a sum of parts."""
    kinds = {p.kind for p in parts}
    if not parts:
        return "zero"
    if "dense" in kinds or ("gather" in kinds and len(parts) > 1):
        return "dense"
    if kinds == {"gather"}:
        return "gather"
    low = {p.mixes for p in parts if p.kind == "low_rank"}
    if len(low) > 1:
        return "dense"
    if "shift" in kinds:
        return "shift+low_rank" if low else "shift"
    if kinds == {"low_rank"}:
        return "low_rank"
    if low:
        return "diagonal+low_rank"
    return "diagonal" if "diagonal" in kinds else "scalar" if "scalar" in kinds or len(parts) > 1 else "identity"


__all__ = ["Parts", "join"]
