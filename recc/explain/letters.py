"""Letters for what the derivations introduce, chosen beside the names that a program uses already."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from recc.explain.notation import Chain, Infix, Node, Shift
from recc.recurrence import Recurrence

_CHOICES = {
    "decay": ("Γ", "D", "E"),
    "low": ("L", "X", "Y"),
    "reach": ("W̄", "V", "Z"),
    "inflow": ("N", "F", "O"),
    "kernel": ("K", "H", "Z"),
    "power": ("M", "E", "O"),
    "probe": ("p", "y", "z"),
    "factor": ("a", "g", "e"),
    "map": ("A", "M", "T"),
    "stacked": ("x", "y", "z"),
    "added": ("b", "f", "c"),
    "end": ("C", "T", "E", "Q"),
    "other": ("s", "r", "p", "x", "l", "w"),
    "between": ("r", "s", "p", "x", "l", "w"),
    "apart": ("τ", "l", "w"),
    "adjoint": ("λ", "μ", "ν"),
}


@dataclass(frozen=True)
class Letters:
    """The letters of one program. Every one is the first of its choices that nothing else is called."""

    rec: Recurrence

    @cached_property
    def _chosen(self) -> dict[str, str]:
        taken = {*self.rec.table, *self.rec.axis, *self.rec.scan}
        taken |= {n.rstrip("_") for n in taken}
        spelled = {"Γ": "Gamma", "λ": "lambda", "τ": "tau", "μ": "mu", "ν": "nu"}
        found: dict[str, str] = {}
        for role, choices in _CHOICES.items():
            free = [c for c in choices if not {c, spelled.get(c, c)} & taken]
            # A hat is no letter of the language, so the last resort is always free.
            found[role] = free[0] if free else f"{choices[0]}\u0302"
            taken.add(found[role])
        return found

    def __getitem__(self, role: str) -> str:
        return self._chosen[role]


@dataclass(frozen=True)
class Way:
    """The steps of a chunk in the order in which a stage runs: 1 to C, or from C down to 1."""

    scan: str
    direction: int
    letters: Letters

    @property
    def here(self) -> Shift:
        """The step itself."""
        return Shift(self.scan)

    @property
    def other(self) -> Shift:
        """A step before it."""
        return Shift(self.letters["other"])

    @property
    def start(self) -> Shift:
        """The place before the first step of the chunk."""
        return Shift("0") if self.direction > 0 else Shift(self.letters["end"], 1)

    @property
    def end(self) -> Shift:
        """The last step of the chunk."""
        return Shift(self.letters["end"]) if self.direction > 0 else Shift("1")

    def before(self, place: Shift, steps: int = 1) -> Shift:
        """A place some steps earlier in the order of the run."""
        return Shift(place.name, place.offset - self.direction * steps)

    def upto(self, first: Shift, last: Shift, strict: bool = False) -> Node:
        """`s ≤ t`, or `s < t`, in the order of the run."""
        sign: Infix = ("lt" if strict else "le") if self.direction > 0 else ("gt" if strict else "ge")
        return Chain((first, last), (sign,))

    def after(self, first: Shift, last: Shift) -> tuple[Node, Shift]:
        """`s < r ≤ t` in the order of the run, and r."""
        middle = Shift(self.letters["between"])
        if self.direction > 0:
            return Chain((first, middle, last), ("lt", "le")), middle
        return Chain((last, middle, first), ("le", "lt")), middle

    def whole(self, last: Shift) -> tuple[Node, Shift]:
        """All steps of the chunk up to one, and the step that runs over them."""
        if self.direction > 0:
            return Chain((Shift("1"), self.other, last), ("le", "le")), self.other
        return Chain((last, self.other, Shift(self.letters["end"])), ("le", "le")), self.other


__all__ = ["Letters", "Way"]
