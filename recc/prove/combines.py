"""The laws of the combine of a `Scan`: what lets its steps be grouped in any way.

For elements e, maps of the state, with the combine · and the identity 1:

    (e₃ · e₂) · e₁ = e₃ · (e₂ · e₁),    1 · e = e = e · 1,    apply(e₂ · e₁, s) = apply(e₂, apply(e₁, s)),

and two steps of the Scan itself are `apply(lift(step₂) · lift(step₁), s)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from recc.forms import combine as maps
from recc.forms.block import Block, Constant, Scan, Value
from recc.forms.passes import Parallel, Sequential
from recc.prove.arrays import Array, full, places
from recc.prove.blocks import interpret_exactly
from recc.prove.compare import Comparison
from recc.prove.ring import Exact, Space
from recc.recurrence import Domain

_SIZE = 2
_STEPS = 2

Element = dict[str, Array]


def scans(form: Sequential | Parallel) -> Iterator[tuple[Block, list[Scan]]]:
    """The groups of Scans in a form's Blocks, forward and backward, each with its Block."""
    seen: set[object] = set()
    for loop in form.passes:
        for block in (loop.step, loop.step_vjp):
            groups: dict[object, list[Scan]] = {}
            for op in block.ops:
                if isinstance(op, Scan):
                    groups.setdefault(op.group, []).append(op)
            for group in groups.values():
                kind = _kind(group[0])
                if kind not in seen:
                    seen.add(kind)
                    yield block, group


def _kind(scan: Scan) -> object:
    """What the combine depends on: Scans of one kind have the same one up to names."""
    axes = tuple(v.axes for v in (*scan.a, *scan.b, *scan.first))
    return (scan.entries, axes, scan.axis, scan.algebra, scan.rows, scan.cols)


def combine_laws(block: Block, group: Sequence[Scan], space: Space, compare: Comparison) -> None:
    """Compares both sides of every law for one group of Scans, on unknowns."""
    scan = group[0]
    sizes = dict.fromkeys(block.root.values(), _SIZE) | {block.root[scan.axis]: _STEPS}
    laws = _Laws(space, sizes, scan, block, compare.domains)
    first, second, third = (laws.element(f"e{n}") for n in (1, 2, 3))
    laws.same(
        "associativity", laws.join(laws.join(third, second), first), laws.join(third, laws.join(second, first)), compare
    )
    laws.same("the identity at the left", laws.join(laws.identity, first), first, compare)
    laws.same("the identity at the right", laws.join(first, laws.identity), first, compare)
    state = {f"state_{k}": laws.unknown(f"s{k}", laws.axes) for k in range(len(scan.b))}
    twice = laws.apply(second, laws.apply(first, state))
    laws.same("two maps, one after the other", laws.apply(laws.join(second, first), state), twice, compare)
    _steps(laws, group, compare)


def _steps(laws: _Laws, group: Sequence[Scan], compare: Comparison) -> None:
    """Two steps of the Scan against the product of two lifted steps."""
    scan, block, space = laws.scan, laws.block, laws.space
    operands = tuple(dict.fromkeys(scan.operands))
    known = {op.out.name: space.number(op.value) for op in block.ops if isinstance(op, Constant)}
    inputs = {
        v.name: laws.filled(v, known[v.name]) if v.name in known else laws.unknown(v.name, v.axes) for v in operands
    }
    parts = len(scan.b)
    outs = [Value(f"out_{k}", group[0].out.axes) for k in range(parts)]
    ops = tuple(replace(scan, component=k, out=out) for k, out in enumerate(outs))
    alone = replace(block, name="scan", inputs=operands, ops=ops, outputs=tuple((v.name, v) for v in outs))
    made = interpret_exactly(space, alone, inputs, laws.sizes)
    found = maps.elements(scan, block)
    lifted = []
    for x in range(_STEPS):
        given = {f"b_{k}": laws.at(v, inputs, x) for k, v in enumerate(scan.b)}
        given |= {found.name(e): laws.at(v, inputs, x) for e, v in zip(scan.entries, scan.a, strict=True)}
        lifted.append(laws.run(maps.lift(scan, block), given))
    early, late = lifted[::-1] if scan.reverse else lifted
    state = {f"state_{k}": laws.spread(v, inputs[v.name]) for k, v in enumerate(scan.first)}
    joined = laws.apply(laws.join(late, early), state)
    along = group[0].out.axes.index(scan.axis)
    last = 0 if scan.reverse else _STEPS - 1
    expected = {f"state_{k}": np.asarray(np.take(made[f"out_{k}"], last, along), object) for k in range(parts)}
    laws.same("the steps of the scan", expected, joined, compare)


class _Laws:
    """The Blocks of one combine, run on elements."""

    def __init__(
        self, space: Space, sizes: Mapping[str, int], scan: Scan, block: Block, domains: dict[int, Domain | None]
    ):
        self.space, self.sizes, self.scan, self.block = space, sizes, scan, block
        self.domains = domains
        self.found = maps.elements(scan, block)
        self.combine = maps.combine(scan, block)
        # A state after the first has all axes of the result, whatever the first has.
        self.axes = tuple(a for a in scan.out.axes if a != scan.axis)
        wide = tuple(Value(f"state_{k}", self.axes) for k in range(len(scan.b)))
        self.application = maps.apply(replace(scan, first=wide), block)
        self.identity: Element = self.run(maps.identity(scan, block), {})

    def unknown(self, name: str, axes: Sequence[str]) -> Array:
        """A tensor of unknowns."""
        result = np.empty([self.sizes[self.block.root[a]] for a in axes], object)
        for at in np.ndindex(*result.shape):
            number = self.space.input(f"{name}{list(at) if at else ''}")
            self.domains.update(dict.fromkeys(number.atoms(), Domain()))
            result[at] = number
        return result

    def filled(self, v: Value, number: Exact) -> Array:
        """A tensor of one number."""
        return full([self.sizes[self.block.root[a]] for a in v.axes], number)

    def spread(self, v: Value, array: Array) -> Array:
        """A first state along all axes of a state."""
        shape = [self.sizes[self.block.root[a]] if a in v.axes else 1 for a in self.axes]
        order = [v.axes.index(a) for a in self.axes if a in v.axes]
        whole = [self.sizes[self.block.root[a]] for a in self.axes]
        return np.broadcast_to(array.transpose(order).reshape(shape), whole)

    def element(self, name: str) -> Element:
        """An unknown element."""
        axes = {self.found.name(e): x for e, x in self.found.a.items() if e not in self.found.ones}
        axes |= {f"b_{k}": x for k, x in enumerate(self.found.b)}
        return {n: self.unknown(f"{name}.{n}", x) for n, x in axes.items()}

    def at(self, v: Value, inputs: Mapping[str, Array], step: int) -> Array:
        """An operand at one step."""
        axis = self.scan.axis
        return np.asarray(
            np.take(inputs[v.name], step, v.axes.index(axis)) if axis in v.axes else inputs[v.name], object
        )

    def run(self, block: Block, inputs: Mapping[str, Any]) -> Element:
        """A Block on what it reads of some values; what is written takes the axes that elements have."""
        given = {v.name: inputs[v.name] for v in block.inputs}
        made = interpret_exactly(self.space, block, given, self.sizes)
        return {name: np.asarray(value, object) for name, value in made.items()}

    def join(self, later: Element, earlier: Element) -> Element:
        """The product of two elements."""
        return self.run(
            self.combine, {f"later {n}": v for n, v in later.items()} | {f"earlier {n}": v for n, v in earlier.items()}
        )

    def apply(self, element: Element, state: Mapping[str, Array]) -> dict[str, Array]:
        """The state after an element."""
        made = self.run(self.application, {**element, **state})
        return {name.replace("out_", "state_"): v for name, v in made.items()}

    def same(self, law: str, expected: Mapping[str, Array], found: Mapping[str, Array], compare: Comparison) -> None:
        """Compares all values of two elements or states."""
        for name, wanted in expected.items():
            value = np.broadcast_to(found[name], np.broadcast_shapes(found[name].shape, wanted.shape))
            wanted = np.broadcast_to(wanted, value.shape)
            for at, element in places(value):
                compare.check(f"{law}: {name}{list(at) if at else ''}", wanted[at], element)


__all__ = ["combine_laws", "scans"]
