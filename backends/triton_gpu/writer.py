"""What is written of a kernel so far, and what stands for each value of its Blocks.

A value becomes a tile: a tensor with a power of two of elements along each of its axes, in canonical order, and
no axis along which it is the same. A tile may reach beyond an axis. Law: what lies beyond is arbitrary, and
whatever lets elements along an axis meet puts the neutral element there first. Where a tile is known to be zero
there (`Held.clean`) that costs nothing.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from math import prod

from recc.backends.triton_gpu import library
from recc.backends.triton_gpu.spec import Spec
from recc.errors import Refusal, Unsupported
from recc.forms.block import Block, BlockDtype, Value

#: The most elements of one tile. Larger ones would not fit the registers of a program by far.
LARGEST = 1 << 17

#: Names that emitted kernels use for themselves.
RESERVED = frozenset({"tl", "triton", "torch", "range", "float", "float32", "float64", "int", "bool", "min", "max"})


@dataclass(frozen=True)
class Held:
    """What stands for a value: an expression, and the axes that it has, in the order of its tile's.

    It is the same along others. A renamed tile keeps its order, which need not be the canonical one. `number` is the
    number that it is, if it is one; then `code` is its text. `clean` are the axes beyond whose end its elements are
    zero.
    """

    code: str
    axes: tuple[str, ...]
    dtype: BlockDtype
    number: float | None = None
    clean: frozenset[str] = frozenset()


class Names:
    """Identifiers of one kernel, each given once."""

    def __init__(self, taken: Iterable[str] = ()):
        self.taken = {*taken, *RESERVED, *library.names()}

    def __call__(self, hint: str) -> str:
        """A new identifier like `hint`."""
        stem = re.sub(r"\W+", "_", hint, flags=re.ASCII).strip("_") or "x"
        stem = f"v_{stem}" if stem[0].isdigit() else stem
        name, number = stem, 1
        while name in self.taken or keyword.iskeyword(name):
            number += 1
            name = f"{stem}_{number}"
        self.taken.add(name)
        return name


class Body:
    """The lines of one kernel.

    `places` gives for each axis that stands for itself the variable with a program's positions along it, `ends`
    the expression of the axis' size, `tests` where it is more than a comparison of both the condition that an element
    is one of the axis. `used` are the functions of the library that lines call.
    """

    def __init__(self, spec: Spec, names: Names, used: set[str], combines: dict[str, str]):
        self.spec = spec
        self.names = names
        self.used = used
        self.combines = combines
        self.lines: list[str] = []
        self.depth = 1
        self.places: dict[str, str] = {}
        self.ends: dict[str, str] = {}
        self.tests: dict[str, str] = {}
        self.comments: Mapping[str, str] = {}

    def line(self, text: str) -> None:
        """Adds a line."""
        self.lines.append("    " * self.depth + text)

    @contextmanager
    def under(self, head: str) -> Iterator[None]:
        """Lines that are added meanwhile stand under one such as `if test:`."""
        self.line(head)
        self.depth += 1
        yield
        self.depth -= 1

    def call(self, function: str) -> str:
        """The name of a library function, which the module will have."""
        self.used.add(function)
        return function


class Writer:
    """Lines for the operations of one Block in a kernel.

    `pending` has what loads the inputs that are not loaded yet, `reload` for inputs that may be loaded more than once
    what writes another load, `sinks` what is written when an output, by its name, is there.
    """

    def __init__(self, body: Body, block: Block):
        self.pending: dict[str, Callable[[], Held]] = {}
        self.reload: dict[str, Callable[[], Held]] = {}
        self.sinks: dict[str, Callable[[], None]] = {}
        self.body = body
        self.spec = body.spec
        self.block = block
        self.held: dict[str, Held] = {}

    # Axes.

    def root(self, axis: str) -> str:
        """The axis that gives the size of an axis."""
        return self.block.root[axis]

    def width(self, axis: str) -> int:
        """The side of a tile along an axis."""
        return self.spec.width(self.root(axis))

    def ragged(self, axis: str) -> bool:
        """Whether a tile may reach beyond an axis."""
        return self.spec.ragged(self.root(axis))

    def size(self, axis: str) -> str:
        """The expression of the size of an axis."""
        root = self.root(axis)
        return self.body.ends.get(root) or str(self.spec.size(root))

    def place(self, axis: str) -> Held:
        """A program's positions along an axis."""
        return Held(self.body.places[self.root(axis)], (axis,), "int")

    def sort(self, axes: Iterable[str]) -> tuple[str, ...]:
        """Axes in the order of those that give their sizes, each once.

        So a second index over an axis has its place: tiles need not be transposed when one is renamed to the other.
        """
        return tile_order(self.block, axes)

    def shape(self, axes: Sequence[str]) -> tuple[int, ...]:
        """The shape of a tile."""
        return tuple(self.width(a) for a in axes)

    # Values.

    def get(self, v: Value) -> Held:
        """What stands for a value; what is loaded is loaded when it is first asked for."""
        if v.name not in self.held and v.name in self.pending:
            self.put(v.name, self.pending.pop(v.name)())
        return self.held[v.name]

    def define(self, out: Value, expression: str, axes: Sequence[str], clean: Iterable[str] = ()) -> Held:
        """Gives a value its tile."""
        return self.put(out.name, self.new(out.name, expression, axes, out.dtype, clean))

    def put(self, name: str, held: Held) -> Held:
        """Says what stands for a value."""
        self.held[name] = held
        return held

    def new(
        self, hint: str, expression: str, axes: Sequence[str], dtype: BlockDtype = "real", clean: Iterable[str] = ()
    ) -> Held:
        """A line that makes a tile, whose axes are in the order `axes`."""
        want = self.sort(axes)
        expression = permuted(expression, axes, want)
        self.check(want, hint)
        if comment := self.body.comments.get(hint):
            self.body.line(f"# {comment}")
        name = self.body.names(hint)
        note = f"  # [{', '.join(want)}]" if want else ""
        self.body.line(f"{name} = {expression}{note}")
        return Held(name, want, dtype, None, frozenset(clean) & {*want})

    def check(self, axes: Sequence[str], what: str) -> None:
        """Raises `Unsupported` for a tile that no program could hold."""
        if prod(self.shape(axes)) > LARGEST:
            sizes = " × ".join(map(str, self.shape(axes)))
            reason = f"{what!r} along {', '.join(axes)} has {sizes} elements, and a program holds at most {LARGEST}"
            raise Unsupported(Refusal("the Triton kernel", reason, "smaller chunks, or backend='torch', run it"))

    def made(self, held: Held) -> Held:
        """The same as a tensor rather than a number."""
        return held if held.number is None else replace(held, code=self._filled(held, ()), number=None)

    def _filled(self, held: Held, axes: Sequence[str]) -> str:
        """A tile of one number."""
        kinds = {"real": self.spec.real, "int": "tl.int32", "bool": "tl.int1"}
        return f"tl.full({list(self.shape(axes))}, {held.code}, {kinds[held.dtype]})"

    def full(self, held: Held, axes: Collection[str]) -> Held:
        """A tile that has at least these axes."""
        want = self.sort({*held.axes, *axes})
        if held.number is not None and want:
            return replace(held, code=self._filled(held, want), axes=want, number=None)
        held = self.made(held)
        if {*want} == {*held.axes}:
            return replace(held, code=at(held, want), axes=want)
        self.check(want, held.code)
        code = f"tl.broadcast_to({at(held, want)}, {list(self.shape(want))})"
        return replace(held, code=code, axes=want, clean=held.clean)

    def inside(self, axes: Iterable[str], want: Sequence[str]) -> str:
        """The condition that elements of a tile along `want` do not lie beyond the end of some axes."""
        tests = []
        for a in axes:
            if self.ragged(a):
                root = self.root(a)
                test = self.body.tests.get(root) or f"({self.body.places[root]} < {self.size(a)})"
                tests.append(at(Held(test, (a,), "bool"), want))
        return " & ".join(tests)

    def cleaned(self, held: Held, axes: Iterable[str], neutral: str = "0.0") -> Held:
        """A tile with the neutral element beyond the ends of axes."""
        dirty = [a for a in axes if a in held.axes and self.ragged(a) and not (neutral == "0.0" and a in held.clean)]
        if not dirty:
            return held
        held = self.made(held)
        code = f"tl.where({self.inside(dirty, held.axes)}, {held.code}, {neutral})"
        clean = held.clean | {*dirty} if neutral == "0.0" else frozenset()
        return replace(held, code=code, clean=clean)


def tile_order(block: Block, axes: Iterable[str]) -> tuple[str, ...]:
    """Axes in the order in which tiles have them, each once."""
    rank = _ranks(block.order, block.size_of)
    return tuple(sorted({*axes}, key=rank.__getitem__))


@cache
def _ranks(order: tuple[str, ...], size_of: tuple[tuple[str, str], ...]) -> dict[str, tuple[int, int]]:
    root, place = dict(size_of), {a: n for n, a in enumerate(order)}
    return {a: (place.get(root[a], n), n) for a, n in place.items()}


def at(held: Held, want: Sequence[str]) -> str:
    """A tile along `want`, in that order, with one element along axes that it lacks."""
    if held.number is not None or not held.axes:
        return held.code
    own = [a for a in want if a in held.axes]
    code = permuted(held.code, held.axes, own)
    if len(own) == len(want):
        return code
    return f"{code}[{', '.join(':' if a in held.axes else 'None' for a in want)}]"


def permuted(expression: str, have: Sequence[str], want: Sequence[str]) -> str:
    """A tile with its axes in another order."""
    if list(have) == list(want):
        return expression
    places = ", ".join(str(list(have).index(a)) for a in want)
    return f"tl.permute({expression}, ({places}))"


__all__ = ["LARGEST", "Body", "Held", "Names", "Writer", "at", "permuted", "tile_order"]
