"""Maps of stretches of time, carried along: what chunks in a row do to what is carried, chunk after chunk.

A stretch does to its carries c what its chunks do one after the other. Where each of them is affine over an algebra,

    c' = M ⊗ c ⊕ F

for the stretch, and the Block of a chunk takes (M, F) along: applied to what is affine in the carries at the start of
the stretch, it gives what is affine in them again. Each column of M goes through the chunk as a carry would, F is one
more. So a map needs no product of matrices that the chunk does not have, and columns may be gone through apart.

What is affine may be so only once other carries are known: a matrix state that decays by what a running maximum says
is affine over sums and products, and the maximum over max and plus. Carries then have *tiers*. Those of a tier are
affine over one algebra where the carries of earlier tiers are given, which are run beside the maps, from where the
maps of their own tiers say that a stretch begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from graphlib import TopologicalSorter

from recc.forms.block import ONE, ZERO, Algebra, Block, BlockError, Value
from recc.forms.builder import Builder
from recc.forms.linear import reach
from recc.forms.segment import Carried, Entries, Maker
from recc.forms.semilinear import eye
from recc.forms.semiring import plus, times


@dataclass(frozen=True)
class Tier:
    """The map of some carries, as Blocks. `M p q` and `F p` are its pieces, p and q labels of carries.

    `carries` are those of this tier, `known` those of earlier ones.
    `start` gives the pieces of the map that changes nothing. `step` reads what the step Block reads, with pieces in
    place of the carries, and gives those after it, and the known carries after it by their names in the step Block.
    `fold` reads pieces, `A p` and `C q`, the carries along the columns of M, and gives `A p` ⊕ `M p q` ⊗ `C q`: with
    F in place of A, the carries after the stretch; or a part of the sum, for a part of the columns.

    `columns` gives for each axis of a column the axis that it belongs to. Unlike in a segment map each has a size of
    its own.
    """

    algebra: Algebra
    carries: tuple[Carried, ...]
    known: tuple[Carried, ...]
    start: Block
    step: Block
    fold: Block
    columns: Mapping[str, str]

    @property
    def pieces(self) -> Mapping[str, Value]:
        """The pieces by name."""
        return self.start.output


def tier(step: Block, carries: Sequence[Carried], algebra: Algebra = "ring", known: Sequence[Carried] = ()) -> Tier:
    """The map of some carries of a Block, which others may depend on that are known.

    Raises:
        BlockError: if the carries after the Block are not affine over the algebra in those before it, or if what is
            known depends on them.
    """
    return _Tier(step, carries, algebra, known).make()


def tiers(step: Block, carries: Sequence[Carried]) -> tuple[Tier, ...]:
    """The maps of all carries of a Block, tier by tier; none if some carry is not affine over any algebra.

    Each tier takes as many carries as one algebra allows. A carry that would make the maps of others wider, or have
    a wider one itself, than if they were known waits for a later tier.
    """
    rest, done, found = _groups(step, carries), list[Carried](), list[Tier]()
    while rest:
        tried = [_widest(step, rest, algebra, done) for algebra in ZERO]
        taken, best = max(tried, key=lambda pair: len(pair[0]))
        if best is None:
            return ()
        found.append(best)
        done += best.carries
        rest = [group for group in rest if group not in taken]
    return tuple(found)


@dataclass(frozen=True)
class _Group:
    """Carries that depend on one another, and the labels of the others that they depend on."""

    carries: tuple[Carried, ...]
    needs: frozenset[str]


def _widest(
    step: Block, groups: Sequence[_Group], algebra: Algebra, known: Sequence[Carried]
) -> tuple[list[_Group], Tier | None]:
    """The most groups, taken in order, that are affine over an algebra together, and their map."""
    taken: list[_Group] = []
    best = None
    for group in groups:
        own = [c for g in (*taken, group) for c in g.carries]
        if not group.needs <= {c.label for c in (*known, *own)}:
            continue
        try:
            found, apart = tier(step, own, algebra, known), tier(step, group.carries, algebra)
        except BlockError:
            continue
        alone = {**(best.pieces if best else {}), **apart.pieces}
        if all(found.pieces[name].axes == v.axes for name, v in alone.items()):
            best = found
            taken.append(group)
    return taken, best


def _groups(step: Block, carries: Sequence[Carried]) -> list[_Group]:
    """Carries that depend on one another, group by group, each after those that it depends on."""
    reached = reach(step, {c.before: c.label for c in carries})
    needs = {c.label: set(reached.get(step.output[c.after].name, ())) for c in carries}
    for middle in needs:
        for label, found in needs.items():
            if middle in found:
                needs[label] = found | needs[middle]
    group = {x: min(y for y in needs if y == x or (y in needs[x] and x in needs[y])) for x in needs}
    graph = {name: {group[x] for x in needs[name]} - {name} for name in group.values()}
    return [
        _Group(tuple(c for c in carries if group[c.label] == name), frozenset(needs[name]))
        for name in TopologicalSorter(graph).static_order()
    ]


class _Tier(Maker):
    """Makes the map of one tier."""

    def __init__(self, step: Block, carries: Sequence[Carried], algebra: Algebra, known: Sequence[Carried]):
        super().__init__(step, carries, algebra, [c.after for c in known])
        self.known = known

    def make(self) -> Tier:
        """The map."""
        linear = self.linear(Builder("chunk", self.order()))
        found: Entries = {}
        for p in self.carries:
            for q, v in linear.parts_of(self.step.output[p.after]).items():
                if q:
                    found[p.label, q] = frozenset(v.axes)
        for _, q in list(found):
            found.setdefault((q, q), frozenset())
        axes = self.closed(found)
        step = self.advance(axes)
        while (grown := self.grown(axes, step)) != axes:
            axes = self.closed(grown)
            step = self.advance(axes)
        columns = {column: axis for axis, column in self.column.items()}
        return Tier(
            self.algebra, tuple(self.carries), tuple(self.known), self.start(axes), step, self.fold(axes), columns
        )

    def order(self) -> dict[str, str]:
        """The axes with what gives their size; columns stand beside their rows, with sizes of their own."""
        found = {}
        for axis, root in self.step.root.items():
            found[axis] = root
            if axis in self.column:
                found[self.column[axis]] = self.column[axis]
        return found

    def advance(self, axes: Entries) -> Block:
        """The Block of a chunk, applied to a map."""
        b = Builder("advance", self.order())
        m, f = self.pieces_in(b, axes, "")
        given = {c.before: {"": f[c.label], **{q: v for (p, q), v in m.items() if p == c.label}} for c in self.carries}
        linear = self.linear(b, given)
        zero = b.constant(ZERO[self.algebra])
        for (p, q), wide in axes.items():
            part = linear.parts_of(self.step.output[self.carry(p).after]).get(q, zero)
            b.output(f"M {p} {q}", b.spread(part, b.sort({*wide, *part.axes})))
        for c in self.carries:
            b.output(f"F {c.label}", b.spread(linear.parts_of(self.step.output[c.after]).get("", zero), c.axes))
        for c in self.known:
            name = self.step.output[c.after].name
            if name not in linear.table:
                raise BlockError(f"{self.step.name}: {c.label} is not known before {[c.label for c in self.carries]}")
            b.output(c.after, linear.table[name])
        return b.build().live()

    def carry(self, label: str) -> Carried:
        """A carry by its label."""
        return next(c for c in self.carries if c.label == label)

    def grown(self, axes: Entries, step: Block) -> Entries:
        """The axes of M with those that it has after a chunk."""
        return {(p, q): wide | {*step.output[f"M {p} {q}"].axes} for (p, q), wide in axes.items()}

    def start(self, axes: Entries) -> Block:
        """The Block of the map that changes nothing."""
        b = Builder("start", self.order())
        one, zero = ONE[self.algebra], ZERO[self.algebra]
        for (p, q), wide in axes.items():
            same = eye(b, self.algebra, self.columns(p)) if p == q else b.constant(zero)
            if b.known(same) is not None:
                same = b.constant(one if p == q else zero, wide)
            b.output(f"M {p} {q}", b.spread(same, b.sort(wide)))
        for c in self.carries:
            b.output(f"F {c.label}", b.constant(zero, c.axes))
        return b.build()

    def fold(self, axes: Entries) -> Block:
        """The Block of `A ⊕ M ⊗ C`."""
        b = Builder("fold", self.order())
        a = {c.label: b.input(f"A {c.label}", c.axes) for c in self.carries}
        m = {(p, q): b.input(f"M {p} {q}", wide) for (p, q), wide in axes.items()}
        c_in: dict[str, Value] = {}
        for c in self.carries:
            if any(q == c.label for _, q in axes):
                columns = self.columns(c.label)
                c_in[c.label] = b.input(f"C {c.label}", _renamed(c.axes, columns))
        for c in self.carries:
            terms = [
                times(b, self.algebra, m[p, q], c_in[q], self.columns(q).values()) for p, q in axes if p == c.label
            ]
            total = reduce(lambda x, y: plus(b, self.algebra, x, y), [a[c.label], *terms])
            b.output(f"A {c.label}", b.spread(total, c.axes))
        return b.build()


def _renamed(axes: Iterable[str], names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(names.get(a, a) for a in axes)


__all__ = ["Tier", "tier", "tiers"]
