"""Diagonal decays with rotations, gates and resets."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tests.oracles.all_at_once import masked
from tests.zoo.row import Arrays, Given, Row, Values


class _BoundedRoot(torch.autograd.Function):
    """The square root whose derivative is at most 1000."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return torch.sqrt(x)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return grads[0] * torch.clamp(0.5 / torch.sqrt(x), max=1000)


def _rotated(given: Given) -> Values:
    """Attention between rotated pairs of reals: only the angle between two steps counts."""
    x, theta = given["x"], given["theta"]
    steps = torch.arange(x.shape[1], dtype=torch.float64)
    past = torch.cumsum(given["delta"] * given["A"], 1)
    gaps = past[:, :, None] - past[:, None]
    weights = torch.where(gaps.new_ones(gaps.shape[1:]).tril() > 0, torch.exp(gaps.clamp(max=0)), 0)
    angle = (steps[:, None] - steps)[..., None] * theta
    turn = torch.stack([torch.cos(angle), -torch.sin(angle), torch.sin(angle), torch.cos(angle)], -1)
    turn = turn.reshape(*angle.shape, 2, 2)
    c, b = torch.view_as_real(given["C"]), torch.view_as_real(given["B"])
    # Pair s is turned against pair t by -(t - s) theta.
    scores = torch.einsum("btnk,tsnlk,bsnl->bts", c, turn, b)
    y = torch.einsum("bts,bts,bs,bsp->btp", weights, scores, given["delta"], x)
    whole = torch.polar(torch.ones_like(theta), theta) ** steps[:, None]  # t n
    start = given.state["h"]
    y = y + torch.einsum("bt,btn,bpn->btp", torch.exp(past) + 0j, torch.conj(whole * given["C"]), start).real
    drives = torch.einsum("bs,bs,sn,bsn,bsp->bpn", weights[:, -1] + 0j, given["delta"], whole, given["B"], x + 0j)
    return {"y": y, "final h": drives + torch.exp(past)[:, -1, None, None] * start}


def _gates(given: Given) -> tuple[torch.Tensor, torch.Tensor]:
    """The exponent `8 r` of the decay `sigmoid(-lam) ** (8 r)`, and the input behind its gate."""
    return 8 * torch.sigmoid(given["r"]), torch.sigmoid(given["i"]) * given["x"]


def _rg_lru(given: Given) -> Values:
    """The dense masked matrix of decays, these as powers of a sigmoid."""
    exponent, gated = _gates(given)
    decay = torch.sigmoid(-given["lam"]) ** exponent
    states = masked(decay, torch.sqrt(1 - decay.square()) * gated, given.state["h"])
    return {"y": states, "final h": states[:, -1]}


def _griffin(given: Given) -> Values:
    """The same with a decay of zero and a share of one where a segment begins."""
    exponent, gated = _gates(given)
    first = given["first"][..., None]
    rate = exponent * F.logsigmoid(-given["lam"])
    share = torch.where(first, 1.0, _BoundedRoot.apply(-torch.expm1(2 * rate)))
    states = masked(torch.where(first, 0.0, torch.exp(rate)), share * gated, given.state["h"])
    return {"y": states, "final h": states[:, -1]}


def _near_one(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """One channel hardly decays, so that the root's derivative is at its bound."""
    lam = arguments["lam"].copy()
    lam[0] = -20
    return arguments | {"lam": lam}


def _episodes(given: Given, start: torch.Tensor, fresh: torch.Tensor | None) -> torch.Tensor:
    """Powers of a constant decay between steps of one episode; `fresh` is what an episode begins with."""
    rate = torch.complex(given["lam_re"], given["lam_im"])
    drive = (given["u"] + 0j) @ given["B"].T
    done = given["done"]
    episode = torch.cumsum(done, 1)
    steps = torch.arange(done.shape[1], dtype=torch.float64)
    same = (episode[:, :, None] == episode[:, None]) & (steps[:, None] >= steps)
    powers = torch.exp((steps[:, None] - steps).clamp(min=0)[..., None] * rate)
    states = torch.einsum("bts,tsn,bsn->btn", same + 0j, powers, drive)
    before = (episode == 0)[..., None] * torch.exp((steps + 1)[:, None] * rate)
    states = states + before * start[:, None]
    if fresh is None:
        return states
    begun = torch.where(done, steps, -1).cummax(1).values  # the step at which the episode of a step began
    inside = (begun >= 0)[..., None] * torch.exp((steps - begun + 1)[..., None] * rate)
    return states + inside * fresh


def _resettable(given: Given) -> Values:
    """Every episode as a convolution of its own with the powers of the decay."""
    states = _episodes(given, given.state["h"], None)
    return {"y": (states @ given["C"].T).real, "final h": states[:, -1]}


def _r2i(given: Given) -> Values:
    """The same, every episode from the learnt state."""
    states = _episodes(given, given.state["x"], given["start"])
    return {"y": 2 * (states @ given["C"].T).real, "final x": states[:, -1]}


ROWS = (
    Row(
        "A44",
        "Cheems (SSD and rotary positions)",
        "attention between pairs of reals, turned by the angle between two steps",
        _rotated,
        "cheems",
        notes="A rotation of what is written and read is a complex decay: test_traps_selective.py.",
    ),
    Row("A46", "RG-LRU (Hawk)", "the dense masked matrix, decays as powers of a sigmoid", _rg_lru, "rg_lru"),
    Row(
        "A46",
        "RG-LRU with segments",
        "the same, and an autograd function for the bounded root",
        _griffin,
        "griffin",
        draw=_near_one,
        notes="Where a segment begins the decay is 0 and the root 1; its derivative is at most 1000.",
    ),
    Row("A47", "Resettable S5", "a convolution for every episode", _resettable, "resettable_s5"),
    Row(
        "A47",
        "R2I S3M, resets to a learnt state",
        "a convolution for every episode",
        _r2i,
        "r2i",
        notes="The published scan operator is not associative: test_traps_selective.py.",
    ),
)
