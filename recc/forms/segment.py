"""Segment maps: a whole chunk of an affine program as one affine map of its carries.

Stretches of time can then run side by side, each without knowing the state that it starts from, and be
joined afterwards. With c the carries before the chunk, the step Block of a pass computes

    c' = M c + F

F is what it gives where the carries are zero, M its linear part in them. Both are derived from the Block
itself, whatever form it is of: each operation that depends on a carry has to be linear in it, and is
applied to the identity in place of the carry (forward-mode differentiation, where the derivative of a
linear operation is the operation). An axis along which no element of a carry meets another stays a batch
axis: M is diagonal along it, or the same for all of it. Along the others, the *mixed* axes, M is a matrix
from the axis `x_in` to the axis `x`. For a [K, V] state that is acted on from the left, M is K×K.

Two pieces join to one: `(M2, F2)` after `(M1, F1)` is `(M2 M1, M2 F1 + F2)`, which is associative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recc.forms.block import Algebra, Block, Value
from recc.forms.builder import Builder
from recc.forms.linear import Linear, bound_axes, reach
from recc.forms.passes import Pass
from recc.forms.semilinear import linear_over, readable

#: The axes of each entry of M that may be there, by (label of the carry after, label of the carry before).
Entries = dict[tuple[str, str], frozenset[str]]


@dataclass(frozen=True)
class SegmentMap:
    """The affine map of a chunk, as Blocks.

    `pieces` computes the outputs `M p q` and `F p` from what the step Block reads but for the carries, of
    which it leaves out what no piece needs: p and q are labels of carries (`NAME`, or `NAME_re` and
    `NAME_im`), after and before the chunk; entries of M that are not there are zero.
    `join` reads `M1 p q`, `F1 p`, `M2 p q`, `F2 p` and gives the pieces of the first chunk followed by
    the second. `apply` reads pieces and the carries, by their names in the step Block, and gives the
    carries after the chunk, by theirs.

    `mixed` gives for each mixed axis the axis `x_in` of M.
    """

    pieces: Block
    join: Block
    apply: Block
    mixed: tuple[tuple[str, str], ...]


def segment_map(loop: Pass) -> SegmentMap:
    """The affine map from the carries before a step Block to those after it.

    Raises:
        BlockError: if the carries after the chunk are not affine in those before it; names the operation.
            That is so for recurrences over a semiring, too: their maps are not affine over the ring.
    """
    return block_map(loop.step, _carries(loop))


@dataclass(frozen=True)
class Carried:
    """One real tensor that is carried: its names before and after in a Block, as input and output, and its axes."""

    label: str
    before: str
    after: str
    axes: tuple[str, ...]


def block_map(step: Block, carries: Sequence[Carried]) -> SegmentMap:
    """The affine map from some inputs of a Block to some outputs.

    Raises `BlockError` as `segment_map` does.
    """
    return _Chunk(step, carries).make()


class Maker:
    """What makes maps of one Block: finds mixed axes, runs the linear part, tells which entries M has.

    Args:
        step: the Block.
        carries: what is carried; the Block is affine in what it is before.
        algebra: the algebra that it is affine over.
        more: other outputs of the Block, that do not depend on these carries.
    """

    def __init__(self, step: Block, carries: Sequence[Carried], algebra: Algebra = "ring", more: Sequence[str] = ()):
        self.carries = carries
        self.algebra: Algebra = algebra
        step = readable(algebra, step.live([*(c.after for c in self.carries), *more]))
        self.step = step
        reached = reach(step, {c.before: c.label for c in self.carries})
        after = {c.label: reached.get(step.output[c.after].name, frozenset()) for c in self.carries}
        self.group = _groups(after)
        mixed = _mixed(step, reached, self.group)
        self.mixed = {c.label: tuple(a for a in c.axes if a in mixed[self.group[c.label]]) for c in self.carries}
        every = {a for axes in self.mixed.values() for a in axes}
        self.column = {a: _free_name(f"{a}_in", step.order) for a in step.order if a in every}

    def linear(self, b: Builder, given: Mapping[str, Mapping[str, Value]] | None = None) -> Linear:
        """The Block taken apart, for carries that are given in parts, or for an identity in their place."""
        seeds = {c.before: (c.label, self.columns(c.label)) for c in self.carries}
        return linear_over(self.algebra, self.step, seeds, b, given)

    def new_builder(self, name: str) -> Builder:
        """A Builder that knows the columns of M."""
        order = dict(self.step.root)
        return Builder(name, order | {new: order[old] for old, new in self.column.items()})

    def columns(self, label: str) -> dict[str, str]:
        """The axis of M for each mixed axis of a carry."""
        return {a: self.column[a] for a in self.mixed[label]}

    def closed(self, found: Entries) -> Entries:
        """The entries and axes of M such that joined maps have the same."""
        closed = {(p, q): axes | {*self.columns(q).values(), *self.mixed[p]} for (p, q), axes in found.items()}
        grown = True
        while grown:
            grown = False
            for (p, r), left in list(closed.items()):
                for (s, q), right in list(closed.items()):
                    if r != s:
                        continue
                    axes = (left - {*self.columns(r).values()}) | (right - {*self.mixed[r]})
                    wide = closed.get((p, q), frozenset()) | axes
                    if wide != closed.get((p, q)):
                        closed[p, q], grown = wide, True
        labels = [c.label for c in self.carries]
        return dict(sorted(closed.items(), key=lambda item: tuple(map(labels.index, item[0]))))

    def pieces_in(
        self, b: Builder, axes: Entries, number: str
    ) -> tuple[dict[tuple[str, str], Value], dict[str, Value]]:
        """The pieces of one chunk as inputs of a Block."""
        m = {(p, q): b.input(f"M{number} {p} {q}", wide) for (p, q), wide in axes.items()}
        return m, {c.label: b.input(f"F{number} {c.label}", c.axes) for c in self.carries}


class _Chunk(Maker):
    """Lays out the pieces of the map of one chunk over the ring."""

    def make(self) -> SegmentMap:
        """The map."""
        linear = self.linear(self.new_builder("pieces"))
        entries: dict[tuple[str, str], Value] = {}
        offsets: dict[str, Value] = {}
        for p in self.carries:
            parts = linear.parts_of(self.step.output[p.after])
            offsets[p.label] = parts.pop("", linear.b.constant(0.0))
            entries.update({(p.label, q): v for q, v in parts.items()})
        axes = self.closed({key: frozenset(v.axes) for key, v in entries.items()})
        b = linear.b
        for (p_label, q_label), wide in axes.items():
            found = entries.get((p_label, q_label))
            b.output(f"M {p_label} {q_label}", b.spread(b.constant(0.0) if found is None else found, b.sort(wide)))
        for p in self.carries:
            b.output(f"F {p.label}", b.spread(offsets[p.label], p.axes))
        pieces = b.build().live()
        mixed = tuple(self.column.items())
        return SegmentMap(pieces, self.join(axes), self.apply(axes), mixed)

    def join(self, axes: Entries) -> Block:
        """The Block of `(M2 M1, M2 F1 + F2)`."""
        b = self.new_builder("join")
        middle = {a: b.fresh_axis(a) for a in self.column}
        pieces = [self.pieces_in(b, axes, n) for n in ("1", "2")]
        (m1, f1), (m2, f2) = pieces

        def product(left: Value, right: Value, r: str) -> Value:
            between = {a: middle[a] for a in self.mixed[r]}
            left = b.rename(left, {self.column[a]: new for a, new in between.items()})
            return b.contract((left, b.rename(right, between)), between.values())

        for p, q in axes:
            terms = [product(m2[p, r], m1[r, q], r) for r in self.mixed if (p, r) in axes and (r, q) in axes]
            b.output(f"M {p} {q}", b.spread(_total(b, terms), b.sort(axes[p, q])))
        for c in self.carries:
            terms = [product(m2[c.label, r], f1[r], r) for r in self.mixed if (c.label, r) in axes]
            b.output(f"F {c.label}", b.spread(_total(b, [*terms, f2[c.label]]), c.axes))
        return b.build()

    def apply(self, axes: Entries) -> Block:
        """The Block of `M c + F`."""
        b = self.new_builder("apply")
        m, f = self.pieces_in(b, axes, "")
        before = {c.label: b.input(c.before, c.axes) for c in self.carries}
        for p in self.carries:
            terms = [f[p.label]]
            for r in self.mixed:
                if (p.label, r) in axes:
                    columns = self.columns(r)
                    terms.append(b.contract((m[p.label, r], b.rename(before[r], columns)), columns.values()))
            b.output(p.after, b.spread(_total(b, terms), p.axes))
        return b.build()


def _carries(loop: Pass) -> list[Carried]:
    before = {(p.name, p.part): p.value for p in loop.reads if p.role == "carry"}
    found = []
    for port in loop.writes:
        if port.role == "carry":
            label = port.label
            axes = loop.step.output[port.value].axes
            found.append(Carried(label, before.get((port.name, port.part), label), port.value, axes))
    return found


def _groups(after: Mapping[str, frozenset[str]]) -> dict[str, str]:
    """For each carry a name for those that it is connected with."""
    group = {label: label for label in after}
    for label, sources in after.items():
        for source in sources:
            old, new = group[source], group[label]
            group = {c: new if g == old else g for c, g in group.items()}
    return group


def _mixed(step: Block, reached: Mapping[str, frozenset[str]], group: Mapping[str, str]) -> dict[str, set[str]]:
    """For each group the axes along which an operation mixes elements of a value that depends on it."""
    mixed: dict[str, set[str]] = {g: set() for g in group.values()}
    for op in step.ops:
        axes = bound_axes(op)
        for v in op.operands:
            for label in reached[v.name]:
                mixed[group[label]].update(axes & set(v.axes))
    return mixed


def _total(b: Builder, terms: list[Value]) -> Value:
    total = terms[0] if terms else b.constant(0.0)
    for term in terms[1:]:
        total = b.map("add", total, term)
    return total


def _free_name(name: str, taken: tuple[str, ...]) -> str:
    while name in taken:
        name += "_"
    return name


__all__ = ["Carried", "Entries", "Maker", "SegmentMap", "block_map", "segment_map"]
