"""The time mixing of RWKV-7: token shift, small networks for rates, a norm and a bonus around `recc.zoo.rwkv7`.

Peng and others, RWKV-7 Goose, 2025. The value of the first layer, which later layers mix in, is left out.

    python examples/zoo/rwkv7.py
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

import recc


def _low_rank(width: int, rank: int, inner: nn.Module, bias: bool = True) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, rank, bias=False), inner, nn.Linear(rank, width, bias=bias))


class TimeMix(nn.Module):
    """Maps `[B, T, width]` to the same shape, with heads of `head` channels."""

    def __init__(self, width: int, head: int = 16, rank: int = 8) -> None:
        super().__init__()
        self.heads = width // head
        self.shift = nn.Parameter(torch.rand(6, width))  # for r, w, k, v, a and the gate
        self.receptance, self.key, self.value, self.output = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.decay = _low_rank(width, rank, nn.Tanh())
        self.rate = _low_rank(width, rank, nn.Identity())
        self.gate = _low_rank(width, rank, nn.Sigmoid(), bias=False)
        self.k_k, self.k_a = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))
        self.r_k = nn.Parameter(torch.zeros(self.heads, head))
        self.norm = nn.GroupNorm(self.heads, width, eps=64e-5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A memory per head that removes along one key and writes along another."""
        before = F.pad(x, (0, 0, 1, -1)) - x
        xr, xw, xk, xv, xa, xg = (x + before * mix for mix in self.shift)
        r, k, v, a = self.receptance(xr), self.key(xk), self.value(xv), torch.sigmoid(self.rate(xa))
        w = -math.exp(-0.5) * torch.sigmoid(self.decay(xw))  # a logarithm: the least decay is about 0.545
        removal, k = k * self.k_k, k * (1 + (a - 1) * self.k_a)
        r, w, k, v, a, removal = (z.unflatten(-1, (self.heads, -1)) for z in (r, w, k, v, a, removal))  # [B, T, H, K]
        o = recc.zoo.rwkv7(r, k, v, w, F.normalize(removal, dim=-1), a)
        o = self.norm(o.flatten(-2).flatten(0, 1)).view_as(x)
        bonus = (r * k * self.r_k).sum(-1, keepdim=True) * v
        return self.output((o + bonus.flatten(-2)) * self.gate(xg))


def main() -> None:
    """Run the mixing on random data, forwards and backwards."""
    torch.manual_seed(0)
    layer, x = TimeMix(32), torch.randn(2, 100, 32)
    y = layer(x)
    y.square().mean().backward()
    print("in", tuple(x.shape), "out", tuple(y.shape), "gradient of r_k", tuple(layer.r_k.grad.shape))


if __name__ == "__main__":
    main()
