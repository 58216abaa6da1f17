"""Tables of figures: on the screen, as Markdown in a page, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recc.errors import UsageError

Cell = str | float | int | None

_BEGIN = "<!-- recc bench: begin -->"
_END = "<!-- recc bench: end -->"


@dataclass(frozen=True)
class Table:
    """A table with a title, the names of its columns, its rows, and remarks below it.

    Floats are shown with three digits, `None` as nothing.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """The table for a screen: the first column to the left, numbers to the right."""
        cells = [self.columns, *(tuple(shown(c) for c in row) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
            for row in cells
        ]
        return "\n".join([self.title, *(f"  {line}".rstrip() for line in lines), *(f"  {n}" for n in self.notes)])

    def markdown(self) -> str:
        """The table for a page."""
        rule = ["---", *["---:"] * (len(self.columns) - 1)]
        rows = [self.columns, rule, *([shown(c) for c in row] for row in self.rows)]
        lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
        return "\n".join([f"**{self.title}**", "", *lines, *(part for n in self.notes for part in ("", n))])

    def data(self) -> dict[str, object]:
        """The table for a program: every row by the names of the columns, numbers in full."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"title": self.title, "rows": rows, "notes": list(self.notes)}


def shown(cell: Cell) -> str:
    """A cell as text."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        if cell != cell:
            return "-"
        return f"{cell:.3g}" if abs(cell) < 1000 else f"{cell:,.0f}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def write_json(path: Path, machine: Mapping[str, object], tables: Sequence[Table]) -> None:
    """Writes all figures. Raises `UsageError` if that cannot be done."""
    _write(path, json.dumps({"machine": machine, "tables": [t.data() for t in tables]}, indent=1) + "\n", "--json")


def write_block(path: Path, machine: Mapping[str, object], tables: Sequence[Table], command: str) -> None:
    """Writes the tables into a page, between two marks that it has.

    Raises `UsageError` if the page cannot be read, has no marks, or cannot be written.
    """
    try:
        page = path.read_text(encoding="utf-8")
    except OSError as problem:
        raise UsageError("--write", "a page to write into", f"{path}: {problem.strerror}") from None
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise UsageError("--write", f"a page with the lines {_BEGIN} and {_END}", f"{path}, without them")
    facts = "\n".join(f"- {name}: {value}" for name, value in machine.items())
    parts = [f"Printed by `{command}` on this machine:\n\n{facts}", *(t.markdown() for t in tables)]
    body = "\n\n".join(parts)
    _write(path, f"{before}{_BEGIN}\n\n{body}\n\n{_END}{after}", "--write")


def _write(path: Path, text: str, option: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise UsageError(option, "a place that can be written", f"{path}: {problem.strerror}") from None


__all__ = ["Cell", "Table", "shown", "write_block", "write_json"]
