"""Every system against its oracle, in every form and on every backend that runs on a CPU."""

from __future__ import annotations

import pytest

import recc.zoo
from recc.errors import Refusal

from .core import CORE
from .measure import BY_DIFFERENCES, forms_of, measure, truth, ways
from .row import Row
from .rows import COUNT, ROWS, WORKING


def test_every_system_has_a_row() -> None:
    assert {row.id for row in ROWS} == {f"A{number:02d}" for number in range(1, COUNT + 1)}


def test_every_program_is_in_a_row() -> None:
    assert {row.program for row in WORKING} == set(recc.zoo.names())


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_row_says_what_it_has_or_lacks(row: Row) -> None:
    assert bool(row.program) != bool(row.lacks and not row.expected), "a program with an oracle, or what is lacking"
    assert bool(row.program) == bool(row.expected) == bool(row.oracle)
    assert row.gradients or "gradient" in row.notes, "the reason why gradients are not compared"
    assert row.bound <= 1e-10 or row.notes, "the reason for a wider bound"


@pytest.mark.parametrize("row", WORKING, ids=str)
def test_agrees_with_its_oracle(row: Row) -> None:
    expected = truth(row)
    # Differences of the oracle are less exact than its own gradients.
    bound = 2 * row.bound if expected.gradients is not None else max(BY_DIFFERENCES, row.bound)
    for backend, form in ways(row):
        found = measure(row, backend, form, expected)
        assert found.outputs <= row.bound, (backend, form, found)
        assert found.final is None or found.final <= row.bound, (backend, form, found)
        assert found.gradients is None or found.gradients <= bound, (backend, form, found)


@pytest.mark.parametrize("row", WORKING, ids=str)
def test_forms_that_do_not_apply_say_why(row: Row) -> None:
    for form in forms_of(row).values():
        assert not isinstance(form, Refusal) or form.reason


def test_the_costly_tests_see_every_form() -> None:
    assert set(CORE) <= set(recc.zoo.names())
