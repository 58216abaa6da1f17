"""Reading: every rule of the grammar, spans, line ends, and that Syntax prints as a text that reads back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recc import syntax
from recc.diagnostics import Source
from recc.parse import parse
from recc.show import show_syntax

ZOO = sorted((Path(__file__).resolve().parents[2] / "recc" / "zoo").glob("*.recc"))


def read(text: str) -> syntax.RecurrenceSyntax:
    (recurrence,) = parse(Source(text)).recurrences
    return recurrence


def right_side(text: str) -> syntax.Expr:
    statement = read(f"recurrence f\n y = {text}\n").statements[0]
    assert isinstance(statement, syntax.EquationSyntax)
    return statement.expr


def shape(expr: syntax.Expr) -> str:
    """The tree of an expression with every bracket written."""
    if isinstance(expr, syntax.Binary):
        return f"({shape(expr.left)} {expr.op} {shape(expr.right)})"
    if isinstance(expr, syntax.Unary):
        return f"({expr.op} {shape(expr.operand)})"
    return show_syntax(expr)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a + b + c", "((a + b) + c)"),
        ("a - b - c", "((a - b) - c)"),
        ("a - (b - c)", "(a - (b - c))"),
        ("a + b * c", "(a + (b * c))"),
        ("a / b / c", "((a / b) / c)"),
        ("a / b * c", "((a / b) * c)"),
        ("-a * b", "((- a) * b)"),
        ("-a ** b", "(- (a ** b))"),
        ("a ** -b", "(a ** (- b))"),
        ("a ** b ** c", "(a ** (b ** c))"),
        ("a * -b", "(a * (- b))"),
        ("- - a", "(- (- a))"),
        ("+a", "(+ a)"),
        ("a + b < c * d", "((a + b) < (c * d))"),
        ("a == b and c != d or e", "(((a == b) and (c != d)) or e)"),
        ("not a == b", "(not (a == b))"),
        ("not a and b", "((not a) and b)"),
        ("not not a", "(not (not a))"),
        ("a or b and c", "(a or (b and c))"),
    ],
)
def test_precedence(text: str, tree: str) -> None:
    assert shape(right_side(text)) == tree


@pytest.mark.parametrize("text", ["2", "2.", ".5", "0.5", "1e-3", "1E+4", "2.5e10"])
def test_numbers(text: str) -> None:
    number = right_side(text)
    assert isinstance(number, syntax.Number)
    assert number.text == text


def test_header() -> None:
    r = read('recurrence f(i, m = i, x wrap, y = x clamp) over r, c\n "Doc."\n input a\n')
    assert (r.name.text, r.doc, [n.text for n in r.over]) == ("f", "Doc.", ["r", "c"])
    assert [(a.name.text, a.size_of and a.size_of.text, a.edge and a.edge.text) for a in r.axes] == [
        ("i", None, None),
        ("m", "i", None),
        ("x", None, "wrap"),
        ("y", "x", "clamp"),
    ]


@pytest.mark.parametrize("header", ["recurrence f", "recurrence f()"])
def test_header_without_axes(header: str) -> None:
    assert read(header + "\n").axes == ()


def test_declarations() -> None:
    text = (
        "recurrence f(i)\n input q[i] unit, g <= 0, b in (0, 1], s int(i), z complex unit\n state S[i] > -1 < 2 = 1\n"
    )
    inputs, states = read(text).statements
    assert isinstance(inputs, syntax.Declaration)
    assert isinstance(states, syntax.Declaration)
    assert [e.name.text for e in inputs.entries] == ["q", "g", "b", "s", "z"]
    kinds = [[type(d).__name__ for d in e.domains] for e in inputs.entries]
    assert kinds == [["Property"], ["Bound"], ["Interval"], ["Property"], ["Property", "Property"]]
    interval = inputs.entries[2].domains[0]
    assert isinstance(interval, syntax.Interval)
    assert (interval.lower_open, interval.upper_open) == (True, False)
    assert len(states.entries[0].domains) == 2
    assert states.entries[0].value == syntax.Number("1")


def test_statements() -> None:
    r = read(
        "recurrence f\n def g() = 1\n def h(a, b) = a\n y = g()\n y[t, i] = 1\n output z[t] = M[a = s[t], b = 2]\n"
    )
    g, h, y, y_t, z = r.statements
    assert isinstance(g, syntax.Definition)
    assert g.parameters == ()
    assert isinstance(h, syntax.Definition)
    assert [p.text for p in h.parameters] == ["a", "b"]
    assert isinstance(y, syntax.EquationSyntax)
    assert y.target.items is None
    assert isinstance(y_t, syntax.EquationSyntax)
    assert len(y_t.target.items or ()) == 2
    assert isinstance(z, syntax.EquationSyntax)
    assert z.output
    assert isinstance(z.expr, syntax.Index)
    assert [i.axis and i.axis.text for i in z.expr.items] == ["a", "b"]


def test_calls() -> None:
    e = right_side("sum[i, j](max(a, b))")
    assert isinstance(e, syntax.Call)
    assert e.items is not None
    assert [show_syntax(i.expr) for i in e.items] == ["i", "j"]
    assert isinstance(e.args[0], syntax.Call)
    assert e.args[0].items is None


@pytest.mark.parametrize(
    "text",
    [
        "recurrence f\n y = (a +\n   b)\n",
        "recurrence f\n y = a + \\\n   b\n",
        "recurrence f\r\n y = a + b\r\n",
        "recurrence f\n\n\n  # comment\n\ty = a + b  # more\n\n",
        "\n\nrecurrence f\n y = a + b",
        "recurrence f\n y = (  # open\n\n a + b\n # still\n )\n",
        "recurrence f\ny=a+b",
    ],
)
def test_line_ends_and_spaces_mean_nothing_more(text: str) -> None:
    assert parse(Source(text)) == parse(Source("recurrence f\n    y = a + b\n"))


def test_several_recurrences() -> None:
    program = parse(Source("recurrence f\n y = 1\nrecurrence g\n z = 2\n"))
    assert [r.name.text for r in program.recurrences] == ["f", "g"]
    assert [len(r.statements) for r in program.recurrences] == [1, 1]


def test_spans_cover_their_text() -> None:
    text = "recurrence f(i)\n    h[t] = (a + b) * exp(c[t-1, i])  # comment\n"
    source = Source(text)
    (equation,) = parse(source).recurrences[0].statements
    assert isinstance(equation, syntax.EquationSyntax)
    assert source.slice(equation.span) == "h[t] = (a + b) * exp(c[t-1, i])"
    assert source.slice(equation.target.span) == "h[t]"
    product = equation.expr
    assert isinstance(product, syntax.Binary)
    assert source.slice(product.span) == "(a + b) * exp(c[t-1, i])"
    assert source.slice(product.left.span) == "(a + b)"
    assert source.slice(product.at) == "*"
    assert isinstance(product.right, syntax.Call)
    assert source.slice(product.right.args[0].span) == "c[t-1, i]"
    assert source.slice(parse(source).recurrences[0].span) == "recurrence f(i)"


@pytest.mark.parametrize("path", ZOO, ids=lambda p: p.stem)
def test_zoo_reads_back(path: Path) -> None:
    program = parse(Source(path.read_text(encoding="utf-8")))
    assert parse(Source(str(program))) == program


NAMES = st.sampled_from(["a", "b1", "S", "x_y", "inf", "t"])
LEAVES = st.one_of(NAMES, st.sampled_from(["0", "2", ".5", "1e-3", "3."]))


def deeper(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(["+", "-", "*", "/", "**", "<", "<=", ">=", "==", "!=", "and", "or"])
    return st.one_of(
        st.tuples(inner, operators, inner).map(lambda p: f"({p[0]}) {p[1]} ({p[2]})"),
        st.tuples(st.sampled_from(["-", "+", "not "]), inner).map(lambda p: f"{p[0]}({p[1]})"),
        inner.map(lambda e: f"({e})"),
        st.tuples(NAMES, inner).map(lambda p: f"{p[0]}[t-1, {p[1]}]"),
        st.tuples(NAMES, inner).map(lambda p: f"{p[0]}[a = {p[1]}]"),
        st.tuples(NAMES, st.lists(inner, max_size=3)).map(lambda p: f"{p[0]}({', '.join(p[1])})"),
        st.tuples(NAMES, inner).map(lambda p: f"{p[0]}[i, j]({p[1]})"),
    )


@settings(max_examples=150, deadline=None)
@given(st.recursive(LEAVES, deeper, max_leaves=12))
def test_expressions_read_back(text: str) -> None:
    program = parse(Source(f"recurrence f\n y[t] = {text}\n"))
    assert parse(Source(str(program))) == program
    assert len(str(program)) <= len(text) * 2 + 60, "no more brackets than are needed"


def test_lark_is_imported_on_first_use() -> None:
    code = "import recc.parse, sys; assert 'lark' not in sys.modules; assert 'sympy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
