"""The step of an affine stage as a pair, and the combine that joins two stretches of time.

With `x[t] = A[t] ⊗ x[t-1] ⊕ b[t]`, two steps after one another are a step again:

    (A₂, b₂) ∘ (A₁, b₁) = (A₂ ⊗ A₁, A₂ ⊗ b₁ ⊕ b₂),    with identity (1, 0)

x are the states, and those of them that are needed at more than one earlier step once for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf

from recc.explain.letters import Letters
from recc.explain.linear import over_axes
from recc.explain.maths import Maths
from recc.explain.notation import (
    ONE,
    ZERO,
    Big,
    Binary,
    Call,
    Equation,
    Listed,
    Node,
    Num,
    Shift,
    Truth,
    add,
    at,
    pair,
    times,
    total,
)
from recc.recurrence import Along, Recurrence
from recc.structure import Affine, Part
from recc.structure.build import Workspace, base_of
from recc.structure.rename import rename

#: Equations in groups, each with the sentence that leads to it.
Groups = list[tuple[str, list[Equation]]]
_JOINED = "Two stretches of time, first 1 and then 2, are one again:"


@dataclass(frozen=True)
class Algebra:
    """Sums and products of formulas over the algebra of a stage."""

    name: str

    @property
    def zero(self) -> Node:
        """What changes nothing in a sum."""
        return {"ring": ZERO, "min-plus": Num(inf)}.get(self.name, Num(-inf))

    @property
    def one(self) -> Node:
        """What changes nothing in a product."""
        return ONE if self.name == "ring" else ZERO

    def times(self, factors: Sequence[Node]) -> Node:
        """The product of some formulas."""
        if self.name == "ring":
            return times(factors)
        return self.zero if self.zero in factors else add(factors)

    def plus(self, terms: Sequence[Node]) -> Node:
        """The sum of some formulas."""
        if self.name == "ring":
            return add(terms)
        kept = [t for t in terms if t != self.zero]
        fn = {"max-plus": "max", "min-plus": "min"}.get(self.name, "logaddexp")
        result = kept[0] if kept else self.zero
        for term in kept[1:]:
            result = Call(fn, (result, term))
        return result

    def applied(self, matrix: Node, other: Node) -> Node:
        """The product of two matrices, or of a matrix and a vector."""
        return times([matrix, other]) if self.name == "ring" else Binary("otimes", matrix, other)

    def total(self, below: Sequence[Node], arg: Node) -> Node:
        """The sum of a formula over axes."""
        if self.name == "ring":
            return total(below, arg)
        fn = {"max-plus": "max", "min-plus": "min"}.get(self.name, "logsumexp")
        return Big(fn, tuple(below), arg)

    def where(self, conditions: Sequence[Node], value: Node) -> Node:
        """The value where all conditions hold, zero elsewhere."""
        if not conditions:
            return value
        if self.name == "ring":
            return times([value, *(Truth(c) for c in conditions)])
        whole = conditions[0]
        for condition in conditions[1:]:
            whole = Binary("and", whole, condition)
        return Call("where", (whole, value, self.zero))


@dataclass(frozen=True)
class Step:
    """One step of an affine stage as `x ↦ A x + b` over its components: a state at a depth each."""

    structure: Affine

    @property
    def rec(self) -> Recurrence:
        """The recurrence that the expressions belong to."""
        return self.structure.rec

    @cached_property
    def algebra(self) -> Algebra:
        """Its algebra."""
        return Algebra(self.structure.algebra)

    @cached_property
    def letters(self) -> Letters:
        """The letters to use."""
        return Letters(self.rec)

    @cached_property
    def components(self) -> tuple[tuple[str, int], ...]:
        """Each state with each depth at which it is needed, 1 first."""
        deepest = dict.fromkeys(self.structure.states, 1)
        for entry in self.structure.entries:
            deepest[entry.source] = max(deepest[entry.source], max(map(abs, entry.lags)))
        return tuple((s, d) for s, n in deepest.items() for d in range(1, n + 1))

    @cached_property
    def mixed(self) -> dict[str, str]:
        """The states' axes along which elements meet, each with the name of the column there."""
        found: dict[str, str] = {}
        for entry in self.structure.entries:
            for part in entry.parts:
                read = part.terms[0].read
                source = self.rec.table[entry.source]
                for axis, declared in over_axes(source, read, part.terms[0].over):
                    found.setdefault(declared, axis)
                for declared, index in zip(source.axes, read.index, strict=True):
                    if index != Along(declared) and declared not in found:
                        found[declared] = f"{declared}'"
        return {a: b for a, b in found.items() if a != b}

    @property
    def plain(self) -> bool:
        """Whether one matrix with rows and columns says all: sums read in place, states have the mixed axes."""
        if any(a not in self.rec.table[name].axes for name, _ in self.components for a in self.mixed):
            return False
        terms = [t for e in self.structure.entries for p in e.parts for t in p.terms if t.over]
        return all(
            not i.offset if isinstance(i, Along) else not set(i.expr.axes) & set(t.over)
            for t in terms
            for i in t.read.index
        )

    @property
    def elementwise(self) -> bool:
        """Whether one number says what a step does to an element."""
        return len(self.components) == 1 and not self.mixed

    def entry(self, row: int, column: int, place: Shift | None = None) -> Node:
        """What component `column` contributes to component `row`, at the row's axes and the column's."""
        (target, depth), (source, back) = self.components[row], self.components[column]
        if depth > 1:
            same = target == source and depth == back + 1
            conditions = [Binary("eq", Shift(a), Shift(b)) for a, b in self.mixed.items()]
            return self.algebra.where(conditions, self.algebra.one) if same else self.algebra.zero
        terms = []
        for entry in self.structure.entries:
            if (entry.target, entry.source) == (target, source) and max(map(abs, entry.lags)) == back:
                terms += [self._part(source, p, place) for p in entry.parts]
        return self.algebra.plus(terms)

    def added(self, row: int, place: Shift | None = None) -> Node:
        """What a step adds to a component."""
        name, depth = self.components[row]
        if depth > 1:
            return self.algebra.zero
        maths = Maths(self.rec)
        drives = [t for d in self.structure.drives if d.target == name for t in d.terms]
        return self.algebra.plus([self.algebra.times([maths.node(g, place) for g in t.groups]) for t in drives])

    def stacked(self, place: Shift) -> Node:
        """The components as a column."""
        way = self.structure.stage.direction[0]
        rows = []
        for name, depth in self.components:
            time = Shift(place.name, place.offset - way * (depth - 1))
            rows.append((at(name, time, self.rec.table[name].axes),))
        return rows[0][0] if len(rows) == 1 else Listed(tuple(rows), "square")

    def _part(self, source: str, part: Part, place: Shift | None) -> Node:
        maths, work = Maths(self.rec), Workspace(self.rec)
        found = []
        for term in part.terms:
            declared = dict(over_axes(self.rec.table[source], term.read, term.over))
            names = {a: self.mixed[d] for a, d in declared.items() if d in self.mixed and a != self.mixed[d]}
            for name in names.values():
                work.primed(base_of(name), ()) if name not in work.axes else None
            right = rename(work, term.right, names) if names else term.right
            conditions = []
            for axis, index in zip(self.rec.table[source].axes, term.read.index, strict=True):
                if axis not in self.mixed or (isinstance(index, Along) and index.axis in term.over):
                    continue
                spot = Shift(index.axis, index.offset) if isinstance(index, Along) else maths.node(index.expr, place)
                conditions.append(Binary("eq", spot, Shift(self.mixed[axis])))
            value = self.algebra.times([maths.node(term.left, place), maths.node(right, place)])
            found.append(self.algebra.where(conditions, value))
        return self.algebra.plus(found)


def combine_equations(structure: Affine) -> Groups:
    """The step as a pair, the combine and its identity, in groups, each with the sentence that leads to it.

    None where one matrix would say less than the update does.
    """
    step = Step(structure)
    if not step.plain:
        return []
    return _of_numbers(step) if step.elementwise else _of_matrices(step)


def _of_numbers(step: Step) -> Groups:
    algebra, way = step.algebra, step.structure.stage.direction[0]
    scan = step.rec.scan[0]
    name, state = step.components[0][0], step.rec.table[step.components[0][0]]
    factor, added = step.letters["factor"], step.letters["added"]
    a, b = ([at(letter, Shift(k)) for k in "21"] for letter in (factor, added))
    here, before = Shift(scan), Shift(scan, -way)
    joined = algebra.plus([algebra.times([a[0], b[1]]), b[0]])
    law = Equation(pair(algebra.times(a), joined), Binary("compose", pair(a[0], b[0]), pair(a[1], b[1])))
    axes = state.axes
    pairs = [
        Equation(step.entry(0, 0), at(factor, here, axes if step.structure.axes else ())),
        Equation(step.added(0), at(added, here, axes)),
        law,
        Equation(pair(algebra.one, algebra.zero), side="is the identity"),
    ]
    first, last = step.entry(0, 0), step.entry(0, 0, before)
    earliest = at(name, Shift(scan, -2 * way), axes)
    both = algebra.plus([
        algebra.times([first, last, earliest]),
        algebra.times([first, step.added(0, before)]),
        step.added(0),
    ])  # fmt: skip
    return [
        ("A step is a pair. Two stretches of time, first 1 and then 2, are a pair again:", pairs),
        ("Two steps of this program at once:", [Equation(both, at(name, here, axes))]),
    ]


def _of_matrices(step: Step) -> Groups:
    count = len(step.components)
    here = Shift(step.rec.scan[0])
    whole, added = step.letters["map"], step.letters["added"]
    rows = list(step.mixed)
    cols = [step.mixed[a] for a in rows]
    single = count == 1
    grid = tuple(tuple(step.entry(k, j) for j in range(count)) for k in range(count))
    column = tuple((step.added(k),) for k in range(count))
    equations = [] if single else [Equation(step.stacked(here), at(step.letters["stacked"], here))]
    matrix = grid[0][0] if single else Listed(grid, "square")
    equations.append(Equation(matrix, at(whole, here, [*rows, *cols], brief=True)))
    drives = any(row != (step.algebra.zero,) for row in column)
    if drives:
        equations.append(Equation(column[0][0] if single else Listed(column, "square"), at(added, here)))
    over = f" over {', '.join(step.mixed)}" if step.mixed else " of numbers for each element"
    lead = f"A step multiplies by a matrix{over}{', and adds' if drives else ''}:"
    return [(lead, equations), (_JOINED, _spelled(step, rows, cols, drives))]


def _spelled(step: Step, rows: Sequence[str], cols: Sequence[str], drives: bool) -> list[Equation]:
    """The combine, its products index by index, and its identity."""
    algebra = step.algebra
    whole, added = step.letters["map"], step.letters["added"]
    a, b = ([at(letter, Shift(k)) for k in "21"] for letter in (whole, added))
    middle = [f"{base_of(a)}''" for a in rows]
    k, j, last = ([Shift(n)] if len(step.components) > 1 else [] for n in _numbers(step))
    over = [*j, *(Shift(a) for a in middle)]

    def entry(node: Node, *places: Sequence[Shift | str]) -> Node:
        return at(node, (), [x for place in places for x in place], brief=True)

    product, moved = algebra.applied(a[0], a[1]), algebra.applied(a[0], b[1])
    both = algebra.total(over, algebra.times([entry(a[0], k, j, rows, middle), entry(a[1], j, last, middle, cols)]))
    push = algebra.total(over, algebra.times([entry(a[0], k, j, rows, middle), entry(b[1], j, middle)]))
    conditions: list[Node] = [Binary("eq", m, n) for m, n in zip(k, last, strict=True)]
    conditions += [Binary("eq", Shift(m), Shift(n)) for m, n in zip(rows, cols, strict=True)]
    one = algebra.where(conditions, algebra.one)
    if not drives:
        return [
            Equation(product, Binary("compose", a[0], a[1])),
            Equation(both, entry(product, k, last, rows, cols)),
            Equation(one, side="is the identity"),
        ]
    law = pair(product, Binary("add" if algebra.name == "ring" else "oplus", moved, b[0]))
    return [
        Equation(law, Binary("compose", pair(a[0], b[0]), pair(a[1], b[1]))),
        Equation(both, entry(product, k, last, rows, cols)),
        Equation(push, entry(moved, k, rows)),
        Equation(pair(one, algebra.zero), side="is the identity"),
    ]


def _numbers(step: Step) -> list[str]:
    """Letters for the numbers of components."""
    taken = {*step.rec.table, *step.rec.axis, *step.rec.scan}
    return [n for n in ("k", "j", "l", "p", "q", "r", "x", "y", "z") if n not in taken][:3]


__all__ = ["Algebra", "Groups", "Step", "combine_equations"]
