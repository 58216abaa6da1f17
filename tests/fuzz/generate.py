"""Random programs as the tests of other parts take them: from left to right or back, with an input, differentiable."""

from __future__ import annotations

from recc.check import load
from recc.fuzz import no_differences
from recc.fuzz.writing.programs import numbered_program
from recc.recurrence import Kind
from tests.fuzz.programs import Case

_SIZES = {"n": 3, "d": 2, "i": 2, "j": 3, "b": 2, "q": 4}
_APART = 1000  # so many numbers belong to one seed


def random_program(seed: int) -> Case:
    """The program of a seed: the first of its numbers that has one scan axis, an input, and derivatives of its own."""
    for number in range(_APART * seed, _APART * (seed + 1)):
        text = numbered_program(0, number).text
        (rec,) = load(text)
        if len(rec.scan) == 1 and rec.of_kind(Kind.INPUT) and no_differences(rec) is None:
            return Case(f"seed{seed}", text, {a.name: _SIZES[a.name] for a in rec.axes if a.name == a.size_of})
    raise AssertionError("most programs are of this kind")


__all__ = ["random_program"]
