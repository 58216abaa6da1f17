"""Programs, ill-formed programs and cases as hypothesis draws them, and that they shrink to small ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import HealthCheck, find, given, settings

from recc.backends.numpy_reference import run
from recc.check import load
from recc.fuzz.drawing.case import Case
from recc.fuzz.writing.mistakes import Mutant, complaint
from recc.fuzz.writing.programs import Drawn
from recc.fuzz.writing.strategies import broken_programs, cases, programs
from recc.structure import Affine, structures

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
FUZZ = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=SLOW)
FIND = settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=SLOW, database=None)

(AVERAGE,) = load("""
recurrence average(d)
    input x[d], g[d] in [0, 1], done bool
    param w[d]
    state h[d] = w
    h[t] = where(done[t], 0, g[t] * h[t-1]) + (1 - g[t]) * x[t]
    output y[t] = h[t]
""")


@FUZZ
@given(programs())
def test_programs_are_well_formed_and_have_a_structure(drawn: Drawn) -> None:
    (rec,) = load(drawn.text)
    assert len(structures(rec)) == len(rec.stages)
    assert drawn.labels


@FUZZ
@given(broken_programs())
def test_broken_programs_are_answered(mutant: Mutant) -> None:
    assert complaint(mutant.text) is None


@FUZZ
@given(cases(AVERAGE))
def test_cases_run(case: Case) -> None:
    result = run(case.rec, case.arguments, initial=case.initial, sizes=case.sizes)
    assert result.outputs["y"].shape[1] == case.shapes.steps[0]
    assert np.isfinite(result.outputs["y"]).all()


def _has(kind: str) -> Callable[[Drawn], bool]:
    def holds(drawn: Drawn) -> bool:
        return any(isinstance(s, Affine) and s.kind == kind for s in structures(load(drawn.text)[0]))

    return holds


def test_programs_shrink() -> None:
    found = find(programs(), _has("identity"), settings=FIND)
    assert len(found.text.splitlines()) <= 8, found.text
    assert "wild" not in found.labels


def test_broken_programs_shrink() -> None:
    found = find(broken_programs(), lambda mutant: "unknown name" in mutant.kinds, settings=FIND)
    assert found.kinds == ("unknown name",)
    assert len(found.text.splitlines()) <= 12, found.text
