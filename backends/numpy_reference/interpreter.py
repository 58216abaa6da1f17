"""The step-by-step interpreter.

Stages run in dependency order, each over the whole of time in its own direction, and every value that
varies is kept for all steps, so that a read at any lag of an earlier stage is plain indexing. That is
slow and needs much memory, and leaves nothing to get wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np

from recc.recurrence import (
    FUNCTIONS,
    Apply,
    Dtype,
    Expr,
    Kind,
    Matrix,
    Number,
    Read,
    Recurrence,
    Reduce,
    Stage,
    Step,
    Symbol,
    reads,
)

from .functions import REDUCE, SCALAR, Array
from .layout import Layout, Lengths, arrange
from .matrix import exponential, inverse, solve
from .reads import Reader, align
from .result import Result

_WIDTH: tuple[Dtype, ...] = ("bool", "int", "real", "complex")
_EXACT = frozenset({"sum", "prod", "max", "min"})  # reductions that keep integers

At = tuple[int, ...]

#: What is done to the value of a function, and to the terms of a reduction before they are reduced.
Rounding = Callable[[Expr, Array], Array]


def run(
    rec: Recurrence,
    arguments: Mapping[str, Any],
    *,
    sizes: Mapping[str, int] | None = None,
    initial: Mapping[str, Any] | None = None,
    clock: int | Array = 0,
    length: Lengths = None,
    dtype: Any = np.float64,
    rounding: Rounding | None = None,
) -> Result:
    """Run a recurrence one step after another.

    Inputs are `[B, *scan, *batch, *axes]`, parameters and constants `[*batch, *axes]`; B and batch axes
    broadcast (NumPy's rule, aligned at the right). `initial` has states `[B, *batch, *axes]` by slot
    name; slots that are missing start with the initial value of the program. `clock` is the number of
    steps run before. `sizes` and `length` give sizes that no argument tells. `dtype` is `float64` or
    `longdouble`. `rounding` stands for rounding that is coarser than that of `dtype`: it is given every
    value that a function, a reduction or a matrix function makes, with the terms of a reduction and the operands of
    a matrix function before, as `[B, *batch, *axes]` where B and batch axes may be 1, and its result is taken instead.

    Returns outputs `[B, *scan, *batch, *axes]`, final states and the clock. Raises `UsageError` for
    names and shapes that do not fit; domains are not checked.
    """
    real = np.dtype(dtype)
    layout, given, handed = arrange(rec, arguments, initial or {}, sizes or {}, length, real)
    with np.errstate(all="ignore"):
        machine = _Machine(rec, layout, given, handed, np.asarray(clock, np.int64), rounding)
        for stage in rec.stages:
            machine.run_stage(stage)
        outputs = {s.name: machine.output(s) for s in rec.outputs}
        final = {s.name: machine.final(s.symbol, s.depth) for s in rec.slots}
    after: Any = np.asarray(clock) + (layout.steps[0] if len(layout.steps) == 1 else 0)
    return Result(outputs, final, int(after) if after.ndim == 0 else after)


class _Machine:
    """One run: the values of all names, and the evaluation of expressions at one step."""

    def __init__(
        self,
        rec: Recurrence,
        layout: Layout,
        given: dict[str, Array],
        handed: dict[str, Array],
        clock: Array,
        rounding: Rounding | None,
    ):
        self.rec = rec
        self.rounded = rounding or (lambda expr, value: value)
        self.layout = layout
        self.lead = len(layout.batch)
        self.values = dict(given)
        self.clock = clock.reshape(-1, *(1,) * (self.lead - 1))
        self.readers: dict[int, Reader] = {}
        self.remembered: dict[int, Array] = {}
        self.from_left = _sides(rec)
        self.handed = {(s.symbol, s.depth): handed[s.name] for s in rec.slots if s.name in handed}
        for symbol, expr in _time_invariant(rec):
            self.values[symbol.name] = self._fit(self.value(expr, ()), expr, symbol)
        self.initial = {}
        for state in rec.states:
            if state.initial is not None:
                self.initial[state.name] = self._fit(self.value(state.initial, ()), state.initial, state)

    def run_stage(self, stage: Stage) -> None:
        """Run the equations of a stage at every step, in the stage's direction."""
        rec, layout = self.rec, self.layout
        moving = [rec.table[target] for target in stage.equations if rec.table[target].varies]
        if not moving:
            return
        for symbol in moving:
            dtype = layout.dtype(symbol.dtype)
            poison = np.nan if dtype.kind in "fc" else 0
            self.values[symbol.name] = np.full(layout.steps + layout.full(symbol.axes), poison, dtype)
        work = [(s, rec.equation[s.name].expr, self.values[s.name]) for s in moving]
        ranges = [range(n) if d >= 0 else range(n - 1, -1, -1)
                  for n, d in zip(layout.steps, stage.direction, strict=True)]  # fmt: skip
        for at in product(*ranges):
            for symbol, expr, rows in work:
                rows[at] = self._fit(self.value(expr, at), expr, symbol)

    def output(self, symbol: Symbol) -> Array:
        """An output as the caller sees it, `[B, *scan, *batch, *axes]`."""
        if not symbol.varies:
            return np.broadcast_to(self.values[symbol.name], self.layout.full(symbol.axes)).copy()
        return np.ascontiguousarray(np.moveaxis(self.values[symbol.name], len(self.layout.steps), 0))

    def final(self, name: str, depth: int) -> Array:
        """The state to hand over: a symbol as it was `depth` steps before the next step to be run."""
        step = self.layout.steps[0] - depth if self.from_left[name][0] else depth - 1
        return np.broadcast_to(self._at(name, (step,)), self.layout.full(self.rec.table[name].axes)).copy()

    def _at(self, name: str, steps: At) -> Array:
        """The value of a name at a step, `[B, *batch, *axes]`, beyond the ends of time too.

        With several scan axes a state has its initial value where every axis that is left is left on
        the side that the state starts from.
        """
        beyond = [k for k, (s, n) in enumerate(zip(steps, self.layout.steps, strict=True)) if not 0 <= s < n]
        if not beyond:
            return np.asarray(self.values[name][steps])
        before = all((steps[k] < 0) == self.from_left[name][k] for k in beyond)
        if before and len(steps) == 1:
            depth = -steps[0] if steps[0] < 0 else steps[0] - self.layout.steps[0] + 1
            if (name, depth) in self.handed:
                return self.handed[name, depth]
        if before and name in self.initial:
            return self.initial[name]
        symbol = self.rec.table[name]
        shape = (*(1,) * self.lead, *self.layout.shape(symbol.axes))
        return np.zeros(shape, self.layout.dtype(symbol.dtype))

    def _fit(self, value: Array, expr: Expr, symbol: Symbol) -> Array:
        """Cast a value to the dtype and the axes of the symbol that it is assigned to."""
        value = _arrange(value, expr.axes, symbol.axes, self.lead).astype(self.layout.dtype(symbol.dtype), copy=False)
        return np.broadcast_to(value, value.shape[: self.lead] + self.layout.shape(symbol.axes))

    def value(self, expr: Expr, at: At) -> Array:
        """The value of an expression at a step, `[B, *batch, *expr.axes]` (batch axes may have size 1)."""
        if expr.varies:
            return self._evaluate(expr, at)
        if id(expr) not in self.remembered:
            self.remembered[id(expr)] = self._evaluate(expr, ())
        return self.remembered[id(expr)]

    def _evaluate(self, expr: Expr, at: At) -> Array:
        if isinstance(expr, Read):
            return self._read(expr, at)
        if isinstance(expr, Apply):
            value = self._apply(expr, at)
        elif isinstance(expr, Reduce):
            value = self._reduce(expr, at)
        elif isinstance(expr, Matrix):
            value = self._matrix(expr, at)
        elif isinstance(expr, Step):
            value = self.clock + at[self.rec.scan.index(expr.scan)]
        elif isinstance(expr, Number):
            value = np.full((1,) * self.lead, expr.value)
        else:
            raise TypeError(f"no rule to evaluate {type(expr).__name__}")
        return self.rounded(expr, value.astype(self.layout.dtype(expr.dtype), copy=False))

    def _read(self, expr: Read, at: At) -> Array:
        symbol = self.rec.table[expr.name]
        if id(expr) not in self.readers:
            self.readers[id(expr)] = Reader(self.rec, self.layout, expr, symbol)
        steps = tuple(now - lag for now, lag in zip(at, expr.lags, strict=True)) if symbol.varies else None
        value = self.values[expr.name] if steps is None else self._at(expr.name, steps)
        return self.readers[id(expr)](value, lambda index: self.value(index, at))

    def _apply(self, expr: Apply, at: At) -> Array:
        function = FUNCTIONS[expr.fn]
        first = 1 if function.result == "branch" else 0
        width = max((a.dtype for a in expr.args[first:]), key=_WIDTH.index)
        if function.result == "real" and width != "complex":
            width = "real"
        elif width == "bool" and function.result == "same" and expr.fn != "stop":
            width = "int"
        work = self.layout.dtype(width)
        operands = []
        for k, arg in enumerate(expr.args):
            operand = align(self.value(arg, at), arg.axes, expr.axes)
            operands.append(operand.astype(work, copy=False) if k >= first else operand)
        return np.asarray(SCALAR[expr.fn](*operands))

    def _reduce(self, expr: Reduce, at: At) -> Array:
        axes = self.rec.ordered({*expr.arg.axes, *expr.over})
        value = align(self.value(expr.arg, at), expr.arg.axes, axes)
        value = np.broadcast_to(value, value.shape[: self.lead] + self.layout.shape(axes))
        if expr.fn not in _EXACT and value.dtype.kind in "bi":
            value = value.astype(self.layout.real)
        elif value.dtype.kind == "b":
            value = value.astype(np.int64)
        value = self.rounded(expr, value)
        return REDUCE[expr.fn](value, tuple(self.lead + axes.index(a) for a in expr.over))

    def _matrix(self, expr: Matrix, at: At) -> Array:
        work = self.layout.dtype("complex" if any(a.dtype == "complex" for a in expr.args) else "real")
        batch = tuple(a for a in expr.axes if a not in (expr.rows, expr.cols))
        shaped = []
        for arg, last in zip(expr.args, ((expr.rows, expr.cols), (expr.rows,)), strict=False):
            value = self.value(arg, at).astype(work, copy=False)
            shaped.append(_arrange(value, arg.axes, batch + last, self.lead))
        shaped[0] = self.rounded(expr, shaped[0])
        if expr.fn == "solve":
            return _arrange(solve(shaped[0], shaped[1][..., None])[..., 0], (*batch, expr.rows), expr.axes, self.lead)
        if expr.fn == "inv":
            result = inverse(shaped[0])
        else:
            result = exponential(shaped[0], lambda value: self.rounded(expr, value))
        return _arrange(result, (*batch, expr.rows, expr.cols), expr.axes, self.lead)


def _arrange(value: Array, axes: tuple[str, ...], target: tuple[str, ...], lead: int) -> Array:
    """Bring the axes of a value into the order of `target`; those that it lacks have size 1."""
    present = tuple(a for a in target if a in axes)
    if present != axes:
        value = value.transpose(*range(lead), *(lead + axes.index(a) for a in present))
    return align(value, present, target)


def _sides(rec: Recurrence) -> dict[str, tuple[bool, ...]]:
    """For each name, per scan axis, whether the values before its first step lie to the left.

    A state has them on the side that its stage starts from (the left, if the stage has no direction).
    Anything else has them where the states have: to the right if all states run from right to left.
    """
    own = {target: stage.direction for stage in rec.stages for target in stage.equations}
    left = {s.name: tuple(d >= 0 for d in own[s.name]) for s in rec.states if s.name in own}
    others = tuple(not left or any(sides[k] for sides in left.values()) for k in range(len(rec.scan)))
    return {symbol.name: left.get(symbol.name, others) for symbol in rec.symbols}


def _time_invariant(rec: Recurrence) -> Iterator[tuple[Symbol, Expr]]:
    """Constants with a value and equations that do not vary, each after those that it reads."""
    exprs = {s.name: s.value for s in rec.symbols if s.kind is Kind.CONST and s.value is not None}
    exprs |= {e.target: e.expr for e in rec.equations if not rec.table[e.target].varies}
    done: set[str] = set()
    for first in exprs:
        stack = [first]
        while stack:
            name = stack[-1]
            waiting = [r.name for r in reads(exprs[name]) if r.name in exprs and r.name not in done]
            if waiting and name not in done:
                stack.append(waiting[0])
                continue
            stack.pop()
            if name not in done:
                done.add(name)
                yield rec.table[name], exprs[name]


__all__ = ["run"]
