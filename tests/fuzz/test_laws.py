"""Every law catches the faults that it is there for, and none finds fault with what is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from recc.fuzz.drawing.case import Case, cast
from recc.fuzz.drawing.draw import Shapes, draw_arguments, draw_initial
from recc.fuzz.laws.checks import LAWS, Checked, check_case
from recc.fuzz.ways.program import Program, Request, Results, Way
from tests.fuzz.planted import (
    Change,
    Faulty,
    a_nan,
    last_bit,
    missing,
    of_gradient,
    of_value,
    one_element,
    raising,
    scaled,
    shifted,
    swapped_rows,
    unchanged,
    with_fault,
)

GATED = """
recurrence gated(i, j)
    input  q[i], k[i], v[j], g <= 0
    param  w[j]
    state  S[i, j]
    S[t] = exp(g[t]) * S[t-1] + k[t] * v[t]
    output o[t] = w * sum[i](q[t] * S[t])
"""
PATH = """
recurrence path(n, p = n)
    input  x[n]
    param  A[n, p]
    state  h[n] = -inf
    h[t] = max(x[t], max[p](A + h[t-1, p]))
    output y[t] = max[n](h[t])
"""
CELL = """
recurrence cell(d)
    input  x[d]
    state  h[d]
    h[t] = tanh(h[t-1] + x[t])
    output y[t] = h[t]
"""
C, TORCH, BLOCKS, NUMPY = Way("c"), Way("torch", "chunked", 3), Way("blocks", "scan"), Way("numpy")


@cache
def program(text: str) -> Program:
    return Program.of(text)


def case_of(text: str, number: int = 2, initial: bool = True) -> Case:
    rec = program(text).rec
    sizes = {a.name: 3 + k for k, a in enumerate(rec.axes) if a.name == a.size_of}
    shapes = Shapes(sizes, (9,), 2, (2,))
    rng = np.random.default_rng(number)
    given = draw_initial(rec, shapes, rng) if initial else {}
    arguments, states = (
        {n: cast(v, "float32", "float64") for n, v in arrays.items()}
        for arrays in (draw_arguments(rec, shapes, rng), given)
    )
    return Case(rec, 0, number, shapes, False, arguments, states, 4, (0, 3, 3, 9))


def checked(
    text: str, way: Way, change: Change, laws: Any = None, steps: Change | None = None, number: int = 2
) -> Checked:
    return check_case(with_fault(program(text), way, change, steps), case_of(text, number), laws)


def packed(request: Request) -> bool:
    return request.offsets is not None


def narrow(request: Request) -> bool:
    return request.dtype == "float32"


def cut(request: Request) -> bool:
    return request.cut is not None


def strided(request: Request) -> bool:
    return request.strided


def bare(request: Request) -> bool:
    return not request.final


def neighbours(way: Faulty, request: Request, found: Results) -> Results:
    """A thousandth of each row comes from the row before."""
    del way
    leaks = {n: v + 1e-3 * np.roll(v, 1, 0) if v.shape[0] > 1 else v for n, v in found.values.items()}
    return replace(found, values=leaks)


def beyond(way: Faulty, request: Request, found: Results) -> Results:
    """The first step of each packed sequence has a trace of what stands before it."""
    del way
    if request.offsets is None:
        return found
    out = found.values["o"].copy()
    start = request.offsets[-2]
    out[:, start] += 1e-9 * request.arguments["v"][:, start - 1, ..., :1]
    return replace(found, values={**found.values, "o": out})


def other_each_time(way: Faulty, request: Request, found: Results) -> Results:
    """A call gives other bits than the call before."""
    return of_value("o", last_bit)(way, request, found) if way.calls % 2 else found


def unset(way: Faulty, request: Request, found: Results) -> Results:
    """Some memory of the result is not set: it has what stood there."""
    del way, request
    rubbish = np.empty(1)
    rubbish = rubbish if np.isnan(rubbish).all() else np.zeros(1)
    return replace(found, values={**found.values, "o": found.values["o"] + 0 * rubbish})


def acausal(way: Faulty, request: Request, found: Results) -> Results:
    """A step has a trace of the step after it: the mask has t >= s - 1."""
    del way
    out = found.values["o"].copy()
    if request.offsets is None and request.cut is None:
        out[:, :-1] += 1e-3 * request.arguments["v"][:, 1:]
    return replace(found, values={**found.values, "o": out})


def saturated(way: Faulty, request: Request, found: Results) -> Results:
    """Large results are cut off."""
    del way
    return replace(found, values={n: np.clip(v, -2, 2) for n, v in found.values.items()})


def aliased(way: Faulty, request: Request, found: Results) -> Results:
    """A result is a view of an argument."""
    del way, request
    return replace(found, shared=tuple(found.values)[:1])


def offset(way: Faulty, request: Request, found: Results) -> Results:
    """A constant is added that is not in the program."""
    del way, request
    return replace(found, values={n: v + 1e-3 for n, v in found.values.items()})


def one_way(way: Faulty, request: Request, found: Results) -> Results:
    """The first step is treated as if it were another."""
    del way, request
    out = found.values["y"].copy()
    out[:, 0] *= 1.001
    return replace(found, values={**found.values, "y": out})


def by_place(way: Faulty, request: Request, found: Results) -> Results:
    """The last element along the last axis is special."""
    del way, request
    out = found.values["o"].copy()
    out[..., -1] *= 1.001
    return replace(found, values={**found.values, "o": out})


@dataclass(frozen=True)
class Plant:
    """A fault, and the law that has to catch it."""

    law: str
    change: Change
    way: Way = C
    text: str = GATED
    steps: Change | None = None
    backward: bool = False

    def __str__(self) -> str:
        return self.law


PLANTS = (
    Plant("values", of_value("o", one_element)),
    Plant("values", of_value("o", one_element), BLOCKS),
    Plant("values", of_value("o", a_nan), TORCH),
    Plant("values", of_value("o", swapped_rows)),
    Plant("values", of_value("o", shifted)),
    Plant("values", of_value("o", scaled(1 + 1e-8), lambda r: not narrow(r))),
    Plant("values", of_value("o", scaled(1 + 1e-5), narrow)),
    Plant("values", of_value("final S", scaled(1 + 1e-6))),
    Plant("values", missing("final S")),
    Plant("values", of_value("o", lambda v: v[:, :-1])),
    Plant("values", of_value("y", lambda v: np.where(v > 0, np.inf, v)), C, PATH),
    Plant("gradients", of_gradient("g", scaled(0.5))),
    Plant("gradients", of_gradient("w", one_element), TORCH),
    Plant("gradients", of_gradient("v", shifted), BLOCKS),
    Plant("gradients", of_gradient("initial S", scaled(0))),
    Plant("gradients", of_gradient("k", scaled(1 + 3e-5), narrow)),
    Plant("gradients", of_gradient("q", a_nan)),
    Plant("numbers", of_gradient("q", a_nan)),
    Plant("differences", of_gradient("g", scaled(0.5))),
    Plant("differences", of_gradient("initial S", scaled(0)), BLOCKS),
    Plant("differences", of_gradient("w", scaled(1 + 1e-6)), TORCH),
    Plant("pieces", of_value("o", last_bit, cut)),
    Plant("pieces", of_value("final S", scaled(1.001), cut), TORCH),
    Plant("pieces", of_gradient("v", scaled(1.001), cut), BLOCKS),
    Plant("pieces", of_gradient("w", scaled(0.5), cut)),
    Plant("packed", of_value("o", last_bit, packed)),
    Plant("packed", of_value("final S", swapped_rows, packed), TORCH),
    Plant("packed", of_gradient("w", scaled(0.999), packed)),
    Plant("packed", of_gradient("k", last_bit, packed)),
    Plant("poison", beyond),
    Plant("poison", beyond, TORCH),
    Plant("batch", neighbours),
    Plant("batch", neighbours, TORCH),
    Plant("batch", neighbours, NUMPY),
    Plant("again", other_each_time),
    Plant("again", other_each_time, TORCH),
    Plant("again", unset),
    Plant("bare", of_value("o", last_bit, bare)),
    Plant("bare", of_gradient("v", scaled(0.999), bare), TORCH),
    Plant("step", unchanged, C, GATED, of_value("o", last_bit)),
    Plant("step", unchanged, TORCH, GATED, of_value("final S", scaled(1.001))),
    Plant("own", aliased),
    Plant("own", aliased, TORCH),
    Plant("layout", of_value("o", last_bit, strided)),
    Plant("layout", of_gradient("k", shifted, strided), TORCH),
    Plant("causal", acausal),
    Plant("causal", acausal, TORCH),
    Plant("scaling", saturated),
    Plant("superposition", offset),
    Plant("superposition", offset, BLOCKS),
    Plant("shift", of_value("y", scaled(1.01)), C, PATH),
    Plant("reversal", one_way, NUMPY, CELL),
    Plant("axes", by_place, NUMPY),
    Plant("axes", by_place, C),
)  # fmt: skip


@pytest.mark.parametrize("plant", PLANTS, ids=lambda p: f"{p.law}-{p.way}-{p.change.__name__}")
def test_a_law_catches_its_faults(plant: Plant) -> None:
    found = checked(plant.text, plant.way, plant.change, [plant.law], plant.steps)
    assert found.failures, found
    assert {f.law for f in found.failures} == {plant.law}
    assert all(f.way == plant.way for f in found.failures)


def test_every_law_has_a_fault() -> None:
    assert {p.law for p in PLANTS} == {law.name for law in LAWS}


@pytest.mark.parametrize("text", [GATED, PATH, CELL], ids=["gated", "path", "cell"])
@pytest.mark.parametrize("number", [2, 5, 13])
def test_what_is_right_holds(text: str, number: int) -> None:
    case = case_of(text, number, initial=number != 5)
    found = check_case(program(text), case)
    assert not found.failures
    assert found.left_out <= {"kink"}, found.left_out
    assert {c.backend for c in found.covered} == {"numpy", "blocks", "c", "torch"}
    assert {c.direction for c in found.covered} == {"forward", "backward"}
    narrow_types = {2: set(), 5: {"float16"}, 13: {"bfloat16"}}[number]
    assert {c.dtype for c in found.covered} == {"float64", "float32", *narrow_types}


LAGGED = """
recurrence lagged
    input x, g in [0, 0.9]
    state h
    h[t] = h[t-1] - x[t] * g[t-1]
    output y[t] = h[t]
"""
CANCELLED = """
recurrence cancelled
    input x
    param a in [0, 0.5]
    state h
    h[t] = a * h[t-1] + (x[t] - x[t])
    output y[t] = a * h[t]
"""
FLAGS = """
recurrence flags
    input done bool
    output y[t] = sin(done[t])
"""


@pytest.mark.parametrize("text", [LAGGED, CANCELLED, FLAGS], ids=["lagged", "cancelled", "flags"])
def test_what_laws_have_to_leave_alone(text: str) -> None:
    """The lag of a gate is handed on with the state, but does not grow with the drive; a gradient of nothing has no
    scale; what is given no real number comes in torch's default type."""
    for number in range(6):
        found = check_case(program(text), case_of(text, number))
        assert not found.failures, found.failures


def test_laws_are_checked_where_they_apply() -> None:
    applied = {
        law.name
        for law in LAWS
        for way in program(CELL).ways
        if law.applies(program(CELL).rec, program(CELL).runner(way)) is None
    }  # type: ignore[arg-type]  # there are runners
    assert applied == {law.name for law in LAWS} - {"scaling", "superposition", "shift"}
    runner = program(PATH).runner(C)
    assert runner is not None
    reasons = {law.name: law.applies(program(PATH).rec, runner) for law in LAWS}
    assert reasons["shift"] is None
    assert "not linear" in str(reasons["scaling"])


@pytest.mark.parametrize(
    "error", [ValueError("a hole"), IndexError("out of it"), AssertionError()], ids=lambda e: type(e).__name__
)
def test_an_error_that_is_no_refusal_is_a_finding(error: Exception) -> None:
    found = checked(GATED, C, raising(error), ["packed", "values"])
    (finding,) = found.failures  # what raises once raises again
    assert (finding.law, finding.dtype) == ("values", "")
    assert finding.what.startswith(type(error).__name__)


def test_a_way_that_cannot_be_made_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> Any:
        raise KeyError("no such axis")

    monkeypatch.setattr("recc.fuzz.ways.program._make", broken)
    found = check_case(Program.of(CELL, ("c",)), case_of(CELL))
    (finding,) = found.failures
    assert (finding.law, finding.way, finding.holds) == ("runs", C, False)


def test_a_refusal_is_none() -> None:
    some = Program.of(CELL, ("torch",), ("scan", "sequential"))
    assert some.ways == (Way("torch"),)
    assert "not affine" in some.refused[Way("torch", "scan")]
    assert not check_case(some, case_of(CELL)).failures


def test_an_op_alone_is_run_as_it_is() -> None:
    import recc

    found = check_case(recc.compile(GATED), case_of(GATED))
    assert not found.failures
    assert "axes" not in {f.law for f in found.findings}
    assert {str(f.way) for f in found.findings} == {"c sequential"}


def test_elements_types_can_be_chosen() -> None:
    found = check_case(program(GATED).only([C]), case_of(GATED), ["values"], ["float32"])
    assert {f.dtype for f in found.findings} == {"float32"}
    none = check_case(program(GATED).only([NUMPY]), case_of(GATED), ["values"], ["float32"])
    assert not none.findings


@pytest.mark.parametrize("fault", [one_element, a_nan, swapped_rows, shifted, last_bit])
def test_a_fault_in_a_neighbour_is_not_mistaken(fault: Callable[[Any], Any]) -> None:
    """The faults themselves change something: a stand-in that changes nothing would prove nothing."""
    value = np.random.default_rng(0).standard_normal((2, 3, 4))
    assert not np.array_equal(fault(value.copy()), value, equal_nan=True)
