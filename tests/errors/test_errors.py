"""Every mistake has a program, NAME.recc, and the text that its writer sees, NAME.err.

A file is named after the code of its mistake; a second program for a code is called CODE--what.recc.
To add one, drop in the program and run `pytest tests/errors --update-golden`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recc.check import load
from recc.errors import SourceError
from recc.mistakes import catalogue
from tests.errors.generated import GENERATED

HERE = Path(__file__).parent
PROGRAMS = sorted(HERE.glob("*.recc"))


def mistakes_of(path: Path) -> SourceError:
    with pytest.raises(SourceError) as caught:
        load(path.read_bytes().decode("utf-8"), path.name)
    return caught.value


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_message(path: Path, golden: Callable[[Path, str], None]) -> None:
    golden(path.with_suffix(".err"), str(mistakes_of(path)) + "\n")


@pytest.mark.parametrize("path", [p for p in PROGRAMS if not p.stem.startswith("many-")], ids=lambda p: p.stem)
def test_code_is_the_name_of_the_file(path: Path) -> None:
    assert {d.code for d in mistakes_of(path).diagnostics} == {path.stem.split("--")[0]}


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_every_part_is_filled_in(path: Path) -> None:
    for d in mistakes_of(path).diagnostics:
        assert d.message
        assert d.why or d.help, "a message says why, or what to do"
        assert "{" not in d.why + d.help + d.label
        assert d.span.start <= d.span.end


def test_every_mistake_has_a_program() -> None:
    shown = {p.stem.split("--")[0] for p in PROGRAMS} | set(GENERATED)
    assert set(catalogue()) - shown == set()


@pytest.mark.parametrize("code", GENERATED)
def test_mistakes_of_size(code: str) -> None:
    with pytest.raises(SourceError) as caught:
        load(GENERATED[code])
    assert [d.code for d in caught.value.diagnostics] == [code]
