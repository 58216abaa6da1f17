"""The sizes of one call: what backends need to know of how its arrays lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

#: The axis that a batch axis becomes when it is moved into the Blocks to be the vector axis.
LANE = "lane"


@dataclass(frozen=True, eq=False)
class Layout:
    """The sizes of one call. Layouts are kept by shape, so each is equal to itself only and can be a key.

    `extents` are the steps along each scan axis. `sizes` by root axis (with `lane`, if one is chosen);
    `batch` are the batch axes that remain; `starts`
    and `lengths` give each sequence's first step and number of steps within its row; `rows` its row of
    the batch. `lanes` are the arguments that have the lane axis, `None` if there is no lane.
    """

    batch_size: int
    extents: tuple[int, ...]
    batch: tuple[int, ...]
    sizes: Mapping[str, int]
    rows: tuple[int, ...]
    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    lanes: frozenset[str] | None
    packed: bool

    @property
    def steps(self) -> int:
        """T: all steps of a row."""
        return prod(self.extents)

    @property
    def sequences(self) -> int:
        """N: rows, or packed sequences."""
        return len(self.rows)

    @property
    def items(self) -> int:
        """Independent recurrences: sequences times batch elements."""
        return len(self.rows) * prod(self.batch)

    @property
    def full_batch(self) -> tuple[int, ...]:
        """The batch axes as the caller sees them, the lane included."""
        return (*self.batch, self.sizes[LANE]) if self.lanes is not None else self.batch


__all__ = ["LANE", "Layout"]
