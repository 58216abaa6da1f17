"""Every mistake that was found and mended, as the smallest program that showed it."""

from __future__ import annotations

from pathlib import Path

import pytest

from recc.forms.verify import verify
from recc.fuzz import draw_case
from recc.fuzz.laws.checks import check_case
from recc.fuzz.ways.program import Program
from tests.agree.cases import program
from tests.agree.harness import agree, by_interpreter, by_kernels, by_oracle, tensors

FOUND = sorted((Path(__file__).parent / "regressions").glob("*.recc"))


@pytest.mark.parametrize("path", FOUND, ids=lambda p: p.stem)
def test_what_went_wrong_once(path: Path) -> None:
    case = program(path.read_text())
    for loop in case.op._native.form(None).passes:
        for block in (loop.prologue, loop.step, loop.step_vjp, loop.prologue_vjp):
            verify(block)
    for seed, steps in enumerate((6, 7, 8, 0)):
        shapes = case.shapes(steps=steps, batch=2)
        arguments, initial = case.draw(shapes, seed)
        initial = initial if seed else {}
        values, expected, weights = by_oracle(case, shapes, arguments, initial)
        found, gradients = by_interpreter(case, shapes, arguments, initial, weights)
        agree(found, values, 1e-12, "the interpreted form")
        agree(gradients, expected, 1e-10, "gradients of the interpreted form")
        found, gradients = by_kernels(case, tensors(arguments), tensors(initial), weights)
        agree(found, values, 1e-10, "kernels")
        agree(gradients, expected, 1e-10, "gradients of kernels")


@pytest.mark.parametrize("path", FOUND, ids=lambda p: p.stem)
def test_every_law_of_every_way(path: Path) -> None:
    asked = Program.of(path)
    found = check_case(asked, draw_case(asked.rec, 0, 1, (1, 7)))
    assert not found.failures
