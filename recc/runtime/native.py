"""Runs a program's kernels on arrays in this machine's memory, whatever framework they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from recc.forms.sequential import Sequential, derive_sequential
from recc.layout import Layout
from recc.recurrence import Kind, Recurrence, Slot, Symbol
from recc.runtime.call import check_clock
from recc.runtime.host import Array, Host
from recc.runtime.layout import lay_out
from recc.runtime.tiles import Tiles, choose_tiles

Compute = Literal["float32", "float64"]


#: Layouts kept by shape. Decoding has one; training on sequences of any length has one per length.
_MOST_LAYOUTS = 256


@dataclass(frozen=True, eq=False)
class Cut:
    """A layout, split into tiles where that pays, and the kernels for it by element types."""

    tiles: Tiles | None
    layout: Layout
    programs: dict[object, Any] = field(default_factory=dict)


@dataclass
class Native:
    """The C kernels of one program, built per sizes and element types as they come.

    `saved` arrays of a forward run are named `kept NAME` and `checkpoints N`.
    """

    rec: Recurrence
    _programs: dict[object, Any] = field(default_factory=dict)
    _layouts: dict[object, Layout] = field(default_factory=dict)
    _cuts: dict[tuple[Layout, frozenset[str]], Cut] = field(default_factory=dict)
    _forms: dict[frozenset[str] | None, Sequential] = field(default_factory=dict)

    @cached_property
    def _slots(self) -> dict[str, Slot]:
        return {slot.name: slot for slot in self.rec.slots}

    def form(self, lanes: frozenset[str] | None) -> Sequential:
        """The sequential form for a choice of lane."""
        if lanes not in self._forms:
            self._forms[lanes] = derive_sequential(self.rec, lanes)
        return self._forms[lanes]

    def layout(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        states: Mapping[str, tuple[int, ...]],
        offsets: Sequence[int] | None,
        steps: int | None,
    ) -> Layout:
        """How the arrays of a call are laid out, the same object for the same shapes. Raises `UsageError`."""
        key = (tuple(shapes.values()), tuple(states.items()), None if offsets is None else tuple(offsets), steps)
        found = self._layouts.get(key)
        if found is None:
            found = lay_out(self.rec, shapes, states, offsets, steps)
            if len(self._layouts) >= _MOST_LAYOUTS:
                self._layouts.clear()
            self._layouts[key] = found
        return found

    def cut(self, layout: Layout, narrow: frozenset[str]) -> Cut:
        """The split of an axis into items, by program and sizes alone. `narrow` are the 16-bit arguments."""
        found = self._cuts.get((layout, narrow))
        if found is None:
            tiles = choose_tiles(self.form(layout.lanes), layout, narrow)
            found = Cut(tiles, tiles.layout(layout) if tiles else layout)
            if len(self._cuts) >= _MOST_LAYOUTS:
                self._cuts.clear()
            self._cuts[layout, narrow] = found
        return found

    def program(self, cut: Cut, compute: Compute, storage: Mapping[str, str]) -> Any:
        """The kernels for a layout, built on first use."""
        from recc.backends.c_cpu.launch import specialise

        types = (compute, *storage.items())
        if types not in cut.programs:
            layout = cut.layout
            key = (tuple(sorted(layout.sizes.items())), layout.lanes, frozenset(types))
            if key not in self._programs:
                self._programs[key] = specialise(self.form(layout.lanes), layout, compute, storage)  # type: ignore[arg-type]  # names of types
            cut.programs[types] = self._programs[key]
        return cut.programs[types]

    def sources(self) -> dict[str, str]:
        """The text of every kernel built so far, by file."""
        found: dict[str, str] = {}
        for program in self._programs.values():
            for kernel, library in (program.forward, *program._more.values()):
                found[str(library.path)] = kernel.source
        return found

    def forward(
        self,
        layout: Layout,
        compute: Compute,
        arguments: Mapping[str, Host],
        outputs: Mapping[str, Host],
        initial: Mapping[str, Host],
        final: Mapping[str, Host],
        saved: Mapping[str, Array],
        first: Array,
        threads: int,
    ) -> None:
        """Fills `outputs`, `final` and `saved` (what a backward run needs; empty if there will be none)."""
        from recc.backends.c_cpu.launch import Run, run_forward

        check_clock(self.rec, first, layout)
        storage = storage_of(arguments, outputs)
        cut = self.cut(layout, halves(storage))
        tiles, run = cut.tiles, Run()
        self._put_inputs(run, layout, tiles, arguments, initial, compute)
        self._put(run, "out", tiles, {n: one_time(h.array, layout) for n, h in outputs.items()})
        self._put(run, "final", tiles, {n: h.array for n, h in final.items()})
        _put_saved(run, saved)
        run_forward(self.program(cut, compute, storage), cut.layout, run, first, threads)

    def saved_shapes(self, layout: Layout, compute: Compute, narrow: frozenset[str]) -> dict[str, tuple[int, ...]]:
        """The arrays to pass as `saved`, by name, of the computing type. `narrow` are the 16-bit arguments."""
        from recc.backends.c_cpu.launch import saved_shapes
        from recc.backends.c_cpu.spec import Specialisation

        layout = self.cut(layout, narrow).layout
        return saved_shapes(Specialisation(self.form(layout.lanes), dict(layout.sizes), compute, {}), layout)

    def backward(
        self,
        layout: Layout,
        compute: Compute,
        arguments: Mapping[str, Host],
        storage: Mapping[str, str],
        saved: Mapping[str, Array],
        d_outputs: Mapping[str, Host],
        initial: Mapping[str, Host],
        d_final: Mapping[str, Host],
        d_initial: Mapping[str, Host],
        first: Array,
        threads: int,
    ) -> dict[str, Array]:
        """Fills `d_initial`; gives gradients of arguments at full shape, batch axes not summed."""
        from recc.backends.c_cpu.launch import Run, run_backward

        cut = self.cut(layout, halves(storage))
        tiles, run = cut.tiles, Run()
        self._put_inputs(run, layout, tiles, arguments, initial, compute)
        _put_saved(run, saved)
        self._put(run, "d out", tiles, {n: one_time(h.array, layout) for n, h in d_outputs.items()})
        for purpose, table in (("d final", d_final), ("d initial", d_initial)):
            self._put(run, purpose, tiles, {n: h.array for n, h in table.items()})
        run_backward(self.program(cut, compute, storage), cut.layout, run, first, threads)
        found = {key[1]: array for key, array in run.arrays.items() if key[0] == "d in"}
        if tiles is None:
            return found
        symbols = self.rec.table
        return {n: tiles.join(a, symbols[n].axes, symbols[n].dtype == "complex") for n, a in found.items()}

    def _put_inputs(
        self,
        run: Any,
        layout: Layout,
        tiles: Tiles | None,
        arguments: Mapping[str, Host],
        initial: Mapping[str, Host],
        compute: Compute,
    ) -> None:
        self._put(run, "in", tiles, {s.name: arrange(s, arguments[s.name], layout) for s in self.rec.arguments})
        self._put(run, "initial", tiles, {n: np.ascontiguousarray(h.array, compute) for n, h in initial.items()})

    def _put(self, run: Any, purpose: str, tiles: Tiles | None, arrays: Mapping[str, Array]) -> None:
        """Hands arrays to a run, each split into tiles if the call is."""
        for name, array in arrays.items():
            if tiles is not None:
                owner = self._slots[name] if name in self._slots else self.rec.table[name]
                array = tiles.split(array, owner.axes, owner.dtype == "complex")
            run.put(purpose, name, array)


def storage_of(arguments: Mapping[str, Host], outputs: Mapping[str, Host]) -> dict[str, str]:
    """The element type of every argument and output."""
    return {name: host.storage for name, host in (*arguments.items(), *outputs.items())}


def halves(storage: Mapping[str, str]) -> frozenset[str]:
    """The tensors in a 16-bit type."""
    return frozenset(n for n, s in storage.items() if s in ("float16", "bfloat16"))


def arrange(symbol: Symbol, host: Host, layout: Layout) -> Array:
    """An argument with its own axes (the lane among them) row by row; a copy if they are not."""
    from recc.backends.c_cpu.launch import contiguous

    array = host.array
    own = len(symbol.axes) + (1 if host.complex else 0)
    lead = 2 if symbol.kind is Kind.INPUT else 0
    if lead:
        array = one_time(array, layout)
    if layout.lanes is not None:
        if symbol.name in layout.lanes:
            own += 1
        elif array.ndim - lead - own > 0:
            array = array.squeeze(array.ndim - own - 1)
    return array if contiguous(array, own) else np.ascontiguousarray(array)


def one_time(array: Array, layout: Layout) -> Array:
    """An array `[B, *scan, …]` with its scan axes as one."""
    if len(layout.extents) == 1:
        return array
    return array.reshape(array.shape[0], layout.steps, *array.shape[1 + len(layout.extents) :])


def _put_saved(run: Any, saved: Mapping[str, Array]) -> None:
    for name, array in saved.items():
        purpose, _, rest = name.partition(" ")
        if purpose == "checkpoints":
            run.put(purpose, "", array, int(rest))
        else:
            run.put(purpose, rest, array)


__all__ = ["Compute", "Native", "arrange", "storage_of"]
