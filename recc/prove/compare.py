"""Whether two exact numbers are the same, and if not, whether they really differ."""

from __future__ import annotations

from dataclasses import dataclass, field

import mpmath

from recc.prove.cases import BITS, places
from recc.prove.decide import approximate, is_zero
from recc.prove.ring import Exact
from recc.recurrence import Domain

_DIGITS = 40
_POINTS = 3


class Differs(Exception):
    """Two expressions that have different values at a point."""

    def __init__(self, place: str, expected: Exact, found: Exact, values: tuple[float, float]):
        self.place, self.expected, self.found, self.values = place, expected, found, values
        super().__init__(place)


@dataclass
class Comparison:
    """Counts what was compared.

    `same`: equal by the laws of exact numbers. `alike`: not shown equal, but equal to 12 digits at random
    points. `undefined`: the step loop gives NaN. `degree` and `products` are the largest of any bound.
    """

    domains: dict[int, Domain | None]
    same: int = 0
    alike: int = 0
    undefined: int = 0
    degree: int = 0
    products: float = 0.0
    examples: list[str] = field(default_factory=list)

    def check(self, place: str, expected: Exact, found: Exact) -> None:
        """Compares two numbers. Raises `Differs` if they have different values somewhere."""
        if expected.extreme is not None and expected.extreme != expected.extreme:
            self.undefined += 1
            return
        if expected.key == found.key or is_zero(expected - found):
            self.same += 1
            for bound in (expected.bound, found.bound):
                if bound is not None:
                    self.degree, self.products = max(self.degree, bound.degree), max(self.products, bound.count)
            return
        for point in places(self.domains, _POINTS):
            with mpmath.workdps(_DIGITS):
                try:
                    values = [approximate(x, point) for x in (expected, found)]
                except ZeroDivisionError:  # one of the two is undefined here, or is written as if it were
                    continue
                if any(mpmath.isnan(v) and x.extreme is None for v, x in zip(values, (expected, found), strict=True)):
                    continue  # infinities in cases that the point does not take
                size = max(abs(v) for v in values)
                gap = abs(values[0] - values[1])
                if not gap <= size * mpmath.mpf(10) ** -12 + mpmath.mpf(10) ** -25:
                    raise Differs(place, expected, found, (_plain(values[0]), _plain(values[1])))
        self.alike += 1
        if not self.examples:
            self.examples.append(place)

    def failure(self, atoms: int) -> float:
        """A bound on the probability that two different functions passed as the same at one random point.

        They differ in the coefficient of some product of exponentials and atoms. That coefficient is zero at the
        point, or another product coincides with this one there, or two atoms have the same argument: each asks a
        polynomial of at most twice the degree to vanish, which has probability degree / 2**64 (Schwartz, Zippel).
        `atoms` is how many there are.
        """
        return (4 * self.products + atoms**2) * 2 * self.degree / 2.0**BITS


def _plain(value: object) -> float:
    return float(mpmath.re(value))


__all__ = ["Comparison", "Differs"]
