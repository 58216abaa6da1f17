"""Scalar functions of exact numbers.

Each brings its argument to the one form in which its laws are built in, and makes an atom of what is left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import wraps

from recc.prove.decide import clear, is_zero, marked, never_negative, sign
from recc.prove.ring import Exact, Rational, Space, Undecided, size, total

Unary = Callable[[Exact], Exact]

_MOST_CASES = 6  # truth values that a function's argument is split by


def _by_cases(fn: Unary) -> Unary:
    """The function taken for each value of the truth values in its argument: `f(c a + (1-c) b)`."""

    @wraps(fn)
    def run(x: Exact) -> Exact:
        truths = sorted(a for a in x.atoms() if x.space.atoms[a].kind == "truth")
        if len(truths) > _MOST_CASES or not truths:
            return marked(fn(x), x)
        truth, (yes, no) = x.space.power(truths[0], 1), _split(x, truths[0])
        return truth * run(yes) + (1 - truth) * run(no)

    return run


def _split(x: Exact, truth: int) -> tuple[Exact, Exact]:
    """The number where a truth value holds, and where it does not."""
    space = x.space
    partner = space.atoms[truth].partner
    yes, no = space.zero, {}
    for m, c in x.terms.items():
        powers = space.monomials[m]
        if all(a != truth for a, _ in powers):
            no[m] = c
            if any(a == partner for a, _ in powers):
                continue
        rest = space.monomial(tuple((a, e) for a, e in powers if a != truth))
        yes = yes + Exact(space, {rest: c})
    return Exact(space, yes.terms, x.bound), Exact(space, no, x.bound)


def _turned(x: Exact) -> bool:
    """Whether the other sign of an argument is the one that is kept."""
    return bool(x.terms) and x.lead()[1] < 0


def _function(x: Exact, name: str, *, positive: bool = False) -> Exact:
    space = x.space
    return space.power(space.atom("function", name, (x,), positive=positive), 1)


@_by_cases
def exp(x: Exact) -> Exact:
    """`exp(sum of c m) = product of exp[m]^c`, and `exp(n log[p]) = p^n` for whole n."""
    space = x.space
    if x.extreme is not None:
        return space.number(math.exp(x.extreme) if x.extreme < math.inf else x.extreme)
    result = space.one
    for m, c in x.terms.items():
        powers = space.monomials[m]
        atom = space.atoms[powers[0][0]] if len(powers) == 1 and powers[0][1] == 1 else None
        if atom is not None and atom.kind == "log" and c == int(c):
            result = result * atom.args[0] ** int(c)
            continue
        if atom is not None and atom.kind == "log" and _single(atom.args[0]):
            result = result * _root(atom.args[0], c)
            continue
        real = all(space.atoms[a].kind != "unit" for a, _ in powers)
        base = space.atom("exp", "exp", (Exact(space, {m: 1}),), positive=real, closed=Exact(space, {m: 1}).closed)
        result = result * space.power(base, c)
    return result


def _single(x: Exact) -> bool:
    """Whether a number is one positive atom."""
    return len(x.terms) == 1 and sign(x) == 1 and x.constant is None and next(iter(x.terms.values())) == 1


def _root(x: Exact, exponent: Rational) -> Exact:
    """A power of a product of positive atoms."""
    (m,) = x.terms
    powers = tuple((a, e * exponent) for a, e in x.space.monomials[m])
    return Exact(x.space, {x.space.monomial(powers): 1})


@_by_cases
def log(x: Exact) -> Exact:
    """`log(c m p) = log c + log m + log[p]`, where m has what is positive in the largest monomial."""
    space = x.space
    if x.extreme is not None:
        return space.number(math.inf if x.extreme > 0 else math.nan)
    if not x.terms:
        return space.number(-math.inf)
    above, below = clear(x)
    if below.key != space.one.key and sign(below) == 1:
        return log(above) - log(below)
    lead, scale = x.lead()
    positive = [(a, e) for a, e in space.monomials[lead] if space.atoms[a].positive]
    result = space.zero
    for a, e in positive:
        atom = space.atoms[a]
        if atom.kind == "exp":
            result = result + atom.args[0] * e
        else:
            result = result + space.power(space.atom("log", "log", (space.power(a, 1),)), 1) * e
    outside = Exact(space, {space.monomial(tuple((a, -e) for a, e in positive)): Fraction(1, size(scale))})
    inside = x * outside
    if size(scale) != 1:
        result = result + space.power(space.atom("log", "log", (space.number(size(scale)),)), 1)
    if inside.key != space.one.key:
        result = result + space.power(space.atom("log", "log", (inside,)), 1)
    return result


@_by_cases
def sqrt(x: Exact) -> Exact:
    """The square root: exact for squares of rationals, halved exponents for exponentials, else an atom."""
    space = x.space
    if x.extreme is not None or not x.terms:
        return x if x.extreme is None or x.extreme > 0 else space.number(math.nan)
    value = x.constant
    if value is not None:
        root = _rational_root(Fraction(value))
        if root is not None:
            return space.number(root)
        if value < 0:
            return space.number(math.nan)
    lead, _ = x.lead()
    outer = tuple((a, e) for a, e in space.monomials[lead] if space.atoms[a].kind == "exp" and space.atoms[a].positive)
    inside = x * Exact(space, {space.monomial(tuple((a, -e) for a, e in outer)): 1})
    half = Exact(space, {space.monomial(tuple((a, Fraction(e) / 2) for a, e in outer)): 1})
    if inside.key == space.one.key:
        return half
    return half * space.power(space.atom("sqrt", "sqrt", (inside,), positive=sign(inside) == 1), 1)


def _rational_root(value: Fraction) -> Fraction | None:
    if value < 0:
        return None
    above, below = math.isqrt(value.numerator), math.isqrt(value.denominator)
    return Fraction(above, below) if above**2 == value.numerator and below**2 == value.denominator else None


@_by_cases
def sigmoid(x: Exact) -> Exact:
    """The logistic function: an atom, where one of x and -x is taken for both."""
    if x.extreme is not None:
        return x.space.number(1.0 if x.extreme > 0 else 0.0 if x.extreme < 0 else math.nan)
    if not x.terms:
        return x.space.number(Fraction(1, 2))
    return 1 - _function(-x, "sigmoid", positive=True) if _turned(x) else _function(x, "sigmoid", positive=True)


def _odd(name: str) -> Unary:
    """An odd function between -1 and 1."""

    @_by_cases
    def run(x: Exact) -> Exact:
        if x.extreme is not None:
            return x.space.number(math.copysign(1.0, x.extreme) if not math.isnan(x.extreme) else math.nan)
        if not x.terms:
            return x
        return -_function(-x, name) if _turned(x) else _function(x, name)

    return run


tanh, erf = _odd("tanh"), _odd("erf")


@_by_cases
def softplus(x: Exact) -> Exact:
    """`log(1 + exp(x))`, an atom."""
    if x.extreme is not None:
        return x.space.number(max(x.extreme, 0.0))
    return log(x.space.number(2)) if not x.terms else _function(x, "softplus", positive=True)


@_by_cases
def floor(x: Exact) -> Exact:
    """The largest integer below; an atom unless the number is rational."""
    value = x.constant
    if x.extreme is not None:
        return x
    return _function(x, "floor") if value is None else x.space.number(math.floor(value))


def cos(x: Exact) -> Exact:
    """`(exp(ix) + exp(-ix)) / 2`."""
    turn = x * x.space.unit
    return (exp(turn) + exp(-turn)) * Fraction(1, 2)


def sin(x: Exact) -> Exact:
    """`(exp(ix) - exp(-ix)) / 2i`."""
    turn = x * x.space.unit
    return (exp(turn) - exp(-turn)) * x.space.unit * Fraction(-1, 2)


def conjugate(x: Exact) -> Exact:
    """The complex conjugate: the imaginary unit changes its sign wherever it is."""
    space = x.space
    result = space.zero
    for m, c in x.terms.items():
        part = space.number(c)
        for a, e in space.monomials[m]:
            part = part * _conjugate_power(space, a, e)
        result = result + part
    return Exact(space, result.terms, x.bound, x.extreme)


def _conjugate_power(space: Space, a: int, e: Rational) -> Exact:
    atom = space.atoms[a]
    if atom.kind == "unit":
        return -space.power(a, e)
    if atom.kind == "exp":
        return space.power(a, -e) if not atom.positive else space.power(a, e)
    if atom.kind in ("input", "truth", "max") or not _complex(space, a):
        return space.power(a, e)
    args = [conjugate(y) for y in atom.args]
    if atom.kind == "inv":
        return args[0].inverse() ** int(e)
    if atom.kind == "sqrt":
        return sqrt(args[0])
    return space.power(space.atom(atom.kind, atom.name, tuple(args), positive=atom.positive), e)


def _complex(space: Space, a: int) -> bool:
    """Whether the imaginary unit is in an atom."""
    atom = space.atoms[a]
    return atom.kind == "unit" or any(_complex(space, b) for y in atom.args for b in y.atoms())


def real_part(x: Exact) -> Exact:
    """The real part."""
    return (x + conjugate(x)) * Fraction(1, 2)


def imaginary_part(x: Exact) -> Exact:
    """The imaginary part."""
    return (x - conjugate(x)) * x.space.unit * Fraction(-1, 2)


def positive(x: Exact) -> Exact:
    """The truth value of `x > 0`."""
    space = x.space
    if x.extreme is not None:
        return space.number(1 if x.extreme > 0 else 0)
    known = sign(x)
    if known is not None:
        return marked(space.number(1 if known > 0 else 0), x)
    if never_negative(-x):
        return space.zero
    lead, scale = x.lead()
    outer = tuple((a, -e) for a, e in space.monomials[lead] if space.atoms[a].positive)
    x = x * Exact(space, {space.monomial(outer): Fraction(1, size(scale))})
    truth = space.atom("truth", "[> 0]", (x,))
    if space.atoms[truth].partner < 0 and not never_negative(x):
        space.exclude(truth, space.atom("truth", "[> 0]", (-x,)))
    return space.power(truth, 1)


def less(x: Exact, y: Exact) -> Exact:
    """The truth value of `x < y`."""
    if x.extreme is not None and y.extreme is not None:
        return x.space.number(int(x.extreme < y.extreme))
    if x.extreme is not None or y.extreme is not None:
        undefined = any(v.extreme is not None and math.isnan(v.extreme) for v in (x, y))
        first = x.extreme if x.extreme is not None else -(y.extreme or 0.0)
        return x.space.number(int(first < 0 and not undefined))
    return positive(y - x)


def equal(x: Exact, y: Exact) -> Exact:
    """The truth value of `x = y`."""
    if x.extreme is not None or y.extreme is not None:
        return x.space.number(int(x.extreme == y.extreme))
    difference = x - y
    if is_zero(difference):
        return marked(x.space.one, difference)
    return 1 - positive(difference) - positive(-difference)


def where(condition: Exact, yes: Exact, no: Exact) -> Exact:
    """The first where the condition holds, the second where not."""
    value = condition.constant
    if value is not None:
        return marked(yes if value else no, condition)
    if yes.extreme is not None or no.extreme is not None:
        if yes.key == no.key:
            return yes
        raise Undecided("a choice between a number and an infinity by a condition on unknowns")
    return condition * yes + (1 - condition) * no


def magnitude(x: Exact) -> Exact:
    """`|x|` of a real number."""
    return x.space.number(abs(x.extreme)) if x.extreme is not None else x * signum(x)


def signum(x: Exact) -> Exact:
    """The sign: -1, 0 or 1."""
    return positive(x) - positive(-x)


def power(x: Exact, y: Exact) -> Exact:
    """`x ** y`: a product for whole y, a root for a half, `exp(y log x)` otherwise."""
    exponent = y.constant
    if exponent is not None and not isinstance(exponent, float):
        if exponent == int(exponent) and size(exponent) <= 64:
            return x ** int(exponent) if exponent >= 0 else x.space.one / (x ** -int(exponent))
        if exponent == Fraction(1, 2):
            return sqrt(x)
    return exp(y * log(x))


def log_sum_exp(space: Space, numbers: Sequence[Exact]) -> Exact:
    """`log(sum of exp(x))`."""
    return log(total(space, [exp(x) for x in numbers]))


#: The functions of one argument by the names that the language and Blocks share.
UNARY: Mapping[str, Unary] = {
    "neg": lambda x: -x,
    "exp": exp,
    "log": log,
    "sqrt": sqrt,
    "rsqrt": lambda x: 1 / sqrt(x),
    "log1p": lambda x: log(1 + x),
    "expm1": lambda x: exp(x) - 1,
    "sigmoid": sigmoid,
    "log_sigmoid": lambda x: log(sigmoid(x)),
    "softplus": softplus,
    "tanh": tanh,
    "erf": erf,
    "sin": sin,
    "cos": cos,
    "floor": floor,
    "abs": magnitude,
    "sign": signum,
}

__all__ = [
    "UNARY", "Unary", "conjugate", "cos", "equal", "erf", "exp", "floor", "imaginary_part", "less", "log",
    "log_sum_exp", "magnitude", "positive", "power", "real_part", "sigmoid", "signum", "sin",
    "softplus", "sqrt", "tanh", "where",
]  # fmt: skip
