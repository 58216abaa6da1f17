"""What the kernels of a pass have in common: a program's place, time, and the Blocks that it runs."""

from __future__ import annotations

from collections.abc import Sequence

from recc.backends.triton_gpu.emit import emit_ops
from recc.backends.triton_gpu.memory import Memory
from recc.backends.triton_gpu.writer import Held, Writer, at, tile_order
from recc.forms.block import Block
from recc.forms.passes import LANE, Carry, Pass


class Kernel(Memory):
    """One kernel of one pass, on its way into text."""

    #: Whether parameters are loaded although they were before, to be held no longer than where they are needed.
    afresh = False

    # A program's place.

    def begin(self, split: bool = True) -> None:
        """Which item, which sequence, which part of the axes, and unless `split` is off which stretch of time."""
        line, spec = self.line, self.spec
        heads = self.number_of("heads", "heads")
        if spec.lanes:
            self._lanes(heads)
        else:
            line("item = tl.program_id(0).to(tl.int64)")
            line(f"sequence, head = item // {heads}, item % {heads}")
        self.names.taken |= {"item", "sequence", "head", "begin", "length", "row", "at", "here", "count", "live"}
        self.names.taken |= {"start", "stop", "stretch"}
        if spec.batch > 1:
            line("rest = head")
            for r in range(spec.batch - 1, 0, -1):
                size = self.number_of(f"batch_{r}", f"batch[{r}]")
                line(f"head_{r}, rest = rest % {size}, rest // {size}")
            line("head_0 = rest")
        elif spec.batch:
            line("head_0 = head")
        self.names.taken |= {"rest", *(f"head_{r}" for r in range(spec.batch))}
        steps = self.number_of("steps", "steps")
        if spec.packed:
            offsets = self.argument(("offsets",), "offsets", "offsets", "*int64")
            mask = ", mask=there, other=0" * spec.lanes
            line(f"row, begin = 0, tl.load({offsets} + sequence{mask}).to(tl.int64)")
            line(f"length = tl.load({offsets} + sequence + 1{mask}).to(tl.int64) - begin")
        else:
            line(f"row, begin, length = sequence, 0, tl.cast({steps}, tl.int64)")
        if spec.cut:
            line("part = tl.program_id(1)")
            self.names.taken.add("part")
            for a in reversed(spec.cut):
                name = self.names(f"part_{a}")
                self.parts[a] = name
                if a == spec.cut[0]:
                    line(f"{name} = part")
                else:
                    line(f"{name}, part = part % {spec.parts(a)}, part // {spec.parts(a)}")
        used = self._axes()
        for root in [a.name for a in spec.form.rec.axes if a.name in used]:
            width = spec.width(root)
            name = self.names(root)
            start = f"{self.parts[root]} * {width} + " if root in spec.cut else ""
            line(f"{name} = {start}tl.arange(0, {width})")
            self.body.places[root] = name
        if spec.chunk > 1:
            name = self.names(spec.scan)
            line(f"{name} = tl.arange(0, {spec.chunk})")
            self.body.places[spec.scan] = name
            self.body.ends[spec.scan] = "live"
            line(f"count = (length + {spec.chunk - 1}) // {spec.chunk}")
        else:
            line("count = tl.max(length, 0)" if self.uneven else "count = length")
        if self.stretched:
            self.stretch(split)
        elif split:
            line("start, stop = 0, count")

    def _lanes(self, heads: str) -> None:
        """Which sequences a program makes, one in each lane, and which lanes have one: `there`."""
        self.names.taken |= {"program", "lane", "there", "begun"}
        self.line("program = tl.program_id(0).to(tl.int64)")
        self.line(f"lane = tl.arange(0, {self.spec.width(LANE)})")
        self.line(f"sequence, head = program // {heads} * {self.spec.width(LANE)} + lane, program % {heads}")
        self.line(f"there = sequence < {self.number_of('sequences', 'sequences')}")
        self.line(f"item = sequence * {heads} + head")
        self.body.places[LANE] = "lane"
        self.among("there")

    def among(self, test: str) -> None:
        """From here on the lanes that count are those of a condition."""
        if self.spec.lanes:
            self.body.tests[LANE] = test
            self.body.ends[LANE] = f"tl.sum({test}.to(tl.int32), 0)"

    @property
    def uneven(self) -> bool:
        """Whether some lanes of a program may have more steps than others."""
        return self.spec.lanes and self.spec.packed

    def going_on(self, w: Writer, name: str, code: str, axes: tuple[str, ...]) -> str:
        """What is carried to the next step, which is what it was where a lane's sequence has ended."""
        if not self.uneven:
            return code
        made = self.names(f"{name}_next")
        self.line(f"{made} = tl.where({at(Held('live', (LANE,), 'bool'), w.sort(axes))}, {code}, {name})")
        return made

    @property
    def sharing(self) -> int:
        """How many programs share an item where the pass is run."""
        return self.spec.cut_parts

    @property
    def units(self) -> str:
        """The chunks, or the segments, that stretches are made of: there are carries kept before each."""
        return "count" if self.spec.segment == 1 else "units"

    def stretch(self, split: bool) -> None:
        """How many chunks a stretch of time has, and unless `split` is off which of them this program's has.

        Few programs with many chunks to go through share them. Only the sequence itself decides, so that it has the
        same bits in any batch, and packed or not.
        """
        line, segment, units = self.line, self.spec.segment, self.units
        programs = self.number_of("programs", f"heads * {self.sharing}")
        least, most = self.number_of("least", "LEAST"), self.number_of("filling", "PROGRAMS")
        self.names.taken |= {"per", "whole"}
        if segment > 1:
            self.names.taken.add("units")
            line(f"units = (count + {segment - 1}) // {segment}")
        line(f"whole = ({units} < 2 * {least}) | (2 * {programs} > {most})")
        line(f"per = tl.maximum(({units} * {programs} + {most} - 1) // {most}, {least})")
        line(f"per = tl.where(whole, tl.maximum({units}, 1), per)")
        if not split:
            return
        many = f" * {segment}" if segment > 1 else ""
        line("stretch = tl.program_id(2).to(tl.int64)")
        line(f"start = stretch * per{many}")
        line(f"stop = tl.minimum(start + per{many}, count)")
        line("if (stretch > 0) & (start >= count):")
        line("    return")

    def _axes(self) -> set[str]:
        found: set[str] = set()
        for block in (self.loop.step, self.loop.prologue):
            for v in (*block.inputs, *(op.out for op in block.ops), *(v for _, v in block.outputs)):
                found.update(block.root[a] for a in v.axes)
        return found

    def time(self, which: str) -> None:
        """The steps of a chunk, or the step, of a number in the order of the pass."""
        spec, way = self.spec, self.loop.directions[0]
        if spec.chunk > 1:
            self.line(f"live = tl.minimum(length - {which} * {spec.chunk}, {spec.chunk})")
            here = f"{which} * {spec.chunk} + {self.body.places[spec.scan]}"
            self.line(f"at = {here}" if way == 1 else f"at = length - 1 - ({here})")
        else:
            self.line(f"at = {which}" if way == 1 else f"at = length - 1 - {which}")
        if self.uneven:
            self.line(f"live = there & ({which} < length)")
            self.among("live")

    # Blocks.

    def filled(self, w: Writer, held: Held, axes: tuple[str, ...]) -> str:
        """A value as a tile of full size, of the type that is computed in."""
        held = w.made(held)
        if held.dtype != "real":
            held = Held(f"{held.code}.to({self.spec.real})", held.axes, "real")
        return w.full(held, axes).code

    def writer(self, block: Block) -> Writer:
        """A Writer of a Block's operations."""
        return Writer(self.body, block)

    def prologue(self, wanted: Sequence[str]) -> tuple[Writer, dict[str, Held]]:
        """Computes what does not vary with time: the outputs of the prologue that are wanted."""
        block = self.loop.prologue.live([n for n, _ in self.loop.prologue.outputs if n in set(wanted)])
        w = self.writer(block)
        self.load_parameters(w)
        emit_ops(w)
        return w, {n: w.get(v) for n, v in block.outputs}

    def load_parameters(self, w: Writer) -> None:
        """Loads the parameters that a Block reads."""
        for port in self.loop.parameters:
            if port.value in w.block.input:
                place = self.input_place(self.spec.form.rec.table[port.name])
                v = w.block.input[port.value]
                w.put(v.name, self.load(w, v, place, port.axes, port.part, again=self.afresh))

    def state_slot(self) -> str:
        """Where the states of a program's sequence lie among all: by their number, or where `slots` says."""
        slots = self.argument(("slots",), "slots", "slots", "*int64?")
        if ("slot",) not in self.known:
            self.known["slot",] = "place"
            self.names.taken.add("place")
            heads = self.number_of("heads", "heads")
            self.line("place = item")
            with self.given(slots):
                # A row of padding: its states are nowhere.
                if self.spec.lanes:
                    self.line(
                        f"place = tl.load({slots} + sequence, mask=there, other=-1).to(tl.int64) * {heads} + head"
                    )
                    self.line("there = there & (place >= 0)")
                else:
                    self.line(f"place = tl.load({slots} + sequence).to(tl.int64) * {heads} + head")
                    self.line("if place < 0:")
                    self.line("    return")
        return "place"

    def text(self) -> str:
        """The kernel as text."""
        arguments = [f"    {a.name}," for a in self.arguments]
        return "\n".join(["@triton.jit", f"def {self.name}(", *arguments, "):", *self.body.lines, ""])


def carry_axes(loop: Pass, carry: Carry, part: int) -> tuple[str, ...]:
    """The axes of a part of a carry in the step Block, in the order of tiles."""
    block = loop.step
    key = (carry.name, part)
    found = [block.input[p.value].axes for p in loop.reads if p.role == "carry" and (p.name, p.part) == key]
    found += [block.output[p.value].axes for p in loop.writes if p.role == "carry" and (p.name, p.part) == key]
    return tile_order(block, found[0])


__all__ = ["Kernel", "carry_axes"]
