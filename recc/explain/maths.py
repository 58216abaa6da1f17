"""Equations in the notation of mathematics, for a terminal and for LaTeX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isinf

from recc.recurrence import Along, Apply, At, Expr, Matrix, Number, Read, Recurrence, Reduce, Step, Symbol

_OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _SIGN, _POWER, _ATOM = range(9)
_INFIX: Mapping[str, tuple[str, str, int]] = {
    "add": (" + ", " + ", _SUM), "sub": (" - ", " - ", _SUM), "mul": (" · ", r" \, ", _PRODUCT),
    "div": (" / ", " / ", _PRODUCT), "lt": (" < ", " < ", _COMPARE), "le": (" ≤ ", r" \le ", _COMPARE),
    "gt": (" > ", " > ", _COMPARE), "ge": (" ≥ ", r" \ge ", _COMPARE), "eq": (" = ", " = ", _COMPARE),
    "ne": (" ≠ ", r" \ne ", _COMPARE), "and": (" and ", r" \land ", _AND), "or": (" or ", r" \lor ", _OR),
}  # fmt: skip
_SUBSCRIPTS = str.maketrans("0123456789+-aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ")
_LOWERED = frozenset("0123456789+-aehijklmnoprstuvx")
_GREEK = frozenset([
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi",
    "pi", "rho", "sigma", "tau", "phi", "chi", "psi", "omega",
])  # fmt: skip
_LATEX_FUNCTIONS = frozenset(["exp", "log", "sin", "cos", "tanh", "min", "max"])

_Shown = tuple[str, int]


@dataclass(frozen=True)
class Maths:
    """Writes expressions of one recurrence. `latex` chooses the notation."""

    rec: Recurrence
    latex: bool = False

    def equation(self, name: str, expr: Expr) -> str:
        """`name = expr` at a step."""
        symbol = self.rec.table[name]
        lags = (0,) * len(self.rec.scan) if symbol.varies else ()
        left = self._name(symbol, lags, list(symbol.axes) if self.latex else [])
        return f"{left} = {self.expr(expr)}"

    def expr(self, expr: Expr) -> str:
        """An expression."""
        return self._expr(expr)[0]

    def _expr(self, expr: Expr) -> _Shown:
        if isinstance(expr, Number):
            return self._number(expr.value), _ATOM
        if isinstance(expr, Step):
            return expr.scan, _ATOM
        if isinstance(expr, Read):
            return self._read(expr), _ATOM
        if isinstance(expr, Reduce):
            return self._reduce(expr)
        if isinstance(expr, Matrix):
            return self._matrix(expr), _ATOM
        assert isinstance(expr, Apply)
        return self._apply(expr)

    def _number(self, value: float) -> str:
        if isinf(value):
            text = r"\infty" if self.latex else "∞"
            return text if value > 0 else f"-{text}"
        return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)

    def _read(self, expr: Read) -> str:
        symbol = self.rec.table[expr.name]
        shown = []
        for axis, index in zip(symbol.axes, expr.index, strict=True):
            if isinstance(index, At):
                shown.append(self.expr(index.expr))
            elif index != Along(axis) or self.latex:
                shown.append(_shift(index.axis, index.offset))
        plain = all(isinstance(i, Along) for i in expr.index) and [i.axis for i in expr.index if isinstance(i, Along)]
        if not self.latex and shown and len(shown) < len(symbol.axes) and plain != list(symbol.axes):
            shown = [_shift(i.axis, i.offset) if isinstance(i, Along) else self.expr(i.expr) for i in expr.index]
        return self._name(symbol, expr.lags, shown)

    def _name(self, symbol: Symbol, lags: tuple[int, ...], index: list[str]) -> str:
        times = [_shift(s, -lag) for s, lag in zip(self.rec.scan, lags, strict=False)]
        if self.latex:
            below = ", ".join([*times, *index])
            return f"{_latex_name(symbol.name)}_{{{below}}}" if below else _latex_name(symbol.name)
        if len(times) == 1 and set(times[0]) <= _LOWERED:
            inside = f"[{', '.join(index)}]" if index else ""
            return f"{symbol.name}{times[0].translate(_SUBSCRIPTS)}{inside}"
        inside = ", ".join([*times, *index])
        return f"{symbol.name}[{inside}]" if inside else symbol.name

    def _reduce(self, expr: Reduce) -> _Shown:
        over = ", ".join(expr.over)
        if self.latex:
            sign = r"\sum" if expr.fn == "sum" else r"\prod" if expr.fn == "prod" else rf"\operatorname{{{expr.fn}}}"
            sign = rf"\{expr.fn}" if expr.fn in ("max", "min") else sign
            return f"{sign}_{{{over}}} {self._within(expr.arg, _PRODUCT)}", _PRODUCT
        sign = {"sum": "Σ", "prod": "Π"}.get(expr.fn, expr.fn)
        return f"{sign}_{over.replace(', ', '_')}({self.expr(expr.arg)})", _ATOM

    def _matrix(self, expr: Matrix) -> str:
        args = ", ".join(self.expr(a) for a in expr.args)
        if self.latex and expr.fn == "inv":
            return rf"\left({args}\right)^{{-1}}"
        axes = f"{expr.rows}, {expr.cols}"
        name = rf"\operatorname{{{expr.fn}}}_{{{axes}}}" if self.latex else f"{expr.fn}[{axes}]"
        return f"{name}({args})"

    def _within(self, expr: Expr, least: int) -> str:
        text, level = self._expr(expr)
        if level >= least:
            return text
        return rf"\left({text}\right)" if self.latex else f"({text})"

    def _apply(self, expr: Apply) -> _Shown:
        fn, args = expr.fn, expr.args
        if fn == "neg":
            return f"-{self._within(args[0], _PRODUCT)}", _SUM
        if fn == "not":
            return f"{'lnot ' if self.latex else 'not '}{self._within(args[0], _NOT)}".replace("lnot", r"\lnot"), _NOT
        if fn == "pow":
            power = f"{{{self.expr(args[1])}}}" if self.latex else self._within(args[1], _ATOM)
            return f"{self._within(args[0], _ATOM)}^{power}", _POWER
        if fn == "div" and self.latex:
            return rf"\frac{{{self.expr(args[0])}}}{{{self.expr(args[1])}}}", _ATOM
        if fn == "add" and isinstance(args[1], Apply) and args[1].fn == "neg":
            return f"{self._within(args[0], _SUM)} - {self._within(args[1].args[0], _PRODUCT)}", _SUM
        if fn in _INFIX:
            text, latex, level = _INFIX[fn]
            sign = latex if self.latex else text
            tight = level + 1 if fn in ("sub", "div") or level == _COMPARE else level
            return f"{self._within(args[0], level)}{sign}{self._within(args[1], tight)}", level
        return self._function(fn, [self.expr(a) for a in args]), _ATOM

    def _function(self, fn: str, args: list[str]) -> str:
        if fn == "abs":
            return rf"\left|{args[0]}\right|" if self.latex else f"|{args[0]}|"
        if not self.latex:
            return f"{fn}({', '.join(args)})"
        if fn == "where":
            return rf"\begin{{cases}} {args[1]} & {args[0]} \\ {args[2]} & \text{{otherwise}} \end{{cases}}"
        if fn == "sqrt":
            return rf"\sqrt{{{args[0]}}}"
        if fn == "conj":
            return rf"\overline{{{args[0]}}}"
        if fn == "cis":
            return f"e^{{i {args[0]}}}"
        name = r"\sigma" if fn == "sigmoid" else rf"\operatorname{{{_escaped(fn)}}}"
        name = rf"\{fn}" if fn in _LATEX_FUNCTIONS else name
        return rf"{name}\left({', '.join(args)}\right)"


def _shift(name: str, offset: int) -> str:
    return name if offset == 0 else f"{name}{offset:+d}"


def _escaped(name: str) -> str:
    return name.replace("_", r"\_")


def _latex_name(name: str) -> str:
    plain = name.rstrip("_")
    if plain.lower() in _GREEK:
        return f"\\{plain}"
    return plain if len(plain) == 1 else rf"\mathrm{{{_escaped(plain)}}}"


__all__ = ["Maths"]
