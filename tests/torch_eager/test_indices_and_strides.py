"""What torch asks of its operands: indices that are whole numbers, matrices that lie together."""

from __future__ import annotations

import numpy as np

import recc

COUNTED = """
recurrence ranked(i, j = i)
    input  x[i]
    output y[t] = x[t, sum[j](x[t, j] < x[t, i])]
"""

TURNED = """
recurrence turned(d, n, m = n)
    input  gap
    param  G[d, n, m]
    output y[t] = expm[n, m](gap[t] * G)
"""


def test_a_sum_of_truth_values_is_an_index() -> None:
    x = np.array([[[3.0, 1.0, 2.0]]])
    for backend in ("numpy", "torch", "c"):
        assert np.array_equal(recc.compile(COUNTED, backend=backend)(x), [[[2.0, 3.0, 1.0]]])


def test_the_exponential_of_matrices_that_a_product_laid_out() -> None:
    rng = np.random.default_rng(0)
    gap, generators = rng.random((2, 5)), rng.standard_normal((3, 2, 2))
    expected = recc.compile(TURNED, backend="numpy")(gap, generators)
    assert np.allclose(recc.compile(TURNED, backend="torch")(gap, generators), expected, rtol=1e-12)
