"""The forward kernel of a pass: carries on the chip, a loop over steps or chunks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial

from recc.backends.triton_gpu.emit import emit_ops
from recc.backends.triton_gpu.kernel import Kernel, carry_axes
from recc.backends.triton_gpu.memory import Place
from recc.backends.triton_gpu.spec import all_carries, carry_values, parts_of
from recc.backends.triton_gpu.writer import Held, Writer
from recc.forms.block import Value
from recc.forms.passes import Carry, Port


class Forward(Kernel):
    """Runs a pass from its first step to its last, and keeps carries for a backward run if asked to."""

    def write(self) -> str:
        """The whole kernel."""
        self.begin()
        self._pointers()
        fixed = self._fixed()
        self._first(fixed)
        self._first_of_stretch()
        self._kept_place()
        self.line("for here in range(start, stop):")
        self.body.depth += 1
        self.time("here")
        self._keep()
        w = self.step_writer(fixed)
        self.write_outputs(w)
        emit_ops(w)
        self.hand_over(w)
        self.body.depth -= 1
        self.among("there")
        self._last()
        return self.text()

    # What the kernel reads and writes, named before the loop.

    def _pointers(self) -> None:
        for port in (*self.loop.parameters, *self.loop.reads):
            if port.role == "argument":
                self.input_place(self.spec.form.rec.table[port.name])
        for port in self.loop.reads:
            if port.role == "kept":
                self.kept_place(port)
        for port in self.loop.writes:
            if port.role != "carry":
                self.written_place(port)
        if any(p.role == "clock" for p in self.loop.reads):
            self.clock()

    def clock(self) -> str:
        """The number of the sequence's first step."""
        if ("clock value",) not in self.known:
            pointer = self.argument(("clock",), "clock", "clock", "*int64")
            stride = self.number_of("clock_row", "clock.stride(0) if clock.numel() > 1 else 0")
            self.known["clock value",] = name = self.names("clock_first")
            self.line(f"{name} = tl.load({pointer} + sequence * {stride})")
        return self.known["clock value",]

    def kept_place(self, port: Port) -> Place:
        """Where a value that an earlier pass keeps lies."""
        axes = self.own_axes(port)
        kind = f"*{self.spec.compute}"
        return self.stepped(
            ("kept", port.name), f"kept_{port.name}", f'kept["{port.name}"]', kind, axes, 1 + port.complex
        )

    def own_axes(self, port: Port) -> tuple[str, ...]:
        """The axes of a port without the chunk's."""
        return tuple(a for a in port.axes if a != self.loop.chunk)

    def written_place(self, port: Port) -> Place:
        """Where an output, or a value that later passes read, goes."""
        if port.role == "kept":
            return self.kept_place(port)
        reals = 1 + port.complex
        return self.stepped(
            ("out", port.name), port.name, f'outputs["{port.name}"]', f"*{port.name}", self.own_axes(port), reals
        )

    # What does not vary with time, and the first carries.

    def _fixed(self) -> dict[str, Held]:
        wanted = [p.name for p in self.loop.reads if p.role == "prologue"]
        wanted += [n for n, _ in self.loop.prologue.outputs if n.startswith("init ")]
        self._prologue, fixed = self.prologue(wanted)
        return fixed

    def _first(self, fixed: dict[str, Held]) -> None:
        for carry, part in all_carries(self.loop):
            axes = carry_axes(self.loop, carry, part)
            w = self._prologue
            value = Value(carry.label(part), axes)
            held = fixed[f"init {value.name}"]
            name = self.names(value.name)
            self.line(f"{name} = {self.filled(w, held, axes)}")
            self.carries[carry.name, part] = name
            if carry.slot:
                place = self.state_place(carry, "first")
                with self.given(self.known["first", carry.name]):
                    loaded = self.load(w, value, place, carry.axes, part)
                    self.line(f"{name} = {loaded.code}")

    def _first_of_stretch(self) -> None:
        """What is handed to a stretch where it begins, if time is split."""
        if not self.stretched:
            return
        for carry, part in all_carries(self.loop):
            place = self.start_place(carry, part, "stretch")
            name, axes = self._handed()[carry.name, part], carry_axes(self.loop, carry, part)
            with self.given(self.known["start", carry.label(part)]):
                loaded = self.load(self.writer(self.loop.step), Value(name, axes), place, carry.axes, 0)
                self.line(f"{name} = {loaded.code}")

    def _handed(self) -> dict[tuple[str, int], str]:
        """The variables that are handed from step to step, in the order in which the kernel runs."""
        return self.carries

    def _parameters_first(self) -> None:
        """Where parameters lie."""
        for port in self.loop.parameters:
            self.input_place(self.spec.form.rec.table[port.name])

    def _fixed_for(self, needed: Mapping[str, Value]) -> dict[str, Held]:
        """What does not vary with time, as far as some values are needed."""
        wanted = [p.name for p in self.loop.reads if p.role == "prologue" and p.value in needed]
        self._prologue, fixed = self.prologue(wanted)
        return fixed

    def _fixed_first(self) -> dict[str, Held]:
        """The first carries."""
        self._prologue, fixed = self.prologue([n for n, _ in self.loop.prologue.outputs if n.startswith("init ")])
        return fixed

    def state_place(self, carry: Carry, when: str) -> Place:
        """Where a state lies before the first step, or goes after the last."""
        item = self.state_slot() if self.way == "forward" else "item"
        kind = f"*{self.spec.compute}?"
        table = {"first": "initial", "last": "final"}[when]
        host = f'{table}.get("{carry.name}")'
        return self.item_place(
            (when, carry.name), f"{carry.name}_{when}", host, kind, carry.axes, parts_of(carry), item
        )

    def _last(self) -> None:
        for carry, part in all_carries(self.loop):
            if not carry.slot:
                continue
            place = self.state_place(carry, "last")
            axes = carry_axes(self.loop, carry, part)
            held = Held(self.carries[carry.name, part], axes, "real")
            with self.given(self.known["last", carry.name]), self.if_stretched("stop == count"):
                self.store(self._prologue_like(), held, place, carry.axes, part, "", self.alone(carry.axes))

    def _prologue_like(self) -> Writer:
        return self.writer(self.loop.step)

    # Carries that are kept for the backward run.

    def _kept_place(self) -> None:
        """Where the carries before every so many steps or chunks go."""
        if not self.loop.carries:
            return
        every = self.spec.segment * self.spec.chunk
        self.line(f"first_kept = {self.first_kept(every)}")
        self.names.taken.add("first_kept")
        for carry in self.loop.carries:
            self.saved(carry)

    def first_kept(self, every: int) -> str:
        """The number of the first of a sequence's carries that are kept, among those of all sequences."""
        if self.spec.packed:
            return f"begin // {every} + sequence"
        return f"sequence * ((length + {every - 1}) // {every})"

    def saved(self, carry: Carry) -> str:
        """The argument for a carry's kept values."""
        host = f'saved.get("{self.number + 1} {carry.name}")'
        return self.argument(("saved", carry.name), f"{carry.name}_kept", host, f"*{self.spec.kept_type}?")

    def saved_place(self, carry: Carry, which: str) -> Place:
        """Where a carry's kept value of a number lies."""
        own = self.own(carry.axes, parts_of(carry))
        heads = self.number_of("heads", "heads")
        pointer = f"{self.saved(carry)} + ((first_kept + {which}) * {heads} + head) * {own}"
        return Place(pointer, "", carry.axes, parts_of(carry))

    def _keep(self) -> None:
        segment, w = self.spec.segment, self._prologue_like()
        for carry in self.loop.carries:
            due = self.body.under(f"if here % {segment} == 0:") if segment > 1 else nullcontext()
            with self.given(self.saved(carry)), due:
                place = self.saved_place(carry, f"here // {segment}" if segment > 1 else "here")
                for part in range(parts_of(carry)):
                    held = Held(self.carries[carry.name, part], carry_axes(self.loop, carry, part), "real")
                    self.store(w, held, place, carry.axes, part, "", self.alone(carry.axes))

    # One step or chunk.

    def step_writer(self, fixed: dict[str, Held], block: str = "step") -> Writer:
        """A Writer that knows what the step Block reads."""
        w = self.writer(getattr(self.loop, block))
        self.read(w, fixed)
        return w

    def read(self, w: Writer, fixed: dict[str, Held]) -> None:
        """Loads what a Block reads."""
        values = carry_values(self.loop)
        for (name, part), value in values.items():
            if value in w.block.input and (name, part) in self.kept_carries:
                w.pending[value] = self.kept_carries[name, part]
            elif value in w.block.input:
                w.put(value, Held(self.carries[name, part], w.sort(w.block.input[value].axes), "real"))
        for port in self.loop.reads:
            if port.value not in w.block.input or port.role == "carry":
                continue
            v = w.block.input[port.value]
            if port.role == "prologue":
                w.put(v.name, fixed[port.name])
            elif port.role == "clock":
                axes = (self.loop.chunk,) if self.loop.chunk else ()
                w.put(v.name, Held(f"({self.clock()} + at)", axes, "int"))
            else:
                place = (
                    self.kept_place(port)
                    if port.role == "kept"
                    else self.input_place(self.spec.form.rec.table[port.name])
                )
                w.pending[v.name] = partial(self.load, w, v, place, port.axes, port.part, "at")
                if self.spec.chunk > 1:
                    w.reload[v.name] = partial(self.load, w, v, place, port.axes, port.part, "at", (), True)

    def write_outputs(self, w: Writer) -> None:
        """Stores what a step or a chunk gives, as soon as it is there."""
        for port in self.loop.writes:
            if port.role != "carry":
                w.sinks[port.value] = partial(self._write_output, w, port)

    def _write_output(self, w: Writer, port: Port) -> None:
        place, held = self.written_place(port), w.get(w.block.output[port.value])
        self.store(w, held, place, port.axes, port.part, "at", self.alone(self.own_axes(port)))

    def hand_over(self, w: Writer) -> None:
        """The carries after the step are those before the next."""
        made: list[tuple[str, str]] = []
        for port in self.loop.writes:
            if port.role != "carry":
                continue
            key = (port.name, port.part)
            v = w.block.output[port.value]
            code = self.filled(w, w.get(v), v.axes)
            made.append((self.carries[key], self.going_on(w, self.carries[key], code, v.axes)))
        self.renew(made)


__all__ = ["Forward"]
