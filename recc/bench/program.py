"""One program of the user's: how fast its kernels are, against moving the same memory and against the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recc.bench.report import Cell, Table
from recc.bench.timing import Run, Timing, race
from recc.errors import ReccError
from recc.fuzz import Shapes, draw_arguments
from recc.recurrence import Recurrence

#: The reference runs at most so many steps: it is some thousand times slower.
_REFERENCE_STEPS = 64


def measure(op: Any, shapes: Shapes, seconds: float) -> Table:
    """Forward, and forward with backward, in float32 on arguments drawn from the domains."""
    rec = op.recurrence
    drawn = draw_arguments(rec, shapes, np.random.default_rng(0), dtype=np.float32)
    arguments = {n: torch.from_numpy(np.ascontiguousarray(v)) for n, v in drawn.items()}
    leaves = {n: t.clone().requires_grad_(t.is_floating_point() or t.is_complex()) for n, t in arguments.items()}
    smooth = [t for t in leaves.values() if t.requires_grad]
    with torch.no_grad():
        outputs = _several(op(**arguments))
    short = Shapes(shapes.sizes, tuple(min(n, _REFERENCE_STEPS) for n in shapes.steps), shapes.batch, shapes.heads)
    few = draw_arguments(rec, short, np.random.default_rng(0))

    def forward() -> list[Tensor]:
        with torch.no_grad():
            return _several(op(**arguments))

    moved = {"forward": _bytes([*arguments.values(), *outputs])}
    runs: dict[str, Run] = {"forward": forward}
    if both := _both(op, leaves, smooth, outputs):
        # Inputs are read in both directions; outputs and gradients of inputs are written, gradients of outputs read.
        moved["forward + backward"] = 2 * _bytes(arguments.values()) + 2 * _bytes(outputs) + _bytes(smooth)
        runs["forward + backward"] = both
    yardsticks = {f"torch.add {name}": add_moving(count) for name, count in moved.items()}
    times = race({**runs, **yardsticks}, seconds)
    times["NumPy reference"] = race({"reference": lambda: op.reference(**few)}, 0.0, 1)["reference"]
    return _table(rec, shapes, short, times, moved)


def add_moving(count: int) -> Run:
    """A `torch.add` into a new array that moves as many bytes: two thirds read, one third written."""
    a, b = torch.ones(max(1, count // 12)), torch.ones(max(1, count // 12))
    return lambda: torch.add(a, b)


def _both(op: Any, leaves: Mapping[str, Tensor], smooth: list[Tensor], outputs: list[Tensor]) -> Callable[[], Any] | None:
    """A run in both directions; `None` for a program that has no gradient."""
    live = [i for i, o in enumerate(_several(op(**leaves))) if o.requires_grad]
    if not live:
        return None
    weights = [torch.ones_like(outputs[i]) for i in live]

    def go() -> Any:
        found = _several(op(**leaves))
        return torch.autograd.grad([found[i] for i in live], smooth, weights, allow_unused=True)

    return go


def _table(
    rec: Recurrence, shapes: Shapes, short: Shapes, times: Mapping[str, Timing], moved: Mapping[str, int]
) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, timing in times.items():
        reference = name == "NumPy reference"
        tokens = (short if reference else shapes).batch * _product((short if reference else shapes).steps)
        count = moved.get(name.removeprefix("torch.add "))
        rate = None if name.startswith("torch.add") else tokens / timing.median
        bandwidth = None if count is None else count / timing.median / 1e9
        ratio = timing.median / times[f"torch.add {name}"].median if name in moved else None
        title = f"{name} ({' × '.join(map(str, short.steps))} steps)" if reference else name
        mib = None if count is None else count / (1 << 20)
        rows.append((title, timing.median * 1e3, timing.least * 1e3, rate, mib, bandwidth, ratio))
    axes = [f"{a.upper()} {n}" for a, n in shapes.sizes.items()]
    heads = [f"H {n}" for n in shapes.heads]
    shown = ", ".join([f"B {shapes.batch}", f"T {' × '.join(map(str, shapes.steps))}", *heads, *axes, "float32"])
    columns = ("", "median ms", "least ms", "tokens/s", "MiB moved", "GB/s", "× torch.add")
    note = "MiB moved: arguments, outputs and gradients, each once in each direction that needs it"
    return Table(f"{rec.name} · {shown}", columns, tuple(rows), (note,))


def summary(op: Any, shapes: Shapes, seconds: float) -> tuple[Cell, ...]:
    """A row about one program of many: milliseconds and multiples of `torch.add`, or why there are none."""
    name = op.recurrence.name
    try:
        rows = measure(op, shapes, seconds).data()["rows"]
    except ReccError as refused:
        return name, str(refused).splitlines()[0], None, None, None, None
    table = {row[""]: row for row in rows}  # type: ignore[attr-defined]  # a list of rows by column
    axes = ", ".join(f"{a} {n}" for a, n in shapes.sizes.items()) or "scalars"
    found = [table.get(way, {}).get(column) for way in ("forward", "forward + backward") for column in ("median ms", "× torch.add")]
    return name, axes, *found


def _product(steps: tuple[int, ...]) -> int:
    total = 1
    for n in steps:
        total *= n
    return total


def _several(result: Any) -> list[Tensor]:
    return list(result) if isinstance(result, tuple) else [result]


def _bytes(tensors: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


__all__ = ["add_moving", "measure", "summary"]
