"""The matrices against what they are defined by: coefficients of the past of a function, by quadrature."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import special

from recc import init
from recc.errors import UsageError

N = 6
NODES, WEIGHTS = np.polynomial.legendre.leggauss(80)
FADING, FADING_WEIGHTS = np.polynomial.laguerre.laggauss(60)
#: Polynomials of a degree below N, on which the equations of a window are exact too.
FUNCTIONS: list[Callable[[np.ndarray], np.ndarray]] = [
    lambda x: 1 + 0 * x,
    lambda x: x,
    lambda x: 2 - x**2 + 0.3 * x**4,
    lambda x: (x - 0.7) ** 5,
]


def _legendre(f: Callable[[np.ndarray], np.ndarray], start: float, end: float) -> np.ndarray:
    """Coefficients in the orthonormal Legendre basis of an interval with the uniform probability measure."""
    x = (start + end) / 2 + (end - start) / 2 * NODES
    return np.array(
        [(2 * n + 1) ** 0.5 * np.sum(WEIGHTS / 2 * f(x) * special.eval_legendre(n, NODES)) for n in range(N)]
    )


def _laguerre(f: Callable[[np.ndarray], np.ndarray], end: float) -> np.ndarray:
    return np.array([np.sum(FADING_WEIGHTS * f(end - FADING) * special.eval_laguerre(n, FADING)) for n in range(N)])


def _slope(c: Callable[[float], np.ndarray], at: float) -> np.ndarray:
    """The derivative by extrapolated differences."""

    def central(h: float) -> np.ndarray:
        return (c(at + h) - c(at - h)) / (2 * h)

    return (4 * central(5e-3) - central(1e-2)) / 3


@pytest.mark.parametrize("f", FUNCTIONS)
@pytest.mark.parametrize("measure", ["legs", "legt", "lagt"])
def test_coefficients_obey_the_equation(measure: str, f: Callable[[np.ndarray], np.ndarray]) -> None:
    coefficients = {
        "legs": lambda t: _legendre(f, 0.0, t),
        "legt": lambda t: _legendre(f, t - 1, t),
        "lagt": lambda t: _laguerre(f, t),
    }[measure]
    a, b = init.hippo(measure, N)
    t = 1.7
    claimed = (a @ coefficients(t) + b * f(np.array(t))) / (t if measure == "legs" else 1)
    slope = _slope(coefficients, t)
    assert np.abs(claimed - slope).max() < 1e-6 * max(1, np.abs(slope).max())


def test_fourier_modes_are_the_impulse_response() -> None:
    """`exp(tA) B` draws the basis over the window and vanishes behind it, the better the more modes there are."""
    a, b = init.hippo("fout", 512)
    steps = 4000
    abar, _ = init.zoh(a, b, 2 / steps)
    x, drawn = b, []
    for _ in range(steps):
        drawn.append(x[:6])
        x = abar @ x
    drawn = np.array(drawn)
    t = np.arange(steps) * 2 / steps
    root = 2**0.5
    basis = [1 + 0 * t, 0 * t, root * np.cos(2 * np.pi * t), root * np.sin(2 * np.pi * t)]
    inside, behind = (t > 0.1) & (t < 0.9), (t > 1.1) & (t < 1.9)
    for k, values in enumerate(basis):
        assert np.sqrt(np.mean((drawn[inside, k] - values[inside]) ** 2)) < 0.03, k
        assert np.sqrt(np.mean(drawn[behind, k] ** 2)) < 0.03, k


@pytest.mark.parametrize("measure", init.MEASURES)
def test_normal_plus_low_rank_is_the_matrix(measure: str) -> None:
    a, b = init.hippo(measure, 8)
    part = init.normal_plus_low_rank(measure, 8)
    v = np.concatenate([part.v, part.v.conj()], 1)
    eigenvalues = np.concatenate([part.eigenvalues, part.eigenvalues.conj()])
    p = np.concatenate([part.p, part.p.conj()], 1)
    assert np.abs(v.conj().T @ v - np.eye(8)).max() < 1e-12
    assert np.abs(v @ (np.diag(eigenvalues) - p.T @ p.conj()) @ v.conj().T - a).max() < 1e-12
    assert np.abs(v @ np.concatenate([part.b, part.b.conj()]) - b).max() < 1e-12
    assert (part.eigenvalues.real <= 1e-12).all() and (part.eigenvalues.imag >= 0).all()


def test_blocks_are_block_diagonal() -> None:
    eigenvalues, v, inverse = init.diagonal_blocks(12, 3)
    assert eigenvalues.shape == (6,) and v.shape == (12, 6) and inverse.shape == (6, 12)
    x = np.random.default_rng(0).standard_normal(12)
    assert np.abs(2 * (v @ (inverse @ x)).real - x).max() < 1e-12
    whole = 2 * (v @ np.diag(eigenvalues) @ inverse).real
    a, _ = init.hippo("legs", 4)
    root = np.sqrt(np.arange(4) + 0.5)
    assert np.abs(whole[4:8, 4:8] - (a + np.outer(root, root))).max() < 1e-12
    assert np.abs(whole[:4, 4:]).max() == 0


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: init.hippo("chebyshev", 4), "legs, legt, lagt, fout"),
        (lambda: init.hippo("fout", 3), "even"),
        (lambda: init.normal_plus_low_rank("legs", 5), "even"),
        (lambda: init.diagonal_blocks(12, 5), "blocks of even size"),
    ],
)
def test_what_cannot_be_is_said(call: Callable[[], object], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        call()
