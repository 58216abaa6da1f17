"""The work of a Block: for each operation what it reads, writes and computes, at given sizes.

Each operation is taken apart into *sweeps*, single operations of an array library that pass over memory once:
an elementwise function, a batch of matrix products, a copy. Formulas look at the axes of the operands and
at nothing else, so that equal Blocks have equal costs, whatever program they come from. What is the same
along an axis is held once: constants are numbers, a broadcast costs nothing until it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil, log2
from typing import Any, NamedTuple

from recc.forms import along_work
from recc.forms.block import (
    Block,
    Constant,
    Contract,
    Convolve,
    Cumulate,
    Gather,
    Iota,
    Map,
    Mask,
    Matrix,
    Op,
    Reduce,
    Rename,
    Scan,
    Scatter,
    Segment,
    Shift,
)
from recc.forms.product_work import pairs_of, product
from recc.forms.sweeps import Found, Held, Space, Sweep, passing


class Piece(NamedTuple):
    """An operation's sweeps, forward and for its gradient; elements that it makes; how many follow one another.

    `name` is that of its result, `operands` are the names of what it reads.
    """

    name: str
    operands: tuple[str, ...]
    forward: Sequence[Sweep]
    backward: Sequence[Sweep]
    made: float
    depth: float


#: Scalar functions in units of an addition, where they are not 1.
WEIGHT: Mapping[str, float] = {
    "div": 2, "pow": 15, "where": 2, "exp": 2, "log": 4, "log1p": 8, "expm1": 8, "sqrt": 2, "rsqrt": 3,
    "sigmoid": 4, "log_sigmoid": 10, "softplus": 10, "tanh": 4, "sin": 4, "cos": 4, "erf": 4, "logaddexp": 24,
}  # fmt: skip
#: Functions that are several sweeps, and those that are none.
_SEVERAL = {"logaddexp": 9, "pow": 3, "surrogate": 3, "softplus": 1}
_NONE = frozenset({"stop"})
#: Sweeps of a derivative for each argument that has one, where that is not 1.
_BACK = {"add": 0.0, "stop": 0.0, "div": 2.0, "pow": 3.0, "min": 1.5, "max": 1.5, "logaddexp": 6.0, "sqrt": 2.0}


class Walk(Space):
    """Goes through a Block and finds the work of each operation. Arguments are those of `Space`."""

    def pieces(self) -> Iterator[Piece]:
        """The work of each operation, in order."""
        for op, operands in _operands(self.block):
            yield self._piece(op, operands)

    def _piece(self, op: Op, names: tuple[str, ...]) -> Piece:
        operands = [self.held[n] for n in names]
        every = Held(
            operands[0].axes.union(*[h.axes for h in operands[1:]]) if operands else frozenset(),
            any(h.full for h in operands),
            None,
            op.out.dtype == "real" and any(h.grad for h in operands),
        )
        found = _RULES[type(op)](self, op, every)
        self.held[op.out.name] = found.held
        back = found.back if found.held.grad else ()
        made = self.count(found.held) + found.extra if found.forward else 0.0
        return Piece(op.out.name, names, found.forward, back, made, found.depth if found.forward else 0.0)


#: The operations of Blocks with the names of their operands, with the Blocks, so that no other takes their place.
_OPERANDS: dict[int, tuple[Block, list[tuple[Op, tuple[str, ...]]]]] = {}
_MOST_BLOCKS = 1024


def _operands(block: Block) -> list[tuple[Op, tuple[str, ...]]]:
    """The operations of a Block with the names of their operands, worked out once."""
    found = _OPERANDS.get(id(block))
    if found is None:
        if len(_OPERANDS) >= _MOST_BLOCKS:
            _OPERANDS.clear()
        found = _OPERANDS[id(block)] = (block, [(op, tuple(v.name for v in op.operands)) for op in block.ops])
    return found[1]


def _nothing(w: Walk, op: Any, every: Held) -> Found:
    return Found(every._replace(axes=frozenset(op.out.axes)))


def _constant(w: Walk, op: Constant, every: Held) -> Found:
    return Found(Held(frozenset(), False, op.value))


def _rename(w: Walk, op: Rename, every: Held) -> Found:
    names = dict(op.names)
    return Found(w.get(op.arg)._replace(axes=frozenset(names.get(a, a) for a in every.axes)))


def _map(w: Walk, op: Map, every: Held) -> Found:
    args = [w.get(v) for v in op.args]
    if op.fn in ("add", "mul"):
        unit = 0.0 if op.fn == "add" else 1.0
        for number, other in ((args[0].number, args[1]), (args[1].number, args[0])):
            if number == unit:
                return Found(other)
    if op.fn in _NONE or (op.fn == "real" and op.args[0].dtype == "real"):
        return Found(args[0]._replace(grad=False))
    count = w.count(every)
    read = sum(w.count(a) for a in args if a.number is None)
    several = _SEVERAL.get(op.fn, 1)
    forward = [passing(read + count * (several - 1), count * several, WEIGHT.get(op.fn, 1.0) * count).times(1)]
    forward = [k._replace(launches=float(several)) for k in forward]
    back: list[Sweep] = []
    for arg in (a for a in args if a.grad):
        much = _BACK.get(op.fn, 1.0)
        if much:
            back.append(passing(2 * count * much, count * much, count * much)._replace(launches=ceil(much)))
        if w.count(arg) < count:
            back.append(passing(count, w.count(arg), count))
    return Found(every, forward, back)


def _contract(w: Walk, op: Contract, every: Held) -> Found:
    factors = [w.get(v) for v in op.args]
    factors = [f for f in factors if f.number is None]
    present = frozenset(a for f in factors for a in f.axes)
    over = frozenset(op.over) & present
    held = every._replace(axes=present - frozenset(op.over))
    if not factors:
        return Found(held._replace(number=1.0, full=False))
    forward: list[Sweep] = []
    back: list[Sweep] = []
    if len(factors) > 1:
        for k, f in enumerate(factors):
            alone = frozenset(a for a in f.axes & over if sum(a in g.axes for g in factors) == 1)
            if alone:
                factors[k] = f._replace(axes=f.axes - alone)
                forward.append(passing(w.count(f), w.count(factors[k]), w.count(f)))
                over -= alone
    if len(factors) == 1:
        if over:
            forward.append(passing(w.count(factors[0]), w.count(held), w.count(factors[0])))
        return Found(held, forward, forward)
    for x, y, made in pairs_of(w, factors, held):
        sweeps = product(w, x, y, made)
        forward += sweeps
        for own in (x, y):
            if own.grad:
                other = y if own is x else x
                back += product(w, made, other, own)
    return Found(held, forward, back, max(1, len(factors) - 1))


def _reduce(w: Walk, op: Reduce, every: Held) -> Found:
    count = w.elements(every.axes | frozenset(op.over), every.full)
    held = every._replace(axes=every.axes - frozenset(op.over))
    rounds = ceil(log2(max(2, w.size[op.over[0]]))) if op.fn == "prod" else 1
    sweep = Sweep(float(rounds), 2 * count, count if rounds > 1 else w.count(held), count)
    return Found(held, [sweep], [sweep.times(2)], rounds)


def _mask(w: Walk, op: Mask, every: Held) -> Found:
    held = every._replace(axes=every.axes | {op.row, op.col})
    sweep = passing(w.count(held), w.count(held), w.count(held))
    return Found(held, [sweep], [sweep])


def _matrix(w: Walk, op: Matrix, every: Held) -> Found:
    a = w.get(op.args[0])
    held = every._replace(axes=every.axes | {op.rows, op.cols})
    size = w.size[op.rows]
    matrices = w.elements(a.axes - {op.rows, op.cols}, a.full)
    if op.fn.startswith("solve"):
        held = every._replace(axes=(every.axes | {op.rows}) - {op.cols})
        half = 0.5 if op.fn == "solve_unit_lower" else 1.0
        work = half * w.count(held) * size + (0.0 if half < 1 else matrices * size**3 / 3)
        sweep = Sweep(3.0, 2 * w.count(held) + matrices * size**2, 2 * w.count(held), 0, 0, matrices, work)
        return Found(held, [sweep], [sweep, sweep.times(1)], 1)
    work = matrices * size**3 * (1 if op.fn == "inv" else 20)
    sweep = Sweep(3.0 if op.fn == "inv" else 30.0, w.count(held), w.count(held), 0, 0, matrices, work)
    return Found(held, [sweep], [sweep.times(4)], 1)


def _moved(w: Walk, op: Shift, every: Held) -> Found:
    held = every._replace(axes=every.axes | {op.axis})
    sweep = passing(w.count(held), w.count(held))
    return Found(held, [sweep], [sweep])


def _gather(w: Walk, op: Gather, every: Held) -> Found:
    arg, index = w.get(op.arg), w.get(op.index)
    held = every._replace(axes=(arg.axes - {op.axis}) | index.axes, full=arg.full or index.full)
    count = w.count(held)
    if index.number is not None:  # a view; its gradient is a tensor of zeros but for one place
        return Found(held, [Sweep(1.0)], [passing(0, w.count(arg))], 0)
    sweep = Sweep(4.0, 2 * count, count, 4 * count)
    return Found(held, [sweep], [sweep.times(2)])


def _scatter(w: Walk, op: Scatter, every: Held) -> Found:
    held = every._replace(axes=frozenset(op.out.axes))
    count = w.count(w.get(op.arg))
    sweep = Sweep(4.0, 2 * count, count + w.count(held), 8 * count)
    return Found(held, [sweep], [sweep])


_RULES: Mapping[type[Op], Callable[[Walk, Any, Held], Found]] = {
    Constant: _constant,
    Iota: _nothing,
    Rename: _rename,
    Map: _map,
    Contract: _contract,
    Reduce: _reduce,
    Cumulate: along_work.cumulate,
    Scan: along_work.scan,
    Convolve: along_work.convolve,
    Segment: along_work.segment,
    Mask: _mask,
    Matrix: _matrix,
    Shift: _moved,
    Gather: _gather,
    Scatter: _scatter,
}


__all__ = ["WEIGHT", "Held", "Sweep", "Piece", "Walk"]
