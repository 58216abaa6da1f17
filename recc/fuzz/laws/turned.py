"""Programs rewritten so that they mean the same of other arrays: time turned round, axes in another order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from recc.errors import Refusal
from recc.recurrence import Along, Apply, Axis, Equation, Expr, Matrix, Read, Recurrence, Reduce, Step, Symbol, walk

_INSTEAD = "the other laws"


def _exprs(rec: Recurrence) -> list[Expr]:
    found = [e.expr for e in rec.equations]
    return found + [e for s in rec.symbols for e in (s.initial, s.value) if e is not None]


def reversed_in_time(rec: Recurrence) -> Recurrence | Refusal:
    """The program that gives reversed outputs for reversed inputs: each lag the other way.

    Refused where the number of a step is used, and where not all states run the same way, since what lies beyond
    an end of time is then not the same from either side.
    """
    what = "time reversal"
    if len(rec.scan) > 1:
        return Refusal(what, "steps of a plane have no one order", _INSTEAD)
    for expr in _exprs(rec):
        for node in walk(expr):
            if isinstance(node, Step):
                return Refusal(what, "the number of a step is used", _INSTEAD, node.span)
    states = {s.name for s in rec.states}
    ways = {s.direction[0] for s in rec.stages if states & set(s.equations)}
    if len(ways) != 1 or 0 in ways:  # a state that needs no step before it starts at the left
        return Refusal(what, "not all states run one way", _INSTEAD)
    lagged = {n.name for e in _exprs(rec) for n in walk(e) if isinstance(n, Read) and any(n.lags)}
    if not lagged <= {s.name for s in rec.states} or {s.symbol for s in rec.slots} - {s.name for s in rec.states}:
        return Refusal(what, "what is no state is read at another step", _INSTEAD)

    def turned(node: Expr) -> Expr:
        return replace(node, lags=tuple(-lag for lag in node.lags)) if isinstance(node, Read) else node

    stages = tuple(replace(s, direction=tuple(-d for d in s.direction)) for s in rec.stages)
    return replace(_mapped(rec, turned), stages=stages)


def with_axes(rec: Recurrence, order: tuple[str, ...], names: Mapping[str, str]) -> Recurrence:
    """The same program with its axes in another order and under other names; so are those of every array."""
    place = {name: k for k, name in enumerate(order)}

    def axes(old: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names[a] for a in sorted(old, key=place.__getitem__))

    def index_of(symbol: Symbol, index: tuple[Any, ...]) -> tuple[Any, ...]:
        turned = [replace(i, axis=names[i.axis]) if isinstance(i, Along) else i for i in index]
        return tuple(i for _, i in sorted(zip(symbol.axes, turned, strict=True), key=lambda pair: place[pair[0]]))

    def turned(node: Expr) -> Expr:
        node = replace(node, axes=axes(node.axes))
        if isinstance(node, Read):
            return replace(node, index=index_of(rec.table[node.name], node.index))
        if isinstance(node, Reduce):
            return replace(node, over=tuple(names[a] for a in node.over))
        if isinstance(node, Matrix):
            return replace(node, rows=names[node.rows], cols=names[node.cols])
        return node

    found = _mapped(rec, turned)
    symbols = tuple(
        replace(s, axes=axes(s.axes), indexes=None if s.indexes is None else names[s.indexes]) for s in found.symbols
    )
    slots = tuple(replace(s, axes=axes(s.axes)) for s in found.slots)
    header = tuple(_renamed(rec.axis[name], names) for name in order)
    return replace(found, axes=header, symbols=symbols, slots=slots)


def _renamed(axis: Axis, names: Mapping[str, str]) -> Axis:
    return replace(axis, name=names[axis.name], size_of=names[axis.size_of])


def reordered(rec: Recurrence) -> tuple[Recurrence, dict[str, str]] | Refusal:
    """The program with its axes in the opposite order, under other names; and those names.

    A unit vector lies along the last axis of its symbol, so programs with one keep their order.
    """
    what = "axes in another order"
    if not rec.axes:
        return Refusal(what, "there are no axes", _INSTEAD)
    names = {a.name: f"{a.name}x{k}" for k, a in enumerate(rec.axes)}
    # An axis has to stand after the one that it has its size of.
    roots = [a.name for a in reversed(rec.axes) if a.name == a.size_of]
    order = [*roots, *(a.name for a in reversed(rec.axes) if a.name != a.size_of)]
    return with_axes(rec, tuple(order), names), names


def _mapped(rec: Recurrence, turned: Callable[[Expr], Expr]) -> Recurrence:
    """The program with every node of every expression changed, those below first."""

    def change(expr: Expr) -> Expr:
        found: dict[str, Any] = {}
        for f in fields(expr):
            value = getattr(expr, f.name)
            if isinstance(value, Expr):
                found[f.name] = change(value)
            elif isinstance(value, tuple) and f.name == "args":
                found[f.name] = tuple(change(v) for v in value)
            elif isinstance(value, tuple) and f.name == "index":
                found[f.name] = tuple(i if isinstance(i, Along) else replace(i, expr=change(i.expr)) for i in value)
        return turned(replace(expr, **found))

    equations = tuple(Equation(e.target, change(e.expr), e.span) for e in rec.equations)
    symbols = tuple(
        replace(
            s,
            initial=None if s.initial is None else change(s.initial),
            value=None if s.value is None else change(s.value),
        )
        for s in rec.symbols
    )
    slots = tuple(replace(s, initial=None if s.initial is None else change(s.initial)) for s in rec.slots)
    return replace(rec, equations=equations, symbols=symbols, slots=slots)


def uses(rec: Recurrence, fn: str) -> bool:
    """Whether a function occurs in a program."""
    return any(isinstance(node, Apply) and node.fn == fn for e in _exprs(rec) for node in walk(e))


__all__ = ["reordered", "reversed_in_time", "uses", "with_axes"]
