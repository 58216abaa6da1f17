"""The laws that every Block obeys, checked one operation at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

from recc.forms.block import (
    MAP_ARITY,
    Algebra,
    Block,
    BlockDtype,
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
    map_dtype,
    show_op,
)
from recc.recurrence import Edge


def verify(block: Block) -> None:
    """Checks every law of a Block and of its operations.

    The laws: names are unique and defined before use; axes are known, in canonical order, each once;
    each result has exactly the axes and the dtype that its operation gives; reduced axes are there;
    indices are integers; renaming joins no two axes and keeps sizes; matrices are square; every output
    is defined.

    Raises:
        BlockError: names the Block, the operation as it prints, and the law it breaks.
    """
    _Verifier(block).run()


class _Verifier:
    """One verification: the values defined so far, and the operation at hand for messages."""

    def __init__(self, block: Block):
        self.block = block
        self.defined: dict[str, Value] = {}
        self.where = "the axes"

    def run(self) -> None:
        """Checks the Block from its axes to its outputs."""
        block = self.block
        self.law(len(set(block.order)) == len(block.order), "each axis is listed once")
        self.law(set(block.root) == set(block.order), "every axis has a size, and nothing else has one")
        for axis, root in block.size_of:
            self.law(block.root.get(root) == root, f"the size of {axis} is that of an axis with its own size")
        for v in block.inputs:
            self.where = f"input {v}"
            self.define(v)
        for op in block.ops:
            self.where = f"{op.out} = {show_op(op)}"
            for v in op.operands:
                known = self.defined.get(v.name)
                self.law(known is not None, f"{v.name} is defined before it is used")
                self.law(known == v, f"{v.name} is read as it is defined, as {known}")
            self.law(type(op) in _LAWS, f"{type(op).__name__} is an operation of Blocks")
            _LAWS[type(op)](self, op)
            self.define(op.out)
        for name, v in block.outputs:
            self.where = f"output {name} = {v}"
            self.law(self.defined.get(v.name) == v, f"{v.name} is defined")
        self.where = "the outputs"
        self.law(len(block.output) == len(block.outputs), "each output has a name of its own")

    def law(self, holds: bool, text: str) -> None:
        """Raises if a law does not hold."""
        if not holds:
            raise BlockError(f"block {self.block.name}: {self.where}: broken law: {text}")

    def define(self, v: Value) -> None:
        """Checks a new value by itself, and adds it."""
        self.law(v.name not in self.defined, f"{v.name} is defined once")
        for a in v.axes:
            self.law(a in self.block.root, f"{a} is an axis of the Block")
        self.law(v.axes == self.sort(v.axes), "axes are in canonical order, each once")
        self.law(v.dtype in get_args(BlockDtype), f"{v.dtype} is a dtype of Blocks")
        self.defined[v.name] = v

    def sort(self, axes: Iterable[str]) -> tuple[str, ...]:
        """Axes in canonical order, each once."""
        wanted = set(axes)
        return tuple(a for a in self.block.order if a in wanted)

    def result(self, op: Op, axes: Iterable[str], dtype: BlockDtype) -> None:
        """The result has these axes and this dtype."""
        expected = self.sort(axes)
        self.law(op.out.axes == expected, f"the result has axes [{', '.join(expected)}]")
        self.law(op.out.dtype == dtype, f"the result is {dtype}")

    def real(self, values: Iterable[Value]) -> None:
        """The operation takes real values."""
        for v in values:
            self.law(v.dtype == "real", f"{v.name} is real")

    def has(self, v: Value, axes: Iterable[str]) -> None:
        """A value has certain axes."""
        for a in axes:
            self.law(a in v.axes, f"{v.name} has axis {a}")

    def lacks(self, v: Value, axis: str) -> None:
        """A value does not have an axis."""
        self.law(axis not in v.axes, f"{v.name} has no axis {axis}")

    def same_size(self, one: str, other: str) -> None:
        """Two different axes of equal size."""
        root = self.block.root
        self.law(one != other, f"{one} is used for one thing only")
        self.law(one in root and root.get(one) == root.get(other), f"{one} and {other} have one size")


def _constant(v: _Verifier, op: Constant) -> None:
    if op.out.dtype != "real":
        allowed = op.value in (0.0, 1.0) if op.out.dtype == "bool" else float(op.value).is_integer()
        v.law(allowed, f"{op.value:g} is a value of dtype {op.out.dtype}")


def _iota(v: _Verifier, op: Iota) -> None:
    v.result(op, (op.axis,), "int")
    v.law(op.out.axes == (op.axis,), f"{op.axis} is an axis of the Block")


def _rename(v: _Verifier, op: Rename) -> None:
    table = dict(op.names)
    v.law(len(table) == len(op.names), "each axis is renamed once")
    v.has(op.arg, table)
    for old, new in op.names:
        v.same_size(old, new)
    renamed = [table.get(a, a) for a in op.arg.axes]
    v.law(len(set(renamed)) == len(renamed), "no two axes get one name")
    v.result(op, renamed, op.arg.dtype)


def _map(v: _Verifier, op: Map) -> None:
    v.law(op.fn in MAP_ARITY, f"{op.fn} is a scalar function")
    v.law(len(op.args) == MAP_ARITY[op.fn], f"{op.fn} takes {MAP_ARITY[op.fn]} arguments")
    conditions = {"and": op.args, "or": op.args, "not": op.args, "where": op.args[:1]}.get(op.fn, ())
    for a in conditions:
        v.law(a.dtype == "bool", f"{a.name} is bool")
    v.result(op, (a for arg in op.args for a in arg.axes), map_dtype(op.fn, op.args))


def _contract(v: _Verifier, op: Contract) -> None:
    v.law(bool(op.args), "there is a factor")
    v.real(op.args)
    axes = {a for arg in op.args for a in arg.axes}
    for a in op.over:
        v.law(a in axes, f"a factor has axis {a}")
    v.law(len(set(op.over)) == len(op.over), "each axis is summed once")
    v.result(op, axes - set(op.over), "real")


def _reduce(v: _Verifier, op: Reduce) -> None:
    v.law(op.fn in ("max", "min", "prod"), f"{op.fn} is a reduction")
    v.law(op.fn != "prod" or len(op.over) == 1, "prod takes one axis")
    v.law(len(op.over) > 0 and len(set(op.over)) == len(op.over), "there are axes to reduce, each once")
    v.real((op.arg,))
    v.has(op.arg, op.over)
    v.result(op, set(op.arg.axes) - set(op.over), "real")


def _cumulate(v: _Verifier, op: Cumulate) -> None:
    v.law(op.fn in ("sum", "prod"), f"{op.fn} runs along an axis")
    v.law(type(op.every) is int and op.every >= 0, "a stretch is a number of elements")
    v.real((op.arg,))
    v.has(op.arg, (op.axis,))
    v.result(op, op.arg.axes, "real")


def _scan(v: _Verifier, op: Scan) -> None:
    number = len(op.b)
    v.law(op.algebra in get_args(Algebra), f"{op.algebra} is an algebra")
    v.law(len(op.first) == number, "each component has a drive and a first state")
    v.law(op.component in range(number), f"{op.component} is a component")
    v.law(len(op.a) == len(op.entries), "each entry has a transition")
    v.law(len(op.entries) > 0, "there is an entry")
    v.law(list(op.entries) == sorted(set(op.entries)), "entries are in order, each once")
    v.law(all(k in range(number) and i in range(number) for k, i in op.entries), "entries are pairs of components")
    v.law(len(op.rows) == len(op.cols), "there are as many rows as columns")
    used = (op.axis, *op.rows, *op.cols)
    v.law(len(set(used)) == len(used), "axis, rows and columns are different")
    for row, col in zip(op.rows, op.cols, strict=True):
        v.same_size(row, col)
    v.real(op.operands)
    for value in op.a:
        v.has(value, (*op.rows, *op.cols))
    for value in (*op.b, *op.first):
        v.has(value, op.rows)
        for col in op.cols:
            v.lacks(value, col)
    for value in op.first:
        v.lacks(value, op.axis)
    v.result(op, {op.axis, *(a for value in op.operands for a in value.axes)} - {*op.cols}, "real")
    v.law(op.axis in op.out.axes, f"{op.axis} is an axis of the Block")


def _convolve(v: _Verifier, op: Convolve) -> None:
    v.real((op.kernel, op.arg))
    v.has(op.kernel, (op.axis,))
    v.has(op.arg, (op.axis,))
    v.law(op.axis not in op.over, f"{op.axis} is not summed over")
    for a in op.over:
        v.law(a in op.kernel.axes or a in op.arg.axes, f"a factor has axis {a}")
    v.law(len(set(op.over)) == len(op.over), "each axis is summed once")
    v.result(op, {*op.kernel.axes, *op.arg.axes} - {*op.over}, "real")


def _segment(v: _Verifier, op: Segment) -> None:
    v.same_size(op.row, op.col)
    v.real((op.arg,))
    v.has(op.arg, (op.row,))
    v.lacks(op.arg, op.col)
    v.result(op, (*op.arg.axes, op.col), "real")


def _mask(v: _Verifier, op: Mask) -> None:
    v.same_size(op.row, op.col)
    v.real((op.arg,))
    v.has(op.arg, (op.row, op.col))
    v.result(op, op.arg.axes, "real")


_MATRIX_ARITY: Mapping[str, int] = {"solve": 2, "solve_unit_lower": 2, "inv": 1, "expm": 1, "expm_vjp": 2}


def _matrix(v: _Verifier, op: Matrix) -> None:
    v.law(op.fn in _MATRIX_ARITY, f"{op.fn} is a function of matrices")
    v.law(len(op.args) == _MATRIX_ARITY[op.fn], f"{op.fn} takes {_MATRIX_ARITY[op.fn]} arguments")
    v.same_size(op.rows, op.cols)
    v.real(op.args)
    v.has(op.args[0], (op.rows, op.cols))
    axes = {a for arg in op.args for a in arg.axes}
    if op.fn in ("solve", "solve_unit_lower"):
        v.has(op.args[1], (op.rows,))
        v.lacks(op.args[1], op.cols)
        axes.discard(op.cols)
    else:
        v.law(not op.transposed, "only the solves are transposed")
        for arg in op.args[1:]:
            v.has(arg, (op.rows, op.cols))
    v.result(op, axes, "real")


def _edge(v: _Verifier, edge: Edge) -> None:
    v.law(edge in get_args(Edge), f"{edge} is an edge rule")


def _shift(v: _Verifier, op: Shift) -> None:
    v.law(type(op.offset) is int, "the offset is an integer")
    _edge(v, op.edge)
    v.has(op.arg, (op.axis,))
    v.result(op, op.arg.axes, op.arg.dtype)


def _gather(v: _Verifier, op: Gather) -> None:
    _edge(v, op.edge)
    v.law(op.index.dtype == "int", f"{op.index.name} is int")
    v.has(op.arg, (op.axis,))
    v.result(op, (*(a for a in op.arg.axes if a != op.axis), *op.index.axes), op.arg.dtype)


def _scatter(v: _Verifier, op: Scatter) -> None:
    _edge(v, op.edge)
    v.law(op.index.dtype == "int", f"{op.index.name} is int")
    v.real((op.arg,))
    v.has(op.arg, op.index.axes)
    v.lacks(op.arg, op.axis)
    v.has(op.out, (op.axis,))
    v.has(op.arg, (a for a in op.out.axes if a != op.axis))
    v.result(op, op.out.axes, "real")


_LAWS: Mapping[type[Op], Callable[[_Verifier, Any], None]] = {
    Constant: _constant,
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
