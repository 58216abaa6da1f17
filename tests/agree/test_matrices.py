"""Functions of matrices on every CPU backend, against SciPy, and where there is nothing to give."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

import recc

EXPONENTIAL = """
recurrence exponential(n, m = n)
    input  A[n, m]
    output y[t] = expm[n, m](A[t])
"""
SINGULAR = """
recurrence singular(n, m = n)
    input  A[n, m], x[n]
    output y[t] = solve[n, m](A[t], x[t])
    output z[t] = inv[n, m](A[t])
"""


def matrix(norm: float, seed: int = 0) -> np.ndarray:
    """A matrix of a 1-norm."""
    found = np.random.default_rng(seed).standard_normal((4, 4))
    return norm * found / np.abs(found).sum(0).max()


@pytest.mark.parametrize("norm", [0.0, 1e-3, 0.02, 0.0498, 0.5, 1.2, 8.0, 30.0])
@pytest.mark.parametrize("backend", ["numpy", "c", "torch"])
def test_exponential(backend: str, norm: float) -> None:
    a = matrix(norm)
    op = recc.compile(EXPONENTIAL, backend=backend)
    (found,) = np.asarray(op(A=torch.tensor(a)[None, None]))[0]
    expected = scipy.linalg.expm(a)
    assert np.linalg.norm(found - expected) < 1e-14 * max(1, norm) * np.linalg.norm(expected)


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("norm", [0.0, 0.02, 1.2, 30.0])
@pytest.mark.parametrize("backend", ["c", "torch"])
def test_gradient_of_an_exponential(backend: str, norm: float, size: float) -> None:
    """The relative error does not go by the size of the cotangent."""
    a, g = matrix(norm), matrix(size, seed=1)
    leaf = torch.tensor(a)[None, None].requires_grad_()
    y = recc.compile(EXPONENTIAL, backend=backend)(A=leaf)
    (found,) = torch.autograd.grad(y, leaf, torch.tensor(g)[None, None])
    expected = scipy.linalg.expm_frechet(a.T, g, compute_expm=False)
    assert np.linalg.norm(found[0, 0].numpy() - expected) < 1e-14 * max(1, norm) * np.linalg.norm(expected)


@pytest.mark.parametrize("a", [[[1.0, 2.0], [2.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
@pytest.mark.parametrize("backend", ["numpy", "c", "torch"])
def test_a_singular_matrix_gives_no_number_and_no_error(backend: str, a: list[list[float]]) -> None:
    """It is left to that step: another one is solved."""
    matrices = torch.tensor([[a, [[2.0, 0.0], [0.0, 4.0]]]], dtype=torch.float64)
    y, z = recc.compile(SINGULAR, backend=backend)(A=matrices, x=torch.ones(1, 2, 2, dtype=torch.float64))
    assert not np.isfinite(np.asarray(y)[0, 0]).all() and not np.isfinite(np.asarray(z)[0, 0]).all()
    np.testing.assert_array_equal(np.asarray(y)[0, 1], [0.5, 0.25])
    np.testing.assert_array_equal(np.asarray(z)[0, 1], [[0.5, 0.0], [0.0, 0.25]])
