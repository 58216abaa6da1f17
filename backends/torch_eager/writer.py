"""What is written of a function so far, and what stands for each value of its Block."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from recc.backends.torch_eager.names import identifiers, letters
from recc.forms.block import Block, BlockDtype, Value

#: Letters of a line beyond which arguments get lines of their own.
_WIDTH = 100


@dataclass(frozen=True)
class Held:
    """What stands for a value: an expression, and the axes that it has; the value is the same along others.

    `number` is the number that it is, if it is one; then `code` is its text.
    """

    code: str
    axes: tuple[str, ...]
    dtype: BlockDtype
    number: float | None = None


class Writer:
    """One function: its lines so far, and what stands for each value."""

    def __init__(self, block: Block):
        self.block = block
        self.lines: list[str] = []
        self.held: dict[str, Held] = {}
        self.names = identifiers(v.name for v in (*block.inputs, *(op.out for op in block.ops)))
        self.letters = letters(block.order)

    def line(self, text: str, axes: Sequence[str] | None = None) -> None:
        """Adds a line, with the axes of what it makes."""
        self.lines.append(f"    {text}" if axes is None else f"    {text}  # [{', '.join(axes)}]")

    def call(self, names: str, function: str, arguments: Sequence[str], axes: Sequence[str]) -> None:
        """Gives names the results of a function, with an argument a line where one line is not enough."""
        line = f"{names} = {function}({', '.join(arguments)})"
        if len(line) <= _WIDTH:
            self.line(line, axes)
            return
        self.line(f"{names} = {function}(", axes)
        self.lines += [f"        {a}," for a in arguments]
        self.line(")")

    def define(self, out: Value, expression: str, axes: Sequence[str]) -> None:
        """Gives a value its tensor, whose axes are in the order `axes`."""
        want = self.sort(axes)
        name = self.names[out.name]
        self.line(f"{name} = {permuted(expression, axes, want)}", want)
        self.held[out.name] = Held(name, want, out.dtype)

    def sort(self, axes: Iterable[str]) -> tuple[str, ...]:
        """Axes in canonical order, each once."""
        wanted = set(axes)
        return tuple(a for a in self.block.order if a in wanted)

    def size(self, axis: str) -> str:
        """The size of an axis."""
        return f"sizes[{quoted(self.block.root[axis])}]"

    def get(self, v: Value) -> Held:
        """What stands for a value."""
        return self.held[v.name]

    def tensor(self, v: Value) -> Held:
        """What stands for a value, as a tensor."""
        held = self.get(v)
        return held if held.number is None else replace(held, code=f"ops.number({held.code}, env)", number=None)

    def full(self, v: Value, axes: Collection[str]) -> Held:
        """A value as a tensor that has at least these axes."""
        held = self.tensor(v)
        missing = set(axes) - set(held.axes)
        if not missing:
            return held
        want = self.sort({*held.axes, *axes})
        inner = want[min(want.index(a) for a in missing) :]
        sizes = ", ".join(self.size(a) for a in inner) + ("," if len(inner) == 1 else "")
        return replace(held, code=f"ops.spread({at(held, want)}, ({sizes}))", axes=want)


def quoted(name: str) -> str:
    """A name as a Python string."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def dim(axes: Sequence[str], axis: str) -> int:
    """The dimension of an axis, counted from the end."""
    return axes.index(axis) - len(axes)


def dims(axes: Sequence[str], over: Iterable[str]) -> str:
    """Several dimensions as a Python tuple."""
    found = ", ".join(str(dim(axes, a)) for a in over)
    return f"({found},)" if "," not in found else f"({found})"


def permuted(expression: str, have: Sequence[str], want: Sequence[str]) -> str:
    """The expression of a tensor with its axes in another order."""
    moved = [a for h, a in zip(have, want, strict=True) if h != a]
    if not moved:
        return expression
    if len(moved) == 2:
        return f"{expression}.transpose({dim(want, moved[0])}, {dim(want, moved[1])})"
    return f"{expression}.movedim({dims(have, moved)}, {dims(want, moved)})"


def at(held: Held, want: Sequence[str]) -> str:
    """The tensor along `want`, in that order, of size 1 along those it lacks."""
    if held.number is not None:
        return held.code
    code = permuted(held.code, held.axes, [a for a in want if a in held.axes])
    for place in range(1, len(want) + 1):
        if want[-place] not in held.axes:
            code += f".unsqueeze({-place})"
    return code


def tupled(items: Iterable[str]) -> str:
    """A Python tuple of expressions."""
    found = list(items)
    return f"({', '.join(found)}{',' * (len(found) == 1)})"


def total(held: Held, over: Sequence[str]) -> Held:
    """The sum over axes."""
    if not over:
        return held
    rest = tuple(a for a in held.axes if a not in over)
    return replace(held, code=f"{held.code}.sum({dims(held.axes, over)})", axes=rest)


__all__ = ["Held", "Writer", "at", "dim", "dims", "permuted", "quoted", "total", "tupled"]
