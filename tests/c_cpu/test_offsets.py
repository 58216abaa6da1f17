"""Arrays whose elements lie further apart than 32 bits can count.

The memory is reserved and never filled: a mapping of many gigabytes of which a few pages are touched.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import recc
from recc.runtime.host import Host, to_host
from recc.runtime.layout import lay_out
from recc.runtime.native import Native

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or sys.maxsize < 1 << 32, reason="needs mappings that take no memory"
)

PROGRAM = """
recurrence far(d)
    input  x[d], on bool
    param  a
    state  h[d]
    h[t] = where(on[t], a * h[t-1], 0) + x[t]
    output y[t] = h[t]
"""

#: Elements between neighbours along a far axis: two of them and 32 bits have run over.
FAR = (1 << 30) + 64


@contextmanager
def far(shape: tuple[int, ...], strides: tuple[int, ...], dtype: Any) -> Iterator[np.ndarray[Any, Any]]:
    """Zeros with strides counted in elements."""
    size = (sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + 1) * np.dtype(dtype).itemsize
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
    try:
        memory = mmap.mmap(-1, size, flags=flags)
    except OSError as problem:
        pytest.skip(f"this system reserves no {size >> 30} GiB of addresses: {problem}")
    base = np.frombuffer(memory, dtype)
    steps = tuple(s * base.itemsize for s in strides)
    yield np.lib.stride_tricks.as_strided(base, shape, steps)


def arguments(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "x": rng.standard_normal((2, 4, 3)).astype(np.float32),
        "on": rng.random((2, 4)) < 0.7,
        "a": np.float32(0.9),
    }


@pytest.mark.parametrize("axis", ["time", "batch"])
def test_inputs_far_apart(axis: str) -> None:
    near = arguments(np.random.default_rng(0))
    op = recc.compile(PROGRAM)
    strides = (16, FAR) if axis == "time" else (3 * FAR, 16)
    with far((2, 4, 3), (*strides, 1), np.float32) as x, far((2, 4), strides, np.bool_) as on:
        x[...], on[...] = near["x"], near["on"]
        assert max(np.abs(x.strides)) // 4 > 1 << 29
        np.testing.assert_array_equal(op(x, on, near["a"]), op(**near))


def test_gradients_of_tensors_far_apart() -> None:
    torch = pytest.importorskip("torch")
    near = {n: torch.as_tensor(v) for n, v in arguments(np.random.default_rng(1)).items()}
    op = recc.compile(PROGRAM)
    weight = torch.randn(2, 4, 3)

    def gradients(x: Any) -> Any:
        a = near["a"].clone().requires_grad_()
        return torch.autograd.grad(op(x.requires_grad_(), near["on"], a), [x, a], weight)

    expected = gradients(near["x"].clone())
    with far((2, 4, 3), (16, FAR, 1), np.float32) as memory:
        memory[...] = near["x"]
        found = gradients(torch.from_numpy(memory))
        assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


def test_outputs_far_apart() -> None:
    near = arguments(np.random.default_rng(2))
    op = recc.compile(PROGRAM)
    rec, expected = op.recurrence, op(**near)
    layout = lay_out(rec, {n: np.shape(v) for n, v in near.items()}, {})
    with far((2, 4, 3), (16, FAR, 1), np.float32) as y:
        final = np.empty((2, 3), np.float32)
        hosts = {n: to_host(np.asarray(v)) for n, v in near.items()}
        Native(rec).forward(
            layout, "float32", hosts, {"y": Host(y, "float32", False)}, {}, {"h": to_host(final)}, {}, np.asarray(0), 1
        )
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(final, expected[:, -1])
