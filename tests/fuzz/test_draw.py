"""What is drawn keeps what was promised."""

from __future__ import annotations

import numpy as np
import pytest

from recc.backends.numpy_reference import run
from recc.check import load
from recc.fuzz import Shapes, draw_arguments, draw_initial
from tests.fuzz.programs import SMOOTH, Case

DOMAINS = """
recurrence domains(d, n, m = n, a)
    input free[d], neg <= 0, below < 0, pos[d] >= 0, above > 0, from_one >= 1, closed in [0, 1]
    input half in (0, 1], low <= -2
    input u[d] unit, z[d] complex, uz[d] complex unit, idx int(a), flag bool
    param A[n, m], W[n, d], b[n], g[n] in (0, 1), E[a]
    const c[n]
    state h[n]
    h[t] = sum[m](A * h[t-1, m]) + c * b * g + sum[d](W * free[t])
    output y[t] = h[t]
    output z1[t] = neg[t] + below[t] + above[t] + from_one[t] + closed[t] + half[t] + low[t] + E[a = idx[t]] * flag[t]
    output z2[t] = pos[t] + u[t] + re(z[t] * uz[t])
"""
SIZES = {"d": 4, "n": 16, "a": 3}


@pytest.mark.parametrize("edges", [False, True])
def test_domains(edges: bool) -> None:
    (rec,) = load(DOMAINS)
    shapes = Shapes(SIZES, (500,), batch=2, heads=(3,))
    x = draw_arguments(rec, shapes, np.random.default_rng(0), edges=edges)
    assert {s.name for s in rec.arguments} == set(x)
    assert x["neg"].shape == (2, 500, 3)
    assert x["pos"].shape == (2, 500, 3, 4)
    assert x["A"].shape == (16, 16)
    assert (x["neg"] <= 0).all()
    assert (x["below"] < 0).all()
    assert (x["pos"] >= 0).all()
    assert (x["above"] > 0).all()
    assert (x["from_one"] >= 1).all()
    assert (x["low"] <= -2).all()
    assert ((x["closed"] >= 0) & (x["closed"] <= 1)).all()
    assert ((x["half"] > 0) & (x["half"] <= 1)).all()
    assert ((x["g"] > 0) & (x["g"] < 1)).all()
    for name in ("u", "uz"):
        np.testing.assert_allclose(np.linalg.norm(x[name], axis=-1), 1, rtol=1e-12)
    assert x["z"].dtype == x["uz"].dtype == np.complex128
    assert set(np.unique(x["idx"])) == {0, 1, 2}
    assert x["flag"].dtype == np.bool_
    assert ((x["neg"] == 0).any(), (x["closed"] == 1).any(), (x["closed"] == 0).any()) == (edges,) * 3
    assert (x["neg"] == -30).any() == edges
    assert (x["free"] == 0).any() == edges


def test_half_lines_have_several_sizes() -> None:
    (rec,) = load(DOMAINS)
    x = draw_arguments(rec, Shapes(SIZES, (1000,)), np.random.default_rng(1))
    small, large = np.quantile(-x["neg"], [0.05, 0.95])
    assert small < 0.08
    assert large > 2


def test_a_dense_parameter_contracts() -> None:
    (rec,) = load(DOMAINS)
    for seed in range(5):
        a = draw_arguments(rec, Shapes({**SIZES, "n": 64}, (1,)), np.random.default_rng(seed))["A"]
        assert np.abs(np.linalg.eigvals(a)).max() < 0.9


def test_dtype_seed_and_batch_of_parameters() -> None:
    (rec,) = load(DOMAINS)
    shapes = Shapes(SIZES, (5,), heads=(3,), params_have_batch=True)
    first, second = (draw_arguments(rec, shapes, np.random.default_rng(7), dtype=np.float32) for _ in range(2))
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])
    assert first["free"].dtype == np.float32
    assert first["z"].dtype == np.complex64
    assert first["A"].shape == (3, 16, 16)


@pytest.mark.parametrize("case", SMOOTH, ids=str)
@pytest.mark.parametrize("edges", [False, True])
def test_every_program_runs_on_what_is_drawn(case: Case, edges: bool) -> None:
    rng = np.random.default_rng(0)
    shapes = case.shapes(heads=(2,))
    arguments, initial = draw_arguments(case.rec, shapes, rng, edges=edges), draw_initial(case.rec, shapes, rng)
    result = run(case.rec, arguments, initial=initial)
    for symbol in case.rec.outputs:
        value = result.outputs[symbol.name]
        assert value.shape == (2, *case.steps, 2, *shapes.of(case.rec, symbol.axes))
        assert np.isfinite(value).all()


def test_no_elements_at_all() -> None:
    (rec,) = load(DOMAINS)
    x = draw_arguments(rec, Shapes({"d": 0, "n": 0, "a": 0}, (0,)), np.random.default_rng(0), edges=True)
    assert x["u"].shape == (1, 0, 0)
