"""Builds Blocks: equal operations once, constants folded, free factors pulled out of sums."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from recc.forms.block import (
    MAP_ARITY,
    ZERO,
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
)
from recc.forms.simplify import simplify
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
    _maps: dict[str, Map] = field(default_factory=dict)
    _renamed: dict[str, tuple[Value, dict[str, str]]] = field(default_factory=dict)
    _called: dict[Value, Value] = field(default_factory=dict)  # values by what they were called before `named`

    def input(self, name: str, axes: Iterable[str], dtype: BlockDtype = "real") -> Value:
        """A new input."""
        value = Value(self._name(name), self.sort(axes), dtype)
        self.inputs.append(value)
        return value

    def output(self, name: str, value: Value) -> None:
        """Names a value as an output."""
        self.outputs[name] = self._called.get(value, value)

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

    def argument(self, value: Value, fn: str) -> Value | None:
        """What a scalar function of one argument has been applied to, if that is how a value was made."""
        made = self._maps.get(value.name)
        return made.args[0] if made is not None and made.fn == fn else None

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
        if arg.name in self._renamed:
            # One operation for both, so that a rename back gives the value itself.
            base, before = self._renamed[arg.name]
            moved = dict(used)
            both = {old: moved.get(new, new) for old, new in before.items()}
            rest = {old: new for old, new in moved.items() if old not in before.values()}
            return self.rename(base, {**rest, **both}, hint)
        table = dict(used)
        axes = self.sort(table.get(a, a) for a in arg.axes)
        if len(axes) != len(arg.axes):
            raise BlockError(f"rename of {arg} by {table} would take a diagonal")
        if (number := self.known(arg)) is not None:
            return self.constant(number, axes, arg.dtype)
        out = self._add(Rename, axes, arg.dtype, hint or arg.name, arg=arg, names=used)
        self._renamed[out.name] = (arg, table)
        return out

    def map(self, fn: str, *args: Value, hint: str = "") -> Value:
        """A scalar function, elementwise."""
        if MAP_ARITY.get(fn) != len(args):
            raise BlockError(f"map {fn} with {len(args)} arguments")
        simpler = simplify(self, fn, args)
        if simpler is not None:
            return simpler
        if fn in ("add", "mul") and args[1].name < args[0].name:
            args = (args[1], args[0])
        axes = self.sort(a for v in args for a in v.axes)
        return self._add(Map, axes, map_dtype(fn, args), hint, fn=fn, args=args)

    def contract(self, args: Iterable[Value], over: Iterable[str], hint: str = "") -> Value:
        """The sum over axes of a product. Factors without the summed axes move out of the sum."""
        factors = [self._real(v) for v in args]
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
        arg = self.spread(self._real(arg), axes)
        rest = tuple(a for a in arg.axes if a not in axes)
        return self._add(Reduce, rest, "real", hint, fn=fn, arg=arg, over=axes)

    def cumulate(
        self,
        fn: Literal["sum", "prod"],
        arg: Value,
        axis: str,
        reverse: bool = False,
        exclusive: bool = False,
        every: int = 0,
    ) -> Value:
        """Running sum or product along an axis."""
        arg = self.spread(arg, (axis,))
        way = {"reverse": reverse, "exclusive": exclusive, "every": every}
        return self._add(Cumulate, arg.axes, "real", "", fn=fn, arg=arg, axis=axis, **way)

    def scan(
        self,
        a: Mapping[tuple[int, int], Value],
        b: Sequence[Value],
        first: Sequence[Value],
        axis: str,
        algebra: Algebra = "ring",
        rows: tuple[str, ...] = (),
        cols: tuple[str, ...] = (),
        reverse: bool = False,
        names: Sequence[str] = (),
    ) -> tuple[Value, ...]:
        """The components of a linear recurrence along an axis. See `Scan`.

        Args:
            a: the transition into component k from component l, by (k, l); absent ones are the zero of
                the algebra, and so are those known to be it.
            b: one drive for each component.
            first: for each component the state before the first step, along `rows`, without `axis`.
            axis: the axis that the recurrence follows.
            algebra: which operations stand for + and *.
            rows: axes of the state that the transitions mix, if any: they are matrices.
            cols: another axis of the same size for each of them.
            reverse: whether it runs from the end of the axis.
            names: what to call the components, after their drives if not given.

        Returns:
            A value for each component, all over the same axes. Components that stay zero are constants.
        """
        zero = ZERO[algebra]
        matrices = {kl: self.spread(self._real(v), (*rows, *cols)) for kl, v in a.items() if self.known(v) != zero}
        entries = tuple(sorted(matrices))
        drives = tuple(self.spread(self._real(v), rows) for v in b)
        firsts = tuple(self.spread(self._real(v), rows) for v in first)
        every = (*matrices.values(), *drives, *firsts)
        axes = self.sort({axis, *(x for v in every for x in v.axes)} - set(cols))
        if not entries:
            return tuple(self.spread(v, axes) for v in drives)
        reached = {k for k in range(len(b)) if not self.known(drives[k]) == self.known(firsts[k]) == zero}
        for _ in b:
            reached |= {k for k, i in entries if i in reached}
        if len(reached) < len(b):
            kept = sorted(reached)
            some = {
                (x, y): matrices[k, i] for x, k in enumerate(kept) for y, i in enumerate(kept) if (k, i) in matrices
            }
            way = (axis, algebra, rows, cols, reverse)
            called = [names[k] for k in kept] if names else ()
            part = self.scan(some, [drives[k] for k in kept], [firsts[k] for k in kept], *way, called) if kept else ()
            found = dict(zip(kept, part, strict=True))
            none = self.constant(zero, axes)
            return tuple(self.spread(found.get(k, none), axes) for k in range(len(b)))
        a_kl = tuple(matrices[kl] for kl in entries)
        parts: dict[str, object] = {"entries": entries, "a": a_kl, "b": drives, "first": firsts}
        parts |= {"axis": axis, "component": 0, "algebra": algebra, "rows": rows, "cols": cols, "reverse": reverse}
        hints = names or ["" if self.known(v) is not None else v.name for v in b]
        return tuple(self._add(Scan, axes, "real", hint, **{**parts, "component": k}) for k, hint in enumerate(hints))

    def convolve(
        self, kernel: Value, arg: Value, axis: str, over: Iterable[str] = (), reverse: bool = False, hint: str = ""
    ) -> Value:
        """The causal convolution of two values along an axis, summed over others. See `Convolve`."""
        kernel, arg = (self.spread(self._real(v), (axis,)) for v in (kernel, arg))
        summed = set(over)
        missing = summed - {*kernel.axes, *arg.axes}
        kernel = self.spread(kernel, missing)
        axes = self.sort({*kernel.axes, *arg.axes} - summed)
        if 0.0 in (self.known(kernel), self.known(arg)):
            return self.constant(0.0, axes)
        parts = {"kernel": kernel, "arg": arg, "axis": axis, "over": self.sort(summed), "reverse": reverse}
        return self._add(Convolve, axes, "real", hint, **parts)

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

    def last(self, arg: Value, axis: str, hint: str = "") -> Value:
        """The last element along an axis, zero if there is none; a value without the axis is itself."""
        return self.gather(arg, axis, self.constant(-1.0, dtype="int"), "wrap", hint) if axis in arg.axes else arg

    def first(self, arg: Value, axis: str, hint: str = "") -> Value:
        """The first element along an axis, zero if there is none; a value without the axis is itself."""
        return self.gather(arg, axis, self.constant(0.0, dtype="int"), "zero", hint) if axis in arg.axes else arg

    def scatter(self, arg: Value, axis: str, index: Value, edge: Edge, axes: Iterable[str]) -> Value:
        """The transpose of a gather: a tensor over `axes`."""
        arg = self.spread(arg, index.axes)
        return self._add(Scatter, self.sort(axes), "real", "", arg=arg, axis=axis, index=index, edge=edge)

    def named(self, value: Value, name: str) -> Value:
        """The value under a name, if it has none yet and nothing was made of it. Who holds it may go on to use it."""
        made = next((k for k, op in enumerate(self.ops) if op.out == value), None)
        used = any(value in op.operands for op in self.ops) or value in self.outputs.values()
        if made is None or used or not re.fullmatch(r"x\d+", value.name) or name in self._names:
            return value
        found = Value(self._name(name), value.axes, value.dtype)
        self.ops[made] = replace(self.ops[made], out=found)
        self._known = {key: found if v == value else v for key, v in self._known.items()}
        self._called[value] = found
        return found

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

    def _real(self, v: Value) -> Value:
        return v if v.dtype == "real" else self.map("real", v)

    def _without_ones(self, factors: list[Value]) -> list[Value]:
        """Factors without the constant ones whose axes others have too."""
        kept = list(factors)
        for v in factors:
            others = kept.copy()
            others.remove(v)
            if self.known(v) == 1.0 and set(v.axes) <= {a for w in others for a in w.axes}:
                kept = others
        return kept

    def _now(self, part: object) -> object:
        """An operand, or operands, as they are called now."""
        if isinstance(part, Value):
            return self._called.get(part, part)
        return tuple(self._now(p) for p in part) if isinstance(part, tuple) and self._called else part

    def _add(self, kind: type[Op], axes: tuple[str, ...], dtype: BlockDtype, hint: str, **parts: object) -> Value:
        parts = {name: self._now(part) for name, part in parts.items()}
        key = (kind, axes, dtype, tuple(parts.items()))
        found = self._known.get(key)
        if found is None:
            found = Value(self._name(hint), axes, dtype)
            op = kind(found, **parts)
            self.ops.append(op)
            if isinstance(op, Map):
                self._maps[found.name] = op
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
