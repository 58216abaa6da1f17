"""What exact numbers are made of: rational coefficients, atoms and monomials."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from recc.prove.ring import Exact

Rational = int | Fraction
Monomial = tuple[tuple[int, Rational], ...]  # atoms and exponents, by rising atom
Kind = Literal["input", "unit", "exp", "log", "inv", "sqrt", "truth", "max", "function"]


class TooLarge(Exception):
    """An exact computation takes more work than it was given."""


class Undecided(Exception):
    """A question about exact numbers that this arithmetic cannot answer."""


@dataclass(frozen=True)
class Atom:
    """A symbol of a `Space`. `args` are what it is a function of, `name` is shown to people.

    `positive`: above zero for all inputs. `closed`: a number, as no input is in it. For `exp` the argument is
    one monomial. `partner` is the truth value that excludes this one.
    """

    kind: Kind
    name: str
    args: tuple[Exact, ...] = ()
    positive: bool = False
    closed: bool = False
    partner: int = -1


def size(value: Rational) -> Rational:
    """The magnitude of a rational number."""
    return -value if value < 0 else value


__all__ = ["Atom", "Kind", "Monomial", "Rational", "TooLarge", "Undecided", "size"]
