"""From the parser's reductions to Syntax nodes, bottom up, so that no tree is ever walked to build one.

Every method is called by the parser with the children of one rule, tokens included; a span runs from
the first child to the last. A method may raise `Misread` for what the grammar cannot say.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, TypeVar, cast

from recc import syntax
from recc.diagnostics import Diagnostic, Span
from recc.mistakes import diagnose

MAX_DEPTH = 200


class Misread(Exception):
    """A mistake found while a line is being read."""

    def __init__(self, diagnostic: Diagnostic):
        self.diagnostic = diagnostic
        super().__init__(diagnostic.code)


def token_span(token: Any) -> Span:
    """Where a token stands."""
    return Span(token.start_pos, token.end_pos)


def _span_of(child: Any) -> Span:
    return child.span if isinstance(child, syntax.Node) else token_span(child)


def _span(children: list[Any]) -> Span:
    present = [c for c in children if not isinstance(c, (tuple, list)) and not _is_line_end(c)]
    return _span_of(present[0]).to(_span_of(present[-1]))


def _is_line_end(child: Any) -> bool:
    return getattr(child, "type", None) == "NEWLINE"


N = TypeVar("N")


def _nodes(children: list[Any], kind: type[N]) -> tuple[N, ...]:
    return tuple(c for c in children if isinstance(c, kind))


def _after(children: list[Any], mark: str, offset: int = 1) -> Any:
    """The child after the token `mark`, or None."""
    for i, child in enumerate(children):
        if not isinstance(child, (syntax.Node, tuple)) and str(child) == mark:
            return children[i + offset]
    return None


def _name(token: Any) -> syntax.Name:
    return syntax.Name(str(token), span=token_span(token))


def _depth(span: Span, *below: syntax.Expr) -> int:
    depth = 1 + max((e.depth for e in below), default=0)
    if depth > MAX_DEPTH:
        raise Misread(diagnose("expression-too-deep", Span(span.start, span.start + 1), limit=MAX_DEPTH))
    return depth


class Builder:
    """One method per rule of the grammar; it keeps nothing between calls."""

    def names(self, children: list[Any]) -> tuple[syntax.Name, ...]:
        """Make `i, j`."""
        return tuple(_name(c) for c in children if c.type == "NAME")

    def items(self, children: list[Any]) -> tuple[syntax.Item, ...]:
        """Everything between square brackets."""
        return _nodes(children, syntax.Item)

    def arguments(self, children: list[Any]) -> tuple[syntax.Expr, ...]:
        """Everything between round brackets."""
        return _nodes(children, syntax.Expr)

    def item(self, children: list[Any]) -> syntax.Item:
        """`t-1`, or `a = sym[t]`."""
        axis = _name(children[0]) if len(children) == 3 else None
        return syntax.Item(axis, children[-1], span=_span(children))

    # Expressions

    def number(self, children: list[Any]) -> syntax.Expr:
        """Make `0.5`."""
        return syntax.Number(str(children[0]), span=_span(children))

    def name(self, children: list[Any]) -> syntax.Expr:
        """Make `A`."""
        return syntax.Ref(str(children[0]), span=_span(children))

    def index(self, children: list[Any]) -> syntax.Expr:
        """Make `h[t-1, m]`."""
        items = children[2]
        span = _span(children)
        depth = _depth(span, *(i.expr for i in items))
        return syntax.Index(_name(children[0]), items, span=span, depth=depth)

    def call(self, children: list[Any]) -> syntax.Expr:
        """Make `exp(x)`."""
        args = children[2] if len(children) == 4 else ()
        span = _span(children)
        return syntax.Call(_name(children[0]), None, args, span=span, depth=_depth(span, *args))

    def reduction(self, children: list[Any]) -> syntax.Expr:
        """Make `sum[i](x)`."""
        items, args = children[2], children[5] if len(children) == 7 else ()
        span = _span(children)
        depth = _depth(span, *(i.expr for i in items), *args)
        return syntax.Call(_name(children[0]), items, args, span=span, depth=depth)

    def parenthesis(self, children: list[Any]) -> syntax.Expr:
        """`(x)`: x itself, with the brackets in its span."""
        inner = cast(syntax.Expr, children[1])
        return replace(inner, span=_span(children))

    def unary(self, children: list[Any]) -> syntax.Expr:
        """Make `-x`."""
        operand, span = children[1], _span(children)
        return syntax.Unary(str(children[0]), operand, span=span, depth=_depth(span, operand))

    def binary(self, children: list[Any]) -> syntax.Expr:
        """Make `x + y`."""
        left, op, right = children
        span = _span(children)
        return syntax.Binary(str(op), left, right, token_span(op), span=span, depth=_depth(span, left, right))

    # Statements

    def property(self, children: list[Any]) -> syntax.Property:
        """Make `unit`, `int(a)`."""
        argument = _name(children[2]) if len(children) > 1 else None
        return syntax.Property(_name(children[0]), argument, span=_span(children))

    def bound(self, children: list[Any]) -> syntax.Bound:
        """Make `<= 0`."""
        op = str(children[0])
        if op in ("==", "!="):
            raise Misread(diagnose("domain-comparison", token_span(children[0]), op=op))
        return syntax.Bound(op, children[1], span=_span(children))

    def interval(self, children: list[Any]) -> syntax.Interval:
        """Make `in (0, 1]`."""
        _, left, lower, _, upper, right = children
        return syntax.Interval(lower, upper, str(left) == "(", str(right) == ")", span=_span(children))

    def entry(self, children: list[Any]) -> syntax.Entry:
        """Make `g[i] <= 0 = x`."""
        axes = _after(children, "[")
        domains = tuple(c for c in children if isinstance(c, (syntax.Bound, syntax.Interval, syntax.Property)))
        return syntax.Entry(_name(children[0]), axes, domains, _after(children, "="), span=_span(children))

    def declaration(self, children: list[Any]) -> syntax.Declaration:
        """Make `input q[i], k[i]`."""
        kind = cast(syntax.DeclarationKind, str(children[0]))
        return syntax.Declaration(kind, _nodes(children, syntax.Entry), span=_span(children))

    def target(self, children: list[Any]) -> syntax.Target:
        """Make `h[t]`."""
        return syntax.Target(_name(children[0]), _after(children, "["), span=_span(children))

    def equation(self, children: list[Any]) -> syntax.EquationSyntax:
        """Make `h[t] = x`."""
        return syntax.EquationSyntax(children[0], children[2], span=_span(children))

    def output(self, children: list[Any]) -> syntax.EquationSyntax:
        """Make `output y[t] = x`."""
        return syntax.EquationSyntax(children[1], children[3], output=True, span=_span(children))

    def definition(self, children: list[Any]) -> syntax.Definition:
        """Make `def f(x) = x`."""
        parameters = children[3] if isinstance(children[3], tuple) else ()
        return syntax.Definition(_name(children[1]), parameters, children[-2], span=_span(children))

    # The header and the file

    def axis(self, children: list[Any]) -> syntax.AxisSyntax:
        """Make `m = n wrap`."""
        size_of = _after(children, "=")
        rest = children[3:] if size_of is not None else children[1:]
        return syntax.AxisSyntax(
            _name(children[0]),
            _name(size_of) if size_of is not None else None,
            _name(rest[0]) if rest else None,
            span=_span(children),
        )

    def header(self, children: list[Any]) -> tuple[Literal["header"], syntax.Name, Any, Any, Span]:
        """Make `recurrence f(i, j) over r, c`."""
        over = _after(children, "over")
        end = over[-1].span if over else _span(children)
        span = token_span(children[0]).to(end)
        return "header", _name(children[1]), _nodes(children, syntax.AxisSyntax), over or (), span

    def doc(self, children: list[Any]) -> str:
        """The docstring, without its quotes."""
        return str(children[0])[1:-1]

    def recurrence(self, children: list[Any]) -> syntax.RecurrenceSyntax:
        """A header, a docstring and statements."""
        _, name, axes, over, span = children[0]
        doc = next((c for c in children[1:2] if isinstance(c, str)), "")
        statements = tuple(c for c in children[1:] if isinstance(c, syntax.Node))
        return syntax.RecurrenceSyntax(name, axes, over, doc, cast(Any, statements), span=span)

    def program(self, children: list[Any]) -> syntax.Program:
        """All recurrences of a file."""
        nodes = _nodes(children, syntax.RecurrenceSyntax)
        return syntax.Program(nodes, span=nodes[0].span.to(nodes[-1].span))


__all__ = ["MAX_DEPTH", "Builder", "Misread", "token_span"]
