"""Every mutated text is answered: with recurrences, or with a message whose places are inside the text."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from recc.check import load
from recc.errors import SourceError
from recc.fuzz.writing import mistakes
from recc.fuzz.writing.choose import Numbered
from recc.fuzz.writing.mistakes import MUTATIONS, broken, complaint
from recc.fuzz.writing.programs import numbered_program

TEXTS = [numbered_program(5, number).text for number in range(40)]


def _codes(text: str) -> list[str]:
    try:
        load(text)
    except SourceError as error:
        return [d.code for d in error.diagnostics]
    return []


def test_mutated_texts_are_answered() -> None:
    seen: Counter[str] = Counter()
    for number in range(900):
        mutant = broken(TEXTS[number % len(TEXTS)], Numbered(1, number))
        assert complaint(mutant.text) is None, (mutant.kinds, mutant.text, complaint(mutant.text))
        seen.update(set(_codes(mutant.text)) or {"well-formed"})
    assert len(seen) > 70, "many kinds of mistakes are reached"
    assert seen["well-formed"] < 400, "most mutants are ill-formed"


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.__name__.strip("_"))
def test_every_mutation_changes_texts_and_is_answered(mutation: mistakes.Mutation) -> None:
    changed = 0
    for number, text in enumerate(TEXTS[:15]):
        found = mutation(text, Numbered(2, number))
        changed += found != text
        assert complaint(found) is None, found
    assert changed >= 5


def test_a_mutant_does_not_depend_on_the_machine() -> None:
    text = "recurrence f\n    input x\n    output y[t] = x[t]\n"
    found = [broken(text, Numbered(0, number)) for number in (3, 4)]
    assert [(m.text, m.kinds) for m in found] == ONCE


#: What these two cases gave when this was written.
ONCE: list[tuple[str, tuple[str, ...]]] = [
    ("recurrence f\n    input x\r    output y[t] = x[t]\n", ("newline", "other axes")),
    ("recurrence f\n    input x\n    output y[t] = x[t\n", ("lost time",)),
]


def test_wrong_answers_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "recurrence f\n    input x\n    output y[t] = z[t]\n"
    assert complaint(text) is None

    def crash(text: str) -> None:
        raise RecursionError("too deep")

    def outside(text: str) -> object:
        return load(text + "\n    a a a a a\n")

    def slow(text: str) -> object:
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass
        return load(text)

    monkeypatch.setattr(mistakes, "load", crash)
    assert complaint(text) == "RecursionError: too deep"
    monkeypatch.setattr(mistakes, "load", outside)
    assert "in a text of" in str(complaint(text))
    monkeypatch.setattr(mistakes, "load", slow)
    assert "it took" in str(complaint(text, seconds=0.01))
