"""Sums and products of an algebra, as operations of a Block.

An algebra has ⊕ and ⊗: + and * in the ring, max, min or logaddexp and + in the semirings. A sum by logaddexp over
axes is several operations of a Block; `folded` finds them again and puts one in their place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Literal

from recc.forms.block import Algebra, Block, Contract, Map, Op, Value
from recc.forms.builder import Builder

#: ⊕ of two, as a scalar function.
PLUS: Mapping[Algebra, str] = {"ring": "add", "max-plus": "max", "min-plus": "min", "log-sum-exp": "logaddexp"}


@dataclass(frozen=True)
class LogSumExp(Op):
    """`out = log sum over `over` of exp(arg)`, -inf where all are. In Blocks that `folded` gives only."""

    arg: Value
    over: tuple[str, ...]


def plus(b: Builder, algebra: Algebra, x: Value, y: Value) -> Value:
    """The sum by ⊕ of two values."""
    return b.map(PLUS[algebra], x, y)


def times(b: Builder, algebra: Algebra, x: Value, y: Value, over: Iterable[str]) -> Value:
    """The product by ⊗ of two values, summed by ⊕ over axes."""
    over = tuple(over)
    if algebra == "ring":
        return b.contract((x, y), over)
    term = b.map("add", x, y)
    if not over:
        return term
    if algebra != "log-sum-exp":
        fn: Literal["max", "min"] = "max" if algebra == "max-plus" else "min"
        return b.reduce(fn, term, over)
    top = b.map("stop", b.reduce("max", term, over))
    top = b.map("where", b.map("eq", top, b.constant(-inf)), b.constant(0.0), top)
    total = b.contract((b.map("exp", b.map("sub", term, top)),), over)
    return b.map("add", b.map("log", total), top)


def powers(b: Builder, value: Value, over: Iterable[str]) -> tuple[Value, Value]:
    """`exp(value - m)` and m, the maximum, with m = 0 where it is infinite so that no NaN appears."""
    top = b.map("stop", b.reduce("max", value, over))
    finite = b.map("lt", b.map("abs", top), b.constant(inf))
    top = b.map("where", finite, top, b.constant(0.0))
    return b.map("exp", b.map("sub", value, top)), top


def logsumexp(b: Builder, value: Value, over: Iterable[str], hint: str = "") -> Value:
    """The logarithm of a sum of exponentials over axes; -inf where all are."""
    over = tuple(over)
    value = b.spread(value, over)
    shares, top = powers(b, value, over)
    total = b.contract((shares,), over)
    # Asked this way round a NaN is not taken for nothing.
    nothing = b.map("le", total, b.constant(0.0))
    inner = b.map("log", b.map("where", nothing, b.constant(1.0), total))
    return b.map("where", nothing, b.constant(-inf), b.map("add", inner, top), hint=hint)


def folded(block: Block) -> Block:
    """The same Block with one operation in the place of each `logsumexp`.

    Law: an operation stands for one if `logsumexp` of what it begins with, built beside it, is that operation.
    """
    b = Builder(block.name, dict(block.root))
    table = {v.name: b.input(v.name, v.axes, v.dtype) for v in block.inputs}
    made: dict[str, Op] = {}
    ops: list[Op] = []
    for op in block.ops:
        table[op.out.name] = b.replay(op, table)
        made[op.out.name] = op
        start = _start(op, made)
        if start is not None and logsumexp(b, table[start[0].name], start[1]) == table[op.out.name]:
            ops.append(LogSumExp(op.out, *start))
        else:
            ops.append(op)
    return replace(block, ops=tuple(ops)).live()


def _start(op: Op, made: Mapping[str, Op]) -> tuple[Value, tuple[str, ...]] | None:
    """What an operation is the `logsumexp` of, if it ends as one does, and over which axes."""

    def args(v: Value, fn: str) -> tuple[Value, ...]:
        found = made.get(v.name)
        return found.args if isinstance(found, Map) and found.fn == fn else ()

    if not (isinstance(op, Map) and op.fn == "where"):
        return None
    for term in args(op.args[2], "add"):
        for inner in args(term, "log"):
            for total in args(inner, "where")[2:]:
                found = made.get(total.name)
                if isinstance(found, Contract) and len(found.args) == 1:
                    for power in args(found.args[0], "exp"):
                        for value in args(power, "sub")[:1]:
                            return value, found.over
    return None


__all__ = ["PLUS", "LogSumExp", "folded", "logsumexp", "plus", "powers", "times"]
