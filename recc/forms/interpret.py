"""The interpreter of Blocks: what each operation means, in NumPy.

It defines the operations for tests and for every backend: about as long as the laws themselves, with no
care for speed. Every array has exactly the axes of its value, in order.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

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
from recc.forms.small_matrices import expm, expm_vjp, inverse, solved, substitute

Array = NDArray[Any]

#: What is done to a real operand or to the result (`op.out`) of an operation.
Rounding = Callable[[Op, Value, Array], Array]


def interpret(
    block: Block,
    inputs: Mapping[str, Array],
    sizes: Mapping[str, int],
    dtype: DTypeLike = np.float64,
    rounding: Rounding | None = None,
) -> dict[str, Array]:
    """Runs a Block on arrays and gives its outputs by name.

    Args:
        block: any Block that `verify` accepts.
        inputs: for each input an array with exactly the axes of its value, in order.
        sizes: the size of each axis, by the axis that gives it (see `Block.root`).
        dtype: of real values: a NumPy real dtype, `np.longdouble` included (matrix functions and
            `erf` work in float64 whatever it is).
        rounding: stands for rounding that is coarser than that of `dtype`: it is given every real operand and
            every real result of each operation, and what it gives is taken instead.

    Raises:
        BlockError: if an input is missing or has another shape.
    """
    run = _Run(block, sizes, np.dtype(dtype))
    for v in block.inputs:
        if v.name not in inputs:
            raise BlockError(f"{block.name}: input {v} is missing")
        array = np.asarray(inputs[v.name], run.dtype(v))
        if array.shape != run.shape(v.axes):
            raise BlockError(f"{block.name}: input {v} has shape {run.shape(v.axes)}, not {array.shape}")
        run.env[v.name] = array
    with np.errstate(all="ignore"):
        for op in block.ops:
            result = np.asarray(_RULES[type(op)](run if rounding is None else run.seen_by(op, rounding), op))
            shape, kind = run.shape(op.out.axes), run.dtype(op.out)
            result = np.array(result if result.shape == shape else np.broadcast_to(result, shape), kind)
            if rounding is not None and op.out.dtype == "real":
                result = rounding(op, op.out, result)
            run.env[op.out.name] = result
    return {name: run.env[v.name] for name, v in block.outputs}


_DTYPES = {"int": np.dtype(np.int64), "bool": np.dtype(np.bool_)}


class _Run:
    """The arrays of one run, and views of them laid out along other axes."""

    def __init__(self, block: Block, sizes: Mapping[str, int], real: np.dtype[Any]):
        self.root = block.root
        self.sizes = sizes
        self.real = real
        self.env: dict[str, Array] = {}
        self.shapes: dict[tuple[str, ...], tuple[int, ...]] = {}
        self.groups: dict[tuple[object, ...], list[Array]] = {}
        self.rounding: Rounding | None = None

    def seen_by(self, op: Op, rounding: Rounding) -> _Run:
        """The run as an operation sees it, its real operands rounded."""
        seen = copy.copy(self)
        rounded = {v.name: rounding(op, v, self.env[v.name]) for v in op.operands if v.dtype == "real"}
        seen.env, seen.rounding = {**self.env, **rounded}, rounding
        return seen

    def inside(self, op: Matrix, batch: tuple[str, ...]) -> Callable[[Array], Array]:
        """What stands for rounding on the way through a matrix function, of `[*batch, n, n]`."""
        rounding, inner = self.rounding, Value(op.out.name, (*batch, op.rows, op.cols))
        if rounding is None:
            return lambda x: x
        return lambda x: rounding(op, inner, np.broadcast_to(x, (*self.shape(batch), *x.shape[-2:])))

    def dtype(self, v: Value) -> np.dtype[Any]:
        return self.real if v.dtype == "real" else _DTYPES[v.dtype]

    def size(self, axis: str) -> int:
        return self.sizes[self.root[axis]]

    def shape(self, axes: Sequence[str]) -> tuple[int, ...]:
        key = tuple(axes)
        if key not in self.shapes:
            self.shapes[key] = tuple(self.size(a) for a in key)
        return self.shapes[key]

    def at(self, v: Value, axes: Sequence[str]) -> Array:
        """The array of a value along `axes`, in that order, of size 1 along those it lacks."""
        return lay(self.env[v.name], v.axes, axes)

    def along(self, axis: str, axes: Sequence[str]) -> Array:
        """The positions along an axis."""
        return lay(np.arange(self.size(axis)), (axis,), axes)


def lay(array: Array, have: Sequence[str], want: Sequence[str]) -> Array:
    """A view of an array with axes `have` along the axes `want`, of size 1 along those it lacks."""
    if tuple(have) == tuple(want):
        return array
    present = [have.index(a) for a in want if a in have]
    shape = [array.shape[have.index(a)] if a in have else 1 for a in want]
    view: Array = array.transpose(present).reshape(shape)
    return view


def _sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    result: Array = np.where(x >= 0, 1, small) / (1 + small)
    return result


_erf = np.vectorize(math.erf, otypes=[np.float64])

#: What each scalar function of `Map` computes, stable for arguments of any size.
SCALAR: Mapping[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.true_divide, "pow": np.power,
    "neg": np.negative, "min": np.minimum, "max": np.maximum,
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "eq": np.equal, "ne": np.not_equal, "and": np.logical_and, "or": np.logical_or, "not": np.logical_not,
    "where": np.where, "exp": np.exp, "log": np.log, "log1p": np.log1p, "expm1": np.expm1, "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sigmoid": _sigmoid,
    "log_sigmoid": lambda x: np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "tanh": np.tanh, "sin": np.sin, "cos": np.cos, "abs": np.abs, "sign": np.sign, "floor": np.floor,
    "erf": _erf, "logaddexp": np.logaddexp,
    "real": lambda x: x, "int": lambda x: x, "stop": lambda x: x, "surrogate": lambda x, backward: x,
}  # fmt: skip


def _map(run: _Run, op: Map) -> Array:
    args = [run.at(v, op.out.axes) for v in op.args]
    if op.out.dtype == "real":
        args = [a if v.dtype == "bool" else a.astype(run.real, copy=False) for a, v in zip(args, op.args, strict=True)]
    elif op.out.dtype == "int":  # NumPy does not count with truth values
        condition = 1 if op.fn == "where" else 0
        args = [a.astype(np.int64) if k >= condition else a for k, a in enumerate(args)]
    return np.asarray(SCALAR[op.fn](*args))


def _contract(run: _Run, op: Contract) -> Array:
    labels = {a: i for i, a in enumerate((*op.out.axes, *op.over))}
    operands: list[Any] = []
    for v in op.args:
        operands += [run.env[v.name], [labels[a] for a in v.axes]]
    return np.asarray(np.einsum(*operands, [labels[a] for a in op.out.axes]))


def _reduce(run: _Run, op: Reduce) -> Array:
    array = run.env[op.arg.name]
    axes = tuple(op.arg.axes.index(a) for a in op.over)
    if op.fn == "prod":
        return np.asarray(np.prod(array, axis=axes))
    if op.fn == "max":
        return np.asarray(np.max(array, axis=axes, initial=-np.inf))
    return np.asarray(np.min(array, axis=axes, initial=np.inf))


def _cumulate(run: _Run, op: Cumulate) -> Array:
    array = np.moveaxis(run.env[op.arg.name], op.arg.axes.index(op.axis), -1)
    size = array.shape[-1]
    result = np.empty_like(array)
    for begin in range(0, size, op.every or max(1, size)):
        stretch = slice(begin, begin + op.every) if op.every else slice(None)
        part = array[..., stretch][..., ::-1] if op.reverse else array[..., stretch]
        if op.exclusive:
            first = np.full((*part.shape[:-1], 1), 0 if op.fn == "sum" else 1)
            part = np.concatenate([first, part], axis=-1)[..., : part.shape[-1]]
        part = np.cumsum(part, axis=-1) if op.fn == "sum" else np.cumprod(part, axis=-1)
        result[..., stretch] = part[..., ::-1] if op.reverse else part
    return np.moveaxis(result, -1, op.arg.axes.index(op.axis))


#: For each algebra ⊗, ⊕ and the ⊕ of many along trailing dimensions.
ALGEBRA: Mapping[str, tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]] = {
    "ring": (np.multiply, np.add, np.sum),
    "max-plus": (np.add, np.maximum, functools.partial(np.max, initial=-np.inf)),
    "min-plus": (np.add, np.minimum, functools.partial(np.min, initial=np.inf)),
    "log-sum-exp": (np.add, np.logaddexp, lambda x, axis: functools.reduce(_logaddexp_along, sorted(axis)[::-1], x)),
}


def _logaddexp_along(x: Array, axis: int) -> Array:
    return np.asarray(np.logaddexp.reduce(x, axis=axis))


def _scan(run: _Run, op: Scan) -> Array:
    if op.group not in run.groups:
        run.groups[op.group] = _components(run, op)
    return run.groups[op.group][op.component]


def _components(run: _Run, op: Scan) -> list[Array]:
    """All components of a recurrence, one step after the other."""
    times, plus, total = ALGEBRA[op.algebra]
    rest = tuple(a for a in op.out.axes if a != op.axis)
    cols, wide, size = dict(zip(op.rows, op.cols, strict=True)), (*rest, *op.cols), run.size(op.axis)
    over = tuple(range(len(rest), len(wide)))
    a = [np.broadcast_to(x, (size, *x.shape[1:])) for x in (run.at(v, (op.axis, *wide)) for v in op.a)]
    b = [np.broadcast_to(run.at(v, (op.axis, *rest)), (size, *run.shape(rest))) for v in op.b]
    state = [run.at(v, rest) for v in op.first]
    found = [np.empty((size, *run.shape(rest)), run.real) for _ in b]
    for x in range(size)[::-1] if op.reverse else range(size):
        after = [v[x] for v in b]
        for (k, i), transition in zip(op.entries, a, strict=True):
            before = lay(state[i], tuple(cols.get(r, r) for r in rest), wide)
            term = times(transition[x], before)
            after[k] = plus(total(term, axis=over) if over else term, after[k])
        for k, v in enumerate(after):
            found[k][x] = v
        state = [v[x] for v in found]
    return [lay(v, (op.axis, *rest), op.out.axes) for v in found]


def _convolve(run: _Run, op: Convolve) -> Array:
    rest = tuple(a for a in op.out.axes if a != op.axis)
    kernel = run.at(op.kernel, (op.axis, *rest, *op.over))
    arg = run.at(op.arg, (op.axis, *rest, *op.over))
    size = run.size(op.axis)
    result = np.zeros((size, *run.shape(rest)), run.real)
    over = tuple(range(len(rest), len(rest) + len(op.over)))
    for x in range(size):
        for y in range(x, size) if op.reverse else range(x + 1):
            result[x] += np.sum(kernel[abs(x - y)] * arg[y], axis=over)
    return lay(result, (op.axis, *rest), op.out.axes)


def _segment(run: _Run, op: Segment) -> Array:
    rest = tuple(a for a in op.out.axes if a not in (op.row, op.col))
    arg = run.at(op.arg, (*rest, op.row))
    size = run.size(op.row)
    result = np.zeros((*run.shape(rest), size, size), run.real)
    for t in range(size):
        if t:
            result[..., t, :t] = result[..., t - 1, :t] * arg[..., t, None]
        result[..., t, t] = 1
    return lay(result, (*rest, op.row, op.col), op.out.axes)


def _mask(run: _Run, op: Mask) -> Array:
    row, col = run.along(op.row, op.out.axes), run.along(op.col, op.out.axes)
    return np.where(row > col if op.strict else row >= col, run.env[op.arg.name], 0)


def _matrix(run: _Run, op: Matrix) -> Array:
    batch = tuple(a for a in op.out.axes if a not in (op.rows, op.cols))
    a = run.at(op.args[0], (*batch, op.rows, op.cols)).astype(np.float64)
    if op.fn.startswith("solve"):
        rhs = run.at(op.args[1], (*batch, op.rows)).astype(np.float64)
        shape = run.shape((*batch, op.rows))
        a = np.swapaxes(a, -1, -2) if op.transposed else a
        function = substitute if op.fn == "solve_unit_lower" else solved
        x = function(np.broadcast_to(a, (*shape, shape[-1])), np.broadcast_to(rhs, shape), op.transposed)
        return lay(x, (*batch, op.rows), op.out.axes)
    if op.fn == "inv":
        result = inverse(a)
    elif op.fn == "expm":
        result = expm(a, run.inside(op, batch))
    else:
        g = run.at(op.args[1], (*batch, op.rows, op.cols)).astype(np.float64)
        result = expm_vjp(a, g, run.inside(op, batch))
    result = np.broadcast_to(result, run.shape((*batch, op.rows, op.cols)))
    return lay(result, (*batch, op.rows, op.cols), op.out.axes)


def _inside(index: Array, size: int, edge: str) -> tuple[Array, Array]:
    """An index moved into the axis by its edge rule, and where it points at something."""
    if edge == "wrap":
        return index % size, np.ones(index.shape, bool)
    near = np.clip(index, 0, size - 1)
    return near, (near == index) | (edge == "clamp")


def _shift(run: _Run, op: Shift) -> Array:
    array, size = run.env[op.arg.name], run.size(op.axis)
    if size == 0:
        return array
    near, hit = _inside(np.arange(size) + op.offset, size, op.edge)
    moved = np.take(array, near, axis=op.out.axes.index(op.axis))
    return np.where(lay(hit, (op.axis,), op.out.axes), moved, np.zeros((), array.dtype))


def _gather(run: _Run, op: Gather) -> Array:
    array, size, shape = run.env[op.arg.name], run.size(op.axis), run.shape(op.out.axes)
    if size == 0:
        return np.zeros(shape, array.dtype)
    near, hit = _inside(run.at(op.index, op.out.axes), size, op.edge)
    # The axis gathered from goes last, under a name of its own: the index may run along it as well.
    have = tuple("" if a == op.axis else a for a in op.arg.axes)
    wide = np.broadcast_to(lay(array, have, (*op.out.axes, "")), (*shape, size))
    found = np.take_along_axis(wide, np.broadcast_to(near, shape)[..., None], -1)[..., 0]
    return np.where(hit, found, np.zeros((), array.dtype))


def _scatter(run: _Run, op: Scatter) -> Array:
    array, size = run.env[op.arg.name], run.size(op.axis)
    result = np.zeros(run.shape(op.out.axes), run.real)
    if size:
        near, hit = _inside(run.at(op.index, op.arg.axes), size, op.edge)
        places = tuple(near if a == op.axis else run.along(a, op.arg.axes) for a in op.out.axes)
        np.add.at(result, tuple(np.broadcast_to(p, array.shape) for p in places), np.where(hit, array, 0))
    return result


def _rename(run: _Run, op: Rename) -> Array:
    names = dict(op.names)
    return lay(run.env[op.arg.name], tuple(names.get(a, a) for a in op.arg.axes), op.out.axes)


_RULES: Mapping[type[Op], Callable[[_Run, Any], Any]] = {
    Constant: lambda run, op: op.value,
    Iota: lambda run, op: run.along(op.axis, op.out.axes),
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
