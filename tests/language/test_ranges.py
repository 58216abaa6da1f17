"""The intervals of expressions hold every value that the domains allow."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recc.check import ranges
from recc.recurrence import Domain

FUNCTIONS: dict[str, Callable[..., float]] = {
    "neg": lambda x: -x,
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "abs": abs,
    "min": min,
    "max": max,
    "exp": math.exp,
    "expm1": math.expm1,
    "log": math.log,
    "log1p": math.log1p,
    "sqrt": math.sqrt,
    "tanh": math.tanh,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "softplus": lambda x: math.log1p(math.exp(x)),
    "log_sigmoid": lambda x: -math.log1p(math.exp(-x)),
    "relu": lambda x: max(x, 0.0),
    "sign": lambda x: (x > 0) - (x < 0),
    "clamp": lambda x, a, b: min(max(x, a), b),
    "where": lambda c, x, y: x if c > 0 else y,
    "sin": math.sin,
    "cos": math.cos,
    "erf": math.erf,
}
VALUES = st.floats(-50, 50).map(lambda x: round(x, 2))


@st.composite
def inside(draw: st.DrawFn) -> tuple[ranges.Interval, float]:
    low, value, high = sorted(draw(st.tuples(VALUES, VALUES, VALUES)))
    low = draw(st.sampled_from([low, -math.inf]))
    high = draw(st.sampled_from([high, math.inf]))
    return (low, high), value


@settings(max_examples=100, deadline=None)
@given(st.data())
@pytest.mark.parametrize("fn", FUNCTIONS)
def test_value_is_in_the_interval(fn: str, data: st.DataObject) -> None:
    count = (
        FUNCTIONS[fn].__code__.co_argcount if hasattr(FUNCTIONS[fn], "__code__") else {"min": 2, "max": 2}.get(fn, 1)
    )
    args = [data.draw(inside()) for _ in range(count)]
    try:
        value = float(FUNCTIONS[fn](*(v for _, v in args)))
    except (ValueError, ZeroDivisionError, OverflowError):
        return
    low, high = ranges.of_function(fn, [i for i, _ in args])
    slack = 1e-9 * max(1.0, abs(value))
    assert low - slack <= value <= high + slack


def test_open_ends() -> None:
    low, high = ranges.of_domain(Domain(0, 1, lower_open=True, upper_open=True))
    assert 0 < low < 1e-300
    assert 1 - 1e-15 < high < 1


@pytest.mark.parametrize("fn", ["sum", "mean", "norm", "softmax", "logsumexp", "max", "prod"])
def test_reductions_know_signs_only(fn: str) -> None:
    low, high = ranges.of_reduction(fn, (0.5, 2.0))
    assert low <= 0 or fn == "mean"
    assert high > 0.5
