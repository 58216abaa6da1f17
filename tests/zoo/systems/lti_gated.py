"""Constant state spaces behind, in front of, or between other things: products, gates, attention, a network."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from tests.oracles.linear import convolve, dense, diagonal, powers, vandermonde
from tests.zoo.row import Arrays, Given, Row, Values


def _first(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    return arguments | {"first": np.eye(len(arguments["first"]))[0]}


def _held(register: torch.Tensor, signal: torch.Tensor) -> torch.Tensor:
    """A signal `[B, T, d]` behind what a register `[B, d, taps]` held before, oldest first: `[B, taps + T, d]`."""
    return torch.cat([register.movedim(-1, 1).flip(1), signal], 1)


def _newest(past: torch.Tensor, taps: int) -> torch.Tensor:
    return past[:, -taps:].flip(1).movedim(1, -1)


def _h3(given: Given) -> Values:
    """torch's depthwise conv1d, then the kernel of the state space on all products of keys and values, by FFT."""
    taps, state = given["taps"], given.state
    past = _held(state["s"], given["k"])
    wide = functional.conv1d(past[:, 1:].transpose(1, 2), taps.flip(1)[:, None], groups=len(taps)).transpose(1, 2)
    pairs = torch.einsum("bti,btj->btij", wide + given["skip"] * given["k"], given["v"])
    lam = torch.complex(given["lam_re"], given["lam_im"])
    step = given["delta"] * lam
    drive = torch.expm1(step) / lam * given["B"]
    table = vandermonde(torch.exp(step), given.steps + 1)
    kernel = 2 * (table[:-1] @ (given["C"] * drive)).real
    mixed = convolve(kernel[:, None, None], pairs) + given["D"] * pairs
    mixed = mixed + 2 * torch.einsum("n,tn,bijn->btij", given["C"], table[1:], state["z"]).real
    final = torch.einsum("tn,n,btij->bijn", table[:-1].flip(0), drive, pairs + 0j) + table[-1] * state["z"]
    return {
        "y": torch.einsum("bti,btij->btj", given["q"], mixed),
        "final z": final,
        "final s": _newest(past, taps.shape[1]),
    }


def _smr(given: Given) -> Values:
    """The gate as a depthwise conv1d of torch, the state space by powers of its matrix."""
    before = torch.stack([given.state["u_lag2"], given.state["u_lag1"]], 1)
    whole = torch.cat([before, given["u"]], 1).transpose(1, 2)
    taps = torch.stack([given["w2"], given["w1"], given["w0"]], -1)[:, None]
    gate = torch.sigmoid(functional.conv1d(whole, taps, groups=len(taps)).transpose(1, 2))
    replayed = gate * given["u"]
    x = dense(given["A"], replayed @ given["B"].T, given.state["x"])
    return {"y": x @ given["C"].T + given["D"] * replayed, "final x": x[:, -1]}


def _koopman(given: Given) -> Values:
    """Powers of the matrix between the steps at which the state is encoded anew."""
    table = powers(given["K"], given.steps + 1)

    def decode(z: torch.Tensor) -> torch.Tensor:
        return functional.linear(torch.tanh(z), given["dec"], given["dec_bias"])

    states = []
    for anew, z in zip(given["reencode"], given.state["z"], strict=True):
        runs = torch.tensor_split(torch.arange(given.steps), (torch.nonzero(anew).flatten()).tolist())
        rows = [table[1 : len(runs[0]) + 1] @ z]
        for run in runs[1:]:
            ahead = table[1] @ (rows[-1][-1] if len(rows[-1]) else z)
            start = functional.linear(torch.tanh(decode(ahead)), given["enc"], given["enc_bias"])
            rows.append(table[: len(run)] @ start)
        states.append(torch.cat(rows))
    z = torch.stack(states)
    return {"x": decode(z), "final z": z[:, -1]}


def _now_and_then(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """Anew at every fourth step, and one step later in the second sequence."""
    batch, steps = arguments["reencode"].shape
    return arguments | {"reencode": (np.arange(steps) - np.arange(batch)[:, None]) % 4 == 3}


def _chela(given: Given) -> Values:
    """Short taps by conv1d, long taps by FFT, and attention as a masked matrix."""
    state, long = given.state, given["long"]
    whole = torch.cat([state["x_lag2"][:, None], state["x_lag1"][:, None], given["x"]], 1).transpose(1, 2)
    taps = torch.stack([given["short2"], given["short1"], given["short0"]], -1)[:, None]
    near = functional.conv1d(whole, taps, groups=len(taps)).transpose(1, 2)
    past = _held(state["past"], near)
    v = functional.silu(convolve(long.T, past)[:, long.shape[1] :])
    o = torch.tril(given["q"] @ given["k"].mT) @ v + torch.einsum("bti,bij->btj", given["q"], state["S"])
    final = {"final S": given["k"].mT @ v + state["S"], "final past": _newest(past, long.shape[1])}
    return {"o": torch.sigmoid(given["gate"]) * o} | final


def _damped(given: Given) -> Values:
    """The kernel of the average, `sum[n](eta p beta q^l)`, by FFT."""
    p = torch.sigmoid(given["delta"])
    table = vandermonde(1 - p * torch.sigmoid(given["alpha"]), given.steps + 1)
    y = convolve(torch.einsum("dn,tdn->td", given["eta"] * p * given["beta"], table[:-1]), given["x"])
    y = y + torch.einsum("dn,tdn,bdn->btd", given["eta"], table[1:], given.state["h"])
    final = torch.einsum("dn,tdn,btd->bdn", p * given["beta"], table[:-1].flip(0), given["x"])
    return {"y": functional.silu(y + given["omega"] * given["x"]), "final h": final + table[-1] * given.state["h"]}


def _block_state(given: Given) -> Values:
    """torch's scaled_dot_product_attention under a mask: the states at a block's start, and the block's own steps.

    All steps are keys once as they are and once for each context that a block starting there would see.
    """
    batch, steps = given["start"].shape
    modes = torch.polar(given["decay"], given["angle"])
    h = diagonal(modes, torch.einsum("nd,btd->btn", given["B"], given["u"] + 0j), given.state["h"])
    before = torch.cat([given.state["h"][:, None], h[:, :-1]], 1)
    contexts = torch.einsum("sdn,btn->btsd", given["C"], before).real  # [B, T, s, d]
    block = torch.cumsum(given["start"].long(), 1)
    same = block[:, :, None] == block[:, None]  # [B, T, T]
    far = (same & given["start"][:, None]).repeat_interleave(contexts.shape[2], -1)
    mask = torch.cat([far, same & torch.ones(steps, steps, dtype=torch.bool).tril()], -1)
    flat = contexts.reshape(batch, -1, contexts.shape[-1])
    keys, values = torch.cat([flat, given["k"]], 1), torch.cat([flat, given["v"]], 1)
    o = functional.scaled_dot_product_attention(given["q"], keys, values, mask, scale=1.0)
    last = given["start"].long().cumsum(1).argmax(1)
    width = given.state["live"].shape[1]
    return {
        "o": o,
        "final h": h[:, -1],
        "final context": contexts[torch.arange(batch), last],
        "final keys": given["k"][:, -width:].flip(1),
        "final values": given["v"][:, -width:].flip(1),
    }


def _blocks(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """Blocks of as many steps as the window has, the second sequence's first one shorter."""
    batch, steps = arguments["start"].shape
    width = len(arguments["first"])
    start = (np.arange(steps) + np.arange(batch)[:, None]) % width == 0
    start[:, 0] = True
    return _first(arguments, rng) | {"start": start}


def _warp(given: Given) -> Values:
    """The block Toeplitz matrix of powers, and torch's linear layers with the weights of each step."""
    x, width = given["x"], len(given["w1"])
    changes = torch.diff(x, dim=1, prepend=given.state["x_lag1"][:, None])
    theta = dense(given["A"], torch.einsum("p,bt->btp", given["B"], changes), given.state["theta"])
    w1, b1, w2, b2 = torch.split(theta, [width, width, width, 1], -1)

    def network(
        w1: torch.Tensor, b1: torch.Tensor, w2: torch.Tensor, b2: torch.Tensor, tau: torch.Tensor
    ) -> torch.Tensor:
        hidden = torch.tanh(functional.linear(tau[None], w1[:, None], b1))
        return functional.linear(hidden, w2[None], b2)[0]

    y = torch.vmap(torch.vmap(network))(w1, b1, w2, b2, given["tau"])
    return {"y": y, "final theta": theta[:, -1], "final x_lag1": x[:, -1]}


def _network(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """Weights, biases, weights, bias one after another; a transition near the identity."""
    width, size = len(arguments["w1"]), len(arguments["B"])
    assert size == 3 * width + 1
    places = np.arange(3 * width).reshape(3, width)
    near = np.eye(size) + 0.05 * rng.standard_normal((size, size))
    return arguments | {"A": near} | dict(zip(("w1", "b1", "w2"), places, strict=True)) | {"b2": np.asarray(3 * width)}


ROWS = (
    Row(
        "A14",
        "H3",
        "conv1d for the shift, and the kernel of the state space on all products, by FFT",
        _h3,
        "h3",
        {"i": 2, "j": 3, "n": 4, "r": 4},
        draw=_first,
    ),
    Row(
        "A21",
        "SMR",
        "the gate as a conv1d, the state space by powers of its matrix",
        _smr,
        "smr",
        {"n": 4, "d": 3},
        notes="No public code: the gate is read as a sigmoid of three depthwise taps; others would differ in text.",
    ),
    Row(
        "A23",
        "Koopman autoencoder with periodic reencoding",
        "powers of the matrix between the steps of reencoding",
        _koopman,
        "koopman_autoencoder",
        {"n": 4, "d": 3},
        draw=_now_and_then,
        notes="The schedule is an input, so the update counts as nonlinear at every step.",
    ),
    Row(
        "A28",
        "CHELA",
        "conv1d, FFT, and attention as a masked matrix",
        _chela,
        "chela",
        {"i": 2, "j": 3, "l": 5},
        draw=_first,
        notes="No public code: the branches of the short convolution are merged into one, as they are after training.",
    ),
    Row(
        "A29",
        "SeqBoat's moving average",
        "its kernel, by FFT",
        _damped,
        "mega_ema",
        {"d": 3, "n": 4},
        notes="The recurrence of the layer. That only active steps reach the attention is data-dependent compaction, \
outside of the recurrence.",
    ),
    Row(
        "A30",
        "Block-State Transformer, many filters",
        "scaled_dot_product_attention of torch under a mask, states by FFT",
        _block_state,
        "block_state_transformer",
        {"s": 3, "w": 4, "d": 2, "n": 3},
        draw=_blocks,
    ),
    Row(
        "A31",
        "WARP",
        "the block Toeplitz matrix of powers, and linear layers under vmap",
        _warp,
        "warp",
        {"p": 7, "h": 2},
        draw=_network,
        notes="The first state is a function of the first value, given as the initial state.",
    ),
)
