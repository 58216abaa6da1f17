"""What a loop nest writes, and how it reads through renames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recc.forms.block import Cumulate, Matrix, Op, Rename, Segment, Value

#: Operations that run as a whole, with loops of their own.
OPAQUE = (Cumulate, Segment, Matrix)


@dataclass(frozen=True)
class Store:
    """Writes a value to memory outside the Block, or adds to it if `accumulate`.

    `overwrites` is the Block input that the memory holds (empty if none): whoever reads that input
    must be done first.
    """

    target: str
    value: Value
    accumulate: bool = False
    overwrites: str = ""


@dataclass(frozen=True)
class Ref:
    """A value as an operand sees it: `base` read at `index`, which gives an axis for each of its own."""

    base: Value
    index: tuple[tuple[str, str], ...]

    def pointwise(self, axis: str) -> bool:
        """Whether, inside a loop over `axis`, only the element at the loop's position is read."""
        return (axis, axis) in self.index


def resolve(value: Value, defined: Mapping[str, Op]) -> Ref:
    """The stored value behind renames."""
    index = {a: a for a in value.axes}
    while isinstance(op := defined.get(value.name), Rename):
        back = {new: old for old, new in op.names}
        index = {back.get(a, a): at for a, at in index.items()}
        value = op.arg
    return Ref(value, tuple(index.items()))


__all__ = ["OPAQUE", "Ref", "Store", "resolve"]
