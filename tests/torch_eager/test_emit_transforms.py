"""Emitted functions under torch's own transforms: derivatives of any order, tracing, mapping over batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import grad, jvp, vmap

from recc.forms.block import Block, Value
from recc.forms.builder import Builder
from tests.forms.laws import SIZES, build
from tests.forms.test_vjp_ops import well
from tests.torch_eager.emit_laws import drawn, env, load, some_leads

Make = Callable[[Builder], Value]


def attention(b: Builder) -> Value:
    """A chunk of linear attention with a scalar decay."""
    q, k, v, d = (b.input(n, x) for n, x in zip("qkvd", ("tn", "tn", "tk", "t"), strict=True))
    pairs = b.contract((q, b.rename(k, {"t": "s"})), ("n",))
    return b.contract((pairs, b.segment(b.map("sigmoid", d), "t", "s"), b.rename(v, {"t": "s"})), ("s",))


def delta(b: Builder) -> Value:
    lower = b.mask(b.contract((b.input("x", "tn"), b.rename(b.input("y", "tn"), {"t": "s"})), ("n",)), "t", "s", True)
    return b.matrix("solve_unit_lower", (lower, b.input("v", "tk")), "t", "s")


def scalars(b: Builder) -> Value:
    x, y = b.input("x", "t"), b.input("y", "tn")
    z = b.map("logaddexp", b.map("softplus", x), b.map("log_sigmoid", y))
    return b.map("where", b.map("gt", x, b.constant(0.2)), z, b.map("pow", b.map("exp", x), y))


def spikes(b: Builder) -> Value:
    x, y = b.input("x", "t"), b.input("y", "tn")
    spike = b.map("real", b.map("gt", x, b.constant(0.0)))
    return b.map("mul", b.map("surrogate", spike, b.map("tanh", x)), b.map("mul", b.map("stop", y), y))


def one_scan(algebra: Any) -> Make:
    return lambda b: b.scan({(0, 0): b.input("a", "tn")}, [b.input("b", "tn")], [b.input("c", "n")], "t", algebra)[0]


def matrix_scan(algebra: Any, a: str) -> Make:
    return lambda b: b.scan(
        {(0, 0): b.input("a", a)}, [b.input("b", "tn")], [b.input("c", "n")], "t", algebra, ("n",), ("m",)
    )[0]


CASES: dict[str, Make] = {
    "attention": attention,
    "delta": delta,
    "scalars": scalars,
    "scan": one_scan("ring"),
    "scan of maxima": one_scan("max-plus"),
    "scan of logarithms": one_scan("log-sum-exp"),
    "scan of matrices": matrix_scan("ring", "tnm"),
    "scan of one matrix": matrix_scan("ring", "nm"),
    "scan of matrices of logarithms": matrix_scan("log-sum-exp", "tnm"),
    "convolution": lambda b: b.convolve(b.input("x", "tnk"), b.input("y", "tn"), "t", ("n",)),
    "running products": lambda b: b.cumulate("prod", b.input("x", "tn"), "t", reverse=True, exclusive=True),
    "products": lambda b: b.reduce("prod", b.input("x", "tn"), ("t",)),
    "running sums": lambda b: b.cumulate("sum", b.input("x", "tn"), "t", every=2),
    "gather": lambda b: b.gather(b.input("x", "tnk"), "n", b.input("i", "tk", "int"), "zero"),
    "scatter": lambda b: b.scatter(b.input("x", "tk"), "n", b.input("i", "t", "int"), "clamp", ("n", "k")),
    "shift": lambda b: b.shift(b.input("x", "tn"), "t", -1, "clamp"),
    "maximum": lambda b: b.reduce("max", b.input("x", "tn"), ("n",)),
    "expm": lambda b: b.matrix("expm", (b.input("x", "bnm"),), "n", "m"),
    "inverse": lambda b: b.matrix("inv", (b.map("mul", b.input("w", "bnm"), b.constant(1.0)),), "n", "m"),
    "solve": lambda b: b.matrix("solve", (b.input("w", "nm"), b.input("v", "bn")), "n", "m", transposed=True),
}
#: Cases whose derivative is not that of their value.
FREE: dict[str, Make] = {"spikes": spikes}
LONG = {**SIZES, "t": 20}


def tensors(block: Block, sizes: dict[str, int], lead: tuple[int, ...], seed: int = 0) -> dict[str, Tensor]:
    arrays = drawn(block, sizes, {"w": well}, some_leads(block, lead, seed), seed)
    return {n: torch.as_tensor(x) for n, x in arrays.items()}


def split(given: dict[str, Tensor]) -> tuple[list[str], list[Tensor]]:
    """The real inputs."""
    names = [n for n, x in given.items() if x.is_floating_point()]
    return names, [given[n] for n in names]


@pytest.mark.parametrize("name", CASES)
def test_derivatives_of_second_order(name: str) -> None:
    block = build(CASES[name])
    sizes = {"t": 3, "n": 2, "k": 2, "b": 2}
    given = tensors(block, sizes, (2,))
    names, values = split(given)
    f = load(block)

    def run(*xs: Tensor) -> Tensor:
        return f({**given, **dict(zip(names, xs, strict=True))}, sizes, env((2,)))["y"].sin()

    for x in values:
        x.requires_grad_()
    torch.autograd.gradcheck(run, values)
    torch.autograd.gradgradcheck(run, values)


@pytest.mark.parametrize("name", [*CASES, *FREE])
def test_tracing(name: str) -> None:
    torch.compiler.reset()
    block = build({**CASES, **FREE}[name])
    sizes = LONG if "scan" in name else dict(SIZES)
    given = tensors(block, sizes, (2, 3))
    f = load(block)

    def run(given: dict[str, Tensor]) -> Tensor:
        return f(given, sizes, env((2, 3)))["y"].sin()

    compiled = torch.compile(run, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(given), run(given), rtol=0, atol=0)


@pytest.mark.parametrize("name", CASES)
def test_mapping_and_derivatives_as_functions(name: str) -> None:
    block = build({**CASES, **FREE}[name])
    sizes = LONG if "scan" in name else dict(SIZES)
    one = tensors(block, sizes, ())
    names, values = split(one)
    f = load(block)

    def run(*xs: Tensor) -> Tensor:
        return f({**one, **dict(zip(names, xs, strict=True))}, sizes, env(()))["y"]

    rng = np.random.default_rng(1)
    several = [
        torch.stack([x + 0.1 * torch.as_tensor(rng.normal(size=tuple(x.shape))) for _ in range(3)]) for x in values
    ]
    expected = torch.stack([run(*(x[i] for x in several)) for i in range(3)])
    torch.testing.assert_close(vmap(run)(*several), expected)

    def total(*xs: Tensor) -> Tensor:
        return run(*xs).sin().sum()

    every = tuple(range(len(values)))
    slopes = vmap(grad(total, argnums=every))(*several)
    for i in range(3):
        leaves = [x[i].clone().requires_grad_() for x in several]
        found = torch.autograd.grad(total(*leaves), leaves, allow_unused=True)
        for whole, slope in zip(slopes, found, strict=True):
            torch.testing.assert_close(whole[i], torch.zeros_like(whole[i]) if slope is None else slope)
    directions = tuple(torch.as_tensor(rng.normal(size=tuple(x.shape))) for x in values)
    _, forward = jvp(total, tuple(values), directions)
    backward = grad(total, argnums=every)(*values)
    torch.testing.assert_close(forward, sum((d * s).sum() for d, s in zip(directions, backward, strict=True)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CASES)
def test_results_have_the_given_dtype(name: str, dtype: torch.dtype) -> None:
    block = build(CASES[name])
    given = tensors(block, dict(SIZES), (2,))
    cast = {n: x.to(dtype) if x.is_floating_point() else x for n, x in given.items()}
    assert load(block)(cast, SIZES, env((2,), dtype))["y"].dtype == dtype
