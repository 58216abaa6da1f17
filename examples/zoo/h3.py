"""An H3 layer: projections around `recc.zoo.h3`, with heads that have a state space each.

Fu, Dao and others, Hungry Hungry Hippos: Towards Language Modeling with State Space Models, 2023.

    python examples/zoo/h3.py
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

import recc
import recc.init


class H3(nn.Module):
    """Maps `[B, T, width]` to the same shape; keys are shifted by up to `taps - 1` steps."""

    def __init__(self, width: int, heads: int = 4, state: int = 16, taps: int = 8) -> None:
        super().__init__()
        size = width // heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.taps = nn.Parameter(torch.randn(heads, size, taps) / taps**0.5)
        self.skip = nn.Parameter(torch.randn(heads, size))
        modes = np.tile(recc.init.diagonal("linear", state), (heads, 1))
        self.decay = nn.Parameter(torch.tensor(np.log(-modes.real)).float())
        self.rate = nn.Parameter(torch.tensor(modes.imag).float())
        self.C = nn.Parameter(torch.randn(heads, modes.shape[1], 2))
        self.log_step = nn.Parameter(torch.empty(heads).uniform_(math.log(0.001), math.log(0.1)))
        self.D = nn.Parameter(torch.randn(heads))
        self.register_buffer("first", torch.eye(taps)[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Queries times a state space of shifted keys times values."""
        q, k, v = (p(x).unflatten(-1, (len(self.D), -1)) for p in (self.q, self.k, self.v))
        c = torch.view_as_complex(self.C)
        y = recc.zoo.h3(
            q, k, v, taps=self.taps, skip=self.skip, first=self.first, D=self.D, delta=torch.exp(self.log_step),
            lam_re=-torch.exp(self.decay), lam_im=self.rate, B=torch.ones_like(c), C=c,
        )  # fmt: skip
        return self.out(y.flatten(-2))


def main() -> None:
    """Run the layer on random data, forwards and backwards."""
    torch.manual_seed(0)
    layer, x = H3(32), torch.randn(2, 100, 32)
    y = layer(x)
    y.square().mean().backward()
    print("in", tuple(x.shape), "out", tuple(y.shape), "gradient of taps", tuple(layer.taps.grad.shape))


if __name__ == "__main__":
    main()
