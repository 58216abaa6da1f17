"""The law that proves a classification: the terms and the drive that are found are the update itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import recc.recurrence
from recc.check import load
from recc.errors import SourceError
from recc.recurrence import Recurrence
from recc.structure import Affine, Nonlinear, structures
from tests.fuzz.generate import random_program
from tests.structure.generate import affine_program, semiring_program
from tests.structure.laws import affine, laws, program, rebuilt_agrees

ZOO = sorted((Path(recc.recurrence.__file__).parent / "zoo").glob("*.recc"))


def check(rec: Recurrence) -> list[str]:
    """The law for every affine stage of a program; the reasons of those that are not."""
    reasons = []
    for structure in structures(rec):
        if isinstance(structure, Affine):
            laws(rec, structure, seeds=1)
        elif isinstance(structure, Nonlinear):
            reasons.append(structure.reason)
    return reasons


@pytest.mark.parametrize("path", ZOO, ids=lambda p: p.stem)
def test_zoo(path: Path) -> None:
    for rec in load(path.read_text(), path.name):
        check(rec)


@pytest.mark.parametrize("first", range(0, 120, 20))
def test_random_affine_programs(first: int) -> None:
    """However wildly an affine update is written, it is seen to be affine, and taken apart rightly.

    The only exceptions are indices into shifted or gathered intermediates that no other index can express.
    """
    for seed in range(first, first + 20):
        text = affine_program(seed)
        try:
            rec = program(text)
        except SourceError as mistake:
            raise AssertionError(f"{mistake}\n{text}") from None
        for reason in check(rec):
            assert reason.startswith("recc cannot follow"), f"{reason}\n{text}"


@pytest.mark.parametrize("algebra", ["max", "min", "logaddexp"])
@pytest.mark.parametrize("first", range(0, 30, 15))
def test_random_semiring_programs(algebra: str, first: int) -> None:
    for seed in range(first, first + 15):
        text = semiring_program(seed, algebra)
        for reason in check(program(text)):
            assert reason.startswith("recc cannot follow"), f"{reason}\n{text}"


@pytest.mark.parametrize("first", range(0, 40, 20))
def test_random_programs_of_any_kind(first: int) -> None:
    for seed in range(first, first + 20):
        check(random_program(seed).rec)


def test_the_law_has_teeth() -> None:
    """A structure with one term less, or a drive less, is not the update."""
    text = """
recurrence r(i, j)
    input k[i], v[j], b
    state S[i, j]
    S[t] = S[t-1] + b[t] * k[t] * (v[t] - sum[i](k[t] * S[t-1]))
    output o[t] = S[t]
"""
    found = affine(text)
    (entry,) = found.entries
    for wrong in (
        replace(found, entries=(replace(entry, parts=entry.parts[:1]),)),
        replace(found, entries=(replace(entry, parts=entry.parts[1:]),)),
        replace(found, drives=()),
    ):
        with pytest.raises(AssertionError):
            rebuilt_agrees(program(text), wrong)


EDGES = [(a, b) for a in ("zero", "wrap", "clamp") for b in ("zero", "wrap", "clamp")]


@pytest.mark.parametrize(("outer", "inner"), EDGES, ids=lambda e: e)
@pytest.mark.parametrize("shifts", [(1, 1), (1, -1), (-2, 0), (0, 2)], ids=str)
def test_shifts_of_shifts(outer: str, inner: str, shifts: tuple[int, int]) -> None:
    """An intermediate along y is read at a shift, and reads the state along x at a shift itself."""
    first, second = (f"{s:+d}" if s else "" for s in shifts)
    rec = program(f"""
recurrence r(x {inner}, y = x {outer})
    input u[x], s
    state h[x]
    v[t, y] = s[t] * h[t-1, y{second}] + u[t, y]
    h[t] = 0.5 * h[t-1] + 0.25 * v[t, x{first}]
    output o[t] = h[t]
""")
    for reason in check(rec):
        assert reason.startswith("recc cannot follow")
        assert shifts[0] and outer != "zero" and (outer != inner or (outer == "clamp" and shifts == (1, -1)))


def test_large_programs_stay_small() -> None:
    """Coefficients that would double at every equation get names; the work is linear in the program."""
    equations = ["v0[t] = h[t-1] + b[t]", "u0[t] = c[t] * h[t-1]"]
    for k in range(1, 60):
        equations += [f"v{k}[t] = tanh(b[t] + {k}) * v{k - 1}[t] + 0.5 * u{k - 1}[t] * c[t]"]
        equations += [f"u{k}[t] = cos(b[t] * {k}) * u{k - 1}[t] + 0.5 * v{k - 1}[t] * c[t]"]
    body = "\n".join(f"    {e}" for e in equations)
    found = affine(
        f"recurrence r(d)\n    input b[d], c[d]\n    state h[d]\n{body}\n"
        "    h[t] = 0.1 * v59[t] + 0.1 * u59[t]\n    output y[t] = h[t]\n"
    )
    assert found.kind == "diagonal"
    deep = "h[t-1]"
    for k in range(1, 80):
        deep = f"(b[t] - {k} * c[t] * {deep})"
    assert affine(
        f"recurrence r(d)\n    input b[d] in [0, 1], c[d] in [0, 0.001]\n    state h[d]\n"
        f"    h[t] = {deep}\n    output y[t] = h[t]\n"
    ).kind == "diagonal"  # fmt: skip
