"""The reference on probabilistic recurrences: Kalman filters, hidden Markov chains, automata."""

from __future__ import annotations

import itertools

import numpy as np
import statsmodels.api as sm

from recc.backends.numpy_reference import run
from tests.reference.programs import close, outputs, program

LOCAL_LEVEL = """
recurrence local_level
    "The level of a noisy random walk, by the Kalman filter."
    input y
    param q >= 0, r > 0, m0, p0
    state m = m0, p = p0 - q
    ahead[t] = p[t-1] + q
    gain[t] = ahead[t] / (ahead[t] + r)
    m[t] = m[t-1] + gain[t] * (y[t] - m[t-1])
    p[t] = (1 - gain[t]) * ahead[t]
    output level[t] = m[t]
    output variance[t] = p[t]
"""

KALMAN = """
recurrence kalman(n, m = n, k = n, o, p = o)
    input y[o]
    param F[n, m], Q[n, m], H[o, n], R[o, p]
    const P0[n, m]
    state x[n], P[n, m] = P0
    xa[t] = sum[m](F * x[t-1, m])
    FP[t, n, k] = sum[m](F * P[t-1, m, k])
    Pa[t, n, m] = sum[k](FP[t] * F[m, k]) + Q
    PH[t, n, o] = sum[m](Pa[t] * H[o, m])
    S[t, o, p] = sum[n](H * PH[t, n, p]) + R
    W[t, o, p] = inv[o, p](S[t])
    K[t, n, o] = sum[p](PH[t, n, p] * W[t, p, o])
    x[t] = xa[t] + sum[o](K[t] * (y[t] - sum[n](H * xa[t])))
    P[t, n, m] = Pa[t] - sum[o](K[t] * PH[t, m, o])
    output average[t] = x[t]
    output cov[t, n, m] = P[t]
"""

VITERBI = """
recurrence viterbi(s, r = s)
    input e[s]
    param A[s, r]
    const start[s]
    state v[s] = -inf
    v[t] = e[t] + where(t == 0, start, max[r](A + v[t-1, r]))
    output best[t] = max[s](v[t])
    output score[t] = v[t]
"""

FORWARD = """
recurrence forward(s, r = s, a)
    input sym int(a)
    param A[s, r], E[s, a]
    const start[s]
    state v[s] = start
    v[t] = E[a = sym[t]] + logsumexp[r](A + v[t-1, r])
    output likelihood[t] = logsumexp[s](v[t])
"""

AUTOMATON = """
recurrence automaton(a, b)
    input sym int(b)
    const next[a, b] int(a)
    state q int(a)
    q[t] = next[a = q[t-1], b = sym[t]]
    output y[t] = q[t]
"""


def test_a_kalman_filter_on_the_nile() -> None:
    nile = sm.datasets.nile.load_pandas().data["volume"].to_numpy(np.float64)
    model = sm.tsa.UnobservedComponents(nile, "llevel")
    model.initialize_known(np.array([0.0]), np.array([[1e7]]))
    fitted = model.filter([15099.0, 1469.1])  # Durbin and Koopman's variances: observation, level
    arguments = {"y": nile[None], "q": 1469.1, "r": 15099.0, "m0": 0.0, "p0": 1e7}
    out = outputs(LOCAL_LEVEL, arguments)
    close(out["level"][0], fitted.filtered_state[0], 1e-10)
    close(out["variance"][0], fitted.filtered_state_cov[0, 0], 1e-10)


def test_a_kalman_filter_with_matrices() -> None:
    rng = np.random.default_rng(0)
    n, o, steps = 3, 2, 40
    f = rng.standard_normal((n, n)) * 0.4
    h = rng.standard_normal((o, n))
    q, r, p0 = (a @ a.T + np.eye(len(a)) for a in (rng.standard_normal((n, n)), rng.standard_normal((o, o)), np.eye(n)))
    y = rng.standard_normal((1, steps, o))
    model = sm.tsa.statespace.MLEModel(y[0], k_states=n, k_posdef=n)
    model["design"], model["transition"], model["selection"] = h, f, np.eye(n)
    model["obs_cov"], model["state_cov"] = r, q
    model.ssm.initialize_known(np.zeros(n), f @ p0 @ f.T + q)  # statsmodels begins with the first prediction
    fitted = model.ssm.filter()
    out = outputs(KALMAN, {"y": y, "F": f, "Q": q, "H": h, "R": r, "P0": p0})
    close(out["average"][0], fitted.filtered_state.T, 1e-10)
    close(out["cov"][0], fitted.filtered_state_cov.transpose(2, 0, 1), 1e-10)


def _paths(states: int, steps: int) -> itertools.product[tuple[int, ...]]:
    return itertools.product(range(states), repeat=steps)


def test_viterbi_against_every_path() -> None:
    rng = np.random.default_rng(1)
    states, steps = 3, 6
    a, e = np.log(rng.dirichlet(np.ones(states), states)).T, rng.standard_normal((1, steps, states))
    a[0, 1] = -np.inf  # a transition that cannot happen
    start = np.log([0.5, 0.5, 1e-300]) * [1, 1, np.inf]
    out = outputs(VITERBI, {"e": e, "A": a, "start": start})
    for length in range(1, steps + 1):
        scores = []
        for path in _paths(states, length):
            score = start[path[0]] + e[0, 0, path[0]]
            for t in range(1, length):
                score += a[path[t], path[t - 1]] + e[0, t, path[t]]
            scores.append(score)
        np.testing.assert_allclose(out["best"][0, length - 1], max(scores), rtol=1e-13)
    assert not np.isnan(out["score"]).any()
    assert np.isneginf(out["score"]).any()


def test_the_forward_algorithm_against_every_path() -> None:
    rng = np.random.default_rng(2)
    states, symbols, steps = 3, 4, 5
    trans, emit = rng.dirichlet(np.ones(states), states).T, rng.dirichlet(np.ones(symbols), states)
    start = np.array([1.0, 0, 0])
    sym = rng.integers(0, symbols, (2, steps))
    with np.errstate(divide="ignore"):
        arguments = {"sym": sym, "A": np.log(trans), "E": np.log(emit), "start": np.log(start)}
    out = outputs(FORWARD, arguments)["likelihood"]
    for b in range(2):
        total = 0.0
        for path in _paths(states, steps + 1):
            p = start[path[0]]
            for t in range(steps):
                p *= trans[path[t + 1], path[t]] * emit[path[t + 1], sym[b, t]]
            total += p
        np.testing.assert_allclose(out[b, -1], np.log(total), rtol=1e-12)


def test_a_finite_automaton() -> None:
    rng = np.random.default_rng(3)
    table, sym = rng.integers(0, 5, (5, 2)), rng.integers(0, 2, (3, 50))
    run_result = run(program(AUTOMATON), {"sym": sym, "next": table})
    assert run_result.outputs["y"].dtype == np.int64
    for b in range(3):
        state = 0
        for t in range(50):
            state = table[state, sym[b, t]]
            assert run_result.outputs["y"][b, t] == state
