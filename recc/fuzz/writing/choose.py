"""Random decisions, from one source: what a generator asks is always an integer between two others.

Every other question is answered through that one, and the answer 0 is always the plainest. So a source
that knows how to make integers small (hypothesis does) makes whatever is built of them simple, and a
source of numbered bits gives the same decisions on every machine and with every release of NumPy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeVar, final

import numpy as np

T = TypeVar("T")

_NUMBERS = ("0.5", "2", "1", "0.25", "0.9", "0.1", "1.5", "3", "0.75", ".5", "1e-2", "0.3333")
_PARTS = 1000  # a share is told by so many parts


class Choices(ABC):
    """A source of decisions."""

    @abstractmethod
    def integer(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both among them; `low` is the plainest."""

    def pick(self, items: Sequence[T]) -> T:
        """One of some items; the first is the plainest."""
        return items[self.integer(0, len(items) - 1)] if len(items) > 1 else items[0]

    def chance(self, share: float) -> bool:
        """True in a share of all cases; False is plainer."""
        return self.integer(0, _PARTS - 1) >= _PARTS - round(share * _PARTS)

    def weighted(self, items: Sequence[tuple[int, T]]) -> T:
        """One of some items, as often as its weight among the weights; the first is the plainest."""
        at = self.integer(0, sum(weight for weight, _ in items) - 1)
        for weight, item in items:
            if at < weight:
                return item
            at -= weight
        raise AssertionError("the weights add up")

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in some order; their own is the plainest."""
        left = list(items)
        return [left.pop(self.integer(0, len(left) - 1) if len(left) > 1 else 0) for _ in items]

    def some(self, items: Sequence[T], share: float = 0.5) -> list[T]:
        """Some of the items, each in a share of all cases, in their order."""
        return [item for item in items if self.chance(share)]

    def number(self) -> str:
        """A positive number as a program writes it, from a hundredth to three."""
        return self.pick(_NUMBERS)


@final
class Numbered(Choices):
    """The decisions of case `number` of a `seed`: the same on every machine, for ever.

    They come from the raw stream of the PCG64 generator, which NumPy keeps as it is (its methods for
    distributions it may change).
    """

    _BATCH = 256

    def __init__(self, seed: int, number: int):
        self._bits = np.random.PCG64(np.random.SeedSequence((seed, number)))
        self._batch: list[int] = []

    def integer(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both among them."""
        if not self._batch:
            self._batch = [int(n) for n in self._bits.random_raw(self._BATCH)]
        return low + (self._batch.pop() * (high - low + 1) >> 64)


__all__ = ["Choices", "Numbered"]
