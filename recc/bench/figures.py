"""The three figures that stand for the rest: elementwise, diagonal and selective, matrix with a correction."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from recc.bench.contest import Contest, Function, both_ways, draw, hold, only_forward, program
from recc.bench.report import Cell, Table
from recc.bench.rivals import (
    correction_loop,
    correction_tuned_loop,
    elementwise_loop,
    selective_loop,
    selective_tuned_loop,
)
from recc.bench.shipped import chunked_correction
from recc.bench.timing import Timing, race
from recc.fuzz import Shapes, rel_rms

_LOOP, _TUNED = "step loop in torch", "step loop in torch, tuned"
_COLUMNS = ("", "median ms", "least ms", "runs")

#: Arrays that an elementwise recurrence has to move: forward a, x -> y; backward a, x, dy -> da, dx.
_FORWARD, _BACKWARD = 3, 5


def elementwise(seconds: float, shrink: int = 1) -> Table:
    """The recurrence h = a h + x against `torch.add` on the same arrays."""
    op = program("elementwise")
    shapes = Shapes({"d": 512}, (4096 // shrink,), 4)
    arguments = draw(op, shapes)
    a, x = arguments["a"], arguments["x"]
    out = torch.empty_like(a)
    leaves = {n: t.clone().requires_grad_() for n, t in arguments.items()}
    weight = torch.randn(a.shape, generator=torch.Generator().manual_seed(0))

    def ours(of: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return op(**of)  # type: ignore[no-any-return]  # an op gives what its program says

    both = both_ways(ours, leaves, weight)
    loop = both_ways(elementwise_loop, leaves, weight)
    apart = [rel_rms(p.numpy(), q.numpy()) for p, q in zip(both(), loop(), strict=True)]
    times = race(
        {
            "recc, forward": only_forward(ours, arguments),
            "torch.add, new output": lambda: torch.add(a, x),
            "torch.add, out=": lambda: torch.add(a, x, out=out),
            "recc, forward + backward": both,
        },
        seconds,
    )
    fresh, reused = times["torch.add, new output"], times["torch.add, out="]
    arrays = _FORWARD + _BACKWARD
    rows: list[tuple[Cell, ...]] = []
    for name, timing in times.items():
        share = arrays / _FORWARD if "backward" in name else 1.0
        rows.append((*_timed(name, timing), _ratio(timing, fresh, share), _ratio(timing, reused, share)))
    return Table(
        f"Elementwise, h = a h + x · {shown_shapes(shapes)}",
        (*_COLUMNS, "× add, new output", "× add, out="),
        tuple(rows),
        (
            f"forward + backward moves {arrays} arrays and torch.add {_FORWARD}: × {arrays}/{_FORWARD}",
            f"apart from the step loop in torch: output {apart[0]:.1e}, gradients {max(apart[1:]):.1e}",
        ),
    )


def selective(seconds: float, shrink: int = 1) -> Table:
    """A diagonal selective recurrence against its step loop in torch."""
    op = program("selective")
    shapes = Shapes({"d": 256, "n": 16}, (2048 // shrink,), 4)
    rivals: dict[str, Function] = {_LOOP: selective_loop, _TUNED: selective_tuned_loop}
    contest = hold(op, draw(op, shapes), rivals, seconds)
    return table_of(f"Diagonal, selective · {shown_shapes(shapes)}", contest)


def correction(seconds: float, shrink: int = 1) -> Table:
    """A matrix memory with a rank-one correction against chunked torch and against the step loop."""
    op = program("correction")
    shapes = Shapes({"i": 64, "j": 64}, (2048 // shrink,), 2, (4,))
    rivals: dict[str, Function] = {}
    chunked, notes = chunked_correction(), []
    if chunked is None:
        notes.append("chunked in torch: fla-core (and einops, which it needs) not installed")
    else:
        rivals["chunked in torch (fla-core)"] = chunked
    rivals |= {_LOOP: correction_loop, _TUNED: correction_tuned_loop}
    contest = hold(op, draw(op, shapes), rivals, seconds)
    return table_of(f"Matrix memory with a decay and a rank-one correction · {shown_shapes(shapes)}", contest, *notes)


def table_of(title: str, contest: Contest, *notes: str) -> Table:
    """A contest as a table, ratios to recc's own time."""
    rows: list[tuple[Cell, ...]] = []
    for way, times in (("forward", contest.forward), ("forward + backward", contest.both)):
        for name, timing in times.items():
            rows.append((*_timed(f"{name}, {way}", timing), _ratio(timing, times["recc"])))
    apart = [
        f"apart from {name}: output {values:.1e}, gradients {gradients:.1e}"
        for name, (values, gradients) in contest.errors.items()
    ]
    return Table(title, (*_COLUMNS, "× recc"), tuple(rows), (*notes, *apart))


def _timed(name: str, timing: Timing) -> tuple[Cell, ...]:
    return name, timing.median * 1e3, timing.least * 1e3, timing.runs


def _ratio(timing: Timing, other: Timing, share: float = 1.0) -> float:
    return timing.median / (other.median * share)


def shown_shapes(shapes: Shapes) -> str:
    """Sizes in words."""
    heads = [f"H {n}" for n in shapes.heads]
    axes = [f"{axis.upper()} {n}" for axis, n in shapes.sizes.items()]
    return ", ".join([f"B {shapes.batch}", f"T {shapes.steps[0]}", *heads, *axes, "float32"])


__all__ = ["correction", "elementwise", "selective", "shown_shapes", "table_of"]
