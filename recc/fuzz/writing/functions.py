"""Every function, reduction and matrix function of the language, with arguments that keep it moderate."""

from __future__ import annotations

from dataclasses import replace

from .phrase import ATOM, Axes, Phrase, add, call, compare, div, joined, mul, neg, number, power, reduced, sub
from .values import (
    ONE,
    Maker,
    apart,
    condition,
    exactly,
    gate,
    leaf,
    log,
    over,
    positive,
    real,
    signed,
    some_axes,
)
from .writer import Writer

_SMOOTH = ("tanh", "sin", "cos", "sigmoid", "softplus", "silu", "gelu", "erf", "log_sigmoid")
_KINKED = ("relu", "abs", "sign", "floor")
_DEFINITIONS = (
    ("mix", ("first", "second", "third"), "first * second + (1 - first) * third"),
    ("bend", ("first",), "first / (1 + abs(first))"),
    ("far", ("first", "second"), "sqrt(1 + (first - second) ** 2)"),
    ("twice", ("first",), "first + first"),
)


def _unary(w: Writer, axes: Axes, depth: int) -> Phrase:
    return call(w.by.pick(_SMOOTH), real(w, axes, depth))


def _kinked(w: Writer, axes: Axes, depth: int) -> Phrase:
    return call(w.by.pick(_KINKED), real(w, axes, depth))


def _binary(w: Writer, axes: Axes, depth: int) -> Phrase:
    a, b = real(w, axes, depth), real(w, axes, depth)
    kind = w.by.weighted(((4, "add"), (3, "mul"), (3, "sub"), (1, "min"), (1, "max"), (1, "logaddexp"), (1, "div")))
    if kind == "div":
        return div(a, apart(w, axes, depth))
    if kind in ("min", "max", "logaddexp"):
        return call(kind, a, b)
    return {"add": add, "mul": mul, "sub": sub}[kind](a, b)


def _bounded(w: Writer, axes: Axes, depth: int) -> Phrase:
    kind = w.by.integer(0, 7)
    if kind == 0:
        return call("clamp", real(w, axes, depth), number("-1"), number("1.5"))
    if kind == 1:
        return call("log", apart(w, axes, depth))
    if kind == 2:
        return call("log1p", positive(w, axes, depth))
    if kind == 3:
        return call("expm1", signed(w, axes, depth))
    if kind == 4:
        return call("sqrt", add(number("0.1"), positive(w, axes, depth)))
    if kind == 5:
        return call("rsqrt", add(ONE, positive(w, axes, depth)))
    if kind == 6:
        return call("exp", log(w, axes, depth))
    return neg(real(w, axes, depth))


def _powers(w: Writer, axes: Axes, depth: int) -> Phrase:
    kind = w.by.integer(0, 4)
    if kind == 0:
        return power(real(w, axes, depth), number("2"))
    if kind == 1:
        return power(signed(w, axes, depth), number(w.by.pick(("3", "4", "7", "0"))))
    if kind == 2:
        return power(apart(w, axes, depth), signed(w, axes, depth))
    if kind == 3:
        return power(apart(w, axes, depth), number(w.by.pick(("-1", "0.5", "-2", "1.5"))))
    return neg(power(number("2"), call("min", real(w, axes, depth), ONE)))


def _choice(w: Writer, axes: Axes, depth: int) -> Phrase:
    return call("where", condition(w, axes, depth), real(w, axes, depth), real(w, axes, depth))


def _truth(w: Writer, axes: Axes, depth: int) -> Phrase:
    found = condition(w, axes, depth)
    return mul(found, real(w, axes, depth))


def _reduction(w: Writer, axes: Axes, depth: int) -> Phrase:
    name = w.by.weighted(
        ((6, "sum"), (3, "mean"), (2, "max"), (1, "min"), (1, "logsumexp"), (1, "norm"), (1, "prod"), (2, "softmax"))
    )
    if name == "softmax":
        axis = w.by.pick(w.ordered(axes)) if axes else w.axis()
        inner = over(w, "softmax", axis, real(w, axes | {axis}, depth))
        return inner if axis in axes else over(w, "sum", axis, mul(inner, exactly(w, [axis])))
    free = [a for a in w.roots if a not in axes]
    axis = w.by.pick(free) if free and w.by.chance(0.6) else w.axis(sorted(axes))
    if axis in axes:
        return real(w, axes, depth)
    inner = signed(w, axes | {axis}, depth) if name == "prod" else real(w, axes | {axis}, depth)
    if w.by.chance(0.5) and name in ("sum", "mean"):
        inner = mul(inner, exactly(w, [axis]))
    if name == "prod" and axis not in inner.axes:
        return reduced("prod", [axis], exactly(w, [axis], "signed"))
    if name == "sum" and axis not in inner.axes:
        inner = mul(inner, exactly(w, [axis]))
    return over(w, name, axis, inner)


def _complex(w: Writer, axes: Axes, depth: int) -> Phrase:
    found = complex_number(w, axes, depth)
    return call(w.by.pick(("re", "im", "abs")), found)


def complex_number(w: Writer, axes: Axes, depth: int) -> Phrase:
    """A moderate complex number."""
    if depth <= 0 or w.by.chance(0.2):
        role = "complex unit" if w.by.chance(0.2) and axes else "complex"
        own = some_axes(w, axes)
        return w.argument(role if own else "complex", own)
    kind = w.by.integer(0, 6)
    inner = depth - 1
    if kind == 0:
        return mul(gate(w, axes, inner), call("cis", real(w, axes, inner)))
    if kind == 1:
        return call("conj", complex_number(w, axes, inner))
    if kind == 2:
        return (add if w.by.chance(0.5) else mul)(complex_number(w, axes, inner), complex_number(w, axes, inner))
    if kind == 3:
        return div(complex_number(w, axes, inner), apart(w, axes, inner))
    if kind == 4:
        below = complex_number(w, axes, 0)
        return div(below, add(ONE, mul(below, call("conj", below))))
    if kind == 5:
        return call(w.by.pick(("exp", "sin", "cos")), mul(signed(w, axes, inner), call("cis", real(w, axes, inner))))
    return call("where", condition(w, axes, inner), complex_number(w, axes, inner), real(w, axes, inner))


def _matrix(w: Writer, axes: Axes, depth: int) -> Phrase:
    """`solve`, `inv` and `expm` of matrices near the identity."""
    row = w.by.pick(w.ordered(axes & set(w.roots)) or [w.axis()])
    if len({w.root(a) for a in axes}) < len(axes):
        return real(w, axes, depth)
    col = w.second(row)
    matrix = near_identity(w, row, col)
    kind = w.by.pick(("solve", "inv", "expm"))
    if kind == "solve":
        found = solved(row, col, matrix, exactly(w, [row]))
    else:
        if kind == "inv":
            matrix = on_matrix("inv", row, col, matrix)
        found = reduced("sum", [col], mul(matrix, exactly(w, [col])))
    return found if row in axes else reduced("sum", [row], mul(found, exactly(w, [row])))


def near_identity(w: Writer, row: str, col: str) -> Phrase:
    """The exponential of a small matrix, which always has an inverse."""
    return on_matrix("expm", row, col, mul(number(w.by.pick(("0.2", "0.1"))), exactly(w, [row, col], "real", False)))


def on_matrix(name: str, row: str, col: str, arg: Phrase) -> Phrase:
    """`inv` or `expm`."""
    return joined(f"{name}[{row}, {col}]({arg.text})", ATOM, arg)


def solved(row: str, col: str, matrix: Phrase, right: Phrase) -> Phrase:
    """`solve`."""
    found = joined(f"solve[{row}, {col}]({matrix.text}, {right.text})", ATOM, matrix, right)
    return replace(found, axes=found.axes - {col})


def _own_gradient(w: Writer, axes: Axes, depth: int) -> Phrase:
    if w.by.chance(0.5):
        return mul(call("stop", real(w, axes, depth)), leaf(w, axes))
    own = w.argument("real", some_axes(w, axes))
    hard = compare(own, ">=", number("0")) if w.by.chance(0.5) else call("floor", own)
    return call("surrogate", hard, call("sigmoid", own))


def _definition(w: Writer, axes: Axes, depth: int) -> Phrase:
    name, args, body = w.by.pick(_DEFINITIONS)
    if name not in w.definitions:
        if name in w.taken:
            return real(w, axes, depth)
        w.taken.add(name)
        w.definitions[name] = f"def {name}({', '.join(args)}) = {body}"
    given = [gate(w, axes, depth), *(real(w, axes, depth) for _ in args[1:])] if name == "mix" else []
    return call(name, *(given or [real(w, axes, depth) for _ in args]))


def _intermediate(w: Writer, axes: Axes, depth: int) -> Phrase:
    return w.named(real(w, axes, depth), "a")


#: What makes a real number out of others, with its weight.
REALS: tuple[tuple[int, Maker], ...] = (
    (8, _unary),
    (10, _binary),
    (2, _kinked),
    (5, _bounded),
    (3, _powers),
    (5, _choice),
    (2, _truth),
    (6, _reduction),
    (2, _complex),
    (2, _matrix),
    (1, _own_gradient),
    (2, _definition),
    (3, _intermediate),
)

__all__ = ["REALS", "complex_number", "near_identity", "on_matrix", "solved"]
