"""The scan form of a stage: every state at every step, by composing step maps.

Law: with the step map S ↦ A S ⊕ b of each step, the state after step t is the composition of the maps up
to t applied to the state before the first. Composition is associative whatever A is, so that it can be
grouped in any way; `recc.forms.combine` derives it from the step map itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from recc.forms.block import Value
from recc.forms.lower import Pair
from recc.forms.transition import Transition
from recc.recurrence import Expr, Read
from recc.structure import Affine

if TYPE_CHECKING:
    from recc.forms.chunk_builder import ChunkBuilder


class ScanSolver:
    """Runs a stage that is affine over the ring or a semiring."""

    contracts = False

    def __init__(self, into: ChunkBuilder, structure: Affine, size: int = 0):
        self.into = into
        self.transition = Transition(into, structure)
        self.coefficients = self.transition.coefficients()
        self._states: tuple[Value, ...] | None = None

    def trajectory(self, state: str) -> Pair:
        """The state after every step."""
        if self._states is None:
            t = self.transition
            self._states = self.into.step.scan(
                self.coefficients,
                t.drives(),
                t.first(),
                self.into.chunk,
                algebra=t.structure.algebra,
                rows=t.rows,
                cols=t.cols,
                names=t.names(),
            )
        return self.transition.state(self._states, state)

    def contract(self, read: Read, factors: Sequence[Expr], over: Sequence[str]) -> Pair:
        """Not used: a trajectory is there anyway."""
        raise AssertionError("a scan hands over trajectories")

    def final(self, state: str) -> Pair:
        """The state after the last step."""
        b, axis = self.into.step, self.into.chunk
        return Pair(*(b.last(b.spread(part, (axis,)), axis) for part in self.trajectory(state).parts))


__all__ = ["ScanSolver"]
