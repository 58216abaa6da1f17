"""What a checked program says: axes, dtypes, reads, initial values, definitions."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from recc.check import load
from recc.recurrence import (
    Along,
    Apply,
    At,
    Domain,
    Kind,
    Matrix,
    Number,
    Read,
    Recurrence,
    Reduce,
    Step,
    reads,
    walk,
)
from recc.show import show_expr

ZOO = sorted((Path(__file__).resolve().parents[2] / "recc" / "zoo").glob("*.recc"))


def one(text: str) -> Recurrence:
    (recurrence,) = load(text)
    return recurrence


# Broadcasting and reductions


def test_products_broadcast_by_name_in_header_order() -> None:
    r = one("recurrence f(i, j)\n input k[i], v[j]\n output y[t] = v[t] * k[t]\n")
    assert r.equation["y"].expr.axes == ("i", "j")
    assert r.table["y"].axes == ("i", "j")


def test_left_side_fixes_the_layout() -> None:
    r = one("recurrence f(i, j)\n input k[i], v[j]\n output y[t, j, i] = v[t] * k[t]\n")
    assert r.table["y"].axes == ("j", "i")


def test_left_side_may_have_more_axes() -> None:
    r = one("recurrence f(i, j)\n input k[i], v[j]\n output y[t, i, j] = k[t]\n output z[t] = v[t]\n")
    assert r.table["y"].axes == ("i", "j")
    assert r.equation["y"].expr.axes == ("i",)


def test_reduction_removes_its_axes() -> None:
    r = one("recurrence f(i, j)\n input a[i, j]\n output y[t] = sum[i](a[t])\n output z[t] = norm[j, i](a[t])\n")
    assert r.equation["y"].expr.axes == ("j",)
    z = r.equation["z"].expr
    assert isinstance(z, Reduce)
    assert (z.over, z.axes) == (("j", "i"), ())


def test_softmax_keeps_its_axes() -> None:
    r = one("recurrence f(i)\n input a[i]\n output y[t] = softmax[i](a[t])\n")
    assert r.equation["y"].expr.axes == ("i",)


def test_matrix_functions() -> None:
    r = one(
        "recurrence f(n, m = n, b)\n param A[n, m]\n input x[n, b]\n"
        "output y[t] = solve[n, m](A, x[t])\n output z[t] = sum[m](inv[n, m](A) * x[t, m, b])\n"
    )
    y = r.equation["y"].expr
    assert isinstance(y, Matrix)
    assert (y.fn, y.rows, y.cols, y.axes) == ("solve", "n", "m", ("n", "b"))
    inverse = next(e for e in walk(r.equation["z"].expr) if isinstance(e, Matrix))
    assert inverse.axes == ("n", "m")
    assert not inverse.varies


# Reads


def test_default_indices_are_written_out() -> None:
    r = one("recurrence f(i, j)\n input k[i], S[j, i]\n output y[t] = k[t] * S[t-2]\n")
    k, s = sorted(reads(r.equation["y"].expr), key=lambda e: e.name, reverse=True)
    assert (k.lags, k.index) == ((0,), (Along("i"),))
    assert (s.lags, s.index, s.axes) == ((2,), (Along("j"), Along("i")), ("i", "j"))


def test_second_index_and_diagonal() -> None:
    r = one("recurrence f(n, m = n)\n input h[n]\n param A[n, m]\n output y[t] = h[t, m] * A[n, n]\n")
    h, a = sorted(reads(r.equation["y"].expr), key=lambda e: e.name, reverse=True)
    assert (h.index, h.axes) == ((Along("m"),), ("m",))
    assert (a.index, a.axes, a.lags) == ((Along("n"), Along("n")), ("n",), ())


def test_shifted_axis() -> None:
    r = one("recurrence f(x wrap, y = x)\n input X[x]\n output o[t] = X[t-1, x-1] + X[t+1, 2 + x] + X[t, y]\n")
    first, second, third = reads(r.equation["o"].expr)
    assert (first.lags, first.index) == ((1,), (Along("x", -1),))
    assert (second.lags, second.index) == ((-1,), (Along("x", 2),))
    assert third.index == (Along("y"),)
    assert [a.edge for a in r.axes] == ["wrap", "wrap"], "a second index has the edge rule of its axis"


def test_gathers() -> None:
    r = one(
        "recurrence f(a, n)\n input sym int(a), idx int(n), x[n]\n param M[a, n]\n"
        "output y[t] = M[a = sym[t]] + x[t, 0] + x[t-1, idx[t-1]] + M[sym[t] * 0 + 1, idx[t] + 1]\n"
    )
    by_text = {show_expr(e): e for e in reads(r.equation["y"].expr)}
    named = by_text["M[sym[t], n]"]
    assert isinstance(named.index[0], At)
    assert named.index[1] == Along("n")
    assert named.axes == ("n",)
    assert named.varies
    assert named.lags == ()
    assert by_text["x[t, 0]"].axes == ()
    assert by_text["x[t-1, idx[t-1]]"].lags == (1,)
    assert by_text["M[sym[t] * 0 + 1, idx[t] + 1]"].axes == ()


def test_time_as_a_number() -> None:
    r = one("recurrence f\n input x\n output y[t] = x[t] / (t + 1)\n")
    assert r.clock
    assert any(isinstance(e, Step) and e.dtype == "int" and e.varies for e in walk(r.equation["y"].expr))


def test_several_scan_axes() -> None:
    r = one(
        "recurrence f over r, c\n input x\n state h\n h[r, c] = h[r, c-1] + h[r-1, c] + x[r, c]\n"
        "output y[r, c] = h[r, c]\n"
    )
    assert r.scan == ("r", "c")
    assert [e.lags for e in reads(r.equation["h"].expr)] == [(0, 1), (1, 0), (0, 0)]
    assert r.stages[0].direction == (1, 1)
    assert r.slots == ()


# Dtypes


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("b[t]", "bool"),
        ("not b[t] and b[t]", "bool"),
        ("r[t] > 0", "bool"),
        ("z[t] == r[t]", "bool"),
        ("b[t] + b[t]", "int"),
        ("-b[t]", "int"),
        ("sum[i](b[t])", "int"),
        ("s[t] * 2", "int"),
        ("s[t] / 2", "real"),
        ("2**2", "real"),
        ("s[t] + 0.5", "real"),
        ("floor(r[t])", "real"),
        ("mean[i](s[t])", "real"),
        ("exp(s[t])", "real"),
        ("exp(z[t])", "complex"),
        ("cis(r[t])", "complex"),
        ("r[t] * z[t]", "complex"),
        ("abs(z[t])", "real"),
        ("re(z[t])", "real"),
        ("norm[i](z[t])", "real"),
        ("conj(z[t])", "complex"),
        ("where(b[t], 0, z[t])", "complex"),
        ("where(b[t], s[t], b[t])", "int"),
        ("max(s[t], 1)", "int"),
        ("surrogate(r[t] > 0, sigmoid(r[t]))", "real"),
        ("stop(z[t])", "complex"),
        ("inf", "real"),
        ("t", "int"),
    ],
)
def test_dtypes(text: str, dtype: str) -> None:
    r = one(
        "recurrence f(i)\n input b[i] bool, s[i] int(i), r[i], z[i] complex\n"
        f"output y[t] = {text}\n output keep[t] = where(b[t], s[t], r[t]) * z[t]\n"
    )
    assert r.equation["y"].expr.dtype == dtype
    assert r.table["y"].dtype == dtype


# Declarations


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("<= 0", Domain(upper=0)),
        ("< 1", Domain(upper=1, upper_open=True)),
        (">= -1.5", Domain(lower=-1.5)),
        ("> 0", Domain(lower=0, lower_open=True)),
        ("in [0, 1]", Domain(0, 1)),
        ("in (0, 1]", Domain(0, 1, lower_open=True)),
        ("in [0, inf)", Domain(0, inf, upper_open=True)),
        ("> 0 <= 1 / 2", Domain(0, 0.5, lower_open=True)),
        (">= 0 > 0", Domain(lower=0, lower_open=True)),
        ("unit", Domain(unit=True)),
        ("unit >= 0", Domain(lower=0, unit=True)),
    ],
)
def test_domains(text: str, domain: Domain) -> None:
    r = one(f"recurrence f(i)\n input x[i] {text}\n output y[t] = x[t]\n")
    assert r.table["x"].domain == domain


def test_kinds_and_arguments() -> None:
    r = one(
        "recurrence f(i)\n input x[i]\n const c = 0.5, M[i]\n param p\n state h[i] = p\n"
        "two = 2 * M\n h[t] = c * h[t-1] + two * x[t]\n output y[t] = h[t]\n"
    )
    assert [s.name for s in r.arguments] == ["x", "M", "p"]
    kinds = {s.name: s.kind for s in r.symbols}
    assert kinds["two"] is Kind.LOCAL
    assert kinds["y"] is Kind.OUTPUT
    assert r.table["c"].value == Number(0.5)
    initial = r.table["h"].initial
    assert isinstance(initial, Read)
    assert initial.name == "p"
    assert [r.table[n].varies for n in ("x", "M", "two", "h", "y")] == [True, False, False, True, True]
    assert [s.name for s in r.symbols] == ["x", "c", "M", "p", "h", "two", "y"], "in the order of the text"


def test_initial_value_of_minus_infinity() -> None:
    r = one("recurrence f\n input x\n state m = -inf\n m[t] = max(m[t-1], x[t])\n output y[t] = m[t]\n")
    assert r.table["m"].initial == Apply("neg", (Number(inf),))


def test_definitions_are_expanded() -> None:
    r = one(
        "recurrence f\n input x, y\n def sq(a) = a * a\n def dist(a, x) = sq(a - x) + y[t]\n"
        "output z[t] = dist(x[t], 2)\n"
    )
    assert show_expr(r.equation["z"].expr) == "(x[t] - 2) * (x[t] - 2) + y[t]"


def test_parameters_hide_names_of_the_program() -> None:
    r = one("recurrence f(i)\n input x[i], q[i]\n def double(x) = 2 * x\n output y[t] = double(q[t]) + x[t]\n")
    assert show_expr(r.equation["y"].expr) == "2 * q[t, i] + x[t, i]"


@pytest.mark.parametrize("path", ZOO, ids=lambda p: p.stem)
def test_laws(path: Path) -> None:
    """What `recc.recurrence` promises of every Recurrence."""
    (r,) = load(path.read_text(encoding="utf-8"), str(path))
    order = {a.name: i for i, a in enumerate(r.axes)}
    assert [n for s in r.stages for n in s.equations] == [e.target for e in r.equations]
    for equation in r.equations:
        assert r.source.slice(equation.span).startswith(equation.target) or r.source.slice(equation.span).startswith(
            "output"
        )
        assert set(equation.expr.axes) <= set(r.table[equation.target].axes)
        for e in walk(equation.expr):
            assert list(e.axes) == sorted(set(e.axes), key=order.__getitem__)
            assert r.source.slice(e.span)
            if isinstance(e, Read):
                symbol = r.table[e.name]
                assert len(e.index) == len(symbol.axes)
                assert len(e.lags) == (len(r.scan) if symbol.varies else 0)
                assert e.dtype == symbol.dtype
            elif isinstance(e, Apply):
                assert set(e.axes) == {a for c in e.args for a in c.axes}
            assert e.varies >= any(c.varies for c in e.children)
