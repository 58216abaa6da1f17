"""Functions of small matrices, in the last two dimensions `[..., rows, cols]`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recc.backends.torch_eager.shapes import cut, joint

_Solver = Callable[[Tensor, Tensor], Tensor]


def solve(a: Tensor, b: Tensor, columns: int, transposed: bool = False) -> Tensor:
    """The x with `a @ x = b`, or with the transpose of `a`; infinite or NaN where there is none.

    Args:
        a: `[*batch, n, n]`.
        b: `[*batch, n, *columns]`: `columns` dimensions after the rows, each a right side of its own.
            Where `a` has size 1 along a batch dimension, that of `b` is taken as columns as well.
        columns: how many.
        transposed: whether it is the transpose of `a`.

    Returns:
        x, with the dimensions of `b`.
    """

    def eliminate(a: Tensor, b: Tensor) -> Tensor:
        found: Tensor = torch.linalg.solve_ex(a, b)[0]  # `solve` raises an error of its own for a singular matrix
        return found

    return _with_columns(a.mT if transposed else a, b, columns, eliminate)


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
    """The inverse, infinite or NaN where there is none."""
    found: Tensor = torch.linalg.inv_ex(a)[0]
    return found


def expm(a: Tensor) -> Tensor:
    """The matrix exponential."""
    found: Tensor = _Expm.apply(a)  # type: ignore[no-untyped-call]  # torch's own
    return found


class _Expm(torch.autograd.Function):
    """`torch.matrix_exp` with derivatives that are right for directions of any size; see `expm_vjp`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor) -> Tensor:
        return _exponential(a)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Tensor:
        return expm_vjp(*ctx.saved_tensors, *cotangents)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        (a,) = ctx.saved_tensors
        return expm_vjp(a.mT, *tangents)


def expm_vjp(a: Tensor, g: Tensor) -> Tensor:
    """The gradient of `sum(g * expm(a))` by `a`: the corner of `expm([[aᵀ, g], [0, aᵀ]])`.

    The corner is linear in g, which is brought to the size of a first: how often a matrix is halved, and how much is
    lost by squaring, goes by the largest block. Source: Higham, *Functions of Matrices*, 2008, section 3.2.
    """
    shape = joint(a.shape, g.shape)
    a, g, size = a.mT.expand(shape), g.expand(shape), shape[-1]
    if not g.numel():
        return g
    sizes = [x.detach().abs().sum(-1, keepdim=True).amax(-2, keepdim=True) for x in (a, g)]
    scale = sizes[1] / sizes[0].clamp(min=1.0)
    scale = torch.where((scale > 0) & scale.isfinite(), scale, 1.0)
    both = torch.cat([torch.cat([a, g / scale], -1), torch.cat([torch.zeros_like(a), a], -1)], -2)
    return scale * _exponential(both)[..., :size, size:]


def _exponential(a: Tensor) -> Tensor:
    """`torch.matrix_exp`, which in torch 2.13 fails on some strides, and has eleven digits of a single small matrix.

    Two of them are given sixteen.
    """
    a = a.contiguous()
    if a.numel() > a.shape[-1] ** 2:
        return torch.matrix_exp(a)
    return torch.matrix_exp(torch.stack([a, a]))[0]


__all__ = ["expm", "expm_vjp", "inv", "solve", "solve_unit_lower"]
