"""The word problem of A5, the smallest group that is not solvable: which transitions follow it, and which learn it.

A word is a sequence of even permutations of five things. Asked is, after every letter, which of the 60 permutations
the product so far is. A layer with diagonal transitions, in numbers of logarithmic precision, is in the class TC0,
and this problem is complete for NC1 (Barrington, 1989): unless the two classes are equal, no such layer solves it for
all lengths, however it is trained. Merrill, Petty, Sabharwal, The Illusion of State in State-Space Models, 2024.
A transition that is a whole matrix chosen by the letter needs no training for it; nor does a product of reflections.

First by construction, with numbers set by hand, on words of 3000 letters:

- `recc.zoo.selective_dense`: each letter is its permutation matrix, 5 x 5;
- `recc.zoo.gated_delta_product`: each letter is two steps of two reflections, I - 2 k k' with
  k = (e_a - e_b) / sqrt(2), which exchanges a and b. Four exchanges make any even permutation of five.

Then by learning, from words of at most 12 letters out of four that generate the group: dense transitions over 60
states, their columns made probabilities by a softmax; and signed diagonal transitions of twice as many numbers. That
the latter fail here shows nothing for all training; the argument above does.

    python examples/state_tracking/a5.py [--steps 200]
"""

from __future__ import annotations

import argparse
import itertools

import torch
from torch import nn
from torch.nn import functional as F

import recc

SHORT = 12
LENGTHS = (2, SHORT, 500)

#: The even permutations, `p[i]` for where i goes, and what is the product of two: first b, then a.
GROUP = [p for p in itertools.permutations(range(5)) if sum(p[i] > p[j] for j in range(5) for i in range(j)) % 2 == 0]
INDEX = {p: i for i, p in enumerate(GROUP)}
PRODUCT = torch.tensor([[INDEX[tuple(a[b[i]] for i in range(5))] for b in GROUP] for a in GROUP])


#: Two permutations that generate the group, (0 1 2 3 4) and (0 1 2), and their inverses.
GENERATORS = torch.tensor([INDEX[p] for p in ((1, 2, 3, 4, 0), (4, 0, 1, 2, 3), (1, 2, 0, 3, 4), (2, 0, 1, 3, 4))])


def words(alphabet: torch.Tensor, count: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random letters `[B, T]`, numbered as in the alphabet, and the product of those up to each."""
    chosen = torch.randint(0, len(alphabet), (count, length))
    letters = alphabet[chosen]
    product, so_far = [], torch.full((count,), INDEX[0, 1, 2, 3, 4])
    for t in range(length):
        so_far = PRODUCT[letters[:, t], so_far]
        product.append(so_far)
    return chosen, torch.stack(product, 1)


def where_all_went(answer: torch.Tensor) -> torch.Tensor:
    """`[B, T, 5]` with, at p(i), the number i: what permuting 0 to 4 gives."""
    return torch.tensor(GROUP).argsort(1)[answer].double()


def dense_by_hand(letters: torch.Tensor) -> torch.Tensor:
    """Permutation matrices, looked up: `M[letter, p(i), i] = 1`."""
    matrices = torch.eye(5, dtype=torch.float64)[torch.tensor(GROUP)].mT
    return recc.zoo.selective_dense(letters, M=matrices, h0=torch.arange(5.0, dtype=torch.float64))


def exchanges(p: tuple[int, ...]) -> list[tuple[int, int]]:
    """Four exchanges that make p, one after the other; those of a thing with itself do nothing."""
    done, found = list(range(5)), []  # done[i]: what stands at i by now; wanted is i at p[i]
    for i in range(5):
        at = done.index(i)
        if at != p[i]:
            found.append((at, p[i]))
            done[at], done[p[i]] = done[p[i]], done[at]
    return found + [(0, 0)] * (4 - len(found))


def reflections_by_hand(letters: torch.Tensor) -> torch.Tensor:
    """Two steps for each letter, two reflections for each step."""
    eye = torch.eye(5, dtype=torch.float64)
    pairs = torch.tensor([exchanges(p) for p in GROUP])  # [60, 4, 2]
    keys, beta = (eye[pairs[..., 0]] - eye[pairs[..., 1]]) / 2**0.5, 2.0 * (pairs[..., 0] != pairs[..., 1])
    keys = torch.where(beta[..., None] > 0, keys, eye[0])  # where nothing is to be done, any key of norm one
    k, b = keys[letters].flatten(1, 2), beta[letters].flatten(1, 2).double()  # [B, 4 T, 5], [B, 4 T]
    none = torch.zeros(*k[:, ::2].shape[:2], 1, dtype=torch.float64)
    things = torch.arange(5.0, dtype=torch.float64)[:, None].expand(len(letters), 5, 1).contiguous()
    every = []
    for axis in eye:  # one readout for each place
        every.append(
            recc.zoo.gated_delta_product(
                q=axis.expand_as(k[:, ::2]), k1=k[:, ::2], k2=k[:, 1::2], v1=none, v2=none,
                g=none[..., 0], beta1=b[:, ::2], beta2=b[:, 1::2], initial_state=things,
            )[:, 1::2]
        )  # fmt: skip
    return torch.cat(every, -1)


class Dense(nn.Module):
    """A probabilistic automaton of 60 states, with a transition to be learnt for each letter."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(4, 60, 60))

    def forward(self, letters: torch.Tensor) -> torch.Tensor:
        """`[B, T]` to log probabilities `[B, T, 60]`."""
        first = F.one_hot(torch.tensor(INDEX[0, 1, 2, 3, 4]), 60).float()
        return torch.log(recc.zoo.selective_dense(letters, M=self.scores.softmax(1), h0=first) + 1e-6)


class Diagonal(nn.Module):
    """120 numbers, each multiplied by something in [-1, 1] and added to, as the letter says; read by two layers."""

    SIGNED = recc.compile(
        """
recurrence signed_decay(d)
    input  sym int(letters)
    param  a[letters, d] in [-1, 1], b[letters, d]
    state  h[d]
    h[t] = a[letters = sym[t]] * h[t-1] + b[letters = sym[t]]
    output y[t] = h[t]
""".replace("(d)", "(d, letters)")
    )

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(4, 120)), nn.Parameter(torch.randn(4, 120))
        self.read = nn.Sequential(nn.RMSNorm(120), nn.Linear(120, 256), nn.GELU(), nn.Linear(256, 60))

    def forward(self, letters: torch.Tensor) -> torch.Tensor:
        """`[B, T]` to logits `[B, T, 60]`."""
        return self.read(self.SIGNED(letters, torch.tanh(self.a), self.b))


def learn(model: nn.Module, rate: float, steps: int) -> list[float]:
    """Train on short words, and give the accuracy of the last answer on words of each length."""
    descend = torch.optim.Adam(model.parameters(), rate)
    for step in range(steps):
        letters, answer = words(GENERATORS, 128, min(2 + step * 2 * SHORT // steps, SHORT))
        loss = F.cross_entropy(model(letters).flatten(0, 1), answer.flatten())
        descend.zero_grad()
        loss.backward()
        descend.step()
    found = []
    for length in LENGTHS:
        letters, answer = words(GENERATORS, 200, length)
        with torch.no_grad():
            found.append((model(letters)[:, -1].argmax(-1) == answer[:, -1]).float().mean().item())
    return found


def main() -> None:
    """Construct, learn, and print both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    torch.manual_seed(0)
    letters, answer = words(torch.arange(60), 4, 3000)
    wanted = where_all_went(answer)
    for name, by_hand in (("dense", dense_by_hand), ("reflections", reflections_by_hand)):
        error = (by_hand(letters) - wanted).abs().max().item()
        print(f"by construction, {name:12} 3000 letters, largest error {error:.0e}", flush=True)
        assert error < 1e-9
    found = {}
    for name, model, rate in (("dense", Dense(), 0.3), ("diagonal", Diagonal(), 0.01)):
        found[name] = learn(model, rate, options.steps)
        shown = ", ".join(f"{length} letters {right:.1%}" for length, right in zip(LENGTHS, found[name], strict=True))
        print(f"learnt, {name:9} {shown}", flush=True)
    assert found["dense"][-1] > 0.9 and found["diagonal"][-1] < 0.2


if __name__ == "__main__":
    main()
