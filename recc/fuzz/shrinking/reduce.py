"""Smaller programs: every way to take something away from a program, largest first.

A pass is a function of a program to the programs that are smaller by one reduction of its kind. They need
not be well formed, and mean something else: whoever asks checks each and sees what remains of what was looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from recc.syntax import (
    AxisSyntax,
    Binary,
    Call,
    Declaration,
    Definition,
    Entry,
    EquationSyntax,
    Expr,
    Index,
    Item,
    Number,
    RecurrenceSyntax,
    Ref,
    Statement,
    Unary,
    children,
)

from .rewrite import (
    change,
    entries,
    everywhere,
    name_read,
    nodes,
    number,
    put,
    rebuilt,
    substitute,
    tidy,
    weight,
    without,
    without_item,
)

Pass = Callable[[RecurrenceSyntax], Iterator[RecurrenceSyntax]]


def outputs(program: RecurrenceSyntax) -> Iterator[RecurrenceSyntax]:
    """One output alone, and all but one."""
    names = [s.target.name.text for s in program.statements if isinstance(s, EquationSyntax) and s.output]
    if len(names) > 1:
        for name in names:
            yield without(program, set(names) - {name})
        for name in names:
            yield without(program, {name})


def exposed(program: RecurrenceSyntax) -> Iterator[RecurrenceSyntax]:
    """An output that is only what one other name is at the step: `output y[t] = h[t]`, for every name that it reads."""
    for at, s in enumerate(program.statements):
        if not (isinstance(s, EquationSyntax) and s.output):
            continue
        read = dict.fromkeys(n for node in nodes(s.expr) if (n := name_read(node)) is not None)
        targets = {e.target.name.text: e.target for e in program.statements if isinstance(e, EquationSyntax)}
        states = {e.name.text: e for d, e in entries(program) if d.kind == "state"}
        for name in read:
            if name in targets or name in states:
                scan = program.over or ()
                time = tuple(Item(None, Ref(n.text)) for n in scan) or (Item(None, Ref("t")),)
                target = replace(s.target, items=time)
                now = replace(s, target=target, expr=Index(targets[name].name, time))
                yield _with(program, at, now)


def names(program: RecurrenceSyntax) -> Iterator[RecurrenceSyntax]:
    """A name replaced by 0 or 1 wherever it is read: states, intermediates, inputs, parameters, definitions."""
    found = [s.target.name.text for s in program.statements if isinstance(s, EquationSyntax) and not s.output]
    found += [e.name.text for _, e in entries(program)]
    for name in dict.fromkeys(found):
        for value in ("0", "1"):
            yield without(substitute(program, {name: number(value)}), {name})


def axes(program: RecurrenceSyntax) -> Iterator[RecurrenceSyntax]:
    """A program without one axis, or without an axis and those of its size; without one of several scan axes."""
    for axis in program.axes:
        same = {a.name.text for a in program.axes if a.size_of is not None and a.size_of.text == axis.name.text}
        if same:
            yield _drop_axes(program, {axis.name.text, *same})
        yield _drop_axes(program, {axis.name.text})
    for at in range(len(program.over)):
        yield _drop_scan(program, at)


def alike(program: RecurrenceSyntax) -> Iterator[RecurrenceSyntax]:
    """Two declared names made one."""
    found = list(entries(program))
    for i, (kind, first) in enumerate(found):
        for other_kind, other in found[i + 1 :]:
            if kind.kind == other_kind.kind != "state" and replace(other, name=first.name) == first:
                yield without(_renamed(program, other.name.text, first), {other.name.text})


def expressions(program: RecurrenceSyntax) -> Iterator[RecurrenceSyntax]:
    """One expression replaced by 0, by 1, or by one below it; the largest first."""
    for at, s in enumerate(program.statements):
        if isinstance(s, Declaration):
            for k, e in enumerate(s.entries):
                if e.value is not None:
                    yield _with(program, at, _with_entry(s, k, replace(e, value=None)))
                    for value in _simpler(e.value):
                        yield _with(program, at, _with_entry(s, k, replace(e, value=value)))
        elif isinstance(s, Definition):
            for body in _simpler(s.body):
                yield _with(program, at, replace(s, body=body))
        else:
            for expr in _simpler(s.expr):
                yield _with(program, at, replace(s, expr=expr))


def _simpler(expr: Expr) -> Iterator[Expr]:
    for at, node in enumerate(nodes(expr)):
        for new in _instead(node):
            yield put(expr, at, new)


def _instead(node: Expr) -> Iterator[Expr]:
    """What may stand in place of a node: what is below it, then constants."""
    if isinstance(node, Number):
        if node.text not in ("0", "1"):
            yield from (number(n) for n in ("1", "0", "2", "0.5") if n != node.text)
        return
    if isinstance(node, Call) and node.items is not None:
        yield from (_without_axis(a, i.expr) for a in node.args for i in node.items)
    if not isinstance(node, Index):
        yield from sorted(children(node), key=lambda e: -sum(1 for _ in nodes(e)))
    yield number("0")
    yield number("1")
    if isinstance(node, Binary) and node.op in ("/", "**"):
        yield replace(node, op="*")
    if isinstance(node, Unary):
        yield node.operand
    if isinstance(node, Index):
        yield from _nearer(node)


def _without_axis(expr: Expr, axis: Expr) -> Expr:
    """An argument of a reduction at the element 0 of the axis, where indices say so in words."""
    name = name_read(axis)
    return change(expr, lambda e: number("0") if isinstance(e, Ref) and e.name == name else None)


def _nearer(node: Index) -> Iterator[Expr]:
    """Reads at a smaller lag or offset, then without indices that are the default."""
    for at, item in enumerate(node.items):
        e = item.expr
        if isinstance(e, Binary) and isinstance(e.right, Number) and isinstance(e.left, Ref):
            yield replace(node, items=_with_index(node.items, at, e.left))
            if e.right.text.isdigit() and int(e.right.text) > 1:
                yield replace(node, items=_with_index(node.items, at, replace(e, right=number("1"))))
        elif item.axis is not None and not isinstance(e, Number):
            yield replace(node, items=_with_index(node.items, at, number("0")))
    for count in range(len(node.items)):
        if count == 0:
            yield Ref(node.name.text)
        else:
            yield replace(node, items=node.items[:count])


def _with_index(items: tuple[Item, ...], at: int, expr: Expr) -> tuple[Item, ...]:
    return (*items[:at], replace(items[at], expr=expr), *items[at + 1 :])


def promises(program: RecurrenceSyntax) -> Iterator[RecurrenceSyntax]:
    """Without a domain, an edge rule, the docstring, axes that an equation need not name."""
    if program.doc:
        yield replace(program, doc="")
    for at, s in enumerate(program.statements):
        if isinstance(s, Declaration):
            for k, e in enumerate(s.entries):
                for d in range(len(e.domains)):
                    yield _with(program, at, _with_entry(s, k, replace(e, domains=e.domains[:d] + e.domains[d + 1 :])))
        elif isinstance(s, EquationSyntax) and s.target.items is not None and len(s.target.items) > 1:
            yield _with(
                program, at, replace(s, target=replace(s.target, items=s.target.items[: len(program.over) or 1]))
            )
    for at, axis in enumerate(program.axes):
        if axis.edge is not None:
            changed = (*program.axes[:at], replace(axis, edge=None), *program.axes[at + 1 :])
            yield replace(program, axes=changed)


def inline(program: RecurrenceSyntax) -> Iterator[RecurrenceSyntax]:
    """An intermediate written out where it is read, and a definition where it is called."""
    states = {e.name.text for d, e in entries(program) if d.kind == "state"}
    for s in program.statements:
        if isinstance(s, Definition):
            yield without(_called(program, s), {s.name.text})
        elif isinstance(s, EquationSyntax) and not s.output and s.target.name.text not in states:
            # Its axes may be written out or not: `a[t]` is what `a[t, n] = …` says.
            items = s.target.items
            same = (items, items[: len(program.over) or 1] if items is not None else None)

            def how(e: Expr, s: EquationSyntax = s, same: Sequence[object] = same) -> Expr | None:
                read = e.items if isinstance(e, Index) else None
                return s.expr if name_read(e) == s.target.name.text and read in same else None

            yield everywhere(without(program, {s.target.name.text}), how)


def _called(program: RecurrenceSyntax, definition: Definition) -> RecurrenceSyntax:
    parameters = [p.text for p in definition.parameters]

    def how(e: Expr) -> Expr | None:
        if not (isinstance(e, Call) and e.name.text == definition.name.text and len(e.args) == len(parameters)):
            return None
        given: Mapping[str, Expr] = dict(zip(parameters, (change(a, how) for a in e.args), strict=True))
        return change(definition.body, lambda b: given.get(b.name) if isinstance(b, Ref) else None)

    return everywhere(program, how)


def _drop_axes(program: RecurrenceSyntax, dropped: set[str]) -> RecurrenceSyntax:
    """Without some axes: declarations and reads lose them, and reductions over them go."""
    scans = len(program.over) or 1
    places: dict[str, list[int]] = {}
    for d, e in entries(program):
        lead = 0 if d.kind in ("param", "const") else scans
        places[e.name.text] = [lead + k for k, a in enumerate(e.axes or ()) if a.text in dropped]
    for s in program.statements:
        if isinstance(s, EquationSyntax) and s.target.items is not None and s.target.name.text not in places:
            here = [k for k, i in enumerate(s.target.items) if isinstance(i.expr, Ref) and i.expr.name in dropped]
            places[s.target.name.text] = here

    def how(e: Expr) -> Expr | None:
        if isinstance(e, Call) and e.items is not None:
            rest = tuple(i for i in e.items if name_read(i.expr) not in dropped)
            args = tuple(change(a, how) for a in e.args)
            if len(rest) < len(e.items):
                return replace(e, items=rest, args=args) if rest else args[0] if args else None
        if isinstance(e, Index):
            items = tuple(i for i in e.items if i.axis is None or i.axis.text not in dropped)
            if len(items) == len(e.items):
                for place in reversed(places.get(e.name.text, [])):
                    items = without_item(items, place) if place < len(items) else items
            items = tuple(replace(i, expr=change(i.expr, how)) for i in items)
            return replace(e, items=items) if items else Ref(e.name.text)
        return None

    return replace(_narrowed(everywhere(program, how), dropped), axes=_kept_axes(program, dropped))


def _narrowed(program: RecurrenceSyntax, dropped: set[str]) -> RecurrenceSyntax:
    """Declarations and left sides without some axes."""
    statements: list[Statement] = []
    for s in program.statements:
        if isinstance(s, Declaration):
            kept = []
            for e in s.entries:
                rest = tuple(a for a in e.axes or () if a.text not in dropped)
                kept.append(replace(e, axes=rest or None))
            statements.append(replace(s, entries=tuple(kept)))
        elif isinstance(s, EquationSyntax) and s.target.items is not None:
            items = tuple(i for i in s.target.items if name_read(i.expr) not in dropped)
            statements.append(replace(s, target=replace(s.target, items=items or None)))
        else:
            statements.append(s)
    return replace(program, statements=tuple(statements))


def _kept_axes(program: RecurrenceSyntax, dropped: set[str]) -> tuple[AxisSyntax, ...]:
    """The axes that stay; the first that had the size of a dropped one has its own."""
    heirs: dict[str, str] = {}
    kept = []
    for axis in program.axes:
        if axis.name.text in dropped:
            continue
        if axis.size_of is not None and axis.size_of.text in dropped:
            old = axis.size_of.text
            heir = heirs.get(old)
            size = None if heir is None else replace(axis.size_of, text=heir)
            heirs.setdefault(old, axis.name.text)
            axis = replace(axis, size_of=size)
        kept.append(axis)
    return tuple(kept)


def _drop_scan(program: RecurrenceSyntax, at: int) -> RecurrenceSyntax:
    """Without one of the scan axes; the last one that is left is called as it was."""
    name = program.over[at].text
    fixed = {e.name.text for d, e in entries(program) if d.kind in ("param", "const")}

    def how(e: Expr) -> Expr | None:
        if isinstance(e, Index) and e.name.text not in fixed and at < len(e.items):
            items = tuple(replace(i, expr=change(i.expr, how)) for i in without_item(e.items, at))
            return replace(e, items=items) if items else Ref(e.name.text)
        return number("0") if isinstance(e, Ref) and e.name == name else None

    found = everywhere(program, how)
    statements: list[Statement] = []
    for s in found.statements:
        if isinstance(s, EquationSyntax) and s.target.items is not None:
            items = tuple(i for i in s.target.items if name_read(i.expr) != name)
            s = replace(s, target=replace(s.target, items=items or None))
        statements.append(s)
    return replace(found, statements=tuple(statements), over=program.over[:at] + program.over[at + 1 :])


def _renamed(program: RecurrenceSyntax, old: str, entry: Entry) -> RecurrenceSyntax:
    """Every read of a name made one of another, with its indices."""

    def how(e: Expr) -> Expr | None:
        if isinstance(e, Index) and e.name.text == old:
            return rebuilt(replace(e, name=entry.name), tuple(change(c, how) for c in children(e)))
        return Ref(entry.name.text) if isinstance(e, Ref) and e.name == old else None

    return everywhere(program, how)


def _with(program: RecurrenceSyntax, at: int, statement: Statement) -> RecurrenceSyntax:
    return replace(program, statements=(*program.statements[:at], statement, *program.statements[at + 1 :]))


def _with_entry(declaration: Declaration, at: int, entry: Entry) -> Declaration:
    return replace(declaration, entries=(*declaration.entries[:at], entry, *declaration.entries[at + 1 :]))


#: The passes in the order in which they are tried: first what takes most away.
PASSES: tuple[Pass, ...] = (outputs, names, axes, exposed, expressions, alike, inline, promises)


def reductions(program: RecurrenceSyntax, way: Pass) -> Iterator[RecurrenceSyntax]:
    """The candidates of one pass, tidied, that are smaller than the program; each once."""
    seen = {weight(program)}
    limit = weight(program)
    for candidate in way(program):
        tidied = tidy(candidate)
        if (size := weight(tidied)) < limit and size not in seen:
            seen.add(size)
            yield tidied


__all__ = ["PASSES", "Pass", "reductions"]
