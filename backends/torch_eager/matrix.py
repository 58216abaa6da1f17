"""Functions of small matrices, in the last two dimensions `[..., rows, cols]`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from recc.backends.torch_eager.shapes import cut, joint

_Solver = Callable[[Tensor, Tensor], Tensor]


def solve(a: Tensor, b: Tensor, columns: int, transposed: bool = False) -> Tensor:
    """The x with `a @ x = b`, or with the transpose of `a`.

    Args:
        a: `[*batch, n, n]`.
        b: `[*batch, n, *columns]`: `columns` dimensions after the rows, each a right side of its own.
            Where `a` has size 1 along a batch dimension, that of `b` is taken as columns as well.
        columns: how many.
        transposed: whether it is the transpose of `a`.

    Returns:
        x, with the dimensions of `b`.
    """
    return _with_columns(a.mT if transposed else a, b, columns, torch.linalg.solve)


def solve_unit_lower(a: Tensor, b: Tensor, columns: int, transposed: bool = False) -> Tensor:
    """`solve` for `a` taken as unit lower triangular: its diagonal and upper part are not read."""

    def substitute(a: Tensor, b: Tensor) -> Tensor:
        found: Tensor = torch.linalg.solve_triangular(a, b, upper=transposed, unitriangular=True)
        return found

    return _with_columns(a.mT if transposed else a, b, columns, substitute)


def _with_columns(a: Tensor, b: Tensor, columns: int, solver: _Solver) -> Tensor:
    batch = a.dim() - 2
    shared = [d for d in range(batch) if a.shape[d] != 1 or b.shape[d] == 1]
    own = [d for d in range(batch) if d not in shared]
    places = [*shared, batch, *own, *range(batch + 1, b.dim())]
    right = b.permute(places)
    matrix = a if not own else a.reshape([a.shape[d] for d in (*shared, batch, batch + 1)])
    sides = right.shape[len(shared) + 1 :]
    if sides:
        x = cut(solver(matrix, right.flatten(len(shared) + 1)), -1, sides)
    else:
        x = solver(matrix, right.unsqueeze(-1)).squeeze(-1)
    return x.permute([places.index(d) for d in range(b.dim())])


def inv(a: Tensor) -> Tensor:
    """The inverse."""
    found: Tensor = torch.linalg.inv(a)
    return found


def expm(a: Tensor) -> Tensor:
    """The matrix exponential."""
    return torch.matrix_exp(a.contiguous())  # torch 2.13 fails on some strides of a batch


def expm_vjp(a: Tensor, g: Tensor) -> Tensor:
    """The gradient of `sum(g * expm(a))` by `a`: the corner of `expm([[aᵀ, g], [0, aᵀ]])`.

    Source: Higham, *Functions of Matrices*, 2008, section 3.2.
    """
    shape = joint(a.shape, g.shape)
    a, g, size = a.mT.expand(shape), g.expand(shape), shape[-1]
    both = torch.cat([torch.cat([a, g], -1), torch.cat([torch.zeros_like(a), a], -1)], -2)
    return torch.matrix_exp(both)[..., :size, size:]


__all__ = ["expm", "expm_vjp", "inv", "solve", "solve_unit_lower"]
