"""Makes `docs/errors.md`: every mistake with what is said of it and a program that makes it."""

from __future__ import annotations

from pathlib import Path

from recc.check import load
from recc.errors import SourceError
from recc.mistakes import Mistake, chapters

HERE = Path(__file__).parent

INTRO = """\
# The mistakes that a program can have

Every message has a code, in brackets after the word `error`, and its section on this page. A message says
what is wrong, shows where (carets under the text it is about, dashes under what it has to do with), why it is
a rule, and what to write instead. A program is checked as a whole: all of its mistakes are told at once, and
none that only follows from another.

In Python a program with mistakes raises `recc.SourceError`, whose `diagnostics` are the messages as data; on the
command line `recc check FILE` prints them. The words in braces below stand for words of your program. This page is
made from the tables in `recc/mistakes/` and the programs in `tests/errors/` by `make docs`.
"""


def errors_page() -> str:
    """The whole page."""
    parts = [INTRO]
    for title, table in chapters().items():
        links = ", ".join(f"[{m.code}](#{m.code})" for m in table)
        parts.append(f"## {title}\n\n{links}\n")
        parts += [_section(m) for m in table]
    return "\n".join(parts)


def _section(mistake: Mistake) -> str:
    lines = [f"### {mistake.code}", "", _sentence(mistake.message)]
    if mistake.why:
        lines += ["", f"**Why.** {_sentence(mistake.why)}"]
    if mistake.help and "\n" not in mistake.help:
        lines += ["", f"**What to do.** {_sentence(mistake.help)}"]
    path = HERE / f"{mistake.code}.recc"
    if path.exists():
        text = path.read_bytes().decode("utf-8")
        lines += ["", "```recc error", text.rstrip("\n"), "```", "", "```text", _message(text), "```"]
    return "\n".join(lines) + "\n"


def _sentence(text: str) -> str:
    sentence = text[:1].upper() + text[1:]
    return sentence if sentence.endswith((".", "?")) else sentence + "."


def _message(text: str) -> str:
    try:
        load(text, "program.recc")
    except SourceError as error:
        return str(error)
    raise AssertionError("a program in tests/errors has no mistake")
