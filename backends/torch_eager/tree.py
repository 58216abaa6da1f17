"""The carries of all chunks by a tree: affine maps of chunks, composed in pairs, and applied to the first carries.

Pieces of maps are tensors `[chunks, B, *batch, *axes]` by the names of `recc.forms.segment`: `M p q` and `F p`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

#: Pieces of maps by name, the chunks first.
Pieces = Mapping[str, Tensor]

#: From pieces of maps and as many of those that come next to their compositions.
Join = Callable[[Pieces, Pieces], Pieces]


def prefixes(pieces: Pieces, join: Join) -> Pieces:
    """The map of all chunks up to each, itself included: 2 log2 N rounds and less than 2 N joins for N chunks.

    Chunks are composed in pairs, which gives half as many; their prefixes are those of every second chunk, and
    one more join each gives those between.
    """
    count = len(next(iter(pieces.values())))
    if count == 1:
        return pieces
    half, between = count // 2, (count - 1) // 2
    odd = prefixes(join(_every(pieces, 0, half), _every(pieces, 1, half)), join)
    if not between:
        return {name: torch.cat([value[:1], odd[name]]) for name, value in pieces.items()}
    even = join({name: value[:between] for name, value in odd.items()}, _every(pieces, 2, between))
    return {name: _woven(torch.cat([value[:1], even[name]]), odd[name]) for name, value in pieces.items()}


def numbered(first: Pieces, second: Pieces) -> dict[str, Tensor]:
    """Pieces of two maps under the names by which `join` reads them."""
    pairs = (("1", first), ("2", second))
    return {f"{name[0]}{number}{name[1:]}": value for number, one in pairs for name, value in one.items()}


class Level:
    """Gives pieces leading axes that stay the same through joins: one shape for all M, one for all F.

    An M that is the same for all sequences stays so, and is multiplied once.
    """

    def __init__(self, pieces: Pieces, heads: int):
        self._heads = heads
        self._tails = {"M": (1,) * (heads - 1), "F": (1,) * (heads - 1)}
        for name, value in pieces.items():
            # What F becomes by a join has the leading axes of M as well.
            for kind in {name[0], "F"}:
                self._tails[kind] = _both(self._tails[kind], value.shape[1:heads])

    def __call__(self, pieces: Pieces, count: int) -> Pieces:
        """The pieces of `count` chunks."""
        return {
            name: value.expand(count, *self._tails[name[0]], *value.shape[self._heads :])
            for name, value in pieces.items()
        }


def _both(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    """Sizes to which both can be expanded."""
    return tuple(b if a == 1 else a for a, b in zip(one, other, strict=True))


def _every(pieces: Pieces, start: int, count: int) -> Pieces:
    """Every second chunk from `start` on."""
    return {name: value[start : start + 2 * count - 1 : 2] for name, value in pieces.items()}


def _woven(even: Tensor, odd: Tensor) -> Tensor:
    """The elements of both in turn; the first may have one more."""
    both = torch.stack([even[: len(odd)], odd], 1).flatten(0, 1)
    return both if len(even) == len(odd) else torch.cat([both, even[-1:]])


__all__ = ["Level", "Pieces", "numbered", "prefixes"]
