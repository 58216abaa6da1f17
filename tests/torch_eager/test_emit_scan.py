"""Scans and convolutions as emitted torch code against the interpreter, and their gradients against the VJP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from recc.backends.torch_eager import scan
from recc.forms.block import ZERO, Value
from recc.forms.builder import Builder
from tests.forms.laws import build
from tests.torch_eager.emit_laws import LEADS, check_emitted

SMALL = {"b": 2, "t": 5, "n": 2, "k": 3}
SEMIRINGS = ["max-plus", "min-plus", "log-sum-exp"]
ALGEBRAS: Any = ["ring", *SEMIRINGS]


@pytest.fixture(params=["as it comes", "blocks of 2", "blocks of 3"])
def length(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every case both as it is run at its size and in blocks of blocks."""
    if request.param != "as it comes":
        wanted = int(request.param[-1])
        monkeypatch.setattr(scan, "_elementwise_block", lambda a, b, dim, size: wanted if size > wanted else 0)
        monkeypatch.setattr(scan, "_matrix_block", lambda a, b, dim, size: wanted if size > wanted else 0)


pytestmark = pytest.mark.usefixtures("length")


def check_both_ways(make: Any, sizes: Mapping[str, int], given: Mapping[str, Any] | None = None) -> None:
    for number, lead in enumerate(LEADS):
        reverse = number % 2 == 1
        block = build(lambda b, r=reverse: make(b, r))
        check_emitted(block, given, sizes, lead=lead, seed=number, tolerance=1e-10)


AXES = [
    ("tn", "tn", "n"),
    ("t", "tn", "n"),
    ("tn", "t", ""),
    ("n", "tn", "n"),
    ("", "t", "k"),
    ("t", "n", "k"),
    ("btn", "tk", "nk"),
    ("n", "n", ""),
]


@pytest.mark.parametrize("algebra", ALGEBRAS)
@pytest.mark.parametrize("axes", AXES, ids=str)
def test_elementwise(axes: tuple[str, str, str], algebra: Any) -> None:
    def make(b: Builder, reverse: bool) -> Value:
        a, drive, first = (b.input(n, x) for n, x in zip("abc", axes, strict=True))
        return b.scan({(0, 0): a}, [drive], [first], "t", algebra, reverse=reverse)[0]

    for size in (1, 7):
        check_both_ways(make, {**SMALL, "t": size})


@pytest.mark.parametrize("algebra", ALGEBRAS)
@pytest.mark.parametrize("entries", [[(0, 0), (0, 1), (1, 0)], [(0, 0), (1, 0)], [(0, 1), (1, 0)], [(1, 0)]], ids=str)
def test_components(entries: list[tuple[int, int]], algebra: Any) -> None:
    def make(b: Builder, reverse: bool) -> dict[str, Value]:
        a = {kl: b.input(f"a{kl[0]}{kl[1]}", ("tn", "n", "t")[i]) for i, kl in enumerate(entries)}
        drives = [b.input("b0", ("t", "n")), b.input("b1", ("t",))]
        firsts = [b.input("c0", ("n",)), b.input("c1", ())]
        h, z = b.scan(a, drives, firsts, "t", algebra, reverse=reverse)
        return {"h": h, "z": z}

    check_both_ways(make, {**SMALL, "t": 7})


def test_one_component_of_two() -> None:
    def make(b: Builder, reverse: bool) -> Value:
        a = {(0, 1): b.constant(1.0), (1, 0): b.input("p", ()), (1, 1): b.input("q", ("n",))}
        zero = b.constant(0.0)
        return b.scan(a, [zero, b.input("x", ("t", "n"))], [zero, zero], "t", reverse=reverse)[1]

    check_both_ways(make, {**SMALL, "t": 9})


MATRICES = [
    ("tnm", "tn", "n"),
    ("nm", "tn", "n"),
    ("nm", "tnk", "nk"),
    ("bnm", "btnk", "n"),
    ("btnm", "tnk", "bn"),
    ("tnm", "n", "nk"),
    ("btnm", "btnk", "nk"),
]


@pytest.mark.parametrize("algebra", ALGEBRAS)
@pytest.mark.parametrize("axes", MATRICES, ids=str)
def test_matrices(axes: tuple[str, str, str], algebra: Any) -> None:
    def make(b: Builder, reverse: bool) -> Value:
        a, drive, first = (b.input(n, x) for n, x in zip("abc", axes, strict=True))
        return b.scan({(0, 0): a}, [drive], [first], "t", algebra, ("n",), ("m",), reverse)[0]

    check_both_ways(make, {**SMALL, "t": 7})


@pytest.mark.parametrize("algebra", ALGEBRAS)
def test_components_of_matrices(algebra: Any) -> None:
    def make(b: Builder, reverse: bool) -> dict[str, Value]:
        a = {(0, 0): b.input("p", ("t", "n", "m")), (1, 0): b.input("q", ("n", "m")), (0, 1): b.input("r", ("n", "m"))}
        drives = [b.input("x", ("t", "n", "k")), b.input("y", ("n",))]
        h, z = b.scan(a, drives, [b.constant(0.5, ("n",)), b.input("w", ("n",))], "t", algebra, ("n",), ("m",), reverse)
        return {"h": h, "z": z}

    check_both_ways(make, {**SMALL, "t": 5})


@pytest.mark.parametrize("algebra", ALGEBRAS)
def test_numbers_as_operands(algebra: Any) -> None:
    def make(b: Builder, reverse: bool) -> dict[str, Value]:
        one, half = b.constant(1.0), b.constant(0.5, ("n",))
        y, z = b.scan(
            {(0, 1): one, (1, 0): half, (1, 1): half}, [half, one], [one, half], "t", algebra, reverse=reverse
        )
        (x,) = b.scan({(0, 0): half}, [b.input("x", "t")], [one], "t", algebra, reverse=reverse)
        return {"x": x, "y": y, "z": z}

    check_both_ways(make, {**SMALL, "t": 7})


def test_matrices_over_two_axes() -> None:
    order = {"t": "t", "i": "i", "k": "k", "p": "p", "q": "i", "r": "p"}

    for number, lead in enumerate(LEADS):
        b = Builder("two", dict(order))
        a = b.input("a", ("t", "i", "p", "q", "r"))
        drive, first = b.input("b", ("t", "i", "k", "p")), b.input("c", ("i", "p"))
        (h,) = b.scan({(0, 0): a}, [drive], [first], "t", "ring", ("i", "p"), ("q", "r"), number == 1)
        b.output("h", h)
        check_emitted(b.build(), sizes={"t": 5, "i": 2, "p": 2, "k": 3}, lead=lead, seed=number)


@pytest.mark.parametrize("algebra", SEMIRINGS)
def test_the_zero_of_a_semiring_leaves_no_nan(algebra: Any) -> None:
    zero = np.inf if algebra == "min-plus" else -np.inf

    def some(x: np.ndarray) -> np.ndarray:
        return np.where(x > 0.3, zero, x)

    def make(b: Builder, reverse: bool) -> dict[str, Value]:
        one = b.scan(
            {(0, 0): b.input("a", "tn")}, [b.input("b", "tn")], [b.input("c", "n")], "t", algebra, (), (), reverse
        )
        a, drive = b.input("p", ("t", "n", "m")), b.input("q", ("t", "n"))
        two = b.scan({(0, 0): a}, [drive], [b.constant(zero)], "t", algebra, ("n",), ("m",), reverse)
        return {
            n: b.map("where", b.map("eq", v, b.constant(zero)), b.constant(0.0), v)
            for n, (v,) in zip("yz", (one, two), strict=True)
        }

    check_both_ways(make, {**SMALL, "t": 6}, dict.fromkeys("abcpq", some))


CONVOLUTIONS = [
    ("t", "t", ""),
    ("tn", "tn", ""),
    ("tn", "tk", ""),
    ("tnk", "tn", "n"),
    ("tn", "bt", "n"),
    ("btn", "tnk", "nk"),
    ("nt", "bnt", "b"),
]


@pytest.mark.parametrize("axes", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("size", [0, 1, 6, 20])
def test_convolutions(axes: tuple[str, str, str], size: int, request: pytest.FixtureRequest) -> None:
    if "as it comes" not in request.node.name:
        return

    def make(b: Builder, reverse: bool) -> Value:
        return b.convolve(b.input("x", axes[0]), b.input("y", axes[1]), "t", axes[2], reverse)

    if size < 10:
        check_both_ways(make, {**SMALL, "t": size})
    else:
        for reverse in (False, True):
            block = build(lambda b, r=reverse: make(b, r))
            check_emitted(block, sizes={"t": size, "b": 1, "n": 2, "k": 1}, lead=(2,), seed=3)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("size", [40, 300])
def test_long_scans_in_blocks_of_blocks(size: int, reverse: bool) -> None:
    torch.manual_seed(0)
    a, b, first = torch.rand(3, size, 2).double(), torch.randn(3, size, 2).double(), torch.randn(3, 2).double()
    (found,) = scan.scan(((0, 0),), (a,), (b,), (first,), -2, size, "ring", reverse)
    state, expected = first, torch.zeros_like(b)
    for t in range(size)[:: -1 if reverse else 1]:
        state = a[:, t] * state + b[:, t]
        expected[:, t] = state
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("algebra", ALGEBRAS)
@pytest.mark.parametrize("axes", [("tn", "n"), ("t", "nk"), ("n", "k"), ("", "")], ids=str)
def test_without_a_drive(axes: tuple[str, str], algebra: Any) -> None:
    def make(b: Builder, reverse: bool) -> Value:
        zero = b.constant(ZERO[algebra])
        a, first = b.input("a", axes[0]), b.input("c", axes[1])
        return b.scan({(0, 0): a}, [zero], [first], "t", algebra, reverse=reverse)[0]

    check_both_ways(make, {**SMALL, "t": 9})
