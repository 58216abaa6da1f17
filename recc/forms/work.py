"""The work of a Block: for each operation what it reads, writes and computes, at given sizes.

Each operation is taken apart into *kernels*, single operations of an array library that pass over memory once:
an elementwise function, a batch of matrix products, a copy. Formulas look at the axes of the operands and
at nothing else, so that equal Blocks have equal costs, whatever program they come from. What is the same
along an axis is held once: constants are numbers, a broadcast costs nothing until it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil, log2, prod
from typing import Any, NamedTuple

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
    Value,
)
from recc.forms.scan_work import launches_of, scan_work


class Kernel(NamedTuple):
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

    def times(self, factor: float, work: float | None = None) -> Kernel:
        """As many launches, and so much of everything else (as much by default)."""
        much = factor if work is None else work
        return Kernel(self.launches * factor, *(x * much for x in self[1:]))


class Held(NamedTuple):
    """What stands for a value: the axes that it has, and whether it has the leading ones.

    `number` is the number that it is, if it is one. `grad` says that a gradient flows into it.
    """

    axes: frozenset[str]
    full: bool
    number: float | None = None
    grad: bool = False


class Piece(NamedTuple):
    """An operation's kernels, forward and for its gradient; elements that it makes; how many follow one another.

    `name` is that of its result, `operands` are the names of what it reads.
    """

    name: str
    operands: tuple[str, ...]
    forward: Sequence[Kernel]
    backward: Sequence[Kernel]
    made: float
    depth: float


#: Scalar functions in units of an addition, where they are not 1.
WEIGHT: Mapping[str, float] = {
    "div": 2, "pow": 15, "where": 2, "exp": 2, "log": 4, "log1p": 8, "expm1": 8, "sqrt": 2, "rsqrt": 3,
    "sigmoid": 4, "log_sigmoid": 10, "softplus": 10, "tanh": 4, "sin": 4, "cos": 4, "erf": 4, "logaddexp": 24,
}  # fmt: skip
#: Functions that are several kernels, and those that are none.
_SEVERAL = {"logaddexp": 9, "pow": 3, "surrogate": 3, "softplus": 1}
_NONE = frozenset({"stop"})
#: Kernels of a derivative for each argument that has one, where that is not 1.
_BACK = {"add": 0.0, "stop": 0.0, "div": 2.0, "pow": 3.0, "min": 1.5, "max": 1.5, "logaddexp": 6.0, "sqrt": 2.0}

#: What a copy costs more where it changes the order of axes.
_JUMPS = 4.0

#: Launches that the derivative of each step of a scan takes beside twice its own: sums, taking arrays apart.
_SCAN_BACK = 3.0

#: Steps up to which a convolution is a product with a matrix: in any case, and if that is not much the larger.
SHORT, MEDIUM = 8, 256


class Walk:
    """Goes through a Block and finds the work of each operation.

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

    def pieces(self) -> Iterator[Piece]:
        """The work of each operation, in order."""
        for op, operands in _operands(self.block):
            yield self._piece(op, operands)

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

    def seen(self, op: Scan) -> bool:
        """Whether another component of a scan has been met already."""
        if op.group in self._groups:
            return True
        self._groups.add(op.group)
        return False


class Found(NamedTuple):
    """What a rule finds: what stands for the result, kernels of both directions, how many follow one another.

    `extra` are elements made on the way, beside the result.
    """

    held: Held
    forward: Sequence[Kernel] = ()
    back: Sequence[Kernel] = ()
    depth: float = 1.0
    extra: float = 0.0


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


def _pass(read: float, written: float, scalars: float = 0.0) -> Kernel:
    return Kernel(1.0, read, written, scalars)


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
    forward = [_pass(read + count * (several - 1), count * several, WEIGHT.get(op.fn, 1.0) * count).times(1)]
    forward = [k._replace(launches=float(several)) for k in forward]
    back: list[Kernel] = []
    for arg in (a for a in args if a.grad):
        much = _BACK.get(op.fn, 1.0)
        if much:
            back.append(_pass(2 * count * much, count * much, count * much)._replace(launches=ceil(much)))
        if w.count(arg) < count:
            back.append(_pass(count, w.count(arg), count))
    return Found(every, forward, back)


def _contract(w: Walk, op: Contract, every: Held) -> Found:
    factors = [w.get(v) for v in op.args]
    factors = [f for f in factors if f.number is None]
    present = frozenset(a for f in factors for a in f.axes)
    over = frozenset(op.over) & present
    held = every._replace(axes=present - frozenset(op.over))
    if not factors:
        return Found(held._replace(number=1.0, full=False))
    forward: list[Kernel] = []
    back: list[Kernel] = []
    if len(factors) > 1:
        for k, f in enumerate(factors):
            alone = frozenset(a for a in f.axes & over if sum(a in g.axes for g in factors) == 1)
            if alone:
                factors[k] = f._replace(axes=f.axes - alone)
                forward.append(_pass(w.count(f), w.count(factors[k]), w.count(f)))
                over -= alone
    if len(factors) == 1:
        if over:
            forward.append(_pass(w.count(factors[0]), w.count(held), w.count(factors[0])))
        return Found(held, forward, forward)
    for x, y, made in _pairs(w, factors, held):
        kernels = _product(w, x, y, made)
        forward += kernels
        for own in (x, y):
            if own.grad:
                other = y if own is x else x
                back += _product(w, made, other, own)
    return Found(held, forward, back, max(1, len(factors) - 1))


def _pairs(w: Walk, factors: Sequence[Held], held: Held) -> Iterator[tuple[Held, Held, Held]]:
    """Products of two, the cheapest first, until one is left."""
    work = list(factors)
    while len(work) > 1:
        best: tuple[float, int, int, Held] | None = None
        for i in range(len(work)):
            for j in range(i):
                rest = frozenset(a for k, f in enumerate(work) if k not in (i, j) for a in f.axes)
                both = work[i].axes | work[j].axes
                full, grad = work[i].full or work[j].full, work[i].grad or work[j].grad
                made = Held(both & (held.axes | rest), full, None, grad)
                price = w.elements(both, full) + 8 * w.count(made)
                if best is None or price < best[0]:
                    best = (price, i, j, made)
        assert best is not None  # there are two at least
        _, i, j, made = best
        yield work[i], work[j], made
        work = [f for k, f in enumerate(work) if k not in (i, j)] + [made]


def _product(w: Walk, x: Held, y: Held, made: Held) -> list[Kernel]:
    """The sum of a product of two over what the result lacks."""
    both = x.axes | y.axes
    full = x.full or y.full
    total = w.elements(both, full)
    summed = (both - made.axes) or (full and not made.full)
    if not summed:
        return [_pass(w.count(x) + w.count(y), w.count(made), total)]
    if x.axes == y.axes and x.full == y.full:
        return [_pass(2 * total, total, total), _pass(total, w.count(made), total)]
    batch = w.elements(x.axes & y.axes & made.axes, x.full and y.full and made.full)
    columns = [w.elements(a.axes - b.axes, a.full and not b.full) for a, b in ((x, y), (y, x))]
    inner = total / max(1.0, batch * columns[0] * columns[1])
    there = w.count(x) + w.count(y)
    # An axis of the batch that comes after others in memory makes a copy that jumps about.
    copied = there * (1 + _JUMPS * bool(x.axes & y.axes & made.axes))
    thin = total / min(*columns, inner)
    return [Kernel(2.0, there + copied, copied + w.count(made), products=total, matrices=batch, thin=thin)]


def _reduce(w: Walk, op: Reduce, every: Held) -> Found:
    count = w.elements(every.axes | frozenset(op.over), every.full)
    held = every._replace(axes=every.axes - frozenset(op.over))
    rounds = ceil(log2(max(2, w.size[op.over[0]]))) if op.fn == "prod" else 1
    kernel = Kernel(float(rounds), 2 * count, count if rounds > 1 else w.count(held), count)
    return Found(held, [kernel], [kernel.times(2)], rounds)


def _cumulate(w: Walk, op: Cumulate, every: Held) -> Found:
    held = every._replace(axes=every.axes | {op.axis})
    count, size = w.count(held), w.size[op.axis]
    extra = float(op.exclusive) + (2.0 if op.reverse and op.fn == "sum" else 0.0) + 2.0 * bool(op.every)
    if op.fn == "sum":
        kernel = Kernel(1 + extra, count * (1 + extra), count * (1 + extra), 4 * count)
        return Found(held, [kernel], [kernel.times(1.5)], 1)
    rounds = max(1.0, log2(max(2, op.every or size)) / 3)
    kernel = Kernel(extra + 12 * rounds, count * (5 + extra), count * (3 + extra), 2 * count)
    return Found(held, [kernel], [kernel.times(2)], 8 * rounds)


def _scan(w: Walk, op: Scan, every: Held) -> Found:
    held = every._replace(axes=(every.axes | {op.axis}) - frozenset(op.cols))
    if w.seen(op):
        return Found(held)
    outer = held.axes - {op.axis}
    width = w.elements(outer, every.full)
    a = [w.get(v) for v in op.a]
    each = max((w.elements((h.axes | {*op.rows, *op.cols}) - {op.axis}, h.full) for h in a), default=1.0)
    varies = any(op.axis in h.axes for h in a)
    rows = prod(w.size[r] for r in op.rows) if op.rows else 0
    if not (varies or rows) and op.algebra == "ring" and all(w.get(v).number == 0.0 for v in op.b):
        # Powers: from n of them the next n are that of order n times these.
        rounds, every_step = ceil(log2(max(2, w.size[op.axis]))), w.count(held) * len(op.b)
        doubling = Kernel((2.0 * len(op.entries) + 4) * rounds, 4 * every_step, 3 * every_step, 2 * every_step)
        return Found(held, [doubling], [doubling.times(2)], 2 * rounds, every_step)
    kernels, depth = scan_work(w.size[op.axis], op.entries, len(op.b), width, each, rows, varies, op.algebra, w.wide)
    forward = [Kernel(*k) for k in kernels]
    more = 2.0 + _SCAN_BACK / launches_of(op.algebra, rows)
    return Found(held, forward, [k.times(more, 2.0) for k in forward], depth, w.count(held) * len(op.b))


def _convolve(w: Walk, op: Convolve, every: Held) -> Found:
    kernel, arg = (w.get(v)._replace(axes=w.get(v).axes | {op.axis}) for v in (op.kernel, op.arg))
    held = every._replace(axes=every.axes - frozenset(op.over))
    size = w.size[op.axis]
    windows = w.count(kernel) * size
    if size <= SHORT or (size <= MEDIUM and windows <= 2 * w.count(arg)):
        total = w.elements(kernel.axes | arg.axes, every.full) * size
        rows = size * w.elements(kernel.axes - arg.axes, kernel.full and not arg.full)
        columns = w.elements(arg.axes - kernel.axes, arg.full and not kernel.full)
        work = {"products": total, "thin": total / min(rows, columns, size)} if columns > 1 else {"scalars": total}
        forward = [_pass(windows, windows), Kernel(2.0, windows + w.count(arg), windows + w.count(held), **work)]
        return Found(held, forward, [k.times(2) for k in forward], 2)
    doublings = log2(4 * size)
    there = w.count(kernel) + w.count(arg)
    forward = [Kernel(2.0, there, 4 * there, transformed=2 * there * doublings)]
    forward += [k._replace(scalars=4 * k.scalars, products=4 * k.products) for k in _product(w, kernel, arg, held)]
    back = Kernel(1.0, 4 * w.count(held), 2 * w.count(held), transformed=2 * w.count(held) * doublings)
    forward.append(back)
    # Padded to twice the length, then complex, then both of the result.
    return Found(held, forward, [k.times(2) for k in forward], 3, 4 * there + 4 * w.count(held))


def _segment(w: Walk, op: Segment, every: Held) -> Found:
    held = every._replace(axes=(every.axes | {op.row, op.col}))
    rounds = ceil(log2(max(2, w.size[op.row])))
    count = w.count(held)
    kernel = Kernel(8.0 * rounds, 3 * count, 3 * count, count)
    return Found(held, [kernel], [kernel.times(2)], rounds)


def _mask(w: Walk, op: Mask, every: Held) -> Found:
    held = every._replace(axes=every.axes | {op.row, op.col})
    kernel = _pass(w.count(held), w.count(held), w.count(held))
    return Found(held, [kernel], [kernel])


def _matrix(w: Walk, op: Matrix, every: Held) -> Found:
    a = w.get(op.args[0])
    held = every._replace(axes=every.axes | {op.rows, op.cols})
    size = w.size[op.rows]
    matrices = w.elements(a.axes - {op.rows, op.cols}, a.full)
    if op.fn.startswith("solve"):
        held = every._replace(axes=(every.axes | {op.rows}) - {op.cols})
        half = 0.5 if op.fn == "solve_unit_lower" else 1.0
        work = half * w.count(held) * size + (0.0 if half < 1 else matrices * size**3 / 3)
        kernel = Kernel(3.0, 2 * w.count(held) + matrices * size**2, 2 * w.count(held), 0, 0, matrices, work)
        return Found(held, [kernel], [kernel, kernel.times(1)], 1)
    work = matrices * size**3 * (1 if op.fn == "inv" else 20)
    kernel = Kernel(3.0 if op.fn == "inv" else 30.0, w.count(held), w.count(held), 0, 0, matrices, work)
    return Found(held, [kernel], [kernel.times(4)], 1)


def _moved(w: Walk, op: Shift, every: Held) -> Found:
    held = every._replace(axes=every.axes | {op.axis})
    kernel = _pass(w.count(held), w.count(held))
    return Found(held, [kernel], [kernel])


def _gather(w: Walk, op: Gather, every: Held) -> Found:
    arg, index = w.get(op.arg), w.get(op.index)
    held = every._replace(axes=(arg.axes - {op.axis}) | index.axes, full=arg.full or index.full)
    count = w.count(held)
    if index.number is not None:  # a view; its gradient is a tensor of zeros but for one place
        return Found(held, [Kernel(1.0)], [_pass(0, w.count(arg))], 0)
    kernel = Kernel(4.0, 2 * count, count, 4 * count)
    return Found(held, [kernel], [kernel.times(2)])


def _scatter(w: Walk, op: Scatter, every: Held) -> Found:
    held = every._replace(axes=frozenset(op.out.axes))
    count = w.count(w.get(op.arg))
    kernel = Kernel(4.0, 2 * count, count + w.count(held), 8 * count)
    return Found(held, [kernel], [kernel])


_RULES: Mapping[type[Op], Callable[[Walk, Any, Held], Found]] = {
    Constant: _constant,
    Iota: _nothing,
    Rename: _rename,
    Map: _map,
    Contract: _contract,
    Reduce: _reduce,
    Cumulate: _cumulate,
    Scan: _scan,
    Convolve: _convolve,
    Segment: _segment,
    Mask: _mask,
    Matrix: _matrix,
    Shift: _moved,
    Gather: _gather,
    Scatter: _scatter,
}


__all__ = ["WEIGHT", "Held", "Kernel", "Piece", "Walk"]
