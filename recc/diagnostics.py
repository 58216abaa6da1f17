"""Where something is in the user's text, and how a message about it is shown.

This module knows nothing of recurrences: it has the text (`Source`), a place in it (`Span`), a
message about a place (`Diagnostic`), and the renderer that puts carets under the user's own line.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True, order=True)
class Span:
    """A half-open range of character offsets `[start, end)` in a source text."""

    start: int
    end: int

    def to(self, other: Span) -> Span:
        """The smallest span that covers both."""
        return Span(min(self.start, other.start), max(self.end, other.end))


NOWHERE = Span(0, 0)


@dataclass(frozen=True)
class Source:
    """A program's text with the name it is shown under (a path, or `<text>`)."""

    text: str
    name: str = "<text>"

    @cached_property
    def line_starts(self) -> tuple[int, ...]:
        """The offset at which each line begins."""
        starts = [0]
        starts.extend(i + 1 for i, c in enumerate(self.text) if c == "\n")
        return tuple(starts)

    def position(self, offset: int) -> tuple[int, int]:
        """The line and column, both from 1, of an offset."""
        offset = max(0, min(offset, len(self.text)))
        line = bisect_right(self.line_starts, offset)
        return line, offset - self.line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a line, from 1, without its end."""
        start = self.line_starts[number - 1]
        stop = self.line_starts[number] - 1 if number < len(self.line_starts) else len(self.text)
        return self.text[start:stop].rstrip("\r")

    def slice(self, span: Span) -> str:
        """The text that a span covers."""
        return self.text[span.start : span.end]


@dataclass(frozen=True)
class Note:
    """A second place worth showing with a message, and what is there."""

    span: Span
    text: str


@dataclass(frozen=True)
class Diagnostic:
    """One message about one place: what is wrong, where, why, and what to do next.

    `code` is stable and has its own page in `docs/errors.md`; `message` says what; `label` stands
    beside the carets; `why` gives the rule that was broken; `help` says what to write instead.
    """

    code: str
    message: str
    span: Span
    label: str = ""
    why: str = ""
    help: str = ""
    notes: tuple[Note, ...] = field(default=())


_WIDEST = 120


def render(source: Source, diagnostic: Diagnostic) -> str:
    """Show a diagnostic with carets under the text it is about.

    Lines longer than 120 characters are shown around the carets only, with an ellipsis.
    """
    line, column = source.position(diagnostic.span.start)
    places = [(diagnostic.span, diagnostic.label, "^")]
    places += [(note.span, note.text, "-") for note in diagnostic.notes]
    gutter = max(len(str(source.position(span.start)[0])) for span, _, _ in places)
    out = [f"error[{diagnostic.code}]: {diagnostic.message}"]
    out.append(f"{' ' * gutter}--> {source.name}:{line}:{column}")
    out.append(f"{' ' * gutter} |")
    for span, label, mark in places:
        out.extend(_excerpt(source, span, label, mark, gutter))
    for name, text in (("why", diagnostic.why), ("help", diagnostic.help)):
        for i, part in enumerate(text.split("\n") if text else ()):
            head = f"= {name}: " if i == 0 else " " * (len(name) + 4)
            out.append(f"{' ' * gutter} {head}{part}")
    return "\n".join(out)


def _excerpt(source: Source, span: Span, label: str, mark: str, gutter: int) -> list[str]:
    number, column = source.position(span.start)
    text = "".join(
        c if c.isprintable() else (" " if c == "\t" else "\N{REPLACEMENT CHARACTER}") for c in source.line(number)
    )
    first = column - 1
    width = max(1, min(span.end - span.start, len(text) - first))
    if len(text) > _WIDEST:
        left = max(0, first - _WIDEST // 3)
        right = min(len(text), left + _WIDEST)
        width = max(1, min(width, right - first))
        head, tail = ("…" if left else ""), ("…" if right < len(text) else "")
        text, first = head + text[left:right] + tail, first - left + len(head)
    carets = f"{' ' * gutter} | {' ' * first}{mark * width}"
    return [f"{number:>{gutter}} | {text}", f"{carets} {label}".rstrip()]


__all__ = ["NOWHERE", "Diagnostic", "Note", "Source", "Span", "render"]
