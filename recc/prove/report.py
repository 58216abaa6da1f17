"""What was proved of a program's forms, as data and as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from recc.errors import ReccError
from recc.prove.cases import Case
from recc.prove.compare import Differs
from recc.prove.show import show
from recc.recurrence import Recurrence

Sense = Literal["proved", "identity-tested", "alike", "left out"]


@dataclass(frozen=True)
class Finding:
    """One law of one form on some sizes.

    `sense`: **proved**: both sides are the same expression in unknowns, so equal for all values of them.
    **identity-tested**: both sides have the same value at `points` random rational points, in exact
    arithmetic; `failure` bounds the probability that different functions do (1 where no bound is known).
    **alike**: not decided exactly; the same to 12 digits at random points. **left out**: `note` says why.
    `comparisons` counts the pairs of expressions, `undefined` those where the step loop gives NaN.
    """

    form: str
    law: str
    sense: Sense
    cases: tuple[Case, ...]
    comparisons: int = 0
    seconds: float = 0.0
    points: int = 0
    failure: float = 0.0
    undefined: int = 0
    note: str = ""


@dataclass(frozen=True)
class Report:
    """All findings of a program, and the forms that it does not have with the reasons."""

    program: str
    findings: tuple[Finding, ...]
    refused: tuple[tuple[str, str], ...]
    seconds: float

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms that were looked at."""
        return tuple(dict.fromkeys(f.form for f in self.findings))

    def __str__(self) -> str:
        counted = f"{sum(f.comparisons for f in self.findings)} comparisons in {self.seconds:.1f} s"
        lines = [f"{self.program}: every law holds for {', '.join(self.forms)} ({counted})"]
        for form in self.forms:
            lines += ["", form]
            lines += _table([f for f in self.findings if f.form == form])
        if self.refused:
            lines += ["", "no such form"]
            lines += [f"  {name}: {reason}" for name, reason in self.refused]
        senses = [s for s in _MEANING if any(f.sense == s for f in self.findings)]
        lines += [""] + [f"{s}: {_MEANING[s]}" for s in senses]
        return "\n".join(lines)


_MEANING: dict[str, str] = {
    "proved": "the same expression in unknowns on both sides, so equal for all values",
    "identity-tested": "equal at random rational points in exact arithmetic, not proved; p bounds the probability\n"
    "  that different functions pass (p = ? where no bound is known)",
    "alike": "equal to 12 digits at random points; exact arithmetic could not decide",
}


def _table(findings: Sequence[Finding]) -> list[str]:
    lines = []
    for f in findings:
        sense = f.sense
        if f.sense == "identity-tested":
            bound = f"p < {f.failure:.0e}" if f.failure < 1e-3 else "p = ?"
            sense = f"{f.sense} at {f.points} point{'s' if f.points > 1 else ''}, {bound}"  # type: ignore[assignment]  # text from here on
        tail = f"  ({f.comparisons} in {f.seconds:.1f} s)" if f.comparisons else ""
        undefined = f", {f.undefined} undefined" if f.undefined else ""
        note = f" - {f.note}" if f.note else ""
        lines.append(f"  {f.law:<9} {sense}{_sizes(f.cases)}{undefined}{note}{tail}")
    return lines


def _sizes(cases: Sequence[Case]) -> str:
    """`for T, i, j = 3, 1, 1; 2, 2, 1`."""
    if not cases:
        return ""
    head = ", ".join((*(("T",) if len(cases[0].scan) == 1 else cases[0].scan), *(n for n, _ in cases[0].sizes)))
    rows = "; ".join(", ".join(map(str, (*c.steps, *(s for _, s in c.sizes)))) for c in cases)
    return f" for {head} = {rows}"


class CounterExample(ReccError):
    """A form that breaks a law: its text has the smallest sizes, the place, and both expressions.

    `values` are those of the two expressions at one point, where they differ.
    """

    def __init__(self, rec: Recurrence, form: str, law: str, case: Case | None, differs: Differs):
        self.program, self.form, self.law, self.case = rec.name, form, law, case
        self.place, self.values = differs.place, differs.values
        self.expected, self.found = show(differs.expected), show(differs.found)
        self._source = rec.source.text.strip()
        super().__init__(rec.name, form, law, differs.place)

    def __str__(self) -> str:
        sizes = f"\n  sizes: {self.case}" if self.case is not None else ""
        return (
            f"the {self.form} form of {self.program} is wrong: {self.law}, {self.place}{sizes}\n"
            f"  expected: {self.expected}\n"
            f"  found:    {self.found}\n"
            f"  at a random point: {self.values[0]:.12g} expected, {self.values[1]:.12g} found\n"
            f"\n{self._source}"
        )


__all__ = ["CounterExample", "Finding", "Report", "Sense"]
