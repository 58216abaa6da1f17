"""What the promised domains say of an expression's size: an interval for each, by interval arithmetic.

An interval is a pair `(low, high)` of floats with `low <= high`. An open end at x is the next float
inside, so that `< 0` ends below zero. Whatever is not known is `(-inf, inf)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import exp, expm1, inf, isnan, log, log1p, nextafter, sqrt, tanh

from recc.recurrence import Domain

Interval = tuple[float, float]
ANY: Interval = (-inf, inf)
_TINY = 5e-324


def of_domain(domain: Domain) -> Interval:
    """The interval that a domain promises."""
    low = nextafter(domain.lower, inf) if domain.lower_open else domain.lower
    high = nextafter(domain.upper, -inf) if domain.upper_open else domain.upper
    return low, high


def with_zero(x: Interval) -> Interval:
    """The interval with zero taken in: what a read beyond an end may give."""
    return min(x[0], 0.0), max(x[1], 0.0)


def union(*xs: Interval) -> Interval:
    """The smallest interval around all."""
    return min(x[0] for x in xs), max(x[1] for x in xs)


def of_function(fn: str, args: Sequence[Interval]) -> Interval:
    """The interval of a scalar function of intervals."""
    if fn in _MONOTONE:
        function, low, high = _MONOTONE[fn]
        return max(low, _at(function, args[0][0], low)), min(high, _at(function, args[0][1], high))
    if fn in _RULES:
        low, high = _RULES[fn](*args)
        return (-inf if isnan(low) else low), (inf if isnan(high) else high)
    return ANY


def of_reduction(fn: str, arg: Interval) -> Interval:
    """The interval of a reduction, whatever the sizes of the axes."""
    if fn in ("sum", "logsumexp"):
        low, high = arg
        if fn == "logsumexp":
            return ANY
        return (0.0 if low >= 0 else -inf), (0.0 if high <= 0 else inf)
    if fn == "softmax":
        return 0.0, 1.0
    if fn == "norm":
        return 0.0, inf
    if fn == "mean":
        return arg
    return ANY


def _at(function: Callable[[float], float], x: float, fallback: float) -> float:
    try:
        return function(x)
    except (ValueError, OverflowError):
        return fallback


def _times(x: float, y: float) -> float:
    return 0.0 if x == 0 or y == 0 else x * y


def _mul(x: Interval, y: Interval) -> Interval:
    corners = [_times(a, b) for a in x for b in y]
    return min(corners), max(corners)


def _abs(x: Interval) -> Interval:
    if x[0] >= 0:
        return x
    if x[1] <= 0:
        return -x[1], -x[0]
    return 0.0, max(-x[0], x[1])


def _sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x))


def _softplus(x: float) -> float:
    return max(x, 0.0) + log1p(exp(-abs(x)))


def _div(x: Interval, y: Interval) -> Interval:
    if y[0] > 0 or y[1] < 0:
        return _mul(x, (1 / y[1], 1 / y[0]))
    return ANY


#: Increasing functions, with the ends of what they can give. Every end stays closed: rounding may reach it.
_MONOTONE: Mapping[str, tuple[Callable[[float], float], float, float]] = {
    "exp": (exp, 0.0, inf),
    "expm1": (expm1, -1.0, inf),
    "log": (log, -inf, inf),
    "log1p": (log1p, -inf, inf),
    "sqrt": (sqrt, 0.0, inf),
    "tanh": (tanh, -1.0, 1.0),
    "sigmoid": (_sigmoid, 0.0, 1.0),
    "softplus": (_softplus, 0.0, inf),
    "relu": (lambda x: max(x, 0.0), 0.0, inf),
    "log_sigmoid": (lambda x: -_softplus(-x), -inf, 0.0),
    "sign": (lambda x: float(x > 0) - float(x < 0), -1.0, 1.0),
}

_RULES: Mapping[str, Callable[..., Interval]] = {
    "neg": lambda x: (-x[1], -x[0]),
    "add": lambda x, y: (x[0] + y[0], x[1] + y[1]),
    "sub": lambda x, y: (x[0] - y[1], x[1] - y[0]),
    "mul": _mul,
    "div": _div,
    "abs": _abs,
    "min": lambda x, y: (min(x[0], y[0]), min(x[1], y[1])),
    "max": lambda x, y: (max(x[0], y[0]), max(x[1], y[1])),
    "clamp": lambda x, a, b: (min(max(x[0], a[0]), b[0]), min(max(x[1], a[1]), b[1])),
    "where": lambda c, x, y: union(x, y),
    "stop": lambda x: x,
    "surrogate": lambda x, y: x,
    "sin": lambda x: (-1.0, 1.0),
    "cos": lambda x: (-1.0, 1.0),
    "erf": lambda x: (-1.0, 1.0),
}

#: Functions with a domain of their own: the largest argument for which they are never defined.
UNDEFINED_UP_TO = {"log": 0.0, "rsqrt": 0.0, "sqrt": -_TINY, "log1p": -1.0}


__all__ = ["ANY", "UNDEFINED_UP_TO", "Interval", "of_domain", "of_function", "of_reduction", "union", "with_zero"]
