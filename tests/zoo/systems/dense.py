"""Dense transitions that vary: dictionaries, functions of the input, driven by paths, of rank one."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
import torch.nn.functional as F

from tests.oracles.all_at_once import solved
from tests.zoo.row import Arrays, Given, Row, Values

#: How deep the signature of a path is taken; what is left out is below rounding at the sizes of the row.
DEPTH = 10


def _sd_ssm(given: Given) -> Values:
    """Columns scaled by torch's vector norm, all steps solved as one linear system, torch's layer norm."""
    weights = torch.softmax(given["u"] @ given["S"].T, -1)
    mixed = torch.einsum("btk,knm->btnm", weights, given["A"])
    transition = mixed / torch.linalg.vector_norm(mixed, 1.2, dim=-2, keepdim=True)
    states = solved(transition, given["u"] @ given["B"].T, given.state["h"])
    return {"y": F.layer_norm(states, states.shape[-1:], eps=1e-5) @ given["W"].T, "final h": states[:, -1]}


def _looked_up(given: Given) -> Values:
    """The one-hot mixture of the dictionary, all steps solved as one linear system."""
    chosen = F.one_hot(given["sym"], len(given["M"])).to(torch.float64)
    transition = torch.einsum("bta,anm->btnm", chosen, given["M"])
    states = solved(transition, torch.zeros(transition.shape[:3], dtype=torch.float64), given.state["h"])
    return {"y": states, "final h": states[:, -1]}


def _ids4(given: Given) -> Values:
    """All steps solved as one linear system."""
    transition = torch.einsum("btd,dnm->btnm", given["x"], given["W"])
    states = solved(transition, given["x"] @ given["B"].T, given.state["h"])
    return {"y": states @ given["C"].T + given["D"] * given["x"], "final h": states[:, -1]}


def _automaton(given: Given) -> Values:
    """A finite automaton over all vectors of signs: a table for every step, tables composed by doubling."""
    drive = (given["x"] @ given["B"].T).detach()
    size = drive.shape[-1]
    corners = torch.tensor(list(product((-1.0, 1.0), repeat=size)), dtype=torch.float64)
    places = 2 ** torch.arange(size - 1, -1, -1)

    def leads(vectors: torch.Tensor, pushed: torch.Tensor) -> torch.Tensor:
        return ((vectors @ given["A"].detach().T + pushed > 0) * places).sum(-1)

    first = leads(given.state["h"].detach(), drive[:, 0])  # the initial state need not be a corner
    tables = leads(corners, drive[:, 1:, None])
    shift = 1
    while shift < tables.shape[1]:
        tables = torch.cat([tables[:, :shift], torch.gather(tables[:, shift:], 2, tables[:, :-shift])], 1)
        shift *= 2
    later = torch.gather(tables, 2, first[:, None, None].expand(-1, tables.shape[1], 1))[..., 0]
    states = corners[torch.cat([first[:, None], later], 1)]
    return {"y": states @ given["C"].T + given["D"] * given["x"], "final h": states[:, -1]}


def _iterated_sums(given: Given) -> Values:
    """The finite expansion in iterated sums: over all words of letters, `sum[w](A[w] * S[w])`.

    A letter is a channel of either path; the offset of the drive is a coordinate that stays 1. Sums are over strictly
    increasing steps, so that words longer than the path have none.
    """
    a, b, start = given["A"], given["B"], given.state["Z"]
    size = len(b)
    homogeneous = torch.cat([F.pad(a, (0, 1, 0, 1)), F.pad(b.T[:, :, None], (size, 0, 0, 1))])
    increments = torch.cat([given["omega"], given["xi"]], -1)
    vectors = F.pad(start, (0, 1), value=1.0)[:, None]  # b w n: matrices of a word, applied to the start
    sums = torch.ones(*increments.shape[:2], 1, dtype=torch.float64)  # b t w, all steps before and with t
    states = (sums @ vectors)[..., :size]
    for _ in range(increments.shape[1]):
        before = F.pad(sums, (0, 0, 1, 0))[:, :-1] if vectors.shape[1] > 1 else torch.ones_like(sums)
        sums = torch.cumsum((before[..., None] * increments[:, :, None]).flatten(2), 1)
        vectors = torch.einsum("anm,bwm->bwan", homogeneous, vectors).flatten(1, 2)
        states = states + (sums @ vectors)[..., :size]
    return {"y": states @ given["C"].T, "final Z": states[:, -1]}


def _signature(given: Given) -> Values:
    """The signature of the path by Chen's relation, level by level, and the matrices of all words."""
    a, start, steps = given["A"], given.state["Z"], given["omega"].unbind(1)
    levels = [torch.ones(len(start), 1, dtype=torch.float64)]
    levels += [torch.zeros(len(start), len(a) ** k, dtype=torch.float64) for k in range(1, DEPTH + 1)]
    vectors = [start[:, None]]
    for _ in range(DEPTH):
        vectors.append(torch.einsum("anm,bwm->bwan", a, vectors[-1]).flatten(1, 2))
    states = []
    for step in steps:
        powers = [torch.ones(len(start), 1, dtype=torch.float64)]
        for k in range(1, DEPTH + 1):
            powers.append((powers[-1][:, :, None] * step[:, None] / k).flatten(1))
        levels = [
            torch.stack([(levels[i][:, :, None] * powers[k - i][:, None]).flatten(1) for i in range(k + 1)]).sum(0)
            for k in range(DEPTH + 1)
        ]
        states.append(torch.einsum("bw,bwn->bn", torch.cat(levels, 1), torch.cat(vectors, 1)))
    found = torch.stack(states, 1)
    return {"y": found @ given["C"].T, "final Z": found[:, -1]}


def _chances(given: Given) -> Values:
    """Ratios of the chances of whole histories, from products of operators without a normaliser."""
    operators = given["M"][given["sym"]]
    histories = [given.state["psi"]]
    for operator in operators.unbind(1):
        histories.append(torch.einsum("bnm,bm->bn", operator, histories[-1]))
    whole = torch.stack([h @ given["phi"] for h in histories[1:]], 1)
    p = torch.cat([whole[:, :1], whole[:, 1:] / whole[:, :-1]], 1)
    return {"p": p, "final psi": histories[-1] / whole[:, -1:]}


def _fixed_steps(given: Given) -> Values:
    """All steps solved as one linear system; the mean is a cumulative sum."""
    eye = torch.eye(given["b"].shape[-1], dtype=torch.float64)
    thetas = solved(eye - given["alpha"] * given["A"], given["alpha"] * given["b"], given.state["theta"])
    totals = torch.cumsum(thetas, 1) + given.state["total"][:, None]
    steps = torch.arange(1, thetas.shape[1] + 1)
    return {
        "last": thetas,
        "average": totals / steps[:, None],
        "final theta": thetas[:, -1],
        "final total": totals[:, -1],
    }


def _differences(given: Given) -> Values:
    """The dense matrices of the rank-one steps, all solved as one linear system."""
    phi, alpha = given["phi"], given["alpha"]
    eye = torch.eye(phi.shape[-1], dtype=torch.float64)
    outer = torch.einsum("btn,btm->btnm", phi, phi - given["gamma"] * given["ahead"])
    thetas = solved(eye - alpha * outer, alpha * given["reward"][..., None] * phi, given.state["theta"])
    return {"weights": thetas, "final theta": thetas[:, -1]}


def _power_steps(given: Given) -> Values:
    """Products of the dense matrices, all solved as one linear system; torch normalises."""
    a = given["a"]
    eye = torch.eye(a.shape[-1], dtype=torch.float64)
    transition = eye + given["eta"] * torch.einsum("btn,btm->btnm", a, a)
    states = solved(transition, torch.zeros_like(a), given.state["v"])
    return {"direction": F.normalize(states, dim=-1), "final v": states[:, -1]}


def _small(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """Operators whose products over the steps of a row stay within range."""
    return arguments | {"M": arguments["M"] / arguments["M"].sum(-1, keepdims=True)}


ROWS = (
    Row(
        "A48",
        "SD-SSM",
        "all steps solved as one linear system; torch: vector_norm, layer_norm",
        _sd_ssm,
        "sd_ssm",
        notes="Columns are scaled to norm 1 also where theirs is less: test_traps_selective.py.",
    ),
    Row("A48", "SD-SSM, one-hot mixture", "all steps solved as one linear system", _looked_up, "selective_dense"),
    Row("A49", "IDS4", "all steps solved as one linear system", _ids4, "ids4"),
    Row(
        "A49",
        "RNN-S4",
        "an automaton over the corners of the cube, its tables composed by doubling",
        _automaton,
        "rnn_s4",
        notes="The gradient of a sign is zero, so that only the readout has one.",
    ),
    Row(
        "A50",
        "Linear CDE, Euler",
        "the finite expansion in iterated sums over all words",
        _iterated_sums,
        "linear_cde",
        sizes={"n": 3, "i": 2, "j": 2, "o": 2},
        steps=(6,),
    ),
    Row(
        "A50",
        "Linear CDE, exact on straight pieces",
        "the signature of the path by Chen's relation, to depth 10",
        _signature,
        "log_ode",
        sizes={"n": 3, "i": 2, "o": 2},
        steps=(5,),
    ),
    Row(
        "A51",
        "Predictive state representation",
        "ratios of the chances of whole histories",
        _chances,
        "psr",
        draw=_small,
        notes="The normaliser makes the update nonlinear; without it, it is that of `selective_dense`.",
    ),
    Row(
        "A52",
        "Linear stochastic approximation",
        "all steps solved as one linear system",
        _fixed_steps,
        "linear_stochastic_approximation",
    ),
    Row("A52", "TD(0)", "dense matrices, all steps solved as one linear system", _differences, "td0"),
    Row("A53", "Oja's rule, streaming", "dense matrices, all steps solved as one linear system", _power_steps, "oja"),
)
