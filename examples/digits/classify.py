"""Reads handwritten digits pixel by pixel and tells which they are: three recurrences in one small classifier.

Every image of scikit-learn's digits is a sequence of 64 numbers. Between an embedding and a readout stand two layers
whose core is one program of the zoo: a selective state space, a diagonal complex state space from the scaled
Legendre measure, or a gated delta rule with two heads. The layers are what the papers put around them, cut short.

    python examples/digits/classify.py [--core mamba|s5|gated_delta_net] [--epochs 8]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import recc

WIDTH, STATE, HEADS = 32, 16, 2


def parameter(values: np.ndarray) -> nn.Parameter:
    """Float32 parameters from one of `recc.init`'s arrays."""
    return nn.Parameter(torch.tensor(values, dtype=torch.float32))


class Mamba(nn.Module):
    """A selective state space: step sizes, B and C are made from the input."""

    def __init__(self, rng: np.random.Generator):
        super().__init__()
        self.log_a = parameter(np.log(-recc.init.arithmetic(WIDTH, STATE)))
        self.bias = parameter(recc.init.softplus_inverse(recc.init.log_uniform(WIDTH, rng)))
        self.skip = nn.Parameter(torch.ones(WIDTH))
        self.to_delta, self.to_bc = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, 2 * STATE, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, T, WIDTH]` to the same, like the other two."""
        b, c = self.to_bc(x).chunk(2, -1)
        delta = F.softplus(self.to_delta(x) + self.bias)
        return recc.zoo.mamba(u=x, delta=delta, B=b, C=c, A=-self.log_a.exp(), D=self.skip)


class S5(nn.Module):
    """A diagonal complex state space of many inputs and outputs, in the eigenbasis of the scaled Legendre matrix."""

    def __init__(self, rng: np.random.Generator):
        super().__init__()
        eigenvalues, v, inverse = recc.init.diagonal_blocks(2 * STATE, 2)
        self.log_re, self.im = parameter(np.log(-eigenvalues.real)), parameter(eigenvalues.imag)
        b = inverse @ rng.standard_normal((2 * STATE, WIDTH)) / WIDTH**0.5
        c = rng.standard_normal((WIDTH, 2 * STATE)) @ v / (2 * STATE) ** 0.5
        self.b, self.c = (nn.Parameter(torch.tensor(m, dtype=torch.complex64)) for m in (b, c))
        self.log_delta = parameter(np.log(recc.init.log_uniform(STATE, rng, 0.01, 0.3)))
        self.skip = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Its decays are minus exponentials, so that no step of training makes it unstable."""
        decay = -self.log_re.exp()
        return recc.zoo.s5(
            u=x, lam_re=decay, lam_im=self.im, B=self.b, C=self.c, D=self.skip, delta=self.log_delta.exp()
        )


class GatedDelta(nn.Module):
    """A fast-weight memory that forgets by a gate and corrects what it holds for a key."""

    def __init__(self, rng: np.random.Generator):
        super().__init__()
        self.to_qkv, self.to_gates = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, 2 * HEADS)
        self.bias = parameter(recc.init.softplus_inverse(recc.init.log_uniform(HEADS, rng)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Heads `[B, T, HEADS, WIDTH / HEADS]` inside, with keys and queries of norm one."""
        q, k, v = self.to_qkv(x).unflatten(-1, (3, HEADS, WIDTH // HEADS)).unbind(2)
        forget, write = self.to_gates(x).chunk(2, -1)
        g = -F.softplus(forget + self.bias)
        o = recc.zoo.gated_delta_net(
            q=F.normalize(q, dim=-1), k=F.normalize(k, dim=-1), v=v, g=g, beta=torch.sigmoid(write)
        )
        return o.flatten(2)


CORES = {"mamba": Mamba, "s5": S5, "gated_delta_net": GatedDelta}


class Layer(nn.Module):
    """A short convolution, the core and a gate, beside a residual."""

    def __init__(self, core: str, seed: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.conv = nn.Conv1d(WIDTH, WIDTH, 4, groups=WIDTH, padding=3)
        self.core = CORES[core](np.random.default_rng(seed))
        self.gate, self.mix = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, T, WIDTH]` to the same."""
        inner = self.norm(x)
        local = F.silu(self.conv(inner.mT)[..., : x.shape[1]].mT)
        return x + self.mix(self.core(local) * F.silu(self.gate(inner)))


class Classifier(nn.Module):
    """Embedding, two layers, the mean over time beside the last step, ten numbers."""

    def __init__(self, core: str) -> None:
        super().__init__()
        self.embed = nn.Linear(3, WIDTH)
        self.layers = nn.Sequential(*(Layer(core, seed) for seed in range(2)))
        self.last, self.head = nn.LayerNorm(2 * WIDTH), nn.Linear(2 * WIDTH, 10)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """`[B, 64]` to logits `[B, 10]`."""
        # Row and column are told beside the brightness: eight pixels make a line.
        steps = torch.arange(pixels.shape[1])
        column, row = ((part / 4 - 1).expand_as(pixels) for part in (steps % 8, steps // 8))
        x = self.layers(self.embed(torch.stack([pixels, column, row], -1)))
        return self.head(self.last(torch.cat([x.mean(1), x[:, -1]], -1)))


def train(core: str, epochs: int) -> float:
    """Train, and give the accuracy on the 360 images that were held out."""
    torch.manual_seed(0)
    digits = load_digits()
    x = torch.tensor(digits.images.reshape(-1, 64), dtype=torch.float32) / 8 - 1
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    held, seen = order[:360], order[360:]
    model = Classifier(core)
    descend = torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=0.01)
    steps = epochs * (len(seen) // 64)
    rate = torch.optim.lr_scheduler.OneCycleLR(descend, 1e-2, total_steps=steps)
    for epoch in range(epochs):
        total = 0.0
        for batch in seen[torch.randperm(len(seen))][: len(seen) // 64 * 64].split(64):
            loss = F.cross_entropy(model(x[batch]), y[batch])
            descend.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            descend.step()
            rate.step()
            total += loss.item()
        print(f"{core}: epoch {epoch + 1}, loss {total / (len(seen) // 64):.3f}", flush=True)
    with torch.no_grad():
        return (model(x[held]).argmax(-1) == y[held]).float().mean().item()


def main() -> None:
    """Train the cores that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--core", choices=CORES, action="append")
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    for core in options.core or CORES:
        accuracy = train(core, options.epochs)
        print(f"{core}: {accuracy:.1%} of the digits held out are read right")
        assert accuracy > 0.5, "far better than one in ten, even after few epochs"


if __name__ == "__main__":
    main()
