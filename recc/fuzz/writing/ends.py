"""What a program gives: outputs that read its states, contracted and put through functions."""

from __future__ import annotations

from .functions import REALS
from .phrase import NO_AXES, Phrase, add, call, div, mul, number, reduced, sub
from .values import ONE, apart, exactly, gate, leaf, real
from .writer import Name, Writer


def readout(w: Writer, state: Name) -> Phrase:
    """A value that depends on a state, with some of its axes."""
    lag = w.by.pick((1, -1, 2)) if w.by.chance(0.15) else 0
    found = w.at(state, w.time(w.by.pick(w.scan) if lag else None, lag))
    if state.role == "score":
        return _of_scores(w, found)
    if state.role == "complex":
        return _of_complex(w, found)
    return _contracted(w, found)


def _contracted(w: Writer, found: Phrase) -> Phrase:
    away = w.by.some(w.ordered(found.axes), 0.5)
    if away:
        kind = w.by.weighted(
            ((8, "sum"), (1, "mean"), (1, "norm"), (1, "max"), (1, "min"), (1, "logsumexp"), (1, "softmax"))
        )
        if kind == "sum":
            for axis in away:
                found = mul(exactly(w, [axis]), found)
        found = reduced(kind, away if kind != "softmax" else away[:1], found)
    kind = w.by.weighted(((6, "plain"), (3, "unary"), (3, "gated"), (2, "skip"), (1, "ratio"), (1, "deep")))
    if kind == "unary":
        return call(w.by.pick(("tanh", "gelu", "silu", "sigmoid", "softplus", "relu", "abs", "sin", "erf")), found)
    if kind == "gated":
        return mul(gate(w, found.axes, 1), found)
    if kind == "skip":
        return add(found, real(w, found.axes, 1))
    if kind == "ratio":
        return (
            div(found, call("max", call("abs", found), ONE))
            if w.by.chance(0.5)
            else div(found, apart(w, found.axes, 1))
        )
    return mul(found, w.by.weighted(REALS)(w, found.axes, 1)) if kind == "deep" else found


def _of_complex(w: Writer, found: Phrase) -> Phrase:
    away = w.by.some(w.ordered(found.axes), 0.6)
    for axis in away:
        found = mul(w.argument("complex", [axis]), found)
    if away:
        found = reduced(w.by.pick(("sum", "mean")), away, found)
    if w.by.chance(0.05):
        return found
    name = w.by.weighted(((6, "re"), (2, "im"), (2, "abs")))
    if name == "re" and w.by.chance(0.2):
        return call("re", mul(found, call("conj", found)))
    return call(name, found)


def _of_scores(w: Writer, found: Phrase) -> Phrase:
    """Scores may be infinite: no products and no differences of them."""
    away = w.by.some(w.ordered(found.axes), 0.5)
    if away:
        found = reduced(w.by.pick(("max", "logsumexp", "min")), away, found)
    kind = w.by.integer(0, 4)
    if kind == 1:
        return call(w.by.pick(("sigmoid", "tanh", "relu")), found)
    if kind == 2:
        return call("exp", call("min", found, number("0")))
    if kind == 3:
        return call("max", found, w.argument("real"))
    return found


def write_outputs(w: Writer) -> None:
    """Outputs of all states, each by itself or several in one."""
    values = [readout(w, s) for s in w.states]
    plain = [v for v, s in zip(values, w.states, strict=True) if s.role == "state"]
    if len(plain) > 1 and w.by.chance(0.4):
        whole = plain[0]
        for other in plain[1:]:
            whole = w.by.weighted(((2, mul), (2, add), (1, sub)))(whole, other)
        w.output(_between(w, whole))
        values = [v for v, s in zip(values, w.states, strict=True) if s.role != "state"]
    for value in values:
        w.output(_between(w, value))
    if not w.outputs or w.by.chance(0.15):
        w.output(real(w, frozenset(w.by.some(w.ordered(list(w.roots)), 0.5)), 2), "extra")
    w.prune()
    if len(w.scan) > 1 and not any(d.word == "input" for d in w.declarations):
        w.output(w.plain(w.declare("input", "real")), "extra")  # it tells how many steps there are
    for axis in [a for a in w.unsized() if a in w.used()]:
        w.output(reduced("sum", [axis], exactly(w, [axis])), "total")


def _between(w: Writer, value: Phrase) -> Phrase:
    """Behind a name of its own, sometimes."""
    if w.by.chance(0.15) and value.varies:
        return w.named(value, "found", "found")
    return value


__all__ = ["NO_AXES", "leaf", "readout", "write_outputs"]
