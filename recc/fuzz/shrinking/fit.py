"""Smaller cases: one case cut to another program, to smaller sizes, to plainer values.

Every function gives a new case whose arrays fit it. What a declaration promises is kept: unit vectors are
normalised again and indices stay inside their axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from recc.errors import UsageError
from recc.recurrence import Kind, Recurrence, Slot, Symbol
from recc.runtime.domains import check_domain

from ..drawing.case import Arrays, Case
from ..drawing.draw import Array, Shapes

#: `(array, lead)` to an array, where `lead` is how many axes stand before the declared ones.
_Cut = Callable[[Array, int], Array]


def fitted(case: Case, rec: Recurrence) -> Case | None:
    """A case for a program made smaller: of axes and scan axes that are gone the first element stays.

    `None` if the program takes an argument that the case lacks.
    """
    old = case.rec
    sizes = {a.name: case.sizes.get(a.name, 1) for a in rec.axes if a.size_of == a.name}
    scans = list(range(len(old.scan)))
    if len(rec.scan) < len(old.scan):
        scans = [old.scan.index(s) for s in rec.scan if s in old.scan]
    shapes = replace(case.shapes, sizes=sizes, steps=tuple(case.shapes.steps[k] for k in scans))
    arguments: Arrays = {}
    for symbol in rec.arguments:
        if symbol.name not in case.arguments:
            return None
        before = old.table[symbol.name]
        array = _without_axes(case.arguments[symbol.name], before.axes, symbol.axes)
        if symbol.kind is Kind.INPUT:
            for gone in sorted(set(range(len(old.scan))) - set(scans), reverse=True):
                array = array.take(0, 1 + gone) if array.shape[1 + gone] else array.reshape(array.shape)
        arguments[symbol.name] = kept(rec, symbol, array, sizes)
    initial = {}
    slots = {s.name: s for s in old.slots}
    for slot in rec.slots:
        if slot.name in case.initial and set(slot.axes) <= set(slots[slot.name].axes):
            array = _without_axes(case.initial[slot.name], slots[slot.name].axes, slot.axes)
            initial[slot.name] = kept(rec, rec.table[slot.symbol], array, sizes)
    return replace(case, rec=rec, shapes=shapes, arguments=arguments, initial=initial)


def _without_axes(array: Array, before: tuple[str, ...], after: tuple[str, ...]) -> Array:
    """The first element along declared axes that are gone."""
    for k, axis in reversed(list(enumerate(before))):
        if axis not in after:
            at = array.ndim - len(before) + k
            array = array.take(0, at) if array.shape[at] else np.zeros(np.delete(array.shape, at), array.dtype)
            before = before[:k] + before[k + 1 :]
    return array


def kept(rec: Recurrence, symbol: Symbol, array: Array, sizes: Any) -> Array:
    """An array in the type of its declaration, with indices inside and unit vectors of length 1."""
    if symbol.dtype == "complex":
        array = np.asarray(array, np.complex128)
    elif symbol.dtype == "real":
        array = np.asarray(np.real(array), np.float64)
    if symbol.indexes is not None:
        array = np.minimum(array, max(0, sizes[rec.axis[symbol.indexes].size_of] - 1))
    if symbol.domain.unit and array.size:
        size = np.linalg.norm(array, axis=-1, keepdims=True)
        first = np.zeros_like(array)
        first[..., :1] = 1
        off = np.abs(size - 1) > 1e-6
        array = np.where(size > 0, np.where(off, array / np.where(size > 0, size, 1), array), first)
    return array


def smaller(case: Case) -> Iterator[Case]:
    """The case with fewer steps, one row, no batch axes, no given state, fewer boundaries: no new kernels for these."""
    for scan, steps in enumerate(case.shapes.steps):
        for count in _fewer(steps, least=0):
            yield _with_steps(case, scan, slice(0, count))
            yield _with_steps(case, scan, slice(steps - count, steps))
    if case.shapes.batch > 1:
        for row in range(case.shapes.batch):
            yield _with_rows(case, slice(row, row + 1))
    for at, size in enumerate(case.shapes.heads):
        for index in range(min(size, 4)):
            yield _with_heads(case, at, index)
        if size > 2:
            yield _with_heads(case, at, slice(0, 2))
    if case.initial:
        yield replace(case, initial={})
        for name in case.initial if len(case.initial) > 1 else ():
            yield replace(case, initial={n: v for n, v in case.initial.items() if n != name})
    for cut in _fewer(case.cut, least=0):
        yield replace(case, cut=cut)
    yield from _fewer_offsets(case)
    if case.edges or case.kinds:
        yield replace(case, edges=False, kinds=())


def _fewer(size: int, least: int) -> list[int]:
    """Smaller numbers to try, smallest first."""
    tried = sorted({least, least + 1, least + 2, size // 4, size // 2, size - 2, size - 1})
    return [n for n in tried if least <= n < size]


def _with_steps(case: Case, scan: int, kept_steps: slice) -> Case:
    steps = list(case.shapes.steps)
    shift = kept_steps.start
    steps[scan] = kept_steps.stop - shift
    arguments = {
        n: v[(slice(None),) * (1 + scan) + (kept_steps,)] if n in case.inputs else v for n, v in case.arguments.items()
    }
    found = replace(case, shapes=replace(case.shapes, steps=tuple(steps)), arguments=arguments)
    if scan:
        return found
    inside = [int(np.clip(n - shift, 0, steps[0])) for n in case.offsets]
    return replace(found, cut=int(np.clip(case.cut - shift, 0, steps[0])), offsets=(0, *inside[1:-1], steps[0]))


def _with_rows(case: Case, rows: slice) -> Case:
    arguments = {n: v[rows] if n in case.inputs and v.shape[0] > 1 else v for n, v in case.arguments.items()}
    initial = {n: v[rows] if v.shape[0] > 1 else v for n, v in case.initial.items()}
    shapes = replace(case.shapes, batch=rows.stop - rows.start)
    return replace(case, shapes=shapes, arguments=arguments, initial=initial)


def _with_heads(case: Case, at: int, chosen: int | slice) -> Case:
    """One element of a batch axis, which goes, or some of its elements."""
    rest = case.shapes.heads[at + 1 :]
    heads = (*case.shapes.heads[:at], *([] if isinstance(chosen, int) else [chosen.stop - chosen.start]), *rest)

    def picked(array: Array, lead: int) -> Array:
        return np.asarray(array[(slice(None),) * (lead + at) + (chosen,)])

    scans = len(case.rec.scan)
    arguments = {}
    for name, value in case.arguments.items():
        lead = 1 + scans if name in case.inputs else 0 if case.shapes.params_have_batch else None
        arguments[name] = value if lead is None else picked(value, lead)
    initial = {n: picked(v, 1) for n, v in case.initial.items()}
    return replace(case, shapes=replace(case.shapes, heads=heads), arguments=arguments, initial=initial)


def _fewer_offsets(case: Case) -> Iterator[Case]:
    """Packed sequences with one boundary less, or a boundary at an earlier step."""
    inner = case.offsets[1:-1]
    for at in range(len(inner)):
        yield replace(case, offsets=(0, *inner[:at], *inner[at + 1 :], case.offsets[-1]))
    for at, place in enumerate(inner):
        least = inner[at - 1] if at else 0
        for less in _fewer(place, least):
            yield replace(case, offsets=(0, *inner[:at], less, *inner[at + 1 :], case.offsets[-1]))


def narrower(case: Case) -> Iterator[Case]:
    """The case with one axis, and all of its size, made smaller."""
    for root, size in case.shapes.sizes.items():
        for count in _fewer(size, least=1):
            yield _with_size(case, root, count, 0)
            yield _with_size(case, root, count, size - count)


def _with_size(case: Case, root: str, size: int, begin: int) -> Case:
    """So many elements, from one on, along every axis of a size."""
    rec = case.rec
    sizes = {**case.shapes.sizes, root: size}

    def cut(array: Array, axes: tuple[str, ...]) -> Array:
        ends = tuple(slice(begin, begin + size) if rec.axis[a].size_of == root else slice(None) for a in axes)
        return np.asarray(array[(..., *ends)])

    arguments = {s.name: kept(rec, s, cut(case.arguments[s.name], s.axes), sizes) for s in rec.arguments}
    initial = {}
    for slot in rec.slots:
        if slot.name in case.initial:
            initial[slot.name] = kept(rec, rec.table[slot.symbol], cut(case.initial[slot.name], slot.axes), sizes)
    return replace(case, shapes=replace(case.shapes, sizes=sizes), arguments=arguments, initial=initial)


def plainer(case: Case) -> Iterator[tuple[str, Callable[[Array], Array]]]:
    """For every array what makes all of it plainer: zeros, ones, whole numbers, few digits; the plainest first."""
    for name, value in _arrays(case).items():
        if value.dtype.kind not in "fciub" or not value.size:
            continue
        for how in _plain(value):
            changed = how(value)
            if not np.array_equal(changed, value, equal_nan=value.dtype.kind in "fc"):
                yield name, how


def _plain(value: Array) -> list[Callable[[Array], Array]]:
    ways: list[Callable[[Array], Array]] = [np.zeros_like, np.ones_like]
    if value.dtype.kind in "fc":
        ways += [lambda v: -np.ones_like(v), lambda v: np.full_like(v, 0.5), lambda v: np.full_like(v, 2)]
        ways += [_rounded(0), _rounded(1), _rounded(2)]
    return ways


def _rounded(digits: int) -> Callable[[Array], Array]:
    return lambda v: np.round(v, digits) + 0.0


def with_values(case: Case, name: str, value: Array) -> Case | None:
    """The case with another array; `None` if that breaks a promise that the present one keeps."""
    slots: dict[str, Slot] = {f"final {s.name}": s for s in case.rec.slots}
    if name in slots:
        return replace(case, initial={**case.initial, slots[name].name: value})
    symbol = case.rec.table[name]
    if _keeps(case, symbol, case.arguments[name]) and not _keeps(case, symbol, value):
        return None
    return replace(case, arguments={**case.arguments, name: value})


def _keeps(case: Case, symbol: Symbol, value: Array) -> bool:
    try:
        check_domain(case.rec, symbol, value, case.sizes)
    except UsageError:
        return False
    return True


def _arrays(case: Case) -> Arrays:
    """Arguments by name, given states as `final NAME`."""
    return {**case.arguments, **{f"final {n}": v for n, v in case.initial.items()}}


def array_of(case: Case, name: str) -> Array:
    """An array of a case, by its name in `plainer`."""
    return _arrays(case)[name]


def array_names(case: Case) -> tuple[str, ...]:
    """The names of all arrays of a case."""
    return tuple(_arrays(case))


__all__ = ["Shapes", "array_names", "array_of", "fitted", "kept", "narrower", "plainer", "smaller", "with_values"]
