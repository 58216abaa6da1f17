"""Published recurrences as `.recc` programs: `recc.zoo.NAME` is the compiled op.

Each is a text file in this folder and nothing else; `text(NAME)` gives it, `names()` lists them.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any

from recc.errors import UsageError


def names() -> tuple[str, ...]:
    """The names of all programs, sorted."""
    found = (entry.name for entry in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".recc") for name in found if name.endswith(".recc")))


def text(name: str) -> str:
    """The text of a program. Raises `UsageError` for a name that is not there."""
    if name not in names():
        near = get_close_matches(name, names(), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names())}"
        raise UsageError("the zoo", "the name of a program in it", repr(name), hint)
    return (files(__name__) / f"{name}.recc").read_text(encoding="utf-8")


@cache
def _compiled(name: str) -> Any:
    from recc.pipeline import compile

    return compile(text(name))


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name not in names():
        raise AttributeError(f"module {__name__!r} has no program {name!r}")
    return _compiled(name)


def __dir__() -> list[str]:
    return [*names(), "names", "text"]


__all__ = ["names", "text"]
