"""`docs/errors.md` is what `tests/errors/page.py` makes of the tables of mistakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.errors.page import errors_page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "errors.md"


def test_page_is_up_to_date(golden: Callable[[Path, str], None]) -> None:
    golden(PAGE, errors_page())
