"""Writes one pass of a kernel: memory, prologue, and the loop forward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recc.backends.c_cpu.loops import NestWriter
from recc.backends.c_cpu.memory import C_TYPE, Memory, Storage
from recc.backends.c_cpu.nest import Nest, choose_order
from recc.backends.c_cpu.spec import Purpose
from recc.backends.c_cpu.store import Store
from recc.backends.c_cpu.sums import merge_sums, split_sums
from recc.backends.c_cpu.writer import KernelWriter, comment_safe
from recc.forms.block import Block, Value
from recc.forms.sequential import Carry, Pass, Port


class PassWriter:
    """What both directions of a pass share: where tensors lie, and how Blocks become loops."""

    def __init__(self, kernel: KernelWriter, number: int):
        self.kernel = kernel
        self.spec = kernel.spec
        self.number = number
        self.loop: Pass = self.spec.form.passes[number]
        self.sizes = {a: self.spec.sizes[r] for b in (self.loop.step, self.loop.prologue) for a, r in b.size_of}
        self.order = choose_order([self.loop.step], self.sizes)
        self.prefix = f"p{number} " if len(self.spec.form.passes) > 1 else ""
        self.fixed: dict[str, Memory] = {}  # prologue values by the step's names
        self.carry_memory: dict[tuple[str, int], str] = {}
        self.comments = _comments(kernel)

    @property
    def grid(self) -> bool:
        """Whether there are several scan axes."""
        return len(self.loop.directions) > 1

    def local_axes(self, axes: Sequence[str]) -> tuple[str, ...]:
        """Axes in the order of local arrays: that of the loops."""
        return tuple(a for a in self.order if a in axes)

    def begin(self) -> None:
        """Writes the head of the pass and its prologue."""
        ways = ", ".join("left to right" if d == 1 else "right to left" for d in self.loop.directions)
        self.kernel.emit(f"/* Pass {self.number + 1}, {ways}. */")
        self._prologue()

    def _prologue(self) -> None:
        """Computes prologue values, and the first carries, into scratch memory."""
        block = self.loop.prologue
        stores: list[Store] = []
        memory = {p.value: self.argument(p, "in", stepped=False) for p in self.loop.parameters}
        for name, value in block.outputs:
            given = memory.get(value.name)
            if given is not None and not name.startswith("init ") and not self._needs_copy(given):
                self.fixed[name] = given  # a parameter as it lies
                continue
            label = name
            if name.startswith("init "):
                if self.grid:
                    place = self.corner(name.removeprefix("init "))
                    stores.append(Store(f"> {name}", value))
                    memory[f"> {name}"] = place
                    continue
                if self.kernel.direction == "backward":
                    continue
                label = self.carry_value(*self.part(name.removeprefix("init ")))
            size, wanted = self.spec.count(value.axes), self.prefix + label
            local = self.kernel.local(f"fixed {wanted}", size, value.dtype != "real", wanted)
            storage: Storage = "real" if value.dtype == "real" else "int64"
            place = Memory(local, self.local_axes(value.axes), storage)
            memory[f"> {name}"] = place
            stores.append(Store(f"> {name}", value))
            if name.startswith("init "):
                self.carry_memory[self.part(name.removeprefix("init "))] = local
            else:
                self.fixed[name] = place
        self.nest(block, stores, memory, 1, "prologue: what does not vary with time")

    def part(self, name: str) -> tuple[str, int]:
        """The carry and the part (0 real, 1 imaginary) that a Block output stands for."""
        for carry in self.loop.carries:
            for part in range(1 + carry.complex):
                if name == carry.label(part):
                    return carry.name, part
        raise AssertionError(name)

    def carried(self, port: Port) -> Memory:
        """The scratch memory of a carry, or in the backward direction of its gradient."""
        return Memory(self.carry_memory[(port.name, port.part)], self.local_axes(port.axes))

    def laid_out(self) -> list[tuple[Carry, int, int]]:
        """Every part of every carry with where it begins in a checkpoint and in a row of the tape."""
        found: list[tuple[Carry, int, int]] = []
        at = 0
        for carry in self.loop.carries:
            for part in range(2 if carry.complex else 1):
                found.append((carry, part, at))
                at += self.spec.count(carry.axes)
        return found

    def carry_value(self, name: str, part: int) -> str:
        """The step's name for a carry."""
        return next(p.value for p in self.loop.reads if p.role == "carry" and (p.name, p.part) == (name, part))

    def corner(self, value: str, prefix: str = "") -> Memory:
        """What a read over several scan axes finds beyond the ends at which a state starts."""
        port = next(p for p in self.loop.reads if p.value == value)
        size = self.spec.count(port.axes) * (2 if port.complex else 1)
        key = f"{self.prefix}{prefix}{port.name} {port.lags} outside"
        local = self.kernel.reuse(key, size)
        return Memory(local, port.axes, "real", 2 if port.complex else 1, port.part)

    def argument(self, port: Port, purpose: Purpose, stepped: bool = True) -> Memory:
        """Memory of an array argument, at step t if it has steps."""
        zeroed = purpose == "d kept" or (purpose == "d in" and self.adds(port.name))
        name = self.kernel.array(purpose, port.name, port.axes, port.complex, zeroed)
        storage = self.kernel.arrays[(purpose, port.name, 0)].storage
        storage = "real" if storage == self.spec.compute else storage
        lagged = "".join(f"_{'m' if lag < 0 else ''}{abs(lag)}" for lag in port.lags)
        pointer = f"{name}_t{lagged}" if stepped else f"{name}_at"
        return Memory(
            pointer,
            port.axes,
            storage,
            2 if port.complex else 1,
            port.part,
            lags=port.lags,
            base=name if stepped else "",
        )

    def adds(self, name: str) -> bool:
        """Whether an input is read at several steps, so that its gradient is a sum."""
        passes = self.spec.form.passes
        return any(p.name == name and p.role == "argument" and p.lags for loop in passes for p in loop.reads)

    def nest(
        self, block: Block, stores: list[Store], memory: Mapping[str, Memory], depth: int, title: str = ""
    ) -> None:
        """Writes a Block with its stores."""
        sizes = {**{a: self.spec.sizes[r] for a, r in block.size_of}, **self.sizes}
        order = [a for a in block.order if a not in self.order] + self.order
        block = merge_sums(only_stored(block, stores))
        if order:
            block = split_sums(block, order[-1])
        scoped = depth == 1
        tree = Nest(block, stores, order)
        writer = NestWriter(tree, memory, sizes, self.kernel.names, self.comments, depth + scoped, self.kernel.reuse)
        lines = writer.write()
        if not lines:
            return
        if title:
            self.kernel.emit(f"/* {title} */", depth)
        # Names of values are unique in a Block; a scope keeps those of one Block from those of another.
        self.kernel.body += ["    {", *lines, "    }"] if scoped else lines

    def copy(self, source: Memory, target: Memory, depth: int, integer: bool = False) -> None:
        """Writes a copy from one place to another, between orders of axes and element types."""
        value = Value("copied", self.local_axes(source.axes), "int" if integer else "real")
        block = Block("copy", (value,), (), (("copied", value),), tuple(self.order), ())
        nest = Nest(block, [Store("target", value)], self.order)
        memory = {"copied": source, "target": target}
        self.kernel.body += NestWriter(nest, memory, self.sizes, self.kernel.names, {}, depth).write()

    def copy_carry(self, carry: Carry, outside: str, inward: bool, depth: int = 2) -> None:
        """Copies between a carry's scratch memory and an array in the caller's order of axes."""
        for part in range(2 if carry.complex else 1):
            inside = Memory(self.carry_memory[(carry.name, part)], self.local_axes(carry.axes))
            away = Memory(outside, carry.axes, "real", 2 if carry.complex else 1, part)
            self.copy(away if inward else inside, inside if inward else away, depth)

    def if_given(self, purpose: Purpose, carry: Carry, inward: bool) -> None:
        """Copies a state to or from the caller where the caller gave memory for it."""
        name = self.kernel.array(purpose, carry.name, carry.axes, carry.complex)
        self.kernel.emit(f"if ({name}_at) {{")
        self.copy_carry(carry, f"{name}_at", inward)
        self.kernel.emit("}")

    def time(self, depth: int) -> None:
        """Declares the step t, and over several scan axes the place along each."""
        emit = self.kernel.emit
        emit("RECC_IN_ORDER(s);", depth)
        if not self.grid:
            at = "s" if self.loop.directions[0] == 1 else "length - 1 - s"
            emit(f"const int64_t t = {at};", depth)
            return
        scan = self.spec.form.rec.scan
        places = [self.kernel.names(f"scan {axis}") for axis in scan]
        for i, (place, way) in enumerate(zip(places, self.loop.directions, strict=True)):
            after = " * ".join(f"extent[{j}]" for j in range(i + 1, len(scan)))
            at = f"s / ({after})" if after else "s"
            at = f"{at} % extent[{i}]" if i else at
            emit(f"const int64_t {place} = {at if way == 1 else f'extent[{i}] - 1 - {at}'};", depth)
        text = places[0]
        for i, place in enumerate(places[1:], start=1):
            text = f"({text}) * extent[{i}] + {place}"
        emit(f"const int64_t t = {text};", depth)

    def rows(self, memory: dict[str, Memory], inputs: Sequence[Value], depth: int) -> None:
        """Points at this step's row of every array with steps, and copies in those of another layout."""
        emit = self.kernel.emit
        done: set[str] = set()
        for name, place in memory.items():
            if not place.base or place.pointer in done:
                continue
            done.add(place.pointer)
            const = "" if name.startswith(">") else "const "
            row = f"{place.base}_at + t * {place.base}_step"
            if any(place.lags):
                row = self._other_row(name, place)
            emit(f"{const}{C_TYPE[place.storage]} *restrict {place.pointer} = {row};", depth)
        for value in inputs:
            place = memory[value.name]
            if not place.base:
                continue
            if not place.axes:
                kind = "real" if value.dtype == "real" else "int64_t"
                scalar = self.kernel.names(f"{self.prefix}{value.name} now")
                emit(f"const {kind} {scalar} = {place.load({}, self.sizes)};", depth)
                memory[value.name] = Memory("", (), "real", expression=scalar)
            elif self._needs_copy(place):
                memory[value.name] = self._copy_row(value, place, depth)

    def _other_row(self, name: str, place: Memory) -> str:
        """The row of another step over several scan axes: kept or given, initial, or nothing."""
        scan = self.spec.form.rec.scan
        at = [f"({self.kernel.names(f'scan {a}')} - {lag})" for a, lag in zip(scan, place.lags, strict=True)]
        inside = " && ".join(f"{x} >= 0 && {x} < extent[{i}]" for i, x in enumerate(at))
        linear = at[0]
        for i, x in enumerate(at[1:], start=1):
            linear = f"({linear}) * extent[{i}] + {x}"
        text = f"{place.base}_at + ({linear}) * {place.base}_step"
        kind = C_TYPE[place.storage]
        value = name.removeprefix("> d ")
        gradient = "d " if name.startswith(">") else ""
        count = max(1, self.spec.count(place.axes) * place.stride)
        reals = (count * 8 + self.spec.real_bytes - 1) // self.spec.real_bytes
        nothing = self.kernel.reuse(f"{self.prefix}{gradient}nothing {place.pointer}", reals)
        if not gradient:
            self.kernel.prelude[nothing] = f"    memset({nothing}, 0, {reals} * sizeof(real));"
        other = f"({kind} *){nothing}"
        if f"init {value}" in self.loop.prologue.output:
            port = next(p for p in self.loop.reads if p.value == value)
            starts = " && ".join(
                f"({x} < extent[{i}])" if way == 1 else f"({x} >= 0)"
                for i, (x, way) in enumerate(zip(at, port.starts, strict=True))
            )
            corner = self.corner(value, gradient).pointer
            other = f"({starts} ? {corner} : {other})"
        return f"{inside} ? {text} : {other}"

    def _needs_copy(self, place: Memory) -> bool:
        native = place.storage in ("int64", "real")
        vector = self.order[-1] if self.order else ""
        return not native or place.stride != 1 or (vector in place.axes and place.axes[-1] != vector)

    def _copy_row(self, value: Value, place: Memory, depth: int) -> Memory:
        axes = self.local_axes(place.axes)
        integer = value.dtype != "real"
        local = self.kernel.reuse(f"{self.prefix}{value.name} row", self.spec.count(axes), integer)
        inside = Memory(local, axes, "int64" if integer else "real")
        self.copy(place, inside, depth, integer)
        return inside

    def step_memory(self) -> dict[str, Memory]:
        """Where the step's inputs lie, carries excepted."""
        found = dict(self.fixed)
        for port in self.loop.reads:
            if port.role == "argument":
                found[port.value] = self.argument(port, "in")
            elif port.role == "kept":
                found[port.value] = self.argument(port, "kept")
            elif port.role == "clock":
                at = self.kernel.names(f"scan {port.name}") if self.grid else "(first + t)"
                found[port.value] = Memory("", (), "int64", expression=at)
        return found


class ForwardPass(PassWriter):
    """The forward direction: carries in place, a checkpoint of them every segment."""

    def write(self) -> None:
        """The whole pass."""
        self.begin()
        for carry in self.loop.carries:
            if carry.slot:
                self.if_given("initial", carry, inward=True)
        self._loop()
        for carry in self.loop.carries:
            if carry.slot:
                self.if_given("final", carry, inward=False)

    def _loop(self) -> None:
        emit = self.kernel.emit
        emit("for (int64_t s = 0; s < length; ++s) {")
        self.time(2)
        if self.loop.carries:
            name, segment = self.kernel.checkpoints(self.number), self.spec.segment(self.number)
            emit(f"if ({name}_at && s % {segment} == 0) {{", 2)
            self._checkpoint(f"{name}_at + s / {segment} * {name}_step")
            emit("}", 2)
        memory = self.step_memory()
        inputs: dict[tuple[str, int], str] = {}
        for port in self.loop.reads:
            if port.role == "carry":
                memory[port.value] = self.carried(port)
                inputs[(port.name, port.part)] = port.value
        stores: list[Store] = []
        for port in self.loop.writes:
            value, key = self.loop.step.output[port.value], f"> {port.value}"
            if port.role == "carry":
                memory[key] = self.carried(port)
                stores.append(Store(key, value, overwrites=inputs[(port.name, port.part)]))
            else:
                memory[key] = self.argument(port, "out" if port.role == "output" else "kept")
                stores.append(Store(key, value))
        self.rows(memory, self.loop.step.inputs, 2)
        self.nest(self.loop.step, stores, memory, 2)
        emit("}")

    def _checkpoint(self, target: str) -> None:
        for carry, part, at in self.laid_out():
            local = self.carry_memory[(carry.name, part)]
            self.kernel.emit(f"memcpy({target} + {at}, {local}, {self.spec.count(carry.axes)} * sizeof(real));", 3)


def only_stored(block: Block, stores: Sequence[Store]) -> Block:
    """The Block with only the outputs that are stored, and what they need."""
    wanted = {s.value.name for s in stores}
    outputs = tuple((n, v) for n, v in block.outputs if v.name in wanted)
    return Block(block.name, block.inputs, block.ops, outputs, block.order, block.size_of).live()


def _comments(kernel: KernelWriter) -> dict[str, str]:
    """The user's line for every value that an equation defines."""
    rec = kernel.spec.form.rec
    lines = {e.target: " ".join(comment_safe(rec.source.slice(e.span)).split()) for e in rec.equations}
    return {name: text for name, text in lines.items() if text}


__all__ = ["ForwardPass", "PassWriter", "only_stored"]
