"""Expressions of a program as formulas, and as text or LaTeX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args

from recc.explain.notation import Big, Binary, Call, Equation, Indexed, Infix, Name, Node, Num, Power, Prefix, Shift
from recc.explain.printers import Latex, Text
from recc.recurrence import Along, Apply, Expr, Index, Kind, Matrix, Number, Read, Recurrence, Reduce, Step, Symbol

_INFIX: Mapping[str, Infix] = {op: op for op in get_args(Infix)}
_TEXT, _LATEX = Text(), Latex()
#: The step at which something is written, for each scan axis if there are several: `None` for the step itself.
Place = Shift | tuple[Shift, ...] | None


@dataclass(frozen=True)
class Maths:
    """Writes expressions of one recurrence. `latex` chooses the notation of `expr` and `equation`.

    `more` are symbols that expressions use beside those of the recurrence; `x@-1` is written as x at step -1.
    """

    rec: Recurrence
    latex: bool = False
    more: Mapping[str, Symbol] = field(default_factory=dict)

    def equation(self, name: str, expr: Expr) -> str:
        """`name = expr` at a step."""
        left = self.target(name)
        write = _LATEX if self.latex else _TEXT
        return f"{write(left)} = {write(self.node(expr))}"

    def expr(self, expr: Expr) -> str:
        """An expression."""
        return (_LATEX if self.latex else _TEXT)(self.node(expr))

    def target(self, name: str, at: Place = None) -> Node:
        """A symbol as the left side of its equation."""
        symbol = self._symbol(name)
        lags = (0,) * len(self.rec.scan) if symbol.varies else ()
        return Indexed(Name(name), self._times(lags, at), tuple(Shift(a) for a in symbol.axes))

    def defined(self, name: str, expr: Expr) -> Equation:
        """`name = expr` as an equation."""
        return Equation(self.node(expr), self.target(name))

    def node(self, expr: Expr, at: Place = None) -> Node:
        """An expression at a step: the step itself, or another one given by name and offset."""
        if isinstance(expr, Number):
            return Num(expr.value)
        if isinstance(expr, Step):
            return self._places(at)[self.rec.scan.index(expr.scan)]
        if isinstance(expr, Read):
            return self._read(expr, at)
        if isinstance(expr, Reduce) and expr.fn == "sum" and self._is_one(expr.arg):
            return Call("size", (Shift(expr.over[0].partition("'")[0]),))
        if isinstance(expr, Reduce):
            return Big(expr.fn, tuple(Shift(a) for a in expr.over), self.node(expr.arg, at))
        if isinstance(expr, Matrix):
            return Call(expr.fn, tuple(self.node(a, at) for a in expr.args), (expr.rows, expr.cols))
        assert isinstance(expr, Apply)
        return self._apply(expr, at)

    def _is_one(self, expr: Expr) -> bool:
        """Whether an expression is the constant that an analysis sums to count the elements of an axis."""
        if not isinstance(expr, Read) or len(expr.index) != 1:
            return False
        symbol = self._symbol(expr.name)
        return symbol.kind is Kind.CONST and isinstance(symbol.value, Number) and symbol.value.value == 1

    def _symbol(self, name: str) -> Symbol:
        return self.more[name] if name in self.more else self.rec.table[name]

    def _times(self, lags: tuple[int, ...], at: Place) -> tuple[Node, ...]:
        return tuple(Shift(s.name, s.offset - lag) for s, lag in zip(self._places(at), lags, strict=False))

    def _places(self, at: Place) -> tuple[Shift, ...]:
        if at is None:
            return tuple(Shift(s) for s in self.rec.scan)
        return at if isinstance(at, tuple) else (at,) * len(self.rec.scan)

    def _read(self, expr: Read, at: Place) -> Node:
        symbol = self._symbol(expr.name)
        index = tuple(self._index(i, at) for i in expr.index)
        odd = [k for k, (a, i) in enumerate(zip(symbol.axes, expr.index, strict=True)) if i != Along(a)]
        along = [i.axis if isinstance(i, Along) else "" for i in expr.index]
        # An offset may stand alone; where an axis is another one, which is which has to be told.
        brief = index if odd and along != list(symbol.axes) else tuple(index[k] for k in odd)
        name, _, moment = symbol.name.partition("@")  # no name of the language has an at sign
        times = (Shift(moment),) if moment else self._times(expr.lags, at)
        return Indexed(Name(name), times, index, brief)

    def _index(self, index: Index, at: Place) -> Node:
        return Shift(index.axis, index.offset) if isinstance(index, Along) else self.node(index.expr, at)

    def _apply(self, expr: Apply, at: Place) -> Node:
        fn, args = expr.fn, tuple(self.node(a, at) for a in expr.args)
        if fn == "neg" or fn == "not":
            return Prefix("neg" if fn == "neg" else "not", args[0])
        if fn == "pow":
            return Power(args[0], args[1])
        if fn == "add" and isinstance(args[1], Prefix) and args[1].op == "neg":
            return Binary("sub", args[0], args[1].arg)
        if fn in _INFIX:
            return Binary(_INFIX[fn], args[0], args[1])
        return Call(fn, args)


__all__ = ["Maths", "Place"]
