"""Rewrites of sums that suit loops: fewer of them, and the vector axis summed last."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from recc.forms.block import Block, Contract, Map, Op, Value


def merge_sums(block: Block) -> Block:
    """`sum(a b) + sum(c d)` over the same axes becomes `sum(a b + c d)`, where nothing else reads the parts.

    Adding up the lanes of a vector costs more than the products, and is then done once.
    """
    uses = Counter(v.name for op in block.ops for v in op.operands)
    uses.update(v.name for _, v in block.outputs)
    made = {op.out.name: op for op in block.ops}
    ops: list[Op] = []
    gone: set[str] = set()
    for op in block.ops:
        merged = _merge(op, made, uses)
        if merged is None:
            ops.append(op)
            continue
        for new in merged:
            made[new.out.name] = new
        assert isinstance(op, Map)
        gone.update(v.name for v in op.args)
        ops.extend(merged)
    kept = tuple(op for op in ops if op.out.name not in gone)
    return replace(block, ops=kept)


def _merge(op: Op, made: dict[str, Op], uses: Counter[str]) -> list[Op] | None:
    if not isinstance(op, Map) or op.fn not in ("add", "sub"):
        return None
    parts = [made.get(v.name) for v in op.args]
    left, right = parts
    if not isinstance(left, Contract) or not isinstance(right, Contract) or left is right:
        return None
    if left.over != right.over or left.out.axes != right.out.axes or any(uses[v.name] != 1 for v in op.args):
        return None
    new: list[Op] = []
    terms: list[Value] = []
    for part in (left, right):
        term = part.args[0]
        for number, factor in enumerate(part.args[1:]):
            axes = _union(left, term, factor)
            product = Value(f"{part.out.name}_term_{number}", axes)
            new.append(Map(product, "mul", (term, factor)))
            term = product
        terms.append(term)
    total = Value(f"{op.out.name}_terms", _union(left, *terms))
    new.append(Map(total, op.fn, (terms[0], terms[1])))
    new.append(Contract(op.out, (total,), left.over))
    return new


def _union(like: Contract, *values: Value) -> tuple[str, ...]:
    """The axes of some values, in the order in which the sum has them."""
    order: list[str] = []
    for value in sorted((*like.args, like.out, *values), key=lambda v: -len(v.axes)):
        order += [a for a in value.axes if a not in order]
    wanted = {a for v in values for a in v.axes}
    return tuple(a for a in order if a in wanted)


def split_sums(block: Block, vector: str) -> Block:
    """Sums over the vector axis and others in two steps, the vector axis last.

    The first step then adds vectors and only the second has to add up the lanes of one.
    """
    ops: list[Op] = []
    for op in block.ops:
        if isinstance(op, Contract) and vector in op.over and len(op.over) > 1:
            first = tuple(a for a in op.over if a != vector)
            axes = tuple(a for a in block.order if a in op.out.axes or a == vector)
            partial = Value(f"{op.out.name}_by_{vector}", axes)
            ops.append(Contract(partial, op.args, first))
            ops.append(Contract(op.out, (partial,), (vector,)))
        else:
            ops.append(op)
    return replace(block, ops=tuple(ops))


__all__ = ["merge_sums", "split_sums"]
