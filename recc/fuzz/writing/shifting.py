"""Stages that are affine in their states and read them elsewhere along an axis, or further back in time."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from .phrase import NO_AXES, Phrase, call, number
from .stage import Stage, coefficient, drive, driven, state_axes
from .sums import Contract, Node, Sum, leaf, minus, plus, times
from .values import ONE, condition, exactly, gate


def stencil(s: Stage) -> None:
    """Neighbours along an axis: shifted diagonals, round a ring perhaps, with a term of rank one perhaps."""
    w = s.w
    ring = w.by.chance(0.35)
    along_ = w.axis(edge="wrap") if ring else ""
    axes = [along_] if ring else state_axes(w, 1)
    h, along_ = s.state(axes), along_ or w.by.pick(axes)
    offsets = w.by.pick((("-1",), ("+1",), ("-1", "+1"), ("-1", "", "+1"), ("", "+2")))
    weight = {1: "0.9", 2: "0.5", 3: "0.3"}[len(offsets)]
    terms: list[Node] = []
    for offset in offsets:
        index = [a + offset if a == along_ else a for a in axes]
        factor = (
            leaf(number(weight))
            if ring or w.by.chance(0.5)
            else times(leaf(number(weight)), coefficient(s, frozenset(axes)))
        )
        terms.append(times(factor, s.old(h, index if offset else None)))
        if offset:
            terms[-1] = times(factor, leaf(Phrase(s.before(h, index).text, frozenset(axes), True)))
    if not ring and w.by.chance(0.3):
        left, right = exactly(w, [along_], "unit"), exactly(w, [along_], "unit")
        terms.append(times(leaf(number("0.2")), leaf(left), Contract((along_,), times(leaf(right), s.old(h)))))
    driven(s, h, plus(*terms))


def companion(s: Stage) -> None:
    """A register that moves along by one, with a row or column of coefficients."""
    w = s.w
    axis = w.axis(edge="", fresh=True) if not w.roots else w.axis(edge="")
    h = s.state([axis])
    moved = Phrase(s.before(h, [axis + w.by.pick(("+1", "-1"))]).text, frozenset((axis,)), True)
    row = times(leaf(exactly(w, [axis], "small")), Contract((axis,), times(leaf(exactly(w, [axis], "unit")), s.old(h))))
    driven(s, h, plus(leaf(moved), row))


def gather(s: Stage) -> None:
    """The state read at places that an index points at."""
    w = s.w
    axes = state_axes(w, 1)
    h, along_ = s.state(axes), w.by.pick(axes)
    kind = w.by.integer(0, 2)
    if kind == 2 and len(axes) == 1:
        S = h
        item = Phrase("0")
    else:
        S = h
        item = w.argument("index", [along_] if kind == 0 else [], indexes=along_)
    index = [item.text if a == along_ else a for a in axes]
    got = Phrase(s.before(S, index).text, frozenset(a for a in axes if a != along_) | item.axes, True)
    kept: Node = times(leaf(gate(w, frozenset(axes), 0)), leaf(got))
    if w.by.chance(0.3):
        kept = plus(times(leaf(number("0.5")), s.old(h)), times(leaf(number("0.5")), kept))
    driven(s, h, kept)


def transposed(s: Stage) -> None:
    """A square state with its two axes exchanged."""
    w = s.w
    row = w.axis()
    col = w.second(row)
    S = s.state([row, col])
    kept = times(
        leaf(gate(w, NO_AXES, s.depth)), leaf(Phrase(s.before(S, [col, row]).text, frozenset((row, col)), True))
    )
    driven(s, S, kept)


def second_order(s: Stage) -> None:
    """Two or three steps back at once."""
    w = s.w
    axes = state_axes(w, 0, 1)
    h = s.state(axes)
    order = w.by.weighted(((2, 2), (1, 3)))
    lags = list(range(1, order + 1))
    if w.by.chance(0.2):
        lags.remove(w.by.pick(lags[:-1]))
    weights = {1: ("0.9",), 2: ("0.5", "0.4"), 3: ("0.4", "0.3", "0.2")}[len(lags)]
    role = w.by.pick(("gate", "signed"))
    terms = [
        times(leaf(number(c)), leaf(w.argument(role, w.by.some(axes))), s.old(h, None, lag))
        for c, lag in zip(weights, lags, strict=True)
    ]
    node = minus(*terms) if len(terms) == 2 and w.by.chance(0.5) else plus(*terms)
    driven(s, h, node)


def delay_line(s: Stage) -> None:
    """States that hand on what the state before them held."""
    w = s.w
    axes = state_axes(w, 0, 1)
    line = [s.state(axes) for _ in range(w.by.pick((2, 3)))]
    s.update(
        line[0],
        drive(s, frozenset(axes))
        if w.by.chance(0.7)
        else plus(times(leaf(number("0.4")), s.old(line[-1])), drive(s, frozenset(axes))),
    )
    for before, state in itertools.pairwise(line):
        s.update(state, s.old(before))


def reset(s: Stage) -> None:
    """A flag lets nothing be kept."""
    w = s.w
    axes = state_axes(w)
    h = s.state(axes)
    flag = condition(w, frozenset(w.by.some(axes, 0.2)), 1 if w.by.chance(0.3) else 0)
    kept = s.hand.write(times(coefficient(s, frozenset(axes)), s.old(h)))
    kind = w.by.integer(0, 3)
    if kind == 0:
        found: Node = leaf(call("where", flag, number("0"), kept))
    elif kind == 1:
        found = times(minus(leaf(ONE), leaf(flag)), leaf(kept))
    elif kind == 2:
        found = times(leaf(flag), leaf(kept))
    else:
        begin = w.argument("real", w.by.some(axes), varies=False)
        s.update(h, plus(leaf(call("where", flag, begin, kept)), drive(s, frozenset(axes))))
        return
    driven(s, h, found)


def coupled(s: Stage) -> None:
    """Two or three states that need one another."""
    w = s.w
    axes = state_axes(w, 0)
    count = w.by.weighted(((2, 2), (1, 3)))
    states = [s.state(axes if k == 0 else w.by.some(axes, 0.9)) for k in range(count)]
    weight = {2: "0.5", 3: "0.3"}[count]
    for state in states:
        terms = []
        for other in states:
            spare = [a for a in other.axes if a not in state.axes]
            node: Node = times(leaf(number(weight)), coefficient(s, frozenset(state.axes)), s.old(other))
            terms.append(
                Contract(tuple(spare), times(node, *(leaf(exactly(w, [a], "unit")) for a in spare))) if spare else node
            )
        sign = [w.by.chance(0.3) for _ in terms]
        s.update(state, Sum((*zip([False, *sign[1:]], terms, strict=True), (False, drive(s, frozenset(state.axes))))))


def momentum(s: Stage) -> None:
    """A second state adds up the first one of the same step."""
    w = s.w
    axes = state_axes(w)
    v, h = s.state(axes), s.state(axes)
    driven(s, v, times(coefficient(s, frozenset(axes)), s.old(v)))
    now = leaf(w.at(v, w.time()))
    s.update(h, plus(times(leaf(gate(w, NO_AXES, s.depth)), s.old(h)), now))


def stopped(s: Stage) -> None:
    """Part of the transition passes no gradient on."""
    w = s.w
    axes = state_axes(w)
    h = s.state(axes)
    kept = leaf(call("stop", s.before(h)))
    driven(
        s, h, plus(times(leaf(number("0.5")), s.old(h)), times(leaf(w.argument("signed")), leaf(number("0.4")), kept))
    )


def only_written(s: Stage) -> None:
    """Nothing is kept, though the state may seem to be read."""
    axes = state_axes(s.w)
    h = s.state(axes)
    own = frozenset(axes)
    kind = s.w.by.pick(("delay", "zero", "difference", "zero", "difference"))
    if kind == "delay":
        return s.update(h, drive(s, own))
    if kind == "zero":
        return driven(s, h, times(leaf(number("0")), s.old(h)))
    factor = coefficient(s, own)
    return s.update(h, plus(minus(times(factor, s.old(h)), times(s.old(h), factor)), drive(s, own)))


#: Every kind of stage that reads its states elsewhere, with its weight.
SHIFTING: tuple[tuple[int, Callable[[Stage], None]], ...] = (
    (5, stencil), (3, companion), (4, gather), (2, transposed), (5, second_order), (3, delay_line), (5, reset),
    (5, coupled), (2, momentum), (3, stopped), (6, only_written),
)  # fmt: skip

__all__ = ["SHIFTING"]
