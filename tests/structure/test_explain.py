"""The explanation of a program, and the table of its forms."""

from __future__ import annotations

from pathlib import Path

import pytest

import recc.recurrence
from recc.check import load
from recc.errors import Refusal
from recc.explain import explain
from recc.explain.maths import Maths
from recc.forms.table import NAMES, forms
from tests.structure.laws import program
from tests.zoo.core import CORE

ZOO = [Path(recc.recurrence.__file__).parent / "zoo" / f"{name}.recc" for name in CORE]
DELTA = """recurrence delta(i, j)
    "The delta rule with a decay."
    input q[i], k[i] unit, v[j]
    input g <= 0, beta in [0, 1]
    state S[i, j]
    S[t] = exp(g[t]) * (S[t-1] - beta[t] * k[t] * sum[i](k[t] * S[t-1])) + beta[t] * k[t] * v[t]
    output o[t] = sum[i](q[t] * S[t])
"""
EXPLAINED = """delta: The delta rule with a decay.

symbols
  q[i]     input
  k[i]     input   unit
  v[j]     input
  g        input   <= 0
  beta     input   in [0, 1]
  S[i, j]  state   starts at zero
  o[j]     output

update
  Sₜ = exp(gₜ) · (Sₜ₋₁ - betaₜ · kₜ · Σ_i(kₜ · Sₜ₋₁)) + betaₜ · kₜ · vₜ
  oₜ = Σ_i(qₜ · Sₜ)

stages
  1. S, left to right
     affine: scalar + rank 1 along i, from the left, varying in time, real, coefficient in (0, 1]
     because `sum[i](k[t] * S[t-1])` mixes i with rank 1 (line 6, column 51)
       6 | S[t] = exp(g[t]) * (S[t-1] - beta[t] * k[t] * sum[i](k[t] * S[t-1])) + beta[t] * k[t] * v[t]
         |                                               ^^^^^^^^^^^^^^^^^^^^^
     Sₜ = exp(gₜ) · Sₜ₋₁ - exp(gₜ) · betaₜ · kₜ · Σ_i'(kₜ[i'] · Sₜ₋₁[i', j]) + betaₜ · kₜ · vₜ
     d  exp(gₜ)                one number
     u  -exp(gₜ) · betaₜ · kₜ  i
     w  kₜ                     i
     b  betaₜ · kₜ             i
     c  vₜ                     j
  2. o: pointwise in time

handed from stage to stage in place of a state
  Σ_i(qₜ · Sₜ)  over j  made by stage 1, read by o

scan form: the combine
  A step multiplies by a matrix over i, and adds:
    Aₜ[i, i'] = exp(gₜ) · [i = i'] - exp(gₜ) · betaₜ · kₜ · kₜ[i']
    bₜ = betaₜ · kₜ · vₜ
  Two stretches of time, first 1 and then 2, are one again:
    (A₂, b₂) ∘ (A₁, b₁) = (A₂ · A₁, A₂ · b₁ + b₂)
    (A₂ · A₁)[i, i'] = Σ_i''(A₂[i, i''] · A₁[i'', i'])
    (A₂ · b₁)[i] = Σ_i''(A₂[i, i''] · b₁[i''])
    ([i = i'], 0)   is the identity

chunked form
  The decay is an exponential, so ratios of Γ are exponentials of differences of running sums.
  The decay from the start of the chunk, and from one step to another:
    Γₜ = Π_{1 ≤ s ≤ t}(exp(gₛ)) = exp(Σ_{1 ≤ s ≤ t}(gₛ))
    Γₜ / Γₛ = exp(Σ_{s < r ≤ t}(gᵣ))
  What the terms of low rank read of the state solves a unit lower triangular system:
    pₜ = Σ_i(kₜ · Sₜ₋₁)
    W̄ₜ = kₜ · Γₜ₋₁
    L[t, s] = -Γₜ₋₁ / Γₛ · Σ_i(kₜ · exp(gₛ) · betaₛ · kₛ)   s < t
    N[t, s] = Γₜ₋₁ / Γₛ · betaₛ · Σ_i(kₜ · kₛ)   s < t
    pₜ = Σ_i(W̄ₜ · S₀) + Σ_{s < t}(L[t, s] · pₛ) + Σ_{s < t}(N[t, s] · vₛ)
  The state within the chunk and after it:
    Sₜ = Γₜ · S₀ - Σ_{s ≤ t}(Γₜ / Γₛ · exp(gₛ) · betaₛ · kₛ · pₛ)
        + Σ_{s ≤ t}(Γₜ / Γₛ · betaₛ · kₛ · vₛ)   for t = C the state after the chunk
  What is read of it:
    oₜ = Γₜ · Σ_i(qₜ · S₀) - Σ_{s ≤ t}(Γₜ / Γₛ · pₛ · Σ_i(qₜ · exp(gₛ) · betaₛ · kₛ))
        + Σ_{s ≤ t}(Γₜ / Γₛ · betaₛ · vₛ · Σ_i(qₜ · kₛ))

adjoint
  ∂x is the gradient of the loss by x, and λ that by the state; ∂o is given. Beyond the ends of time every gradient is
  zero, or that of the final state.
  The states, against the order of the run:
    λₜ = exp(gₜ₊₁) · λₜ₊₁ - exp(gₜ₊₁) · betaₜ₊₁ · kₜ₊₁ · Σ_i(kₜ₊₁ · λₜ₊₁) + qₜ · ∂oₜ
  The inputs:
    ∂qₜ = Σ_j(Sₜ · ∂oₜ)
    ∂kₜ = -exp(gₜ) · betaₜ · Σ_j(λₜ · Σ_i(kₜ · Sₜ₋₁)) - exp(gₜ) · betaₜ · Σ_j(Sₜ₋₁ · Σ_i(kₜ · λₜ))
        + betaₜ · Σ_j(vₜ · λₜ)
    ∂vₜ = betaₜ · Σ_i(kₜ · λₜ)
    ∂gₜ = exp(gₜ) · Σ_i_j(Sₜ₋₁ · λₜ) - betaₜ · exp(gₜ) · Σ_i(kₜ · Σ_j(λₜ · Σ_i(kₜ · Sₜ₋₁)))
    ∂betaₜ = -exp(gₜ) · Σ_i(kₜ · Σ_j(λₜ · Σ_i(kₜ · Sₜ₋₁))) + Σ_i(kₜ · Σ_j(vₜ · λₜ))"""


def test_an_explanation() -> None:
    text = str(explain(program(DELTA)))
    assert text[: text.index("\n\nforms\n")] == EXPLAINED


def test_the_forms_are_told_with_their_reasons() -> None:
    rec = program(DELTA)
    shown = str(explain(rec)).split("\n\nforms\n")[1].split("\n\n")[0].split("\n")
    assert [line.split()[0] for line in shown] == list(NAMES)
    for line, form in zip(shown, forms(rec).values(), strict=True):
        verdict = line.split(maxsplit=1)[1]
        assert verdict.startswith(f"no: {form.reason}" if isinstance(form, Refusal) else "yes")


def test_latex() -> None:
    blocks = explain(program(DELTA)).latex().split("\n\n")
    assert blocks[0] == (
        "% update\n"
        "\\begin{align*}\n"
        "  S_{t, i, j} &= \\exp\\left(g_{t}\\right) \\, \\left(S_{t-1, i, j} - \\beta_{t} \\, k_{t, i} \\, "
        "\\sum_{i} k_{t, i} \\, S_{t-1, i, j}\\right) + \\beta_{t} \\, k_{t, i} \\, v_{t, j} \\\\\n"
        "  o_{t, j} &= \\sum_{i} q_{t, i} \\, S_{t, i, j}\n"
        "\\end{align*}"
    )
    assert all(b.startswith("% ") and b.endswith("\\end{align*}") for b in blocks)


NOTATION = {
    "a[t] / (b[t] * a[t]) / 2": ("aₜ / (bₜ · aₜ) / 2", r"\frac{\frac{a_{t, n}}{b_{t, n} \, a_{t, n}}}{2}"),
    "a[t] - (b[t] - 1)": ("aₜ - (bₜ - 1)", r"a_{t, n} - \left(b_{t, n} - 1\right)"),
    "-(a[t] + b[t]) * 2": ("(-(aₜ + bₜ)) · 2", r"\left(-\left(a_{t, n} + b_{t, n}\right)\right) \, 2"),
    "a[t] ** (b[t] + 1)": ("aₜ^(bₜ + 1)", r"a_{t, n}^{b_{t, n} + 1}"),
    "where(a[t] >= 0, 1, b[t])": (
        "where(aₜ ≥ 0, 1, bₜ)",
        r"\begin{cases} 1 & a_{t, n} \ge 0 \\ b_{t, n} & \text{otherwise} \end{cases}",
    ),
    "abs(a[t-1, n+1]) + max[n](b[t])": ("|aₜ₋₁[n+1]| + max_n(bₜ)", r"\left|a_{t-1, n+1}\right| + \max_{n} b_{t, n}"),
    "sigmoid(a[t]) * exp(-b[t])": (
        "sigmoid(aₜ) · exp(-bₜ)",
        r"\sigma\left(a_{t, n}\right) \, \exp\left(-b_{t, n}\right)",
    ),
    "solve[n, m](W, a[t]) + t": (
        "solve[n, m](W, aₜ) + t",
        r"\operatorname{solve}_{n, m}(\mathrm{W}_{n, m}, a_{t, n}) + t",
    ),
    "a[t] * inf": ("aₜ · ∞", r"a_{t, n} \, \infty"),
}


@pytest.mark.parametrize("text", NOTATION)
def test_notation(text: str) -> None:
    rec = program(
        f"recurrence r(n, m = n)\n    input a[n], b[n]\n    param W[n, m]\n    output y[t] = {text}\n"
        "    output z[t] = a[t] + b[t] + sum[m](W)\n"
    )
    expr = rec.equation["y"].expr
    latex = NOTATION[text][1].replace(r"\mathrm{W}", "W")
    assert (Maths(rec).expr(expr), Maths(rec, latex=True).expr(expr)) == (NOTATION[text][0], latex)


@pytest.mark.parametrize("path", ZOO, ids=lambda p: p.stem)
def test_every_program_can_be_explained(path: Path) -> None:
    (rec,) = load(path.read_text(), path.name)
    explanation = explain(rec)
    text = str(explanation)
    assert text.startswith(f"{rec.name}: {rec.doc}")
    for symbol in rec.arguments:
        assert f"  {symbol.name}" in text
    assert "because" in text
    assert explanation.latex().split("\n\n")[0].count("&=") == len(rec.equations)


@pytest.mark.parametrize("path", ZOO, ids=lambda p: p.stem)
def test_every_form_is_there_or_refused_with_a_reason(path: Path) -> None:
    (rec,) = load(path.read_text(), path.name)
    table = forms(rec)
    assert tuple(table) == NAMES
    for name, form in table.items():
        if isinstance(form, Refusal):
            assert form.reason
            assert form.instead
        else:
            assert form.passes
            assert getattr(form, "name", name) == name


def refusals(text: str) -> dict[str, str]:
    return {n: f.reason for n, f in forms(program(text)).items() if isinstance(f, Refusal)}


def test_what_the_structure_forbids_is_said_as_such() -> None:
    found = refusals(
        "recurrence r(d)\n    input x[d]\n    state h[d]\n    h[t] = tanh(h[t-1] + x[t])\n    output y[t] = h[t]\n"
    )
    assert found["scan"] == "h: the update is not affine, `tanh` of `h[t-1] + x[t]`, which depends on the state"
    assert found["newton"] == "not derived yet, although the structure allows it (h: nonlinear)"
    found = refusals(
        "recurrence r(d)\n    input x[d]\n    state m[d]\n    m[t] = max(m[t-1], x[t])\n    output y[t] = m[t]\n"
    )
    assert found["chunked"] == "m: the update is linear over max-plus, not over sums and products"
    assert "scan" not in found
    found = refusals("recurrence r(d)\n    input x[d]\n    output y[t] = exp(x[t])\n")
    assert found["scan"] == "no equation reads an earlier step, so every step runs by itself"


def test_a_step_needs_no_later_step() -> None:
    found = refusals("recurrence r\n    input x\n    state h\n    h[t] = 0.5 * h[t+1] + x[t]\n    output y[t] = h[t]\n")
    assert found["step"] == "`h` needs a later step of `h`, which is not known when a step is run"


def test_a_step_needs_one_scan_axis() -> None:
    text = "recurrence r over i, j\n input x\n state h\n h[i, j] = h[i-1, j] + x[i, j]\n output y[i, j] = h[i, j]\n"
    assert "scans over i, j" in refusals(text)["step"]


def test_an_operation_that_stops_gradients_is_told() -> None:
    text = str(explain(program(
        "recurrence r\n    input x\n    state h\n    h[t] = stop(0.5 * h[t-1]) + x[t]\n    output y[t] = h[t]\n"
    )))  # fmt: skip
    assert "no gradient passes through the part inside `stop`" in text
