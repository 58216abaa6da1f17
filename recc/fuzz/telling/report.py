"""What a run of the fuzzer compared and found: counted while it goes, told at its end."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import monotonic, strftime
from typing import Any

from recc.errors import UsageError

from ..hunting.found import CounterExample, Trial
from ..hunting.work import Outcome
from .coverage import Coverage
from .junit import Verdict

_REASONS = {
    "undefined": "the reference gives NaN",
    "unstable": "rounding the arguments changes the result as much as an error would",
    "kink": "differences of the reference do not converge",
}


@dataclass(frozen=True)
class Report:
    """What was run, and the largest relative errors of values and of gradients by element type.

    `checks` counts the comparisons, `by_law` the same by law and way; `left_out` the cases in which some could not be
    made, by reason. `counter_examples` are those that were collected, all of different kinds; `more` are further
    numbers at which a law of a way that had enough of them did not hold. `numbers` are the first and the last that
    were run, `None` where there was none.
    """

    program: str
    cases: int
    seed: int
    checks: int
    values: Mapping[str, float]
    gradients: Mapping[str, float]
    left_out: Mapping[str, int]
    by_law: Mapping[tuple[str, str], int] = field(default_factory=dict)
    coverage: Coverage = field(default_factory=Coverage)
    counter_examples: tuple[CounterExample, ...] = ()
    more: tuple[tuple[int, str, str], ...] = ()
    numbers: tuple[int, int] | None = None
    seconds: float = 0.0

    def __str__(self) -> str:
        found = len(self.counter_examples)
        what = "no counter-example" if not found else f"{found} counter-example{'s' if found > 1 else ''}"
        lines = [f"{self.program}: {self.cases} cases, {self.checks} comparisons, {what} (seed {self.seed})"]
        for dtype, error in self.values.items():
            gradient = f", gradients {self.gradients[dtype]:.1e}" if dtype in self.gradients else ""
            lines.append(f"  {dtype}: largest relative error of values {error:.1e}{gradient}")
        for reason, count in self.left_out.items():
            lines.append(f"  {count} cases in part left out: {_REASONS.get(reason, reason)}")
        if self.more:
            numbers = sorted({number for number, _, _ in self.more})
            shown = ", ".join(map(str, numbers[:12])) + (", …" if len(numbers) > 12 else "")
            lines.append(f"  laws that failed before failed again at {shown}")
        return "\n".join(lines)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Law by law and way by way, for a JUnit file."""
        failures: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for found in self.counter_examples:
            for key in ((found.law, found.way), *((law, str(way)) for law, way in found.also)):
                failures.setdefault(key, []).append((found.headline, str(found)))
        keys = sorted({*self.by_law, *failures})
        return tuple(Verdict(law, way, self.by_law.get((law, way), 0), tuple(failures.get((law, way), ())))
                     for law, way in keys)  # fmt: skip


@dataclass
class Tally:
    """Counts while a run goes. `kinds` are counter-examples looked into, by law and way."""

    title: str
    seed: int
    begun: float = field(default_factory=monotonic)
    cases: int = 0
    checks: Counter[tuple[str, str]] = field(default_factory=Counter)
    worst: dict[tuple[str, bool], float] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    coverage: Coverage = field(default_factory=Coverage)
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    found: dict[tuple[str, str, str], CounterExample] = field(default_factory=dict)
    more: list[tuple[int, str, str]] = field(default_factory=list)
    first: int | None = None
    last: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.first = outcome.number if self.first is None else self.first
        self.last = outcome.number
        self.cases += outcome.cases
        self.checks.update(outcome.checks)
        self.left_out.update(outcome.left_out)
        for covered in outcome.covered:
            self.coverage.add(covered)
        for key, error in outcome.worst.items():
            self.worst[key] = max(self.worst.get(key, 0.0), error)

    def meet(self, found: CounterExample) -> bool:
        """Count a counter-example; whether it is of a new kind."""
        self.kinds.update([(found.law, found.way), *((law, str(way)) for law, way in found.also)])
        if found.key in self.found:
            self.more.append((found.origin.number, found.law, found.way))
            return False
        self.found[found.key] = found
        return True

    def trial(self, outcome: Outcome, count: int) -> Trial:
        """What to show of an outcome while a run goes."""
        dtype = "float32" if any(d == "float32" for d, _ in outcome.worst) else "float64"
        values, gradients = outcome.worst.get((dtype, False), 0.0), outcome.worst.get((dtype, True))
        done = (self.last - (self.first or 0)) + 1
        seconds = monotonic() - self.begun
        return Trial(done, count, outcome.steps, values, gradients, len(self.coverage), len(self.found), seconds)

    def report(self) -> Report:
        """What came of it."""
        tables: tuple[dict[str, float], dict[str, float]] = ({}, {})
        for (dtype, gradient), error in sorted(self.worst.items(), key=lambda item: (item[0][0] != "float64", item[0])):
            tables[gradient][dtype] = error
        return Report(
            self.title, self.cases, self.seed, sum(self.checks.values()), *tables, dict(self.left_out),
            dict(self.checks), self.coverage, tuple(self.found.values()), tuple(self.more),
            None if self.first is None else (self.first, self.last), monotonic() - self.begun,
        )  # fmt: skip

    def append_to(self, path: Path) -> None:
        """Append a line of JSON about the run. Raises `UsageError` where that cannot be done."""
        line: dict[str, Any] = {
            "when": strftime("%Y-%m-%dT%H:%M:%S"), "program": self.title, "seed": self.seed,
            "from": self.first, "to": None if self.first is None else self.last, "cases": self.cases,
            "checks": sum(self.checks.values()), "cells": len(self.coverage),
            "seconds": round(monotonic() - self.begun, 1),
            "worst": {f"{d}{' gradient' if g else ''}": e for (d, g), e in sorted(self.worst.items())},
            "left out": dict(self.left_out),
            "found": [{"number": c.origin.number, "law": c.law, "way": c.way, "what": c.headline, "saved": c.saved}
                      for c in self.found.values()],
            "more": self.more, "versions": versions(),
        }  # fmt: skip
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        except OSError as problem:
            raise UsageError("--log", "a file that can be written", f"{path}: {problem.strerror}") from None


def versions() -> dict[str, str]:
    """What a result depends on: recc and what it runs with."""
    import recc

    found = {"recc": recc.__version__, "python": platform.python_version(), "machine": platform.machine()}
    for package in ("numpy", "torch", "triton"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


__all__ = ["Report", "Tally", "versions"]
