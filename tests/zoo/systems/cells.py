"""Recurrent cells with gates: Elman's, LSTM, GRU and their kin, beside torch's kernels and the xlstm package."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from xlstm.blocks.mlstm.backends import chunkwise_simple, parallel_stabilized_simple
from xlstm.blocks.slstm.src.vanilla import slstm_forward, slstm_pointwise_function_registry

from tests.oracles.trajectory import trajectory
from tests.zoo.row import Arrays, Given, Row, Values

from .attention_delta import HEADS, root


def _eye(size: int, gates: int = 1) -> Tensor:
    """Input weights of a cell whose inputs are projected already."""
    return torch.eye(gates * size, dtype=torch.float64)


def _run_elman(x: Tensor, weights: Tensor, start: Tensor) -> Tensor:
    outputs, _ = torch.rnn_tanh(x, start[None], [_eye(x.shape[-1]), weights], False, 1, 0.0, False, False, True)
    return outputs


def _elman(given: Given) -> Values:
    y = _run_elman(given["x"], given["R"], given.state["h"])
    return {"y": y, "final h": y[:, -1]}


def _both_ways(given: Given) -> Values:
    f = _run_elman(given["xf"], given["Rf"], given.state["f"])
    b = _run_elman(given["xb"].flip(1), given["Rb"], given.state["b"]).flip(1)
    return {"y": f @ given["Wf"].T + b @ given["Wb"].T, "final f": f[:, -1], "final b": b[:, 0]}


def _jordan(given: Given) -> Values:
    """The root of all steps' equations."""

    def update(before: Tensor) -> Tensor:
        return torch.sigmoid(torch.tanh(given["x"] + before @ given["R"].T) @ given["W"].T)

    y = trajectory(update, given.state["y"], given.steps)
    return {"out": y, "final y": y[:, -1]}


def _run_lstm(x: Tensor, weights: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """torch's kernel on projected gates, in its order: input, forget, new value, output."""
    inward = _eye(h.shape[-1], 4)
    outputs, last, cell = torch.lstm(x, (h[None], c[None]), [inward, weights], False, 1, 0.0, False, False, True)
    return outputs, last[0], cell[0]


def _lstm(given: Given) -> Values:
    x, weights = (torch.cat([given[f"{n}{g}"] for g in "ifzo"], d) for n, d in (("x", -1), ("R", 0)))
    y, h, c = _run_lstm(x, weights, given.state["h"], given.state["c"])
    return {"y": y, "final h": h, "final c": c}


def _run_gru(x: Tensor, weights: Tensor, bias: Tensor, start: Tensor) -> Tensor:
    zeros = torch.zeros(len(weights), dtype=torch.float64)
    inner = torch.cat([zeros[: -len(bias)], bias])
    parameters = [_eye(len(bias), 3), weights, zeros, inner]
    outputs, _ = torch.gru(x, start[None], parameters, True, 1, 0.0, False, False, True)
    return outputs


def _gru(given: Given) -> Values:
    x, weights = (torch.cat([given[f"{n}{g}"] for g in "rzn"], d) for n, d in (("x", -1), ("R", 0)))
    y = _run_gru(x, weights, given["b"], given.state["h"])
    return {"y": y, "final h": y[:, -1]}


def _low_rank(given: Given) -> Values:
    """torch's GRU with the recurrent matrices multiplied out."""
    weights = [given[f"U{g}"] @ given[f"V{g}"] + torch.diag(given[f"d{g}"]) for g in "rzn"]
    x = torch.cat([given[f"x{g}"] for g in "rzn"], -1)
    y = _run_gru(x, torch.cat(weights), torch.zeros_like(given["dn"]), given.state["h"])
    return {"y": y, "final h": y[:, -1]}


def _preactivation(log_forget: Tensor) -> Tensor:
    """What the logarithm of a sigmoid was taken of."""
    return log_forget - torch.log(-torch.expm1(log_forget))


def _mlstm_parallel(given: Given) -> Values:
    q, k, v = (given[n].transpose(1, 2) for n in "qkv")
    u, f = (given[n].transpose(1, 2)[..., None] for n in "uf")
    h = parallel_stabilized_simple(q, k * root(k), v, u, _preactivation(f), eps=0.0)
    return {"h": h.transpose(1, 2)}


def _mlstm_chunks(given: Given) -> Values:
    q, k, v, u, f = (given[n].transpose(1, 2).contiguous() for n in ("q", "k", "v", "u", "f"))
    h, (c, z, m) = chunkwise_simple(
        q * root(q), k, v, u, _preactivation(f), *(given.state[n] for n in "Cz"), given.state["m"],
        chunk_size=4, return_last_state=True, eps=0.0,
    )  # fmt: skip
    return {"h": h.transpose(1, 2), "final C": c, "final z": z, "final m": m.reshape(given.state["m"].shape)}


def _run_slstm(x: Tensor, weights: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
    """The package's cell: gates `[T, B, 4 H D]` in the order i, f, z, o; weights `[H, 4 D, D]`."""
    bias = torch.zeros(x.shape[-1], dtype=torch.float64)
    found, last, _ = slstm_forward(x, states, weights, bias, slstm_pointwise_function_registry["slstm"])
    return found[0, 1:], last


def _mixing(given: Given) -> Values:
    batch, _, heads, size = given["xi"].shape
    x = torch.cat([given[f"x{g}"].flatten(2) for g in "ifzo"], -1).transpose(0, 1)
    weights = torch.cat([given[f"R{g}"] for g in "ifzo"], 1)
    start = torch.stack([given.state[n].flatten(1) for n in ("h", "c", "w", "top")])
    y, last = _run_slstm(x, weights, start)
    finals = {f"final {n}": s.reshape(batch, heads, size) for n, s in zip(("h", "c", "w", "top"), last, strict=True)}
    return {"y": y.transpose(0, 1).reshape(batch, -1, heads, size), **finals}


def _per_head(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """Matrices of their own for every head: the block-diagonal ones of the paper."""
    own = {n: 0.4 * rng.standard_normal((*HEADS, *v.shape)) for n, v in arguments.items() if n.startswith("R")}
    return arguments | own


def _slstm(given: Given) -> Values:
    f = _preactivation(given["f"])
    x = torch.cat([given["u"], f, given["z"], given["o"]], -1).transpose(0, 1)
    size = given["z"].shape[-1]
    start = torch.stack([torch.zeros_like(given.state["c"]), *(given.state[n] for n in "cnm")])
    y, last = _run_slstm(x, torch.zeros(1, 4 * size, size, dtype=torch.float64), start)
    return {"h": y.transpose(0, 1), **{f"final {n}": s for n, s in zip("cnm", last[1:], strict=True)}}


def _forgetting(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """The logarithms of sigmoids, as the package has them."""
    return arguments | {"f": -np.abs(arguments["f"]) - 1e-2}


def _normaliser(initial: Arrays, rng: np.random.Generator) -> Arrays:
    return initial | {"n": np.abs(initial["n"])}


ROWS = (
    Row("A68", "mLSTM", "xlstm: parallel_stabilized_simple", _mlstm_parallel, "mlstm", heads=HEADS, state=False),
    Row("A68", "mLSTM", "xlstm: chunkwise_simple", _mlstm_chunks, "mlstm", heads=HEADS, steps=(12,),
        sizes={"i": 3, "j": 3},
        notes="The package adds 1e-6 to the normaliser unless told not to."),
    Row("A68", "sLSTM without memory mixing", "xlstm: slstm_forward with recurrent weights of zero", _slstm, "slstm",
        draw=_forgetting, start=_normaliser),
    Row("A68", "sLSTM", "xlstm: slstm_forward", _mixing, "slstm_memory_mixing", heads=HEADS, draw=_per_head),
    Row("A74", "Elman network", "torch: rnn_tanh", _elman, "elman"),
    Row("A74", "LSTM", "torch: lstm", _lstm, "lstm"),
    Row("A74", "GRU", "torch: gru", _gru, "gru",
        notes="The bias inside the reset is the only one of the two that projected inputs cannot hold."),
    Row("A74", "sLSTM", "xlstm: slstm_forward", _mixing, "slstm_memory_mixing", heads=HEADS, draw=_per_head,
        notes="FlashRNN bounds the normaliser by 1 from below, which xlstm and the paper do not."),
    Row("A74", "Jordan network", "torch: the root of all steps' equations, by Newton's method", _jordan, "jordan"),
    Row("A74", "Bidirectional recurrent network", "torch: rnn_tanh, twice", _both_ways, "brnn"),
    Row("A76", "Low-rank passthrough GRU", "torch: gru with the matrices multiplied out", _low_rank,
        "low_rank_gru"),
)  # fmt: skip
