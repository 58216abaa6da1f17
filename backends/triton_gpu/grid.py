"""Kernels of passes over several scan axes: one program goes through all steps of a grid in order.

Nothing is carried from step to step. What a step reads of another one lies in memory, `[rows, steps, heads, own]`
with the steps of all scan axes as one: an argument, or a value that the pass itself has kept there. Law for a read
at lags l of a step x, with n steps along each axis:

    value[x - l]  inside the grid;   beyond it what the state starts with, where x - l leaves the ends from which
    the state is computed and no others;   zero elsewhere.

Backward, the steps come in the reverse order, and the gradient of what was read is added where it was read from.
Threads of a program read what others of it wrote, so that a barrier ends each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from recc.backends.triton_gpu.backward import Backward
from recc.backends.triton_gpu.emit import emit_ops
from recc.backends.triton_gpu.forward import Forward
from recc.backends.triton_gpu.memory import Place
from recc.backends.triton_gpu.writer import Held, Writer
from recc.forms.block import Value
from recc.forms.passes import Port
from recc.recurrence import Symbol


class _Grid(Forward):
    """Places of steps in a grid, and reads of other steps than the one that is made."""

    @property
    def scan(self) -> tuple[str, ...]:
        """The scan axes, in order."""
        return self.spec.form.rec.scan

    # Where a step lies.

    def begin(self, split: bool = False) -> None:
        """The program's place, and the steps along each scan axis. Nothing splits the steps of a grid."""
        super().begin(split)
        self.names.taken.add("at")
        self.extent: dict[str, str] = {}
        self.place_along: dict[str, str] = {}
        for n, axis in enumerate(self.scan):
            given = self.number_of(f"steps_{axis}", f"extents[{n}]")
            self.extent[axis], self.place_along[axis] = self.names(f"extent_{axis}"), self.names(axis)
            self.line(f"{self.extent[axis]} = tl.cast({given}, tl.int64)")

    def steps(self) -> None:
        """Opens the loops over the steps, in the order of the pass, or backward in the reverse order.

        A load must not be moved ahead of the step before, which may write what it reads, so loops are not pipelined.
        """
        for axis, way in zip(self.scan, self.loop.directions, strict=True):
            extent, walk = self.extent[axis], self.names(f"walk_{axis}")
            self.line(f"for {walk} in tl.range(0, {extent}, num_stages=1):")
            self.body.depth += 1
            onward = (way == 1) == (self.way == "forward")
            at = f"tl.cast({walk}, tl.int64)" if onward else f"{extent} - 1 - {walk}"
            self.line(f"{self.place_along[axis]} = {at}")
        self.line(f"at = {self.linear([self.place_along[a] for a in self.scan])}")
        self._others()

    def _others(self) -> None:
        """The numbers of the other steps that a step reads, and whether they are of the grid, by their lags."""
        none = (0,) * len(self.scan)
        self.step_at, self.there = {none: "at"}, {none: ""}
        for port in self.loop.reads:
            lags = port.lags or none
            if lags in self.step_at:
                continue
            words = "_".join(f"lag{n}" if n >= 0 else f"lead{-n}" for n in lags)
            self.step_at[lags], self.there[lags] = self.names(f"at_{words}"), self.names(f"has_{words}")
            inside = [self._within(axis, lag) for axis, lag in zip(self.scan, lags, strict=True) if lag]
            self.line(f"{self.step_at[lags]} = {self.linear(self.other(port))}")
            self.line(f"{self.there[lags]} = {' & '.join(inside)}")

    def end_steps(self) -> None:
        """Closes the loops. What a step wrote is there for all threads before the next one begins."""
        kept = {p.name for p in self.loop.writes if p.role == "kept"}
        if any(any(p.lags) and (self.way == "backward" or p.name in kept) for p in self.loop.reads):
            self.line("# Other threads of this program read what was written.")
            self.line("tl.debug_barrier()")
        self.body.depth -= len(self.scan)

    def linear(self, places: Sequence[str]) -> str:
        """The number of a step in memory, from its place along each axis."""
        code = places[0]
        for n, axis in enumerate(self.scan[1:], start=1):
            code = f"{code if n == 1 else f'({code})'} * {self.extent[axis]} + {places[n]}"
        return code

    def _lags(self, port: Port) -> tuple[int, ...]:
        return port.lags or (0,) * len(self.scan)

    def other(self, port: Port) -> list[str]:
        """The place of the step that a port reads, along each axis."""
        places = [self.place_along[a] for a in self.scan]
        return [
            f"({x} {'-' if n > 0 else '+'} {abs(n)})" if n else x for x, n in zip(places, self._lags(port), strict=True)
        ]

    def step_of(self, port: Port) -> str:
        """The number of the step that a port reads."""
        return self.step_at[self._lags(port)]

    def inside(self, port: Port) -> list[str]:
        """The condition that the step that a port reads is one of the grid; none if it is the step itself."""
        return list(filter(None, [self.there[self._lags(port)]]))

    def _within(self, axis: str, lag: int) -> str:
        place = self.place_along[axis]
        return f"({place} >= {lag})" if lag > 0 else f"({place} < {self.extent[axis]} - {-lag})"

    def begins(self, port: Port) -> list[str]:
        """The conditions that a read that leaves the grid leaves it where the state starts."""
        both = zip(self.scan, self._lags(port), port.starts, strict=True)
        return [self._within(axis, lag) for axis, lag, way in both if lag * way < 0]

    def starts(self, port: Port) -> bool:
        """Whether a read beyond the ends may find what a state starts with."""
        return bool(port.starts) and any(self._lags(port)) and f"init {port.value}" in self.loop.prologue.output

    # Memory.

    def of_time(self, symbol: Symbol, strides: Sequence[str]) -> list[str]:
        """What a program's row adds to the address of an input; its strides between steps, one per scan axis."""
        row = self.number_of(f"{symbol.name}_row", strides[0])
        for axis, stride in zip(self.scan, strides[1:], strict=False):
            self.known["step", symbol.name, axis] = self.number_of(f"{symbol.name}_{axis}", stride)
        return [f"row * {row}"]

    def input_row(self, port: Port) -> Place:
        """Where an input lies at the step that a port reads."""
        place = self.input_place(self.spec.form.rec.table[port.name])
        strides = [self.known["step", port.name, axis] for axis in self.scan]
        terms = [f"{x} * {stride}" for x, stride in zip(self.other(port), strides, strict=True)]
        return replace(place, pointer=" + ".join([place.pointer, *terms]))

    def clock(self) -> str:
        """Not needed: a grid is always run as a whole, from place 0 along each axis."""
        return ""

    # What a step reads.

    def _fixed(self) -> dict[str, Held]:
        wanted = [p.name for p in self.loop.reads if p.role == "prologue"]
        wanted += [n for n, _ in self.loop.prologue.outputs if n.startswith("init ")]
        self._prologue, fixed = self.prologue(wanted)
        self.first: dict[str, str] = {}
        for port in self.loop.reads:
            if self.starts(port):
                axes = self.loop.step.input[port.value].axes
                name = self.first[port.value] = self.names(f"{port.value}_first")
                self.line(f"{name} = {self.filled(self._prologue, fixed[f'init {port.value}'], axes)}")
        return fixed

    def read(self, w: Writer, fixed: dict[str, Held]) -> None:
        """Loads what a Block reads."""
        for port in self.loop.reads:
            if port.value not in w.block.input:
                continue
            v = w.block.input[port.value]
            if port.role == "prologue":
                w.put(v.name, fixed[port.name])
            elif port.role == "clock":
                w.put(v.name, Held(self.place_along[port.name], (), "int"))
            else:
                w.pending[v.name] = partial(self._read, w, port, v)

    def _read(self, w: Writer, port: Port, v: Value) -> Held:
        kept = port.role == "kept"
        place = self.kept_place(port) if kept else self.input_row(port)
        step = self.step_of(port) if kept else ""
        held = self.load(w, v, place, port.axes, port.part, step, self.inside(port))
        if not self.starts(port):
            return held
        other = self.first[port.value]
        if conditions := self.begins(port):
            other = f"tl.where({' & '.join(conditions)}, {other}, 0.0)"
        return w.new(v.name, f"tl.where({self.there[port.lags]}, {held.code}, {other})", held.axes, v.dtype)


class GridForward(_Grid):
    """Runs a pass over several scan axes, and keeps what other steps and passes read."""

    def write(self) -> str:
        """The whole kernel."""
        self.begin()
        self._pointers()
        fixed = self._fixed()
        self.steps()
        w = self.step_writer(fixed)
        self.write_outputs(w)
        emit_ops(w)
        self.end_steps()
        return self.text()


class GridBackward(_Grid, Backward):
    """Runs a pass over several scan axes from its last step to its first, the VJP of each step."""

    def write(self) -> str:
        """The whole kernel."""
        self.begin()
        self._pointers()
        fixed = self._fixed()
        self._adjoints()
        self.totals = self._totals(fixed)
        self.steps()
        self._step(fixed)
        self.end_steps()
        self._parameters()
        return self.text()

    def cotangent_place(self, port: Port) -> Place:
        """Where the gradient of an output lies, or of what is kept: there steps of this pass add to it."""
        return self.gradient_place(port) if port.role == "kept" else super().cotangent_place(port)

    def _seed(self, w: Writer, port: Port, v: Value) -> Held:
        if port.role == "kept":
            return self.load(w, v, self.gradient_place(port), port.axes, port.part, "at")
        return super()._seed(w, port, v)

    def _totals(self, fixed: dict[str, Held]) -> dict[str, str]:
        """Zeroed sums of the gradients of what does not vary, and of what states start with."""
        found = super()._totals(fixed)
        block = self.loop.step_vjp
        for port in self.loop.reads:
            if self.starts(port) and f"d {port.value}" in block.output:
                found[f"init {port.value}"] = self.names(f"d_{port.value}_first")
                zeros = self.zeros(self.writer(block), block.output[f"d {port.value}"].axes)
                self.line(f"{found[f'init {port.value}']} = {zeros}")
        return found

    def _store_gradient(self, w: Writer, port: Port, v: Value, add: bool) -> None:
        inside, held = self.inside(port), w.get(v)
        if total := self.totals.get(f"init {port.value}"):
            outside = " & ".join([f"({self.there[port.lags]} == 0)", *self.begins(port)])
            self.line(f"{total} += tl.where({outside}, {self.filled(w, held, v.axes)}, 0.0)")
        add = add or self.spec.lagged(port.name)
        self.store(w, held, self.gradient_place(port), port.axes, port.part, self.step_of(port), inside, add)


__all__ = ["GridBackward", "GridForward"]
