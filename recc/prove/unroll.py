"""The step loop of a program, unrolled in exact arithmetic from the `Recurrence` itself.

It follows the meaning of a program as `recc.recurrence` states it and shares no code with Blocks or forms: it is
what forms are proved equal to. Stages run in dependency order, each over all of time in its own direction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Any

import numpy as np

from recc.prove import arrays, duals
from recc.prove.arrays import Array, fold, full
from recc.prove.duals import BINARY, TERNARY, UNARY, Dual
from recc.prove.ring import Exact, Space, Undecided, total
from recc.recurrence import (
    Along,
    Apply,
    Expr,
    Matrix,
    Number,
    Read,
    Recurrence,
    Reduce,
    Step,
    Symbol,
)


@dataclass(frozen=True)
class Unrolled:
    """Outputs `[*scan, *axes]` by name and final states `[*axes]` by slot, as arrays of `Dual`."""

    outputs: dict[str, Array]
    final: dict[str, Array]


def unroll(
    rec: Recurrence,
    space: Space,
    sizes: Mapping[str, int],
    steps: Sequence[int],
    arguments: Mapping[str, Array],
    initial: Mapping[str, Array],
    clock: int = 0,
) -> Unrolled:
    """Runs a program one step after another on exact numbers.

    Args:
        rec: the program.
        space: where the numbers live.
        sizes: the size of each axis, by any of its names.
        steps: the sizes of the scan axes.
        arguments: arrays of `Dual` by name: inputs `[*scan, *axes]`, parameters `[*axes]`.
        initial: the states that are given, by slot.
        clock: the number of the first step.

    Raises:
        Undecided: where the meaning depends on what the inputs leave open.
        TooLarge: if the space has no work left.
    """
    return _Machine(rec, space, sizes, tuple(steps), arguments, initial, clock).run()


class _Machine:
    """One run: the values of all names for all steps."""

    def __init__(
        self,
        rec: Recurrence,
        space: Space,
        sizes: Mapping[str, int],
        steps: tuple[int, ...],
        arguments: Mapping[str, Array],
        initial: Mapping[str, Array],
        clock: int,
    ):
        self.rec, self.space, self.steps, self.clock = rec, space, steps, clock
        self.sizes = {a.name: sizes[a.size_of] for a in rec.axes}
        self.zero = Dual(space.zero)
        self.values: dict[str, Array] = dict(arguments)
        self.handed = {(s.symbol, s.depth): initial[s.name] for s in rec.slots if s.name in initial}
        self.fixed: dict[int, Array] = {}
        self.from_left = _sides(rec)
        self.first = {s.name: s.initial for s in rec.states if s.initial is not None}

    def run(self) -> Unrolled:
        """Everything, stage by stage."""
        rec = self.rec
        for stage in rec.stages:
            moving = [rec.table[name] for name in stage.equations if rec.table[name].varies]
            for symbol in moving:
                self.values[symbol.name] = full((*self.steps, *self.shape(symbol.axes)), self.zero)
            ranges = [
                range(n) if way >= 0 else range(n - 1, -1, -1)
                for n, way in zip(self.steps, stage.direction, strict=True)
            ]
            for at in product(*ranges) if moving else ():
                for symbol in moving:
                    expr = rec.equation[symbol.name].expr
                    here: tuple[Any, ...] = (*at, ...)
                    self.values[symbol.name][here] = self.fit(self.value(expr, at), expr.axes, symbol.axes)
        outputs = {s.name: self.values[s.name] if s.varies else self.constant(s) for s in rec.outputs}
        return Unrolled(outputs, {s.name: self.last(s.symbol, s.depth) for s in rec.slots})

    def shape(self, axes: Sequence[str]) -> tuple[int, ...]:
        return tuple(self.sizes[a] for a in axes)

    def fit(self, value: Array, have: Sequence[str], want: Sequence[str]) -> Array:
        """A value over the axes `want`, constant along those that it lacks."""
        order = [list(have).index(a) for a in want if a in have]
        shape = [self.sizes[a] if a in have else 1 for a in want]
        return np.broadcast_to(value.transpose(order).reshape(shape), self.shape(want))

    def constant(self, symbol: Symbol) -> Array:
        """The value of a name that does not vary."""
        if symbol.name not in self.values:
            expr = symbol.value if symbol.value is not None else self.rec.equation[symbol.name].expr
            self.values[symbol.name] = self.fit(self.value(expr, ()), expr.axes, symbol.axes)
        return self.values[symbol.name]

    def last(self, name: str, depth: int) -> Array:
        """The state to hand over."""
        step = self.steps[0] - depth if self.from_left[name][0] else depth - 1
        return self.lagged(name, (step,))

    def lagged(self, name: str, at: tuple[int, ...]) -> Array:
        """The value of a name at a step, beyond the ends of time too."""
        symbol = self.rec.table[name]
        beyond = [k for k, (s, n) in enumerate(zip(at, self.steps, strict=True)) if not 0 <= s < n]
        if not beyond:
            return np.asarray(self.values[name][tuple(at)], object)
        if all((at[k] < 0) == self.from_left[name][k] for k in beyond):
            depth = -at[0] if at[0] < 0 else at[0] - self.steps[0] + 1
            if len(at) == 1 and (name, depth) in self.handed:
                return self.handed[name, depth]
            if name in self.first:
                return self.fit(self.value(self.first[name], ()), self.first[name].axes, symbol.axes)
        return full(self.shape(symbol.axes), self.zero)

    def value(self, expr: Expr, at: tuple[int, ...]) -> Array:
        """The value of an expression at a step, over its own axes."""
        if expr.varies:
            return self.evaluate(expr, at)
        if id(expr) not in self.fixed:
            self.fixed[id(expr)] = self.evaluate(expr, ())
        return self.fixed[id(expr)]

    def evaluate(self, expr: Expr, at: tuple[int, ...]) -> Array:
        match expr:
            case Number():
                return full((), Dual(self.space.number(expr.value)))
            case Step():
                return full((), Dual(self.space.number(self.clock + at[self.rec.scan.index(expr.scan)])))
            case Read():
                return self.read(expr, at)
            case Apply():
                return self.apply(expr, at)
            case Reduce():
                return self.reduce(expr, at)
            case Matrix():
                return self.matrix(expr, at)
        raise TypeError(f"no rule to evaluate {type(expr).__name__}")

    def read(self, expr: Read, at: tuple[int, ...]) -> Array:
        symbol = self.rec.table[expr.name]
        if not symbol.varies:
            source = self.constant(symbol)
        else:
            source = self.lagged(expr.name, tuple(now - lag for now, lag in zip(at, expr.lags, strict=True)))
        chosen = [None if isinstance(i, Along) else (self.value(i.expr, at), i.expr.axes) for i in expr.index]
        result = full(self.shape(expr.axes), self.zero)
        for place in np.ndindex(*result.shape):
            here = dict(zip(expr.axes, place, strict=True))
            where: list[int] = []
            for axis, index, given in zip(symbol.axes, expr.index, chosen, strict=True):
                if isinstance(index, Along):
                    number = here[index.axis] + index.offset
                else:
                    assert given is not None
                    number = _whole(given[0][tuple(here[a] for a in given[1])].value)
                size, edge = self.sizes[axis], self.rec.axis[axis].edge
                where.append(
                    number % size if edge == "wrap" else min(max(number, 0), size - 1) if edge == "clamp" else number
                )
            if all(0 <= x < self.sizes[a] for x, a in zip(where, symbol.axes, strict=True)):
                result[place] = source[tuple(where)]
        return result

    def apply(self, expr: Apply, at: tuple[int, ...]) -> Array:
        args = [self.fit(self.value(a, at), a.axes, expr.axes) for a in expr.args]
        if expr.fn == "pow" and isinstance(expr.args[0], Number) and expr.args[0].value > 0:
            # A power of a number is the exponential that forms make of it, with the same rounded logarithm.
            base = Dual(self.space.number(math.log(expr.args[0].value)))
            return arrays.each(lambda _, y: _constant_power(_, base, y), *args)
        if expr.fn == "abs" and expr.args[0].dtype == "complex":
            return arrays.each(lambda x: duals.norm(self.space, [x]), *args)
        tables: tuple[Mapping[str, Any], ...] = (UNARY, BINARY, TERNARY)
        return arrays.each(tables[len(args) - 1][expr.fn], *args)

    def reduce(self, expr: Reduce, at: tuple[int, ...]) -> Array:
        space, axes = self.space, self.rec.ordered({*expr.arg.axes, *expr.over})
        value = self.fit(self.value(expr.arg, at), expr.arg.axes, axes)
        over = [axes.index(a) for a in expr.over]
        count = math.prod(self.sizes[a] for a in expr.over)
        rules: Mapping[str, Any] = {
            "sum": lambda items: _total(space, items),
            "mean": lambda items: _total(space, items) / Dual(space.number(count)),
            "prod": lambda items: reduce(lambda x, y: x * y, items),
            "max": lambda items: duals.extremum(space, items, True),
            "min": lambda items: duals.extremum(space, items, False),
            "logsumexp": lambda items: duals.log_sum_exp(space, items),
            "norm": lambda items: duals.norm(space, items),
        }
        if expr.fn != "softmax":
            return fold(rules[expr.fn], value, over)
        powers = arrays.each(UNARY["exp"], value)
        added = fold(rules["sum"], powers, over)
        return powers / np.expand_dims(added, over)  # type: ignore[no-any-return]  # an array of objects

    def matrix(self, expr: Matrix, at: tuple[int, ...]) -> Array:
        batch = tuple(a for a in expr.axes if a not in (expr.rows, expr.cols))
        square = (*batch, expr.rows, expr.cols)
        matrices = self.fit(self.value(expr.args[0], at), expr.args[0].axes, square)
        if expr.fn == "solve":
            right = self.fit(self.value(expr.args[1], at), expr.args[1].axes, (*batch, expr.rows))
            found = np.empty(right.shape, object)
            for place in np.ndindex(*self.shape(batch)):
                rows = duals.inverse(self.space, matrices[place])
                found[place] = [_total(self.space, row * right[place]) for row in rows]
            return self.fit(found, (*batch, expr.rows), expr.axes)
        found = np.empty(matrices.shape, object)
        for place in np.ndindex(*self.shape(batch)):
            rule = duals.inverse if expr.fn == "inv" else duals.exponential
            found[place] = rule(self.space, matrices[place])
        return self.fit(found, square, expr.axes)


def _constant_power(base: Dual, logarithm: Dual, exponent: Dual) -> Dual:
    value = exponent.value.constant
    if value is not None and exponent.slope is None:
        return BINARY["pow"](base, exponent)
    return UNARY["exp"](exponent * logarithm)


def _total(space: Space, items: Sequence[Dual]) -> Dual:
    slopes = [x.slope for x in items if x.slope is not None]
    value = total(space, [x.value for x in items])
    return Dual(value, total(space, slopes) if slopes else None)


def _whole(number: Exact) -> int:
    value = number.constant
    if value is None or value != int(value):
        raise Undecided(f"an index that depends on unknowns: {number}")
    return int(value)


def _sides(rec: Recurrence) -> dict[str, tuple[bool, ...]]:
    """For each name, per scan axis, whether what is before its first step lies to the left.

    A state starts where its stage does. Anything else starts where the states do: at the right if all do.
    """
    way = {name: stage.direction for stage in rec.stages for name in stage.equations}
    states = {s.name: tuple(d >= 0 for d in way[s.name]) for s in rec.states if s.name in way}
    rest = tuple(not states or any(s[k] for s in states.values()) for k in range(len(rec.scan)))
    return {s.name: states.get(s.name, rest) for s in rec.symbols}


__all__ = ["Unrolled", "unroll"]
