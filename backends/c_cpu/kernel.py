"""From the sequential form to one C file: a forward or a backward kernel.

A kernel runs **items**, one sequence of one batch element each, and shares nothing between them, so the
bits of an item do not depend on its neighbours or on the number of threads. It takes a table of arrays
(`ArraySpec`), each with an offset per item and a stride per step, so that strides, broadcasting and
packed sequences are all the caller's arithmetic and none of the kernel's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from recc.backends.c_cpu.loops import C_TYPE, Memory, Names, NestWriter, Storage
from recc.backends.c_cpu.nest import Nest, choose_order, split_sums
from recc.backends.c_cpu.store import Store
from recc.forms.block import Block, Value
from recc.forms.sequential import Carry, Pass, Port, Sequential
from recc.recurrence import Kind

Purpose = Literal["in", "out", "initial", "final", "kept", "checkpoints", "d in", "d out", "d initial", "d final", "d kept"]

#: Bytes of carries that a backward pass keeps at a time: small enough for a second-level cache.
_TAPE_BYTES = 512 * 1024


@dataclass(frozen=True)
class ArraySpec:
    """One array argument of a kernel: what it is for, whose, its axes in memory order, its element type.

    `pass_number` tells the checkpoints of several passes apart. `size` is the number of elements per
    step (or per item, where there are no steps). `zeroed` says that the kernel adds to it.
    """

    purpose: Purpose
    name: str
    axes: tuple[str, ...]
    storage: Storage
    complex: bool = False
    pass_number: int = 0
    size: int = 1
    zeroed: bool = False


@dataclass(frozen=True)
class Specialisation:
    """What a kernel is compiled for: sizes of axes, the computing type, element types of arguments."""

    form: Sequential
    sizes: Mapping[str, int]
    compute: Literal["float32", "float64"]
    storage: Mapping[str, Storage]

    @property
    def real_bytes(self) -> int:
        """Bytes of one computed real."""
        return 4 if self.compute == "float32" else 8

    def count(self, axes: tuple[str, ...]) -> int:
        """Elements of a tensor over axes."""
        root = self.form.passes[0].step.root
        total = 1
        for axis in axes:
            total *= self.sizes[root.get(axis, axis)]
        return total

    def carried(self, number: int) -> int:
        """Reals that a pass hands from one step to the next."""
        return sum(self.count(c.axes) * (2 if c.complex else 1) for c in self.form.passes[number].carries)

    def segment(self, number: int) -> int:
        """Steps between two checkpoints of a pass."""
        size = max(1, self.carried(number)) * self.real_bytes
        steps = 8
        while steps < 128 and 2 * steps * size <= _TAPE_BYTES:
            steps *= 2
        return steps


@dataclass(frozen=True)
class Kernel:
    """The C text of a kernel, its arrays in order, and the reals of scratch memory that a thread needs."""

    source: str
    arrays: tuple[ArraySpec, ...]
    scratch: int


def emit(spec: Specialisation, direction: Literal["forward", "backward"]) -> Kernel:
    """The kernel of one direction. The same specialisation always gives the same text."""
    writer = _KernelWriter(spec, direction)
    return writer.write()


@dataclass
class _Local:
    """A named stretch of scratch memory."""

    name: str
    offset: int
    size: int
    type: str = "real"


@dataclass
class _KernelWriter:
    spec: Specialisation
    direction: Literal["forward", "backward"]
    names: Names = field(default_factory=lambda: Names())
    arrays: dict[tuple[str, str, int], ArraySpec] = field(default_factory=dict)
    locals: list[_Local] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
    used: int = 0
    written: set[tuple[str, str]] = field(default_factory=set)

    def write(self) -> Kernel:
        form = self.spec.form
        numbers = range(len(form.passes))
        for number in numbers if self.direction == "forward" else reversed(numbers):
            _PassWriter(self, number).write()
        return Kernel(self._text(), tuple(self.arrays.values()), max(1, self.used))

    def array(self, purpose: Purpose, name: str, axes: tuple[str, ...], **more: object) -> str:
        """The C name of an array argument, declared on first use."""
        number = int(str(more.get("pass_number", 0)))
        key = (purpose, name, number)
        if key not in self.arrays:
            storage: Storage = "real"
            if purpose in ("in", "out", "d in", "d out"):
                storage = self.spec.storage[name]
            is_complex = bool(more.get("complex", False))
            size = int(str(more.get("size", self.spec.count(axes) * (2 if is_complex else 1))))
            zeroed = bool(more.get("zeroed", False))
            self.arrays[key] = ArraySpec(purpose, name, axes, storage, is_complex, number, size, zeroed)
        return self._array_name(self.arrays[key])

    def _array_name(self, array: ArraySpec) -> str:
        if array.purpose == "checkpoints":
            return self.names(f"checkpoints {array.pass_number}" if array.pass_number else "checkpoints")
        label = array.purpose.removesuffix("in").removesuffix("out").strip()
        label = {"kept": "", "d kept": "d"}.get(array.purpose, label)
        return self.names(f"{label} {array.name}".strip())

    def local(self, key: str, size: int, integer: bool = False) -> str:
        """The C name of a new stretch of scratch memory, aligned to a cache line."""
        name = self.names(key)
        reals = max(1, size) * (1 if not integer else 8 // self.spec.real_bytes)
        self.locals.append(_Local(name, self.used, size, "int64_t" if integer else "real"))
        line = 64 // self.spec.real_bytes
        self.used += (reals + line - 1) // line * line
        return name

    def emit(self, text: str, depth: int = 1) -> None:
        self.body.append("    " * depth + text if text else "")

    def _text(self) -> str:
        rec = self.spec.form.rec
        lines = [f"/* {rec.name}: {self.direction} kernel, sequential form, {self.spec.compute}.", " *"]
        lines += [f" *   {line}" for line in _comment_safe(_program_text(self.spec)).splitlines()]
        shown = {k: v for k, v in self.spec.sizes.items()}
        sizes = ", ".join(f"{a} = {n}" for a, n in shown.items()) or "none"
        lines += [" *", f" * Sizes: {sizes}. Arrays are rows of the declared axes, one row per step t of an item."]
        lines += [" * NAME_prev is a state before the step, NAME after it; d_NAME is the gradient of NAME. */"]
        if self.spec.compute == "float64":
            lines.append("#define RECC_DOUBLE 1")
        lines += ['#include "recc_math.h"', ""]
        head = "static void run_item(const recc_array *arrays, int64_t item, int64_t length, int64_t first, real *scratch) {"
        lines.append(head)
        for i, array in enumerate(self.arrays.values()):
            lines.append(self._declare(i, array))
        for local in self.locals:
            cast = f"(int64_t *)(scratch + {local.offset})" if local.type == "int64_t" else f"scratch + {local.offset}"
            lines.append(f"    {local.type} *restrict {local.name} = {cast};")
        lines += ["    (void)arrays, (void)item, (void)length, (void)first, (void)scratch;"]
        lines += [*self.body, "}", ""]
        lines += _RUN.splitlines()
        return "\n".join(lines) + "\n"

    def _declare(self, i: int, array: ArraySpec) -> str:
        const = "const " if array.purpose in ("in", "initial", "d out", "d final") else ""
        axes = ", ".join(array.axes)
        name = self._array_name(array)
        return f"    RECC_ARRAY({const}{C_TYPE[array.storage]}, {name}, {i}); /* {array.purpose} {array.name}[{axes}] */"


_RUN = """\
/* Threads call this with one shared counter; each takes the next item until none is left. */
RECC_EXPORT void recc_run(const recc_array *arrays, const int64_t *length, const int64_t *first, int64_t items,
                          int64_t *next, real *scratch) {
    for (;;) {
        const int64_t item = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED);
        if (item >= items) return;
        run_item(arrays, item, length[item], first[item], scratch);
    }
}
"""


class _PassWriter:
    """Writes one pass of a kernel."""

    def __init__(self, kernel: _KernelWriter, number: int):
        self.kernel = kernel
        self.spec = kernel.spec
        self.number = number
        self.loop: Pass = self.spec.form.passes[number]
        roots = self.loop.step.root
        blocks = [self.loop.step, self.loop.prologue]
        self.sizes = {a: self.spec.sizes[r] for b in blocks for a, r in b.size_of}
        self.sizes.update({a: self.spec.sizes[roots.get(a, a)] for a in self.loop.step.order})
        self.order = choose_order([self.loop.step], self.sizes)
        self.prefix = f"p{number} " if len(self.spec.form.passes) > 1 else ""
        self.memory: dict[str, Memory] = {}  # step inputs by value name
        self.carry_memory: dict[tuple[str, int], str] = {}
        self.comments = _comments(self.spec)

    def write(self) -> None:
        """The whole pass."""
        emit = self.kernel.emit
        way = "left to right" if self.loop.direction == 1 else "right to left"
        emit(f"/* Pass {self.number + 1}, {way}. */")
        self._prologue()
        if self.kernel.direction == "forward":
            self._first_carries()
            self._forward_loop()
            self._final()
        else:
            self._backward()

    # Memory.

    def _axes(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        """Axes in the order of local arrays: that of the loops."""
        return tuple(a for a in self.order if a in axes)

    def _prologue(self) -> None:
        """Computes prologue values, and the first carries, into scratch memory."""
        block = self.loop.prologue
        stores: list[Store] = []
        memory = {p.value: self._argument(p, "in", stepped=False) for p in self.loop.parameters}
        for name, value in block.outputs:
            if name.startswith("init ") and self.kernel.direction == "backward":
                continue
            label = self._carry_value(name) if name.startswith("init ") else name
            local = self.kernel.local(self.prefix + label, self.spec.count(value.axes), value.dtype != "real")
            storage: Storage = "real" if value.dtype == "real" else "int64"
            place = Memory(local, self._axes(value.axes), storage)
            memory[f"> {name}"] = place
            stores.append(Store(f"> {name}", value))
            if name.startswith("init "):
                self.carry_memory[self._part(name.removeprefix("init "))] = local
            else:
                self.memory[name] = place
        self._nest(block, stores, memory, 1, "prologue: what does not vary with time")

    def _carry_value(self, name: str) -> str:
        """The step's name for a carry, by the prologue's name for its first value."""
        part = self._part(name.removeprefix("init "))
        return next(p.value for p in self.loop.reads if p.role == "carry" and (p.name, p.part) == part)

    def _part(self, name: str) -> tuple[str, int]:
        """The carry and the part (0 real, 1 imaginary) that a Block output stands for."""
        for carry in self.loop.carries:
            if not carry.complex and name == carry.name:
                return carry.name, 0
            if carry.complex and name in (f"{carry.name}_re", f"{carry.name}_im"):
                return carry.name, int(name.endswith("_im"))
        raise AssertionError(name)

    def _argument(self, port: Port, purpose: Purpose, stepped: bool = True) -> Memory:
        """Memory of an array argument, at step t if it has steps."""
        name = self.kernel.array(purpose, port.name, port.axes, complex=port.complex)
        spec = self.kernel.arrays[(purpose, port.name, 0)]
        pointer = f"{name}_t" if stepped else f"{name}_at"
        return Memory(pointer, port.axes, spec.storage, 2 if port.complex else 1, port.part)

    def _nest(self, block: Block, stores: list[Store], memory: Mapping[str, Memory], depth: int, title: str = "") -> None:
        """Writes a Block with its stores."""
        fresh = {a: self.spec.sizes[r] for a, r in block.size_of}
        sizes = {**fresh, **self.sizes}
        order = [a for a in block.order if a not in self.order] + self.order
        if order:
            block = split_sums(block, order[-1])
        wanted = {s.value.name for s in stores}
        block = Block(
            block.name,
            block.inputs,
            block.ops,
            tuple((n, v) for n, v in block.outputs if v.name in wanted),
            block.order,
            block.size_of,
        ).live()
        scoped = depth == 1
        nest = Nest(block, stores, order)
        lines = NestWriter(nest, memory, sizes, self.kernel.names, self.comments, depth + scoped).write()
        if not lines:
            return
        if title:
            self.kernel.emit(f"/* {title} */", depth)
        # Names of values are unique in a Block; a scope keeps those of one Block from those of another.
        self.kernel.body += ["    {", *lines, "    }"] if scoped else lines

    def _first_carries(self) -> None:
        """Takes the caller's initial state where there is one."""
        for carry in self.loop.carries:
            if not carry.slot:
                continue
            name = self.kernel.array("initial", carry.name, carry.axes, complex=carry.complex)
            self.kernel.emit(f"if ({name}_at) {{")
            for part in range(2 if carry.complex else 1):
                self._copy_carry(carry, part, f"{name}_at", inward=True)
            self.kernel.emit("}")

    def _copy_carry(self, carry: Carry, part: int, outside: str, inward: bool, local: str = "") -> None:
        """Copies between a carry's scratch memory and an array in the caller's order of axes."""
        inside = Memory(local or self.carry_memory[(carry.name, part)], self._axes(carry.axes))
        away = Memory(outside, carry.axes, "real", 2 if carry.complex else 1, part)
        value = Value("copied", self._axes(carry.axes))
        block = Block("copy", (value,), (), (("copied", value),), tuple(self.order), ())
        source, target = (away, inside) if inward else (inside, away)
        memory = {"copied": source, "target": target}
        nest = Nest(block, [Store("target", value)], self.order)
        self.kernel.body += NestWriter(nest, memory, self.sizes, self.kernel.names, {}, 2).write()

    def _rows(self, memory: dict[str, Memory], depth: int, d_only: bool = False) -> None:
        """Points at this step's row of every array with steps, and copies in those of another layout."""
        emit = self.kernel.emit
        done: set[str] = set()
        for name, place in list(memory.items()):
            if not place.pointer.endswith("_t") or place.pointer in done:
                continue
            done.add(place.pointer)
            base = place.pointer.removesuffix("_t")
            const = "const " if not name.startswith(">") else ""
            emit(f"{const}{C_TYPE[place.storage]} *restrict {base}_t = {base}_at + t * {base}_step;", depth)
        for name, place in list(memory.items()):
            if not place.pointer.endswith("_t") or name.startswith(">"):
                continue
            value = next(v for v in self._inputs if v.name == name)
            if not place.axes:
                kind = "real" if value.dtype == "real" else "int64_t"
                scalar = self.kernel.names(f"{self.prefix}{name} now")
                emit(f"const {kind} {scalar} = {place.load({}, self.sizes)};", depth)
                memory[name] = Memory("", (), "real", expression=scalar)
            elif self._needs_copy(place):
                memory[name] = self._copy_row(value, place, depth)

    def _needs_copy(self, place: Memory) -> bool:
        native = place.storage in ("int64", "real") or place.storage == self.spec.compute
        vector = self.order[-1] if self.order else ""
        return not native or place.stride != 1 or (vector in place.axes and place.axes[-1] != vector)

    def _copy_row(self, value: Value, place: Memory, depth: int) -> Memory:
        axes = self._axes(place.axes)
        integer = value.dtype != "real"
        key = f"{self.prefix}{value.name} row"
        known = any(local.name == self.kernel.names.given.get(key) for local in self.kernel.locals)
        local = self.kernel.names(key) if known else self.kernel.local(key, self.spec.count(axes), integer)
        inside = Memory(local, axes, "int64" if integer else "real")
        copied = Value("copied", axes, value.dtype)
        block = Block("copy", (copied,), (), (("copied", copied),), tuple(self.order), ())
        nest = Nest(block, [Store("target", copied)], self.order)
        places = {"copied": place, "target": inside}
        self.kernel.body += NestWriter(nest, places, self.sizes, self.kernel.names, {}, depth).write()
        return inside

    def _step_memory(self) -> dict[str, Memory]:
        """Where the step's inputs lie, carries excepted."""
        found = dict(self.memory)
        for port in self.loop.reads:
            if port.role == "argument":
                found[port.value] = self._argument(port, "in")
            elif port.role == "kept":
                found[port.value] = self._argument(port, "kept")
            elif port.role == "clock":
                found[port.value] = Memory("", (), "int64", expression="(first + t)")
        return found

    def _time(self, depth: int) -> None:
        at = "s" if self.loop.direction == 1 else "length - 1 - s"
        self.kernel.emit(f"const int64_t t = {at};", depth)

    # Forward.

    def _forward_loop(self) -> None:
        emit = self.kernel.emit
        size = self.spec.carried(self.number)
        emit("for (int64_t s = 0; s < length; ++s) {")
        self._time(2)
        if self.loop.carries:
            name = self.kernel.array("checkpoints", "", (), pass_number=self.number, size=size)
            emit(f"if ({name}_at && s % {self.spec.segment(self.number)} == 0) {{", 2)
            self._checkpoint(f"{name}_at + s / {self.spec.segment(self.number)} * {name}_step", 3)
            emit("}", 2)
        memory = self._step_memory()
        for port in self.loop.reads:
            if port.role == "carry":
                local = self.carry_memory[(port.name, port.part)]
                memory[port.value] = Memory(local, self._axes(port.axes))
        stores: list[Store] = []
        inputs = {(p.name, p.part): p.value for p in self.loop.reads if p.role == "carry"}
        for port in self.loop.writes:
            value = self.loop.step.output[port.value]
            key = f"> {port.value}"
            if port.role == "carry":
                memory[key] = Memory(self.carry_memory[(port.name, port.part)], self._axes(port.axes))
                stores.append(Store(key, value, overwrites=inputs[(port.name, port.part)]))
            else:
                memory[key] = self._argument(port, "out" if port.role == "output" else "kept")
                stores.append(Store(key, value))
        self._inputs = self.loop.step.inputs
        self._rows(memory, 2)
        self._nest(self.loop.step, stores, memory, 2)
        emit("}")

    def _checkpoint(self, target: str, depth: int) -> None:
        at = 0
        for carry in self.loop.carries:
            for part in range(2 if carry.complex else 1):
                count = self.spec.count(carry.axes)
                local = self.carry_memory[(carry.name, part)]
                self.kernel.emit(f"memcpy({target} + {at}, {local}, {count} * sizeof(real));", depth)
                at += count

    def _final(self) -> None:
        for carry in self.loop.carries:
            if not carry.slot:
                continue
            name = self.kernel.array("final", carry.name, carry.axes, complex=carry.complex)
            self.kernel.emit(f"if ({name}_at) {{")
            for part in range(2 if carry.complex else 1):
                self._copy_carry(carry, part, f"{name}_at", inward=False)
            self.kernel.emit("}")

    # Backward.

    def _backward(self) -> None:
        emit = self.kernel.emit
        segment, size = self.spec.segment(self.number), self.spec.carried(self.number)
        self._adjoint_carries()
        adjoints = self._adjoint_prologue()
        emit(f"for (int64_t begin = (length - 1) / {segment} * {segment}; length > 0 && begin >= 0; begin -= {segment}) {{")
        emit(f"const int64_t end = begin + {segment} < length ? begin + {segment} : length;", 2)
        tape = ""
        if self.loop.carries:
            tape = self.kernel.local(f"{self.prefix}tape", segment * size)
            name = self.kernel.array("checkpoints", "", (), pass_number=self.number, size=size)
            emit(f"memcpy({tape}, {name}_at + begin / {segment} * {name}_step, {size} * sizeof(real));", 2)
            self._recompute(tape, size)
        emit("for (int64_t s = end - 1; s >= begin; --s) {", 2)
        self._time(3)
        self._backward_step(tape, size, adjoints)
        emit("}", 2)
        emit("}")
        self._backward_end(adjoints)

    def _tape_memory(self, tape: str, size: int, step: str) -> dict[str, Memory]:
        found: dict[str, Memory] = {}
        at = 0
        for carry in self.loop.carries:
            for part in range(2 if carry.complex else 1):
                pointer = f"({tape} + ({step}) * {size} + {at})"
                value = next(
                    p.value for p in self.loop.reads if p.role == "carry" and (p.name, p.part) == (carry.name, part)
                )
                found[value] = Memory(pointer, self._axes(carry.axes))
                at += self.spec.count(carry.axes)
        return found

    def _recompute(self, tape: str, size: int) -> None:
        """Runs the segment forward, keeping the carries before each step."""
        emit = self.kernel.emit
        emit("for (int64_t s = begin; s < end - 1; ++s) {", 2)
        self._time(3)
        before = self._tape_memory(tape, size, "s - begin")
        after = self._tape_memory(tape, size, "s - begin + 1")
        memory = {**self._step_memory(), **before}
        inputs = {(p.name, p.part): p.value for p in self.loop.reads if p.role == "carry"}
        stores: list[Store] = []
        for port in self.loop.writes:
            if port.role == "carry":
                memory[f"> {port.value}"] = after[inputs[(port.name, port.part)]]
                stores.append(Store(f"> {port.value}", self.loop.step.output[port.value]))
        needed = self.loop.step.live([p.value for p in self.loop.writes if p.role == "carry"])
        memory = self._only(memory, needed)
        self._inputs = needed.inputs
        self._rows(memory, 3)
        self._nest(needed, stores, memory, 3)
        emit("}", 2)

    @staticmethod
    def _only(memory: Mapping[str, Memory], block: Block) -> dict[str, Memory]:
        names = {v.name for v in block.inputs}
        return {n: m for n, m in memory.items() if n in names or n.startswith(">")}

    def _adjoint_carries(self) -> None:
        """Gradients of the carries after the last step: the caller's, or zero."""
        emit = self.kernel.emit
        for carry in self.loop.carries:
            parts = range(2 if carry.complex else 1)
            for part in parts:
                suffix = ("_re", "_im")[part] if carry.complex else ""
                local = self.kernel.local(f"{self.prefix}d_{carry.name}{suffix} carried", self.spec.count(carry.axes))
                self.carry_memory[(carry.name, part)] = local
                emit(f"memset({local}, 0, {self.spec.count(carry.axes)} * sizeof(real));")
            if carry.slot:
                name = self.kernel.array("d final", carry.name, carry.axes, complex=carry.complex)
                emit(f"if ({name}_at) {{")
                for part in parts:
                    self._copy_carry(carry, part, f"{name}_at", inward=True)
                emit("}")

    def _adjoint_prologue(self) -> dict[str, Memory]:
        """Zeroed sums of the gradients of prologue values."""
        found: dict[str, Memory] = {}
        for port in self.loop.reads:
            if port.role != "prologue" or port.dtype != "real":
                continue
            local = self.kernel.local(f"{self.prefix}d_{port.value} total", self.spec.count(port.axes))
            self.kernel.emit(f"memset({local}, 0, {self.spec.count(port.axes)} * sizeof(real));")
            found[port.value] = Memory(local, self._axes(port.axes))
        return found

    def _backward_step(self, tape: str, size: int, adjoints: Mapping[str, Memory]) -> None:
        block = self.loop.step_vjp
        memory = {**self._step_memory(), **(self._tape_memory(tape, size, "s - begin") if tape else {})}
        stores: list[Store] = []
        for port in self.loop.writes:
            label = f"d {port.value}"
            if port.role == "carry":
                local = self.carry_memory[(port.name, port.part)]
                memory[label] = Memory(local, self._axes(port.axes))
            else:
                memory[label] = self._argument(port, "d out" if port.role == "output" else "d kept")
        seeds = {(p.name, p.part): f"d {p.value}" for p in self.loop.writes if p.role == "carry"}
        for port in self.loop.reads:
            label = f"d {port.value}"
            if label not in block.output:
                continue
            value = block.output[label]
            key = f"> {label}"
            if port.role == "carry":
                memory[key] = Memory(self.carry_memory[(port.name, port.part)], self._axes(port.axes))
                stores.append(Store(key, value, overwrites=seeds[(port.name, port.part)]))
            elif port.role == "prologue":
                memory[key] = adjoints[port.value]
                stores.append(Store(key, value, accumulate=True))
            else:
                memory[key], again = self._gradient(port)
                stores.append(Store(key, value, accumulate=again))
        wanted = {s.value.name for s in stores}
        live = Block(
            block.name,
            block.inputs,
            block.ops,
            tuple((n, v) for n, v in block.outputs if v.name in wanted),
            block.order,
            block.size_of,
        ).live()
        memory = self._only(memory, live)
        self._inputs = live.inputs
        self._rows(memory, 3)
        self._nest(live, stores, memory, 3)

    def _gradient(self, port: Port) -> tuple[Memory, bool]:
        """Where the gradient of an input goes, and whether another pass has written there already."""
        purpose: Purpose = "d kept" if port.role == "kept" else "d in"
        key = (purpose, f"{port.name} {port.part}")
        again = key in self.kernel.written
        self.kernel.written.add(key)
        if purpose == "d kept":
            self.kernel.array(purpose, port.name, port.axes, complex=port.complex, zeroed=True)
            return self._argument(port, purpose), True
        return self._argument(port, purpose), again

    def _backward_end(self, adjoints: Mapping[str, Memory]) -> None:
        """Hands the gradient of the first carries to the caller or to the prologue, then of parameters."""
        emit = self.kernel.emit
        for carry in self.loop.carries:
            if not carry.slot:
                continue
            given = self.kernel.array("initial", carry.name, carry.axes, complex=carry.complex)
            name = self.kernel.array("d initial", carry.name, carry.axes, complex=carry.complex)
            emit(f"if ({given}_at) {{")
            emit(f"if ({name}_at) {{", 2)
            for part in range(2 if carry.complex else 1):
                self._copy_carry(carry, part, f"{name}_at", inward=False)
            emit("}", 2)
            for part in range(2 if carry.complex else 1):
                count = self.spec.count(carry.axes)
                emit(f"memset({self.carry_memory[(carry.name, part)]}, 0, {count} * sizeof(real));", 2)
            emit("}")
        self._prologue_gradient(adjoints)

    def _prologue_gradient(self, adjoints: Mapping[str, Memory]) -> None:
        block = self.loop.prologue_vjp
        memory: dict[str, Memory] = {}
        for port in self.loop.parameters:
            memory[port.value] = self._argument(port, "in", stepped=False)
        for name, value in self.loop.prologue.outputs:
            if name.startswith("init "):
                key = self._part(name.removeprefix("init "))
                memory[f"d {name}"] = Memory(self.carry_memory[key], self._axes(value.axes))
            elif name in adjoints:
                memory[f"d {name}"] = adjoints[name]
        stores: list[Store] = []
        for port in self.loop.parameters:
            label = f"d {port.value}"
            if label not in block.output or self.spec.form.rec.table[port.name].kind is Kind.CONST:
                continue
            key = ("d in", f"{port.name} {port.part}")
            again = key in self.kernel.written
            self.kernel.written.add(key)
            memory[f"> {label}"] = self._argument(port, "d in", stepped=False)
            stores.append(Store(f"> {label}", block.output[label], accumulate=again))
        self._nest(block, stores, memory, 1, "gradients of the parameters")


def _program_text(spec: Specialisation) -> str:
    rec = spec.form.rec
    return rec.source.text.strip()


def _comments(spec: Specialisation) -> dict[str, str]:
    """The user's line for every value that an equation defines."""
    rec = spec.form.rec
    found: dict[str, str] = {}
    for equation in rec.equations:
        text = " ".join(_comment_safe(rec.source.slice(equation.span)).split())
        found[equation.target] = text
    return found


def _comment_safe(text: str) -> str:
    return text.replace("*/", "* /").replace("/*", "/ *")


__all__ = ["ArraySpec", "Kernel", "Specialisation", "emit"]
