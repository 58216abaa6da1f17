"""What is true of a whole transition beside its kind: the side it acts from, its symmetry, what it depends on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from recc.recurrence import Along, At, Expr, Recurrence, Stage, reads
from recc.structure.affine import Decomposer
from recc.structure.build import Workspace, number
from recc.structure.data import Entry
from recc.structure.products import Product, Products

Action = Literal["", "left", "right", "both"]
Sides = Literal["", "product", "sum"]


def action(by: Decomposer, stage: Stage, products: Mapping[str, Products]) -> tuple[Action, Sides]:
    """The side from which matrices act on states with two axes, and how two sides go together.

    Every state with two axes is a matrix S. A term acts from the left if it is A S for some matrix A, from
    the right if it is S B, from both if it is A S B. A map with any other term that mixes elements acts from
    nowhere.
    """
    found: set[str] = set()
    for name in stage.states:
        axes = by.work.symbol(name).axes
        for p in products[name] if len(axes) == 2 else ():
            if p.read is not None and p.read.name == name:
                sides = _sides(p, axes)
                if sides is None:
                    return "", ""
                found |= sides
    if len(found) < 2:
        return ("left" if "left" in found else "right" if found else ""), ""
    name, *more = stage.states
    return "both", "" if more else _together(by, name, [p for p in products[name] if p.read is not None])


def _sides(p: Product, axes: tuple[str, ...]) -> set[str] | None:
    """The sides from which a term acts; `None` if it is no product of matrices."""
    assert p.read is not None
    mixed = [isinstance(i, At) or i.axis != a or a in p.over for a, i in zip(axes, p.read.index, strict=True)]
    if not any(mixed):
        return set()
    if any(
        isinstance(i, Along) and i.axis not in p.over and i.axis != a for a, i in zip(axes, p.read.index, strict=True)
    ):
        return None
    inner = [(i.axis,) if isinstance(i, Along) else i.expr.axes for i in p.read.index]
    if all(mixed):
        rows, cols = ({a, *own} for a, own in zip(axes, inner, strict=True))
        return None if any(rows & set(f.axes) and cols & set(f.axes) for f in p.factors) else {"left", "right"}
    other = axes[mixed.index(False)]
    if any(other in f.axes for f in p.factors) or other in inner[mixed.index(True)]:
        return None
    return {"left" if mixed[0] else "right"}


def _together(by: Decomposer, name: str, products: Sequence[Product]) -> Sides:
    """Whether the terms of S are those of A S B, or of A S + S B."""
    axes = by.work.symbol(name).axes
    groups: dict[frozenset[str], list[Product]] = {}
    for p in products:
        assert p.read is not None
        if p.read.name != name or any(isinstance(i, At) or i.offset for i in p.read.index):
            return ""
        groups.setdefault(frozenset(_sides(p, axes) or ()), []).append(p)
    if len({p.read.lags for p in products if p.read is not None}) > 1:
        return ""
    stay, left, right = (groups.get(frozenset(k), []) for k in ((), ("left",), ("right",)))
    both = groups.get(frozenset(("left", "right")), [])
    alone = not any(f.axes for p in stay for f in p.factors)
    if not both:
        return "sum" if alone else ""
    if len(both) == len(products):
        return "product" if len(both) == 1 else ""
    if by.name != "ring" or not alone or len(stay) != 1:
        return ""
    composed = [_after(by, x, y) for x in left for y in right]
    scaled = [replace(p, factors=(number(-1), *stay[0].factors, *p.factors)) for p in both]
    return "" if by.collected((*composed, *scaled)) else "product"


def _after(by: Decomposer, left: Product, right: Product) -> Product:
    """What a term that acts from the left makes of one that acts from the right."""
    assert left.read is not None
    names = {a: by.work.fresh(a) for a in right.over}
    moved = by.renamed(right, names)
    assert moved.read is not None
    read = by.work.read(left.read, (left.read.index[0], moved.read.index[1]))
    return replace(left, factors=(*left.factors, *moved.factors), over=(*left.over, *names.values()), read=read)


def circulant(work: Workspace, entries: Sequence[Entry]) -> tuple[str, ...]:
    """The axes along which the map is a circular convolution: shifts round a ring, the same everywhere."""
    parts = [p for e in entries for p in e.parts]
    if any(p.kind not in ("identity", "scalar", "diagonal", "shift") for p in parts):
        return ()
    shifted = dict.fromkeys(a for p in parts for a, _ in p.offsets)
    return tuple(a for a in shifted if work.axes[a].edge == "wrap" and not any(a in p.axes for p in parts))


def companion(entry: Entry) -> bool:
    """A shift by one along an axis and one row or column: the companion matrix of a polynomial."""
    shifts = [p for p in entry.parts if p.kind == "shift"]
    low = [p for p in entry.parts if p.kind == "low_rank"]
    if len(entry.parts) != 2 or len(shifts) != 1 or len(low) != 1 or entry.target != entry.source:
        return False
    ((axis, offset), *more) = shifts[0].offsets
    return not more and abs(offset) == 1 and low[0].rank == 1 and low[0].mixes == (axis,)


def gates(work: Workspace, stage: Stage, exprs: Iterable[Expr]) -> tuple[str, ...]:
    """The states of other stages that some expressions depend on, through whatever names."""
    rec: Recurrence = work.rec
    states = {s for other in rec.stages if other is not stage for s in other.states}
    todo, seen = list(exprs), dict.fromkeys(stage.equations)
    found: dict[str, None] = {}
    while todo:
        for read in reads(todo.pop()):
            if read.name in seen:
                continue
            seen[read.name] = None
            if read.name in states:
                found[read.name] = None
                continue
            equation = work.equations.get(read.name) or rec.equation.get(read.name)
            todo += [equation.expr] if equation is not None else []
    return tuple(s.name for s in rec.symbols if s.name in found)


__all__ = ["Action", "Sides", "action", "circulant", "companion", "gates"]
