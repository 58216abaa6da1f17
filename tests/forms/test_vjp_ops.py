"""The VJP of every operation but `Map`: against torch's autograd and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from recc.forms.block import BlockError, Value
from recc.forms.builder import Builder
from recc.forms.interpret import interpret
from recc.forms.verify import verify
from recc.forms.vjp import vjp
from tests.forms.laws import AXES, SIZES, build, check

Make = Callable[[Builder], Value]


def well(x: np.ndarray) -> np.ndarray:
    """Matrices far from singular: the last two dimensions are the matrix."""
    return x + 4 * np.eye(x.shape[-1])


SMOOTH: dict[str, Make] = {
    "constant": lambda b: b.spread(b.constant(2.5), ("t",)),
    "sum": lambda b: b.contract((b.input("x", ("t", "n")),), ("n",)),
    "sum of all": lambda b: b.contract((b.input("x", ("t", "n", "k")),), ("t", "n", "k")),
    "dot": lambda b: b.contract((b.input("x", ("t", "n")), b.input("p", ("n",))), ("n",)),
    "matrix product": lambda b: b.contract((b.input("x", ("b", "t", "n")), b.input("p", ("n", "k"))), ("n",)),
    "three factors": lambda b: b.contract(
        (b.input("x", ("t", "n")), b.input("p", ("n", "k")), b.input("q", ("b", "k"))), ("n", "k")
    ),
    "a factor without the axis": lambda b: b.contract((b.input("x", ("t",)), b.input("p", ("n",))), ("n",)),
    "an axis of no factor": lambda b: b.contract((b.input("x", ("t",)),), ("n", "k")),
    "product kept": lambda b: b.contract((b.input("x", ("t",)), b.input("p", ("n",))), ()),
    "maximum": lambda b: b.reduce("max", b.input("x", ("t", "n", "k")), ("n", "k")),
    "minimum": lambda b: b.reduce("min", b.input("x", ("t", "n")), ("t",)),
    "product": lambda b: b.reduce("prod", b.input("x", ("t", "n")), ("t", "n")),
    "segment": lambda b: b.segment(b.input("x", ("b", "t")), "t", "s"),
    "segment of a vector": lambda b: b.segment(b.input("x", ("n", "t")), "t", "s"),
    "segment with row after col": lambda b: b.segment(b.input("x", ("s", "n")), "s", "t"),
    "mask": lambda b: b.mask(b.input("x", ("b", "t", "s")), "t", "s"),
    "strict mask": lambda b: b.mask(b.input("x", ("t", "s")), "t", "s", strict=True),
    "mask of a vector": lambda b: b.mask(b.input("x", ("s",)), "s", "t"),
    "rename": lambda b: b.rename(b.input("x", ("t", "n")), {"n": "m", "t": "s"}),
    "transpose": lambda b: b.rename(b.input("x", ("b", "n", "m")), {"n": "m", "m": "n"}),
    "expm": lambda b: b.matrix("expm", (b.input("x", ("b", "n", "m")),), "n", "m"),
    "expm of columns by rows": lambda b: b.matrix("expm", (b.input("x", ("n", "m")),), "m", "n"),
    "spread": lambda b: b.spread(b.input("x", ("n",)), ("t", "k")),
}
for _fn in ("sum", "prod"):
    for _reverse in (False, True):
        for _exclusive in (False, True):
            _name = f"running {_fn}{' back' * _reverse}{' exclusive' * _exclusive}"
            SMOOTH[_name] = lambda b, f=_fn, r=_reverse, e=_exclusive: b.cumulate(
                f, b.input("x", ("b", "t")), "t", reverse=r, exclusive=e
            )
for _edge in ("zero", "wrap", "clamp"):
    for _offset in (-6, -2, -1, 1, 2, 6):
        SMOOTH[f"shift {_edge} {_offset}"] = lambda b, e=_edge, o=_offset: b.shift(b.input("x", ("t", "n")), "t", o, e)


@pytest.mark.parametrize("name", SMOOTH)
def test_operations(name: str) -> None:
    check(build(SMOOTH[name]))


@pytest.mark.parametrize("name", SMOOTH)
def test_operations_after_and_before_others(name: str) -> None:
    """The operand is not an input, the cotangent not a seed, and either may lack axes."""

    def make(b: Builder) -> Value:
        y = SMOOTH[name](b)
        total = b.contract((b.map("sin", y),), y.axes)
        return b.map("mul", total, total)

    check(build(make))


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("size", [0, 1])
def test_sizes_zero_and_one(name: str, size: int) -> None:
    for axis in ("t", "n"):
        check(build(SMOOTH[name]), sizes={**SIZES, axis: size})


@pytest.mark.parametrize("name", [n for n in SMOOTH if not n.startswith("expm")])
def test_second_order(name: str) -> None:
    def make(b: Builder) -> Value:
        y = SMOOTH[name](b)
        return b.map("mul", y, b.map("exp", y))

    block = build(make)
    wrt = [v.name for v in block.inputs]
    if wrt:
        first = vjp(block, wrt, ["y"])
        check(first, smooth=False)


@pytest.mark.parametrize("zeros", [[], [1], [0], [3], [1, 2], [0, 1, 2, 3]], ids=str)
@pytest.mark.parametrize("name", [n for n in SMOOTH if "prod" in n or "segment" in n])
def test_products_with_zeros(name: str, zeros: list[int]) -> None:
    block = build(SMOOTH[name])
    axes = block.inputs[0].axes
    time = axes.index("s" if "s" in axes else "t")

    def with_zeros(x: np.ndarray) -> np.ndarray:
        np.moveaxis(x, time, 0)[zeros] = 0.0
        return x

    check(block, {"x": with_zeros})


@pytest.mark.parametrize("fn", ["max", "min"])
def test_ties_of_a_reduction_are_shared(fn: Any) -> None:
    block = build(lambda b: b.reduce(fn, b.input("x", ("t", "n")), ("n",)))
    inf = np.inf
    x = [[1.0, 1.0, 0.0], [2.0, 2.0, 2.0], [-inf, -inf, -inf], [inf, 0.0, inf]]
    check(block, {"x": x}, smooth=False)


SOLVES: dict[str, Make] = {
    "vector": lambda b: b.matrix("FN", (b.input("A", ("n", "m")), b.input("x", ("n",))), "n", "m"),
    "many right sides": lambda b: b.matrix("FN", (b.input("A", ("n", "m")), b.input("x", ("n", "k"))), "n", "m"),
    "many matrices": lambda b: b.matrix("FN", (b.input("A", ("b", "n", "m")), b.input("x", ("n",))), "n", "m"),
    "both": lambda b: b.matrix("FN", (b.input("A", ("b", "n", "m")), b.input("x", ("b", "n", "k"))), "n", "m"),
    "columns by rows": lambda b: b.matrix("FN", (b.input("A", ("n", "m")), b.input("x", ("m", "k"))), "m", "n"),
}


class _As:
    """A Builder that calls the function of matrices FN by another name."""

    def __init__(self, b: Builder, fn: str, transposed: bool):
        self.b, self.fn, self.transposed = b, fn, transposed
        self.input = b.input

    def matrix(self, fn: str, args: tuple[Value, ...], rows: str, cols: str) -> Value:
        return self.b.matrix(self.fn, args, rows, cols, transposed=self.transposed)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("fn", ["solve", "solve_unit_lower"])
@pytest.mark.parametrize("name", SOLVES)
def test_solves(name: str, fn: str, transposed: bool) -> None:
    block = build(lambda b: SOLVES[name](_As(b, fn, transposed)))
    check(block, {"A": well})
    check(block, {"A": well}, sizes={**SIZES, "n": 0})
    check(block, {"A": well}, sizes={**SIZES, "n": 1})
    first = vjp(block, ["A", "x"], ["y"])
    check(first, {"A": well})


@pytest.mark.parametrize("transposed", [False, True])
def test_a_unit_lower_solve_reads_only_below_the_diagonal(transposed: bool) -> None:
    block = build(lambda b: SOLVES["vector"](_As(b, "solve_unit_lower", transposed)))
    check(block, {"A": lambda a: np.tril(a, -1) + np.triu(np.full(a.shape, np.nan))}, torch=False)


@pytest.mark.parametrize("roles", [("n", "m"), ("m", "n")], ids=str)
def test_inverse(roles: tuple[str, str]) -> None:
    block = build(lambda b: b.matrix("inv", (b.input("A", ("b", "n", "m")),), *roles))
    check(block, {"A": well})
    check(vjp(block, ["A"], ["y"]), {"A": well})


def test_expm_of_large_and_nilpotent_matrices() -> None:
    block = build(SMOOTH["expm"])
    check(block, {"x": lambda a: 5 * a}, smooth=False)
    check(block, {"x": lambda a: np.triu(a, 1)})
    check(block, {"x": np.zeros_like})


def test_expm_has_one_derivative() -> None:
    first = vjp(build(SMOOTH["expm"]), ["x"], ["y"])
    check(first, wrt=["d y"], torch=False)
    with pytest.raises(BlockError, match="second derivative of expm"):
        vjp(first, ["x"], ["d x"])


INDEX = [(), ("n",), ("k",), ("b",), ("b", "n"), ("t",), ("t", "k"), ("b", "t")]


@pytest.mark.parametrize("edge", ["zero", "wrap", "clamp"])
@pytest.mark.parametrize("axes", INDEX, ids=str)
def test_gather(axes: tuple[str, ...], edge: Any) -> None:
    """Repeated and outside indices; the index may share axes with the tensor, the gathered one too."""
    block = build(lambda b: b.gather(b.input("x", ("b", "t", "k")), "t", b.input("i", axes, "int"), edge))
    given = {"i": np.random.default_rng(3).integers(-6, 10, [SIZES[a] for a in axes])}
    check(block, given)
    check(block)
    check(vjp(block, ["x"], ["y"]), given)

    def make(b: Builder) -> Value:
        y = b.gather(b.input("x", ("t",)), "t", b.input("i", axes, "int"), edge)
        total = b.contract((y, y), y.axes)
        return b.map("exp", b.map("neg", total))

    check(build(make), given)

    def total(b: Builder) -> Value:
        y = b.gather(b.input("x", ("b", "t", "k")), "t", b.input("i", axes, "int"), edge)
        return b.contract((y,), y.axes)

    check(build(total), given)


@pytest.mark.parametrize("edge", ["zero", "wrap", "clamp"])
def test_gather_of_nothing(edge: Any) -> None:
    block = build(lambda b: b.gather(b.input("x", ("b", "t")), "t", b.input("i", ("k",), "int"), edge))
    check(block, sizes={**SIZES, "k": 0})
    check(block, sizes={**SIZES, "b": 0})
    check(block, sizes={**SIZES, "t": 0}, torch=False)
    check(block, sizes={**SIZES, "t": 1})


@pytest.mark.parametrize("edge", ["zero", "wrap", "clamp"])
@pytest.mark.parametrize("axes", [("t",), ("b", "t"), ("k", "t"), ("b", "k", "t")], ids=str)
def test_scatter(axes: tuple[str, ...], edge: Any) -> None:
    block = build(lambda b: b.scatter(b.input("x", ("b", "k", "n")), "t", b.input("i", ("b", "n"), "int"), edge, axes))
    check(block)
    check(block, {"i": [[-7, 9, 1], [1, 1, 1]]})
    check(vjp(block, ["x"], ["y"]))
    check(block, sizes={**SIZES, "t": 0}, torch=False)


def test_a_gather_from_integers_carries_nothing() -> None:
    def make(b: Builder) -> Value:
        table = b.gather(b.input("table", ("n",), "int"), "n", b.input("i", ("k",), "int"), "clamp")
        return b.gather(b.input("x", ("t",)), "t", table, "wrap")

    check(build(make))


def test_an_input_may_be_an_output_and_two_outputs_one_value() -> None:
    def make(b: Builder) -> dict[str, Value]:
        x = b.input("x", ("t",))
        y = b.map("exp", x)
        return {"same": x, "y": y, "again": y}

    check(build(make))


def test_what_nothing_flows_to_is_zero() -> None:
    block = build(lambda b: b.map("floor", b.input("x", ("t", "n"))))
    backward = vjp(block, ["x"], ["y"])
    assert [type(op).__name__ for op in backward.ops] == ["Constant"]
    check(block)


def test_names_and_inputs_of_the_result() -> None:
    def make(b: Builder) -> dict[str, Value]:
        x, i = b.input("x", ("t",)), b.input("i", (), "int")
        return {"y": b.map("mul", x, i), "z": b.map("exp", x)}

    block = build(make, "step")
    backward = vjp(block, ["x"], ["z"])
    assert backward.name == "step_vjp"
    assert vjp(block, ["x"], ["z"], "back").name == "back"
    assert [v.name for v in backward.inputs] == ["x", "i", "d z"]
    assert [n for n, _ in backward.outputs] == ["d x"]


def test_the_forward_value_of_exp_is_used_again() -> None:
    backward = vjp(build(lambda b: b.map("exp", b.input("x", ("t",)), hint="e")), ["x"], ["y"])
    assert str(backward).splitlines()[-3:] == ["  e[t] = exp(x)", "  d_x[t] = mul(d y, e)", "  output d x = d_x"]


def test_a_broadcast_product_becomes_one_contract() -> None:
    backward = vjp(build(lambda b: b.map("mul", b.input("x", ("t", "n")), b.input("p", ("n",)))), ["p"], ["y"])
    assert [op.out.name for op in backward.ops] == ["d_p"]


def test_bad_requests() -> None:
    block = build(
        lambda b: {"y": b.map("exp", b.input("x", ())), "c": b.map("gt", b.input("i", (), "int"), b.iota("t"))}
    )
    for wrt, seeds, message in (
        (["z"], ["y"], "no input 'z'"),
        (["x"], ["z"], "no output 'z'"),
        (["i"], ["y"], "input 'i' is int, not real"),
        (["x"], ["c"], "output 'c' is bool, not real"),
    ):
        with pytest.raises(BlockError, match=message):
            vjp(block, wrt, seeds)
    clash = build(lambda b: b.map("mul", b.input("x", ()), b.input("d y", ())))
    with pytest.raises(BlockError, match="d y already"):
        vjp(clash, ["x"], ["y"])


def test_chunks_of_a_linear_recurrence() -> None:
    """A small chunked form: segment products, a causal mask and a unit lower solve together."""

    def make(b: Builder) -> Value:
        q, k, v = b.input("q", ("t", "n")), b.input("k", ("t", "n")), b.input("v", ("t", "k"))
        decay = b.segment(b.map("sigmoid", b.input("g", ("t",))), "t", "s")
        other = b.rename(k, {"t": "s"})
        kk = b.mask(b.map("mul", decay, b.contract((k, other), ("n",))), "t", "s", strict=True)
        w = b.matrix("solve_unit_lower", (kk, v), "t", "s")
        qk = b.mask(b.map("mul", decay, b.contract((q, other), ("n",))), "t", "s")
        return b.contract((qk, b.rename(w, {"t": "s"})), ("s",))

    check(build(make))
    first = vjp(build(make), ["q", "g"], ["y"])
    check(first, smooth=False)
    verify(first)
    assert set(AXES) < set(first.order)


def test_inputs_are_checked() -> None:
    block = build(SMOOTH["dot"])
    with pytest.raises(BlockError, match=r"input p.* is missing"):
        interpret(block, {"x": np.zeros((4, 3))}, SIZES)
    with pytest.raises(BlockError, match=r"shape \(4, 3\), not \(3, 4\)"):
        interpret(block, {"x": np.zeros((3, 4)), "p": np.zeros(3)}, SIZES)
