"""Nonlinear recurrences without a loop over time: the whole trajectory is the root of one system."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def trajectory(update: Callable[[Tensor], Tensor], start: Tensor, steps: int) -> Tensor:
    """The states `h[t] = update(h[t-1])` for all steps, `[B, T, N]`, by Newton's method on all of them at once.

    `update` gets the states before each step, `[B, T, N]`, and gives those after it; `start` is `[B, N]`. The
    gradients are those of the implicit function: one more step of Newton from the root, with the Jacobian held.
    """
    shape = (start.shape[0], steps, start.shape[1])

    def residual(flat: Tensor) -> Tensor:
        states = flat.reshape(shape)
        return (states - update(torch.cat([start[:, None], states[:, :-1]], 1))).reshape(-1)

    with torch.no_grad():
        root = update(start[:, None].expand(shape)).reshape(-1)
        for _ in range(10 * steps):
            jacobian = torch.func.jacrev(residual)(root)
            change = torch.linalg.solve(jacobian, residual(root))
            root = root - change
            if float(change.norm()) <= 1e-14 * float(root.norm()):
                break
        else:
            raise ArithmeticError("Newton's method did not settle")
        inverse = torch.linalg.inv(torch.func.jacrev(residual)(root))
    found: Tensor = root - inverse @ residual(root)
    return found.reshape(shape)


__all__ = ["trajectory"]
