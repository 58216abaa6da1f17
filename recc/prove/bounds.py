"""How an exact number at a random point depends on the point: what bounds the chance of an accident."""

from __future__ import annotations

from dataclasses import dataclass

_MOST = 1e100  # no bound follows from more, and products of more overflow


@dataclass(frozen=True)
class Bound:
    """What is known of a number at a random point as a function of the point.

    It is a sum of at most `count` different products of exponentials and other atoms, or has none of these
    (`rational`). Coefficients, exponents and arguments are rational functions of the point; their numerators
    and denominators have degrees of at most `above` and `below`.
    """

    above: int = 0
    below: int = 0
    count: float = 1.0
    rational: bool = True

    @property
    def degree(self) -> int:
        """A degree that the numerator of the difference of two such functions does not exceed."""
        return self.above + self.below

    def plus(self, other: Bound) -> Bound:
        """Of a sum."""
        above = max(self.above + other.below, other.above + self.below)
        plain = self.rational and other.rational
        return Bound(above, self.below + other.below, 1.0 if plain else self.count + other.count, plain)

    def times(self, other: Bound) -> Bound:
        """Of a product."""
        plain = self.rational and other.rational
        count = min(self.count * other.count, _MOST)
        return Bound(self.above + other.above, self.below + other.below, count, plain)

    def over(self) -> Bound:
        """Of one over the number."""
        return Bound(self.below, self.above, self.count, self.rational)


__all__ = ["Bound"]
