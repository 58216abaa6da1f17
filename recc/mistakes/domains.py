"""Mistakes of domains and kinds of numbers: promises that disagree, and values that cannot be."""

from __future__ import annotations

from recc.mistakes.table import Mistake

TABLE: tuple[Mistake, ...] = (
    Mistake(
        "unknown-domain",
        "`{word}` is not a domain",
        "after the name `{name}`",
        why="a domain is `<= 0`, `> 0`, `in [0, 1]`, unit, bool, complex or int(axis)",
        help="if it is another name, a comma is missing before it",
    ),
    Mistake(
        "domain-comparison",
        "a domain is not written with `{op}`",
        "not a range",
        help="write `<`, `<=`, `>`, `>=` or `in [a, b]`; for a fixed value, `const name = …`",
    ),
    Mistake(
        "bound-not-a-number",
        "the end of a domain is a number",
        "not a number",
        why="a promise is checked and drawn from before anything is computed",
        help="write a number, or `inf`",
    ),
    Mistake(
        "empty-domain",
        "no number is in this domain",
        "from {low} to {high}",
        help="write the smaller end first: `in [{high}, {low}]`",
    ),
    Mistake(
        "domains-disagree",
        "{first} and {second} cannot be promised of the same value",
        "disagrees",
        why="bool and int have their own values, and complex numbers have no order",
        help="keep one of them; `complex unit` may stand together",
    ),
    Mistake(
        "int-without-axis",
        "`int` says which axis it indexes",
        "into which axis?",
        help="write `{name} int(a)` with an axis a of the header",
    ),
    Mistake(
        "domain-takes-no-axis",
        "`{word}` stands without brackets",
        "not wanted",
        why="only `int(a)` names an axis; `unit` is along the last axis of its name",
        help="write `{word}`",
    ),
    Mistake(
        "unit-without-axis",
        "`{name}` has no axis along which its norm could be 1",
        "needs an axis",
        why="`unit` promises a 2-norm of 1 along the last axis",
        help="declare an axis, `{name}[i] unit`, or write `in [-1, 1]`",
    ),
    Mistake(
        "value-outside-domain",
        "the value of `{name}` is outside its own domain",
        "{given}",
        why="`{name}` is promised to be {domain}",
        help="change the value or the promise",
    ),
    Mistake(
        "initial-zero-outside",
        "the state `{name}` starts at zero, which is outside its domain",
        "starts at 0",
        why="a state without an initial value starts at zero, and `{name}` is promised to be {domain}",
        help="give it an initial value: `state {name} {domain} = …`",
    ),
    Mistake(
        "impossible-argument",
        "this takes {what}",
        "never {needs}",
        why="the domains promised in the program leave no argument for which it is defined",
        help="correct the sign of the argument, or the promise",
    ),
    Mistake(
        "empty-clamp",
        "`clamp` gets a lower end above its upper end",
        "{low} > {high}",
        help="write the smaller end first: `clamp(x, low, high)`",
    ),
    Mistake(
        "division-by-zero",
        "this divides by zero",
        "is zero",
        help="correct the divisor",
    ),
    Mistake(
        "complex-into-real",
        "a complex value cannot be kept in `{name}`, which is real",
        "complex",
        why="the imaginary part would be lost without a word",
        help="declare `{name}` complex, or take `re(…)` of the value",
    ),
    Mistake(
        "dtype-too-wide",
        "a value that is {given} cannot be kept in `{name}`, which is {dtype}",
        "{given}",
        why="the conversion would lose a part of it; bool becomes int, int becomes real, real becomes complex",
        help="declare `{name}` with a wider domain, or change the value",
    ),
    Mistake(
        "complex-not-accepted",
        "`{function}` does not take complex values",
        "complex",
        why="it needs an order of its arguments, or is not defined for complex numbers here",
        help="take a real part of it first: `re(x)`, `im(x)` or `abs(x)`",
    ),
    Mistake(
        "not-a-truth-value",
        "`{function}` takes a truth value, not one that is {dtype}",
        "{dtype}",
        why="numbers are not true or false by themselves",
        help="compare it, for example `x > 0`, or declare the input `bool`",
    ),
)
