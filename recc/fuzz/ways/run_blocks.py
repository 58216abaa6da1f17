"""Requests run by the interpreter of Blocks: a form as it was derived, its gradients by the VJP of its Blocks.

The sequential form takes all sequences at once, along its lane; a parallel form takes them one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from recc.forms.interpret import interpret
from recc.forms.passes import Parallel, Sequential
from recc.forms.run import Evaluate, Item
from recc.forms.sequential import derive_sequential
from recc.layout import LANE
from recc.recurrence import Kind, Recurrence

from ..drawing.case import Arrays
from ..drawing.draw import Array
from .program import Request, Results, Way


@dataclass
class BlockRunner:
    """A form, its Blocks run in NumPy."""

    form: Sequential | Parallel
    way: Way
    evaluate: Evaluate = interpret

    exact = False
    dtypes = ("float64",)
    packs = False
    differentiates = True

    @property
    def rec(self) -> Recurrence:
        """The program."""
        return self.form.rec

    @cached_property
    def _side_by_side(self) -> Sequential:
        """The sequential form of all sequences at once."""
        return derive_sequential(self.rec, (s.name for s in self.rec.arguments))

    def run(self, request: Request) -> Results:
        """Runs a request, the second piece of a cut one with the state of the first."""
        if request.cut is not None:
            return self._joined(request)
        return self._start(request).finish(request.weights)

    def step_by_step(self, request: Request) -> Results | None:
        """There is no such call."""
        del request
        return None

    def _start(self, request: Request) -> Rows:
        rows = Rows.of(self.rec, request)
        if isinstance(self.form, Sequential):
            rows.run_lanes(self._side_by_side, self.evaluate)
        else:
            rows.run_each(self.form, self.way.chunk, self.evaluate)
        return rows

    def _joined(self, request: Request) -> Results:
        """Two runs joined by the state; the second one's gradients flow into the first."""
        assert request.cut is not None
        inputs = {s.name for s in self.rec.of_kind(Kind.INPUT)}
        cut = request.cut

        def piece(part: slice) -> Arrays:
            return {n: v[:, part] if n in inputs else v for n, v in request.arguments.items()}

        first = self._start(replace(request, arguments=piece(slice(None, cut)), steps=(cut,), cut=None))
        handed = {n.removeprefix("final "): v for n, v in first.values.items() if n.startswith("final ")}
        rest = replace(request, arguments=piece(slice(cut, None)), steps=(request.steps[0] - cut,), initial=handed,
                       clock=request.clock + cut, cut=None)  # fmt: skip
        second = self._start(rest)
        outputs = {s.name: np.concatenate([first.values[s.name], second.values[s.name]], 1) for s in self.rec.outputs}
        values = {**outputs, **{n: v for n, v in second.values.items() if n.startswith("final ")}}
        if request.weights is None:
            return Results(values)
        weights = request.weights
        names = {s.name for s in self.rec.outputs}
        after = second.finish({n: w[:, cut:] if n in names else w for n, w in weights.items()}).gradients
        before = {n: w[:, :cut] for n, w in weights.items() if n in names}
        before.update({f"final {n}": after[f"initial {n}"] for n in handed})
        begun = first.finish(before).gradients
        gradients = {n: v for n, v in begun.items() if n.startswith("initial ")}
        for symbol in self.rec.arguments:
            if symbol.name in begun:
                pair = (begun[symbol.name], after[symbol.name])
                gradients[symbol.name] = np.concatenate(pair, 1) if symbol.name in inputs else pair[0] + pair[1]
        return Results(values, gradients)


@dataclass
class Rows:
    """The sequences of a request, `[B, *heads]`, as a form's interpreter takes them, and what it made of them.

    A real type may be wider than float64 (`real`).
    """

    rec: Recurrence
    request: Request
    lead: tuple[int, ...]
    real: Any = np.float64

    @classmethod
    def of(cls, rec: Recurrence, request: Request, real: Any = np.float64) -> Rows:
        """The rows of a request."""
        return cls(rec, request, rows_of(rec, request), real)

    def __post_init__(self) -> None:
        self.values: Arrays = {}
        self._items: list[tuple[Any, Item]] = []
        self._own = {s.name: len(s.axes) for s in (*self.rec.arguments, *self.rec.outputs)}
        self._own.update({s.name: len(s.axes) for s in self.rec.slots})

    def run_lanes(self, form: Sequential, evaluate: Evaluate) -> None:
        """All sequences at once."""
        count = int(np.prod(self.lead))
        given = {n: self._lanes(n, v, self._is_input(n)) for n, v in self.request.arguments.items()}
        start = {n: self._lanes(n, v, False, state=True) for n, v in self.request.initial.items()}
        sizes = {**self.request.sizes, LANE: count}
        item = Item(form, sizes, self.request.steps, given, start, clock=self.request.clock, evaluate=evaluate)
        item.forward()
        self._items = [(None, item)]
        for name, value in (*item.outputs.items(), *((f"final {n}", v) for n, v in item.final.items())):
            self.values[name] = self._back(value, not name.startswith("final "))

    def run_each(self, form: Parallel | Sequential, chunk: int | None, evaluate: Evaluate) -> None:
        """One sequence after the other."""
        scan = (slice(None),) * len(self.request.steps)
        wide = {n: self._wide(n, v, self._is_input(n)) for n, v in self.request.arguments.items()}
        state = {n: self._wide(n, v, False, state=True) for n, v in self.request.initial.items()}
        for at in np.ndindex(*self.lead):
            row = (at[0], *scan, *at[1:])
            given = {n: v[row if self._is_input(n) else at] for n, v in wide.items()}
            start = {n: v[at] for n, v in state.items()}
            item = Item(form, self.request.sizes, self.request.steps, given, start, clock=self.request.clock,
                        chunk=chunk, evaluate=evaluate)  # fmt: skip
            item.forward()
            self._items.append((at, item))
            for name, value in item.outputs.items():
                self._into(name, (self.lead[0], *self.request.steps, *self.lead[1:]), row, value)
            for name, value in item.final.items():
                self._into(f"final {name}", self.lead, at, value)

    def finish(self, weights: Mapping[str, Array] | None) -> Results:
        """The values, and the gradients of the weighted sum."""
        if weights is None:
            return Results(self.values)
        gradients: Arrays = {}
        for name, value in self._gradients(weights).items():
            given = self.request.initial[name[8:]] if name.startswith("initial ") else self.request.arguments[name]
            if given.dtype.kind in "fc":
                gradients[name] = _summed(value, given.shape)
        return Results(self.values, gradients)

    def _gradients(self, weights: Mapping[str, Array]) -> Arrays:
        """Gradients with all rows, `[B, *steps, *heads, *axes]` or `[B, *heads, *axes]`."""
        scan = (slice(None),) * len(self.request.steps)
        found: Arrays = {}
        for at, item in self._items:
            if at is None:
                outs = {n: self._lanes(n, w, True) for n, w in weights.items() if not n.startswith("final ")}
                last = {n[6:]: self._lanes(n[6:], w, False, True) for n, w in weights.items() if n.startswith("final ")}
                d_arguments, d_initial = item.backward(self._all(outs, item), last)
                for name, value in d_arguments.items():
                    found[name] = self._back(value, self._is_input(name))
                for name, value in d_initial.items():
                    found[f"initial {name}"] = self._back(value, False)
                continue
            row = (at[0], *scan, *at[1:])
            outs = {n: w[row] for n, w in weights.items() if not n.startswith("final ")}
            last = {n[6:]: w[at] for n, w in weights.items() if n.startswith("final ")}
            d_arguments, d_initial = item.backward(self._all(outs, item), last)
            for name, value in d_arguments.items():
                lead = (self.lead[0], *self.request.steps, *self.lead[1:]) if self._is_input(name) else self.lead
                _place(found, name, lead, row if self._is_input(name) else at, value)
            for name, value in d_initial.items():
                _place(found, f"initial {name}", self.lead, at, value)
        return found

    def _all(self, outs: Arrays, item: Item) -> Arrays:
        """Cotangents of all outputs: zero for those that have no weight."""
        return {n: outs.get(n, np.zeros(v.shape, np.result_type(v.dtype, np.float64))) for n, v in item.outputs.items()}

    def _is_input(self, name: str) -> bool:
        return self.rec.table[name].kind is Kind.INPUT

    def _wide(self, name: str, value: Array, steps: bool, state: bool = False) -> Array:
        """An array with all rows: `[B, *steps, *heads, *axes]`, or `[B, *heads, *axes]`."""
        value = self._typed(value)
        own, scan = self._own[name], len(self.request.steps) if steps else 0
        shape = value.shape[value.ndim - own :]
        if not steps and not state:  # parameters have no B, and may lack heads
            heads = value.shape[: value.ndim - own]
            value = value.reshape((1,) * (len(self.lead) - len(heads)) + heads + shape)
        lead = (self.lead[0], *self.request.steps[:scan], *self.lead[1:])
        return np.broadcast_to(_aligned(value, own, 1 + scan, len(lead)), (*lead, *shape))

    def _lanes(self, name: str, value: Array, steps: bool, state: bool = False) -> Array:
        """`[*steps, lane, *axes]`, or `[lane, *axes]`."""
        wide = self._wide(name, value, steps, state)
        scan = len(self.request.steps) if steps else 0
        wide = np.moveaxis(wide, 0, scan)
        own = wide.shape[wide.ndim - self._own[name] :]
        return wide.reshape((*wide.shape[:scan], int(np.prod(self.lead)), *own))

    def _back(self, value: Array, steps: bool) -> Array:
        """`[B, *steps, *heads, *axes]` of `[*steps, lane, *axes]`."""
        scan = len(self.request.steps) if steps else 0
        value = value.reshape((*value.shape[:scan], *self.lead, *value.shape[scan + 1 :]))
        return np.moveaxis(value, scan, 0)

    def _typed(self, value: Array) -> Array:
        kinds: Mapping[str, Any] = {"f": self.real, "c": np.result_type(self.real, np.complex64)}
        return value.astype(kinds.get(value.dtype.kind, value.dtype), copy=False)

    def _into(self, name: str, lead: tuple[int, ...], at: Any, value: Array) -> None:
        _place(self.values, name, lead, at, value)


def rows_of(rec: Recurrence, request: Request) -> tuple[int, ...]:
    """B and the batch axes of a request, broadcast."""
    leads: list[tuple[int, ...]] = [(1,)]
    scan = len(request.steps)
    for symbol in rec.arguments:
        value = request.arguments[symbol.name]
        heads = value.shape[: value.ndim - len(symbol.axes)]
        if symbol.kind is Kind.INPUT:
            leads += [(heads[0],), (1, *heads[1 + scan :])]
        else:
            leads.append((1, *heads))
    for slot in rec.slots:
        if slot.name in request.initial:
            lead = request.initial[slot.name].shape
            lead = lead[: len(lead) - len(slot.axes)]
            leads += [(lead[0],), (1, *lead[1:])]
    count = max(len(lead) for lead in leads)
    return np.broadcast_shapes(*((lead[0], *(1,) * (count - len(lead)), *lead[1:]) for lead in leads))


def _aligned(value: Array, own: int, before: int, lead: int) -> Array:
    """Batch axes aligned at the right, after the first `before` axes."""
    heads = value.ndim - own - before
    return value.reshape((*value.shape[:before], *(1,) * (lead - before - heads), *value.shape[before:]))


def _place(table: Arrays, name: str, lead: tuple[int, ...], at: Any, value: Array) -> None:
    """Puts the values of one row into a table of all rows."""
    if name not in table:
        inner = value.shape[sum(isinstance(i, slice) for i in at) :]
        table[name] = np.zeros((*lead, *inner), value.dtype)
    table[name][at] = value


def _summed(value: Array, shape: tuple[int, ...]) -> Array:
    """The sum over what was broadcast."""
    value = value.sum(tuple(range(value.ndim - len(shape))))
    over = tuple(k for k, (have, want) in enumerate(zip(value.shape, shape, strict=True)) if have != want)
    return np.asarray(value.sum(over, keepdims=True))


__all__ = ["BlockRunner", "Rows", "rows_of"]
