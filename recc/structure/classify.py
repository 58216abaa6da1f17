"""The verdict on a stage: pointwise, affine over the ring or a semiring, or nonlinear; with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recc.diagnostics import NOWHERE, Note, Span
from recc.recurrence import Along, Expr, Matrix, Read, Recurrence, Reduce, Stage, walk
from recc.structure.affine import Analysis, Decomposer, NotAffine, NotFollowed
from recc.structure.data import (
    Affine,
    Algebra,
    Drive,
    DriveTerm,
    Entry,
    Kind,
    Nonlinear,
    Part,
    Pointwise,
    Semiring,
    Structure,
    join,
    rank_of,
)
from recc.structure.pairs import pairs
from recc.structure.parts import Parts
from recc.structure.products import Products
from recc.structure.resets import resets
from recc.structure.ring import Ring
from recc.structure.semirings import candidates
from recc.structure.whole import action, circulant, companion, gates

_ALGEBRA: dict[str, Algebra] = {
    "ring": "ring", "max-plus": "max-plus", "min-plus": "min-plus", "log-sum-exp": "log-sum-exp",
}  # fmt: skip
#: Parts from the least to the most that they ask of a form: the last one decides.
_WEIGHT: tuple[Kind, ...] = ("identity", "scalar", "diagonal", "shift", "low_rank", "gather", "dense")


def classify(rec: Recurrence, stage: Stage) -> Structure:
    """What kind of recurrence a stage is.

    Its update is taken apart symbolically with respect to the stage's own earlier states, all of them
    together: over the ring first, then over the semirings whose sum the stage uses.
    """
    if not stage.states:
        return Pointwise(stage=stage, reason="no equation of the stage reads an earlier step of its own")
    analysis = Analysis(rec, stage)
    ring = Ring(analysis)
    try:
        return _affine(analysis, ring)
    except NotAffine as failure:
        found = failure
    for semiring, functions in candidates(analysis):
        try:
            return _affine(analysis, semiring(analysis))
        except NotAffine as failure:
            deeper = getattr(found.expr, "fn", "") in functions and failure.expr != found.expr
            if deeper and _is_affine(ring, failure.expr):
                found = _mixture(found, failure, semiring.name)
            elif deeper or isinstance(failure, NotFollowed):
                found = failure
    return _nonlinear(analysis, found)


def _is_affine(ring: Ring, expr: Expr) -> bool:
    """Whether an expression is affine over the ring, so that it is not to blame by itself."""
    try:
        ring.of(expr)
    except (NotAffine, KeyError):  # a name that the ring had not come to is not known to be affine
        return False
    return True


def _mixture(outer: NotAffine, inner: NotAffine, semiring: str) -> NotAffine:
    """Why a semiring's sum of what is linear over the ring only is neither: the sum is to blame."""
    note = Note(inner.expr.span, f"is not linear over {semiring}")
    return NotAffine(outer.expr, f"{outer.reason} (not linear over {semiring} either)", (*outer.notes, note))


def structures(rec: Recurrence) -> tuple[Structure, ...]:
    """The structure of every stage, in order."""
    return tuple(classify(rec, stage) for stage in rec.stages)


def _nonlinear(analysis: Analysis, failure: NotAffine) -> Nonlinear:
    rec, stage = analysis.rec, analysis.stage
    at = failure.expr.span.start
    holds = [n for n in stage.equations if rec.equation[n].span.start <= at < rec.equation[n].span.end]
    return Nonlinear(
        stage=stage,
        reason=failure.reason,
        span=failure.expr.span,
        target=holds[0] if holds else stage.equations[0],
        expr=failure.expr,
        notes=failure.notes,
        elementwise=_elementwise(analysis),
    )


def _elementwise(analysis: Analysis) -> bool:
    """Whether no equation of the stage mixes elements of its states."""
    rec = analysis.rec
    axes = {frozenset(rec.table[name].axes) for name in analysis.stage.states}
    for node in (n for name in analysis.stage.equations for n in walk(rec.equation[name].expr)):
        if isinstance(node, Reduce | Matrix) and analysis.depends(node):
            return False
        if isinstance(node, Read) and node.name in analysis.targets:
            own = tuple(Along(a) for a in rec.table[node.name].axes)
            if node.index != own or frozenset(node.axes) not in axes:
                return False
    return len(axes) == 1


def _affine(analysis: Analysis, by: Decomposer) -> Affine:
    """The structure over one algebra. Raises `NotAffine`."""
    rec, stage = analysis.rec, analysis.stage
    products = by.stage()
    parts_of = Parts(by)
    own = {name: products[name] for name in stage.states}
    entries = tuple(e for name in stage.states for e in parts_of.entries(name, own[name]))
    parts = [p for e in entries for p in e.parts]
    drives = tuple(_drive(by, name, products[name]) for name in stage.states)
    kind = _kind(stage, entries)
    pointwise = [p for p in parts if p.kind in ("identity", "scalar", "diagonal")]
    decides = max(parts, key=lambda p: _WEIGHT.index(p.kind), default=None)
    terms = [t for p in parts for t in p.terms]
    coefficients = [e for t in terms for e in (t.left, t.right)]
    side, together = action(by, stage, own)
    fields: dict[str, Any] = {
        "stage": stage,
        "reason": _reason(analysis, by, kind, decides, parts),
        "span": decides.span if decides is not None else rec.equation[stage.states[0]].span,
        "algebra": _ALGEBRA[by.name],
        "kind": kind,
        "axes": _union(p.axes for p in parts),
        "mixes": _union(p.mixes for p in parts),
        "rank": max((e.rank for e in entries), default=0),
        "action": side,
        "sides": together,
        "order": max((abs(lag) for e in entries for lag in e.lags), default=1),
        "constant": all(p.constant for p in parts),
        "complex": "complex" in {*(rec.table[s].dtype for s in stage.states), *(e.dtype for e in coefficients)},
        "size": pointwise[0].size if len(pointwise) == 1 and pointwise[0].kind != "identity" else None,
        "companion": any(companion(e) for e in entries),
        "resets": resets(by, entries),
        "pairs": pairs(by, own, entries),
        "circulant": circulant(by.work, entries),
        "gates": gates(by.work, stage, coefficients),
        "entries": entries,
        "drives": drives,
    }
    factored = [e for p in parts for t in p.factored for e in (t.left, t.right)]
    used = [
        *coefficients,
        *factored,
        *fields["resets"],
        *(t.read for t in terms),
        *(g for d in drives for t in d.terms for g in t.groups),
    ]
    return (Affine if by.name == "ring" else Semiring)(rec=by.work.extended(used, stage), **fields)


def _kind(stage: Stage, entries: Sequence[Entry]) -> Kind:
    """The kind of the whole map. Several states, or several lags, never make an identity."""
    kind = join([p for e in entries for p in e.parts])
    return "scalar" if kind == "identity" and len(entries) > 1 else kind


def _drive(by: Decomposer, name: str, products: Products) -> Drive:
    terms = []
    for p in products:
        if p.read is not None:
            continue
        groups: dict[tuple[str, ...], list[Expr]] = {}
        for factor in p.factors:
            groups.setdefault(factor.axes, []).append(factor)
        alone = {axes: by.multiplied(factors) for axes, factors in groups.items()}
        terms.append(DriveTerm(tuple(alone.values()) or (by.multiplied(()),)))
    return Drive(name, tuple(terms))


def _union(groups: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(a for group in groups for a in group))


def _reason(analysis: Analysis, by: Decomposer, kind: Kind, part: Part | None, parts: Sequence[Part]) -> str:
    if part is None:
        return "no state reads an earlier state"
    show = analysis.show
    term = next((t for t in part.terms if t.span == part.span), part.terms[0])
    state = show(term.read)
    if part.kind == "identity":
        return f"`{state}` is carried over as it is"
    if part.kind in ("scalar", "diagonal"):
        axes = ", ".join(part.axes)
        shared = "is the same for every element" if part.kind == "scalar" else f"has {_axes(axes)}"
        return f"the coefficient `{_text(analysis, term.left)}` of `{state}` {shared}"
    if part.kind == "shift":
        return f"`{state}` is read beside its own place along {', '.join(a for a, _ in part.offsets)}"
    if part.kind == "gather":
        return f"`{state}` is read at other places"
    along = ", ".join(part.mixes)
    if part.kind == "low_rank" and kind == "dense":
        other = next(p for p in parts if p.kind == "low_rank" and p.mixes != part.mixes)
        beside = f"and `{_term(analysis, other.span, other.terms[0])}` mixes {', '.join(other.mixes)}"
        return f"`{_term(analysis, part.span, term)}` mixes {along}, {beside}"
    if part.kind == "low_rank":
        return f"`{_term(analysis, part.span, term)}` mixes {along} with rank {part.rank}"
    comes = f"has the rank of {ranks}" if (ranks := rank_of(part)) else "does not come apart"
    return f"the coefficient `{_text(analysis, term.right)}` of `{state}` mixes {along} and {comes}"


def _axes(axes: str) -> str:
    return f"the axes {axes}" if "," in axes else f"the axis {axes}"


def _term(analysis: Analysis, span: Span, term: Any) -> str:
    text = analysis.rec.source.slice(span)
    return " ".join(text.split()) if span != NOWHERE and text and len(text) < 80 else analysis.show(term.read)


def _text(analysis: Analysis, expr: Expr) -> str:
    from recc.show import show_expr

    text = show_expr(expr, analysis.rec.scan)
    return text if len(text) <= 80 else text[:77] + "…"


__all__ = ["classify", "structures"]
