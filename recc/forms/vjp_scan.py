"""The derivative of a `Scan`: one more Scan, over the ring, in the other direction.

Each step of a recurrence is `out[x] = step(out[x-1], a[x], b[x])`. With W[x] the Jacobian of the step with
respect to the state before it, the adjoint λ of the states obeys

    λ[x] = g[x] + W[x+1]ᵀ λ[x+1],

and what flows to the operands of step x follows from λ[x] by the derivatives of that one step. Over the
ring W is the transition itself, over a semiring the share that each term has in the result. Neither reads
the result of the recurrence beyond the state before each step, so that rounding in a Scan that was run in
parallel does no harm.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping
from math import inf
from typing import Literal

from recc.forms.block import ZERO, Scan, Value
from recc.forms.builder import Builder

#: A value, and factors with the axes that their product is over: summed over those that the value lacks,
#: the product flows to the value.
Contribution = tuple[Value, tuple[Value, ...], set[str]]


def scan_contributions(
    b: Builder, op: Scan, seeds: Mapping[int, Value], wanted: Collection[str]
) -> Iterator[Contribution]:
    """What flows to the operands of a group of Scans.

    Args:
        b: the Builder in which the group is.
        op: any component of the group.
        seeds: cotangents by component; those that are absent are zero.
        wanted: names of the operands of interest.

    Returns:
        Contributions to operands.
    """
    scan = _Adjoint(b, op)
    weights = scan.transitions()
    adjoint = scan.adjoint(weights, seeds)
    ring = op.algebra == "ring"
    state = {*op.out.axes}
    for k, drive in enumerate(op.b):
        if drive.name in wanted:
            yield drive, ((adjoint[k],) if ring else (adjoint[k], scan.share(k, None))), state
    for (k, i), transition in zip(op.entries, op.a, strict=True):
        if transition.name in wanted:
            yield transition, (adjoint[k], scan.across(scan.before(i)) if ring else weights[k, i]), state | {*op.cols}
    for (k, i), weight in weights.items():
        if op.first[i].name in wanted:
            factors = (scan.begin(scan.turn(weight)), scan.begin(scan.across(adjoint[k])))
            yield op.first[i], factors, (state | {*op.cols}) - {op.axis}


class _Adjoint:
    """A group of Scans, and the derivatives of one of its steps."""

    def __init__(self, b: Builder, op: Scan):
        self.b, self.op = b, op
        self.step = -1 if op.reverse else 1
        transitions = dict(zip(op.entries, op.a, strict=True))
        self.out = b.scan(transitions, op.b, op.first, op.axis, op.algebra, op.rows, op.cols, op.reverse)
        self.zero = b.constant(0.0)

    def turn(self, v: Value) -> Value:
        """The transpose of a transition."""
        pairs = tuple(zip(self.op.rows, self.op.cols, strict=True))
        return self.b.rename(v, {**dict(pairs), **{c: r for r, c in pairs}})

    def across(self, v: Value) -> Value:
        """A state along the columns."""
        return self.b.rename(v, dict(zip(self.op.rows, self.op.cols, strict=True)))

    def begin(self, v: Value) -> Value:
        """The element of the step that is made first."""
        return self.b.last(v, self.op.axis) if self.op.reverse else self.b.first(v, self.op.axis)

    def before(self, i: int) -> Value:
        """A component before each step."""
        b, op = self.b, self.op
        moved = b.shift(self.out[i], op.axis, -self.step, "zero")
        if b.known(op.first[i]) == 0.0:
            return moved
        inner = b.shift(b.constant(1.0, (op.axis,)), op.axis, -self.step, "zero")
        return b.map("where", b.map("eq", inner, self.zero), op.first[i], moved)

    def transitions(self) -> dict[tuple[int, int], Value]:
        """The Jacobian W of the step with respect to the state before it, by entries."""
        if self.op.algebra == "ring":
            return dict(zip(self.op.entries, self.op.a, strict=True))
        return {(k, i): self.share(k, i) for k, i in self.op.entries}

    def adjoint(self, weights: Mapping[tuple[int, int], Value], seeds: Mapping[int, Value]) -> tuple[Value, ...]:
        """The adjoint of the states after each step, of every component."""
        b, op = self.b, self.op
        back = {}
        for (k, i), weight in weights.items():
            turned = self.turn(weight)
            later = b.shift(turned, op.axis, self.step, "zero") if op.axis in turned.axes else turned
            back[i, k] = later
        drives = [seeds.get(k, self.zero) for k in range(len(op.b))]
        first = [self.zero for _ in drives]
        return b.scan(back, drives, first, op.axis, "ring", op.rows, op.cols, not op.reverse)

    def terms(self, k: int) -> dict[int | None, Value]:
        """What component k is the maximum (or minimum, or logarithmic sum) of, by source; None is the drive."""
        found: dict[int | None, Value] = {
            i: self.b.map("add", transition, self.across(self.before(i)))
            for (row, i), transition in zip(self.op.entries, self.op.a, strict=True)
            if row == k
        }
        if self.b.known(self.op.b[k]) != ZERO[self.op.algebra]:
            found[None] = self.op.b[k]
        return found

    def share(self, k: int, source: int | None) -> Value:
        """The derivative of component k by one of its terms."""
        terms = self.terms(k)
        if source not in terms:
            return self.zero
        return self.softmax(terms, source) if self.op.algebra == "log-sum-exp" else self.winners(terms, source)

    def best(self, v: Value) -> Value:
        """The largest of a term along the columns, or the smallest."""
        return self.b.reduce(self.larger, v, self.op.cols) if self.along(v) else v

    @property
    def larger(self) -> Literal["max", "min"]:
        return "min" if self.op.algebra == "min-plus" else "max"

    def along(self, v: Value) -> tuple[str, ...]:
        """The columns that a term runs along: all for those of transitions, none for the drive."""
        return tuple(c for c in self.op.cols if c in v.axes)

    def winner(self, terms: Mapping[int | None, Value]) -> Value:
        """The largest of all terms, or the smallest."""
        found = [self.best(v) for v in terms.values()]
        return functools.reduce(lambda x, y: self.b.map(self.larger, x, y), found)

    def winners(self, terms: Mapping[int | None, Value], source: int | None) -> Value:
        """One, shared evenly between the sources that win, then evenly along the columns of each."""
        b, top = self.b, self.winner(terms)
        wins = {i: b.map("eq", v, top) for i, v in terms.items()}
        number = functools.reduce(
            lambda x, y: b.map("add", x, y),
            (b.map("real", b.map("eq", self.best(v), top)) for v in terms.values()),
        )
        if along := self.along(terms[source]):
            number = b.map("mul", number, b.contract((b.map("real", wins[source]),), along))
        share = b.map("div", b.constant(1.0), number)
        return b.map("where", wins[source], share, self.zero)

    def softmax(self, terms: Mapping[int | None, Value], source: int | None) -> Value:
        """The part of one term in the sum of exponentials: zero where all are -inf."""
        b = self.b
        top = b.map("stop", self.winner(terms))
        anchor = b.map("where", b.map("eq", top, b.constant(-inf)), self.zero, top)
        parts = {i: b.map("exp", b.map("sub", v, anchor)) for i, v in terms.items()}
        total = functools.reduce(
            lambda x, y: b.map("add", x, y), (b.contract((v,), self.along(v)) for v in parts.values())
        )
        total = b.map("where", b.map("eq", total, self.zero), b.constant(1.0), total)
        return b.map("div", parts[source], total)
