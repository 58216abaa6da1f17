"""An mLSTM layer of xLSTM: up-projection, short convolution, gates and a norm of heads around `recc.zoo.mlstm`.

Beck and others, xLSTM, 2024.

    python examples/zoo/mlstm.py
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

import recc


class MLSTM(nn.Module):
    """Maps `[B, T, width]` to the same shape."""

    def __init__(self, width: int, heads: int = 4, expand: int = 2, taps: int = 4) -> None:
        super().__init__()
        self.heads, inner = heads, expand * width
        self.up = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, taps, groups=inner, padding=taps - 1)
        self.q, self.k, self.v = (nn.Linear(inner, inner, bias=False) for _ in range(3))
        self.gates = nn.Linear(3 * inner, 2 * heads)
        self.norm = nn.GroupNorm(heads, inner)
        self.skip = nn.Parameter(torch.ones(inner))
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The normalised readout of a matrix memory with exponential gates, beside a gated branch."""
        mixed, gate = self.up(x).chunk(2, -1)
        turned = F.silu(self.conv1d(mixed.mT)[..., : x.shape[1]].mT)
        q, k, v = self.q(turned), self.k(turned), self.v(mixed)
        enter, forget = self.gates(torch.cat([q, k, v], -1)).chunk(2, -1)  # [B, T, H]
        q, k, v = (z.unflatten(-1, (self.heads, -1)) for z in (q, k, v))  # [B, T, H, K]
        h = recc.zoo.mlstm(q, k * k.shape[-1] ** -0.5, v, F.logsigmoid(forget), enter)
        h = self.norm(h.flatten(-2).flatten(0, 1)).view_as(turned)
        return self.down((h + self.skip * turned) * F.silu(gate))


def main() -> None:
    """Run the layer on random data, forwards and backwards."""
    torch.manual_seed(0)
    layer, x = MLSTM(32), torch.randn(2, 100, 32)
    y = layer(x)
    y.square().mean().backward()
    print("in", tuple(x.shape), "out", tuple(y.shape), "gradient of skip", tuple(layer.skip.grad.shape))


if __name__ == "__main__":
    main()
