"""Strategies of hypothesis: random programs, ill-formed ones, and cases, all of which shrink.

    from hypothesis import given
    from recc.fuzz.writing.strategies import programs

    @given(programs())
    def test_my_pass(program):
        ...

Needs hypothesis: `pip install recc-lang[fuzz]`. The rest of `recc.fuzz` does without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from hypothesis import strategies as st

from recc.recurrence import Recurrence

from ..drawing.case import Case, draw_case
from .choose import Choices
from .mistakes import Mutant, broken
from .programs import Drawn, random_program

_SEEDS = 1 << 16


@final
class Shrinking(Choices):
    """Decisions that hypothesis makes, and makes smaller for the smallest failing example."""

    def __init__(self, draw: st.DrawFn):
        self._draw = draw

    def integer(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both among them."""
        return low if low == high else self._draw(st.integers(low, high))


@st.composite
def programs(draw: st.DrawFn) -> Drawn:
    """Well-formed programs over the whole language (`recc.fuzz.writing.programs`)."""
    return random_program(Shrinking(draw))


@st.composite
def broken_programs(draw: st.DrawFn) -> Mutant:
    """Mutations of well-formed programs; most are ill-formed (`recc.fuzz.writing.mistakes`)."""
    choices = Shrinking(draw)
    return broken(random_program(choices).text, choices)


@st.composite
def cases(draw: st.DrawFn, rec: Recurrence, steps: Sequence[int] = (0, 1, 2, 3, 7, 8, 9)) -> Case:
    """Cases of a program: sizes, arguments from its domains and their edges, a state, and cuts of time.

    They shrink to the plainest length of `steps` and to small seeds.
    """
    length = steps[draw(st.integers(0, len(steps) - 1))]
    return draw_case(rec, draw(st.integers(0, _SEEDS)), draw(st.integers(0, _SEEDS)), (length,))


__all__ = ["Shrinking", "broken_programs", "cases", "programs"]
