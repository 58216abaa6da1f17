"""The order of a Block's operations in which few large tiles wait for their last use at any time.

A Block's own order is that in which it was derived: all of a step, then its gradients. A compiler for GPUs keeps the
order of matrix products and of what lies between them, so that tiles which wait fill the registers. Here operations
are taken greedily: next comes the one after which the tiles that wait are smallest. Loads count where they are first
used, and results that go to memory leave at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from recc.forms.block import Block, Constant, Iota, Op, Rename, Value


def scheduled(block: Block, elements: Callable[[Value], int], stay: Collection[str] = ()) -> tuple[Op, ...]:
    """The operations of a Block in an order that keeps little waiting.

    Args:
        block: the Block.
        elements: the elements of the tile of a value.
        stay: the names of values that are there all the time, before and after.
    """
    position = {op.out.name: n for n, op in enumerate(block.ops)}
    same = _aliases(block)

    def key(v: Value) -> str:
        return same.get(v.name, v.name)

    size = {v.name: elements(v) for v in (*block.inputs, *(op.out for op in block.ops))}
    for op in block.ops:
        if isinstance(op, (Constant, Iota)):
            size[op.out.name] = 0
    size |= dict.fromkeys(stay, 0)
    uses: dict[str, int] = {}
    for op in block.ops:
        for name in {key(v) for v in op.operands}:
            uses[name] = uses.get(name, 0) + 1
    waiting = {op.out.name: len({v.name for v in op.operands if v.name in position}) for op in block.ops}
    readers: dict[str, list[Op]] = {}
    for op in block.ops:
        for name in {v.name for v in op.operands if v.name in position}:
            readers.setdefault(name, []).append(op)
    ready = [op for op in block.ops if not waiting[op.out.name]]
    there: set[str] = set()
    found: list[Op] = []

    def growth(op: Op) -> int:
        operands = {key(v) for v in op.operands}
        made = 0 if op.out.name in same or not uses.get(op.out.name) else size[op.out.name]
        loaded = sum(size[n] for n in operands if n not in there)
        return made + loaded - sum(size[n] for n in operands if uses[n] == 1)

    while ready:
        op = min(ready, key=lambda o: (growth(o), position[o.out.name]))
        ready.remove(op)
        found.append(op)
        there.update(key(v) for v in op.operands)
        there.add(op.out.name)
        for name in {key(v) for v in op.operands}:
            uses[name] -= 1
        for reader in readers.get(op.out.name, ()):
            waiting[reader.out.name] -= 1
            if not waiting[reader.out.name]:
                ready.append(reader)
    return tuple(found)


def _aliases(block: Block) -> dict[str, str]:
    """For a value that is another one under other names of its axes, that other."""
    found: dict[str, str] = {}
    for op in block.ops:
        if isinstance(op, Rename):
            found[op.out.name] = found.get(op.arg.name, op.arg.name)
    return found


__all__ = ["scheduled"]
