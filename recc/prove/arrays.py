"""Arrays of exact numbers: elementwise functions, sums along axes, functions of small matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recc.prove.functions import exp
from recc.prove.ring import Exact, Space, Undecided, total

Array = NDArray[Any]

_LARGEST = 4  # matrices beyond this are not inverted by their minors


def full(shape: Sequence[int], value: Any) -> Array:
    """An array of one object."""
    result = np.empty(tuple(shape), object)
    result.fill(value)
    return result


def places(array: Array) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Every index of an array with the element there."""
    for at in np.ndindex(*array.shape):
        yield at, array[at]


def each(fn: Callable[..., Any], *arrays: Array) -> Array:
    """A function of the elements of arrays that broadcast."""
    result = np.frompyfunc(fn, len(arrays), 1)(*arrays)
    return np.asarray(result, object)


def fold(fn: Callable[[list[Any]], Any], array: Array, axes: Sequence[int]) -> Array:
    """A function of the lists of elements along some axes, which go."""
    rest = [a for a in range(array.ndim) if a not in axes]
    moved = array.transpose(*rest, *axes)
    shape = moved.shape[: len(rest)]
    result = np.empty(shape, object)
    for at in np.ndindex(*shape):
        result[at] = fn(list(moved[at].flat) if axes else [moved[at]])
    return result


def summed(space: Space, array: Array, axes: Sequence[int]) -> Array:
    """The sums along some axes."""
    return fold(lambda items: total(space, items), array, axes)


def determinant(space: Space, matrix: Array) -> Exact:
    """The determinant of a small square matrix, by Leibniz' sum over permutations."""
    size = matrix.shape[-1]
    if size > _LARGEST:
        raise Undecided(f"a determinant of size {size}")
    terms = []
    for order in permutations(range(size)):
        turns = sum(order[i] > order[j] for i in range(size) for j in range(i + 1, size))
        term = space.number(-1 if turns % 2 else 1)
        for row, column in enumerate(order):
            term = term * matrix[row, column]
        terms.append(term)
    return total(space, terms)


def inverse(space: Space, matrix: Array) -> Array:
    """The inverse of a small square matrix: its adjugate over its determinant."""
    size = matrix.shape[-1]
    over = 1 / determinant(space, matrix)
    result = np.empty((size, size), object)
    for row in range(size):
        for column in range(size):
            minor = np.delete(np.delete(matrix, column, 0), row, 1)
            sign = -1 if (row + column) % 2 else 1
            result[row, column] = determinant(space, minor) * over * sign
    return result


def solve(space: Space, matrix: Array, right: Array) -> Array:
    """The x with `matrix @ x = right`."""
    return np.asarray([total(space, row * right) for row in inverse(space, matrix)], object)


def exponential(space: Space, matrix: Array) -> Array:
    """The matrix exponential: each element an atom of all elements of the matrix."""
    size = matrix.shape[-1]
    result = np.empty((size, size), object)
    for at, element in places(matrix):
        name = f"expm[{at[0]}, {at[1]}]"
        result[at] = exp(element) if size == 1 else space.power(space.atom("function", name, tuple(matrix.flat)), 1)
    return result


__all__ = ["Array", "determinant", "each", "exponential", "fold", "full", "inverse", "places", "solve", "summed"]
