"""Every planted error fails loudly: in masks, decays, sums, signs, combines and gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest

import recc
from recc.forms import combine as maps
from recc.forms.block import Block, Constant, Contract, Convolve, Cumulate, Map, Mask, Matrix, Op, Rename, Scan
from recc.prove import CounterExample, prove
from recc.prove import combines as combines_module
from recc.prove.engine import LAWS
from tests.prove.plants import Change, Form, Program, count, edited, fewer, planted, swapped

GATED = """recurrence gated(i, j)
    input  q[i], k[i], v[j], g <= 0
    state  S[i, j]
    S[t] = exp(g[t]) * S[t-1] + k[t] * v[t]
    output o[t] = sum[i](q[t] * S[t])
"""
DELTA = """recurrence delta(i, j)
    input  q[i], k[i], v[j], beta
    state  S[i, j]
    S[t] = S[t-1] - beta[t] * k[t] * sum[i](k[t] * S[t-1]) + beta[t] * k[t] * v[t]
    output o[t] = sum[i](q[t] * S[t])
"""
DIAGONAL = """recurrence diagonal(d)
    input  x[d], f[d]
    state  h[d]
    h[t] = f[t] * h[t-1] + x[t]
    output y[t] = h[t]
"""
DENSE = """recurrence dense(n, m = n)
    input  u
    param  A[n, m], B[n]
    state  h[n]
    h[t] = sum[m](A * h[t-1, m]) + B * u[t]
    output y[t] = h[t]
"""


def exclusive(op: Op) -> Op | None:
    return replace(op, exclusive=not op.exclusive) if isinstance(op, Cumulate) else None


BEFORE = """recurrence before(i, j)
    input  q[i], k[i], v[j]
    state  S[i, j]
    S[t] = S[t-1] + k[t] * v[t]
    output o[t] = sum[i](q[t] * S[t-1])
"""


def mask(op: Op) -> Op | None:
    return replace(op, strict=not op.strict) if isinstance(op, Mask) else None


def loose(op: Op) -> Op | None:
    """The masks of readouts. A strict one before a triangular solve is not read on the diagonal either way."""
    return replace(op, strict=True) if isinstance(op, Mask) and not op.strict else None


def undecayed(op: Op) -> Op | None:
    return Constant(op.out, 1.0) if isinstance(op, Map) and op.fn == "exp" else None


def turned(op: Op) -> Op | None:
    if isinstance(op, Scan | Convolve | Cumulate):
        return replace(op, reverse=not op.reverse)
    return None


def transposed_matrix(op: Op) -> Op | None:
    return replace(op, transposed=not op.transposed) if isinstance(op, Matrix) else None


def fewer_factors(op: Op) -> Op | None:
    if not isinstance(op, Contract) or len(op.args) < 2:
        return None
    left = op.args[:-1]
    kept = {a for v in left for a in v.axes}
    return replace(op, args=left) if kept >= {*op.out.axes, *op.over} else None


CASES: dict[str, tuple[str, str, Change]] = {
    "t > s where t >= s is meant": (DELTA, "chunked", loose),
    "t >= s where t > s is meant": (BEFORE, "chunked", mask),
    "a decay left out": (GATED, "sequential", undecayed),
    "a decay left out of a chunk": (GATED, "chunked", undecayed),
    "a decay left out of a scan": (GATED, "scan", undecayed),
    "the wrong sign of the low-rank term": (DELTA, "sequential", swapped("sub", "add")),
    "a drive left out": (GATED, "sequential", fewer),
    "a drive left out of a chunk": (GATED, "chunked", fewer),
    "a scan that runs the wrong way": (DIAGONAL, "scan", turned),
    "a convolution that runs the wrong way": (DENSE, "convolution", turned),
    "a triangular system that is transposed": (DELTA, "chunked", transposed_matrix),
    "a factor left out of a sum": (GATED, "chunked", fewer_factors),
}


def wrong(program: Program, name: str, form: Form, *laws: str) -> CounterExample:
    with pytest.raises(CounterExample) as found:
        prove(program, {name: form}, laws=laws or LAWS)
    return found.value


@pytest.mark.parametrize("name", CASES)
def test_every_place_of_a_planted_error(name: str) -> None:
    """The error is planted at each operation that it applies to, one at a time."""
    text, form_name, change = CASES[name]
    program = Program(text)
    form = program.form(form_name)
    places = count(form.passes[0].step, change)
    assert places
    for number in range(places):
        found = wrong(program, form_name, planted(form, change, number))
        assert found.law in ("values", "pieces"), found
        assert found.values[0] != found.values[1]


def test_an_exclusive_cumulation_that_is_inclusive() -> None:
    for text in (GATED, DIAGONAL):
        program = Program(text)
        form = program.form("chunked")
        places = count(form.passes[0].step, exclusive)
        assert places
        for number in range(places):
            wrong(program, "chunked", planted(form, exclusive, number))


def test_a_transposed_transition_of_a_scan() -> None:
    program = Program(DENSE)
    form = program.form("scan")
    (loop,) = form.passes
    ops: list[Op] = []
    for op in loop.step.ops:
        if isinstance(op, Scan):
            (row,), (col,), (a,) = op.rows, op.cols, op.a
            turned_a = replace(a, name="turned")
            ops.append(Rename(turned_a, a, ((row, col), (col, row))))
            op = replace(op, a=(turned_a,))
        ops.append(op)
    made = replace(form, passes=(replace(loop, step=replace(loop.step, ops=tuple(ops))),), start=())
    found = wrong(program, "scan", made)
    assert found.case is not None and dict(found.case.sizes)["n"] > 1  # one by one, a transpose is nothing


def test_a_combine_the_wrong_way_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Associative all the same: that two maps are applied in order is a law of its own."""
    right = maps.combine

    def turned_round(scan: Scan, block: Block | None = None) -> Block:
        made = right(scan, block)
        names = {v.name: v.name.replace("later", "?").replace("earlier", "later").replace("?", "earlier")
                 for v in made.inputs}  # fmt: skip

        def move(op: Op) -> Op:
            if not isinstance(op, Map | Contract):
                return op
            return replace(op, args=tuple(replace(v, name=names.get(v.name, v.name)) for v in op.args))

        assert all(isinstance(op, Map | Contract | Constant) for op in made.ops)
        return replace(made, ops=tuple(move(op) for op in made.ops))

    monkeypatch.setattr(combines_module.maps, "combine", turned_round)
    program = Program(DIAGONAL)
    found = wrong(program, "scan", program.form("scan"))
    assert found.law == "combine" and "one after the other" in found.place


def test_a_combine_without_a_decay(monkeypatch: pytest.MonkeyPatch) -> None:
    right = maps.combine

    def forgetful(scan: Scan, block: Block | None = None) -> Block:
        return edited(
            right(scan, block), lambda op: replace(op, fn="add") if isinstance(op, Map) and op.fn == "mul" else None
        )

    monkeypatch.setattr(combines_module.maps, "combine", forgetful)
    program = Program(DIAGONAL)
    assert wrong(program, "scan", program.form("scan")).law == "combine"


@pytest.mark.parametrize("form_name", ["sequential", "scan", "chunked"])
@pytest.mark.parametrize("text", [GATED, DELTA], ids=["gated", "delta"])
def test_a_term_left_out_of_the_gradient(text: str, form_name: str) -> None:
    program = Program(text)
    form = program.form(form_name)
    for number in range(count(form.passes[0].step_vjp, _cotangent(fewer))):
        found = wrong(program, form_name, planted(form, _cotangent(fewer), number, "step_vjp"), "adjoint")
        assert found.law == "adjoint" and found.place.startswith("the gradient of")


def _cotangent(change: Change) -> Change:
    """A change of what the VJP adds up, and not of forward values that it computes again."""
    return lambda op: change(op) if op.out.name.startswith("d_") else None


def test_a_wrong_sign_in_the_gradient() -> None:
    program, change = Program(DELTA), swapped("neg", "real")
    form = program.form("sequential")
    assert count(form.passes[0].step_vjp, change)
    for number in range(count(form.passes[0].step_vjp, change)):
        wrong(program, "sequential", planted(form, change, number, "step_vjp"), "adjoint")


def test_the_text_of_a_counter_example() -> None:
    program = Program(DIAGONAL)
    found = wrong(program, "sequential", planted(program.form("sequential"), fewer))
    assert str(found) == (
        "the sequential form of diagonal is wrong: values, y[0, 0] from a given state\n"
        "  sizes: T = 1, d = 1\n"
        "  expected: f[0, 0]*h₀[0] + x[0, 0]\n"
        "  found:    x[0, 0]\n"
        f"  at a random point: {found.values[0]:.12g} expected, {found.values[1]:.12g} found\n"
        "\n" + DIAGONAL.strip()
    )
    assert isinstance(found, recc.ReccError)
