"""Every form of one program, timed beside what the cost model predicted of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import numpy as np
import torch

from recc.bench.program import both, several, shown
from recc.bench.report import Cell, Table
from recc.bench.timing import Run, Timing, race
from recc.forms.choose import Choice, Option, choose
from recc.fuzz import Shapes, draw_arguments
from recc.recurrence import Recurrence

#: A form that is predicted to take longer than so many seconds is not run.
LONGEST = 30.0
WAYS = ("forward", "forward + backward")

#: From a form's name, its backend and the size of its chunks to a compiled op.
Compiler = Callable[[str, str, int | None], Any]


@dataclass(frozen=True)
class Entry:
    """One form: the predicted option, and the measured time if it was run; `why` says why it was not."""

    option: Option
    timing: Timing | None
    why: str = ""

    @property
    def label(self) -> str:
        """The form with its backend and the size of its chunks."""
        chunk = f", chunks of {self.option.chunk}" if self.option.chunk else ""
        return f"{self.option.name} ({self.option.backend}{chunk})"


@dataclass(frozen=True)
class Comparison:
    """The forms of a program in one direction. `chosen` is the label of what `form="auto"` takes in torch."""

    way: str
    entries: tuple[Entry, ...]
    chosen: str

    @property
    def correlation(self) -> float:
        """How well the predicted order is the measured one, over the torch forms that were run (Spearman's)."""
        run = self._run()
        if len(run) < 2:
            return 1.0
        return rank_correlation([e.option.cost.seconds for e in run], [e.timing.median for e in run])  # type: ignore[union-attr]  # those that were run have both

    @property
    def regret(self) -> float:
        """The time of the chosen form as a multiple of that of the fastest one of the same backend; nan if not run."""
        times = {e.label: e.timing.median for e in self._run() if e.timing is not None}
        return times[self.chosen] / min(times.values()) if self.chosen in times else float("nan")

    def _run(self) -> list[Entry]:
        return [e for e in self.entries if e.timing is not None and e.option.backend == "torch"]


def compare(
    rec: Recurrence,
    shapes: Shapes,
    compiler: Compiler,
    seconds: float,
    *,
    backends: Sequence[str] = ("c", "torch"),
    chunk: int | None = None,
    ways: Sequence[str] = WAYS,
    longest: float = LONGEST,
) -> list[Comparison]:
    """Measures every form in turns, in each direction that the program has.

    A form that is too large is not run, and says so; nor is one that by prediction takes longer than `longest`
    seconds and three times the fastest.
    """
    drawn = draw_arguments(rec, shapes, np.random.default_rng(0), dtype=np.float32)
    arguments = {n: torch.from_numpy(np.ascontiguousarray(v)) for n, v in drawn.items()}
    leaves = {n: t.clone().requires_grad_(t.is_floating_point() or t.is_complex()) for n, t in arguments.items()}
    found = []
    for way in ways:
        backward = way != WAYS[0]
        options, chosen = predicted(rec, shapes, backends, chunk, backward)
        # What may well be the fastest is run however long it takes.
        limit = max(longest, 3 * min(o.cost.seconds for o in options if o.cost is not None))
        entries = [Entry(option, None, _why_not(option, limit)) for option in options]
        runs: dict[str, Run] = {}
        for entry in entries:
            option = entry.option
            if not entry.why:
                run = _run(compiler(option.name, option.backend, option.chunk or None), arguments, leaves, backward)
                if run is not None:
                    runs[entry.label] = run
        if runs:
            times = race(runs, seconds, 3)
            timed = tuple(Entry(e.option, times.get(e.label), e.why) for e in entries)
            found.append(Comparison(way, timed, chosen))
    return found


def predicted(
    rec: Recurrence, shapes: Shapes, backends: Sequence[str], chunk: int | None, backward: bool
) -> tuple[list[Option], str]:
    """The options on each backend, and the label of the one that is chosen in torch."""
    options: list[Option] = []
    chosen = ""
    for backend in backends:
        choice: Choice = choose(
            rec, backend, shapes.sizes, shapes.steps, shapes.batch * prod(shapes.heads), "cpu", chunk, backward=backward
        )
        options += choice.options[:1] if backend != "torch" else choice.options
        if backend == "torch":
            chosen = Entry(choice.taken, None).label
    return options, chosen


def _why_not(option: Option, longest: float = LONGEST) -> str:
    if option.refusal is not None:
        return option.refusal.reason
    assert option.cost is not None  # it is not refused
    if option.cost.seconds > longest:
        return f"not run: predicted to take {option.cost.seconds:,.1f} s"
    if "GiB" in option.out:
        return f"not run: {option.out}"
    return ""


def _run(
    op: Any, arguments: Mapping[str, torch.Tensor], leaves: Mapping[str, torch.Tensor], backward: bool
) -> Run | None:
    def forward() -> object:
        with torch.no_grad():
            return op(**arguments)

    if not backward:
        return forward
    smooth = [t for t in leaves.values() if t.requires_grad]
    return both(op, leaves, smooth, several(op(**arguments))) if smooth else None


def tables(rec: Recurrence, shapes: Shapes, comparisons: Sequence[Comparison]) -> list[Table]:
    """A table for each direction: measured and predicted milliseconds, and both as multiples of the least."""
    found = []
    for comparison in comparisons:
        done = [e for e in comparison.entries if e.timing is not None]
        least = min((e.timing.median for e in done if e.timing), default=1.0)
        first = min((e.option.cost.seconds for e in done if e.option.cost), default=1.0)
        rows: list[tuple[Cell, ...]] = []
        for entry in comparison.entries:
            cost, timing = entry.option.cost, entry.timing
            guess = None if cost is None else cost.seconds
            mark = " *" if entry.label == comparison.chosen else ""
            cells: list[Cell] = [None, None] if timing is None else [timing.median * 1e3, timing.median / least]
            cells += (
                [None, None, None]
                if cost is None or guess is None
                else [guess * 1e3, guess / first, cost.memory / (1 << 20)]
            )
            rows.append((f"{entry.label}{mark}", *cells))
        notes = [f"{e.label}: {e.why}" for e in comparison.entries if e.why]
        if comparison.chosen:
            notes.append(f"* what form='auto' runs in torch: {comparison.regret:.2f} x the fastest torch form measured")
            notes.append(
                f"rank correlation of the predicted with the measured order in torch: {comparison.correlation:.2f}"
            )
        columns = ("", "median ms", "× least", "predicted ms", "× least", "predicted MiB")
        found.append(
            Table(f"{rec.name}, every form, {comparison.way} · {shown(shapes)}", columns, tuple(rows), tuple(notes))
        )
    return found


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's: 1 for the same order, -1 for the reverse. Equal values share the mean of their ranks."""
    a, b = _ranks(one), _ranks(other)
    mean = (len(a) - 1) / 2
    top = sum((x - mean) * (y - mean) for x, y in zip(a, b, strict=True))
    below = sqrt(sum((x - mean) ** 2 for x in a) * sum((y - mean) ** 2 for y in b))
    return top / below if below else 1.0


def _ranks(values: Sequence[float]) -> list[float]:
    return [sum(w < v for w in values) + (sum(w == v for w in values) - 1) / 2 for v in values]


__all__ = ["Comparison", "Compiler", "Entry", "WAYS", "compare", "predicted", "rank_correlation", "tables"]
