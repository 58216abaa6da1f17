"""Arithmetic of `Pair`s: products, sums and contractions of values that may be complex."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from recc.forms.block import Value
from recc.forms.builder import Builder
from recc.forms.lower import Pair


def both(b: Builder, pair: Pair) -> tuple[Value, Value]:
    """The real and the imaginary part; zero for that of a real."""
    return pair.re, b.constant(0.0) if pair.im is None else pair.im


def real(b: Builder, pair: Pair) -> Pair:
    """The pair with reals in place of integers and truth values."""
    return Pair(*(b.map("real", part) for part in pair.parts))


def add(b: Builder, pairs: Sequence[Pair]) -> Pair:
    """The sum of some values; zero of none."""
    total = Pair(b.constant(0.0))
    for pair in pairs:
        if is_zero(b, total) and not axes_of(total):
            total = pair
        elif total.im is None and pair.im is None:
            total = Pair(b.map("add", total.re, pair.re))
        else:
            (xr, xi), (yr, yi) = both(b, total), both(b, pair)
            total = Pair(b.map("add", xr, yr), b.map("add", xi, yi))
    return total


def multiply(b: Builder, pairs: Iterable[Pair], over: Iterable[str] = (), hint: str = "") -> Pair:
    """The sum over axes of the product of some values."""
    given = [real(b, p) for p in pairs]
    reals = [p.re for p in given if p.im is None]
    others = sorted((p for p in given if p.im is not None), key=lambda p: len(p.re.axes))
    while len(others) > 2:
        others[:2] = [_product(b, others[0], others[1])]
    over = tuple(over)

    def sum_of(*parts: Value) -> Value:
        return b.contract((*reals, *parts), over, hint)

    if not others:
        return Pair(sum_of())
    if len(others) == 1:
        return Pair(*(sum_of(part) for part in others[0].parts))
    (xr, xi), (yr, yi) = both(b, others[0]), both(b, others[1])
    return Pair(
        b.map("sub", sum_of(xr, yr), sum_of(xi, yi)),
        b.map("add", sum_of(xr, yi), sum_of(xi, yr)),
    )


def _product(b: Builder, x: Pair, y: Pair) -> Pair:
    (xr, xi), (yr, yi) = both(b, x), both(b, y)
    return Pair(
        b.map("sub", b.map("mul", xr, yr), b.map("mul", xi, yi)),
        b.map("add", b.map("mul", xr, yi), b.map("mul", xi, yr)),
    )


def where(b: Builder, condition: Value, pair: Pair) -> Pair:
    """The value where a condition holds, zero elsewhere."""
    return Pair(*(b.map("where", condition, part, b.constant(0.0)) for part in pair.parts))


def spread(b: Builder, pair: Pair, axes: Iterable[str]) -> Pair:
    """The value broadcast over more axes."""
    axes = tuple(axes)
    return Pair(*(b.spread(part, axes) for part in pair.parts))


def shift(b: Builder, pair: Pair, axis: str, offset: int) -> Pair:
    """The value some steps further along an axis, zero beyond its ends."""
    return Pair(*(b.shift(part, axis, offset, "zero") for part in pair.parts))


def last(b: Builder, pair: Pair, axis: str) -> Pair:
    """The last element along an axis."""
    return Pair(*(b.last(b.spread(part, (axis,)), axis) for part in pair.parts))


def is_zero(b: Builder, pair: Pair) -> bool:
    """Whether a value is known to be zero."""
    return all(b.known(part) == 0.0 for part in pair.parts)


def rename(b: Builder, pair: Pair, names: Mapping[str, str]) -> Pair:
    """The value along other axes."""
    return Pair(*(b.rename(part, names) for part in pair.parts))


def axes_of(pair: Pair) -> set[str]:
    """The axes of a value, those of both parts."""
    return {a for part in pair.parts for a in part.axes}


__all__ = ["add", "axes_of", "both", "is_zero", "last", "multiply", "real", "rename", "shift", "spread", "where"]
