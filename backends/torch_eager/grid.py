"""Runs a pass over several scan axes, with torch operations only: loops inside each other, step by step.

A step reads its neighbours along all scan axes, so nothing is carried: what is read at a lag is there for
all steps before. See `recc.forms.sequential`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import torch
from torch import Tensor

from recc.backends.torch_eager.launch import Part, Run, full, order
from recc.backends.torch_eager.module import PassFunctions
from recc.backends.torch_eager.shapes import cut
from recc.forms.passes import Pass, Port

Place = tuple[int, ...]


def run_grid(run: Run, functions: PassFunctions) -> None:
    """Runs one pass over several scan axes, and adds to `run` what it writes."""
    _Grid(run, functions).run()


class _Grid:
    """One pass over a grid: every step's values, by place, `[B, *batch, *axes]`."""

    def __init__(self, run: Run, functions: PassFunctions):
        self._run = run
        self._loop = functions.loop
        self._step = functions.step
        self._fixed = run.prologue(functions)
        self._tables: dict[Part, Mapping[Place, Tensor]] = {}
        self._made: dict[Part, dict[Place, Tensor]] = {}

    def run(self) -> None:
        loop, run = self._loop, self._run
        assert self._step is not None  # every pass over a grid has one
        env = run.env(run.lead)
        writes = {(p.name, p.part): p for p in loop.writes}
        self._made = {key: {} for key in writes}
        walk = list(product(*(range(n)[::way] for n, way in zip(run.steps, loop.directions, strict=True))))
        for at in walk:
            found = self._step({p.value: self._read(p, at) for p in loop.reads}, run.sizes, env)
            for key, port in writes.items():
                value = full(found[port.value], run.lead)
                self._made[key][at] = order(value, len(run.lead), loop.step.output[port.value].axes, port.axes)
        for key, port in writes.items():
            run.written(port)[key] = self._whole(loop, port, self._made[key])

    def _read(self, port: Port, at: Place) -> Tensor:
        run = self._run
        if port.role == "clock":
            number = run.clock + at[run.module.form.rec.scan.index(port.name)]
            return number.reshape(-1, *(1 for _ in run.lead[1:]))
        if port.role == "prologue":
            return self._fixed[port.name]
        axes = self._loop.step.input[port.value].axes
        place, initial = _place(port, at, run.steps)
        if initial and f"init {port.value}" in self._fixed:
            return self._fixed[f"init {port.value}"]
        if place is None:
            nothing = run.zeros(self._loop, port, (1,) * len(run.lead))
            return order(nothing, len(run.lead), port.axes, axes)
        return order(self._table(port)[place], len(run.lead), port.axes, axes)

    def _table(self, port: Port) -> Mapping[Place, Tensor]:
        """The value of each step: what this pass has made so far, or what was there before it."""
        key = (port.name, port.part)
        if port.role == "kept" and key in self._made:
            return self._made[key]
        if key not in self._tables:
            steps = self._run.steps
            whole = (self._run.arguments if port.role == "argument" else self._run.kept)[key]
            flat = whole.flatten(1, len(steps)).unbind(1)
            self._tables[key] = dict(zip(product(*map(range, steps)), flat, strict=True))
        return self._tables[key]

    def _whole(self, loop: Pass, port: Port, values: Mapping[Place, Tensor]) -> Tensor:
        """All steps of a value, `[B, *scan, *batch, *axes]`."""
        steps = self._run.steps
        if values:
            return cut(torch.stack([values[at] for at in product(*map(range, steps))], 1), 1, steps)
        lead = self._run.lead
        return self._run.zeros(loop, port, (lead[0], *steps, *lead[1:]))


def _place(port: Port, at: Place, steps: Place) -> tuple[Place | None, bool]:
    """The step that a read finds (`None` beyond the ends), and whether it left where the state starts."""
    if not port.lags:
        return at, False
    place = tuple(x - lag for x, lag in zip(at, port.lags, strict=True))
    if all(0 <= x < n for x, n in zip(place, steps, strict=True)):
        return place, False
    ends = zip(place, steps, port.starts, strict=True) if port.starts else ()
    return None, bool(port.starts) and all(x < n if way == 1 else x >= 0 for x, n, way in ends)


__all__ = ["run_grid"]
