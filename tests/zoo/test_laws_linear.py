"""What the papers prove of their constant state spaces, asked of the programs."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.signal
from numpy.polynomial import legendre

import recc.zoo
from recc.fuzz import rel_rms
from tests.oracles.linear import hippo


def _smooth(x: np.ndarray) -> np.ndarray:
    return np.sin(5 * x) + 0.5 * np.cos(11 * x)


def test_hippo_legs_projects_all_of_the_past() -> None:
    """The coefficients tend to those of the best polynomial over the whole past, with the step."""
    size, errors = 6, []
    nodes, weights = legendre.leggauss(60)
    basis = np.stack([np.sqrt(2 * n + 1) * legendre.Legendre.basis(n)(nodes) for n in range(size)])
    wanted = basis @ (weights / 2 * _smooth((nodes + 1) / 2))
    a, b = hippo("legs", size)
    for steps in (500, 1000, 2000):
        f = _smooth((np.arange(steps) + 0.5) / steps)[None]
        found = recc.zoo.hippo_legs(f=f, A=-a, B=b, alpha=np.asarray(0.5), one=np.eye(size))[0, -1]
        errors.append(rel_rms(found, wanted))
    assert errors[0] > 1.8 * errors[1] > 3.2 * errors[2]
    assert errors[2] < 0.01


def test_the_memory_of_lmu_is_a_delay() -> None:
    """The Legendre polynomials at the far end of the window read the input of a window ago."""
    size, window = 12, 100
    i = np.arange(size)
    a = (2 * i[:, None] + 1) * np.where(i[:, None] < i, -1.0, (-1.0) ** (i[:, None] - i + 1))
    b = (2 * i + 1) * (-1.0) ** i
    system = (a / window, b[:, None] / window, np.eye(size), np.zeros((size, 1)))
    abar, bbar = scipy.signal.cont2discrete(system, dt=1)[:2]
    u = 2 + np.sin(np.arange(600) / 25) + np.cos(np.arange(600) / 60)
    h = recc.zoo.lmu(
        x=u[None, :, None], Wu=np.ones(1), A=abar, B=bbar[:, 0], Wm=np.ones((1, size)), Wx=np.zeros((1, 1))
    )[0, :, 0]  # P_n(1) = 1
    assert rel_rms(h[2 * window :], u[window:-window]) < 0.02


def test_the_forecasts_of_hippo_prophecy_improve_with_its_size() -> None:
    delta, errors = 0.001, []  # small: a lag of half a step counts size^2 times
    u = _smooth(0.3 * delta * np.arange(1, 4001))
    for size in (1, 2, 4, 8):
        a, b = hippo("legt", size)
        end = np.sqrt(2.0 * np.arange(size) + 1)
        readout = {"C": delta * end @ a, "D": np.asarray(1 + delta * end @ b)}
        readout |= {"delta": np.asarray(delta), "one": np.eye(size)}
        ahead = recc.zoo.hippo_prophecy(u=u[None], A=a, B=b, **readout)[0]
        errors.append(rel_rms(ahead[2000:-1] - u[2000:-1], u[2001:] - u[2000:-1]))
    assert errors == sorted(errors, reverse=True), errors
    assert errors[-1] < 0.1 * errors[0]


@pytest.mark.parametrize("seed", range(5))
def test_the_state_of_sashimi_never_grows(seed: int) -> None:
    """`A + A*` is negative definite however the parameters are drawn; with P and Q apart it need not be."""
    rng = np.random.default_rng(seed)
    n, d = 5, 3
    p, b, c = (rng.standard_normal((n,)) + 1j * rng.standard_normal(n) for _ in range(3))
    common = {
        "u": np.zeros((1, 1, d)), "lam_im": rng.standard_normal(n), "P": 3 * p, "B": b, "C": c * np.ones((d, 1)),
        "delta": np.exp(rng.standard_normal(d)), "D": np.zeros(d),
    }  # fmt: skip
    start = rng.standard_normal((1, d, n)) + 1j * rng.standard_normal((1, d, n))
    scale = rng.standard_normal(n)
    _, after = recc.zoo.sashimi(**common, lam_re=scale, initial_state=start, output_final_state=True)
    assert (np.linalg.norm(after, axis=-1) < np.linalg.norm(start, axis=-1)).all()
    along = np.ones((d, 1)) * p  # P P* acts along P: with the other sign it is what grows
    slow = dict(common, lam_im=np.zeros(n), delta=np.full(d, 0.01))
    _, grown = recc.zoo.s4(**slow, lam_re=np.zeros(n), Q=-3 * p, initial_state=along[None], output_final_state=True)
    assert (np.linalg.norm(grown, axis=-1) > np.linalg.norm(along, axis=-1)).all()


def test_perturbed_then_diagonalised_is_close_to_the_dense_system() -> None:
    """The error of the impulse response is of the order of the perturbation."""
    size, steps, delta, errors = 6, 40, 0.05, []
    a, b = hippo("legs", size)
    rng = np.random.default_rng(0)
    small, c = rng.standard_normal((size, size)), rng.standard_normal(size)
    impulse = np.eye(1, steps)[..., None]
    abar = scipy.linalg.expm(delta * a)
    bbar = np.linalg.solve(a, abar @ b - b)
    exact = recc.zoo.lssl(u=impulse[..., 0], A=abar, B=bbar, C=c)[0]
    for scale in (1e-2, 1e-3, 1e-4):
        values, basis = np.linalg.eig(a + scale * small)
        diagonal = {"A": values[None], "B": np.linalg.solve(basis, b + 0j)[None], "C": (c @ basis)[None] / 2}
        found = recc.zoo.s4d(u=impulse, **diagonal, delta=np.array([delta]), D=np.zeros(1))[0, :, 0]
        errors.append(rel_rms(found, exact) / scale)
    assert max(errors) < 2 * min(errors)


@pytest.mark.parametrize("kept", [2, 4, 6])
def test_a_distilled_filter_is_as_good_as_its_hankel_singular_values(kept: int) -> None:
    """Modes from the Hankel matrix of a filter: exact at its order, else off by what the singular values leave out."""
    steps = 64
    time = np.arange(steps)
    rates = np.array([-0.05 + 0.9j, -0.15 + 0.3j, -0.3 + 2j])
    tail = (np.array([1.0, 0.5, 0.2]) @ np.exp(np.outer(rates, time))).real
    hankel = scipy.linalg.hankel(tail[: steps // 2], tail[steps // 2 - 1 : -1])
    left, sizes, right = np.linalg.svd(hankel)
    root = np.sqrt(sizes[:kept])
    observe, reach = left[:, :kept] * root, root[:, None] * right[:kept]
    values, basis = np.linalg.eig(np.linalg.lstsq(observe[:-1], observe[1:], rcond=None)[0])
    residues = (observe[0] @ basis) * np.linalg.solve(basis, reach[:, 0] + 0j)
    ones = np.ones((1, steps, 1))
    filtered = recc.zoo.laughing_hyena(
        q=ones, k=np.eye(1, steps)[..., None], v=ones, decay=np.abs(values)[None], angle=np.angle(values)[None],
        R=residues[None], h0=np.array([0.7]),
    )[0, :, 0]  # fmt: skip
    wanted = np.concatenate([[0.7], tail[:-1]])
    bound = 1e-8 if kept == 6 else 4 * sizes[kept:].sum()
    assert np.abs(filtered - wanted).max() < bound
    assert kept == 6 or np.abs(filtered - wanted).max() > 1e-3


def test_the_gradient_of_stable_ssm_stays_in_proportion_to_its_weight() -> None:
    """Of `1 - 1 / (w^2 + 1/2)` the derivative over the square of the distance to 1 is `2 w`, the best that can be."""
    w = np.linspace(0.2, 30, 50)
    lam = 1 - 1 / (w**2 + 0.5)
    zero = {"U": np.zeros((50, 1)), "b": np.zeros(50), "C": np.zeros((1, 50))}
    _, state = recc.zoo.stable_ssm(
        x=np.zeros((1, 1, 1)), w=w, **zero, initial_state=np.ones((1, 50)), output_final_state=True
    )
    assert rel_rms(state[0], lam) < 1e-12
    step = 1e-6
    slope = (1 / (w**2 + 0.5) - 1 / ((w + step) ** 2 + 0.5)) / step
    assert np.allclose(slope / (1 - lam) ** 2, 2 * w, rtol=1e-4)
