"""From the caller's arrays to arrays with one known layout, and the sizes that they imply.

Inside the reference every array is `[*scan, B, *batch, *axes]`: the scan axes first so that one step is
one index, then the batch (1 or full size, NumPy's rule), then declared axes. What does not vary has no
scan axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from recc.errors import UsageError
from recc.recurrence import Dtype, Kind, Recurrence

from .functions import Array

Lengths = int | Mapping[str, int] | None


@dataclass(frozen=True)
class Layout:
    """The sizes of one run: scan axes, `[B, *batch]`, declared axes; and the NumPy type of each dtype."""

    steps: tuple[int, ...]
    batch: tuple[int, ...]
    sizes: Mapping[str, int]
    real: np.dtype[Any]

    def dtype(self, dtype: Dtype) -> np.dtype[Any]:
        """The NumPy type that holds a dtype of the language."""
        if dtype == "complex":
            return np.result_type(self.real, np.complex64)
        return {"bool": np.dtype(np.bool_), "int": np.dtype(np.int64), "real": self.real}[dtype]

    def shape(self, axes: tuple[str, ...]) -> tuple[int, ...]:
        """The sizes of some declared axes."""
        return tuple(self.sizes[a] for a in axes)

    def full(self, axes: tuple[str, ...]) -> tuple[int, ...]:
        """The shape of one step of a value with these axes, `[B, *batch, *axes]`."""
        return self.batch + self.shape(axes)


def _accept(name: str, value: Any, dtype: Dtype) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "biufc" or (array.dtype.kind == "c" and dtype != "complex"):
        raise UsageError(name, f"numbers of dtype {dtype}", f"an array of {array.dtype}")
    return array


def _check_names(rec: Recurrence, arguments: Mapping[str, Any], initial: Mapping[str, Any]) -> None:
    expected = {s.name for s in rec.arguments}
    for name in expected - set(arguments):
        raise UsageError(name, "an argument", "nothing", f"{rec.name} takes {', '.join(sorted(expected))}")
    for name in set(arguments) - expected:
        raise UsageError(name, f"one of {', '.join(sorted(expected))}", "an unknown argument")
    slots = {s.name for s in rec.slots}
    for name in set(initial) - slots:
        raise UsageError(name, f"one of {', '.join(sorted(slots)) or 'no states'}", "an unknown state")


class _Sizes:
    """Sizes gathered from many arrays, which must agree."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def add(self, argument: str, axis: str, size: int) -> None:
        if self.known.setdefault(axis, size) != size:
            raise UsageError(argument, f"size {self.known[axis]} along {axis}", f"size {size}")


def _gather(
    rec: Recurrence,
    values: Mapping[str, tuple[Array, int, tuple[str, ...]]],
    sizes: Mapping[str, int],
    length: Lengths,
) -> tuple[_Sizes, tuple[int, ...], list[tuple[int, ...]]]:
    found = _Sizes()
    for name, size in sizes.items():
        found.add(name, rec.axis[name].size_of, int(size))
    lengths = {} if length is None else length if isinstance(length, Mapping) else {rec.scan[0]: length}
    steps = _Sizes()
    for name, size in lengths.items():
        steps.add("length", name, int(size))
    batches: list[tuple[int, ...]] = []
    for name, (value, before, axes) in values.items():
        if value.ndim < before + len(axes):
            raise UsageError(name, f"at least {before + len(axes)} dimensions", f"shape {list(value.shape)}")
        end = value.ndim - len(axes)
        for axis, size in zip(axes, value.shape[end:], strict=True):
            found.add(name, rec.axis[axis].size_of, size)
        for scan, size in zip(rec.scan, value.shape[1:before], strict=False):
            steps.add(name, scan, size)
        batches.append(value.shape[before:end])
    for scan in rec.scan:
        if scan not in steps.known:
            raise UsageError("length", f"the number of steps along {scan}", "no input that tells it")
    for declared in rec.axes:
        if declared.size_of not in found.known:
            raise UsageError("sizes", f"the size of {declared.name}", "no argument that tells it")
    return found, tuple(steps.known[s] for s in rec.scan), batches


def arrange(
    rec: Recurrence,
    arguments: Mapping[str, Any],
    initial: Mapping[str, Any],
    sizes: Mapping[str, int],
    length: Lengths,
    real: np.dtype[Any],
) -> tuple[Layout, dict[str, Array], dict[str, Array]]:
    """Bring arguments `[B, *scan, *batch, *axes]` and states `[B, *batch, *axes]` into the inner layout.

    Returns the layout, the arguments and the initial states by name. Raises `UsageError` for missing
    and unknown names, and for sizes that contradict each other.
    """
    _check_names(rec, arguments, initial)
    slots = {s.name: s for s in rec.slots}
    given: dict[str, tuple[Array, int, tuple[str, ...]]] = {}
    states: dict[str, tuple[Array, int, tuple[str, ...]]] = {}
    before_batch = 1 + len(rec.scan)
    for symbol in rec.arguments:
        value = _accept(symbol.name, arguments[symbol.name], symbol.dtype)
        given[symbol.name] = (value, before_batch if symbol.kind is Kind.INPUT else 0, symbol.axes)
    for name, handed_over in initial.items():
        states[name] = (_accept(f"initial[{name}]", handed_over, slots[name].dtype), 1, slots[name].axes)
    both = given | {f"initial[{name}]": value for name, value in states.items()}
    found, steps, batches = _gather(rec, both, sizes, length)
    firsts = [(v.shape[0],) for v, before, _ in both.values() if before]
    try:
        batch = np.broadcast_shapes(*firsts, (1,)) + np.broadcast_shapes(*batches)
    except ValueError as error:
        raise UsageError("arguments", "batch axes that broadcast", str(error)) from error
    layout = Layout(steps, batch, {a.name: found.known[a.size_of] for a in rec.axes}, real)
    scans = len(rec.scan)
    arranged = {}
    for symbol in rec.arguments:
        value, before, axes = given[symbol.name]
        array = _spread(value, before, len(axes), len(batch) - 1).astype(layout.dtype(symbol.dtype), copy=False)
        arranged[symbol.name] = np.moveaxis(array, 0, scans) if before > 1 else array
    handed = {}
    for name, (value, before, axes) in states.items():
        handed[name] = _spread(value, before, len(axes), len(batch) - 1).astype(layout.dtype(slots[name].dtype))
    return layout, arranged, handed


def _spread(value: Array, before: int, after: int, batch: int) -> Array:
    """Insert axes of size 1 so that a value has B and all batch axes."""
    end = value.ndim - after
    head = value.shape[:before] if before else (1,)
    missing = batch - (end - before)
    return value.reshape(*head, *(1,) * missing, *value.shape[before:])


__all__ = ["Layout", "Lengths", "arrange"]
