"""What is known of one recurrence while it is checked: its names, and what has been found of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from recc import syntax
from recc.check.errors import Errors
from recc.check.ranges import ANY, Interval
from recc.mistakes import closest
from recc.recurrence import FUNCTIONS, REDUCTIONS, Axis, Dtype, Symbol
from recc.show import OPERATOR

OPERATORS = frozenset(OPERATOR)
SCALAR_FUNCTIONS = tuple(name for name in FUNCTIONS if name not in OPERATORS)
MATRIX_FUNCTIONS = ("solve", "inv", "expm")
#: Every name that can be called, a recurrence's own definitions apart.
CALLABLE = (*SCALAR_FUNCTIONS, *(name for name in REDUCTIONS if name not in FUNCTIONS), *MATRIX_FUNCTIONS)

WIDTH: dict[Dtype, int] = {"bool": 0, "int": 1, "real": 2, "complex": 3}


def widest(*dtypes: Dtype) -> Dtype:
    """The dtype that all of some convert to: bool, int, real, complex, in this order."""
    return max(dtypes, key=WIDTH.__getitem__)


@dataclass
class Scope:
    """The names of a recurrence.

    `symbols` has the declared names from the start and the targets of equations from when they have
    been checked; `unknown` are names whose own mistake has been told, so that nothing more is said of
    them; `meant` are names that a misspelt one probably meant. `ranges` is the interval of every symbol.
    """

    written: syntax.RecurrenceSyntax
    errors: Errors
    axes: dict[str, Axis] = field(default_factory=dict)
    scan: tuple[str, ...] = ("t",)
    symbols: dict[str, Symbol] = field(default_factory=dict)
    definitions: dict[str, syntax.Definition] = field(default_factory=dict)
    equations: dict[str, syntax.EquationSyntax] = field(default_factory=dict)
    declared: dict[str, syntax.Entry] = field(default_factory=dict)
    ranges: dict[str, Interval] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    meant: set[str] = field(default_factory=set)

    def ordered(self, *groups: tuple[str, ...]) -> tuple[str, ...]:
        """The union of some axes, in header order."""
        if not groups:
            return ()
        if all(g == groups[0] for g in groups):
            return groups[0]
        present = set().union(*groups)
        return tuple(a for a in self.axes if a in present)

    def same_size(self, a: str, b: str) -> bool:
        """Whether two axes have the same size by the header, or one of them has a mistake there."""
        if a in self.unknown or b in self.unknown:
            return True
        return self.axes[a].size_of == self.axes[b].size_of

    def no_such_axis(self, name: syntax.Name) -> None:
        """Tell that a name is no axis of the header, once for each name."""
        if name.text in self.unknown:
            return
        self.unknown.add(name.text)
        nearest = closest(name.text, tuple(self.axes))
        self.meant.add(nearest)
        help = f"did you mean `{nearest}`?" if nearest else None
        self.errors.add("unknown-axis", name.span, help=help, name=name.text)

    def range_of(self, name: str) -> Interval:
        """The interval of a symbol's values."""
        return self.ranges.get(name, ANY)

    def visible(self) -> tuple[str, ...]:
        """Every name a program may read, for suggestions."""
        return (*self.symbols, *self.equations, *self.definitions, *self.axes, *self.scan)


__all__ = ["CALLABLE", "MATRIX_FUNCTIONS", "OPERATORS", "SCALAR_FUNCTIONS", "WIDTH", "Scope", "widest"]
