"""Gaussian filters: moments that are carried from step to step."""

from __future__ import annotations

import numpy as np
import torch
from filterpy.kalman import JulierSigmaPoints, UnscentedKalmanFilter
from torch import Tensor

from tests.oracles.all_at_once import solved
from tests.oracles.gaussian import Joint
from tests.zoo.row import Arrays, Given, Row, Values


def covariance(rng: np.random.Generator, *shape: int, floor: float = 0.3) -> np.ndarray:
    """Covariances `[*shape, n]`, n the last of the shape: well conditioned, and symmetric to the last bit."""
    n = shape[-1]
    root = rng.standard_normal((*shape, n)) / np.sqrt(n)
    whole = root @ np.swapaxes(root, -1, -2) + floor * np.eye(n)
    return np.asarray((whole + np.swapaxes(whole, -1, -2)) / 2)


def _kalman_draw(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    n = len(arguments["H"])
    return arguments | {"Q": covariance(rng, n), "P0": covariance(rng, n)}


def _kalman_start(initial: Arrays, rng: np.random.Generator) -> Arrays:
    return initial | {"P": covariance(rng, *initial["P"].shape[:-1])}


def _kalman(given: Given) -> Values:
    """Every state given what was observed, from the joint distribution of all."""
    steps, one = given.steps, torch.ones(1, 1, dtype=torch.float64)
    found = []
    for b, y in enumerate(given["y"]):
        joint = Joint(
            given["F"].expand(steps, -1, -1),
            given["Q"].expand(steps, -1, -1),
            given["H"].expand(steps, 1, -1),
            (given["R"] * one).expand(steps, -1, -1),
            y[:, None],
            given.state["x"][b],
            given.state["P"][b],
        )
        found.append((*joint.filtered(), joint.log_likelihoods()))
    means, covs, logs = (torch.stack(part) for part in zip(*found, strict=True))
    return {"filtered": means, "loglik": logs, "final x": means[:, -1], "final P": covs[:, -1]}


def _learner(given: Given) -> Values:
    """All weights of all steps and all targets as one Gaussian vector, conditioned densely, class by class."""
    gamma, phi = given["gamma"], given["phi"]
    eye = torch.eye(phi.shape[-1], dtype=torch.float64)
    keep = gamma[..., None, None]
    predicted, variances, finals, spreads = [], [], [], []
    for b, y in enumerate(given["y"]):
        rows = []
        for c in range(y.shape[-1]):
            joint = Joint(
                keep[b] * eye,
                (1 - keep[b].square()) * given["prior"] * eye,
                phi[b][:, None],
                given["noise"].expand(given.steps, 1, 1),
                y[:, c : c + 1],
                given.state["M"][b, :, c],
                given.state["A"][b],
            )
            before = [joint.given(t, t) for t in range(given.steps)]
            rows.append(
                (torch.stack([phi[b, t] @ m for t, (m, _) in enumerate(before)]), *joint.given(given.steps, -1))
            )
        predicted.append(torch.stack([r[0] for r in rows], -1))
        variances.append(torch.stack([phi[b, t] @ p @ phi[b, t] + given["noise"] for t, (_, p) in enumerate(before)]))
        finals.append(torch.stack([r[1] for r in rows], -1))
        spreads.append(rows[0][2])
    return {
        "predicted": torch.stack(predicted),
        "variance": torch.stack(variances),
        "final M": torch.stack(finals),
        "final A": torch.stack(spreads),
    }


def _identity(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    return arguments | {"one": np.eye(arguments["one"].shape[-1])}


def _learner_start(initial: Arrays, rng: np.random.Generator) -> Arrays:
    return initial | {"A": covariance(rng, *initial["A"].shape[:-1])}


def _regressed(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """A stationary covariance above every Q, as the filter asks for."""
    shape = arguments["Q"].shape
    found = {"Q": covariance(rng, *shape[:-1]), "S": 8 * np.eye(shape[-1]) + covariance(rng, shape[-1])}
    return arguments | found | {"G": covariance(rng, shape[-1]), "Sigma0": covariance(rng, shape[-1])}


def _regressed_start(initial: Arrays, rng: np.random.Generator) -> Arrays:
    return initial | {"Sigma": covariance(rng, *initial["Sigma"].shape[:-1])}


def _discriminative(given: Given) -> Values:
    """What was regressed as observations of the whole state, with the precision `Q^-1 - S^-1`; densely conditioned."""
    steps, precisions = given.steps, torch.linalg.inv(given["Q"])
    eye = torch.eye(given["A"].shape[-1], dtype=torch.float64)
    noise = torch.linalg.inv(precisions - torch.linalg.inv(given["S"]))
    seen = (noise @ precisions @ given["f"][..., None])[..., 0]
    found = []
    for b in range(len(seen)):
        joint = Joint(
            given["A"].expand(steps, -1, -1),
            given["G"].expand(steps, -1, -1),
            eye.expand(steps, -1, -1),
            noise[b],
            seen[b],
            given.state["mu"][b],
            given.state["Sigma"][b],
        )
        found.append(joint.filtered())
    means, covs = (torch.stack(part) for part in zip(*found, strict=True))
    return {"filtered": means, "covariance": covs, "final mu": means[:, -1], "final Sigma": covs[:, -1]}


def _ncdssm_draw(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    n, d = len(arguments["F"]), len(arguments["eye"])
    return arguments | {"Q": covariance(rng, n), "R": covariance(rng, d), "eye": np.eye(d)}


def _series(generator: Tensor, gap: Tensor) -> Tensor:
    """The step of a Runge-Kutta method of fourth order for a linear system: the exponential's series."""
    step = gap * generator
    eye = torch.eye(len(generator), dtype=torch.float64)
    return eye + step @ (eye + step / 2 @ (eye + step / 3 @ (eye + step / 4)))


def _ncdssm(given: Given) -> Values:
    """Moments as one long vector with one generator (a Kronecker sum); updates in Joseph's form on what was seen."""
    f, n = given["F"], len(given["F"])
    eye = torch.eye(n, dtype=torch.float64)
    grow = torch.kron(f, eye) + torch.kron(eye, f)
    zero = torch.zeros(1, n * n + 1, dtype=torch.float64)
    affine = torch.cat([torch.cat([grow, given["Q"].reshape(-1, 1)], 1), zero])
    means, covs, distances = [], [], []
    for b in range(len(given["y"])):
        x, p = given.state["x"][b], given.state["P"][b]
        for t in range(given.steps):
            gap, seen = given["gap"][b, t], given["seen"][b, t]
            x = _series(f, gap) @ x
            p = (_series(affine, gap) @ torch.cat([p.reshape(-1), torch.ones(1, dtype=torch.float64)]))[:-1].reshape(
                n, n
            )
            h, r = given["H"][seen], given["R"][seen][:, seen]
            s = h @ p @ h.mT + r
            gain = torch.linalg.solve(s, h @ p).mT
            miss = given["y"][b, t][seen] - h @ x
            left = eye - gain @ h
            x, p = x + gain @ miss, left @ p @ left.mT + gain @ r @ gain.mT
            means.append(x)
            covs.append(p)
            distances.append(miss @ torch.linalg.solve(s, miss))
    shape = (len(given["y"]), given.steps)
    filtered, covariances = torch.stack(means).unflatten(0, shape), torch.stack(covs).unflatten(0, shape)
    distance = torch.stack(distances).unflatten(0, shape)
    finals = {"final x": filtered[:, -1], "final P": covariances[:, -1]}
    return {"filtered": filtered, "covariance": covariances, "distance": distance, **finals}


def _matern_draw(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """The Matern-3/2 kernel as a generator over value and slope."""
    channels = len(arguments["G"])
    lam, var = rng.uniform(0.5, 2, channels), rng.uniform(0.5, 2, channels)
    none, one = np.zeros(channels), np.ones(channels)
    generator = np.stack([np.stack([none, one], -1), np.stack([-(lam**2), -2 * lam], -1)], -2)
    stationary = var[:, None, None] * np.stack([np.stack([one, none], -1), np.stack([none, lam**2], -1)], -2)
    return arguments | {"G": generator, "Pinf": stationary, "H": np.array([1.0, 0])}


def _matern(given: Given) -> Values:
    """Gaussian process regression with the kernel matrix itself, channel by channel.

    The kernel is `H exp(|gap| G) Pinf H'`, which is `var (1 + lam gap) exp(-lam gap)` at the generator of Matern-3/2.
    """
    y, v = given["y"].mT, given["v"].mT  # b d t
    times = torch.cumsum(given["gap"], 1)
    since = (times[:, None, :, None] - times[:, None, None]).abs()[..., None, None]  # b 1 t t 1 1
    grown = torch.linalg.matrix_exp(since * given["G"][:, None, None]) @ given["Pinf"][:, None, None]
    kernel = torch.einsum("n,bdtsnm,m->bdts", given["H"], grown, given["H"])
    lam = (-given["G"][:, 1, 1] / 2)[:, None, None]
    closed = given["Pinf"][:, 0, 0, None, None] * (1 + lam * since[..., 0, 0]) * torch.exp(-lam * since[..., 0, 0])
    assert torch.allclose(kernel, closed, rtol=1e-12), "the closed form of the kernel"
    total = kernel + torch.diag_embed(v)
    factor = torch.linalg.cholesky(total)
    white = torch.linalg.solve_triangular(factor, y[..., None], upper=False)[..., 0]
    logs = -0.5 * (np.log(2 * np.pi) + 2 * torch.log(factor.diagonal(dim1=-2, dim2=-1)) + white.square())
    smoothed = (kernel @ torch.linalg.solve(total, y[..., None]))[..., 0]
    left = kernel - kernel @ torch.linalg.solve(total, kernel)
    online = []
    for t in range(given.steps):
        known = torch.linalg.solve(total[..., : t + 1, : t + 1], y[..., : t + 1, None])[..., 0]
        online.append((kernel[..., t, : t + 1] * known).sum(-1))
    found = {"smoothed": smoothed, "marginal": left.diagonal(dim1=-2, dim2=-1), "loglik": logs}
    return {"filtered": torch.stack(online, 1)} | {n: x.mT for n, x in found.items()}


def _descent(given: Given) -> Values:
    """A Kalman update whose gain is that of the descent, from eigenvectors; all steps as one linear system."""
    h, rate = given["H"] / given["R"].sqrt()[:, None], given["rate"]
    n = h.shape[-1]
    values, vectors = torch.linalg.eigh(h.mT @ h)
    left = vectors @ torch.diag((1 - rate * values) ** 3) @ vectors.mT
    told = sum(vectors @ torch.diag(rate * (1 - rate * values) ** k) @ vectors.mT for k in range(3))
    drive = given["y"] / given["R"].sqrt() @ h @ told.mT
    steps = (left @ given["F"]).expand(len(drive), given.steps, n, n)
    states = solved(steps, drive, given.state["mu"])
    return {"filtered": states, "final mu": states[:, -1]}


def _pendulum(given: Given) -> Values:
    """filterpy's UnscentedKalmanFilter with Julier's points."""
    found, finals = [], []
    for b, values in enumerate(given.array("y")):
        start = {n: float(v[b].detach()) for n, v in given.state.items()}
        unscented = UnscentedKalmanFilter(
            2,
            1,
            0.1,
            hx=lambda x: np.sin(x[:1]),
            fx=lambda x, dt: np.array([x[0] + dt * x[1], x[1] - dt * np.sin(x[0])]),
            points=JulierSigmaPoints(2, kappa=1),
        )
        unscented.x = np.array([start["angle"], start["speed"]])
        unscented.P = np.array([[start["P00"], start["P01"]], [start["P01"], start["P11"]]])
        unscented.Q = np.diag([float(given.array("Q0")), float(given.array("Q1"))])
        unscented.R = given.array("R").reshape(1, 1)
        rows = []
        for y in values:
            unscented.predict()
            unscented.update(np.array([y]))
            rows.append((unscented.x[0], unscented.P[0, 0]))
        found.append(rows)
        finals.append((*unscented.x, *unscented.P[0], unscented.P[1, 1]))
    outputs, last = np.array(found), np.array(finals)
    names = ("angle", "speed", "P00", "P01", "P11")
    ends = {f"final {n}": last[:, k] for k, n in enumerate(names)}
    return {"filtered": outputs[..., 0], "variance": outputs[..., 1], **ends}


def _points(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    along, across = np.array([0.0, 1, 0, -1, 0]), np.array([0.0, 0, 1, 0, -1])
    return arguments | {"along": along, "across": across, "weight": np.array([1 / 3] + [1 / 6] * 4)}


def _points_start(initial: Arrays, rng: np.random.Generator) -> Arrays:
    whole = covariance(rng, len(initial["P00"]), 2)
    return initial | {"P00": whole[:, 0, 0], "P01": whole[:, 0, 1], "P11": whole[:, 1, 1]}


DENSE = "the joint Gaussian distribution of all states and observations, conditioned densely"

ROWS = (
    Row(
        "A89",
        "Kalman filter for online continual learning",
        f"{DENSE}, class by class",
        _learner,
        "kalman_online_learner",
        steps=(7,),
        draw=_identity,
        start=_learner_start,
        symmetric=frozenset({"one", "final A"}),
        notes="The covariance is shared by the classes. How gamma is learnt and the softmax are outside.",
    ),
    Row(
        "A92",
        "Discriminative Kalman filter",
        f"{DENSE}, with the regressed values as observations of precision Q^-1 - S^-1",
        _discriminative,
        "discriminative_kalman",
        steps=(7,),
        draw=_regressed,
        start=_regressed_start,
        symmetric=frozenset({"Q", "S", "G", "Sigma0", "final Sigma"}),
        notes="S - Q must be positive definite: where it is not, the public MATLAB code replaces Q and says so. The "
        "robust variant is this program at an infinite S.",
    ),
    Row(
        "A93",
        "Kalman filter (the linear-Gaussian case)",
        DENSE,
        _kalman,
        "kalman",
        steps=(7,),
        draw=_kalman_draw,
        start=_kalman_start,
        symmetric=frozenset({"Q", "P0", "final P"}),
    ),
    Row(
        "A90",
        "NCDSSM (continuous-discrete Kalman)",
        "moments as one vector under a Kronecker sum; Joseph's form on what was seen",
        _ncdssm,
        "ncdssm",
        {"d": 2, "n": 2},
        (7,),
        draw=_ncdssm_draw,
        start=_kalman_start,
        symmetric=frozenset({"Q", "R", "final P"}),
        notes="Constant F, by one step of RK4 for each gap. Square-root factors need a QR, which the language has not; "
        "an F that depends on the mean is more lines.",
    ),
    Row(
        "A91",
        "Markovian GP VAE",
        "Gaussian process regression with the Matern kernel matrix",
        _matern,
        "markovian_gp",
        {"n": 2, "d": 3},
        (7,),
        draw=_matern_draw,
        state=False,
        symmetric=frozenset({"Pinf"}),
        notes="The smoother runs from the right as an adjoint, so that the last step needs no case of its own.",
    ),
    Row(
        "A93",
        "Implicit MAP filter",
        "a Kalman update with the gain of the descent, from eigenvectors; all steps as one linear system",
        _descent,
        "implicit_map",
        notes="Three steps of plain descent, linear and Gaussian. Other optimisers are states of their own; a "
        "number of steps that depends on values is outside.",
    ),
    Row(
        "A94",
        "FM-UKF",
        "filterpy: UnscentedKalmanFilter, JulierSigmaPoints",
        _pendulum,
        "unscented_kalman",
        {"s": 5},
        draw=_points,
        start=_points_start,
        notes="Two states, whose Cholesky factor is written out; the language has no Cholesky of any size. f is a "
        "pendulum: a transformer as f is outside. Points that are drawn at random are no sigma points, and give NaN.",
    ),
)
