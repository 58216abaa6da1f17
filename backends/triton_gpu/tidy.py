"""Lays out the text of a module: lines of at most 120 columns, and nothing that is never read."""

from __future__ import annotations

import re

WIDTH = 120

#: Rules of ruff that emitted text does not keep, because Triton needs it so: tests on what is absent stand alone,
#: functions of several results name all of them, and what stands for a user's constant may be on the left.
NOQA = "# ruff: noqa: D103, F841, PIE808, RET504, RUF059, RUF100, SIM102, SIM300"

#: What a line may be broken before, inside brackets.
_SIGNS = (" for ", " + ", " & ", " * ")
_OPEN, _CLOSE = "([{", ")]}"
_ASSIGNED = re.compile(r"^ +([^\W\d]\w*) = ")
_NAME = re.compile(r"[^\W\d]\w*")


def tidy(text: str) -> str:
    """A module without dead lines, long ones folded. Docstrings and comments stay as they are."""
    parts = re.split(r"(?m)^(?=@triton\.jit\n|def )", text)
    return "".join(_folded(_lively(part) if part.startswith("def ") else part) for part in parts)


def _lively(function: str) -> str:
    """A function without assignments to names that nothing reads, and without those that only these read."""
    lines = function.split("\n")
    while True:
        counts: dict[str, int] = {}
        for line in lines:
            for name in _NAME.findall(line.split("  # ")[0] if not line.lstrip().startswith("#") else ""):
                counts[name] = counts.get(name, 0) + 1
        kept = [line for n, line in enumerate(lines) if not _dead(line, lines[n - 1] if n else "", counts)]
        if len(kept) == len(lines):
            return "\n".join(lines)
        lines = kept


def _dead(line: str, before: str, counts: dict[str, int]) -> bool:
    """Whether a line assigns to a name that occurs nowhere else. The first line of a branch has to stay."""
    found = _ASSIGNED.match(line)
    return found is not None and counts.get(found[1], 0) == 1 and not before.endswith(":")


def _folded(text: str) -> str:
    found: list[str] = []
    quoted = False
    for line in text.split("\n"):
        outside = not quoted and '"""' not in line
        quoted ^= line.count('"""') % 2 == 1
        if len(line) <= WIDTH or not outside or line.lstrip().startswith("#"):
            found.append(line)
        else:
            found += fold(line)
    return "\n".join(found)


def fold(line: str) -> list[str]:
    """A line of code as several, each within `WIDTH` where brackets allow it."""
    if len(line) <= WIDTH:
        return [line]
    indent = len(line) - len(line.lstrip())
    code, mark, note = line.strip().partition("  # ")
    group = _longest(code)
    if group is None:
        return [line]
    begin, end = group
    head, body, tail = code[: begin + 1], code[begin + 1 : end], code[end:]
    first = " " * indent + head + (mark + note if mark else "")
    inner = " " * (indent + 4)
    if len(inner) + len(body) <= WIDTH or (pieces := _pieces(body)) is None:
        return [first, *_within(inner + body, line), " " * indent + tail]
    return [first, *(x for piece in pieces for x in _within(inner + piece, line)), *fold(" " * indent + tail)]


def _within(line: str, whole: str) -> list[str]:
    """A part of a line that is inside brackets, folded unless that would never end: also at operators of its own."""
    if len(line) <= WIDTH or len(line) >= len(whole):
        return [line]
    body = line.lstrip()
    indent = line[: len(line) - len(body)]
    for sign in _SIGNS:
        if places := _cuts(body, sign):
            return [x for piece in _split(body, places, 1) for x in _within(indent + piece, line)]
    return fold(line)


def _pieces(body: str) -> list[str] | None:
    """What is between brackets, piece by piece: at commas, else before operators; none if there are neither."""
    if not _cuts(body, " for "):
        commas = _cuts(body, ", ")
        if commas:
            return [piece + "," for piece in _split(body.rstrip(","), commas, 2)]
    for sign in _SIGNS:
        if places := _cuts(body, sign):
            return _split(body, places, 1)
    return None


def _split(body: str, places: list[int], skip: int) -> list[str]:
    """Pieces that begin after the places; a comma goes, an operator stays with what follows it."""
    starts = [0, *(p + skip for p in places)]
    ends = [*places, len(body)]
    return [body[a:b].strip() for a, b in zip(starts, ends, strict=True)]


def _cuts(body: str, sign: str) -> list[int]:
    """Where a sign stands outside all brackets and strings."""
    return [n for n, depth in _depths(body) if depth == 0 and body.startswith(sign, n)]


def _longest(code: str) -> tuple[int, int] | None:
    """The longest group in brackets that lies in no other."""
    best: tuple[int, int] | None = None
    begin = -1
    for n, depth in _depths(code):
        if code[n] in _OPEN and depth == 0:
            begin = n
        elif code[n] in _CLOSE and depth == 1 and (best is None or n - begin > best[1] - best[0]):
            best = begin, n
    return best if best is not None and best[1] - best[0] > 1 else None


def _depths(code: str) -> list[tuple[int, int]]:
    """Every place outside strings with the number of brackets that are open before it."""
    found, depth, quote = [], 0, ""
    for n, c in enumerate(code):
        if quote:
            quote = "" if c == quote else quote
            continue
        if c in "\"'":
            quote = c
            continue
        found.append((n, depth))
        depth += (c in _OPEN) - (c in _CLOSE)
    return found


__all__ = ["NOQA", "WIDTH", "fold", "tidy"]
