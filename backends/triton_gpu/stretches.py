"""Time in stretches: kernels that let programs work on one sequence at several places at once.

A stretch is some chunks in a row, or some segments of steps. Its map, from what is carried before it to what is
carried after it (`recc.forms.advance`), is made without knowing where it starts from; a short loop over the maps of
all stretches then gives what is carried at the start of each. A backward run is the same thing against time: the VJP
of a chunk is affine in the cotangents that it is handed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import prod

from recc.backends.triton_gpu.backward import Backward
from recc.backends.triton_gpu.emit import emit_ops
from recc.backends.triton_gpu.forward import Forward
from recc.backends.triton_gpu.kernel import carry_axes
from recc.backends.triton_gpu.memory import Memory, Place, Way
from recc.backends.triton_gpu.shares import Share, shares, stretches_of
from recc.backends.triton_gpu.spec import Spec, all_carries
from recc.backends.triton_gpu.writer import Held, Writer
from recc.forms.block import Block, Value
from recc.forms.passes import Carry


class _Mapped(Forward):
    """What kernels that make maps and kernels that join them have in common, whichever way they run.

    `base` is what the kernel that runs the pass is made for. Loads are not made ahead: the tiles of maps fill the
    shared memory.
    """

    direction: Way = "forward"
    does: str

    def __init__(self, base: Spec, share: Share, number: int, suffix: str, used: set[str], combines: dict[str, str]):
        super().__init__(share.spec, number, self.direction, used, combines, True)
        self.base = base
        self.share = share
        self.tier = share.tier
        self.name = self.names(f"pass_{number + 1}_{self.does}{suffix}")
        self.by_label = {carry.label(part): (carry, part) for carry, part in all_carries(self.loop)}

    @property
    def reverse(self) -> bool:
        """Whether the kernel runs against the direction of the pass."""
        return self.way == "backward"

    @property
    def sharing(self) -> int:
        """How many programs share an item where the pass is run."""
        return self.base.cut_parts

    def own_row(self, axes: Sequence[str]) -> str:
        """The row of a table of items: one for each program of the pass that has its own copy."""
        row = "item"
        for a in self.base.missing(axes):
            row = f"({row} * {self.base.parts(a)} + {self.parts[a]})"
        return row

    def columns(self, which: Mapping[str, str]) -> None:
        """A program's positions along the columns of maps, of the part of each that is given."""
        for column in [c for c in self.tier.columns if c in self.spec.tiles]:
            width = self.spec.width(column)
            name = self.body.places.get(column) or self.names(column)
            start = f"{which[column]} * {width} + " if column in which else ""
            self.line(f"{name} = {start}tl.arange(0, {width})")
            self.body.places[column] = name

    def map_place(self, name: str, which: str) -> Place:
        """Where a piece of the map of a stretch lies. Backward each program has its own part of the sum F."""
        block = self.tier.start
        axes = block.output[name].axes
        roots = tuple(block.root[a] for a in axes)
        own = prod(self.spec.sizes[r] for r in roots)
        pointer = self.argument(
            ("map", name), f"map_{name}", f'maps["{self.number + 1} {name}"]', f"*{self.spec.compute}"
        )
        count = self.number_of("most_stretches", "stretches")
        row = self.own_row(axes) if self.copied(name) else "item"
        return Place(f"{pointer} + ({row} * {count} + {which}) * {own}", "", axes, 1, roots)

    def copied(self, name: str) -> bool:
        """Whether each program that lacks a part of an axis has its own piece."""
        return self.reverse and name.startswith("F ")

    def copies(self, name: str) -> int:
        """How many programs have their own piece."""
        return self.base.copies(self.tier.pieces[name].axes) if self.copied(name) else 1

    def precise(self, block: Block) -> Writer:
        """A Writer of products of maps, whose errors add up from stretch to stretch."""
        w = self.writer(block)
        if w.spec.products == "bfloat16":
            w.spec = replace(w.spec, products="tf32")
        return w

    def load_piece(self, w: Writer, name: str, which: str) -> Held:
        """Loads a piece of the map of a stretch."""
        value = self.tier.pieces[name]
        return self.load(w, value, self.map_place(name, which), value.axes, 0)


class _Maps(_Mapped):
    """Makes the map of each stretch, chunk by chunk."""

    def write(self) -> str:
        """The whole kernel."""
        line = self.line
        self.begin()
        self.columns({c: self.parts[c] for c in self.tier.columns if c in self.spec.cut})
        line("# What the last stretch makes of what it is handed nobody asks for.")
        line(f"if {'start == 0' if self.reverse else 'stop == count'}:")
        line("    return")
        needed = {**self.share.step.input, **self.more()}
        self.places(needed)
        self._parameters_first()
        fixed = self._fixed_for(needed)
        self.known_first()
        w = self.writer(self.tier.start.live(self.share.pieces))
        emit_ops(w)
        self.held: dict[str, Held] = {}
        for name, value in self.share.pieces.items():
            made = self.names(name)
            line(f"{made} = {self.filled(w, w.get(value), value.axes)}")
            self.held[name] = Held(made, w.sort(value.axes), "real")
        self.chunks(fixed)
        for name, value in self.share.pieces.items():
            missing = [a for a in self.spec.missing(value.axes) if not self.copied(name) or a in self.tier.columns]
            conditions = [f"({self.parts[a]} == 0)" for a in missing]
            self.store(w, self.held[name], self.map_place(name, "stretch"), value.axes, 0, "", conditions)
        return self.text()

    def more(self) -> Mapping[str, Value]:
        """What has to be there beside what the map of a chunk is made of."""
        return {}

    def places(self, needed: Mapping[str, Value]) -> None:
        """Where what the maps are made of lies."""
        for port in self.loop.reads:
            if port.value in needed and port.role == "argument":
                self.input_place(self.spec.form.rec.table[port.name])
            elif port.value in needed and port.role == "kept":
                self.kept_place(port)
            elif port.value in needed and port.role == "clock":
                self.clock()

    def known_first(self) -> None:
        """What is known of earlier tiers, at the start of the stretch."""
        handed = self._handed()
        for one in self.share.known:
            carry, part = self.by_label[one.label]
            place, axes = self.start_place(carry, part, "stretch"), carry_axes(self.loop, carry, part)
            name = self.names(one.label)
            loaded = self.load(self.writer(self.loop.step), Value(name, axes), place, carry.axes, 0)
            self.line(f"{name} = {loaded.code}")
            handed[carry.name, part] = name

    def chunks(self, fixed: dict[str, Held]) -> None:
        """The loop over the chunks of a stretch."""
        self.line("for here in range(start, stop):")
        self.body.depth += 1
        self.time("here")
        self.advance(fixed)
        self.body.depth -= 1

    def advance(self, fixed: dict[str, Held]) -> None:
        """Takes the map, and what is known, through one chunk."""
        w = self.precise(self.share.step)
        for name, held in self.held.items():
            if name in w.block.input:
                w.put(name, held)
        self.read_chunk(w, fixed)
        emit_ops(w)
        made = [(h.code, w.block.output[n]) for n, h in self.held.items()]
        for one in self.share.known:
            carry, part = self.by_label[one.label]
            made.append((self._handed()[carry.name, part], w.block.output[one.after]))
        self.renew([(code, self.filled(w, w.get(v), v.axes)) for code, v in made])

    def read_chunk(self, w: Writer, fixed: dict[str, Held]) -> None:
        """Loads what a chunk reads."""
        self.read(w, fixed)


class ForwardMaps(_Maps):
    """The maps of stretches of a forward run."""

    does = "maps"


class BackwardMaps(_Maps, Backward):
    """The maps of stretches of a backward run."""

    direction, does = "backward", "maps_back"

    @property
    def remade(self) -> bool:
        """Whether carries between those that are kept are made again."""
        return self.share.remade

    def more(self) -> Mapping[str, Value]:
        """What the steps of a segment read, if they are made again."""
        return self.loop.step.input if self.remade else {}

    def places(self, needed: Mapping[str, Value]) -> None:
        """Where what the maps are made of lies."""
        super().places(needed)
        for port in self.loop.writes:
            if f"d {port.value}" in needed and port.role != "carry":
                self.cotangent_place(port)
        self.line(f"first_kept = {self.first_kept(self.spec.chunk * self.spec.segment)}")
        self.names.taken.add("first_kept")
        self.d_carries = {}

    def chunks(self, fixed: dict[str, Held]) -> None:
        """The loop over the chunks of a stretch."""
        self._steps(fixed)

    def tape_row(self, axes: Sequence[str]) -> str:
        """The row of the tape of a program: programs that have other columns have one of their own."""
        return self.of_stretch(Memory.own_row(self, axes))

    def _step(self, fixed: dict[str, Held]) -> None:
        self.advance(fixed)

    def read_chunk(self, w: Writer, fixed: dict[str, Held]) -> None:
        """Loads what a chunk reads."""
        super().read_chunk(w, fixed)
        for one in self.share.known:
            carry, part = self.by_label[one.label]
            if one.before in w.block.input:
                w.put(one.before, Held(self.d_carries[carry.name, part], carry_axes(self.loop, carry, part), "real"))
        for port in self.loop.writes:
            name = f"d {port.value}"
            if name in w.block.input and port.role != "carry":
                w.pending[name] = partial(self._seed, w, port, w.block.input[name])


class _Join(_Mapped):
    """Goes from stretch to stretch by their maps, and leaves what is carried at the start of each.

    Of a map whose columns several programs have made, this one takes some after the others.
    """

    def write(self) -> str:
        """The whole kernel."""
        line = self.line
        self.begin(split=False)
        self.first_handed()
        handed = self._handed()
        self.carried = {c.label: handed[self.key(c.label)] for c in self.tier.carries}
        self.turns = prod(self.spec.parts(c) for c in self.tier.columns)
        self.names.taken |= {"back", "stretch", "stretches", "turn"}
        if self.turns == 1:
            self.columns({})
        line(f"stretches = tl.maximum(({self.units} + per - 1) // per, 1)")
        line("for back in range(0, stretches):")
        self.body.depth += 1
        line("stretch = stretches - 1 - back" if self.reverse else "stretch = back")
        w = self.writer(self.loop.step)
        for name, code in self.carried.items():
            carry, part = self.by_label[name]
            place, held = self.start_place(carry, part, "stretch"), Held(code, self.axes(name), "real")
            self.store(w, held, place, carry.axes, 0, "", self.alone_start(carry.axes))
        self.fold()
        self.body.depth -= 1
        return self.text()

    def key(self, name: str) -> tuple[str, int]:
        """The carry and the part of it that a label stands for."""
        carry, part = self.by_label[name]
        return carry.name, part

    def axes(self, name: str) -> tuple[str, ...]:
        """The axes of a carry's tile."""
        return carry_axes(self.loop, *self.by_label[name])

    def fold(self) -> None:
        """Applies the map of a stretch: `F ⊕ M ⊗ c`."""
        w = self.precise(self.tier.fold)
        total = {}
        for name in self.carried:
            total[name] = self.names(f"{name}_after")
            self.line(f"{total[name]} = {self.load_piece(w, f'F {name}', 'stretch').code}")
            w.put(f"A {name}", Held(total[name], self.axes(name), "real"))
        if self.turns > 1:
            self.line("# Other threads of this program read what was written.")
            self.line("tl.debug_barrier()")
            self.line(f"for turn in range(0, {self.turns}):")
            self.body.depth += 1
            self.columns(self._turn())
        axis = {row: column for column, row in self.tier.columns.items()}
        for name in self.carried:
            if (v := w.block.input.get(f"C {name}")) is None:
                continue
            if self.turns > 1:
                w.put(v.name, self._columns_of(w, v, *self.by_label[name]))
            else:
                mixed = {a: axis[a] for a in self.axes(name) if a in axis and axis[a] in v.axes}
                own = tuple(mixed.get(a, a) for a in self.axes(name))
                w.put(v.name, Held(self.carried[name], own, "real"))
        for name in self.tier.pieces:
            if name.startswith("M "):
                w.pending[name] = partial(self.load_piece, w, name, "stretch")
        emit_ops(w)
        made = {n: self.filled(w, w.get(w.block.output[f"A {n}"]), self.axes(n)) for n in self.carried}
        if self.turns > 1:
            self.renew([(total[n], code) for n, code in made.items()])
            self.body.depth -= 1
            made = total
        self.renew([(self.carried[n], made[n]) for n in self.carried])

    def _turn(self) -> dict[str, str]:
        """The part of each column that a turn is about."""
        found, rest = {}, "turn"
        for column in self.tier.columns:
            parts = self.spec.parts(column)
            if parts > 1:
                found[column] = f"({rest} % {parts})"
                rest = f"({rest} // {parts})"
        return found

    def _columns_of(self, w: Writer, v: Value, carry: Carry, part: int) -> Held:
        """What is carried, along some of the columns of the map: from where it was stored."""
        place = self.start_place(carry, part, "stretch")
        axis = {row: column for column, row in self.tier.columns.items()}
        axes = tuple(axis[a] if a in axis and axis[a] in v.axes else a for a in carry.axes)
        return self.load(w, v, place, axes, 0)

    def first_handed(self) -> None:
        """What is handed to the first stretch."""
        self._parameters_first()
        self._first(self._fixed_first())

    def alone_start(self, axes: Sequence[str]) -> list[str]:
        """Who stores what is carried at the start of a stretch: whoever reads it again, the same as others do."""
        return [] if self.reverse or self.turns > 1 else self.alone(axes)


class ForwardJoin(_Join):
    """What is carried at the start of each stretch of a forward run."""

    does = "join"


class BackwardJoin(_Join, Backward):
    """What is handed back at the end of each stretch of a backward run."""

    direction, does = "backward", "join_back"

    def first_handed(self) -> None:
        """What is handed to the stretch that a backward run begins with."""
        self._adjoints()


#: The kernels that split the time of a pass.
Splitting = ForwardMaps | ForwardJoin | BackwardMaps | BackwardJoin


def splitting(spec: Spec, back: Spec, number: int, used: set[str], combines: dict[str, str]) -> Sequence[Splitting]:
    """The kernels that split the time of a pass, forward and then backward, tier by tier; none if it stays whole.

    Args:
        spec: what the kernel that runs the pass is made for.
        back: the same for the kernel that runs it backward.
        number: which pass.
        used: the functions of the library that are called.
        combines: those that scans are given.
    """
    maps = stretches_of(spec, spec.form.passes[number])
    found: list[Splitting] = []
    ahead = (spec, maps.forward if maps else (), ForwardMaps, ForwardJoin)
    against = (back, maps.backward if maps else (), BackwardMaps, BackwardJoin)
    for base, of, maker, joiner in (ahead, against):
        for index, tier in enumerate(of):
            suffix = f"_{index + 1}" if index else ""
            made = shares(base, spec.form.passes[number], tier)
            if not made:
                return ()
            for n, one in enumerate(made):
                found.append(maker(base, one, number, f"_constants{suffix}" if n else suffix, used, combines))
            found.append(joiner(base, _joined(base, made[0]), number, suffix, used, combines))
    return found


def _joined(base: Spec, made: Share) -> Share:
    """What is made for whoever applies a map, all of it, in turns of as many columns as it was made in."""
    tiles = {**base.tiles, **{c: made.spec.width(c) for c in made.tier.columns}}
    spec = replace(made.spec, tiles=tiles, turns=tuple(made.tier.columns))
    return replace(made, pieces=made.tier.pieces, spec=spec)


__all__ = ["Splitting", "splitting"]
