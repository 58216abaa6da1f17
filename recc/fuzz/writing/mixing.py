"""Stages that are affine in their states and mix elements: of low rank, or dense."""

from __future__ import annotations

from collections.abc import Callable

from .functions import near_identity, solved
from .phrase import NO_AXES, Phrase, mul, number, reduced
from .stage import Stage, drive, driven, state_axes
from .sums import Contract, Node, leaf, minus, plus, times
from .values import along, decay, exactly, gate, integer
from .writer import Writer


def delta(s: Stage) -> None:
    """A diagonal and one to three terms of rank one, as the delta rule has."""
    w = s.w
    axes = state_axes(w, 1)
    h, key = s.state(axes), w.by.pick(axes)
    read: Node = s.old(h)
    terms: list[Node] = []
    share = None
    for _ in range(w.by.weighted(((4, 1), (2, 2), (2, 3)))):
        k = exactly(w, [key], "unit")
        other = exactly(w, [key], "unit") if w.by.chance(0.25) else k
        step = leaf(w.argument("gate", w.by.some([key], 0.2)))
        share = step
        terms.append(times(step, leaf(k), Contract((key,), times(leaf(other), read))))
    kept: Node = read
    if w.by.chance(0.6):
        g = leaf(decay(w, frozenset(w.by.some([key], 0.5))))
        if w.by.chance(0.5):
            s.update(h, plus(times(g, minus(kept, *terms)), drive(s, frozenset(axes))))
            return
        kept = times(g, kept)
    assert share is not None
    s.update(h, plus(minus(kept, *(scaled(t, len(terms)) for t in terms)), times(share, drive(s, frozenset(axes)))))


def scaled(node: Node, count: int) -> Node:
    """A share of a term, so that several together do not grow."""
    return node if count == 1 else times(leaf(number({2: "0.5", 3: "0.3"}[count])), node)


def householder(s: Stage) -> None:
    """A product of reflections, one after the other within a step."""
    w = s.w
    axes = state_axes(w, 1)
    h, key = s.state(axes), w.by.pick(axes)
    found = s.before(h)
    for _ in range(w.by.weighted(((2, 2), (1, 3)))):
        k = exactly(w, [key], "unit")
        step = mul(number("2"), w.argument("gate")) if w.by.chance(0.3) else w.argument("gate")
        node = minus(leaf(found), times(leaf(step), leaf(k), Contract((key,), times(leaf(k), leaf(found)))))
        found = w.named(s.hand.write(node), "mid", opened=True)
    driven(s, h, leaf(found))


def low_rank(s: Stage) -> None:
    """Nothing but a term of rank one, or a mean over an axis."""
    w = s.w
    axes = state_axes(w, 1)
    h, key = s.state(axes), w.by.pick(axes)
    if w.by.chance(0.3):
        kept: Node = leaf(mul(w.argument("gate"), reduced("mean", [key], s.before(h))))
    else:
        left, right = exactly(w, [key], "unit"), exactly(w, [key], "unit")
        kept = times(leaf(left), Contract((key,), times(leaf(right), s.old(h))))
    driven(s, h, kept)


def matrix(w: Writer, row: str, col: str, depth: int) -> Phrase:
    """A contracting matrix: constant, varying, stochastic, made of small parts, or looked up by a symbol."""
    kind = w.by.weighted(((5, "param"), (2, "varying"), (3, "table"), (2, "stochastic"), (3, "ranks"), (1, "inverse")))
    if kind == "varying":
        return w.argument("small", [row, col], varies=True)
    if kind == "stochastic":
        return reduced("softmax", [row], exactly(w, [row, col]))
    if kind == "table":
        symbol = w.axis([row])
        table = w.argument("real", [symbol, row, col], varies=False) if symbol != row else None
        if table is not None:
            sym = integer(w, symbol, NO_AXES, 1)
            return Phrase(f"{table.text}[{symbol} = {sym.text}]", frozenset((row, col)), True)
    if kind == "ranks":
        rank = w.axis([row])
        left, right = w.argument("small", [row, rank], varies=False), w.argument("small", [row, rank], varies=None)
        if rank != row:
            return reduced("sum", [rank], mul(left, along(w, right, [col, rank])))
    if kind == "inverse":
        return (
            mul(w.argument("gate"), near_identity(w, row, col))
            if depth
            else w.argument("real", [row, col], varies=False)
        )
    return w.argument("real", [row, col], varies=False)


def dense(s: Stage) -> None:
    """A matrix times a vector, or from the left or the right of a matrix, in blocks perhaps."""
    w = s.w
    axes = state_axes(w, 1)
    h, row = s.state(axes), w.by.pick(axes)
    col = w.second(row, axes)
    index = [col if a == row else a for a in axes]
    a = matrix(w, row, col, s.depth)
    blocks = [b for b in axes if b != row]
    if blocks and w.by.chance(0.25):
        a = mul(a, exactly(w, [blocks[0]], "gate"))
    kept: Node = Contract((col,), times(leaf(a), s.old(h, index)))
    if w.by.chance(0.25):
        kept = times(leaf(gate(w, NO_AXES, s.depth)), kept)
    elif w.by.chance(0.2):
        kept = plus(times(leaf(number("0.5")), s.old(h)), times(leaf(number("0.5")), kept))
    driven(s, h, kept)


def two_sided(s: Stage) -> None:
    """A S B, or A S + S B, or A S Aᵀ, of a square state or of one with two axes."""
    w = s.w
    row = w.axis()
    square = w.by.chance(0.5)
    col = w.second(row) if square else w.axis([row], fresh=True)
    if col == row:
        return dense(s)
    inner = w.second(row, [col])
    S = s.state([row, col], prefix="P")
    a = leaf(w.argument("real", [row, w.second(row)], varies=False))
    left = leaf(along_matrix(w, a.phrase, [row, inner])) if square else a
    kept: Node = Contract((inner,), times(left, s.old(S, [inner, col])))
    if w.by.chance(0.4):
        other = w.second(col, []) if not square else inner
        b = w.argument("real", [col, other], varies=False) if not square else along_matrix(w, a.phrase, [col, inner])
        right = Contract((other,), times(leaf(b), s.old(S, [row, other])))
        kept = times(leaf(number("0.5")), plus(kept, right))
    elif w.by.chance(0.6) and square:
        mid = w.named(s.hand.write(kept), "mid", opened=True)
        name = w.names[mid.text.split("[")[0]]
        index = [inner if a_ == col else a_ for a_ in name.axes]
        kept = Contract(
            (inner,), times(leaf(w.at(name, w.time(), index)), leaf(along_matrix(w, a.phrase, [col, inner])))
        )
    driven(s, S, kept)
    return None


def along_matrix(w: Writer, matrix_: Phrase, axes: list[str]) -> Phrase:
    """A matrix read along two other axes."""
    return w.at(w.names[matrix_.text.split("[")[0]], w.time(), axes)


def implicit(s: Stage) -> None:
    """A linear system solved at every step."""
    w = s.w
    row = w.axis()
    col = w.second(row)
    h = s.state([row])
    right = s.hand.write(plus(times(leaf(w.argument("gate")), s.old(h)), drive(s, frozenset((row,)))))
    w.equation(h, solved(row, col, near_identity(w, row, col), right))


#: Every kind of stage that mixes elements, with its weight.
MIXING: tuple[tuple[int, Callable[[Stage], None]], ...] = (
    (6, delta), (4, householder), (5, low_rank), (7, dense), (8, two_sided), (1, implicit),
)  # fmt: skip

__all__ = ["MIXING", "matrix"]
