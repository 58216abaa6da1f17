"""One program of the user's: how fast its kernels are, against moving the same memory and against the reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recc.bench.report import Cell, Table
from recc.bench.timing import Run, Timing, race
from recc.fuzz import Shapes, draw_arguments
from recc.recurrence import Recurrence

#: The reference runs at most so many steps: it is some thousand times slower.
_REFERENCE_STEPS = 64
_REFERENCE, _BOTH = "NumPy reference", "forward + backward"


@dataclass(frozen=True)
class Figures:
    """Times by name of the run; the bytes that each direction moves; the shapes that the reference ran with."""

    times: Mapping[str, Timing]
    moved: Mapping[str, int]
    short: Shapes

    def ratio(self, way: str) -> float:
        """A direction's time as a multiple of `torch.add` moving as many bytes."""
        return self.times[way].median / self.times[f"torch.add, {way}"].median


def measure(op: Any, shapes: Shapes, seconds: float) -> Figures:
    """Forward, and forward with backward, in float32 on arguments drawn from the domains."""
    rec = op.recurrence
    drawn = draw_arguments(rec, shapes, np.random.default_rng(0), dtype=np.float32)
    arguments = {n: torch.from_numpy(np.ascontiguousarray(v)) for n, v in drawn.items()}
    leaves = {n: t.clone().requires_grad_(t.is_floating_point() or t.is_complex()) for n, t in arguments.items()}
    smooth = [t for t in leaves.values() if t.requires_grad]
    short = Shapes(shapes.sizes, tuple(min(n, _REFERENCE_STEPS) for n in shapes.steps), shapes.batch, shapes.heads)
    few = draw_arguments(rec, short, np.random.default_rng(0))

    def forward() -> list[Tensor]:
        with torch.no_grad():
            return several(op(**arguments))

    outputs = forward()
    runs: dict[str, Run] = {"forward": forward}
    moved = {"forward": _bytes([*arguments.values(), *outputs])}
    way = both(op, leaves, smooth, outputs)
    if way is not None:
        # Inputs are read in both directions; outputs and gradients of inputs are written, gradients of outputs read.
        moved[_BOTH] = 2 * _bytes(arguments.values()) + 2 * _bytes(outputs) + _bytes(smooth)
        runs[_BOTH] = way
    yardsticks = {f"torch.add, {name}": _add_moving(count) for name, count in moved.items()}
    times = race({**runs, **yardsticks}, seconds)
    times[_REFERENCE] = race({_REFERENCE: lambda: op.reference(**few)}, 0.0, 1)[_REFERENCE]
    return Figures(times, moved, short)


def table(rec: Recurrence, shapes: Shapes, figures: Figures) -> Table:
    """The figures of one program."""
    rows: list[tuple[Cell, ...]] = []
    for name, timing in figures.times.items():
        way = name.removeprefix("torch.add, ")
        ran = figures.short if name == _REFERENCE else shapes
        rate = ran.batch * prod(ran.steps) / timing.median if way == name else None
        count = figures.moved.get(way)
        size, speed = (None, None) if count is None else (count / (1 << 20), count / timing.median / 1e9)
        title = f"{name} (T {_times(ran.steps)})" if name == _REFERENCE else name
        ratio = figures.ratio(name) if name in figures.moved else None
        rows.append((title, timing.median * 1e3, timing.least * 1e3, rate, size, speed, ratio))
    columns = ("", "median ms", "least ms", "tokens/s", "MiB moved", "GB/s", "× torch.add")
    note = "MiB moved: arguments, outputs and gradients, each once in each direction that needs it"
    return Table(f"{rec.name} · {shown(shapes)}", columns, tuple(rows), (note,))


def shown(shapes: Shapes) -> str:
    """The sizes of a run."""
    axes = [f"{a.upper()} {n}" for a, n in shapes.sizes.items()]
    heads = [f"H {n}" for n in shapes.heads]
    return ", ".join([f"B {shapes.batch}", f"T {_times(shapes.steps)}", *heads, *axes, "float32"])


def summary(rec: Recurrence, shapes: Shapes, figures: Figures) -> tuple[Cell, ...]:
    """A row about one program of many: milliseconds and multiples of `torch.add` in each direction."""
    row: list[Cell] = [rec.name, ", ".join(f"{a} {n}" for a, n in shapes.sizes.items()) or "scalars"]
    for way in ("forward", _BOTH):
        there = way in figures.moved
        row += [figures.times[way].median * 1e3, figures.ratio(way)] if there else [None, None]
    return tuple(row)


def _add_moving(count: int) -> Run:
    """A `torch.add` into a new array that moves as many bytes: two thirds read, one third written."""
    a, b = torch.ones(max(1, count // 12)), torch.ones(max(1, count // 12))
    return lambda: torch.add(a, b)


def both(op: Any, leaves: Mapping[str, Tensor], smooth: list[Tensor], outputs: list[Tensor]) -> Run | None:
    """A run in both directions; `None` for a program that has no gradient."""
    live = [i for i, o in enumerate(several(op(**leaves))) if o.requires_grad]
    if not live:
        return None
    weights = [torch.ones_like(outputs[i]) for i in live]

    def go() -> object:
        found = several(op(**leaves))
        return torch.autograd.grad([found[i] for i in live], smooth, weights, allow_unused=True)

    return go


def several(result: Any) -> list[Tensor]:
    """The outputs of a call as a list."""
    return list(result) if isinstance(result, tuple) else [result]


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def _times(steps: tuple[int, ...]) -> str:
    return " × ".join(map(str, steps))


__all__ = ["Figures", "both", "measure", "several", "shown", "summary", "table"]
