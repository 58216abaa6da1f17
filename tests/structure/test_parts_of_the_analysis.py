"""The parts that the classification stands on: polynomials, sizes, renamed axes."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
import sympy

from recc.recurrence import Apply, Expr, Number, Read
from recc.structure.build import Workspace, number
from recc.structure.poly import Polynomials
from recc.structure.rename import CannotFollow, rename
from recc.structure.size import Size, Sizes
from tests.structure.laws import program

ARGUMENTS = """
recurrence r(n, m = n, d)
    input a[n], b[n], c[n], g <= 0, p > 0, z in [0, 1], o in (0, 1), u[n] unit, w complex, f bool, k int(n)
    param A[n, m], D[d] < 0, s
    {}
    output y[t] = {}
    output vectors[t] = sum[n](a[t] + b[t] + c[t] + u[t] + a[t, k[t]]) + sum[m](A) + sum[d](D)
    output numbers[t] = g[t] + p[t] + z[t] + o[t] + re(w[t]) + s + where(f[t], 1, 0)
"""


def expression(text: str, equations: str = "") -> tuple[Workspace, Expr]:
    rec = program(ARGUMENTS.format(equations, text))
    return Workspace(rec), rec.equation["y"].expr


def as_sympy(expr: Expr) -> sympy.Expr:
    if isinstance(expr, Number):
        return sympy.Rational(*float(expr.value).as_integer_ratio())
    if isinstance(expr, Read):
        return sympy.Symbol(f"{expr.name}_{'_'.join(expr.axes)}")
    assert isinstance(expr, Apply)
    args = [as_sympy(a) for a in expr.args]
    operators = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**"}
    if expr.fn == "neg":
        return -args[0]
    if expr.fn in operators:
        return {"+": args[0] + args[1], "-": args[0] - args[1], "*": args[0] * args[1]}.get(
            operators[expr.fn], args[0] / args[1] if expr.fn == "div" else args[0] ** args[1]
        )
    return sympy.Function(expr.fn)(*args)


def random_expression(rng: np.random.Generator, depth: int) -> str:
    if depth == 0:
        return str(rng.choice(["a[t]", "b[t]", "c[t]", "2", "0.5", "3"]))
    left, right = random_expression(rng, depth - 1), random_expression(rng, depth - 1)
    kind = rng.random()
    if kind < 0.3:
        return f"({left} + {right})"
    if kind < 0.55:
        return f"({left} - {right})"
    if kind < 0.8:
        return f"{left} * {right}"
    if kind < 0.86:
        return f"-{left}"
    return f"({left}) ** 2" if kind < 0.93 else f"{left} / b[t]"


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_polynomials_agree_with_sympy(first: int) -> None:
    """The polynomial of an expression, written out again, is the expression; equal ones are equal."""
    for seed in range(first, first + 20):
        work, expr = expression(random_expression(np.random.default_rng(seed), 3))
        polynomials = Polynomials(work)
        again = polynomials.expr(polynomials.of(expr))
        assert sympy.expand(as_sympy(again) - as_sympy(expr)) == 0
        zero = sympy.expand(as_sympy(expr)) == 0
        assert (not polynomials.of(expr)) == zero


def test_a_polynomial_that_is_too_large_is_an_atom() -> None:
    text = " * ".join(f"(a[t] + b[t] ** {k} + c[t])" for k in (2, 3, 4, 2, 3, 4, 2, 3, 4))
    work, expr = expression(text)
    polynomials = Polynomials(work)
    assert len(polynomials.of(expr)) < 200
    assert polynomials.product([expr] * 40) is None or len(polynomials.of(expr)) == 1


SIZES = {
    "exp(g[t])": "in (0, 1]",
    "exp(g[t] - p[t])": "in (0, 1)",
    "exp(-exp(s))": "in (0, 1)",
    "1 - z[t]": "in [0, 1]",
    "1 - o[t]": "in (0, 1)",
    "sigmoid(s)": "in (0, 1)",
    "exp(-8 * sigmoid(s) * softplus(s))": "in (0, 1)",
    "exp(p[t] * min(s, 0))": "in (0, 1]",
    "2 * z[t] - 1": "in [-1, 1]",
    "tanh(s)": "in (-1, 1)",
    "a[t, 0] * a[t, 0]": "in [0, inf)",
    "clamp(s, 0.1, 0.9)": "in [0.1, 0.9]",
    "where(f[t], 0, exp(g[t]))": "in [0, 1]",
    "1 / (1 + p[t])": "in (0, 1)",
    "exp(g[t]) * cis(s)": "modulus in (0, 1]",
    "exp(-p[t] * cis(0) + s * cis(1) * 0)": "modulus in [0, inf)",
    "sum[d](D)": "in (-inf, 0]",
    "u[t, 0]": "in [-1, 1]",
    "abs(w[t])": "in [0, inf)",
    "sqrt(p[t])": "in (0, inf)",
    "max(z[t], 0.5)": "in [0.5, 1]",
    "log(z[t])": "in (-inf, 0]",
    "half": "in [0.5, 0.5]",
}


@pytest.mark.parametrize("text", SIZES)
def test_sizes(text: str) -> None:
    work, expr = expression(text, "const half = 0.5" if text == "half" else "")
    assert str(Sizes(work).of(expr)) == SIZES[text]


def test_sizes_hold() -> None:
    """Values drawn from the intervals of the arguments lie in the interval of the result."""
    rng = np.random.default_rng(0)
    functions = {
        "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "max": np.maximum, "min": np.minimum,
        "exp": np.exp, "tanh": np.tanh, "abs": np.abs, "neg": np.negative, "expm1": np.expm1,
    }  # fmt: skip
    from recc.structure.size import _abs, _function

    for _ in range(300):
        fn = str(rng.choice(list(functions)))
        arity = 1 if fn in ("exp", "tanh", "abs", "neg", "expm1") else 2
        sizes, values = [], []
        for _ in range(arity):
            low, high = np.sort(rng.integers(-3, 4, 2)).astype(float)
            sizes.append(Size(low, high if rng.random() < 0.8 else inf))
            values.append(np.append(rng.uniform(low, min(high, sizes[-1].high), 20), [low, high]))
        with np.errstate(all="ignore"):
            result = functions[fn](*values)
        found = _abs(sizes[0]) if fn == "abs" else _function(fn, sizes)
        inside = result[np.isfinite(result)]
        assert np.all(inside >= found.low - 1e-12), (fn, sizes, found)
        assert np.all(inside <= found.high + 1e-12), (fn, sizes, found)


def test_renaming_keeps_bound_axes_apart() -> None:
    from recc.show import show_expr

    work, expr = expression("a[t] * sum[m](A * a[t, m])")
    assert show_expr(rename(work, expr, {"n": "m"})) == "a[t, m] * sum[m'1](A[m, m'1] * a[t, m'1])"
    work, expr = expression("softmax[n](a[t]) * sum[m](A)")
    assert show_expr(rename(work, expr, {"n": "d"})) == "softmax[d](a[t, d]) * sum[m](A[d, m])"
    work, expr = expression("sum[m](softmax[n](A) * a[t, m])")
    inner = expr.children[0].children[0]
    with pytest.raises(CannotFollow):
        rename(work, inner, {"m": "n"})


def test_numbers() -> None:
    assert number(2.0).dtype == "int"
    assert number(0.5).dtype == "real"
    assert number(-inf).dtype == "real"
