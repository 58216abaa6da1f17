"""The step map of an affine stage as one transition matrix and one drive, whatever its structure.

The stage's states at the step before, and at as many steps before that as its order asks for, are
**components**, a complex one two of them. Law, for components k and l,

    next_k[rows] = ⊕_{l, cols} a_kl[rows, cols] ⊗ h_l[cols] ⊕ b_k[rows]

`rows` are the axes along which any term combines elements; along all others the map acts on each element
by itself. The coefficients are the terms of the structure applied to the elements of an identity matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from recc.forms import pairs
from recc.forms.block import Value
from recc.forms.lower import Pair
from recc.forms.passes import part_name
from recc.forms.semiring import PLUS
from recc.recurrence import Along, At
from recc.structure import Affine, Drive, Term

if TYPE_CHECKING:
    from recc.forms.chunk_builder import ChunkBuilder

#: What changes nothing under ⊕, by algebra.
ZERO = {"ring": 0.0, "max-plus": -inf, "min-plus": inf, "log-sum-exp": -inf}


class CannotDerive(Exception):
    """A stage has no form of the kind that is being derived. `args[0]` says why."""


@dataclass(frozen=True)
class Component:
    """A state as it was `depth` steps before the next one; `part` 1 is its imaginary part."""

    state: str
    depth: int
    part: int


class Transition:
    """The components of a stage, and the coefficients of its step map in a chunk Block."""

    def __init__(self, into: ChunkBuilder, structure: Affine):
        self.into = into
        self.b = into.step
        self.structure = structure
        rec = structure.rec
        if structure.stopped:
            raise CannotDerive("`stop` holds back part of the gradient that the form would pass on")
        axes = {rec.table[s].axes for s in structure.states}
        if len({frozenset(a) for a in axes}) > 1:
            raise CannotDerive(f"{', '.join(structure.states)} are coupled and have different axes")
        self.axes = next(iter(axes))
        self.deepest = dict.fromkeys(structure.states, 1)
        for entry in structure.entries:
            self.deepest[entry.source] = max(self.deepest[entry.source], abs(entry.lags[0]))
        self.components = [
            Component(s, depth, part)
            for s in structure.states
            for depth in range(1, self.deepest[s] + 1)
            for part in range(1 + (rec.table[s].dtype == "complex"))
        ]
        self.number = {c: k for k, c in enumerate(self.components)}
        terms = [t for e in structure.entries for p in e.parts for t in p.terms]
        self.rows = tuple(a for a in self.axes if any(a in self._mixed(t) for t in terms))
        self.cols = tuple(self.b.fresh_axis(a) for a in self.rows)

    @property
    def ring(self) -> bool:
        """Whether the algebra is that of sums and products."""
        return self.structure.algebra == "ring"

    def _mixed(self, term: Term) -> set[str]:
        """The declared axes along which a term reads other elements than its own."""
        declared = self.structure.rec.table[term.read.name].axes
        return {d for d, i in zip(declared, term.read.index, strict=True) if i != Along(d) or d in term.over}

    def coefficients(self) -> dict[tuple[int, int], Value]:
        """The transition: for each pair of components that depend on each other, a_kl."""
        found: dict[tuple[int, int], list[Value]] = {}
        for entry in self.structure.entries:
            for term in (t for p in entry.parts for t in p.terms):
                coefficient = self._matrix(term) if self.ring else Pair(self._sum(term))
                source = (entry.source, abs(entry.lags[0]))
                for key, value in self._parts(entry.target, source, coefficient).items():
                    found.setdefault(key, []).append(value)
        plus = PLUS[self.structure.algebra]
        table: dict[tuple[int, int], Value] = {}
        for key, values in found.items():
            table[key] = values[0]
            for value in values[1:]:
                table[key] = self.b.map(plus, table[key], value)
        for c, k in self.number.items():
            if c.depth > 1:
                one = self._identity(self.rows)
                table[k, self.number[Component(c.state, c.depth - 1, c.part)]] = one
        return table

    def _parts(self, target: str, source: tuple[str, int], a: Pair) -> dict[tuple[int, int], Value]:
        """The entries that a coefficient makes between the parts of two components."""
        table = {}
        for row in range(2):
            for col in range(2):
                k = self.number.get(Component(target, 1, row))
                to = self.number.get(Component(*source, col))
                part = a.re if row == col else a.im
                if k is not None and to is not None and part is not None:
                    table[k, to] = self.b.map("neg", part) if (row, col) == (0, 1) else part
        return table

    def _matrix(self, term: Term) -> Pair:
        """A term over the ring, applied to the identity along `rows`."""
        factors = [self.into.lower(term.left), self.into.lower(term.right)]
        names, deltas = self._deltas(term)
        factors[1] = pairs.rename(self.b, factors[1], names)
        return pairs.multiply(
            self.b, (*factors, *(Pair(self.b.map("real", d)) for d in deltas)), [a for a in term.over if a not in names]
        )

    def _sum(self, term: Term) -> Value:
        """The same over a semiring whose product is +: its one is 0, its zero infinite."""
        b = self.b
        names, deltas = self._deltas(term)
        if any(a not in names for a in term.over):
            raise CannotDerive("the update reduces over the semiring along an index that is not plain")
        right = b.rename(self.into.lower(term.right).re, names)
        total = b.map("add", b.map("real", self.into.lower(term.left).re), b.map("real", right))
        for delta in deltas:
            total = b.map("where", delta, total, b.constant(ZERO[self.structure.algebra]))
        return total

    def _deltas(self, term: Term) -> tuple[dict[str, str], list[Value]]:
        """Summed axes that become columns, and for each other mixed axis where row and column meet."""
        b = self.b
        rec = self.structure.rec
        declared = rec.table[term.read.name].axes
        names: dict[str, str] = {}
        deltas: list[Value] = []
        for d, index in zip(declared, term.read.index, strict=True):
            if d not in self.rows:
                continue
            col = self.cols[self.rows.index(d)]
            if isinstance(index, Along) and not index.offset and index.axis in term.over and index.axis not in names:
                names[index.axis] = col
                continue
            delta = b.map("eq", b.iota(d), b.iota(col))
            edge = rec.axis[d].edge
            if not self.ring and edge == "zero" and (isinstance(index, At) or index.offset):
                raise CannotDerive(f"beyond the ends of `{d}` the update reads 0, which is not the zero of the algebra")
            if isinstance(index, Along):
                delta = b.rename(b.shift(delta, d, index.offset, edge), {d: index.axis})
            else:
                delta = b.gather(delta, d, self.into.lower(index.expr).re, edge)
            deltas.append(delta)
        # A summed axis that two indices share is the column of the first of them.
        return names, [b.rename(delta, names) for delta in deltas]

    def _identity(self, rows: Sequence[str]) -> Value:
        """The one of the algebra on the diagonal."""
        b = self.b
        one, zero = b.constant(float(self.ring)), b.constant(ZERO[self.structure.algebra])
        value = one
        for row, col in zip(rows, self.cols, strict=True):
            value = b.map("where", b.map("eq", b.iota(row), b.iota(col)), value, zero)
        return value

    def drives(self) -> list[Value]:
        """What is added to each component."""
        table = {d.target: self._drive(d) for d in self.structure.drives}
        zero = self.b.constant(ZERO[self.structure.algebra])
        found = []
        for c in self.components:
            parts = table[c.state].parts if c.depth == 1 else ()
            found.append(parts[c.part] if c.part < len(parts) else zero)
        return found

    def _drive(self, drive: Drive) -> Pair:
        b = self.b
        terms = [[self.into.lower(g) for g in t.groups] for t in drive.terms]
        if self.ring:
            return pairs.add(b, [pairs.multiply(b, groups) for groups in terms])
        total = b.constant(ZERO[self.structure.algebra])
        for k, groups in enumerate(terms):
            value = b.map("real", groups[0].re)
            for g in groups[1:]:
                value = b.map("add", value, b.map("real", g.re))
            total = value if k == 0 else b.map(PLUS[self.structure.algebra], total, value)
        return Pair(total)

    def first(self) -> list[Value]:
        """The components before the chunk."""
        found = []
        for c in self.components:
            parts = self.into.carried(c.state, c.depth).parts
            found.append(self.b.map("real", parts[c.part]) if c.part < len(parts) else self.b.constant(0.0))
        return found

    def names(self) -> list[str]:
        """What to call the components, one step after they were read."""
        depth = ["" if c.depth == 1 else f"_lag{c.depth - 1}" for c in self.components]
        parts = {c.state: c.part for c in self.components}
        named = zip(self.components, depth, strict=True)
        return [part_name(f"{c.state}{d}", parts[c.state] > 0, c.part) for c, d in named]

    def state(self, values: Sequence[Value], state: str) -> Pair:
        """A state out of the values of the components."""
        return Pair(*(values[k] for c, k in self.number.items() if (c.state, c.depth) == (state, 1)))


__all__ = ["ZERO", "CannotDerive", "Component", "Transition"]
