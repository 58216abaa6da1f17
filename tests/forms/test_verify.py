"""The verifier finds a planted fault of every law, and names the operation and the law."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from recc.forms.block import (
    Block,
    BlockError,
    Constant,
    Contract,
    Convolve,
    Cumulate,
    Gather,
    Iota,
    Map,
    Mask,
    Matrix,
    Op,
    Reduce,
    Rename,
    Scan,
    Scatter,
    Segment,
    Shift,
    Value,
)
from recc.forms.verify import verify

ORDER = ("t", "s", "n", "m", "k")
SIZE_OF = (("t", "t"), ("s", "t"), ("n", "n"), ("m", "n"), ("k", "k"))
X, P = Value("x", ("t", "n")), Value("p", ("n",))
A, TS = Value("A", ("n", "m")), Value("W", ("t", "s"))
IX, C = Value("i", ("k",), "int"), Value("c", ("t",), "bool")
INPUTS = (X, P, A, TS, IX, C)


def out(*axes: str, dtype: Any = "real") -> Value:
    return Value("out", axes, dtype)


def scan(result: Value = X, **other: Any) -> Scan:
    """A recurrence over t of one component with a transition along n, or what differs from it."""
    parts = {"entries": ((0, 0),), "a": (P,), "b": (X,), "first": (P,), "axis": "t", "component": 0}
    return Scan(**{"out": out(*result.axes, dtype=result.dtype), **parts, "algebra": "ring", **other})


def matrices(**other: Any) -> Scan:
    """A recurrence with a matrix over n and m."""
    return scan(**{"a": (A,), "rows": ("n",), "cols": ("m",), **other})


def block(*ops: Op) -> Block:
    return Block("b", INPUTS, ops, tuple((f"y{i}", op.out) for i, op in enumerate(ops)), ORDER, SIZE_OF)


GOOD: list[Op] = [
    Constant(out("t"), 2.5),
    Constant(out(dtype="int"), 2.0),
    Constant(out(dtype="bool"), 1.0),
    Iota(out("t", dtype="int"), "t"),
    Rename(out("n", "m"), A, (("n", "m"), ("m", "n"))),
    Map(out("t", "n"), "mul", (X, P)),
    Map(out("t", "n"), "where", (C, X, P)),
    Map(out("t", "n", dtype="bool"), "gt", (X, P)),
    Map(out("k", dtype="int"), "add", (IX, IX)),
    Contract(out("n"), (X, P), ("t",)),
    Contract(out("t", "n"), (X, P), ()),
    Reduce(out("t"), "max", X, ("n",)),
    Reduce(out("t"), "prod", X, ("n",)),
    Cumulate(out("t", "n"), "sum", X, "t"),
    Cumulate(out("t", "n"), "prod", X, "t", every=3),
    scan(),
    scan(algebra="log-sum-exp", reverse=True, a=(X,), b=(P,)),
    scan(entries=((0, 1), (1, 0)), a=(P, X), b=(X, X), first=(P, P), component=1),
    matrices(),
    Convolve(out("t"), X, X, "t", ("n",)),
    Convolve(out("t", "s", "n"), X, TS, "t"),
    Segment(out("t", "s", "n"), X, "t", "s"),
    Mask(out("t", "s"), TS, "t", "s", True),
    Matrix(out("n"), "solve", (A, P), "n", "m", True),
    Matrix(out("t", "n"), "solve_unit_lower", (A, X), "n", "m"),
    Matrix(out("n", "m"), "inv", (A,), "n", "m"),
    Matrix(out("n", "m"), "expm_vjp", (A, A), "n", "m"),
    Shift(out("t", "n"), X, "t", -3, "clamp"),
    Gather(out("n", "k"), X, "t", IX, "zero"),
    Scatter(out("t"), Value("z", ("k",)), "t", IX, "wrap"),
]


@pytest.mark.parametrize("op", GOOD, ids=lambda op: type(op).__name__)
def test_good_operations_pass(op: Op) -> None:
    verify(replace(block(op), inputs=(*INPUTS, Value("z", ("k",)))))


@dataclass(frozen=True)
class Unknown(Op):
    """An operation that Blocks do not have."""


FAULTS: list[tuple[Op, str]] = [
    (Unknown(out()), "Unknown is an operation of Blocks"),
    (Map(out("t"), "exp", (Value("q", ("t",)),)), "q is defined before it is used"),
    (Map(out("t"), "exp", (Value("x", ("t",)),)), "x is read as it is defined, as x[t, n]"),
    (Map(Value("x", ("n",)), "exp", (P,)), "x is defined once"),
    (Constant(out("z"), 1.0), "z is an axis of the Block"),
    (Constant(out("n", "t"), 1.0), "axes are in canonical order, each once"),
    (Constant(out("t", "t"), 1.0), "axes are in canonical order, each once"),
    (Constant(out("t", dtype="complex"), 1.0), "complex is a dtype of Blocks"),
    (Constant(out(dtype="int"), 0.5), "0.5 is a value of dtype int"),
    (Constant(out(dtype="int"), float("inf")), "inf is a value of dtype int"),
    (Constant(out(dtype="bool"), 2.0), "2 is a value of dtype bool"),
    (Iota(out("t", dtype="int"), "n"), "the result has axes [n]"),
    (Iota(out("t"), "t"), "the result is int"),
    (Iota(out(dtype="int"), "z"), "z is an axis of the Block"),
    (Rename(out("k"), P, (("n", "k"),)), "n and k have one size"),
    (Rename(out("z"), P, (("n", "z"),)), "n and z have one size"),
    (Rename(out("n"), P, (("n", "n"),)), "n is used for one thing only"),
    (Rename(out("m"), A, (("n", "m"),)), "no two axes get one name"),
    (Rename(out("m"), P, (("n", "m"), ("n", "m"))), "each axis is renamed once"),
    (Rename(out("n"), P, (("t", "s"),)), "p has axis t"),
    (Rename(out("n"), P, (("n", "m"),)), "the result has axes [m]"),
    (Map(out("n"), "cosh", (P,)), "cosh is a scalar function"),
    (Map(out("n"), "add", (P,)), "add takes 2 arguments"),
    (Map(out("t"), "mul", (X, P)), "the result has axes [t, n]"),
    (Map(out("n", dtype="int"), "exp", (P,)), "the result is real"),
    (Map(out("n"), "gt", (P, P)), "the result is bool"),
    (Map(out("t", "n"), "where", (X, X, P)), "x is bool"),
    (Map(out("n", dtype="bool"), "not", (P,)), "p is bool"),
    (Map(out("t", "k", dtype="bool"), "and", (C, IX)), "i is bool"),
    (Contract(out(), (), ()), "there is a factor"),
    (Contract(out(), (IX,), ("k",)), "i is real"),
    (Contract(out("n"), (P,), ("t",)), "a factor has axis t"),
    (Contract(out(), (P,), ("n", "n")), "each axis is summed once"),
    (Contract(out("t"), (X, P), ("t",)), "the result has axes [n]"),
    (Reduce(out("t"), "mean", X, ("n",)), "mean is a reduction"),
    (Reduce(out(), "prod", X, ("t", "n")), "prod takes one axis"),
    (Reduce(out("t", "n"), "max", X, ()), "there are axes to reduce, each once"),
    (Reduce(out(), "max", C, ("t",)), "c is real"),
    (Reduce(out("n"), "max", P, ("t",)), "p has axis t"),
    (Reduce(out("t", "n"), "max", X, ("n",)), "the result has axes [t]"),
    (Cumulate(out("n"), "max", P, "n"), "max runs along an axis"),
    (Cumulate(out("k"), "sum", IX, "k"), "i is real"),
    (Cumulate(out("n"), "sum", P, "t"), "p has axis t"),
    (Cumulate(out(), "sum", P, "n"), "the result has axes [n]"),
    (Cumulate(out("n"), "sum", P, "n", every=-1), "a stretch is a number of elements"),
    (Cumulate(out("n"), "sum", P, "n", every=1.5), "a stretch is a number of elements"),
    (scan(algebra="tropical"), "tropical is an algebra"),
    (scan(first=()), "each component has a drive and a first state"),
    (scan(component=1), "1 is a component"),
    (scan(a=(P, P)), "each entry has a transition"),
    (scan(entries=(), a=()), "there is an entry"),
    (scan(entries=((0, 0), (0, 0)), a=(P, P)), "entries are in order, each once"),
    (scan(entries=((0, 1),)), "entries are pairs of components"),
    (matrices(cols=()), "there are as many rows as columns"),
    (matrices(cols=("n",)), "axis, rows and columns are different"),
    (matrices(rows=("t",)), "axis, rows and columns are different"),
    (matrices(cols=("k",)), "n and k have one size"),
    (scan(b=(IX,)), "i is real"),
    (matrices(a=(P,)), "p has axis m"),
    (matrices(first=(Value("z", ("n", "k")),), b=(C,)), "c is real"),
    (matrices(b=(TS,)), "W has axis n"),
    (matrices(b=(A,)), "A has no axis m"),
    (scan(first=(X,)), "x has no axis t"),
    (scan(P), "the result has axes [t, n]"),
    (scan(Value("x", ("t", "n"), "int")), "the result is real"),
    (scan(P, axis="z", b=(P,)), "z is an axis of the Block"),
    (Convolve(out("t", "n"), X, C, "t"), "c is real"),
    (Convolve(out("t", "n"), X, P, "t"), "p has axis t"),
    (Convolve(out("t", "n"), P, X, "t"), "p has axis t"),
    (Convolve(out("n"), X, X, "t", ("t",)), "t is not summed over"),
    (Convolve(out("t", "n"), X, X, "t", ("k",)), "a factor has axis k"),
    (Convolve(out("t"), X, X, "t", ("n", "n")), "each axis is summed once"),
    (Convolve(out("t", "n"), X, X, "t", ("n",)), "the result has axes [t]"),
    (Segment(out("t", "n", "k"), X, "t", "k"), "t and k have one size"),
    (Segment(out("t", "n"), X, "t", "t"), "t is used for one thing only"),
    (Segment(out("k", dtype="int"), IX, "t", "s"), "i is real"),
    (Segment(out("n"), P, "t", "s"), "p has axis t"),
    (Segment(out("t", "s"), TS, "t", "s"), "W has no axis s"),
    (Segment(out("t", "n"), X, "t", "s"), "the result has axes [t, s, n]"),
    (Mask(out("t", "n"), X, "t", "n", False), "t and n have one size"),
    (Mask(out("t", "n"), X, "t", "s", False), "x has axis s"),
    (Mask(out("t", dtype="bool"), C, "t", "s", False), "c is real"),
    (Mask(out("t"), TS, "t", "s", False), "the result has axes [t, s]"),
    (Matrix(out("n", "m"), "det", (A,), "n", "m"), "det is a function of matrices"),
    (Matrix(out("n", "m"), "inv", (A, A), "n", "m"), "inv takes 1 arguments"),
    (Matrix(out("t", "n"), "inv", (X,), "t", "n"), "t and n have one size"),
    (Matrix(out("n", "m"), "inv", (P,), "n", "m"), "p has axis m"),
    (Matrix(out("k", dtype="int"), "inv", (IX,), "n", "m"), "i is real"),
    (Matrix(out("n"), "solve", (A, TS), "n", "m"), "W has axis n"),
    (Matrix(out("n"), "solve", (A, A), "n", "m"), "A has no axis m"),
    (Matrix(out("n", "m"), "solve", (A, P), "n", "m"), "the result has axes [n]"),
    (Matrix(out("n", "m"), "inv", (A,), "n", "m", True), "only the solves are transposed"),
    (Matrix(out("n", "m"), "expm_vjp", (A, P), "n", "m"), "p has axis m"),
    (Shift(out("n"), P, "n", 1.5, "zero"), "the offset is an integer"),
    (Shift(out("n"), P, "n", 1, "mirror"), "mirror is an edge rule"),
    (Shift(out("n"), P, "t", 1, "zero"), "p has axis t"),
    (Shift(out("k"), IX, "k", 1, "zero"), "the result is int"),
    (Gather(out("n"), X, "t", P, "zero"), "p is int"),
    (Gather(out("k"), P, "t", IX, "zero"), "p has axis t"),
    (Gather(out("k"), P, "n", IX, "mirror"), "mirror is an edge rule"),
    (Gather(out("n", "k"), P, "n", IX, "zero"), "the result has axes [k]"),
    (Scatter(out("t"), P, "t", P, "zero"), "p is int"),
    (Scatter(out("t", dtype="int"), IX, "t", IX, "zero"), "i is real"),
    (Scatter(out("t"), P, "t", IX, "zero"), "p has axis k"),
    (Scatter(out("n"), Value("z", ("n", "k")), "n", IX, "zero"), "z has no axis n"),
    (Scatter(out("k"), Value("z", ("n", "k")), "t", IX, "zero"), "out has axis t"),
    (Scatter(out("t", "m"), Value("z", ("n", "k")), "t", IX, "zero"), "z has axis m"),
    (Scatter(out("t", "n"), Value("z", ("n", "k")), "t", IX, "mirror"), "mirror is an edge rule"),
]


@pytest.mark.parametrize(("op", "law"), FAULTS, ids=lambda x: x if isinstance(x, str) else type(x).__name__)
def test_faults_of_operations(op: Op, law: str) -> None:
    faulty = replace(block(op), inputs=(*INPUTS, Value("z", ("n", "k"))))
    with pytest.raises(BlockError) as error:
        verify(faulty)
    text = str(error.value)
    assert text.endswith(f"broken law: {law}")
    assert text.startswith(f"block b: {op.out} = ")


BLOCKS: list[tuple[Callable[[Block], Block], str]] = [
    (lambda b: replace(b, order=(*ORDER, "t")), "the axes: broken law: each axis is listed once"),
    (
        lambda b: replace(b, order=(*ORDER, "z")),
        "the axes: broken law: every axis has a size, and nothing else has one",
    ),
    (
        lambda b: replace(b, order=("a", *ORDER), size_of=(("a", "s"), *SIZE_OF)),
        "the axes: broken law: the size of a is that of an axis with its own size",
    ),
    (lambda b: replace(b, inputs=(X, X)), "input x[t, n]: broken law: x is defined once"),
    (lambda b: replace(b, inputs=(Value("x", ("z",)),)), "input x[z]: broken law: z is an axis of the Block"),
    (lambda b: replace(b, outputs=(("y", Value("w", ())),)), "output y = w[]: broken law: w is defined"),
    (lambda b: replace(b, outputs=(("y", X), ("y", P))), "the outputs: broken law: each output has a name of its own"),
]


@pytest.mark.parametrize(("spoil", "message"), BLOCKS, ids=lambda x: x if isinstance(x, str) else "")
def test_faults_of_blocks(spoil: Callable[[Block], Block], message: str) -> None:
    with pytest.raises(BlockError) as error:
        verify(spoil(block(GOOD[0])))
    assert str(error.value) == f"block b: {message}"


def test_an_operation_before_the_one_it_reads() -> None:
    first = Map(Value("a", ("n",)), "exp", (P,))
    second = Map(Value("b", ("n",)), "neg", (first.out,))
    verify(block(first, second))
    with pytest.raises(BlockError, match="a is defined before it is used"):
        verify(block(second, first))
