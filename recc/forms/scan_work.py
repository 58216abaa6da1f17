"""The work of a scan: steps one by one, or in blocks that run side by side.

Blocks of L steps each run from a state of zero and multiply up their transitions; the states between blocks
obey the same recurrence, L times shorter; then each step gets what the state before its block adds. That is
about twice the work of the steps for products of transitions that cost no more than a step, and a depth of
L for each level instead of one for each step.
"""

from __future__ import annotations

from collections.abc import Sequence

#: Steps up to which nothing is cut into blocks, and steps of a block.
SHORT, BLOCK = 16, 16

#: Multiplications that cost about as much as starting an operation: what blocks of matrices are to save.
_START = 1 << 17

#: Launches of one application of a transition in each algebra, elementwise and of a matrix, and passes over memory.
_PASSES = {"ring": (1.3, 3.5, 1), "max-plus": (2, 4, 2), "min-plus": (2, 4, 2), "log-sum-exp": (16, 40, 12)}

#: The fields of a `Sweep`: launches, elements read and written, scalar operations, multiply-adds, matrices.
Row = tuple[float, ...]


def launches_of(algebra: str, rows: int) -> float:
    """The launches of one application of a transition."""
    return _PASSES[algebra][1 if rows else 0]


def scan_work(
    size: int,
    entries: Sequence[tuple[int, int]],
    components: int,
    width: float,
    each: float,
    rows: int,
    varies: bool,
    algebra: str,
    wide: int,
) -> tuple[list[Row], float]:
    """The sweeps of a scan, and how many of them follow one another.

    Args:
        size: the steps.
        entries: the pairs of components that have a transition.
        components: how many there are.
        width: elements of a component at one step.
        each: elements of a transition at one step.
        rows: the size of a matrix transition, 0 for an elementwise one.
        varies: whether transitions vary from step to step.
        algebra: a name of `recc.forms.block.Algebra`.
        wide: elements of a step from which on it is run alone.
    """
    return _Work(entries, components, width, each, rows, varies, algebra, wide).run(size)


class _Work:
    def __init__(
        self,
        entries: Sequence[tuple[int, int]],
        components: int,
        width: float,
        each: float,
        rows: int,
        varies: bool,
        algebra: str,
        wide: int,
    ):
        self.count = len(entries)
        self.composed = sum(i == k for _, i in entries for k, _ in entries)
        self.components = components
        self.width, self.each, self.rows = width, each, rows
        self.varies = varies
        self.launches, self.passes = launches_of(algebra, rows), _PASSES[algebra][2]
        self.ring = algebra == "ring"
        self.wide = wide

    def run(self, size: int) -> tuple[list[Row], float]:
        length = self._length(size)
        if not length or length >= size:
            return [*self._apply(size, 1), self._stack(size)], size
        count, rest = divmod(size, length)
        blocks = float(count)
        found = [*self._apply(length - 1, blocks), *self._compose(length - 1, blocks if self.varies else 1.0)]
        inner, depth = self.run(count)
        found += inner
        found += [*self._apply(length, blocks), self._stack(count * length)]
        if rest:
            found += [*self._apply(rest, 1), self._stack(size)]
        return found, depth + 2 * length + rest

    def _length(self, size: int) -> int:
        """Steps of a block, 0 for none."""
        if size <= SHORT:
            return 0
        if not self.rows:
            if self.width >= self.wide:
                return 0
            return BLOCK
        products = self.count * (self.each if self.varies else 1.0) * self.rows
        state = self.components * self.width * self.rows
        return BLOCK if products + 2 * state + _START * 8 / BLOCK < state + 2 * _START else 0

    def _apply(self, times: float, blocks: float) -> list[Row]:
        """A transition applied to a state, in so many blocks at once."""
        return [self._sweep(times * self.count, self.width * blocks, self.each * (blocks if self.varies else 1.0))]

    def _compose(self, times: float, blocks: float) -> list[Row]:
        """A transition after another."""
        return [self._sweep(times * self.composed, self.each * blocks, self.each * blocks)]

    def _sweep(self, times: float, state: float, transition: float) -> Row:
        if not self.rows:
            moved = times * (self.passes + 1) * state
            return (times * self.launches, moved + times * transition, times * self.passes * state, 2 * moved, 0, 0)
        products = times * state * self.rows
        matrices = times * max(1.0, transition / self.rows**2)
        if self.ring:
            columns = max(1.0, times * state / (matrices * self.rows))
            thin = products / min(columns, self.rows)
            return (
                self.launches * times,
                times * (2 * state + transition),
                2 * times * state,
                0,
                products,
                matrices,
                0,
                0,
                thin,
            )
        passes = self.passes * products
        return (times * self.launches, passes, passes, 2 * passes, 0, 0)

    def _stack(self, steps: int) -> Row:
        moved = steps * self.width * self.components
        return (2.0 * self.components, moved, moved, 0, 0, 0)


__all__ = ["BLOCK", "SHORT", "Row", "launches_of", "scan_work"]
