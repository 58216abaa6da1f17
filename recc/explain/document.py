"""What an explanation is made of: sections of paragraphs, equations, tables, excerpts and pictures.

Text in paragraphs and cells marks code by backticks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from recc.diagnostics import NOWHERE, Source, Span
from recc.explain.notation import Equation, Node

Cell = str | Node


@dataclass(frozen=True)
class Paragraph:
    """A few sentences."""

    text: str


@dataclass(frozen=True)
class Equations:
    """Equations under one another, after a sentence that leads to them."""

    equations: tuple[Equation, ...]
    lead: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells. `code` are columns of code; a terminal shows `heads` if the table is `headed`."""

    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    code: tuple[int, ...] = ()
    headed: bool = False


@dataclass(frozen=True)
class Listing:
    """Lines of code."""

    text: str
    title: str = ""


@dataclass(frozen=True)
class Excerpt:
    """The user's own line with carets under a span of it."""

    source: Source
    span: Span
    label: str = ""

    @property
    def shown(self) -> tuple[int, str, int, int] | None:
        """The number of the line, its text, and where in it the carets begin and how many there are."""
        if self.span == NOWHERE:
            return None
        number, column = self.source.position(self.span.start)
        line = "".join(c if c.isprintable() else " " for c in self.source.line(number))
        width = max(1, min(self.span.end - self.span.start, len(line) - column + 1))
        trimmed = len(line) - len(line.lstrip())
        return number, line.strip(), column - 1 - trimmed, width


class NoPicture(Exception):
    """There is nothing to draw. `args[0]` says why."""


@dataclass(frozen=True)
class Figure:
    """A picture, drawn when a page is written. `draw` gives SVG with a title of its own, or raises `NoPicture`."""

    title: str
    caption: str
    draw: Callable[[], str]


@dataclass(frozen=True)
class Item:
    """A part of a section with a heading of its own."""

    head: str
    blocks: tuple[Block, ...]


Block = Paragraph | Equations | Table | Listing | Excerpt | Figure | Item


@dataclass(frozen=True)
class Section:
    """A part of the page. `on_page` says that a terminal does not show it."""

    title: str
    blocks: tuple[Block, ...]
    on_page: bool = False


__all__ = [
    "Block", "Cell", "Equations", "Excerpt", "Figure", "Item", "Listing", "NoPicture", "Paragraph", "Section", "Table",
]  # fmt: skip
