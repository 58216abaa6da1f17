"""Blocks as data: how they print, and what the Builder makes simpler while building."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recc.forms.block import BlockError, Value
from recc.forms.builder import Builder
from recc.forms.interpret import interpret
from recc.forms.verify import verify
from recc.forms.vjp import vjp
from tests.forms.laws import AXES, SIZES, build, draw
from tests.forms.torch_blocks import run_torch

EVERY_OPERATION = """\
block everything
  input x[b, t]
  input A[n, m]
  input p[n]
  input sym[k]: int
  input keep[t]: bool
  e[b, t] = exp(x)
  c[] = constant(2.5)
  scaled[b, t] = mul(c, e)
  c_1[] = constant(0)
  kept[b, t] = where(keep, scaled, c_1)
  total[b] = contract(e, kept, over t)
  top[b] = max(kept, over t)
  A_1[n, m] = rename(A, n -> m, m -> n)
  x1[b, t] = sum(e, axis t, reverse, exclusive)
  x2[b, t] = prod(e, axis t)
  x3[b, t, s] = segment(x2, row t, col s)
  x4[b, t, s] = mask(x3, row t, col s, strict)
  x5[n] = contract(A, A, over m)
  x6[n] = mul(p, x5)
  x7[n] = solve(A, x6, rows n, cols m)
  x8[n] = solve_unit_lower(A, x7, rows n, cols m, transposed)
  x9[n, m] = expm(A, rows n, cols m)
  near[b, t] = shift(x1, axis t, offset -1, edge clamp)
  x10[b, k] = gather(near, axis t, sym, edge zero)
  x11[b, t] = scatter(x10, axis t, sym, edge wrap)
  t[t]: int = iota(axis t)
  c_2[]: int = constant(1)
  x12[t]: bool = gt(t, c_2)
  output total = total
  output top = top
  output flipped = A_1
  output causal = x4
  output solved = x8
  output E = x9
  output added = x11
  output late = x12
"""


def test_every_operation_prints() -> None:
    b = Builder("everything", dict(AXES))
    x, a, p = b.input("x", ("b", "t")), b.input("A", ("n", "m")), b.input("p", ("n",))
    sym, keep = b.input("sym", ("k",), "int"), b.input("keep", ("t",), "bool")
    e = b.map("exp", x, hint="e")
    scaled = b.map("mul", e, b.constant(2.5), hint="scaled")
    kept = b.map("where", keep, scaled, b.constant(0.0), hint="kept")
    b.output("total", b.contract((e, kept), ("t",), "total"))
    b.output("top", b.reduce("max", kept, ("t",), "top"))
    b.output("flipped", b.rename(a, {"n": "m", "m": "n"}))
    back = b.cumulate("sum", e, "t", reverse=True, exclusive=True)
    stretch = b.segment(b.cumulate("prod", e, "t"), "t", "s")
    b.output("causal", b.mask(stretch, "t", "s", strict=True))
    row = b.contract((a, a, p), ("m",))
    solved = b.matrix("solve", (a, row), "n", "m")
    b.output("solved", b.matrix("solve_unit_lower", (a, solved), "n", "m", transposed=True))
    b.output("E", b.matrix("expm", (a,), "n", "m"))
    near = b.shift(back, "t", -1, "clamp", "near")
    found = b.gather(near, "t", sym)
    b.output("added", b.scatter(found, "t", sym, "wrap", ("b", "t")))
    b.output("late", b.map("gt", b.iota("t"), b.constant(1.0, dtype="int")))
    block = b.build()
    verify(block)
    assert str(block) + "\n" == EVERY_OPERATION


DELTA_VJP = """\
block delta_vjp
  input k[i]
  input v[j]
  input beta[]
  input S[i, j]
  input d S[i, j]
  seen[j] = contract(S, k, over i)
  error[j] = sub(v, seen)
  x1[i] = mul(beta, k)
  d_error[j] = contract(d S, x1, over i)
  d_x1[i] = contract(d S, error, over j)
  d_beta[] = contract(d_x1, k, over i)
  d_k[i] = mul(beta, d_x1)
  x3[j] = neg(d_error)
  d_S[i, j] = mul(k, x3)
  d_S_1[i, j] = add(d S, d_S)
  d_k_1[i] = contract(S, x3, over j)
  d_k_2[i] = add(d_k, d_k_1)
  output d k = d_k_2
  output d v = d_error
  output d beta = d_beta
  output d S = d_S_1
"""


def test_a_vjp_prints() -> None:
    b = Builder("delta", {"i": "i", "j": "j"})
    k, v, beta, old = b.input("k", "i"), b.input("v", "j"), b.input("beta", ()), b.input("S", "ij")
    error = b.map("sub", v, b.contract((k, old), "i", "seen"), hint="error")
    b.output("S", b.map("add", old, b.map("mul", b.map("mul", beta, k), error), hint="new"))
    backward = vjp(b.build(), ["k", "v", "beta", "S"], ["S"])
    verify(backward)
    assert str(backward) + "\n" == DELTA_VJP


def test_equal_operations_are_built_once() -> None:
    b = Builder("b", dict(AXES))
    x, y = b.input("x", ("t",)), b.input("y", ("n",))
    assert b.map("mul", x, y) == b.map("mul", y, x)
    assert b.contract((x, y), ("t",)) == b.contract((y, x), ("t",))
    assert b.map("sub", x, y) != b.map("sub", y, x)
    assert b.constant(1.0) == b.constant(1.0) != b.constant(1.0, ("t",))


def test_arithmetic_with_zero_and_one_disappears_only_if_axes_and_dtype_stay() -> None:
    b = Builder("b", dict(AXES))
    x, i = b.input("x", ("t",)), b.input("i", ("t",), "int")
    zero, one = b.constant(0.0), b.constant(1.0)
    assert b.map("add", x, zero) == b.map("sub", x, zero) == b.map("mul", one, x) == b.map("div", x, one) == x
    assert b.map("mul", x, b.constant(1.0, ("n",))).axes == ("t", "n")
    assert b.map("mul", i, one).dtype == "real"
    assert b.known(b.map("mul", x, zero)) == 0.0
    assert b.map("mul", x, zero).axes == ("t",)
    assert b.known(b.map("add", b.constant(2.0), b.constant(3.0, ("n",)))) == 5.0


def test_functions_of_numbers_are_worked_out_once_in_float64() -> None:
    """1 - cos(0.01) has four digits in float32; what is no number is left to the element type."""
    b = Builder("b", dict(AXES))
    found = b.map("sub", b.constant(1.0), b.map("cos", b.constant(0.01)))
    assert b.known(found) == 1 - math.cos(0.01)
    assert b.known(b.map("exp", b.constant(1.0, ("n",)))) == math.e
    assert b.known(b.map("log", b.constant(0.0))) is None
    assert b.known(b.map("stop", b.constant(2.0))) is None
    assert b.known(b.map("lt", b.constant(1.0), b.constant(2.0))) is None


def test_factors_without_the_summed_axes_leave_the_sum() -> None:
    block = build(lambda b: b.contract((b.input("x", ("t",)), b.input("p", ("n",)), b.input("q", ("t", "n"))), ("t",)))
    assert [str(op.out) for op in block.ops] == ["x1[n]", "x2[n]"]
    arrays = draw(block, SIZES, {})
    np.testing.assert_allclose(interpret(block, arrays, SIZES)["y"], run_torch(block, arrays, SIZES)["y"], rtol=1e-13)


def test_a_rename_to_an_axis_that_is_there_is_refused() -> None:
    b = Builder("b", dict(AXES))
    with pytest.raises(BlockError, match="would take a diagonal"):
        b.rename(b.input("A", ("n", "m")), {"n": "m"})


def test_unused_operations_are_dropped_and_unused_inputs_stay() -> None:
    b = Builder("b", dict(AXES))
    x, y = b.input("x", ("t",)), b.input("y", ("t",))
    b.map("exp", x)
    b.output("y", b.map("neg", y))
    block = b.build()
    assert [v.name for v in block.inputs] == ["x", "y"]
    assert [op.out.name for op in block.ops] == ["x2"]
    assert [v.name for v in block.live().inputs] == ["y"]


def test_fresh_axes_have_the_size_of_another() -> None:
    b = Builder("b", dict(AXES))
    assert b.fresh_axis("s") == "s_1"
    assert b.fresh_axis("s") == "s_2"
    assert b.order["s_2"] == "t"


def test_replay_repeats_a_block() -> None:
    def make(b: Builder) -> dict[str, Value]:
        y = b.map("mul", b.map("exp", b.input("x", ("t",))), b.constant(2.0))
        return {"y": y}

    block = build(make)
    b = Builder("case", dict(block.size_of))
    table = {v.name: b.input(v.name, v.axes, v.dtype) for v in block.inputs}
    for op in block.ops:
        table[op.out.name] = b.replay(op, table)
    for name, v in block.outputs:
        b.output(name, table[v.name])
    assert b.build() == block
