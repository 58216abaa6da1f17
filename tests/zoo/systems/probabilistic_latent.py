"""Latent dynamics: nonlinear cells with noise, differential equations, moments that are propagated."""

from __future__ import annotations

from unittest.mock import Mock, patch

import numpy as np
import torch
import torch.nn.functional as F
from filterpy.monte_carlo import systematic_resample
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torchdiffeq import odeint

from tests.zoo.row import Arrays, Given, Row, Values


def _pv_rnn(given: Given) -> Values:
    """The cell in terms of the firing rates, with torch.distributions' divergence."""
    h, rates, gaps = given.state["h"], [], []
    for t in range(given.steps):
        d = torch.tanh(h)
        posterior = Normal(
            torch.tanh(F.linear(d, given["Qmu"]) + given["Amu"][:, t]),
            torch.exp(F.linear(d, given["Qsigma"]) + given["Asigma"][:, t]),
        )
        prior = Normal(torch.tanh(F.linear(d, given["Pmu"])), torch.exp(F.linear(d, given["Psigma"])))
        z = posterior.loc + posterior.scale * given["noise"][:, t]
        h = torch.lerp(
            h, F.linear(torch.cat([d, z], 1), torch.cat([given["W"], given["Wz"]], 1), given["b"]), 1 / given["tau"]
        )
        rates.append(torch.tanh(h))
        gaps.append(kl_divergence(posterior, prior).sum(-1))
    return {"y": torch.stack(rates, 1), "kl": torch.stack(gaps, 1), "final h": h}


def _rssm(given: Given) -> Values:
    """torch.gru_cell on the latent and the action together."""
    h, s, found = given.state["h"], given.state["s"], []
    # Of torch's gates z keeps the old state, as here; the bias of the candidate is inside its reset.
    w_in = torch.cat([torch.cat([given[f"W{g}"], given[f"A{g}"]], 1) for g in "rzn"])
    w_state = torch.cat([given[f"R{g}"] for g in "rzn"])
    inner = torch.cat([torch.zeros(2 * len(given["b"]), dtype=torch.float64), given["b"]])
    for t in range(given.steps):
        going = 1 - given["first"][:, t, None].double()
        x = torch.cat([s, given["action"][:, t]], 1) * going
        h = torch.gru_cell(x, h * going, w_in, w_state, torch.zeros_like(inner), inner)
        spread = F.softplus(F.linear(h, given["Qsigma"]) + given["embed_sigma"][:, t]) + 0.1
        s = F.linear(h, given["Qmu"]) + given["embed_mu"][:, t] + spread * given["noise"][:, t]
        found.append((h, s, F.linear(h, given["Pmu"]), F.softplus(F.linear(h, given["Psigma"])) + 0.1))
    names = ("deter", "posterior", "prior_mean", "prior_spread")
    values = {n: torch.stack([step[k] for step in found], 1) for k, n in enumerate(names)}
    return values | {"final h": h, "final s": s}


def _simulator(given: Given) -> Values:
    """torch.lstm_cell, whose recurrent input is the product with the action."""
    h, c, seen, found = given.state["h"], given.state["c"], given.state["seen"], []
    w_in, w_state = (torch.cat([given[f"{name}{g}"] for g in "ifzo"]) for name in "UV")
    for t in range(given.steps):
        v = F.linear(h, given["Wh"]) * F.linear(given["action"][:, t], given["Wa"])
        h, c = torch.lstm_cell(seen, (v, c), w_in, w_state)
        found.append(F.linear(h, given["C"]))
        seen = torch.where(given["teach"][:, t, None], given["frame"][:, t], found[-1])
    return {"predicted": torch.stack(found, 1), "final h": h, "final c": c, "final seen": seen}


def _ode_rnn(given: Given) -> Values:
    """torchdiffeq's odeint over the gap, in time scaled to one step, and torch.gru_cell."""
    h, before, after = given.state["h"], [], []
    weights = torch.cat([given[f"R{g}"] for g in "rzn"])
    inner = torch.cat([torch.zeros(2 * len(given["bn"]), dtype=torch.float64), given["bn"]])
    eye = torch.eye(len(inner), dtype=torch.float64)
    times = torch.tensor([0.0, 1.0], dtype=torch.float64)
    for t in range(given.steps):
        gap = given["gap"][:, t, None]
        until = odeint(lambda _, y, g=gap: g * torch.tanh(F.linear(y, given["W"], given["b"])), h, times, method="rk4")[
            -1
        ]
        x = torch.cat([given[f"x{g}"][:, t] for g in "rzn"], 1)
        h = torch.gru_cell(x, until, eye, weights, torch.zeros_like(inner), inner)
        before.append(until)
        after.append(h)
    return {"before": torch.stack(before, 1), "y": torch.stack(after, 1), "final h": h}


def _unroll(given: Given) -> Values:
    """Sums over time, and the squared Jacobian of one step by torch.func for the variances."""
    dt = 0.1

    def before(name: str, rate: Tensor) -> tuple[Tensor, Tensor]:
        start = given.state[name][:, None]
        whole = torch.cat([start, start + torch.cumsum(rate, 1)], 1)
        return whole[:, :-1], whole[:, -1]

    theta, theta_end = before("theta", dt * given["turn"])
    s, s_end = before("s", dt * given["accel"])
    theta_var, theta_var_end = before("theta_var", dt**2 * given["turn_var"])
    s_var, s_var_end = before("s_var", dt**2 * given["accel_var"])

    def move(at: Tensor) -> Tensor:
        return torch.view_as_real(torch.polar(dt * at[1], at[0]))

    places = torch.stack([theta, s.abs() + 2], -1)  # a polar form has no negative length: shifted, and back below
    jacobian = torch.func.vmap(torch.func.vmap(torch.func.jacfwd(move)))(places)
    turning = jacobian[..., 0] * (s / (s.abs() + 2))[..., None]
    variances = turning.square() * theta_var[..., None] + jacobian[..., 1].square() * s_var[..., None]
    found: dict[str, Tensor] = {"final theta": theta_end, "final s": s_end}
    found |= {"final theta_var": theta_var_end, "final s_var": s_var_end}
    for k, name in enumerate("xy"):
        path = given.state[name][:, None] + torch.cumsum(jacobian[..., k, 1] * s, 1)
        var = given.state[f"{name}_var"][:, None] + torch.cumsum(variances[..., k], 1)
        found |= {
            f"p{name}": path,
            f"spread_{name}": var,
            f"final {name}": path[:, -1],
            f"final {name}_var": var[:, -1],
        }
    return found


def _particles(given: Given) -> Values:
    """filterpy's systematic resampling with the row's random number, and a weighted set of torch."""
    spread, found = given["r"].sqrt(), []
    finals: dict[str, list[Tensor]] = {"x": [], "w": []}
    for b, values in enumerate(given["y"]):
        x, w = given.state["x"][b], given.state["w"][b]
        for t, y in enumerate(values):
            share = (w / w.sum()).detach().numpy()
            number = Mock(return_value=float(given["u"][b, t].detach()))
            with patch("filterpy.monte_carlo.resampling.random", number):
                x = x[torch.tensor(systematic_resample(share))]
            x = given["a"] * x + torch.sin(x) + given["q"] * given["noise"][b, t]
            logs = Normal(x, spread).log_prob(y)
            w = torch.exp(logs - logs.max())
            found.append(torch.stack([w @ x / w.sum(), torch.exp(logs).mean().log()]))
        finals["x"].append(x)
        finals["w"].append(w)
    shape = (len(given["y"]), given.steps)
    estimate, evidence = torch.stack(found).unflatten(0, shape).unbind(-1)
    ends = {f"final {n}": torch.stack(v) for n, v in finals.items()}
    return {"estimate": estimate, "evidence": evidence, **ends}


def _numbered(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    count = len(arguments["place"])
    return arguments | {"place": np.arange(float(count)), "upto": np.tri(count)}


ROWS = (
    Row(
        "A80",
        "PV-RNN / MTRNN",
        "a torch loop over firing rates, with torch.distributions.kl_divergence",
        _pv_rnn,
        "pv_rnn",
        notes="The adaptive vectors are inputs; error regression is a gradient by them.",
    ),
    Row(
        "A81",
        "RSSM / Hybrid RSSM",
        "torch.gru_cell on the latent and the action together",
        _rssm,
        "rssm",
        notes="Observing, with Gaussian latents. Imagining is the same cell on the prior; categorical latents, masking "
        "and the heads are outside.",
    ),
    Row(
        "A82",
        "Recurrent environment simulator",
        "torch.lstm_cell on the product of state and action",
        _simulator,
        "recurrent_simulator",
        notes="The convolutions of encoder and decoder are one matrix here.",
    ),
    Row(
        "A87",
        "Neural ODE / latent ODE / projected DE",
        "torchdiffeq: odeint (rk4, its 3/8 rule), torch.gru_cell",
        _ode_rnn,
        "ode_rnn",
        notes="The rule and one step of it for each gap are part of the program; adaptive solvers, whose number of "
        "steps depends on values, and the projection to a simplex are outside.",
    ),
    Row(
        "A88",
        "Stochastic kinematic unroll",
        "sums over time, and the squared Jacobian of one step by torch.func",
        _unroll,
        "kinematic_unroll",
        notes="The equations of the variances are written out: recc derives no moments from a mean.",
    ),
    Row(
        "A101",
        "Particle filters",
        "filterpy: systematic_resample; torch.distributions.Normal",
        _particles,
        "bootstrap_particle_filter",
        {"i": 5},
        draw=_numbered,
        notes="A bootstrap filter with random numbers as inputs. The gradient is that of the paths with the ancestors "
        "held. HMC moves, rejection in backward sampling (PaRIS), and frozen lineages are outside.",
    ),
)
