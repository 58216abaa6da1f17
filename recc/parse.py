"""From text to Syntax: the lines of a program, read one by one by the grammar in `grammar/recc.lark`.

The grammar's parser is built on first use. It is fed token by token, so that after a mistake in one
line the reading goes on with the next, and all mistakes are told at once. A hostile text is refused by
its length, its number of tokens or its nesting before anything grows with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from recc import syntax
from recc.diagnostics import Diagnostic, Note, Source, Span
from recc.errors import SourceError
from recc.mistakes import diagnose

MAX_TEXT = 256 * 1024
MAX_LINE = 64 * 1024
MAX_TOKENS = 40_000
MAX_NESTING = 100
MAX_ERRORS = 50

GRAMMAR = Path(__file__).parent / "grammar" / "recc.lark"

_CLOSES = {"LPAR": "RPAR", "LSQB": "RSQB"}
_SHOWN = {"LPAR": "(", "RPAR": ")", "LSQB": "[", "RSQB": "]"}
_STARTS = frozenset({"RECURRENCE", "INPUT", "PARAM", "CONST", "STATE", "OUTPUT", "DEF"})


#: An open bracket, and whether it opens an interval, `in (0, 1]`, whose two ends may differ.
_Opened = tuple[Any, bool]


class _KeepStrays:
    """Keeps the terminals that no rule uses: the reader needs them to say what it met."""

    always_accept = ("NEWLINE", "OPEN_STRING", "STRAY")

    def process(self, stream: Iterator[Any]) -> Iterator[Any]:
        return stream


@lru_cache(maxsize=1)
def _parser() -> Any:
    from lark import Lark

    from recc.builder import Builder

    options: dict[str, Any] = {"postlex": _KeepStrays(), "transformer": Builder()}
    return Lark(
        GRAMMAR.read_text(encoding="utf-8"),
        parser="lalr",
        lexer="basic",
        start="program",
        keep_all_tokens=True,
        maybe_placeholders=False,
        **options,
    )


def parse(source: Source) -> syntax.Program:
    """Read a program.

    Raises `SourceError` with every mistake of reading in it, in the order of the text. Nothing else is
    ever raised, whatever the text; the time is bounded by that of a text of 256 kB.
    """
    _refuse_long(source)
    reader = _Reader(source)
    program = reader.read()
    if reader.found:
        raise SourceError(source, tuple(sorted(reader.found, key=lambda d: d.span)[:MAX_ERRORS]))
    assert program is not None
    return program


def _refuse_long(source: Source) -> None:
    text = source.text
    if len(text) > MAX_TEXT:
        raise SourceError(source, (diagnose("text-too-long", Span(0, 1), size=len(text), limit=MAX_TEXT),))
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        if end - start > MAX_LINE:
            span = Span(start, start + 1)
            raise SourceError(source, (diagnose("line-too-long", span, size=end - start, limit=MAX_LINE),))
        start = end + 1


class _Reader:
    """Reads one text. `found` are the mistakes so far."""

    def __init__(self, source: Source):
        self.source = source
        self.found: list[Diagnostic] = []
        self.broken: set[int] = set()
        self.interactive = _parser().parse_interactive(source.text)

    def read(self) -> syntax.Program | None:
        lines = self._lines(self._tokens())
        if not lines:
            self.found.append(diagnose("empty-program", Span(0, 0)))
            return None
        self._feed(lines)
        if self.found:
            return None
        result = self.interactive.feed_eof()
        assert isinstance(result, syntax.Program)
        return result

    def _tokens(self) -> list[Any]:
        tokens: list[Any] = []
        for token in self.interactive.lexer_thread.lex(self.interactive.parser_state):
            tokens.append(token)
            if len(tokens) > MAX_TOKENS:
                span = Span(token.start_pos, token.end_pos)
                raise SourceError(self.source, (diagnose("program-too-long", span, limit=MAX_TOKENS),))
        return tokens

    def _lines(self, tokens: list[Any]) -> list[list[Any]]:
        """Split into statements: line ends inside brackets and blank lines go, stray marks are told."""
        from recc.misreadings import stray

        lines: list[list[Any]] = []
        line: list[Any] = []
        opened: list[_Opened] = []
        for i, token in enumerate(tokens):
            if token.type == "NEWLINE":
                if opened and not _begins_statement(tokens, i + 1, opened[-1][0]):
                    continue
                self._unclosed(opened, len(lines))
                if line:
                    lines.append([*line, token])
                    line = []
                continue
            line.append(token)
            if token.type in ("STRAY", "OPEN_STRING"):
                self._broken(len(lines), stray(self.source, token, tokens[i - 1] if i else None))
            elif token.type in _CLOSES:
                self._open(token, opened, tokens[i - 1] if i else None)
            elif token.type in ("RPAR", "RSQB"):
                self._close(token, opened, len(lines))
        self._unclosed(opened, len(lines))
        if line:
            lines.append([*line, _made("NEWLINE", "\n", line[-1].end_pos)])
        return lines

    def _open(self, token: Any, opened: list[_Opened], before: Any) -> None:
        opened.append((token, before is not None and before.type == "IN"))
        if len(opened) > MAX_NESTING:
            span = Span(token.start_pos, token.end_pos)
            raise SourceError(self.source, (diagnose("nesting-too-deep", span, limit=MAX_NESTING),))

    def _close(self, token: Any, opened: list[_Opened], line: int) -> None:
        span = Span(token.start_pos, token.end_pos)
        if not opened:
            self._broken(line, diagnose("unopened-bracket", span, bracket=str(token)))
            return
        opening, interval = opened.pop()
        wanted = _CLOSES[opening.type]
        if token.type != wanted and not interval:
            note = Note(Span(opening.start_pos, opening.end_pos), "opened here")
            found = diagnose("mismatched-bracket", span, notes=(note,), bracket=str(token), wanted=_SHOWN[wanted])
            self._broken(line, found)

    def _broken(self, line: int, diagnostic: Diagnostic) -> None:
        """Tell a mistake that keeps a line from being read, unless its line has told one already."""
        if line not in self.broken and len(self.found) <= MAX_ERRORS:
            self.found.append(diagnostic)
        self.broken.add(line)

    def _unclosed(self, opened: list[_Opened], line: int) -> None:
        if opened:
            token = opened[-1][0]
            wanted = _SHOWN[_CLOSES[token.type]]
            span = Span(token.start_pos, token.end_pos)
            self._broken(line, diagnose("unclosed-bracket", span, bracket=str(token), wanted=wanted))
            opened.clear()

    def _feed(self, lines: list[list[Any]]) -> None:
        headed = False
        unfinished = False
        for number, line in enumerate(lines):
            header = line[0].type == "RECURRENCE"
            if not header and not headed:
                span = Span(line[0].start_pos, line[0].end_pos)
                self.found.append(diagnose("missing-header", span))
                self._feed_header()
            headed = True
            fed = 0 if number in self.broken else self._feed_line(line)
            if header and fed < len(line):
                self._feed_header()
            if unfinished and fed < len(line) and line[0].type not in _STARTS and number not in self.broken:
                self.found.pop()  # the rest of the line before, which was told to be unfinished
            unfinished = fed == len(line) - 1 and self.found[-1].code in ("missing-operand", "trailing-comma")
            if len(self.found) > MAX_ERRORS:
                return

    def _feed_line(self, line: list[Any]) -> int:
        """Feed one line, and say how many tokens of it were read; after a mistake tell it and forget the line."""
        from lark import UnexpectedToken

        from recc.builder import Misread
        from recc.misreadings import explain

        state = self.interactive.parser_state
        states, values = list(state.state_stack), list(state.value_stack)
        fed = 0
        try:
            while fed < len(line):
                state.feed_token(line[fed])
                fed += 1
            return fed
        except UnexpectedToken as error:
            self.found.append(explain(self.source, line, fed, frozenset(error.expected)))
        except Misread as error:
            self.found.append(error.diagnostic)
        state.state_stack[:] = states
        state.value_stack[:] = values
        return fed

    def _feed_header(self) -> None:
        for kind, text in (("RECURRENCE", "recurrence"), ("NAME", "unnamed"), ("NEWLINE", "\n")):
            self.interactive.parser_state.feed_token(_made(kind, text, 0))


def _made(kind: str, text: str, at: int) -> Any:
    from lark import Token

    return Token(kind, text, start_pos=at, end_pos=at)


def _begins_statement(tokens: list[Any], at: int, opened: Any) -> bool:
    """Whether the line that begins at a token is a new statement, although a bracket is still open.

    It is if it begins with a keyword, or with the left side of an equation, which cannot stand inside
    a bracket: `h[t] =` nowhere, `c =` only in square brackets, where it is a named index.
    """
    if at >= len(tokens):
        return False
    if tokens[at].type in _STARTS:
        return True
    if tokens[at].type != "NAME" or at + 1 >= len(tokens):
        return False
    if tokens[at + 1].type == "EQUAL":
        return bool(opened.type == "LPAR")
    if tokens[at + 1].type != "LSQB":
        return False
    depth = 0
    for i in range(at + 1, min(at + 100, len(tokens) - 1)):
        depth += {"LSQB": 1, "RSQB": -1}.get(tokens[i].type, 0)
        if depth == 0:
            return bool(tokens[i + 1].type == "EQUAL")
        if tokens[i].type == "NEWLINE":
            return False
    return False


__all__ = ["GRAMMAR", "MAX_ERRORS", "MAX_LINE", "MAX_NESTING", "MAX_TEXT", "MAX_TOKENS", "parse"]
