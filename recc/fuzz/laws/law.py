"""What a law is, and for which programs and ways there are laws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from recc.recurrence import Recurrence

from ..drawing.case import looks_ahead
from ..ways.program import Runner
from .trial import Finding, Trial


@dataclass(frozen=True)
class Law:
    """Something that has to hold. `applies` gives the reason why it says nothing of a program in a way, if it does not.

    `check` gives what was compared; it may raise whatever the way raises, which is a finding of its own.
    """

    name: str
    says: str
    applies: Callable[[Recurrence, Runner], str | None]
    check: Callable[[Trial], Iterator[Finding]]


def always(rec: Recurrence, runner: Runner) -> str | None:
    """No program is left out."""
    del rec, runner
    return None


def differentiable(rec: Recurrence, runner: Runner) -> str | None:
    """Ways without gradients are left out."""
    del rec
    return None if runner.differentiates else f"{runner.way.backend} gives no gradients"


def in_pieces(rec: Recurrence, runner: Runner) -> str | None:
    """Programs that read ahead are left out, and those that count steps but keep no state that could tell the count."""
    del runner
    if rec.clock and not rec.slots:
        return "no state carries the number of the step"
    return "a step needs a later one" if looks_ahead(rec) else None


def compiled(rec: Recurrence, runner: Runner) -> str | None:
    """Blocks are interpreted sequence by sequence, from copies: what lies where can make no difference."""
    del rec
    return "it is interpreted" if runner.way.backend == "blocks" else None


def packing(rec: Recurrence, runner: Runner) -> str | None:
    """Ways without packed calls are left out, and programs over a plane."""
    del rec
    return None if runner.packs else f"{runner.way.backend} takes no packed sequences"


__all__ = ["Law", "always", "compiled", "differentiable", "in_pieces", "packing"]
