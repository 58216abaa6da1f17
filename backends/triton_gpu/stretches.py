"""Time in stretches: kernels that let programs work on one sequence at several places at once.

A stretch is some chunks in a row. Its affine map, from what is carried before it to what is carried after it
(`recc.forms.segment`), is made without knowing where it starts from; a short loop over the maps of all stretches
then gives what is carried at the start of each. A backward run is the same thing against time: the VJP of a chunk
is affine in the cotangents that it is handed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod

from recc.backends.triton_gpu.backward import Backward
from recc.backends.triton_gpu.emit import emit_ops
from recc.backends.triton_gpu.forward import Forward
from recc.backends.triton_gpu.kernel import carry_axes
from recc.backends.triton_gpu.memory import Place, Way
from recc.backends.triton_gpu.spec import Spec, all_carries, carry_values, label
from recc.backends.triton_gpu.writer import Held, Writer, at
from recc.forms.block import Block, BlockError, Value
from recc.forms.passes import Pass
from recc.forms.segment import Carried, SegmentMap, block_map

#: The most elements of a piece of a map: a matrix of side 128.
_LARGEST = 1 << 14


@dataclass(frozen=True)
class Stretches:
    """The maps of a pass, forward and backward, for whoever splits its time."""

    forward: SegmentMap
    backward: SegmentMap


def stretches_of(spec: Spec, loop: Pass) -> Stretches | None:
    """The maps of a pass that makes chunks; none where what is carried is not affine, or where nothing is."""
    if spec.chunk == 1 or spec.segment > 1 or not loop.carries:
        return None
    block, back = loop.step, loop.step_vjp
    before = {(p.name, p.part): p.value for p in loop.reads if p.role == "carry"}
    after = {(p.name, p.part): p.value for p in loop.writes if p.role == "carry"}
    forward, backward = [], []
    for carry, part in all_carries(loop):
        key = (carry.name, part)
        if key not in before or f"d {after[key]}" not in back.input or f"d {before[key]}" not in back.output:
            return None
        name, axes = label(carry.name, carry.complex, part), carry_axes(loop, carry, part)
        forward.append(Carried(name, before[key], after[key], axes))
        backward.append(Carried(name, f"d {after[key]}", f"d {before[key]}", axes))
    try:
        found = Stretches(block_map(block, forward), block_map(back, backward))
    except BlockError:
        return None
    return found if all(_fits(spec, m.join) for m in (found.forward, found.backward)) else None


def _fits(spec: Spec, join: Block) -> bool:
    """Whether a program can hold the pieces of a map, three at a time in shared memory."""
    return all(prod(spec.width(join.root[a]) for a in v.axes) <= _LARGEST for _, v in join.outputs)


class _Mapped(Forward):
    """What kernels that make maps and kernels that join them have in common, whichever way they run.

    Loads of them are not made ahead: the tiles of maps fill the shared memory.
    """

    direction: Way = "forward"
    does: str

    def __init__(self, spec: Spec, number: int, maps: SegmentMap, used: set[str], combines: dict[str, str]):
        super().__init__(replace(spec, stages=1), number, self.direction, used, combines, True)
        self.maps = maps
        self.name = self.names(f"pass_{number + 1}_{self.does}")

    @property
    def reverse(self) -> bool:
        """Whether the kernel runs against the direction of the pass."""
        return self.way == "backward"

    def pieces(self) -> dict[str, Value]:
        """The pieces of a map by name."""
        return dict(self.maps.join.output)

    def map_place(self, name: str, which: str) -> Place:
        """Where a piece of the map of a stretch lies."""
        block = self.maps.join
        axes = block.output[name].axes
        own = 1
        for a in axes:
            own *= self.spec.sizes[block.root[a]]
        pointer = self.argument(
            ("map", name), f"map_{name}", f'maps["{self.number + 1} {name}"]', f"*{self.spec.compute}"
        )
        count = self.number_of("most_stretches", "stretches")
        roots = tuple(block.root[a] for a in axes)
        return Place(f"{pointer} + (item * {count} + {which}) * {own}", "", axes, 1, roots)

    def precise(self, block: Block) -> Writer:
        """A Writer of products of maps, whose errors add up from stretch to stretch."""
        w = self.writer(block)
        if w.spec.products == "bfloat16":
            w.spec = replace(w.spec, products="tf32")
        return w

    def load_pieces(self, w: Writer, which: str) -> None:
        """Loads the map of a stretch."""
        for name in self.pieces():
            if name in w.block.input:
                v = w.block.input[name]
                place = self.map_place(name, which)
                w.put(name, self.load(w, v, place, self.pieces()[name].axes, 0))


class _Maps(_Mapped):
    """Makes the map of each stretch, chunk by chunk."""

    def write(self) -> str:
        """The whole kernel."""
        self.begin()
        needed = self.maps.pieces.input
        self.places(needed)
        self._parameters_first()
        fixed = self._fixed_for(needed)
        if self.reverse:
            self.line(f"first_kept = {self.first_kept(self.spec.chunk * self.spec.segment)}")
        self.write_maps(fixed)
        return self.text()

    def places(self, needed: Mapping[str, Value]) -> None:
        """Where what the pieces are made of lies."""
        for port in self.loop.reads:
            if port.value in needed and port.role == "argument":
                self.input_place(self.spec.form.rec.table[port.name])
            elif port.value in needed and port.role == "kept":
                self.kept_place(port)
            elif port.value in needed and port.role == "clock":
                self.clock()

    def write_maps(self, fixed: dict[str, Held]) -> None:
        """The loop over the chunks of a stretch, and the map that it gives."""
        line, reverse = self.line, self.reverse
        line("# What the last stretch makes of what it is handed nobody asks for.")
        line(f"if {'start == 0' if reverse else 'stop == count'}:")
        line("    return")
        held = {n: self._identity(n, v) for n, v in self.pieces().items()}
        line("for back in range(0, stop - start):")
        self.names.taken.add("back")
        self.body.depth += 1
        line("here = stop - 1 - back" if reverse else "here = start + back")
        self.time("here")
        self.before_chunk()
        w = self.writer(self.maps.pieces)
        self.read_chunk(w, fixed)
        emit_ops(w)
        join = self.precise(self.maps.join)
        for name, value in self.pieces().items():
            one, two = (name[0] + n + name[1:] for n in ("1", "2"))
            if one in join.block.input:
                join.put(one, held[name])
            if two in join.block.input:
                join.put(two, w.get(self.maps.pieces.output[name]) if name in self.maps.pieces.output else _zero(value))
        emit_ops(join)
        self.renew([(held[n].code, self.filled(join, join.get(v), v.axes)) for n, v in self.pieces().items()])
        self.body.depth -= 1
        for name, value in self.pieces().items():
            place = self.map_place(name, "stretch")
            self.store(join, held[name], place, value.axes, 0, "", self.alone(value.axes))

    def _identity(self, name: str, value: Value) -> Held:
        """What the map is before the first chunk: one that changes nothing."""
        w = self.writer(self.maps.join)
        own: tuple[str, ...] = ()
        code = "0.0"
        kind, *labels = name.split(" ")
        if kind == "M" and labels[0] == labels[1]:
            code = "1.0"
            pairs = [(a, b) for a, b in self.maps.mixed if a in value.axes and b in value.axes]
            own = w.sort(x for pair in pairs for x in pair)
            tests = [f"({at(w.place(a), own)} == {at(w.place(b), own)})" for a, b in pairs]
            if tests:
                code = f"tl.where({' & '.join(tests)}, 1.0, 0.0)"
        number = float(code) if code in ("0.0", "1.0") else None
        first = w.full(w.made(Held(code, own, "real", number)), value.axes)
        made = self.names(name)
        self.line(f"{made} = {first.code}.to({self.spec.real})")
        return Held(made, w.sort(value.axes), "real")

    def before_chunk(self) -> None:
        """Loads what a chunk needs beside what its Block reads."""

    def read_chunk(self, w: Writer, fixed: dict[str, Held]) -> None:
        """Loads what the pieces of a chunk are made of."""
        self.read(w, fixed)


class ForwardMaps(_Maps):
    """The maps of stretches of a forward run."""

    does = "maps"


class BackwardMaps(_Maps, Backward):
    """The maps of stretches of a backward run."""

    direction, does = "backward", "maps_back"

    def places(self, needed: Mapping[str, Value]) -> None:
        """Where what the pieces are made of lies."""
        super().places(needed)
        for port in self.loop.writes:
            if f"d {port.value}" in needed and port.role != "carry":
                self.cotangent_place(port)

    def before_chunk(self) -> None:
        """Loads the carries before the chunk."""
        before = carry_values(self.loop)
        for carry, part in all_carries(self.loop):
            if before[carry.name, part] in self.maps.pieces.input:
                place = self.saved_place(carry, "here")
                self.kept_carries[carry.name, part] = partial(self._load_carry, carry, part, place)

    def read_chunk(self, w: Writer, fixed: dict[str, Held]) -> None:
        """Loads what the pieces of a chunk are made of."""
        super().read_chunk(w, fixed)
        for port in self.loop.writes:
            name = f"d {port.value}"
            if name in w.block.input and port.role != "carry":
                w.pending[name] = partial(self._seed, w, port, w.block.input[name])


class _Join(_Mapped):
    """Goes from stretch to stretch by their maps, and leaves what is carried at the start of each."""

    def write(self) -> str:
        """The whole kernel."""
        self.begin(split=False)
        self.first_handed()
        before = carry_values(self.loop)
        after = {(p.name, p.part): p.value for p in self.loop.writes if p.role == "carry"}
        names = {
            key: (f"d {after[key]}", f"d {before[key]}") if self.reverse else (before[key], after[key])
            for key in before
        }
        self.write_join(self._handed(), names)
        return self.text()

    def first_handed(self) -> None:
        """What is handed to the first stretch."""
        self._parameters_first()
        self._first(self._fixed_first())

    def write_join(
        self, carried: Mapping[tuple[str, int], str], names: Mapping[tuple[str, int], tuple[str, str]]
    ) -> None:
        """The loop over stretches. `names` has what is carried before and after, in the apply Block."""
        line = self.line
        line("stretches = tl.maximum((count + per - 1) // per, 1)")
        line("for back in range(0, stretches):")
        self.names.taken |= {"back", "stretch", "stretches"}
        self.body.depth += 1
        line("stretch = stretches - 1 - back" if self.reverse else "stretch = back")
        w = self.precise(self.maps.apply)
        for (name, part), code in carried.items():
            carry = next(c for c in self.loop.carries if c.name == name)
            axes = carry_axes(self.loop, carry, part)
            held = Held(code, axes, "real")
            self.store(
                w, held, self.start_place(carry, part, "stretch"), carry.axes, 0, "", self.alone_start(carry.axes)
            )
            if names[name, part][0] in w.block.input:
                w.put(names[name, part][0], held)
        self.load_pieces(w, "stretch")
        emit_ops(w)
        after = [(carried[key], names[key][1]) for key in carried]
        self.renew([(code, self.filled(w, w.get(w.block.output[n]), w.block.output[n].axes)) for code, n in after])
        self.body.depth -= 1

    def alone_start(self, axes: Sequence[str]) -> list[str]:
        """Who stores what is carried at the start of a stretch."""
        return [] if self.reverse else self.alone(axes)


class ForwardJoin(_Join):
    """What is carried at the start of each stretch of a forward run."""

    does = "join"


class BackwardJoin(_Join, Backward):
    """What is handed back at the end of each stretch of a backward run."""

    direction, does = "backward", "join_back"

    def first_handed(self) -> None:
        """What is handed to the stretch that a backward run begins with."""
        self._adjoints()


def _zero(value: Value) -> Held:
    return Held("0.0", (), "real", 0.0, frozenset(value.axes))


__all__ = ["BackwardJoin", "BackwardMaps", "ForwardJoin", "ForwardMaps", "Stretches", "stretches_of"]
