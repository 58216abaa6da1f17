"""The backward kernel of a pass: against its direction, from carry kept to carry kept, the VJP of each step."""

from __future__ import annotations

from functools import partial

from recc.backends.triton_gpu.emit import emit_ops
from recc.backends.triton_gpu.forward import Forward
from recc.backends.triton_gpu.kernel import carry_axes
from recc.backends.triton_gpu.memory import Place
from recc.backends.triton_gpu.spec import all_carries, carry_values, parts_of
from recc.backends.triton_gpu.writer import Held, Writer
from recc.forms.block import Block, Value
from recc.forms.passes import Carry, Port
from recc.recurrence import Kind


class Backward(Forward):
    """Runs a pass from its last step to its first.

    Carries are loaded as they were kept. Where they were kept only every so many steps, those between are
    computed again for one segment at a time, onto a tape in memory that only this program uses.
    """

    def write(self) -> str:
        """The whole kernel."""
        self.begin()
        self._pointers()
        fixed = self._fixed()
        self._adjoints()
        self._first_of_stretch()
        self._kept_place()
        self.totals = self._totals(fixed)
        self._steps(fixed)
        self.among("there")
        self._first_adjoints()
        self._parameters()
        return self.text()

    @property
    def remade(self) -> bool:
        """Whether carries between those that are kept are made again."""
        return self.spec.segment > 1 and bool(self.loop.carries)

    def _steps(self, fixed: dict[str, Held]) -> None:
        """The loop over steps or chunks, last first."""
        if self.remade:
            self._segments(fixed)
            return
        self.line("for back in range(0, stop - start):")
        self.names.taken |= {"back"}
        self.body.depth += 1
        self.line("here = stop - 1 - back")
        self.time("here")
        self._kept_carries("here")
        self._step(fixed)
        self.body.depth -= 1

    def _pointers(self) -> None:
        super()._pointers()
        for port in self.loop.writes:
            if port.dtype == "real" and port.role != "carry":
                self.cotangent_place(port)
        for port in self.loop.reads:
            if f"d {port.value}" in self.loop.step_vjp.output and port.role in ("argument", "kept"):
                self.gradient_place(port)

    def written_place(self, port: Port) -> Place:
        """A backward kernel writes no outputs; of what is kept it needs the place only where it reads it."""
        return Place("", "", ())

    def kept_place(self, port: Port) -> Place:
        """Where a value that an earlier pass keeps lies."""
        if any(p.role == "kept" and p.name == port.name for p in self.loop.reads):
            return super().kept_place(port)
        return Place("", "", ())

    def cotangent_place(self, port: Port) -> Place:
        """Where the gradient of an output, or of what later passes read, lies."""
        reals = 1 + port.complex
        table, hint = ("d_outputs", f"d_{port.name}") if port.role == "output" else ("d_kept", f"d_{port.name}")
        kind = f"*d {port.name}?" if port.role == "output" else f"*{self.spec.compute}?"
        host = f'{table}.get("{port.name}")'
        return self.stepped(("d out", port.name), hint, host, kind, self.own_axes(port), reals)

    def gradient_place(self, port: Port) -> Place:
        """Where the gradient of an input, or of what an earlier pass keeps, goes."""
        axes, reals = self.own_axes(port), 1 + port.complex
        if port.role == "kept":
            return self.stepped(
                ("d kept", port.name), f"d_{port.name}", f'd_kept["{port.name}"]', f"*{self.spec.compute}", axes, reals,
                summed=True,
            )  # fmt: skip
        host, kind = f'd_arguments["{port.name}"]', f"*grad {port.name}"
        return self.stepped(("d in", port.name), f"d_{port.name}", host, kind, axes, reals, summed=True)

    # Cotangents of the carries.

    def _first(self, fixed: dict[str, Held]) -> None:
        """Not needed: carries come from memory."""

    def _fixed(self) -> dict[str, Held]:
        self._prologue, fixed = self.prologue([p.name for p in self.loop.reads if p.role == "prologue"])
        return fixed

    def _adjoints(self) -> None:
        """The gradients of the carries after the last step: the caller's, or zero."""
        self.d_carries: dict[tuple[str, int], str] = {}
        for carry, part in all_carries(self.loop):
            axes = carry_axes(self.loop, carry, part)
            w = self.writer(self.loop.step)
            name = self.names(f"d_{carry.label(part)}")
            self.line(f"{name} = {self.zeros(w, axes)}")
            self.d_carries[carry.name, part] = name
            if not carry.slot:
                continue
            key, hint, host = ("d last", carry.name), f"d_{carry.name}_last", f'd_final.get("{carry.name}")'
            place = self.item_place(key, hint, host, f"*{self.spec.compute}?", carry.axes, parts_of(carry))
            with self.given(self.known["d last", carry.name]):
                loaded = self.load(w, Value(name, axes), place, carry.axes, part, "", self.alone(carry.axes))
                self.line(f"{name} = {loaded.code}")

    def _handed(self) -> dict[tuple[str, int], str]:
        return self.d_carries

    def zeros(self, w: Writer, axes: tuple[str, ...]) -> str:
        """A tile of zeros."""
        return f"tl.full({list(w.shape(w.sort(axes)))}, 0.0, {self.spec.real})"

    def _totals(self, fixed: dict[str, Held]) -> dict[str, str]:
        """Zeroed sums of the gradients of what does not vary with time."""
        found: dict[str, str] = {}
        for port in self.loop.reads:
            if port.role == "prologue" and f"d {port.value}" in self.loop.step_vjp.output:
                w = self.writer(self.loop.step_vjp)
                axes = self.loop.step_vjp.output[f"d {port.value}"].axes
                found[port.name] = self.names(f"d_{port.name}_total")
                self.line(f"{found[port.name]} = {self.zeros(w, axes)}")
        return found

    # Carries.

    def _kept_carries(self, which: str) -> None:
        """Loads the carries before a step or chunk."""
        for carry, part in all_carries(self.loop):
            place = self.saved_place(carry, which)
            self.kept_carries[carry.name, part] = partial(self._load_carry, carry, part, place)

    def _load_carry(self, carry: Carry, part: int, place: Place) -> Held:
        axes = carry_axes(self.loop, carry, part)
        value = Value(f"{carry.label(part)}_prev", axes)
        return self.load(self.writer(self.loop.step), value, place, carry.axes, part)

    def _segments(self, fixed: dict[str, Held]) -> None:
        """Segment by segment, last first: forward onto the tape, then backward along it."""
        line, segment = self.line, self.spec.segment
        self.names.taken |= {"back", "segment", "segments", "first", "last", "again"}
        here, before = ("stop - start", f"start // {segment} + ") if self.stretched else ("count", "")
        line(f"segments = ({here} + {segment - 1}) // {segment}")
        line("for back in range(0, segments):")
        self.body.depth += 1
        line(f"segment = {before}segments - 1 - back")
        line(f"first = segment * {segment}")
        line(f"last = tl.minimum(first + {segment}, {'stop' if self.stretched else 'count'})")
        if self.uneven:
            line("begun = there & (first < length)")
            self.among("begun")
        for carry, part in all_carries(self.loop):
            held = self._load_carry(carry, part, self.saved_place(carry, "segment"))
            name = self.names(carry.label(part))
            line(f"{name} = {held.code}")
            self.carries[carry.name, part] = name
        live = self.loop.step.live([p.value for p in self.loop.writes if p.role == "carry"])
        ahead = self._for_loop(fixed, live)
        line("for here in range(first, last):")
        self.body.depth += 1
        self.time("here")
        for carry, part in all_carries(self.loop):
            held = Held(self.carries[carry.name, part], carry_axes(self.loop, carry, part), "real")
            self.store(self.writer(self.loop.step), held, self.tape_place(carry), carry.axes, part)
        w = self.writer(live)
        self.read(w, ahead)
        emit_ops(w)
        self._recomputed(w)
        self.hand_over(w)
        self.body.depth -= 1
        line("# Other threads of this program read what was written.")
        line("tl.debug_barrier()")
        fixed = self._for_loop(fixed, self.loop.step_vjp)
        line("for again in range(0, last - first):")
        self.body.depth += 1
        line("here = last - 1 - again")
        self.time("here")
        for carry, part in all_carries(self.loop):
            self.carries[carry.name, part] = self._load_carry(carry, part, self.tape_place(carry)).code
        self._step(fixed)
        self.body.depth -= 1
        line("tl.debug_barrier()")
        self.body.depth -= 1

    def _for_loop(self, fixed: dict[str, Held], block: Block) -> dict[str, Held]:
        """What does not vary with time, for a loop around a Block in a segment."""
        return fixed

    def _recomputed(self, w: Writer) -> None:
        """What else is kept of a step that is made again: nothing."""

    def tape_place(self, carry: Carry) -> Place:
        """Where the carry before a step of the segment lies on the tape."""
        reals = parts_of(carry)
        own = self.own(carry.axes, reals)
        host, kind = f'tape["{self.number + 1} {carry.name}"]', f"*{self.spec.compute}"
        pointer = self.argument(("tape", carry.name), f"{carry.name}_tape", host, kind)
        place = f"{pointer} + ({self.tape_row(carry.axes)} * {self.spec.segment} + here - first) * {own}"
        return Place(place, "", carry.axes, reals)

    def tape_row(self, axes: tuple[str, ...]) -> str:
        """The row of the tape of a program."""
        return self.of_stretch(self.own_row(axes))

    # One step or chunk, backward.

    def _step(self, fixed: dict[str, Held]) -> None:
        w = self.step_writer(fixed, "step_vjp")
        for port in self.loop.writes:
            name = f"d {port.value}"
            if name not in w.block.input:
                continue
            v = w.block.input[name]
            if port.role == "carry":
                w.put(name, Held(self.d_carries[port.name, port.part], w.sort(v.axes), "real"))
                continue
            w.pending[name] = partial(self._seed, w, port, v)
        self._store_gradients(w)
        emit_ops(w)
        self._hand_back(w)

    def _seed(self, w: Writer, port: Port, v: Value) -> Held:
        """The gradient of an output at these steps: what the caller gives, zero if that is nothing."""
        place = self.cotangent_place(port)
        name = self.names(v.name)
        self.line(f"{name} = {self.zeros(w, v.axes)}")
        with self.given(self.known["d out", port.name]):
            loaded = self.load(w, v, place, port.axes, port.part, "at", self.alone(self.own_axes(port)))
            self.line(f"{name} = {loaded.code}")
        return Held(name, w.sort(v.axes), "real", None, frozenset(a for a in v.axes if w.ragged(a)))

    def _store_gradients(self, w: Writer) -> None:
        """Where the gradients of what the step read go, as soon as they are there."""
        written: set[str] = set()
        for port in self.loop.reads:
            name = f"d {port.value}"
            if port.role == "carry" or name not in w.block.output:
                continue
            if port.role == "prologue":
                w.sinks[name] = partial(self._add_to_total, w, port.name, w.block.output[name])
                continue
            add = port.role == "kept" or self.again(port) or f"{port.name} {port.part}" in written
            written.add(f"{port.name} {port.part}")
            w.sinks[name] = partial(self._store_gradient, w, port, w.block.output[name], add)

    def _add_to_total(self, w: Writer, name: str, v: Value) -> None:
        self.line(f"{self.totals[name]} += {self.filled(w, w.get(v), v.axes)}")

    def _store_gradient(self, w: Writer, port: Port, v: Value, add: bool) -> None:
        self.store(w, w.get(v), self.gradient_place(port), port.axes, port.part, "at", (), add)

    def _hand_back(self, w: Writer) -> None:
        """The gradients of the carries before the step are those of the carries after the one before."""
        made: list[tuple[str, str]] = []
        before = carry_values(self.loop)
        for carry, part in all_carries(self.loop):
            key = (carry.name, part)
            v = w.block.output.get(f"d {before[key]}") if key in before else None
            axes = carry_axes(self.loop, carry, part)
            code = self.zeros(w, axes) if v is None else self.filled(w, w.get(v), axes)
            made.append((self.d_carries[key], self.going_on(w, self.d_carries[key], code, axes)))
        self.renew(made)

    def again(self, port: Port) -> bool:
        """Whether a kernel that runs before has stored a gradient of the same input already."""
        passes = self.spec.form.passes
        return any(
            p.name == port.name and p.part == port.part and f"d {p.value}" in later.step_vjp.output
            for later in passes[self.number + 1 :]
            for p in later.reads
            if p.role == "argument"
        )

    # The ends: initial states and parameters.

    def _first_adjoints(self) -> None:
        """Hands the gradient of the first carries to the caller where they were given."""
        for carry in self.loop.carries:
            if not carry.slot:
                continue
            # Programs that share an item each have a part of the gradient of what they all carry.
            host = f'{"d_shared" if self.spec.missing(carry.axes) else "d_initial"}.get("{carry.name}")'
            kind = f"*{self.spec.compute}?"
            place = self.item_place(
                ("d first", carry.name), f"d_{carry.name}_first", host, kind, carry.axes, parts_of(carry),
                summed=True,
            )  # fmt: skip
            with self.given(self.known["d first", carry.name]):
                for part in range(parts_of(carry)):
                    axes = carry_axes(self.loop, carry, part)
                    name = self.d_carries[carry.name, part]
                    w = self.writer(self.loop.step)
                    with self.if_stretched("start == 0"):
                        self.store(w, Held(name, axes, "real"), place, carry.axes, part)
                    self.line(f"{name} = {self.zeros(w, axes)}")
        if self.stretched:
            for name in self.d_carries.values():
                self.line(f"{name} = tl.where(start == 0, {name}, 0.0)")

    def _parameters(self) -> None:
        """The gradients of the parameters, from those of what was computed of them."""
        rec = self.spec.form.rec
        wanted = [
            f"d {p.value}"
            for p in self.loop.parameters
            if f"d {p.value}" in self.loop.prologue_vjp.output and rec.table[p.name].kind is not Kind.CONST
        ]
        block = self.loop.prologue_vjp.live(wanted)
        if not wanted:
            return
        w = self.writer(block)
        self.load_parameters(w)
        for name, value in self.loop.prologue.outputs:
            v = block.input.get(f"d {name}")
            if v is None:
                continue
            code = self.totals.get(name)
            if name.startswith("init ") and code is None:
                code = next(c for k, c in self.d_carries.items() if self._init_name(k) == name)
            w.put(v.name, Held(code, w.sort(value.axes), "real") if code else Held("0.0", (), "real", 0.0))
        emit_ops(w)
        for port in self.loop.parameters:
            name = f"d {port.value}"
            if name not in wanted:
                continue
            place = self.item_place(
                ("d in", port.name),
                f"d_{port.name}",
                f'd_arguments["{port.name}"]',
                f"*{self.spec.compute}",
                port.axes,
                1 + port.complex,
                summed=True,
            )
            again = any(
                p.name == port.name for later in self.spec.form.passes[self.number + 1 :] for p in later.parameters
            )
            self.store(w, w.get(block.output[name]), place, port.axes, port.part, "", (), again)

    def _init_name(self, key: tuple[str, int]) -> str:
        carry = next(c for c in self.loop.carries if c.name == key[0])
        return f"init {carry.label(key[1])}"


__all__ = ["Backward"]
