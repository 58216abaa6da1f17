"""docs/systems.md shows the rows as they are: all but the measured figures are made again and compared."""

from __future__ import annotations

import pytest

from .row import Row
from .rows import ROWS
from .table import PAGE, head, known, line, remarks


def _shown() -> list[str]:
    return [each for each in PAGE.read_text(encoding="utf-8").splitlines() if each.startswith("| A")]


def test_the_page_begins_as_it_should() -> None:
    assert PAGE.read_text(encoding="utf-8").startswith(head())
    assert len(_shown()) == len(ROWS), "python -m tests.zoo.table"


@pytest.mark.parametrize("number", range(len(ROWS)), ids=[str(row) for row in ROWS])
def test_a_row_is_shown_as_it_is(number: int) -> None:
    row: Row = ROWS[number]
    shown = _shown()[number]
    known_cells, last = known(row), remarks(row)
    assert shown.startswith(line(known_cells).rstrip().removesuffix("|")), "python -m tests.zoo.table"
    assert shown.endswith(f"| {line([last])[2:].rstrip()}"), "python -m tests.zoo.table"
    if row.program:
        assert f"| {line([row.oracle])[2:-2].rstrip()} |" in shown
