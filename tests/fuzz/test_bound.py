"""The bound on rounding: wide where a program is badly conditioned, narrow where it is not, and never for a fault."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from recc.check import load
from recc.fuzz.bounds.bound import CONFIDENCE, MEANINGLESS, SAMPLES, UNIT, Truth, copies, growth, reference
from recc.fuzz.drawing.case import Case
from recc.fuzz.drawing.draw import Shapes, draw_arguments
from recc.fuzz.laws.checks import check_case
from recc.fuzz.ways.program import Program, Request, Way
from tests.fuzz.planted import of_gradient, of_value, scaled, with_fault

WAY = Way("c")
SEQUENTIAL, SCAN = Way("blocks"), Way("blocks", "scan")

DIFFERENCE = """
recurrence difference
    input  x, far
    state  h
    h[t] = 0.5 * h[t-1] + ((x[t] + far[t]) - far[t])
    output y[t] = h[t]
"""
DECAY = """
recurrence decay(d)
    input  x[d]
    param  a[d] in [0, 0.9]
    state  h[d]
    h[t] = a * h[t-1] + x[t]
    output y[t] = h[t]
"""
CHAOS = """
recurrence chaos
    input x in [0, 1]
    state h = 0.3
    h[t] = 3.9 * h[t-1] * (1 - h[t-1]) + 0 * x[t]
    output y[t] = h[t]
"""
ROTATION = """
recurrence rotation(n, m = n)
    input  x[n]
    param  A[n, m]
    state  h[n]
    h[t] = sum[m](A * h[t-1, m]) + x[t]
    output y[t] = h[t]
"""
EXPONENTIAL = """
recurrence exponential(n, m = n)
    input  x[n]
    param  W[n, m]
    output y[t] = sum[m](expm[n, m](W) * x[t, m])
"""
COSTS = """
recurrence costs(n)
    input  x[n]
    state  best[n] = inf
    best[t] = min(best[t-1], x[t])
    output y[t] = sigmoid(logsumexp[n](best[t]))
"""
JUMP = """
recurrence jump
    input  x
    state  h
    h[t] = floor(h[t-1] + x[t] * 3 * (1 / 3))
    output y[t] = h[t]
"""


def case_of(text: str, steps: int = 9, batch: int = 2, **given: object) -> Case:
    (rec,) = load(text)
    shapes = Shapes({a.name: 3 for a in rec.axes}, (steps,), batch)
    drawn = draw_arguments(rec, shapes, np.random.default_rng(1))
    arguments = {n: np.asarray(given.get(n, v)) + 0 * v for n, v in drawn.items()}
    return Case(rec, 0, 2, shapes, False, arguments, {}, steps // 2, (0, 2, 2, steps))


def truth_of(case: Case, seed: int = 0) -> Truth:
    request = Request(case.arguments, case.initial, case.shapes.steps, case.shapes.sizes)
    return Truth(case.rec, request, (seed, 0))


def fails(case: Case, law: str, change: object) -> bool:
    program = with_fault(Program.of(case.rec, ("c",)), WAY, change)  # type: ignore[arg-type]  # changes are of two kinds
    return bool(check_case(program, case, [law], ["float64"]).failures)


def right(case: Case) -> bool:
    return not check_case(Program.of(case.rec), case).failures


def test_a_condition_that_can_be_worked_out() -> None:
    """A sum x + far loses far / x of its digits: the condition of the difference is that, and no more."""
    for far in (1.0, 1e3, 1e6):
        case = case_of(DIFFERENCE, steps=1, far=far)
        x = case.arguments["x"]
        spread = truth_of(case).spreads["y"]
        # Two roundings of the size of `far` are in y, that of the sum and that of `far` cancelling itself.
        expected = math.sqrt(float(np.mean((x + far) ** 2 + x**2))) / math.sqrt(float(np.mean(x**2)))
        assert 0.4 * expected < spread.fine < 4 * expected
        assert 0.2 * spread.fine < spread.coarse < 5 * spread.fine


def test_conditions_do_not_grow_where_errors_do_not() -> None:
    """A rotation keeps errors as they are: bounds that add up absolute values would grow as 1.4 ** steps."""
    turn = np.array([[1, -1, 0], [1, 1, 0], [0, 0, math.sqrt(2)]]) / math.sqrt(2)
    for steps in (4, 64):
        spread = truth_of(case_of(ROTATION, steps=steps, A=turn)).spreads["y"]
        assert spread.fine < 4 * math.sqrt(steps) + 10


def test_what_is_badly_conditioned_and_right_passes() -> None:
    case = case_of(DIFFERENCE, far=1e8)
    assert truth_of(case).bound("y", "float64", WAY) > 1e-8
    assert right(case)


@pytest.mark.parametrize("far", [1e6, 1e8, 1e10])
def test_a_fault_of_a_hundred_units_times_the_condition_fails(far: float) -> None:
    case = case_of(DIFFERENCE, far=far)
    condition = truth_of(case).spreads["y"].fine
    planted = 100 * UNIT["float64"] * condition
    assert planted > 1e-10
    assert fails(case, "values", of_value("y", scaled(1 + planted)))
    assert not fails(case, "values", of_value("y", scaled(1 + planted / 1000)))


def test_a_small_fault_of_what_is_well_conditioned_fails() -> None:
    case = case_of(DECAY)
    assert truth_of(case).bound("y", "float64", WAY) < 2e-10
    assert fails(case, "values", of_value("y", scaled(1 + 1e-8)))
    assert fails(case, "gradients", of_gradient("x", scaled(1 + 1e-8)))
    assert fails(case, "differences", of_gradient("a", scaled(1 + 1e-8)))


def test_gradients_have_conditions_of_their_own() -> None:
    case = case_of(DIFFERENCE, far=1e8)
    gradients, spreads, _ = truth_of(case).judged
    assert spreads["x"].fine < 100 < truth_of(case).spreads["y"].fine
    assert set(gradients) == {"x", "far"}
    # The gradient by `far` is zero: what is left of two terms that cancel. It has no scale of its own.
    assert np.abs(gradients["far"]).max() < 1e-15


def test_chaos_is_said_to_be_unstable_and_not_passed() -> None:
    case = case_of(CHAOS, steps=99)
    assert truth_of(case).bound("y", "float32", WAY) > MEANINGLESS
    found = check_case(Program.of(case.rec, ("c",)), case, ["values"])
    assert "unstable" in found.left_out
    assert not any(f.what.startswith("y ") and f.dtype == "float32" for f in found.findings)
    assert not found.failures


def test_a_jump_near_by_is_seen() -> None:
    """floor(1 - u) and floor(1 + u) differ by 1: what is right or wrong there is a matter of the last bit."""
    case = case_of(JUMP, steps=3, x=1.0)
    found = check_case(Program.of(case.rec, ("c", "torch")), case, ["values"])
    assert not found.failures
    assert "unstable" in found.left_out
    away = case_of(JUMP, steps=3, x=1.25)
    assert not check_case(Program.of(case.rec, ("c",)), away, ["values"]).left_out
    assert fails(away, "values", of_value("y", lambda v: v + (np.arange(3) == 1)))


def test_right_results_are_within_the_probability() -> None:
    """Of many runs in float32 of programs of all conditions, none is beyond half of what rounding may make."""
    worst = 0.0
    for far in (1.0, 1e2, 1e4):
        for seed in range(10):
            (rec,) = load(DIFFERENCE)
            shapes = Shapes({}, (7,), 1)
            rng = np.random.default_rng(seed)
            arguments = {"x": rng.standard_normal((1, 7)), "far": far * rng.standard_normal((1, 7))}
            arguments = {n: v.astype(np.float32).astype(np.float64) for n, v in arguments.items()}
            case = Case(rec, seed, 0, shapes, False, arguments, {}, 3, (0, 7))
            truth = truth_of(case, seed)
            x, away = (arguments[n].astype(np.float32) for n in ("x", "far"))
            h, out = np.zeros(1, np.float32), []
            for t in range(7):
                h = np.float32(0.5) * h + ((x[:, t] + away[:, t]) - away[:, t])
                out.append(h)
            ref = truth.values["y"]
            error = float(np.linalg.norm(np.stack(out, 1) - ref) / np.linalg.norm(ref))
            worst = max(worst, error / truth.spreads["y"].rounding("float32"))
    assert 0.05 < worst < CONFIDENCE / 2


@pytest.mark.parametrize("size", [1.0, 8.0, 32.0])
def test_squaring_is_part_of_the_condition_of_a_matrix_exponential(size: float) -> None:
    """expm(A) is squared from expm(A / 2^k): where what is on the way is larger than the end, more is lost."""
    worst = 0.0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        matrix = size * np.triu(rng.standard_normal((3, 3)), 1) - 0.5 * size * np.eye(3)
        matrix = matrix.astype(np.float32).astype(np.float64)
        case = case_of(EXPONENTIAL, steps=1, batch=1, W=matrix)
        truth = truth_of(case, seed)
        x = torch.tensor(case.arguments["x"][0, 0], dtype=torch.float32)
        found = (_squared(torch.tensor(matrix, dtype=torch.float32)) @ x).double().numpy()
        ref = truth.values["y"][0, 0]
        worst = max(worst, np.linalg.norm(found - ref) / np.linalg.norm(ref) / truth.spreads["y"].rounding("float32"))
    assert 0.02 < worst < CONFIDENCE


def _squared(a: torch.Tensor) -> torch.Tensor:
    """The exponential in float32 throughout: eight halvings more than are needed, so that squaring is what is seen."""
    halvings = 8
    term = total = torch.eye(len(a))
    for n in range(1, 12):
        term = term @ (a / 2**halvings) / n
        total = total + term
    for _ in range(halvings):
        total = total @ total
    return total


@pytest.mark.parametrize(
    ("dtype", "size"), [("float64", 1e-323), ("float32", 1e-44), ("float16", 1e-7), ("bfloat16", 1e-40)]
)
def test_numbers_that_an_element_type_hardly_has_are_not_judged(dtype: str, size: float) -> None:
    """The smallest numbers of a type have few digits: relative to them storing is coarse, to larger ones it is not."""
    truth = truth_of(case_of(DECAY, x=size, a=0.0))
    assert truth.bound("y", dtype, WAY) > 1e-2
    usual = truth_of(case_of(DECAY)).bound("y", dtype, WAY)
    larger = truth_of(case_of(DECAY, x=1e7 * size, a=0.0))
    assert larger.bound("y", dtype, WAY) < usual + 1e-6


def test_what_torch_loses_of_a_saturated_gate_is_known() -> None:
    """s (1 - s) has no digits where s is nearly 1; ours has, and is held to them."""
    gate = DECAY.replace("+ x[t]", "+ 1 - sigmoid(x[t])")
    case = case_of(gate, x=-14.0)
    found = check_case(Program.of(case.rec, ("torch", "c"), ("sequential",)), case, ["gradients"], ["float32"])
    assert not found.failures
    truth = truth_of(case)
    assert truth.bound("x", "float32", WAY, gradient=True) < 1e-4
    assert 1e-3 < truth.loosely("x", "float32", Way("torch"), gradient=True) < 1
    assert fails(case, "gradients", of_gradient("x", scaled(1.001)))


def test_the_tail_of_gelu_is_what_is_left_of_one() -> None:
    """Kernels have x (1 + erf) / 2 there, which is right within a unit of x, however small it is."""
    tail = "recurrence tail\n    input x\n    output y[t] = gelu(x[t])\n"
    for x in (-3.0, -8.0, -20.0):
        case = case_of(tail, x=x)
        assert right(case)
        truth = truth_of(case)
        lost = UNIT["float32"] * abs(x) / abs(float(truth.values["y"][0, 0]))
        assert truth.bound("y", "float32", WAY) > lost
        assert truth.bound("y", "float32", WAY) < 30 * lost + 1e-5
    assert truth_of(case_of(tail, x=2.0)).bound("y", "float32", WAY) < 1e-5


def test_a_gradient_at_infinity_need_not_be_a_number() -> None:
    """Infinite costs pass through `min`; the shares of an infinite `logsumexp` are inf / inf."""
    assert not truth_of(case_of(COSTS)).endless
    assert truth_of(case_of(COSTS, x=np.array([np.inf, 0.0, 1.0]))).endless
    plain = COSTS.replace("sigmoid(logsumexp[n](best[t]))", "min[n](best[t])")
    assert not truth_of(case_of(plain, x=np.array([np.inf, 0.0, 1.0]))).endless


def test_forms_that_group_steps_round_more() -> None:
    assert growth(SEQUENTIAL, 100) == 1
    assert growth(SCAN, 99) == 10
    assert growth(Way("torch", "convolution"), 99) > growth(SCAN, 99)


def test_sixteen_bits_are_held_to_their_table_and_to_float32_inside() -> None:
    truth = truth_of(case_of(DECAY))
    narrow = truth.bound("y", "float16", WAY)
    assert 2e-3 < narrow < 2e-3 + 1e-5
    assert truth.bound("y", "bfloat16", WAY) == pytest.approx(narrow + 6e-3, abs=1e-6)
    assert truth.bound("x", "float64", WAY, gradient=True) < 3e-10


def test_a_matrix_that_is_singular_for_a_type_is_told() -> None:
    """What is solved with a condition of 1e8 has no digits in float32; an infinity has none anywhere."""
    text = """
recurrence solved(n, m = n)
    input  x[n]
    param  A[n, m]
    output y[t] = solve[n, m](A, x[t])
"""
    for tilt, single, double in ((1.0, False, False), (1e-8, True, False), (1e-17, True, True), (0.0, True, True)):
        truth = truth_of(case_of(text, A=np.array([[1, 0, 0], [0, 1, 1], [0, 1, 1 + tilt]]), steps=3, batch=3))
        assert (truth.singular("float32"), truth.singular("float64")) == (single, double)
    endless = truth_of(case_of(text, A=np.eye(3), x=np.array([0.0, -np.inf, 0.0])))
    assert endless.singular("float64") and endless.bound("y", "float64", WAY) == math.inf


def test_numbers_that_float32_lacks_are_told() -> None:
    assert truth_of(case_of(DIFFERENCE, far=1e39)).overflows("float32")
    assert not truth_of(case_of(DIFFERENCE, far=1e39)).overflows("float64")
    assert not truth_of(case_of(DIFFERENCE, far=1e30)).overflows("float32")


def test_samples_are_copies_of_the_run() -> None:
    case = case_of(DECAY)
    truth = truth_of(case)
    request = copies(case.rec, truth.request, 3)
    wide = reference(case.rec, request, np.longdouble)
    assert wide["y"].shape == (2, 9, 3, 3)
    assert wide["final h"].shape == (2, 3, 3)
    for k in range(3):
        np.testing.assert_allclose(wide["y"][:, :, k].astype(float), truth.values["y"], rtol=1e-14)


def test_the_probability_is_what_the_page_says() -> None:
    """Student's t with one degree of freedom for each sample; roundings are at most one unit, sqrt(1/3) on average."""
    stats = pytest.importorskip("scipy.stats")
    assert 2 * stats.t.sf(CONFIDENCE * math.sqrt(3), SAMPLES) < 1e-9
