"""Counter-examples get small: programs, sizes and values, and whatever is asked on the way is well formed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pytest

import recc
from recc import zoo
from recc.backends.c_cpu import scalar
from recc.backends.numpy_reference import run
from recc.backends.numpy_reference.result import Result
from recc.check import load
from recc.diagnostics import Source
from recc.fuzz import Budget, CounterExample, draw_case, shrink
from recc.fuzz.drawing.case import Case
from recc.fuzz.shrinking.reduce import PASSES, reductions
from recc.fuzz.shrinking.rewrite import text_of, weight
from recc.fuzz.shrinking.shrink import size_of, written
from recc.parse import parse
from recc.runtime.domains import check_domain
from tests.zoo.core import CORE

MANY = Budget(300, 5000)


def reference(case: Case) -> Result:
    """A run of a case: it raises where arrays do not fit the program."""
    for symbol in case.rec.arguments:
        check_domain(case.rec, symbol, case.arguments[symbol.name], case.sizes)
    length = dict(zip(case.rec.scan, case.shapes.steps, strict=True))
    one = case.shapes.steps[0] if len(length) == 1 else length
    return run(case.rec, case.arguments, sizes=case.sizes, initial=case.initial, length=one)


def first(name: str, fails: Callable[[Case], bool]) -> Case:
    """A case of a program in the zoo for which something holds."""
    (rec,) = load(zoo.text(name))
    return next(c for n in range(100) if fails(c := draw_case(rec, 0, n, (3, 7, 9, 16, 33))))


def speaks(case: Case, word: str) -> bool:
    return word in case.rec.source.text


def third_step(case: Case) -> bool:
    """Something with an exponential is not zero at the third step."""
    found = reference(case).outputs
    return speaks(case, "exp(") and case.shapes.steps[0] > 2 and any(np.any(v[:, 2:]) for v in found.values())


def two_axes(case: Case) -> bool:
    """An inverse-like quotient over an axis of two elements or more, with a state given."""
    reference(case)
    return speaks(case, "/") and case.sizes.get("n", 0) > 1 and bool(case.initial)


def plane(case: Case) -> bool:
    reference(case)
    return len(case.rec.scan) == 2 and min(case.shapes.steps) > 1 and speaks(case, "A")


#: What to look for, and how many statements it needs.
SMALL = {"gated_delta_net": (third_step, 4), "kalman": (two_axes, 5), "roesser": (plane, 4)}


@pytest.mark.parametrize("name", SMALL)
def test_what_remains_is_what_is_needed(name: str) -> None:
    fails, least = SMALL[name]
    case = first(name, fails)
    found = shrink(case, fails, MANY)
    assert found.finished and fails(found.case)
    assert found.case.rec.name == name
    statements = written(found.case).statements
    assert len(statements) <= least, found.case.rec.source.text
    assert size_of(found.case) < size_of(case)
    assert found.case.shapes.batch == 1 and found.case.shapes.heads == ()
    assert all(np.isin(v, (0, 1)).all() for v in found.case.arguments.values())


def test_the_same_every_time() -> None:
    case = first("gated_delta_net", third_step)
    one, other = (shrink(case, third_step, MANY) for _ in range(2))
    assert one.case.rec.source.text == other.case.rec.source.text
    assert one.evaluations == other.evaluations
    assert str(one.case) == str(other.case)


def test_a_budget_is_kept_and_what_it_bought_too() -> None:
    case = first("gated_delta_net", third_step)
    asked = 0

    def fails(candidate: Case) -> bool:
        nonlocal asked
        asked += 1
        return third_step(candidate)

    found = shrink(case, fails, Budget(300, 25))
    assert asked == found.evaluations == 25 and not found.finished
    assert third_step(found.case)
    assert size_of(found.case) < size_of(case)
    assert shrink(case, third_step, Budget(0)).case is case


def test_sizes_and_values_alone() -> None:
    case = first("gated_delta_net", third_step)
    found = shrink(case, third_step, MANY, programs=False)
    assert found.case.rec is case.rec
    assert found.case.shapes.steps == (3,) and found.case.shapes.batch == 1
    assert set(found.case.shapes.sizes.values()) == {1}
    assert all(np.isin(np.abs(v), (0, 1)).all() for v in found.case.arguments.values())


@pytest.mark.parametrize("name", CORE[::6])
def test_every_reduction_is_smaller_and_most_are_programs(name: str) -> None:
    program = parse(Source(zoo.text(name))).recurrences[0]
    good = 0
    for way in PASSES:
        for candidate in reductions(program, way):
            assert weight(candidate) < weight(program)
            text = text_of(candidate)
            assert text_of(parse(Source(text)).recurrences[0]) == text
            try:
                good += len(load(text))
            except recc.SourceError:
                continue
    assert good > 10


@pytest.mark.parametrize("name", ["kalman", "viterbi", "roesser", "lru", "hmm_forward", "bidirectional", "delta_net"])
def test_whatever_is_asked_can_be_run(name: str) -> None:
    """A walk through the candidates, led by a hash: the arrays fit each of the programs, and promises are kept."""

    def fails(case: Case) -> bool:
        reference(case)
        digest = hashlib.sha256(f"{case.rec.source.text}{case}".encode()).digest()
        return digest[0] < 100

    (rec,) = load(zoo.text(name))
    for number in range(4):
        found = shrink(draw_case(rec, 1, number, (3, 7)), fails, Budget(100, 150))
        assert found.evaluations > 10


FAULTS = {
    "gru": ("tanh", "recc_sin({0})", "tanh(", "values"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_planted_in_emitted_kernels(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way: found, made small, and still about the operation that is wrong."""
    fn, template, word, law = FAULTS[name]
    monkeypatch.setitem(dict_of(scalar.TEMPLATES), fn, template)
    with pytest.raises(CounterExample) as caught:
        recc.fuzz(recc.compile(zoo.text(name)), cases=10, shrink=Budget(60, 200))
    found = caught.value
    assert found.law == law and found.way == "c sequential"
    equations = [line for line in found.case.rec.source.text.splitlines() if "=" in line]
    assert len(equations) <= 3, found
    assert word in "".join(equations)
    assert f"shrunk from: {found.drawn}" in str(found)


def dict_of(table: object) -> dict[str, str]:
    assert isinstance(table, dict)
    return table
