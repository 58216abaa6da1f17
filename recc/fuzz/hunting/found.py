"""What was found: a case in which something is wrong, as small as it got, and how to see it again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recc.errors import ReccError

from ..drawing.case import Arrays, Case
from ..shrinking.shrink import Shrunk
from ..ways.program import Way

#: Sequences of these lengths are drawn: none, one, and around powers of two.
STEPS = (0, 1, 2, 3, 7, 8, 9, 16, 33)

#: The same for programs out of the grammar, of which many are run, in chunks of 3 steps.
FEW_STEPS = (0, 1, 2, 3, 4, 5, 7, 9)

#: Arrays of a case with no more numbers than this are written out.
TINY = 24


@dataclass(frozen=True)
class Origin:
    """Where a case came from: its seed and number, the lengths drawn from, and whether its program was drawn too."""

    seed: int
    number: int
    steps: tuple[int, ...] = STEPS
    grammar: bool = False

    def __str__(self) -> str:
        if self.grammar:
            return f"recc fuzz --grammar --seed {self.seed} --only {self.number}"
        steps = "" if self.steps == STEPS else f", steps={self.steps}"
        return f"recc.fuzz(op, seed={self.seed}, only={self.number}{steps})"


class CounterExample(ReccError):
    """A case in which results do not agree. Its text has the program, the sizes, and how to see it again.

    `case` is as small as it got and `drawn` what it came from; `finding` is what is wrong of `case`.
    """

    def __init__(
        self,
        case: Case,
        finding: Any,
        origin: Origin,
        drawn: Case | None = None,
        shrunk: Shrunk | None = None,
        saved: str = "",
    ):
        self.case = case
        self.finding = finding
        self.origin = origin
        self.drawn = drawn or case
        self.shrunk = shrunk
        self.saved = saved
        #: Other laws and ways that do not hold of the case either.
        self.also: tuple[tuple[str, Way | None], ...] = ()
        #: What had been compared when it was found.
        self.report: Any = None
        super().__init__(case, finding, origin, drawn, shrunk, saved)

    @property
    def law(self) -> str:
        """The name of the law that does not hold."""
        return str(self.finding.law)

    @property
    def way(self) -> str:
        """The backend and the form that it does not hold of."""
        return str(self.finding.way)

    @property
    def headline(self) -> str:
        """What is wrong, in one line."""
        f = self.finding
        if not f.dtype:  # no comparison: a crash, a hang, an error
            return f"{self.case.rec.name} is wrong: {f.what}"
        measure = f"relative error {f.error:.1e}, at most {f.bound:.1e} expected"
        return f"{self.case.rec.name} is wrong: {f.what}, {f.dtype}: {measure}"

    @property
    def key(self) -> tuple[str, str, str]:
        """What two counter-examples of one mistake have in common: law, way and the shrunk program but for names."""
        return self.law, self.way, skeleton(self.case)

    def __str__(self) -> str:
        lines = [self.headline, f"  law: {self.law}, way: {self.way}"]
        if self.also:
            lines.append(f"  also: {_grouped(self.also)}")
        lines.append(f"  case: {self.case}")
        if self.shrunk is not None:
            lines.append(f"  shrunk from: {self.drawn}" + ("" if self.shrunk.finished else " (not to the end)"))
        lines.append(f"  again: {self.origin}")
        if self.saved:
            lines.append(f"  saved: {self.saved}")
        lines += ["", self.case.rec.source.text.strip()]
        arrays = written_out(self.case)
        return "\n".join([*lines, "", *arrays] if arrays else lines)


def _grouped(also: Sequence[tuple[str, Way | None]]) -> str:
    """Laws with the ways that they fail of."""
    laws: dict[str, list[str]] = {}
    for law, way in also:
        laws.setdefault(law, []).append(str(way))
    merged: dict[tuple[str, ...], list[str]] = {}
    for law, ways in laws.items():
        merged.setdefault(tuple(ways), []).append(law)
    return "; ".join(f"{', '.join(names)} of {', '.join(ways)}" for ways, names in merged.items())


def written_out(case: Case) -> list[str]:
    """The arrays of a case as lines of text, none if they are large."""
    arrays = {**case.arguments, **{f"initial {n}": v for n, v in case.initial.items()}}
    if sum(v.size for v in arrays.values()) > TINY:
        return []
    return [f"{name} = {_plain(v)}" for name, v in arrays.items()]


def _plain(value: Any) -> str:
    return str(np.asarray(value).tolist()) if np.size(value) else f"nothing, {list(np.shape(value))}"


def skeleton(case: Case) -> str:
    """A program with its names numbered in the order in which they stand there, and numbers made alike."""
    rec = case.rec
    own = {rec.name, *(s.name for s in rec.symbols), *(a.name for a in rec.axes)}
    numbered: dict[str, str] = {}

    def plain(match: re.Match[str]) -> str:
        word = match[0]
        if not (word[0].isalpha() or word[0] == "_"):
            return "#"
        return numbered.setdefault(word, f"n{len(numbered)}") if word in own else word

    text = "\n".join(line.split("#")[0] for line in rec.source.text.splitlines())
    return " ".join(re.sub(r"[A-Za-z_]\w*|(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", plain, text).split())


@dataclass(frozen=True)
class Trial:
    """One case that was run: its number of how many, its steps, its largest errors in float32.

    `gradients` is `None` where no gradient was compared. `cells` is how many combinations of structure, form,
    backend, direction and type have been compared so far, `found` how many counter-examples there are, `seconds` since
    the beginning. `count` is 0 where nobody said how many cases to run.
    """

    number: int
    count: int
    steps: int
    values: float
    gradients: float | None
    cells: int = 0
    found: int = 0
    seconds: float = 0.0

    @property
    def worst(self) -> float:
        """The larger of the two errors."""
        return max(self.values, self.gradients or 0.0)


def largest(findings: Sequence[Any]) -> Mapping[tuple[str, bool], float]:
    """The largest error of values and of gradients for each element type."""
    table: dict[tuple[str, bool], float] = {}
    for f in findings:
        key = (f.dtype, f.gradient)
        table[key] = max(table.get(key, 0.0), f.error)
    return table


__all__ = [
    "FEW_STEPS",
    "STEPS",
    "TINY",
    "Arrays",
    "CounterExample",
    "Origin",
    "Trial",
    "largest",
    "skeleton",
    "written_out",
]
