"""The adjoint of a program: the gradient of every value as a sum over the equations that read it.

Every equation hands the gradient of its left side on to what it reads; a read of `S` one step back hands
the gradient at t + 1 to `S` at t. States are read in their normal form, so that their gradient obeys the
transposed step:

    λ[t] = d[t+1] ⊙ λ[t+1] + Σ_r w_r[t+1] ⊗ (u_r[t+1] · λ[t+1]) + what is read of S[t] gives back
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from recc.explain.derivative import NoFormula, Reverse, tidy
from recc.explain.letters import Letters
from recc.explain.maths import Maths
from recc.explain.notation import Binary, Call, Equation, Node, Shift, Truth, Words, add, at, times, total
from recc.recurrence import (
    REDUCTIONS,
    Along,
    Apply,
    At,
    Expr,
    Index,
    Kind,
    Matrix,
    Read,
    Recurrence,
    Reduce,
    Stage,
    Symbol,
    reads,
    walk,
)
from recc.structure import Affine, Structure, normal_form
from recc.structure.build import Workspace
from recc.structure.rename import rename


@dataclass(frozen=True)
class Given:
    """What one read in the equation of `target` gives to the gradient of what it reads; `varies` as the target does.

    `value` is over the axes of the symbol, at the step of the equation; `lags` say how much later that
    is than the step of the read. `places` are indices that have to be met: an axis and where it is read.
    `inside` are places that have to be on their axes, since nothing is read beyond the ends.
    """

    target: str
    varies: bool
    lags: tuple[int, ...]
    value: Expr
    places: tuple[tuple[str, Index], ...] = ()
    inside: tuple[Shift, ...] = ()


@dataclass(frozen=True)
class Adjoint:
    """The gradients of one program. `structures` are those of its stages."""

    rec: Recurrence
    structures: Sequence[Structure]

    @cached_property
    def program(self) -> Recurrence:
        """The program with the updates of affine stages in their normal form, and what that needs beside."""
        axes, symbols = dict(self.rec.axis), dict(self.rec.table)
        equations = {e.target: e for e in self.rec.equations}
        stages: list[Stage] = []
        for structure in self.structures:
            known = {*equations}
            if isinstance(structure, Affine):
                axes.update(structure.rec.axis)
                symbols.update(structure.rec.table)
                equations.update({n: e for n, e in structure.rec.equation.items() if n not in equations})
                for name, expr in normal_form(structure).items():
                    equations[name] = replace(equations[name], expr=expr)
                stages += [s for s in structure.rec.stages if not known & set(s.equations)]
            stages.append(structure.stage)
        return replace(
            self.rec,
            axes=tuple(axes.values()),
            symbols=tuple(symbols.values()),
            equations=tuple(equations.values()),
            stages=tuple(stages),
        )

    @cached_property
    def work(self) -> Workspace:
        """Where the gradients' expressions are made. It has a symbol for each of them."""
        work = Workspace(self.program)
        for symbol in self.program.symbols:
            if symbol.dtype in ("real", "complex"):
                name = self.name(symbol.name)
                work.symbols[name] = Symbol(name, Kind.LOCAL, symbol.axes, symbol.dtype, symbol.varies)
        return work

    @cached_property
    def maths(self) -> Maths:
        """How its expressions are written."""
        return Maths(self.program, more=self.work.symbols)

    def name(self, symbol: str) -> str:
        """The name of the gradient: λ for the only state, `∂x` for everything else."""
        only = [s.name for s in self.rec.states] == [symbol]
        return Letters(self.rec)["adjoint"] if only else f"∂{symbol}"

    @cached_property
    def given(self) -> Mapping[str, list[Given | str]]:
        """For each symbol what the equations that read it give back: a word where there is no formula."""
        found: dict[str, list[Given | str]] = {s.name: [] for s in self.program.symbols}
        reverse = Reverse(self.work, frozenset(self.work.symbols))
        for equation in self.program.equations:
            symbol = self.program.table[equation.target]
            if symbol.dtype not in ("real", "complex"):
                continue
            seed = self.work.read_of(self.work.symbols[self.name(symbol.name)])
            try:
                # The symbol stands for its expression unless that is spread along more axes by the equation.
                whole = self.work.read_of(symbol) if set(equation.expr.axes) == set(symbol.axes) else equation.expr
                flows = list(reverse.flows(equation.expr, seed, whole))
            except NoFormula as why:
                for read in {r.name for r in reads(equation.expr)}:
                    found[read].append(f"(what {symbol.name} gives back through `{why.args[0]}`)")
                continue
            for flow in flows:
                if self.program.table[flow.read.name].dtype in ("real", "complex"):
                    found[flow.read.name].append(self._given(symbol, flow.read, flow.value))
        for state in self.rec.states:
            self._initial(state, reverse, found)
        return found

    def _initial(self, state: Symbol, reverse: Reverse, found: dict[str, list[Given | str]]) -> None:
        """What the gradient of a state before its first step gives to what its initial value reads."""
        if state.initial is None or len(self.rec.scan) > 1 or state.dtype not in ("real", "complex"):
            return
        for slot in self.rec.slots:
            if slot.symbol == state.name:
                forward = next(s.direction[0] for s in self.rec.stages if state.name in s.equations) > 0
                moment = f"-{slot.depth}" if forward else f"T{f'+{slot.depth - 1}' if slot.depth > 1 else ''}"
                name = f"{self.name(state.name)}@{moment}"
                first = Symbol(name, Kind.LOCAL, state.axes, state.dtype, varies=False)
                self.work.symbols[name] = first
                for flow in reverse.flows(state.initial, self.work.read_of(first), state.initial):
                    found[flow.read.name].append(self._given(first, flow.read, flow.value))

    def _given(self, target: Symbol, read: Read, value: Expr) -> Given | str:
        """A contribution along the symbol's own axes."""
        symbol = self.program.table[read.name]
        names: dict[str, str] = {}
        places: list[tuple[str, Index]] = []
        inside: list[Shift] = []
        moves: dict[str, int] = {}
        for declared, index in zip(symbol.axes, read.index, strict=True):
            edge = self.program.axis[declared].edge
            if isinstance(index, Along) and index.offset and not self._follows(index, edge, value):
                return f"(what {target.name} gives back of {read.name} at {index.axis}{index.offset:+d}, {edge} ends)"
            if not isinstance(index, Along) or index.axis in names:
                places.append((declared, index))
                continue
            names[index.axis] = declared
            moves[index.axis] = -index.offset
            # A gradient along the axis is zero beyond its ends by itself.
            along = any(r.name in self.work.symbols and index.axis in r.axes for r in reads(value))
            if index.offset and edge == "zero" and not along:
                inside.append(Shift(declared, -index.offset))
        for axis, offset in moves.items():
            value = _moved(value, axis, offset) if offset else value
        value = tidy(self.work, rename(self.work, value, names))
        met = tuple((a, self._renamed(i, names, moves)) for a, i in places)
        lags = read.lags if target.varies else ()
        return Given(target.name, target.varies, lags, value, met, tuple(inside))

    def _follows(self, index: Along, edge: str, value: Expr) -> bool:
        """Whether a value can be moved along an axis: all that is read along it has the same rule beyond its ends."""
        if edge == "clamp":
            return False
        for node in walk(value):
            if isinstance(node, Reduce) and REDUCTIONS[node.fn] and index.axis in node.over:
                return False  # what keeps the axis that it reduces cannot be moved from inside
            if isinstance(node, Matrix) and index.axis in (node.rows, node.cols):
                return False
        for read in reads(value):
            for declared, other in zip(self.work.symbol(read.name).axes, read.index, strict=True):
                if isinstance(other, Along) and other.axis == index.axis and self.program.axis[declared].edge != edge:
                    return False
        return True

    def _renamed(self, index: Index, names: Mapping[str, str], moves: Mapping[str, int]) -> Index:
        """An index at which something is read, seen from the symbol's own axes."""
        if isinstance(index, Along):
            offset = index.offset + moves.get(index.axis, 0)
            return Along(names.get(index.axis, index.axis), offset)
        expr = index.expr
        for axis, offset in moves.items():
            expr = _moved(expr, axis, offset) if offset else expr
        return At(rename(self.work, expr, names))

    def equation(self, name: str) -> Equation | None:
        """The gradient of one symbol, `None` if nothing gives anything to it."""
        symbol = self.program.table[name]
        parts = self.given[name]
        if not parts:
            return None
        scan = self.rec.scan
        terms: list[Node] = []
        if symbol.kind is Kind.OUTPUT:
            terms.append(Words("given"))
        for part in parts:
            if isinstance(part, str):
                terms.append(Words(part))
            elif not symbol.varies and part.varies:
                here = tuple(Shift(s) for s in scan)
                terms.append(total(here, self._term(part, here)))
            else:
                later = tuple(Shift(s, lag) for s, lag in zip(scan, part.lags, strict=False))
                terms.append(self._term(part, later))
        steps = tuple(Shift(s) for s in scan) if symbol.varies else ()
        return Equation(add(terms), at(self.name(name), steps, symbol.axes))

    def _term(self, part: Given, steps: tuple[Shift, ...]) -> Node:
        node = self.maths.node(part.value, steps)
        for axis, index in part.places:
            spot = Shift(index.axis, index.offset) if isinstance(index, Along) else self.maths.node(index.expr, steps)
            node = times([node, Truth(Binary("eq", Shift(axis), spot))])
        for spot in part.inside:
            size = Call("size", (Shift(spot.name),))
            within = Binary("lt", spot, size) if spot.offset > 0 else Binary("le", Shift("0"), spot)
            node = times([node, Truth(within)])
        return node

    def equations(self) -> list[tuple[str, list[Equation]]]:
        """All gradients in groups: states, intermediates, inputs, parameters."""
        groups = []
        for lead, kinds in _GROUPS:
            names = [s.name for s in self.program.symbols if s.kind in kinds and s.dtype in ("real", "complex")]
            if Kind.STATE in kinds:
                order = [n for stage in reversed(self.rec.stages) for n in stage.equations]
                names = sorted(names, key=lambda n: order.index(n) if n in order else -1)
            found = [e for n in names if (e := self.equation(n)) is not None]
            if found:
                groups.append((lead, found))
        return groups


_GROUPS = (
    ("The states, against the order of the run:", (Kind.STATE,)),
    ("Outputs that are read again, and intermediates:", (Kind.OUTPUT, Kind.LOCAL)),
    ("The inputs:", (Kind.INPUT,)),
    ("The parameters, as sums over all steps:", (Kind.PARAM, Kind.CONST)),
)


def _moved(expr: Expr, axis: str, offset: int) -> Expr:
    """An expression read further along an axis; sums over an axis of the same name stay as they are."""
    if isinstance(expr, Read):
        index = tuple(
            replace(i, offset=i.offset + offset)
            if isinstance(i, Along) and i.axis == axis
            else i
            if isinstance(i, Along)
            else At(_moved(i.expr, axis, offset))
            for i in expr.index
        )
        return replace(expr, index=index)
    if isinstance(expr, Apply):
        return replace(expr, args=tuple(_moved(a, axis, offset) for a in expr.args))
    if isinstance(expr, Reduce):
        return expr if axis in expr.over else replace(expr, arg=_moved(expr.arg, axis, offset))
    return expr


__all__ = ["Adjoint", "Given"]
