"""Updates that are not affine: which sub-expression it is, where it stands, and what it depends on."""

from __future__ import annotations

import pytest

from recc.structure import Nonlinear
from tests.structure.laws import only, program

HEAD = "recurrence r(d, e = d)\n    input x[d], k int(d)\n    param W[d, e]\n    state h[d], g[d]\n"
TAIL = "\n    output y[t] = h[t] + g[t] + 0 * (x[t] + x[t, k[t]] + sum[e](W))\n"
LINEAR = "\n    g[t] = 0.5 * g[t-1] + h[t-1]"

CASES = {
    "tanh": (
        "h[t] = x[t] + tanh(h[t-1] + g[t-1])",
        "tanh(h[t-1] + g[t-1])",
        "`tanh` of `h[t-1] + g[t-1]`, which depends on the state",
    ),
    "product": (
        "h[t] = 0.5 * h[t-1] * g[t-1]",
        "0.5 * h[t-1] * g[t-1]",
        "`0.5 * h[t-1]` times `g[t-1]`: both depend on the state",
    ),
    "square": (
        "h[t] = x[t] - h[t-1] * h[t-1] + g[t-1]",
        "h[t-1] * h[t-1]",
        "`h[t-1]` times `h[t-1]`: both depend on the state",
    ),
    "power": ("h[t] = h[t-1] ** 2 + g[t-1]", "h[t-1] ** 2", "`**` of `h[t-1]`, which depends on the state"),
    "quotient": (
        "h[t] = x[t] / (1 + h[t-1]) + g[t-1]",
        "x[t] / (1 + h[t-1])",
        "divides by `1 + h[t-1]`, which depends on the state",
    ),
    "condition": (
        "h[t] = where(h[t-1] > 1, 0, g[t-1])",
        "where(h[t-1] > 1, 0, g[t-1])",
        "the condition of `where` depends on the state",
    ),
    "norm": (
        "h[t] = x[t] + norm[d](h[t-1] + g[t-1])",
        "norm[d](h[t-1] + g[t-1])",
        "`norm` of `h[t-1] + g[t-1]`, which depends on the state",
    ),
    "softmax": (
        "h[t] = softmax[d](h[t-1]) + g[t-1]",
        "softmax[d](h[t-1])",
        "`softmax` of `h[t-1]`, which depends on the state",
    ),
    "maximum of a tanh": (
        "h[t] = max(x[t], tanh(h[t-1])) + g[t-1]",
        "tanh(h[t-1])",
        "`tanh` of `h[t-1]`, which depends on the state",
    ),
    "gather": (
        "h[t] = x[t, floor(h[t-1, 0]) > 0] + g[t-1]",
        "x[t, floor(h[t-1, 0]) > 0]",
        "`x` is read at an index that depends on the state",
    ),
    "intermediate": (
        "a[t] = sigmoid(h[t-1])\n    h[t] = a[t] * g[t-1]",
        "sigmoid(h[t-1])",
        "`sigmoid` of `h[t-1]`, which depends on the state",
    ),
    "gate from both": (
        "a[t] = x[t] + h[t-1]\n    h[t] = a[t] * g[t-1]",
        "a[t] * g[t-1]",
        "`a[t]` times `g[t-1]`: both depend on the state",
    ),
    "surrogate": (
        "h[t] = g[t-1] - surrogate(h[t-1] - 1, x[t])",
        "surrogate(h[t-1] - 1, x[t])",
        "`surrogate` has a gradient of its own for something that depends on the state",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_reason_and_its_place(name: str) -> None:
    update, expected, reason = CASES[name]
    text = f"{HEAD}    {update}{LINEAR}{TAIL}"
    found = only(text)
    assert isinstance(found, Nonlinear)
    assert program(text).source.slice(found.span) == expected
    assert found.reason == reason
    assert found.target == ("a" if expected.startswith("sigmoid") else "h")
    assert str(found).endswith(reason)


def test_both_factors_are_pointed_at() -> None:
    text = f"{HEAD}    h[t] = (1 + h[t-1]) * (x[t] - g[t-1]){LINEAR}{TAIL}"
    found = only(text)
    assert isinstance(found, Nonlinear)
    source = program(text).source
    assert [(source.slice(n.span), n.text) for n in found.notes] == [
        ("(1 + h[t-1])", "depends on the state"),
        ("(x[t] - g[t-1])", "depends on the state"),
    ]


@pytest.mark.parametrize(
    ("update", "elementwise"),
    [("h[t] = tanh(x[t] + g[t-1])", True), ("h[t] = tanh(x[t] + g[t-1] + sum[e](W * h[t-1, e]))", False)],
)
def test_elementwise(update: str, elementwise: bool) -> None:
    found = only(f"{HEAD}    {update}{LINEAR}{TAIL}")
    assert isinstance(found, Nonlinear)
    assert found.elementwise is elementwise


def test_conjugation_is_linear_over_the_reals_only() -> None:
    found = only(
        "recurrence r(d)\n    input x[d] complex\n    state h[d] complex\n"
        "    h[t] = conj(h[t-1]) + x[t]\n    output y[t] = re(h[t])\n"
    )
    assert found.reason == "`conj` of a complex state is linear over the reals only"
