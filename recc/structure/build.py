"""Making expressions out of expressions: the axes, dtype and dependence on time of each follow by rule.

A `Workspace` is a recurrence with room for what an analysis adds to it: axes that sums run over
(`i'` beside `i`), constants and intermediates of its own. `Workspace.extended` is the recurrence with
all of that in it, so that whatever can read a program can read the results.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from recc.diagnostics import NOWHERE, Span
from recc.recurrence import (
    FUNCTIONS,
    REDUCTIONS,
    Along,
    Apply,
    At,
    Axis,
    Dtype,
    Equation,
    Expr,
    Index,
    Kind,
    Matrix,
    Number,
    Read,
    Recurrence,
    Reduce,
    Stage,
    Symbol,
    reads,
    walk,
)

_WIDTH: dict[Dtype, int] = {"bool": 0, "int": 1, "real": 2, "complex": 3}
_COUNTING = frozenset({"add", "sub", "mul", "neg", "sign", "abs", "clamp", "min", "max"})


def widest(dtypes: Iterable[Dtype]) -> Dtype:
    """The dtype that all of some convert to."""
    return max(dtypes, key=_WIDTH.__getitem__, default="bool")


def number(value: float) -> Number:
    """A number as an expression: an int if it is whole."""
    return Number(value, dtype="int" if abs(value) < 2**53 and value % 1 == 0 else "real")


def is_number(expr: Expr, value: float) -> bool:
    """Whether an expression is this number, written out."""
    return isinstance(expr, Number) and expr.value == value


def base_of(axis: str) -> str:
    """The axis of the header that an axis of a workspace is like."""
    return axis.partition("'")[0]


def size(expr: Expr, limit: int) -> int:
    """The number of nodes of an expression's tree, counted up to a limit."""
    count = 0
    for _ in walk(expr):
        count += 1
        if count > limit:
            break
    return count


class Workspace:
    """A recurrence, and what an analysis of it adds: axes, constants, intermediates.

    Trees with more than `large` nodes get a name of their own, so that results stay small.
    """

    def __init__(self, rec: Recurrence, large: int = 300):
        self.rec = rec
        self.large = large
        self.axes: dict[str, Axis] = dict(rec.axis)
        self._place = {a: k for k, a in enumerate(self.axes)}
        self._fresh = 0
        self.symbols: dict[str, Symbol] = {}
        self.equations: dict[str, Equation] = {}
        self._ones: dict[str, Symbol] = {}

    def symbol(self, name: str) -> Symbol:
        """A symbol of the recurrence or of the workspace."""
        return self.symbols[name] if name in self.symbols else self.rec.table[name]

    def ordered(self, *groups: Iterable[str]) -> tuple[str, ...]:
        """The union of some axes, in header order, those of the workspace last."""
        present = {a for group in groups for a in group}
        return tuple(sorted(present, key=self._place.__getitem__))

    def _add(self, name: str, like: str) -> str:
        if name not in self.axes:
            self.axes[name] = replace(self.axes[like], name=name, span=NOWHERE)
            self._place[name] = len(self._place)
        return name

    def primed(self, axis: str, taken: Iterable[str]) -> str:
        """The first of `i'`, `i''`, … (i the axis without primes) that is not taken."""
        taken = set(taken)
        name = f"{base_of(axis)}'"
        while name in taken:
            name += "'"
        return self._add(name, axis)

    def fresh(self, axis: str) -> str:
        """An axis like another one that nothing uses yet."""
        self._fresh += 1
        return self._add(f"{base_of(axis)}'{self._fresh}", axis)

    def apply(self, fn: str, *args: Expr, span: Span = NOWHERE) -> Apply:
        """A scalar function of expressions."""
        return Apply(
            fn,
            args,
            axes=self.ordered(*(a.axes for a in args)),
            dtype=_dtype(fn, [a.dtype for a in args]),
            varies=any(a.varies for a in args),
            span=span,
        )

    def reduce(self, fn: str, over: Sequence[str], arg: Expr, span: Span = NOWHERE) -> Reduce:
        """A reduction over axes that the argument has."""
        axes = arg.axes if REDUCTIONS[fn] else tuple(a for a in arg.axes if a not in over)
        dtype = arg.dtype
        if fn in ("mean", "logsumexp", "softmax"):
            dtype = widest([dtype, "real"])
        elif fn == "norm":
            dtype = "real"
        elif dtype == "bool":
            dtype = "int"
        return Reduce(fn, tuple(over), arg, axes=axes, dtype=dtype, varies=arg.varies, span=span)

    def matrix(self, node: Matrix, rows: str, cols: str, args: tuple[Expr, ...]) -> Matrix:
        """A matrix function like another one, of other arguments."""
        axes = self.ordered(*(a.axes for a in args))
        if node.fn == "solve":
            axes = tuple(a for a in axes if a != cols)
        return replace(node, rows=rows, cols=cols, args=args, axes=axes, varies=any(a.varies for a in args))

    def read(self, node: Read, index: tuple[Index, ...]) -> Read:
        """A read like another one, at other indices."""
        groups = [(i.axis,) if isinstance(i, Along) else i.expr.axes for i in index]
        varies = self.symbol(node.name).varies or any(isinstance(i, At) and i.expr.varies for i in index)
        return replace(node, index=index, axes=self.ordered(*groups), varies=varies)

    def read_of(self, symbol: Symbol, span: Span = NOWHERE) -> Read:
        """A symbol read at this step along its own axes."""
        lags = (0,) * len(self.rec.scan) if symbol.varies else ()
        index = tuple(Along(a) for a in symbol.axes)
        axes = self.ordered(symbol.axes)
        return Read(symbol.name, lags, index, axes=axes, dtype=symbol.dtype, varies=symbol.varies, span=span)

    def named(self, expr: Expr, hint: str) -> Read:
        """A read of a new intermediate whose value is the expression."""
        symbol = self._symbol(hint, Kind.LOCAL, expr.axes, expr.dtype, expr.varies)
        self.equations[symbol.name] = Equation(symbol.name, expr, expr.span)
        return self.read_of(symbol, expr.span)

    def share(self, expr: Expr, hint: str) -> Expr:
        """The expression itself if it is small, otherwise a read of a new intermediate."""
        return expr if size(expr, self.large) <= self.large else self.named(expr, hint)

    def one(self, axis: str) -> Read:
        """A constant that is 1 everywhere along an axis: its sum is the axis' size."""
        base = base_of(axis)
        if base not in self._ones:
            self._ones[base] = self._symbol(f"one_{base}", Kind.CONST, (base,), "real", False, number(1.0))
        return self.read(self.read_of(self._ones[base]), (Along(axis),))

    def _symbol(
        self, hint: str, kind: Kind, axes: tuple[str, ...], dtype: Dtype, varies: bool, value: Expr | None = None
    ) -> Symbol:
        taken = {*self.rec.table, *self.symbols, *self.axes, *self.rec.scan}
        name = hint if hint not in taken else next(n for k in range(2, 10**6) if (n := f"{hint}_{k}") not in taken)
        self.symbols[name] = Symbol(name, kind, axes, dtype, varies, value=value)
        return self.symbols[name]

    def extended(self, exprs: Iterable[Expr], before: Stage) -> Recurrence:
        """The recurrence with the axes, constants and intermediates that some expressions need.

        The intermediates come just before a stage, each as a stage of its own.
        """
        needed: dict[str, None] = {}
        axes: set[str] = set()
        todo = list(exprs)
        while todo:
            expr = todo.pop()
            for node in walk(expr):
                axes.update(node.axes)
                axes.update(node.over if isinstance(node, Reduce) else ())
                axes.update((node.rows, node.cols) if isinstance(node, Matrix) else ())
            for read in reads(expr):
                if read.name in self.symbols and read.name not in needed:
                    needed[read.name] = None
                    axes.update(self.symbols[read.name].axes)
                    todo += [self.equations[read.name].expr] if read.name in self.equations else []
        added = [s for s in self.symbols.values() if s.name in needed]
        equations = [self.equations[s.name] for s in added if s.name in self.equations]
        stages = tuple(Stage((e.target,), (), (0,) * len(self.rec.scan)) for e in equations)
        extra = tuple(a for a in self.axes.values() if a.name not in self.rec.axis and a.name in axes)
        at = self.rec.stages.index(before)
        return replace(
            self.rec,
            axes=self.rec.axes + extra,
            symbols=self.rec.symbols + tuple(added),
            equations=(*self.rec.equations, *equations),
            stages=(*self.rec.stages[:at], *stages, *self.rec.stages[at:]),
        )


def _dtype(fn: str, dtypes: Sequence[Dtype]) -> Dtype:
    rule = FUNCTIONS[fn].result
    if rule in ("bool", "complex"):
        return "bool" if rule == "bool" else "complex"
    if rule == "branch":
        return widest(dtypes[1:])
    top = widest(dtypes)
    if rule == "real":
        return "complex" if top == "complex" and fn not in ("re", "im") else "real"
    if fn == "abs" and top == "complex":
        return "real"
    return "int" if top == "bool" and fn in _COUNTING else top


__all__ = ["Workspace", "base_of", "is_number", "number", "size", "widest"]
