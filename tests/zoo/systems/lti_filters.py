"""Filters: companion matrices, rational transfer functions, fixed and learnt taps, dilated taps."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
import scipy.signal
import torch

from tests.oracles.linear import convolve, powers, register
from tests.zoo.row import Arrays, Given, Row, Values


def _unit(name: str, place: int) -> Any:
    """Draws the unit vector that a program is given as a constant."""

    def draw(arguments: Arrays, rng: np.random.Generator) -> Arrays:
        return arguments | {name: np.eye(len(arguments[name]))[place]}

    return draw


def _companion(given: Given) -> torch.Tensor:
    column = given["a"] / given["a"].abs().sum()
    size = len(column)
    shift = torch.diag(torch.ones(size - 1, dtype=torch.float64), -1)
    return shift + torch.cat([torch.zeros(size, size - 1, dtype=torch.float64), column[:, None]], 1)


def _spacetime(given: Given) -> Values:
    """The Krylov kernel `c A^k b` of the companion matrix, by FFT."""
    table, u = powers(_companion(given), given.steps + 1), given["u"]
    kernel = torch.einsum("n,tnm,m->t", given["c"], table[:-1], given["b"])
    y = convolve(kernel, u) + torch.einsum("n,tnm,bm->bt", given["c"], table[1:], given.state["x"])
    final = torch.einsum("tnm,m,bt->bn", table[:-1].flip(0), given["b"], u) + given.state["x"] @ table[-1].T
    return {"y": y, "final x": final}


def _closed_loop(given: Given) -> Values:
    """The powers `(A + b k)^h`, applied to the state."""
    table = powers(_companion(given) + torch.outer(given["b"], given["k"]), given.steps + 1)
    states = torch.einsum("tnm,bm->btn", table[1:], given.state["x"])
    return {"y": states @ given["c"], "final x": states[:, -1]}


def _short(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """Coefficients whose sizes sum to less than one: all poles are inside the unit circle."""
    a = rng.uniform(-1, 1, arguments["a"].shape)
    return _unit("first", 0)(arguments | {"a": 0.9 * a / np.abs(a).sum(-1, keepdims=True)}, rng)


def _lfilter(given: Given) -> Values:
    """Filters of scipy, one channel after another; its numerator has h0 on top of b."""
    u, y = given.array("u"), []
    for k, (a, b, h0) in enumerate(zip(given.array("a"), given.array("b"), given.array("h0"), strict=True)):
        below = np.concatenate([[1], a])
        y.append(scipy.signal.lfilter(np.concatenate([[0], b]) + h0 * below, below, u[..., k]))
    return {"y": np.stack(y, -1)}


def _state_free(given: Given) -> Values:
    """State-free inference: the transfer function at roots of unity, and FFT.

    That gives a kernel periodised with the length L, unless the numerator is that of `b (I - A^L)`.
    """
    a, b, u, start = given["a"], given["b"], given["u"], given.state["x"]
    n = a.shape[1]
    length = 2 * given.steps
    companion = torch.diag(torch.ones(n - 1, dtype=torch.float64), -1) - torch.nn.functional.pad(
        a[:, None], (0, 0, 0, n - 1)
    )
    table = powers(companion, max(given.steps, n) + 1)
    tied = b - torch.einsum("dn,dnm->dm", b, torch.linalg.matrix_power(companion, length))
    # A numerator is the denominator times the first n values of the kernel.
    below = torch.nn.functional.pad(a, (1, 0), value=1.0)
    first = torch.einsum("dn,kdn->dk", tied, table[:n, :, :, 0])
    above = torch.stack([(first[:, : k + 1] * below[:, : k + 1].flip(1)).sum(1) for k in range(n)], 1)
    tail = torch.fft.irfft(torch.fft.rfft(above, length) / torch.fft.rfft(below, length), length)
    kernel = torch.cat([given["h0"][:, None], tail[:, : given.steps - 1]], 1)
    table = table[: given.steps + 1]
    y = convolve(kernel.T, u) + torch.einsum("dn,tdnm,bdm->btd", b, table[:-1], start)
    final = torch.einsum("tdn,btd->bdn", table[:-1, :, :, 0].flip(0), u) + torch.einsum(
        "dnm,bdm->bdn", table[-1], start
    )
    return {"y": y, "final x": final}


def _spectral_filters(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """The top eigenpairs of the Hankel matrix `2 / ((i+j)^3 - (i+j))`."""
    k, length = arguments["phi"].shape
    total = np.add.outer(np.arange(1.0, length + 1), np.arange(1.0, length + 1))
    values, vectors = np.linalg.eigh(2 / (total**3 - total))
    return arguments | {"phi": vectors[:, -k:].T.copy(), "sigma": values[-k:], "first": np.eye(length)[0]}


def _stu(given: Given) -> Values:
    """The autoregression as one block triangular solve over all steps; the spectral filters by FFT."""
    u, state = given["u"], given.state
    steps, size = given.steps, len(given["My1"])
    window = register(u, given["phi"].shape[1], state["past"])
    late = torch.cat([state["u_lag2"][:, None], state["u_lag1"][:, None], u], 1)
    filters = given["phi"] * given["sigma"][:, None] ** 0.25
    own = torch.einsum("kl,btdl->btdk", filters.detach(), window)
    feature = torch.cat([state["feature_lag2"][:, None], state["feature_lag1"][:, None], own], 1)
    drive = torch.einsum("kod,btdk->bto", given["M"], feature[:, :-2])
    for k, name in enumerate(("Mu2", "Mu1", "Mu0")):
        drive = drive + late[:, k : k + steps] @ given[name].T
    before = torch.stack([state["y_lag2"], state["y"]], 1)
    first = before[:, 1] @ given["My1"].T + before[:, 0] @ given["My2"].T
    second = before[:, 1] @ given["My2"].T
    drive = drive + torch.nn.functional.pad(torch.stack([first, second], 1), (0, 0, 0, steps - 2))
    one = torch.eye(steps, dtype=torch.float64)
    lags = [torch.kron(torch.diag(one[: steps - k].diagonal(), -k), given[n]) for k, n in ((1, "My1"), (2, "My2"))]
    system = torch.eye(steps * size, dtype=torch.float64) - lags[0] - lags[1]
    y = torch.linalg.solve_triangular(system, drive.reshape(len(u), -1).T, upper=False, unitriangular=True)
    y = y.T.reshape(len(u), steps, size)
    return {"out": y, "final y": y[:, -1], "final past": window[:, -1]}


def _long_conv(given: Given) -> Values:
    """The taps drawn to zero by their own soft threshold, by FFT; what the register holds at first is a longer past."""
    size, floor = given["K"], given["floor_"]
    taps = torch.where(size > floor, size - floor, torch.where(size < -floor, size + floor, 0))
    past = torch.cat([given.state["past"].movedim(-1, 1).flip(1), given["u"]], 1)
    y = convolve(taps.T, past)[:, taps.shape[1] :] + given["D"] * given["u"]
    return {"y": y, "final past": past[:, -taps.shape[1] :].flip(1).movedim(1, -1)}


def _thresholded(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    return _unit("first", 0)(arguments | {"floor_": np.asarray(0.1)}, rng)


def _multires(given: Given) -> Values:
    """Depthwise dilated convolutions of torch.nn.functional."""
    a, y, final = given["x"].transpose(1, 2), 0.0, {}
    low, high = (torch.stack([given[f"{n}1"], given[f"{n}0"]], -1)[:, None] for n in ("low", "high"))
    for level, (source, name) in enumerate((("x", "w1"), ("a1", "w2"), ("a2", "w3"))):
        reach = 2**level
        before = torch.stack([given.state[f"{source}_lag{k}"] for k in range(reach, 0, -1)], -1)
        whole = torch.cat([before, a], -1)
        final |= {f"final {source}_lag{k}": whole[..., -k] for k in range(1, reach + 1)}
        fine, a = (torch.nn.functional.conv1d(whole, h, dilation=reach, groups=h.shape[0]) for h in (high, low))
        y = y + given[name][:, None] * fine
    y = y + given["wa"][:, None] * a
    return {"y": y.transpose(1, 2) + given["wx"] * given["x"]} | final


def _all_pole(given: Given) -> Values:
    """The lower triangular Toeplitz system of all steps at once: `(1 - a1 S - a2 S^2) y = x`, and what came before."""
    x, a1, a2 = given["x"], given["a1"], given["a2"]
    steps = x.shape[1]
    eye = torch.eye(steps, dtype=x.dtype)
    shifts = torch.diag(torch.ones(steps - 1, dtype=x.dtype), -1), torch.diag(torch.ones(steps - 2, dtype=x.dtype), -2)
    system = eye - a1[:, None, None] * shifts[0] - a2[:, None, None] * shifts[1]
    last, before = given.state["y"], given.state["y_lag2"]
    right = (
        x + torch.einsum("t,bd->btd", eye[0], a1 * last + a2 * before) + torch.einsum("t,bd->btd", eye[1], a2 * last)
    )
    y = torch.linalg.solve_triangular(system, right.permute(2, 1, 0), upper=False).permute(2, 1, 0)
    return {"out": y, "final y": y[:, -1], "final y_lag2": y[:, -2]}


ROWS = (
    Row(
        "A16",
        "RTF, poles alone, of second order",
        "a triangular Toeplitz system of all steps",
        _all_pole,
        "all_pole_filter",
        {"d": 3},
    ),
    Row("A15", "SpaceTime", "its Krylov kernel, by FFT", _spacetime, "spacetime", {"n": 4}, draw=_unit("last", -1)),
    Row(
        "A15",
        "SpaceTime, closed loop",
        "powers of the closed matrix",
        _closed_loop,
        "spacetime_closed_loop",
        {"n": 4},
        draw=_unit("last", -1),
    ),
    Row("A16", "RTF", "scipy.signal.lfilter", _lfilter, "rtf", {"d": 3, "n": 4}, draw=_short, state=False),
    Row(
        "A16",
        "RTF, state-free",
        "the transfer function at roots of unity with its truncated numerator, by FFT",
        _state_free,
        "rtf",
        {"d": 2, "n": 4},
        draw=_short,
        notes="Without the truncation the kernel is periodised: `tests/zoo/test_traps_linear.py`.",
    ),
    Row(
        "A17",
        "STU",
        "one block triangular solve over all steps",
        _stu,
        "stu",
        {"o": 2, "d": 3, "k": 4, "l": 6},
        draw=_spectral_filters,
        notes="A register of l taps is the exact recurrent dual of the filters.",
    ),
    Row(
        "A26",
        "long convolution",
        "squashed taps, convolved by FFT",
        _long_conv,
        "long_conv",
        {"d": 3, "l": 6},
        draw=_thresholded,
    ),
    Row(
        "A27",
        "MultiresConv",
        "torch.nn.functional.conv1d, depthwise and dilated",
        _multires,
        "multires_conv",
        {"d": 3},
        notes="Three levels of two taps: lags are written numbers, so another depth or filter length is another text.",
    ),
)
