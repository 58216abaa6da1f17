"""Splits one declared axis into tiles that run as separate items, where the program allows it.

An axis along which no element ever meets another is a batch axis in all but name: the channels of a
diagonal recurrence. Moved partly to the batch, it gives work to more threads and keeps a tile's state in a
first-level cache. The split depends on the program and the sizes only, never on the batch or the threads,
so it cannot change a result from call to call.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from recc.forms.passes import Sequential, free_axes
from recc.layout import Layout
from recc.runtime.host import Array

#: Elements of the widest tensor of a step that make a tile worth its overhead.
_WORTH = 2048
_NARROWEST = 64


@dataclass(frozen=True)
class Tiles:
    """`axis` is split into `count` tiles of `size` elements."""

    axis: str
    count: int
    size: int

    def layout(self, layout: Layout) -> Layout:
        """The layout of a call whose tiles are its last batch axis."""
        return replace(layout, sizes={**layout.sizes, self.axis: self.size}, batch=(*layout.batch, self.count))

    def split(self, array: Array, axes: tuple[str, ...], is_complex: bool) -> Array:
        """A view of `[…, *axes]` as `[…, tiles, *axes]`; tiles is 1 where the axis is not there."""
        at = array.ndim - len(axes) - is_complex
        if self.axis in axes:
            return array.reshape(*array.shape[:at], self.count, self.size, *array.shape[at + 1 :])
        return np.expand_dims(array, at)

    def join(self, array: Array, axes: tuple[str, ...], is_complex: bool) -> Array:
        """The opposite of `split` for a gradient: a view, or the sum over tiles."""
        at = array.ndim - len(axes) - is_complex - 1
        if self.axis in axes:
            return array.reshape(*array.shape[:at], self.count * self.size, *array.shape[at + 2 :])
        total: Array = array.sum(at)
        return total


def choose_tiles(form: Sequential, layout: Layout, halves: frozenset[str]) -> Tiles | None:
    """The split of a call, or `None` if no axis is free or none is long enough.

    `halves` are the arguments in a 16-bit type.
    """
    if layout.lanes is not None:
        return None
    rec = form.rec
    for axis in sorted(free_axes(form)):
        # Gradients of what lacks the axis are summed over tiles, which takes elements that NumPy can add.
        lacking = [s for s in rec.arguments if axis not in s.axes]
        if any(s.name in halves for s in lacking):
            continue
        size = layout.sizes[axis]
        spaces = [
            prod(layout.sizes[loop.step.root[a]] for a in op.space if a in loop.step.root)
            for loop in form.passes
            for op in loop.step.ops
            if axis in op.space
        ]
        widest = max(spaces, default=1)  # a program may copy an axis and do nothing with it
        least = max(_NARROWEST, _WORTH * size // max(1, widest))
        tile = next((n for n in range(least, size // 2 + 1) if size % n == 0), None)
        if tile is not None:
            return Tiles(axis, size // tile, tile)
    return None


__all__ = ["Tiles", "choose_tiles"]
