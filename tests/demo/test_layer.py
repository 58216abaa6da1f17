"""Any causal program as a layer: in its domains, causal, and the same step by step."""

from __future__ import annotations

from pathlib import Path

import pytest

import recc
from recc.check import load
from recc.errors import Unsupported, UsageError
from recc.recurrence import Domain, Kind, Symbol

torch = pytest.importorskip("torch", reason="the demonstration trains with torch")

from recc.demo import layer  # noqa: E402  # needs torch
from recc.demo.model import LanguageModel  # noqa: E402

PROGRAMS = {
    "a matrix state": """
        recurrence p(i, j)
            input k[i] unit, v[j], g <= 0
            param scale[j] > 0
            state S[i, j]
            S[t] = exp(g[t]) * S[t-1] + k[t] * v[t]
            output o[t] = sum[i](k[t] * S[t]) * scale
    """,
    "second order, with a window of inputs": """
        recurrence p(d)
            input x[d], u in [0, 1]
            param a[d], b[d]
            state y[d]
            y[t] = a * y[t-1] + b * y[t-2] + u[t] * (x[t] - x[t-1])
            output o[t] = y[t]
            output size[t] = norm[d](y[t])
    """,
    "not linear, scalars only": """
        recurrence p
            input x
            param w
            state h
            h[t] = tanh(w * h[t-1] + x[t])
            output o[t] = h[t]
    """,
    "symbols and flags": """
        recurrence p(n, a, m = n)
            input s int(a), reset bool, x[n]
            param M[a, n, m]
            state h[n]
            h[t] = where(reset[t], 0, sum[m](M[a = s[t]] * h[t-1, m])) + x[t]
            output o[t] = h[t]
    """,
}


@pytest.mark.parametrize("what", PROGRAMS)
def test_causal_and_the_same_step_by_step(what: str) -> None:
    torch.manual_seed(0)
    rec = load(PROGRAMS[what])[0]
    op = recc.compile(PROGRAMS[what])
    layer.require_causal(rec)
    sizes = layer.choose_sizes(rec, 12, {a.name: 3 for a in rec.axes if a.name == a.size_of})
    model = LanguageModel(op, rec, 12, sizes)
    tokens = torch.randint(0, 256, (2, 9))
    tokens[:, 3] = 32
    logits = model(tokens)
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    other = tokens.clone()
    other[:, 6:] = 7
    assert torch.equal(model(other)[:, :6], logits[:, :6])
    memory, steps = None, []
    with torch.no_grad():
        for t in range(9):
            step, memory = model.step(memory, tokens[:, t])
            steps.append(step)
    torch.testing.assert_close(torch.stack(steps, 1), logits.detach(), atol=2e-5, rtol=2e-5)


REFUSED = {
    "runs from right to left": "recurrence p\n input x\n state h\n h[t] = h[t+1] + x[t]\n output y[t] = h[t]",
    "is read at a later step": "recurrence p\n input x\n state h\n h[t] = h[t-1] + x[t+1]\n output y[t] = h[t]",
    "has 2 scan axes": "recurrence p over r, c\n input x\n state h\n"
    " h[r, c] = h[r-1, c] + x[r, c]\n output y[r, c] = h[r, c]",
}


@pytest.mark.parametrize("reason", REFUSED)
def test_the_future_is_refused(reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        layer.require_causal(load(REFUSED[reason])[0])


def test_sizes_bound_the_cost() -> None:
    zoo = Path(recc.__file__).parent / "zoo"
    for path in sorted(zoo.glob("*.recc")):
        for rec in load(path.read_text(), path.stem):
            sizes = layer.choose_sizes(rec, 192, {})
            for symbol in rec.symbols:
                count = 1
                for size in sizes.of(rec, symbol):
                    count *= size
                assert count <= 64 * 64 and count * sizes.heads <= 4 * 64 * 64, (rec.name, symbol.name)
    rec = load(PROGRAMS["a matrix state"])[0]
    assert layer.choose_sizes(rec, 192, {"i": 5}).axes["i"] == 5
    with pytest.raises(UsageError, match="expected one of i, j, got k"):
        layer.choose_sizes(rec, 192, {"k": 5})


@pytest.mark.parametrize(
    "domain",
    [
        Domain(upper=0),
        Domain(lower=0),
        Domain(lower=0, upper=1),
        Domain(lower=-2, upper=3),
        Domain(upper=1),
        Domain(unit=True),
    ],
    ids=str,
)
def test_values_are_brought_into_their_domains(domain: Domain) -> None:
    symbol = Symbol("x", Kind.INPUT, ("i",), domain=domain)
    value = layer.inside(symbol, torch.randn(100, 7) * 5)
    assert domain.lower <= value.min() and value.max() <= domain.upper
    if domain.unit:
        torch.testing.assert_close(value.norm(dim=-1), torch.ones(100))
