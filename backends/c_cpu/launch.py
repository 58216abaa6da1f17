"""Runs kernels on NumPy arrays: builds the tables of offsets and strides, and hands items to threads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import Any, Literal
from weakref import WeakKeyDictionary, ref

import numpy as np

from recc.backends.c_cpu.build import Library, build
from recc.backends.c_cpu.kernel import emit
from recc.backends.c_cpu.memory import Storage
from recc.backends.c_cpu.spec import ArraySpec, Kernel, Specialisation
from recc.forms.sequential import LANE, Sequential
from recc.layout import Layout
from recc.recurrence import Kind

Array = np.ndarray[Any, np.dtype[Any]]

_DTYPES: Mapping[str, str] = {
    "float32": "float32", "float64": "float64", "float16": "uint16", "bfloat16": "uint16", "int64": "int64",
    "int32": "int32", "int16": "int16", "int8": "int8", "uint8": "uint8",
}  # fmt: skip

#: Below so much work a second thread costs more than it brings. In elements of arrays that are read or written at
#: a step, and four times those of the state: about a tenth of a millisecond, where waking a thread takes half as long.
_THREAD_WORTH = 1 << 20

#: Places of arrays that a plan keeps. A call's arrays lie alike from call to call, or nearly.
_MOST_PLACES = 256


@dataclass(frozen=True)
class Program:
    """The built kernels of one specialisation; the backward one is built when it is first needed."""

    spec: Specialisation
    forward: tuple[Kernel, Library]
    _more: dict[str, tuple[Kernel, Library]] = field(default_factory=dict)
    _plans: WeakKeyDictionary[Layout, dict[str, Plan]] = field(default_factory=WeakKeyDictionary)

    def plan(self, direction: Literal["forward", "backward"], layout: Layout) -> Plan:
        """What the calls of a kernel with a layout have in common, worked out on the first."""
        known = self._plans.setdefault(layout, {})
        if direction not in known:
            kernel, library = self.forward if direction == "forward" else self.backward
            known[direction] = Plan(self.spec, kernel, library, layout)
        return known[direction]

    @property
    def backward(self) -> tuple[Kernel, Library]:
        """The backward kernel."""
        if "backward" not in self._more:
            kernel = emit(self.spec, "backward")
            self._more["backward"] = (kernel, build(kernel.source, f"{self.spec.form.rec.name}_backward"))
        return self._more["backward"]


def specialise(
    form: Sequential, layout: Layout, compute: Literal["float32", "float64"], storage: Mapping[str, Storage]
) -> Program:
    """The kernels for a call's sizes and element types."""
    spec = Specialisation(form, dict(layout.sizes), compute, dict(storage))
    kernel = emit(spec, "forward")
    return Program(spec, (kernel, build(kernel.source, f"{form.rec.name}_forward")))


@dataclass
class Run:
    """The arrays of one call by purpose and name, as elements of their storage type.

    Complex arrays are pairs of reals in a last axis. `saved` has what a backward run needs beside the
    arguments: kept values and checkpoints.
    """

    arrays: dict[tuple[str, str, int], Array] = field(default_factory=dict)

    def put(self, purpose: str, name: str, array: Array | None, number: int = 0) -> None:
        """Adds an array unless there is none."""
        if array is not None:
            self.arrays[(purpose, name, number)] = array


def saved_shapes(spec: Specialisation, layout: Layout) -> dict[str, tuple[int, ...]]:
    """The arrays that a backward run needs from a forward run, by name, with their shapes.

    `kept NAME` are the values that one pass hands to another; `checkpoints N` are the carries of pass N
    at the start of every segment, with room for one part segment per sequence.
    """
    found: dict[str, tuple[int, ...]] = {}
    rec = spec.form.rec
    for number, loop in enumerate(spec.form.passes):
        for port in loop.writes:
            if port.role == "kept":
                own = tuple(layout.sizes[a if a == LANE else rec.axis[a].size_of] for a in port.axes)
                own = (*own, 2) if port.complex else own
                found[f"kept {port.name}"] = (layout.batch_size, layout.steps, *layout.batch, *own)
        if loop.carries:
            size = spec.segment(number)
            if layout.packed:
                segments = layout.steps // size + layout.sequences
            else:
                segments = layout.sequences * ((layout.steps + size - 1) // size)
            found[f"checkpoints {number}"] = (segments * prod(layout.batch), spec.carried(number))
    return found


def run_forward(program: Program, layout: Layout, run: Run, first: Array, threads: int) -> None:
    """Runs forward. `run` holds "in", "out", "initial" and "final" arrays and, to save them, the saved ones."""
    plan = program.plan("forward", layout)
    for name, shape in plan.saved.items():
        if name.startswith("kept ") and ("kept", name[5:], 0) not in run.arrays:
            run.put("kept", name[5:], np.empty(shape, program.spec.compute))
    plan.launch(run, first, threads)


def run_backward(program: Program, layout: Layout, run: Run, first: Array, threads: int) -> None:
    """Runs backward. `run` holds what the forward run had, and "d out", "d final"; gradients are added.

    Gradients come out as `d in` of the full shape `[B, T, *batch, *axes]` for inputs and
    `[N, *batch, *axes]` for parameters, before broadcasting is summed away.
    """
    plan = program.plan("backward", layout)
    for spec in plan.kernel.arrays:
        key = (spec.purpose, spec.name, spec.pass_number)
        if spec.purpose == "d kept" or (spec.purpose == "d in" and _is_input(program.spec, spec)):
            run.arrays[key] = _steps(program.spec, layout, spec)
            if spec.zeroed:
                run.arrays[key][...] = 0
        elif spec.purpose == "d in":
            shape = (layout.sequences, *layout.batch, *_own_shape(program.spec, layout, spec))
            run.arrays[key] = np.empty(shape, program.spec.compute)
    plan.launch(run, first, threads)


def _is_input(of: Specialisation, spec: ArraySpec) -> bool:
    return of.form.rec.table[spec.name].kind is Kind.INPUT


def _stepped(of: Specialisation, spec: ArraySpec) -> bool:
    """Whether an array has a row for every step."""
    if spec.purpose in ("in", "d in"):
        return _is_input(of, spec)
    return spec.purpose in ("out", "kept", "d out", "d kept")


def _own_shape(of: Specialisation, layout: Layout, spec: ArraySpec) -> tuple[int, ...]:
    rec = of.form.rec
    sizes = [layout.sizes[a if a == LANE else rec.axis[a].size_of] for a in spec.axes]
    return (*sizes, 2) if spec.complex else tuple(sizes)


def _steps(of: Specialisation, layout: Layout, spec: ArraySpec) -> Array:
    dtype = of.compute if spec.storage == "real" else _DTYPES[spec.storage]
    shape = (layout.batch_size, layout.steps, *layout.batch, *_own_shape(of, layout, spec))
    return np.empty(shape, dtype)


def _segments(of: Specialisation, layout: Layout, spec: ArraySpec) -> Array:
    """Checkpoints of each item."""
    size = of.segment(spec.pass_number)
    lengths = np.array(layout.lengths, np.int64)
    return np.repeat((lengths + size - 1) // size, prod(layout.batch))


def contiguous(array: Array, own: int) -> bool:
    """Whether the last `own` axes lie row by row without gaps."""
    expected = array.itemsize
    for size, stride in zip(
        reversed(array.shape[array.ndim - own :]), reversed(array.strides[array.ndim - own :]), strict=True
    ):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


class Plan:
    """A kernel with a layout: all that does not depend on where the arrays of a call are in memory."""

    def __init__(self, spec: Specialisation, kernel: Kernel, library: Library, layout: Layout):
        self.spec = spec
        self.kernel = kernel
        self.library = library
        self.saved = saved_shapes(spec, layout)
        self._layout = ref(layout)
        self._items = layout.items
        self._per_item = prod(layout.batch)
        self._lengths = np.repeat(np.array(layout.lengths, np.int64), self._per_item)
        self._extents = np.array(layout.extents, np.int64)
        self._no_steps_before = np.zeros(self._items, np.int64)
        moved = sum(a.size for a in kernel.arrays if _stepped(spec, a))
        held = sum(spec.carried(number) for number in range(len(spec.form.passes)))
        self._work = sum(layout.lengths) * self._per_item * (moved + 4 * held)
        self._scratch = kernel.scratch * spec.real_bytes + 64
        self._places: dict[tuple[int, tuple[int, ...], tuple[int, ...]], tuple[Array, int, int]] = {}

    def launch(self, run: Run, first: Array, threads: int) -> None:
        """Runs the kernel. `first` are the steps before each sequence's own, or one number for all."""
        if self._items == 0:
            return
        rows = []
        for number, spec in enumerate(self.kernel.arrays):
            array = run.arrays.get((spec.purpose, spec.name, spec.pass_number))
            if array is None:
                rows.append((0, 0, 0))
            else:
                _, offsets, step = self._place(number, array)
                rows.append((array.ctypes.data, offsets, step))
        table = np.array(rows, np.int64)
        firsts = self._no_steps_before
        if first.any():
            firsts = np.repeat(
                np.broadcast_to(np.asarray(first, np.int64), (len(self._lengths) // self._per_item,)), self._per_item
            )
        counter = np.zeros(1, np.int64)

        def run_items(scratch: Array) -> None:
            aligned = (scratch.ctypes.data + 63) // 64 * 64
            self.library.run(
                table.ctypes.data, self._lengths.ctypes.data, firsts.ctypes.data, self._extents.ctypes.data,
                self._items, counter.ctypes.data, aligned,
            )  # fmt: skip

        workers = max(1, min(threads, self._items)) if self._work >= _THREAD_WORTH else 1
        memory = [np.empty(self._scratch, np.uint8) for _ in range(workers)]
        waiting = [_pool(threads).submit(run_items, m) for m in memory[1:]]
        run_items(memory[0])
        for other in waiting:
            other.result()

    def _place(self, number: int, array: Array) -> tuple[Array, int, int]:
        """Where each item begins in an array: the offsets and their address; and the elements from step to step."""
        key = (number, array.shape, array.strides)
        found = self._places.get(key)
        if found is None:
            layout = self._layout()
            assert layout is not None  # the caller holds it
            offsets, step = _offsets(self.spec, layout, self.kernel.arrays[number], array)
            if len(self._places) >= _MOST_PLACES:
                self._places.clear()
            found = self._places[key] = (offsets, offsets.ctypes.data, step)
        return found


def _offsets(of: Specialisation, layout: Layout, spec: ArraySpec, array: Array) -> tuple[Array, int]:
    """Where each item begins in an array, and the elements from one step to the next."""
    own = len(spec.axes) + (1 if spec.complex else 0)
    strides = [s // array.itemsize for s in array.strides]
    rows = np.array(layout.rows, np.int64)
    starts = np.array(layout.starts, np.int64)
    if spec.purpose == "checkpoints":
        counts = _segments(of, layout, spec)
        return (np.cumsum(counts) - counts) * spec.size, spec.size
    if _stepped(of, spec):
        row = 0 if array.shape[0] == 1 else strides[0]
        lead, base, step = 2, rows * row + starts * strides[1], strides[1]
    elif spec.purpose == "in":
        lead, base, step = 0, np.zeros(layout.sequences, np.int64), 0
    else:
        lead, base, step = 1, np.arange(layout.sequences, dtype=np.int64) * strides[0], 0
    batch = np.zeros((), np.int64)
    own_batch = array.ndim - lead - own
    for i, size in enumerate(layout.batch):
        at = i - (len(layout.batch) - own_batch)
        stride = strides[lead + at] if at >= 0 and array.shape[lead + at] != 1 else 0
        batch = batch[..., None] + np.arange(size, dtype=np.int64) * stride
    return np.ascontiguousarray((base[:, None] + batch.reshape(1, -1)).reshape(-1)), step


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, threads - 1), thread_name_prefix="recc")


# A child process has none of its parent's threads, so it must not wait for them.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


def default_threads() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


__all__ = [
    "Program",
    "Run",
    "contiguous",
    "default_threads",
    "run_backward",
    "run_forward",
    "saved_shapes",
    "specialise",
]
