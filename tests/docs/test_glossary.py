"""The glossary defines each word once and briefly, and its words are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")

#: The words that code, messages and pages agree on; each has its entry.
AGREED = (
    "state", "transition", "drive", "readout", "stage", "structure", "form", "block", "carry", "chunk", "combine",
    "adjoint", "refusal", "prologue", "epilogue",
)  # fmt: skip


def entries(text: str) -> list[str]:
    """The words that a text defines, in order."""
    heads = [line.split(":")[0] for line in text.splitlines() if line.startswith("- **")]
    return [word for head in heads for word in re.findall(r"\*\*([\w ]+)\*\*", head)]


def test_every_word_once() -> None:
    words = entries(PAGE)
    assert len(words) == len(set(words))
    assert set(AGREED) <= set(words)


def test_entries_are_short() -> None:
    for entry in re.findall(r"^- \*\*.*(?:\n  .*)*", PAGE, re.M):
        assert entry.count("\n") < 2, entry


def test_words_are_used_in_the_code() -> None:
    code = ""
    for top in ("recc", "backends"):
        for path in (ROOT / top).rglob("*.py"):
            code += path.read_text(encoding="utf-8").lower()
    for word in entries(PAGE.partition("## Words kept")[0]):
        plural = f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"
        assert re.search(rf"\b({word}|{plural}|{word}es)\b|_{word}\b|\b{word}_", code), f"no {word!r} in the code"
