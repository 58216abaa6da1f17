"""Nonlinear cells with a structure of their own: diagonal, moved by a flow, traced, trained while they read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.oracles.trajectory import trajectory
from tests.zoo.row import Arrays, Given, Row, Values

#: Steps of a mini-batch, or of a segment.
BATCH = 4


def _paragru(given: Given) -> Values:
    def update(h: Tensor) -> Tensor:
        z = torch.sigmoid(torch.addcmul(given["xz"], given["az"], h))
        r = torch.sigmoid(torch.addcmul(given["xr"], given["ar"], h))
        return torch.lerp(h, torch.tanh(torch.addcmul(given["xh"], given["ah"], r * h)), z)

    y = trajectory(update, given.state["h"], given.steps)
    return {"y": y, "final h": y[:, -1]}


def _paralstm(given: Given) -> Values:
    def update(before: Tensor) -> Tensor:
        c, h = before.chunk(2, -1)
        f = torch.sigmoid(given["xf"] + given["af"] * h + given["pf"] * c)
        c = torch.lerp(torch.tanh(given["xc"] + given["ac"] * h), c, f)
        o = torch.sigmoid(given["xo"] + given["ao"] * h + given["po"] * c)
        return torch.cat([c, o * torch.tanh(c)], -1)

    states = trajectory(update, torch.cat([given.state["c"], given.state["h"]], -1), given.steps)
    c, y = states.chunk(2, -1)
    return {"y": y, "final c": c[:, -1], "final h": y[:, -1]}


def _stable(given: Given) -> Values:
    rates = F.softplus(given["rate"])
    h = trajectory(lambda h: h + given["dt"] * torch.tanh(given["x"] - rates * h), given.state["h"], given.steps)
    return {"y": h @ given["c"], "final h": h[:, -1]}


def _flow(given: Given) -> Values:
    """torch's circular convolutions, and its roll for every velocity."""

    def convolved(x: Tensor, kernel: Tensor) -> Tensor:
        return F.conv1d(F.pad(x, (1, 1), mode="circular"), kernel)

    speeds = range(-(given.sizes["v"] // 2), given.sizes["v"] // 2 + 1)
    states, outputs = list(given.state["h"].unbind(1)), []
    for u in given["u"].unbind(1):
        seen = convolved(u, given["U"])
        states = [
            F.relu(seen + convolved(h, given["W"]).roll(speed, -1)) for speed, h in zip(speeds, states, strict=True)
        ]
        outputs.append(torch.stack(states, 1).amax(1))
    return {"y": torch.stack(outputs, 1), "final h": torch.stack(states, 1)}


def _velocities(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    speeds, places = arguments["before"].shape
    moved = np.arange(places) - (np.arange(speeds) - speeds // 2)[:, None]
    return arguments | {"before": moved % places}


def _columns(given: Given) -> Values:
    """torch's LSTM with diagonal recurrent weights, and all of its derivatives, of which a unit's own are kept."""
    batch, _, _ = given["x"].shape
    size = given["u"].shape[1]
    order = [0, 1, 3, 2]  # torch has the output gate last
    zeros = torch.zeros(1, batch, size, dtype=torch.float64)

    def outputs(inward: Tensor) -> Tensor:
        own = torch.cat([torch.diag(given["u"][g]) for g in order])
        weights = [inward[order].flatten(0, 1), own]
        found: Tensor = torch.lstm(given["x"], (zeros, zeros), weights, False, 1, 0.0, False, False, True)[0]
        return found

    jacobian = torch.func.jacrev(outputs)(given["W"])  # b t d g e p
    trace = torch.diagonal(jacobian, dim1=2, dim2=4).permute(0, 1, 2, 4, 3)  # b t g d p
    return {"y": outputs(given["W"]), "trace": trace}


def _gates(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    return arguments | {"one": np.eye(4)}


def _set_reader(given: Given) -> Values:
    """torch's LSTMCell fed with what its own attention reads; input weights hold those of the read."""
    inward, own = (torch.cat([given[f"{n}{g}"] for g in "ifzo"]) for n in "UR")
    h, c, r = (given.state[n] for n in "hcr")
    memory, queries, reads = given["memory"].expand(len(h), -1, -1), [], []
    for _ in range(given.steps):
        h, c = torch.lstm_cell(r, (h, c), inward, own)
        r = F.scaled_dot_product_attention(h[:, None], memory, memory, scale=1.0)[:, 0]
        queries.append(h)
        reads.append(r)
    return {
        "query": torch.stack(queries, 1),
        "read": torch.stack(reads, 1),
        "final h": h,
        "final c": c,
        "final r": r,
    }


def _loss(
    model: Callable[..., Tensor], weights: tuple[Tensor, ...], k: Tensor, v: Tensor, w: Tensor, b: Tensor
) -> Tensor:
    """What a token asks of the model: half the squared distance of `k + LN(model(k))` from `v`."""
    return 0.5 * (k + F.layer_norm(model(k, *weights), k.shape, w, b, 1e-6) - v).square().sum()


def _learner(model: Callable[..., Tensor], begin: Callable[[Given, int], dict[str, Tensor]], size: int) -> Any:
    """The definition: torch's gradient of the loss of every token, at the weights before its mini-batch of `size`."""

    def expected(given: Given) -> Values:
        w, b = given["w"], given["b"]
        outputs, finals = [], []
        for n, (q, k, v, eta) in enumerate(zip(*(given[name] for name in ("q", "k", "v", "eta")), strict=True)):
            names, weights = zip(*begin(given, n).items(), strict=True)
            base, read = weights, []
            for t in range(given.steps):
                base = weights if t % size == 0 else base
                moves = torch.func.grad(partial(_loss, model))(base, k[t], v[t], w, b)
                weights = tuple(x - eta[t] * move for x, move in zip(weights, moves, strict=True))
                read.append(q[t] + F.layer_norm(model(q[t], *weights), w.shape, w, b, 1e-6))
            outputs.append(torch.stack(read))
            finals.append(weights)
        several = zip(names, zip(*finals, strict=True), strict=True)
        return {"o": torch.stack(outputs), **{f"final {name}": torch.stack(x) for name, x in several}}

    return expected


def _given_state(given: Given, n: int) -> dict[str, Tensor]:
    return {name: given.state[name][n] for name in ("W", "c")}


def _given_weights(given: Given, n: int) -> dict[str, Tensor]:
    first, second = given["A1"], given["A2"]
    return {"W1": first, "c1": 0 * first[0], "W2": second, "c2": 0 * second[0]}


def _linear(x: Tensor, matrix: Tensor, bias: Tensor) -> Tensor:
    return x @ matrix + bias


def _two_layers(x: Tensor, first: Tensor, c1: Tensor, second: Tensor, c2: Tensor) -> Tensor:
    return F.gelu(x @ first + c1) @ second + c2


def _mini_batches(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    first = np.arange(arguments["first"].shape[1]) % BATCH == 0
    return arguments | {"first": np.broadcast_to(first, arguments["first"].shape).copy()}


def _adapted(given: Given) -> Values:
    """torch's gradient of the cross-entropy of a whole segment, taken when it ends."""
    losses, finals = [], []
    for x, y, theta, begun in zip(
        given["x"], given["came"].double(), given.state["theta"], given.state["G"], strict=True
    ):
        rows = []
        for at in range(0, given.steps, BATCH):
            inputs, classes = x[at : at + BATCH], y[at : at + BATCH]

            def each(theta: Tensor, inputs: Tensor = inputs, classes: Tensor = classes) -> Tensor:
                return F.cross_entropy(inputs @ theta.T, classes, reduction="none")

            rows.append(each(theta))
            if len(inputs) == BATCH:
                gradient = torch.func.grad(lambda at, each=each: each(at).sum())(theta) + (begun if at == 0 else 0)
                step = given["eta"] * gradient / (given["scale"].sqrt() + 1e-3)
                theta = theta - step + given["lam"] * (given["start"] - theta)
        losses.append(torch.cat(rows))
        finals.append(theta)
    return {"loss": torch.stack(losses), "final theta": torch.stack(finals)}


def _segments(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    batch, steps, classes = arguments["came"].shape
    end = np.arange(steps) % BATCH == BATCH - 1
    came = np.eye(classes, dtype=bool)[rng.integers(classes, size=(batch, steps))]
    return arguments | {"came": came, "end": np.broadcast_to(end, (batch, steps)).copy()}


ROWS = (
    Row("A69", "TTT-Linear", "torch: func.grad of the loss of every token", _learner(_linear, _given_state, BATCH),
        "ttt_linear", sizes={"i": 3}, draw=_mini_batches,
        notes="The inner gradient is written out: the language has no derivative of an expression. The package of "
        "fla-core adds its readout to itself where the paper adds the query: test_traps_attention.py."),
    Row("A69", "TTT-MLP", "torch: func.grad of the loss of every token", _learner(_two_layers,
        _given_weights, 1), "ttt_mlp", sizes={"i": 3, "h": 4}, steps=(7,), state=False,
        notes="Mini-batches of one token; those of more hold the weights before them as TTT-Linear does."),
    Row("A70", "Dynamic evaluation", "torch: func.grad of the loss of every segment", _adapted,
        "dynamic_evaluation", draw=_segments,
        notes="The network is a linear softmax classifier, whose gradient is written out; the recurrence of a deeper "
        "one needs the derivative of an expression in the language."),
    Row("A72", "Read, process, write", "torch: lstm_cell, scaled_dot_product_attention", _set_reader,
        "read_process_write", steps=(6,)),
    Row("A75", "ParaGRU", "torch: the root of all steps' equations, by Newton's method", _paragru, "paragru"),
    Row("A75", "ParaLSTM", "torch: the root of all steps' equations, by Newton's method", _paralstm, "paralstm"),
    Row("A77", "FERNN", "torch: circular conv1d and roll", _flow, "fernn",
        sizes={"v": 3, "x": 6, "w": 3, "c": 2}, draw=_velocities, steps=(6,),
        notes="One axis of space; a moving input moves the state: test_laws_attention.py."),
    Row("A78", "Columnar LSTM with its forward trace", "torch: lstm, func.jacrev", _columns, "columnar_lstm",
        sizes={"g": 4, "d": 2, "p": 3}, steps=(6,), draw=_gates, state=False),
    Row("A79", "Stably reparameterised network", "torch: the root of all steps' equations, by Newton's method",
        _stable, "stable_rnn"),
)  # fmt: skip
