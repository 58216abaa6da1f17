"""Exact numbers: polynomials over the rationals in symbols that obey the laws of the functions they stand for.

An `Exact` is a sum of monomials with rational coefficients. A monomial is a product of powers of **atoms**. An
atom is an input, or a function of exact numbers that is kept as it stands. The laws that make two ways of
computing one value come out as the same sum are built into the atoms:

| atom | its law |
|---|---|
| `exp[m]`, m a monomial | `exp(sum of c m) = product of exp[m]^c`, c any rational |
| `log[p]` | `log(c m p) = log c + log m + log[p]` for positive c and m; `exp(n log[p]) = p^n` |
| `inv[p]` | `p * inv[p] = 1`, used when a number is tested for zero (`clear`) |
| `sqrt[p]` | `sqrt[p]^2 = p` |
| the imaginary unit | its square is -1; `cos x = (exp(ix) + exp(-ix)) / 2`, `sin` likewise |
| truth values | `c^2 = c`; `[p > 0] [p < 0] = 0` |
| `max[...]` | a set of numbers up to a common term; see `recc.prove.maxima` |

Anything else (`sigmoid`, `tanh`, `erf`, …) is an atom of its argument: equal arguments give equal atoms. So a sum
that comes out as zero *is* zero as a function of its inputs. The converse needs more: see `recc.prove.decide`.

Infinities and NaN follow IEEE 754.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import numpy as np

from recc.prove.atoms import Atom, Kind, Monomial, Rational, TooLarge, Undecided, size
from recc.prove.bounds import Bound

_PLAIN = frozenset({"input", "exp", "log", "function"})


class Space:
    """Where exact numbers live: their atoms and monomials, and how much work is left.

    `limit` bounds the products of monomials; beyond it every operation raises `TooLarge`.
    """

    def __init__(self, limit: int = 1_000_000):
        self.limit = limit
        self.work = 0
        self.atoms: list[Atom] = []
        self.monomials: list[Monomial] = [()]
        self.products: dict[tuple[int, int], int | tuple[tuple[int, Rational], ...]] = {}
        self.measured: dict[int, dict[int, Any]] = {}  # closed atoms by digits
        self._monomial: dict[Monomial, int] = {(): 0}
        self._atom: dict[tuple[Any, ...], int] = {}
        self.zero = Exact(self, {})
        self.one = Exact(self, {0: 1})
        unit = self.atom("unit", "i", (), closed=True)
        self.unit = Exact(self, {self.monomial(((unit, 1),)): 1})

    def spend(self, work: int) -> None:
        """Counts work. Raises `TooLarge` beyond the limit."""
        self.work += work
        if self.work > self.limit:
            raise TooLarge

    def number(self, value: Any) -> Exact:
        """A number as an `Exact`: an integer, a fraction, or a float as the binary fraction that it is."""
        if isinstance(value, Exact):
            return value
        if isinstance(value, np.ndarray | np.generic):
            return self.number(value.item())
        if isinstance(value, int | Fraction):
            return Exact(self, {0: value} if value else {})
        real = float(value)
        if not math.isfinite(real):
            return Exact(self, {}, extreme=real)
        exact: Rational = int(real) if real == int(real) else Fraction(real)
        return Exact(self, {0: exact} if exact else {})

    def input(self, name: str, *, positive: bool = False, truth: bool = False) -> Exact:
        """A new unknown, a truth value if `truth`."""
        atom = self.atom("truth" if truth else "input", name, (), positive=positive)
        return self.power(atom, 1)

    def power(self, atom: int, exponent: Rational) -> Exact:
        """A power of an atom."""
        return Exact(self, {self.monomial(((atom, exponent),)) if exponent else 0: 1})

    def atom(
        self, kind: Kind, name: str, args: tuple[Exact, ...], *, positive: bool = False, closed: bool | None = None
    ) -> int:
        """The atom of a function of some arguments: the same one for the same arguments."""
        key = (kind, name, *(a.key for a in args))
        found = self._atom.get(key)
        if found is None:
            is_closed = (bool(args) and all(a.closed for a in args)) if closed is None else closed
            found = self._atom[key] = len(self.atoms)
            self.atoms.append(Atom(kind, name, args, positive, is_closed))
        return found

    def exclude(self, one: int, other: int) -> None:
        """Says that of two truth values at most one holds."""
        for this, that in ((one, other), (other, one)):
            old = self.atoms[this]
            self.atoms[this] = Atom(old.kind, old.name, old.args, old.positive, old.closed, that)

    def monomial(self, powers: Monomial) -> int:
        """The number of a monomial."""
        found = self._monomial.get(powers)
        if found is None:
            found = self._monomial[powers] = len(self.monomials)
            self.monomials.append(powers)
        return found

    def product(self, left: int, right: int) -> int | tuple[tuple[int, Rational], ...]:
        """The product of two monomials: a monomial, or a sum of some with coefficients."""
        result = self._product(self.monomials[left], self.monomials[right])
        self.products[left, right] = result
        return result

    def _product(self, left: Monomial, right: Monomial) -> int | tuple[tuple[int, Rational], ...]:
        if not left or not right:
            return self._monomial[left or right]
        self.spend(8 + len(left) + len(right))
        powers = dict(left)
        for atom, exponent in right:
            powers[atom] = powers.get(atom, 0) + exponent
        sign = 1
        squares: list[tuple[Exact, int]] = []
        for atom in [a for a, _ in right]:
            kind = self.atoms[atom].kind
            if kind == "truth":
                powers[atom] = 1
                if self.atoms[atom].partner in powers:
                    return ()
            elif kind == "unit":
                turns = int(powers[atom]) % 4
                sign, powers[atom] = (1, -1)[turns // 2], turns % 2
            elif kind == "sqrt" and powers[atom] > 1:
                squares.append((self.atoms[atom].args[0], int(powers[atom]) // 2))
                powers[atom] = int(powers[atom]) % 2
        found = self.monomial(tuple(sorted((a, e) for a, e in powers.items() if e)))
        if not squares:
            return found if sign == 1 else ((found, sign),)
        total = Exact(self, {found: sign})
        for base, exponent in squares:
            total = total * base**exponent
        return tuple(total.terms.items())

    def compare(self, left: int, right: int) -> int:
        """An order of monomials that products keep: the sign of the first exponent in which they differ."""
        a, b = self.monomials[left], self.monomials[right]
        for (i, x), (j, y) in zip(a, b, strict=False):
            if i != j:
                return (1 if x > 0 else -1) if i < j else (-1 if y > 0 else 1)
            if x != y:
                return 1 if x > y else -1
        if len(a) == len(b):
            return 0
        rest = a[len(b)] if len(a) > len(b) else b[len(a)]
        return (1 if rest[1] > 0 else -1) * (1 if len(a) > len(b) else -1)


class Exact:
    """An exact number: `terms` from monomials to coefficients; `extreme` is an infinity or NaN instead.

    `bound` tells how the number depends on a random point, where there is one.
    """

    __slots__ = ("_key", "bound", "extreme", "space", "terms")

    def __init__(
        self, space: Space, terms: dict[int, Rational], bound: Bound | None = None, extreme: float | None = None
    ):
        self.space = space
        self.terms = terms
        self.bound = bound
        self.extreme = extreme
        self._key: Any = None

    @property
    def key(self) -> Any:
        """What two numbers that are the same sum have in common."""
        if self._key is None:
            self._key = frozenset(self.terms.items()) if self.extreme is None else str(self.extreme)
        return self._key

    @property
    def constant(self) -> Rational | float | None:
        """The number, if it has no atoms."""
        if self.extreme is not None:
            return self.extreme
        if not self.terms:
            return 0
        return self.terms.get(0) if len(self.terms) == 1 else None

    @property
    def closed(self) -> bool:
        """Whether no input is in it."""
        space = self.space
        return all(space.atoms[a].closed for m in self.terms for a, _ in space.monomials[m])

    def atoms(self) -> set[int]:
        """The atoms in it."""
        return {a for m in self.terms for a, _ in self.space.monomials[m]}

    def __bool__(self) -> bool:
        return bool(self.terms) or self.extreme is not None

    def __add__(self, other: Any) -> Exact:
        other = self.space.number(other)
        if self.extreme is not None or other.extreme is not None:
            return self.space.number((self.extreme or 0.0) + (other.extreme or 0.0))
        bound = _joined(self, other, Bound.plus)
        if not other.terms:
            return self if bound is self.bound else Exact(self.space, self.terms, bound)
        if not self.terms:
            return other if bound is other.bound else Exact(self.space, other.terms, bound)
        large, small = (self.terms, other.terms) if len(self.terms) >= len(other.terms) else (other.terms, self.terms)
        terms = dict(large)
        for m, x in small.items():
            total = terms.get(m, 0) + x
            if total:
                terms[m] = total
            else:
                del terms[m]
        return Exact(self.space, terms, bound)

    __radd__ = __add__

    def __neg__(self) -> Exact:
        if self.extreme is not None:
            return self.space.number(-self.extreme)
        return Exact(self.space, {m: -x for m, x in self.terms.items()}, self.bound)

    def __sub__(self, other: Any) -> Exact:
        return self + (-self.space.number(other))

    def __rsub__(self, other: Any) -> Exact:
        return self.space.number(other) + (-self)

    def __mul__(self, other: Any) -> Exact:
        space = self.space
        other = space.number(other)
        if self.extreme is not None or other.extreme is not None:
            return _extreme_product(self, other)
        bound = _joined(self, other, Bound.times)
        a, b = self.terms, other.terms
        if not a or not b:
            return Exact(space, {}, bound)
        if len(a) > len(b):
            a, b = b, a
        if len(a) == 1 and 0 in a:
            x = a[0]
            space.spend((x.numerator.bit_length() + x.denominator.bit_length()) >> 7)
            return Exact(space, dict(b) if x == 1 else {m: x * y for m, y in b.items()}, bound)
        space.spend(len(a) * len(b))
        products = space.products
        found: dict[int, Rational] = {}
        for m, x in a.items():
            for n, y in b.items():
                pair = (m, n)
                p: Any = products.get(pair)
                if p is None:
                    p = space.product(m, n)
                if type(p) is int:
                    found[p] = found.get(p, 0) + x * y
                else:
                    for q, z in p:
                        found[q] = found.get(q, 0) + x * y * z
        return Exact(space, {m: x for m, x in found.items() if x}, bound)

    __rmul__ = __mul__

    def __pow__(self, exponent: int) -> Exact:
        result, base = self.space.one, self if exponent >= 0 else self.inverse()
        for _ in range(abs(exponent)):
            result = result * base
        return result

    def __truediv__(self, other: Any) -> Exact:
        divisor = self.space.number(other)
        if divisor.extreme is not None:
            undefined = self.extreme is not None or math.isnan(divisor.extreme)
            return self.space.number(math.nan if undefined else 0)
        if not divisor.terms:
            if self.extreme is None and not self.terms:
                return self.space.number(math.nan)
            return self * self.space.number(math.inf)
        return self * divisor.inverse()

    def __rtruediv__(self, other: Any) -> Exact:
        return self.space.number(other) / self

    def inverse(self) -> Exact:
        """One over the number, which is not zero."""
        from recc.prove.decide import clear, sign
        from recc.prove.functions import conjugate

        space = self.space
        bound = None if self.bound is None else self.bound.over()
        number, factor = clear(self)
        if not number.terms:
            return space.number(math.inf)
        if len(number.terms) > 1 and any(space.atoms[a].kind == "unit" for a in number.atoms()):
            # Over a real number, as everybody divides by a complex one.
            turned = conjugate(number)
            result = factor * turned * (number * turned).inverse()
            return Exact(space, result.terms, bound)
        lead, scale = number.lead()
        plain: Monomial = tuple((a, e) for a, e in space.monomials[lead] if space.atoms[a].kind in _PLAIN)
        outside = Exact(space, {space.monomial(tuple((a, -e) for a, e in plain)): Fraction(1, scale)})
        inside = number * outside
        if inside.key == space.one.key:
            result = factor * outside
        else:
            result = factor * outside * self._inside(inside, sign(inside) == 1)
        return Exact(space, {m: _whole(x) for m, x in result.terms.items()}, bound)

    def _inside(self, number: Exact, positive: bool) -> Exact:
        """The inverse of a number without a common factor."""
        space = self.space
        if len(number.terms) == 1:
            ((m, scale),) = number.terms.items()
            if all(space.atoms[a].kind in ("unit", "sqrt") for a, _ in space.monomials[m]):
                result = space.number(Fraction(1, scale))
                for a, _ in space.monomials[m]:
                    root = space.atoms[a].kind == "sqrt"
                    result = result * (space.power(a, 1) * space.atoms[a].args[0].inverse() if root else -space.unit)
                return result
        return space.power(space.atom("inv", "inv", (number,), positive=positive), 1)

    def lead(self) -> tuple[int, Rational]:
        """The largest monomial (see `Space.compare`) with its coefficient."""
        best = -1
        for m in self.terms:
            if best < 0 or self.space.compare(m, best) > 0:
                best = m
        return best, self.terms[best]

    def __str__(self) -> str:
        from recc.prove.show import show

        return show(self)


def total(space: Space, numbers: Iterable[Any]) -> Exact:
    """The sum of some numbers."""
    terms: dict[int, Rational] = {}
    bound: Bound | None = None
    extreme: float | None = None
    for item in numbers:
        number = space.number(item)
        if number.extreme is not None:
            extreme = number.extreme + (extreme or 0.0)
        for m, x in number.terms.items():
            terms[m] = terms.get(m, 0) + x
        if number.bound is not None:
            bound = number.bound if bound is None else bound.plus(number.bound)
    if extreme is not None:
        return space.number(extreme)
    return Exact(space, {m: x for m, x in terms.items() if x}, bound)


def _joined(left: Exact, right: Exact, rule: Callable[[Bound, Bound], Bound]) -> Bound | None:
    if left.bound is None:
        return right.bound
    if right.bound is None:
        return left.bound
    return rule(left.bound, right.bound)


def _extreme_product(left: Exact, right: Exact) -> Exact:
    """A product with an infinity: the other factor's sign has to be known."""
    from recc.prove.decide import sign

    signs = [x.extreme if x.extreme is not None else sign(x) for x in (left, right)]
    if None in signs:
        raise Undecided("an infinity times a number of unknown sign")
    return left.space.number(float(signs[0] or 0.0) * float(signs[1] or 0.0))


def _whole(value: Rational) -> Rational:
    return value.numerator if isinstance(value, Fraction) and value.denominator == 1 else value


__all__ = ["Atom", "Exact", "Rational", "Space", "TooLarge", "Undecided", "size", "total"]
