"""Largest and smallest of exact numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cmp_to_key

from recc.prove.decide import marked, sign
from recc.prove.ring import Exact, Space


def maximum(space: Space, numbers: Sequence[Exact]) -> Exact:
    """The largest of some numbers, as one common term plus an atom that is the set of what is left of each.

    A maximum of maxima is the maximum of all; a sum of maxima is the maximum of all sums.
    """
    best: float | None = None
    members: dict[object, Exact] = {}
    for x in numbers:
        if x.extreme is not None:
            if math.isnan(x.extreme) or x.extreme > 0:
                return x
            best = x.extreme
            continue
        for member in _members(x):
            members[member.key] = member
    if not members:
        return space.number(-math.inf if best is None else best)
    kept: list[Exact] = []
    for x in members.values():
        signs = [sign(x - y) for y in kept]
        if any(s is not None and s <= 0 for s in signs):
            continue
        kept = [y for y, s in zip(kept, signs, strict=True) if s is None or s < 0] + [x]
    kept.sort(key=cmp_to_key(_order))
    base = kept[0]
    if len(kept) == 1:
        return marked(base, *numbers)
    rest = tuple(x - base for x in kept)
    return marked(base + space.power(space.atom("max", "max", rest), 1), *numbers)


def _order(x: Exact, y: Exact) -> int:
    """An order of numbers that adding the same to both keeps."""
    difference = x - y
    return 0 if not difference.terms else 1 if difference.lead()[1] > 0 else -1


def _members(x: Exact) -> list[Exact]:
    """What a number is the maximum of: maxima in it that are added with a positive factor are opened."""
    space = x.space
    found = [x]
    for m, c in x.terms.items():
        powers = space.monomials[m]
        if len(powers) == 1 and powers[0][1] == 1 and c > 0 and space.atoms[powers[0][0]].kind == "max":
            part = Exact(space, {m: c})
            opened = [y * c for y in space.atoms[powers[0][0]].args]
            space.spend(len(found) * len(opened))
            found = [y - part + z for y in found for z in opened]
    return found


def minimum(space: Space, numbers: Sequence[Exact]) -> Exact:
    """The smallest of some numbers."""
    return -maximum(space, [-x for x in numbers])


__all__ = ["maximum", "minimum"]
