"""Blocks: straight-line code over named-axis tensors, with about ten operations.

A Block is what every form is made of. It has no loops over time and no control flow; every value is a
tensor of reals, integers or booleans whose axes have names, and operands broadcast by name. Complex
numbers are pairs of real values by the time a Block is built.

| operation | law |
|---|---|
| `Map` | `out[x] = fn(args[x]…)`, elementwise, broadcast by name |
| `Contract` | `out = sum over axes of the product of the args` |
| `Reduce` | `max`, `min` or `prod` over axes |
| `Cumulate` | running sum or product along an axis, either way, inclusive or exclusive |
| `Segment` | `out[t, s] = prod of arg[r] for s < r <= t` (1 at t = s, 0 for t < s) |
| `Mask` | `out[t, s] = arg[t, s] if t >= s (or t > s) else 0` |
| `Matrix` | `solve`, `solve_unit_lower`, `inv`, `expm` on two axes of equal size |
| `Shift` | `out[x] = arg[x + offset]` with an edge rule |
| `Gather` | `out = arg[axis = index]` with an edge rule |
| `Scatter` | the transpose of `Gather`: adds every element to where its index points |

Three more make values out of nothing or look at one differently: `Constant`, `Iota` (the position along
an axis) and `Rename` (the same elements under other axis names).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Literal

from recc.recurrence import Edge

BlockDtype = Literal["real", "int", "bool"]

#: The scalar functions of `Map`, with their number of arguments.
MAP_ARITY: Mapping[str, int] = {
    "add": 2, "sub": 2, "mul": 2, "div": 2, "pow": 2, "neg": 1, "min": 2, "max": 2,
    "lt": 2, "le": 2, "gt": 2, "ge": 2, "eq": 2, "ne": 2, "and": 2, "or": 2, "not": 1, "where": 3,
    "exp": 1, "log": 1, "log1p": 1, "expm1": 1, "sqrt": 1, "rsqrt": 1, "sigmoid": 1, "log_sigmoid": 1,
    "softplus": 1, "tanh": 1, "sin": 1, "cos": 1, "abs": 1, "sign": 1, "floor": 1, "erf": 1,
    "logaddexp": 2, "real": 1, "int": 1, "stop": 1, "surrogate": 2,
}  # fmt: skip

_BOOLEAN = frozenset({"lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not"})
_INTEGER = frozenset({"add", "sub", "mul", "neg", "min", "max", "where", "abs", "stop"})


@dataclass(frozen=True)
class Value:
    """A tensor: a name that is unique in its Block, its axes in canonical order, and its dtype."""

    name: str
    axes: tuple[str, ...]
    dtype: BlockDtype = "real"

    def __str__(self) -> str:
        kind = "" if self.dtype == "real" else f": {self.dtype}"
        return f"{self.name}[{', '.join(self.axes)}]{kind}"


@dataclass(frozen=True)
class Op:
    """One operation. Every subclass has its operands as fields and `out`, the value it defines."""

    out: Value

    @property
    def operands(self) -> tuple[Value, ...]:
        """The values read, in order."""
        found: list[Value] = []
        for f in fields(self):
            if f.name == "out":
                continue
            item = getattr(self, f.name)
            if isinstance(item, Value):
                found.append(item)
            elif isinstance(item, tuple):
                found.extend(v for v in item if isinstance(v, Value))
        return tuple(found)

    @property
    def space(self) -> frozenset[str]:
        """The axes that the operation runs over: those of its result and those it reduces."""
        return frozenset(self.out.axes).union(*(v.axes for v in self.operands))


@dataclass(frozen=True)
class Constant(Op):
    """The same number everywhere."""

    value: float


@dataclass(frozen=True)
class Iota(Op):
    """`out[x] = x`, an integer."""

    axis: str


@dataclass(frozen=True)
class Rename(Op):
    """The same elements under other axis names, all renamed at once: `((old, new), …)`."""

    arg: Value
    names: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Map(Op):
    """`out[x] = fn(args[x]…)`. See `MAP_ARITY`; `real` converts an integer or boolean, `int` a real."""

    fn: str
    args: tuple[Value, ...]


@dataclass(frozen=True)
class Contract(Op):
    """The sum over `over` of the product of `args`; each axis in `over` is an axis of an argument."""

    args: tuple[Value, ...]
    over: tuple[str, ...]


@dataclass(frozen=True)
class Reduce(Op):
    """`max`, `min` or `prod` over `over`; the identities are -inf, inf and 1. `prod` takes one axis."""

    fn: Literal["max", "min", "prod"]
    arg: Value
    over: tuple[str, ...]


@dataclass(frozen=True)
class Cumulate(Op):
    """Running `sum` or `prod` along `axis`: of the elements up to x, x included unless `exclusive`.

    `reverse` runs from the end: of the elements from x on.
    """

    fn: Literal["sum", "prod"]
    arg: Value
    axis: str
    reverse: bool = False
    exclusive: bool = False


@dataclass(frozen=True)
class Segment(Op):
    """Products over half-open stretches: `out[row, col] = prod of arg[r], col < r <= row`, 0 above."""

    arg: Value
    row: str
    col: str


@dataclass(frozen=True)
class Mask(Op):
    """Keeps `arg[row, col]` where row >= col (row > col if `strict`), zero elsewhere."""

    arg: Value
    row: str
    col: str
    strict: bool


@dataclass(frozen=True)
class Matrix(Op):
    """A function of matrices with row axis `rows` and column axis `cols`, of equal size.

    `solve(A, b)`: the x over `rows` with `sum[cols](A * x[cols]) = b`. `solve_unit_lower(A, b)`: the
    same for A taken as unit lower triangular (its diagonal and upper part are not read). `inv(A)`,
    `expm(A)`: over both axes. `expm_vjp(A, G)`: the gradient of `sum(G * expm(A))` with respect to A.

    `transposed` is for the two solves: the x over `rows` with `sum[rows](A * x[rows]) = b[cols]`, that is
    with the transpose of A; b and x still run along `rows`. "Lower" speaks of (`rows`, `cols`) either
    way: the entries read are those with row > column, so the transposed unit lower solve is a
    substitution from the last row back.
    """

    fn: Literal["solve", "solve_unit_lower", "inv", "expm", "expm_vjp"]
    args: tuple[Value, ...]
    rows: str
    cols: str
    transposed: bool = False


@dataclass(frozen=True)
class Shift(Op):
    """`out[x] = arg[x + offset]`; outside the axis: zero, the other end (`wrap`) or the nearest."""

    arg: Value
    axis: str
    offset: int
    edge: Edge


@dataclass(frozen=True)
class Gather(Op):
    """`out = arg[axis = index]`: the axes of `arg` without `axis`, and those of `index`.

    `index` may itself run along `axis`: `out[x] = arg[axis = index[x]]`.
    """

    arg: Value
    axis: str
    index: Value
    edge: Edge


@dataclass(frozen=True)
class Scatter(Op):
    """`out[axis = a] = sum of arg where index = a`, over the axes that `out` does not have.

    An index outside the axis follows the edge rule: dropped (`zero`), wrapped or clamped. `arg` has
    all axes of `index` and of `out` except `axis`, and not `axis` itself.
    """

    arg: Value
    axis: str
    index: Value
    edge: Edge


class BlockError(Exception):
    """A Block breaks a law of its operations: always a fault of whoever built it."""


@dataclass(frozen=True)
class Block:
    """Inputs, operations in order, and named outputs.

    `order` is the canonical order of axes; `size_of` gives the axis whose size an axis shares (itself
    for most).
    """

    name: str
    inputs: tuple[Value, ...]
    ops: tuple[Op, ...]
    outputs: tuple[tuple[str, Value], ...]
    order: tuple[str, ...]
    size_of: tuple[tuple[str, str], ...]

    @cached_property
    def root(self) -> Mapping[str, str]:
        """For each axis the one that gives its size."""
        return dict(self.size_of)

    @cached_property
    def output(self) -> Mapping[str, Value]:
        """Outputs by name."""
        return dict(self.outputs)

    @cached_property
    def input(self) -> Mapping[str, Value]:
        """Inputs by name."""
        return {v.name: v for v in self.inputs}

    def live(self, wanted: Iterable[str] | None = None) -> Block:
        """The Block with only the outputs in `wanted` (all if none is given) and what they need."""
        names = None if wanted is None else set(wanted)
        outputs = tuple((n, v) for n, v in self.outputs if names is None or n in names)
        needed = {v.name for _, v in outputs}
        kept: list[Op] = []
        for op in reversed(self.ops):
            if op.out.name in needed:
                kept.append(op)
                needed.update(v.name for v in op.operands)
        inputs = tuple(v for v in self.inputs if v.name in needed)
        return replace(self, inputs=inputs, ops=tuple(reversed(kept)), outputs=outputs)

    def __str__(self) -> str:
        return show_block(self)


def show_block(block: Block) -> str:
    """The Block as text, one operation a line."""
    lines = [f"block {block.name}"]
    lines += [f"  input {v}" for v in block.inputs]
    lines += [f"  {op.out} = {show_op(op)}" for op in block.ops]
    lines += [f"  output {name} = {v.name}" for name, v in block.outputs]
    return "\n".join(lines)


def show_op(op: Op) -> str:
    """The right side of an operation as text."""
    shown: list[str] = []
    for f in fields(op):
        item = getattr(op, f.name)
        if f.name in ("out", "fn"):
            continue
        if isinstance(item, Value):
            shown.append(item.name)
        elif isinstance(item, tuple) and all(isinstance(v, Value) for v in item):
            shown.extend(v.name for v in item)
        elif f.name == "names":
            shown.append(", ".join(f"{old} -> {new}" for old, new in item))
        elif f.name == "value":
            shown.append(f"{item:g}" if float(f"{item:g}") == item else repr(item))
        elif f.name in ("reverse", "exclusive", "strict", "transposed"):
            if item:
                shown.append(f.name)
        elif isinstance(item, tuple):
            shown.append(f"{f.name} {' '.join(item)}")
        else:
            shown.append(f"{f.name} {item}")
    head = getattr(op, "fn", type(op).__name__.lower())
    return f"{head}({', '.join(shown)})"


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


def map_dtype(fn: str, args: tuple[Value, ...]) -> BlockDtype:
    """The dtype of the result of a scalar function."""
    if fn in _BOOLEAN:
        return "bool"
    if fn == "int":
        return "int"
    branches = args[1:] if fn == "where" else args
    if all(v.dtype == "bool" for v in branches) and fn in ("where", "stop", "surrogate"):
        return "bool"
    if fn in _INTEGER and all(v.dtype != "real" for v in branches):
        return "int"
    return "real"


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
