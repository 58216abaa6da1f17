"""How much memory a run forward and backward takes at its peak, against what it has to hold.

Each figure comes from a process of its own, `python -m recc.bench.memory NAME …`, in which the high-water
mark of resident memory belongs to one call and nothing else.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch

from recc.bench.contest import both_ways, draw, program
from recc.bench.report import Cell, Table
from recc.errors import InternalError
from recc.fuzz import Shapes
from recc.recurrence import Kind
from recc.runtime.layout import lay_out

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_MIB = 1 << 20

Found = dict[str, int] | None

#: Program, title, sizes of axes, B, T, heads.
_CASES: tuple[tuple[str, str, dict[str, int], int, int, tuple[int, ...]], ...] = (
    ("elementwise", "elementwise", {"d": 512}, 4, 4096, ()),
    ("selective", "diagonal, selective", {"d": 256, "n": 16}, 4, 8192, ()),
    ("correction", "matrix memory with a correction", {"i": 64, "j": 64}, 2, 8192, (4,)),
)


def memory(shrink: int = 1) -> Table:
    """MiB by purpose, the peak, and the ratio of the two."""
    rows: list[tuple[Cell, ...]] = []
    for name, title, sizes, batch, steps, heads in _CASES:
        found = _child(name, sizes, batch, steps // shrink, heads)
        if found is None:
            return Table("Peak memory", ("",), (), ("needs /proc/self/clear_refs, which this system does not have",))
        held = [found[part] for part in ("inputs", "outputs", "gradients", "checkpoints")]
        peak = found["peak"]
        shown = ", ".join([f"B {batch}", f"T {steps // shrink}", *(f"H {n}" for n in heads)])
        rows.append((f"{title} ({shown})", *(h / _MIB for h in held), sum(held) / _MIB, peak / _MIB, peak / sum(held)))
    columns = ("MiB", "inputs", "outputs", "gradients", "checkpoints", "sum", "peak", "peak ÷ sum")
    notes = (
        "outputs: with the final states; gradients: of the output (given) and of every argument",
        "peak: how far resident memory grows, from before the arguments exist to the highest point of both directions",
    )
    return Table("Peak memory of forward + backward, float32", columns, tuple(rows), notes)


def _child(name: str, sizes: Mapping[str, int], batch: int, steps: int, heads: tuple[int, ...]) -> Found:
    given = json.dumps({"name": name, "sizes": dict(sizes), "batch": batch, "steps": steps, "heads": heads})
    done = subprocess.run(
        [sys.executable, "-m", "recc.bench.memory", given], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise InternalError(f"measuring memory failed:\n{done.stderr.strip()[-2000:]}")
    found: Found = json.loads(done.stdout)
    return found


def measure(name: str, sizes: Mapping[str, int], batch: int, steps: int, heads: tuple[int, ...]) -> Found:
    """Bytes by purpose, and the growth of this process's resident memory at its highest. `None` off Linux."""
    if not _CLEAR.exists():
        return None
    op = program(name)
    _run(op, Shapes(sizes, (64,), batch, heads))  # builds and loads everything
    before = _status("VmRSS")
    shapes = Shapes(sizes, (steps,), batch, heads)
    held = _run(op, shapes)
    return {**held, "peak": _status("VmHWM") - before}


def _run(op: Any, shapes: Shapes) -> dict[str, int]:
    """Draws arguments, forgets the high-water mark, runs both ways; gives what there has to be."""
    leaves = {n: t.requires_grad_() for n, t in draw(op, shapes).items()}
    weight = torch.zeros(0)
    with torch.no_grad():
        weight = torch.ones_like(op(**leaves))
    run = both_ways(lambda of: op(**of), leaves, weight)
    _CLEAR.write_text("5")  # 5: VmHWM starts again at what is resident now
    output, *gradients = run()
    return {
        "inputs": _bytes(leaves.values()),
        "outputs": _bytes([output]) + _state_bytes(op, shapes),
        "gradients": _bytes([weight, *gradients]),
        "checkpoints": checkpoint_bytes(op, shapes),
    }


def checkpoint_bytes(op: Any, shapes: Shapes) -> int:
    """What the op says that it keeps for the backward pass beside arguments and outputs."""
    rec = op.recurrence
    lead = {s.name: (shapes.batch, *shapes.steps, *shapes.heads) if s.kind is Kind.INPUT else () for s in rec.arguments}
    layout = lay_out(rec, {s.name: (*lead[s.name], *shapes.of(rec, s.axes)) for s in rec.arguments}, {})
    return sum(4 * prod(shape) for shape in op._native.saved_shapes(layout, "float32", frozenset()).values())


def _state_bytes(op: Any, shapes: Shapes) -> int:
    rec = op.recurrence
    return sum(4 * shapes.batch * prod(shapes.heads) * prod(shapes.of(rec, slot.axes)) for slot in rec.slots)


def _bytes(tensors: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def _status(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise InternalError(f"{_STATUS} has no line {field}")


def main(given: str) -> None:
    """Prints the figures of one case as JSON."""
    case = json.loads(given)
    sys.stdout.write(
        json.dumps(measure(case["name"], case["sizes"], case["batch"], case["steps"], tuple(case["heads"])))
    )


if __name__ == "__main__":
    main(sys.argv[1])
