"""Layers around selective scans: two directions, two layers, other axes, normalised, read by attention."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mambapy.pscan import pscan

from tests.oracles.all_at_once import flipped, masked
from tests.zoo.row import Arrays, Given, Row, Values

from .selective import quadratic, scan_of_mambapy

#: How wide the map of `a2_ssm` is; its text says so.
WIDE = 4


def _differential(given: Given) -> Values:
    """mambapy's scan twice, normalised by torch."""

    def mixed(k: int) -> torch.Tensor:
        u, delta, a, b, c = (given[f"{n}{k}"] for n in ("u", "delta", "A", "B", "C"))
        scanned = scan_of_mambapy(u, delta, a, b, c, torch.zeros((), dtype=torch.float64))
        return F.rms_norm(scanned, scanned.shape[-1:], given[f"scale{k}"], 1e-5)

    found = mixed(1) - given["lam"] * mixed(2)
    return {"y": F.rms_norm(found, found.shape[-1:], given["scale"], 1e-5)}


def _dense_mamba(given: Given) -> Values:
    """Both layers as dense masked matrices; the states of the lower one are kept whole."""

    def states(k: int, x: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        decay = torch.exp(given[f"delta{k}"][..., None] * given[f"A{k}"])
        return masked(decay, torch.einsum("btd,btn->btdn", given[f"delta{k}"] * x, given[f"B{k}"]), start)

    low = states(1, given["u"], given.state["low"])
    x = given["u"] + torch.einsum("btdn,btn->btd", low, given["C1"])
    high = states(2, x, given.state["high"])
    read = high + given["gate"] * (low @ given["proj"].T)
    return {
        "y": torch.einsum("btn,btdn->btd", given["C2"], read),
        "final low": low[:, -1],
        "final high": high[:, -1],
    }


def _dense_retnet(given: Given) -> Values:
    """The parallel form of retention, with keys and values normalised by torch."""

    def taken(name: str) -> torch.Tensor:
        gated = F.silu(given[f"{name}_gate"]) * given[f"{name}_below"]
        whole = given[name] + gated.sum(2)
        return F.rms_norm(whole, whole.shape[-1:], given[f"{name}_scale"], 1e-6)

    q, k, v, gamma = given["q"], taken("k"), taken("v"), given["gamma"]
    steps = torch.arange(q.shape[1], dtype=torch.float64)
    powers = torch.tril(gamma ** (steps[:, None] - steps).clamp(min=0))
    past = gamma ** (steps + 1)
    o = (q @ k.mT * powers) @ v + past[:, None] * (q @ given.state["S"])
    final = torch.einsum("t,bti,btj->bij", powers[-1], k, v) + past[-1] * given.state["S"]
    return {"o": o, "final S": final}


def _hydra(given: Given) -> Values:
    """The quasiseparable matrix itself: strictly lower and upper parts one step nearer, and a diagonal."""
    x, start = given["x"], given.state

    def part(side: str, turned: bool) -> tuple[torch.Tensor, torch.Tensor]:
        b, c, d = (v.flip(1) if turned else v for v in (given[f"B{side}"], given[f"C{side}"], given[f"d{side}"]))
        rate = d * given["A"]
        inner = quadratic(rate[..., None], c[:, :, None], (d[..., None] * b)[:, :, None])[:, 0]
        strict = F.pad(inner, (0, 0, 1, 0))[:, :-1]  # row t is row t - 1 of the inner matrix
        past = F.pad(torch.exp(torch.cumsum(rate, 1)), (1, 0))[:, :-1]
        first = start["R" if turned else "F"]
        given_start = torch.einsum("bt,btn,bpn->btp", past, F.pad(c, (0, 0, 1, 0))[:, :-1], first)
        return (strict.flip(1, 2), given_start.flip(1)) if turned else (strict, given_start)

    lower, from_left = part("f", False)
    upper, from_right = part("r", True)
    diagonal = given["D"] + x @ given["W"]
    y = (lower + upper + torch.diag_embed(diagonal)) @ x + from_left + from_right
    drives = {n: torch.einsum("bt,btp,btn->btpn", given[f"d{n}"], x, given[f"B{n}"]) for n in "fr"}
    decays = {n: torch.exp(given[f"d{n}"] * given["A"])[..., None, None] for n in "fr"}
    left, right = masked(decays["f"], drives["f"], start["F"]), flipped(decays["r"], drives["r"], start["R"])
    return {"y": y, "final F": left[:, -1], "final R": right[:, 0]}


def _two_sided(given: Given) -> Values:
    """Two dense masked matrices of the selective scan, one against time."""

    def states(side: str, scan: Any, start: torch.Tensor) -> torch.Tensor:
        delta = given[f"d{side}"]
        drive = torch.einsum("btd,btn->btdn", delta * given["u"], given[f"B{side}"])
        found: torch.Tensor = scan(torch.exp(delta[..., None] * given[f"A{side}"]), drive, start)
        return found

    left, right = states("f", masked, given.state["F"]), states("r", flipped, given.state["R"])
    y = torch.einsum("btdn,btn->btd", left, given["Cf"]) + torch.einsum("btdn,btn->btd", right, given["Cr"])
    return {"y": y + given["D"] * given["u"], "final F": left[:, -1], "final R": right[:, 0]}


def _both_axes(given: Given) -> Values:
    """mambapy's parallel scan along tokens, and along channels with the axes exchanged, forwards and flipped."""

    def scanned(k: int, x: torch.Tensor, *flips: int) -> torch.Tensor:
        step, b, c = given[f"d{k}"], given[f"B{k}"], given[f"C{k}"]
        decay = torch.exp(step[..., None] * given[f"A{k}"]).flip(flips)
        drive = ((step * x)[..., None] * b).flip(flips)
        if k > 1:
            states = pscan(decay.transpose(1, 2), drive.transpose(1, 2)).transpose(1, 2)
        else:
            states = pscan(decay, drive)
        found: torch.Tensor = (states.flip(flips) * c).sum(-1)
        return found

    mixed = given["x"] + scanned(1, given["x"])
    return {"y": scanned(2, mixed) + scanned(3, mixed, 2)}


def _mixed_state(given: Given) -> Values:
    """A softmax over time, one product with all tokens, and torch's gate."""
    weights = torch.softmax(given["dt"], 1) * given["B"]
    h = torch.einsum("btn,btp->bnp", weights, given["x"])
    mixed = h @ given["W"].T
    h = (mixed * F.silu(h @ given["gate"].T) + given["D"] * mixed) @ given["out"].T
    return {"y": given["C"] @ h}


def _on_a_map(given: Given) -> Values:
    """States by mambapy's scan, laid out as a map and unfolded into 3 x 3 patches by torch."""
    x, delta = given["x"], given["delta"]
    states = pscan(torch.exp(delta * given["A"])[..., None], (delta * given["B"][..., None] * x)[..., None])[..., 0]
    batch, steps, d = states.shape
    patches = F.unfold(states.transpose(1, 2).reshape(batch, d, steps // WIDE, WIDE), 3, padding=1)
    mixed = torch.einsum("bdat,bta->btd", patches.reshape(batch, d, 9, steps), given["alpha"])
    return {"y": given["C"][..., None] * mixed + given["D"] * x}


def _neighbours(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """Which of the nine neighbours of a place lie on the map."""
    steps = arguments["alpha"].shape[1]
    row, column = np.divmod(np.arange(steps), WIDE)
    down, right = np.divmod(np.arange(9), 3)
    below, beside = row[:, None] + down - 1, column[:, None] + right - 1
    inside = (below >= 0) & (below < steps // WIDE) & (beside >= 0) & (beside < WIDE)
    return arguments | {"inside": np.broadcast_to(inside, arguments["alpha"].shape).copy()}


def _queue(given: Given) -> Values:
    """Summaries of mambapy's states in a deque of Python's, read by torch's attention."""
    u, delta = given["u"], given["delta"]
    states = pscan(torch.exp(delta[..., None] * given["A"]), (delta * u)[..., None] * given["B"][:, :, None])
    batch, steps, d = u.shape
    places = len(given["newest"])
    read = []
    for b in range(batch):
        pool = deque([torch.zeros(d, dtype=torch.float64)] * places, maxlen=places)
        for t in range(steps):
            if given["score"][b, t] > given["threshold"]:
                pool.appendleft(states[b, t].mean(-1))
            kept = torch.stack(tuple(pool))
            query = given["query"][b, t]
            read.append(F.scaled_dot_product_attention(query[None], kept, kept, scale=1.0)[0])
    y = torch.einsum("btdn,btn->btd", states, given["C"]) + torch.stack(read).reshape(batch, steps, d)
    return {"y": y}


def _places(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    return arguments | {"newest": np.eye(len(arguments["newest"]))[0]}


ROWS = (
    Row(
        "A38",
        "Differential Mamba",
        "mambapy: MambaBlock.selective_scan twice, torch: rms_norm",
        _differential,
        "differential_mamba",
        state=False,
        notes="From the paper alone: lambda is one number that the layer makes of its four vectors.",
    ),
    Row("A39", "DenseMamba", "both layers as dense masked matrices", _dense_mamba, "dense_mamba"),
    Row(
        "A39",
        "DenseRetNet",
        "the parallel form of retention, torch: rms_norm, silu",
        _dense_retnet,
        "dense_retnet",
        notes="The published parallel form divides rows by a clamped sum, which the norm after the readout undoes.",
    ),
    Row("A40", "Hydra", "the quasiseparable matrix, applied at once", _hydra, "hydra"),
    Row(
        "A41",
        "MambaMixer",
        "mambapy: pscan, along tokens and along channels",
        _both_axes,
        "mambamixer",
        steps=(5, 4),
        state=False,
        notes="The weighted sums of earlier layers' outputs around it are a composition.",
    ),
    Row(
        "A42",
        "EfficientViM HSM-SSD",
        "torch: softmax over time, then one product with all tokens",
        _mixed_state,
        "hsm_ssd",
        state=False,
        notes="The offset of a state is the same at all steps and leaves the softmax as it is. Every step makes the "
        "mixed state anew, where one would do.",
    ),
    Row(
        "A43",
        "A2Mamba A2SSM",
        "mambapy: pscan, torch: unfold",
        _on_a_map,
        "a2_ssm",
        sizes={"a": 9},
        steps=(12,),
        state=False,
        draw=_neighbours,
        notes="The weights of the attention are an input. The width of the map is written in the text, as lags; "
        "the dilated neighbours are more lags of the same kind.",
    ),
    Row(
        "A45",
        "MemMamba",
        "mambapy: pscan, a deque of Python, torch: scaled_dot_product_attention",
        _queue,
        "memmamba",
        state=False,
        draw=_places,
        notes="From the paper alone; the attention to other layers' queues is a composition.",
    ),
    Row("A46", "Caduceus (BiMamba)", "a dense masked matrix for each side", _two_sided, "bimamba",
        notes="What two strands share is a composition. Both sides change places with time: test_traps_selective.py."),
)  # fmt: skip
