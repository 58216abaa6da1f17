"""The collector of a check's mistakes: all of them, each once."""

from __future__ import annotations

from recc.diagnostics import Diagnostic, Note, Span
from recc.mistakes import diagnose

MAX_ERRORS = 50


class TooMany(Exception):
    """Raised to end a check that has nothing more to gain: after 50 mistakes, or one that bounds the work."""


class Errors:
    """Collects diagnostics. The same code at the same place is told once."""

    def __init__(self) -> None:
        self.found: list[Diagnostic] = []
        self._seen: set[tuple[str, Span]] = set()

    def __bool__(self) -> bool:
        return bool(self.found)

    def add(
        self,
        code: str,
        span: Span,
        *,
        notes: tuple[Note, ...] = (),
        label: str | None = None,
        help: str | None = None,
        **words: object,
    ) -> None:
        """Collect a mistake from the tables. Raises `TooMany` after the fiftieth."""
        if (code, span) in self._seen:
            return
        self._seen.add((code, span))
        self.found.append(diagnose(code, span, notes=notes, label=label, help=help, **words))
        if len(self.found) >= MAX_ERRORS:
            raise TooMany

    def fatal(self, code: str, span: Span, limit: int) -> TooMany:
        """Collect a mistake after which going on would cost too much: `raise errors.fatal(…)`."""
        self.add(code, span, limit=limit)
        return TooMany()


__all__ = ["MAX_ERRORS", "Errors", "TooMany"]
