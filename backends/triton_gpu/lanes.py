"""Which single-step forms run several sequences per program: those whose states meet a matrix that all of them share.

A program that makes one sequence multiplies a matrix with a vector in every step: each element of the matrix is used
once, and a thin state leaves threads idle. With 16 sequences in one tile, an axis `lane` of it, the same step is a
product of matrices, `h[lane, m]` with `A[n, m]`, and the gradient of A is one too, a sum over lanes.

The form with lanes is `derive_sequential` again, told that inputs have the axis and parameters do not. So nothing
below knows what is computed; kernels only have to know where the sequences of their lanes lie.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from math import prod

from recc.forms.block import Block, Contract, Matrix, Op, Rename, Value
from recc.forms.passes import LANE, Pass, Sequential
from recc.forms.sequential import derive_sequential
from recc.recurrence import Kind

#: Sequences of a program: the least side of a product of matrices. Always as many, whatever the batch.
LANES = 16
#: A product is worth it where more than half of the smallest tile is not padding.
_LEAST = LANES // 2
#: The most elements of a tile with lanes. A matrix state of every lane soon has more.
_MOST = 1 << 14

#: The axes of a factor that are summed over, and the others of the one that all lanes share.
Sides = tuple[frozenset[str], frozenset[str]]


def with_lanes(form: Sequential, sizes: Mapping[str, int]) -> Sequential | None:
    """The same form with several sequences per program; none where one at a time is better, or all that there is.

    Wanted is, in a step, a sum of products of what depends on a carry with what varies neither by step nor by
    sequence, along an axis, and to another, of more than half a tile. It is not to be had over several scan axes, nor
    where steps are counted, which each sequence does from a number of its own; nor with matrix functions of what
    varies by sequence, nor with states of which a program cannot hold several.

    Args:
        form: the form of one sequence per program.
        sizes: the size of each axis, by the axis that gives it.
    """
    rec = form.rec
    if form.lanes is not None or len(rec.scan) > 1 or rec.clock:
        return None
    if not any(_shares(loop, sizes) for loop in form.passes):
        return None
    found = derive_sequential(rec, [s.name for s in rec.of_kind(Kind.INPUT)])
    width = {LANE: LANES, **sizes}
    for root in multiplied(found):
        width[root] = max(LANES, width[root])
    for loop in found.passes:
        for block in (loop.step, loop.step_vjp):
            if not all(_held(block, op, width) for op in block.ops):
                return None
    return found


def multiplied(form: Sequential) -> frozenset[str]:
    """The axes, by what gives their size, that products of matrices with lanes run along."""
    found: set[str] = set()
    for loop in form.passes:
        for op in loop.step.ops:
            for sides in _products(op):
                found.update(loop.step.root[a] for side in sides for a in side if len(side) == 1)
    return frozenset(found)


def is_product(op: Op) -> bool:
    """Whether an operation multiplies a matrix of lanes with one that they share."""
    return any(True for _ in _products(op))


def taped(loop: Pass) -> tuple[Value, ...]:
    """The results of products, on the way to the carries, that the backward step would otherwise make again."""
    again = {op.out for op in loop.step_vjp.ops}
    made = loop.step.live([p.value for p in loop.writes if p.role == "carry"])
    return tuple(op.out for op in made.ops if is_product(op) and op.out in again)


def held_factors(block: Block, known: Collection[Value] = ()) -> frozenset[tuple[str, str]]:
    """The matrices that lanes share which a Block multiplies, by name, each with the axis that it is summed over.

    Products whose results are `known` are left out.
    """
    found: set[tuple[str, str]] = set()
    for op in block.ops:
        if isinstance(op, Contract) and is_product(op) and op.out not in known:
            found.update((v.name, ",".join(op.over)) for v in op.args if LANE not in v.axes)
    return frozenset(found)


def _products(op: Op) -> Iterator[Sides]:
    """The pairs of factors of a sum that are matrices to be multiplied, one of lanes with one that they share."""
    if not isinstance(op, Contract):
        return
    own = [{*v.axes} for v in op.args]
    for one in (axes for axes in own if LANE in axes):
        for other in (axes for axes in own if LANE not in axes):
            both = one & other
            if both and both <= {*op.over} and other - both:
                yield frozenset(both), frozenset(other - both)


def _shares(loop: Pass, sizes: Mapping[str, int]) -> bool:
    """Whether a step of one sequence has a product that would be one of matrices with lanes."""
    block = loop.step
    size = {a: sizes.get(r, 1) for a, r in block.root.items()}
    fixed = {p.value for p in loop.reads if p.role == "prologue"}
    carried = {p.value for p in loop.reads if p.role == "carry"}
    for op in block.ops:
        names = {v.name for v in op.operands}
        if names <= fixed:
            fixed.add(op.out.name)
        if names & carried:
            carried.add(op.out.name)
        if not isinstance(op, Contract):
            continue
        for one in (v for v in op.args if v.name in carried):
            for other in (v for v in op.args if v.name in fixed):
                both = {*one.axes} & {*other.axes}
                sides = both, {*other.axes} - both
                if both <= {*op.over} and min(prod(size[a] for a in side) for side in sides) > _LEAST:
                    return True
    return False


def _held(block: Block, op: Op, width: Mapping[str, int]) -> bool:
    """Whether a program with lanes can do an operation."""
    values = (*op.operands, op.out)
    if not any(LANE in v.axes for v in values):
        return True
    if isinstance(op, Matrix):
        return False
    tiles = [v.axes for v in values if LANE in v.axes]
    if not isinstance(op, Rename) and not is_product(op) and not _over_lanes(op):
        tiles.append(tuple(op.space))
    return all(prod(width[block.root[a]] for a in axes) <= _MOST for axes in tiles)


def _over_lanes(op: Op) -> bool:
    """Whether an operation is the gradient of a matrix that lanes share, a product of matrices too."""
    if not isinstance(op, Contract) or LANE not in op.over:
        return False
    own = [{*v.axes} for v in op.args]
    return any(LANE in one & other <= {*op.over} for n, one in enumerate(own) for other in own[n + 1 :])


__all__ = ["LANES", "held_factors", "is_product", "multiplied", "taped", "with_lanes"]
