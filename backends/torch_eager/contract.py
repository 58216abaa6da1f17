"""Sums of products of three and more tensors, two at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from math import prod
from operator import index

import torch
from torch import Tensor

#: From this number of factors on, the best pair is taken each time; below it every order is tried.
_EXHAUSTIVE = 6

#: How many multiplications of a matrix product cost as much as writing one element and reading it again.
_WRITE = 8


def contract(letters: str, *factors: Tensor) -> Tensor:
    """The sum of a product, as `torch.einsum` writes it, in the order of the least work at the sizes at hand.

    Args:
        letters: such as `"ti,si,ts,sj->tj"`: one letter for each axis, without those of leading dimensions.
        factors: tensors `[*lead, *axes]`; leading dimensions are of full size or 1.

    Returns:
        The result `[*lead, *axes]`. Equal work is decided by the order of the factors, so that equal sizes
        always give the same order.
    """
    left, _, out = letters.partition("->")
    work = list(zip(left.split(","), factors, strict=True))
    for i, j in _pairs(letters, tuple(tuple(map(index, x.shape)) for x in factors)):
        (one, x), (other, y) = work[i], work[j]
        work = [w for k, w in enumerate(work) if k not in (i, j)]
        needed = set(out).union(*(name for name, _ in work))
        made = "".join(sorted((set(one) | set(other)) & needed)) if work else out
        work.append((made, torch.einsum(f"...{one},...{other}->...{made}", x, y)))
    return work[0][1]


# The search is not for a tracer to look into; its result is remembered.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # torch gives it no types
def _pairs(letters: str, shapes: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, int], ...]:
    """The order of a product of tensors of these shapes."""
    return _search(letters, shapes)


@lru_cache(4096)
def _search(letters: str, shapes: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, int], ...]:
    left, _, out = letters.partition("->")
    names = left.split(",")
    lead = len(shapes[0]) - len(names[0])
    sizes: dict[str | int, int] = {}
    keys: list[frozenset[str | int]] = []
    for name, shape in zip(names, shapes, strict=True):
        labels = (*range(lead), *name)
        # A leading dimension of size 1 is as good as absent.
        held = {a: n for a, n in zip(labels, shape, strict=True) if not (isinstance(a, int) and n == 1)}
        sizes.update(held)
        keys.append(frozenset(held))
    wanted = frozenset(out) | {a for a in sizes if isinstance(a, int)}
    return tuple(_order(keys, wanted, sizes))


def _order(
    keys: Sequence[frozenset[str | int]], wanted: frozenset[str | int], sizes: dict[str | int, int]
) -> list[tuple[int, int]]:
    """Pairs of positions, each pair being taken out and its product put at the end."""
    if len(keys) == 1:
        return []
    pairs = [(_cost(keys, wanted, sizes, pair), pair) for pair in combinations(range(len(keys)), 2)]
    if len(keys) >= _EXHAUSTIVE:
        pair = min(pairs)[1]
        return [pair, *_order(_after(keys, wanted, pair), wanted, sizes)]
    return _best(keys, wanted, sizes)[1]


def _best(
    keys: Sequence[frozenset[str | int]], wanted: frozenset[str | int], sizes: dict[str | int, int]
) -> tuple[int, list[tuple[int, int]]]:
    """The least work and the pairs that it takes."""
    if len(keys) == 1:
        return 0, []
    found = []
    for pair in combinations(range(len(keys)), 2):
        work, rest = _best(_after(keys, wanted, pair), wanted, sizes)
        found.append((work + _cost(keys, wanted, sizes, pair), [pair, *rest]))
    return min(found)


def _after(
    keys: Sequence[frozenset[str | int]], wanted: frozenset[str | int], pair: tuple[int, int]
) -> list[frozenset[str | int]]:
    rest = [k for n, k in enumerate(keys) if n not in pair]
    return [*rest, (keys[pair[0]] | keys[pair[1]]) & wanted.union(*rest)]


def _cost(
    keys: Sequence[frozenset[str | int]],
    wanted: frozenset[str | int],
    sizes: dict[str | int, int],
    pair: tuple[int, int],
) -> int:
    """Multiplications, and elements of the result."""
    every = keys[pair[0]] | keys[pair[1]]
    made = _after(keys, wanted, pair)[-1]
    return prod([sizes[a] for a in every]) + _WRITE * prod([sizes[a] for a in made])


__all__ = ["contract"]
