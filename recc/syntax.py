"""What a program's text says, with no meaning yet: one frozen dataclass per rule of the grammar.

Every node has the span of the text it came from. Spans take no part in comparisons, so that
`parse(str(parse(text))) == parse(text)`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from recc.diagnostics import NOWHERE, Span


@dataclass(frozen=True, kw_only=True)
class Node:
    """Anything that came from the text."""

    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Name(Node):
    """A name where it stands, not yet looked up."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Expr(Node):
    """An expression. `depth` is the height of its tree, which bounds every recursion over it."""

    depth: int = field(default=1, compare=False, repr=False)


@dataclass(frozen=True)
class Number(Expr):
    """A number as it was written: `2`, `.5`, `1e-3`."""

    text: str


@dataclass(frozen=True)
class Ref(Expr):
    """A bare name: `A`, `t`, `inf`."""

    name: str


@dataclass(frozen=True)
class Item(Node):
    """One index: an expression, or `axis = expression`."""

    axis: Name | None
    expr: Expr


@dataclass(frozen=True)
class Index(Expr):
    """A name with indices: `h[t-1, m]`, `M[a = sym[t]]`."""

    name: Name
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Call(Expr):
    """A function of arguments, with axes in brackets if it is a reduction: `exp(x)`, `sum[i](x)`."""

    name: Name
    items: tuple[Item, ...] | None
    args: tuple[Expr, ...]


@dataclass(frozen=True)
class Unary(Expr):
    """`-x`, `+x` or `not x`."""

    op: str
    operand: Expr


@dataclass(frozen=True)
class Binary(Expr):
    """Two expressions with an operator between them. `at` is where the operator stands."""

    op: str
    left: Expr
    right: Expr
    at: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class AxisSyntax(Node):
    """An axis of the header: `i`, `m = n`, `x wrap`."""

    name: Name
    size_of: Name | None = None
    edge: Name | None = None


@dataclass(frozen=True)
class Bound(Node):
    """A promise of one side: `<= 0`."""

    op: str
    value: Expr


@dataclass(frozen=True)
class Interval(Node):
    """A promise of both sides: `in [0, 1]`, `in (0, 1]`."""

    lower: Expr
    upper: Expr
    lower_open: bool
    upper_open: bool


@dataclass(frozen=True)
class Property(Node):
    """A promise by a word: `unit`, `bool`, `complex`, `int(a)`."""

    name: Name
    argument: Name | None = None


DomainSyntax = Bound | Interval | Property
DeclarationKind = Literal["input", "param", "const", "state"]


@dataclass(frozen=True)
class Entry(Node):
    """One declared name: `q[i]`, `g <= 0`, `m = -inf`."""

    name: Name
    axes: tuple[Name, ...] | None = None
    domains: tuple[DomainSyntax, ...] = ()
    value: Expr | None = None


@dataclass(frozen=True)
class Declaration(Node):
    """`input`, `param`, `const` or `state`, and what it declares."""

    kind: DeclarationKind
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Target(Node):
    """The left side of an equation."""

    name: Name
    items: tuple[Item, ...] | None = None


@dataclass(frozen=True)
class EquationSyntax(Node):
    """`target = expression`, with `output` in front of it or not."""

    target: Target
    expr: Expr
    output: bool = False


@dataclass(frozen=True)
class Definition(Node):
    """`def f(x) = expression`."""

    name: Name
    parameters: tuple[Name, ...]
    body: Expr


Statement = Declaration | EquationSyntax | Definition


@dataclass(frozen=True)
class RecurrenceSyntax(Node):
    """One recurrence of a file. `over` are its scan axes, empty if the header does not name any."""

    name: Name
    axes: tuple[AxisSyntax, ...]
    over: tuple[Name, ...]
    doc: str
    statements: tuple[Statement, ...]


@dataclass(frozen=True)
class Program(Node):
    """A whole file."""

    recurrences: tuple[RecurrenceSyntax, ...]

    def __str__(self) -> str:
        from recc.show import show_program

        return show_program(self)


def children(expr: Expr) -> tuple[Expr, ...]:
    """The expressions directly below, those inside brackets included."""
    if isinstance(expr, Index):
        return tuple(item.expr for item in expr.items)
    if isinstance(expr, Call):
        return tuple(item.expr for item in expr.items or ()) + expr.args
    if isinstance(expr, Unary):
        return (expr.operand,)
    if isinstance(expr, Binary):
        return (expr.left, expr.right)
    return ()


__all__ = [
    "AxisSyntax", "Binary", "Bound", "Call", "Declaration", "DeclarationKind", "Definition", "DomainSyntax", "Entry",
    "EquationSyntax", "Expr", "Index", "Interval", "Item", "Name", "Node", "Number", "Program", "Property",
    "RecurrenceSyntax", "Ref", "Statement", "Target", "Unary", "children",
]  # fmt: skip
