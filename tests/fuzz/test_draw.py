"""What is drawn keeps what was promised."""

from __future__ import annotations

import numpy as np
import pytest

from recc.backends.numpy_reference import run
from recc.check import load
from recc.fuzz import Shapes, draw_arguments, draw_case, draw_initial
from recc.fuzz.drawing.case import laid_out, steps_around
from recc.fuzz.drawing.edges import KINDS, possible, zeros
from recc.runtime.domains import check_domain
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
    assert (x["neg"] == -80).any() == edges
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


SCORES = """
recurrence scores(n, m = n)
    input s[n], low[n] <= 0, w[n]
    param A[n, m]
    state h[n], g[n] = inf
    h[t] = max(low[t] + max[m](A + h[t-1, m]), s[t])
    g[t] = min(w[t] + g[t-1], 0)
    output y[t] = h[t] + 0 * sum[n](tanh(g[t]))
"""
SIZES_OF_SCORES = {"n": 3}


def _mixed(kind: str, text: str = DOMAINS) -> dict[str, np.ndarray]:
    (rec,) = load(text)
    return draw_arguments(rec, Shapes({**SIZES, "n": 6}, (50,), batch=2), np.random.default_rng(3), edges=[kind])


def test_every_kind_of_edge() -> None:
    x = _mixed("ends")
    assert {0.0, 1.0} <= set(x["closed"].ravel())
    assert x["half"].max() == 1.0
    assert 0 < x["half"].min() < 1e-5
    assert (x["u"] == 1).any()
    assert (_mixed("far")["neg"] == -80).any()
    tiny = _mixed("tiny")
    assert (np.abs(tiny["free"]) == 1e-40).any()
    assert (tiny["above"] == 1e-40).any()
    assert 0 < np.float32(1e-40) < np.finfo(np.float32).tiny
    ties = _mixed("ties")
    assert len(np.unique(ties["free"])) == len(np.unique(ties["W"])) == len(np.unique(ties["idx"])) == 1
    repeated = _mixed("repeated")
    assert (repeated["u"][:, 1:] == repeated["u"][:, :1]).all(axis=-1).mean() > 0.3
    assert len(np.unique(repeated["W"])) == repeated["W"].size
    assert len(np.unique(_mixed("flags")["flag"])) == 1
    assert np.abs(_mixed("huge")["b"]).max() > 100
    assert all(np.isfinite(v).all() for v in _mixed("infinite").values())


def test_infinities_are_the_zeros_of_semirings() -> None:
    (rec,) = load(SCORES)
    assert zeros(rec) == {"s": -np.inf, "low": -np.inf, "w": np.inf}
    assert not zeros(load(DOMAINS)[0])
    x = _mixed("infinite", SCORES)
    assert np.isneginf(x["s"]).any()
    assert np.isposinf(x["w"]).any()
    assert np.isfinite(x["A"]).all()
    assert not np.isnan(run(rec, x).outputs["y"]).any()


@pytest.mark.parametrize("text", [DOMAINS, SCORES], ids=["domains", "scores"])
def test_what_a_case_says_is_so(text: str) -> None:
    (rec,) = load(text)
    seen: set[str] = set()
    for number in range(120):
        case = draw_case(rec, number // 30, number, steps_around(4))
        seen |= set(case.kinds)
        assert case.edges == bool(set(case.kinds) & set(KINDS))
        assert ("no steps" in case.kinds) == (case.shapes.steps[0] == 0)
        assert ("one step" in case.kinds) == (case.shapes.steps[0] == 1)
        assert ("axes of size 1" in case.kinds) == (1 in case.shapes.sizes.values())
        assert ("empty sequences" in case.kinds) == (len(set(case.offsets)) < len(case.offsets))
        strange = [v for v in case.arguments.values() if not v.flags.c_contiguous]
        assert bool(strange) <= bool({"strided", "transposed"} & set(case.kinds))
        for symbol in rec.arguments:
            check_domain(rec, symbol, case.arguments[symbol.name], case.sizes)
        again = draw_case(rec, number // 30, number, steps_around(4))
        for name, value in case.arguments.items():
            np.testing.assert_array_equal(value, again.arguments[name])
            if value.dtype.kind == "f":
                np.testing.assert_array_equal(value, value.astype(np.float32))
    wanted = {*possible(rec), "no steps", "one step", "axes of size 1", "empty sequences", "strided", "transposed"}
    assert seen == wanted


def test_lengths_around_a_chunk_and_layouts() -> None:
    assert steps_around(8) == (0, 1, 7, 8, 9, 17)
    assert steps_around(1) == (0, 1, 2, 3)
    value = np.arange(24.0).reshape(2, 3, 4)
    for layout in ("transposed", "strided"):
        found = laid_out(value, layout)
        assert not found.flags.c_contiguous
        np.testing.assert_array_equal(found, value)
