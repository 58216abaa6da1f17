"""Spiking neurons and reservoirs."""

from __future__ import annotations

import numpy as np
import snntorch
import torch
from reservoirpy.nodes import Reservoir
from torch import Tensor

from tests.oracles.in_double import Doubled
from tests.oracles.trajectory import trajectory
from tests.zoo.row import Arrays, Given, Row, Values


def _neuron(beta: Tensor, threshold: Tensor, slope: float) -> snntorch.Leaky:
    """A leaky neuron of snntorch; its resets are made outside, where the systems differ from it."""
    gradient = snntorch.surrogate.sigmoid(slope=slope)
    neuron = snntorch.Leaky(beta, threshold=threshold, spike_grad=gradient, reset_mechanism="none")
    neuron.beta, neuron.threshold = beta, threshold
    return neuron


def _lif(given: Given) -> Values:
    """snntorch's leaky neuron; a spike takes the threshold off what is handed on, without a gradient."""
    neuron = _neuron(given["decay"], given["threshold"], 10)
    u, spikes = given.state["u"], []
    for x in given["x"].unbind(1):
        with Doubled():  # snntorch's spikes are float32
            spike, v = neuron(x, u)
        spikes.append(spike)
        u = v - given["threshold"] * spike.detach()
    return {"s": torch.stack(spikes, 1), "final u": u}


def _hybrid(given: Given) -> Values:
    """snntorch's leaky neuron around the rest, put to rest by a mask; the low-pass as powers of 0.8."""
    rest, threshold = given["rest"], given["threshold"]
    neuron = _neuron(1 - 1 / given["tau"], threshold, 4)
    u, spikes = given.state["u"], []
    drive = given["x"] @ given["W"].T / given["tau"]
    for t in range(given.steps):
        u = torch.where(given["given"][:, t, None], given["frame"][:, t], u)
        neuron.threshold = threshold - rest
        with Doubled():
            spike, v = neuron(drive[:, t], u - rest)
        spikes.append(spike)
        u = torch.where(spike.detach() > 0, rest, v + rest)
    s = torch.stack(spikes, 1)
    gaps = torch.arange(given.steps)[:, None] - torch.arange(given.steps)
    weights = torch.where(gaps >= 0, 0.8 ** gaps.clamp(min=0).double(), torch.zeros((), dtype=torch.float64))
    y = torch.einsum("ts,bsd,cd->btc", weights, s, given["V"])
    y = y + (0.8 ** torch.arange(1, given.steps + 1).double())[:, None] * given.state["o"][:, None]
    return {"s": s, "y": y, "final u": u, "final o": y[:, -1]}


def _driven(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    return arguments | {"x": 3 * arguments["x"]}


def _loud(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """Events that make some neurons spike; a frame every four steps."""
    every = np.broadcast_to(np.arange(arguments["given"].shape[1]) % 4 == 0, arguments["given"].shape)
    return arguments | {"x": 3 * arguments["x"], "given": every.copy()}


def _reservoir(given: Given) -> Values:
    """reservoirpy's Reservoir, one sequence after another."""
    found = []
    for x, start in zip(given.array("x"), given.state["h"].detach().numpy(), strict=True):
        node = Reservoir(
            lr=float(given.array("leak")), **{n: given.array(n) for n in ("Win", "W")}, bias=given.array("b")
        )
        node.initialize(x)
        node.state = {"out": start}
        found.append(node.run(x))
    whole = np.stack(found)
    return {"y": whole, "final h": whole[:, -1]}


def _reservoir_at_once(given: Given) -> Values:
    """All steps as the root of one system."""
    drive = given["x"] @ given["Win"].T + given["b"]
    states = trajectory(
        lambda h: torch.lerp(h, torch.tanh(drive + h @ given["W"].T), given["leak"]), given.state["h"], given.steps
    )
    return {"y": states, "final h": states[:, -1]}


def _scaled(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """Weights of spectral radius 0.9, as a reservoir has them."""
    radius = np.abs(np.linalg.eigvals(arguments["W"])).max()
    return arguments | {"W": 0.9 * arguments["W"] / radius}


def _resting(initial: Arrays, rng: np.random.Generator) -> Arrays:
    shape = initial["v"].shape
    return initial | {"v": rng.uniform(-65, -50, shape), "u": rng.uniform(-16, -10, shape)}


def _izhikevich(given: Given) -> Values:
    """Membranes step by step; traces as sums over past spikes, and the readout's weights as products of matrices.

    A step of the readout is `Wout (I - eta gate r r') + eta gate target r'`.
    """
    dt, u, steps = 0.5, given.state["u"], given.steps
    v, fade = given.state["v"], torch.exp(-dt / given["tau"])
    traces: list[Tensor] = []
    fired: list[Tensor] = []
    for t in range(steps):
        before = fade**t * given.state["r"] + sum((fade ** (t - 1 - s) * f for s, f in enumerate(fired)), 0 * v)
        now = given["I"][:, t] + before @ given["W"].detach().T
        slope = torch.stack([(0.04 * v + 5) * v + 140 - u + now, given["a"] * (given["b"] * v - u)])
        v, u = torch.stack([v, u]) + dt * slope
        high = v.detach() >= 30
        v, u = torch.where(high, given["c"], v), torch.where(high, u + given["d"], u)
        fired.append(high.double())
        traces.append(fade ** (t + 1) * given.state["r"] + sum(fade ** (t - s) * f for s, f in enumerate(fired)))
    r = torch.stack(traces, 1)
    rate = (given["eta"] * given["gate"])[..., None, None]
    shrink = torch.eye(r.shape[-1]).double() - rate * r[..., :, None] * r[..., None, :]
    write = rate * given["target"][..., None] * r[..., None, :]
    weights, outputs = given.state["Wout"], []
    for t in range(steps):
        outputs.append((weights @ r[:, t, :, None])[..., 0])
        weights = weights @ shrink[:, t] + write[:, t]
    return {"y": torch.stack(outputs, 1), "final v": v, "final u": u, "final r": r[:, -1], "final Wout": weights}


ROWS = (
    Row("A83", "LIF, soft reset", "snntorch: Leaky, its surrogate.sigmoid", _lif, "lif", draw=_driven),
    Row(
        "A83",
        "LIF spiking nets with ANN-supplied state",
        "snntorch: Leaky, its surrogate.sigmoid; the low-pass as a matrix of powers",
        _hybrid,
        "hybrid_snn",
        draw=_loud,
        notes="The network that supplies the state is an input and a flag. snntorch has no rest other than zero: it is "
        "run on the potential above rest.",
    ),
    Row(
        "A84",
        "Izhikevich reservoir with three-factor readout",
        "a loop over membranes alone; traces as sums over spikes, the readout as products of matrices",
        _izhikevich,
        "izhikevich",
        steps=(40,),
        start=_resting,
        notes="A reset has no gradient of its own, there and here.",
    ),
    Row(
        "A85",
        "Echo-state reservoir (ResCP)",
        "reservoirpy: Reservoir",
        _reservoir,
        "echo_state",
        draw=_scaled,
        notes="The quantile over past residuals sorts a window that grows: outside.",
    ),
    Row(
        "A85",
        "Echo-state reservoir",
        "all steps as the root of one system, by Newton's method",
        _reservoir_at_once,
        "echo_state",
        {"d": 2, "n": 4},
        draw=_scaled,
    ),
)
