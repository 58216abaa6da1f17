"""Stages that are affine in their states over the ring and act on each element by itself."""

from __future__ import annotations

from collections.abc import Callable

from .phrase import NO_AXES, Phrase, add, call, div, mul, neg
from .stage import Stage, coefficient, drive, driven, state_axes
from .sums import leaf, minus, plus, times
from .values import ONE, exactly, gate


def identity(s: Stage) -> None:
    """h[t-1] + drive."""
    h = s.state(state_axes(s.w))
    driven(s, h, s.old(h))


def scalar(s: Stage) -> None:
    """One coefficient for all elements."""
    h = s.state(state_axes(s.w))
    driven(s, h, times(coefficient(s, NO_AXES), s.old(h)))


def diagonal(s: Stage) -> None:
    """A coefficient for every element along some axes."""
    axes = state_axes(s.w, 1)
    h = s.state(axes)
    along_ = s.w.by.pick(axes)
    own = exactly(s.w, [along_], "gate") if s.w.by.chance(0.5) else decay_along(s, along_)
    factors = [leaf(own)] + [coefficient(s, frozenset(axes))] * s.w.by.chance(0.2)
    driven(s, h, times(*factors, s.old(h)))


def decay_along(s: Stage, axis: str) -> Phrase:
    """Exp of a number <= 0 along an axis, constant or discretised."""
    w = s.w
    if w.by.chance(0.5):
        return call("exp", exactly(w, [axis], "log"))
    step = w.argument("positive", w.by.some([axis], 0.5), varies=True)
    return call("exp", mul(step, exactly(w, [axis], "log", False)))


def normaliser(s: Stage) -> None:
    """A decaying sum of positive values, which promises that it is not negative."""
    axes = state_axes(s.w)
    z = s.state(axes, domain=s.w.by.pick((">= 0", "")), prefix="z")
    s.update(z, plus(times(leaf(gate(s.w, frozenset(axes), s.depth)), s.old(z)), leaf(s.w.argument("positive", axes))))


def average(s: Stage) -> None:
    """G h + (1 - g) x, with the gate in both."""
    axes = state_axes(s.w)
    h = s.state(axes)
    keep = gate(s.w, frozenset(axes), s.depth)
    if s.w.by.chance(0.5):
        keep = s.w.named(keep, "keep")
    s.update(h, plus(times(leaf(keep), s.old(h)), times(minus(leaf(ONE), leaf(keep)), drive(s, frozenset(axes)))))


def spinning(s: Stage) -> None:
    """A complex diagonal, constant or varying."""
    w = s.w
    axes = state_axes(w, 0)
    h = s.state(axes, complex_=True)
    own = frozenset(axes)
    kind = w.by.integer(0, 2)
    varies = w.by.chance(0.4)
    if kind == 0:
        lam = mul(w.argument("gate", axes, varies), call("cis", w.argument("real", w.by.some(axes, 0.8), varies)))
    elif kind == 1:
        lam = mul(call("exp", neg(w.argument("positive", axes, varies))), call("cis", w.argument("real", axes, varies)))
    else:
        z = w.argument("complex", axes, varies)
        lam = div(z, add(ONE, call("abs", z)))
    if w.by.chance(0.5):
        lam = w.named(lam, "lam", "complex")
    driven(s, h, times(leaf(lam), *([leaf(gate(w, own, s.depth))] * w.by.chance(0.2)), s.old(h)), complex_=True)


def rotation(s: Stage) -> None:
    """Two real states that are one complex state: a scaled rotation."""
    w = s.w
    axes = state_axes(w, 0, 1)
    x, y = s.state(axes), s.state(axes)
    index = [axes[0] + "-1"] if axes and w.by.chance(0.25) else None  # beside its own place: a pair, and a shift
    angle, size = w.argument("real", axes), gate(w, frozenset(axes), s.depth)
    cos, sin = leaf(mul(size, call("cos", angle))), leaf(mul(size, call("sin", angle)))
    own = frozenset(axes)
    re, im = (leaf(Phrase(s.before(h, index).text, own, True)) for h in (x, y))
    s.update(x, plus(minus(times(cos, re), times(sin, im)), drive(s, own)))
    s.update(y, plus(times(sin, re), times(cos, im), drive(s, own)))


#: Every kind of stage that acts in place, with its weight.
DIAGONAL: tuple[tuple[int, Callable[[Stage], None]], ...] = (
    (7, identity), (5, scalar), (7, diagonal), (2, normaliser), (4, average), (6, spinning), (4, rotation),
)  # fmt: skip

__all__ = ["DIAGONAL"]
