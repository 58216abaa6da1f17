"""Discretisations against SciPy's, which computes them by other algorithms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import cont2discrete

from recc import init
from recc.errors import UsageError


def _system(seed: int = 0, n: int = 5, h: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, n)) - 2 * np.eye(n), rng.standard_normal((n, h))


def _scipy(a: np.ndarray, b: np.ndarray, delta: float, method: str, alpha: float | None = None) -> tuple:
    rest = np.zeros((1, len(a))), np.zeros((1, b.shape[1]))
    return cont2discrete((a, b, *rest), delta, method=method, alpha=alpha)[:2]


@pytest.mark.parametrize("delta", [0.01, 0.3, 5.0])
def test_zero_order_hold(delta: float) -> None:
    a, b = _system()
    for mine, other in zip(init.zoh(a, b, delta), _scipy(a, b, delta, "zoh"), strict=True):
        assert np.abs(mine - other).max() < 1e-11 * max(1, np.abs(other).max())


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_generalised_bilinear(alpha: float) -> None:
    a, b = _system(1)
    for mine, other in zip(init.discretise(a, b, 0.2, alpha), _scipy(a, b, 0.2, "gbt", alpha), strict=True):
        assert np.abs(mine - other).max() < 1e-12
    assert np.array_equal(init.bilinear(a, b, 0.2)[0], init.discretise(a, b, 0.2, 0.5)[0])


def test_eigenvalues_are_a_diagonal_matrix() -> None:
    rng = np.random.default_rng(2)
    a = -rng.random(4) + 1j * rng.standard_normal(4)
    a[0] = 0  # an integrator has no inverse
    b = rng.standard_normal((4, 3)) + 0j
    for way in (init.zoh, init.bilinear):
        (abar, bbar), (dense, driven) = way(a, b, 0.4), way(np.diag(a), b, 0.4)
        assert np.abs(np.diag(abar) - dense).max() < 1e-13 and np.abs(bbar - driven).max() < 1e-13
    steps = np.array([0.1, 0.2, 0.3, 0.4])
    each = [init.zoh(a[i : i + 1], b[i : i + 1], steps[i]) for i in range(4)]
    abar, bbar = init.zoh(a, b, steps)
    assert np.allclose(abar, np.concatenate([e[0] for e in each]), rtol=1e-15)
    assert np.allclose(bbar, np.concatenate([e[1] for e in each]), rtol=1e-15)


def test_a_vector_stays_a_vector() -> None:
    a, b = _system(3, h=1)
    assert init.zoh(a, b[:, 0], 0.1)[1].shape == (5,)
    assert np.allclose(init.zoh(a, b[:, 0], 0.1)[1], init.zoh(a, b, 0.1)[1][:, 0], rtol=1e-15)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((np.ones((2, 3)), np.ones(2), 0.1), "square matrix"),
        ((np.ones(2), np.ones(3), 0.1), "shape"),
        ((np.eye(2), np.ones(2), np.array([0.1, 0.2])), "one number"),
        ((np.ones(2), np.ones(2), -0.1), "positive steps"),
        ((np.ones(2), np.ones(2), np.nan), "positive steps"),
    ],
)
def test_what_cannot_be_is_said(arguments: tuple, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        init.zoh(*arguments)
    with pytest.raises(UsageError, match=match):
        init.bilinear(*arguments)
