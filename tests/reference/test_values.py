"""Scalar functions, reductions and matrix functions, in float64 and in long double."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.linalg

from tests.reference.programs import close, outputs

REAL = {
    "exp": mpmath.exp, "log": mpmath.log, "log1p": mpmath.log1p, "expm1": mpmath.expm1, "sqrt": mpmath.sqrt,
    "rsqrt": lambda x: 1 / mpmath.sqrt(x), "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "log_sigmoid": lambda x: -mpmath.log1p(mpmath.exp(-x)), "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "silu": lambda x: x / (1 + mpmath.exp(-x)), "gelu": lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2,
    "relu": lambda x: max(x, mpmath.mpf(0)), "tanh": mpmath.tanh, "sin": mpmath.sin, "cos": mpmath.cos,
    "abs": abs, "sign": mpmath.sign, "floor": mpmath.floor, "erf": mpmath.erf,
}  # fmt: skip
POSITIVE = {"log", "log1p", "sqrt", "rsqrt"}


def _apply(expression: str, x: np.ndarray, dtype: Any = np.float64, **others: Any) -> np.ndarray:
    names = ", ".join(["x", *others])
    text = f"recurrence f\n input {names}\n output y[t] = {expression}\n"
    return outputs(text, {"x": x[None], **{k: np.asarray(v)[None] for k, v in others.items()}}, dtype=dtype)["y"][0]


@pytest.mark.parametrize("name", sorted(REAL))
@pytest.mark.parametrize("dtype", [np.float64, np.longdouble])
def test_functions_of_one_argument(name: str, dtype: Any) -> None:
    x = np.concatenate([np.linspace(-8, 8, 41), [1e-9, -1e-9, 0.3, 12.5]])
    x = np.abs(x) + 1e-3 if name in POSITIVE else x
    with mpmath.workdps(40):
        exact = [REAL[name](mpmath.mpf(float(v))) for v in x]
        expected = np.array([np.longdouble(mpmath.nstr(e, 30)) for e in exact])
    actual = _apply(f"{name}(x[t])", x, dtype)
    assert actual.dtype == dtype
    bound = 16 * np.finfo(dtype).eps * (8 if name in ("erf", "gelu") else 1)
    scale = np.abs(expected) + (1e-19 if name in ("sin", "cos") else 0)
    assert (np.abs(actual - expected) <= bound * scale).all()


def test_functions_far_out() -> None:
    x = np.array([-np.inf, -1000.0, 0.0, 1000.0, np.inf])
    close(_apply("sigmoid(x[t])", x), [0, 0, 0.5, 1, 1])
    close(_apply("softplus(x[t])", x), [0, 0, np.log(2), 1000, np.inf])
    close(_apply("log_sigmoid(x[t])", x), [-np.inf, -1000, -np.log(2), 0, 0])
    close(_apply("tanh(x[t])", x), [-1, -1, 0, 1, 1])
    close(_apply("erf(x[t])", x, np.longdouble), [-1, -1, 0, 1, 1])
    assert np.isnan(_apply("sigmoid(x[t]) + erf(x[t])", np.array([np.nan]), np.longdouble)).all()


def test_functions_of_more_arguments() -> None:
    x, z = np.array([-2.0, 0.5, 3.0]), np.array([1.0, 0.5, -1.0])
    close(_apply("min(x[t], z[t])", x, z=z), np.minimum(x, z))
    close(_apply("max(x[t], z[t])", x, z=z), np.maximum(x, z))
    close(_apply("clamp(x[t], -1, 1)", x), [-1, 0.5, 1])
    close(_apply("logaddexp(x[t], z[t])", x, z=z), np.logaddexp(x, z))
    close(_apply("abs(x[t]) ** z[t]", x, z=z), np.abs(x) ** z)
    close(_apply("where(x[t] > z[t] or x[t] == z[t] and not (x[t] != 0.5), 1, 0)", x, z=z), [0, 1, 1])
    close(_apply("(x[t] <= z[t]) + (x[t] >= z[t]) + (x[t] < z[t])", x, z=z), [2, 2, 1])


def test_where_does_not_leak_from_the_other_branch() -> None:
    x = np.array([-1.0, 0.0, 4.0])
    close(_apply("where(x[t] > 0, log(x[t]), -1)", x), [-1, -1, np.log(4)])
    close(_apply("where(x[t] == 0, 0, 1 / x[t])", x), [-1, 0, 0.25])


def test_the_values_of_stop_and_surrogate() -> None:
    x = np.array([-1.0, 0.0, 4.0])
    close(_apply("stop(x[t]) * x[t]", x), x * x)
    close(_apply("surrogate(where(x[t] > 0, 1, 0), sigmoid(x[t]))", x), [0, 0, 1])


def test_integers_and_bools_are_promoted() -> None:
    text = """
recurrence promotion(a)
    input i int(a), b bool
    output sums[t] = i[t] + b[t]
    output quotient[t] = i[t] / 2
    output count[t] = sum[a](b[t] + 0 * M)
    const M[a]
"""
    i, b = np.array([[3, 0, 5]]), np.array([[True, False, True]])
    out = outputs(text, {"i": i, "b": b, "M": np.ones(6)})
    assert out["sums"].tolist() == [[4, 0, 6]]
    close(out["quotient"], [[1.5, 0, 2.5]])
    close(out["count"], [[6, 0, 6]])


def test_complex_functions() -> None:
    text = """
recurrence c
    input z complex, x
    output e[t] = exp(z[t]) + log(z[t]) * sqrt(z[t]) - sin(z[t]) / cos(z[t])
    output parts[t] = re(z[t]) + 10 * im(z[t]) + 100 * abs(z[t])
    output turn[t] = conj(z[t]) * cis(x[t]) + z[t] ** 2
"""
    rng = np.random.default_rng(0)
    z, x = rng.standard_normal((2, 5)) + 1j * rng.standard_normal((2, 5)), rng.standard_normal((2, 5))
    for dtype in (np.float64, np.longdouble):
        out = outputs(text, {"z": z, "x": x}, dtype=dtype)
        assert out["turn"].dtype == np.result_type(dtype, np.complex64)
        close(out["e"], np.exp(z) + np.log(z) * np.sqrt(z) - np.tan(z))
        close(out["parts"], z.real + 10 * z.imag + 100 * abs(z))
        close(out["turn"], z.conj() * np.exp(1j * x) + z**2)


REDUCTIONS = """
recurrence reductions(n, m)
    input x[n, m]
    output r0[t] = sum[n](x[t])
    output r1[t] = mean[n, m](x[t])
    output r2[t] = prod[m](x[t])
    output r3[t] = max[n](x[t])
    output r4[t] = min[n, m](x[t])
    output r5[t] = logsumexp[m](x[t])
    output r6[t] = norm[n, m](x[t])
    output r7[t] = softmax[m](x[t])
    output r8[t] = softmax[n, m](x[t])
"""


def test_reductions() -> None:
    x = np.random.default_rng(1).standard_normal((2, 5, 3, 4))
    out = outputs(REDUCTIONS, {"x": x})
    both = x.reshape(2, 5, 12)
    expected = [
        x.sum(2), both.mean(2), x.prod(3), x.max(2), both.min(2), np.log(np.exp(x).sum(3)),
        np.linalg.norm(both, axis=2), np.exp(x) / np.exp(x).sum(3, keepdims=True),
        np.exp(x) / np.exp(x).sum((2, 3), keepdims=True),
    ]  # fmt: skip
    for k, value in enumerate(expected):
        close(out[f"r{k}"], value)


def test_reductions_over_nothing_give_the_identity() -> None:
    out = outputs(REDUCTIONS, {"x": np.zeros((1, 1, 3, 0))})
    assert np.isnan(out["r1"]).all()
    assert (out["r2"] == 1).all()
    assert np.isposinf(out["r4"]).all()
    assert np.isneginf(out["r5"]).all()
    assert (out["r6"] == 0).all()
    assert out["r7"].shape == (1, 1, 3, 0)
    assert np.isneginf(outputs(REDUCTIONS, {"x": np.zeros((1, 1, 0, 2))})["r3"]).all()


def test_semirings_meet_minus_infinity_without_nan() -> None:
    x = np.full((1, 1, 2, 3), -np.inf)
    x[0, 0, 1, 1] = 2
    out = outputs(REDUCTIONS, {"x": x})
    close(out["r5"], [[[-np.inf, 2]]])
    close(out["r3"], [[[-np.inf, 2, -np.inf]]])
    close(_apply("logaddexp(x[t], x[t]) + max(x[t], x[t])", np.array([-np.inf])), [-np.inf])
    assert np.isposinf(outputs(REDUCTIONS, {"x": np.full((1, 1, 1, 2), np.inf)})["r5"]).all()


def test_the_norm_neither_overflows_nor_underflows() -> None:
    for size in (1e-200, 1e200):
        close(outputs(REDUCTIONS, {"x": np.full((1, 1, 2, 2), size)})["r6"] / size, [[2.0]])


MATRICES = """
recurrence matrices(b, n, m = n)
    input A[b, n, m], v[n]
    output i[t] = inv[n, m](A[t])
    output e[t] = expm[n, m](A[t])
    output x[t] = solve[n, m](A[t], v[t])
"""


@pytest.mark.parametrize("dtype", [np.float64, np.longdouble])
def test_functions_of_matrices(dtype: Any) -> None:
    rng = np.random.default_rng(2)
    a, v = rng.standard_normal((2, 3, 4, 5, 5)), rng.standard_normal((2, 3, 5))
    a[0, 0, 0] *= 20
    a[0, 1, 0] = np.eye(5)[[1, 0, 3, 4, 2]]  # zeros on the diagonal: needs pivoting
    out = outputs(MATRICES, {"A": a, "v": v}, dtype=dtype)
    np.testing.assert_allclose(out["i"].astype(float), np.linalg.inv(a), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(out["e"].astype(float), scipy.linalg.expm(a), rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(out["x"].astype(float), np.linalg.solve(a, v[:, :, None, :, None])[..., 0], rtol=1e-8)
    residue = np.einsum("...nm,...m->...n", a.astype(dtype), out["x"]) - v[:, :, None]
    assert np.abs(residue).max() < 4e4 * np.finfo(dtype).eps


def test_the_exponential_of_a_rotation_in_long_double() -> None:
    angle = np.array([[[0.0, -2.5], [2.5, 0.0]]])
    text = "recurrence turn(n, m = n)\n input A[n, m]\n output e[t] = expm[n, m](A[t])\n"
    e = outputs(text, {"A": angle[None]}, dtype=np.longdouble)["e"][0, 0]
    c, s = np.cos(np.longdouble(2.5)), np.sin(np.longdouble(2.5))
    assert np.abs(e - np.array([[c, -s], [s, c]])).max() < 1e-18


def test_complex_matrices() -> None:
    text = """
recurrence resolvent(n, m = n)
    input w
    param A[n, m] complex, I[n, m], B[n] complex
    output y[t] = solve[n, m](cis(w[t]) * I - A, B)
"""
    rng = np.random.default_rng(3)
    a, b = (rng.standard_normal(s) + 1j * rng.standard_normal(s) for s in ((4, 4), (4,)))
    w = rng.standard_normal((1, 6))
    out = outputs(text, {"w": w, "A": a, "I": np.eye(4), "B": b})["y"]
    for t in range(6):
        close(out[0, t], np.linalg.solve(np.exp(1j * w[0, t]) * np.eye(4) - a, b))
