"""Builds the Block of a pass that makes a chunk of consecutive steps at once.

Every value of the program becomes a tensor with the chunk axis. Equations without states are lowered as
they are, along that axis; a read of the step before is the tensor moved by one, with the carry in front.
The states of a stage come from its solver, as a whole trajectory or, where an equation reduces them,
already contracted: `sum[i](q[t] * S[t])` is asked of the solver of S, and S itself never exists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from recc.forms.builder import Builder
from recc.forms.lower import Pair
from recc.forms.pass_builder import Delay, PassBuilder
from recc.forms.passes import Carry, Port, part_name
from recc.forms.sequential import Planner
from recc.recurrence import Along, Axis, Expr, Kind, Read, Reduce, Symbol, reads
from recc.show import show_expr
from recc.structure import NotAffine, Readout


class Solver(Protocol):
    """Runs one stage over a chunk: knows its states from the carries, the transition and the drives."""

    @property
    def contracts(self) -> bool:
        """Whether `contract` costs less than what `trajectory` materialises."""
        ...

    def trajectory(self, state: str) -> Pair:
        """The state after every step of the chunk."""
        ...

    def contract(self, read: Read, factors: Sequence[Expr], over: Sequence[str]) -> Pair:
        """`sum over axes of the product of the factors and the read`; the read has lag 0 or 1."""
        ...

    def final(self, state: str) -> Pair:
        """The state after the last step."""
        ...


SolverMaker = Callable[["ChunkBuilder"], Solver]


@dataclass
class ChunkPlanner(Planner):
    """Puts stages into passes as the sequential form does; each pass makes chunks of steps.

    `makers` gives for each state what makes the solver of its stage. With `fresh`, carries are what they
    are before the first step; with `maps`, the maps between steps that solvers make are outputs.
    """

    makers: Mapping[str, SolverMaker] = field(default_factory=dict)
    fresh: bool = False
    maps: bool = False

    def new_pass(self, number: int, directions: tuple[int, ...]) -> PassBuilder:
        """What builds the chunk Block of one pass."""
        return ChunkBuilder(self, number, directions, self)

    def new_builder(self, name: str) -> Builder:
        """A Builder that knows the chunk axis."""
        builder = super().new_builder(name)
        (scan,) = self.rec.scan
        builder.order = {scan: scan, **builder.order}
        return builder


class ChunkBuilder(PassBuilder):
    """Builds the prologue and the chunk Block of one pass."""

    def __init__(
        self,
        plan: Planner,
        number: int,
        directions: tuple[int, ...],
        options: ChunkPlanner,
    ):
        super().__init__(plan, number, directions)
        (self.chunk,) = plan.rec.scan
        self.makers = options.makers
        self.fresh = options.fresh
        self.wants_maps = options.maps
        #: Maps between all steps that solvers make on the way: what it is, its value, the axis of the drive's step.
        self.maps: list[tuple[str, Pair, str]] = []
        #: What the names that stand for contractions stand for.
        self.texts: dict[str, str] = {}
        self._carried: dict[tuple[str, int], Pair] = {}
        self._solvers: dict[str, Solver] = {}
        self._finding: set[str] = set()
        self._count = 0

    # What solvers use.

    def lower(self, expr: Expr) -> Pair:
        """The value of an expression along the chunk (without the chunk axis if it does not vary)."""
        return self._in_step.lower(expr)

    def carried(self, symbol: str, depth: int = 1) -> Pair:
        """What a name was `depth` steps before the chunk."""
        return self._carried[symbol, depth]

    def moved(self, value: Pair, front: Pair) -> Pair:
        """A trajectory one step later: `front` first, its last element gone."""
        b = self.step
        start = b.map("eq", b.iota(self.chunk), b.constant(0.0, dtype="int"))
        parts = []
        for k, part in enumerate(value.parts):
            before = front.parts[k] if k < len(front.parts) else b.constant(0.0)
            part = b.spread(part, (self.chunk,))
            parts.append(b.map("where", start, before, b.shift(part, self.chunk, -1, "zero")))
        return Pair(*parts)

    # What is different from one step at a time.

    def _in_time(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        return (self.chunk, *axes)

    def _carry_input(self, carry: Carry) -> None:
        if not self.fresh:
            super()._carry_input(carry)
            return
        symbol = self.rec.table[carry.symbol]
        first = Pair(self.step.constant(0.0))
        if symbol.initial is not None and self._starts(carry):
            first = self._invariant(symbol.initial)
        self._carried[carry.symbol, carry.depth] = first

    def _entered(self, carry: Carry, value: Pair) -> None:
        self._carried[carry.symbol, carry.depth] = value

    def _leaving(self, carry: Carry) -> Pair:
        solver = self._solver(carry.symbol) if carry.depth == 1 else None
        if solver is not None and solver.contracts:
            return self._named(solver.final(carry.symbol), carry.name)
        trajectory = self._lagged(carry.symbol, carry.depth - 1)
        return Pair(*(self.step.last(self.step.spread(p, (self.chunk,)), self.chunk) for p in trajectory.parts))

    def _value(self, key: Delay) -> Pair:
        name, (lag,) = key if key[1] else (key[0], (0,))
        if key in self._values or not self.rec.table[name].varies:
            return super()._value(key)
        if lag and self.plan.delay_level[key] == self.number:
            return self._lagged(name, abs(lag))
        solver = None if lag else self._solver(name)
        if solver is None:
            self._values[key] = self._named(super()._value(key), name)
        else:
            self._values[key] = self._named(solver.trajectory(name), name)
        return self._values[key]

    def _named(self, value: Pair, name: str) -> Pair:
        """A value that a solver has made, under the user's name for it."""
        pair = value.im is not None
        return Pair(*(self.step.named(part, part_name(name, pair, k)) for k, part in enumerate(value.parts)))

    def _lagged(self, name: str, depth: int) -> Pair:
        """The values of a name as they were some steps before, from its carries and what the chunk makes."""
        key = (name, (depth * self.direction,))
        if depth and key not in self._values:
            self._values[key] = self.moved(self._lagged(name, depth - 1), self.carried(name, depth))
        return self._value(key)

    def _solver(self, name: str) -> Solver | None:
        """The solver of the stage that a state of this pass belongs to."""
        stage = self.plan.stage_of.get(name)
        if stage is None or name not in self.makers or self.plan.level[stage] != self.number:
            return None
        first = self.rec.stages[stage].states[0]
        if first not in self._solvers:
            self._solvers[first] = self.makers[first](self)
        return self._solvers[first]

    def _whole(self, name: str) -> bool:
        solver = self._solver(name)
        return solver is None or not solver.contracts

    def _maps(self) -> tuple[Port, ...]:
        ports = []
        for text, value, col in self.maps if self.wants_maps else ():
            for k, part in enumerate(value.parts):
                label = part_name(f"map {text}", value.im is not None, k)
                wide = self.step.spread(part, (self.chunk, col))
                self.step.output(label, wide)
                axes = (self.chunk, col, *(a for a in wide.axes if a not in (self.chunk, col)))
                ports.append(Port(label, "map", text, axes, "real", value.im is not None, k))
        return tuple(ports)

    def _reduced(self, expr: Reduce) -> Pair | None:
        own = any(r.name not in self.plan.rec.table for r in reads(expr))
        return (None if own else super()._reduced(expr)) or self._readout(expr)

    def _readout(self, expr: Reduce) -> Pair | None:
        """A reduction that is linear in a state whose solver contracts, taken from there."""
        if expr.fn not in ("sum", "mean"):
            return None
        for name in dict.fromkeys(r.name for r in reads(expr) if self._contractible(r)):
            readout = Readout(self.rec, name)
            try:
                products = readout.products(expr)
            except NotAffine:
                continue
            self._know((), readout.work.axes.values())
            terms: list[Expr] = []
            for p in products:
                taken = None if p.read is None else self._taken(p.factors, p.bound)
                if p.read is not None and (taken is None or not self._contractible(p.read)):
                    break
                if p.read is None or taken is None:
                    terms.append(readout.multiplied(p.factors))
                    continue
                inside, over = taken
                value = self._solver_of(p.read).contract(p.read, inside, over)
                axes = tuple(a for a in {*p.read.axes, *(a for f in inside for a in f.axes)} if a not in over)
                made = self._stand_in(value, readout.work.ordered(axes), expr)
                self.texts[made.name] = self.shown((*inside, p.read), over)
                rest = readout.multiplied((*(f for f in p.factors if f not in inside), made))
                left = [a for a in p.bound if a not in over]
                terms.append(readout.work.reduce("sum", left, rest) if left else rest)
            else:
                self._know(readout.work.symbols.values())
                return self._in_step.lower(readout.added(terms))
        return None

    def _taken(self, factors: Sequence[Expr], bound: Sequence[str]) -> tuple[list[Expr], list[str]] | None:
        """The factors and axes of a sum that can be carried out with the state: those of nothing contracted."""
        ready = [f for f in factors if not any(self._contractible(r) for r in reads(f))]
        over = [a for a in bound if all(f in ready for f in factors if a in f.axes)]
        if not over:
            return None
        return [f for f in ready if any(a in over for a in f.axes)], over

    def _contractible(self, read: Read) -> bool:
        """Whether a read is of a state of this pass that its solver hands over contracted."""
        if not read.lags or read.lags[0] * self.direction not in (0, 1):
            return False
        if read.lags[0] and self.plan.delay_level.get((read.name, read.lags)) != self.number:
            return False
        solver = self._solver(read.name)
        return solver is not None and solver.contracts

    def _solver_of(self, read: Read) -> Solver:
        solver = self._solver(read.name)
        assert solver is not None
        return solver

    def _stand_in(self, value: Pair, axes: tuple[str, ...], expr: Reduce) -> Read:
        """A read that stands for a value that is known already."""
        self._count += 1
        dtype = "complex" if value.im is not None else "real"
        symbol = Symbol(f"readout{self._count}", Kind.LOCAL, axes, dtype)  # type: ignore[arg-type]  # one of two
        self._know([symbol])
        self._values[symbol.name, self.plan.now] = value
        index = tuple(Along(a) for a in axes)
        return Read(symbol.name, (0,), index, axes=axes, dtype=symbol.dtype, varies=True, span=expr.span)

    def shown(self, factors: Iterable[Expr], over: Iterable[str]) -> str:
        """A contraction as the user could have written it."""
        text = " * ".join(show_expr(f, self.rec.scan) for f in factors)
        text = f"sum[{', '.join(over)}]({text})" if over else text
        for name, inside in self.texts.items():
            text = re.sub(rf"\b{name}\b(\[[^\]]*\])?", lambda _, inside=inside: inside, text)  # type: ignore[misc]  # mypy cannot see the default
        return re.sub(r"'\d+", "", text)

    def _know(self, symbols: Iterable[Symbol], axes: Iterable[Axis] = ()) -> None:
        """Adds symbols and axes that only this pass uses to the program as it sees it."""
        more = tuple(s for s in symbols if s.name not in self.rec.table)
        wider = tuple(a for a in axes if a.name not in self.rec.axis)
        if not more and not wider:
            return
        self.rec = replace(self.rec, symbols=(*self.rec.symbols, *more), axes=(*self.rec.axes, *wider))
        self._in_step.rec = self._in_prologue.rec = self.rec
        for axis in wider:
            self.step.order.setdefault(axis.name, axis.size_of)
            self.prologue.order.setdefault(axis.name, axis.size_of)


__all__ = ["ChunkBuilder", "ChunkPlanner", "Solver", "SolverMaker"]
