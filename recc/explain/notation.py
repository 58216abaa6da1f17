"""Formulas as small trees, which the printers write for a terminal, as LaTeX and as MathML.

A formula says what is meant, not how it looks: which brackets are needed follows from the printer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Infix = Literal[
    "add", "sub", "mul", "div", "lt", "le", "gt", "ge", "eq", "ne", "and", "or", "compose", "otimes", "oplus", "so"
]


@dataclass(frozen=True)
class Name:
    """A name as the program writes it, or one of this page's own. `∂x` is the gradient of the loss by `x`."""

    text: str


@dataclass(frozen=True)
class Num:
    """A number."""

    value: float


@dataclass(frozen=True)
class Shift:
    """A place along an axis or in time: a name, or a number as text, with an offset."""

    name: str
    offset: int = 0


@dataclass(frozen=True)
class Indexed:
    """A name with its step and its indices. `brief` are the indices that a terminal shows."""

    base: Node
    times: tuple[Node, ...] = ()
    index: tuple[Node, ...] = ()
    brief: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Binary:
    """Two formulas with a sign between them."""

    op: Infix
    left: Node
    right: Node


@dataclass(frozen=True)
class Prefix:
    """`-x` or `not x`."""

    op: Literal["neg", "not"]
    arg: Node


@dataclass(frozen=True)
class Power:
    """`base` to the power `exponent`."""

    base: Node
    exponent: Node


@dataclass(frozen=True)
class Big:
    """A sum, a product or another reduction of `arg`. `below` are axes, or one condition on the steps."""

    fn: str
    below: tuple[Node, ...]
    arg: Node


@dataclass(frozen=True)
class Call:
    """A function of its arguments, with indices of its own (`solve[n, m](A, b)`)."""

    fn: str
    args: tuple[Node, ...]
    index: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listed:
    """Several formulas: a pair (`round`), a column or a matrix (`square`), rows of cells."""

    rows: tuple[tuple[Node, ...], ...]
    fence: Literal["round", "square"] = "round"


@dataclass(frozen=True)
class Truth:
    """1 where the condition holds, 0 elsewhere: Iverson's bracket."""

    condition: Node


@dataclass(frozen=True)
class Chain:
    """`a < b ≤ c`: places with signs between them."""

    parts: tuple[Node, ...]
    signs: tuple[Infix, ...]


@dataclass(frozen=True)
class Words:
    """Words inside a formula."""

    text: str


Node = Name | Num | Shift | Indexed | Binary | Prefix | Power | Big | Call | Listed | Truth | Chain | Words


@dataclass(frozen=True)
class Equation:
    """`left = right`, or a formula by itself; `side` says where or for what it holds."""

    right: Node
    left: Node | None = None
    side: Node | str = ""


ZERO, ONE, _MINUS = Num(0.0), Num(1.0), Num(-1.0)


def add(terms: Iterable[Node]) -> Node:
    """The sum of some terms, zeros left out and differences written as such."""
    total: Node | None = None
    for term in terms:
        if term == ZERO:
            continue
        if total is None:
            total = term
        elif isinstance(term, Prefix) and term.op == "neg":
            total = Binary("sub", total, term.arg)
        else:
            total = Binary("add", total, term)
    return ZERO if total is None else total


def times(factors: Iterable[Node]) -> Node:
    """The product of some factors, ones left out and signs in front."""
    flat = [f for factor in factors for f in _flat(factor)]
    if ZERO in flat:
        return ZERO
    kept = [f for f in flat if f not in (ONE, _MINUS)]
    # What is summed comes last, so that no bracket is needed around it.
    kept.sort(key=lambda f: isinstance(f, Big))
    total: Node = kept[0] if kept else ONE
    for factor in kept[1:]:
        total = Binary("mul", total, factor)
    return Prefix("neg", total) if flat.count(_MINUS) % 2 else total


def _flat(factor: Node) -> list[Node]:
    if isinstance(factor, Binary) and factor.op == "mul":
        return [*_flat(factor.left), *_flat(factor.right)]
    if isinstance(factor, Prefix) and factor.op == "neg":
        return [_MINUS, *_flat(factor.arg)]
    return [factor]


def total(below: Iterable[Node], arg: Node, fn: str = "sum") -> Node:
    """A sum, or another reduction; the sign of what is summed stands before it."""
    if fn == "sum" and isinstance(arg, Prefix) and arg.op == "neg":
        return Prefix("neg", Big(fn, tuple(below), arg.arg))
    return ZERO if fn == "sum" and arg == ZERO else Big(fn, tuple(below), arg)


def at(
    name: str | Node, time: Node | Sequence[Node] = (), axes: Sequence[str | Node] = (), brief: bool = False
) -> Node:
    """A name at a step with indices, which a terminal shows if `brief`."""
    base = Name(name) if isinstance(name, str) else name
    steps = tuple(time) if isinstance(time, Sequence) else (time,)
    index = tuple(Shift(a) if isinstance(a, str) else a for a in axes)
    return Indexed(base, steps, index, index if brief else ()) if steps or index else base


def pair(*parts: Node) -> Node:
    """A pair, or a longer list in brackets."""
    return Listed((tuple(parts),))


__all__ = [
    "ONE", "ZERO", "Big", "Binary", "Call", "Chain", "Equation", "Indexed", "Infix", "Listed", "Name", "Node", "Num",
    "Power", "Prefix", "Shift", "Truth", "Words", "add", "at", "pair", "times", "total",
]  # fmt: skip
