"""Where tensors lie in memory, and how they are called in C."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Storage = Literal["real", "float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8"]

#: C types of stored elements.
C_TYPE: Mapping[str, str] = {
    "real": "real", "float32": "float", "float64": "double", "float16": "recc_half", "bfloat16": "recc_bfloat16",
    "int64": "int64_t", "int32": "int32_t", "int16": "int16_t", "int8": "int8_t", "uint8": "uint8_t",
}  # fmt: skip

_KEYWORDS = frozenset(
    (
        "auto break case char const continue default do double else enum extern float for goto if inline int "
        "long register restrict return short signed sizeof static struct switch typedef union unsigned void "
        "volatile while real main exp log sin cos tanh erf floor abs sqrt pow item first last length extent "
        "begin end scratch arrays t s T I asm typeof linux unix "
    ).split()
)


@dataclass(frozen=True)
class Memory:
    """Where a Block's input or a store's target lies: a C pointer, and its axes in memory order.

    Elements are `stride` apart, from `start` (pairs of a complex tensor). With no pointer arithmetic to
    do, `expression` is the C expression itself. `base` is the array that the pointer is a row of, and
    `lags` say which if it is not this step's.
    """

    pointer: str
    axes: tuple[str, ...]
    storage: Storage = "real"
    stride: int = 1
    start: int = 0
    expression: str = ""
    base: str = ""
    lags: tuple[int, ...] = ()

    def place(self, index: Mapping[str, str], sizes: Mapping[str, int]) -> str:
        """The C expression of an element's position."""
        text = linear(self.axes, index, sizes) or "0"
        if self.stride != 1:
            text = f"{grouped(text)} * {self.stride} + {self.start}"
        return text

    def load(self, index: Mapping[str, str], sizes: Mapping[str, int]) -> str:
        """The element as a value."""
        if self.expression:
            return self.expression
        element = f"{self.pointer}[{self.place(index, sizes)}]"
        if self.storage in ("float16", "bfloat16"):
            return f"recc_from_{self.storage}({element})"
        return f"(real){element}" if self.storage in ("float32", "float64") else element

    def store(self, index: Mapping[str, str], sizes: Mapping[str, int], value: str, accumulate: bool) -> str:
        """The statement that writes it."""
        element = f"{self.pointer}[{self.place(index, sizes)}]"
        if self.storage in ("float16", "bfloat16"):
            if accumulate:
                value = f"recc_from_{self.storage}({element}) + {value}"
            return f"{element} = recc_to_{self.storage}({value});"
        return f"{element} {'+=' if accumulate else '='} {value};"


def grouped(text: str) -> str:
    """A C expression as an operand: in brackets unless it is a single name or number."""
    return text if text.isidentifier() or text.isdigit() else f"({text})"


def linear(axes: tuple[str, ...], index: Mapping[str, str], sizes: Mapping[str, int]) -> str:
    """The position of an element in row-major order; empty without axes."""
    text = ""
    for axis in axes:
        text = index[axis] if not text else f"{grouped(text)} * {sizes[axis]} + {index[axis]}"
    return text


#: Names of types and macros of the C library, and of what belongs to an array: its row, its start, its stride.
_TAKEN = re.compile(r"[A-Z][A-Z0-9_]{2,}|\w+_t|\w+_(t(_m?\d+)*|at|step)")


class Names:
    """C identifiers: the user's names where they are free and legal."""

    def __init__(self, taken: Iterable[str] = ()):
        self.used = set(taken) | _KEYWORDS
        self.given: dict[str, str] = {}

    def __call__(self, name: str, wanted: str = "") -> str:
        """The identifier of a name, always the same: `wanted`, or the name itself, if that is free."""
        if name not in self.given:
            text = wanted or name
            clean = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in text)
            if not clean or clean[0].isdigit() or clean.startswith(("recc_", "_")):
                clean = f"v{clean}"
            if _TAKEN.fullmatch(clean):
                clean = f"{clean}_"
            unique, number = clean, 2
            while unique in self.used:
                unique, number = f"{clean}_{number}", number + 1
            self.used.add(unique)
            self.given[name] = unique
        return self.given[name]


__all__ = ["C_TYPE", "Memory", "Names", "Storage", "grouped", "linear"]
