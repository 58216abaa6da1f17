"""The row type of the tables of mistakes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mistake:
    """What is said of one kind of mistake; the texts are templates.

    `message` says what is wrong, `label` stands beside the carets, `why` gives the rule, `help` says
    what to write instead.
    """

    code: str
    message: str
    label: str = ""
    why: str = ""
    help: str = ""


__all__ = ["Mistake"]
