"""An affine stage taken apart for the derivations: decay, terms of low rank, drives, readouts.

Law, for a stage with one state S of first order:

    S[t] = d[t] ⊙ S[t-1] + Σ_r u_r[t] ⊗ (w_r[t] · S[t-1]) + Σ_m b_m[t] ⊗ c_m[t]
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from recc.explain.letters import Letters, Way
from recc.explain.maths import Maths
from recc.explain.notation import Node, Shift, times, total
from recc.recurrence import Along, Apply, Expr, Read, Recurrence, Reduce, Symbol, reads
from recc.structure import Affine, Cut, Term
from recc.structure.build import Workspace, is_number
from recc.structure.rename import rename

Factors = tuple[Expr, ...]


@dataclass(frozen=True)
class Low:
    """A term of low rank, `u ⊗ (w · S)`: `w` along the state's own axes `over`, which it sums."""

    u: Expr
    w: Expr
    over: tuple[str, ...]


@dataclass(frozen=True)
class Readout:
    """A sum that a later equation makes of the state `lag` steps back: `Σ_over factors · S`.

    `names` says what the state's own axes are called there; `whole` is the expression, `left` its name if
    it is the whole of an equation.
    """

    factors: Factors
    over: tuple[str, ...]
    lag: int
    names: tuple[tuple[str, str], ...]
    whole: Expr
    left: str | None


@dataclass(frozen=True)
class Linear:
    """A stage with one state of first order, over one scan axis. `decay` is `None` where all is kept."""

    structure: Affine
    readouts: tuple[Readout, ...]

    @property
    def rec(self) -> Recurrence:
        """The recurrence that the expressions belong to."""
        return self.structure.rec

    @property
    def state(self) -> Symbol:
        """The state."""
        return self.rec.table[self.structure.states[0]]

    @cached_property
    def work(self) -> Workspace:
        """Where expressions are read along other axes."""
        return Workspace(self.rec)

    @cached_property
    def maths(self) -> Maths:
        """How expressions are written."""
        return Maths(self.rec)

    @cached_property
    def way(self) -> Way:
        """The order of steps."""
        return Way(self.rec.scan[0], self.structure.stage.direction[0], Letters(self.rec))

    @property
    def terms(self) -> tuple[Term, ...]:
        """Every term of the transition."""
        return tuple(t for e in self.structure.entries for p in e.parts for t in p.terms)

    @cached_property
    def decay(self) -> Expr | None:
        """The factor of each element, `d`."""
        for entry in self.structure.entries:
            for part in entry.parts:
                if part.kind in ("identity", "scalar", "diagonal"):
                    left = part.terms[0].left
                    return None if is_number(left, 1) else left
        return None

    @property
    def keeps(self) -> bool:
        """Whether there is a diagonal at all, if only that everything is kept."""
        parts = [p for e in self.structure.entries for p in e.parts]
        return any(p.kind in ("identity", "scalar", "diagonal") for p in parts)

    @cached_property
    def low(self) -> tuple[Low, ...]:
        """The terms of low rank."""
        found = []
        for term in (t for t in self.terms if t.over):
            names = dict(over_axes(self.state, term.read, term.over))
            found.append(Low(term.left, rename(self.work, term.right, names), tuple(names.values())))
        return tuple(found)

    @cached_property
    def drives(self) -> tuple[tuple[Factors, Factors], ...]:
        """Each product that is added, split in two: what runs along the summed axes, and the rest."""
        mixes = {a for low in self.low for a in low.over}
        mixes = mixes or {a for r in self.readouts for a, b in r.names if b in r.over}
        found = []
        for drive in self.structure.drives:
            for term in drive.terms:
                groups = term.groups
                inner = tuple(g for g in groups if not g.axes or mixes & set(g.axes))
                found.append((inner, tuple(g for g in groups if g not in inner)))
        return tuple(found)

    def along(self, expr: Expr, names: Sequence[tuple[str, str]]) -> Expr:
        """An expression over the state's own axes, read along those of a readout."""
        return rename(self.work, expr, dict(names))

    def node(self, exprs: Expr | Iterable[Expr], place: Shift) -> Node:
        """An expression, or a product of some, at a step."""
        exprs = [exprs] if isinstance(exprs, Expr) else list(exprs)
        return times(self.maths.node(e, place) for e in exprs)


def linear(structure: Affine, cuts: Sequence[Cut]) -> Linear | None:
    """The parts of a stage, if it is a sum of a diagonal and terms of low rank on one state of first order."""
    stage = structure.stage
    parts = [p for e in structure.entries for p in e.parts]
    kinds = {p.kind for p in parts}
    summed = all(t.over for p in parts if p.kind == "low_rank" for t in p.terms)
    fits = len(stage.states) == 1 and structure.order == 1 and len(structure.rec.scan) == 1
    if not fits or not summed or kinds - {"identity", "scalar", "diagonal", "low_rank"}:
        return None
    if structure.algebra != "ring" or structure.action == "both":
        return None
    rec = structure.rec
    return Linear(structure, tuple(readout for c in cuts if (readout := _readout(rec, stage.states[0], c))))


def _readout(rec: Recurrence, state: str, cut: Cut) -> Readout | None:
    expr = cut.expr
    if cut.name != state or not cut.linear or not isinstance(expr, Reduce) or expr.fn != "sum":
        return None
    factors = flat(expr.arg)
    inside = [f for f in factors if isinstance(f, Read) and f.name == state]
    rest = tuple(f for f in factors if f not in inside)
    if len(inside) != 1 or any(r.name == state for f in rest for r in reads(f)):
        return None
    read = inside[0]
    if not all(isinstance(i, Along) and not i.offset for i in read.index):
        return None
    names = tuple(zip(rec.table[state].axes, (i.axis for i in read.index if isinstance(i, Along)), strict=True))
    whole = [e.target for e in rec.equations if e.expr == expr]
    return Readout(rest, expr.over, read.lags[0], names, expr, whole[0] if whole else None)


def flat(expr: Expr) -> Factors:
    """The factors of a product."""
    if isinstance(expr, Apply) and expr.fn == "mul":
        return (*flat(expr.args[0]), *flat(expr.args[1]))
    return (expr,)


def over_axes(state: Symbol, read: Read, over: Sequence[str]) -> list[tuple[str, str]]:
    """Each summed axis of a read with the state's own axis that it stands for."""
    pairs = zip(state.axes, read.index, strict=True)
    return [(i.axis, a) for a, i in pairs if isinstance(i, Along) and i.axis in over]


def summed(over: Iterable[str], factors: Sequence[tuple[Node, Iterable[str]]]) -> Node:
    """The product of factors, each given with its axes, summed over axes as far inside as that can be."""
    axes = tuple(over)
    if not axes:
        return times(node for node, _ in factors)
    present = {a for _, own in factors for a in own}
    # An axis that no factor has still counts how often the product is added, so nothing moves out of its sum.
    stays = set(axes) <= present
    inside = [node for node, own in factors if not stays or set(own) & set(axes)]
    outside = [node for node, own in factors if stays and not set(own) & set(axes)]
    return times([*outside, total((Shift(a) for a in axes), times(inside))])


__all__ = ["Factors", "Linear", "Low", "Readout", "flat", "linear", "over_axes", "summed"]
