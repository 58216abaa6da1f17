"""Names in emitted Python: what the user called a thing wherever Python allows it."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable

#: What emitted functions call themselves.
RESERVED = frozenset({"torch", "ops", "scan", "convolve", "given", "sizes", "env"})


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """A Python identifier for each name: itself if it can be, else a readable one that no other name has."""
    every = list(dict.fromkeys(names))
    found = {n: n for n in every if n.isidentifier() and not keyword.iskeyword(n) and n not in RESERVED}
    taken = {*found.values(), *RESERVED}
    for name in every:
        if name in found:
            continue
        stem = re.sub(r"\W+", "_", name)
        stem = stem if stem.isidentifier() else f"v_{stem}"
        number, chosen = 0, stem
        while chosen in taken or keyword.iskeyword(chosen):
            number += 1
            chosen = f"{stem}_{number}"
        found[name] = chosen
        taken.add(chosen)
    return found


def letters(axes: Iterable[str]) -> dict[str, str]:
    """A letter for each axis: the first of its name that is free, else the first free one. `Z` stays free."""
    found: dict[str, str] = {}
    free = [chr(c) for c in (*range(ord("a"), ord("z") + 1), *range(ord("A"), ord("Z")))]
    for axis in axes:
        own = [c for c in axis if c in free]
        found[axis] = own[0] if own else free[0]
        free.remove(found[axis])
    return found


__all__ = ["RESERVED", "identifiers", "letters"]
