"""A stage's structure put together again: the program that it says the program is.

This is what the classification is proved by: for every affine stage the rebuilt program gives the same
values as the program itself, whatever the states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from recc.recurrence import Equation, Expr, Recurrence
from recc.structure.affine import Analysis, Decomposer
from recc.structure.data import Affine
from recc.structure.ring import Ring
from recc.structure.semirings import LogSumExp, MaxPlus, MinPlus

_ALGEBRA: dict[str, type[Decomposer]] = {
    "ring": Ring, "max-plus": MaxPlus, "min-plus": MinPlus, "log-sum-exp": LogSumExp,
}  # fmt: skip


def rebuilt(structure: Affine) -> Recurrence:
    """The program with the update of each state of the stage written as its terms and its drive."""
    rec = structure.rec
    updates = normal_form(structure)
    equations = tuple(Equation(e.target, updates.get(e.target, e.expr), e.span) for e in rec.equations)
    return replace(rec, equations=equations)


def normal_form(structure: Affine) -> dict[str, Expr]:
    """The update of each state as the ⊕ of its terms and its drive, in the terms of `structure.rec`."""
    by = _ALGEBRA[structure.algebra](Analysis(structure.rec, structure.stage))
    return {name: _update(by, structure, name) for name in structure.states}


def _update(by: Decomposer, structure: Affine, state: str) -> Expr:
    """The terms and the drive of one state as one expression."""
    work = by.work
    found: list[Expr] = []
    for entry in structure.entries:
        for term in (t for p in entry.parts for t in p.terms if entry.target == state):
            inner = _times(by, (term.right, term.read))
            if term.over:
                inner = work.reduce(by.reduction, term.over, inner, term.span)
            whole = _times(by, (term.left, inner))
            found.append(work.reduce(by.reduction, term.ranks, whole, term.span) if term.ranks else whole)
    for drive in (d for d in structure.drives if d.target == state):
        found += [by.multiplied(t.groups) for t in drive.terms]
    return by.added(found)


def _times(by: Decomposer, factors: Sequence[Expr]) -> Expr:
    return by.multiplied([f for f in factors if not by.is_one(f)])


__all__ = ["normal_form", "rebuilt"]
