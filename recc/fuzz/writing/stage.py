"""A stage that is being written: its states, what drives them, and how they start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .functions import complex_number
from .phrase import Axes, Phrase, mul, number
from .sums import Algebra, Hand, Node, leaf, plus, times
from .values import decay, exactly, gate, real, signed
from .writer import Name, Writer


@dataclass
class Stage:
    """One stage that is being written: how its trees are written down, and which way it runs."""

    w: Writer
    hand: Hand
    back: bool = True  # whether it reads earlier steps, so that it runs from left to right
    depth: int = 1
    states: list[Name] = field(default_factory=list)

    @property
    def algebra(self) -> Algebra:
        """The ring or semiring of its updates."""
        return self.hand.algebra

    def state(self, axes: Sequence[str], complex_: bool = False, prefix: str = "", domain: str = "") -> Name:
        """A new state of the stage, with some initial value."""
        role = "complex" if complex_ else "state" if self.algebra.is_ring else "score"
        domain = "complex" if complex_ else domain
        found = self.w.state(axes, role, domain, initial(self.w, axes, self.algebra, domain), prefix)
        self.states.append(found)
        return found

    def before(self, state: Name, index: Sequence[str] | None = None, lag: int = 1) -> Phrase:
        """A state of the stage some steps before, in the stage's own direction."""
        return self.w.at(state, self.w.time(None, lag if self.back else -lag), index)

    def old(self, state: Name, index: Sequence[str] | None = None, lag: int = 1) -> Node:
        """The same as a tree."""
        return leaf(self.before(state, index, lag))

    def update(self, state: Name, node: Node) -> None:
        """The equation of a state."""
        self.w.equation(state, self.hand.write(node))


def initial(w: Writer, axes: Sequence[str], algebra: Algebra, domain: str) -> str:
    """The text of an initial value, empty for zero."""
    if not algebra.is_ring and w.by.chance(0.4):
        return "inf" if algebra.plus == "min" else "-inf"
    if w.by.chance(0.6):
        return ""
    if ">=" in domain or w.by.chance(0.5):
        return w.by.pick(("1", "0.5", "2", "0.1"))
    own = w.argument("real", w.by.some(axes, 0.7), varies=False)
    return own.text if w.by.chance(0.6) else mul(number(w.by.number()), own).text


# Drives ----------------------------------------------------------------------------------------------


def drive(s: Stage, axes: Axes, complex_: bool = False) -> Node:
    """What is added at each step: a product of values over some of the axes, or two of them."""
    w, own = s.w, s.w.ordered(axes)
    unsized = w.unsized()
    factors: list[Phrase] = []
    for axis in own:
        if w.root(axis) in unsized or (len(own) > 1 and w.by.chance(0.7)):
            factors.append(exactly(w, [axis]))
    if complex_ and w.by.chance(0.5):
        factors.append(complex_number(w, axes, s.depth))
    if not factors or w.by.chance(0.5):
        factors.append(real(w, axes, s.depth))
    if not s.algebra.is_ring:
        return times(*(leaf(f) for f in factors))
    if w.by.chance(0.2):
        factors.insert(0, gate(w, axes, s.depth))
    found = times(*(leaf(f) for f in factors))
    if w.by.chance(0.1):
        return plus(found, leaf(real(w, axes, s.depth)))
    return found


def driven(s: Stage, state: Name, kept: Node, complex_: bool = False) -> None:
    """The update: what is kept, and a drive."""
    s.update(state, plus(kept, drive(s, frozenset(state.axes), complex_)))


def state_axes(w: Writer, least: int = 0, most: int = 2) -> list[str]:
    """The axes of a state."""
    count = w.by.pick([k for k in (1, 2, 0, 3) if least <= k <= most])
    found: list[str] = []
    for _ in range(count):
        axis = w.axis(found)
        if axis not in found:
            found.append(axis)
    return w.ordered(found)


def coefficient(s: Stage, axes: Axes) -> Node:
    """A number in [0, 1], or in [-1, 1] sometimes."""
    w = s.w
    kind = w.by.weighted(((4, "gate"), (2, "constant"), (3, "decay"), (2, "deep"), (1, "signed")))
    if kind == "constant":
        return leaf(w.argument("gate", w.by.some(w.ordered(axes)), varies=False))
    if kind == "signed":
        return leaf(signed(w, axes, s.depth))
    if kind == "decay":
        return leaf(decay(w, axes))
    return leaf(gate(w, axes, s.depth if kind == "deep" else 0))


__all__ = ["Stage", "coefficient", "drive", "driven", "initial", "state_axes"]
