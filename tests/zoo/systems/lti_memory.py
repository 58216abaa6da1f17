"""Dense memories: HiPPO, Legendre memory units, linear state space layers, forecasts of HiPPO states."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.signal
import torch

from tests.oracles.linear import bilinear, convolve, dense, hippo, powers
from tests.zoo.row import Arrays, Given, Row, Values


def _from(measure: str, sign: float, **fixed: float) -> Any:
    """Draws A (with a sign, as a program wants it) and B of a measure; other arguments at fixed values."""

    def draw(arguments: Arrays, rng: np.random.Generator) -> Arrays:
        a, b = hippo(measure, arguments["B"].shape[0])
        found = arguments | {"A": sign * a, "B": b} | {n: np.asarray(v) for n, v in fixed.items()}
        return found | ({"one": np.eye(len(b))} if "one" in arguments else {})

    return draw


def _legs(given: Given) -> Values:
    """All transitions are functions of one matrix: products of its eigenvalues, in its eigenvectors."""
    values, basis = torch.linalg.eig(given["A"])
    alpha, steps = given["alpha"], given.steps
    time = torch.arange(1, steps + 1)[:, None]
    left = 1 / (1 + alpha * values / time)
    factor = (1 - (1 - alpha) * values / time) * left  # [T, n]
    inverse = torch.linalg.inv(basis)
    drive = torch.einsum("tn,nm,m,bt->btn", left / time, inverse, given["B"] + 0j, given["f"] + 0j)
    start = torch.einsum("nm,bm->bn", inverse, given.state["c"] + 0j)
    found = []
    for t in range(steps):
        tail = torch.stack(
            [factor[s:t].new_ones(factor.shape[1]) * torch.prod(factor[s : t + 1], 0) for s in range(t + 2)]
        )
        found.append(tail[0] * start + torch.einsum("sn,bsn->bn", tail[1:], drive[:, : t + 1]))
    c = torch.einsum("nm,btm->btn", basis, torch.stack(found, 1)).real
    return {"coefficients": c, "final c": c[:, -1]}


def _window(given: Given) -> Values:
    """The generalised bilinear rule by linear solves, then the block Toeplitz matrix of the powers."""
    one, a = torch.eye(len(given["B"]), dtype=torch.float64), given["A"]
    alpha, delta = given["alpha"], given["delta"]
    left = one + alpha * delta * a
    transition = torch.linalg.solve(left, one - (1 - alpha) * delta * a)
    drive = torch.einsum("n,bt->btn", torch.linalg.solve(left, delta * given["B"]), given["f"])
    c = dense(transition, drive, given.state["c"])
    return {"coefficients": c, "final c": c[:, -1]}


def _memory(given: Given) -> Values:
    """The paper's parallel form: a convolution with the impulse response of the memory."""
    x = given["x"]
    u = torch.relu(torch.einsum("d,btd->bt", given["Wu"], x))
    table = powers(given["A"], given.steps + 1)
    memory = convolve(table[:-1] @ given["B"], u[..., None])
    memory = memory + torch.einsum("tnm,bm->btn", table[1:], given.state["memory"])
    h = torch.relu(torch.einsum("en,btn->bte", given["Wm"], memory) + torch.einsum("ed,btd->bte", given["Wx"], x))
    return {"h": h, "final memory": memory[:, -1]}


def _zoh(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """The memory's own matrices for a window of eight steps, by zero-order hold."""
    size = len(arguments["B"])
    i = np.arange(size)
    a = (2 * i[:, None] + 1) * np.where(i[:, None] < i, -1.0, (-1.0) ** (i[:, None] - i + 1))
    b = ((2 * i + 1) * (-1.0) ** i)[:, None]
    system = (a / 8, b / 8, np.eye(size), np.zeros((size, 1)))
    abar, bbar = scipy.signal.cont2discrete(system, dt=1, method="zoh")[:2]
    return arguments | {"A": abar, "B": bbar[:, 0]}


def _spiking(given: Given) -> Values:
    """Neurons by their potential and spikes in lists; the memory between them by powers of its matrix."""
    x, tau = given["x"], given["tau"]
    slope = given["slope"] if "slope" in given.arguments else 4.0

    def neurons(current: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        spikes = []
        for now in current.unbind(1):
            v = (1 - 1 / tau) * v + now / tau
            soft = torch.sigmoid(slope * (v - 1))
            spikes.append(soft + ((v >= 1).double() - soft).detach())
            v = v - v * spikes[-1]
        return torch.stack(spikes, 1), v

    u, vu = neurons(torch.einsum("d,btd->bt", given["Wu"], x), given.state["vu"])
    memory = dense(given["A"], torch.einsum("n,bt->btn", given["B"], u), given.state["memory"])
    current = torch.einsum("en,btn->bte", given["Wm"], memory) + torch.einsum("ed,btd->bte", given["Wx"], x)
    h, vh = neurons(current, given.state["vh"])
    return {"h": h, "final memory": memory[:, -1], "final vu": vu, "final vh": vh}


def _lively(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    found = _zoh(arguments, rng)
    return found | {"Wu": 3 * found["Wu"], "Wm": 3 * found["Wm"], "Wx": 3 * found["Wx"], "tau": np.asarray(1.6)}


def _lssl_matrix(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """The trainable quasi-separable matrix `P (D + T^-1) Q`, then the rule with weight 0.6."""
    size = len(arguments["B"])
    p, q = rng.uniform(0.5, 1, (2, size))
    band = np.diag(rng.uniform(2, 3, size)) + 0.5 * np.diag(rng.standard_normal(size - 1), 1)
    band += 0.5 * np.diag(rng.standard_normal(size - 1), -1)
    a = -p[:, None] * (np.diag(rng.uniform(0, 1, size)) + np.linalg.inv(band)) * q
    system = (a, arguments["B"][:, None], np.eye(size), np.zeros((size, 1)))
    abar, bbar = scipy.signal.cont2discrete(system, dt=0.3, method="gbt", alpha=0.6)[:2]
    return arguments | {"A": abar, "B": bbar[:, 0]}


def _dlsim(given: Given) -> Values:
    a, b, c = (given.array(n) for n in "ABC")
    matrices = (a, b[:, None], (c @ a)[None], np.asarray([[c @ b]]))  # it reads the state before the step
    y, final = [], []
    for u, start in zip(given.array("u"), given.state["h"].detach().numpy(), strict=True):
        _, out, states = scipy.signal.dlsim((*matrices, 1), u, x0=start)
        y.append(out[:, 0])
        final.append(a @ states[-1] + b * u[-1])
    return {"y": np.stack(y), "final h": np.stack(final)}


def _krylov(given: Given) -> Values:
    """The Krylov function `C A^k B` as a kernel, convolved by Fourier transforms."""
    table = powers(given["A"], given.steps + 1)
    y = convolve(torch.einsum("n,tnm,m->t", given["C"], table[:-1], given["B"]), given["u"])
    y = y + torch.einsum("n,tnm,bm->bt", given["C"], table[1:], given.state["h"])
    drive = torch.einsum("tnm,m,bt->bn", table[:-1].flip(0), given["B"], given["u"])
    return {"y": y, "final h": drive + given.state["h"] @ table[-1].T}


def _legt(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """LegT used as a constant transition, by the bilinear rule."""
    a, b = hippo("legt", len(arguments["B"]))
    abar, left = (v.numpy() for v in bilinear(torch.tensor(a), 0.1))
    return arguments | {"A": abar, "B": left @ b}


def _forecast(given: Given) -> Values:
    abar, left = bilinear(given["A"], given["delta"])
    states = dense(abar, torch.einsum("nm,m,bt->btn", left, given["B"], given["u"]), given.state["x"])
    return {"next": states @ given["C"] + given["D"] * given["u"], "final x": states[:, -1]}


def _prophecy(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """`next = u + delta u'`, where u' is the derivative of the window's polynomial at its end."""
    a, b = hippo("legt", len(arguments["B"]))
    delta, end = 0.05, np.sqrt(2.0 * np.arange(len(b)) + 1)
    readout = {"C": delta * end @ a, "D": np.asarray(1 + delta * end @ b), "delta": np.asarray(delta)}
    return arguments | {"A": a, "B": b, "one": np.eye(len(b))} | readout


_EIGEN = "products of eigenvalues in the eigenvectors of A: all transitions commute"
_SOLVED = "linear solves and the block Toeplitz matrix of powers"

ROWS = (
    Row(
        "A01",
        "HiPPO-LegS, the generalised bilinear rule",
        _EIGEN,
        _legs,
        "hippo_legs",
        {"n": 4},
        draw=_from("legs", -1),
    ),
    Row(
        "A01",
        "HiPPO-LegS, the paper's forward rule",
        _EIGEN,
        _legs,
        "hippo_legs",
        {"n": 3},
        draw=_from("legs", -1, alpha=0.0),
        notes="The transitions at the first n steps are singular, so no form may divide by them.",
    ),
    Row("A01", "HiPPO-LegT", _SOLVED, _window, "hippo_legt", {"n": 5}, draw=_from("legt", -1, delta=0.1, alpha=0.5)),
    Row("A01", "HiPPO-LagT", _SOLVED, _window, "hippo_legt", {"n": 5}, draw=_from("lagt", -1, delta=0.2, alpha=1.0)),
    Row(
        "A02",
        "LMU in LMUFormer",
        "convolution with the impulse response, A and B from scipy.signal.cont2discrete",
        _memory,
        "lmu",
        {"n": 5, "d": 3, "e": 4},
        draw=_zoh,
    ),
    Row(
        "A02",
        "spiking LMUFormer",
        "the neurons in a torch loop over potentials in their decaying form, the memory by powers of its matrix",
        _spiking,
        "spiking_lmu",
        {"n": 5, "d": 3, "e": 4},
        draw=_lively,
        notes="The public parallel form spikes the memory too: another function, see `tests/zoo/test_traps_linear.py`.",
    ),
    Row("A03", "LSSL", "scipy.signal.dlsim", _dlsim, "lssl", {"n": 4}, draw=_lssl_matrix),
    Row(
        "A03",
        "LSSL, Krylov view",
        "the Krylov function as a kernel, by FFT",
        _krylov,
        "lssl",
        {"n": 5},
        draw=_lssl_matrix,
    ),
    Row("A05", "S4-LegT, dense", "the Krylov function as a kernel, by FFT", _krylov, "lssl", {"n": 6}, draw=_legt),
    Row("A18", "HiPPO-Prophecy", _SOLVED, _forecast, "hippo_prophecy", {"n": 6}, draw=_prophecy),
)
