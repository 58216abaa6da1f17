"""Blocks: straight-line code over named-axis tensors, with about a dozen operations.

A Block is what every form is made of. It has no loops over time and no control flow; every value is a
tensor of reals, integers or booleans whose axes have names, and operands broadcast by name. Complex
numbers are pairs of real values by the time a Block is built.

| operation | law |
|---|---|
| `Map` | `out[x] = fn(args[x]…)`, elementwise, broadcast by name |
| `Contract` | `out = sum over axes of the product of the args` |
| `Reduce` | `max`, `min` or `prod` over axes |
| `Cumulate` | running sum or product along an axis, either way, inclusive or exclusive |
| `Scan` | a linear recurrence along an axis, over a ring or a semiring: `out[x] = a[x] out[x-1] + b[x]` |
| `Convolve` | `out[x] = sum over y <= x of kernel[x-y] * arg[y]`, or over `y >= x` of `kernel[y-x] * arg[y]` |
| `Segment` | `out[t, s] = prod of arg[r] for s < r <= t` (1 at t = s, 0 for t < s) |
| `Mask` | `out[t, s] = arg[t, s] if t >= s (or t > s) else 0` |
| `Matrix` | `solve`, `solve_unit_lower`, `inv`, `expm` on two axes of equal size |
| `Shift` | `out[x] = arg[x + offset]` with an edge rule |
| `Gather` | `out = arg[axis = index]` with an edge rule |
| `Scatter` | the transpose of `Gather`: adds every element to where its index points |

Three more make values out of nothing or look at one differently: `Constant`, `Iota` (the position along
an axis) and `Rename` (the same elements under other axis names).

`Cumulate`, `Scan` and `Convolve` follow an axis from one end to the other. Only the Blocks of parallel forms
have them along a chunk axis: that is how such a Block makes many steps at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from math import inf
from typing import Literal

from recc.recurrence import Edge

BlockDtype = Literal["real", "int", "bool"]
Algebra = Literal["ring", "max-plus", "min-plus", "log-sum-exp"]

#: The neutral element of ⊕ of each algebra, which ⊗ keeps, and that of ⊗.
ZERO: Mapping[Algebra, float] = {"ring": 0.0, "max-plus": -inf, "min-plus": inf, "log-sum-exp": -inf}
ONE: Mapping[Algebra, float] = {"ring": 1.0, "max-plus": 0.0, "min-plus": 0.0, "log-sum-exp": 0.0}

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

    @cached_property
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

    @cached_property
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

    `reverse` runs from the end: of the elements from x on. With `every` > 0 it starts anew at each multiple
    of `every` along the axis; reversed runs keep within the same stretches, and start at their ends.
    """

    fn: Literal["sum", "prod"]
    arg: Value
    axis: str
    reverse: bool = False
    exclusive: bool = False
    every: int = 0


@dataclass(frozen=True)
class Scan(Op):
    """One component of a linear recurrence along `axis`, over the operations ⊕ and ⊗ of an algebra.

        out_k[x, rows] = ⊕ over l, cols of a_kl[x, rows, cols] ⊗ out_l[x-1, cols]  ⊕  b_k[x, rows],
        out_l[-1] = first_l

    for components k = 0, 1, …, with one `b` and one `first` each. `entries` lists the pairs (k, l) that have
    a transition, in the order of `a`; the others are the zero of the algebra. `rows` and `cols` name axes
    of pairwise equal size; without any, the recurrence is elementwise. All operands broadcast by name: `a`
    and `b` may lack `axis` (the same at each step), `first` and `b` run along `rows`. `reverse` runs from
    the end: `out[x]` from `out[x+1]`.

    In the ring ⊕ is +, ⊗ is *; in the semirings ⊕ is max, min or logaddexp and ⊗ is +.

    An operation has one result, so that a recurrence of n components is n operations that differ in
    `component` and `out` only, a *group* (see `group`). Whoever runs one component runs all of them.
    """

    entries: tuple[tuple[int, int], ...]
    a: tuple[Value, ...]
    b: tuple[Value, ...]
    first: tuple[Value, ...]
    axis: str
    component: int
    algebra: Algebra
    rows: tuple[str, ...] = ()
    cols: tuple[str, ...] = ()
    reverse: bool = False

    @property
    def group(self) -> tuple[object, ...]:
        """What the components of one recurrence have in common, and no other Scan has."""
        return tuple(getattr(self, f.name) for f in fields(self) if f.name not in ("out", "component"))


@dataclass(frozen=True)
class Convolve(Op):
    """`out[x] = sum over `over` of sum over y <= x of kernel[x-y] * arg[y]`, along `axis`.

    Both run along `axis` and broadcast by name otherwise. `reverse` is the correlation
    `out[x] = sum over `over` of sum over y >= x of kernel[y-x] * arg[y]`.
    """

    kernel: Value
    arg: Value
    axis: str
    over: tuple[str, ...] = ()
    reverse: bool = False


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
        elif f.name == "entries":
            shown.append("entries " + " ".join(f"{k},{i}" for k, i in item))
        elif f.name == "every":
            shown.extend([f"every {item}"] if item else [])
        elif f.name == "algebra":
            shown.append(item)
        elif isinstance(item, tuple):
            shown.append(f"{f.name} {' '.join(item)}")
        else:
            shown.append(f"{f.name} {item}")
    head = getattr(op, "fn", type(op).__name__.lower())
    return f"{head}({', '.join(shown)})"


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
