"""A Mamba block: projections, a short convolution and a gate around `recc.zoo.mamba`.

The parameters have the names and shapes of the published block, so that its weights can be loaded.
Gu, Dao, Mamba: Linear-Time Sequence Modeling with Selective State Spaces, 2023.

    python examples/zoo/mamba.py
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

import recc


class Mamba(nn.Module):
    """Maps `[B, T, width]` to the same shape. `state` numbers per channel, `expand * width` channels inside."""

    def __init__(self, width: int, state: int = 16, expand: int = 2, taps: int = 4) -> None:
        super().__init__()
        inner, self.rank, self.state = expand * width, math.ceil(width / 16), state
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, taps, groups=inner, padding=taps - 1)
        self.x_proj = nn.Linear(inner, self.rank + 2 * state, bias=False)
        self.dt_proj = nn.Linear(self.rank, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, state + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)
        with torch.no_grad():  # steps between 0.001 and 0.1
            step = torch.exp(torch.rand(inner) * math.log(100) + math.log(0.001))
            self.dt_proj.bias.copy_(step + torch.log(-torch.expm1(-step)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The gated scan of the convolved input."""
        u, gate = self.in_proj(x).chunk(2, -1)
        u = F.silu(self.conv1d(u.mT)[..., : x.shape[1]].mT)
        step, b, c = self.x_proj(u).split([self.rank, self.state, self.state], -1)
        y = recc.zoo.mamba(u, F.softplus(self.dt_proj(step)), b, c, -torch.exp(self.A_log), self.D)
        return self.out_proj(y * F.silu(gate))


def main() -> None:
    """Run the block on random data, forwards and backwards."""
    torch.manual_seed(0)
    block, x = Mamba(32), torch.randn(2, 100, 32)
    y = block(x)
    y.square().mean().backward()
    print("in", tuple(x.shape), "out", tuple(y.shape), "gradient of A_log", tuple(block.A_log.grad.shape))


if __name__ == "__main__":
    main()
