"""Every decay of every program: outputs, final states and all gradients within the table of promises.

Logarithms from -1e-7 to -104 and of minus infinity, decays of exactly zero, within 1e-7 of one, negative, of
alternating sign, of modulus one; resets; overwriting steps with beta 0, 1 and 2; gates saturated both ways.
"""

from __future__ import annotations

import pytest
import torch

from tests.numerics.cases import PROGRAMS, kinds
from tests.numerics.measure import by_form, check, expected, refused, within

FORMS = ("sequential", "scan", "chunked", "convolution", "matrix")
CASES = [(name, form) for name in PROGRAMS for form in FORMS]


@pytest.mark.parametrize(("name", "form"), CASES)
def test_hostile_decays(name: str, form: str) -> None:
    if refused(name, form):
        return
    steps = 33 if form == "matrix" else 65
    for kind in kinds(name):
        for dtype in (torch.float32, torch.float64):
            check(name, kind, steps, form, 16 if form == "chunked" else None, dtype)


@pytest.mark.parametrize("form", ["scan", "chunked"])
@pytest.mark.parametrize("name", ["key decay", "delta, key decay", "scalar factor", "value factor", "turn"])
def test_without_an_initial_state(name: str, form: str) -> None:
    for kind in kinds(name):
        arrays, wanted, weights = expected(name, kind, 65, given=False)
        wanted = {n: v for n, v in wanted.items() if n != "d initial"}
        found = by_form(name, arrays, weights, form, 16 if form == "chunked" else None, torch.float32, given=False)
        within(found, wanted, torch.float32, (name, kind, form))
