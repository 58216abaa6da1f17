"""Structured and diagonal state spaces of one input per channel: S4 and its relatives, DSS, S4D."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tests.oracles.linear import bilinear, convolve, dense, hippo, normal_plus_low_rank, vandermonde
from tests.zoo.row import Arrays, Given, Row, Values


def _dplr(measure: str, *, tied: bool = True) -> Any:
    """Draws the normal plus low rank terms of a measure; untied, with a Q of its own near P."""

    def draw(arguments: Arrays, rng: np.random.Generator) -> Arrays:
        size = len(arguments["P"])
        values, p, b = normal_plus_low_rank(measure, size)
        noise = 0 if tied else 0.1 * (rng.standard_normal(size) + 1j * rng.standard_normal(size))
        delta = rng.uniform(0.05, 0.3, arguments["delta"].shape)
        # FouT has its eigenvalues on the imaginary axis, where rounding may leave them on the wrong side.
        real = np.minimum(values.real, 0)
        found = {"lam_re": real, "lam_im": values.imag, "P": p, "Q": p + noise, "B": b, "delta": delta}
        return arguments | {n: v for n, v in found.items() if n in arguments}

    return draw


def _cauchy(given: Given) -> Values:
    """The kernel from its generating function at roots of unity: Cauchy sums and Woodbury's identity.

    The readout is the one that is tied to a length, `C (I - Abar^L)`. The length covers all steps. The roots lie on a
    smaller circle, because FouT has a pole at 1, and the bilinear rule a removable singularity at -1.
    """
    lam = torch.complex(given["lam_re"], given["lam_im"])
    p, q, b, c, u = (given[n] for n in ("P", "Q", "B", "C", "u"))
    steps, delta = given.steps, given["delta"]
    length, radius = 2 * steps, 0.9
    a = torch.diag(lam) - torch.outer(p, q.conj())
    abar, left = bilinear(a, delta[:, None, None])
    lasting = torch.linalg.matrix_power(radius * abar, length)
    tied = c - torch.einsum("dn,dnm->dm", c, lasting)
    places = torch.arange(length, dtype=torch.float64)
    angles = -2 * torch.pi * places / length
    z = torch.polar(torch.full_like(angles, radius), angles)
    g = 2 / delta[:, None] * (1 - z) / (1 + z)  # [d, L]
    cauchy = 1 / (g[..., None] - lam)  # [d, L, n]

    def product(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.einsum("...n,dln,...n->dl", x, cauchy, y)

    last = torch.einsum("dn,dln,n->dl", tied, cauchy, b)
    low = torch.einsum("dn,dln,n->dl", tied, cauchy, p) * product(q.conj(), b) / (1 + product(q.conj(), p))
    kernel = (torch.fft.ifft(2 / (1 + z) * (last - low)) / radius**places)[:, :steps]
    states = dense(abar, torch.einsum("dnm,m,btd->btdn", left, b, u + 0j), given.state["x"])
    free = dense(abar, 0 * states, given.state["x"])
    y = (convolve(kernel.T, u + 0j) + torch.einsum("dn,btdn->btd", c, free)).real + given["D"] * u
    return {"y": y, "final x": states[:, -1]}


def _tied(given: Given) -> Values:
    """The dense matrix `Lambda - P P*`, inverted, and the block Toeplitz matrix of powers."""
    lam = torch.complex(-torch.exp(given["lam_re"]), given["lam_im"])
    p, u = given["P"], given["u"]
    abar, left = bilinear(torch.diag(lam) - torch.outer(p, p.conj()), given["delta"][:, None, None])
    states = dense(abar, torch.einsum("dnm,m,btd->btdn", left, given["B"], u + 0j), given.state["x"])
    y = torch.einsum("dn,btdn->btd", given["C"], states).real + given["D"] * u
    return {"y": y, "final x": states[:, -1]}


def _free(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    return arguments | {"delta": rng.uniform(0.05, 0.3, arguments["delta"].shape)}


def _through_kernel(given: Given, modes: torch.Tensor, drive: torch.Tensor, readout: torch.Tensor) -> Values:
    """`y = kernel * u + ...` with the kernel `sum[n](readout * drive * modes^l)` as a Vandermonde product."""
    u, name = given["u"], next(iter(given.state))
    table = vandermonde(modes, given.steps + 1)  # [T+1, d, n]
    kernel = torch.einsum("dn,tdn->td", readout * drive, table[:-1]).real
    y = convolve(kernel, u) + torch.einsum("dn,tdn,bdn->btd", readout, table[1:], given.state[name]).real
    past = torch.einsum("dn,tdn,btd->bdn", drive + 0j, table[:-1].flip(0), u + 0j)
    return {"y": y + given["D"] * u, f"final {name}": past + table[-1] * given.state[name]}


def _dss(given: Given) -> Values:
    lam = torch.complex(-torch.exp(given["lam_re"]), given["lam_im"])
    step = given["delta"][:, None] * lam
    return _through_kernel(given, torch.exp(step), torch.expm1(step) / lam, given["W"])


def _dss_softmax(given: Given) -> Values:
    """The kernel is a row softmax of `lambda delta [0 ... L-1]` over the trained length, cut to the steps run."""
    lam = torch.complex(given["lam_re"], given["lam_im"])
    exponents = given["delta"][:, None, None] * lam[:, None] * torch.arange(int(given["length"]))  # [d, n, L]
    share = 1 / torch.exp(exponents).sum(-1)  # [d, n]
    return _through_kernel(given, torch.exp(given["delta"][:, None] * lam), share / lam, given["W"])


def _lengthy(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    return arguments | {"length": np.asarray(16.0), "delta": rng.uniform(0.05, 0.3, arguments["delta"].shape)}


def _zero_order(given: Given) -> Values:
    step = given["delta"][:, None] * given["A"]
    return _through_kernel(given, torch.exp(step), torch.expm1(step) / given["A"] * given["B"], 2 * given["C"])


def _s4d(kind: str) -> Any:
    """Draws A of S4D: -1/2 + i pi n (Lin), the inverse law (Inv), or the eigenvalues of LegS."""

    def draw(arguments: Arrays, rng: np.random.Generator) -> Arrays:
        d, size = arguments["A"].shape
        n = np.arange(size)
        if kind == "lin":
            a = -0.5 + 1j * np.pi * n
        elif kind == "inv":
            a = -0.5 + 2j * size / np.pi * (2 * size / (2 * n + 1) - 1)
        else:
            a = normal_plus_low_rank("legs", 2 * size)[0][size:]
        ones = np.ones((d, size), complex)
        return arguments | {"A": a * ones, "B": ones, "delta": rng.uniform(0.01, 0.2, d)}

    return draw


def _bilinear(given: Given) -> Values:
    lam = torch.complex(-torch.exp(given["lam_re"]), given["lam_im"])
    modes, gain = bilinear(torch.diag_embed(lam), given["delta"][:, None, None])
    diagonals = (torch.diagonal(m, dim1=-2, dim2=-1) for m in (modes, gain))
    return _through_kernel(given, *diagonals, 2 * given["C"])


def _perturbed(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """Eigenvalues and B of LegS plus a small matrix, in its well-conditioned eigenvectors."""
    d, size = arguments["A"].shape
    values, basis, b = perturbed(size)
    wide = np.ones((d, 1))
    return arguments | {"A": values * wide, "B": np.linalg.solve(basis, b) * wide, "delta": rng.uniform(0.02, 0.2, d)}


def perturbed(size: int, scale: float = 0.1) -> tuple[Any, Any, Any]:
    """Eigenvalues and eigenvectors of LegS plus a small matrix, and its B. Yu and others, PTD, 2024."""
    a, b = hippo("legs", size)
    values, basis = np.linalg.eig(a + scale * np.random.default_rng(size).standard_normal((size, size)))
    return values, basis, b + 0j


def _undone(given: Given) -> Values:
    """The dense system that was diagonalised: a matrix exponential, a solve, and a block Toeplitz matrix."""
    size = given["A"].shape[1]
    basis = torch.tensor(perturbed(size)[1], dtype=torch.complex128)
    a = torch.einsum("nk,dk,km->dnm", basis, given["A"], torch.linalg.inv(basis))
    step = given["delta"][:, None, None] * a
    abar = torch.linalg.matrix_exp(step)
    b = torch.einsum("nm,dm->dn", basis, given["B"])
    bbar = torch.linalg.solve(a, torch.einsum("dnm,dm->dn", abar, b) - b)
    u = given["u"]
    states = dense(abar, torch.einsum("dn,btd->btdn", bbar, u + 0j), given.state["h"] @ basis.T)
    inverse = torch.linalg.inv(basis)
    y = 2 * torch.einsum("dn,nm,btdm->btd", given["C"], inverse, states).real + given["D"] * u
    return {"y": y, "final h": states[:, -1] @ inverse.T}


_CAUCHY = (
    "the kernel at roots on a circle by Cauchy sums, Woodbury, C (I - A^L); final states by powers of the dense matrix"
)
_PAIRS = (
    "All modes are kept, not one of each conjugate pair: with half of them the low rank term needs a real part, and \
the update is linear over the reals only."
)

ROWS = (
    Row(
        "A04",
        "S4, untied P and Q",
        _CAUCHY,
        _cauchy,
        "s4",
        {"d": 2, "n": 6},
        draw=_dplr("legs", tied=False),
        notes=_PAIRS,
    ),
    Row("A05", "S4-LegS", _CAUCHY, _cauchy, "s4", {"d": 2, "n": 6}, draw=_dplr("legs"), notes=_PAIRS),
    Row("A05", "S4-FouT", _CAUCHY, _cauchy, "s4", {"d": 3, "n": 4}, draw=_dplr("fout"), notes=_PAIRS),
    Row(
        "A06",
        "SaShiMi's S4",
        "the dense matrix, inverted, and the block Toeplitz matrix of its powers",
        _tied,
        "sashimi",
        {"d": 2, "n": 5},
        draw=_free,
        notes=_PAIRS,
    ),
    Row("A07", "DSS-exp", "its Vandermonde kernel, by FFT", _dss, "dss", {"d": 3, "n": 4}, draw=_free),
    Row(
        "A07",
        "DSS-softmax",
        "its kernel by a row softmax over the trained length, by FFT",
        _dss_softmax,
        "dss_softmax",
        {"d": 3, "n": 4},
        draw=_lengthy,
        notes="The length is part of the parameters. Decays only: for Re lambda > 0 the recurrence runs rescaled.",
    ),
    Row("A08", "S4D-Lin", "its Vandermonde kernel, by FFT", _zero_order, "s4d", {"d": 3, "n": 4}, draw=_s4d("lin")),
    Row("A08", "S4D-Inv", "its Vandermonde kernel, by FFT", _zero_order, "s4d", {"d": 3, "n": 4}, draw=_s4d("inv")),
    Row("A08", "S4D-LegS", "its Vandermonde kernel, by FFT", _zero_order, "s4d", {"d": 2, "n": 3}, draw=_s4d("legs")),
    Row(
        "A08",
        "S4D by the bilinear rule",
        "its Vandermonde kernel from inverted matrices, by FFT",
        _bilinear,
        "s4d_bilinear",
        {"d": 3, "n": 4},
        draw=_free,
    ),
    Row(
        "A10",
        "S4-PTD",
        "the dense matrix that was diagonalised: matrix exponential, solve, powers",
        _undone,
        "s4d",
        {"d": 2, "n": 6},
        draw=_perturbed,
    ),
)
