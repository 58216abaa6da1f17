"""Diagonal state spaces of many inputs and outputs, and filters made of modes."""

from __future__ import annotations

from math import pi

import numpy as np
import torch
from gated_state_spaces_pytorch.gss import DSS
from s5.s5_model import apply_ssm, discretize_zoh
from torch.func import functional_call

from tests.oracles.linear import convolve, dense, diagonal, hippo, vandermonde, varying
from tests.zoo.row import Arrays, Given, Row, Values


def _modes(given: Given) -> torch.Tensor:
    return torch.complex(given["lam_re"], given["lam_im"])


def _s5(given: Given) -> Values:
    """s5-pytorch, one sequence after another; its readout is `re(C x)`, the paper's with conjugate pairs twice that."""
    gaps = given.arguments.get("gap")
    found = []
    for k, u in enumerate(given["u"]):
        step = given["delta"] if gaps is None else gaps[k][:, None] * given["delta"]
        abar, bbar = discretize_zoh(_modes(given), given["B"], step)
        found.append(apply_ssm(abar, bbar, 2 * given["C"], given["D"], u, state=given.state["x"][k]))
    return {"y": torch.stack([y for y, _ in found]), "final x": torch.stack([x for _, x in found])}


def _hippo_blocks(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """Two blocks of the normal part of LegS, half of each conjugate pair kept."""
    p = len(arguments["lam_re"])
    a, _ = hippo("legs", p)
    root = np.sqrt(np.arange(p) + 0.5)
    values = np.linalg.eigvals(a + np.outer(root, root))
    values = np.tile(values[values.imag > 0], 2)
    return arguments | {"lam_re": values.real, "lam_im": values.imag, "delta": rng.uniform(0.02, 0.2, p)}


def _dense_s5(given: Given) -> Values:
    """The dense system before it was diagonalised, with the eigenvectors of LegS plus a small matrix."""
    size = len(given["delta"])
    basis = torch.tensor(_perturbed(size)[1], dtype=torch.complex128)
    inverse = torch.linalg.inv(basis)
    a = (basis * _modes(given)) @ inverse
    step = (basis * given["delta"]) @ inverse
    abar = torch.linalg.matrix_exp(step @ a)
    bbar = torch.linalg.solve(a, abar @ basis @ given["B"] - basis @ given["B"])
    states = dense(abar, (given["u"] + 0j) @ bbar.T, given.state["x"] @ basis.T)
    y = 2 * (states @ (given["C"] @ inverse).T).real + given["D"] * given["u"]
    return {"y": y, "final x": states[:, -1] @ inverse.T}


def _perturbed(size: int) -> tuple[np.ndarray, np.ndarray]:
    a, _ = hippo("legs", size)
    values, basis = np.linalg.eig(a + 0.1 * np.random.default_rng(size).standard_normal((size, size)))
    return values, basis


def _s5_ptd(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    values, _ = _perturbed(len(arguments["lam_re"]))
    return arguments | {"lam_re": values.real, "lam_im": values.imag, "delta": rng.uniform(0.02, 0.2, len(values))}


def _lru(given: Given) -> Values:
    """A kernel of matrices over channels, by FFT of each entry."""
    radius, angle = torch.exp(-torch.exp(given["nu"])), torch.exp(given["theta"])
    table = vandermonde(torch.polar(radius, angle), given.steps + 1)
    drive = torch.exp(given["gamma"])[:, None] * given["B"]
    kernel = torch.einsum("en,tn,nd->tde", given["C"], table[:-1], drive)
    u, start = given["u"], given.state["h"]
    y = (
        convolve(kernel, u[..., None] + 0j).sum(2).real
        + torch.einsum("en,tn,bn->bte", given["C"], table[1:], start).real
    )
    final = torch.einsum("tn,nd,btd->bn", table[:-1].flip(0), drive, u + 0j) + table[-1] * start
    return {"y": y + given["D"] * u, "final h": final}


def _ring(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """Magnitudes between 0.4 and 0.99, phases below pi / 4, inputs normalised."""
    size = len(arguments["nu"])
    radius = np.sqrt(rng.uniform(0.4**2, 0.99**2, size))
    return arguments | {
        "nu": np.log(-np.log(radius)),
        "theta": np.log(rng.uniform(0.01, pi / 4, size)),
        "gamma": np.log(np.sqrt(1 - radius**2)),
    }


def _stable(given: Given) -> Values:
    """Geometric series: the constant part summed in closed form, the rest by FFT."""
    lam = 1 - 1 / (given["w"] ** 2 + 0.5)
    count = torch.arange(1, given.steps + 1)[:, None]
    constant = given["b"] * (1 - lam**count) / (1 - lam)
    h = diagonal(lam, given["x"] @ given["U"].T, given.state["h"]) + constant
    return {"y": torch.tanh(h) @ given["C"].T, "final h": h[:, -1]}


def _gss(given: Given) -> Values:
    """DSS of gated-state-spaces-pytorch without its norm, and the two gates of the paper around it."""
    gelu = torch.nn.functional.gelu
    h, n = given["C"].shape
    module = DSS(dim=h, kernel_N=n).double()
    module.norm = torch.nn.Identity()
    parameters = {
        "Lambda_real": given["lam_re"],
        "Lambda_imag": given["lam_im"],
        "C_real": given["C"].real,
        "C_imag": given["C"].imag,
        "param_D": given["D"],
    }
    s = functional_call(module, parameters, (gelu(given["v"]),))
    lam = torch.complex(-torch.exp(given["lam_re"]), torch.exp(given["lam_im"]))
    x = diagonal(torch.exp(lam), torch.expm1(lam) / lam * gelu(given["v"])[..., None])
    return {"o": gelu(given["u"]) * (s @ given["W"].T), "final x": x[:, -1]}


def _ls4(given: Given) -> Values:
    """Two convolutions, one of a signal that is one step late."""
    step = given["delta"][:, None] * _modes(given)
    modes, gain = torch.exp(step), torch.expm1(step) / _modes(given)
    late = torch.cat([given.state["x_lag1"][:, None], given["x"][:, :-1]], 1)
    drive = gain * (given["B"] * late[..., None] + given["E"] * given["z"][..., None])
    h = diagonal(modes, drive, given.state["h"])
    y = 2 * torch.einsum("dn,btdn->btd", given["C"], h).real + given["D"] * late + given["F"] * given["z"]
    return {"y": y, "final h": h[:, -1]}


def _vssm(given: Given) -> Values:
    """Encoder, all latents, decoder: three parallel steps."""
    e = diagonal(given["keep"], given["x"] @ given["B"].T, given.state["e"])
    spread = torch.nn.functional.softplus(e @ given["S"].T)
    latent = torch.distributions.Normal(e @ given["M"].T, spread, validate_args=False)
    z = latent.mean + latent.stddev * given["noise"]
    h = diagonal(given["hold"], z @ given["G"].T, given.state["h"])
    return {"xhat": h @ given["C"].T, "latent": z, "final e": e[:, -1], "final h": h[:, -1]}


def _flowstate(given: Given) -> Values:
    """The masked matrix of all products between two steps."""
    logs = given["rate"][..., None] * given["delta"] * _modes(given)
    drive = torch.expm1(logs) / _modes(given) * torch.einsum("ph,bth->btp", given["B"], given["u"] + 0j)
    states = varying(logs, drive, given.state["x"])
    return {"coefficients": (states @ given["C"].T).real, "final x": states[:, -1]}


def _rates(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """One rate for each series, the same at all of its steps."""
    rate = rng.uniform(0.2, 2, (arguments["rate"].shape[0], 1))
    return arguments | {"rate": np.broadcast_to(rate, arguments["rate"].shape).copy()}


def _hyena(given: Given) -> Values:
    """Hyena itself: the explicit filter `h_0, re(sum R lambda^(t-1))`, convolved, between the gates."""
    table = vandermonde(torch.polar(given["decay"], given["angle"]), given.steps + 1)
    tail = torch.einsum("dn,tdn->td", given["R"], table[:-2]).real
    u = given["k"] * given["v"]
    y = convolve(torch.cat([given["h0"][None], tail]), u)
    y = y + torch.einsum("dn,tdn,bdn->btd", given["R"], table[:-1], given.state["x"]).real
    final = torch.einsum("tdn,btd->bdn", table[:-1].flip(0), u + 0j) + table[-1] * given.state["x"]
    return {"y": given["q"] * y, "final x": final}


def _toeplitz(given: Given) -> Values:
    """The Toeplitz matrix that was converted: its coefficients are the Fourier transform of b."""
    b, u = given["b"], given["u"]
    coefficients = torch.fft.fft(torch.cat([0 * b[:, :1], b], 1), dim=-1).real  # [d, n+1]
    gap = torch.arange(given.steps)[:, None] - torch.arange(given.steps)
    matrix = torch.where(gap >= 0, coefficients[:, gap.clamp(min=0)], 0)
    angle = given["angle"].detach()
    states = diagonal(torch.polar(torch.ones_like(angle), angle), b * u[..., None])
    return {"y": torch.einsum("dts,bsd->btd", matrix, u), "final x": states[:, -1]}


def _converted(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """Coefficients of a Toeplitz matrix, one more so that they sum to zero, transformed."""
    d, n = arguments["b"].shape
    coefficients = rng.standard_normal((d, n))
    whole = np.concatenate([coefficients, -coefficients.sum(1, keepdims=True)], 1)
    return arguments | {"b": np.fft.ifft(whole)[:, 1:], "angle": -2 * pi * np.arange(1, n + 1) / (n + 1)}


_PACKAGE = "s5-pytorch 0.2.1, apply_ssm and discretize_zoh"

ROWS = (
    Row("A09", "S5", _PACKAGE, _s5, "s5", {"p": 4, "h": 3}, draw=_hippo_blocks),
    Row("A09", "S5 on irregular samples", _PACKAGE, _s5, "s5_gaps", {"p": 4, "h": 3}, draw=_hippo_blocks),
    Row(
        "A10",
        "S5-PTD",
        "the dense matrix that was diagonalised: matrix exponential, solve, powers",
        _dense_s5,
        "s5",
        {"p": 5, "h": 3},
        draw=_s5_ptd,
    ),
    Row("A11", "LRU", "its kernel of matrices over channels, by FFT", _lru, "lru", {"n": 5, "d": 3}, draw=_ring),
    Row(
        "A12", "StableSSM", "geometric series in closed form, and FFT", _stable, "stable_ssm", {"n": 5, "d": 3, "e": 2}
    ),
    Row(
        "A13",
        "GSS",
        "gated-state-spaces-pytorch 0.1.0, DSS by FFT",
        _gss,
        "gss",
        {"h": 3, "n": 5, "e": 4},
        state=False,
        notes="The layer of the package has no initial state.",
    ),
    Row("A19", "LS4, prior", "convolutions by FFT with both inputs", _ls4, "ls4", {"d": 3, "n": 4}),
    Row(
        "A20", "VSSM", "encoder, latents and decoder one after another, by FFT", _vssm, "vssm", {"d": 3, "n": 5, "k": 2}
    ),
    Row(
        "A22",
        "FlowState S5",
        "the masked matrix of all products",
        _flowstate,
        "flowstate",
        {"p": 4, "h": 3},
        draw=_rates,
    ),
    Row("A24", "Laughing Hyena", "the explicit filter, convolved by FFT", _hyena, "laughing_hyena", {"d": 3, "n": 4}),
    Row(
        "A25",
        "TNN to SSM (ETSC)",
        "the Toeplitz matrix that was converted",
        _toeplitz,
        "etsc",
        {"d": 3, "n": 12},
        draw=_converted,
        state=False,
        notes="A Toeplitz matrix has no initial state. The conversion is exact for at most n steps.",
    ),
)
