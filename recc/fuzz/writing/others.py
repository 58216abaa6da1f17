"""Stages over semirings, and stages that are not linear."""

from __future__ import annotations

from collections.abc import Callable

from .mixing import matrix
from .phrase import NO_AXES, Phrase, add, call, compare, div, mul, number, reduced, sub
from .stage import Stage, coefficient, drive, state_axes
from .sums import Contract, Node, leaf, minus, plus, times
from .values import ONE, condition, exactly, gate, log, real
from .writer import Writer


def _score(s: Stage, axes: frozenset[str], depth: int = 0) -> Node:
    """What is added to a score: a number that is not infinite."""
    w = s.w
    if w.by.chance(0.4):
        return leaf(log(w, axes, depth))
    return leaf(w.argument("real", w.by.some(w.ordered(axes), 0.7)))


def in_place(s: Stage) -> None:
    """Every score by itself: max(a + h, b)."""
    axes = state_axes(s.w)
    h = s.state(axes, prefix="best")
    kept = times(_score(s, frozenset(axes), s.depth), s.old(h)) if s.w.by.chance(0.85) else s.old(h)
    s.update(h, plus(kept, drive(s, frozenset(axes))))


def over_paths(s: Stage) -> None:
    """A matrix of scores: the best path, or a sum over paths."""
    w = s.w
    axes = state_axes(w, 1)
    h, row = s.state(axes, prefix="best"), w.by.pick(axes)
    col = w.second(row, axes)
    steps = _steps(w, row, col)
    index = [col if a == row else a for a in axes]
    kept: Node = Contract((col,), times(leaf(steps), s.old(h, index)))
    emitted = drive(s, frozenset(axes))
    begins_nowhere = any(d.name == h.name and d.value.endswith("inf") for d in w.declarations)
    if begins_nowhere or w.by.chance(0.4):
        return s.update(h, plus(kept, emitted))
    return s.update(h, times(kept, emitted))


def _steps(w: Writer, row: str, col: str) -> Phrase:
    kind = w.by.integer(0, 2)
    if kind == 0:
        return w.argument("real", [row, col], varies=False)
    if kind == 1:
        return w.argument("real", [row, col], varies=True)
    return call("log", add(number("0.01"), reduced("softmax", [row], exactly(w, [row, col]))))


def with_order(s: Stage) -> None:
    """Two steps back at once."""
    axes = state_axes(s.w, 0, 1)
    h = s.state(axes, prefix="best")
    own = frozenset(axes)
    s.update(h, plus(times(_score(s, own), s.old(h)), times(_score(s, own), s.old(h, None, 2)), drive(s, own)))


def neighbours(s: Stage) -> None:
    """Scores beside one's own along an axis."""
    w = s.w
    axes = state_axes(w, 1)
    h, along_ = s.state(axes, prefix="best"), w.by.pick(axes)
    index = [a + w.by.pick(("-1", "+1")) if a == along_ else a for a in axes]
    beside = leaf(Phrase(s.before(h, index).text, frozenset(axes), True))
    s.update(
        h,
        plus(times(_score(s, frozenset(axes)), s.old(h)), times(leaf(number("-1")), beside), drive(s, frozenset(axes))),
    )


def spread_out(s: Stage) -> None:
    """The best of all, told to all: a term of rank one."""
    w = s.w
    axes = state_axes(w, 1)
    h, row = s.state(axes, prefix="best"), w.by.pick(axes)
    left, right = exactly(w, [row]), exactly(w, [row])
    told = times(leaf(left), Contract((row,), times(leaf(right), s.old(h))))
    if w.by.chance(0.5):
        told = plus(times(_score(s, frozenset(axes)), s.old(h)), times(leaf(number("-1")), told))
    s.update(h, plus(told, drive(s, frozenset(axes))))


def looked_up(s: Stage) -> None:
    """Scores read at places that an index points at."""
    w = s.w
    axes = state_axes(w, 1)
    h, row = s.state(axes, prefix="best"), w.by.pick(axes)
    item = w.argument("index", [row] if w.by.chance(0.5) else [], indexes=row)
    index = [item.text if a == row else a for a in axes]
    got = Phrase(s.before(h, index).text, frozenset(a for a in axes if a != row) | item.axes, True)
    s.update(h, plus(times(_score(s, frozenset(axes)), leaf(got)), drive(s, frozenset(axes))))


def begun_anew(s: Stage) -> None:
    """A flag lets nothing be kept of the scores."""
    w = s.w
    axes = state_axes(w)
    h = s.state(axes, prefix="best")
    none = number("inf" if s.algebra.plus == "min" else "-inf")
    kept = call("where", condition(w, NO_AXES, 0), none, s.hand.write(times(_score(s, frozenset(axes)), s.old(h))))
    s.update(h, plus(leaf(kept), drive(s, frozenset(axes))))


def two_scores(s: Stage) -> None:
    """Two states of scores that need one another."""
    axes = frozenset(state_axes(s.w, 0, 1))
    own = s.w.ordered(axes)
    a, b = s.state(own, prefix="best"), s.state(own, prefix="best")
    for first, second in ((a, b), (b, a)):
        s.update(
            first, plus(times(_score(s, axes), s.old(first)), times(_score(s, axes), s.old(second)), drive(s, axes))
        )


#: Stages over a semiring, with their weights.
SCORES: tuple[tuple[int, Callable[[Stage], None]], ...] = (
    (6, in_place), (6, over_paths), (2, with_order), (2, neighbours), (2, begun_anew), (2, two_scores),
    (2, spread_out), (1, looked_up),
)  # fmt: skip


# Not linear ------------------------------------------------------------------------------------------


def squashed(s: Stage) -> None:
    """A bounded function of a linear update, element by element."""
    w = s.w
    axes = state_axes(w)
    h = s.state(axes)
    inside = s.hand.write(plus(times(coefficient(s, frozenset(axes)), s.old(h)), drive(s, frozenset(axes))))
    w.equation(h, call(w.by.pick(("tanh", "sin", "erf", "sigmoid", "cos")), inside))


def cell(s: Stage) -> None:
    """A dense layer of the state inside a bounded function."""
    w = s.w
    axes = state_axes(w, 1, 1)
    h, row = s.state(axes), axes[0]
    col = w.second(row)
    kept = Contract((col,), times(leaf(matrix(w, row, col, 0)), s.old(h, [col])))
    inside = s.hand.write(plus(kept, drive(s, frozenset(axes))))
    w.equation(h, call(w.by.pick(("tanh", "sin", "erf")), inside))


def gated_cell(s: Stage) -> None:
    """A gate made of the state itself, as a GRU has."""
    w = s.w
    axes = state_axes(w)
    h = s.state(axes)
    own = frozenset(axes)
    keep = call("sigmoid", s.hand.write(plus(times(coefficient(s, own), s.old(h)), drive(s, own))))
    if w.by.chance(0.6):
        keep = w.named(keep, "keep", opened=True)
    new = call("tanh", add(real(w, own, s.depth), mul(w.argument("gate"), s.before(h))))
    s.update(h, plus(times(leaf(keep), s.old(h)), times(minus(leaf(ONE), leaf(keep)), leaf(new))))


def long_short(s: Stage) -> None:
    """Two states, the one a bounded function of the other, as an LSTM has."""
    w = s.w
    axes = state_axes(w, 0, 1)
    own = frozenset(axes)
    c, h = s.state(axes, prefix="c"), s.state(axes)
    forget = call("sigmoid", add(s.before(h), real(w, own, s.depth)))
    s.update(c, plus(times(leaf(forget), s.old(c)), drive(s, own)))
    w.equation(h, mul(gate(w, own, s.depth), call("tanh", w.at(c, w.time()))))


def kinked(s: Stage) -> None:
    """A piecewise linear update that no semiring has: clamps, absolute values, choices by the state."""
    w = s.w
    axes = state_axes(w)
    h = s.state(axes)
    own = frozenset(axes)
    inside = s.hand.write(plus(times(coefficient(s, own), s.old(h)), drive(s, own)))
    kind = w.by.integer(0, 3)
    if kind == 0:
        return w.equation(h, call("clamp", inside, number("-1"), number("1")))
    if kind == 1:
        return w.equation(h, sub(call("abs", inside), number("0.5")))
    if kind == 2:
        inside = w.named(inside, "mid", opened=True)
        return w.equation(h, call("where", compare(inside, ">", ONE), mul(number("0.5"), inside), inside))
    return w.equation(h, call("relu", sub(inside, number("0.5"))))


def quadratic(s: Stage) -> None:
    """Products of states with states, bounded by a division."""
    w = s.w
    axes = state_axes(w)
    own = frozenset(axes)
    h = s.state(axes)
    old = s.before(h)
    below = add(ONE, mul(old, old))
    if axes and w.by.chance(0.4):
        below = add(ONE, reduced("norm", axes, old))
    s.update(h, plus(leaf(div(old, below)), drive(s, own)))


def normed(s: Stage) -> None:
    """A softmax over the state's own values."""
    w = s.w
    axes = state_axes(w, 1, 1)
    h = s.state(axes)
    inside = s.hand.write(plus(s.old(h), drive(s, frozenset(axes))))
    w.equation(h, reduced("softmax", [axes[0]], inside))


def spiking(s: Stage) -> None:
    """A neuron that fires and loses what it held, with a gradient of its own."""
    w = s.w
    axes = state_axes(w, 0, 1)
    u = s.state(axes, prefix="u")
    v = w.named(
        s.hand.write(plus(times(coefficient(s, frozenset(axes)), s.old(u)), drive(s, frozenset(axes)))),
        "v",
        opened=True,
    )
    spike = call("surrogate", compare(v, ">=", ONE), call("sigmoid", mul(number("4"), sub(v, ONE))))
    spike = w.named(spike, "spike", opened=True)
    w.equation(u, sub(v, call("stop", spike)))


#: Stages that are not linear, with their weights.
NONLINEAR: tuple[tuple[int, Callable[[Stage], None]], ...] = (
    (4, squashed), (3, cell), (3, gated_cell), (2, long_short), (3, kinked), (2, quadratic), (1, normed), (1, spiking),
)  # fmt: skip

__all__ = ["NONLINEAR", "SCORES"]
