"""The maps of stretches of time of a pass, and which kernel makes which pieces of them.

A piece is a tile that a program holds, and takes through every chunk of a stretch. Columns of a map are cut over
programs until that is possible.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod

from recc.backends.triton_gpu.kernel import carry_axes
from recc.backends.triton_gpu.spec import THIN, Spec, all_carries, power_of_two
from recc.forms.advance import Tier, tiers
from recc.forms.block import Block, Contract, Op, Value
from recc.forms.passes import Pass
from recc.forms.segment import Carried

#: The most elements of a piece of a map, and of what has columns of one: a matrix of side 128.
_LARGEST = 1 << 14
#: Elements of them that a thread holds, where a program may have more warps, and the most warps.
_EACH, _WARPS = 64, 8
#: The most elements of all pieces of a map that one kernel makes, if they have columns.
_TOGETHER = 1 << 12


@dataclass(frozen=True)
class Stretches:
    """The maps of a pass, forward and backward, for whoever splits its time."""

    forward: tuple[Tier, ...]
    backward: tuple[Tier, ...]


def stretches_of(spec: Spec, loop: Pass) -> Stretches | None:
    """The maps of a pass; none where what is carried is not affine over any algebra, or where nothing is."""
    if spec.lanes or not loop.carries:
        return None
    block, back = loop.step, loop.step_vjp
    before = {(p.name, p.part): p.value for p in loop.reads if p.role == "carry"}
    after = {(p.name, p.part): p.value for p in loop.writes if p.role == "carry"}
    forward, backward = [], []
    for carry, part in all_carries(loop):
        key = (carry.name, part)
        if key not in before or f"d {after[key]}" not in back.input or f"d {before[key]}" not in back.output:
            return None
        name, axes = carry.label(part), carry_axes(loop, carry, part)
        forward.append(Carried(name, before[key], after[key], axes))
        backward.append(Carried(name, f"d {after[key]}", f"d {before[key]}", axes))
    ahead = tiers(block, forward)
    against = tiers(back, backward) if ahead else ()
    return Stretches(ahead, against) if ahead and against else None


@dataclass(frozen=True)
class Share:
    """Some pieces of the map of a tier, that one kernel makes or applies, and what it is made for.

    `step` is the Block of a chunk for these pieces, with `known` of earlier tiers as far as they need it. `remade`
    says that it is one of a backward run, and needs carries between those that are kept.
    """

    tier: Tier
    pieces: Mapping[str, Value]
    step: Block
    known: tuple[Carried, ...]
    spec: Spec
    remade: bool


def shares(spec: Spec, loop: Pass, tier: Tier) -> tuple[Share, ...]:
    """The pieces of a tier, kernel by kernel; none if some have no room.

    All in one, unless they are more than a thread should hold. Then M is made by one kernel, and F by another.
    """
    whole = share(spec, loop, tier, tier.pieces)
    if whole and (
        not tier.columns or sum(_tiles(whole.spec, tier.start, (v.axes for v in whole.pieces.values()))) <= _TOGETHER
    ):
        return (whole,)
    kinds = [{n: v for n, v in tier.pieces.items() if n[0] == kind} for kind in "MF"]
    found = [share(spec, loop, tier, pieces) for pieces in kinds]
    return tuple(s for s in found if s is not None) if all(found) else ()


def share(spec: Spec, loop: Pass, tier: Tier, pieces: Mapping[str, Value]) -> Share | None:
    """Some pieces of a tier. Columns are cut until they, and what a chunk makes of them, fit; none if they cannot."""
    known = tier.known
    step = tier.step.live(pieces)
    if any(c.before in step.input for c in known):
        step = tier.step.live([*pieces, *(c.after for c in known)])
    else:
        known = ()
    roots = {column: step.root[axis] for column, axis in tier.columns.items()}
    if any(root in spec.cut or root not in spec.sizes for root in roots.values()):
        return None
    carried = {p.value for p in loop.reads if p.role == "carry"} - {c.before for c in tier.known}
    remade = spec.segment > 1 and not carried.isdisjoint(step.input)
    blocks = (step, loop.step) if remade else (step,)
    there = {b.root[a] for b in blocks for v in (*b.inputs, *(op.out for op in b.ops)) for a in v.axes}
    tiles = {a: width for a, width in spec.tiles.items() if a in there}
    sizes = {**spec.sizes, **{column: spec.sizes[root] for column, root in roots.items()}}
    widths = {column: spec.width(root) for column, root in roots.items() if column in there}
    least = {column: THIN if root in spec.multiplied else 1 for column, root in roots.items()}
    made = [_made(spec, op) for op in step.ops if not tier.columns.keys().isdisjoint(op.space)]
    while True:
        found = replace(spec, sizes=sizes, tiles={**tiles, **widths}, stages=1)
        own = _tiles(found, step, (v.axes for v in pieces.values()))
        largest = max([*own, *_tiles(found, step, made)])
        if largest <= _LARGEST:
            busy = power_of_two(max(sum(own), largest) // (32 * _EACH))
            cut = replace(found, warps=min(_WARPS, max(spec.warps, busy)))
            return Share(tier, pieces, step, known, cut, remade)
        wide = [c for c in widths if widths[c] > least[c]]
        if not wide:
            return None
        widths[max(wide, key=lambda c: widths[c])] //= 2


def _made(spec: Spec, op: Op) -> Iterable[str]:
    """The axes of the largest tile that an operation makes: what is summed, unless it is a product of matrices."""
    if not isinstance(op, Contract) or len(op.args) < 2:
        return op.out.axes
    one, other, *rest = ({*v.axes} for v in op.args)
    matrices = one - other and other - one and one & other <= {*op.over} and not rest
    return op.out.axes if matrices and spec.compute == "float32" else op.space


def _tiles(spec: Spec, block: Block, values: Iterable[Iterable[str]]) -> list[int]:
    """The elements of tiles of some axes."""
    return [prod(spec.width(block.root[a]) for a in axes) for axes in values]


__all__ = ["Share", "Stretches", "shares", "stretches_of"]
