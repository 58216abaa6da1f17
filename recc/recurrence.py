"""The meaning of a program: symbols, equations and stages, after every check has passed.

A `Recurrence` is what the text *says*, with nothing left to look up: every name is resolved, every
default index is written out, every `def` is expanded, every expression knows its axes. It is the one
level that the reference backend and the derived forms share; below it they have nothing in common.

Laws that hold for every `Recurrence` (see `recc.check`):

- `expr.axes` is in header order and has no axis twice; two operands broadcast by name.
- A `Read` gives one `Index` per declared axis of its symbol and one lag per scan axis if the symbol
  varies with time (none if it does not). Lag 1 is the step before, lag -1 the step after.
- A read beyond the ends of time is zero, except that a state read on the side its recurrence starts
  from is the state's initial value.
- Each equation belongs to exactly one stage; stages are in dependency order, and so are the equations
  of a stage within one step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from math import inf
from typing import Literal

from recc.diagnostics import NOWHERE, Source, Span

Dtype = Literal["bool", "int", "real", "complex"]
Edge = Literal["zero", "wrap", "clamp"]


class Kind(Enum):
    """What a name is."""

    INPUT = "input"
    PARAM = "param"
    CONST = "const"
    STATE = "state"
    LOCAL = "intermediate"
    OUTPUT = "output"


@dataclass(frozen=True)
class Axis:
    """A named axis. `size_of` is the axis whose size it has: itself, or `n` for `m = n`.

    `edge` says what an index outside the axis reads: zero, the other end, or the nearest element.
    """

    name: str
    size_of: str
    edge: Edge = "zero"
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Domain:
    """What the caller promises of a value: an interval, and unit 2-norm along the last axis."""

    lower: float = -inf
    upper: float = inf
    lower_open: bool = False
    upper_open: bool = False
    unit: bool = False

    @property
    def bounded(self) -> bool:
        """Whether anything is promised of the size."""
        return self.lower > -inf or self.upper < inf


@dataclass(frozen=True)
class Symbol:
    """A name with its axes in layout order, its domain and its dtype.

    `indexes` is the axis that an `int(a)` symbol indexes. `initial` is a state's value before its
    first step (`None` means zero). `value` is a constant's value (`None` means the caller gives it).
    """

    name: str
    kind: Kind
    axes: tuple[str, ...]
    dtype: Dtype = "real"
    varies: bool = True
    domain: Domain = Domain()
    indexes: str | None = None
    initial: Expr | None = None
    value: Expr | None = None
    span: Span = field(default=NOWHERE, compare=False)

    @property
    def is_argument(self) -> bool:
        """Whether the caller passes it."""
        return self.kind in (Kind.INPUT, Kind.PARAM) or (self.kind is Kind.CONST and self.value is None)


@dataclass(frozen=True, kw_only=True)
class Expr:
    """An expression. `axes` in header order; `varies` says whether it depends on time."""

    axes: tuple[str, ...] = ()
    dtype: Dtype = "real"
    varies: bool = False
    span: Span = field(default=NOWHERE, compare=False)

    @property
    def children(self) -> tuple[Expr, ...]:
        """The expressions directly below, index expressions included."""
        return ()


@dataclass(frozen=True)
class Number(Expr):
    """A number written in the program, `inf` included."""

    value: float


@dataclass(frozen=True)
class Step(Expr):
    """The step's own number along a scan axis, from 0: `t` used as a number."""

    scan: str


@dataclass(frozen=True)
class Along:
    """An index that runs along an axis: element `x + offset` (the axis' edge rule beyond the ends).

    `axis` may be another axis than the one declared there if it has the same size: that is how
    `h[t-1, m]` reads a state declared over `n`.
    """

    axis: str
    offset: int = 0


@dataclass(frozen=True)
class At:
    """An index given by an integer expression: a gather."""

    expr: Expr


Index = Along | At


@dataclass(frozen=True)
class Read(Expr):
    """The value of a symbol, at `lags` steps before (one per scan axis, none if it does not vary)."""

    name: str
    lags: tuple[int, ...]
    index: tuple[Index, ...]

    @property
    def children(self) -> tuple[Expr, ...]:
        """The expressions directly below."""
        return tuple(i.expr for i in self.index if isinstance(i, At))


@dataclass(frozen=True)
class Apply(Expr):
    """A function of scalars, applied elementwise with broadcasting by name.

    `fn` is a key of `FUNCTIONS`. `surrogate(f, b)` has the value of `f` and the gradient of `b`;
    `stop(e)` has the value of `e` and no gradient.
    """

    fn: str
    args: tuple[Expr, ...]

    @property
    def children(self) -> tuple[Expr, ...]:
        """The expressions directly below."""
        return self.args


@dataclass(frozen=True)
class Reduce(Expr):
    """A reduction over axes: `sum mean prod max min logsumexp norm` remove them, `softmax` keeps them.

    Reductions over an axis of size 0 give the identity (0, nan, 1, -inf, inf, -inf, 0).
    """

    fn: str
    over: tuple[str, ...]
    arg: Expr

    @property
    def children(self) -> tuple[Expr, ...]:
        """The expressions directly below."""
        return (self.arg,)


@dataclass(frozen=True)
class Matrix(Expr):
    """A function of square matrices with row axis `rows` and column axis `cols` (equal sizes).

    `inv[n, m](A)` and `expm[n, m](A)` have axes n and m, as A has. `solve[n, m](A, b)` is the x, over
    n, with `sum[m](A * x[m]) = b`. All other axes are batch axes.
    """

    fn: Literal["solve", "inv", "expm"]
    rows: str
    cols: str
    args: tuple[Expr, ...]

    @property
    def children(self) -> tuple[Expr, ...]:
        """The expressions directly below."""
        return self.args


@dataclass(frozen=True)
class Function:
    """A scalar function of the language: how many arguments, and the dtype of its result.

    `result` is "same" (the widest argument), "real", "bool", "complex", or "branch" (the widest of all
    but the first argument). `accepts` is the widest dtype that it takes.
    """

    name: str
    arity: int
    result: Literal["same", "real", "bool", "complex", "branch"] = "same"
    accepts: Dtype = "complex"


def _functions() -> dict[str, Function]:
    table = [Function(n, 2) for n in ("add", "sub", "mul")]
    table += [Function("div", 2, "real"), Function("pow", 2, "real"), Function("neg", 1)]
    table += [Function(n, 2, "bool", "real") for n in ("lt", "le", "gt", "ge")]
    table += [Function(n, 2, "bool") for n in ("eq", "ne")]
    table += [Function(n, 2, "bool", "bool") for n in ("and", "or")] + [Function("not", 1, "bool", "bool")]
    table += [Function(n, 1, "real") for n in ("exp", "log", "sqrt", "sin", "cos")]
    real = "log1p expm1 rsqrt sigmoid log_sigmoid softplus silu gelu relu tanh floor erf"
    table += [Function(n, 1, "real", "real") for n in real.split()]
    table += [Function("sign", 1, "same", "real"), Function("abs", 1, "same")]
    table += [Function(n, 2, "same", "real") for n in ("min", "max")]
    table += [
        Function("clamp", 3, "same", "real"),
        Function("where", 3, "branch"),
        Function("logaddexp", 2, "real", "real"),
    ]
    table += [Function(n, 1, "real") for n in ("re", "im")]
    table += [Function("conj", 1), Function("cis", 1, "complex", "real")]
    table += [Function("stop", 1), Function("surrogate", 2, "same", "real")]
    return {f.name: f for f in table}


#: Every scalar function, the operators included. For "real" results a complex argument gives a complex
#: result where the function accepts one (`exp`, `div`), except `re`, `im` and `abs`, which give reals.
FUNCTIONS: Mapping[str, Function] = _functions()

#: Reductions, with whether the reduced axes stay.
REDUCTIONS: Mapping[str, bool] = {
    "sum": False, "mean": False, "prod": False, "max": False, "min": False,
    "logsumexp": False, "norm": False, "softmax": True,
}  # fmt: skip


@dataclass(frozen=True)
class Equation:
    """`target[t] = expr`, or `target = expr` if the target does not vary."""

    target: str
    expr: Expr
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Stage:
    """One strongly connected component of the equations, with its direction along each scan axis.

    `equations` are target names in the order of one step. `states` are those of them that are read at
    an earlier step within the component; a stage without states is pointwise in time. A direction is 1
    (left to right), -1 (right to left) or 0 (any).
    """

    equations: tuple[str, ...]
    states: tuple[str, ...]
    direction: tuple[int, ...]


@dataclass(frozen=True)
class Slot:
    """One tensor of the state that is handed from one piece of time to the next.

    It holds `symbol` as it was `depth` steps before the next step to be run, so a state of second order
    has slots of depth 1 and 2, and an input read at `t-1` has one too. Depth 1 of a state has the
    state's own name; every other slot is called `symbol_lag<depth>`. `initial` is its value before the
    first step (`None`: zero).
    """

    name: str
    symbol: str
    depth: int
    axes: tuple[str, ...]
    dtype: Dtype
    initial: Expr | None


@dataclass(frozen=True)
class Recurrence:
    """A checked program.

    `symbols` in the order of the text. `scan` are the scan axes, outermost first (`("t",)` unless the
    header says `over`). `slots` is the whole state to hand over (empty if pieces of time cannot be
    joined: several scan axes). `clock` says that the program uses `t` as a number, so that the number
    of steps already run is part of the state.
    """

    name: str
    doc: str
    axes: tuple[Axis, ...]
    scan: tuple[str, ...]
    symbols: tuple[Symbol, ...]
    equations: tuple[Equation, ...]
    stages: tuple[Stage, ...]
    slots: tuple[Slot, ...]
    clock: bool
    source: Source = field(compare=False)

    @cached_property
    def table(self) -> Mapping[str, Symbol]:
        """Symbols by name."""
        return {s.name: s for s in self.symbols}

    @cached_property
    def equation(self) -> Mapping[str, Equation]:
        """Equations by target."""
        return {e.target: e for e in self.equations}

    @cached_property
    def axis(self) -> Mapping[str, Axis]:
        """Axes by name."""
        return {a.name: a for a in self.axes}

    def of_kind(self, *kinds: Kind) -> tuple[Symbol, ...]:
        """The symbols of some kinds, in the order of the text."""
        return tuple(s for s in self.symbols if s.kind in kinds)

    @cached_property
    def arguments(self) -> tuple[Symbol, ...]:
        """What the caller passes, in declared order: inputs, parameters and constants without a value."""
        return tuple(s for s in self.symbols if s.is_argument)

    @cached_property
    def outputs(self) -> tuple[Symbol, ...]:
        """The outputs in the order of the text."""
        return self.of_kind(Kind.OUTPUT)

    @cached_property
    def states(self) -> tuple[Symbol, ...]:
        """The declared states in the order of the text."""
        return self.of_kind(Kind.STATE)

    def ordered(self, axes: frozenset[str] | set[str]) -> tuple[str, ...]:
        """Axes in header order."""
        return tuple(a.name for a in self.axes if a.name in axes)

    def __str__(self) -> str:
        from recc.show import show_recurrence

        return show_recurrence(self)


def walk(expr: Expr) -> Iterator[Expr]:
    """Every node of an expression, parents first."""
    stack = [expr]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.children))


def reads(expr: Expr) -> Iterator[Read]:
    """Every read in an expression, those inside index expressions included."""
    return (node for node in walk(expr) if isinstance(node, Read))


__all__ = [
    "FUNCTIONS", "REDUCTIONS", "Along", "Apply", "At", "Axis", "Domain", "Dtype", "Edge", "Equation", "Expr",
    "Function", "Index", "Kind", "Matrix", "Number", "Read", "Recurrence", "Reduce", "Slot", "Stage", "Step",
    "Symbol", "reads", "walk",
]  # fmt: skip
