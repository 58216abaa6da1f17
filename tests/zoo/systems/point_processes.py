"""Point processes: states that fade in the gaps between events, and jump at them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.zoo.row import Given, Row, Values


def _since(gaps: Tensor) -> tuple[Tensor, Tensor]:
    """The times of events, and the time from every one to every other, `[B, now, then]`."""
    times = torch.cumsum(gaps, 1)
    return times, times[:, :, None] - times[:, None]


def _hawkes(given: Given) -> Values:
    """The definition: a sum of kernels over all past events, and one over what there was before."""
    times, since = _since(given["gap"])
    steps = torch.arange(given.steps)
    past = steps[:, None] > steps
    kernel = torch.where(past, torch.exp(-given["beta"] * torch.where(past, since, 0)), 0)
    fading = torch.exp(-given["beta"] * times)[..., None] * given.state["R"][:, None]
    before = torch.einsum("bts,bsk->btk", kernel, given["mark"]) + fading
    final = before[:, -1] + given["mark"][:, -1]
    return {"intensity": given["mu"] + before @ given["alpha"].T, "final R": final}


def _s2p2(given: Given) -> Values:
    """The closed form: every jump, and the integral over every gap, faded until now by one exponential."""
    lam = torch.complex(given["lam_re"], given["lam_im"])
    speed = F.softplus(given["u"] @ given["rate"].T + given["bias"])
    clock = torch.cumsum(given["gap"][..., None] * speed, 1)  # b t p: its own time for every mode
    steps = torch.arange(given.steps)
    none = torch.zeros((), dtype=lam.dtype)

    def faded(allowed: Tensor, what: Tensor) -> Tensor:
        gaps = (clock[:, :, None] - clock[:, None]).to(lam.dtype)
        weights = torch.where(allowed[..., None], torch.exp(lam * torch.where(allowed[..., None], gaps, none)), none)
        return torch.einsum("btsp,bsp->btp", weights, what)

    jumps = given["mark"].to(lam.dtype) @ given["E"].T
    length = (given["gap"][..., None] * speed).to(lam.dtype)
    held = torch.expm1(lam * length) / lam * (given["u"].to(lam.dtype) @ given["B"].T)
    left = faded(steps[:, None] > steps, jumps) + faded(steps[:, None] >= steps, held)
    left = left + torch.exp(lam * clock) * given.state["x"][:, None]
    right = left + jumps
    later = right * torch.exp(lam * given["ask"][..., None] * F.softplus(given["bias"]))
    found = {n: F.softplus((v @ given["C"].T).real) for n, v in (("before", left), ("after", right), ("asked", later))}
    return found | {"final x": right[:, -1]}


def _neural(given: Given) -> Values:
    """torch.lstm_cell, twice at every event: once for what the memory is, once for where it tends to."""
    order = ("i", "f", "z", "o")
    weights = torch.cat([given[f"U{g}"] for g in order])
    targets = torch.cat([given[f"U{g}"] for g in ("i_bar", "f_bar", "z", "o")])
    eye = torch.eye(len(weights), dtype=torch.float64)
    c, tends, delta, o = (given.state[n] for n in ("c", "c_bar", "delta", "o"))
    left, asked = [], []
    for t in range(given.steps):
        now = {g: given[f"x{g}"][:, t] for g in (*order, "i_bar", "f_bar", "d")}
        faded = torch.lerp(tends, c, torch.exp(-delta * given["gap"][:, t, None]))
        h = o * torch.tanh(faded)
        gates = torch.cat([now[g] for g in order], -1)
        _, c = torch.lstm_cell(gates, (h, faded), eye, weights)
        gates = torch.cat([now[g] for g in ("i_bar", "f_bar", "z", "o")], -1)
        _, tends = torch.lstm_cell(gates, (h, tends), eye, targets)
        o = torch.sigmoid(F.linear(h, given["Uo"]) + now["o"])
        delta = F.softplus(F.linear(h, given["Ud"]) + now["d"])
        later = o * torch.tanh(torch.lerp(tends, c, torch.exp(-delta * given["ask"][:, t, None])))
        left.append(F.softplus(h @ given["w"].T))
        asked.append(F.softplus(later @ given["w"].T))
    finals = {"final c": c, "final c_bar": tends, "final delta": delta, "final o": o}
    return {"left": torch.stack(left, 1), "asked": torch.stack(asked, 1), **finals}


ROWS = (
    Row("A86", "Hawkes", "the definition: a sum of kernels over all past events", _hawkes, "hawkes"),
    Row(
        "A86",
        "Neural Hawkes CT-LSTM",
        "torch.lstm_cell, twice at every event, and an exponential in between",
        _neural,
        "neural_hawkes",
        notes="Marks come projected. The thinning sampler and the re-weighting of HYPRO are outside.",
    ),
    Row(
        "A86",
        "S2P2 (latent linear Hawkes layer)",
        "the closed form: jumps and integrals over gaps, each faded until now by one exponential",
        _s2p2,
        "s2p2",
        notes="One layer, without the norm and the activation between layers. Given no input (u = 0), it is the first.",
    ),
)
