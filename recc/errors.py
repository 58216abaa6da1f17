"""The errors that users meet, by who must act on them.

`SourceError`: the program is wrong. `UsageError`: the call is wrong. `Unsupported`: the form or the
backend cannot do this program, and says what can. `InternalError`: recc is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

from recc.diagnostics import Diagnostic, Source, Span, render


@dataclass(frozen=True)
class Refusal:
    """Why a form or a backend does not apply: a value, not an exception.

    `what` names the form or backend, `reason` says why it does not apply, `span` points at the
    term of the program that decided it (if one did), `instead` says what can be used.
    """

    what: str
    reason: str
    instead: str = ""
    span: Span | None = None

    def __str__(self) -> str:
        tail = f"; {self.instead}" if self.instead else ""
        return f"{self.what} does not apply: {self.reason}{tail}"


class ReccError(Exception):
    """The base of every error that recc raises on purpose."""


class SourceError(ReccError):
    """The program is not well formed. `diagnostics` has every message, in the order of the text."""

    def __init__(self, source: Source, diagnostics: tuple[Diagnostic, ...]):
        self.source = source
        self.diagnostics = diagnostics
        super().__init__(source, diagnostics)

    def __str__(self) -> str:
        parts = [render(self.source, d) for d in self.diagnostics]
        count = len(parts)
        if count > 1:
            parts.append(f"{count} errors in {self.source.name}")
        return "\n\n".join(parts)


class UsageError(ReccError):
    """The call is wrong: which argument, what was expected, what came, what to do."""

    def __init__(self, argument: str, expected: str, actual: str, help: str = ""):
        self.argument = argument
        self.expected = expected
        self.actual = actual
        self.help = help
        super().__init__(argument, expected, actual, help)

    def __str__(self) -> str:
        text = f"{self.argument}: expected {self.expected}, got {self.actual}"
        return f"{text}\n  help: {self.help}" if self.help else text


class Unsupported(ReccError):
    """A form or backend was asked for that does not apply here. `refusal` says why."""

    def __init__(self, refusal: Refusal):
        self.refusal = refusal
        super().__init__(refusal)

    def __str__(self) -> str:
        return str(self.refusal)


class InternalError(ReccError):
    """recc itself is wrong. Says so, and where the material for a report lies."""

    def __init__(self, what: str, dump: str = ""):
        self.what = what
        self.dump = dump
        super().__init__(what, dump)

    def __str__(self) -> str:
        text = f"this is a bug in recc, not in your program: {self.what}"
        return f"{text}\n  the emitted source and the compiler's output are in {self.dump}" if self.dump else text


__all__ = ["InternalError", "ReccError", "Refusal", "SourceError", "Unsupported", "UsageError"]
