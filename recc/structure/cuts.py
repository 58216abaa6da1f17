"""Where a cascade is cut: what later equations read of a stage, contracted as far as possible first.

`E[t] = E[t-1] + sum[l](S[t] * q[t, l]) * v[t]` never needs the whole of S: the stage that makes S hands
over `sum[l](S[t] * q[t, l])`, which has one axis less. Such contractions are found in the equations as
they are meant, not as they are written: an equation that is linear in the states of an earlier stage is
taken apart as an update is, and its sums are carried out as soon as everything they need is known.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from recc.diagnostics import NOWHERE, Span
from recc.recurrence import At, Expr, Read, Recurrence, Reduce, Stage, reads
from recc.show import show_expr
from recc.structure.affine import Analysis, NotAffine
from recc.structure.build import base_of
from recc.structure.products import Product, Products
from recc.structure.rename import rename
from recc.structure.ring import Ring


@dataclass(frozen=True)
class Cut:
    """An expression that a stage hands over in place of a state.

    `axes` are fewer than those of the state `name` that it reads. `maker` is the index of the stage in
    `Recurrence.stages`, `readers` are the targets whose equations use it. `linear` says that it is a sum
    of products with the state; otherwise it is another reduction, such as a norm.
    """

    expr: Expr
    axes: tuple[str, ...]
    name: str
    maker: int
    readers: tuple[str, ...]
    linear: bool = True
    span: Span = field(default=NOWHERE, compare=False)

    def __str__(self) -> str:
        axes = f"[{', '.join(self.axes)}]" if self.axes else ""
        return f"{show_expr(self.expr)}{axes and ' ' + axes}: {self.name} for {', '.join(self.readers)}"


def cuts(rec: Recurrence) -> tuple[Cut, ...]:
    """Every contraction of a state that a later equation can be given in place of the state itself.

    In the order of the stages that make them.
    """
    found: dict[tuple[int, Expr], Cut] = {}
    for maker, stage in enumerate(rec.stages):
        if not stage.states:
            continue
        finder = _Finder(rec, stage, maker)
        for later in rec.stages:
            if later is stage:
                continue
            for target in later.equations:
                for cut in finder.find(rec.equation[target].expr, later, target):
                    key = (maker, cut.expr)
                    if key in found:
                        readers = tuple(dict.fromkeys((*found[key].readers, target)))
                        cut = replace(found[key], readers=readers)
                    found[key] = cut
    return tuple(found.values())


class _Readout(Ring):
    """Decomposition with respect to a stage's states as others see them: at any lag, nothing put in place."""

    def _read(self, expr: Read) -> Products:
        if expr.name not in self.analysis.targets or any(isinstance(i, At) for i in expr.index):
            raise NotAffine(expr, "not a state of the stage, or read at an index that is computed")
        return (Product((), (), expr, False, expr.span),)


class _Finder:
    """Finds what equations need of one stage."""

    def __init__(self, rec: Recurrence, stage: Stage, maker: int):
        self.rec = rec
        self.maker = maker
        self.by = _Readout(Analysis(rec, stage, large=sys.maxsize))  # a cut has names of the program only
        self.work = self.by.work
        self.stateful = frozenset(name for s in rec.stages if s.states for name in s.equations)

    def find(self, expr: Expr, reader: Stage, target: str) -> Iterator[Cut]:
        """The cuts in one expression."""
        if not self.by.analysis.depends(expr):
            return
        try:
            products = self.by.collected(self.by.of(expr))
        except NotAffine:
            inner = [cut for child in expr.children for cut in self.find(child, reader, target)]
            if not inner and isinstance(expr, Reduce):
                inner = list(self._reduction(expr, reader, target))
            yield from inner
            return
        for p in products:
            if p.read is not None:
                yield from self._contraction(p, reader, target)

    def _contraction(self, p: Product, reader: Stage, target: str) -> Iterator[Cut]:
        """The sums of a product that can be carried out before the reader runs.

        First those that need nothing of any other state, then those that need other earlier stages.
        """
        read = p.read
        assert read is not None
        own = frozenset(reader.equations)
        for forbidden in (self.stateful, own):
            ready = [f for f in p.factors if not any(r.name in forbidden for r in reads(f))]
            over = [a for a in p.bound if all(f in ready for f in p.factors if a in f.axes)]
            inside = [f for f in ready if any(a in over for a in f.axes)]
            left = {a for e in (read, *inside) for a in e.axes} - set(over)
            if over and len(left) < len(self.rec.table[read.name].axes):
                whole = self.by.multiplied((*inside, read))
                expr = self._plain(self.work.reduce("sum", over, whole, p.span), p.over)
                yield Cut(expr, expr.axes, read.name, self.maker, (target,), span=p.span)
                return

    def _plain(self, expr: Reduce, bound: tuple[str, ...]) -> Expr:
        """The same sum with the axes of the header where they are free."""
        taken = {a for a in expr.arg.axes if a not in bound}
        names: dict[str, str] = {}
        for axis in bound:
            base = base_of(axis)
            names[axis] = base if base not in taken else self.work.primed(axis, taken)
            taken.add(names[axis])
        over = tuple(names[a] for a in expr.over)
        return self.work.reduce("sum", over, rename(self.work, expr.arg, names), expr.span)

    def _reduction(self, expr: Reduce, reader: Stage, target: str) -> Iterator[Cut]:
        """A reduction that is not a sum: handed over as it is, if it needs nothing of the reader's own."""
        names = [r.name for r in reads(expr)]
        if any(n in reader.equations for n in names):
            return
        state = next(n for n in names if n in self.by.analysis.targets)
        if len(expr.axes) < len(self.rec.table[state].axes):
            yield Cut(expr, expr.axes, state, self.maker, (target,), False, expr.span)


__all__ = ["Cut", "cuts"]
