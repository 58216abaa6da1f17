"""Building checked expressions: each with its axes, dtype, dependence on time, interval and size."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from recc.builder import MAX_DEPTH
from recc.check import ranges
from recc.check.ranges import ANY, Interval
from recc.check.scope import WIDTH, Scope, widest
from recc.diagnostics import Note, Span
from recc.recurrence import FUNCTIONS, REDUCTIONS, Apply, Dtype, Expr, Matrix, Number, Reduce

MAX_NODES = 20_000

#: Functions that count with their arguments, so that a truth value becomes the integer 0 or 1.
_COUNTING = frozenset({"add", "sub", "mul", "neg", "sign", "abs", "clamp", "min", "max"})


@dataclass(frozen=True)
class Typed:
    """A checked expression, the interval of its values, and the number of nodes and the height of its tree."""

    expr: Expr
    range: Interval = ANY
    size: int = 1
    depth: int = 1


class Maker:
    """Makes checked expressions of checked arguments. `None` stands for what a mistake made unknown."""

    def __init__(self, scope: Scope):
        self.scope = scope
        self.errors = scope.errors
        self.made = 0

    def typed(self, expr: Expr, range: Interval, below: tuple[Typed, ...] = (), weight: int = 1) -> Typed:
        """A new node above others, if the program may have one more: the work is bounded here.

        `weight` is what the node adds to the height of the tree.
        """
        self.made += 1
        size = 1 + sum(t.size for t in below)
        depth = weight + max((t.depth for t in below), default=0)
        if size > MAX_NODES or self.made > MAX_NODES:
            raise self.errors.fatal("program-too-large", expr.span, limit=MAX_NODES)
        if depth > MAX_DEPTH:
            at = Span(expr.span.start, expr.span.start + 1)
            raise self.errors.fatal("expression-too-deep", at, limit=MAX_DEPTH)
        return Typed(expr, range, size, depth)

    def number(self, value: float, dtype: Dtype, span: Span) -> Typed:
        """A number written in the program."""
        return self.typed(Number(value, dtype=dtype, span=span), (value, value))

    def apply(self, fn: str, args: tuple[Typed | None, ...], span: Span, shown: str = "") -> Typed | None:
        """A scalar function, broadcast by name. `shown` is how the program writes it."""
        known = tuple(a for a in args if a is not None)
        if not self._accepts(fn, args, shown or fn) or len(known) < len(args):
            return None
        if not self._defined(fn, known, span, shown or fn):
            return None
        exprs = tuple(a.expr for a in known)
        expr = Apply(
            fn,
            exprs,
            axes=self.scope.ordered(*(e.axes for e in exprs)),
            dtype=_dtype(fn, tuple(e.dtype for e in exprs)),
            varies=any(e.varies for e in exprs),
            span=span,
        )
        return self.typed(expr, ranges.of_function(fn, [a.range for a in known]), known)

    def reduce(self, fn: str, over: tuple[str, ...], arg: Typed, span: Span) -> Typed | None:
        """A reduction over axes that the argument has."""
        dtype = arg.expr.dtype
        if dtype == "complex" and fn in ("max", "min", "logsumexp", "softmax"):
            self.errors.add("complex-not-accepted", arg.expr.span, function=fn)
            return None
        if dtype == "bool" and fn in ("sum", "prod", "max", "min"):
            dtype = "int"
        elif fn in ("mean", "logsumexp", "softmax"):
            dtype = widest(dtype, "real")
        elif fn == "norm":
            dtype = "real"
        axes = arg.expr.axes if REDUCTIONS[fn] else tuple(a for a in arg.expr.axes if a not in over)
        expr = Reduce(fn, over, arg.expr, axes=axes, dtype=dtype, varies=arg.expr.varies, span=span)
        return self.typed(expr, ranges.of_reduction(fn, arg.range), (arg,))

    def matrix(self, fn: str, rows: str, cols: str, args: tuple[Typed, ...], span: Span) -> Typed:
        """`inv`, `expm` or `solve`, its axes checked already."""
        exprs = tuple(a.expr for a in args)
        axes = self.scope.ordered(*(e.axes for e in exprs))
        if fn == "solve":
            axes = tuple(a for a in axes if a != cols)
        expr = Matrix(
            fn,  # type: ignore[arg-type]  # one of the three by its caller
            rows,
            cols,
            exprs,
            axes=axes,
            dtype=widest("real", *(e.dtype for e in exprs)),
            varies=any(e.varies for e in exprs),
            span=span,
        )
        return self.typed(expr, ANY, args)

    def _accepts(self, fn: str, args: tuple[Typed | None, ...], shown: str) -> bool:
        """Whether the dtypes of the arguments are taken; tells each that is not."""
        ok = True
        for i, arg in enumerate(args):
            accepts = "bool" if fn == "where" and i == 0 else FUNCTIONS[fn].accepts
            if arg is None or WIDTH[arg.expr.dtype] <= WIDTH[accepts]:
                continue
            ok = False
            if accepts == "bool":
                self.errors.add("not-a-truth-value", arg.expr.span, function=shown, dtype=arg.expr.dtype)
            else:
                self.errors.add("complex-not-accepted", arg.expr.span, function=shown)
        return ok

    def _defined(self, fn: str, args: tuple[Typed, ...], span: Span, shown: str) -> bool:
        """Whether the function has a value for some arguments that the domains allow."""
        if args[0].expr.dtype == "complex":
            return True
        if fn in ranges.UNDEFINED_UP_TO and args[0].range[1] <= ranges.UNDEFINED_UP_TO[fn]:
            self._impossible(args[0], f"{shown} of {_describe(args[0].range)}", _NEEDS[fn])
            return False
        if fn == "div" and args[1].range == (0.0, 0.0):
            self.errors.add("division-by-zero", args[1].expr.span)
            return False
        if fn == "clamp" and args[1].range[0] > args[2].range[1]:
            both = args[1].expr.span.to(args[2].expr.span)
            self.errors.add("empty-clamp", both, low=f"{args[1].range[0]:g}", high=f"{args[2].range[1]:g}")
            return False
        if fn == "pow" and args[0].range[1] < 0 and isinstance(args[1].expr, Number) and args[1].expr.value % 1:
            self._impossible(args[0], f"a fractional power of {_describe(args[0].range)}", "a value >= 0")
            return False
        return True

    def _impossible(self, arg: Typed, what: str, needs: str) -> None:
        notes: tuple[Note, ...] = ()
        symbol = self.scope.symbols.get(getattr(arg.expr, "name", ""))
        if symbol is not None and symbol.domain.bounded:
            notes = (Note(symbol.span, "its domain is promised here"),)
        self.errors.add("impossible-argument", arg.expr.span, notes=notes, what=what, needs=needs)


_NEEDS = {"log": "a value > 0", "rsqrt": "a value > 0", "sqrt": "a value >= 0", "log1p": "a value > -1"}


def _describe(x: Interval) -> str:
    if x[0] == x[1]:
        return f"{x[0]:g}"
    if -1e-300 < x[1] < 0:
        return "a value < 0"
    return f"a value <= {x[1]:g}" if x[0] == -inf else f"a value from {x[0]:g} to {x[1]:g}"


def _dtype(fn: str, dtypes: tuple[Dtype, ...]) -> Dtype:
    """The dtype of a function's result, by the table of functions."""
    rule = FUNCTIONS[fn].result
    if rule in ("bool", "complex"):
        return "bool" if rule == "bool" else "complex"
    if rule == "branch":
        return widest(*dtypes[1:])
    top = widest(*dtypes)
    if rule == "real":
        return "complex" if top == "complex" and fn not in ("re", "im") else "real"
    if fn == "abs" and top == "complex":
        return "real"
    return "int" if top == "bool" and fn in _COUNTING else top


__all__ = ["MAX_NODES", "Maker", "Typed"]
