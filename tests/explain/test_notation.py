"""Formulas in their three notations: brackets where they are needed, and no formula that LaTeX refuses."""

from __future__ import annotations

import re

import pytest

from recc.explain import Explanation
from recc.explain.mathml import MathML, broken
from recc.explain.notation import (
    Big,
    Binary,
    Chain,
    Name,
    Node,
    Num,
    Power,
    Prefix,
    Shift,
    Truth,
    add,
    at,
    times,
    total,
)
from recc.explain.printers import Latex, Text
from tests.explain.runs import stored

S, T = Shift("s"), Shift("t")
A, B, C = Name("a"), Name("b"), Name("c")
SUM = Big("sum", (Shift("i"),), Binary("mul", A, B))
UPTO = Chain((Shift("s"), Shift("r"), Shift("t")), ("lt", "le"))


@pytest.mark.parametrize(
    ("node", "text", "latex"),
    [
        (Binary("mul", SUM, C), "Σ_i(a · b) · c", r"\left(\sum_{i} a \, b\right) \, c"),
        (Binary("mul", C, SUM), "c · Σ_i(a · b)", r"c \, \sum_{i} a \, b"),
        (Binary("add", SUM, C), "Σ_i(a · b) + c", r"\sum_{i} a \, b + c"),
        (Binary("sub", A, Binary("sub", B, C)), "a - (b - c)", r"a - \left(b - c\right)"),
        (Binary("div", Prefix("neg", A), B), "(-a) / b", r"\frac{-a}{b}"),
        (Power(Binary("mul", A, B), Binary("sub", T, S)), "(a · b)^(t - s)", r"\left(a \, b\right)^{t - s}"),
        (Big("sum", (UPTO,), A), "Σ_{s < r ≤ t}(a)", r"\sum_{s < r \le t} a"),
        (at(at("A", Shift("2")), (), ["i", "j"], brief=True), "A₂[i, j]", "A_{2; i, j}"),
        (at("∂beta", Shift("t", 1), ["i"]), "∂betaₜ₊₁", r"\partial \beta_{t+1, i}"),
        (Truth(Binary("eq", Shift("i"), Shift("i'"))), "[i = i']", r"\left[i = i'\right]"),
        (at("Γ", Shift("C", 1)), "Γ[C+1]", r"\Gamma_{C+1}"),
        (Name("Alpha_x"), "Alpha_x", r"\mathrm{Alpha\_x}"),
    ],
    ids=str,
)  # fmt: skip
def test_three_notations(node: Node, text: str, latex: str) -> None:
    assert (Text()(node), Latex()(node)) == (text, latex)
    brackets = len(re.findall(r"<mo>\(</mo>", MathML()(node)))
    assert brackets == latex.count(r"\left(")


def test_products_and_sums_put_themselves_in_order() -> None:
    assert Text()(times([Prefix("neg", A), Num(1.0), SUM, Prefix("neg", B), C])) == "a · b · c · Σ_i(a · b)"
    assert Text()(times([Num(-1.0), A])) == "-a"
    assert times([A, Num(0.0)]) == Num(0.0)
    assert Text()(add([A, Num(0.0), Prefix("neg", B)])) == "a - b"
    assert Text()(total((Shift("i"),), Prefix("neg", A))) == "-Σ_i(a)"


def test_a_long_sum_is_broken_before_its_signs() -> None:
    lines = broken(add([SUM, Prefix("neg", SUM), SUM, A]), 12)
    assert [sign for sign, _ in lines] == ["", "−", "+"]
    assert Text()(lines[-1][1]) == "Σ_i(a · b) + a"


@pytest.mark.parametrize("name", ["gated_delta_net", "all_pole_filter", "viterbi", "mlstm", "s4d", "roesser"])
def test_latex_that_a_paper_takes(name: str) -> None:
    """Braces and brackets in pairs, environments closed, and never two subscripts on one name."""
    text = Explanation(stored(name)).latex()
    assert text.count("{") == text.count("}")
    assert len(re.findall(r"\\left\b", text)) == len(re.findall(r"\\right\b", text))
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert not re.search(r"_\{[^{}]*\}_", text)
    assert text.isascii()
