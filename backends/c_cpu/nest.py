"""From a Block to fused loop nests.

Every operation runs over a set of axes. Operations that start with the same axis share one loop if
nothing that one of them needs is still unfinished inside that loop: an operand made in the same loop
must be read at the loop's own position and must not be a reduction over it. Values that live inside one
loop body become scalars, all others arrays over the axes that their producer and consumers do not share.

Law: executing the tree in order computes exactly the operations of the Block, each once, whatever the
order of axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from recc.backends.c_cpu.phases import HEAVY, Phases
from recc.backends.c_cpu.store import OPAQUE, Ref, Store, resolve
from recc.forms.block import (
    Block,
    Constant,
    Contract,
    Gather,
    Iota,
    Map,
    Op,
    Reduce,
    Rename,
    Scatter,
    Shift,
    Value,
)

Item = Op | Store


@dataclass
class Leaf:
    """One operation or store, inside the loops above it."""

    item: Item


@dataclass
class Loop:
    """A loop over an axis."""

    axis: str
    body: list[Node] = field(default_factory=list)

    @property
    def innermost(self) -> bool:
        """Whether no loop is inside."""
        return all(isinstance(node, Leaf) for node in self.body)


Node = Leaf | Loop


class Nest:
    """The loop tree of a Block with its stores, for a given order of axes (the last is vectorised)."""

    def __init__(self, block: Block, stores: Sequence[Store], order: Sequence[str]):
        self.order = list(order)
        phases = Phases(block, list(stores))
        self.defined: dict[str, Op] = phases.defined
        self.stores = phases.stores
        self._phase = phases.of
        self._free = set(order) - {a for op in phases.ops for a in _bound(op)}
        items: list[Item] = [op for op in phases.ops if not isinstance(op, (Constant, Iota, Rename))]
        # Within a phase an operand never has more axes than the result, so this order is a valid one.
        items.sort(key=lambda item: (self._when(item), len(self.loops(item))))
        self.items: list[Item] = self._with_stores(items)
        self._deps = {id(item): self._dependencies(item) for item in self.items}
        self.root = self._schedule(self.items, ())

    def ref(self, value: Value) -> Ref:
        """The stored value behind renames."""
        return resolve(value, self.defined)

    def operands(self, item: Item) -> list[tuple[Ref, frozenset[str]]]:
        """What an item reads: each reference with the axes along which it reads other positions too."""
        if isinstance(item, Store):
            return [(self.ref(item.value), frozenset())]
        if isinstance(item, (Shift, Gather)):
            rest = [(self.ref(v), frozenset[str]()) for v in item.operands[1:]]
            return [(self.ref(item.arg), frozenset((item.axis,))), *rest]
        everywhere = frozenset(self.order) if isinstance(item, OPAQUE) else frozenset[str]()
        return [(self.ref(v), everywhere) for v in item.operands]

    def loops(self, item: Item) -> list[str]:
        """The axes that an item loops over, outermost first."""
        if isinstance(item, Store):
            space = set(item.value.axes)
        elif isinstance(item, OPAQUE):
            space = set()
        elif isinstance(item, Gather):
            space = set(item.out.axes)
        elif isinstance(item, Scatter):
            space = set(item.arg.axes) | set(item.index.axes)
        else:
            space = set(item.space)
        return [a for a in self.order if a in space]

    def reduced(self, item: Item) -> frozenset[str]:
        """The loop axes at whose end, not inside which, the result is complete."""
        if isinstance(item, (Contract, Reduce)):
            return frozenset(item.over)
        if isinstance(item, Scatter):
            return frozenset(self.loops(item))
        return frozenset()

    def _with_stores(self, items: list[Item]) -> list[Item]:
        """Each store right after its value; stores over an input at the end, for its readers come first.

        A store whose value is itself an input that another store overwrites gets a copy first.
        """
        overwritten = {s.overwrites for s in self.stores if s.overwrites}
        early: dict[str, list[Store]] = {}
        ready: list[Item] = []
        late: list[Item] = []
        for store in self.stores:
            base = self.ref(store.value).base
            if base.name in overwritten and base.name != store.overwrites:
                copy = Map(Value(f"{base.name}_copy_{len(ready)}", store.value.axes), "stop", (store.value,))
                ready.append(copy)
                self.defined[copy.out.name] = copy
                store = replace(store, value=copy.out)
            if store.overwrites:
                late.append(store)
            elif base.name in {op.out.name for op in items if not isinstance(op, Store)}:
                early.setdefault(base.name, []).append(store)
            else:
                ready.append(store)
        out: list[Item] = []
        for item in items:
            out.append(item)
            if not isinstance(item, Store):
                out.extend(early.pop(item.out.name, ()))
        return [*out, *ready, *late]

    def _dependencies(self, item: Item) -> list[tuple[str, Ref, frozenset[str]]]:
        """Names of values that must be made first, with how each is read."""
        return [(ref.base.name, ref, wide) for ref, wide in self.operands(item)]

    def _schedule(self, items: list[Item], opened: tuple[str, ...]) -> list[Node]:
        nodes: list[tuple[str | None, list[Item]]] = []
        where: dict[str, tuple[int, Item]] = {}
        readers: dict[str, list[tuple[int, Ref, frozenset[str]]]] = {}
        for item in items:
            axis = next((a for a in self.loops(item) if a not in opened), None)
            lowest = 0
            for name, ref, wide in self._deps[id(item)]:
                if name in where:
                    at, producer = where[name]
                    shared = axis is not None and nodes[at][0] == axis
                    ok = (
                        shared and axis not in wide and ref.pointwise(axis or "") and axis not in self.reduced(producer)
                    )
                    lowest = max(lowest, at if ok else at + 1)
            if isinstance(item, Store) and item.overwrites:
                for at, ref, wide in readers.get(item.overwrites, ()):
                    shared = axis is not None and nodes[at][0] == axis
                    ok = (axis is None and nodes[at][0] is None) or (
                        shared and axis not in wide and ref.pointwise(axis or "")
                    )
                    lowest = max(lowest, at if ok else at + 1)
            at = self._place(nodes, axis, lowest, item, {name for name, _, _ in self._deps[id(item)]})
            for name, ref, wide in self._deps[id(item)]:
                readers.setdefault(name, []).append((at, ref, wide))
            if not isinstance(item, Store):
                where[item.out.name] = (at, item)
        tree: list[Node] = []
        for axis, inside in nodes:
            if axis is None:
                tree.append(Leaf(inside[0]))
            else:
                tree.append(Loop(axis, self._schedule(inside, (*opened, axis))))
        return tree

    def _place(
        self, nodes: list[tuple[str | None, list[Item]]], axis: str | None, lowest: int, item: Item, needs: set[str]
    ) -> int:
        """The first loop that may take the item and is of its phase or feeds it; a new one at the end if none is."""
        if axis is not None:
            for at in range(lowest, len(nodes)):
                if nodes[at][0] != axis:
                    continue
                inside = nodes[at][1]
                if axis in self._free or any(
                    self._when(other) == self._when(item) or (not isinstance(other, Store) and other.out.name in needs)
                    for other in inside
                ):
                    inside.append(item)
                    return at
        nodes.append((axis, [item]))
        return len(nodes) - 1

    def _when(self, item: Item) -> int:
        """The phase of an item; a store is in that of its value."""
        return self._phase.get(item.value.name if isinstance(item, Store) else item.out.name, 0)


def _bound(op: Op) -> set[str]:
    """The axes along which an operation does not only read its own position."""
    if isinstance(op, OPAQUE):
        return {a for v in (op.out, *op.operands) for a in v.axes}
    if isinstance(op, (Contract, Reduce)):
        return set(op.over)
    if isinstance(op, Scatter):
        return set(op.arg.axes) | set(op.out.axes)
    if isinstance(op, (Shift, Gather)):
        return {op.axis}
    if isinstance(op, Rename):
        return {a for pair in op.names for a in pair}
    return set()


def choose_order(blocks: Sequence[Block], sizes: Mapping[str, int]) -> list[str]:
    """The order of axes, outermost first, with the axis that is best vectorised last.

    The estimate counts operations: divided by the lanes where the candidate is a free axis of the
    operation, by a third of that where it is summed over (a vector must then be added up), and not
    divided where the operation does not have it.
    """
    axes: list[str] = []
    for block in blocks:
        axes += [a for a in block.order if a not in axes]
    if not axes:
        return []
    lanes = 16.0
    costs: dict[str, float] = {}
    for candidate in axes:
        width = min(lanes, float(sizes[candidate]))
        cost = 0.0
        for block in blocks:
            for op in block.ops:
                volume = 1.0
                for axis in op.space:
                    volume *= sizes[axis]
                heavy = 8.0 if getattr(op, "fn", "") in HEAVY else 1.0
                over = getattr(op, "over", ())
                gain = 1.0 if candidate not in op.space else (max(1.0, width / 3) if candidate in over else width)
                cost += heavy * volume / max(1.0, gain)
        costs[candidate] = cost
    vector = min(reversed(axes), key=lambda a: costs[a])
    return [a for a in axes if a != vector] + [vector]


__all__ = ["Item", "Leaf", "Loop", "Nest", "Node", "choose_order"]
