"""Random values of a known size: real numbers, gates in [0, 1], signed and positive numbers, truth values, indices.

Every function takes the axes that a value may have and how deep it may nest; the value then has some of them. Sizes
are kept moderate by what is written, whatever an argument's values are within its domain.
"""

from __future__ import annotations

from collections.abc import Callable

from .phrase import Axes, Phrase, add, call, compare, div, logical, mul, neg, negation, number, power, reduced, sub
from .writer import REAL, Name, Writer

Maker = Callable[[Writer, Axes, int], Phrase]
ONE = number("1")


# Reads -----------------------------------------------------------------------------------------------


def some_axes(w: Writer, axes: Axes) -> list[str]:
    """Some of the axes, more often all of them."""
    own = w.ordered(axes)
    return own if len(own) < 2 and w.by.chance(0.85) else w.by.some(own, 0.6)


def leaf(w: Writer, axes: Axes, depth: int = 0) -> Phrase:
    """A moderate number that there is, or a new argument, or a written number."""
    kind = w.by.weighted(((6, "old"), (8, "new"), (2, "number"), (1, "clock")))
    if kind == "old":
        found = [n for n in w.names.values() if n.role in (*REAL, "mid", "state") and readable(w, n, axes)]
        if found:
            return read(w, w.by.pick(found), axes)
        kind = "new"
    if kind == "new":
        role = w.by.weighted(((12, "real"), (1, "signed"), (1, "apart"), (1, "positive"), (1, "gate"), (1, "log")))
        return w.argument(role, some_axes(w, axes))
    if kind == "clock":
        return clock(w)
    value = ("-" if w.by.chance(0.2) else "") + w.by.number()
    return w.constant(value) if w.by.chance(0.15) else number(value)


def clock(w: Writer) -> Phrase:
    """The number of the step, in a form that stays small."""
    step = Phrase(w.by.pick(w.scan), varies=True)
    kind = w.by.integer(0, 2)
    if kind == 0:
        return div(step, add(step, ONE))
    return call("cos", step) if kind == 1 else div(ONE, add(ONE, step))


def readable(w: Writer, name: Name, axes: Axes) -> bool:
    """Whether a name can be read within some axes without a gather."""
    return all(w.kin(a, axes) for a in name.axes)


def read(w: Writer, name: Name, axes: Axes, odd: float = 0.22) -> Phrase:
    """A name read somewhere: mostly where it stands, sometimes elsewhere in time or along an axis."""
    lag = 0
    if name.varies and name.lagged and w.by.chance(odd):
        lag = w.by.pick((1, 2, -1, 3, -2))
    time = w.time(w.by.pick(w.scan) if lag else None, lag) if name.varies else ""
    index, indexed = [], NO
    strange = w.by.chance(odd)
    for axis in name.axes:
        item = index_along(w, axis, axes, strange)
        index.append(item.text)
        indexed |= item.axes
        strange = strange and item.text == axis
    varies = name.varies
    if index == list(name.axes):
        return w.at(name, time)
    changed = [(a, i) for a, i in zip(name.axes, index, strict=True) if a != i]
    taken_for_time = not varies and any(i in w.scan for i in index)
    if taken_for_time or (len(changed) == 1 and changed[0][1] not in w.header and w.by.chance(0.5)):
        index = [f"{axis} = {item}" for axis, item in changed]
    items = ([time] if varies else []) + index
    return Phrase(f"{name.name}[{', '.join(items)}]", indexed, varies or "[t]" in ", ".join(index))


NO: Axes = frozenset()


def index_along(w: Writer, axis: str, axes: Axes, strange: bool) -> Phrase:
    """An index for one declared axis."""
    kin = w.kin(axis, axes)
    plain = axis if axis in kin else w.by.pick(kin) if kin else ""
    if plain and not strange:
        return Phrase(plain, frozenset((plain,)))
    kind = w.by.integer(0, 3)
    if plain and kind == 0:
        return Phrase(plain + w.by.pick(("+1", "-1", "+2", " - 2")), frozenset((plain,)))
    if plain and kind == 1:
        other = w.by.pick(kin)
        return Phrase(other, frozenset((other,)))
    if kind == 2:
        return Phrase(w.by.pick(("0", "1")))
    return integer(w, w.root(axis), axes, 1)


# Truth values and whole numbers ----------------------------------------------------------------------


def condition(w: Writer, axes: Axes, depth: int) -> Phrase:
    """A truth value."""
    kind = w.by.weighted(((4, "flag"), (4, "compare"), (2, "index"), (3, "logic"), (1, "not"), (1, "clock")))
    if depth <= 0 and kind in ("logic", "not", "compare"):
        kind = "flag" if w.by.chance(0.7) else "compare"
    if kind == "flag":
        return w.argument("flag", w.by.some(w.ordered(axes), 0.4), varies=True)
    if kind == "compare":
        return compare(
            real(w, axes, depth - 1), w.by.pick((">", "<", ">=", "<=")), number(w.by.pick(("0", "0.1", "1")))
        )
    if kind == "index":
        root = w.by.pick([a for a in w.roots if a in axes] or [w.axis()])
        own = w.argument("index", (), varies=True, indexes=root)
        return compare(own, w.by.pick(("==", "!=")), number(w.by.pick(("0", "1"))))
    if kind == "clock":
        return compare(
            Phrase(w.by.pick(w.scan), varies=True), w.by.pick(("<", ">=", "==")), number(w.by.pick(("1", "2", "4")))
        )
    if kind == "not":
        return negation(condition(w, axes, depth - 1))
    return logical(condition(w, axes, depth - 1), w.by.pick(("and", "or")), condition(w, axes, depth - 1))


def integer(w: Writer, root: str, axes: Axes, depth: int) -> Phrase:
    """An index into an axis, sometimes beyond its ends."""
    own = w.by.some(w.ordered(axes), 0.15)
    sym = w.argument("index", own, varies=True if w.by.chance(0.9) else None, indexes=root)
    kind = w.by.weighted(((12, "plain"), (1, "next"), (1, "min"), (1, "where"), (1, "clock")))
    if kind == "next":
        return add(sym, ONE)
    if kind == "min":
        return call("min", sym, ONE)
    if kind == "where":
        return call("where", condition(w, axes, 0), sym, number("0"))
    return Phrase(w.scan[0], varies=True) if kind == "clock" else sym


# Gates, signed, positive -----------------------------------------------------------------------------


def gate(w: Writer, axes: Axes, depth: int) -> Phrase:
    """A number in [0, 1]."""
    if depth <= 0:
        return w.argument("gate", some_axes(w, axes))
    return w.by.weighted(_GATES)(w, axes, depth - 1)


def decay(w: Writer, axes: Axes, depth: int = 0) -> Phrase:
    """The exponential of a number <= 0."""
    log_gate = w.argument("log", some_axes(w, axes)) if depth <= 0 else log(w, axes, depth)
    return call("exp", log_gate)


def log(w: Writer, axes: Axes, depth: int) -> Phrase:
    """A number <= 0."""
    if depth <= 0:
        return w.argument("log", some_axes(w, axes))
    kind = w.by.integer(0, 5)
    inner = depth - 1
    if kind == 0:
        return mul(w.argument("log", some_axes(w, axes)), w.argument("gate", some_axes(w, axes)))
    if kind == 1:
        return neg(mul(positive(w, axes, inner), w.argument("apart", some_axes(w, axes), varies=False)))
    if kind == 2:
        return call("log_sigmoid", real(w, axes, inner))
    if kind == 3:
        return neg(call("softplus", real(w, axes, inner)))
    if kind == 4:
        return neg(call("exp", call("tanh", real(w, axes, inner))))
    return call("min", real(w, axes, inner), number("0"))


def positive(w: Writer, axes: Axes, depth: int) -> Phrase:
    """A number >= 0 that may be near 0."""
    if depth <= 0:
        return w.argument("positive", some_axes(w, axes))
    return w.by.weighted(_POSITIVE)(w, axes, depth - 1)


def apart(w: Writer, axes: Axes, depth: int) -> Phrase:
    """A positive number that one may divide by."""
    if depth <= 0:
        return w.argument("apart", some_axes(w, axes))
    kind = w.by.integer(0, 3)
    if kind == 0:
        return add(ONE, positive(w, axes, depth - 1))
    if kind == 1:
        return add(number("0.5"), gate(w, axes, depth - 1))
    if kind == 2:
        return call("max", call("abs", real(w, axes, depth - 1)), number("0.5"))
    return call("exp", call("tanh", real(w, axes, depth - 1)))


def signed(w: Writer, axes: Axes, depth: int) -> Phrase:
    """A number in [-1, 1]."""
    if depth <= 0:
        return w.argument("signed", some_axes(w, axes))
    kind = w.by.integer(0, 6)
    inner = depth - 1
    if kind < 4:
        return call(("tanh", "sin", "cos", "erf")[kind], real(w, axes, inner))
    if kind == 4:
        return neg(gate(w, axes, inner))
    if kind == 5:
        return sub(mul(number("2"), gate(w, axes, inner)), ONE)
    return call("clamp", real(w, axes, inner), number("-1"), ONE)


_GATES: tuple[tuple[int, Maker], ...] = (
    (5, lambda w, a, d: call("exp", log(w, a, d))),
    (5, lambda w, a, d: call("sigmoid", real(w, a, d))),
    (3, lambda w, a, d: sub(ONE, gate(w, a, d))),
    (2, lambda w, a, d: mul(gate(w, a, d), gate(w, a, d))),
    (1, lambda w, a, d: call("clamp", real(w, a, d), number("0"), ONE)),
    (1, lambda w, a, d: div(ONE, add(ONE, positive(w, a, d)))),
    (1, lambda w, a, d: neg(call("expm1", log(w, a, d)))),
    (1, lambda w, a, d: call("tanh", positive(w, a, d))),
    (1, lambda w, a, d: call("min", gate(w, a, d), gate(w, a, d))),
    (1, lambda w, a, d: call("where", condition(w, a, d), gate(w, a, d), gate(w, a, d))),
    (1, lambda w, a, d: power(call("cos", real(w, a, d)), number("2"))),
    (1, lambda w, a, d: call("rsqrt", add(ONE, power(real(w, a, d), number("2"))))),
    (1, lambda w, a, d: add(number("0.5"), div(call("erf", real(w, a, d)), number("2")))),
    (1, lambda w, a, d: number(w.by.pick(("0.9", "0.5", "1", "0.99")))),
    (1, lambda w, a, d: call("abs", signed(w, a, d))),
    (2, lambda w, a, d: w.named(gate(w, a, d), "gate")),
)
_POSITIVE: tuple[tuple[int, Maker], ...] = (
    (3, lambda w, a, d: call("softplus", real(w, a, d))),
    (1, lambda w, a, d: call("exp", signed(w, a, d))),
    (2, lambda w, a, d: power(real(w, a, d), number("2"))),
    (1, lambda w, a, d: call("abs", real(w, a, d))),
    (1, lambda w, a, d: call("relu", real(w, a, d))),
    (1, lambda w, a, d: add(ONE, positive(w, a, d))),
    (1, lambda w, a, d: call("sqrt", add(number("0.1"), positive(w, a, d)))),
    (1, lambda w, a, d: call("log1p", positive(w, a, d))),
    (1, lambda w, a, d: gate(w, a, d)),
)


# Real numbers ----------------------------------------------------------------------------------------


def real(w: Writer, axes: Axes, depth: int) -> Phrase:
    """A moderate real number."""
    if depth <= 0 or w.by.chance(0.15):
        return leaf(w, axes, 0)
    from .functions import REALS

    return w.by.weighted(REALS)(w, axes, depth - 1)


def over(w: Writer, name: str, axis: str, arg: Phrase) -> Phrase:
    """A reduction of a phrase over an axis, which it is given if it lacks it."""
    if axis not in arg.axes:
        arg = add(arg, exactly(w, [axis]))
    return reduced(name, [axis], arg)


def exactly(w: Writer, axes: list[str], role: str = "real", varies: bool | None = None) -> Phrase:
    """An argument that has all of some axes, second indices among them."""
    roots = [w.root(a) for a in axes]
    if len(set(roots)) < len(roots):
        return w.argument(role, axes, varies)
    argument = w.argument(role, roots, varies)
    return argument if roots == axes else along(w, argument, axes)


def along(w: Writer, phrase: Phrase, axes: list[str]) -> Phrase:
    """A plainly read name over root axes, read along second indices of theirs instead."""
    name = w.names[phrase.text.split("[")[0]]
    wanted = {w.root(a): a for a in axes}
    index = [wanted.get(a, a) for a in name.axes]
    return w.at(name, w.time(), index)


__all__ = [
    "Maker", "along", "apart", "clock", "condition", "decay", "exactly", "gate", "integer", "leaf", "log", "over",
    "positive", "read", "real", "signed", "some_axes",
]  # fmt: skip
