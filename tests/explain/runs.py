"""Small runs of programs with the values of every name at every step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from recc import zoo
from recc.backends.numpy_reference import run
from recc.check import load
from recc.fuzz import Shapes, draw_arguments, draw_initial
from recc.recurrence import Along, Equation, Kind, Read, Recurrence, Stage, Symbol

STEPS = 4


def stored(name: str) -> Recurrence:
    """The program of the zoo."""
    (rec,) = load(zoo.text(name), name)
    return rec


@dataclass(frozen=True)
class Run:
    """One sequence of a few steps; `initial` is the state it begins with."""

    rec: Recurrence
    seed: int = 0
    stateless: bool = False

    @cached_property
    def sizes(self) -> dict[str, int]:
        """All different where they may be."""
        roots = sorted({a.size_of for a in self.rec.axes})
        by_root = {name: 2 + k % 2 for k, name in enumerate(roots)}
        return {a.name: by_root[a.size_of] for a in self.rec.axes}

    @cached_property
    def shapes(self) -> Shapes:
        return Shapes(self.sizes, (STEPS,) * len(self.rec.scan))

    @cached_property
    def arguments(self) -> dict[str, Any]:
        return draw_arguments(self.rec, self.shapes, np.random.default_rng(self.seed))

    @cached_property
    def initial(self) -> dict[str, Any]:
        if self.stateless:
            return {}
        return draw_initial(self.rec, self.shapes, np.random.default_rng(self.seed + 100))

    def outputs(self, arguments: Mapping[str, Any], rec: Recurrence | None = None) -> dict[str, Any]:
        """Outputs `[1, T, *axes]` for some arguments."""
        rec = rec or self.rec
        sizes = {a.name: self.sizes[a.name.partition("'")[0]] for a in rec.axes}
        length = dict.fromkeys(rec.scan, STEPS) if len(rec.scan) > 1 else STEPS
        return run(rec, arguments, initial=self.initial, sizes=sizes, length=length).outputs

    def values(self, rec: Recurrence) -> dict[str, Any]:
        """Every name of a recurrence that has the program's arguments: `[T, *axes]`, or `[*axes]`."""
        made = [s for s in rec.symbols if not s.is_argument]
        shown = [Symbol(f"value of {s.name}", Kind.OUTPUT, s.axes, s.dtype, s.varies) for s in made]
        equations = []
        for s, out in zip(made, shown, strict=True):
            lags = (0,) * len(rec.scan) if s.varies else ()
            index = tuple(Along(a) for a in s.axes)
            equations.append(Equation(out.name, Read(s.name, lags, index, axes=s.axes, dtype=s.dtype, varies=s.varies)))
        starts = [s for s in rec.states if s.initial is not None]
        for s in starts:
            assert s.initial is not None
            shown.append(Symbol(f"first {s.name}", Kind.OUTPUT, s.axes, s.dtype, varies=False))
            equations.append(Equation(shown[-1].name, s.initial))
        whole = replace(
            rec,
            symbols=(*rec.symbols, *shown),
            equations=(*rec.equations, *equations),
            stages=(*rec.stages, *(Stage((o.name,), (), (0,) * len(rec.scan)) for o in shown)),
        )
        outputs = self.outputs(self.arguments, whole)
        found = {s.name: outputs[o.name][0] for s, o in zip(made, shown, strict=False)}
        found.update({f"first {s.name}": outputs[f"first {s.name}"][0] for s in starts})
        for s in rec.arguments:
            found[s.name] = self.arguments[s.name][0] if s.kind is Kind.INPUT else self.arguments[s.name]
        return found

    def look(self, rec: Recurrence) -> Any:
        """Values by name, steps from 1 and indices, as a program reads them beyond the ends too."""
        values = self.values(rec)
        first = {n: s.direction for s in rec.stages for n in s.equations}

        def value(name: str, steps: tuple[int, ...], index: tuple[int, ...]) -> Any:
            array = values[name]
            placed = tuple(
                map(_placed, index, array.shape[len(steps) :], (rec.axis[a].edge for a in rec.table[name].axes))
            )
            if any(i is None for i in placed):
                return 0
            index = tuple(i for i in placed if i is not None)
            if all(1 <= s <= STEPS for s in steps):
                return array[(*(s - 1 for s in steps), *index)]
            if len(steps) == 1:
                depth = 1 - steps[0] if first.get(name, (1,))[0] >= 0 else steps[0] - STEPS
                slot = next((s.name for s in rec.slots if (s.symbol, s.depth) == (name, depth)), None)
                if slot is not None and depth > 0 and slot in self.initial:
                    return self.initial[slot][(0, *index)]
                if depth > 0 and f"first {name}" in values:
                    return np.broadcast_to(values[f"first {name}"], array.shape[1:])[index]
            return 0

        return value


def _placed(index: int, size: int, edge: str) -> int | None:
    """An index by the rule of its axis for what is outside: nothing, the other end, or the nearest element."""
    if 0 <= index < size:
        return index
    return None if edge == "zero" else index % size if edge == "wrap" else min(max(index, 0), size - 1)


__all__ = ["STEPS", "Run", "stored"]
