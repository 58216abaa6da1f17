"""The reference against formulas that anyone can check."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from tests.reference.programs import close, outputs, result

PREFIX = """
recurrence prefix(d)
    input x[d]
    state s[d]
    s[t] = s[t-1] + x[t]
    output y[t] = s[t]
"""

GEOMETRIC = """
recurrence geometric
    param a
    state h = 1
    h[t] = a * h[t-1]
    output y[t] = h[t]
"""

FIBONACCI = """
recurrence fibonacci
    input x
    state f
    f[t] = f[t-1] + f[t-2] + x[t]
    output y[t] = f[t]
"""

DIRECT_FORM = {
    1: """
recurrence filter
    input x
    param b0, b1, a1
    state y
    y[t] = b0 * x[t] + b1 * x[t-1] - a1 * y[t-1]
    output out[t] = y[t]
""",
    2: """
recurrence filter
    input x
    param b0, b1, b2, a1, a2
    state y
    y[t] = b0 * x[t] + b1 * x[t-1] + b2 * x[t-2] - a1 * y[t-1] - a2 * y[t-2]
    output out[t] = y[t]
""",
    4: """
recurrence filter
    input x
    param b0, b1, b2, b3, b4, a1, a2, a3, a4
    state y
    forced[t] = b0 * x[t] + b1 * x[t-1] + b2 * x[t-2] + b3 * x[t-3] + b4 * x[t-4]
    y[t] = forced[t] - a1 * y[t-1] - a2 * y[t-2] - a3 * y[t-3] - a4 * y[t-4]
    output out[t] = y[t]
""",
}

STATE_SPACE = """
recurrence state_space(n, m = n, i, o)
    input u[i]
    param A[n, m], B[n, i], C[o, n], D[o, i]
    state x[n]
    x[t] = sum[m](A * x[t-1, m]) + sum[i](B * u[t])
    output y[t, o] = sum[n](C * x[t-1]) + sum[i](D * u[t])
"""

COMPLEX_UNIT = """
recurrence lru(n, d)
    input u[d]
    param nu[n], theta[n], B[n, d] complex, C[d, n] complex
    state h[n] complex
    lam = exp(-exp(nu)) * cis(theta)
    h[t] = lam * h[t-1] + sum[d](B * u[t])
    output y[t] = re(sum[n](C * h[t]))
"""


def test_prefix_sums() -> None:
    x = np.random.default_rng(0).standard_normal((2, 50, 3))
    close(outputs(PREFIX, {"x": x})["y"], np.cumsum(x, axis=1))


def test_a_geometric_series_without_inputs() -> None:
    run = result(GEOMETRIC, {"a": np.float64(0.9)}, length=40)
    close(run.outputs["y"], 0.9 ** np.arange(1, 41)[None])
    close(run.final["h"], [0.9**40])


def test_fibonacci_by_the_second_order_rule() -> None:
    x = np.zeros((1, 90))
    x[0, 0] = 1
    run = result(FIBONACCI, {"x": x}, dtype=np.longdouble)
    numbers = [1, 1]
    while len(numbers) < 90:
        numbers.append(numbers[-1] + numbers[-2])
    assert [int(v) for v in run.outputs["y"][0]] == numbers  # exact: 90 terms fit into 64 bits
    assert {name: int(v[0]) for name, v in run.final.items()} == {"f": numbers[-1], "f_lag2": numbers[-2]}


@pytest.mark.parametrize("order", [1, 2, 4])
def test_filters_of_order(order: int) -> None:
    b, a = scipy.signal.butter(order, 0.3)
    x = np.random.default_rng(order).standard_normal((3, 200))
    coefficients = {f"b{k}": b[k] for k in range(order + 1)} | {f"a{k}": a[k] for k in range(1, order + 1)}
    close(outputs(DIRECT_FORM[order], {"x": x, **coefficients})["out"], scipy.signal.lfilter(b, a, x, axis=1))


def test_a_state_space_model_against_dlsim() -> None:
    rng = np.random.default_rng(1)
    a, b, c, d = (rng.standard_normal(s) for s in ((4, 4), (4, 2), (3, 4), (3, 2)))
    a *= 0.9 / np.abs(np.linalg.eigvals(a)).max()
    u = rng.standard_normal((1, 100, 2))
    _, expected, _ = scipy.signal.dlsim((a, b, c, d, 1.0), u[0])
    close(outputs(STATE_SPACE, {"u": u, "A": a, "B": b, "C": c, "D": d})["y"], expected[None])


def test_a_complex_diagonal_recurrence_is_a_convolution_with_powers() -> None:
    rng = np.random.default_rng(2)
    n, d, steps = 5, 3, 64
    nu, theta = rng.standard_normal(n), rng.uniform(0, np.pi, n)
    b, c = (rng.standard_normal(s) + 1j * rng.standard_normal(s) for s in ((n, d), (d, n)))
    u = rng.standard_normal((2, steps, d))
    powers = (np.exp(-np.exp(nu)) * np.exp(1j * theta)) ** np.arange(steps)[:, None]
    expected = np.zeros((2, steps, d))
    for t in range(steps):
        for s in range(t + 1):
            expected[:, t] += np.real((c * powers[t - s]) @ (b @ u[:, s].T)).T
    arguments = {"u": u, "nu": nu, "theta": theta, "B": b, "C": c}
    close(outputs(COMPLEX_UNIT, arguments)["y"], expected)
    wide = outputs(COMPLEX_UNIT, arguments, dtype=np.longdouble)["y"]
    assert wide.dtype == np.longdouble
    close(wide, expected)


def test_time_as_a_number() -> None:
    text = "recurrence clock\n input x\n state s\n s[t] = s[t-1] + t * x[t]\n output y[t] = s[t] / (t + 1)\n"
    x = np.random.default_rng(3).standard_normal((2, 30))
    t = np.arange(30)
    close(outputs(text, {"x": x})["y"], np.cumsum(t * x, axis=1) / (t + 1))
    first = result(text, {"x": x[:, :11]})
    assert first.clock == 11
    second = result(text, {"x": x[:, 11:]}, initial=first.final, clock=first.clock)
    close(np.concatenate([first.outputs["y"], second.outputs["y"]], axis=1), outputs(text, {"x": x})["y"])


def test_the_error_of_long_double_is_smaller() -> None:
    from fractions import Fraction

    a, total, terms = Fraction(0.9), Fraction(0), []
    for _ in range(60):
        total = a * total + 1
        terms.append(total)
    text = "recurrence g\n input x\n param a\n state h\n h[t] = a * h[t-1] + x[t]\n output y[t] = h[t]\n"
    for dtype, bound in ((np.float64, 2e-15), (np.longdouble, 1e-18)):
        y = outputs(text, {"x": np.ones((1, 60)), "a": np.float64(0.9)}, dtype=dtype)["y"][0]
        exact = np.array([np.longdouble(str(v.numerator)) / np.longdouble(str(v.denominator)) for v in terms])
        assert np.abs(y / exact - 1).max() < bound
