"""Lags in both directions, several scan axes, shifts along axes with their edges, gathers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from tests.reference.programs import close, outputs, result
from tests.texts import CORNERS

RIGHT_TO_LEFT = """
recurrence suffix
    input x
    param a
    state h
    h[t] = a * h[t+1] + x[t]
    output y[t] = h[t]
"""

BIDIRECTIONAL = """
recurrence both_ways
    input x
    param a
    state l = 2, r = 3
    l[t] = a * l[t-1] + x[t]
    r[t] = a * r[t+1] + x[t]
    output y[t] = l[t-1] + 10 * r[t+1]
    output z[t] = l[t+1] + 10 * r[t-1]
"""

RESETS = """
recurrence resets
    input x, reset bool
    param a
    state h
    h[t] = where(reset[t], 0, a * h[t-1]) + x[t]
    output y[t] = h[t]
"""

ROESSER = """
recurrence roesser(n, m = n) over r, c
    input x
    param A1[n, m], A2[n, m], A3[n, m], A4[n, m], B1[n], B2[n], C1[n], C2[n]
    state h[n], v[n]
    h[r, c] = sum[m](A1 * h[r, c-1, m] + A2 * v[r-1, c, m]) + B1 * x[r, c]
    v[r, c] = sum[m](A3 * h[r, c-1, m] + A4 * v[r-1, c, m]) + B2 * x[r, c]
    output y[r, c] = sum[n](C1 * h[r, c] + C2 * v[r, c])
"""

STENCIL = """
recurrence stencil(x {edge}, y)
    input u[x, y]
    param w0, w1, w2
    state s[x, y]
    s[t] = 0.5 * (w0 * s[t-1, x-1, y] + w1 * s[t-1] + w2 * s[t-1, x+2, y]) + u[t]
    output o[t] = s[t]
    output d[t] = u[t, x+1, y] - u[t, x-1, y]
"""


def test_right_to_left() -> None:
    x = np.random.default_rng(0).standard_normal((2, 30))
    expected = np.zeros((2, 30))
    h = np.zeros(2)
    for t in reversed(range(30)):
        h = expected[:, t] = 0.7 * h + x[:, t]
    run = result(RIGHT_TO_LEFT, {"x": x, "a": 0.7})
    close(run.outputs["y"], expected)
    close(run.final["h"], expected[:, 0])


def test_both_directions_and_the_sides_of_the_initial_values() -> None:
    x = np.random.default_rng(1).standard_normal(8)
    left, right = [2.0], [3.0]
    for t in range(8):
        left.append(0.5 * left[-1] + x[t])
        right.append(0.5 * right[-1] + x[7 - t])
    before, after = np.array(left), np.array(right)[::-1]  # l[-1..7], r[0..8]
    out = outputs(BIDIRECTIONAL, {"x": x[None], "a": 0.5})
    close(out["y"][0], before[:8] + 10 * after[1:])
    close(out["z"][0], np.append(before[2:], 0) + 10 * np.append(0, after[:7]))


def test_resets() -> None:
    rng = np.random.default_rng(2)
    x, reset = rng.standard_normal((2, 40)), rng.random((2, 40)) < 0.2
    out = outputs(RESETS, {"x": x, "reset": reset, "a": 0.9})["y"]
    for b in range(2):
        h = 0.0
        for t in range(40):
            h = x[b, t] + (0 if reset[b, t] else 0.9 * h)
            close(out[b, t], h)


def test_two_scan_axes_against_a_double_loop() -> None:
    rng = np.random.default_rng(3)
    n, rows, cols = 3, 6, 7
    x = rng.standard_normal((2, rows, cols))
    a = {f"A{k}": rng.standard_normal((n, n)) * 0.3 for k in range(1, 5)}
    b = {name: rng.standard_normal(n) for name in ("B1", "B2", "C1", "C2")}
    h, v = np.zeros((2, rows + 1, cols + 1, n)), np.zeros((2, rows + 1, cols + 1, n))
    expected = np.zeros((2, rows, cols))
    for r in range(rows):
        for c in range(cols):
            left, above, drive = h[:, r, c - 1], v[:, r - 1, c], x[:, r, c, None]
            h[:, r, c] = left @ a["A1"].T + above @ a["A2"].T + drive * b["B1"]
            v[:, r, c] = left @ a["A3"].T + above @ a["A4"].T + drive * b["B2"]
            expected[:, r, c] = h[:, r, c] @ b["C1"] + v[:, r, c] @ b["C2"]
    run = result(ROESSER, {"x": x, **a, **b})
    close(run.outputs["y"], expected)
    assert run.final == {}


def test_two_scan_axes_in_opposite_directions() -> None:
    x = np.random.default_rng(4).standard_normal((1, 4, 5))
    h = np.full((6, 6), 5.0)
    for r in range(4):
        for c in reversed(range(5)):
            h[r + 1, c] = 0.5 * h[r, c] + 0.5 * h[r + 1, c + 1] + x[0, r, c]
    shifted = np.zeros((4, 5))
    shifted[:3, 1:] = x[0, 1:, :4]
    out = outputs(CORNERS, {"x": x, "a": 0.5})
    close(out["y"][0], h[1:5, :5] + shifted)
    before = np.zeros((4, 5))  # beyond the end of c a state is zero, on the side it starts from in r as well
    before[:, 1:] = h[:4, :4]
    close(out["z"][0], before + 10 * h[:4, 1:])


@pytest.mark.parametrize(
    ("edge", "mode"), [("zero", "constant"), ("wrap", "wrap"), ("clamp", "nearest"), ("", "constant")]
)
def test_shifts_along_an_axis_and_their_edges(edge: str, mode: str) -> None:
    rng = np.random.default_rng(5)
    u = rng.standard_normal((2, 10, 6, 3))
    out = outputs(STENCIL.format(edge=edge), {"u": u, "w0": 0.3, "w1": -0.5, "w2": 0.9})
    s = np.zeros((2, 6, 3))
    for t in range(10):
        s = 0.5 * scipy.ndimage.correlate1d(s, [0, 0.3, -0.5, 0, 0.9], axis=1, mode=mode) + u[:, t]
        close(out["o"][:, t], s)
    close(out["d"], scipy.ndimage.correlate1d(u, [-1, 0, 1], axis=2, mode=mode))


def test_a_shift_longer_than_the_axis() -> None:
    for edge, expected in (("zero", [0, 0, 0]), ("wrap", [2, 0, 1]), ("clamp", [2, 2, 2])):
        text = f"recurrence far(x {edge})\n input u[x]\n output y[t] = u[t, x+5]\n"
        close(outputs(text, {"u": np.arange(3.0).reshape(1, 1, 3)})["y"][0, 0], expected)


def test_transposed_and_diagonal_reads() -> None:
    text = """
recurrence indices(n, m = n)
    input x[n]
    param A[n, m]
    output transposed[t] = sum[n](A[m, n] * x[t])
    output diagonal[t] = A[n, n] * x[t]
"""
    rng = np.random.default_rng(6)
    a, x = rng.standard_normal((4, 4)), rng.standard_normal((2, 5, 4))
    out = outputs(text, {"A": a, "x": x})
    close(out["transposed"], x @ a.T)
    close(out["diagonal"], x * np.diag(a))


def test_gathers_by_name_position_and_number() -> None:
    text = """
recurrence gathers(n, a)
    input sym int(a), idx[n] int(a), x[n, a]
    param M[n, a]
    output named[t] = M[a = sym[t]]
    output positional[t] = x[t, n, idx[t]]
    output constant[t] = x[t, 0, 2]
    output shifted[t] = x[t, n, sym[t] + 1]
"""
    rng = np.random.default_rng(7)
    n, a = 3, 4
    sym, idx = rng.integers(0, a, (2, 6)), rng.integers(0, a, (2, 6, n))
    x, m = rng.standard_normal((2, 6, n, a)), rng.standard_normal((n, a))
    out = outputs(text, {"sym": sym, "idx": idx, "x": x, "M": m})
    padded = np.concatenate([x, np.zeros((2, 6, n, 1))], axis=-1)
    for b in range(2):
        for t in range(6):
            close(out["named"][b, t], m[:, sym[b, t]])
            close(out["positional"][b, t], [x[b, t, i, idx[b, t, i]] for i in range(n)])
            close(out["constant"][b, t], x[b, t, 0, 2])
            close(out["shifted"][b, t], padded[b, t, :, sym[b, t] + 1])


def test_a_gather_from_a_parameter_of_each_head() -> None:
    text = "recurrence heads(n, a)\n input sym int(a)\n param M[n, a]\n output y[t] = M[a = sym[t]]\n"
    rng = np.random.default_rng(8)
    m, sym = rng.standard_normal((5, 3, 4)), rng.integers(0, 4, (2, 6, 5))
    out = outputs(text, {"sym": sym, "M": m})["y"]
    for h in range(5):
        close(out[:, :, h], m[h].T[sym[:, :, h]])


def test_lagged_inputs_and_intermediates() -> None:
    text = """
recurrence lags
    input x
    z[t] = x[t] * x[t]
    output y[t] = x[t-1] + 10 * x[t+2] + 100 * z[t-2]
"""
    x = np.arange(1.0, 6)
    out = outputs(text, {"x": x[None]})["y"][0]
    close(out, [0 + 30 + 0, 1 + 40 + 0, 2 + 50 + 100, 3 + 0 + 400, 4 + 0 + 900])


def test_a_state_that_is_only_written() -> None:
    text = "recurrence kept(d)\n input x[d]\n state s[d] = 7\n s[t] = 2 * x[t]\n output y[t] = s[t-1]\n"
    x = np.arange(6.0).reshape(1, 3, 2)
    run = result(text, {"x": x})
    close(run.outputs["y"][0], [[7, 7], [0, 2], [4, 6]])
    close(run.final["s"][0], [8, 10])
