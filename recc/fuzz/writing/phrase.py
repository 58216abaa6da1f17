"""A piece of a program's text that is an expression, with its axes; joined with as few brackets as needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

OR, AND, NOT, COMPARE, SUM, PRODUCT, SIGN, POWER, ATOM = range(9)
Axes = frozenset[str]
NO_AXES: Axes = frozenset()


@dataclass(frozen=True)
class Phrase:
    """An expression as text. `binds` is the level of the grammar that it belongs to."""

    text: str
    axes: Axes = NO_AXES
    varies: bool = False
    binds: int = ATOM

    def at(self, level: int) -> str:
        """The text where the grammar wants something of a level."""
        return self.text if self.binds >= level else f"({self.text})"


def joined(text: str, binds: int, *parts: Phrase) -> Phrase:
    """A text made of some phrases, with all of their axes."""
    axes = NO_AXES.union(*(p.axes for p in parts))
    return Phrase(text, axes, any(p.varies for p in parts), binds)


def add(a: Phrase, b: Phrase) -> Phrase:
    """A + b."""
    return joined(f"{a.at(SUM)} + {b.at(PRODUCT)}", SUM, a, b)


def sub(a: Phrase, b: Phrase) -> Phrase:
    """A - b."""
    return joined(f"{a.at(SUM)} - {b.at(PRODUCT)}", SUM, a, b)


def mul(a: Phrase, b: Phrase) -> Phrase:
    """A * b."""
    return joined(f"{a.at(PRODUCT)} * {b.at(SIGN)}", PRODUCT, a, b)


def div(a: Phrase, b: Phrase) -> Phrase:
    """A / b."""
    return joined(f"{a.at(PRODUCT)} / {b.at(SIGN)}", PRODUCT, a, b)


def neg(a: Phrase) -> Phrase:
    """-a."""
    return joined(f"-{a.at(SIGN)}", SIGN, a)


def power(a: Phrase, b: Phrase) -> Phrase:
    """A ** b."""
    return joined(f"{a.at(ATOM)} ** {b.at(SIGN)}", POWER, a, b)


def compare(a: Phrase, sign: str, b: Phrase) -> Phrase:
    """A comparison."""
    return joined(f"{a.at(SUM)} {sign} {b.at(SUM)}", COMPARE, a, b)


def logical(a: Phrase, word: str, b: Phrase) -> Phrase:
    """`a and b`, `a or b`."""
    level = AND if word == "and" else OR
    return joined(f"{a.at(level)} {word} {b.at(level + 1)}", level, a, b)


def negation(a: Phrase) -> Phrase:
    """`not a`."""
    return joined(f"not {a.at(COMPARE)}", NOT, a)


def call(name: str, *args: Phrase) -> Phrase:
    """A function of some arguments."""
    return joined(f"{name}({', '.join(a.text for a in args)})", ATOM, *args)


def reduced(name: str, over: Sequence[str], arg: Phrase) -> Phrase:
    """A reduction; `softmax` keeps its axes."""
    found = joined(f"{name}[{', '.join(over)}]({arg.text})", ATOM, arg)
    return found if name == "softmax" else replace(found, axes=found.axes - set(over))


def number(text: str) -> Phrase:
    """A number."""
    return Phrase(text, binds=SIGN if text.startswith("-") else ATOM)


__all__ = [
    "ATOM", "NO_AXES", "Axes", "Phrase", "add", "call", "compare", "div", "joined", "logical", "mul", "neg", "negation",
    "number", "power", "reduced", "sub",
]  # fmt: skip
