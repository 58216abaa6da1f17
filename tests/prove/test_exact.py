"""Exact numbers: the laws that are built in, what is told apart, and infinities."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from typing import Any

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recc.prove import functions as f
from recc.prove.decide import approximate, is_zero, sign
from recc.prove.maxima import maximum, minimum
from recc.prove.ring import Exact, Space, TooLarge, Undecided


def unknowns() -> tuple[Space, Exact, Exact, Exact]:
    space = Space()
    return (space, *(space.input(n) for n in "xyz"))


def test_laws() -> None:
    space, x, y, z = unknowns()
    same = {
        "exp of a sum": (f.exp(x + y) * f.exp(-x), f.exp(y)),
        "half an exponent": (f.exp(x / 2) ** 2, f.exp(x)),
        "quotients": ((x * x - y * y) / (x - y), x + y),
        "nested quotients": (1 / (1 / x + 1 / y), x * y / (x + y)),
        "a square": (f.cos(x) ** 2 + f.sin(x) ** 2, space.one),
        "an angle": (f.cos(x + y), f.cos(x) * f.cos(y) - f.sin(x) * f.sin(y)),
        "log of a product": (f.log(f.exp(x) * f.exp(y) + f.exp(x)), x + f.log(1 + f.exp(y))),
        "exp of a log": (f.exp(2 * f.log(x + y)), (x + y) ** 2),
        "exp of a log of a gate": (f.exp(f.UNARY["log_sigmoid"](x)), f.sigmoid(x)),
        "sigmoid turned": (f.sigmoid(-x), 1 - f.sigmoid(x)),
        "tanh turned": (f.tanh(-x), -f.tanh(x)),
        "a root": (f.sqrt(x * x + y * y) ** 2, x * x + y * y),
        "over a root": (1 / f.sqrt(x + y), f.sqrt(x + y) / (x + y)),
        "a conjugate": (f.real_part(1 / (x + space.unit * y)), x / (x * x + y * y)),
        "exp of a complex number": (f.real_part(f.exp(x + space.unit * y)), f.exp(x) * f.cos(y)),
        "a choice inside": (f.exp(f.where(f.less(x, y), x, y)), f.where(f.less(x, y), f.exp(x), f.exp(y))),
        "three ways to compare": (f.less(x, y) + f.less(y, x) + f.equal(x, y), space.one),
        "a maximum of maxima": (maximum(space, [maximum(space, [x, y]) + z, y + z]), maximum(space, [x, y]) + z),
        "a sum of maxima": (
            maximum(space, [x, y]) + maximum(space, [x, z]),
            maximum(space, [x + x, x + z, y + x, y + z]),
        ),
        "a minimum": (minimum(space, [x, y]), -maximum(space, [-x, -y])),
        "a logarithm of a sum": (f.log_sum_exp(space, [x + z, y + z]), z + f.log_sum_exp(space, [x, y])),
    }
    for law, (left, right) in same.items():
        assert is_zero(left - right), f"{law}: {left} and {right}"


def test_what_differs_is_told_apart() -> None:
    space, x, y, _ = unknowns()
    for left, right in [
        (x * y, x + y),
        (f.exp(x * y), f.exp(x) * f.exp(y)),
        (f.sqrt(x * x), x),
        (f.log(x * y), f.log(x) + f.log(y)),  # not for two negative numbers
        (maximum(space, [x, y]), x),
        (f.sigmoid(x), f.sigmoid(2 * x)),
        (f.less(x, y), f.less(y, x)),
    ]:
        assert not is_zero(left - right)


_UNARY = {
    "exp": mpmath.exp, "log": mpmath.log, "sqrt": mpmath.sqrt, "tanh": mpmath.tanh, "sin": mpmath.sin,
    "sigmoid": lambda v: 1 / (1 + mpmath.exp(-v)), "abs": abs, "softplus": lambda v: mpmath.log(1 + mpmath.exp(v)),
}  # fmt: skip


def _combined(rng: random.Random, space: Space, left: tuple[Exact, Any], right: tuple[Exact, Any]) -> tuple[Exact, Any]:
    """One more number, made of two at random."""
    (x, a), (y, b) = left, right
    match rng.randrange(6):
        case 0:
            return x + y, a + b
        case 1 if abs(b) > 1e-3:
            return x / y, a / b
        case 2:
            return maximum(space, [x, y]), max(a, b)
        case 3 if abs(a - b) > 1e-6:  # rounding decides a tie
            return f.where(f.less(x, y), x * x, y), a * a if a < b else b
        case 4:
            name = rng.choice(list(_UNARY))
            if abs(a) < 5 and (a > 1e-3 or name not in ("log", "sqrt")):
                return f.UNARY[name](x), _UNARY[name](a)
    return x * y, a * b


@given(st.integers(0, 10**9))
@settings(max_examples=60, deadline=None)
def test_values_are_those_of_floating_point(seed: int) -> None:
    """A random expression has the value that it has in ordinary arithmetic."""
    rng = random.Random(seed)
    space = Space()
    numbers = {space.input(n): rng.uniform(0.2, 2) for n in "xy"}
    point = {next(iter(x.atoms())): Fraction(v) for x, v in numbers.items()}
    pairs = [(x, mpmath.mpf(v)) for x, v in numbers.items()]
    for _ in range(7):
        (x, a), (y, b) = rng.choice(pairs), rng.choice(pairs)
        try:
            pairs.append(_combined(rng, space, (x, a), (y, b)))
        except (Undecided, TooLarge):  # a case that cannot be, such as the logarithm of zero; a power of a power
            continue
    for x, expected in pairs:
        with mpmath.workdps(50):
            found = approximate(x, point)
        if mpmath.isnan(found):  # a case that the point does not take is singular
            continue
        assert abs(found - expected) <= 1e-9 * (1 + abs(expected)), str(x)


def test_infinities() -> None:
    space, x, _, _ = unknowns()
    low = space.number(-math.inf)
    assert f.exp(low + x).key == space.zero.key
    assert f.log(space.zero).extreme == -math.inf
    assert maximum(space, [low, x]).key == x.key
    assert (x / math.inf).key == space.zero.key
    assert math.isnan((space.zero * low).extreme or 0)
    assert math.isnan((low - low).extreme or 0)
    assert f.less(x, space.number(math.inf)).key == space.one.key
    with pytest.raises(Undecided):
        f.where(f.less(x, space.zero), low, x)
    with pytest.raises(Undecided):
        x * low


def test_signs() -> None:
    space = Space()
    x, p = space.input("x"), space.input("p", positive=True)
    assert sign(x) is None and sign(x * x + 1) is None
    assert sign(f.exp(x) + p) == 1 and sign(-p) == -1
    assert sign(f.exp(space.number(1)) - space.number(2.7)) == 1
    assert sign(f.log(space.number(2)) - f.log(space.number(Fraction(1, 2))) / 3) == 1
    assert f.positive(-(x * x)).key == space.zero.key


def test_work_is_bounded() -> None:
    space = Space(limit=1000)
    x, y = space.input("x"), space.input("y")
    with pytest.raises(TooLarge):
        (1 + x + y) ** 30


def test_text() -> None:
    _, x, y, _ = unknowns()
    assert str(2 * x * f.exp(-y) - 1) == "2*x*exp(-y) - 1"
    assert str(x - x) == "0"
