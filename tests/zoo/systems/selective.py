"""Selective state spaces: decays, real or complex, that vary with the input."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gateloop_transformer.gateloop_transformer import gate_loop_operator
from mambapy.mamba import MambaBlock

from tests.oracles.all_at_once import masked, solved
from tests.zoo.row import Arrays, Given, Row, Values

#: A decay rate of a state that keeps nothing: its exponential is zero in every precision.
GONE = -1e9


def scan_of_mambapy(u: Any, delta: Any, a: Any, b: Any, c: Any, skip: Any) -> torch.Tensor:
    """The parallel scan of mambapy; it reads nothing of the block and starts at zero."""
    found: torch.Tensor = MambaBlock.selective_scan(None, u, delta, a, b, c, skip)
    return found


def _package(given: Given) -> Values:
    return {"y": scan_of_mambapy(*(given[n] for n in ("u", "delta", "A", "B", "C", "D")))}


def _selective_scan(given: Given) -> Values:
    """The selective scan as dense attention: `y[t] = sum[s <= t](C[t] exp(sum(s, t] delta A) delta B u)[s]`."""
    u, delta, b, c = (given[n] for n in ("u", "delta", "B", "C"))
    past = torch.cumsum(torch.einsum("btd,dn->btdn", delta, given["A"]), 1)
    gaps = past[:, :, None] - past[:, None]  # b t s d n
    causal = torch.ones(gaps.shape[1:3], dtype=torch.bool).tril()[None, :, :, None, None]
    weights = torch.where(causal, torch.exp(torch.where(causal, gaps, 0)), 0)
    states = torch.einsum("btsdn,bsd,bsn,bsd->btdn", weights, delta, b, u)
    states = states + torch.exp(past) * given.state["h"][:, None]
    y = torch.einsum("btdn,btn->btd", states, c) + given["D"] * u
    return {"y": y, "final h": states[:, -1]}


def _complex_pairs(given: Given) -> Values:
    """The real form of a conjugate pair: a scaled rotation of two numbers, all steps solved at once."""
    u, delta, b, c = (given[n] for n in ("u", "delta", "B", "C"))
    angle = torch.einsum("btd,dn->btdn", delta, given["A_im"])
    size = torch.exp(torch.einsum("btd,dn->btdn", delta, given["A_re"]))
    sine, cosine = size * torch.sin(angle), size * torch.cos(angle)
    turn = torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], -2)
    drive = torch.einsum("btd,btnk,btd->btdnk", delta, torch.view_as_real(b), u)
    batch, steps, d, n, _ = drive.shape
    states = solved(
        turn.permute(0, 2, 3, 1, 4, 5).reshape(-1, steps, 2, 2),
        drive.permute(0, 2, 3, 1, 4).reshape(-1, steps, 2),
        torch.view_as_real(given.state["h"]).reshape(-1, 2),
    )
    states = states.reshape(batch, d, n, steps, 2).permute(0, 3, 1, 2, 4)
    signs = torch.tensor([2.0, -2.0], dtype=torch.float64)  # twice the real part of a product
    y = torch.einsum("btdnk,btnk,k->btd", states, torch.view_as_real(c), signs) + given["D"] * u
    return {"y": y, "final h": torch.view_as_complex(states[:, -1].contiguous())}


def quadratic(log_decay: torch.Tensor, c: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The semiseparable matrix `M[t, s] = exp(sum(s, t] log_decay) C[t] . B[s]` for s <= t, `[B, H, T, T]`.

    `log_decay` is `[B, T, H]`, `c` and `b` are `[B, T, H, N]`. The sums are taken over masked rows, as in the listing
    of the paper, so that nothing large is subtracted.
    """
    rows = log_decay.transpose(1, 2)[..., None].expand(*log_decay.transpose(1, 2).shape, log_decay.shape[1])
    sums = torch.cumsum(torch.tril(rows, -1), -2)
    weights = torch.tril(torch.exp(torch.tril(sums)))
    return weights * torch.einsum("bthn,bshn->bhts", c, b)


def _dual(given: Given) -> Values:
    """State space duality: attention with a semiseparable mask. B and C are shared by the heads of a group."""
    x, b, c = (given[n] for n in ("x", "B", "C"))
    heads = x.shape[2]
    b, c = (v.expand(-1, -1, heads, -1) for v in (b, c))
    decay = given["delta"] * given["A"]  # b t h
    b = given["delta"][..., None] * b
    y = torch.einsum("bhts,bshp->bthp", quadratic(decay, c, b), x)
    past = torch.exp(torch.cumsum(decay, 1))
    y = y + torch.einsum("bth,bthn,bhpn->bthp", past, c, given.state["h"]) + given["D"] * x
    rest = torch.exp(decay.sum(1, keepdim=True) - torch.cumsum(decay, 1))
    final = torch.einsum("bsh,bshn,bshp->bhpn", rest, b, x) + past[:, -1, :, None, None] * given.state["h"]
    return {"y": y, "final h": final}


def _grouped(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    return arguments | {n: arguments[n][:, :, :1] for n in ("B", "C")}


def _s7(given: Given) -> Values:
    """All steps at once as one linear system."""
    squares = given["A"].square()
    transition = torch.diag_embed((squares - 0.5) / (squares + 0.5))
    drive = torch.einsum("btnd,btd->btn", given["B"], given["u"]) + given["bias"]
    states = solved(transition, drive, given.state["h"])
    y = torch.einsum("btdn,btn->btd", given["C"], states) + given["D"] * given["u"]
    return {"y": y, "final h": states[:, -1]}


def _gateloop(given: Given) -> Values:
    gates = torch.polar(torch.sigmoid(given["alpha"]), given["beta"])
    return {"y": gate_loop_operator(given["q"], given["k"], given["v"], gates[..., None])}


def _gateloop_dense(given: Given) -> Values:
    """The surrogate attention matrix, with products of complex gates between two steps and no division."""
    gates = torch.polar(torch.sigmoid(given["alpha"]), given["beta"])[..., None]
    drive = torch.einsum("bti,btj->btij", given["k"], given["v"])
    states = masked(gates, drive + 0j, given.state["H"])
    return {"y": torch.einsum("bti,btij->btj", given["q"], states.real), "final H": states[:, -1]}


def _longhorn(given: Given) -> Values:
    """The masked matrix of products of decays; the step size in the form of the paper's layer."""
    x, k, q, beta = (given[n] for n in ("x", "k", "q", "beta"))
    delta = 1 / (1 / beta + k.square().sum(-1, keepdim=True))
    decay = 1 - torch.einsum("btd,btn->btdn", delta, k.square())
    states = masked(decay, torch.einsum("btd,btn->btdn", delta * x, k), given.state["S"])
    return {"y": torch.einsum("btdn,btn->btd", states, q) + given["D"] * x, "final S": states[:, -1]}


def _proximal(given: Given) -> Values:
    """Every step solves the least-squares problem that defines it: `min |S - S'|^2 + beta |S k - x|^2`."""
    state, outputs = given.state["S"], []
    for x, k, q, beta in zip(*(given[n].unbind(1) for n in ("x", "k", "q", "beta")), strict=True):
        root = beta.sqrt()[:, None]
        eye = torch.eye(k.shape[-1], dtype=k.dtype).expand(len(k), -1, -1)
        rows = torch.cat([eye, (root * k)[:, None]], 1)
        targets = torch.cat([state, (root * x)[:, None]], 1)
        orthogonal, upper = torch.linalg.qr(rows)
        state = torch.linalg.solve_triangular(upper, orthogonal.mT @ targets, upper=True)
        outputs.append(torch.einsum("bn,bnd->bd", q, state))
    return {"y": torch.stack(outputs, 1), "final S": state}


def _lanes(given: Given) -> Values:
    """mambapy's scan with the two reserved lanes as rates of decay: zero, and beyond every exponent."""
    rates = given["A"]
    kept, gone = torch.zeros_like(rates[:, :1]), torch.full_like(rates[:, :1], GONE)
    b, c = (torch.cat([given[f"{n}_one"][..., None], given[n], given[f"{n}_zero"][..., None]], -1) for n in "BC")
    rates = torch.cat([kept, rates, gone], 1)
    return {"y": scan_of_mambapy(given["u"], given["delta"], rates, b, c, given["D"])}


ROWS = (
    Row(
        "A32",
        "Mamba (S6)",
        "mambapy: MambaBlock.selective_scan",
        _package,
        "mamba",
        state=False,
        notes="B is discretised by Euler's rule and A by zero-order hold, there and here.",
    ),
    Row("A32", "Mamba (S6)", "the dense masked matrix of the selective scan", _selective_scan, "mamba"),
    Row(
        "A32",
        "Mamba (S6), complex decays",
        "pairs of reals that are turned and scaled, all steps solved as one linear system",
        _complex_pairs,
        "mamba_complex",
    ),
    Row(
        "A33",
        "Mamba-2 (SSD)",
        "the quadratic dual: attention under a semiseparable mask",
        _dual,
        "ssd",
        heads=(3,),
        draw=_grouped,
        notes="B and C are shared by all heads, as in a group.",
    ),
    Row("A34", "S7", "all steps solved as one linear system", _s7, "s7"),
    Row(
        "A35",
        "GateLoop",
        "gateloop-transformer: gate_loop_operator",
        _gateloop,
        "gateloop",
        state=False,
        notes="The package's surrogate attention keeps the real part of a product only, and takes that product over "
        "channels in place of steps: test_traps_selective.py.",
    ),
    Row("A35", "GateLoop", "the dense masked matrix of products of complex gates", _gateloop_dense, "gateloop"),
    Row("A36", "Longhorn", "the dense masked matrix of products of decays", _longhorn, "longhorn"),
    Row(
        "A36",
        "Longhorn, exact",
        "the least-squares problem of every step, solved by QR",
        _proximal,
        "longhorn_exact",
    ),
    Row(
        "A37",
        "Polarised Mamba",
        "mambapy: MambaBlock.selective_scan with rates of decay 0 and beyond every exponent in two lanes",
        _lanes,
        "polarized_mamba",
        state=False,
    ),
)
