"""The reference on recurrent networks, against torch and against formulas over the whole sequence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.reference.programs import close, outputs, result

LSTM = """
recurrence lstm(h, g = h, d)
    input x[d]
    param Wi[h, d], Wf[h, d], Wc[h, d], Wo[h, d], Ui[h, g], Uf[h, g], Uc[h, g], Uo[h, g], bi[h], bf[h], bc[h], bo[h]
    state c[h], y[h]
    i[t] = sigmoid(sum[d](Wi * x[t]) + sum[g](Ui * y[t-1, g]) + bi)
    f[t] = sigmoid(sum[d](Wf * x[t]) + sum[g](Uf * y[t-1, g]) + bf)
    z[t] = tanh(sum[d](Wc * x[t]) + sum[g](Uc * y[t-1, g]) + bc)
    o[t] = sigmoid(sum[d](Wo * x[t]) + sum[g](Uo * y[t-1, g]) + bo)
    c[t] = f[t] * c[t-1] + i[t] * z[t]
    y[t] = o[t] * tanh(c[t])
    output out[t] = y[t]
"""

GRU = """
recurrence gru(h, g = h, d)
    input x[d]
    param Wr[h, d], Wz[h, d], Wn[h, d], Ur[h, g], Uz[h, g], Un[h, g], br[h], bz[h], bn[h], cr[h], cz[h], cn[h]
    state y[h]
    def mix(W, U, b, c) = W + U + b + c
    r[t] = sigmoid(mix(sum[d](Wr * x[t]), sum[g](Ur * y[t-1, g]), br, cr))
    z[t] = sigmoid(mix(sum[d](Wz * x[t]), sum[g](Uz * y[t-1, g]), bz, cz))
    n[t] = tanh(sum[d](Wn * x[t]) + bn + r[t] * (sum[g](Un * y[t-1, g]) + cn))
    y[t] = (1 - z[t]) * n[t] + z[t] * y[t-1]
    output out[t] = y[t]
"""

LINEAR_ATTENTION = """
recurrence decayed_attention(i, j)
    input q[i], k[i], v[j], g <= 0
    state S[i, j]
    S[t] = exp(g[t]) * S[t-1] + k[t] * v[t]
    output o[t] = sum[i](q[t] * S[t])
"""

DELTA = """
recurrence delta(i, j)
    input q[i], k[i] unit, v[j], beta in [0, 1]
    state S[i, j]
    S[t] = S[t-1] + beta[t] * k[t] * (v[t] - sum[i](k[t] * S[t-1]))
    output o[t] = sum[i](q[t] * S[t])
"""

STABILISED = """
recurrence stabilised(i, j)
    input q[i], k[i], v[j], f <= 0, u
    state C[i, j], z[i], m = -inf
    m[t] = max(f[t] + m[t-1], u[t])
    keep[t] = exp(f[t] + m[t-1] - m[t])
    C[t] = keep[t] * C[t-1] + exp(u[t] - m[t]) * k[t] * v[t]
    z[t] = keep[t] * z[t-1] + exp(u[t] - m[t]) * k[t]
    output h[t] = sum[i](q[t] * C[t]) / max(abs(sum[i](q[t] * z[t])), exp(-m[t]))
"""


def _gates(cell: torch.nn.RNNBase, names: str) -> dict[str, np.ndarray]:
    found = {}
    for matrix, letter in (("weight_ih_l0", "W"), ("weight_hh_l0", "U"), ("bias_ih_l0", "b"), ("bias_hh_l0", "c")):
        parts = getattr(cell, matrix).detach().numpy().reshape(len(names), cell.hidden_size, -1)
        for name, part in zip(names, parts, strict=True):
            found[letter + name] = part[:, 0] if letter in "bc" else part
    return found


def test_lstm() -> None:
    torch.manual_seed(0)
    cell = torch.nn.LSTM(3, 5, batch_first=True, dtype=torch.float64)
    x, h0, c0 = torch.randn(2, 20, 3), torch.randn(2, 5), torch.randn(2, 5)
    x, h0, c0 = x.double(), h0.double(), c0.double()
    expected, (h1, c1) = cell(x, (h0[None], c0[None]))
    weights = _gates(cell, "ifco")
    for name in "ifco":
        weights["b" + name] = weights["b" + name] + weights.pop("c" + name)
    run = result(LSTM, {"x": x.numpy(), **weights}, initial={"c": c0.numpy(), "y": h0.numpy()})
    close(run.outputs["out"], expected.detach().numpy())
    close(run.final["y"], h1[0].detach().numpy())
    close(run.final["c"], c1[0].detach().numpy())


def test_gru() -> None:
    torch.manual_seed(1)
    cell = torch.nn.GRU(3, 4, batch_first=True, dtype=torch.float64)
    x = torch.randn(2, 20, 3, dtype=torch.float64)
    close(outputs(GRU, {"x": x.numpy(), **_gates(cell, "rzn")})["out"], cell(x)[0].detach().numpy())


def _attention_arguments(rng: np.random.Generator, heads: tuple[int, ...] = ()) -> dict[str, np.ndarray]:
    lead = (2, 24, *heads)
    return {"q": rng.standard_normal((*lead, 3)), "k": rng.standard_normal((*lead, 3)),
            "v": rng.standard_normal((*lead, 4))}  # fmt: skip


@pytest.mark.parametrize("heads", [(), (3,), (2, 3)])
def test_linear_attention_is_a_masked_product(heads: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    a = _attention_arguments(rng, heads)
    g = -rng.random((2, 24, *heads))
    total = np.cumsum(g, axis=1)
    q, k, v, total = (np.moveaxis(x, 1, -2) for x in (*a.values(), total[..., None]))
    mask = np.tril(np.exp(total - np.swapaxes(total, -1, -2)))
    expected = np.moveaxis((q @ np.swapaxes(k, -1, -2) * mask) @ v, -2, 1)
    close(outputs(LINEAR_ATTENTION, {**a, "g": g})["o"], expected)


def test_grouped_heads_broadcast() -> None:
    rng = np.random.default_rng(1)
    a = _attention_arguments(rng, (4,)) | {"g": -rng.random((1, 24, 1))}
    shared = a | {"k": a["k"][:, :, :1], "v": a["v"][:1, :, :1]}
    full = {name: np.broadcast_to(v, (2, 24, 4, *v.shape[3:])) for name, v in shared.items()}
    close(outputs(LINEAR_ATTENTION, shared)["o"], outputs(LINEAR_ATTENTION, full)["o"])


def test_the_delta_rule_step_by_step() -> None:
    rng = np.random.default_rng(2)
    a = _attention_arguments(rng)
    a["k"] /= np.linalg.norm(a["k"], axis=-1, keepdims=True)
    beta = rng.random((2, 24))
    out = outputs(DELTA, {**a, "beta": beta})["o"]
    for b in range(2):
        s = np.zeros((3, 4))
        for t in range(24):
            k = a["k"][b, t][:, None]
            s = (np.eye(3) - beta[b, t] * k @ k.T) @ s + beta[b, t] * k @ a["v"][b, t][None]
            close(out[b, t], a["q"][b, t] @ s)


def test_a_max_plus_stabiliser_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    a = _attention_arguments(rng)
    f, u = -rng.random((2, 24)), rng.standard_normal((2, 24))
    out = outputs(STABILISED, {**a, "f": f, "u": u})["h"]
    for b in range(2):
        c, z = np.zeros((3, 4)), np.zeros(3)
        for t in range(24):
            c = np.exp(f[b, t]) * c + np.exp(u[b, t]) * np.outer(a["k"][b, t], a["v"][b, t])
            z = np.exp(f[b, t]) * z + np.exp(u[b, t]) * a["k"][b, t]
            close(out[b, t], a["q"][b, t] @ c / max(abs(a["q"][b, t] @ z), 1.0))
    large = outputs(STABILISED, {**a, "f": f, "u": u + 2000})["h"]
    assert np.isfinite(large).all()
