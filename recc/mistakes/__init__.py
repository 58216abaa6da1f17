"""Every mistake that a program can have, as data: what is said, why it is a rule, what to do instead.

A mistake is a row of one of the tables in this package, by its code. Texts are templates: `{name}` is
filled in with a word of the user's program. `docs/errors.md` is made from these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from recc.diagnostics import Diagnostic, Note, Span
from recc.mistakes.table import Mistake


@cache
def catalogue() -> Mapping[str, Mistake]:
    """All mistakes by code, in the order of the chapters of `docs/errors.md`."""
    return {mistake.code: mistake for table in chapters().values() for mistake in table}


@cache
def chapters() -> Mapping[str, tuple[Mistake, ...]]:
    """The tables by the titles of their chapters."""
    from recc.mistakes.axes import TABLE as AXES
    from recc.mistakes.domains import TABLE as DOMAINS
    from recc.mistakes.names import TABLE as NAMES
    from recc.mistakes.reading import TABLE as READING
    from recc.mistakes.time import TABLE as TIME

    return {
        "Writing": READING,
        "Names": NAMES,
        "Time": TIME,
        "Axes and indices": AXES,
        "Domains and kinds of numbers": DOMAINS,
    }


def diagnose(
    code: str,
    span: Span,
    *,
    notes: tuple[Note, ...] = (),
    label: str | None = None,
    help: str | None = None,
    **words: object,
) -> Diagnostic:
    """The diagnostic for a mistake at a place, with the words of the program filled in.

    `label` and `help` replace those of the table where the place allows something more exact.
    """
    mistake = catalogue()[code]

    def fill(text: str) -> str:
        return text.format(**words)

    return Diagnostic(
        code,
        fill(mistake.message),
        span,
        fill(mistake.label) if label is None else label,
        fill(mistake.why),
        fill(mistake.help) if help is None else help,
        notes,
    )


def did_you_mean(word: str, candidates: list[str] | tuple[str, ...]) -> str:
    """`did you mean `x`?` for the nearest of some names, or nothing."""
    nearest = closest(word, candidates)
    return f"did you mean `{nearest}`?" if nearest else ""


def closest(word: str, candidates: list[str] | tuple[str, ...]) -> str:
    """The nearest of some names, or nothing."""
    from difflib import get_close_matches

    shortlist = [c for c in candidates[:500] if abs(len(c) - len(word)) <= 4]
    matches = get_close_matches(word[:60], shortlist, n=1, cutoff=0.6)
    if not matches:
        matches = [c for c in shortlist if c.lower() == word.lower()][:1]
    return matches[0] if matches else ""


__all__ = ["Mistake", "catalogue", "chapters", "closest", "diagnose", "did_you_mean"]
