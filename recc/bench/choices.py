"""How good the choices of forms are: for each program the time of the chosen form over that of the fastest."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from recc.bench.forms import Comparison, compare
from recc.bench.report import Cell, Table
from recc.fuzz import Shapes
from recc.recurrence import Recurrence
from recc.runtime.op import Op

#: B, T and H: many short sequences, some of middling length, and a long one.
SETTINGS = ((8, 64, 1), (2, 512, 2), (1, 4096, 1))
_WITHIN = 1.5

#: A form that is predicted to take longer than so many seconds is not run, unless it may be the fastest.
_LONGEST = 0.3


def table(title: str, programs: Iterable[tuple[Recurrence, Shapes]], seconds: float) -> Table:
    """A row for each program that has a choice in torch: what is chosen in each direction, and how good it is."""
    rows: list[tuple[Cell, ...]] = []
    ratios: list[float] = []
    for rec, shapes in programs:
        found = _measure(rec, shapes, seconds)
        if all(len([e for e in c.entries if e.timing is not None]) < 2 for c in found):
            continue
        cells: list[Cell] = []
        for comparison in found:
            ratios.append(comparison.regret)
            chosen = comparison.chosen.replace(" (torch", "").replace(")", "")
            cells += [chosen, comparison.regret, comparison.correlation]
        rows.append((rec.name, *cells, *[None] * (6 - len(cells))))
    columns = ("", "forward", "× fastest", "rank", "with gradients", "× fastest", "rank")
    return Table(title, columns, tuple(rows), (_summary(ratios),) if ratios else ())


def _measure(rec: Recurrence, shapes: Shapes, seconds: float) -> list[Comparison]:
    def build(form: str, backend: str, chunk: int | None) -> Op:
        return Op(rec, backend, form, chunk)

    return compare(rec, shapes, build, seconds, backends=("torch",), longest=_LONGEST)


def _summary(ratios: list[float]) -> str:
    good = sum(r <= _WITHIN for r in ratios)
    found = f"{good} of {len(ratios)} choices within {_WITHIN} × the fastest"
    return f"{found}; median {median(ratios):.2f}, worst {max(ratios):.2f}"


__all__ = ["SETTINGS", "table"]
