"""Looking for a case in which a compiled recurrence is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recc.errors import ReccError, UsageError

from .case import Case, draw_case
from .checks import Finding, check_case

#: Sequences of these lengths are drawn: none, one, and around powers of two.
STEPS = (0, 1, 2, 3, 7, 8, 9, 16, 33)


@dataclass(frozen=True)
class Trial:
    """One case that held: its number of how many, its steps, its largest errors in float32.

    `gradients` is `None` where no gradient was compared.
    """

    number: int
    count: int
    steps: int
    values: float
    gradients: float | None

    @property
    def worst(self) -> float:
        """The larger of the two errors."""
        return max(self.values, self.gradients or 0.0)


@dataclass(frozen=True)
class Report:
    """What was run, and the largest relative errors of values and of gradients by element type.

    `checks` counts the comparisons; `left_out` the cases in which some could not be made, by reason:
    `undefined` (the reference gives NaN), `unstable` (rounding the arguments changes the result as much),
    `kink` (differences of the reference do not converge).
    """

    program: str
    cases: int
    seed: int
    checks: int
    values: Mapping[str, float]
    gradients: Mapping[str, float]
    left_out: Mapping[str, int]

    def __str__(self) -> str:
        lines = [
            f"{self.program}: {self.cases} cases, {self.checks} comparisons, no counter-example (seed {self.seed})"
        ]
        for dtype, error in self.values.items():
            gradient = f", gradients {self.gradients[dtype]:.1e}" if dtype in self.gradients else ""
            lines.append(f"  {dtype}: largest relative error of values {error:.1e}{gradient}")
        lines += [f"  {count} cases in part left out: {_REASONS[reason]}" for reason, count in self.left_out.items()]
        return "\n".join(lines)


_REASONS = {
    "undefined": "the reference gives NaN",
    "unstable": "rounding the arguments changes the result as much as an error would",
    "kink": "differences of the reference do not converge",
}


class CounterExample(ReccError):
    """A case in which results do not agree. Its text has the program, the sizes, and how to see it again."""

    def __init__(self, case: Case, finding: Finding, steps: Sequence[int]):
        self.case = case
        self.finding = finding
        self.steps = tuple(steps)
        super().__init__(case, finding, steps)

    def __str__(self) -> str:
        f, case = self.finding, self.case
        steps = "" if self.steps == STEPS else f", steps={self.steps}"
        return (
            f"{case.rec.name} is wrong: {f.what}, {f.dtype}: "
            f"relative error {f.error:.1e}, at most {f.bound:.1e} expected\n"
            f"  case: {case}\n"
            f"  again: recc.fuzz(op, seed={case.seed}, only={case.number}{steps})\n"
            f"  arguments: draw_case(op.recurrence, {case.seed}, {case.number}, {self.steps}) of recc.fuzz.case\n"
            f"\n{case.rec.source.text.strip()}"
        )


def fuzz(
    op: Any,
    cases: int = 50,
    seed: int = 0,
    steps: Sequence[int] = STEPS,
    progress: Callable[[Trial], None] | None = None,
    only: int | None = None,
) -> Report:
    """Runs an op on random arguments from its domains and compares it with everything it must agree with.

    Every case draws sizes, lengths from `steps`, batch axes, values (sometimes on the bounds of their
    domains) and perhaps a state to begin with. In float64: outputs and final states against the reference, the
    gradient along a random direction against differences of the reference, two pieces joined by the state
    against the whole, packed sequences against each alone. In float32: values and every gradient against
    float64. Bounds are those of `recc.fuzz.TOLERANCE`, plus what rounding the arguments does to the results.

    Args:
        op: what `recc.compile` gives.
        cases: how many. Without torch no gradients are compared.
        seed: the same seed gives the same cases.
        steps: the lengths to choose from.
        progress: called with a `Trial` after every case.
        only: the number of one case, to see a counter-example again.

    Raises:
        CounterExample: at the first case that does not hold.
        UsageError: if there is nothing to run.
    """
    rec = getattr(op, "recurrence", None)
    if rec is None:
        raise UsageError("op", "what recc.compile gives", type(op).__name__)
    if cases < 1 or not steps or min(steps) < 0:
        raise UsageError("cases and steps", "one case or more, of 0 steps or more", f"{cases} and {tuple(steps)}")
    values: dict[str, float] = {}
    gradients: dict[str, float] = {}
    left_out: Counter[str] = Counter()
    checks = 0
    numbers = range(cases) if only is None else [only]
    for done, number in enumerate(numbers, start=1):
        case = draw_case(rec, seed, number, steps)
        found, reasons = check_case(op, case)
        for finding in found:
            if not finding.holds:
                raise CounterExample(case, finding, steps)
            table = gradients if finding.gradient else values
            table[finding.dtype] = max(table.get(finding.dtype, 0.0), finding.error)
        checks += len(found)
        left_out.update(reasons)
        if progress is not None:
            progress(_trial(done, len(numbers), case, found))
    return Report(rec.name, len(numbers), seed, checks, values, gradients, dict(left_out))


def _trial(number: int, count: int, case: Case, found: Sequence[Finding]) -> Trial:
    narrow = [f for f in found if f.dtype == "float32"] or list(found)
    values = max((f.error for f in narrow if not f.gradient), default=0.0)
    gradients = max((f.error for f in narrow if f.gradient), default=None)
    return Trial(number, count, case.shapes.steps[0], values, gradients)


__all__ = ["STEPS", "CounterExample", "Report", "Trial", "fuzz"]
