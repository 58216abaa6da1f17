"""Writes the backward direction of a pass: segments recomputed, the VJP of the step run in reverse."""

from __future__ import annotations

from collections.abc import Mapping

from recc.backends.c_cpu.forward import PassWriter, only_stored
from recc.backends.c_cpu.memory import Memory
from recc.backends.c_cpu.spec import Purpose
from recc.backends.c_cpu.store import Store
from recc.forms.sequential import Port
from recc.recurrence import Kind


class BackwardPass(PassWriter):
    """The backward direction of one pass.

    For each segment, last first: the carries before each of its steps are recomputed from the checkpoint
    onto a tape, then the step's VJP runs from its last step to its first.
    """

    def write(self) -> None:
        """The whole pass."""
        emit = self.kernel.emit
        self.begin()
        self._first_adjoints()
        totals = self._totals()
        segment, size = self.spec.segment(self.number), self.spec.carried(self.number)
        loop = f"int64_t begin = (length - 1) / {segment} * {segment}; length > 0 && begin >= 0; begin -= {segment}"
        emit(f"for ({loop}) {{")
        emit(f"const int64_t end = begin + {segment} < length ? begin + {segment} : length;", 2)
        tape = ""
        if self.loop.carries:
            self.kernel.names(f"{self.prefix}carry tape", f"{self.prefix}tape")  # a program may have a `tape` too
            tape = self.kernel.local(f"{self.prefix}carry tape", segment * size)
            name = self.kernel.checkpoints(self.number)
            emit(f"memcpy({tape}, {name}_at + begin / {segment} * {name}_step, {size} * sizeof(real));", 2)
            self._recompute(tape, size)
        emit("for (int64_t s = end - 1; s >= begin; --s) {", 2)
        self.time(3)
        self._step(tape, size, totals)
        emit("}", 2)
        emit("}")
        self._last_adjoints(totals)

    def _tape(self, tape: str, size: int, after: bool = False) -> dict[str, Memory]:
        """The carries before step s (or after it), by the step's names; declares a pointer to each."""
        found: dict[str, Memory] = {}
        for carry, part, at in self.laid_out():
            value = self.carry_value(carry.name, part)
            pointer = self.kernel.names(f"{self.prefix}{value}{' after' if after else ''}")
            row = f"{tape} + (s - begin{' + 1' if after else ''}) * {size}" + (f" + {at}" if at else "")
            self.kernel.emit(f"{'' if after else 'const '}real *restrict {pointer} = {row};", 3)
            found[value] = Memory(pointer, self.local_axes(carry.axes))
        return found

    def _recompute(self, tape: str, size: int) -> None:
        """Runs the segment forward, keeping the carries before each step."""
        emit = self.kernel.emit
        emit("for (int64_t s = begin; s < end - 1; ++s) {", 2)
        self.time(3)
        memory = {**self.step_memory(), **self._tape(tape, size)}
        after = self._tape(tape, size, after=True)
        stores: list[Store] = []
        for port in self.loop.writes:
            if port.role == "carry":
                memory[f"> {port.value}"] = after[self.carry_value(port.name, port.part)]
                stores.append(Store(f"> {port.value}", self.loop.step.output[port.value]))
        block = only_stored(self.loop.step, stores)
        names = {v.name for v in block.inputs}
        memory = {n: m for n, m in memory.items() if n in names or n.startswith(">")}
        self.rows(memory, block.inputs, 3)
        self.nest(block, stores, memory, 3)
        emit("}", 2)

    def _first_adjoints(self) -> None:
        """Gradients of the carries after the last step: the caller's, or zero."""
        emit = self.kernel.emit
        for carry in self.loop.carries:
            for part in range(2 if carry.complex else 1):
                name = f"{self.prefix}d_{carry.label(part)} carried"
                local = self.kernel.local(name, self.spec.count(carry.axes))
                self.carry_memory[(carry.name, part)] = local
                emit(f"memset({local}, 0, {self.spec.count(carry.axes)} * sizeof(real));")
            if carry.slot:
                self.if_given("d final", carry, inward=True)
        for name in self._corners():
            place = self.corner(name, "d ")
            emit(f"memset({place.pointer}, 0, {self.spec.count(place.axes) * place.stride} * sizeof(real));")

    def _corners(self) -> list[str]:
        """The step's reads that find an initial value beyond the ends of several scan axes."""
        if not self.grid:
            return []
        return [n.removeprefix("init ") for n, _ in self.loop.prologue.outputs if n.startswith("init ")]

    def _totals(self) -> dict[str, Memory]:
        """Zeroed sums of the gradients of prologue values."""
        found: dict[str, Memory] = {}
        for port in self.loop.reads:
            if port.role != "prologue" or port.dtype != "real":
                continue
            local = self.kernel.local(f"{self.prefix}d_{port.value} total", self.spec.count(port.axes))
            self.kernel.emit(f"memset({local}, 0, {self.spec.count(port.axes)} * sizeof(real));")
            found[port.value] = Memory(local, self.local_axes(port.axes))
        return found

    def _step(self, tape: str, size: int, totals: Mapping[str, Memory]) -> None:
        block = self.loop.step_vjp
        memory = {**self.step_memory(), **(self._tape(tape, size) if tape else {})}
        seeds: dict[tuple[str, int], str] = {}
        for port in self.loop.writes:
            label = f"d {port.value}"
            if port.role == "carry":
                memory[label] = self.carried(port)
                seeds[(port.name, port.part)] = label
            elif port.dtype == "real":
                memory[label] = self.argument(port, "d out" if port.role == "output" else "d kept")
        stores: list[Store] = []
        for port in self.loop.reads:
            label = f"d {port.value}"
            if label not in block.output:
                continue
            value, key = block.output[label], f"> {label}"
            if port.role == "carry":
                memory[key] = self.carried(port)
                stores.append(Store(key, value, overwrites=seeds[(port.name, port.part)]))
            elif port.role == "prologue":
                memory[key] = totals[port.value]
                stores.append(Store(key, value, accumulate=True))
            else:
                memory[key], again = self._gradient(port)
                stores.append(Store(key, value, accumulate=again))
        block = only_stored(block, stores)
        names = {v.name for v in block.inputs}
        memory = {n: m for n, m in memory.items() if n in names or n.startswith(">")}
        self.rows(memory, block.inputs, 3)
        self.nest(block, stores, memory, 3)

    def _gradient(self, port: Port) -> tuple[Memory, bool]:
        """Where the gradient of an input goes, and whether it is added to what is there."""
        purpose: Purpose = "d kept" if port.role == "kept" else "d in"
        key = (purpose, f"{port.name} {port.part}")
        again = key in self.kernel.written or purpose == "d kept" or self.adds(port.name)
        self.kernel.written.add(key)
        return self.argument(port, purpose), again

    def _last_adjoints(self, totals: Mapping[str, Memory]) -> None:
        """Hands the gradient of the first carries to the caller or to the prologue, then of parameters."""
        emit = self.kernel.emit
        for carry in self.loop.carries:
            if not carry.slot:
                continue
            given = self.kernel.array("initial", carry.name, carry.axes, carry.complex)
            name = self.kernel.array("d initial", carry.name, carry.axes, carry.complex)
            emit(f"if ({given}_at) {{")
            emit(f"if ({name}_at) {{", 2)
            self.copy_carry(carry, f"{name}_at", inward=False, depth=3)
            emit("}", 2)
            for part in range(2 if carry.complex else 1):
                count = self.spec.count(carry.axes)
                emit(f"memset({self.carry_memory[(carry.name, part)]}, 0, {count} * sizeof(real));", 2)
            emit("}")
        self._parameters(totals)

    def _parameters(self, totals: Mapping[str, Memory]) -> None:
        block = self.loop.prologue_vjp
        memory = {p.value: self.argument(p, "in", stepped=False) for p in self.loop.parameters}
        corners = self._corners()
        for name, value in self.loop.prologue.outputs:
            first = name.removeprefix("init ")
            if first in corners and name != first:
                memory[f"d {name}"] = self.corner(first, "d ")
            elif name != first:
                memory[f"d {name}"] = Memory(self.carry_memory[self.part(first)], self.local_axes(value.axes))
            elif name in totals:
                memory[f"d {name}"] = totals[name]
        stores: list[Store] = []
        for port in self.loop.parameters:
            label = f"d {port.value}"
            if label not in block.output or self.spec.form.rec.table[port.name].kind is Kind.CONST:
                continue
            key = ("d in", f"{port.name} {port.part}")
            again = key in self.kernel.written
            self.kernel.written.add(key)
            memory[f"> {label}"] = self.argument(port, "d in", stepped=False)
            stores.append(Store(f"> {label}", block.output[label], accumulate=again))
        self.nest(block, stores, memory, 1, "gradients of the parameters")


__all__ = ["BackwardPass"]
