"""The baseline: a byte n-gram model with interpolated absolute discounting, fitted as well as it can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recc.demo.corpus import Bytes

_ALPHABET = 256
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
#: What is taken off counts of one, of two, and of three or more.
Discount = tuple[float, float, float]


@dataclass(frozen=True)
class _Counts:
    """The contexts of one order that occur, ascending, and how often each byte follows each: [contexts, 256]."""

    order: int
    contexts: Ints
    table: Floats

    def rows(self, contexts: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """The rows of some contexts, and which of them exist."""
        row = np.minimum(np.searchsorted(self.contexts, contexts), len(self.contexts) - 1)
        return row, self.contexts[row] == contexts


@dataclass(frozen=True)
class NGram:
    """Byte probabilities given the `order` bytes before.

    With c the counts of a context's successors, n their sum, d the discount (one for counts of 1, one for 2,
    one for more) and p' the model of one order less,

        p(b) = (c[b] - d(c[b]) + sum[b'](d(c[b'])) * p'(b)) / n,

    and p' itself where the context was never seen. Below the top order, c counts the different bytes that
    come before (Kneser and Ney, 1995; three discounts after Chen and Goodman, 1998). Below order 0 all
    bytes are equally likely.
    """

    levels: tuple[_Counts, ...]
    smoothed: tuple[Floats, ...]

    @property
    def order(self) -> int:
        """How many bytes of context it uses."""
        return len(self.levels) - 1

    def probabilities(self, contexts: Ints) -> Floats:
        """The distribution of the next byte after each context: [contexts, 256]."""
        p = np.full((len(contexts), _ALPHABET), 1 / _ALPHABET)
        for level, table in zip(self.levels, self.smoothed, strict=True):
            row, known = level.rows(contexts % _ALPHABET**level.order)
            p[known] = table[row[known]]
        return p

    def bits_per_byte(self, text: Bytes) -> float:
        """The mean of `-log2 p` over a text, its first `order` bytes left out as they lack a context."""
        contexts, row = np.unique(_contexts(text, self.order), return_inverse=True)
        return float(-np.log2(self.probabilities(contexts)[row, text[self.order :]]).mean())


def fit(text: Bytes, order: int, discounts: Sequence[Discount] | None = None) -> NGram:
    """Count a text and smooth: `discounts[k]` is that of order k, by default Chen and Goodman's estimate."""
    levels = tuple(_count(text, k, continuation=k < order) for k in range(order + 1))
    return _smooth(levels, discounts or [_estimate(level.table) for level in levels])


def fit_tuned(text: Bytes, order: int) -> NGram:
    """`fit` with the discounts that are best on the last tenth of the text, then refitted on all of it.

    The search starts from Chen and Goodman's estimate and improves one number at a time.
    """
    cut = len(text) * 9 // 10
    levels = tuple(_count(text[:cut], k, continuation=k < order) for k in range(order + 1))
    best = [_estimate(level.table) for level in levels]
    loss = _smooth(levels, best).bits_per_byte(text[cut:])
    for step in (0.2, 0.1, 0.05):
        for k, which, sign in np.ndindex(order + 1, 3, 2):
            values = list(best[k])
            values[which] = _within(values[which] + (step if sign else -step), which)
            trial = [*best[:k], (values[0], values[1], values[2]), *best[k + 1 :]]
            other = _smooth(levels, trial).bits_per_byte(text[cut:])
            if other < loss:
                best, loss = trial, other
    return fit(text, order, best)


def _smooth(levels: Sequence[_Counts], discounts: Sequence[Discount]) -> NGram:
    smoothed: list[Floats] = []
    for k, (level, (d1, d2, d3)) in enumerate(zip(levels, discounts, strict=True)):
        c = level.table
        taken = np.select([c == 0, c == 1, c == 2], [0.0, d1, d2], d3)
        shorter = NGram(tuple(levels[:k]), tuple(smoothed)).probabilities(level.contexts)
        smoothed.append((c - taken + taken.sum(1, keepdims=True) * shorter) / c.sum(1, keepdims=True))
    return NGram(tuple(levels), tuple(smoothed))


def _contexts(text: Bytes, order: int) -> Ints:
    """The number of the `order` bytes before each position from `order` on, the oldest most significant."""
    wide = text.astype(np.int64)
    context = np.zeros(len(text) - order, np.int64)
    for k in range(order):
        context = context * _ALPHABET + wide[k : len(text) - order + k]
    return context


def _count(text: Bytes, order: int, *, continuation: bool) -> _Counts:
    """How often each byte follows each context; or, for a continuation, after how many different bytes."""
    pair = _contexts(text, order) * _ALPHABET + text[order:]
    if continuation:
        before = text[: len(text) - order - 1].astype(np.int64)
        pair = np.unique(before * _ALPHABET ** (order + 1) + pair[1:]) % _ALPHABET ** (order + 1)
    contexts, row = np.unique(pair // _ALPHABET, return_inverse=True)
    table = np.bincount(row * _ALPHABET + pair % _ALPHABET, minlength=len(contexts) * _ALPHABET)
    return _Counts(order, contexts, table.astype(np.float64).reshape(-1, _ALPHABET))


def _estimate(counts: Floats) -> Discount:
    once, twice, thrice, four = (max(int((counts == n).sum()), 1) for n in (1, 2, 3, 4))
    y = once / (once + 2 * twice)
    guess = (1 - 2 * y * twice / once, 2 - 3 * y * thrice / twice, 3 - 4 * y * four / thrice)
    return (_within(guess[0], 0), _within(guess[1], 1), _within(guess[2], 2))


def _within(discount: float, which: int) -> float:
    """At most the count that it is taken from, and never nothing: unseen bytes must keep a chance."""
    return min(max(discount, 0.05), which + 1.0)
