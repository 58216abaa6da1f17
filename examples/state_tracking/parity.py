"""Parity: which recurrences can keep the one bit that every input may flip.

The input is bits; at every step the model is asked whether the ones so far are odd in number. Four small models differ
in what a step may do to the state. They learn on words of 16 and then of 96 bits, and are asked about words of 960.

- a selective state space (`recc.zoo.mamba`): every number of the state is multiplied by something in (0, 1);
- a diagonal one with multipliers in [-1, 1]; what is kept whole takes nothing in;
- the delta rule with steps of at most 1: what stands at a key shrinks;
- the delta rule with steps of at most 2: it may be turned around (a reflection, where the step is 2).

What can only shrink, forgets; what can change its sign, counts to two. Noise on the gates while they learn drives
those that matter to their ends, where nothing is lost however long a word is. Grazzi and others, Unlocking
State-Tracking in Linear RNNs Through Negative Eigenvalues, 2025.

    python examples/state_tracking/parity.py [--steps 300]
"""

from __future__ import annotations

import argparse

import torch
from torch import nn
from torch.nn import functional as F

import recc

WIDTH, STATE, HEADS, SHORT, MIDDLE, LONG = 8, 4, 4, 16, 96, 960

SIGNED = recc.compile("""
recurrence signed_decay(d, n)
    input  u[d], a[d, n] in [-1, 1], B[n], C[n]
    state  h[d, n]
    h[t] = a[t] * h[t-1] + (1 - a[t] ** 2) * B[t] * u[t]    # what is kept whole takes nothing in
    output y[t] = sum[n](C[t] * h[t])
""")
REFLECTING = recc.compile("""
recurrence reflecting_delta_rule(i, j)
    input  q[i], k[i] unit, v[j]
    input  beta in [0, 2]
    state  S[i, j]
    S[t] = S[t-1] + beta[t] * k[t] * (v[t] - sum[i](k[t] * S[t-1]))
    output o[t] = sum[i](q[t] * S[t])
""")


def noisy(gate: torch.Tensor, training: bool) -> torch.Tensor:
    """A gate's argument, with noise while it learns: only where the gate is at one of its ends does that not matter."""
    return gate + torch.randn_like(gate) if training else gate


class Diagonal(nn.Module):
    """A selective diagonal recurrence, with or without signs, from a state that is learnt."""

    def __init__(self, signed: bool) -> None:
        super().__init__()
        self.signed = signed
        self.step = nn.Linear(WIDTH, WIDTH * STATE if signed else WIDTH)
        self.read = nn.Linear(WIDTH, 2 * STATE)
        self.log_a = nn.Parameter(torch.arange(1.0, STATE + 1).log().repeat(WIDTH, 1))
        self.first = nn.Parameter(torch.randn(1, WIDTH, STATE))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, T, WIDTH]` to the same."""
        first = self.first.expand(len(x), -1, -1)
        b, c = self.read(x).chunk(2, -1)
        if self.signed:
            a = (1.5 * torch.tanh(noisy(self.step(x), self.training))).clamp(-1, 1)  # so that the ends are reached
            return SIGNED(u=x, a=a.unflatten(-1, (WIDTH, STATE)), B=b, C=c, initial_state=first)
        d = torch.zeros(WIDTH)
        return recc.zoo.mamba(
            u=x,
            delta=F.softplus(noisy(self.step(x), self.training)),
            B=b,
            C=c,
            A=-self.log_a.exp(),
            D=d,
            initial_state=first,
        )


class DeltaRule(nn.Module):
    """Matrix memories with steps of at most `most`, one for each head, from contents that are learnt."""

    def __init__(self, most: float) -> None:
        super().__init__()
        self.most = most
        self.qkv, self.beta = nn.Linear(WIDTH, 3 * HEADS * STATE), nn.Linear(WIDTH, HEADS)
        self.first = nn.Parameter(torch.randn(1, HEADS, STATE, STATE))
        self.out = nn.Linear(HEADS * STATE, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, T, WIDTH]` to the same."""
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, STATE)).unbind(2)
        beta = self.most * (2 * torch.sigmoid(noisy(self.beta(x), self.training)) - 0.5).clamp(
            0, 1
        )  # so that the ends are reached
        first = self.first.expand(len(x), -1, -1, -1)
        return self.out(REFLECTING(q, F.normalize(k, dim=-1), v, beta, initial_state=first).flatten(2))


class Model(nn.Module):
    """An embedding of the bits, a core, and a reader of what it puts out."""

    def __init__(self, core: nn.Module) -> None:
        super().__init__()
        self.embed, self.core = nn.Embedding(2, WIDTH), core
        self.read = nn.Sequential(nn.RMSNorm(WIDTH), nn.Linear(WIDTH, 32), nn.GELU(), nn.Linear(32, 1))

    def forward(self, bits: torch.Tensor) -> torch.Tensor:
        """`[B, T]` to logits `[B, T]`."""
        return self.read(self.core(self.embed(bits)))[..., 0]


CORES = {
    "decays in (0, 1)": lambda: Diagonal(signed=False),
    "decays in [-1, 1]": lambda: Diagonal(signed=True),
    "delta rule, steps to 1": lambda: DeltaRule(1.0),
    "delta rule, steps to 2": lambda: DeltaRule(2.0),
}


def words(count: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random bits, and whether the ones up to each are odd in number."""
    bits = torch.randint(0, 2, (count, length))
    return bits, bits.cumsum(1) % 2


def accuracy(model: nn.Module, length: int) -> float:
    """Of the second half of the steps of new words."""
    bits, odd = words(200, length)
    with torch.no_grad():
        return ((model(bits) > 0) == odd)[:, length // 2 :].float().mean().item()


def learn(core: str, steps: int) -> tuple[float, float]:
    """Train, and give the accuracy on words as long as those it learnt from and on longer ones."""
    torch.manual_seed(0)
    model = Model(CORES[core]())
    descend = torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=0.0)
    rate = torch.optim.lr_scheduler.OneCycleLR(descend, 1e-2, total_steps=steps)
    for step in range(steps):
        bits, odd = words(64, SHORT if step < steps // 2 else MIDDLE)
        loss = F.binary_cross_entropy_with_logits(model(bits), odd.float())
        descend.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        descend.step()
        rate.step()
    model.eval()
    return accuracy(model, MIDDLE), accuracy(model, LONG)


def main() -> None:
    """Train all four, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    found = {}
    for core in CORES:
        found[core] = learn(core, options.steps)
        print(f"{core:24}{MIDDLE} bits: {found[core][0]:6.1%}   {LONG} bits: {found[core][1]:6.1%}", flush=True)
    for core, (_, long) in found.items():
        assert (long > 0.9) == (core in ("decays in [-1, 1]", "delta rule, steps to 2")), core


if __name__ == "__main__":
    main()
