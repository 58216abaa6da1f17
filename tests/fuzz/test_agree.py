"""The measure of agreement catches planted mistakes, and derivatives by differences are right."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recc.errors import Unsupported, UsageError
from recc.fuzz import (
    compare,
    directional_gradient,
    draw_arguments,
    inner,
    no_differences,
    random_direction,
    rel_rms,
    tolerance,
)
from recc.fuzz.agree import extrapolated_derivative
from tests.fuzz.programs import GRADIENTS_OF_THEIR_OWN, SMOOTH, Case


def test_the_table_of_tolerances() -> None:
    promised = {"float64": 1e-10, "float32": 2e-6, "float16": 2e-3, "tf32": 2e-3, "bfloat16": 8e-3}
    for dtype, bound in promised.items():
        assert tolerance(dtype, 1) == tolerance(dtype, 1024) == bound
        assert tolerance(dtype, 4096) == pytest.approx(2 * bound)
        assert tolerance(dtype, 1024, gradient=True) == 2 * bound
    assert tolerance("torch.float32", 5) == tolerance("complex64", 5) == 2e-6
    with pytest.raises(UsageError):
        tolerance("int8", 5)


def test_the_measure_on_what_can_be_worked_out() -> None:
    ref = np.array([3.0, -4.0])
    assert rel_rms(ref, ref) == 0
    assert rel_rms(ref + np.array([0, 0.5]), ref) == pytest.approx(0.1)
    assert rel_rms(1j * ref, ref) == pytest.approx(math.sqrt(2))
    assert rel_rms(np.zeros((0, 3)), np.zeros((0, 3))) == 0
    assert rel_rms(ref * 1e300, ref * 1e300 * (1 + 1e-12)) == pytest.approx(1e-12, rel=1e-3)
    assert rel_rms(ref * 1e-300, ref * 1e-300 * (1 + 1e-12)) == pytest.approx(1e-12, rel=1e-3)


def test_a_reference_of_zeros() -> None:
    assert rel_rms(np.zeros(4), np.zeros(4)) == 0
    assert rel_rms(np.full(4, 1e-3), np.zeros(4)) == pytest.approx(1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("semiring", [False, True])
def test_nan_and_infinity_never_pass(bad: float, semiring: bool) -> None:
    ref = np.ones((3, 4))
    out = ref.copy()
    out[1, 2] = bad
    assert rel_rms(out, ref, semiring=semiring) == np.inf
    assert rel_rms(ref, out, semiring=semiring) == np.inf
    (seen,) = compare({"y": out}, {"y": ref}, "bfloat16", 10, semiring=semiring)
    assert not seen.holds
    if math.isnan(bad):
        assert rel_rms(out, out, semiring=semiring) == np.inf
    else:
        assert rel_rms(out, out) == np.inf
        assert rel_rms(out, out, semiring=True) == 0
        other = out.copy()
        other[1, 2] = -bad
        assert rel_rms(other, out, semiring=True) == np.inf


def _planted(ref: np.ndarray) -> dict[str, np.ndarray]:
    """Wrong answers of the kinds that kernels give."""
    wrong = {name: ref.copy() for name in ("element", "tail", "scale", "step", "head", "noise")}
    wrong["element"][1, 500, 3] += 0.5
    wrong["tail"][:, -16:] = 0
    wrong["scale"] *= 1 + 3e-6
    wrong["step"] = np.roll(ref, 1, axis=1)
    wrong["head"][..., [0, 1]] = ref[..., [1, 0]]
    wrong["noise"] += 4e-6 * np.random.default_rng(1).standard_normal(ref.shape)
    return wrong


def test_planted_mistakes_are_caught() -> None:
    ref = np.random.default_rng(0).standard_normal((2, 1024, 8))
    good = ref.astype(np.float32)
    assert compare({"y": good}, {"y": ref}, "float32", 1024)[0].holds
    for name, out in _planted(ref).items():
        assert not compare({"y": out}, {"y": ref}, "float32", 1024)[0].holds, name
    assert not compare({"y": good}, {"y": ref}, "float64", 1024)[0].holds


def test_shapes_and_names_must_be_the_same() -> None:
    with pytest.raises(UsageError, match="shape"):
        rel_rms(np.ones(3), np.ones((1, 3)))
    with pytest.raises(UsageError, match="both sides"):
        compare({"y": np.ones(3)}, {"y": np.ones(3), "z": np.ones(3)}, "float32", 3)


def test_the_extrapolated_derivative_and_its_error() -> None:
    for function, slope in ((np.exp, 1.0), (lambda x: np.sin(30 * x), 30.0), (lambda x: np.tanh(5 * x) + 1e3, 5.0)):
        found = extrapolated_derivative(lambda h, f=function: (f(h), abs(f(h))))
        assert abs(found.value - slope) <= 10 * found.error + 1e-15 * slope
        assert found.error < 1e-11 * slope
    kink = extrapolated_derivative(lambda h: (abs(h) + 2 * h, np.longdouble(1)))
    assert kink.value == pytest.approx(2)
    beside = extrapolated_derivative(lambda h: (abs(h + 0.01), np.longdouble(1)))
    assert abs(beside.value - 1) <= max(beside.error, 1e-12)


def _draw(case: Case, seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    arguments = draw_arguments(case.rec, case.shapes(), rng)
    return arguments, random_direction(case.rec, arguments, rng)


def test_a_gradient_with_a_closed_form() -> None:
    text = "recurrence p\n input x\n param a\n state h\n h[t] = a * h[t-1] + x[t]\n output y[t] = h[t]\n"
    case = Case("decay", text)
    rng = np.random.default_rng(0)
    x, a = rng.standard_normal((1, 6)), np.float64(0.7)
    cotangent = rng.standard_normal((1, 6))
    powers = np.array([[0.7 ** (t - s) if t >= s else 0 for s in range(6)] for t in range(6)])
    slopes = np.array([[(t - s) * 0.7 ** (t - s - 1) if t > s else 0 for s in range(6)] for t in range(6)])
    gradients = {"x": cotangent @ powers, "a": cotangent[0] @ slopes @ x[0]}
    direction = {"x": rng.standard_normal((1, 6)), "a": np.float64(1.3)}
    found = directional_gradient(case.rec, {"x": x, "a": a}, {"y": cotangent}, direction)
    assert found.value == pytest.approx(inner(gradients, direction), rel=1e-13)
    assert found.error < 1e-12
    wrong = {"x": gradients["x"], "a": gradients["a"] * (1 + 1e-8)}
    assert abs(inner(wrong, direction) - found.value) > 1e3 * found.error


def test_final_and_initial_states_take_part() -> None:
    case = Case("g", "recurrence g\n param a\n state h = a\n h[t] = a * h[t-1]\n output y[t] = 0 * h[t]\n")
    found = directional_gradient(
        case.rec, {"a": np.float64(0.5)}, {}, {"a": 1.0}, final_cotangents={"h": np.ones(1)}, length=3
    )
    assert found.value == pytest.approx(4 * 0.5**3, rel=1e-13)  # h = a ** 4
    given = {"initial": {"h": np.array([2.0])}, "initial_direction": {"h": np.array([1.0])}}
    found = directional_gradient(
        case.rec, {"a": np.float64(0.5)}, {}, {"a": 1.0}, final_cotangents={"h": np.ones(1)}, length=3, **given
    )
    assert found.value == pytest.approx(2 * 3 * 0.25 + 0.125, rel=1e-13)


def test_arguments_without_a_gradient_stay_where_they_are() -> None:
    case = next(c for c in SMOOTH if c.name == "matrices")
    arguments, direction = _draw(case, 3)
    assert set(direction) == {"x", "w", "A"}
    cotangents = {"y": np.ones((2, 7, 3))}
    found = directional_gradient(case.rec, arguments, cotangents, direction)
    more = directional_gradient(case.rec, arguments, cotangents, {**direction, "I": np.ones((3, 3))})
    assert found.value == more.value


@pytest.mark.parametrize("case", GRADIENTS_OF_THEIR_OWN, ids=str)
def test_programs_whose_gradient_is_their_own_are_refused(case: Case) -> None:
    refusal = no_differences(case.rec)
    assert refusal is not None
    assert refusal.span is not None
    assert case.rec.source.slice(refusal.span).startswith(("stop", "surrogate"))
    with pytest.raises(Unsupported, match="not the derivative"):
        directional_gradient(case.rec, {}, {}, {})
    assert all(no_differences(c.rec) is None for c in SMOOTH)
