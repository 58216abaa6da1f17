"""What an expression is as a function of a stage's earlier states: a sum of products, or not affine.

A decomposition of an expression e with respect to the states h, over a semiring (⊕, ⊗), is a list of
products with

    e = ⊕_p  ⊕_{over_p} ( ⊗ factors_p ) ⊗ read_p

where every factor is free of the stage's states and `read_p` is a read of one state at an earlier step,
or absent. It is found by recursion over the expression; intermediates of the stage are put in place of
their reads. `Ring` is the (+, *) case; `recc.structure.semirings` has the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from recc.diagnostics import Note, Span
from recc.recurrence import Apply, At, Expr, Matrix, Number, Read, Recurrence, Reduce, Stage, reads
from recc.show import OPERATOR, show_expr
from recc.structure.build import Workspace, base_of, is_number, number
from recc.structure.collect import collect
from recc.structure.inline import inlined
from recc.structure.poly import Polynomials
from recc.structure.products import Product, Products
from recc.structure.rename import CannotFollow, rename


class NotAffine(Exception):
    """An expression is not affine in the states: which sub-expression, why, and what takes part in it."""

    def __init__(self, expr: Expr, reason: str, notes: tuple[Note, ...] = ()):
        self.expr = expr
        self.reason = reason
        self.notes = notes
        super().__init__(reason)


class NotFollowed(NotAffine):
    """An expression that may be affine, but has an index that recc cannot express in other terms."""


@dataclass
class Analysis:
    """What the decompositions of one stage share: the workspace, the polynomials, what depends on a state."""

    rec: Recurrence
    stage: Stage
    large: int = 300  # see `Workspace`

    def __post_init__(self) -> None:
        self.work = Workspace(self.rec, self.large)
        self.polynomials = Polynomials(self.work)
        self.targets = frozenset(self.stage.equations)
        self._depends: dict[int, bool] = {}

    def together(self, spans: Sequence[Span]) -> Span:
        """The span around some spans of one equation; the first of them if they are in several."""
        whole = spans[0]
        for span in spans[1:]:
            whole = whole.to(span)
        inside = [e.span for e in self.rec.equations if e.span.start <= whole.start and whole.end <= e.span.end]
        return whole if inside else spans[0]

    def depends(self, expr: Expr) -> bool:
        """Whether an expression of the program reads anything of the stage."""
        if id(expr) not in self._depends:
            self._depends[id(expr)] = any(r.name in self.targets for r in reads(expr))
        return self._depends[id(expr)]

    def show(self, expr: Expr) -> str:
        """An expression as the program has it, or as it could be written."""
        text = self.rec.source.slice(expr.span).strip()
        text = _bare(" ".join(text.split())) if text else show_expr(expr, self.rec.scan)
        return text if len(text) <= 60 else text[:57] + "…"


def _bare(text: str) -> str:
    """A text without the brackets around the whole of it."""
    depth = 0
    for k, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0:
            return text[1:-1] if text[0] == "(" and k == len(text) - 1 else text
    return text


class Decomposer:
    """Decomposes the expressions of a stage over one semiring."""

    name: ClassVar[str]
    #: The functions that are ⊕ and ⊗, and the reduction that is ⊕ over an axis.
    plus: ClassVar[str]
    times: ClassVar[str]
    reduction: ClassVar[str]
    #: The numbers that change nothing: for ⊕ and for ⊗.
    zero: ClassVar[float]
    one: ClassVar[float]

    def __init__(self, analysis: Analysis):
        self.analysis = analysis
        self.work = analysis.work
        self.targets: dict[str, Products] = {}

    def stage(self) -> dict[str, Products]:
        """The decomposition of every equation of the stage. Raises `NotAffine`."""
        for name in self.analysis.stage.equations:
            expr = self.analysis.rec.equation[name].expr
            self.targets[name] = self.collected(self.of(expr), name)
        return self.targets

    def collected(self, products: Products, hint: str = "") -> Products:
        """Equal reads gathered, and names for what is large."""
        return collect(self, products, hint or self.analysis.stage.equations[0])

    def of(self, expr: Expr) -> Products:
        """The decomposition of an expression. Raises `NotAffine`."""
        if not self.analysis.depends(expr):
            return self.free(expr)
        if isinstance(expr, Read):
            return self._read(expr)
        if isinstance(expr, Reduce):
            return self.reduce(expr)
        if isinstance(expr, Matrix):
            return self.matrix(expr)
        assert isinstance(expr, Apply)
        if expr.fn == "where":
            return self._where(expr)
        if expr.fn == "stop":
            return self._stopped(expr)
        return self.apply(expr)

    # What differs between semirings.

    def free(self, expr: Expr) -> Products:
        """A state-free expression as products without a read."""
        raise NotImplementedError

    def apply(self, expr: Apply) -> Products:
        """The decomposition of a scalar function of something that reads a state."""
        raise NotImplementedError

    def reduce(self, expr: Reduce) -> Products:
        """The decomposition of a reduction of something that reads a state."""
        if expr.fn != self.reduction:
            raise self.refuse(expr)
        return self.summed(self.of(expr.arg), expr.over, expr.span)

    def matrix(self, expr: Matrix) -> Products:
        """The decomposition of a matrix function of something that reads a state."""
        raise self.refuse(expr)

    def multiplied(self, factors: Sequence[Expr]) -> Expr:
        """The ⊗ of some factors."""
        raise NotImplementedError

    def merged(self, products: Sequence[Sequence[Expr]]) -> tuple[Expr, ...] | None:
        """The factors of one product that is the ⊕ of some, or `None` if they cancel."""
        raise NotImplementedError

    def monomials(self, products: Sequence[Sequence[Expr]]) -> list[tuple[Expr, ...]] | None:
        """The ⊕ of some products multiplied out, unless it is too large."""
        raise NotImplementedError

    def canonical(self, factors: Sequence[Expr]) -> object:
        """Something that is equal for factors whose product is the same, as far as can be told."""
        raise NotImplementedError

    # What is the same for all.

    def added(self, exprs: Sequence[Expr]) -> Expr:
        """The ⊕ of some expressions."""
        if not exprs:
            return number(self.zero)
        total = exprs[0]
        for expr in exprs[1:]:
            total = self.work.apply(self.plus, total, expr)
        return total

    def rest(self, products: Products) -> Expr:
        """The value of products without reads."""
        return self.added([self.multiplied(p.factors) for p in products])

    def scaled(self, products: Products, factors: Sequence[Expr], span: Span) -> Products:
        """Every product times some factors. The term that the text is asked for grows up to the first sum."""
        return tuple(replace(p, factors=(*factors, *p.factors), span=p.span if p.over else span) for p in products)

    def summed(self, products: Products, over: Sequence[str], span: Span) -> Products:
        """The ⊕ over some axes of products: each axis becomes one that nothing else uses."""
        found: list[Product] = []
        for p in products:
            if p.read is None:
                found.append(replace(p, factors=(self.sum_of(p.factors, over),), span=span))
                continue
            fresh = {a: self.work.fresh(a) for a in over}
            moved = self.renamed(p, fresh)
            found.append(replace(moved, over=(*moved.over, *fresh.values()), span=span))
        return tuple(found)

    def is_one(self, expr: Expr) -> bool:
        """Whether a factor changes nothing."""
        return is_number(expr, self.one)

    def sum_of(self, factors: Sequence[Expr], over: Sequence[str]) -> Expr:
        """The ⊕ over axes of the ⊗ of factors, where some may not have the axes."""
        whole = self.multiplied(factors)
        inner = [a for a in over if a in whole.axes]
        plain = {a: b for a in inner if (b := base_of(a)) != a and b not in whole.axes}
        if inner:
            whole = self.work.reduce(self.reduction, [plain.get(a, a) for a in inner], rename(self.work, whole, plain))
        copies = self.copies([base_of(a) for a in over if a not in inner])
        return self.multiplied((*copies, whole)) if copies else whole

    def copies(self, axes: Sequence[str]) -> tuple[Expr, ...]:
        """Factors whose ⊕ over axes is that of as many ones as the axes are long."""
        return tuple(self.work.reduce("sum", [a], self.work.one(a)) for a in axes)

    def renamed(self, p: Product, names: dict[str, str]) -> Product:
        """A product read along other axes."""
        factors = tuple(rename(self.work, f, names) for f in p.factors)
        assert p.read is not None
        read = rename(self.work, p.read, names)
        assert isinstance(read, Read)
        return replace(p, factors=factors, read=read)

    def _read(self, expr: Read) -> Products:
        analysis = self.analysis
        for index in expr.index:
            if isinstance(index, At) and analysis.depends(index.expr):
                notes = (Note(index.expr.span, "depends on the state"),)
                raise NotAffine(expr, f"`{expr.name}` is read at an index that depends on the state", notes)
        if any(expr.lags):
            return (Product((), (), expr, False, expr.span),)
        try:
            return inlined(self, expr, self.targets[expr.name])
        except CannotFollow as why:
            raise NotFollowed(expr, f"recc cannot follow `{analysis.show(expr)}` into its equation: {why}") from None

    def _where(self, expr: Apply) -> Products:
        condition, then, other = expr.args
        if self.analysis.depends(condition):
            notes = (Note(condition.span, "depends on the state"),)
            raise NotAffine(expr, "the condition of `where` depends on the state", notes)
        sides = [self.collected(self.of(e)) for e in (then, other)]
        keys = [{p.key: p for p in side if p.read is not None and not p.over} for side in sides]
        found: list[Product] = []
        for key in dict.fromkeys([*keys[0], *keys[1]]):
            values = [k[key].factors if key in k else (number(self.zero),) for k in keys]
            model = keys[0].get(key) or keys[1][key]
            if values[0] == values[1]:
                found.append(replace(model, span=expr.span))
                continue
            both = [self.multiplied(v) for v in values]
            factor = self.work.apply("where", condition, *both, span=expr.span)
            found.append(replace(model, factors=(factor,), span=expr.span))
        for k, side in enumerate(sides):
            chosen = [number(self.zero)] * 2
            chosen[k] = number(self.one)
            factor = self.work.apply("where", condition, *chosen, span=expr.span)
            found += self.scaled(tuple(p for p in side if p.over), (factor,), expr.span)
        rests = [self.rest(tuple(p for p in side if p.read is None)) for side in sides]
        if not all(is_number(r, self.zero) for r in rests):
            factor = self.work.apply("where", condition, *rests, span=expr.span)
            found.append(Product((factor,), (), None, False, expr.span))
        return tuple(found)

    def _stopped(self, expr: Apply) -> Products:
        """The value of `stop` is that of its argument; nothing in it has a gradient."""
        found: list[Product] = []
        for p in self.of(expr.args[0]):
            factors = tuple(f if isinstance(f, Number) else self.work.apply("stop", f, span=f.span) for f in p.factors)
            found.append(replace(p, factors=factors, stopped=p.read is not None))
        return tuple(found)

    def without_states(self, expr: Apply) -> Products | None:
        """The expression as state-free, if its states cancel; `None` if they do not."""
        args: list[Expr] = []
        for arg in expr.args:
            products = self.collected(self.of(arg))
            if any(p.read is not None for p in products):
                return None
            args.append(self.rest(products))
        return self.free(self.work.apply(expr.fn, *args, span=expr.span))

    def refuse(self, expr: Expr) -> NotAffine:
        """Why a function of something that depends on the state is not affine."""
        show = self.analysis.show
        parts = [c for c in expr.children if self.analysis.depends(c)]
        notes = tuple(Note(c.span, "depends on the state") for c in parts)
        if isinstance(expr, Apply) and expr.fn == "mul" and len(parts) == 2:
            return NotAffine(expr, f"`{show(parts[0])}` times `{show(parts[1])}`: both depend on the state", notes)
        if isinstance(expr, Apply) and expr.fn == "div" and self.analysis.depends(expr.args[1]):
            return NotAffine(expr, f"divides by `{show(expr.args[1])}`, which depends on the state", notes[-1:])
        if isinstance(expr, Apply) and expr.fn == "surrogate":
            return NotAffine(
                expr, "`surrogate` has a gradient of its own for something that depends on the state", notes
            )
        if isinstance(expr, Apply) and expr.fn in ("re", "im", "conj"):
            return NotAffine(expr, f"`{expr.fn}` of a complex state is linear over the reals only", notes)
        fn = getattr(expr, "fn", "")
        shown = f"`{OPERATOR[fn]}`" if fn in OPERATOR else f"`{fn}`"
        return NotAffine(expr, f"{shown} of `{show(parts[0])}`, which depends on the state", notes)


__all__ = ["Analysis", "Decomposer", "NotAffine", "NotFollowed"]
