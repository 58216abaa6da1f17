"""16-bit floats in C: every number of theirs, and the roundings to them."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recc.backends.c_cpu.build import HEADER, find_compiler

SOURCE = """
#include "recc_math.h"
RECC_EXPORT void from_half(const uint16_t *x, float *y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] = recc_from_float16(x[i]);
}
RECC_EXPORT void to_half(const float *x, uint16_t *y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] = recc_to_float16(x[i]);
}
"""


@pytest.fixture(scope="module", params=["the compiler's type", "by the bits"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = find_compiler()
    assert compiler is not None
    folder: Path = tmp_path_factory.mktemp("half")
    (folder / "half.c").write_text(SOURCE)
    extra = ["-DRECC_HALF_BY_BITS"] if request.param == "by the bits" else []
    command = [*compiler.command, *compiler.flags, *extra, f"-I{HEADER.parent}", "half.c", "-o", "half.so", "-lm"]
    subprocess.run(command, cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "half.so"))


def call(function: Any, x: Any, dtype: Any) -> Any:
    y = np.empty(x.shape, dtype)
    function(x.ctypes.data_as(ctypes.c_void_p), y.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(x.size))
    return y


def test_every_half_is_read_exactly(library: ctypes.CDLL) -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    np.testing.assert_array_equal(call(library.from_half, bits, np.float32), bits.view(np.float16).astype(np.float32))


def test_floats_are_rounded_to_the_nearest_half(library: ctypes.CDLL) -> None:
    rng = np.random.default_rng(0)
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    ties = (halves[:-1] + halves[1:]) / 2
    edges = np.array([65504, 65519.99, 65520, 1e30, np.inf, np.nan, 0, 2**-25, 2**-24, 1.5 * 2**-25, 1e-45], np.float32)
    anything = rng.integers(0, 1 << 32, 1 << 18, dtype=np.uint32).view(np.float32)
    near = (rng.standard_normal(1 << 16) * 2.0 ** rng.integers(-27, 17, 1 << 16)).astype(np.float32)
    every = [halves, ties, np.nextafter(ties, np.inf), np.nextafter(ties, -np.inf), edges, anything, near]
    x = np.concatenate([p for part in every for p in (part, -part)]).astype(np.float32)
    found = call(library.to_half, x, np.uint16).view(np.float16)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = x.astype(np.float16)
    np.testing.assert_array_equal(found, expected)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found[numbers]), np.signbit(expected[numbers]))
