"""Cascades are cut at what is read of a stage, contracted as far as possible first."""

from __future__ import annotations

from pathlib import Path

import pytest

import recc.recurrence
from recc.check import load
from recc.structure import Cut, cuts
from tests.structure.laws import program

ZOO = Path(recc.recurrence.__file__).parent / "zoo"
CASCADE = """
recurrence cascade(k, l, v)
    input q[l], a[k], val[v], r[k]
    state S[k, l], E[k, v]
    S[t] = S[t-1] + a[t] * q[t]
    {}
    output o[t] = sum[k](r[t] * E[t])
"""


def shown(text: str) -> list[str]:
    return [str(c) for c in cuts(program(text))]


@pytest.mark.parametrize(
    "update",
    [
        "E[t] = E[t-1] + sum[l](S[t] * q[t, l]) * val[t]",
        "E[t] = E[t-1] + sum[l](S[t] * q[t, l] * val[t])",
        "E[t] = E[t-1] + val[t] * sum[l](q[t] * S[t])",
        "E[t] = sum[l](q[t] * (S[t] * val[t])) + E[t-1]",
    ],
)
def test_two_stages_hand_over_a_vector(update: str) -> None:
    """Never the state with axes k and l beside the one with axes k and v."""
    rec = program(CASCADE.format(update))
    first, second = cuts(rec)
    assert str(first) == "sum[l](q[t, l] * S[t, k, l]) [k]: S for E"
    assert (first.axes, first.name, first.readers, first.linear) == (("k",), "S", ("E",), True)
    assert rec.stages[first.maker].states == ("S",)
    assert rec.source.slice(first.span).startswith("sum[l](")
    assert str(second) == "sum[k](r[t, k] * E[t, k, v]) [v]: E for o"


def test_both_axes_at_once() -> None:
    text = CASCADE.format("E[t] = E[t-1] + sum[k, l](a[t] * q[t] * S[t-1]) * r[t] * val[t]")
    assert shown(text)[0] == "sum[k, l](a[t, k] * q[t, l] * S[t-1, k, l]): S for E"


def test_nothing_is_cut_where_nothing_is_contracted() -> None:
    assert shown(CASCADE.format("E[t] = E[t-1] + sum[l](S[t]) * sum[v](val[t]) * val[t]"))[0].startswith(
        "sum[l](S[t, k, l])"
    )
    text = """
recurrence r(d, e = d)
    input x[d]
    param W[d, e]
    state h[d]
    h[t] = 0.5 * h[t-1] + x[t]
    output y[t] = sum[e](W * h[t, e]) + h[t]
"""
    assert shown(text) == [], "a matrix times the state is as large as the state"


def test_a_state_of_the_reader_is_not_part_of_a_cut() -> None:
    """`sum[l](S * F)` needs the reader's own state F, so all of S is needed there."""
    text = """
recurrence r(k, l)
    input x[k], z[l]
    state S[k, l], F[l], G[k]
    S[t] = S[t-1] + x[t] * z[t]
    F[t] = F[t-1] + z[t] + 0.1 * sum[k](S[t] * G[t-1])
    G[t] = 0.5 * G[t-1] + 0.1 * sum[l](S[t] * F[t])
    output y[t] = G[t]
"""
    assert shown(text) == []


def test_one_cut_for_several_readers() -> None:
    text = """
recurrence r(i, j)
    input q[i], k[i], v[j]
    state S[i, j]
    S[t] = S[t-1] + k[t] * v[t]
    output a[t] = tanh(sum[i](q[t] * S[t]))
    output b[t] = sum[i](S[t] * q[t]) + 1
"""
    (cut,) = cuts(program(text))
    assert cut.readers == ("a", "b")


def test_reductions_that_are_not_sums() -> None:
    text = """
recurrence r(i, j)
    input k[i], v[j]
    state S[i, j]
    S[t] = S[t-1] + k[t] * v[t]
    output a[t] = norm[i](S[t])
    output b[t] = max[j](v[t] + sum[i](k[t] * S[t]))
"""
    first, second = cuts(program(text))
    assert isinstance(first, Cut)
    assert (str(first), first.linear) == ("norm[i](S[t, i, j]) [j]: S for a", False)
    assert (str(second), second.linear) == ("sum[i](k[t, i] * S[t, i, j]) [j]: S for b", True)


def test_a_product_of_two_states_is_contracted_in_order() -> None:
    """q (S C): the first stage hands over q S, and the second is contracted with that."""
    (rec,) = load((ZOO / "hla.recc").read_text())
    assert [str(c) for c in cuts(rec)] == [
        "sum[d](q[t, d] * S[t, d, e]) [e]: S for o",
        "sum[d](k[t, d] * C[t-1, d, v]) [v]: C for G",
        "sum[e](sum[d](q[t, d] * S[t, d, e]) * C[t, e, v]) [v]: C for o",
        "sum[d](q[t, d] * G[t, d, v]) [v]: G for o",
    ]
