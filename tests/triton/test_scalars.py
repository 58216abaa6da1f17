"""The scalar functions of emitted kernels against extended precision, where it is hardest to be right."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("triton")

from tests.triton.loading import Array, launch, load

LONG = np.longdouble
UNARY = ("exp", "expm1", "log1p", "sigmoid", "softplus", "log_sigmoid", "tanh", "erf", "sign")
BINARY = ("logaddexp", "power", "maximum", "minimum")

KERNEL = """
@triton.jit
def run_{name}({x}, out, COUNT: tl.constexpr):
    i = tl.arange(0, COUNT)
    tl.store(out + i, {name}({loads}))
"""


def _sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1, small) / (1 + small))


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


EXACT: dict[str, Callable[..., Array]] = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log1p": np.log1p,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "log_sigmoid": lambda x: -_softplus(-x),
    "tanh": np.tanh,
    "erf": lambda x: np.vectorize(math.erf, otypes=[np.float64])(x.astype(np.float64)).astype(LONG),
    "sign": np.sign,
    "logaddexp": np.logaddexp,
    "power": np.power,
    "maximum": np.maximum,
    "minimum": np.minimum,
}
KEEPS_SIGN_OF_ZERO = ("expm1", "log1p", "tanh", "power")
BOUND = {np.float32: 4e-7, np.float64: 1.5e-15}


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    text = "".join(KERNEL.format(name=n, x="x", loads="tl.load(x + i)") for n in UNARY)
    both = "tl.load(x + i), tl.load(y + i)"
    text += "".join(KERNEL.format(name=n, x="x, y", loads=both) for n in BINARY)
    return load(tmp_path_factory.mktemp("scalars") / "scalar_kernels.py", text)


def hostile(dtype: type[Any]) -> Array:
    """Zeros, infinities, NaN, all sizes of both signs, ends of ranges, and where the reductions change sides."""
    info = np.finfo(dtype)
    special = [0.0, np.inf, np.nan, info.smallest_subnormal, info.smallest_normal, info.eps, info.max, 1, 1 - info.eps]
    special += [0.5, 2, 3, 16.5, 17, 36.7, 37.5, 40, 80, 87.3, 87.4, 88.3, 88.7, 88.75, 89, 90, 103, 104, 105]
    special += [708, 709, 709.7, 709.8, 710, 711, 744, 745, 746, 1000]
    halves = np.arange(1, 270) * (math.log(2) / 2)
    sizes = np.geomspace(float(info.tiny), float(info.max), 300)
    usual = np.random.default_rng(0).standard_normal(600)
    positive = np.concatenate([np.array(special, dtype), halves, np.nextafter(halves.astype(dtype), dtype(0)), sizes])
    every = np.concatenate([positive, -positive, usual, 30 * usual]).astype(dtype)
    count = 1 << (len(every) - 1).bit_length()
    return np.concatenate([every, np.linspace(-1, 1, count - len(every)).astype(dtype)])


def compare(name: str, got: Array, exact: Array, bound: Any, points: tuple[Array, ...]) -> None:
    """Relative errors; at the lower end of the range, where a GPU may give 0, errors beside the smallest number."""
    info = np.finfo(got.dtype)
    wanted = exact.astype(got.dtype)
    special = ~np.isfinite(wanted)
    np.testing.assert_array_equal(got[special], wanted[special], f"{name}: infinities and NaN")
    if name in KEEPS_SIGN_OF_ZERO:
        zero = wanted == 0
        np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(wanted[zero]), f"{name}: the sign of zero")
    error = np.abs(got.astype(LONG) - exact)[~special]
    allowed = np.broadcast_to(bound, wanted.shape)[~special] * np.abs(exact[~special]) + 2 * info.smallest_subnormal
    worst = int(np.argmax(error / np.maximum(allowed, info.smallest_subnormal)))
    place = [p[~special][worst] for p in points]
    assert (error <= allowed).all(), f"{name}{place}: {got[~special][worst]}, not {exact[~special][worst]}"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", UNARY)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_one_argument(module: ModuleType, name: str, dtype: type[Any]) -> None:
    x = hostile(dtype)
    got = launch(getattr(module, f"run_{name}"), [x], x.shape, COUNT=len(x))
    assert got.dtype == dtype
    compare(name, got, EXACT[name](x.astype(LONG)), BOUND[dtype], (x,))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", BINARY)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_two_arguments(module: ModuleType, name: str, dtype: type[Any]) -> None:
    few = [
        0.0,
        1,
        2,
        3,
        0.5,
        0.1,
        2.5,
        1000.5,
        1e4,
        1e8 + 1,
        np.inf,
        np.nan,
        1e-3,
        1 + 1e-6,
        float(np.finfo(dtype).max),
    ]
    points = np.array([*few, *(-v for v in few), *np.random.default_rng(1).standard_normal(34) * 4], dtype)
    x, y = (a.ravel().copy() for a in np.meshgrid(points, points))
    got = launch(getattr(module, f"run_{name}"), [x, y], x.shape, COUNT=len(x))
    exact = EXACT[name](x.astype(LONG), y.astype(LONG))
    bound: Any = BOUND[dtype]
    if name == "logaddexp":  # relative to the larger argument where the sum cancels
        bound = bound * np.maximum(1, np.nan_to_num(np.maximum(np.abs(x), np.abs(y)) / np.abs(exact).astype(dtype)))
    if name == "power" and dtype is np.float64:
        bound = 2e-13
    compare(name, got, exact, bound, (x, y))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_two_arguments_give_by_definition(module: ModuleType) -> None:
    inf, nan = math.inf, math.nan
    cases = {
        "logaddexp": [(-inf, -inf, -inf), (inf, inf, inf), (inf, -inf, inf), (-inf, 2, 2), (nan, inf, nan)],
        "power": [(0, 0, 1), (-2, 3, -8), (-2, 2, 4), (-2, 0.5, nan), (-0.0, -1, -inf), (nan, 0, 1), (1, nan, 1),
                  (-1, inf, 1), (-1, nan, nan), (-inf, 0.5, inf), (-inf, 3, -inf), (0, -2, inf), (2, -inf, 0)],
        "maximum": [(nan, 1, nan), (1, nan, nan), (-inf, 2, 2)],
        "minimum": [(nan, 1, nan), (1, nan, nan), (inf, 2, 2)],
    }  # fmt: skip
    for name, rows in cases.items():
        for dtype in (np.float32, np.float64):
            table = np.array(rows * 16, dtype)[:16]
            got = launch(getattr(module, f"run_{name}"), [table[:, 0], table[:, 1]], (16,), COUNT=16)
            np.testing.assert_allclose(got.astype(float), table[:, 2].astype(float), rtol=1e-6, err_msg=name)


def test_integers(module: ModuleType) -> None:
    x = np.array([0, 1, -1, 7, -9, 2**31 - 1, -(2**31), 5], np.int32)
    for dtype in (np.int32, np.int64):
        y = x[::-1].astype(dtype)
        for name in ("maximum", "minimum"):
            got = launch_integers(getattr(module, f"run_{name}"), [x.astype(dtype), y])
            np.testing.assert_array_equal(got, EXACT[name](x, y))
        np.testing.assert_array_equal(launch_integers(module.run_sign, [x.astype(dtype)]), np.sign(x))


def launch_integers(kernel: Any, arrays: list[Array]) -> Array:
    import torch

    out = torch.full((len(arrays[0]),), -5, dtype=torch.from_numpy(arrays[0]).dtype)
    kernel[(1,)](*(torch.from_numpy(a.copy()) for a in arrays), out, COUNT=len(arrays[0]))
    return np.asarray(out.numpy())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_functions_that_grow_do_not_fall(module: ModuleType) -> None:
    """Where pieces of the range meet, a step back is at most of the size of the error."""
    x = np.linspace(-3, 3, 4096).astype(np.float32)
    for name in ("exp", "expm1", "sigmoid", "softplus", "log_sigmoid", "tanh"):
        got = launch(getattr(module, f"run_{name}"), [x], x.shape, COUNT=len(x)).astype(float)
        assert all(b - a >= -8e-7 * abs(a) for a, b in pairwise(got)), name
