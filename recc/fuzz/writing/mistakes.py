"""Ill-formed programs, by mutation of well-formed ones, and whether the compiler answers them as it promises.

A mutated text may still be well-formed. If it is not, the answer is a `SourceError` that can be printed, with every
place inside the text; never another exception, and soon.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from recc.check import load
from recc.errors import SourceError

from .choose import Choices

#: A text of ordinary size is answered within so many seconds, whatever the machine is doing besides.
SECONDS = 5.0

_WORDS = re.compile(r"[A-Za-z_]\w*|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\*\*|[<>=!]=|\s+|.", re.S)
_NAME = re.compile(r"[A-Za-z_]\w*")
_ODD = (
    "\0", "\x07", "\x1b", "\x7f", "\u00a0", "\u200b", "\u2028", "\ufeff", "\u202e", "é", "−", "–", "×", "·", "≤",
    "“", "”", "'", "`", "$", "%", "&", "|", "~", "^", "@", "?", ";", ":", ".", "{", "}", "\\", '"', "#", "²", "½",
    "α", "∑", "😀", "\ud800",
)  # fmt: skip
_ALIKE = {
    "a": "а", "e": "е", "o": "о", "p": "р", "c": "с", "x": "х", "i": "і", "t": "т", "h": "һ", "s": "ѕ", "1": "１",
    "(": "（", ")": "）", "[": "［", "=": "＝", "-": "‐", "*": "∗", ",": "‚", " ": "\u2003", "d": "ԁ", "n": "ո",
}  # fmt: skip
_VOCABULARY = (
    "input", "param", "const", "state", "output", "def", "recurrence", "over", "and", "or", "not", "in", "unit", "int",
    "bool", "complex", "inf", "t", "x", "0", "1", "2.5", "1e400", "1e-400", "(", ")", "[", "]", ",", "=", "==", "<",
    "<=", "+", "-", "*", "/", "**", "#", "\n", "\\\n", "sum", "max", "where", "solve", "softmax", "stop", "wrap",
    "zero",
)  # fmt: skip
_NUMBERS = (
    "1e999",
    "00",
    "1_000",
    "0x1f",
    "1j",
    "1..2",
    "1e",
    "-",
    "99999999999999999999",
    "1.",
    ".",
    "t",
    "-1",
    "257",
)
_NEWLINES = ("\r", "\r\n", "\f", "\v", "\u2028", "\n\n", "\\\n", "")
_EMPTY = ("", "\n", " ", "#", "\ufeff", "recurrence", "recurrence f", "recurrence f\n", "recurrence f(", '"doc"\n')


Mutation = Callable[[str, Choices], str]


@dataclass(frozen=True)
class Mutant:
    """A mutated text, with the kinds of what was done to it."""

    text: str
    kinds: tuple[str, ...]


def broken(text: str, choices: Choices) -> Mutant:
    """A text with one mutation or a few; the first is the plainest."""
    kinds = []
    for _ in range(choices.weighted(((6, 1), (2, 2), (1, 4)))):
        make = choices.pick(MUTATIONS)
        text = make(text, choices)
        kinds.append(make.__name__.strip("_").replace("_", " "))
    return Mutant(text, tuple(kinds))


# Mutations -------------------------------------------------------------------------------------------


def _drop(text: str, by: Choices) -> str:
    return _with_piece(text, by, lambda piece: "")


def _double(text: str, by: Choices) -> str:
    return _with_piece(text, by, lambda piece: piece + piece)


def _replace(text: str, by: Choices) -> str:
    return _with_piece(text, by, lambda piece: by.pick(_VOCABULARY))


def _insert(text: str, by: Choices) -> str:
    return _with_piece(text, by, lambda piece: f"{by.pick(_VOCABULARY)} {piece}")


def _swap(text: str, by: Choices) -> str:
    pieces = _WORDS.findall(text)
    if len(pieces) > 1:
        a, b = (by.integer(0, len(pieces) - 1) for _ in range(2))
        pieces[a], pieces[b] = pieces[b], pieces[a]
    return "".join(pieces)


def _exchange_names(text: str, by: Choices) -> str:
    """One name is written where another was: wrong axes, an axis for a value, a state for an input."""
    names = sorted(set(_NAME.findall(text)))
    return _at_match(_NAME, text, by, lambda found: by.pick(names))


def _unknown_name(text: str, by: Choices) -> str:
    return _at_match(_NAME, text, by, lambda found: found + by.pick(("q", "_", "0", "_lag1")))


def _lost_reduction(text: str, by: Choices) -> str:
    return _at_match(re.compile(r"\w+\[[\w, ]+\](?=\()"), text, by, lambda found: "")


def _other_axes(text: str, by: Choices) -> str:
    def exchanged(found: str) -> str:
        items = by.shuffled([*found[1:-1].split(","), *(("t",) if by.chance(0.3) else ())])
        return f"[{','.join(items[: -1 if by.chance(0.3) else None])}]"

    return _at_match(re.compile(r"\[[^\[\]\n]*\]"), text, by, exchanged)


def _arity(text: str, by: Choices) -> str:
    return _at_match(re.compile(r"(?<=\w)\("), text, by, lambda found: by.pick(("(1, ", "(", "((", "(,", "()(")))


def _same_step(text: str, by: Choices) -> str:
    """A lag is lost or turned round: a cycle within a step, or both directions at once."""
    lag = re.compile(r"\[t ?[-+] ?\d+")
    return _at_match(
        lag, text, by, lambda found: by.pick(("[t", "[t+1", "[t-1", "[t-300", "[t*2", "[-t", "[t-1.5", "[0"))
    )


def _lost_time(text: str, by: Choices) -> str:
    return _at_match(re.compile(r"\[t\]"), text, by, lambda found: by.pick(("", "[]", "[t", "t]", "[t][t]", "[t, t]")))


def _bracket(text: str, by: Choices) -> str:
    return _at_match(re.compile(r"[()\[\]]"), text, by, lambda found: by.pick(("", "(", ")", "[", "]", "((", "{")))


def _odd_character(text: str, by: Choices) -> str:
    at = by.integer(0, len(text))
    return text[:at] + by.pick(_ODD) + text[at:]


def _look_alike(text: str, by: Choices) -> str:
    places = [k for k, c in enumerate(text) if c in _ALIKE]
    if not places:
        return text
    at = by.pick(places)
    return text[:at] + _ALIKE[text[at]] + text[at + 1 :]


def _number(text: str, by: Choices) -> str:
    return _at_match(re.compile(r"\d+(?:\.\d*)?"), text, by, lambda found: by.pick(_NUMBERS))


def _newline(text: str, by: Choices) -> str:
    return _at_match(re.compile(r"\n"), text, by, lambda found: by.pick(_NEWLINES))


def _lines(text: str, by: Choices) -> str:
    lines = text.split("\n")
    a, b = (by.integer(0, len(lines) - 1) for _ in range(2))
    kind = by.integer(0, 3)
    if kind == 0:
        del lines[a]
    elif kind == 1:
        lines.insert(b, lines[a])
    elif kind == 2:
        lines[a], lines[b] = lines[b], lines[a]
    else:
        lines[a] += " " + lines[b]
    return "\n".join(lines)


def _domain(text: str, by: Choices) -> str:
    wrong = (
        "in [1, 0]",
        "in (0, 0)",
        "unit",
        "bool",
        "complex",
        "int(n)",
        "<= inf",
        "< x",
        ">= 1 <= 0",
        "in [0",
        "== 1",
    )
    return _at_match(
        re.compile(r"(in [\[(][^\])]*[\])]|[<>]=? -?[\d.]+|unit|bool|complex)"), text, by, lambda f: by.pick(wrong)
    )


def _deep(text: str, by: Choices) -> str:
    """An expression is put inside many brackets, signs or calls; sometimes more than the limits allow."""
    depth = by.pick((3, 50, 99, 101, 150, 250))
    opening, closing = by.pick(
        (("(", ")"), ("-", ""), ("exp(", ")"), ("not ", ""), ("2 ** ", ""), ("x[", "]"), ("1 + (", ")"))
    )
    return _at_match(re.compile(r"(?<= = )[^\n#]+"), text, by, lambda found: opening * depth + found + closing * depth)


def _long(text: str, by: Choices) -> str:
    """A line becomes very long."""
    count = by.pick((10, 100, 1000, 20_000))
    more = by.pick((" + 1", " * x[t]", " " * 4, ", 1", "9", "#"))
    return _at_match(re.compile(r"(?<= = )[^\n#]+"), text, by, lambda found: found + more * count)


def _cut_off(text: str, by: Choices) -> str:
    return text[: by.integer(0, len(text))]


def _empty(text: str, by: Choices) -> str:
    return by.pick(_EMPTY)


def _twice(text: str, by: Choices) -> str:
    return text + text if by.chance(0.5) else text + "recurrence other\n" + text.partition("\n")[2]


def _cycle(text: str, by: Choices) -> str:
    """Two intermediates that need each other, or definitions that call each other."""
    more = by.pick((
        "    c1[t] = c2[t]\n    c2[t] = c1[t]\n    output c3[t] = c1[t]\n",
        "    c1 = c2\n    c2 = c1\n    output c3[t] = c1\n",
        "    def c1(z) = c2(z)\n    def c2(z) = c1(z)\n    output c3[t] = c1(1)\n",
        "    state c1\n    c1[t] = c1[t-1] + c1[t+1]\n    output c3[t] = c1[t]\n",
        "    const c1 = c1\n",
    ))  # fmt: skip
    return text.rstrip("\n") + "\n" + more


#: Every mutation, the plainest first.
MUTATIONS: tuple[Mutation, ...] = (
    _drop, _double, _replace, _insert, _swap, _exchange_names, _unknown_name, _lost_reduction, _other_axes, _arity,
    _same_step, _lost_time, _bracket, _odd_character, _look_alike, _number, _newline, _lines, _domain, _deep, _long,
    _cut_off, _empty, _twice, _cycle,
)  # fmt: skip


def _with_piece(text: str, by: Choices, change: Callable[[str], str]) -> str:
    pieces = _WORDS.findall(text)
    if pieces:
        at = by.integer(0, len(pieces) - 1)
        pieces[at] = change(pieces[at])
    return "".join(pieces)


def _at_match(pattern: re.Pattern[str], text: str, by: Choices, change: Callable[[str], str]) -> str:
    places = list(pattern.finditer(text))
    if not places:
        return text
    found = by.pick(places)
    return text[: found.start()] + change(found.group()) + text[found.end() :]


# Answers ---------------------------------------------------------------------------------------------


def complaint(text: str, seconds: float = SECONDS) -> str | None:
    """What is wrong with how the compiler answers a text: `None` if it does as it promises.

    It gives the recurrences, which can be printed and read again, or a `SourceError` whose places are inside the
    text, within some seconds of processor time.
    """
    begun = time.process_time()
    try:
        found = _answer(text)
    except Exception as error:  # noqa: BLE001  (whatever it is, it is what is looked for)
        return f"{type(error).__name__}: {error}"
    spent = time.process_time() - begun
    return f"it took {spent:.1f} s" if found is None and spent > seconds else found


def _answer(text: str) -> str | None:
    try:
        read = load(text)
    except SourceError as error:
        return _places(text, error)
    for rec in read:
        try:
            (again,) = load(str(rec))
        except SourceError as error:
            return f"the printed program is refused: {error}"
        if again.equations != rec.equations:
            return "the printed program is another one"
    return None


def _places(text: str, error: SourceError) -> str | None:
    if not error.diagnostics:
        return "an error that says nothing"
    if not str(error).startswith("error["):
        return "an error that does not begin with its code"
    for found in error.diagnostics:
        for span in (found.span, *(note.span for note in found.notes)):
            if not 0 <= span.start <= span.end <= len(text) + 1:
                return f"{found.code} at {span.start} to {span.end}, in a text of {len(text)} characters"
    return None


__all__ = ["MUTATIONS", "SECONDS", "Mutant", "Mutation", "broken", "complaint"]
