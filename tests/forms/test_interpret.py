"""The interpreter against NumPy and SciPy spelled out by hand, not against torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.special

from recc.forms.block import MAP_ARITY, Value
from recc.forms.builder import Builder
from recc.forms.interpret import SCALAR, interpret
from recc.forms.vjp import vjp
from tests.forms.laws import SIZES, build

RNG = np.random.default_rng(11)
X = RNG.normal(size=(4, 3))
A = RNG.normal(size=(3, 3))
INF = np.inf


def run(
    make: Callable[[Builder], Value], sizes: dict[str, int] = SIZES, dtype: Any = np.float64, **arrays: Any
) -> np.ndarray:
    return interpret(build(make), {n: np.asarray(a) for n, a in arrays.items()}, sizes, dtype)["y"]


EXPECTED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": scipy.special.expit, "log_sigmoid": scipy.special.log_expit, "erf": scipy.special.erf,
    "softplus": lambda x: np.logaddexp(0, x), "rsqrt": lambda x: x**-0.5, "expm1": scipy.special.expm1,
}  # fmt: skip


@pytest.mark.parametrize("fn", EXPECTED)
def test_scalar_functions_at_any_size(fn: str) -> None:
    x = np.array([-1e4, -800.0, -40.0, -1.0, -1e-9, 0.0, 1e-9, 0.5, 40.0, 800.0, 1e4, INF])
    with np.errstate(all="ignore"):
        expected = EXPECTED[fn](x)
    found = run(lambda b: b.map(fn, b.input("x", ("t",))), {"t": 12}, x=x)
    np.testing.assert_allclose(found, expected, rtol=2e-15)


@pytest.mark.parametrize("fn", SCALAR)
def test_no_function_warns(fn: str, recwarn: pytest.WarningsRecorder) -> None:
    x = np.array([-INF, -1.0, 0.0, 1.0, INF, np.nan])

    def make(b: Builder) -> Value:
        v = b.input("x", ("t",))
        c = b.map("gt", v, b.constant(0.0))
        args = (c, c, v) if fn in ("and", "or", "not") else (c, v, v) if fn == "where" else (v, v)
        return b.map(fn, *args[: MAP_ARITY[fn]])

    run(make, {"t": 6}, x=x)
    assert not recwarn.list


def test_logaddexp_with_minus_infinity() -> None:
    found = run(
        lambda b: b.map("logaddexp", b.input("x", ("t",)), b.input("p", ("t",))),
        {"t": 3}, x=[-INF, -INF, 1000.0], p=[-INF, 2.0, 1000.0],
    )  # fmt: skip
    assert found.tolist() == [-INF, 2.0, 1000.0 + np.log(2.0)]


def test_broadcasting_is_by_name() -> None:
    found = run(lambda b: b.map("sub", b.input("p", ("n",)), b.input("x", ("t",))), x=X[:, 0], p=A[0])
    np.testing.assert_array_equal(found, A[0][None, :] - X[:, 0][:, None])


def test_dtypes_of_results() -> None:
    assert run(lambda b: b.iota("t")).dtype == np.int64
    assert run(lambda b: b.map("le", b.iota("t"), b.constant(2.0))).tolist() == [True, True, True, False]
    half = run(lambda b: b.map("div", b.iota("t"), b.constant(2.0, dtype="int")))
    assert half.tolist() == [0.0, 0.5, 1.0, 1.5]
    power = run(lambda b: b.map("pow", b.constant(2.0, dtype="int"), b.input("i", ("n",), "int")), i=[-1, 0, 3])
    assert power.tolist() == [0.5, 1.0, 8.0]
    assert run(lambda b: b.map("mul", b.iota("t"), b.iota("t"))).dtype == np.int64
    keep = run(lambda b: b.map("where", b.input("c", (), "bool"), b.iota("t"), b.constant(7.0, dtype="int")), c=False)
    assert (keep.dtype, keep.tolist()) == (np.int64, [7] * 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_real_dtypes(dtype: Any) -> None:
    def make(b: Builder) -> Value:
        x, p = b.input("x", ("t", "n")), b.input("p", ("n",))
        running = b.cumulate("sum", b.map("div", b.map("sigmoid", x), b.constant(3.0)), "t", exclusive=True)
        return b.contract((running, p), ("n",))

    found = run(make, dtype=dtype, x=X, p=A[0])
    assert found.dtype == dtype
    s = 1 / (1 + np.exp(-X.astype(dtype))) / dtype(3)
    expected = np.einsum("tn,n->t", np.cumsum(s, 0) - s, A[0].astype(dtype))
    np.testing.assert_allclose(found, expected, rtol=0, atol=8 * float(np.finfo(dtype).eps))


def test_contract_and_reduce() -> None:
    found = run(lambda b: b.contract((b.input("x", ("t", "n")), b.input("A", ("n", "m"))), ("n",)), x=X, A=A)
    np.testing.assert_allclose(found, X @ A, rtol=1e-14)
    for fn in ("max", "min", "prod"):
        found = run(lambda b, fn=fn: b.reduce(fn, b.input("x", ("t", "n")), ("t",)), x=X)
        np.testing.assert_allclose(found, getattr(X, fn)(axis=0), rtol=1e-15)


@pytest.mark.parametrize(("fn", "identity"), [("max", -INF), ("min", INF), ("prod", 1.0)])
def test_reductions_of_nothing(fn: Any, identity: float) -> None:
    found = run(lambda b: b.reduce(fn, b.input("x", ("t", "n")), ("n",)), {"t": 4, "n": 0}, x=np.zeros((4, 0)))
    assert found.tolist() == [identity] * 4
    empty = run(lambda b: b.contract((b.input("x", ("t", "n")),), ("n",)), {"t": 4, "n": 0}, x=np.zeros((4, 0)))
    assert empty.tolist() == [0.0] * 4


def test_cumulate() -> None:
    x = [1.0, 2.0, 3.0, 4.0]

    def running(fn: Any, **how: bool) -> list[float]:
        return run(lambda b: b.cumulate(fn, b.input("x", ("t",)), "t", **how), x=x).tolist()

    assert running("sum") == [1, 3, 6, 10]
    assert running("sum", exclusive=True) == [0, 1, 3, 6]
    assert running("sum", reverse=True) == [10, 9, 7, 4]
    assert running("sum", reverse=True, exclusive=True) == [9, 7, 4, 0]
    assert running("prod") == [1, 2, 6, 24]
    assert running("prod", exclusive=True) == [1, 1, 2, 6]
    assert running("prod", reverse=True, exclusive=True) == [24, 12, 4, 1]


def test_segment_and_mask() -> None:
    found = run(lambda b: b.segment(b.input("x", ("t",)), "t", "s"), x=[5.0, 2.0, 0.0, 3.0])
    assert found.tolist() == [[1, 0, 0, 0], [2, 1, 0, 0], [0, 0, 1, 0], [0, 0, 3, 1]]
    x = RNG.normal(size=(4, 4))
    for strict in (False, True):
        found = run(lambda b, s=strict: b.mask(b.input("x", ("t", "s")), "t", "s", s), x=x)
        np.testing.assert_array_equal(found, np.tril(x, -1 if strict else 0))
    found = run(lambda b: b.mask(b.input("x", ("t", "s")), "s", "t"), x=x)
    np.testing.assert_array_equal(found, np.triu(x))


@pytest.mark.parametrize("transposed", [False, True])
def test_solves(transposed: bool) -> None:
    a, rhs = RNG.normal(size=(2, 3, 3)), RNG.normal(size=(2, 3))

    def solve(fn: str) -> np.ndarray:
        def make(b: Builder) -> Value:
            args = (b.input("A", ("b", "n", "m")), b.input("x", ("b", "n")))
            return b.matrix(fn, args, "n", "m", transposed=transposed)

        return run(make, A=a, x=rhs)

    full, lower = solve("solve"), solve("solve_unit_lower")
    for i in range(2):
        trans = int(transposed)
        np.testing.assert_allclose(full[i], scipy.linalg.solve(a[i], rhs[i], transposed=transposed), rtol=1e-12)
        expected = scipy.linalg.solve_triangular(a[i], rhs[i], trans=trans, lower=True, unit_diagonal=True)
        np.testing.assert_allclose(lower[i], expected, rtol=1e-13)


@pytest.mark.parametrize("scale", [0.0, 0.1, 1.0, 20.0])
def test_matrix_functions(scale: float) -> None:
    a, g = scale * A, RNG.normal(size=(3, 3))
    found = run(lambda b: b.matrix("expm", (b.input("A", ("n", "m")),), "n", "m"), A=a)
    expected = scipy.linalg.expm(a)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * np.abs(expected).max() * max(1, scale))
    found = run(
        lambda b: b.matrix("expm_vjp", (b.input("A", ("n", "m")), b.input("g", ("n", "m"))), "n", "m"), A=a, g=g
    )
    expected = scipy.linalg.expm_frechet(a.T, g, compute_expm=False)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * np.abs(expected).max() * max(1, scale))
    regular = a + 3 * np.eye(3)
    found = run(lambda b: b.matrix("inv", (b.input("A", ("n", "m")),), "n", "m"), A=regular)
    np.testing.assert_allclose(found, np.linalg.inv(regular), rtol=1e-12)


def test_the_roles_of_rows_and_columns() -> None:
    """With n as columns, the matrix is the transpose of how its array lies."""
    rhs = RNG.normal(size=3)
    found = run(lambda b: b.matrix("solve", (b.input("A", ("n", "m")), b.input("x", ("m",))), "m", "n"), A=A, x=rhs)
    np.testing.assert_allclose(A.T @ found, rhs, rtol=1e-12)


SHIFTS = {"zero": [0, 0, 1, 2], "wrap": [3, 4, 1, 2], "clamp": [1, 1, 1, 2]}


@pytest.mark.parametrize("edge", SHIFTS)
def test_shift_and_gather_follow_the_edge_rule(edge: Any) -> None:
    x = [1.0, 2.0, 3.0, 4.0]
    assert run(lambda b: b.shift(b.input("x", ("t",)), "t", -2, edge), x=x).tolist() == SHIFTS[edge]
    index = [-2, -1, 0, 1, 9]
    found = run(lambda b: b.gather(b.input("x", ("t",)), "t", b.input("i", ("k",), "int"), edge), x=x, i=index)
    last = {"zero": 0, "wrap": 2, "clamp": 4}[edge]
    assert found.tolist() == [*SHIFTS[edge], last]
    along = run(lambda b: b.gather(b.input("x", ("t",)), "t", b.input("i", ("t",), "int"), edge), x=x, i=index[:4])
    assert along.tolist() == SHIFTS[edge]


def test_scatter_adds() -> None:
    def make(b: Builder) -> Value:
        return b.scatter(b.input("x", ("b", "k")), "t", b.input("i", ("k",), "int"), "zero", ("b", "t"))

    x = np.arange(10.0).reshape(2, 5)
    found = run(make, x=x, i=[3, 0, 3, -1, 4])
    assert found.tolist() == [[1, 0, 0, 2], [6, 0, 0, 12]]


def test_inputs_are_not_written_to() -> None:
    def make(b: Builder) -> Value:
        a, x = b.input("A", ("n", "m")), b.input("x", ("n",))
        return b.matrix("solve_unit_lower", (a, x), "n", "m")

    block = build(make)
    backward = vjp(block, ["A", "x"], ["y"])
    arrays = {"A": A.copy(), "x": A[0].copy(), "d y": A[1].copy()}
    interpret(backward, arrays, SIZES)
    np.testing.assert_array_equal(arrays["A"], A)
    np.testing.assert_array_equal(arrays["x"], A[0])
