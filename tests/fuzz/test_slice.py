"""A fixed slice of what `recc fuzz --grammar` runs without end: every law of every way on random programs."""

from __future__ import annotations

import shutil

import pytest

from recc.fuzz import fuzz_grammar

#: Programs of each test: together they take half a minute of one core.
EACH = 6


@pytest.mark.parametrize("start", range(0, 6 * EACH, EACH))
def test_random_programs_in_every_way(start: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("cc") is not None:
        monkeypatch.setenv("RECC_CC", "cc -O1")  # how well kernels are optimised is for other tests
    report = fuzz_grammar(EACH, seed=2026, start=start)
    assert report.checks > 100 * EACH
