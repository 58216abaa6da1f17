"""An S5 layer: a norm, `recc.zoo.s5` from its HiPPO blocks, a gate and a residual.

Smith, Warrington, Linderman, Simplified State Space Layers for Sequence Modeling, 2023.

    python examples/zoo/s5.py
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import recc
import recc.init


class S5(nn.Module):
    """Maps `[B, T, width]` to the same shape. The state has `state / 2` pairs of modes, in `blocks` equal blocks."""

    def __init__(self, width: int, state: int = 32, blocks: int = 2) -> None:
        super().__init__()
        modes, basis, inverse = recc.init.diagonal_blocks(state, blocks)
        rng = np.random.default_rng(torch.randint(2**31, ()).item())
        b = inverse @ rng.standard_normal((state, width)) / width**0.5
        c = rng.standard_normal((width, state)) @ basis / state**0.5
        self.norm = nn.LayerNorm(width)
        self.decay = nn.Parameter(torch.tensor(np.log(-modes.real)).float())
        self.rate = nn.Parameter(torch.tensor(modes.imag).float())
        self.B = nn.Parameter(torch.view_as_real(torch.tensor(b, dtype=torch.complex64)))
        self.C = nn.Parameter(torch.view_as_real(torch.tensor(c, dtype=torch.complex64)))
        self.D = nn.Parameter(torch.randn(width))
        self.log_step = nn.Parameter(torch.empty(len(modes)).uniform_(np.log(0.001), np.log(0.1)))
        self.gate = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The residual of the gated state space."""
        b, c = torch.view_as_complex(self.B), torch.view_as_complex(self.C)
        y = recc.zoo.s5(self.norm(x), -torch.exp(self.decay), self.rate, b, c, self.D, torch.exp(self.log_step))
        y = F.gelu(y)
        return x + y * torch.sigmoid(self.gate(y))


def main() -> None:
    """Run the layer on random data, forwards and backwards."""
    torch.manual_seed(0)
    layer, x = S5(16), torch.randn(2, 100, 16)
    y = layer(x)
    y.square().mean().backward()
    print("in", tuple(x.shape), "out", tuple(y.shape), "gradient of B", tuple(layer.B.grad.shape))


if __name__ == "__main__":
    main()
