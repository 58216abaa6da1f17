"""Programs whose stages belong together: stabilised sums, cascades, both directions, bilinear joins."""

from __future__ import annotations

from collections.abc import Callable

from .phrase import add, call, mul, reduced, sub
from .stage import Stage, coefficient, drive, driven, state_axes
from .sums import leaf, plus, times
from .values import exactly, gate


def stabilised(s: Stage) -> None:
    """A running maximum of logarithms, and sums of exponentials less than it."""
    w = s.w
    axes = state_axes(w)
    own = frozenset(axes)
    gates = w.by.some(axes)
    forget, entry = w.argument("log", gates, True), w.argument("real", gates, True)
    m = w.state(gates, "score", "", w.by.pick(("-inf", "", "0.5")), "top")
    past = add(forget, s.before(m))
    w.equation(m, call("max", past, entry))
    now = w.at(m, w.time())
    keep = w.named(call("exp", sub(past, now)), "keep", opened=True)
    enter = call("exp", sub(entry, now))
    h = s.state(axes)
    s.update(h, plus(times(leaf(keep), s.old(h)), times(leaf(enter), drive(s, own))))
    if w.by.chance(0.5):
        z = s.state(gates, prefix="z")
        s.update(z, plus(times(leaf(keep), s.old(z)), leaf(enter)))


def cascade(s: Stage) -> None:
    """A second memory that is written with what a key reads from the first."""
    w = s.w
    i = w.axis()
    j = w.axis([i], fresh=True)
    first, second = s.state([i, j]), s.state([i, j])
    key, value = exactly(w, [i]), exactly(w, [j])
    s.update(first, plus(times(coefficient(s, frozenset()), s.old(first)), times(leaf(key), leaf(value))))
    now = w.by.chance(0.5)
    read = w.at(first, w.time()) if now else s.before(first)
    other = exactly(w, [i])
    got = mul(other, read)
    held = call("tanh", reduced("sum", [i], got)) if w.by.chance(0.3) else reduced("sum", [i], got)
    s.update(second, plus(times(leaf(gate(w, frozenset(), 0)), s.old(second)), times(leaf(key), leaf(held))))


def both_ways(s: Stage) -> None:
    """One state from the left and one from the right, joined in the outputs."""
    axes = state_axes(s.w)
    for back in (True, False):
        s.back = back
        h = s.state(axes)
        driven(s, h, times(coefficient(s, frozenset(axes)), s.old(h)))


def by_hidden_gates(s: Stage) -> None:
    """A stage whose gates are made of an earlier stage's states."""
    w = s.w
    axes = state_axes(w)
    first = s.state(axes)
    driven(s, first, times(coefficient(s, frozenset(axes)), s.old(first)))
    second = s.state(axes)
    read = w.at(first, w.time()) if w.by.chance(0.5) else s.before(first)
    keep = call("sigmoid", read)
    driven(s, second, times(leaf(keep), s.old(second)))


def counted(s: Stage) -> None:
    """A program without inputs, or with hardly any: it starts from its initial values."""
    w = s.w
    axes = state_axes(w, 0, 1)
    h = w.state(axes, "state", "", w.by.pick(("1", "0.5", "2")))
    s.states.append(h)
    weight = leaf(exactly(w, axes, "gate", False)) if axes else leaf(w.argument("gate", (), False))
    s.update(h, plus(times(weight, s.old(h)), times(leaf(w.constant("0.2")), s.old(h, None, 2))))


#: Several stages at once, with their weights.
SEVERAL: tuple[tuple[int, Callable[[Stage], None]], ...] = (
    (4, stabilised), (4, cascade), (4, both_ways), (3, by_hidden_gates), (2, counted),
)  # fmt: skip

__all__ = ["SEVERAL"]
