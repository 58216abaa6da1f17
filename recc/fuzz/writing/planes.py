"""Programs with two scan axes."""

from __future__ import annotations

from collections.abc import Callable

from .phrase import call, mul, number
from .stage import Stage, drive, state_axes
from .sums import Contract, Node, leaf, plus, times
from .values import exactly, gate
from .writer import Name


def _beside(s: Stage, state: Name, scan: int, index: list[str] | None = None, sign: int = 1) -> Node:
    w = s.w
    return leaf(w.at(state, w.time(w.scan[scan], sign), index))


def spread(s: Stage) -> None:
    """One state that takes from both sides, with gates."""
    w = s.w
    axes = state_axes(w, 0, 1)
    h = s.state(axes)
    own = frozenset(axes)
    sign = w.by.pick((1, 1, -1))
    terms = [times(leaf(mul(number("0.5"), gate(w, own, s.depth))), _beside(s, h, k, None, sign)) for k in (0, 1)]
    s.update(h, plus(*terms, drive(s, own)))


def two_states(s: Stage) -> None:
    """One state for each direction, as a Roesser model has."""
    w = s.w
    axes = state_axes(w, 0, 1)
    a, b = s.state(axes), s.state(axes)
    own = frozenset(axes)
    for state, scan in ((a, 0), (b, 1)):
        terms = [times(leaf(number("0.4")), leaf(gate(w, own, s.depth)), _beside(s, h, scan)) for h in (a, b)]
        s.update(state, plus(*terms, drive(s, own)))


def dense_rows(s: Stage) -> None:
    """A dense map along one scan axis alone."""
    w = s.w
    row = w.axis()
    col = w.second(row)
    h = s.state([row])
    scan = w.by.pick((0, 1))
    kept = Contract((col,), times(leaf(w.argument("real", [row, col], varies=False)), _beside(s, h, scan, [col])))
    s.update(h, plus(kept, drive(s, frozenset((row,)))))


def bent(s: Stage) -> None:
    """A bounded function of both neighbours."""
    w = s.w
    axes = state_axes(w, 0, 1)
    h = s.state(axes)
    whole = plus(_beside(s, h, 0), _beside(s, h, 1), drive(s, frozenset(axes)))
    w.equation(h, call("tanh", s.hand.write(whole)))


def paths(s: Stage) -> None:
    """The best path over a plane, as in alignment."""
    w = s.w
    axes = state_axes(w, 0, 1)
    h = w.state(axes, "score", "", w.by.pick(("", "-inf")), "best")
    score = exactly(w, axes) if axes else w.argument("real")
    first, second = (_beside(s, h, k) for k in (0, 1))
    assert not isinstance(first, Contract)
    both = call("max", s.hand.write(first), s.hand.write(second))
    w.equation(h, call("max", s.hand.write(plus(leaf(both), leaf(score))), w.argument("real")))


#: Stages of programs with two scan axes, with their weights.
PLANES: tuple[tuple[int, Callable[[Stage], None]], ...] = (
    (3, spread), (2, two_states), (1, dense_rows), (1, bent), (1, paths),
)  # fmt: skip

__all__ = ["PLANES", "exactly"]
