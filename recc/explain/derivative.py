"""Reverse mode over one equation: what the gradient of its left side gives to everything on its right.

Law: for `y = e` with gradient g of y, the contributions c to the reads r of e are such that the
derivative of `sum(g * e)` along any direction dr is `sum(c * dr)`. For complex values the gradient is
that of torch: conjugated factors, and the real part where something real is read.

Only expressions are made here, to be read by people; kernels get their gradients from the VJP of Blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from recc.recurrence import REDUCTIONS, Apply, Expr, Matrix, Number, Read, Reduce
from recc.structure.build import Workspace, base_of, is_number, number
from recc.structure.rename import rename


class NoFormula(Exception):
    """An expression whose derivative has no short formula. `args[0]` says which."""


@dataclass(frozen=True)
class Flow:
    """One contribution to a read, over the axes of the read."""

    read: Read
    value: Expr


class Reverse:
    """Makes the contributions of expressions in a workspace. `gradients` are the names of gradients there."""

    def __init__(self, work: Workspace, gradients: Collection[str]):
        self.work = work
        self.gradients = gradients

    def flows(self, expr: Expr, seed: Expr, value: Expr, alike: frozenset[str] = frozenset()) -> Iterator[Flow]:
        """The contributions to every read. `value` is a short way to write the expression itself.

        `alike` are axes that an enclosing sum runs over, along which the gradient is the same. Raises
        `NoFormula`.
        """
        if expr.dtype in ("bool", "int"):
            return
        seed = self.over(seed, expr, alike)
        alike &= frozenset(expr.axes)
        if isinstance(expr, Read):
            yield Flow(expr, seed)
        elif isinstance(expr, Reduce):
            yield from self._reduce(expr, seed, value, alike)
        elif isinstance(expr, Matrix):
            yield from self._matrix(expr, seed, value)
        elif isinstance(expr, Apply):
            for arg, local in zip(expr.args, self._locals(expr, value), strict=True):
                if local is not None and not isinstance(arg, Number):
                    yield from self.flows(arg, local(seed), arg, alike)

    def over(self, seed: Expr, expr: Expr, alike: frozenset[str]) -> Expr:
        """A gradient summed over the axes that an expression does not have; real where the expression is."""
        copies = [self.size(a) for a in self.work.ordered(alike) if a not in expr.axes and a not in seed.axes]
        seed = self.mul(*copies, seed) if copies else seed
        if seed.dtype == "complex" and expr.dtype != "complex":
            seed = self.work.apply("re", seed)
        return self.sum([a for a in seed.axes if a not in expr.axes], seed)

    # Expressions, with what changes nothing left out.

    def mul(self, *exprs: Expr) -> Expr:
        """A product: signs in front, then what is known, the gradient, sums."""
        factors: list[Expr] = []
        negative = False
        for e in exprs:
            for f in _factors(e):
                negative ^= is_number(f, -1)
                if not (is_number(f, 1) or is_number(f, -1)):
                    factors.append(f)
        factors.sort(key=self._late)
        result: Expr = factors[0] if factors else number(1)
        for f in factors[1:]:
            result = self.work.apply("mul", result, f)
        return self.work.apply("neg", result) if negative else result

    def _late(self, factor: Expr) -> int:
        """How far to the right a factor stands."""
        if isinstance(factor, Reduce):
            return 3
        if isinstance(factor, Apply) and factor.fn == "where":
            return 2
        return int(isinstance(factor, Read) and factor.name in self.gradients)

    def neg(self, expr: Expr) -> Expr:
        """The negative."""
        return self.mul(number(-1), expr)

    def div(self, above: Expr, below: Expr) -> Expr:
        """A quotient, its sign in front."""
        if isinstance(above, Apply) and above.fn == "neg":
            return self.neg(self.work.apply("div", above.args[0], below))
        return self.work.apply("div", above, below)

    def sum(self, over: Sequence[str], expr: Expr) -> Expr:
        """A sum over axes, with what does not have them in front."""
        if not over:
            return expr
        if isinstance(expr, Apply) and expr.fn == "re":
            return self.work.apply("re", self.sum(over, expr.args[0]))
        factors = _factors(expr)
        inside = [f for f in factors if set(f.axes) & set(over)]
        outside = [f for f in factors if not set(f.axes) & set(over)]
        held = self.mul(*inside)
        # Two sums directly in one another are one, unless they call their axes the same.
        if isinstance(held, Reduce) and held.fn == "sum" and not set(held.over) & set(over):
            total: Expr = self.work.reduce("sum", [*over, *held.over], held.arg)
        else:
            total = self.work.reduce("sum", list(over), held)
        return self.mul(*outside, total)

    def size(self, axis: str) -> Expr:
        """How long an axis is."""
        return self.work.reduce("sum", [axis], self.work.one(axis))

    def conj(self, expr: Expr) -> Expr:
        """The conjugate of what is complex."""
        return self.work.apply("conj", expr) if expr.dtype == "complex" else expr

    def apply(self, fn: str, *args: Expr) -> Expr:
        """A scalar function."""
        return self.work.apply(fn, *args)

    def truth(self, condition: Expr, seed: Expr) -> Expr:
        """The gradient where a condition holds, its sign in front."""
        if isinstance(seed, Apply) and seed.fn == "neg":
            return self.neg(self.truth(condition, seed.args[0]))
        return self.work.apply("where", condition, seed, number(0))

    def _locals(self, expr: Apply, value: Expr) -> list[_Local | None]:
        fn, args = expr.fn, expr.args
        if fn in ("stop", "sign", "floor"):
            return [None] * len(args)
        if fn == "im" or (fn not in _RULES and len(args) > 1):
            raise NoFormula(fn)
        rule = _RULES.get(fn, _named)
        return rule(self, expr, value)

    def _reduce(self, expr: Reduce, seed: Expr, value: Expr, alike: frozenset[str]) -> Iterator[Flow]:
        fn, arg = expr.fn, expr.arg
        if fn == "sum":
            inner = seed
        elif fn in ("max", "min"):
            inner = self.truth(self.apply("eq", arg, value), seed)
        elif fn == "logsumexp":
            inner = self.mul(seed, self.apply("exp", self.apply("sub", arg, value)))
        elif fn == "norm" and arg.dtype != "complex":
            inner = self.mul(seed, self.div(arg, value))
        elif fn == "prod":
            inner = self.mul(seed, self.div(value, arg))
        elif fn == "mean":
            inner = self.div(seed, self.mul(*(self.size(a) for a in expr.over)))
        elif fn == "softmax":
            mean = self.sum(expr.over, self.mul(seed, value))
            inner = self.mul(value, self.apply("sub", seed, mean))
        else:
            raise NoFormula(fn)
        yield from self.flows(arg, inner, arg, alike | frozenset(expr.over))

    def _matrix(self, expr: Matrix, seed: Expr, value: Expr) -> Iterator[Flow]:
        raise NoFormula(expr.fn)


_Local = Callable[[Expr], Expr]
_Rule = Callable[[Reverse, Apply, Expr], "list[_Local | None]"]


def _factors(expr: Expr) -> list[Expr]:
    if isinstance(expr, Apply) and expr.fn == "mul":
        return [*_factors(expr.args[0]), *_factors(expr.args[1])]
    if isinstance(expr, Apply) and expr.fn == "neg":
        return [number(-1), *_factors(expr.args[0])]
    return [expr]


def _slope(make: Callable[[Reverse, Expr, Expr], Iterable[Expr]]) -> _Rule:
    """The rule of a function of one argument with derivative `make(r, x, y)`, as factors."""

    def rule(r: Reverse, e: Apply, y: Expr) -> list[_Local | None]:
        return [lambda g: r.mul(g, *(r.conj(f) for f in make(r, e.args[0], y)))]

    return rule


def _named(r: Reverse, e: Apply, y: Expr) -> list[_Local | None]:
    """A function whose derivative is written with a prime."""
    prime = Apply(f"{e.fn}'", e.args, axes=e.axes, dtype=e.dtype, varies=e.varies)
    return [lambda g: r.mul(g, prime)]


def _extreme(first: str) -> _Rule:
    def rule(r: Reverse, e: Apply, y: Expr) -> list[_Local | None]:
        a, b = e.args
        return [lambda g: r.truth(r.apply(first, a, b), g), lambda g: r.truth(r.apply(first, b, a), g)]

    return rule


def _power(r: Reverse, e: Apply, y: Expr) -> list[_Local | None]:
    base, exponent = e.args
    one_less = number(exponent.value - 1) if isinstance(exponent, Number) else r.apply("sub", exponent, number(1))
    rest = base if is_number(one_less, 1) else r.apply("pow", base, one_less)
    return [lambda g: r.mul(g, exponent, rest), lambda g: r.mul(g, y, r.apply("log", base))]


def _share(r: Reverse, e: Apply, y: Expr) -> list[_Local | None]:
    shares = [r.apply("exp", r.apply("sub", a, y)) for a in e.args]
    return [lambda g: r.mul(g, shares[0]), lambda g: r.mul(g, shares[1])]


def _clamp(r: Reverse, e: Apply, y: Expr) -> list[_Local | None]:
    x, low, high = e.args
    inside = r.apply("and", r.apply("lt", low, x), r.apply("lt", x, high))
    return [lambda g: r.truth(inside, g), None, None]


def _quotient(r: Reverse, e: Apply, y: Expr) -> list[_Local | None]:
    below = e.args[1]
    return [lambda g: r.div(g, r.conj(below)), lambda g: r.neg(r.mul(r.div(g, r.conj(below)), r.conj(y)))]


def _modulus(r: Reverse, e: Apply, y: Expr) -> list[_Local | None]:
    x = e.args[0]
    return [lambda g: r.mul(g, r.div(x, y) if x.dtype == "complex" else r.apply("sign", x))]


def _less(r: Reverse, a: Expr, b: Expr) -> Expr:
    return r.apply("sub", a, b)


_RULES: Mapping[str, _Rule] = {
    "add": lambda r, e, y: [lambda g: g, lambda g: g],
    "sub": lambda r, e, y: [lambda g: g, r.neg],
    "neg": lambda r, e, y: [r.neg],
    "mul": lambda r, e, y: [lambda g: r.mul(g, r.conj(e.args[1])), lambda g: r.mul(g, r.conj(e.args[0]))],
    "div": _quotient,
    "pow": _power,
    "max": _extreme("gt"),
    "min": _extreme("lt"),
    "clamp": _clamp,
    "logaddexp": _share,
    "where": lambda r, e, y: [
        None, lambda g: r.truth(e.args[0], g), lambda g: r.truth(r.apply("not", e.args[0]), g),
    ],
    "surrogate": lambda r, e, y: [None, lambda g: g],
    "exp": _slope(lambda r, x, y: [y]),
    "log": lambda r, e, y: [lambda g: r.div(g, r.conj(e.args[0]))],
    "log1p": lambda r, e, y: [lambda g: r.div(g, r.apply("add", number(1), e.args[0]))],
    "expm1": _slope(lambda r, x, y: [r.apply("exp", x)]),
    "sqrt": lambda r, e, y: [lambda g: r.div(g, r.mul(number(2), r.conj(y)))],
    "sigmoid": _slope(lambda r, x, y: [y, _less(r, number(1), y)]),
    "log_sigmoid": _slope(lambda r, x, y: [r.apply("sigmoid", r.neg(x))]),
    "softplus": _slope(lambda r, x, y: [r.apply("sigmoid", x)]),
    "tanh": _slope(lambda r, x, y: [_less(r, number(1), r.apply("pow", y, number(2)))]),
    "relu": lambda r, e, y: [lambda g: r.truth(r.apply("gt", e.args[0], number(0)), g)],
    "sin": _slope(lambda r, x, y: [r.apply("cos", x)]),
    "cos": _slope(lambda r, x, y: [number(-1), r.apply("sin", x)]),
    "abs": _modulus,
    "re": lambda r, e, y: [lambda g: g],
    "conj": lambda r, e, y: [r.conj],
    "cis": lambda r, e, y: [lambda g: r.apply("im", r.mul(g, r.conj(y)))],
}  # fmt: skip


def tidy(work: Workspace, expr: Expr) -> Expr:
    """The same expression with summed axes called by the header's names where those are free."""
    if isinstance(expr, Apply):
        return work.apply(expr.fn, *(tidy(work, a) for a in expr.args)) if "'" not in expr.fn else expr
    if not isinstance(expr, Reduce):
        return expr
    arg, over = tidy(work, expr.arg), list(expr.over)
    if not REDUCTIONS[expr.fn]:
        free = {a for a in arg.axes if a not in over}
        names: dict[str, str] = {}
        for axis in over:
            base = base_of(axis)
            names[axis] = base if base not in free else work.primed(base, free)
            free.add(names[axis])
        arg, over = rename(work, arg, names), [names[a] for a in over]
    return work.reduce(expr.fn, over, arg, expr.span)


__all__ = ["Flow", "NoFormula", "Reverse", "tidy"]
