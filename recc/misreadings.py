"""What a line that does not follow the grammar most likely meant, in the user's words."""

from __future__ import annotations

import unicodedata
from typing import Any

from recc.diagnostics import Diagnostic, Note, Source, Span
from recc.mistakes import diagnose, did_you_mean

STATEMENTS = ("input", "param", "const", "state", "output", "def", "recurrence")
_STARTS = frozenset(word.upper() for word in STATEMENTS)
_OPERATORS = frozenset({"PLUS", "MINUS", "STAR", "SLASH", "POWER", "COMPARE", "AND", "OR", "NOT", "EQUAL", "IN"})
_ARITHMETIC = frozenset({"PLUS", "MINUS", "STAR", "SLASH", "POWER"})
_DECLARES = frozenset({"INPUT", "PARAM", "CONST", "STATE", "RECURRENCE"})
_WORDS = frozenset({"OVER", "IN", "AND", "OR", "NOT"})
_ENDS_OPERAND = frozenset({"NAME", "NUMBER", "RPAR", "RSQB", "STRING"})

#: Words of other languages that people reach for, and what does the same here.
_FOREIGN = {
    "if": "`where(condition, a, b)` chooses between two values",
    "else": "`where(condition, a, b)` chooses between two values",
    "elif": "`where(condition, a, b)` chooses between two values",
    "then": "`where(condition, a, b)` chooses between two values",
    "for": "an equation holds for every step and every element; `sum[i](…)` runs over an axis",
    "while": "an equation holds for every step; there are no loops to write",
    "return": "`output y[t] = …` gives a result",
    "is": "`==` compares",
    "let": "an equation has no word before it: `a = …`",
    "var": "an equation has no word before it: `a = …`",
    "xor": "`a != b` is the exclusive or of two truth values",
    "lambda": "`def f(x) = …` defines a function",
    "where": "`where(condition, a, b)` is a function of three arguments",
}

_SYMBOLS = {
    "×": "*", "·": "*", "⋅": "*", "∙": "*", "⊙": "*", "⊗": "*", "∗": "*", "÷": "/", "−": "-", "–": "-", "—": "-",
    "≤": "<=", "≥": ">=", "≠": "!=", "∞": "inf", "√": "sqrt(x)", "∑": "sum[i](x)", "Σ": "sum[i](x)",
    "∏": "prod[i](x)", "²": "**2", "³": "**3", "∧": "and", "∨": "or", "¬": "not x", "←": "=", "→": "=", "≔": "=",
}  # fmt: skip


def stray(source: Source, token: Any, before: Any) -> Diagnostic:
    """The mistake of a mark that is no part of the language."""
    text, span = str(token), _at(token)
    if token.type == "OPEN_STRING":
        return diagnose("unterminated-string", span)
    if text in _SYMBOLS:
        return diagnose("mathematical-symbol", span, symbol=text, instead=_SYMBOLS[text])
    if text in "\"'`´“”„‟‘’‚‛«»":
        return diagnose("wrong-quotes", span, mark=text)
    if text in "&|!~":
        doubled = source.text[token.end_pos : token.end_pos + 1] == text
        span = Span(span.start, span.end + 1) if doubled else span
        word = {"&": "and", "|": "or"}.get(text, "not")
        return diagnose("logical-symbol", span, symbol=text * 2 if doubled else text, word=word)
    if text in _MARKS:
        return diagnose(_MARKS[text], span, mark=text)
    if text.isalpha() or unicodedata.category(text[0]) in ("Mn", "Mc", "Nd", "No"):
        return _foreign_letters(source, token)
    if not text.isprintable() or text.isspace() or unicodedata.category(text[0]) in ("Zs", "Cf"):
        name = unicodedata.name(text, "") or "a control character"
        return diagnose("invisible-character", span, point=f"U+{ord(text[0]):04X}", name=name.lower())
    return diagnose("unexpected-character", span, character=text)


_MARKS = {
    "^": "caret-power", ";": "semicolon", "{": "braces", "}": "braces", "\\": "lonely-backslash",
    "%": "no-such-operator", "@": "no-such-operator", ":": "colon", ".": "dot",
}  # fmt: skip


def _foreign_letters(source: Source, token: Any) -> Diagnostic:
    start, end = token.start_pos, token.end_pos
    text = source.text
    while start > 0 and end - start < 60 and (text[start - 1].isalnum() or text[start - 1] == "_"):
        start -= 1
    while end < len(text) and end - start < 60 and (text[end].isalnum() or text[end] == "_"):
        end += 1
    plain = "".join(_spelt(c) for c in text[start:end])
    help = f"write `{plain}`" if plain.isidentifier() else None
    return diagnose("letters-of-names", Span(start, end), help=help, letter=str(token))


def _spelt(letter: str) -> str:
    """A letter in ASCII: a Greek one by its name, an accented one without its accent."""
    if letter.isascii():
        return letter
    name = unicodedata.name(letter, "")
    if name.startswith("GREEK") and " LETTER " in name and "WITH" not in name:
        word = name.rsplit(" ", 1)[-1].lower().replace("lamda", "lam")
        return word.capitalize() if "CAPITAL" in name else word
    return unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()


def explain(source: Source, line: list[Any], at: int, expected: frozenset[str]) -> Diagnostic:
    """The mistake of a line whose token `at` cannot stand there, although all before it can."""
    token = line[at]
    before = line[at - 1] if at else None
    found = None
    if at == 0:
        found = _statement_start(line)
    elif token.type == "NEWLINE":
        found = _line_end(line, before)
    elif token.type in _ARITHMETIC and _on_the_left(line, at):
        found = _no_left_side(line)
        if line[at + 1].type == "EQUAL" and _adjacent(token, line[at + 1]):
            found = diagnose("augmented-assignment", _at(token).to(_at(line[at + 1])), op=str(token))
    elif token.type == "EQUAL":
        found = _equals(line, at, before)
    elif token.type == "COMPARE":
        found = _comparison(line, at, before)
    elif token.type in _STARTS or token.type in _WORDS:
        found = _keyword(token, before, expected)
    elif token.type == "NAME" or token.type == "NUMBER":
        found = _operand(line, at, before)
    elif token.type == "STRING":
        found = diagnose("misplaced-string", _at(token))
    elif token.type in ("LPAR", "LSQB"):
        found = _opening(line, at, before)
    elif token.type in ("RPAR", "RSQB", "COMMA"):
        found = _closing(line, at, before)
    else:
        found = _no_operand(line, at, before)
    if found is not None:
        return found
    if at == 1 and line[0].type == "RECURRENCE":
        return diagnose("header-name", _at(token), token=_shown(token))
    return diagnose("unexpected", _at(token), token=_shown(token), expected=_in_words(expected))


def _at(token: Any) -> Span:
    return Span(token.start_pos, token.end_pos)


def _shown(token: Any) -> str:
    text = str(token)
    return text if len(text) <= 30 else text[:30] + "…"


def _adjacent(left: Any, right: Any) -> bool:
    return bool(left.end_pos == right.start_pos)


def _nesting(line: list[Any], at: int) -> list[int]:
    """The places of the brackets that are open before a token."""
    opened: list[int] = []
    for i in range(at):
        if line[i].type in ("LPAR", "LSQB"):
            opened.append(i)
        elif line[i].type in ("RPAR", "RSQB") and opened:
            opened.pop()
    return opened


def _on_the_left(line: list[Any], at: int) -> bool:
    """Whether a token stands where the left side of an equation, or its `=`, should."""
    return (
        line[0].type in ("NAME", "OUTPUT") and not _nesting(line, at) and not any(t.type == "EQUAL" for t in line[:at])
    )


def _statement_start(line: list[Any]) -> Diagnostic:
    token = line[0]
    if token.type == "STRING":
        return diagnose("misplaced-string", _at(token))
    if token.type in ("NUMBER", "LPAR"):
        return _no_left_side(line)
    return diagnose("statement-start", _at(token), token=_shown(token))


def _no_left_side(line: list[Any]) -> Diagnostic:
    """A line that begins with an expression: with a `=` behind it, or without one."""
    for i, token in enumerate(line):
        if token.type == "EQUAL" and not _nesting(line, i):
            return diagnose("left-side-expression", _at(line[0]).to(_at(line[i - 1])))
    return diagnose("no-equals", _at(line[0]).to(_at(line[-2])))


def _line_end(line: list[Any], before: Any) -> Diagnostic | None:
    after = Span(before.end_pos, before.end_pos + 1)
    if before.type == "COMMA":
        return diagnose("trailing-comma", _at(before))
    if before.type in _OPERATORS:
        return diagnose("missing-operand", after, after=_shown(before))
    if any(token.type == "EQUAL" for token in line):
        return None
    start = _at(line[0]).to(_at(before))
    if line[0].type == "OUTPUT" and len(line) > 2:
        return diagnose("output-without-equation", start)
    if line[0].type == "NAME":
        if len(line) == 2:
            help = did_you_mean(str(line[0]), STATEMENTS)
            return diagnose("no-equals", start, help=help or None)
        return diagnose("no-equals", start)
    if line[0].type in _STARTS:
        return diagnose("unfinished-statement", after, keyword=str(line[0]))
    return None


def _equals(line: list[Any], at: int, before: Any) -> Diagnostic | None:
    token = line[at]
    if before.type == "COMPARE":
        return diagnose("no-such-operator", _at(before).to(_at(token)), mark=f"{before}=")
    if before.type == "EQUAL":
        return diagnose("missing-operand", _at(token), after="=")
    opened = _nesting(line, at)
    if opened:
        return diagnose("single-equals", _at(token))
    first = next((t for t in line[:at] if t.type == "EQUAL"), None)
    if first is not None:
        note = Note(_at(first), "the first `=`")
        return diagnose("second-equals", _at(token), notes=(note,))
    return _no_left_side(line) if line[0].type == "NAME" else None


def _comparison(line: list[Any], at: int, before: Any) -> Diagnostic | None:
    token = line[at]
    equals = any(t.type == "EQUAL" for t in line[:at])
    statement = line[0].type in ("NAME", "OUTPUT", "DEF")
    if not equals and statement and not _nesting(line, at):
        if str(token) == "==":
            return diagnose("double-equals", _at(token))
        return diagnose("no-equals", _at(line[0]).to(_at(token)))
    if before.type in _OPERATORS or before.type in ("COMMA", "LPAR", "LSQB"):
        return _no_operand(line, at, before)
    opened = _nesting(line, at)
    start = opened[-1] if opened else 0
    for i in range(at - 1, start, -1):
        if line[i].type == "COMPARE" and _nesting(line, i) == opened:
            note = Note(_at(line[i]), "the first comparison")
            return diagnose("chained-comparison", _at(token), notes=(note,))
    return None


def _keyword(token: Any, before: Any, expected: frozenset[str]) -> Diagnostic | None:
    word = str(token)
    if token.type == "NOT":
        return diagnose("not-needs-brackets", _at(token)) if before.type in _OPERATORS else None
    if before.type in _OPERATORS and token.type in ("AND", "OR"):
        return diagnose("missing-operand", Span(before.end_pos, before.end_pos + 1), after=_shown(before))
    if token.type in _STARTS and before.type in _ENDS_OPERAND:
        return diagnose("two-statements", _at(token), word=word)
    if "NAME" in expected:
        return diagnose("keyword-as-name", _at(token), word=word)
    return None


def _operand(line: list[Any], at: int, before: Any) -> Diagnostic | None:
    """A name or a number where an operator or the end of the line was expected."""
    token, text = line[at], str(line[at])
    if text in _FOREIGN:
        return diagnose("foreign-word", _at(token), word=text, help=_FOREIGN[text])
    if before.type == "NUMBER" and _adjacent(before, token):
        whole = _at(before).to(_at(token))
        if token.type == "NUMBER" or text[0] in "xXbBoO_eE":
            return diagnose("number-format", whole, text=f"{before}{text}"[:40])
        if text in ("j", "J", "i", "im"):
            return diagnose("imaginary-number", whole)
        return _missing_operator(before, token)
    if at == 1 and line[0].type == "NAME":
        word = str(line[0])
        if word in _FOREIGN:
            return diagnose("foreign-word", _at(line[0]), word=word, help=_FOREIGN[word])
        help = did_you_mean(word.lower(), STATEMENTS)
        return diagnose("unknown-statement", _at(line[0]), help=help or None, word=word)
    if line[0].type in _DECLARES and not any(t.type == "EQUAL" for t in line[:at]):
        listed = _nesting(line, at) and before.type in ("NAME", "NUMBER")
        return diagnose("missing-comma", _at(token), name=text) if listed else None
    if before.type in _ENDS_OPERAND:
        return _missing_operator(before, token)
    return None


def _opening(line: list[Any], at: int, before: Any) -> Diagnostic | None:
    token = line[at]
    if line[0].type in _DECLARES and not any(t.type == "EQUAL" for t in line[:at]) and before.type == "NAME":
        if token.type == "LSQB":
            return diagnose("missing-comma", _at(before), name=str(before))
        return None
    if token.type == "LSQB":
        if before.type in _ENDS_OPERAND:
            return diagnose("indexed-expression", _at(token))
        return diagnose("list", _at(token))
    if before.type in _ENDS_OPERAND:
        return _missing_operator(before, token)
    return None


def _missing_operator(before: Any, token: Any) -> Diagnostic:
    left, right = _shown(before), _shown(token)
    named = before.type in ("NAME", "NUMBER") and token.type in ("NAME", "NUMBER")
    help = f"write `{left} * {right}`" if named else "write `*` between them"
    return diagnose("missing-operator", _at(before).to(_at(token)), help=help, left=left, right=right)


def _closing(line: list[Any], at: int, before: Any) -> Diagnostic | None:
    token = line[at]
    if token.type == "COMMA" and before.type in _ENDS_OPERAND:
        opened = _nesting(line, at)
        grouped = not opened or (line[opened[-1]].type == "LPAR" and line[opened[-1] - 1].type not in _ENDS_OPERAND)
        return diagnose("comma-in-equation", _at(token)) if grouped else None
    if before.type in ("LPAR", "LSQB") and token.type != "COMMA":
        return diagnose("empty-brackets", _at(before).to(_at(token)), brackets=f"{before}{token}")
    if before.type == "COMMA" and token.type != "COMMA":
        return diagnose("trailing-comma", _at(before))
    return _no_operand(line, at, before)


def _no_operand(line: list[Any], at: int, before: Any) -> Diagnostic | None:
    """An operator, a comma or an open bracket with nothing after it."""
    token = line[at]
    if before.type == "SLASH" and token.type == "SLASH" and _adjacent(before, token):
        return diagnose("no-such-operator", _at(before).to(_at(token)), mark="//")
    if before.type in _OPERATORS or before.type in ("COMMA", "LPAR", "LSQB"):
        return diagnose("missing-operand", _at(token), after=_shown(before))
    return None


_NAMES = {
    "LPAR": "`(`", "RPAR": "`)`", "LSQB": "`[`", "RSQB": "`]`", "COMMA": "`,`", "EQUAL": "`=`", "STRING": "a string",
    "OVER": "`over`", "NEWLINE": "the end of the line", "NAME": "a name", "NUMBER": "a number", "IN": "`in`",
    "RECURRENCE": "`recurrence`", "COMPARE": "a comparison",
}  # fmt: skip


def _in_words(expected: frozenset[str]) -> str:
    """What could have stood there, in few words."""
    words: list[str] = []
    left = set(expected)
    if {"NAME", "NUMBER", "LPAR"} <= left:
        words.append("an expression")
        left -= {"NAME", "NUMBER", "LPAR", "PLUS", "MINUS", "NOT"}
    if left & {"PLUS", "STAR", "POWER"}:
        words.append("an operator")
        left -= {"PLUS", "MINUS", "STAR", "SLASH", "POWER", "COMPARE", "AND", "OR", "NOT"}
    if left & _STARTS and "NAME" in left:
        words.append("a statement")
        left -= _STARTS | {"NAME"}
    words += [_NAMES[name] for name in _NAMES if name in left]
    if not words:
        return "something else"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


__all__ = ["STATEMENTS", "explain", "stray"]
