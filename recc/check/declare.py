"""From declarations to symbols: axes, domains, definitions and the names that equations give."""

from __future__ import annotations

import keyword
from math import inf, isnan
from typing import cast

from recc import syntax
from recc.check.ranges import of_domain
from recc.check.scope import CALLABLE, Scope
from recc.diagnostics import Note, Span
from recc.mistakes import closest, did_you_mean
from recc.recurrence import Axis, Domain, Dtype, Edge, Kind, Symbol

MAX_AXES = 32
_EDGES = ("zero", "wrap", "clamp")
_PROPERTIES = ("unit", "int", "bool", "complex")
_KINDS = {"input": Kind.INPUT, "param": Kind.PARAM, "const": Kind.CONST, "state": Kind.STATE}

#: Keywords of the compiled callable, which an argument of the same name would hide.
CALL_KEYWORDS = (
    "initial_state", "output_final_state", "cu_seqlens", "steps", "dtype", "self", "state", "inplace", "slots",
)  # fmt: skip


def declare(scope: Scope) -> None:
    """Enter every name of a recurrence into its scope; tell the names that cannot be."""
    _scan(scope)
    _axes(scope)
    for statement in scope.written.statements:
        if isinstance(statement, syntax.Declaration):
            for entry in statement.entries:
                _entry(scope, _KINDS[statement.kind], entry)
        elif isinstance(statement, syntax.Definition):
            _definition(scope, statement)
    for statement in scope.written.statements:
        if isinstance(statement, syntax.EquationSyntax):
            _equation(scope, statement)
    _definition_cycles(scope)


def _scan(scope: Scope) -> None:
    names: list[str] = []
    for name in scope.written.over:
        if name.text in names:
            scope.errors.add("duplicate-name", name.span, name=name.text, notes=())
        elif _allowed(scope, name, "scan axis"):
            names.append(name.text)
    scope.scan = tuple(names) or ("t",)


def _axes(scope: Scope) -> None:
    header = scope.written.axes
    if len(header) > MAX_AXES:
        raise scope.errors.fatal("too-many-axes", header[MAX_AXES].span, limit=MAX_AXES)
    written = {axis.name.text: axis for axis in reversed(header)}
    edges: dict[str, Edge] = {}
    for axis in header:
        name = axis.name.text
        if not _free(scope, axis.name, "axis"):
            continue
        size_of = _size_of(scope, axis, written)
        scope.axes[name] = Axis(name, size_of, "zero", axis.name.span)
        if axis.edge is not None:
            if axis.edge.text in _EDGES:
                edges[name] = cast(Edge, axis.edge.text)
            else:
                help = did_you_mean(axis.edge.text, _EDGES)
                scope.errors.add("unknown-edge", axis.edge.span, help=help or None, word=axis.edge.text, axis=name)
    for name, found in list(scope.axes.items()):
        edge = edges.get(name, edges.get(found.size_of, "zero"))
        scope.axes[name] = Axis(name, found.size_of, edge, found.span)


def _size_of(scope: Scope, axis: syntax.AxisSyntax, written: dict[str, syntax.AxisSyntax]) -> str:
    name = axis.name.text
    if axis.size_of is None:
        return name
    other = axis.size_of.text
    if other not in written or other == name:
        nearest = closest(other, tuple(a for a in written if a != name))
        help = f"did you mean `{nearest}`?" if nearest else None
        scope.errors.add("size-of-unknown-axis", axis.size_of.span, help=help, name=name, other=other)
        scope.unknown.update((name, other))
        scope.meant.add(nearest)
        return name
    root = written[other]
    if root.size_of is not None:
        notes = (Note(root.span, f"`{other}` is a second index itself"),)
        scope.errors.add(
            "size-of-second-index", axis.size_of.span, notes=notes, name=name, other=other, root=root.size_of.text
        )
        return root.size_of.text if root.size_of.text in written else name
    return other


def _allowed(scope: Scope, name: syntax.Name, what: str) -> bool:
    """Whether a name may be given at all."""
    text = name.text
    reason = ""
    if text in CALLABLE:
        reason = "a function of the language"
    elif text == "inf":
        reason = "the number infinity"
    elif keyword.iskeyword(text):
        reason = "a keyword of Python, where the compiled recurrence is called"
    elif text in CALL_KEYWORDS:
        reason = "an argument that every compiled recurrence has"
    if reason:
        scope.errors.add("reserved-name", name.span, name=text, what=what, reason=reason)
    elif text.startswith("_"):
        scope.errors.add("leading-underscore", name.span, name=text, bare=text.lstrip("_") or "x")
    return not reason and not text.startswith("_")


def _free(scope: Scope, name: syntax.Name, what: str) -> bool:
    """Whether a name may be given here: allowed, not a scan axis, and not given before."""
    text = name.text
    if not _allowed(scope, name, what):
        scope.unknown.add(text)
        return False
    if text in scope.scan:
        scope.errors.add("scan-axis-name", name.span, name=text, what=what)
        scope.unknown.add(text)
        return False
    earlier = _span_of(scope, text)
    if earlier is not None:
        scope.errors.add("duplicate-name", name.span, notes=(Note(earlier, "given here first"),), name=text)
        scope.unknown.add(text)
        return False
    return True


def _span_of(scope: Scope, name: str) -> Span | None:
    """Where a name was given, if it was."""
    if name in scope.axes:
        return scope.axes[name].span
    if name in scope.symbols:
        return scope.symbols[name].span
    if name in scope.definitions:
        return scope.definitions[name].name.span
    if name in scope.equations:
        return scope.equations[name].target.name.span
    return None


def _entry(scope: Scope, kind: Kind, entry: syntax.Entry) -> None:
    if not _free(scope, entry.name, kind.value):
        return
    name = entry.name.text
    axes = _declared_axes(scope, entry)
    if entry.value is not None and kind in (Kind.INPUT, Kind.PARAM):
        scope.errors.add("value-on-argument", entry.value.span, name=name, kind=kind.value)
    dtype, domain, indexes = _domain(scope, entry, axes)
    varies = kind in (Kind.INPUT, Kind.STATE)
    scope.declared[name] = entry
    scope.symbols[name] = Symbol(name, kind, axes, dtype, varies, domain, indexes, span=entry.name.span)
    scope.ranges[name] = of_domain(domain)


def _declared_axes(scope: Scope, entry: syntax.Entry) -> tuple[str, ...]:
    axes: list[str] = []
    for name in entry.axes or ():
        if name.text in axes:
            scope.errors.add("axis-twice", name.span, function=entry.name.text, axis=name.text)
        elif name.text in scope.scan:
            if name.text not in scope.unknown:
                scope.errors.add("time-in-declaration", name.span, name=entry.name.text, axis=name.text)
        elif name.text not in scope.axes:
            scope.no_such_axis(name)
            scope.unknown.add(entry.name.text)
        else:
            axes.append(name.text)
    return tuple(axes)


def _domain(scope: Scope, entry: syntax.Entry, axes: tuple[str, ...]) -> tuple[Dtype, Domain, str | None]:
    dtype: Dtype = "real"
    indexes: str | None = None
    unit = False
    low, high = (-inf, False), (inf, False)
    bounded: Span | None = None
    word: Span | None = None
    for promise in entry.domains:
        if isinstance(promise, syntax.Property):
            found = _property(scope, promise, entry, axes)
            if found is None:
                continue
            if found == "unit":
                unit = True
                continue
            if dtype != "real":
                scope.errors.add("domains-disagree", promise.span, first=f"`{dtype}`", second=f"`{found}`")
                continue
            dtype, word = cast(Dtype, found), promise.span
            indexes = promise.argument.text if promise.argument is not None else None
            continue
        ends = _ends(scope, promise)
        if ends is not None:
            low = max(low, ends[0])
            high = min(high, ends[1], key=lambda end: (end[0], not end[1]))
            bounded = promise.span if bounded is None else bounded.to(promise.span)
    beyond = low[0] == inf or high[0] == -inf
    if bounded is not None and (beyond or low[0] > high[0] or (low[0] == high[0] and (low[1] or high[1]))):
        help = None if low[0] > high[0] else f"to promise the value itself, write `in [{low[0]:g}, {high[0]:g}]`"
        help = "write an end that is a number, or leave it out" if beyond else help
        scope.errors.add("empty-domain", bounded, help=help, low=f"{low[0]:g}", high=f"{high[0]:g}")
        low, high = (-inf, False), (inf, False)
    if word is not None and (bounded is not None or (unit and dtype != "complex")):
        what = "`unit`" if bounded is None else "a range"
        scope.errors.add("domains-disagree", word, first=what, second=f"`{dtype}`")
        return dtype, Domain(), indexes
    return dtype, Domain(low[0], high[0], low[1], high[1], unit), indexes


def _property(scope: Scope, promise: syntax.Property, entry: syntax.Entry, axes: tuple[str, ...]) -> str | None:
    word = promise.name.text
    if word not in _PROPERTIES:
        help = did_you_mean(word, _PROPERTIES)
        scope.errors.add("unknown-domain", promise.name.span, help=help or None, word=word, name=entry.name.text)
        scope.unknown.add(entry.name.text)
        if not help:
            scope.unknown.add(word)  # perhaps a name, and the comma before it is missing
        return None
    if word == "int":
        if promise.argument is None:
            scope.errors.add("int-without-axis", promise.span, name=entry.name.text)
            scope.unknown.add(entry.name.text)
            return None
        if promise.argument.text not in scope.axes:
            scope.no_such_axis(promise.argument)
            scope.unknown.add(entry.name.text)
            return None
        return "int"
    if promise.argument is not None:
        scope.errors.add("domain-takes-no-axis", promise.argument.span, word=word)
    if word == "unit" and not axes:
        if entry.axes is None:
            scope.errors.add("unit-without-axis", promise.span, name=entry.name.text)
        return None
    return word


def _ends(
    scope: Scope, promise: syntax.Bound | syntax.Interval
) -> tuple[tuple[float, bool], tuple[float, bool]] | None:
    """The lower and upper end that a promise gives, each with whether it is open."""
    if isinstance(promise, syntax.Interval):
        low, high = _constant(scope, promise.lower), _constant(scope, promise.upper)
        if low is None or high is None:
            return None
        return (low, promise.lower_open), (high, promise.upper_open)
    value = _constant(scope, promise.value)
    if value is None:
        return None
    if promise.op in ("<", "<="):
        return (-inf, False), (value, promise.op == "<")
    return (value, promise.op == ">"), (inf, False)


def _constant(scope: Scope, expr: syntax.Expr) -> float | None:
    """The value of an expression of numbers alone."""
    value = _fold(expr)
    if value is None or isnan(value):
        scope.errors.add("bound-not-a-number", expr.span)
        return None
    return value


def _fold(expr: syntax.Expr) -> float | None:
    if isinstance(expr, syntax.Number):
        return float(expr.text)
    if isinstance(expr, syntax.Ref):
        return inf if expr.name == "inf" else None
    if isinstance(expr, syntax.Unary):
        inner = _fold(expr.operand)
        return inner if inner is None or expr.op == "+" else -inner
    if isinstance(expr, syntax.Binary):
        left, right = _fold(expr.left), _fold(expr.right)
        if left is None or right is None:
            return None
        if expr.op == "/":
            return left / right if right else None
        return {"+": left + right, "-": left - right, "*": left * right}.get(expr.op)
    return None


def _definition(scope: Scope, definition: syntax.Definition) -> None:
    if not _free(scope, definition.name, "definition"):
        return
    seen: set[str] = set()
    for parameter in definition.parameters:
        if parameter.text in seen:
            scope.errors.add("duplicate-parameter", parameter.span, name=parameter.text, function=definition.name.text)
        elif _allowed(scope, parameter, "parameter"):
            seen.add(parameter.text)
            if parameter.text in scope.scan:
                scope.errors.add("scan-axis-name", parameter.span, name=parameter.text, what="parameter")
    if len(seen) < len(definition.parameters):
        scope.unknown.add(definition.name.text)
    scope.definitions[definition.name.text] = definition


def _equation(scope: Scope, equation: syntax.EquationSyntax) -> None:
    """Enter the name that an equation gives, unless it is an argument or has an equation already."""
    name = equation.target.name
    symbol = scope.symbols.get(name.text)
    if name.text in scope.equations:
        notes = (Note(scope.equations[name.text].target.span, "its first equation"),)
        scope.errors.add("second-equation", equation.target.span, notes=notes, name=name.text)
    elif symbol is None:
        if _free(scope, name, "output" if equation.output else "intermediate"):
            scope.equations[name.text] = equation
    elif equation.output:
        notes = (Note(symbol.span, f"declared as {symbol.kind.value} here"),)
        scope.errors.add("output-of-declared", name.span, notes=notes, name=name.text, kind=symbol.kind.value)
        scope.unknown.add(name.text)
    elif symbol.kind is Kind.STATE:
        scope.equations[name.text] = equation
    else:
        notes = (Note(symbol.span, f"declared as {symbol.kind.value} here"),)
        scope.errors.add("equation-for-argument", name.span, notes=notes, name=name.text, kind=symbol.kind.value)
        scope.unknown.add(name.text)


def _definition_cycles(scope: Scope) -> None:
    """Tell definitions that use themselves, and take them out of the way."""
    from recc.check.graph import a_cycle, components, show_chain

    calls = {name: sorted(_called(d.body) & scope.definitions.keys()) for name, d in scope.definitions.items()}
    for group in components(calls):
        if len(group) > 1 or group[0] in calls[group[0]]:
            first = min(group, key=lambda n: scope.definitions[n].span)
            cycle = a_cycle({n: [c for c in calls[n] if c in group] for n in sorted(group)}) or [first]
            chain = show_chain(cycle[cycle.index(first) :] + cycle[: cycle.index(first)] if first in cycle else cycle)
            scope.errors.add("recursive-definition", scope.definitions[first].name.span, name=first, chain=chain)
            scope.unknown.update(group)


def _called(expr: syntax.Expr) -> set[str]:
    found: set[str] = set()
    stack = [expr]
    while stack:
        node = stack.pop()
        if isinstance(node, syntax.Call):
            found.add(node.name.text)
        stack.extend(syntax.children(node))
    return found


__all__ = ["CALL_KEYWORDS", "MAX_AXES", "declare"]
