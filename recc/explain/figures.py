"""Placeholder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from recc.explain.document import Figure
from recc.recurrence import Recurrence
from recc.structure import Structure


class Figures:
    def __init__(self, rec: Recurrence, structures: Sequence[Structure]):
        self.rec = rec

    def stages(self) -> Figure:
        return Figure("stages", "x", lambda: "")

    def samples(self) -> Iterator[Figure]:
        return iter(())
