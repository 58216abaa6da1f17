"""The linear part of a Block over a semiring: `Linear`, with sums in place of products and ⊕ in place of sums.

For inputs c that a Block is affine in over ⊕ and +, each of its values is `v = v0 ⊕ L ⊗ c`: `max(v0, max over c of
L + c)`, say. A shift by what does not depend on c shifts each part, ⊕ of values is ⊕ of their parts, and a part that
is not there is the zero of the semiring, an infinity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recc.forms.block import ONE, ZERO, Algebra, Block, Gather, Map, Op, Reduce, Rename, Scan, Value
from recc.forms.builder import Builder
from recc.forms.linear import At, Linear, rename_apart, scan_apart
from recc.forms.semiring import PLUS, LogSumExp, folded, logsumexp

#: For each seed its label and its columns, by its name.
Seeds = Mapping[str, tuple[str, Mapping[str, str]]]


def linear_over(
    algebra: Algebra, block: Block, seeds: Seeds, b: Builder, given: Mapping[str, Mapping[str, Value]] | None = None
) -> Linear:
    """A Block taken apart over an algebra; see `Linear`. Over log-sum-exp the Block is one that `folded` gave."""
    return (Linear if algebra == "ring" else _SEMILINEAR[algebra])(block, seeds, b, given)


def readable(algebra: Algebra, block: Block) -> Block:
    """The Block as `linear_over` takes it."""
    return folded(block) if algebra == "log-sum-exp" else block


def eye(b: Builder, algebra: Algebra, columns: Mapping[str, str]) -> Value:
    """The one of the algebra where each axis is at the place of its column, its zero elsewhere."""
    found, zero = b.constant(ONE[algebra]), b.constant(ZERO[algebra])
    for axis, column in columns.items():
        found = b.map("where", b.map("eq", b.iota(axis), b.iota(column)), found, zero)
    return found


class _Semilinear(Linear):
    """`Linear` over a semiring."""

    def identity(self, columns: Mapping[str, str]) -> Value:
        """The one of the semiring where each mixed axis is at the place of its column, its zero elsewhere."""
        return eye(self.b, self.algebra, columns)

    def again(self, op: Op) -> Value:
        """The result of an operation that depends on no seed."""
        if isinstance(op, LogSumExp):
            return logsumexp(self.b, self.table[op.arg.name], op.over)
        return super().again(op)


class _MaxPlus(_Semilinear):
    algebra: Algebra = "max-plus"


class _MinPlus(_Semilinear):
    algebra: Algebra = "min-plus"


class _LogSumExp(_Semilinear):
    algebra: Algebra = "log-sum-exp"


_SEMILINEAR: Mapping[Algebra, type[_Semilinear]] = {c.algebra: c for c in (_MaxPlus, _MinPlus, _LogSumExp)}


def _map(at: At, op: Map) -> Value | None:
    b, args = at.b, op.args
    if op.fn == PLUS[at.linear.algebra]:
        return _sum(at, [at.part(v) for v in args])
    if op.fn in ("add", "sub"):
        first = op.fn == "sub" or at.depends(args[0])
        x, shift = at.part(args[0 if first else 1]), at.free(args[1 if first else 0])
        return None if x is None else b.map(op.fn, x, shift)
    if op.fn == "mul":
        # A value along more axes is written as its product with ones.
        first = at.depends(args[0])
        x, ones = at.part(args[0 if first else 1]), at.free(args[1 if first else 0])
        if b.known(ones) != 1.0:
            raise at.linear.error(op)
        return None if x is None else b.spread(x, ones.axes)
    if op.fn == "where":
        return b.map("where", at.free(args[0]), at.sum_of(args[1]), at.sum_of(args[2]))
    raise at.linear.error(op)


def _sum(at: At, parts: Sequence[Value | None]) -> Value | None:
    """⊕ of some parts."""
    there = [v for v in parts if v is not None]
    if len(there) < 2:
        return there[0] if there else None
    return at.b.map(PLUS[at.linear.algebra], *there)


def _reduce(at: At, op: Reduce) -> Value | None:
    if op.fn != PLUS[at.linear.algebra]:
        raise at.linear.error(op)
    x = at.part(op.arg)
    return None if x is None else at.b.reduce(op.fn, x, op.over)


def _logsumexp(at: At, op: LogSumExp) -> Value | None:
    x = at.part(op.arg)
    return None if x is None else logsumexp(at.b, x, op.over)


def _gather(at: At, op: Gather) -> Value | None:
    b, index, x = at.b, at.free(op.index), at.part(op.arg)
    if op.edge == "zero":
        raise at.linear.error(op)
    if x is None:
        return None
    if (number := b.known(x)) is not None:
        return b.spread(b.constant(number, {*x.axes} - {op.axis}), index.axes)
    return b.gather(x, op.axis, index, op.edge) if op.axis in x.axes else b.spread(x, index.axes)


_Semilinear.rules = {
    Map: _map,
    Reduce: _reduce,
    LogSumExp: _logsumexp,
    Scan: scan_apart,
    Gather: _gather,
    Rename: rename_apart,
}


__all__ = ["eye", "linear_over", "readable"]
