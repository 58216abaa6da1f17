"""The sequential form: any program as a few loops over time around straight-line Blocks.

A program becomes one or more **passes**, each a loop in one direction. Before the loop a prologue Block
computes what does not vary with time; in it a step Block maps carries and inputs at step t to new
carries and outputs. Law, for a left-to-right pass with carries c and prologue values p:

    p, c[-1] = prologue(params)
    c[t], y[t] = step(c[t-1], x[t], p)

Everything a step reads from another step is a carry: the state itself, its older values for order two
and up, and delay lines for lagged inputs (`x[t-1]`). A read in the other direction (`x[t+1]`, or a state
that runs from right to left) is a delay line of another pass, whose value at each step is kept for the
passes after it.

Over several scan axes a step reads its neighbours along all of them, so nothing is carried: whatever is
read at a lag is kept for all steps and read from there, and a pass is as many loops inside each other.

The backward form runs the passes in reverse order and each loop against its direction. A loop keeps its
carries every so many steps (a segment); the backward loop recomputes a segment's carries from there and
then runs the VJP of the step Block through it, so that memory is inputs, outputs and one set of carries
per segment.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from recc.forms.builder import Builder
from recc.forms.pass_builder import Delay, PassBuilder
from recc.forms.passes import LANE, Carry, Pass, Port, Role, Sequential
from recc.recurrence import Kind, Recurrence, Reduce, Stage, Symbol, reads


def derive_sequential(rec: Recurrence, lanes: Iterable[str] | None = None) -> Sequential:
    """The sequential form of a program.

    `lanes` names the arguments that have a `lane` axis, a batch axis to be vectorised over; `None`
    means that there is no such axis.
    """
    return Planner(rec, None if lanes is None else frozenset(lanes)).plan()


@dataclass
class Planner:
    """Puts stages and delay lines into passes and builds their Blocks, last pass first."""

    rec: Recurrence
    lanes: frozenset[str] | None
    level: dict[int, int] = field(default_factory=dict)  # stage -> pass
    delay_level: dict[Delay, int] = field(default_factory=dict)
    kept: dict[int, dict[Delay, None]] = field(default_factory=dict)  # pass -> what later passes read
    contracted: dict[int, dict[Reduce, Symbol]] = field(default_factory=dict)  # pass -> reductions they read

    def plan(self) -> Sequential:
        if self.grid:
            directions = self._grid_levels()
        else:
            best = min((self._levels(first) for first in (1, -1)), key=lambda found: found[0])
            count, self.level, self.delay_level, first = best
            directions = [(first * (-1) ** number,) for number in range(count)]
        passes: list[Pass] = []
        for number in reversed(range(len(directions))):
            passes.insert(0, self.new_pass(number, directions[number]).build())
        return Sequential(self.rec, tuple(passes), self.lanes)

    def new_pass(self, number: int, directions: tuple[int, ...]) -> PassBuilder:
        """What builds the Blocks of one pass."""
        return PassBuilder(self, number, directions)

    @property
    def grid(self) -> bool:
        """Whether there are several scan axes."""
        return len(self.rec.scan) > 1

    @property
    def now(self) -> tuple[int, ...]:
        """No lag."""
        return (0,) * len(self.rec.scan)

    def _grid_levels(self) -> list[tuple[int, ...]]:
        """Puts every stage into the first pass that fits, and gives the directions of the passes.

        What another stage reads at a lag has to be there for all steps, so it is of an earlier pass.
        """
        found: list[tuple[int, ...]] = [self.now]
        for i, stage in enumerate(self.rec.stages):
            lowest = 0
            for name, lags in self.needs(stage):
                if name in self.stage_of and self.stage_of[name] != i:
                    lowest = max(lowest, self.level[self.stage_of[name]] + any(lags))
            while lowest < len(found) and any(a * b < 0 for a, b in zip(found[lowest], stage.direction, strict=True)):
                lowest += 1
            if lowest == len(found):
                found.append(self.now)
            found[lowest] = tuple(a or b for a, b in zip(found[lowest], stage.direction, strict=True))
            self.level[i] = lowest
        return [tuple(d or 1 for d in directions) for directions in found]

    @cached_property
    def stage_of(self) -> dict[str, int]:
        return {name: i for i, stage in enumerate(self.rec.stages) for name in stage.equations}

    @cached_property
    def slot_delays(self) -> dict[Delay, str]:
        """The delay behind each slot."""
        own = {name: self.rec.stages[i].direction[0] or 1 for name, i in self.stage_of.items()}
        program = -1 if {own[s.name] for s in self.rec.states} == {-1} else 1
        found: dict[Delay, str] = {}
        for slot in self.rec.slots:
            is_state = self.rec.table[slot.symbol].kind is Kind.STATE
            way = own[slot.symbol] if is_state else program
            found[(slot.symbol, (way * slot.depth,))] = slot.name
        return found

    def needs(self, stage: Stage) -> list[Delay]:
        """What a stage reads that varies: names with lags, lag 0 included, parameters not."""
        found: dict[Delay, None] = {}
        for target in stage.equations:
            for read in reads(self.rec.equation[target].expr):
                if self.rec.table[read.name].varies:
                    found[(read.name, read.lags)] = None
        return list(found)

    def _levels(self, first: int) -> tuple[int, dict[int, int], dict[Delay, int], int]:
        """The pass of each stage and delay if the first pass runs in the given direction."""
        level: dict[int, int] = {}
        delays: dict[Delay, int] = {}

        def fit(at_least: int, direction: int) -> int:
            while direction and direction != first * (-1) ** at_least:
                at_least += 1
            return at_least

        def delay(key: Delay) -> int:
            if key not in delays:
                name, (lag,) = key
                base = level[self.stage_of[name]] if name in self.stage_of else 0
                delays[key] = fit(base, 1 if lag > 0 else -1)
            return delays[key]

        for i, stage in enumerate(self.rec.stages):
            if not any(self.rec.table[name].varies for name in stage.equations):
                level[i] = 0
                continue
            lowest = 0
            inside: list[Delay] = []
            for name, lags in self.needs(stage):
                if self.stage_of.get(name) == i:
                    if any(lags):
                        inside.append((name, lags))
                elif any(lags):
                    lowest = max(lowest, delay((name, lags)))
                elif name in self.stage_of:
                    lowest = max(lowest, level[self.stage_of[name]])
            level[i] = fit(lowest, stage.direction[0])
            for key in inside:
                delay(key)
        for key in self.slot_delays:
            delay(key)
        top = max([0, *level.values(), *delays.values()])
        return top + 1, level, delays, first

    @cached_property
    def pure(self) -> frozenset[str]:
        """Equations that any pass can compute for itself: of inputs at the same step only."""
        found: set[str] = set()
        for stage in self.rec.stages:
            if not stage.states and all(
                not any(lags) and (name not in self.stage_of or name in found) for name, lags in self.needs(stage)
            ):
                found.update(stage.equations)
        return frozenset(found)

    def layout(self, symbol: Symbol) -> tuple[str, ...]:
        """A tensor's axes in memory order, the lane first."""
        if self.lanes is None or (symbol.is_argument and symbol.name not in self.lanes):
            return symbol.axes
        return (LANE, *symbol.axes)

    def new_builder(self, name: str) -> Builder:
        order = {LANE: LANE} if self.lanes is not None else {}
        order.update((a.name, a.size_of) for a in self.rec.axes)
        return Builder(name, order)


__all__ = ["LANE", "Carry", "Pass", "Port", "Role", "Sequential", "derive_sequential"]
