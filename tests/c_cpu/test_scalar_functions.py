"""The scalar functions of `recc_math.h` are as exact as docs/maths/scalar-functions.md says.

The bounds are read from the table of that page, so that the page and the measurement cannot differ. Each
function is compiled in a loop of its own with the flags of emitted kernels, and measured against a wider
type: float64 for float32, long double for float64; mpmath checks that long double itself is a fair judge.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

from recc.backends.c_cpu.build import HEADER, find_compiler

Array = NDArray[Any]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "maths" / "scalar-functions.md"
DTYPES = ("float32", "float64")
UNARY = (
    "exp", "expm1", "log", "log1p", "tanh", "sigmoid", "softplus", "log_sigmoid", "sqrt", "rsqrt", "sin", "cos",
    "erf", "abs", "sign", "floor",
)  # fmt: skip
BINARY = ("min", "max", "logaddexp", "pow")
#: Functions of the C library, which a compiler calls element by element.
LIBRARY = ("sin", "cos", "erf", "pow")


def table() -> dict[str, tuple[float, float]]:
    """The bounds of the page, in units in the last place, for float32 and float64."""
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \| ([\d.]+) \|", PAGE.read_text(encoding="utf-8"), re.M)
    return {name: (float(single), float(double)) for name, single, double in rows}


def source(dtype: str) -> str:
    lines = ["#define RECC_DOUBLE 1"] if dtype == "float64" else []
    lines.append('#include "recc_math.h"')
    for name in UNARY:
        lines += [f"RECC_EXPORT void do_{name}(const real *restrict x, real *restrict y, int64_t n) {{"]
        lines += ["RECC_SIMD()", f"for (int64_t i = 0; i < n; ++i) y[i] = recc_{name}(x[i]); /* {name} */", "}"]
    for name in BINARY:
        arguments = "const real *restrict a, const real *restrict b, real *restrict y, int64_t n"
        lines += [f"RECC_EXPORT void do_{name}({arguments}) {{"]
        lines += ["RECC_SIMD()", f"for (int64_t i = 0; i < n; ++i) y[i] = recc_{name}(a[i], b[i]); /* {name} */", "}"]
    return "\n".join(lines) + "\n"


class Functions:
    """The compiled loops of one type, and what the compiler says of them."""

    def __init__(self, dtype: str, folder: Path):
        compiler = find_compiler()
        if compiler is None:
            pytest.skip("no C compiler on this machine")
        self.dtype = dtype
        self.text = source(dtype)
        self.gnu = "clang" not in compiler.version and "Free Software Foundation" in compiler.version
        self.major = int(found[1]) if (found := re.search(r" (\d+)\.\d+\.\d+", compiler.version)) else 0
        path = folder / f"{dtype}.c"
        path.write_text(self.text)
        library = path.with_suffix(".so")
        command = [*compiler.command, *compiler.flags, "-I", str(HEADER.parent), str(path), "-o", str(library), "-lm"]
        done = subprocess.run(
            command + ["-fopt-info-vec"] * self.gnu, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        self.said = done.stderr
        self.library = ctypes.CDLL(str(library))

    def __call__(self, name: str, *args: Any) -> Array:
        arrays = [np.ascontiguousarray(a, self.dtype) for a in args]
        out = np.empty_like(arrays[0])
        function = getattr(self.library, f"do_{name}")
        function.restype = None
        function(*(ctypes.c_void_p(a.ctypes.data) for a in (*arrays, out)), ctypes.c_int64(out.size))
        return out


@pytest.fixture(scope="module", params=DTYPES)
def functions(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Functions:
    return Functions(request.param, tmp_path_factory.mktemp("scalar"))


def wide(dtype: str) -> Any:
    return np.float64 if dtype == "float32" else np.longdouble


WIDE_ENOUGH = np.finfo(np.longdouble).nmant >= 63


def judged(functions: Functions) -> None:
    if functions.dtype == "float64" and not WIDE_ENOUGH:
        pytest.skip("long double is no wider than float64 on this machine")


def sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def erf(x: Array) -> Array:
    with mpmath.workprec(80):
        return np.array([np.longdouble(mpmath.nstr(mpmath.erf(mpmath.mpf(float(v))), 24)) for v in x])


EXACT: dict[str, Callable[..., Array]] = {
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "tanh": np.tanh, "sigmoid": sigmoid,
    "softplus": softplus, "log_sigmoid": lambda x: -softplus(-x), "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x),
    "sin": np.sin, "cos": np.cos, "erf": erf, "pow": np.power, "logaddexp": np.logaddexp,
}  # fmt: skip


def samples(name: str, dtype: str) -> Array:
    """Every exponent and sign, the neighbourhoods of 0 and 1, and the stretch where the function bends."""
    rng = np.random.default_rng(7)
    count = {"erf": 300}.get(name, 60_000)
    if dtype == "float32":
        bits = np.arange(0, 2**32, 2**32 // count | 1, dtype=np.uint64).astype(np.uint32)
    else:
        bits = rng.integers(0, 2**64, count, dtype=np.uint64)
    small = 10.0 ** rng.uniform(-8, 0, count) * rng.choice([-1, 1], count)
    reach = 720.0 if dtype == "float64" else 90.0
    stretches = [rng.uniform(-r, r, count) for r in (0.5, 1, 4, 20, reach)]
    found = np.concatenate([bits.view(dtype), *(s.astype(dtype) for s in (*stretches, small, 1 + small))])
    found = found[np.isfinite(found)]
    low = {"log": 0.0, "sqrt": 0.0, "rsqrt": 0.0, "log1p": -1.0}.get(name, -np.inf)
    high = {"sin": 1e6, "cos": 1e6}.get(name, np.inf)
    return found[(found > low) & (np.abs(found) < high)]


def errors(out: Array, exact: Array, dtype: str, scale: Array | None = None) -> Array:
    """The error in units in the last place of the exact result (or of `scale`, where that is larger).

    Results below the normal numbers may be flushed to zero, and so may those a hundredth above them.
    """
    info = np.finfo(dtype)
    wider = np.longdouble
    exact = exact.astype(wider)
    size = np.abs(exact) if scale is None else np.maximum(np.abs(exact), np.abs(scale.astype(wider)))
    with np.errstate(all="ignore"):
        exponent = np.floor(np.log2(np.maximum(size, wider(info.tiny))))
        found = np.abs(out.astype(wider) - exact) / np.exp2(exponent - info.nmant)
        rounded = exact.astype(dtype)
    found = np.where(out == rounded, np.where(np.isfinite(rounded), found, 0), found)
    tiny = (np.abs(exact) < 1.01 * info.tiny) & (np.abs(out) < 1.01 * info.tiny)
    return np.where(tiny, 0, found)


def test_page_has_a_bound_for_every_function() -> None:
    assert set(table()) == {*UNARY, *BINARY} - {"abs", "sign", "floor", "min", "max"}
    for name in ("exp", "log", "tanh", "sigmoid"):
        assert max(table()[name]) <= 2


@pytest.mark.parametrize("name", [n for n in EXACT if n in UNARY])
def test_error_of_functions(functions: Functions, name: str) -> None:
    judged(functions)
    x = samples(name, functions.dtype)
    with np.errstate(all="ignore"):
        exact = EXACT[name](x.astype(wide(functions.dtype)))
    found = errors(functions(name, x), exact, functions.dtype)
    worst = int(np.argmax(found))
    bound = table()[name][DTYPES.index(functions.dtype)]
    assert found[worst] <= bound, f"{name}({x[worst]!r}) is {found[worst]:.3f} ulp off, not {bound}"


@pytest.mark.parametrize("name", ["pow", "logaddexp"])
def test_error_of_functions_of_two(functions: Functions, name: str) -> None:
    judged(functions)
    rng = np.random.default_rng(8)
    if name == "pow":
        a, b = 10.0 ** rng.uniform(-3, 3, 50_000), rng.uniform(-8, 8, 50_000)
    else:
        a = rng.uniform(-30, 30, 50_000)
        b = a + rng.uniform(-1, 1, 50_000) * 10.0 ** rng.uniform(-4, 2, 50_000)
    a, b = a.astype(functions.dtype), b.astype(functions.dtype)
    exact = EXACT[name](*(v.astype(wide(functions.dtype)) for v in (a, b)))
    scale = np.maximum(np.abs(a), np.abs(b)) if name == "logaddexp" else None
    found = errors(functions(name, a, b), exact, functions.dtype, scale)
    assert found.max() <= table()[name][DTYPES.index(functions.dtype)]


@pytest.mark.skipif(not WIDE_ENOUGH, reason="long double is no wider than float64 on this machine")
@pytest.mark.parametrize("name", ["exp", "log", "tanh"])
def test_long_double_is_a_fair_judge(name: str) -> None:
    x = np.random.default_rng(9).uniform(0.01, 20, 200)
    with mpmath.workprec(100):
        exact = [getattr(mpmath, name)(mpmath.mpf(float(v))) for v in x]
    judge = EXACT[name](x.astype(np.longdouble))
    pairs = [(np.longdouble(mpmath.nstr(e, 24)), j) for e, j in zip(exact, judge, strict=True)]
    apart = [abs(float(e - j)) / np.spacing(abs(float(e))) for e, j in pairs]
    assert max(apart) < 0.01


def special(dtype: str) -> Iterator[tuple[str, float, float]]:
    inf, nan, tiny = np.inf, np.nan, float(np.finfo(dtype).smallest_subnormal)
    log_tiny = float(np.log(np.longdouble(tiny)))
    rules = {
        "exp": [(inf, inf), (-inf, 0), (0, 1), (tiny, 1), (1e30, inf), (-1e30, 0)],
        "expm1": [(inf, inf), (-inf, -1), (0, 0), (tiny, tiny), (-tiny, -tiny), (1e30, inf), (-1e30, -1)],
        "log": [(inf, inf), (-inf, nan), (0, -inf), (-0.0, -inf), (1, 0), (tiny, log_tiny), (-tiny, nan), (-1, nan)],
        "log1p": [(inf, inf), (-inf, nan), (0, 0), (-1, -inf), (-2, nan), (tiny, tiny), (-tiny, -tiny)],
        "tanh": [(inf, 1), (-inf, -1), (0, 0), (tiny, tiny), (-tiny, -tiny), (1e30, 1), (-1e30, -1)],
        "sigmoid": [(inf, 1), (-inf, 0), (0, 0.5), (tiny, 0.5), (1e30, 1), (-1e30, 0)],
        "softplus": [(inf, inf), (-inf, 0), (0, np.log(2)), (1e30, 1e30), (-1e30, 0)],
        "log_sigmoid": [(inf, 0), (-inf, -inf), (0, -np.log(2)), (1e30, 0), (-1e30, -1e30)],
        "sqrt": [(inf, inf), (0, 0), (-1, nan)],
        "rsqrt": [(inf, 0), (0, inf), (-1, nan)],
        "abs": [(-inf, inf), (-0.0, 0), (-3, 3)],
        "sign": [(inf, 1), (-inf, -1), (0, 0), (-tiny, -1), (tiny, 1)],
        "floor": [(inf, inf), (-inf, -inf), (-0.5, -1), (0.5, 0)],
        "erf": [(inf, 1), (-inf, -1), (0, 0)],
    }
    for name, pairs in rules.items():
        yield from ((name, x, y) for x, y in [*pairs, (nan, nan)])


def test_special_values(functions: Functions) -> None:
    for name, x, wanted in special(functions.dtype):
        # More than a vector's worth, so that the vector loop is what is tested.
        found = functions(name, np.full(100, x))
        expected = np.full(100, wanted, functions.dtype)
        close = 4 * np.finfo(functions.dtype).eps
        np.testing.assert_allclose(found, expected, rtol=close, atol=0, err_msg=f"{name}({x})")


def test_special_values_of_functions_of_two(functions: Functions) -> None:
    inf, nan = np.inf, np.nan
    rules = {
        "logaddexp": [(inf, 1, inf), (-inf, 2, 2),
            (-inf, -inf, -inf), (inf, inf, inf), (inf, -inf, inf), (1, nan, nan)],
        "min": [(inf, 1, 1), (-inf, 1, -inf), (nan, 1, nan), (1, nan, nan)],
        "max": [(inf, 1, inf), (-inf, 1, 1), (nan, 1, nan), (1, nan, nan)],
        "pow": [(0, 0, 1), (2, 3, 8), (0, -1, inf), (-1, 0.5, nan), (inf, -1, 0)],
    }  # fmt: skip
    for name, rows in rules.items():
        for a, b, wanted in rows:
            found = functions(name, np.full(100, a), np.full(100, b))
            np.testing.assert_array_equal(found, np.full(100, wanted, functions.dtype), err_msg=f"{name}({a}, {b})")


def test_tanh_and_sigmoid_stay_in_their_range(functions: Functions) -> None:
    x = samples("tanh", functions.dtype)
    assert np.abs(functions("tanh", x)).max() <= 1
    sigmoids = functions("sigmoid", x)
    assert sigmoids.min() >= 0
    assert sigmoids.max() <= 1


def test_loops_are_vectorised(functions: Functions) -> None:
    if not functions.gnu:
        pytest.skip("only GCC reports on vectorisation in a form that is read here")
    if functions.major < 12:
        pytest.skip("older ones leave the loop over softplus as it is")
    vectorised = {int(n) for n in re.findall(r"\.c:(\d+):\d+: optimized: loop vectorized", functions.said)}
    for number, line in enumerate(functions.text.splitlines(), 1):
        name = re.search(r"/\* (\w+) \*/", line)
        if name and name[1] not in LIBRARY:
            assert number in vectorised, f"the loop over {name[1]} is not vectorised"
