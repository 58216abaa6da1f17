"""The laws that every VJP is held to, and how test Blocks are drawn and run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from recc.forms.block import Block, Value
from recc.forms.builder import Builder
from recc.forms.interpret import interpret
from recc.forms.verify import verify
from recc.forms.vjp import vjp
from tests.forms.torch_blocks import grad_torch, run_torch

#: `n` and `m` have one size, so have `t` and `s`.
AXES = {"b": "b", "t": "t", "s": "t", "n": "n", "m": "n", "k": "k"}
SIZES = {"b": 2, "t": 4, "n": 3, "k": 5}


def build(make: Callable[[Builder], Value | Mapping[str, Value]], name: str = "case") -> Block:
    """A verified Block whose output is what `make` returns."""
    b = Builder(name, dict(AXES))
    made = make(b)
    for n, v in ({"y": made} if isinstance(made, Value) else made).items():
        b.output(n, v)
    block = b.build()
    verify(block)
    return block


def shape(v: Value, block: Block, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(sizes[block.root[a]] for a in v.axes)


def draw(block: Block, sizes: Mapping[str, int], given: Mapping[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays for all inputs: normal reals, integers just beyond both ends, and those given.

    A given function is applied to the array that would have been drawn.
    """
    rng = np.random.default_rng(seed)
    arrays = {}
    for v in block.inputs:
        size = shape(v, block, sizes)
        kinds = {"real": rng.normal(size=size), "int": rng.integers(-1, 5, size), "bool": rng.integers(0, 2, size) > 0}
        array, wanted = kinds[v.dtype], given.get(v.name)
        arrays[v.name] = array if wanted is None else wanted(array) if callable(wanted) else np.asarray(wanted)
    return arrays


def close(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], tolerance: float, what: str) -> None:
    """Equal keys, shapes and, to a tolerance relative to the largest element, values; NaN nowhere."""
    assert found.keys() == expected.keys()
    for n, e in expected.items():
        assert found[n].shape == e.shape, f"{what}: {n} has shape {found[n].shape}, not {e.shape}"
        finite = np.abs(e[np.isfinite(e)])
        scale = max(1.0, float(finite.max(initial=0.0)))
        np.testing.assert_allclose(
            found[n], e, rtol=tolerance, atol=tolerance * scale, equal_nan=False, err_msg=f"{what}: {n}"
        )


def check(
    block: Block,
    given: Mapping[str, Any] | None = None,
    sizes: Mapping[str, int] = SIZES,
    *,
    smooth: bool = True,
    torch: bool = True,
    seed: int = 0,
    wrt: list[str] | None = None,
) -> None:
    """Forward against torch; the VJP against torch's autograd and, where `smooth`, finite differences."""
    wrt = [v.name for v in block.inputs if v.dtype == "real"] if wrt is None else wrt
    seeds = [n for n, v in block.outputs if v.dtype == "real"]
    arrays = draw(block, sizes, given or {}, seed)
    outputs = interpret(block, arrays, sizes)
    rng = np.random.default_rng(seed + 1)
    g = {n: rng.normal(size=outputs[n].shape) for n in seeds}
    backward = vjp(block, wrt, seeds)
    verify(backward)
    for n in wrt:
        assert backward.output[f"d {n}"].axes == block.input[n].axes
    found = interpret(backward, {**arrays, **{f"d {n}": g[n] for n in seeds}}, sizes)
    found = {n: found[f"d {n}"] for n in wrt}
    if torch:
        close(outputs, run_torch(block, arrays, sizes), 1e-12, "forward against torch")
        close(found, grad_torch(block, arrays, sizes, wrt, g), 1e-11, "VJP against torch")
    if smooth:
        close(found, _differences(block, arrays, sizes, wrt, g), 1e-7, "VJP against finite differences")


def _differences(
    block: Block,
    arrays: Mapping[str, np.ndarray],
    sizes: Mapping[str, int],
    wrt: list[str],
    g: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Central differences of `sum(g * outputs)`."""

    def total(n: str, x: np.ndarray) -> float:
        outputs = interpret(block, {**arrays, n: x}, sizes)
        return sum(float(np.sum(g[k] * outputs[k])) for k in g)

    step = 1e-5
    found = {}
    for n in wrt:
        x = arrays[n]
        found[n] = np.zeros(x.shape)
        for i in np.ndindex(*x.shape):
            delta = np.zeros(x.shape)
            delta[i] = step
            found[n][i] = (total(n, x + delta) - total(n, x - delta)) / (2 * step)
    return found
