"""What the promised domains say of the size of a coefficient: intervals with open and closed ends.

For a real expression the interval holds its value, for a complex one its modulus. The arithmetic is that
of real numbers: `exp` of something <= 0 lies in (0, 1], although rounding may give 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from math import inf

from recc.recurrence import Along, Apply, Expr, Kind, Number, Read, Reduce, Step
from recc.structure.build import Workspace


@dataclass(frozen=True)
class Size:
    """An interval; infinite ends count as open. `modulus` says that it is that of the modulus."""

    low: float = -inf
    high: float = inf
    low_open: bool = False
    high_open: bool = False
    modulus: bool = False

    @property
    def known(self) -> bool:
        """Whether it says anything."""
        return self.high < inf or self.low > (0 if self.modulus else -inf)

    @property
    def positive(self) -> bool:
        """Whether every value is above zero."""
        return self.low > 0 or (self.low == 0 and self.low_open)

    @property
    def decays(self) -> bool:
        """Whether no value is larger than 1 in modulus."""
        return self.high <= 1 and self.low >= -1

    def __str__(self) -> str:
        left = "(" if self.low_open or self.low == -inf else "["
        right = ")" if self.high_open or self.high == inf else "]"
        text = f"{left}{_end(self.low)}, {_end(self.high)}{right}"
        return f"modulus in {text}" if self.modulus else f"in {text}"


def _end(value: float) -> str:
    return {inf: "inf", -inf: "-inf"}.get(value, f"{value:g}")


ANY = Size()
_MOST_ARGS = 16  # of a maximum of maxima
_DEEPEST = 120  # expressions and chains of intermediates below this are not looked at
_End = tuple[float, bool]  # an end and whether it is open


class Sizes:
    """Works out sizes, those of intermediates once each. Values of states are not bounded."""

    def __init__(self, work: Workspace):
        self.work = work
        self._known: dict[str, Size] = {}
        self._depth = 0
        self._bounding = False

    def of(self, expr: Expr) -> Size:
        """The size of an expression: of its modulus if it is complex."""
        if self._depth > _DEEPEST:
            return ANY
        self._depth += 1
        try:
            return _modulus(self._complex(expr)) if expr.dtype == "complex" else self._real(expr)
        finally:
            self._depth -= 1

    def _real(self, expr: Expr) -> Size:
        if isinstance(expr, Number):
            return Size(expr.value, expr.value)
        if expr.dtype == "bool":
            return Size(0, 1)
        if isinstance(expr, Step):
            return Size(0, inf)
        if isinstance(expr, Read):
            return self._read(expr)
        if isinstance(expr, Reduce):
            return _reduction(expr.fn, self.of(expr.arg))
        if isinstance(expr, Apply):
            if expr.fn == "abs":
                return replace(_abs(self.of(expr.args[0])), modulus=False)
            if expr.fn == "mul" and expr.args[0] == expr.args[1]:
                square = _abs(self.of(expr.args[0]))
                return _mul(square, square)
            if expr.fn == "pow":
                return _pow(self.of(expr.args[0]), self.of(expr.args[1]))
            if any(a.dtype == "complex" for a in expr.args):
                return self._part(expr)
            found = _function(expr.fn, [self.of(a) for a in expr.args])
            return self._below_a_maximum(expr, found) if expr.fn in ("add", "sub") else found
        return ANY

    def _below_a_maximum(self, expr: Apply, found: Size) -> Size:
        """A sum that has a maximum taken away: `x - max(a, b)` is no larger than `x - a`, nor than `x - b`."""
        if self._bounding:  # once, not within itself
            return found
        self._bounding = True
        try:
            return self._bounded(list(_summands(expr)), found)
        finally:
            self._bounding = False

    def _bounded(self, terms: list[tuple[Expr, int]], found: Size) -> Size:
        for place, (term, sign) in enumerate(terms):
            if sign > 0 or found.high <= 0:
                continue
            rest = terms[:place] + terms[place + 1 :]
            for arg in islice(self._maximum_of(term), _MOST_ARGS):
                left = list(rest)
                for part, side in _summands(arg, -1):
                    if (part, -side) in left:
                        left.remove((part, -side))
                    else:
                        left.append((part, side))
                bound = Size(0, 0)
                for part, side in left:
                    bound = _add(bound, self.of(part) if side > 0 else _neg(self.of(part)))
                if bound.high < found.high:
                    found = replace(found, high=bound.high, high_open=bound.high_open)
        return found

    def _maximum_of(self, expr: Expr) -> Iterator[Expr]:
        """What an expression, or what is behind its name at this step, is no smaller than."""
        if isinstance(expr, Read):
            equation = self.work.equations.get(expr.name) or self.work.rec.equation.get(expr.name)
            plain = tuple(Along(a) for a in self.work.symbol(expr.name).axes)
            if equation is not None and not any(expr.lags) and expr.index == plain:
                expr = equation.expr
        if isinstance(expr, Apply) and expr.fn in ("max", "logaddexp"):
            for arg in expr.args:
                yield arg
                yield from self._maximum_of(arg)

    def _part(self, expr: Apply) -> Size:
        """The real or imaginary part of a complex number is no larger than its modulus."""
        high = _modulus(self._complex(expr.args[0]))
        return Size(-high.high, high.high, high.high_open, high.high_open) if expr.fn in ("re", "im") else ANY

    def _complex(self, expr: Expr) -> Size:
        if isinstance(expr, Read):
            return _abs(self._read(expr))
        if not isinstance(expr, Apply):
            return ANY
        args = expr.args
        if expr.fn == "cis":
            return Size(1, 1)
        if expr.fn in ("mul", "div"):
            left, right = (_abs(self.of(a)) for a in args)
            return _mul(left, right) if expr.fn == "mul" else _div(left, right)
        if expr.fn in ("neg", "conj", "stop"):
            return self.of(args[0])
        if expr.fn == "where":
            return _union(_abs(self.of(args[1])), _abs(self.of(args[2])))
        if expr.fn == "exp":
            real = self._real_part(args[0])
            return _function("exp", [real])
        return ANY

    def _real_part(self, expr: Expr) -> Size:
        """The real part of `a + i b` where it can be read off."""
        if expr.dtype != "complex":
            return self.of(expr)
        if isinstance(expr, Apply) and expr.fn in ("add", "sub", "neg"):
            return _function(expr.fn, [self._real_part(a) for a in expr.args])
        if isinstance(expr, Apply) and expr.fn == "mul":
            left, right = expr.args
            if left.dtype != "complex":
                return _mul(self.of(left), self._real_part(right))
            if right.dtype != "complex":
                return _mul(self._real_part(left), self.of(right))
        return ANY

    def _read(self, expr: Read) -> Size:
        symbol = self.work.symbol(expr.name)
        if expr.name not in self._known:
            self._known[expr.name] = ANY  # what a value depends on through time is not followed
            equation = self.work.equations.get(expr.name) or self.work.rec.equation.get(expr.name)
            found = ANY
            if symbol.kind in (Kind.LOCAL, Kind.OUTPUT) and equation is not None:
                found = self.of(equation.expr)
            elif symbol.value is not None:
                found = self.of(symbol.value)
            domain = symbol.domain
            if domain.bounded:
                found = Size(domain.lower, domain.upper, domain.lower_open, domain.upper_open)
            elif domain.unit:
                found = Size(-1, 1)
            elif symbol.dtype == "bool" or symbol.indexes is not None:
                found = Size(0, 1 if symbol.dtype == "bool" else inf)
            self._known[expr.name] = found
        found = self._known[expr.name]
        outside = any(expr.lags) or any(not isinstance(i, Along) or i.offset for i in expr.index)
        return _union(found, Size(0, 0)) if outside else found


def _summands(expr: Expr, sign: int = 1) -> Iterator[tuple[Expr, int]]:
    """The terms of a sum with their signs."""
    if isinstance(expr, Apply) and expr.fn in ("add", "sub"):
        yield from _summands(expr.args[0], sign)
        yield from _summands(expr.args[1], sign if expr.fn == "add" else -sign)
    elif isinstance(expr, Apply) and expr.fn == "neg":
        yield from _summands(expr.args[0], -sign)
    else:
        yield expr, sign


def _modulus(size: Size) -> Size:
    known = (size.low >= 0 and size.high < inf) or size.low > 0
    return Size(size.low, size.high, size.low_open, size.high_open, True) if known else Size(0, inf, modulus=True)


def _ends(size: Size) -> tuple[_End, _End]:
    return (size.low, size.low_open), (size.high, size.high_open)


def _sized(ends: list[_End]) -> Size:
    """The interval around some ends; an end that one of several reaches is closed."""
    low, high = min(e[0] for e in ends), max(e[0] for e in ends)
    return Size(low, high, all(o for v, o in ends if v == low), all(o for v, o in ends if v == high))


def _union(x: Size, y: Size) -> Size:
    return _sized([*_ends(x), *_ends(y)])


def _mul(x: Size, y: Size) -> Size:
    ends = [_times(a, b) for a in _ends(x) for b in _ends(y)]
    return _sized(ends)


def _times(a: _End, b: _End) -> _End:
    if a[0] == 0 or b[0] == 0:  # zero times anything, reached if a closed zero is
        zeros = [e for e in (a, b) if e[0] == 0]
        return 0.0, all(e[1] for e in zeros)
    return a[0] * b[0], a[1] or b[1]


def _div(x: Size, y: Size) -> Size:
    if not (y.positive or y.high < 0 or (y.high == 0 and y.high_open)):
        return ANY
    low = (1 / y.high, y.high_open) if y.high else (-inf, False)
    high = (1 / y.low, y.low_open) if y.low else (inf, False)
    if y.high in (inf, -inf):
        low = (0.0, True)
    if y.low in (inf, -inf):
        high = (0.0, True)
    return _mul(x, Size(low[0], high[0], low[1], high[1]))


def _pow(x: Size, power: Size) -> Size:
    """A power whose exponent is known, or one of what is not negative."""
    n = power.low
    if n == power.high and n > 0 and (x.low >= 0 or not n % 1):
        base = _abs(x) if n % 2 == 0 else x
        return Size(_raised(base.low, n), _raised(base.high, n), base.low_open, base.high_open)
    if x.low < 0:
        return ANY
    return Size(0, 1 if x.high <= 1 and power.low >= 0 else inf, x.positive)


def _raised(value: float, power: float) -> float:
    try:
        return float(value**power)
    except OverflowError:
        return inf if value > 0 or power % 2 == 0 else -inf


def _add(x: Size, y: Size) -> Size:
    return Size(x.low + y.low, x.high + y.high, x.low_open or y.low_open, x.high_open or y.high_open)


def _neg(x: Size) -> Size:
    return Size(-x.high, -x.low, x.high_open, x.low_open)


def _abs(x: Size) -> Size:
    if x.low >= 0:
        return x
    if x.high <= 0:
        return _neg(x)
    ends = [(-x.low, x.low_open), (x.high, x.high_open), (0.0, False)]
    return _sized(ends)


def _max(x: Size, y: Size) -> Size:
    low = max(_ends(x)[0], _ends(y)[0])
    high = max(x.high, y.high)
    closed = any(s.high == high and not s.high_open for s in (x, y))
    return Size(low[0], high, low[1], not closed)


def _function(fn: str, args: list[Size]) -> Size:
    if fn in _MONOTONE:
        function, least, most, strict = _MONOTONE[fn]
        (x,) = args
        low = _limit(function, x.low, least)
        high = _limit(function, x.high, most)
        low_open = x.low_open or (x.low == -inf and strict)
        high_open = x.high_open or (x.high == inf and strict)
        return Size(low, high, low_open and strict, high_open and strict)
    rule = _RULES.get(fn)
    found = rule(*args) if rule is not None else ANY
    return ANY if math.isnan(found.low) or math.isnan(found.high) else found


def _limit(function: Callable[[float], float], at: float, limit: float) -> float:
    if at in (inf, -inf):
        return limit
    try:
        return function(at)
    except (ValueError, OverflowError):
        return limit


def _reduction(fn: str, arg: Size) -> Size:
    if fn == "sum":
        return Size(0.0 if arg.low >= 0 else -inf, 0.0 if arg.high <= 0 else inf)
    if fn in ("mean", "max", "min"):
        return arg
    return {"softmax": Size(0, 1), "norm": Size(0, inf)}.get(fn, ANY)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


#: Increasing functions, their limits, and whether they are so strictly (an open end stays open).
_MONOTONE: Mapping[str, tuple[Callable[[float], float], float, float, bool]] = {
    "exp": (math.exp, 0.0, inf, True),
    "expm1": (math.expm1, -1.0, inf, True),
    "log": (math.log, -inf, inf, True),
    "log1p": (math.log1p, -inf, inf, True),
    "sqrt": (math.sqrt, 0.0, inf, True),
    "tanh": (math.tanh, -1.0, 1.0, True),
    "erf": (math.erf, -1.0, 1.0, True),
    "sigmoid": (_sigmoid, 0.0, 1.0, True),
    "softplus": (_softplus, 0.0, inf, True),
    "log_sigmoid": (lambda x: -_softplus(-x), -inf, 0.0, True),
    "relu": (lambda x: max(x, 0.0), 0.0, inf, False),
    "sign": (lambda x: float(x > 0) - float(x < 0), -1.0, 1.0, False),
}

_RULES: Mapping[str, Callable[..., Size]] = {
    "add": _add,
    "sub": lambda x, y: _add(x, _neg(y)),
    "neg": _neg,
    "mul": _mul,
    "div": _div,
    "max": _max,
    "min": lambda x, y: _neg(_max(_neg(x), _neg(y))),
    "clamp": lambda x, a, b: _neg(_max(_neg(_max(x, a)), _neg(b))),
    "where": lambda c, x, y: _union(x, y),
    "stop": lambda x: x,
    "surrogate": lambda x, y: x,
    "rsqrt": lambda x: _div(Size(1, 1), _function("sqrt", [x])) if x.low >= 0 else Size(0, inf),
    "sin": lambda x: Size(-1, 1),
    "cos": lambda x: Size(-1, 1),
}


__all__ = ["ANY", "Size", "Sizes"]
