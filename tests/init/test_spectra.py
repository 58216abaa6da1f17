"""Eigenvalues, time scales and stable parameterisations against what the papers say of them."""

from __future__ import annotations

import numpy as np
import pytest

from recc import init
from recc.errors import UsageError


def test_diagonal_state_spaces() -> None:
    assert np.allclose(init.diagonal("linear", 6), [-0.5, -0.5 + np.pi * 1j, -0.5 + 2 * np.pi * 1j])
    inverse = init.diagonal("inverse", 4)
    assert np.allclose(inverse, [-0.5 + 1j * 4 / np.pi * 3, -0.5 + 1j * 4 / np.pi * (4 / 3 - 1)])
    n = 64
    root = np.sqrt(np.arange(n) + 0.5)
    normal = init.hippo("legs", n)[0] + np.outer(root, root)
    found = init.diagonal("legs", n)
    others = np.linalg.eigvals(normal)
    others = others[others.imag > 0]
    assert np.allclose(np.sort(found.imag), np.sort(others.imag), rtol=1e-9) and np.allclose(found.real, -0.5)
    # The inverse law approaches the largest frequencies (the paper's conjecture 5: n^2 / pi).
    assert abs(found.imag.max() / init.diagonal("inverse", n).imag.max() - 1) < 0.1


def test_the_ring() -> None:
    nu, theta, log_gamma = init.ring(20_000, np.random.default_rng(0), 0.5, 0.9, np.pi)
    eigenvalues = np.exp(-np.exp(nu) + 1j * np.exp(theta))
    modulus = np.abs(eigenvalues)
    assert modulus.min() >= 0.5 and modulus.max() <= 0.9
    assert np.angle(eigenvalues).min() >= 0
    # Uniform in area: the share below a radius r is (r^2 - 0.25) / (0.81 - 0.25).
    assert abs(np.mean(modulus < 0.7) - (0.49 - 0.25) / (0.81 - 0.25)) < 0.015
    assert abs(np.mean(np.angle(eigenvalues) < 1) - 1 / np.pi) < 0.015
    # A state driven by white noise of unit variance has unit variance.
    assert np.allclose(np.exp(2 * log_gamma) / (1 - modulus**2), 1)


def test_time_scales() -> None:
    delta = init.log_uniform((1000, 2), np.random.default_rng(1), 1e-3, 0.1, floor=2e-3)
    assert delta.shape == (1000, 2) and delta.min() == 2e-3 and delta.max() <= 0.1
    assert abs(np.median(delta) / 1e-2 - 1) < 0.2
    assert np.allclose(np.logaddexp(0, init.softplus_inverse(delta)), delta, rtol=1e-13)
    assert np.array_equal(init.arithmetic(2, 3), [[-1, -2, -3], [-1, -2, -3]])


@pytest.mark.parametrize("name", init.STABLE)
def test_stable_for_every_weight(name: str) -> None:
    way = init.STABLE[name]
    w = np.linspace(0.1, 30, 200) if way.law.endswith("0.5)") else np.linspace(-15, 15, 201)
    eigenvalues = way.forward(w)
    assert (eigenvalues <= 0).all() if way.continuous else (np.abs(eigenvalues) <= 1).all()
    inner = np.abs(w) < 10
    assert np.allclose(way.inverse(eigenvalues[inner]), w[inner], rtol=1e-6)


def test_the_best_bounds_gradient_over_weight() -> None:
    """The paper's quantity, |f'| / f^2 over |w|, tends to a constant for the best law and grows for others."""

    def ratio(name: str, w: float) -> float:
        way, step = init.STABLE[name], 1e-5
        slope = (way.forward(w + step) - way.forward(w - step)) / (2 * step)
        return float(abs(slope) / way.forward(w) ** 2 / abs(w))

    assert abs(ratio("best", 3.0) - 2) < 1e-6 and abs(ratio("best", 300.0) - 2) < 1e-3
    assert ratio("exp", -10.0) > 100 * ratio("exp", -3.0)


def test_laws_are_formulas_of_the_language() -> None:
    import recc

    w = np.array([0.3, 1.0, 2.0])
    for way in init.STABLE.values():
        op = recc.compile(
            f"recurrence law(d)\n input x[d]\n param w[d]\n f = {way.law}\n output y[t] = f * x[t]", backend="numpy"
        )
        assert np.allclose(op(np.ones((1, 1, 3)), w)[0, 0], way.forward(w), rtol=1e-12)


def test_outside_the_image_there_is_no_weight() -> None:
    assert np.isnan(init.STABLE["best"].inverse(-3.0)) and np.isnan(init.STABLE["best discrete"].inverse(-2.0))


def test_what_cannot_be_is_said() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(UsageError, match="linear, inverse or legs"):
        init.diagonal("random", 4)
    with pytest.raises(UsageError, match="even"):
        init.diagonal("linear", 3)
    with pytest.raises(UsageError, match="low < high"):
        init.ring(4, rng, 0.9, 0.5)
    with pytest.raises(UsageError, match="0 < low"):
        init.log_uniform(3, rng, 0.0, 1.0)
    with pytest.raises(UsageError, match="positive"):
        init.softplus_inverse([0.0])
