"""Checking what stands in square brackets after a name: the time, then one index per axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recc import syntax
from recc.check import ranges
from recc.check.typed import Typed
from recc.diagnostics import Note, Span
from recc.mistakes import did_you_mean
from recc.recurrence import Along, Apply, At, Index, Number, Read, Symbol

if TYPE_CHECKING:
    from recc.check.expressions import Environment, Expressions

MAX_LAG = 256
_MAX_OFFSET = 2**31

Items = tuple[syntax.Item, ...]


def shift_of(expr: syntax.Expr, name: str) -> int | None:
    """The k of `name + k`, `name - k`, `k + name` or `name` itself; `None` for anything else."""
    if isinstance(expr, syntax.Ref):
        return 0 if expr.name == name else None
    if not isinstance(expr, syntax.Binary) or expr.op not in ("+", "-"):
        return None
    left, right = expr.left, expr.right
    if isinstance(left, syntax.Number) and expr.op == "+":
        left, right = right, left
    if not (isinstance(left, syntax.Ref) and left.name == name and isinstance(right, syntax.Number)):
        return None
    if not right.text.isdigit():
        return None
    size = int(min(float(right.text), float(_MAX_OFFSET)))
    return size if expr.op == "+" else -size


def mentions(expr: syntax.Expr, name: str) -> bool:
    """Whether a name stands anywhere in an expression."""
    stack = [expr]
    while stack:
        node = stack.pop()
        if isinstance(node, syntax.Ref) and node.name == name:
            return True
        stack.extend(syntax.children(node))
    return False


def split_time(checks: Expressions, symbol: Symbol, node: syntax.Index) -> tuple[tuple[int, ...], Items] | None:
    """The lags of a read and the indices left for its axes; `None` after a mistake."""
    scan = checks.scope.scan
    items = node.items
    if not symbol.varies:
        first = items[0]
        if first.axis is None and any(shift_of(first.expr, s) is not None for s in scan):
            notes = (Note(symbol.span, f"a {symbol.kind.value} has one value for all steps"),)
            if len(symbol.axes) == 1:
                help = f"write `{symbol.name}`; to pick element t of it, `{symbol.name}[{symbol.axes[0]} = t]`"
            else:
                help = f"write `{symbol.name}`"
            checks.errors.add("time-on-constant", node.span, notes=notes, help=help, name=symbol.name)
            return None
        return (), items
    lags: list[int] = []
    for i, name in enumerate(scan):
        lag = _lag(checks, symbol, node, i, name)
        if lag is None:
            return None
        lags.append(lag)
    return tuple(lags), items[len(scan) :]


def _lag(checks: Expressions, symbol: Symbol, node: syntax.Index, i: int, scan: str) -> int | None:
    errors = checks.errors
    item = node.items[i] if i < len(node.items) else None
    shift = None if item is None or item.axis is not None else shift_of(item.expr, scan)
    if shift is not None:
        if abs(shift) <= MAX_LAG:
            return -shift
        assert item is not None
        errors.add("lag-too-large", item.span, limit=MAX_LAG)
        return None
    others = [s for s in checks.scope.scan if s != scan]
    if item is not None and any(shift_of(item.expr, s) is not None for s in others):
        errors.add("scan-order", item.span, name=symbol.name, order=", ".join(checks.scope.scan))
    elif item is not None and item.axis is None and mentions(item.expr, scan):
        errors.add("bad-time-index", item.span, notes=checks.notes(), time=scan)
    else:
        rest = [checks_text(item) for item in node.items[i:]]
        shown = f"{symbol.name}[{', '.join([*checks.scope.scan, *rest])}]"
        time = ", ".join(checks.scope.scan)
        errors.add("missing-time", node.span, notes=checks.notes(), name=symbol.name, time=time, shown=shown)
    return None


def checks_text(item: syntax.Item) -> str:
    """An index as it could be written again, for a suggestion."""
    from recc.show import show_item

    return show_item(item)


def read(
    checks: Expressions, symbol: Symbol, lags: tuple[int, ...], items: Items, span: Span, env: Environment
) -> Typed | None:
    """A read of a symbol with every index written out."""
    index = _indices(checks, symbol, items, span, env)
    if index is None:
        return None
    below: list[Typed] = []
    groups: list[tuple[str, ...]] = []
    varies = symbol.varies
    outside = any(lags)
    written: list[Index] = []
    for entry in index:
        if isinstance(entry, Typed):
            below.append(entry)
            groups.append(entry.expr.axes)
            varies = varies or entry.expr.varies
            outside = True
            written.append(At(entry.expr))
        else:
            groups.append((entry.axis,))
            outside = outside or entry.offset != 0
            written.append(entry)
    expr = Read(
        symbol.name,
        lags,
        tuple(written),
        axes=checks.scope.ordered(*groups),
        dtype=symbol.dtype,
        varies=varies,
        span=span,
    )
    value = checks.scope.range_of(symbol.name)
    return checks.make.typed(expr, ranges.with_zero(value) if outside else value, tuple(below), 2 if below else 1)


def _indices(
    checks: Expressions, symbol: Symbol, items: Items, span: Span, env: Environment
) -> list[Along | Typed] | None:
    axes = symbol.axes
    named = [item for item in items if item.axis is not None]
    if named and len(named) < len(items):
        odd = next(item for item in items if item.axis is None)
        checks.errors.add("mixed-indices", odd.span, name=symbol.name)
        return None
    if named:
        return _named(checks, symbol, items, env)
    if not items:
        return [Along(a) for a in axes]
    if len(items) != len(axes):
        extra = items[len(axes)].span.to(items[-1].span) if len(items) > len(axes) else span
        has = ", ".join(axes) or "one number"
        notes = (Note(symbol.span, "declared here"), *checks.notes())
        given = _several(len(items), "index", "indices")
        wanted = _several(len(axes), "axis", "axes")
        checks.errors.add("index-count", extra, notes=notes, name=symbol.name, has=has, given=given, wanted=wanted)
        return None
    found: list[Along | Typed] = []
    ok = True
    for axis, item in zip(axes, items, strict=True):
        entry = _one(checks, symbol, axis, item.expr, env)
        ok = ok and entry is not None
        if entry is not None:
            found.append(entry)
    return found if ok else None


def _several(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _named(checks: Expressions, symbol: Symbol, items: Items, env: Environment) -> list[Along | Typed] | None:
    given: dict[str, Along | Typed] = {}
    ok = True
    for item in items:
        assert item.axis is not None
        axis = item.axis.text
        if axis not in symbol.axes:
            ok = False
            help = did_you_mean(axis, symbol.axes) or f"`{symbol.name}` has {', '.join(symbol.axes) or 'no axes'}"
            checks.errors.add("index-unknown-axis", item.axis.span, help=help, name=symbol.name, axis=axis)
            continue
        if axis in given:
            ok = False
            checks.errors.add("axis-twice", item.axis.span, function=symbol.name, axis=axis)
            continue
        entry = _one(checks, symbol, axis, item.expr, env)
        ok = ok and entry is not None
        if entry is not None:
            given[axis] = entry
    return [given.get(a, Along(a)) for a in symbol.axes] if ok else None


def _one(checks: Expressions, symbol: Symbol, axis: str, expr: syntax.Expr, env: Environment) -> Along | Typed | None:
    """One index: along an axis of the same size, or at an integer."""
    errors = checks.errors
    for other in checks.scope.axes:
        shift = shift_of(expr, other)
        if shift is None or other in env:
            continue
        if not checks.scope.same_size(axis, other):
            errors.add("index-of-other-size", expr.span, name=symbol.name, axis=axis, other=other)
            return None
        if abs(shift) >= _MAX_OFFSET:
            errors.add("offset-too-large", expr.span, limit=_MAX_OFFSET)
            return None
        return Along(other, shift)
    typed = checks.check(expr, env)
    if typed is None:
        return None
    inner = typed.expr
    if inner.dtype not in ("int", "bool"):
        errors.add("index-not-whole", expr.span, notes=checks.notes(), name=symbol.name, axis=axis, dtype=inner.dtype)
        return None
    if isinstance(inner, Read):
        source = checks.scope.symbols[inner.name]
        if source.indexes is not None and not checks.scope.same_size(source.indexes, axis):
            notes = (Note(source.span, f"declared as an index into {source.indexes}"),)
            errors.add(
                "index-into-other-axis",
                expr.span,
                notes=notes,
                name=symbol.name,
                axis=axis,
                index=inner.name,
                other=source.indexes,
            )
            return None
    if isinstance(inner, Apply) and inner.fn == "neg" and isinstance(inner.args[0], Number):
        errors.add("negative-index", expr.span, axis=axis)
        return None
    return typed


__all__ = ["MAX_LAG", "mentions", "read", "shift_of", "split_time"]
