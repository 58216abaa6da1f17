"""From collected products to parts: what each term of an update does to the state it reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from recc.recurrence import Along, At, Expr, Read
from recc.structure.affine import Decomposer
from recc.structure.build import base_of, is_number
from recc.structure.data import Entry, Kind, Part, Term, join
from recc.structure.products import Product, Products
from recc.structure.ranks import Split, Splitter
from recc.structure.size import Sizes


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
        mixes = tuple(d for d, i in _pairs(declared, model.read) if not self._in_place(i, d, model))
        mixes = (*mixes, *(a for a in made if self._size_of(a) not in map(self._size_of, mixes)))
        blocks = self._blocks(target, model.read, (f for p in same for f in p.factors))
        taken = {
            *self.work.symbol(target).axes,
            *model.read.axes,
            *(a for p in same for f in p.factors for a in f.axes),
        }
        splitter = Splitter(self.by, model.over, made, {*taken, *model.over})
        written = [p.factors for p in same]
        regular = self._regular(model, declared)
        splits = splitter.splits(written) if regular else None
        if splits is None:
            terms = tuple(self._dense(p) for p in same)
            factored = tuple(self._term(model, s) for s in (splitter.factored(written) if regular else ()))
            whole = self.by.added([self.by.multiplied(p.factors) for p in same])
            decides = next((p for p in same if not all(splitter.separable(f) for f in p.factors)), model)
            size = self.sizes.of(whole)
            return Part("dense", terms, mixes=mixes, size=size, span=decides.span, blocks=blocks, factored=factored)
        terms = tuple(self._term(model, s) for s in splits)
        span = self.by.analysis.together([p.span for p in same])
        return Part("low_rank", terms, mixes=mixes, rank=len(terms), span=span, blocks=blocks)

    def _in_place(self, index: Along | At, declared: str, p: Product) -> bool:
        """Whether a state is read where the result stands along an axis."""
        return isinstance(index, Along) and index.axis == declared and declared not in p.over

    def _blocks(self, target: str, read: Read, factors: Iterable[Expr]) -> tuple[str, ...]:
        """The axes along which nothing is mixed and the coefficients differ."""
        declared = self.work.symbol(read.name).axes
        kept = {d for d, i in _pairs(declared, read) if i == Along(d)} & set(self.work.symbol(target).axes)
        return self.work.ordered(kept & {a for f in factors for a in f.axes})

    def _term(self, model: Product, split: Split) -> Term:
        assert model.read is not None
        left, right = self.by.multiplied(split.left), self.by.multiplied(split.right)
        return Term(left, right, model.over, model.read, model.stopped, model.span, split.ranks)

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


def _pairs(declared: tuple[str, ...], read: Read) -> list[tuple[str, Along | At]]:
    return list(zip(declared, read.index, strict=True))


def _with(factors: Sequence[Expr], axes: tuple[str, ...]) -> tuple[Expr, ...]:
    return tuple(f for f in factors if any(a in axes for a in f.axes))


def _without(factors: Sequence[Expr], axes: tuple[str, ...]) -> tuple[Expr, ...]:
    return tuple(f for f in factors if not any(a in axes for a in f.axes))


__all__ = ["Parts"]
