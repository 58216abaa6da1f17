"""Writes docs/systems.md: `python -m tests.zoo.table` runs every row in every way and prints what it measured."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

if __name__ == "__main__":
    # Triton reads this when it is imported: its kernels are interpreted here.
    os.environ.setdefault("TRITON_INTERPRET", "1")

from recc.errors import Refusal, Unsupported
from recc.structure import structures

from .measure import BY_DIFFERENCES, Errors, forms_of, measure, truth, ways
from .row import Row
from .rows import ROWS, WORKING

PAGE = Path(__file__).resolve().parents[2] / "docs" / "systems.md"

_HEAD = """\
# The published systems

recc is measured by whether it can express the recurrences that people publish. This is the list of {count}, each judged
by an implementation that is not recc's: another package, or the paper's other definition by a different algorithm.
{working} of them work now, in {programs} programs. Where one did not, its last column would say what the language or
a form lacks; where a row is less than the whole published system, it says what is left out. A system that is a layer
around a recurrence counts by its recurrence.

The errors are relative (`||out - oracle|| / ||oracle||`, [numbers](maths/numbers.md)), in float64, the largest over all
forms and backends named in the row: of outputs, final states, and gradients of all arguments and initial states. `-`
means that the oracle does not have it. Gradients of an oracle that is not differentiable are compared along a random
direction with differences of the oracle, which are good to about {differences:.0e} only; those are marked `~`.
Structure, forms and backends are what recc found by itself. `python -m tests.zoo.table` writes this page, and
`make test` runs every row.

| id | system | program | structure | forms | backends | judged by | outputs | final | gradients | remarks |
|---|---|---|---|---|---|---|---|---|---|---|
"""


def structure_of(row: Row) -> str:
    """What recc found, a stage after the other; stages without a state are left out."""
    found = [s for s in structures(row.rec) if s.stage.states]
    parts = [f"{', '.join(s.stage.states)}: {str(s).removeprefix('affine: ')}" for s in found]
    return "; ".join(parts) or "no state"


def known(row: Row) -> tuple[str, ...]:
    """The cells of a row that need no run."""
    if not row.program:
        return (row.id, row.system, "-", "-", "-")
    forms = [name for name, form in forms_of(row).items() if not isinstance(form, Refusal)]
    program = f"[{row.program}](../recc/zoo/{row.program}.recc)"
    return row.id, row.system, program, structure_of(row), ", ".join(forms)


def measured(row: Row) -> tuple[str, ...]:
    """The cells of backends and errors."""
    if not row.program:
        return "-", "-", "-", "-", "-"
    expected = truth(row)
    found: dict[tuple[str, str], Errors] = {way: measure(row, *way, expected) for way in ways(row)}
    try:
        found["triton", "sequential"] = measure(row, "triton", "sequential", expected)
    except Unsupported as refused:
        print(f"  triton: {str(refused).splitlines()[0]}", file=sys.stderr)
    mark = "" if expected.gradients is not None else "~"
    gradients = [e.gradients for e in found.values() if e.gradients is not None]
    finals = [e.final for e in found.values() if e.final is not None]
    _check(row, found, bool(mark))
    return (
        ", ".join(dict.fromkeys(backend for backend, _ in found)),
        row.oracle,
        f"{max(e.outputs for e in found.values()):.0e}",
        f"{max(finals):.0e}" if finals else "-",
        f"{mark}{max(gradients):.0e}" if gradients else "-",
    )


def _check(row: Row, found: Mapping[tuple[str, str], Errors], differences: bool) -> None:
    """A page never shows a way that is wrong."""
    for way, errors in found.items():
        bound = max(BY_DIFFERENCES, row.bound) if differences else 2 * row.bound
        values = max(errors.outputs, errors.final or 0.0)
        if not (values <= row.bound and (errors.gradients or 0.0) <= bound):
            raise SystemExit(f"{row}: {way} is wrong: {errors}")


def line(cells: Sequence[str]) -> str:
    """One line of the table."""
    return "| " + " | ".join(re.sub(r"(?<!\\)\|", r"\|", cell) for cell in cells) + " |\n"


def head() -> str:
    """The page above the rows."""
    working = len({row.id for row in WORKING})
    programs = len({row.program for row in WORKING})
    count = len({row.id for row in ROWS})
    return _HEAD.format(count=count, working=working, programs=programs, differences=BY_DIFFERENCES)


def remarks(row: Row) -> str:
    """The last cell."""
    return f"lacks: {row.lacks}" if row.lacks else row.notes


def main() -> None:
    """Measure every row and write the page."""
    text = head()
    for row in ROWS:
        print(row, file=sys.stderr, flush=True)
        text += line((*known(row), *measured(row), remarks(row)))
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
