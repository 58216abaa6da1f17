"""The exact evaluator of Blocks agrees with the interpreter, operation by operation."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from recc.forms.block import MAP_ARITY, Block, Value
from recc.forms.builder import Builder
from recc.forms.interpret import interpret
from recc.prove.blocks import interpret_exactly
from recc.prove.decide import approximate
from recc.prove.ring import Space

SIZES = {"x": 3, "i": 2}
Array = np.ndarray[Any, np.dtype[Any]]


def agree(block: Block, seed: int = 0, positive: bool = False) -> None:
    rng = np.random.default_rng(seed)
    inputs: dict[str, Array] = {}
    for v in block.inputs:
        shape = tuple(SIZES[block.root[a]] for a in v.axes)
        number = rng.integers(1, 16, shape) / 8 if positive else rng.integers(-16, 16, shape) / 8
        inputs[v.name] = {"real": number, "int": rng.integers(-2, 4, shape), "bool": rng.integers(0, 2, shape) > 0}[
            v.dtype
        ]
    expected = interpret(block, inputs, SIZES)
    exact = {n: np.frompyfunc(lambda x: Fraction(float(x)), 1, 1)(np.asarray(a)) for n, a in inputs.items()}
    found = interpret_exactly(Space(), block, {n: np.asarray(a, object) for n, a in exact.items()}, SIZES)
    for name, value in expected.items():
        got = np.vectorize(lambda x: float(approximate(x, {}).real), otypes=[float])(found[name])
        np.testing.assert_allclose(got, np.asarray(value, float), rtol=1e-11, atol=1e-11, err_msg=f"{name}\n{block}")


def builder() -> Builder:
    return Builder("block", {"x": "x", "y": "x", "i": "i", "j": "i"})


@pytest.mark.parametrize("fn", MAP_ARITY)
def test_maps(fn: str) -> None:
    b = builder()
    kind = "bool" if fn in ("and", "or", "not") else "real"
    args = [b.input(f"a{k}", ("x", "i")[: 2 - k], kind) for k in range(MAP_ARITY[fn])]
    if fn == "where":
        args[0] = b.input("c", ("x",), "bool")
    b.output("out", b.map(fn, *args))
    agree(b.build(), positive=fn in ("log", "log1p", "sqrt", "rsqrt", "pow"))


def made(name: str, b: Builder) -> Value:
    x, m = b.input("v", ("x",)), b.input("m", ("x", "i"))
    square, index = b.input("s", ("i", "j")), b.input("n", ("x",), "int")
    match name.split():
        case ["contract"]:
            return b.contract((m, x, square), ("i", "x"))
        case ["reduce", fn]:
            return b.reduce(fn, m, ("x",))  # type: ignore[arg-type]  # one of three names
        case ["cumulate", fn, *way]:
            every = 2 if "every" in way else 0
            return b.cumulate(fn, m, "x", "reverse" in way, "exclusive" in way, every)  # type: ignore[arg-type]  # names of operations as text
        case ["segment"]:
            return b.segment(m, "x", "y")
        case ["mask", strict]:
            return b.mask(b.map("mul", m, b.rename(x, {"x": "y"})), "x", "y", strict == "strict")
        case ["shift", edge]:
            return b.shift(m, "x", -1, edge)  # type: ignore[arg-type]  # names of operations as text
        case ["gather", edge]:
            return b.gather(m, "x", index, edge)  # type: ignore[arg-type]  # names of operations as text
        case ["scatter", edge]:
            return b.scatter(x, "i", index, edge, ("i",))  # type: ignore[arg-type]  # names of operations as text
        case ["matrix", fn, *way]:
            args = (square, b.rename(b.contract((m, x), ("x",)), {})) if fn.startswith("solve") else (square,)
            return b.matrix(fn, args, "i", "j", transposed="transposed" in way)
        case ["convolve", *way]:
            return b.convolve(x, m, "x", ("i",), reverse="reverse" in way)
        case ["scan", algebra, *way]:
            a = {(0, 0): x, (0, 1): m, (1, 1): b.map("neg", x)}
            first = (b.input("f", ("i",)), b.constant(0.0))
            return b.scan(a, (m, x), first, "x", algebra, reverse="reverse" in way)[0]  # type: ignore[arg-type]  # names of operations as text
        case ["dense", algebra]:
            return b.scan({(0, 0): square}, (m,), (b.input("f", ("i",)),), "x", algebra, ("i",), ("j",))[0]  # type: ignore[arg-type]  # names of operations as text
    raise AssertionError(name)


@pytest.mark.parametrize(
    "name",
    [
        "contract", "reduce max", "reduce min", "reduce prod", "cumulate sum", "cumulate prod reverse",
        "cumulate sum exclusive", "cumulate prod reverse exclusive", "cumulate sum every", "cumulate sum reverse every",
        "segment", "mask strict", "mask loose", "shift zero", "shift wrap", "shift clamp", "gather zero", "gather wrap",
        "gather clamp", "scatter zero", "scatter wrap", "scatter clamp", "matrix solve", "matrix solve transposed",
        "matrix solve_unit_lower", "matrix solve_unit_lower transposed", "matrix inv", "convolve", "convolve reverse",
        "scan ring", "scan ring reverse", "scan max-plus", "scan min-plus reverse", "scan log-sum-exp", "dense ring",
        "dense max-plus", "dense log-sum-exp", "matrix expm",
    ],
)  # fmt: skip
def test_operations(name: str) -> None:
    b = builder()
    b.output("out", made(name, b))
    block = b.build()
    agree(block, seed=1)
