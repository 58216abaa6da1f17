"""What is known of an exact number: whether it is zero, its sign, its value at a point."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import reduce
from typing import Any

import mpmath

from recc.prove.bounds import Bound
from recc.prove.ring import Exact, Rational, Space, Undecided, size

#: Digits that closed numbers are evaluated to when their sign is asked for.
_DIGITS = 60


def clear(number: Exact) -> tuple[Exact, Exact]:
    """`(n, d)` with `number = n / d`, where n has no inverses and d is a product of what was inverted."""
    space = number.space
    factor = space.one
    while True:
        inverses = [a for a in number.atoms() if space.atoms[a].kind == "inv"]
        if not inverses:
            return number, factor
        atom = max(inverses)
        parts: dict[int, dict[int, Rational]] = {}
        for m, x in number.terms.items():
            powers = space.monomials[m]
            exponent = next((int(e) for a, e in powers if a == atom), 0)
            rest = space.monomial(tuple((a, e) for a, e in powers if a != atom))
            parts.setdefault(exponent, {})[rest] = x
        most = max(parts)
        (divisor,) = space.atoms[atom].args
        found = space.zero
        for exponent, terms in parts.items():
            found = found + Exact(space, terms) * divisor ** (most - exponent)
        number, factor = Exact(space, found.terms, number.bound), factor * divisor**most


def is_zero(number: Exact) -> bool:
    """Whether a number is zero for all inputs, as far as the laws of `recc.prove.ring` tell."""
    if number.extreme is not None:
        return False
    if not number.terms:
        return True
    return not _without_maxima(clear(number)[0]).terms


def _without_maxima(number: Exact) -> Exact:
    """The same zero with maxima that are added up written as maxima of sums: `max A + max B = max (A + B)`."""
    from recc.prove.maxima import maximum

    space = number.space
    sides: dict[int, list[Exact]] = {1: [], -1: []}
    for m, x in number.terms.items():
        powers = space.monomials[m]
        if len(powers) == 1 and powers[0][1] == 1 and space.atoms[powers[0][0]].kind == "max":
            sides[1 if x > 0 else -1].append(Exact(space, {m: size(x)}))
    if sum(map(len, sides.values())) < 2:
        return number
    for way, parts in sides.items():
        added = parts[0] if parts else space.zero
        for part in parts[1:]:
            added = added + part
        number = number - (added - maximum(space, [added])) * way
    return number


def sign(number: Exact) -> int | None:
    """The sign of a number for all inputs, if it has one."""
    if number.extreme is not None:
        return 1 if number.extreme > 0 else -1 if number.extreme < 0 else None
    if not number.terms:
        return 0
    value = number.constant
    if value is not None:
        return 1 if value > 0 else -1
    if number.closed:
        return 0 if is_zero(number) else _measured(number)
    signs = {_term_sign(number.space, m, x) for m, x in number.terms.items()}
    return signs.pop() if len(signs) == 1 else None


def _term_sign(space: Space, monomial: int, scale: Rational) -> int | None:
    """The sign of one term, if it is never zero."""
    if not all(space.atoms[a].positive for a, _ in space.monomials[monomial]):
        return None
    return 1 if scale > 0 else -1


def never_negative(number: Exact) -> bool:
    """Whether all terms are squares or positive, with positive coefficients."""
    space = number.space
    return number.extreme is None and all(
        x > 0
        and all(
            space.atoms[a].positive
            or space.atoms[a].kind in ("truth", "sqrt")
            or (e % 2 == 0 and space.atoms[a].kind != "unit")
            for a, e in space.monomials[m]
        )
        for m, x in number.terms.items()
    )


def marked(result: Exact, *args: Exact) -> Exact:
    """The result of a function with a bound that holds for its arguments too: they must not coincide either."""
    bounds = [a.bound for a in args if a.bound is not None]
    if not bounds:
        return result
    found = reduce(Bound.plus, bounds)
    own = result.bound or Bound()
    plain = found.rational and result.closed and not result.atoms()
    merged = Bound(max(found.above, own.above), max(found.below, own.below), max(found.count, own.count), plain)
    return Exact(result.space, result.terms, merged, result.extreme)


def _measured(number: Exact) -> int | None:
    """The sign of a closed number that is not zero."""
    space = number.space
    for digits in (_DIGITS, 8 * _DIGITS):
        space.spend(200 * len(number.terms))
        known = space.measured.setdefault(digits, {})
        with mpmath.workdps(digits):
            parts = [approximate(Exact(space, {m: x}), {}, known) for m, x in number.terms.items()]
            value, scale = mpmath.fsum(parts).real, mpmath.fsum(abs(p) for p in parts)
            if abs(value) > scale * mpmath.mpf(10) ** (10 - digits):
                return 1 if value > 0 else -1
    raise Undecided(f"the sign of {number}")


def approximate(number: Exact, inputs: Mapping[int, Any], known: dict[int, Any] | None = None) -> Any:
    """The value of a number in the working precision of mpmath, for values of the input atoms.

    `known` holds the values of atoms between calls.
    """
    known = {} if known is None else known
    if number.extreme is not None:
        return mpmath.mpf(number.extreme)
    space = number.space
    for atom in sorted(number.atoms()):
        _atom_value(space, atom, inputs, known)
    total = mpmath.mpf(0)
    for m, x in number.terms.items():
        term = _mp(x)
        for a, e in space.monomials[m]:
            value = known[a]
            term = term * (mpmath.power(value, _mp(e)) if space.atoms[a].kind != "exp" else mpmath.exp(value * _mp(e)))
        total = total + term
    return total


def _atom_value(space: Space, atom: int, inputs: Mapping[int, Any], known: dict[int, Any]) -> None:
    """Finds the value of an atom; for `exp` that of its exponent, so that nothing overflows on the way."""
    if atom in known:
        return
    it = space.atoms[atom]
    if it.kind == "input" or (it.kind == "truth" and not it.args):
        known[atom] = _mp(inputs[atom])
        return
    args = [approximate(a, inputs, known) for a in it.args]
    known[atom] = _KIND[it.kind](*args) if it.kind in _KIND else _named(it.name, args)


def _named(name: str, args: list[Any]) -> Any:
    if name.startswith("expm["):
        row, column = (int(x) for x in name[5:-1].split(", "))
        rows = round(len(args) ** 0.5)
        return mpmath.expm(mpmath.matrix([args[k * rows : (k + 1) * rows] for k in range(rows)]))[row, column]
    return _FUNCTION[name](*args)


def _mp(x: Any) -> Any:
    if isinstance(x, Fraction):
        return mpmath.mpf(x.numerator) / x.denominator
    return mpmath.mpf(x)


def _real(x: Any) -> Any:
    return mpmath.re(x)


_KIND: Mapping[str, Any] = {
    "unit": lambda: mpmath.mpc(0, 1),
    "exp": lambda x: x,
    "log": mpmath.log,
    "inv": lambda x: 1 / x,
    "sqrt": mpmath.sqrt,
    "truth": lambda x: mpmath.mpf(1 if _real(x) > mpmath.eps**0.5 else 0),  # zero is not above zero
    "max": lambda *xs: max(map(_real, xs)),
}
_FUNCTION: Mapping[str, Any] = {
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log(1 + mpmath.exp(x)),
    "tanh": mpmath.tanh,
    "erf": mpmath.erf,
    "floor": lambda x: mpmath.floor(_real(x)),
    "pow": mpmath.power,
}


__all__ = ["approximate", "clear", "is_zero", "marked", "never_negative", "sign"]
