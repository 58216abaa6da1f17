"""What a program declares and does not use, and what it lacks as a whole."""

from __future__ import annotations

from recc import syntax
from recc.check.scope import Scope
from recc.check.stages import Plan
from recc.diagnostics import Note
from recc.recurrence import Kind


def check_whole(scope: Scope) -> None:
    """Tell declarations without use, axes without a size, and a program without an output."""
    used = _used(scope)
    for name, symbol in scope.symbols.items():
        if name in used or name in scope.unknown or symbol.kind in (Kind.STATE, Kind.OUTPUT):
            continue
        scope.errors.add("unused-name", symbol.span, name=name, kind=symbol.kind.value)
    for name, definition in scope.definitions.items():
        if name not in used and name not in scope.unknown:
            scope.errors.add("unused-definition", definition.name.span, name=name)
    _axes(scope, used)
    outputs = [s for s in scope.written.statements if isinstance(s, syntax.EquationSyntax) and s.output]
    if not outputs:
        scope.errors.add("no-output", scope.written.name.span, name=scope.written.name.text)


def check_slots(scope: Scope, plan: Plan) -> None:
    """Tell names that the slots of other names need."""
    for slot in plan.slots:
        other = scope.symbols.get(slot.name)
        if slot.name != slot.symbol and other is not None:
            notes = (Note(scope.symbols[slot.symbol].span, "read at an earlier step"),)
            scope.errors.add("name-of-slot", other.span, notes=notes, name=slot.name, symbol=slot.symbol)


def _used(scope: Scope) -> set[str]:
    """Every name that stands in an expression, an index, a declaration or a pair of brackets."""
    used = set(scope.meant)
    expressions: list[syntax.Expr] = []
    for statement in scope.written.statements:
        if isinstance(statement, syntax.Declaration):
            for entry in statement.entries:
                used.update(a.text for a in entry.axes or ())
                used.update(
                    d.argument.text for d in entry.domains if isinstance(d, syntax.Property) and d.argument is not None
                )
                bounds = [d for d in entry.domains if isinstance(d, syntax.Bound)]
                intervals = [d for d in entry.domains if isinstance(d, syntax.Interval)]
                expressions += [b.value for b in bounds]
                expressions += [end for i in intervals for end in (i.lower, i.upper)]
                expressions += [entry.value] if entry.value is not None else []
        elif isinstance(statement, syntax.Definition):
            expressions.append(statement.body)
        else:
            expressions.append(statement.expr)
            used.update(i.expr.name for i in statement.target.items or () if isinstance(i.expr, syntax.Ref))
    while expressions:
        node = expressions.pop()
        if isinstance(node, syntax.Ref):
            used.add(node.name)
        elif isinstance(node, (syntax.Index, syntax.Call)):
            used.add(node.name.text)
        expressions.extend(syntax.children(node))
    return used


def _axes(scope: Scope, used: set[str]) -> None:
    sized = {scope.axes[a].size_of for s in scope.symbols.values() if s.is_argument for a in s.axes}
    failed = scope.unknown - scope.equations.keys()
    for name, axis in scope.axes.items():
        second = [a.name for a in scope.axes.values() if a.size_of == name and a.name != name]
        if name not in used and not second:
            scope.errors.add("unused-axis", axis.span, name=name)
        elif axis.size_of == name and name not in sized and not failed:
            scope.errors.add("axis-without-size", axis.span, name=name)


__all__ = ["check_slots", "check_whole"]
