"""The linear part of a Block: what it does to some of its inputs where it is affine in them.

For inputs c that a Block is affine in, each of its values is `v = v0 + L c`: v0 is the value where c is
zero, L its linear part. Both come of one walk over the operations, since a linear operation is its own
derivative: an operation with linear operands is applied to each part of them in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from recc.forms.block import (
    ZERO,
    Algebra,
    Block,
    BlockError,
    Contract,
    Convolve,
    Cumulate,
    Gather,
    Map,
    Mask,
    Matrix,
    Op,
    Rename,
    Scan,
    Scatter,
    Shift,
    Value,
    show_op,
)
from recc.forms.builder import Builder


def reach(block: Block, seeds: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """For each value of a Block the labels of those inputs in `seeds` that it depends on."""
    found = {v.name: frozenset({seeds[v.name]} if v.name in seeds else ()) for v in block.inputs}
    for op in block.ops:
        found[op.out.name] = frozenset(c for v in op.operands for c in found[v.name])
    return found


def bound_axes(op: Op) -> set[str]:
    """The axes of its operands along which an operation does more than follow its own position."""
    axes = {getattr(op, name) for name in ("axis", "row", "col") if hasattr(op, name)}
    for name in ("rows", "cols", "over"):
        item = getattr(op, name, ())
        axes.update((item,) if isinstance(item, str) else item)
    if isinstance(op, Scatter):
        axes.update(set(op.arg.axes) - set(op.out.axes))
    if isinstance(op, Rename):
        axes.update(old for old, _ in op.names)
    return axes


#: Gives one part of the result of an operation; `None` for zero.
Rule = Callable[["At", Any], Value | None]


class Linear:
    """A Block taken apart: what each value is at zero seeds, and its linear part in each seed.

    `parts_of` gives the value at zero seeds under `""`, and for each seed the linear part in it by its
    label, with the columns of the seed as further axes; a part that is not there is zero. A part may lack
    axes of its value: it is then the same along them.

    A seed may itself be given in parts, as what is affine in something earlier. Each value then is as well, and the
    parts of the outputs are the composition of both.

    Args:
        block: any Block that is affine in the seeds.
        seeds: for each input that counts as one its label and its columns: for some of its axes a new
            axis of the same size. Along its other axes no operation may mix elements of what depends on it
            (see `bound_axes`); the linear part is what one element does to its own place.
        b: a Builder that knows the axes of the Block and the columns.
        given: the parts of each seed, by its name, if they are not those of an identity.

    Raises:
        BlockError: if an operation is not linear in a seed; names both.
    """

    #: The algebra that it is linear over, and the rules of it.
    algebra: Algebra = "ring"
    rules: Mapping[type[Op], Rule]

    def __init__(
        self,
        block: Block,
        seeds: Mapping[str, tuple[str, Mapping[str, str]]],
        b: Builder,
        given: Mapping[str, Mapping[str, Value]] | None = None,
    ):
        self.b = b
        self.name = block.name
        self.reach = reach(block, {name: label for name, (label, _) in seeds.items()})
        self.eyes: dict[str, tuple[str, str]] = {}
        self.table: dict[str, Value] = {}
        self.parts: dict[str, dict[str, Value]] = {}
        # Inputs first: they keep their names, whatever a constant or a position is called.
        self.table.update((v.name, b.input(v.name, v.axes, v.dtype)) for v in block.inputs if v.name not in seeds)
        for name, (label, columns) in seeds.items():
            if name in block.input:
                self.parts[name] = dict(given[name]) if given else {label: self.identity(columns)}
        for op in block.ops:
            if self.reach[op.out.name]:
                self.parts[op.out.name] = dict(self.apart(op))
            else:
                self.table[op.out.name] = self.again(op)

    def again(self, op: Op) -> Value:
        """The result of an operation that depends on no seed."""
        return self.b.replay(op, self.table)

    def identity(self, columns: Mapping[str, str]) -> Value:
        """1 where each mixed axis is at the place of its column, 0 elsewhere."""
        found = self.b.constant(1.0)
        for axis, column in columns.items():
            here = self.b.map("real", self.b.map("eq", self.b.iota(axis), self.b.iota(column)))
            self.eyes[here.name] = (axis, column)
            found = self.b.map("mul", found, here)
        return found

    def apart(self, op: Op) -> Iterator[tuple[str, Value]]:
        """The parts of the result of an operation."""
        if type(op) not in self.rules:
            raise self.error(op)
        keys = {key for v in op.operands for key in self.parts_of(v)}
        for key in sorted(keys):
            found = self.rules[type(op)](At(self, op, key), op)
            if found is not None and self.b.known(found) != ZERO[self.algebra]:
                yield key, found

    def parts_of(self, v: Value) -> dict[str, Value]:
        """The parts of a value, whether it depends on a seed or not."""
        return dict(self.parts[v.name]) if v.name in self.parts else {"": self.table[v.name]}

    def error(self, op: Op, why: str = "") -> BlockError:
        """What to raise for an operation that is not linear."""
        labels = ", ".join(sorted(self.reach[op.out.name]))
        return BlockError(f"{self.name}: {op.out} = {show_op(op)} is not linear in {labels}{why}")


@dataclass(frozen=True)
class At:
    """One part of one operation: what its operands are for that part."""

    linear: Linear
    op: Op
    key: str

    @property
    def b(self) -> Builder:
        """What the parts are built with."""
        return self.linear.b

    def depends(self, v: Value) -> bool:
        """Whether an operand depends on a seed."""
        return v.name in self.linear.parts

    def part(self, v: Value) -> Value | None:
        """The part of an operand; `None` for zero."""
        return self.linear.parts_of(v).get(self.key)

    def sum_of(self, v: Value) -> Value:
        """The part of an operand, zero if there is none."""
        found = self.part(v)
        return self.b.constant(ZERO[self.linear.algebra]) if found is None else found

    def free(self, v: Value) -> Value:
        """An operand that must not depend on a seed."""
        if self.depends(v):
            raise self.linear.error(self.op)
        return self.linear.table[v.name]


def _map(at: At, op: Map) -> Value | None:
    b, args = at.b, op.args
    if op.fn in ("add", "sub"):
        return b.map(op.fn, *(at.sum_of(v) for v in args))
    if op.fn in ("neg", "real"):
        x = at.part(args[0])
        return None if x is None else b.map(op.fn, x)
    if op.fn in ("mul", "div"):
        first = op.fn == "div" or at.depends(args[0])
        x, factor = at.part(args[0 if first else 1]), at.free(args[1 if first else 0])
        return None if x is None else b.map(op.fn, x, factor)
    if op.fn == "where":
        return b.map("where", at.free(args[0]), at.sum_of(args[1]), at.sum_of(args[2]))
    if op.fn in ("max", "min", "logaddexp"):
        raise at.linear.error(op, ", but over a semiring, not over sums and products")
    raise at.linear.error(op)


def _contract(at: At, op: Contract) -> Value | None:
    b = at.b
    place = [at.depends(v) for v in op.args].index(True)
    factors = [at.free(v) for v in (*op.args[:place], *op.args[place + 1 :])]
    x = at.part(op.args[place])
    if x is None:
        return None
    axis, column = at.linear.eyes.get(x.name, ("", ""))
    if axis in op.over and any(axis in v.axes for v in factors):
        # The sum with an identity is the rest under another name.
        return b.contract([b.rename(v, {axis: column}) for v in factors], set(op.over) - {axis})
    return b.contract((x, *factors), op.over)


def _cumulate(at: At, op: Cumulate) -> Value | None:
    if op.fn != "sum":
        raise at.linear.error(op)
    x = at.part(op.arg)
    return None if x is None else at.b.cumulate("sum", x, op.axis, op.reverse, op.exclusive, op.every)


def scan_apart(at: At, op: Scan) -> Value | None:
    """The part of a component of a Scan over the same algebra."""
    if op.algebra != at.linear.algebra:
        raise at.linear.error(op, f", but over the semiring {op.algebra}, not over sums and products")
    a = {kl: at.free(v) for kl, v in zip(op.entries, op.a, strict=True)}
    drives, firsts = [at.sum_of(v) for v in op.b], [at.sum_of(v) for v in op.first]
    return at.b.scan(a, drives, firsts, op.axis, op.algebra, op.rows, op.cols, op.reverse)[op.component]


def _convolve(at: At, op: Convolve) -> Value | None:
    b = at.b
    x = at.part(op.kernel if at.depends(op.kernel) else op.arg)
    other = at.free(op.arg if at.depends(op.kernel) else op.kernel)
    if x is None:
        return None
    kernel, arg = (x, other) if at.depends(op.kernel) else (other, x)
    return b.convolve(kernel, arg, op.axis, op.over, op.reverse)


def _mask(at: At, op: Mask) -> Value | None:
    x = at.part(op.arg)
    return None if x is None else at.b.mask(x, op.row, op.col, op.strict)


def _matrix(at: At, op: Matrix) -> Value | None:
    if not op.fn.startswith("solve"):
        raise at.linear.error(op)
    a, x = at.free(op.args[0]), at.part(op.args[1])
    return None if x is None else at.b.matrix(op.fn, (a, x), op.rows, op.cols, transposed=op.transposed)


def _shift(at: At, op: Shift) -> Value | None:
    x = at.part(op.arg)
    return None if x is None else at.b.shift(x, op.axis, op.offset, op.edge)


def _gather(at: At, op: Gather) -> Value | None:
    b = at.b
    index, x = at.free(op.index), at.part(op.arg)
    if x is None:
        return None
    number = b.known(x)
    if op.edge != "zero" and (number is not None or op.axis not in x.axes):
        # Every place has the same; none is outside.
        return b.spread(x if number is None else b.constant(number, {*x.axes} - {op.axis}), index.axes)
    return b.gather(b.spread(x, (op.axis,)), op.axis, index, op.edge)


def _scatter(at: At, op: Scatter) -> Value | None:
    index, x = at.free(op.index), at.part(op.arg)
    if x is None:
        return None
    wide = at.b.spread(x, (*op.index.axes, *(a for a in op.out.axes if a != op.axis)))
    summed = {*op.arg.axes} - {*op.out.axes}
    return at.b.scatter(wide, op.axis, index, op.edge, ({*wide.axes} - summed) | {op.axis})


def rename_apart(at: At, op: Rename) -> Value | None:
    """The part of a Rename, over any algebra."""
    x = at.part(op.arg)
    return None if x is None else at.b.rename(x, dict(op.names))


Linear.rules = {
    Map: _map,
    Contract: _contract,
    Cumulate: _cumulate,
    Scan: scan_apart,
    Convolve: _convolve,
    Mask: _mask,
    Matrix: _matrix,
    Shift: _shift,
    Gather: _gather,
    Scatter: _scatter,
    Rename: rename_apart,
}


__all__ = ["At", "Linear", "Rule", "bound_axes", "reach", "rename_apart", "scan_apart"]
