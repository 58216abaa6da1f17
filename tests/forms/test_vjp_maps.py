"""The VJP of every scalar function: smooth points, broadcasting, and the points where rules are conventions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sympy

from recc.forms.block import MAP_ARITY, Value
from recc.forms.builder import Builder
from recc.forms.interpret import interpret
from recc.forms.vjp import vjp
from recc.forms.vjp_rules import RULES
from tests.forms.laws import build, check

SMOOTH_1 = ["neg", "exp", "log1p", "expm1", "sigmoid", "log_sigmoid", "softplus", "tanh", "sin", "cos", "erf"]
SMOOTH_1 += ["stop", "abs", "sign", "floor"]
POSITIVE_1 = ["log", "sqrt", "rsqrt"]
SMOOTH_2 = ["add", "sub", "mul", "logaddexp", "max", "min"]
AXES_2 = [("tn", "tn"), ("tn", "n"), ("t", "n"), ("", "tn"), ("bk", ""), ("", "")]


def positive(x: np.ndarray) -> np.ndarray:
    return np.abs(x) + 0.3


def test_every_function_has_rules_for_its_arguments() -> None:
    assert {fn: len(rules) for fn, rules in RULES.items()} == dict(MAP_ARITY)


@pytest.mark.parametrize("fn", SMOOTH_1 + POSITIVE_1)
def test_one_argument(fn: str) -> None:
    block = build(lambda b: b.map(fn, b.input("x", ("t", "n"))))
    given = {"x": positive} if fn in POSITIVE_1 else {"x": lambda x: np.clip(x, -0.9, None)} if fn == "log1p" else {}
    check(block, given, smooth=fn != "stop")


@pytest.mark.parametrize("axes", AXES_2, ids=str)
@pytest.mark.parametrize("fn", [*SMOOTH_2, "div", "pow"])
def test_two_arguments_broadcast(fn: str, axes: tuple[str, str]) -> None:
    block = build(lambda b: b.map(fn, b.input("x", axes[0]), b.input("p", axes[1])))
    check(block, {"x": positive, "p": positive} if fn in ("div", "pow") else {})


@pytest.mark.parametrize("fn", [*SMOOTH_2, "div", "pow"])
def test_an_argument_may_be_used_twice(fn: str) -> None:
    def make(b: Builder) -> Value:
        x = b.input("x", ("t",))
        return b.map(fn, x, x)

    check(build(make), {"x": positive}, smooth=fn not in ("max", "min"))


@pytest.mark.parametrize("fn", ["max", "min"])
def test_ties_are_shared(fn: str) -> None:
    block = build(lambda b: b.map(fn, b.input("x", ("t",)), b.input("p", ())))
    check(block, {"x": [0.5, 1.0, 1.0, 2.0], "p": 1.0}, smooth=False)
    check(block, {"x": [-np.inf, 1.0, np.inf, -np.inf], "p": -np.inf}, smooth=False)


def test_an_infinite_cotangent_does_not_become_nan_where_nothing_flows() -> None:
    block = build(lambda b: b.map("max", b.input("x", ("t",)), b.input("p", ("t",))))
    arrays = {"x": np.arange(4.0), "p": np.full(4, 1.5), "d y": np.full(4, np.inf)}
    out = interpret(vjp(block, ["x", "p"], ["y"]), arrays, {"t": 4, "b": 1, "n": 1, "k": 1})
    assert out["d x"].tolist() == [0, 0, np.inf, np.inf]
    assert out["d p"].tolist() == [np.inf, np.inf, 0, 0]


@pytest.mark.parametrize("exponent", [-2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 2.5])
def test_powers_by_a_constant(exponent: float) -> None:
    block = build(lambda b: b.map("pow", b.input("x", ("t",)), b.constant(exponent)))
    check(block, {"x": positive})
    if exponent in (0.0, 1.0, 2.0, 3.0):
        check(block, {"x": [-2.0, 0.0, 1.0, -0.5]})


def test_powers_by_a_variable_at_zero_and_below() -> None:
    block = build(lambda b: b.map("pow", b.input("x", ("t",)), b.input("p", ("t",))))
    check(block, {"x": [0.0, 0.0, 0.0, 2.0], "p": [0.0, 1.0, 2.0, 0.0]}, smooth=False)
    check(block, {"x": [-2.0, -1.5, -0.5, 0.0], "p": [2.0, 3.0, 1.0, 4.0]}, smooth=False, wrt=["x"])
    arrays = {"x": np.array([-2.0, 0.0]), "p": np.array([2.0, 2.0]), "d y": np.ones(2)}
    assert interpret(vjp(block, ["p"], ["y"]), arrays, {"t": 2})["d p"].tolist() == [0.0, 0.0]


def test_the_slope_by_an_exponent_is_zero_where_the_base_has_no_logarithm() -> None:
    block = build(lambda b: b.map("pow", b.input("x", ("t",)), b.input("p", ("t",))))
    arrays = {"x": np.array([0.0, -2.0, 0.0]), "p": np.array([-1.0, 0.5, 3.0]), "d y": np.ones(3)}
    first = vjp(block, ["p"], ["y"])
    assert interpret(first, arrays, {"t": 3})["d p"].tolist() == [0.0, 0.0, 0.0]
    second = interpret(vjp(first, ["x"], ["d p"]), {**arrays, "d d p": np.ones(3)}, {"t": 3})
    assert second["d x"][2] == 0.0


def test_a_power_of_an_integer_exponent() -> None:
    block = build(lambda b: b.map("pow", b.input("x", ("t",)), b.input("p", ("n",), "int")))
    check(block, {"p": [0, 1, 3]})


@pytest.mark.parametrize("axes", [("t", "n"), ("t",), ("n",), ()], ids=str)
def test_where(axes: tuple[str, ...]) -> None:
    block = build(lambda b: b.map("where", b.input("c", axes, "bool"), b.input("x", ("t",)), b.input("p", ("t", "n"))))
    check(block)


def test_where_cuts_off_a_branch_that_is_not_finite() -> None:
    def make(b: Builder) -> Value:
        x = b.input("x", ("t",))
        return b.map("where", b.map("gt", x, b.constant(0.0)), x, b.map("log", b.constant(-1.0, ("t",))))

    check(build(make), {"x": positive})


def test_logaddexp_of_nothing() -> None:
    block = build(lambda b: b.map("logaddexp", b.input("x", ("t",)), b.input("p", ("t",))))
    arrays = {"x": np.array([-np.inf, -np.inf, 1.0]), "p": np.array([-np.inf, 2.0, -np.inf]), "d y": np.ones(3)}
    first = vjp(block, ["x", "p"], ["y"])
    out = interpret(first, arrays, {"t": 3})
    assert out["d x"].tolist() == [0.0, 0.0, 1.0]
    assert out["d p"].tolist() == [0.0, 1.0, 0.0]
    second = interpret(vjp(first, ["x", "d y"], ["d x"]), {**arrays, "d d x": np.ones(3)}, {"t": 3})
    assert second["d x"].tolist() == [0.0, 0.0, 0.0]
    assert second["d d y"].tolist() == [0.0, 0.0, 1.0]


def test_stop_and_surrogate() -> None:
    def make(b: Builder) -> Value:
        x = b.input("x", ("t", "n"))
        spike = b.map("real", b.map("gt", x, b.constant(0.0)))
        soft = b.map("sigmoid", b.map("mul", x, b.input("p", ("t",))))
        return b.map("mul", b.map("surrogate", spike, soft), b.map("stop", b.map("exp", x)))

    check(build(make), smooth=False)


def test_a_surrogate_sums_over_axes_that_only_its_value_has() -> None:
    block = build(lambda b: b.map("surrogate", b.input("x", ("t", "n")), b.input("p", ("t",))))
    check(block, smooth=False)


def test_integers_and_conditions_carry_no_cotangent() -> None:
    def make(b: Builder) -> Value:
        x, i = b.input("x", ("t",)), b.input("i", ("n",), "int")
        scaled = b.map("mul", x, b.map("add", i, b.iota("n")))
        keep = b.map("and", b.map("le", i, b.constant(2.0)), b.map("not", b.map("eq", x, b.constant(0.0))))
        return b.map("where", b.map("or", keep, b.map("ne", i, i)), scaled, b.map("neg", x))

    check(build(make))


x, y = sympy.symbols("x y", positive=True)
FORMULAS: dict[str, Any] = {
    "add": x + y, "sub": x - y, "mul": x * y, "div": x / y, "pow": x**y, "neg": -x, "exp": sympy.exp(x),
    "log": sympy.log(x), "log1p": sympy.log(1 + x), "expm1": sympy.exp(x) - 1, "sqrt": sympy.sqrt(x),
    "rsqrt": 1 / sympy.sqrt(x), "sigmoid": 1 / (1 + sympy.exp(-x)), "log_sigmoid": -sympy.log(1 + sympy.exp(-x)),
    "softplus": sympy.log(1 + sympy.exp(x)), "tanh": sympy.tanh(x), "sin": sympy.sin(x), "cos": sympy.cos(x),
    "erf": sympy.erf(x), "logaddexp": sympy.log(sympy.exp(x) + sympy.exp(y)), "abs": sympy.Abs(x),
    "max": sympy.Max(x, y), "min": sympy.Min(x, y),
}  # fmt: skip


@pytest.mark.parametrize("fn", FORMULAS)
def test_derivatives_against_sympy(fn: str) -> None:
    names = ["x", "y"][: MAP_ARITY[fn]]
    block = build(lambda b: b.map(fn, *(b.input(n, ("k",)) for n in names)))
    points = np.random.default_rng(5).uniform(0.2, 3.0, (2, 5))
    arrays = dict(zip("xy", points, strict=True))
    arrays = {n: arrays[n] for n in names}
    out = interpret(vjp(block, names, ["y"]), {**arrays, "d y": np.ones(5)}, {"k": 5})
    for n in names:
        derivative = sympy.diff(FORMULAS[fn], {"x": x, "y": y}[n])
        for i in range(5):
            exact = derivative.evalf(30, subs={x: points[0, i], y: points[1, i]})
            assert out[f"d {n}"][i] == pytest.approx(float(exact), rel=1e-13)


@pytest.mark.parametrize("value", [-800.0, -40.0, 40.0, 800.0])
@pytest.mark.parametrize("fn", ["sigmoid", "log_sigmoid", "softplus", "tanh", "erf"])
def test_functions_that_saturate_stay_finite(fn: str, value: float) -> None:
    block = build(lambda b: b.map(fn, b.input("x", ("t",))))
    check(block, {"x": np.full(4, value)})


def second_order(make: Callable[[Builder], Value]) -> None:
    """The VJP of a VJP, against torch and finite differences of the first."""
    first = vjp(build(make), ["x", "p"], ["y"])
    check(first, {"x": positive, "p": positive})


@pytest.mark.parametrize("fn", [*SMOOTH_2, "div", "pow"])
def test_second_derivatives_of_two_arguments(fn: str) -> None:
    second_order(lambda b: b.map(fn, b.input("x", ("t", "n")), b.input("p", ("n",))))


@pytest.mark.parametrize("fn", [f for f in SMOOTH_1 + POSITIVE_1 if f not in ("stop", "sign", "floor")])
def test_second_derivatives_of_one_argument(fn: str) -> None:
    second_order(lambda b: b.map("mul", b.map(fn, b.input("x", ("t",))), b.input("p", ())))
