"""Exact numbers with a derivative: a value and its slope along a direction of all inputs at once.

The slope is linear in the symbols of the direction, so that its coefficients are all partial derivatives. The
rules here are those of calculus and of the language (`stop`, `surrogate`, ties of `max` shared evenly), written
down a second time: they share nothing with the derivatives of Blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from recc.prove import arrays
from recc.prove import functions as f
from recc.prove.arrays import Array
from recc.prove.functions import Unary
from recc.prove.maxima import maximum, minimum
from recc.prove.ring import Exact, Space, Undecided, total


@dataclass(frozen=True)
class Dual:
    """`value + slope * epsilon`; `None` is a slope of zero."""

    value: Exact
    slope: Exact | None = None

    def __add__(self, other: Dual) -> Dual:
        return Dual(self.value + other.value, _sum(self.slope, other.slope))

    def __sub__(self, other: Dual) -> Dual:
        return self + (-other)

    def __neg__(self) -> Dual:
        return Dual(-self.value, None if self.slope is None else -self.slope)

    def __mul__(self, other: Dual) -> Dual:
        left = None if self.slope is None else self.slope * other.value
        right = None if other.slope is None else self.value * other.slope
        return Dual(self.value * other.value, _sum(left, right))

    def __truediv__(self, other: Dual) -> Dual:
        value = self.value / other.value
        slope = self.slope
        if other.slope is not None:
            slope = _sum(slope, -(value * other.slope))
        return Dual(value, None if slope is None else slope / other.value)


def _sum(left: Exact | None, right: Exact | None) -> Exact | None:
    return right if left is None else left if right is None else left + right


def _smooth(value: Unary, slope: Callable[[Exact, Exact], Exact]) -> Callable[[Dual], Dual]:
    """A function with its derivative in terms of the argument and the value."""

    def run(x: Dual) -> Dual:
        y = value(x.value)
        return Dual(y, None if x.slope is None else slope(x.value, y) * x.slope)

    return run


def _flat(value: Unary) -> Callable[[Dual], Dual]:
    return lambda x: Dual(value(x.value))


def _linear(value: Unary) -> Callable[[Dual], Dual]:
    return lambda x: Dual(value(x.value), None if x.slope is None else value(x.slope))


_BELL = 2.0 / math.sqrt(math.pi)  # the binary fraction nearest to it, as everywhere in recc

UNARY: Mapping[str, Callable[[Dual], Dual]] = {
    "neg": lambda x: -x,
    "exp": _smooth(f.exp, lambda x, y: y),
    "log": _smooth(f.log, lambda x, y: 1 / x),
    "sqrt": _smooth(f.sqrt, lambda x, y: Fraction(1, 2) / y),
    "rsqrt": _smooth(f.UNARY["rsqrt"], lambda x, y: Fraction(-1, 2) * y / x),
    "log1p": _smooth(f.UNARY["log1p"], lambda x, y: 1 / (1 + x)),
    "expm1": _smooth(f.UNARY["expm1"], lambda x, y: y + 1),
    "sigmoid": _smooth(f.sigmoid, lambda x, y: y * (1 - y)),
    "log_sigmoid": _smooth(f.UNARY["log_sigmoid"], lambda x, y: 1 - f.sigmoid(x)),
    "softplus": _smooth(f.softplus, lambda x, y: f.sigmoid(x)),
    "tanh": _smooth(f.tanh, lambda x, y: 1 - y * y),
    "erf": _smooth(f.erf, lambda x, y: f.exp(-(x * x)) * x.space.number(_BELL)),
    "sin": _smooth(f.sin, lambda x, y: f.cos(x)),
    "cos": _smooth(f.cos, lambda x, y: -f.sin(x)),
    "silu": lambda x: x * UNARY["sigmoid"](x),
    "gelu": lambda x: _gelu(x),
    "relu": lambda x: where(Dual(f.positive(x.value)), x, Dual(x.value.space.zero)),
    "floor": _flat(f.floor),
    "sign": _flat(f.signum),
    "not": _flat(lambda x: 1 - x),
    "abs": _smooth(f.magnitude, lambda x, y: f.signum(x)),
    "stop": _flat(lambda x: x),
    "re": _linear(f.real_part),
    "im": _linear(f.imaginary_part),
    "conj": _linear(f.conjugate),
    "cis": _smooth(lambda x: f.exp(x * x.space.unit), lambda x, y: y * x.space.unit),
}


def _gelu(x: Dual) -> Dual:
    space = x.value.space
    inner = UNARY["erf"](x * Dual(space.number(0.5**0.5)))
    return Dual(space.number(Fraction(1, 2))) * x * (Dual(space.one) + inner)


def where(condition: Dual, yes: Dual, no: Dual) -> Dual:
    """The first where the condition holds; the slope follows."""
    zero = condition.value.space.zero
    slope = None
    if yes.slope is not None or no.slope is not None:
        slope = f.where(condition.value, yes.slope or zero, no.slope or zero)
    return Dual(f.where(condition.value, yes.value, no.value), slope)


def extremum(space: Space, items: Sequence[Dual], largest: bool) -> Dual:
    """The largest (smallest) number; its slope is shared evenly among those that are."""
    values = [x.value for x in items]
    top = (maximum if largest else minimum)(space, values)
    if all(x.slope is None for x in items):
        return Dual(top)
    wins = [f.equal(v, top) for v in values]
    count = total(space, wins)
    shares = [w / count * x.slope for w, x in zip(wins, items, strict=True) if x.slope is not None]
    return Dual(top, total(space, shares))


def _either(largest: bool) -> Callable[[Dual, Dual], Dual]:
    """`max` or `min` of two: the slope of the winner, the mean of both at a tie."""

    def run(x: Dual, y: Dual) -> Dual:
        space = x.value.space
        value = (maximum if largest else minimum)(space, [x.value, y.value])
        if x.slope is None and y.slope is None:
            return Dual(value)
        a, b = x.slope or space.zero, y.slope or space.zero
        first = f.less(y.value, x.value) if largest else f.less(x.value, y.value)
        tie = f.equal(x.value, y.value)
        return Dual(value, f.where(first, a, f.where(tie, (a + b) * Fraction(1, 2), b)))

    return run


def _power(x: Dual, y: Dual) -> Dual:
    value = f.power(x.value, y.value)
    slope = None
    if x.slope is not None:
        slope = y.value * f.power(x.value, y.value - 1) * x.slope
    if y.slope is not None:
        slope = _sum(slope, value * f.log(x.value) * y.slope)
    return Dual(value, slope)


def log_sum_exp(space: Space, items: Sequence[Dual]) -> Dual:
    """`log(sum of exp(x))`, -inf if all are."""
    powers = [UNARY["exp"](x) for x in items]
    added = sum(powers, Dual(space.zero))
    return UNARY["log"](added) if added.value else Dual(f.log(added.value))


def norm(space: Space, items: Sequence[Dual]) -> Dual:
    """The root of the sum of squared magnitudes, with slope zero at zero."""
    squares = sum((UNARY["re"](x * UNARY["conj"](x)) for x in items), Dual(space.zero))
    some = Dual(f.positive(squares.value))
    root = UNARY["sqrt"](where(some, squares, Dual(space.one)))
    return where(some, root, Dual(space.zero))


def inverse(space: Space, matrix: Array) -> Array:
    """The inverse Y of a small matrix A, with slope `-Y A' Y`."""
    found = arrays.inverse(space, arrays.each(lambda x: x.value, matrix))
    if all(x.slope is None for x in matrix.flat):
        return arrays.each(Dual, found)
    slopes = arrays.each(lambda x: x.slope or space.zero, matrix)
    return arrays.each(Dual, found, -(found @ slopes @ found))


def exponential(space: Space, matrix: Array) -> Array:
    """The matrix exponential, without a slope."""
    if any(x.slope is not None for x in matrix.flat):
        raise Undecided("the derivative of a matrix exponential")
    return arrays.each(Dual, arrays.exponential(space, arrays.each(lambda x: x.value, matrix)))


def _compare(fn: Callable[[Exact, Exact], Exact]) -> Callable[[Dual, Dual], Dual]:
    return lambda x, y: Dual(fn(x.value, y.value))


def _ordered(x: Exact, y: Exact) -> bool:
    return all(v.extreme is None or v.extreme == v.extreme for v in (x, y))


BINARY: Mapping[str, Callable[[Dual, Dual], Dual]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "pow": _power,
    "lt": _compare(f.less),
    "gt": _compare(lambda x, y: f.less(y, x)),
    "le": _compare(lambda x, y: 1 - f.less(y, x) if _ordered(x, y) else x.space.zero),
    "ge": _compare(lambda x, y: 1 - f.less(x, y) if _ordered(x, y) else x.space.zero),
    "eq": _compare(f.equal),
    "ne": _compare(lambda x, y: 1 - f.equal(x, y)),
    "and": lambda x, y: Dual(x.value * y.value),
    "or": lambda x, y: Dual(x.value + y.value - x.value * y.value),
    "max": _either(True),
    "min": _either(False),
    "logaddexp": lambda x, y: log_sum_exp(x.value.space, [x, y]),
    "surrogate": lambda x, y: Dual(x.value, y.slope),
}


def _clamp(x: Dual, low: Dual, high: Dual) -> Dual:
    x = where(Dual(f.less(x.value, low.value)), low, x)
    return where(Dual(f.less(high.value, x.value)), high, x)


TERNARY: Mapping[str, Callable[[Dual, Dual, Dual], Dual]] = {"where": where, "clamp": _clamp}

__all__ = ["BINARY", "TERNARY", "UNARY", "Dual", "exponential", "extremum", "inverse", "log_sum_exp", "norm", "where"]
