"""Rewriting of programs as they are written: the tools that reductions are made of.

Everything is a function of Syntax to Syntax. What comes out need not be well formed: only `recc.check` says that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from recc.syntax import (
    Binary,
    Bound,
    Call,
    Declaration,
    Definition,
    DomainSyntax,
    Entry,
    EquationSyntax,
    Expr,
    Index,
    Interval,
    Item,
    Number,
    Property,
    RecurrenceSyntax,
    Ref,
    Statement,
    Unary,
    children,
)

Change = Callable[[Expr], Expr | None]


def rebuilt(expr: Expr, below: tuple[Expr, ...]) -> Expr:
    """An expression with other expressions directly below, in the order of `children`."""
    if isinstance(expr, Index):
        items = tuple(replace(i, expr=e) for i, e in zip(expr.items, below, strict=True))
        return replace(expr, items=items)
    if isinstance(expr, Call):
        count = len(expr.items or ())
        items = tuple(replace(i, expr=e) for i, e in zip(expr.items or (), below[:count], strict=True))
        return replace(expr, items=None if expr.items is None else items, args=below[count:])
    if isinstance(expr, Unary):
        return replace(expr, operand=below[0])
    if isinstance(expr, Binary):
        return replace(expr, left=below[0], right=below[1])
    return expr


def change(expr: Expr, how: Change) -> Expr:
    """Every node for which `how` gives another is replaced by that; below the replaced ones nothing is looked at."""
    found = how(expr)
    if found is not None:
        return found
    below = children(expr)
    changed = tuple(change(e, how) for e in below)
    same = all(a is b for a, b in zip(below, changed, strict=True))
    return expr if same else rebuilt(expr, changed)


def nodes(expr: Expr) -> Iterator[Expr]:
    """Every node, parents first."""
    yield expr
    for below in children(expr):
        yield from nodes(below)


def put(expr: Expr, number: int, new: Expr) -> Expr:
    """The expression with node `number` of `nodes` replaced."""
    count = -1

    def how(node: Expr) -> Expr | None:
        nonlocal count
        count += 1
        return new if count == number else None

    return change(expr, how)


def everywhere(program: RecurrenceSyntax, how: Change) -> RecurrenceSyntax:
    """`change` in every expression of a program: right sides, bodies, initial values, bounds, targets."""

    def entry(e: Entry) -> Entry:
        value = None if e.value is None else change(e.value, how)
        return replace(e, value=value, domains=tuple(_domain(d, how) for d in e.domains))

    def statement(s: Statement) -> Statement:
        if isinstance(s, Declaration):
            return replace(s, entries=tuple(entry(e) for e in s.entries))
        if isinstance(s, Definition):
            hidden = {p.text for p in s.parameters}
            return replace(s, body=change(s.body, lambda e: None if reads_any(e, hidden) else how(e)))
        return replace(s, expr=change(s.expr, how))

    return replace(program, statements=tuple(statement(s) for s in program.statements))


def reads_any(expr: Expr, names: set[str]) -> bool:
    """Whether an expression is itself a read of one of some names."""
    return name_read(expr) in names


def _domain(domain: DomainSyntax, how: Change) -> DomainSyntax:
    if isinstance(domain, Bound):
        return replace(domain, value=change(domain.value, how))
    if isinstance(domain, Interval):
        return replace(domain, lower=change(domain.lower, how), upper=change(domain.upper, how))
    return domain


def name_read(expr: Expr) -> str | None:
    """The name that a node reads, if it is a read."""
    if isinstance(expr, Ref):
        return expr.name
    return expr.name.text if isinstance(expr, Index) else None


def substitute(program: RecurrenceSyntax, names: Mapping[str, Expr]) -> RecurrenceSyntax:
    """Every read of some names, whatever its indices, replaced by expressions."""
    return everywhere(program, lambda e: names.get(name_read(e) or ""))


def entries(program: RecurrenceSyntax) -> Iterator[tuple[Declaration, Entry]]:
    """Every declared name with the statement that it stands in."""
    for s in program.statements:
        if isinstance(s, Declaration):
            for e in s.entries:
                yield s, e


def without(program: RecurrenceSyntax, names: set[str]) -> RecurrenceSyntax:
    """A program without the declarations and equations of some names, which may still be read."""
    kept: list[Statement] = []
    for s in program.statements:
        if isinstance(s, Declaration):
            rest = tuple(e for e in s.entries if e.name.text not in names)
            if rest:
                kept.append(replace(s, entries=rest))
        elif isinstance(s, EquationSyntax):
            if s.target.name.text not in names:
                kept.append(s)
        elif s.name.text not in names:
            kept.append(s)
    return replace(program, statements=tuple(kept))


def tidy(program: RecurrenceSyntax) -> RecurrenceSyntax:
    """Without what no output needs: equations, declarations, definitions, axes, scan axes."""
    equations = {s.target.name.text: s for s in program.statements if isinstance(s, EquationSyntax)}
    definitions = {s.name.text: s for s in program.statements if isinstance(s, Definition)}
    declared = {e.name.text: e for _, e in entries(program)}
    needed: set[str] = set()
    waiting = [name for name, e in equations.items() if e.output]
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        for expr in _expressions(equations.get(name), definitions.get(name), declared.get(name)):
            waiting += [n for node in nodes(expr) for n in _mentioned(node)]
        if (entry := declared.get(name)) is not None:
            waiting += [a.text for a in entry.axes or ()]
            waiting += [d.argument.text for d in entry.domains if isinstance(d, Property) and d.argument is not None]
        if (equation := equations.get(name)) is not None:
            waiting += [n for i in equation.target.items or () for n in _mentioned(i.expr)]
    roots = {a.size_of.text for a in program.axes if a.size_of is not None and a.name.text in needed}
    axes = tuple(a for a in program.axes if a.name.text in needed | roots)
    every = {*equations, *definitions, *declared}
    return replace(without(program, every - needed), axes=axes)


def _expressions(equation: EquationSyntax | None, definition: Definition | None, entry: Entry | None) -> list[Expr]:
    found: list[Expr] = [] if equation is None else [equation.expr]
    found += [] if definition is None else [definition.body]
    if entry is not None:
        found += [] if entry.value is None else [entry.value]
        for d in entry.domains:
            found += [d.value] if isinstance(d, Bound) else [d.lower, d.upper] if isinstance(d, Interval) else []
    return found


def _mentioned(node: Expr) -> list[str]:
    """The names that stand in a node itself: what it reads or calls, axes that it names."""
    read = name_read(node)
    if read is not None:
        return [read, *([i.axis.text for i in node.items if i.axis is not None] if isinstance(node, Index) else [])]
    if isinstance(node, Call):
        return [node.name.text, *(i.axis.text for i in node.items or () if i.axis is not None)]
    return []


def weight(program: RecurrenceSyntax) -> tuple[int, int, str]:
    """How large a program is: its parts, then its text. A reduction has to make it smaller."""
    count = len(program.axes) + sum(a.size_of is not None or a.edge is not None for a in program.axes)
    count += len(program.over) + bool(program.doc)
    for s in program.statements:
        count += 1
        if isinstance(s, Declaration):
            count += sum(2 + len(e.axes or ()) + 2 * len(e.domains) for e in s.entries)
            count += sum(_size(e.value) for e in s.entries if e.value is not None)
        elif isinstance(s, Definition):
            count += len(s.parameters) + _size(s.body)
        else:
            count += len(s.target.items or ()) + _size(s.expr)
    text = text_of(program)
    return count, len(text), text


def _size(expr: Expr) -> int:
    """Numbers count for less than reads, and whole numbers below two for less than others."""
    total = 0
    for node in nodes(expr):
        total += (1 if node.text in ("0", "1") else 2) if isinstance(node, Number) else 3
    return total


def text_of(program: RecurrenceSyntax) -> str:
    """A program of one recurrence, as text."""
    from recc.syntax import Program

    return str(Program((program,)))


def number(text: str) -> Number:
    """A number as it is written."""
    return Number(text)


def without_item(items: tuple[Item, ...], at: int) -> tuple[Item, ...]:
    """Indices without the one at a place."""
    return items[:at] + items[at + 1 :]


__all__ = [
    "change", "entries", "everywhere", "name_read", "nodes", "number", "put", "substitute", "text_of", "tidy",
    "weight", "without", "without_item",
]  # fmt: skip
