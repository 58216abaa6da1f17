"""How kernels reach memory: their arguments, and where a program's part of each tensor lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

from recc.backends.triton_gpu.spec import Spec, parts_of
from recc.backends.triton_gpu.writer import Body, Held, Names, Writer, at
from recc.forms.block import Value
from recc.forms.passes import LANE, Carry, Pass
from recc.recurrence import Kind, Symbol

Way = Literal["forward", "backward"]


@dataclass(frozen=True)
class Argument:
    """An argument of a kernel: its name, what the host passes, and its type.

    `type` is `i64` for whole numbers, `constexpr` for what is fixed when the kernel is compiled, and for pointers
    `*` and the type of the elements: a type's name, or the tensor of the program that has it.
    """

    name: str
    host: str
    type: str


@dataclass(frozen=True)
class Place:
    """Where a tensor lies: the pointer to a program's part of it, elements between steps, and its own axes.

    `reals` is 2 for complex tensors, whose parts lie side by side. `roots` gives the sizes of axes that are not the
    program's.
    """

    pointer: str
    step: str
    axes: tuple[str, ...]
    reals: int = 1
    roots: tuple[str, ...] = ()


class Memory:
    """The arguments of one kernel of one pass, and the addresses that it makes of them."""

    def __init__(
        self, spec: Spec, number: int, way: Way, used: set[str], combines: dict[str, str], stretched: bool = False
    ):
        self.spec = spec
        self.number = number
        self.way = way
        self.loop: Pass = spec.form.passes[number]
        self.names = Names()
        self.body = Body(spec, self.names, used, combines)
        self.name = self.names(f"pass_{number + 1}_{way}")
        self.arguments: list[Argument] = []
        self.known: dict[tuple[str, ...], str] = {}
        #: The variable with the number of a program's part of each axis that is cut.
        self.parts: dict[str, str] = {}
        self.carries: dict[tuple[str, int], str] = {}
        #: What loads carries that are kept in memory.
        self.kept_carries: dict[tuple[str, int], Callable[[], Held]] = {}
        self.stretched = stretched
        rec = spec.form.rec
        lines = {e.target: " ".join(rec.source.slice(e.span).split()) for e in rec.equations}
        self.body.comments = {name: text for name, text in lines.items() if text}

    # Arguments.

    def argument(self, key: tuple[str, ...], hint: str, host: str, kind: str) -> str:
        """The name of an argument, which the kernel has from then on."""
        if key not in self.known:
            self.known[key] = self.names(hint)
            self.arguments.append(Argument(self.known[key], host, kind))
        return self.known[key]

    def number_of(self, hint: str, host: str) -> str:
        """A whole number that the host passes."""
        return self.argument(("number", host), hint, host, "i64")

    def line(self, text: str) -> None:
        """Adds a line."""
        self.body.line(text)

    def given(self, pointer: str) -> AbstractContextManager[None]:
        """Lines that are added meanwhile run if a pointer that may be absent is there."""
        return self.body.under(f"if {pointer} is not None:")

    def if_stretched(self, test: str) -> AbstractContextManager[None]:
        """Lines that are added meanwhile run if a condition holds; where time is whole, they always run."""
        return self.body.under(f"if {test}:") if self.stretched else nullcontext()

    # Tensors.

    def own(self, axes: Sequence[str], reals: int = 1) -> int:
        """The reals of one element of a batch at one step."""
        return self.spec.count(tuple(axes)) * reals

    def input_place(self, symbol: Symbol) -> Place:
        """Where an argument lies."""
        key = ("in", symbol.name)
        host = f'arguments["{symbol.name}"]'
        axes = self.layout(symbol)
        varies = symbol.kind is Kind.INPUT
        reals = parts_of(symbol)
        if key not in self.known:
            pointer = self.argument(key, symbol.name, host, f"*{symbol.name}")
            lead = 1 + len(self.spec.form.rec.scan) if varies else 0
            strides = [f'strides["{symbol.name}"][{n}]' for n in range(lead + self.spec.batch)]
            terms = self.of_time(symbol, strides) if varies else []
            for r in range(self.spec.batch):
                terms.append(f"head_{r} * {self.number_of(f'{symbol.name}_head_{r}', strides[lead + r])}")
            self.known["at", symbol.name] = name = self.names(f"{symbol.name}_at")
            self.line(f"{name} = {' + '.join([pointer, *terms])}")
        return Place(self.known["at", symbol.name], self.known.get(("step", symbol.name), ""), axes, reals)

    def of_time(self, symbol: Symbol, strides: Sequence[str]) -> list[str]:
        """What a program's row and first step add to the address of an input, whose first strides are given."""
        row, step = (self.number_of(f"{symbol.name}_{n}", s) for n, s in zip(("row", "step"), strides, strict=False))
        self.known["step", symbol.name] = step
        return [f"row * {row}", f"begin * {step}"]

    def layout(self, symbol: Symbol) -> tuple[str, ...]:
        """The own axes of a tensor in memory order."""
        form = self.spec.form
        lanes = getattr(form, "lanes", None)
        if lanes is None or (symbol.is_argument and symbol.name not in lanes):
            return symbol.axes
        return (LANE, *symbol.axes)

    def stepped(
        self, key: tuple[str, ...], hint: str, host: str, kind: str, axes: tuple[str, ...], reals: int,
        summed: bool = False,
    ) -> Place:  # fmt: skip
        """Where a tensor `[rows, steps, heads, own]` lies; programs that add to a `summed` one have a part each."""
        at_key = ("at", *key)
        if at_key not in self.known:
            own = self.own(axes, reals)
            pointer = self.argument(key, hint, host, kind)
            name = self.known[at_key] = self.names(f"{hint}_at")
            heads, steps = self.number_of("heads", "heads"), self.number_of("steps", "steps")
            partial = self.partial(axes, f"rows * steps * heads * {own}", hint) if summed else ""
            self.guarded(
                pointer, kind, f"{name} = {pointer} + ((row * {steps} + begin) * {heads} + head) * {own}{partial}"
            )
        heads = self.number_of("heads", "heads")
        return Place(self.known[at_key], f"{heads} * {self.own(axes, reals)}", axes, reals)

    def guarded(self, pointer: str, kind: str, text: str) -> None:
        """A line about a pointer that may be absent."""
        if kind.endswith("?"):
            with self.given(pointer):
                self.line(text)
        else:
            self.line(text)

    def partial(self, axes: tuple[str, ...], size: str, hint: str, over_time: bool = False) -> str:
        """How far a program's own copy of a partial sum lies from the first; nothing for what programs share out.

        A sum `over_time` has a part for each stretch.
        """
        code = "stretch" if over_time and self.stretched else ""
        for a in self.spec.missing(axes):
            code = f"({code} * {self.spec.parts(a)} + {self.parts[a]})" if code else self.parts[a]
        return f" + tl.cast({code}, tl.int64) * {self.number_of(f'{hint}_partial', size)}" if code else ""

    def own_row(self, axes: Sequence[str]) -> str:
        """The row of a table of items: one for each program that has its own copy of what lacks cut axes."""
        row = "item"
        for a in self.spec.missing(axes):
            row = f"({row} * {self.spec.parts(a)} + {self.parts[a]})"
        return row

    def of_stretch(self, row: str) -> str:
        """The row of a table that has one for each stretch of a row."""
        return f"({row} * {self.number_of('most_stretches', 'stretches')} + stretch)" if self.stretched else row

    def start_place(self, carry: Carry, part: int, which: str) -> Place:
        """Where what is carried at the start of a stretch lies (at its end, backward)."""
        name = carry.label(part)
        host, hint = f'starts.get("{self.number + 1} {name}")', f"{name}_start"
        pointer = self.argument(("start", name), hint, host, f"*{self.spec.compute}?")
        count = self.number_of("most_stretches", "stretches")
        row = self.own_row(carry.axes) if self.way == "backward" else "item"
        return Place(f"{pointer} + ({row} * {count} + {which}) * {self.own(carry.axes)}", "", carry.axes)

    def renew(self, made: Sequence[tuple[str, str]]) -> None:
        """Gives variables new values, all at once."""
        names = {name for name, _ in made}
        lines = []
        for name, code in made:
            if code in names and code != name:
                passing = self.names(f"{name}_next")
                self.line(f"{passing} = {code}")
                code = passing
            lines += [f"{name} = {code}"] if code != name else []
        for text in lines:
            self.line(text)

    def alone(self, axes: Sequence[str]) -> list[str]:
        """The condition that this program is the one that speaks for a tensor which others have too."""
        return [f"({self.parts[a]} == 0)" for a in self.spec.missing(axes)]

    def item_place(self, key: tuple[str, ...], hint: str, host: str, kind: str, axes: tuple[str, ...], reals: int,
                   item: str = "item", summed: bool = False) -> Place:  # fmt: skip
        """Where a tensor `[items, own]` lies; programs that add to a `summed` one have a part each."""
        at_key = ("at", *key)
        if at_key not in self.known:
            own = self.own(axes, reals)
            pointer = self.argument(key, hint, host, kind)
            name = self.known[at_key] = self.names(f"{hint}_at")
            # What lanes share has one gradient for a program, all else one for a sequence.
            shared = self.spec.lanes and LANE not in axes
            item = "program" if shared else item
            size = f"{'blocks' if shared else 'sequences'} * heads * {own}"
            partial = self.partial(axes, size, hint, over_time=key[0] == "d in") if summed else ""
            self.guarded(pointer, kind, f"{name} = {pointer} + {item} * {own}{partial}")
        return Place(self.known[at_key], "", axes, reals)

    def address(
        self, w: Writer, place: Place, axes: tuple[str, ...], want: tuple[str, ...], part: int, step: str
    ) -> str:
        """The addresses of a tile. `axes` are those of its value that stand for the place's own, in its order."""
        terms = [self._of_lanes(place.pointer, want)]
        stride = place.reals
        offsets: list[str] = []
        roots = place.roots or tuple(map(self.spec.root, place.axes))
        for root, axis in reversed(list(zip(roots, axes, strict=True))):
            if axis == LANE:
                continue
            code = w.place(axis).code
            code = code if stride == 1 else f"({code} * {stride})"
            offsets.insert(0, at(Held(code, (axis,), "int"), want))
            stride *= self.spec.size(root)
        if step:
            chunk = self.spec.chunk > 1 and self.loop.chunk in want
            code = f"({step} * {place.step})"
            if self.spec.lanes and self.spec.packed and self.loop.directions[0] == -1:
                # From the ends of sequences of different lengths.
                code = self._of_lanes(code, want)
            offsets.insert(0, at(Held(code, (self.loop.chunk,), "int"), want) if chunk else code)
        terms += offsets
        terms += [str(part)] * (part > 0)
        return " + ".join(terms)

    def _of_lanes(self, code: str, want: tuple[str, ...]) -> str:
        """What differs from lane to lane, along the axes of a tile."""
        if LANE not in want or len(want) == 1:
            return code
        return at(Held(code if code.isidentifier() else f"({code})", (LANE,), "int"), want)

    def load(
        self, w: Writer, v: Value, place: Place, port_axes: tuple[str, ...], part: int, step: str = "",
        conditions: Sequence[str] = (), again: bool = False,
    ) -> Held:  # fmt: skip
        """A tile from memory. A load `again` is one that the compiler must not merge with an earlier one."""
        axes = tuple(a for a in port_axes if a != self.loop.chunk)
        want = w.sort(v.axes)
        address = self.address(w, place, axes, want, part, step)
        mask = self.masked(w, conditions, want)
        more = (f", mask={mask}, other=0" if mask else "") + ", volatile=True" * again
        code = f"tl.load({address}{more})"
        kind = {"real": f".to({self.spec.real})", "int": ".to(tl.int64)", "bool": " != 0"}[v.dtype]
        code = f"({code}{kind})" if v.dtype == "bool" else f"{code}{kind}"
        clean = [a for a in want if w.ragged(a)] if v.dtype != "bool" else []
        return w.new(v.name, code, want, v.dtype, clean)

    def masked(self, w: Writer, conditions: Sequence[str], want: tuple[str, ...]) -> str:
        """The elements of a tile that are inside of every axis, where the conditions hold; nothing if all are."""
        inside = w.inside(want, want)
        if not (conditions and want):
            return " & ".join([*conditions, *filter(None, [inside])])
        # Triton's interpreter makes small numbers, which are no mask, of a condition that it gives axes.
        inside = inside or f"({at(Held(w.place(want[0]).code, (want[0],), 'int'), want)} >= 0)"
        return f"(({' & '.join([*conditions, inside])}) != 0)"

    def store(
        self, w: Writer, held: Held, place: Place, axes: tuple[str, ...], part: int, step: str = "",
        conditions: Sequence[str] = (), add: bool = False,
    ) -> None:  # fmt: skip
        """A tile to memory, added to what is there if `add`. `axes` are the place's own, with the chunk's before."""
        own = tuple(a for a in axes if a != self.loop.chunk)
        want = w.sort(axes)
        held = w.full(held, want) if want else w.made(held)
        address = self.address(w, place, own, want, part, step)
        mask = self.masked(w, conditions, want)
        mask = f", mask={mask}" if mask else ""
        if add:
            pointers = self.names("address")
            self.line(f"{pointers} = {address}")
            other = ", other=0" if mask else ""
            self.line(f"tl.store({pointers}, tl.load({pointers}{mask}{other}) + {held.code}{mask})")
        else:
            self.line(f"tl.store({address}, {held.code}{mask})")


__all__ = ["Argument", "Memory", "Place", "Way"]
