"""Whether a call's cost is linear in the number of steps."""

from __future__ import annotations

import torch

from recc.bench.contest import both_ways, draw, only_forward, program
from recc.bench.report import Cell, Table
from recc.bench.timing import Run, race
from recc.fuzz import Shapes

_STEPS = (1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18)
#: Small enough that no array reaches 32 MiB, from where on the C library asks the system for new pages every time.
_PROGRAMS = (
    ("elementwise", "elementwise", Shapes({"d": 16}, (0,), 1)),
    ("correction", "matrix memory with a correction", Shapes({"i": 16, "j": 16}, (0,), 1)),
)


def growth(seconds: float, longest: int = _STEPS[-1]) -> Table:
    """Nanoseconds per step at several lengths, and how far the dearest step is from the cheapest."""
    lengths = [n for n in _STEPS if n <= longest]
    rows: list[tuple[Cell, ...]] = []
    for name, title, shapes in _PROGRAMS:
        op = program(name)
        forward: dict[str, Run] = {}
        both: dict[str, Run] = {}
        for steps in lengths:
            arguments = draw(op, Shapes(shapes.sizes, (steps,), shapes.batch, shapes.heads))
            leaves = {n: t.clone().requires_grad_() for n, t in arguments.items()}
            forward[str(steps)] = only_forward(lambda of, op=op: op(**of), arguments)  # type: ignore[misc]  # a default binds the loop's op
            both[str(steps)] = both_ways(lambda of, op=op: op(**of), leaves, torch.ones(op(**arguments).shape))  # type: ignore[misc]  # as above
        for way, runs in (("forward", forward), ("forward + backward", both)):
            times = race(runs, seconds)
            each = [times[str(n)].median / n * 1e9 for n in lengths]
            sizes = ", ".join(f"{a.upper()} {n}" for a, n in shapes.sizes.items())
            rows.append((f"{title} ({sizes}), {way}", *each, each[-1] / min(each), each[-1] / each[0]))
    columns = ("ns per step, at T =", *(f"{n:,}" for n in lengths), "longest ÷ cheapest", "longest ÷ shortest")
    note = "a short call's fixed cost is in its steps: linear means that the right end does not rise"
    return Table("Cost per step as sequences grow · B 1, float32", columns, tuple(rows), (note,))


__all__ = ["growth"]
