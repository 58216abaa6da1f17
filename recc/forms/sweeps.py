"""What the work of an operation is told in: sweeps, and what stands for a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import NamedTuple

from recc.forms.block import Block, Scan, Value


class Sweep(NamedTuple):
    """One pass over memory: elements read and written, multiply-adds, and scalar operations in units of an addition.

    `products` are multiply-adds in `matrices` matrix products, `solved` those in triangular systems,
    `transformed` elements times the doublings of their Fourier transform. `thin` are multiply-adds divided by the
    least number of rows, columns or terms of their products: thin matrices are slow. `launches` is 1, or more
    for what is repeated.
    """

    launches: float = 1.0
    read: float = 0.0
    written: float = 0.0
    scalars: float = 0.0
    products: float = 0.0
    matrices: float = 0.0
    solved: float = 0.0
    transformed: float = 0.0
    thin: float = 0.0

    def times(self, factor: float, work: float | None = None) -> Sweep:
        """As many launches, and so much of everything else (as much by default)."""
        much = factor if work is None else work
        return Sweep(self.launches * factor, *(x * much for x in self[1:]))


class Held(NamedTuple):
    """What stands for a value: the axes that it has, and whether it has the leading ones.

    `number` is the number that it is, if it is one. `grad` says that a gradient flows into it.
    """

    axes: frozenset[str]
    full: bool
    number: float | None = None
    grad: bool = False


class Found(NamedTuple):
    """What a rule finds: what stands for the result, sweeps of both directions, how many follow one another.

    `extra` are elements made on the way, beside the result.
    """

    held: Held
    forward: Sequence[Sweep] = ()
    back: Sequence[Sweep] = ()
    depth: float = 1.0
    extra: float = 0.0


class Space:
    """The sizes that a Block runs at, and what stands for each of its values.

    Args:
        block: any Block.
        sizes: the size of each axis, by the axis that gives it.
        lead: how many times the Block is run side by side.
        inputs: what stands for each input.
        wide: elements of a step from which on a scan runs it alone (see `Device.wide`).
    """

    def __init__(self, block: Block, sizes: Mapping[str, int], lead: int, inputs: Mapping[str, Held], wide: int):
        self.block = block
        self.size = {a: sizes[block.root[a]] for a in block.order if block.root[a] in sizes}
        self.lead = lead
        self.held: dict[str, Held] = dict(inputs)
        self.wide = wide
        self._groups: set[tuple[object, ...]] = set()
        self._counts: dict[tuple[frozenset[str], bool], float] = {}

    def count(self, held: Held) -> float:
        """The elements of what is held."""
        return self.elements(held.axes, held.full)

    def elements(self, axes: frozenset[str], full: bool) -> float:
        """The elements of a tensor of some axes."""
        found = self._counts.get((axes, full))
        if found is None:
            found = self._counts[axes, full] = prod([float(self.size[a]) for a in axes]) * (self.lead if full else 1)
        return found

    def get(self, value: Value) -> Held:
        """What stands for a value."""
        return self.held[value.name]

    def seen(self, op: Scan) -> bool:
        """Whether another component of a scan has been met already."""
        if op.group in self._groups:
            return True
        self._groups.add(op.group)
        return False


def passing(read: float, written: float, scalars: float = 0.0) -> Sweep:
    """One pass over memory."""
    return Sweep(1.0, read, written, scalars)


__all__ = ["Found", "Held", "Sweep", "Space", "passing"]
