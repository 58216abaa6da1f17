"""The derivatives of the scalar functions of `Map`, as factors of a product.

For `y = fn(x…)` and the cotangent g of y, the rule of an argument x gives factors whose product is
`g * dy/dx`. Giving factors and not their product lets the caller sum over broadcast axes in one
`Contract`. A rule of `None` says that nothing flows: comparisons, conditions, `sign`, `floor`, `stop`.

Conventions where a derivative does not exist are those of torch: `max` and `min` split evenly between
equal arguments, `abs` has derivative 0 at 0, `x ** 0` has derivative 0 everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, pi, sqrt

from recc.forms.block import Value
from recc.forms.builder import Builder


@dataclass(frozen=True)
class Local:
    """One `Map` seen from its result: the cotangent `g` of its result `y`, and its arguments."""

    b: Builder
    g: Value
    y: Value
    args: tuple[Value, ...]

    @property
    def x(self) -> Value:
        """The first argument."""
        return self.args[0]

    def number(self, value: float) -> Value:
        """A constant without axes."""
        return self.b.constant(value)

    def do(self, fn: str, *args: Value | float) -> Value:
        """A scalar function of values and numbers."""
        return self.b.map(fn, *(self.number(a) if isinstance(a, float | int) else a for a in args))


Factors = tuple[Value, ...]
Rule = Callable[[Local], Factors] | None


def _through(c: Local) -> Factors:
    return (c.g,)


def _negated(c: Local) -> Factors:
    return (c.number(-1.0), c.g)


def _divisor(c: Local) -> Factors:
    return (c.number(-1.0), c.do("div", c.g, c.args[1]), c.y)


def _base(c: Local) -> Factors:
    x, p = c.args
    known = c.b.known(p)
    if known is not None:
        if known in (0.0, 1.0):
            return (c.number(known), c.g)
        rest = x if known == 2.0 else c.do("pow", x, known - 1.0)
        return (c.number(known), c.g, rest)
    slope = c.do("mul", p, c.do("pow", x, c.do("sub", p, 1.0)))
    return (c.g, c.do("where", c.do("eq", p, 0.0), 0.0, slope))


def _exponent(c: Local) -> Factors:
    # The inner `where` keeps the logarithm finite, so that derivatives of this are finite as well.
    positive = c.do("gt", c.x, 0.0)
    logarithm = c.do("log", c.do("where", positive, c.x, 1.0))
    return (c.g, c.do("where", positive, c.do("mul", c.y, logarithm), 0.0))


def _larger(first: str, mine: int) -> Callable[[Local], Factors]:
    """The share of one argument of `max` or `min`; `first` compares it with the other when it wins."""

    def rule(c: Local) -> Factors:
        me, other = c.args[mine], c.args[1 - mine]
        # Chosen by `where` and not by a weight, so that an infinite cotangent leaves no 0 * inf.
        shared = c.do("where", c.do("eq", c.args[0], c.args[1]), c.do("mul", c.g, 0.5), 0.0)
        return (c.do("where", c.do(first, me, other), c.g, shared),)

    return rule


def _share(mine: int) -> Callable[[Local], Factors]:
    """The share exp(x - y) of one argument of `logaddexp`, zero where all are -inf."""

    def rule(c: Local) -> Factors:
        anchor = c.do("where", c.do("eq", c.y, -inf), 0.0, c.y)
        return (c.g, c.do("exp", c.do("sub", c.args[mine], anchor)))

    return rule


def _rsqrt(c: Local) -> Factors:
    return (c.number(-0.5), c.g, c.y, c.do("mul", c.y, c.y))


def _erf(c: Local) -> Factors:
    return (c.number(2.0 / sqrt(pi)), c.g, c.do("exp", c.do("neg", c.do("mul", c.x, c.x))))


#: For each function of `Map` the rule of each of its arguments.
RULES: Mapping[str, tuple[Rule, ...]] = {
    "add": (_through, _through),
    "sub": (_through, _negated),
    "mul": (lambda c: (c.g, c.args[1]), lambda c: (c.g, c.args[0])),
    "div": (lambda c: (c.do("div", c.g, c.args[1]),), _divisor),
    "pow": (_base, _exponent),
    "neg": (_negated,),
    "max": (_larger("gt", 0), _larger("gt", 1)),
    "min": (_larger("lt", 0), _larger("lt", 1)),
    "where": (None, lambda c: (c.do("where", c.x, c.g, 0.0),), lambda c: (c.do("where", c.x, 0.0, c.g),)),
    "exp": (lambda c: (c.g, c.y),),
    "log": (lambda c: (c.do("div", c.g, c.x),),),
    "log1p": (lambda c: (c.do("div", c.g, c.do("add", c.x, 1.0)),),),
    "expm1": (lambda c: (c.g, c.do("add", c.y, 1.0)),),
    "sqrt": (lambda c: (c.number(0.5), c.do("div", c.g, c.y)),),
    "rsqrt": (_rsqrt,),
    "sigmoid": (lambda c: (c.g, c.y, c.do("sub", 1.0, c.y)),),
    "log_sigmoid": (lambda c: (c.g, c.do("sigmoid", c.do("neg", c.x))),),
    "softplus": (lambda c: (c.g, c.do("sigmoid", c.x)),),
    "tanh": (lambda c: (c.g, c.do("sub", 1.0, c.do("mul", c.y, c.y))),),
    "sin": (lambda c: (c.g, c.do("cos", c.x)),),
    "cos": (lambda c: (c.number(-1.0), c.g, c.do("sin", c.x)),),
    "abs": (lambda c: (c.g, c.do("sign", c.x)),),
    "erf": (_erf,),
    "logaddexp": (_share(0), _share(1)),
    "real": (_through,),
    "surrogate": (None, _through),
    **dict.fromkeys(("lt", "le", "gt", "ge", "eq", "ne", "and", "or"), (None, None)),
    **dict.fromkeys(("not", "sign", "floor", "stop", "int"), (None,)),
}
