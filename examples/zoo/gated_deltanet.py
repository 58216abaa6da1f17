"""A Gated DeltaNet layer: projections, short convolutions and a gated norm around `recc.zoo.gated_delta_net`.

Yang, Kautz, Hatamizadeh, Gated Delta Networks, 2024.

    python examples/zoo/gated_deltanet.py
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

import recc


class GatedDeltaNet(nn.Module):
    """Maps `[B, T, width]` to the same shape, with heads of `head` keys and twice as many values."""

    def __init__(self, width: int, heads: int = 2, head: int = 16, taps: int = 4) -> None:
        super().__init__()
        self.heads, keys, values = heads, heads * head, 2 * heads * head
        self.sizes = [keys, keys, values]
        self.in_proj = nn.Linear(width, sum(self.sizes), bias=False)
        self.conv1d = nn.Conv1d(sum(self.sizes), sum(self.sizes), taps, groups=sum(self.sizes), padding=taps - 1)
        self.rates = nn.Linear(width, 2 * heads, bias=False)
        self.A_log = nn.Parameter(torch.empty(heads).uniform_(1, 16).log())
        self.dt_bias = nn.Parameter(torch.zeros(heads))
        self.gate = nn.Linear(width, values, bias=False)
        self.norm = nn.RMSNorm(2 * head, eps=1e-5)
        self.out_proj = nn.Linear(values, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The gated and normalised readout of a memory that forgets, and removes before it writes."""
        mixed = F.silu(self.conv1d(self.in_proj(x).mT)[..., : x.shape[1]].mT)
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in mixed.split(self.sizes, -1))  # [B, T, H, K]
        decay, beta = self.rates(x).chunk(2, -1)  # [B, T, H]
        o = recc.zoo.gated_delta_net(
            F.normalize(q, dim=-1),
            F.normalize(k, dim=-1),
            v,
            -torch.exp(self.A_log) * F.softplus(decay + self.dt_bias),
            torch.sigmoid(beta),
        )
        return self.out_proj((self.norm(o) * F.silu(self.gate(x).unflatten(-1, (self.heads, -1)))).flatten(-2))


def main() -> None:
    """Run the layer on random data, forwards and backwards."""
    torch.manual_seed(0)
    layer, x = GatedDeltaNet(32), torch.randn(2, 100, 32)
    y = layer(x)
    y.square().mean().backward()
    print("in", tuple(x.shape), "out", tuple(y.shape), "gradient of A_log", tuple(layer.A_log.grad.shape))


if __name__ == "__main__":
    main()
