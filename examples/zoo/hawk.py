"""The recurrent block of Hawk and Griffin: a gated branch and a short convolution around `recc.zoo.griffin`.

De and others, Griffin: Mixing Gated Linear Recurrences with Local Attention, 2024.

    python examples/zoo/hawk.py
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

import recc


class BlockDiagonal(nn.Module):
    """A linear map within each of several groups of channels."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        size = width // groups
        self.w = nn.Parameter(torch.randn(groups, size, size) / size**0.5)
        self.b = nn.Parameter(torch.zeros(groups, size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape, mixed within groups of the last axis."""
        return (torch.einsum("...gi,gij->...gj", x.unflatten(-1, (len(self.w), -1)), self.w) + self.b).flatten(-2)


class Hawk(nn.Module):
    """Maps `[B, T, width]` to the same shape; `first` is true where a segment of a packed sequence begins."""

    def __init__(self, width: int, inner: int, groups: int = 4, taps: int = 4) -> None:
        super().__init__()
        self.linear_y, self.linear_x = nn.Linear(width, inner), nn.Linear(width, inner)
        self.conv1d = nn.Conv1d(inner, inner, taps, groups=inner, padding=taps - 1)
        self.a_gate, self.input_gate = BlockDiagonal(inner, groups), BlockDiagonal(inner, groups)
        # Decays between 0.9 and 0.999 at a gate of one: a = exp(-8 softplus(lam)).
        slow = -torch.log(torch.empty(inner).uniform_(0.9, 0.999)) / 8
        self.lam = nn.Parameter(torch.log(torch.expm1(slow)))
        self.linear_out = nn.Linear(inner, width)

    def forward(self, x: torch.Tensor, first: torch.Tensor | None = None) -> torch.Tensor:
        """The gated recurrence of the convolved input."""
        if first is None:
            first = torch.zeros(x.shape[:2], dtype=torch.bool)
        u = self.conv1d(self.linear_x(x).mT)[..., : x.shape[1]].mT
        y = recc.zoo.griffin(u, self.a_gate(u), self.input_gate(u), first, self.lam)
        return self.linear_out(y * F.gelu(self.linear_y(x)))


def main() -> None:
    """Run the block on random data, forwards and backwards."""
    torch.manual_seed(0)
    block, x = Hawk(32, 48), torch.randn(2, 100, 32)
    y = block(x)
    y.square().mean().backward()
    print("in", tuple(x.shape), "out", tuple(y.shape), "gradient of lam", tuple(block.lam.grad.shape))


if __name__ == "__main__":
    main()
