"""Builds Blocks: equal operations once, constants folded, free factors pulled out of sums."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from recc.forms.block import (
    MAP_ARITY,
    Block,
    BlockDtype,
    BlockError,
    Constant,
    Contract,
    Cumulate,
    Gather,
    Iota,
    Map,
    Mask,
    Matrix,
    Op,
    Reduce,
    Rename,
    Scatter,
    Segment,
    Shift,
    Value,
    map_dtype,
)
from recc.recurrence import Edge


@dataclass
class Builder:
    """Builds a Block. Equal operations are built once; constants fold; sums pull out free factors.

    `order` lists the axes in canonical order with the axis that gives their size.
    """

    name: str
    order: dict[str, str]
    inputs: list[Value] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    outputs: dict[str, Value] = field(default_factory=dict)
    _known: dict[tuple[object, ...], Value] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)
    _numbers: dict[str, int] = field(default_factory=dict)
    _constants: dict[str, float] = field(default_factory=dict)

    def input(self, name: str, axes: Iterable[str], dtype: BlockDtype = "real") -> Value:
        """A new input."""
        value = Value(self._name(name), self.sort(axes), dtype)
        self.inputs.append(value)
        return value

    def output(self, name: str, value: Value) -> None:
        """Names a value as an output."""
        self.outputs[name] = value

    def build(self) -> Block:
        """The Block, without operations that no output needs. Inputs that nothing reads stay."""
        order = tuple(self.order)
        block = Block(self.name, (), tuple(self.ops), tuple(self.outputs.items()), order, tuple(self.order.items()))
        return replace(block.live(), inputs=tuple(self.inputs))

    def sort(self, axes: Iterable[str]) -> tuple[str, ...]:
        """Axes in canonical order, each once."""
        wanted = set(axes)
        return tuple(a for a in self.order if a in wanted)

    def fresh_axis(self, like: str) -> str:
        """A new axis of the same size as another one."""
        number = 1
        while f"{like}_{number}" in self.order:
            number += 1
        self.order[f"{like}_{number}"] = self.order[like]
        return f"{like}_{number}"

    def known(self, value: Value) -> float | None:
        """The number that a value is, if it is a constant."""
        return self._constants.get(value.name)

    def constant(self, value: float, axes: Iterable[str] = (), dtype: BlockDtype = "real") -> Value:
        """The number, over any axes."""
        out = self._add(Constant, self.sort(axes), dtype, "c", value=float(value))
        self._constants[out.name] = float(value)
        return out

    def iota(self, axis: str) -> Value:
        """The position along an axis."""
        return self._add(Iota, (axis,), "int", axis, axis=axis)

    def rename(self, arg: Value, names: Mapping[str, str], hint: str = "") -> Value:
        """The same elements under other axis names."""
        used = tuple((old, new) for old, new in names.items() if old in arg.axes and old != new)
        if not used:
            return arg
        table = dict(used)
        axes = self.sort(table.get(a, a) for a in arg.axes)
        if len(axes) != len(arg.axes):
            raise BlockError(f"rename of {arg} by {table} would take a diagonal")
        if (number := self.known(arg)) is not None:
            return self.constant(number, axes, arg.dtype)
        return self._add(Rename, axes, arg.dtype, hint or arg.name, arg=arg, names=used)

    def map(self, fn: str, *args: Value, hint: str = "") -> Value:
        """A scalar function, elementwise."""
        if MAP_ARITY.get(fn) != len(args):
            raise BlockError(f"map {fn} with {len(args)} arguments")
        simpler = _simplify(self, fn, args)
        if simpler is not None:
            return simpler
        if fn in ("add", "mul") and args[1].name < args[0].name:
            args = (args[1], args[0])
        axes = self.sort(a for v in args for a in v.axes)
        return self._add(Map, axes, map_dtype(fn, args), hint, fn=fn, args=args)

    def contract(self, args: Iterable[Value], over: Iterable[str], hint: str = "") -> Value:
        """The sum over axes of a product. Factors without the summed axes move out of the sum."""
        factors = [v if v.dtype == "real" else self.map("real", v) for v in args]
        summed = set(over)
        missing = summed - {a for v in factors for a in v.axes}
        if missing:
            factors.append(self.constant(1.0, missing))
        if not summed:
            inside, outside = [], factors
        else:
            inside = [v for v in factors if summed & set(v.axes)]
            outside = [v for v in factors if not summed & set(v.axes)]
        if any(self.known(v) == 0.0 for v in inside):
            axes = {a for v in inside for a in v.axes} - summed
            result: Value | None = self.constant(0.0, axes)
        elif inside:
            inside = self._without_ones(inside)
            axes = {a for v in inside for a in v.axes} - summed
            fixed = tuple(sorted(inside, key=lambda v: v.name))
            out = self.sort(axes)
            result = self._add(Contract, out, "real", hint if not outside else "", args=fixed, over=self.sort(summed))
        else:
            result = None
        for i, v in enumerate(outside):
            last = hint if i == len(outside) - 1 else ""
            result = v if result is None else self.map("mul", result, v, hint=last)
        return self.constant(1.0) if result is None else result

    def reduce(self, fn: Literal["max", "min", "prod"], arg: Value, over: Iterable[str], hint: str = "") -> Value:
        """`max`, `min` or `prod` over axes."""
        axes = self.sort(over)
        if fn == "prod" and len(axes) > 1:
            for axis in axes:
                arg = self.reduce(fn, arg, (axis,), hint)
            return arg
        arg = arg if arg.dtype == "real" else self.map("real", arg)
        arg = self.spread(arg, axes)
        rest = tuple(a for a in arg.axes if a not in axes)
        return self._add(Reduce, rest, "real", hint, fn=fn, arg=arg, over=axes)

    def cumulate(
        self, fn: Literal["sum", "prod"], arg: Value, axis: str, reverse: bool = False, exclusive: bool = False
    ) -> Value:
        """Running sum or product along an axis."""
        arg = self.spread(arg, (axis,))
        way = {"reverse": reverse, "exclusive": exclusive}
        return self._add(Cumulate, arg.axes, "real", "", fn=fn, arg=arg, axis=axis, **way)

    def segment(self, arg: Value, row: str, col: str) -> Value:
        """Products over stretches of an axis; `arg` runs along `row`, `col` is another index over it."""
        return self._add(Segment, self.sort((*arg.axes, col)), "real", "", arg=arg, row=row, col=col)

    def mask(self, arg: Value, row: str, col: str, strict: bool = False) -> Value:
        """The causal part of a tensor over two indices of one axis."""
        arg = self.spread(arg, (row, col))
        return self._add(Mask, arg.axes, "real", "", arg=arg, row=row, col=col, strict=strict)

    def matrix(
        self, fn: str, args: tuple[Value, ...], rows: str, cols: str, hint: str = "", transposed: bool = False
    ) -> Value:
        """A function of matrices. See `Matrix`."""
        first = self.spread(args[0], (rows, cols))
        rest = tuple(self.spread(v, (rows,) if fn.startswith("solve") else (rows, cols)) for v in args[1:])
        axes = {a for v in (first, *rest) for a in v.axes}
        if fn.startswith("solve"):
            axes.discard(cols)
        parts = {"fn": fn, "args": (first, *rest), "rows": rows, "cols": cols, "transposed": transposed}
        return self._add(Matrix, self.sort(axes), "real", hint, **parts)

    def shift(self, arg: Value, axis: str, offset: int, edge: Edge, hint: str = "") -> Value:
        """The elements `offset` further along an axis."""
        if offset == 0:
            return arg
        arg = self.spread(arg, (axis,))
        return self._add(Shift, arg.axes, arg.dtype, hint, arg=arg, axis=axis, offset=offset, edge=edge)

    def gather(self, arg: Value, axis: str, index: Value, edge: Edge = "zero", hint: str = "") -> Value:
        """The elements that an integer tensor points at along an axis."""
        axes = self.sort((*(a for a in arg.axes if a != axis), *index.axes))
        return self._add(Gather, axes, arg.dtype, hint, arg=arg, axis=axis, index=index, edge=edge)

    def scatter(self, arg: Value, axis: str, index: Value, edge: Edge, axes: Iterable[str]) -> Value:
        """The transpose of a gather: a tensor over `axes`."""
        arg = self.spread(arg, index.axes)
        return self._add(Scatter, self.sort(axes), "real", "", arg=arg, axis=axis, index=index, edge=edge)

    def spread(self, arg: Value, axes: Iterable[str]) -> Value:
        """The value broadcast over more axes."""
        missing = [a for a in axes if a not in arg.axes]
        if not missing:
            return arg
        if (number := self.known(arg)) is not None:
            return self.constant(number, (*arg.axes, *missing), arg.dtype)
        wide = self.sort((*arg.axes, *missing))
        if arg.dtype != "real":
            zero = self.constant(0.0, missing, "int")
            return self._add(Map, wide, "int", arg.name, fn="add", args=(arg, zero))
        return self._add(Map, wide, "real", arg.name, fn="mul", args=(arg, self.constant(1.0, missing)))

    def replay(self, op: Op, table: Mapping[str, Value]) -> Value:
        """The same operation here, on the values that `table` gives for the names of its operands."""

        def here(item: object) -> object:
            if isinstance(item, Value):
                return table[item.name]
            if isinstance(item, tuple):
                return tuple(here(v) for v in item)
            return item

        parts = {f.name: here(getattr(op, f.name)) for f in fields(op) if f.name != "out"}
        out = self._add(type(op), op.out.axes, op.out.dtype, op.out.name, **parts)
        if isinstance(op, Constant):
            self._constants[out.name] = op.value
        return out

    def _without_ones(self, factors: list[Value]) -> list[Value]:
        """Factors without the constant ones whose axes others have too."""
        kept = list(factors)
        for v in factors:
            others = kept.copy()
            others.remove(v)
            if self.known(v) == 1.0 and set(v.axes) <= {a for w in others for a in w.axes}:
                kept = others
        return kept

    def _add(self, kind: type[Op], axes: tuple[str, ...], dtype: BlockDtype, hint: str, **parts: object) -> Value:
        key = (kind, axes, dtype, tuple(parts.items()))
        found = self._known.get(key)
        if found is None:
            found = Value(self._name(hint), axes, dtype)
            self.ops.append(kind(found, **parts))
            self._known[key] = found
        return found

    def _name(self, hint: str) -> str:
        """The first free name of `hint`, `hint_1`, …, or of `x1`, `x2`, … without a hint."""
        name = hint
        while not name or name in self._names:
            number = self._numbers[hint] = self._numbers.get(hint, 0) + 1
            name = f"{hint}_{number}" if hint else f"x{number}"
        self._names.add(name)
        return name


def _simplify(b: Builder, fn: str, args: tuple[Value, ...]) -> Value | None:
    """Identities of arithmetic with 0 and 1 that change neither axes nor dtype of the result."""
    known = [b.known(v) for v in args]
    dtype = map_dtype(fn, args)

    def whole(v: Value) -> bool:
        return v.dtype == dtype and set(v.axes) >= {a for w in args for a in w.axes}

    if fn == "add":
        for k, other in ((known[0], args[1]), (known[1], args[0])):
            if k == 0.0 and whole(other):
                return other
    if fn == "sub" and known[1] == 0.0 and whole(args[0]):
        return args[0]
    if fn == "sub" and known[0] == 0.0 and whole(args[1]):
        return b.map("neg", args[1])
    if fn == "mul":
        for k, other in ((known[0], args[1]), (known[1], args[0])):
            if k == 1.0 and whole(other):
                return other
            if k == -1.0 and whole(other):
                return b.map("neg", other)
            if k == 0.0:
                return b.constant(0.0, {a for w in args for a in w.axes}, dtype)
    if fn == "div" and known[1] == 1.0 and whole(args[0]):
        return args[0]
    if fn == "div" and known[0] == 0.0:
        return b.constant(0.0, {a for w in args for a in w.axes}, dtype)
    if fn == "neg" and known[0] is not None:
        return b.constant(-known[0], args[0].axes, dtype)
    if fn == "real" and args[0].dtype == "real":
        return args[0]
    if fn == "real" and known[0] is not None:
        return b.constant(known[0], args[0].axes)
    if fn in ("add", "sub", "mul") and None not in known:
        x, y = (k for k in known if k is not None)
        folded = {"add": x + y, "sub": x - y, "mul": x * y}[fn]
        return b.constant(folded, {a for w in args for a in w.axes}, dtype)
    return None
