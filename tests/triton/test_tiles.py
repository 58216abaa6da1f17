"""Matrices, scans and reductions in tiles, against NumPy and SciPy in float64. Padding is NaN throughout."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import scipy.linalg

pytest.importorskip("triton")

from recc.backends.triton_gpu import library
from tests.triton.loading import Array, launch, load

KERNELS = """
@triton.jit
def tile(at, N: tl.constexpr, M: tl.constexpr):
    return at + tl.arange(0, N)[:, None] * M + tl.arange(0, M)[None, :]


@triton.jit
def run_matmul(a, b, out, N: tl.constexpr, K: tl.constexpr, M: tl.constexpr):
    tl.store(tile(out, N, M), matmul(tl.load(tile(a, N, K)), tl.load(tile(b, K, M)), "ieee"))


@triton.jit
def run_triangular(a, b, out, size, N: tl.constexpr, M: tl.constexpr):
    left = tl.load(tile(a, N, N))
    right = tl.load(tile(b, N, M))
    tl.store(tile(out, N, N), inverse_unit_lower(left, size, "ieee"))
    tl.store(tile(out + N * N, N, M), solve_unit_lower(left, right, size, "ieee"))
    tl.store(tile(out + N * N + N * M, N, M), solve_unit_lower_t(left, right, size, "ieee"))


@triton.jit
def run_square(a, b, out, SIZE: tl.constexpr, N: tl.constexpr, M: tl.constexpr):
    left = tl.load(tile(a, N, N))
    tl.store(tile(out, N, N), inv(left, SIZE))
    tl.store(tile(out + N * N, N, M), solve(left, tl.load(tile(b, N, M)), SIZE))


@triton.jit
def run_exponential(a, g, out, SIZE: tl.constexpr, N: tl.constexpr):
    left = tl.load(tile(a, N, N))
    tl.store(tile(out, N, N), expm(left, SIZE))
    tl.store(tile(out + N * N, N, N), expm_vjp(left, tl.load(tile(g, N, N)), SIZE))


@triton.jit
def run_along(x, flags, out, N: tl.constexpr, M: tl.constexpr):
    given = tl.load(tile(x, N, M))
    starts = tl.load(tile(flags, N, M)).to(tl.int32)
    total, _ = tl.associative_scan((given, starts), 0, segmented_sum)
    tl.store(tile(out, N, M), total)
    power, _ = tl.associative_scan((given, starts != 0), 0, segmented_prod)
    tl.store(tile(out + N * M, N, M), power)
    backward, _ = tl.associative_scan((given, starts), 0, segmented_sum, reverse=True)
    tl.store(tile(out + 2 * N * M, N, M), backward)
    ends = out + 3 * N * M + tl.arange(0, M)
    tl.store(ends, product(given, 0))
    tl.store(ends + M, amax(given, 0))
    tl.store(ends + 2 * M, amin(given, 0))
"""

JOINED = """
@triton.jit
def run_joined(x, flags, out, N: tl.constexpr):
    i = tl.arange(0, N)
    a, b, c = tl.load(x + i), tl.load(x + N + i), tl.load(x + 2 * N + i)
    a_at, b_at, c_at = tl.load(flags + i) != 0, tl.load(flags + N + i) != 0, tl.load(flags + 2 * N + i) != 0
    ab, ab_at = segmented_sum(a, a_at, b, b_at)
    bc, bc_at = segmented_sum(b, b_at, c, c_at)
    left, left_at = segmented_sum(ab, ab_at, c, c_at)
    right, right_at = segmented_sum(a, a_at, bc, bc_at)
    tl.store(out + i, left)
    tl.store(out + N + i, right)
    tl.store(out + 2 * N + i, left_at.to(tl.float32))
    tl.store(out + 3 * N + i, right_at.to(tl.float32))
    ab, ab_at = segmented_prod(a, a_at, b, b_at)
    bc, bc_at = segmented_prod(b, b_at, c, c_at)
    left, left_at = segmented_prod(ab, ab_at, c, c_at)
    right, right_at = segmented_prod(a, a_at, bc, bc_at)
    tl.store(out + 4 * N + i, left)
    tl.store(out + 5 * N + i, right)
    tl.store(out + 6 * N + i, left_at.to(tl.float32))
    tl.store(out + 7 * N + i, right_at.to(tl.float32))
"""

SCALARS = """
@triton.jit
def run_scalars(x, y, out, N: tl.constexpr):
    i = tl.arange(0, N)
    a = tl.load(x + i)
    b = tl.load(y + i)
    c = log1p(expm1(a)) + sigmoid(log_sigmoid(b)) * softplus(tanh(a)) + sign(b) + erf(a) + exp(b)
    tl.store(out + i, maximum(logaddexp(c, a), minimum(power(a, b), c)))
"""

DTYPES = [np.float32, np.float64]
BOUND = {np.float32: 2e-6, np.float64: 1e-14}


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return load(tmp_path_factory.mktemp("tiles") / "tile_kernels.py", KERNELS + JOINED + SCALARS)


def padded(array: Array, rows: int, cols: int) -> Array:
    """The array in the corner of a tile of NaN."""
    tile = np.full((rows, cols), np.nan, array.dtype)
    tile[: array.shape[0], : array.shape[1]] = array
    return tile


def power_of_two(size: int) -> int:
    return 1 << (size - 1).bit_length()


def close(got: Array, wanted: Array, bound: float, what: object) -> None:
    """The error against the largest element."""
    assert got.shape == wanted.shape, what
    error = np.abs(got - wanted).max() / max(np.abs(wanted).max(), 1e-300)
    assert error <= bound, f"{what}: {error:.1e}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_matmul(module: ModuleType, dtype: type[Any]) -> None:
    rng = np.random.default_rng(0)
    for n, k, m in [(1, 1, 1), (2, 1, 4), (8, 8, 8), (16, 32, 16), (32, 64, 1), (1, 64, 32), (64, 64, 4), (4, 64, 64),
                    (64, 64, 64), (64, 2, 128), (8, 256, 8), (8, 512, 4)]:  # fmt: skip
        a, b = rng.standard_normal((n, k)).astype(dtype), rng.standard_normal((k, m)).astype(dtype)
        got = launch(module.run_matmul, [a, b], (n, m), N=n, K=k, M=m)
        close(got, a.astype(float) @ b.astype(float), BOUND[dtype], (n, k, m))
        a[0, 0], b[0, m - 1] = np.inf, np.nan
        got = launch(module.run_matmul, [a, b], (n, m), N=n, K=k, M=m)
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(np.isfinite(got), np.isfinite(a.astype(float) @ b.astype(float)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("size", "cols"), [(1, 1), (2, 3), (5, 1), (16, 16), (17, 3), (23, 20), (61, 33), (64, 1)])
def test_unit_lower(module: ModuleType, dtype: type[Any], size: int, cols: int) -> None:
    rng = np.random.default_rng(size)
    n, m = power_of_two(size), power_of_two(cols)
    lower = np.tril(rng.standard_normal((size, size)) / np.sqrt(size), -1).astype(dtype)
    right = rng.standard_normal((size, cols)).astype(dtype)
    given = padded(lower, n, n)
    given[np.triu_indices(n)] = np.nan  # the diagonal and what is above it
    for real in (size, n):  # the rest of the tile is padding, or all of it is real
        if real == n:
            given = np.where(np.isnan(given) & np.tri(n, k=-1, dtype=bool), dtype(0), given)
            right = np.concatenate([right, np.ones((n - size, cols), dtype)])
            lower = np.pad(lower, (0, n - size))
        got = launch(module.run_triangular, [given, padded(right, n, m)], (n * n + 2 * n * m,), size=real, N=n, M=m)
        inverse, x, xt = (p.reshape(n, -1) for p in np.split(got, [n * n, n * n + n * m]))
        whole = lower[:real, :real].astype(float) + np.eye(real)
        exact = scipy.linalg.inv(whole)
        padding = np.eye(n)
        padding[:real, :real] = exact
        bound = BOUND[dtype] * 3
        close(inverse, padding, bound, ("inverse", real))
        close(x[:real, :cols], scipy.linalg.solve_triangular(whole, right, lower=True), bound, ("solve", real))
        close(xt[:real, :cols], scipy.linalg.solve_triangular(whole, right, lower=True, trans=1), bound, ("t", real))
        assert (x[real:, :cols] == 0).all() and (xt[real:, :cols] == 0).all()


def test_unit_lower_does_not_cancel(module: ModuleType) -> None:
    """Powers of the lower part would be as large as 1e18 here; the inverse has entries 0, 1 and -1."""
    n = 64
    ones = np.ones((n, n), np.float32)
    got = launch(module.run_triangular, [ones, ones[:, :1]], (n * n + 2 * n,), size=n, N=n, M=1)
    np.testing.assert_array_equal(got[: n * n].reshape(n, n), np.eye(n) - np.eye(n, k=-1))
    np.testing.assert_array_equal(got[n * n : n * n + n], np.eye(n)[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("size", "cols"), [(1, 1), (2, 2), (3, 1), (7, 5), (16, 3), (29, 1)])
def test_solve_and_inv(module: ModuleType, dtype: type[Any], size: int, cols: int) -> None:
    rng = np.random.default_rng(size)
    n, m = power_of_two(size), power_of_two(cols)
    a = (rng.standard_normal((size, size)) + 3 * np.roll(np.eye(size), 1, axis=0)).astype(dtype)
    if size > 1:
        a[0, 0] = 0  # nothing works without an exchange of rows
    b = rng.standard_normal((size, cols)).astype(dtype)
    given = [padded(a, n, n), padded(b, n, m)]
    got = launch(module.run_square, given, (n * n + n * m,), SIZE=size, N=n, M=m)
    inverse, x = got[: n * n].reshape(n, n), got[n * n :].reshape(n, m)
    wide = a.astype(float)
    bound = BOUND[dtype] * max(1.0, float(np.linalg.cond(wide)))
    close(inverse[:size, :size], np.linalg.inv(wide), bound, "inv")
    close(x[:size, :cols], np.linalg.solve(wide, b.astype(float)), bound, "solve")
    assert (x[size:, :cols] == 0).all()


def test_a_singular_matrix_gives_no_numbers(module: ModuleType) -> None:
    a = np.array([[1, 2], [2, 4]], np.float32)
    with np.errstate(all="ignore"):
        got = launch(module.run_square, [a, a[:, :1]], (6,), SIZE=2, N=2, M=1)
    assert not np.isfinite(got).any()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("size", "norm"), [(1, 3.0), (3, 0.0), (3, 1e-6), (5, 0.4), (5, 2.0), (16, 6.0), (21, 20.0)])
def test_expm(module: ModuleType, dtype: type[Any], size: int, norm: float) -> None:
    rng = np.random.default_rng(size)
    n = power_of_two(size)
    a = rng.standard_normal((size, size)).astype(dtype)
    a = (a * (norm / np.abs(a).sum(0).max())).astype(dtype)
    g = rng.standard_normal((size, size)).astype(dtype)
    got = launch(module.run_exponential, [padded(a, n, n), padded(g, n, n)], (2 * n * n,), SIZE=size, N=n)
    value, gradient = got.reshape(2, n, n)
    padding = np.eye(n)
    padding[:size, :size] = scipy.linalg.expm(a.astype(float))
    bound = {np.float32: 4e-7, np.float64: 2e-15}[dtype] * max(1.0, norm)
    close(value, padding, bound, "expm")
    exact = scipy.linalg.expm_frechet(a.astype(float).T, g.astype(float), compute_expm=False)
    close(gradient[:size, :size], exact, bound, "gradient")
    assert (gradient[size:] == 0).all() and (gradient[:, size:] == 0).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_expm_of_what_is_not_finite(module: ModuleType) -> None:
    for bad in (np.nan, np.inf):
        a = np.array([[0, bad], [0, 0]], np.float32)
        got = launch(module.run_exponential, [a, np.ones_like(a)], (8,), SIZE=2, N=2)
        assert not np.isfinite(got[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_scans_and_reductions(module: ModuleType, dtype: type[Any]) -> None:
    rng = np.random.default_rng(0)
    n, m = 16, 4
    x = rng.uniform(0.5, 1.5, (n, m)).astype(dtype)
    flags = (rng.random((n, m)) < 0.3).astype(dtype)
    x[6, 1], flags[6:10, 1] = np.nan, (0, 0, 1, 0)  # ends with its stretch
    got = launch(module.run_along, [x, flags], (3 * n * m + 3 * m,), N=n, M=m)
    total, power, backward = got[: 3 * n * m].reshape(3, n, m)

    def running(times: Any, x: Array, flags: Array) -> Array:
        rows = [x[0].astype(float)]
        for value, start in zip(x[1:], flags[1:], strict=True):
            rows.append(np.where(start != 0, value, times(rows[-1], value)))
        return np.array(rows)

    bound = {np.float32: 2e-6, np.float64: 1e-14}[dtype]
    np.testing.assert_allclose(total, running(np.add, x, flags), rtol=bound)
    np.testing.assert_allclose(power, running(np.multiply, x, flags), rtol=bound)
    np.testing.assert_allclose(backward[::-1], running(np.add, x[::-1], flags[::-1]), rtol=bound)
    assert np.isnan(total[6:8, 1]).all() and np.isfinite(total[8:, 1]).all()
    reduced = got[3 * n * m :].reshape(3, m)
    for row, exact in zip(reduced, (x.astype(float).prod(0), x.max(0), x.min(0)), strict=True):
        np.testing.assert_allclose(row, exact, rtol=bound)
        assert np.isnan(row[1])


def test_segments_are_joined_in_any_order(module: ModuleType) -> None:
    """The interpreter goes through a scan from one end to the other, a GPU joins stretches of any length."""
    flags = np.array([[i >> bit & 1 for i in range(8)] for bit in range(3)], np.float32)
    x = np.arange(2, 26, dtype=np.float32).reshape(3, 8)
    got = launch(module.run_joined, [x, flags], (8, 8), N=8)
    for at, times in ((0, np.add), (4, np.multiply)):
        middle = np.where(flags[1] != 0, x[1], times(x[0], x[1]))
        np.testing.assert_array_equal(got[at], np.where(flags[2] != 0, x[2], times(middle, x[2])))
        np.testing.assert_array_equal(got[at + 1], got[at])
        np.testing.assert_array_equal(got[at + 2 : at + 4], np.stack([flags.max(0)] * 2))


@pytest.mark.parametrize("real", ["fp32", "fp64"])
def test_everything_compiles(module: ModuleType, real: str) -> None:
    from recc.backends.triton_gpu.binary import TARGETS, Kernel, compile_all

    x = f"*{real}"
    three = {"a": x, "b": x, "out": x}
    sizes: dict[str, tuple[dict[str, str], dict[str, object]]] = {
        "scalars": ({"x": x, "y": x, "out": x}, {"N": 128}),
        "matmul": (three, {"N": 32, "K": 32, "M": 8}),
        "triangular": ({**three, "size": "i32"}, {"N": 32, "M": 16}),
        "square": (three, {"SIZE": 5, "N": 8, "M": 2}),
        "exponential": ({"a": x, "g": x, "out": x}, {"SIZE": 5, "N": 8}),
        "along": ({"x": x, "flags": x, "out": x}, {"N": 16, "M": 8}),
    }
    targets = TARGETS if real == "fp32" else ("sm_80", "gfx942")
    kernels = {name: Kernel(getattr(module, f"run_{name}"), *given) for name, given in sizes.items()}
    done = compile_all(kernels, targets)
    assert len(done) == len(sizes) * len(targets)
    if real == "fp32":
        assert not {place: binary.resources.spills for place, binary in done.items() if binary.resources.spills}


def test_all_of_the_library_is_tried(module: ModuleType) -> None:
    assert [name for name in library.names() if not hasattr(module, name)] == []
