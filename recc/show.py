"""How every level of the front end prints: programs as written, recurrences as a normalised listing.

Both print as programs that read back: `parse(show_program(p)) == p`, and the listing of a recurrence is
a program with the same meaning, every index written out and every definition expanded.
"""

from __future__ import annotations

from math import inf

from recc import syntax
from recc.recurrence import (
    Along,
    Apply,
    Expr,
    Index,
    Kind,
    Matrix,
    Number,
    Read,
    Recurrence,
    Reduce,
    Stage,
    Step,
    Symbol,
)

# How tightly an expression holds together; an operand that holds less tightly needs brackets.
_OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _SIGN, _POWER, _ATOM = range(9)
_LEVEL = {
    "or": _OR, "and": _AND, "<": _COMPARE, "<=": _COMPARE, ">": _COMPARE, ">=": _COMPARE, "==": _COMPARE,
    "!=": _COMPARE, "+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "**": _POWER,
}  # fmt: skip
OPERATOR = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
    "eq": "==", "ne": "!=", "and": "and", "or": "or", "neg": "-", "not": "not",
}  # fmt: skip

_Shown = tuple[str, int]


def _bracket(shown: _Shown, least: int) -> str:
    text, level = shown
    return text if level >= least else f"({text})"


def _infix(op: str, left: _Shown, right: _Shown) -> _Shown:
    level = _LEVEL[op]
    if op == "**":
        return f"{_bracket(left, _ATOM)}**{_bracket(right, _SIGN)}", level
    least = level + 1 if level == _COMPARE else level
    return f"{_bracket(left, least)} {op} {_bracket(right, level + 1)}", level


def _prefix(op: str, operand: _Shown) -> _Shown:
    if op == "not":
        return f"not {_bracket(operand, _NOT)}", _NOT
    return f"{op}{_bracket(operand, _SIGN)}", _SIGN


def show_syntax(expr: syntax.Expr) -> str:
    """An expression as it could be written, with no more brackets than it needs."""
    return _syntax(expr)[0]


def _syntax(expr: syntax.Expr) -> _Shown:
    if isinstance(expr, syntax.Number):
        return expr.text, _ATOM
    if isinstance(expr, syntax.Ref):
        return expr.name, _ATOM
    if isinstance(expr, syntax.Index):
        return f"{expr.name.text}[{_items(expr.items)}]", _ATOM
    if isinstance(expr, syntax.Call):
        axes = "" if expr.items is None else f"[{_items(expr.items)}]"
        return f"{expr.name.text}{axes}({', '.join(show_syntax(a) for a in expr.args)})", _ATOM
    if isinstance(expr, syntax.Unary):
        return _prefix(expr.op, _syntax(expr.operand))
    assert isinstance(expr, syntax.Binary)
    return _infix(expr.op, _syntax(expr.left), _syntax(expr.right))


def show_item(item: syntax.Item) -> str:
    """One index as it could be written."""
    return show_syntax(item.expr) if item.axis is None else f"{item.axis.text} = {show_syntax(item.expr)}"


def _items(items: tuple[syntax.Item, ...]) -> str:
    return ", ".join(show_item(i) for i in items)


def show_program(program: syntax.Program) -> str:
    """A program as it could be written: `parse` of it is the same Syntax."""
    return "\n".join(_recurrence(r) for r in program.recurrences)


def _recurrence(r: syntax.RecurrenceSyntax) -> str:
    lines = [_header(r.name.text, [_axis(a) for a in r.axes], [n.text for n in r.over])]
    if r.doc:
        lines.append(f'    "{r.doc}"')
    lines += [f"    {_statement(s)}" for s in r.statements]
    return "\n".join(lines) + "\n"


def _header(name: str, axes: list[str], over: list[str]) -> str:
    text = f"recurrence {name}({', '.join(axes)})" if axes else f"recurrence {name}"
    return f"{text} over {', '.join(over)}" if over else text


def _axis(axis: syntax.AxisSyntax) -> str:
    size = f" = {axis.size_of.text}" if axis.size_of is not None else ""
    edge = f" {axis.edge.text}" if axis.edge is not None else ""
    return f"{axis.name.text}{size}{edge}"


def _statement(s: syntax.Statement) -> str:
    if isinstance(s, syntax.Declaration):
        return f"{s.kind} {', '.join(_entry(e) for e in s.entries)}"
    if isinstance(s, syntax.Definition):
        return f"def {s.name.text}({', '.join(p.text for p in s.parameters)}) = {show_syntax(s.body)}"
    items = f"[{_items(s.target.items)}]" if s.target.items is not None else ""
    return f"{'output ' if s.output else ''}{s.target.name.text}{items} = {show_syntax(s.expr)}"


def _entry(e: syntax.Entry) -> str:
    axes = f"[{', '.join(a.text for a in e.axes)}]" if e.axes is not None else ""
    parts = [e.name.text + axes, *(_promise(d) for d in e.domains)]
    if e.value is not None:
        parts.append(f"= {show_syntax(e.value)}")
    return " ".join(parts)


def _promise(d: syntax.DomainSyntax) -> str:
    if isinstance(d, syntax.Bound):
        return f"{d.op} {_bracket(_syntax(d.value), _SUM)}"
    if isinstance(d, syntax.Interval):
        left, right = "(" if d.lower_open else "[", ")" if d.upper_open else "]"
        return f"in {left}{_bracket(_syntax(d.lower), _SUM)}, {_bracket(_syntax(d.upper), _SUM)}{right}"
    return d.name.text if d.argument is None else f"{d.name.text}({d.argument.text})"


def number(value: float, dtype: str) -> str:
    """A number as it could be written, so that it reads back as the same number of the same dtype."""
    if value == inf:
        return "inf"
    return str(int(value)) if dtype == "int" else repr(float(value))


def show_expr(expr: Expr, scan: tuple[str, ...] = ("t",)) -> str:
    """A checked expression with every index written out; `scan` names the scan axes."""
    return _expr(expr, scan)[0]


def _expr(expr: Expr, scan: tuple[str, ...]) -> _Shown:
    if isinstance(expr, Number):
        return number(expr.value, expr.dtype), _ATOM
    if isinstance(expr, Step):
        return expr.scan, _ATOM
    if isinstance(expr, Read):
        inside = [_shifted(s, -lag) for s, lag in zip(scan, expr.lags, strict=False)]
        inside += [_index(i, scan) for i in expr.index]
        return (f"{expr.name}[{', '.join(inside)}]" if inside else expr.name), _ATOM
    if isinstance(expr, Reduce):
        return f"{expr.fn}[{', '.join(expr.over)}]({show_expr(expr.arg, scan)})", _ATOM
    if isinstance(expr, Matrix):
        args = ", ".join(show_expr(a, scan) for a in expr.args)
        return f"{expr.fn}[{expr.rows}, {expr.cols}]({args})", _ATOM
    assert isinstance(expr, Apply)
    if expr.fn in ("neg", "not"):
        return _prefix(OPERATOR[expr.fn], _expr(expr.args[0], scan))
    if expr.fn in OPERATOR:
        return _infix(OPERATOR[expr.fn], _expr(expr.args[0], scan), _expr(expr.args[1], scan))
    return f"{expr.fn}({', '.join(show_expr(a, scan) for a in expr.args)})", _ATOM


def _shifted(name: str, offset: int) -> str:
    return name if offset == 0 else f"{name}{'+' if offset > 0 else '-'}{abs(offset)}"


def _index(index: Index, scan: tuple[str, ...]) -> str:
    return _shifted(index.axis, index.offset) if isinstance(index, Along) else show_expr(index.expr, scan)


def show_domain(symbol: Symbol) -> str:
    """The promises of a symbol as they could be written, or nothing."""
    d = symbol.domain
    words = [f"int({symbol.indexes})"] if symbol.indexes is not None else []
    words += [symbol.dtype] if symbol.dtype in ("bool", "complex") else []
    if d.lower > -inf and d.upper < inf:
        left, right = "(" if d.lower_open else "[", ")" if d.upper_open else "]"
        words.append(f"in {left}{_end(d.lower)}, {_end(d.upper)}{right}")
    elif d.lower > -inf:
        words.append(f"{'>' if d.lower_open else '>='} {_end(d.lower)}")
    elif d.upper < inf:
        words.append(f"{'<' if d.upper_open else '<='} {_end(d.upper)}")
    return " ".join(words + (["unit"] if d.unit else []))


def _end(value: float) -> str:
    return number(value, "int" if value == int(value) else "real")


def show_recurrence(r: Recurrence) -> str:
    """A recurrence as a program: declarations, then its stages in order with every index written out.

    A comment above each stage says which way it runs and which states it carries.
    """
    axes = []
    for axis in r.axes:
        size = f" = {axis.size_of}" if axis.size_of != axis.name else ""
        axes.append(f"{axis.name}{size}{'' if axis.edge == 'zero' else ' ' + axis.edge}")
    lines = [_header(r.name, axes, [] if r.scan == ("t",) else list(r.scan))]
    if r.doc:
        lines.append(f'    "{r.doc}"')
    for symbol in r.of_kind(Kind.INPUT, Kind.PARAM, Kind.CONST, Kind.STATE):
        lines.append(f"    {_declaration(symbol, r.scan)}")
    for number_, stage in enumerate(r.stages, 1):
        once = not any(r.table[name].varies for name in stage.equations)
        lines += ["", f"    # stage {number_}: {'once for all steps' if once else _way(stage, r.scan)}"]
        lines += [f"    {_equation(r, name)}" for name in stage.equations]
    return "\n".join(lines) + "\n"


def _declaration(symbol: Symbol, scan: tuple[str, ...]) -> str:
    axes = f"[{', '.join(symbol.axes)}]" if symbol.axes else ""
    domain = show_domain(symbol)
    value = symbol.initial if symbol.kind is Kind.STATE else symbol.value
    parts = [f"{symbol.kind.value:<6} {symbol.name}{axes}", domain, f"= {show_expr(value, scan)}" if value else ""]
    return " ".join(p for p in parts if p)


def _way(stage: Stage, scan: tuple[str, ...]) -> str:
    carried = f", carries {', '.join(stage.states)}" if stage.states else ""
    if not any(stage.direction):
        return "one step at a time by itself" if carried else "pointwise in time"
    ways = {1: "left to right", -1: "right to left"}
    if len(scan) == 1:
        return ways[stage.direction[0]] + carried
    along = [f"{ways[d]} along {s}" for s, d in zip(scan, stage.direction, strict=True) if d]
    return ", ".join(along) + carried


def _equation(r: Recurrence, name: str) -> str:
    symbol, equation = r.table[name], r.equation[name]
    inside = [*(r.scan if symbol.varies else ()), *symbol.axes]
    left = f"{name}[{', '.join(inside)}]" if inside else name
    prefix = "output " if symbol.kind is Kind.OUTPUT else ""
    return f"{prefix}{left} = {show_expr(equation.expr, r.scan)}"


__all__ = [
    "OPERATOR", "number", "show_domain", "show_expr", "show_item", "show_program", "show_recurrence", "show_syntax",
]  # fmt: skip
