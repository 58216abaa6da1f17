"""Checking equations: their left sides, in an order in which every axis can be inferred."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from recc import syntax
from recc.check.expressions import Expressions
from recc.check.graph import MOST_NOTES, a_cycle, components, in_order, show_chain
from recc.check.indexing import shift_of
from recc.check.ranges import ANY, Interval, of_domain
from recc.check.scope import WIDTH, Scope
from recc.check.typed import Typed
from recc.diagnostics import Note, Span
from recc.recurrence import Dtype, Equation, Expr, Kind, Read, Symbol, walk


class Equations:
    """Checks the values, initial values and equations of one recurrence."""

    def __init__(self, scope: Scope):
        self.scope = scope
        self.errors = scope.errors
        self.expressions = Expressions(scope)
        self.checked: dict[str, Equation] = {}

    def check(self) -> None:
        """Check everything; symbols and checked equations are complete afterwards."""
        self._values()
        order = self._order()
        for name in order:
            self._equation(self.scope.equations[name])
        for name, symbol in list(self.scope.symbols.items()):
            if symbol.kind is Kind.STATE:
                self._initial(symbol)
                if name not in self.scope.equations and name not in self.scope.unknown:
                    self.errors.add("state-never-updated", symbol.span, name=name)

    def _values(self) -> None:
        """The values of constants, each of numbers, parameters and the constants above it."""
        scope = self.scope
        for name, entry in scope.declared.items():
            symbol = scope.symbols[name]
            if symbol.kind is not Kind.CONST or entry.value is None:
                continue
            typed = None if self._needs_equation(name, entry.value) else self.expressions.check(entry.value)
            if typed is None:
                scope.unknown.add(name)
                continue
            ok = self._fits(symbol, typed, entry.value.span, "const")
            for node in walk(typed.expr):
                other = scope.symbols[node.name] if isinstance(node, Read) else None
                later = other is not None and other.kind is Kind.CONST and other.span >= symbol.span
                if other is not None and later and scope.declared[other.name].value is not None:
                    ok = False
                    self.errors.add("const-of-later", node.span, name=name, other=other.name)
            if ok:
                scope.symbols[name] = replace(symbol, value=typed.expr)
                scope.ranges[name] = _meet(typed.range, of_domain(symbol.domain))

    def _needs_equation(self, name: str, value: syntax.Expr) -> bool:
        """Whether the value of a constant uses a name that an equation gives, which it may not."""
        for used in self._mentioned(value):
            if used in self.scope.equations:
                self.errors.add("const-of-later", value.span, name=name, other=used)
                return True
        return False

    def _initial(self, symbol: Symbol) -> None:
        entry = self.scope.declared[symbol.name]
        if entry.value is None:
            low, high = of_domain(symbol.domain)
            if not low <= 0 <= high and symbol.name not in self.scope.unknown:
                self.errors.add("initial-zero-outside", entry.span, name=symbol.name, domain=_shown(symbol))
            return
        typed = self.expressions.check(entry.value)
        if typed is not None and self._fits(symbol, typed, entry.value.span, "state"):
            self.scope.symbols[symbol.name] = replace(symbol, initial=typed.expr)

    def _fits(self, symbol: Symbol, typed: Typed, span: Span, kind: str) -> bool:
        """Whether a value can be that of a declared constant or of a state before its first step."""
        expr = typed.expr
        if expr.varies:
            self.errors.add("value-varies", span, name=symbol.name, kind=kind)
            return False
        extra = [a for a in expr.axes if a not in symbol.axes]
        if extra:
            shown = ", ".join([*symbol.axes, *extra])
            self.errors.add("value-has-more-axes", span, name=symbol.name, kind=kind, axis=extra[0], axes=shown)
            return False
        if not self._convertible(expr, symbol.dtype, span, symbol):
            return False
        low, high = of_domain(symbol.domain)
        if typed.range[0] > high or typed.range[1] < low:
            given = f"{typed.range[0]:g}" if typed.range[0] == typed.range[1] else "always outside"
            self.errors.add("value-outside-domain", span, name=symbol.name, domain=_shown(symbol), given=given)
            return False
        return True

    def _convertible(self, expr: Expr, dtype: Dtype, span: Span, symbol: Symbol) -> bool:
        if WIDTH[expr.dtype] <= WIDTH[dtype]:
            return True
        notes = (Note(symbol.span, f"`{symbol.name}` is declared {dtype} here"),)
        code = "complex-into-real" if expr.dtype == "complex" and dtype == "real" else "dtype-too-wide"
        self.errors.add(code, span, notes=notes, name=symbol.name, dtype=dtype, given=expr.dtype)
        return False

    def _order(self) -> list[str]:
        """Equations in an order in which the intermediates that one reads come before it."""
        scope = self.scope
        needs: dict[str, list[str]] = {}
        inferred = {n for n in scope.equations if n not in scope.symbols}
        for name in scope.equations:
            needs[name] = [n for n in self._mentioned(scope.equations[name].expr) if n in inferred]
        for group in components(needs):
            if len(group) > 1 or group[0] in needs[group[0]]:
                self._inferred_cycle(group, needs)
                for name in group:
                    needs[name] = []
        return in_order(needs)

    def _mentioned(self, expr: syntax.Expr) -> list[str]:
        """The names in an expression, those in the definitions it uses included."""
        names: dict[str, None] = {}
        for n in _names(expr, set()):
            names[n] = None
            names.update(self._inside.get(n, {}))
        return list(names)

    @cached_property
    def _inside(self) -> dict[str, dict[str, None]]:
        """The names in the body of each definition, those in the definitions it uses included."""
        inside: dict[str, dict[str, None]] = {}
        bodies = {name: _names(d.body, {p.text for p in d.parameters}) for name, d in self.scope.definitions.items()}
        for group in components(bodies):
            union: dict[str, None] = {}
            for name in group:
                for n in bodies[name]:
                    union.update(inside.get(n, {}))
                    union[n] = None
            for name in group:
                inside[name] = union
        return inside

    def _inferred_cycle(self, group: list[str], needs: dict[str, list[str]]) -> None:
        """Names that are no states but need themselves: a forgotten state, or a cycle within one step."""
        scope = self.scope
        inside = set(group)
        scope.unknown.update(inside)
        for name in sorted(group, key=lambda n: scope.equations[n].span):
            for node in _nodes(scope.equations[name].expr):
                if not isinstance(node, syntax.Index) or node.name.text not in inside:
                    continue
                shifts = [shift_of(i.expr, s) for i, s in zip(node.items, scope.scan, strict=False)]
                if any(shifts):
                    other = scope.equations[node.name.text].target.name
                    note = Note(other.span, f"`{other.text}` is given here")
                    self.errors.add("undeclared-state", node.span, notes=(note,), name=other.text)
                    return
        chain = a_cycle({name: [n for n in needs[name] if n in inside] for name in group})
        first = min(range(len(chain)), key=lambda i: scope.equations[chain[i]].span)
        chain = chain[first:] + chain[:first]
        shown = show_chain(chain)
        spans = [scope.equations[n].target.span for n in chain]
        following = [*chain[1:], chain[0]]
        notes = tuple(
            Note(span, f"which needs `{after}`") for span, after in zip(spans[1:], following[1:], strict=True)
        )[:MOST_NOTES]
        self.errors.add("cycle-in-step", spans[0], notes=notes, chain=shown, name=chain[0], next=following[0])

    def _equation(self, equation: syntax.EquationSyntax) -> None:
        scope = self.scope
        name = equation.target.name.text
        symbol = scope.symbols.get(name)
        left = self._left(equation.target, symbol, equation.output)
        typed = self.expressions.check(equation.expr)
        if typed is None or left is None:
            scope.unknown.add(name)
            return
        varies, axes = left
        if typed.expr.varies and not varies:
            self._needs_time(equation, typed.expr)
            return
        if symbol is None:
            kind = Kind.OUTPUT if equation.output else Kind.LOCAL
            span = equation.target.name.span
            found = Symbol(name, kind, typed.expr.axes if axes is None else axes, typed.expr.dtype, varies, span=span)
            scope.ranges[name] = typed.range
        else:
            found = symbol
            if not self._convertible(typed.expr, symbol.dtype, equation.expr.span, symbol):
                return
        extra = [a for a in typed.expr.axes if a not in found.axes]
        if extra:
            self._missing_reduction(equation, found, typed.expr, extra)
            if symbol is None:
                scope.unknown.add(name)
            return
        scope.symbols.setdefault(name, found)
        self.checked[name] = Equation(name, typed.expr, equation.span)

    def _needs_time(self, equation: syntax.EquationSyntax, expr: Expr) -> None:
        """The right side varies, the left side does not say so."""
        name = equation.target.name
        self.scope.unknown.add(name.text)
        first = _first(expr, lambda e: e.varies and not e.children) or expr
        notes = (Note(first.span, "varies with time"),)
        time = ", ".join(self.scope.scan)
        self.errors.add("missing-time-left", equation.target.span, notes=notes, name=name.text, time=time)

    def _missing_reduction(self, equation: syntax.EquationSyntax, symbol: Symbol, expr: Expr, extra: list[str]) -> None:
        axis = extra[0]
        first = _first(expr, lambda e: axis in e.axes and not any(axis in c.axes for c in e.children)) or expr
        has = ", ".join(symbol.axes) or "no axes"
        notes = (Note(equation.target.span, f"`{symbol.name}` has {has}"),)
        same = [a for a in symbol.axes if self.scope.same_size(a, axis)]
        help = f"reduce it, for example `sum[{', '.join(extra)}](…)`"
        if same and same[0] != axis:
            help += f"; or index `{same[0]}` where `{axis}` stands"
        self.errors.add("missing-reduction", first.span, notes=notes, help=help, axis=axis, name=symbol.name, has=has)

    def _left(
        self, target: syntax.Target, symbol: Symbol | None, output: bool
    ) -> tuple[bool, tuple[str, ...] | None] | None:
        """Whether the target varies, and its axes if they are written out; `None` after a mistake."""
        scope = self.scope
        name, items = target.name.text, target.items or ()
        must_vary = output or symbol is not None
        what = "an output" if output else "a state"
        named = next((i for i in items if i.axis is not None), None)
        if named is not None:
            self.errors.add("left-named-index", named.span, name=name)
            return None
        shifts = [shift_of(i.expr, s) for i, s in zip(items, scope.scan, strict=False)]
        if any(shifts):
            self.errors.add("left-shifted", target.span, name=name, now=f"{name}[{', '.join(scope.scan)}]")
            return None
        varies = bool(shifts) and all(s == 0 for s in shifts) and len(shifts) == len(scope.scan)
        if not varies and (must_vary or 0 in shifts):
            time = ", ".join([*scope.scan, *(symbol.axes if symbol is not None and items else ())])
            self.errors.add(
                "left-without-time", target.span, name=name, time=time, what=what if must_vary else "a value"
            )
            return None
        rest = items[len(scope.scan) :] if varies else items
        if not rest:
            return varies, None
        return self._left_axes(target, rest, symbol, varies)

    def _left_axes(
        self, target: syntax.Target, rest: tuple[syntax.Item, ...], symbol: Symbol | None, varies: bool
    ) -> tuple[bool, tuple[str, ...]] | None:
        axes: list[str] = []
        for item in rest:
            axis = item.expr.name if isinstance(item.expr, syntax.Ref) else ""
            if axis not in self.scope.axes or axis in axes:
                self.errors.add("left-index", item.span, name=target.name.text)
                return None
            axes.append(axis)
        if symbol is not None and tuple(axes) != symbol.axes:
            span = rest[0].span.to(rest[-1].span)
            notes = (Note(symbol.span, f"declared with {', '.join(symbol.axes) or 'no axes'}"),)
            shown = ", ".join([*self.scope.scan, *symbol.axes])
            self.errors.add("left-axes", span, notes=notes, name=symbol.name, shown=f"{symbol.name}[{shown}]")
            return None
        return varies, tuple(axes)


def _first(expr: Expr, test: object) -> Expr | None:
    """The first sub-expression, in the order of the text, that passes a test."""
    found = [e for e in walk(expr) if test(e)]  # type: ignore[operator]  # a predicate given by this module
    return min(found, key=lambda e: e.span) if found else None


def _meet(x: Interval, y: Interval) -> Interval:
    low, high = max(x[0], y[0]), min(x[1], y[1])
    return (low, high) if low <= high else ANY


def _shown(symbol: Symbol) -> str:
    from recc.show import show_domain

    return show_domain(symbol)


def _nodes(expr: syntax.Expr) -> list[syntax.Expr]:
    """Every node of an expression, in the order of the text."""
    found: list[syntax.Expr] = []
    stack = [expr]
    while stack:
        node = stack.pop()
        found.append(node)
        stack.extend(reversed(syntax.children(node)))
    return found


def _names(expr: syntax.Expr, without: set[str]) -> list[str]:
    """The names in an expression, those of functions included, in the order of the text."""
    found: dict[str, None] = {}
    for node in _nodes(expr):
        if isinstance(node, syntax.Ref):
            found[node.name] = None
        elif isinstance(node, (syntax.Index, syntax.Call)):
            found[node.name.text] = None
    return [n for n in found if n not in without]


__all__ = ["Equations"]
