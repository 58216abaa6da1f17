"""Whether two exact numbers are the same, and if not, whether they really differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import mpmath

from recc.prove.cases import places
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

    `same`: equal by the laws of exact numbers. `alike`: not shown equal, but equal to 25 digits at random
    points. `undefined`: the step loop gives NaN. `failure` is a bound on the probability that a comparison of
    two different functions at one random point went unnoticed.
    """

    domains: Mapping[int, Domain]
    same: int = 0
    alike: int = 0
    undefined: int = 0
    degree: int = 0
    terms: float = 0.0
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
                    self.degree, self.terms = max(self.degree, bound.degree), max(self.terms, bound.terms)
            return
        for point in places(self.domains, _POINTS):
            with mpmath.workdps(_DIGITS):
                values = [approximate(x, point) for x in (expected, found)]
                size = max(abs(v) for v in values)
                gap = abs(values[0] - values[1])
                if not gap <= size * mpmath.mpf(10) ** -12 + mpmath.mpf(10) ** -25:
                    raise Differs(place, expected, found, (_plain(values[0]), _plain(values[1])))
        self.alike += 1
        if not self.examples:
            self.examples.append(place)


def _plain(value: object) -> float:
    return float(mpmath.re(value))


__all__ = ["Comparison", "Differs"]
