"""A Mamba-2 block: projections, a short convolution and a gated norm around `recc.zoo.ssd`, with heads.

Dao, Gu, Transformers are SSMs, 2024.

    python examples/zoo/mamba2.py
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

import recc


class Mamba2(nn.Module):
    """Maps `[B, T, width]` to the same shape. All heads share B and C, one group."""

    def __init__(self, width: int, state: int = 64, head: int = 32, expand: int = 2, taps: int = 4) -> None:
        super().__init__()
        self.inner, self.state, self.head = expand * width, state, head
        heads, mixed = self.inner // head, self.inner + 2 * state
        self.in_proj = nn.Linear(width, self.inner + mixed + heads, bias=False)
        self.conv1d = nn.Conv1d(mixed, mixed, taps, groups=mixed, padding=taps - 1)
        self.A_log = nn.Parameter(torch.empty(heads).uniform_(1, 16).log())
        self.D = nn.Parameter(torch.ones(heads))
        step = torch.exp(torch.rand(heads) * math.log(100) + math.log(0.001))
        self.dt_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))
        self.norm = nn.RMSNorm(self.inner, eps=1e-5)
        self.out_proj = nn.Linear(self.inner, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The gated and normalised scan of the convolved input, head by head."""
        gate, mixed, step = self.in_proj(x).split([self.inner, self.inner + 2 * self.state, len(self.D)], -1)
        mixed = F.silu(self.conv1d(mixed.mT)[..., : x.shape[1]].mT)
        u, b, c = mixed.split([self.inner, self.state, self.state], -1)
        y = recc.zoo.ssd(
            u.unflatten(-1, (-1, self.head)),  # [B, T, H, P]
            b[:, :, None],  # [B, T, 1, N]: the same for all heads
            c[:, :, None],
            F.softplus(step + self.dt_bias),
            -torch.exp(self.A_log),
            self.D,
        )
        return self.out_proj(self.norm(y.flatten(-2) * F.silu(gate)))


def main() -> None:
    """Run the block on random data, forwards and backwards."""
    torch.manual_seed(0)
    block, x = Mamba2(32), torch.randn(2, 100, 32)
    y = block(x)
    y.square().mean().backward()
    print("in", tuple(x.shape), "out", tuple(y.shape), "gradient of A_log", tuple(block.A_log.grad.shape))


if __name__ == "__main__":
    main()
