"""The combine of a linear recurrence, derived by composing its step map with itself.

A step of a `Scan` is the affine map `s ↦ A ⊗ s ⊕ b`. Maps of this kind are closed under composition, which
is associative: so a recurrence is a product of maps, and products may be grouped in any way. Nothing here
is listed by the kind of recurrence. There is one definition, that of a step, on states that are affine in
the state some steps earlier. Two steps of it, one after the other, are the combine; one step on a state
that is given is the application.

The elements of the combine are maps (A, b). Which entries A has, along which axes each of them and of b
runs, and which entries are always one, is found by composing until nothing new appears. Entries of the
diagonal are there always, because the identity has them.

In names of inputs and outputs `a_01` is the entry into component 0 from component 1 (`a_0_10` if there are
ten components or more), `b_0` the drive of component 0. "Later" is later in the order in which the Scan
runs.

Source: G. E. Blelloch, Prefix sums and their applications, 1990.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

from recc.forms.block import ONE, ZERO, Block, Constant, Scan, Value
from recc.forms.builder import Builder
from recc.forms.semiring import plus, times

Entry = tuple[int, int]


@dataclass(frozen=True)
class Elements:
    """What the elements of a combine consist of.

    `a` has the axes of each stored entry, rows and columns included; `b` those of each drive; `ones` are
    the entries that are one in every element, and are not stored. All other entries are zero.
    """

    a: Mapping[Entry, tuple[str, ...]]
    b: tuple[tuple[str, ...], ...]
    ones: frozenset[Entry]

    def name(self, entry: Entry) -> str:
        """The name of a stored entry."""
        return ("a_{}{}" if len(self.b) <= 10 else "a_{}_{}").format(*entry)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all stored values."""
        return (*(self.name(entry) for entry in self.a), *(f"b_{k}" for k in range(len(self.b))))


def elements(scan: Scan, block: Block | None = None) -> Elements:
    """The smallest set of entries and axes that holds every step, the identity, and all their products.

    Args:
        scan: any component of the recurrence.
        block: the Block that it is from, for the order and the sizes of axes, and for what is constant.
            Without it no transition is known to be one.
    """
    axes = {entry: _others(scan, v) for entry, v in zip(scan.entries, scan.a, strict=True)}
    known = {op.out.name: op.value for op in block.ops if isinstance(op, Constant)} if block else {}
    one = ONE[scan.algebra]
    ones = frozenset(
        (k, i)
        for (k, i), v in zip(scan.entries, scan.a, strict=True)
        if k == i and not scan.rows and known.get(v.name) == one
    )
    whole = (*scan.rows, *scan.cols)
    for k in range(len(scan.b)):
        axes.setdefault((k, k), whole)
    found = Elements(axes, tuple(_others(scan, v) for v in scan.b), ones)
    while True:
        grown = _grown(scan, block, found)
        if grown == found:
            sort = _Maps(scan, block, "elements").b.sort
            stored = {entry: sort(axes) for entry, axes in sorted(found.a.items()) if entry not in found.ones}
            return Elements(stored, tuple(sort(axes) for axes in found.b), found.ones)
        found = grown


def combine(scan: Scan, block: Block | None = None) -> Block:
    """The product of two maps: the later one after the earlier one. It is associative.

    For elements (A, b) of `elements(scan, block)`:

        (A₂, b₂) · (A₁, b₁) = (A₂ ⊗ A₁, A₂ ⊗ b₁ ⊕ b₂)

    Its inputs are `later a_kl`, `later b_k`, `earlier a_kl` and `earlier b_k`, its outputs `a_kl`, `b_k`.
    """
    return _combine(scan, block, elements(scan, block))


def identity(scan: Scan, block: Block | None = None) -> Block:
    """The map that changes nothing, as an element: a Block with the outputs `a_kl`, `b_k` and no inputs."""
    maps, found = _Maps(scan, block, "identity"), elements(scan, block)
    b, one, zero = maps.b, ONE[scan.algebra], ZERO[scan.algebra]
    for (k, i), axes in found.a.items():
        value = maps.number(zero, axes)
        if k == i:
            same = [b.map("eq", b.iota(r), b.iota(c)) for r, c in zip(scan.rows, scan.cols, strict=True)]
            value = maps.number(one, axes)
            for pair in same:
                value = b.map("where", pair, value, b.constant(zero))
        b.output(found.name((k, i)), value)
    for k, axes in enumerate(found.b):
        b.output(f"b_{k}", maps.number(zero, axes))
    return b.build()


def lift(scan: Scan, block: Block | None = None) -> Block:
    """One step as an element.

    Its inputs are `a_kl` and `b_k` at that step, with the axes of the Scan's own but the one it follows;
    its outputs of the same names have all entries and axes of an element.
    """
    maps, found = _Maps(scan, block, "lift"), elements(scan, block)
    b, zero = maps.b, ZERO[scan.algebra]
    given = {
        entry: b.input(found.name(entry), _others(scan, v))
        for entry, v in zip(scan.entries, scan.a, strict=True)
        if entry not in found.ones
    }
    drives = [b.input(f"b_{k}", _others(scan, v)) for k, v in enumerate(scan.b)]
    for entry, axes in found.a.items():
        b.output(found.name(entry), b.spread(given[entry], axes) if entry in given else maps.number(zero, axes))
    for k, axes in enumerate(found.b):
        b.output(f"b_{k}", b.spread(drives[k], axes))
    return b.build()


def apply(scan: Scan, block: Block | None = None) -> Block:
    """The state after an element: `s ↦ A ⊗ s ⊕ b`.

    Its inputs are `a_kl`, `b_k` and, as `state_k`, the state before it with the axes of each `first`; its
    outputs are `out_k`.
    """
    maps, found = _Maps(scan, block, "apply"), elements(scan, block)
    transitions, drives = maps.element(found, "")
    state = [_Affine({}, maps.b.input(f"state_{k}", v.axes)) for k, v in enumerate(scan.first)]
    for k, after in enumerate(maps.step(transitions, drives, state)):
        maps.b.output(f"out_{k}", after.constant)
    return maps.b.build()


def _combine(scan: Scan, block: Block | None, found: Elements) -> Block:
    maps = _Maps(scan, block, "combine")
    later, earlier = maps.element(found, "later "), maps.element(found, "earlier ")
    state = [
        _Affine({i: v for (row, i), v in earlier[0].items() if row == k}, drive) for k, drive in enumerate(earlier[1])
    ]
    for k, after in enumerate(maps.step(*later, state)):
        for i, v in after.coefficients.items():
            if maps.b.known(v) != ONE[scan.algebra] or (k, i) not in found.ones:
                maps.b.output(found.name((k, i)), v)
        maps.b.output(f"b_{k}", after.constant)
    return maps.b.build()


def _grown(scan: Scan, block: Block | None, found: Elements) -> Elements:
    """The entries and axes of two elements and of their product; what is one in all three."""
    product = _combine(scan, block, found)
    numbers = range(len(found.b))
    entries = {(k, i): found.name((k, i)) for k in numbers for i in numbers}
    made = {entry: product.output[name].axes for entry, name in entries.items() if name in product.output}
    a = {entry: _union(found.a.get(entry, ()), made.get(entry, ())) for entry in {**found.a, **made}}
    b = tuple(_union(axes, product.output[f"b_{k}"].axes) for k, axes in enumerate(found.b))
    return Elements(a, b, found.ones - {*made})


def _union(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({*one, *other}))


def _others(scan: Scan, v: Value) -> tuple[str, ...]:
    """The axes of an operand at one step."""
    return _union((), tuple(a for a in v.axes if a != scan.axis))


def _order(scan: Scan) -> dict[str, str]:
    """Axes in an order that agrees with that of every operand, with what gives their size."""
    graph: TopologicalSorter[str] = TopologicalSorter()
    for v in scan.operands:
        for i, a in enumerate(v.axes):
            graph.add(a, *v.axes[:i])
    for a in (*scan.rows, *scan.cols):
        graph.add(a)
    roots = dict(zip(scan.cols, scan.rows, strict=True))
    return {a: roots.get(a, a) for a in graph.static_order()}


@dataclass(frozen=True)
class _Affine:
    """A state as a function of an earlier one: `⊕ over i of coefficients[i] ⊗ s_i  ⊕  constant`."""

    coefficients: Mapping[int, Value]
    constant: Value


class _Maps:
    """A Block being built of the step maps of one Scan."""

    def __init__(self, scan: Scan, block: Block | None, name: str):
        self.scan = scan
        self.b = Builder(name, dict(block.size_of) if block else _order(scan))
        self.inner = dict(zip(scan.cols, (self.b.fresh_axis(c) for c in scan.cols), strict=True))

    def number(self, number: float, axes: Sequence[str]) -> Value:
        """The same number over axes."""
        return self.b.constant(number, axes)

    def element(self, found: Elements, prefix: str) -> tuple[dict[Entry, Value], list[Value]]:
        """An element that is an input: its entries, those that are one included, and its drives."""
        stored = {e: v for e, v in sorted(found.a.items()) if e not in found.ones}
        entries = {e: self.b.input(prefix + found.name(e), axes) for e, axes in stored.items()}
        entries |= {e: self.b.constant(ONE[self.scan.algebra]) for e in found.ones}
        return entries, [self.b.input(f"{prefix}b_{k}", axes) for k, axes in enumerate(found.b)]

    def step(
        self, transitions: Mapping[Entry, Value], drives: Sequence[Value], state: Sequence[_Affine]
    ) -> list[_Affine]:
        """The state after one step: `A ⊗ state ⊕ b`, collected by what it is affine in."""
        after = []
        for k, drive in enumerate(drives):
            coefficients: dict[int, list[Value]] = {}
            constant = []
            for (row, j), transition in sorted(transitions.items()):
                if row != k:
                    continue
                for i, v in state[j].coefficients.items():
                    coefficients.setdefault(i, []).append(self.times(transition, v))
                constant.append(self.times(transition, state[j].constant))
            total = {i: self.total(parts) for i, parts in sorted(coefficients.items())}
            after.append(_Affine(total, self.total([*constant, drive])))
        return after

    def total(self, parts: Sequence[Value]) -> Value:
        """The sum by ⊕ of some values."""
        return functools.reduce(functools.partial(plus, self.b, self.scan.algebra), parts)

    def times(self, transition: Value, v: Value) -> Value:
        """The product by ⊗, summed by ⊕ over the columns of one, which are the rows of the other."""
        b, scan = self.b, self.scan
        both = any(c in v.axes for c in scan.cols)
        middle = {c: self.inner[c] if both else c for c in scan.cols}
        transition = b.rename(transition, middle)
        v = b.rename(v, {r: middle[c] for r, c in zip(scan.rows, scan.cols, strict=True)})
        return times(b, scan.algebra, transition, v, middle.values())
