"""Every program of the zoo in pieces, packed with others and one step after the other, in every form on C and torch."""

from __future__ import annotations

import pytest

from recc.fuzz.drawing.case import Case
from recc.fuzz.laws.checks import check_case
from recc.fuzz.ways.program import Program

from .row import Row
from .rows import WORKING

#: The first row of each program.
PROGRAMS = tuple({row.program: row for row in reversed(WORKING)}.values())
LAWS = ("pieces", "packed", "step")


def _case(row: Row) -> Case:
    """What the oracle judges, cut in two and packed in unequal sequences, an empty one among them."""
    arguments, initial = row.arrays()
    steps = row.steps[0]
    cut = steps // 2 + 1
    return Case(row.rec, 0, 0, row.shapes, False, arguments, initial, cut, (0, 3, 3, cut, steps))


@pytest.mark.parametrize("row", PROGRAMS, ids=str)
def test_in_pieces_packed_and_stepped(row: Row) -> None:
    program = Program.of(row.rec, ("c", "torch"), chunks=(4,))
    checked = check_case(program, _case(row), LAWS, ("float64",))
    assert not checked.failures, [str(f) for f in checked.failures]
    assert not program.failed
    if len(row.rec.scan) == 1:
        assert {f.law for f in checked.findings} & set(LAWS), "nothing was compared"
