"""Several sequences per program, where a state meets a matrix that all of them share: cells, and dense transitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

import recc
from recc.backends.triton_gpu.binary import compile_all
from recc.backends.triton_gpu.build import build
from recc.backends.triton_gpu.lanes import LANES, with_lanes
from recc.backends.triton_gpu.offline import kernels_of
from recc.backends.triton_gpu.plan import Plan, Space
from recc.forms.sequential import derive_sequential
from recc.fuzz import Shapes
from recc.recurrence import Kind
from recc.runtime.op import Op
from tests.agree.cases import Arrays, Program, program
from tests.agree.harness import agree, cotangents, tensors
from tests.triton.cases import BOUND, by_kernels, oracle

ELMAN = """recurrence elman(n, m = n)
    input  x[n]
    param  W[n, m], b[n]
    state  h[n] = b
    h[t] = tanh(sum[m](W * h[t-1, m]) + x[t] + b)
    output y[t] = h[t]
"""
BACK = """recurrence back(n, k, m = n)
    input  x[k]
    param  W[n, m], V[n, k], C[n]
    state  h[n]
    h[t] = tanh(sum[m](exp(W) * h[t+1, m]) * 0.1 + sum[k](V * x[t]))
    output y[t] = sum[n](C * h[t]) + x[t-1]
"""
BOTH = """recurrence both(n, m = n)
    input  x[n], f in [0, 1]
    param  W[n, m]
    state  a[n], b[n]
    a[t] = f[t] * a[t-1] + tanh(sum[m](W * a[t-1, m])) + x[t]
    b[t] = tanh(sum[m](W * b[t+1, m]) + a[t])
    output y[t] = a[t] * b[t]
"""
TEXTS = {"elman": ELMAN, "back": BACK, "both": BOTH} | {
    n: getattr(recc.zoo, n).recurrence.source.text for n in ("gru", "lstm", "lssl")
}
SIZE = 12
OFFSETS = [0, 3, 3, 4, 39, 44]


def case(name: str) -> Program:
    return program(TEXTS[name])


@cache
def op(name: str) -> Op:
    return Op(case(name).rec, "triton", "sequential")


def sizes(of: Program, steps: int = 5, batch: int = 1, heads: tuple[int, ...] = (), size: int = SIZE) -> Shapes:
    return Shapes({a.name: size + k for k, a in enumerate(of.rec.axes) if a.name == a.size_of}, (steps,), batch, heads)


def run(name: str, arguments: Arrays, initial: Arrays, weights: Any, **options: Any) -> tuple[Arrays, Arrays]:
    """In memory that is poisoned, in float32."""
    of = case(name)
    leaves, states = tensors(arguments, torch.float32), tensors(initial, torch.float32)
    return by_kernels(of, op(name), leaves, states, weights, **options)


def inputs(of: Program) -> set[str]:
    return {s.name for s in of.rec.of_kind(Kind.INPUT)}


def same(found: Arrays, expected: Arrays) -> None:
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


# What is decided, and by what.


def laned(text: str, size: int = 16) -> bool:
    rec = program(text).rec
    return with_lanes(derive_sequential(rec), {a.name: size for a in rec.axes if a.name == a.size_of}) is not None


def cell(update: str, declared: str = "param W[n, m]") -> str:
    axes = "n, m = n" if "m]" in update + declared else "n"
    return f"recurrence cell({axes})\n input x[n]\n {declared}\n state h[n]\n h[t] = {update}\n output y[t] = h[t]\n"


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_shared_by_sequences_is_multiplied_with_several(name: str) -> None:
    assert laned(TEXTS[name])
    assert laned(TEXTS[name], 9)
    assert not laned(TEXTS[name], 8), "more than half of the smallest product would be padding"


def test_what_has_no_product_with_a_shared_matrix() -> None:
    assert laned(cell("sum[m](W * h[t-1, m]) + x[t]"))
    assert laned(cell("x[t] * sum[m](W * h[t-1, m])"))
    assert laned(cell("sum[m](exp(-abs(W)) * tanh(h[t-1, m] + x[t-1, m])) + x[t]"))
    assert not laned(cell("sum[m](W * tanh(h[t-1, m] + x[t])) + x[t]")), "a matrix for each sequence"
    assert not laned(cell("W * h[t-1] + x[t]", "param W[n]")), "one by one"
    assert not laned(cell("sum[m](W[t] * h[t-1, m]) + x[t]", "input W[n, m]")), "each sequence has its own"
    assert not laned(cell("sum[n](W * h[t-1]) + x[t]", "param W[n]")), "a vector"
    assert not laned(cell("0.5 * h[t-1] + sum[m](W * x[t, m])")), "the carry is not multiplied"
    assert not laned(cell("sum[m](W * h[t-1, m]) + t * x[t]")), "each sequence counts for itself"
    assert not laned(cell("solve[n, m](x[t] * x[t, m] + W, sum[m](W * h[t-1, m]))")), "matrix functions"


def test_large_states_of_several_sequences_do_not_fit() -> None:
    text = """recurrence wide(i, j, k = i)
    input  v[j]
    param  W[i, k]
    state  S[i, j]
    S[t] = tanh(sum[k](W * S[t-1, k, j])) + v[t]
    output o[t] = sum[i](S[t])
"""
    assert laned(text, 16)
    assert not laned(text, 64)


def plan(name: str, products: Any = "ieee", size: int = 64, compute: Any = "float32") -> Plan:
    rec = case(name).rec
    roots = {a.name: size for a in rec.axes if a.name == a.size_of}
    return Space(derive_sequential(rec), roots, 1, compute, products).first()


def test_float64_and_what_a_device_has_no_room_for_stay_as_they_are() -> None:
    assert plan("gru").forward.lanes and plan("gru").backward.lanes
    assert not plan("gru", compute="float64").forward.lanes
    assert plan("lstm", "bfloat16", 64).backward.lanes
    assert not plan("lstm", "tf32x3", 256).backward.lanes


# Agreement.


@pytest.mark.parametrize("batch", [1, 3, 17, 20])
@pytest.mark.parametrize("name", TEXTS)
def test_agreement(name: str, batch: int) -> None:
    """Values, final states and all gradients, for batches that do and do not fill programs."""
    of = case(name)
    shapes = sizes(of, batch=batch, heads=() if batch > 3 else (2,))
    arguments, initial = of.draw(shapes, batch)
    values, expected, weights = oracle(of, shapes, arguments, initial)
    found = run(name, arguments, initial, weights)
    agree(found[0], values, BOUND[torch.float32], name)
    agree(found[1], expected, 2 * BOUND[torch.float32], name)
    assert op(name).source.count("tl.dot(") >= 3


@pytest.mark.parametrize("name", ["elman", "lssl", "both"])
def test_more_steps_than_a_segment(name: str) -> None:
    of = case(name)
    shapes = sizes(of, steps=35, batch=2)
    arguments, initial = of.draw(shapes)
    arguments = {n: 0.2 * v if n in ("A", "W") else v for n, v in arguments.items()}
    values, expected, weights = oracle(of, shapes, arguments, initial)
    found = run(name, arguments, initial, weights)
    agree(found[0], values, BOUND[torch.float32], name)
    agree(found[1], expected, 2 * BOUND[torch.float32], name)


WIDE = """recurrence wide(i, j, k = i)
    input  v[j], u[i]
    param  W[i, k], c[j]
    state  S[i, j], z[i]
    S[t] = tanh(sum[k](W * S[t-1, k, j])) * c + v[t] * u[t]
    z[t] = 0.5 * z[t-1] + tanh(sum[k](W * z[t-1, k])) + u[t]
    output o[t] = sum[i](z[t] * S[t-1])
"""


def test_programs_that_share_items_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of another axis, beside lanes: what lacks it has a gradient in each part."""

    def first(space: Space) -> Plan:
        form = with_lanes(derive_sequential(space.form.rec), space.sizes)
        assert form is not None
        whole = replace(space.spec(1), form=form)
        return Plan(replace(whole, tiles={"j": 4}), replace(whole, tiles={"j": 8}))

    monkeypatch.setattr(Space, "first", first)
    of = program(WIDE)
    shapes = Shapes({"i": 10, "j": 14}, (4,), 3, (2,))
    arguments, initial = of.draw(shapes)
    values, expected, weights = oracle(of, shapes, arguments, initial)
    leaves, states = tensors(arguments, torch.float32), tensors(initial, torch.float32)
    found = by_kernels(of, Op(of.rec, "triton", "sequential"), leaves, states, weights)
    agree(found[0], values, BOUND[torch.float32], "wide")
    agree(found[1], expected, 2 * BOUND[torch.float32], "wide")


# The same bits.


@pytest.mark.parametrize("name", TEXTS)
def test_a_sequence_knows_nothing_of_other_lanes(name: str) -> None:
    """Alone, in another place, beside twice itself and beside NaN: its bits are the same."""
    of = case(name)
    arguments, initial = of.draw(sizes(of, batch=19))
    weights = cotangents(run(name, arguments, initial, None)[0])
    values, found = run(name, arguments, initial, weights)
    own = inputs(of)
    keys = [f"d {n}" for n in (*own, *initial)]
    for order in ([18, 7, 7], [7]):
        again, claimed = run(
            name, {n: v[order] if n in own else v for n, v in arguments.items()},
            {n: v[order] for n, v in initial.items()}, {n: w[order] for n, w in weights.items()},
        )  # fmt: skip
        same(again, {n: v[order] for n, v in values.items()})
        same(claimed, {n: found[n][order] for n in keys})
    ill = {n: np.where(np.arange(19).reshape(-1, *[1] * (v.ndim - 1)) == 7, v, np.nan) if n in own else v
           for n, v in arguments.items()}  # fmt: skip
    again, claimed = run(name, ill, initial, weights)
    same({n: v[7] for n, v in again.items()}, {n: v[7] for n, v in values.items()})
    same({n: claimed[n][7] for n in keys}, {n: found[n][7] for n in keys})


def piece(values: Arrays, own: Sequence[str], states: Sequence[str], k: int) -> Arrays:
    """One of packed sequences."""
    steps = np.s_[:, OFFSETS[k] : OFFSETS[k + 1]]
    return {
        n: v[steps] if n in own else v[k : k + 1] if n in states or n.startswith("final ") else v
        for n, v in values.items()
    }


@pytest.mark.parametrize("name", TEXTS)
def test_packed_and_alone(name: str) -> None:
    """Lanes of different lengths, one of them empty and one of more than a segment."""
    of = case(name)
    arguments, initial = of.draw(sizes(of, steps=OFFSETS[-1]))
    count = len(OFFSETS) - 1
    initial = of.draw(sizes(of, batch=count), 1)[1]
    arguments = {n: 0.2 * v if n in ("A", "W") else v for n, v in arguments.items()}
    weights = cotangents(run(name, arguments, initial, None, cu_seqlens=OFFSETS)[0])
    values, found = run(name, arguments, initial, weights, cu_seqlens=OFFSETS)
    own = [*inputs(of), *(s.name for s in of.rec.outputs)]
    totals = {n: np.zeros(v.shape) for n, v in found.items() if n.removeprefix("d ") not in (*own, *initial)}
    for k in range(count):
        if OFFSETS[k] == OFFSETS[k + 1]:
            for n in initial:
                np.testing.assert_array_equal(values[f"final {n}"][k], initial[n][k].astype(np.float32), err_msg=n)
                np.testing.assert_array_equal(found[f"d {n}"][k], weights[f"final {n}"][k].astype(np.float32))
            continue
        again, claimed = run(
            name, piece(arguments, own, (), k), piece(initial, (), [*initial], k), piece(weights, own, (), k)
        )
        same(again, piece(values, own, [*initial], k))
        mine = [f"d {n}" for n in (*own, *initial)]
        expected = piece(found, [f"d {n}" for n in own], [f"d {n}" for n in initial], k)
        same(claimed, {n: v for n, v in expected.items() if n in mine})
        totals = {n: v + claimed[n] for n, v in totals.items()}
    agree({n: found[n] for n in totals}, totals, 2 * BOUND[torch.float32], name)


@pytest.mark.parametrize("name", ["elman", "lstm"])
def test_a_step_has_the_bits_of_a_run(name: str) -> None:
    of = case(name)
    one: Any = op(name)
    arguments, initial = of.draw(sizes(of, steps=3, batch=2))
    given = tensors(arguments, torch.float32)
    given = {n: v.detach() for n, v in given.items()}
    state = {n: v.detach() for n, v in tensors(initial, torch.float32).items()}
    whole = one(**given, initial_state=state)
    pages: Any = tuple(torch.stack([torch.full_like(v[0], 9.0), v[1], v[0]]) for v in state.values())
    pages = pages if len(pages) > 1 else pages[0]
    found: Any = tuple(state.values()) if len(state) > 1 else next(iter(state.values()))
    slots = torch.tensor([2, 1, -1])
    for t in range(3):
        now = {n: v[:, t] if n in inputs(of) else v for n, v in given.items()}
        out, found = one.step(found, **now)
        assert torch.equal(out, whole[:, t])
        three = {n: torch.cat([v, v[:1]]) if n in inputs(of) else v for n, v in now.items()}
        out, _ = one.step(pages, slots=slots, **three)
        assert torch.equal(out[:2], whole[:, t])
    for page in pages if isinstance(pages, tuple) else (pages,):
        assert (page[0] == 9.0).all(), "a row of padding has no page"


# Text and binaries.


def test_the_text() -> None:
    text = recc.compile(ELMAN, backend="triton", form="sequential").emit({"n": 64})["module"]
    assert f"{LANES} sequences in a program" in text
    forward = text[text.index("def pass_1_forward") : text.index("def pass_1_backward")]
    assert forward.count("tl.dot(") == 1
    backward = text[text.index("def pass_1_backward") : text.index("def scratch")]
    # The carries again, the gradient of W, and that of the state.
    assert backward.count("tl.dot(") == 3
    assert "blocks = -(-sequences // 16)" in text


@pytest.mark.parametrize(("name", "products", "most"), [
    ("elman", "bfloat16", 0), ("elman", "tf32x3", 0), ("gru", "bfloat16", 32), ("lstm", "bfloat16", 64),
])  # fmt: skip
def test_compiled_for_a_gpu(name: str, products: Any, most: int) -> None:
    """At 64 units nothing is spilled, or next to nothing, and products fit shared memory."""
    cut = plan(name, products)
    module = build(cut.forward, cut.backward)
    binaries = compile_all(kernels_of(module, "bfloat16" if products == "bfloat16" else "float32"), ("sm_90",), 2)
    for (kernel, _), binary in binaries.items():
        assert binary.resources.spills <= most, (kernel, binary.resources)
        assert binary.resources.shared <= 227 * 1024, (kernel, binary.resources)
