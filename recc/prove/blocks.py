"""Blocks in exact arithmetic: what each operation means, on arrays of exact numbers.

The counterpart of `recc.forms.interpret`, with its signature but for the dtype. Integers and truth values are
exact numbers too; an index has to be a known number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from recc.forms.block import (
    Block,
    BlockError,
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
from recc.forms.run import Evaluate
from recc.prove import arrays, functions
from recc.prove.arrays import Array, each
from recc.prove.maxima import maximum, minimum
from recc.prove.ring import Exact, Space, Undecided, total


def evaluator(space: Space) -> Evaluate:
    """What runs Blocks on the numbers of a space."""

    def evaluate(block: Block, inputs: Mapping[str, Array], sizes: Mapping[str, int]) -> dict[str, Array]:
        return interpret_exactly(space, block, inputs, sizes)

    return evaluate


def interpret_exactly(
    space: Space, block: Block, inputs: Mapping[str, Array], sizes: Mapping[str, int]
) -> dict[str, Array]:
    """Runs a Block on arrays of exact numbers (or of numbers that are taken for exact ones).

    Raises:
        BlockError: if an input is missing or has another shape.
        Undecided: if an operation needs to know what the inputs leave open.
        TooLarge: if the space has no work left.
    """
    run = _Run(space, block, sizes)
    for v in block.inputs:
        if v.name not in inputs:
            raise BlockError(f"{block.name}: input {v} is missing")
        array = each(space.number, np.asarray(inputs[v.name]))
        if array.shape != run.shape(v.axes):
            raise BlockError(f"{block.name}: input {v} has shape {run.shape(v.axes)}, not {array.shape}")
        run.env[v.name] = array
    for op in block.ops:
        result = np.asarray(_RULES[type(op)](run, op), object)
        run.env[op.out.name] = np.broadcast_to(result, run.shape(op.out.axes))
    return {name: run.env[v.name] for name, v in block.outputs}


class _Run:
    """The arrays of one run, and views of them laid out along other axes."""

    def __init__(self, space: Space, block: Block, sizes: Mapping[str, int]):
        self.space = space
        self.root = block.root
        self.sizes = sizes
        self.env: dict[str, Array] = {}
        self.groups: dict[tuple[object, ...], list[Array]] = {}

    def size(self, axis: str) -> int:
        return self.sizes[self.root[axis]]

    def shape(self, axes: Sequence[str]) -> tuple[int, ...]:
        return tuple(self.size(a) for a in axes)

    def at(self, v: Value, axes: Sequence[str]) -> Array:
        """A value along `axes`, of size 1 along those that it lacks."""
        return _lay(self.env[v.name], v.axes, axes)

    def wide(self, v: Value, axes: Sequence[str]) -> Array:
        """A value along `axes`, of full size along each."""
        return np.broadcast_to(self.at(v, axes), self.shape(axes))


def _lay(array: Array, have: Sequence[str], want: Sequence[str]) -> Array:
    present = [have.index(a) for a in want if a in have]
    shape = [array.shape[have.index(a)] if a in have else 1 for a in want]
    return array.transpose(present).reshape(shape)


def _whole(number: Exact) -> int:
    """An index as an integer."""
    value = number.constant
    if value is None or value != int(value):
        raise Undecided(f"an index that depends on unknowns: {number}")
    return int(value)


def _truncated(number: Exact) -> Exact:
    value = number.constant
    if value is None:
        raise Undecided(f"the integer part of {number}")
    return number.space.number(int(value))


_BINARY: Mapping[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "pow": functions.power,
    "max": lambda x, y: maximum(x.space, [x, y]),
    "min": lambda x, y: minimum(x.space, [x, y]),
    "lt": functions.less,
    "gt": lambda x, y: functions.less(y, x),
    "le": lambda x, y: functions.where(_comparable(x, y), 1 - functions.less(y, x), x.space.zero),
    "ge": lambda x, y: functions.where(_comparable(x, y), 1 - functions.less(x, y), x.space.zero),
    "eq": functions.equal,
    "ne": lambda x, y: 1 - functions.equal(x, y),
    "and": lambda x, y: x * y,
    "or": lambda x, y: x + y - x * y,
    "logaddexp": lambda x, y: functions.log_sum_exp(x.space, [x, y]),
    "surrogate": lambda x, y: x,
    "where": functions.where,
    "not": lambda x: 1 - x,
    "real": lambda x: x,
    "stop": lambda x: x,
    "int": _truncated,
    **functions.UNARY,
}


def _comparable(x: Exact, y: Exact) -> Exact:
    """Whether neither of two numbers is NaN."""
    return x.space.number(int(all(v.extreme is None or v.extreme == v.extreme for v in (x, y))))


def _map(run: _Run, op: Map) -> Array:
    return each(_BINARY[op.fn], *(run.at(v, op.out.axes) for v in op.args))


def _contract(run: _Run, op: Contract) -> Array:
    axes = (*op.out.axes, *op.over)
    product = reduce(lambda x, y: x * y, (run.at(v, axes) for v in op.args))
    product = np.broadcast_to(product, run.shape(axes))
    return arrays.summed(run.space, product, range(len(op.out.axes), len(axes)))


def _product(space: Space, items: Sequence[Exact]) -> Exact:
    return reduce(lambda x, y: x * y, items, space.one)


def _reduce(run: _Run, op: Reduce) -> Array:
    kinds: Mapping[str, Callable[[list[Exact]], Exact]] = {
        "max": lambda items: maximum(run.space, items),
        "min": lambda items: minimum(run.space, items),
        "prod": lambda items: _product(run.space, items),
    }
    return arrays.fold(kinds[op.fn], run.env[op.arg.name], [op.arg.axes.index(a) for a in op.over])


def _cumulate(run: _Run, op: Cumulate) -> Array:
    array = np.moveaxis(run.env[op.arg.name], op.arg.axes.index(op.axis), 0)
    result = np.empty(array.shape, object)
    places = range(len(array))[::-1] if op.reverse else range(len(array))
    neutral = arrays.full(array.shape[1:], run.space.zero if op.fn == "sum" else run.space.one)
    so_far: Any = neutral
    stretch = -1
    for x in places:
        if op.every and x // op.every != stretch:
            so_far, stretch = neutral, x // op.every
        after = so_far + array[x] if op.fn == "sum" else so_far * array[x]
        result[x, ...] = so_far if op.exclusive else after
        so_far = after
    return np.moveaxis(result, 0, op.arg.axes.index(op.axis))


def _scan(run: _Run, op: Scan) -> Array:
    if op.group not in run.groups:
        run.groups[op.group] = _components(run, op)
    return run.groups[op.group][op.component]


def joiner(space: Space, algebra: str) -> tuple[Callable[[Any, Any], Any], Callable[[list[Exact]], Exact]]:
    """The ⊗ of two arrays and the ⊕ of many numbers of an algebra."""
    if algebra == "ring":
        return lambda x, y: x * y, lambda items: total(space, items)
    many: Mapping[str, Callable[[list[Exact]], Exact]] = {
        "max-plus": lambda items: maximum(space, items),
        "min-plus": lambda items: minimum(space, items),
        "log-sum-exp": lambda items: functions.log_sum_exp(space, items),
    }
    return lambda x, y: x + y, many[algebra]


def _components(run: _Run, op: Scan) -> list[Array]:
    """All components of a recurrence, one step after the other."""
    times, plus = joiner(run.space, op.algebra)
    rest = tuple(a for a in op.out.axes if a != op.axis)
    cols = dict(zip(op.rows, op.cols, strict=True))
    wide, size = (*rest, *op.cols), run.size(op.axis)
    over = range(len(rest), len(wide))
    a = [run.wide(v, (op.axis, *wide)) for v in op.a]
    b = [run.wide(v, (op.axis, *rest)) for v in op.b]
    state = [run.wide(v, rest) for v in op.first]
    found = [np.empty((size, *run.shape(rest)), object) for _ in b]
    for x in range(size)[::-1] if op.reverse else range(size):
        terms = [[v[x]] for v in b]
        for (k, i), transition in zip(op.entries, a, strict=True):
            before = _lay(state[i], tuple(cols.get(r, r) for r in rest), wide)
            terms[k].append(arrays.fold(plus, np.broadcast_to(times(transition[x], before), run.shape(wide)), over))
        for k, parts in enumerate(terms):
            stacked = np.stack([np.broadcast_to(p, run.shape(rest)) for p in parts])
            found[k][x, ...] = arrays.fold(plus, stacked, [0]) if len(parts) > 1 else parts[0]
        state = [v[x] if isinstance(v[x], np.ndarray) else arrays.full((), v[x]) for v in found]
    return [_lay(v, (op.axis, *rest), op.out.axes) for v in found]


def _convolve(run: _Run, op: Convolve) -> Array:
    rest = tuple(a for a in op.out.axes if a != op.axis)
    wide = (op.axis, *rest, *op.over)
    kernel, arg, size = run.wide(op.kernel, wide), run.wide(op.arg, wide), run.size(op.axis)
    result = np.empty((size, *run.shape(rest)), object)
    over = [1 + k for k in range(len(rest), len(rest) + len(op.over))]
    for x in range(size):
        places = range(x, size) if op.reverse else range(x + 1)
        terms = np.stack([np.asarray(kernel[abs(x - y)] * arg[y], object) for y in places])
        result[x, ...] = arrays.summed(run.space, terms, [0, *over])
    return _lay(result, (op.axis, *rest), op.out.axes)


def _segment(run: _Run, op: Segment) -> Array:
    rest = tuple(a for a in op.out.axes if a not in (op.row, op.col))
    arg, size = run.wide(op.arg, (*rest, op.row)), run.size(op.row)
    result = arrays.full((*run.shape(rest), size, size), run.space.zero)
    for t in range(size):
        for s in range(t):
            result[..., t, s] = result[..., t - 1, s] * arg[..., t]
        result[..., t, t] = run.space.one
    return _lay(result, (*rest, op.row, op.col), op.out.axes)


def _mask(run: _Run, op: Mask) -> Array:
    array = run.env[op.arg.name].copy()
    row, col = op.out.axes.index(op.row), op.out.axes.index(op.col)
    for at in np.ndindex(*array.shape):
        if at[row] < at[col] or (op.strict and at[row] == at[col]):
            array[at] = run.space.zero
    return array


def _matrix(run: _Run, op: Matrix) -> Array:
    if op.fn == "expm_vjp":
        raise Undecided("the derivative of a matrix exponential")
    space = run.space
    batch = tuple(a for a in op.out.axes if a not in (op.rows, op.cols))
    matrices = run.wide(op.args[0], (*batch, op.rows, op.cols))
    solves = op.fn.startswith("solve")
    right = run.wide(op.args[1], (*batch, op.rows)) if solves else None
    result = np.empty(run.shape((*batch, op.rows) if solves else (*batch, op.rows, op.cols)), object)
    for at in np.ndindex(*run.shape(batch)):
        matrix = matrices[at]
        if op.fn == "solve_unit_lower":
            assert right is not None
            result[at] = _substitute(space, matrix, right[at], op.transposed)
        elif right is not None:
            result[at] = arrays.solve(space, matrix.T if op.transposed else matrix, right[at])
        else:
            result[at] = arrays.inverse(space, matrix) if op.fn == "inv" else arrays.exponential(space, matrix)
    return _lay(result, (*batch, op.rows) if solves else (*batch, op.rows, op.cols), op.out.axes)


def _substitute(space: Space, matrix: Array, right: Array, transposed: bool) -> Array:
    """Solves a unit triangular system row by row."""
    x = right.copy()
    size = len(x)
    for i in range(size - 1, -1, -1) if transposed else range(size):
        done = range(i + 1, size) if transposed else range(i)
        x[i] = x[i] - total(space, [(matrix[j, i] if transposed else matrix[i, j]) * x[j] for j in done])
    return x


def _place(index: int, size: int, edge: str) -> int | None:
    """An index moved into the axis by its edge rule; `None` where it points at nothing."""
    if edge == "wrap":
        return index % size
    if edge == "clamp":
        return min(max(index, 0), size - 1)
    return index if 0 <= index < size else None


def _shift(run: _Run, op: Shift) -> Array:
    array, axis = run.env[op.arg.name], op.out.axes.index(op.axis)
    result = arrays.full(array.shape, run.space.zero)
    size = array.shape[axis]
    for x in range(size):
        place = _place(x + op.offset, size, op.edge)
        if place is not None:
            before: tuple[Any, ...] = (slice(None),) * axis
            result[(*before, x)] = array[(*before, place)]
    return result


def _gather(run: _Run, op: Gather) -> Array:
    array, size = run.env[op.arg.name], run.size(op.axis)
    result = arrays.full(run.shape(op.out.axes), run.space.zero)
    index = run.wide(op.index, op.out.axes)
    for at, where in arrays.places(index):
        place = _place(_whole(where), size, op.edge) if size else None
        if place is not None:
            here = dict(zip(op.out.axes, at, strict=True)) | {op.axis: place}
            result[at] = array[tuple(here[a] for a in op.arg.axes)]
    return result


def _scatter(run: _Run, op: Scatter) -> Array:
    array, size = run.env[op.arg.name], run.size(op.axis)
    result = arrays.full(run.shape(op.out.axes), run.space.zero)
    index = run.wide(op.index, op.arg.axes)
    for at, where in arrays.places(index):
        place = _place(_whole(where), size, op.edge) if size else None
        if place is not None:
            here = dict(zip(op.arg.axes, at, strict=True)) | {op.axis: place}
            to = tuple(here[a] for a in op.out.axes)
            result[to] = result[to] + array[at]
    return result


def _rename(run: _Run, op: Rename) -> Array:
    names = dict(op.names)
    return _lay(run.env[op.arg.name], tuple(names.get(a, a) for a in op.arg.axes), op.out.axes)


def _iota(run: _Run, op: Iota) -> Array:
    return each(run.space.number, np.arange(run.size(op.axis)).astype(object))


_RULES: Mapping[type[Op], Callable[[_Run, Any], Any]] = {
    Constant: lambda run, op: arrays.full((), run.space.number(op.value)),
    Iota: _iota,
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
    Shift: _shift,
    Gather: _gather,
    Scatter: _scatter,
}

__all__ = ["evaluator", "interpret_exactly", "joiner"]
