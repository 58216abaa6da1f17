"""How a call's arrays are laid out: sizes, batch axes, sequences, and what is wrong with them.

Inputs are `[B, T, *batch, *axes]`, parameters `[*batch, *axes]`, states `[N, *batch, *axes]` with N = B,
or the number of packed sequences. Batch axes broadcast from the right, as in NumPy; B may be 1 where
another input has more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod

from recc.errors import UsageError
from recc.layout import LANE, Layout
from recc.recurrence import Kind, Recurrence, Symbol


def leading(rec: Recurrence, symbol: Symbol) -> int:
    """How many axes come before the batch axes: B and one per scan axis for inputs, none for parameters."""
    return 1 + len(rec.scan) if symbol.kind is Kind.INPUT else 0


def lay_out(
    rec: Recurrence,
    shapes: Mapping[str, Sequence[int]],
    states: Mapping[str, Sequence[int]],
    offsets: Sequence[int] | None = None,
    steps: int | None = None,
    lane: bool = True,
    sequences: int | None = None,
) -> Layout:
    """The layout of a call, from the shapes of its arguments and initial states.

    `offsets` are the boundaries of packed sequences (`cu_seqlens`). Raises `UsageError` with the argument,
    what was expected and what came. `sequences` says how many packed sequences there are where their boundaries
    are not known here.
    """
    sizes = _sizes(rec, shapes, states)
    rows, extents = _time(rec, shapes, steps)
    length = prod(extents)
    batch = _batch(rec, shapes)
    which: tuple[int, ...]
    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    if (sequences is not None or offsets is not None) and len(extents) > 1:
        raise UsageError("cu_seqlens", f"none: the program scans over {', '.join(rec.scan)}", "offsets")
    if sequences is not None:
        if rows != 1:
            raise UsageError("cu_seqlens", "inputs with B = 1 (sequences are packed along T)", f"B = {rows}")
        which, starts, lengths = (0,) * sequences, (), ()
    elif offsets is None:
        count = max(shape[0] for shape in states.values()) if states and rows == 1 else rows
        which, starts, lengths = tuple(range(count)), (0,) * count, (length,) * count
        rows = count
    else:
        which, starts, lengths = _packed(offsets, rows, length)
    _check_states(rec, states, sizes, batch, len(which))
    lanes: frozenset[str] | None = None
    if lane and batch and batch[-1] >= 4 and max(sizes.values(), default=1) < 8:
        lanes = frozenset(
            n for n, shape in shapes.items() if _batch_shape(rec, rec.table[n], shape)[-1:] not in ((), (1,))
        )
        sizes[LANE], batch = batch[-1], batch[:-1]
    packed = offsets is not None or sequences is not None
    return Layout(rows, extents, batch, sizes, which, starts, lengths, lanes, packed)


def _batch_shape(rec: Recurrence, symbol: Symbol, shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(shape[leading(rec, symbol) : len(shape) - len(symbol.axes)])


def describe(rec: Recurrence, symbol: Symbol) -> str:
    """The shape that an argument is declared to have."""
    scan = ["T"] if len(rec.scan) == 1 else [axis.upper() for axis in rec.scan]
    lead = ["B", *scan] if symbol.kind is Kind.INPUT else []
    return "[" + ", ".join([*lead, "*batch", *symbol.axes]) + "]"


def _sizes(rec: Recurrence, shapes: Mapping[str, Sequence[int]], states: Mapping[str, Sequence[int]]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    given: dict[str, tuple[str, str]] = {}
    for symbol in rec.arguments:
        shape = shapes[symbol.name]
        lead = leading(rec, symbol)
        if len(shape) < lead + len(symbol.axes):
            raise UsageError(
                f"argument {symbol.name!r}",
                f"at least {lead + len(symbol.axes)} axes, {describe(rec, symbol)}",
                f"shape {list(shape)}",
                "inputs begin with B and one axis for each scan axis, as in x[None] for one row" if lead else "",
            )
        _take(rec, sizes, given, f"argument {symbol.name!r}", symbol.axes, shape)
    for slot in rec.slots:
        if slot.name in states:
            shape = states[slot.name]
            if len(shape) < 1 + len(slot.axes):
                expected = f"at least {1 + len(slot.axes)} axes, [N, *batch, {', '.join(slot.axes)}]"
                raise UsageError(f"initial state {slot.name!r}", expected, f"shape {list(shape)}")
            _take(rec, sizes, given, f"initial state {slot.name!r}", slot.axes, shape)
    for axis in rec.axes:
        if axis.size_of not in sizes:
            raise UsageError(
                f"axis {axis.name!r}",
                "an argument or an initial state that has it",
                "no way to tell its size",
                f"no argument is declared over {axis.name!r}; pass initial_state, whose shape gives it",
            )
    return sizes


def _take(
    rec: Recurrence,
    sizes: dict[str, int],
    given: dict[str, tuple[str, str]],
    who: str,
    axes: tuple[str, ...],
    shape: Sequence[int],
) -> None:
    for axis, size in zip(axes, shape[len(shape) - len(axes) :], strict=True):
        root = rec.axis[axis].size_of
        if sizes.setdefault(root, int(size)) != size:
            other, first = given[root]
            where = f"in {other}" if first == axis else f"along axis {first!r} of {other}"
            expected = f"size {sizes[root]} along axis {axis!r}, as {where}"
            raise UsageError(who, expected, f"size {size} (shape {list(shape)})")
        given.setdefault(root, (who, axis))


def _time(rec: Recurrence, shapes: Mapping[str, Sequence[int]], steps: int | None) -> tuple[int, tuple[int, ...]]:
    """B, and the steps along each scan axis."""
    rows, row_of, first = 1, "", ""
    extents: tuple[int, ...] | None = None if steps is None else (steps,)
    count = len(rec.scan)
    for symbol in rec.of_kind(Kind.INPUT):
        b, own = shapes[symbol.name][0], tuple(shapes[symbol.name][1 : 1 + count])
        if extents is None:
            extents, first = own, symbol.name
        if own != extents:
            said = f"as argument {first!r} has" if first else "as `steps` says"
            along = "T" if count == 1 else ", ".join(rec.scan)
            expected, actual = " × ".join(map(str, extents)), " × ".join(map(str, own))
            raise UsageError(f"argument {symbol.name!r}", f"{expected} steps along {along}, {said}", f"{actual} steps")
        if b != 1 and rows not in (1, b):
            expected = f"B = {rows} (or 1), as argument {row_of!r} has"
            raise UsageError(f"argument {symbol.name!r}", expected, f"B = {b}")
        if b != 1:
            rows, row_of = b, symbol.name
    if any(shapes[s.name][0] == 0 for s in rec.of_kind(Kind.INPUT)):
        rows = 0
    if extents is None:
        raise UsageError("the call", "`steps=` (the program has no inputs to tell the number of steps)", "none")
    return rows, extents


def _batch(rec: Recurrence, shapes: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
    batch: list[int] = []
    owner: list[str] = []
    for symbol in rec.arguments:
        own = _batch_shape(rec, symbol, shapes[symbol.name])
        missing = len(own) - len(batch)
        batch = [1] * missing + batch
        owner = [symbol.name] * missing + owner
        for i, size in enumerate(reversed(own), start=1):
            if size == 1 or size == batch[-i]:
                continue
            if batch[-i] != 1:
                expected = f"batch axes that broadcast with {tuple(batch)} (from argument {owner[-i]!r})"
                shape = list(shapes[symbol.name])
                hint = f"{symbol.name} is declared {describe(rec, symbol)}"
                raise UsageError(f"argument {symbol.name!r}", expected, f"{own} (shape {shape})", hint)
            batch[-i], owner[-i] = size, symbol.name
    return tuple(batch)


def _packed(offsets: Sequence[int], rows: int, length: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    if rows != 1:
        raise UsageError("cu_seqlens", "inputs with B = 1 (sequences are packed along T)", f"B = {rows}")
    if len(offsets) < 1 or offsets[0] != 0 or offsets[-1] != length:
        expected = f"N+1 offsets from 0 to T = {length}"
        raise UsageError("cu_seqlens", expected, f"{list(offsets[:8])}{'…' if len(offsets) > 8 else ''}")
    lengths = tuple(b - a for a, b in pairwise(offsets))
    if any(n < 0 for n in lengths):
        raise UsageError("cu_seqlens", "offsets that do not decrease", f"{list(offsets[:8])}")
    return (0,) * len(lengths), tuple(offsets[:-1]), lengths


def _check_states(
    rec: Recurrence, states: Mapping[str, Sequence[int]], sizes: Mapping[str, int], batch: tuple[int, ...], count: int
) -> None:
    slots = {slot.name: slot for slot in rec.slots}
    for name, shape in states.items():
        slot = slots[name]
        full = (count, *batch, *(sizes[rec.axis[a].size_of] for a in slot.axes))
        if tuple(shape) != full:
            letters = ", ".join(["N", "*batch", *slot.axes])
            raise UsageError(
                f"initial state {name!r}", f"shape {list(full)}, that is [{letters}]", f"shape {list(shape)}"
            )


__all__ = ["Layout", "describe", "lay_out", "leading"]
