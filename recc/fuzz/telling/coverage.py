"""What was compared so far: how often each combination of structure, form, backend, direction and element type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol


class Cell(Protocol):
    """One combination: what kind of stage was run how, which way in time, in which element type."""

    @property
    def structure(self) -> str:
        """The kind of a stage, `diagonal` for instance."""

    @property
    def form(self) -> str:
        """The form that ran it."""

    @property
    def backend(self) -> str:
        """The backend that ran it."""

    @property
    def direction(self) -> str:
        """Which way in time, or `forward` and `backward`."""

    @property
    def dtype(self) -> str:
        """The element type."""


@dataclass
class Coverage:
    """How many cases compared each cell, added case by case. `ways` and `types` count cases for the two tables."""

    cells: Counter[Cell] = field(default_factory=Counter)
    ways: Counter[tuple[str, str]] = field(default_factory=Counter)
    types: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, covered: Iterable[Cell]) -> int:
        """Count the cells of one case. Gives how many of them are new."""
        found = set(covered)
        new = len(found - self.cells.keys())
        self.cells.update(found)
        self.ways.update({(c.structure, f"{c.backend} {c.form}") for c in found})
        self.types.update({(f"{c.direction}, {c.dtype}", c.backend) for c in found})
        return new

    def __len__(self) -> int:
        return len(self.cells)

    def __str__(self) -> str:
        """Two tables: structures by forms and backends, directions and element types by backends."""
        if not self.cells:
            return "nothing was compared"
        ways, types = _table(self.ways, "structure"), _table(self.types, "direction, type")
        return f"{len(self)} combinations of structure, form, backend, direction and type\n\n{ways}\n\n{types}"


def _table(counts: Counter[tuple[str, str]], corner: str) -> str:
    """Counts of cases by row and column, a dot where there was none."""
    rows, columns = (sorted({key[k] for key in counts}) for k in range(2))
    # Headings of several words stand on several lines, so that many columns fit a terminal.
    words = [column.split() for column in columns]
    height = max(map(len, words))
    width = max(map(len, (corner, *rows)))
    wide = [max(len(str(counts[r, c])) for r in rows) for c in columns]
    wide = [max(w, *map(len, heading)) for w, heading in zip(wide, words, strict=True)]
    lines = []
    for line in range(height):
        parts = [h[line] if line < len(h) else "" for h in words]
        left = corner if line == height - 1 else ""
        lines.append(f"{left:<{width}}  " + "  ".join(f"{p:>{w}}" for p, w in zip(parts, wide, strict=True)))
    for row in rows:
        shown = [str(counts[row, c]) if counts[row, c] else "·" for c in columns]
        lines.append(f"{row:<{width}}  " + "  ".join(f"{s:>{w}}" for s, w in zip(shown, wide, strict=True)))
    return "\n".join(line.rstrip() for line in lines)


__all__ = ["Cell", "Coverage"]
