"""Loop distribution: one loop over chunks as a few phases, most of which run for all chunks at once.

The loop of a pass calls its step Block chunk after chunk (or step after step), though most of the Block does
not wait for the chunk before. Law, with carries c, everything else that the Block reads x, and what it
writes y, for n = 0, 1, …:

    c[n+1], y[n] = step(c[n], x[n])

- What depends on no carry is computed for all n at once.
- A carry whose next value is known for all n is known itself: c[n+1] is that value, moved by one chunk.
- Carries that need each other, or themselves, are strongly connected. They stay in a loop, which has only
  the operations on their cycle: what leads to a next value of theirs from a value of theirs. What the loop
  needs beside is computed before it, what only reads the carries is computed after it for all n.

The phases in order compute what the loop computes. Source: the distribution of loops along the strongly
connected components of their dependences, R. Allen and K. Kennedy, *Optimizing Compilers for Modern
Architectures*, 2001, chapter 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from recc.check.graph import components
from recc.forms.block import Block, Constant, Op, Scan, Value
from recc.forms.passes import Pass


@dataclass(frozen=True)
class Handover:
    """One part of a carry: `before` and `after` are values of the step Block, as they enter and leave a chunk."""

    name: str
    part: int
    before: str
    after: str


@dataclass(frozen=True)
class Phase:
    """Operations of a step Block that run together: for all chunks at once, or chunk after chunk in a loop.

    The inputs of `block` are values that the step reads or that earlier phases give, its outputs values
    that later phases, handovers or the pass need; all have the names that they have in the step Block.
    After the phase, `carries` are known before each chunk and after the last. `gives` are the values, outputs
    and carries before a chunk, that are needed of all chunks, by later phases or by whoever runs the pass.
    """

    block: Block
    loop: bool
    carries: tuple[Handover, ...]
    gives: frozenset[str]


def distribute(loop: Pass, sink: bool = True) -> tuple[Phase, ...]:
    """The phases of a pass.

    `sink=False` leaves in one loop everything that needs a carry which only a loop can give, so that
    carries need not be there for all chunks at once: less memory where nothing is kept for gradients.
    """
    return _Distribution(loop, sink).run()


class _Distribution:
    """One pass on its way into phases: which carries are known and which operations have been placed."""

    def __init__(self, loop: Pass, sink: bool):
        self.block = block = loop.step
        self.sink = sink
        entering = [p for p in loop.reads if p.role == "carry"]
        read = {(p.name, p.part) for p in entering}
        after = {(p.name, p.part): block.output[p.value].name for p in loop.writes if p.role == "carry"}
        # A carry that a pass only writes, because its first value is in the Block already, is an output.
        outputs = [p for p in loop.writes if p.role != "carry" or (p.name, p.part) not in read]
        self.written = {block.output[p.value].name for p in outputs}
        self.handovers = {p.value: Handover(p.name, p.part, p.value, after[p.name, p.part]) for p in entering}
        self.values: dict[str, Value] = {**block.input, **{op.out.name: op.out for op in block.ops}}
        self.constants = {op.out.name: op for op in block.ops if isinstance(op, Constant)}
        self.needs = self._needs()
        self.known: set[str] = set()
        self.placed: set[str] = set()

    def _needs(self) -> dict[str, frozenset[str]]:
        """For each value the carries that it depends on within a chunk, by their names before it."""
        found = {v.name: frozenset((v.name,) if v.name in self.handovers else ()) for v in self.block.inputs}
        for op in self.block.ops:
            found[op.out.name] = frozenset(chain.from_iterable(found[v.name] for v in op.operands))
        return found

    def run(self) -> tuple[Phase, ...]:
        """Phases in order, alternately for all chunks and in a loop."""
        found: list[tuple[list[Op], bool, list[Handover]]] = []
        order = components({h.before: sorted(self.needs[h.after]) for h in self.handovers.values()})
        while True:
            ready = [op for op in self._waiting() if self.needs[op.out.name] <= self.known]
            moved = [h for h in self._unknown() if self.needs[h.after] <= self.known]
            if ready or moved:
                found.append((self._place(ready), False, moved))
                self.known.update(h.before for h in moved)
                continue
            unknown = self._unknown()
            if not unknown:
                break
            group = next(g for g in order if g[0] not in self.known) if self.sink else [h.before for h in unknown]
            ops = self._cycle(frozenset(group)) if self.sink else self._waiting()
            found.append((self._place(ops), True, [self.handovers[name] for name in sorted(group)]))
            self.known.update(group)
        return self._phases(found)

    def _unknown(self) -> list[Handover]:
        return [h for h in self.handovers.values() if h.before not in self.known]

    def _waiting(self) -> list[Op]:
        """Operations that no phase has yet. Constants are made anew wherever they are used."""
        repeated = self.constants.keys() - self.written - {h.after for h in self.handovers.values()}
        return [op for op in self.block.ops if op.out.name not in self.placed and op.out.name not in repeated]

    def _place(self, ops: list[Op]) -> list[Op]:
        self.placed.update(op.out.name for op in ops)
        return ops

    def _cycle(self, group: frozenset[str]) -> list[Op]:
        """The operations between the carries of a group and their next values.

        The components of one scan stay together, since whoever runs one runs all.
        """
        wanted = {self.handovers[name].after for name in group}
        for op in reversed(self.block.ops):
            if op.out.name in wanted and self.needs[op.out.name] & group:
                wanted.update(v.name for v in op.operands)
        waiting = [op for op in self._waiting() if self.needs[op.out.name] & group]
        together = {op.group for op in waiting if isinstance(op, Scan) and op.out.name in wanted}
        return [op for op in waiting if op.out.name in wanted or (isinstance(op, Scan) and op.group in together)]

    def _phases(self, found: Sequence[tuple[list[Op], bool, list[Handover]]]) -> tuple[Phase, ...]:
        """The phases with what each hands to later ones, worked out from the last back."""
        needed = set(self.written)
        phases: list[Phase] = []
        for ops, is_loop, handovers in reversed(found):
            wanted = needed | {h.after for h in handovers}
            block = self._part(f"{self.block.name}_{'loop' if is_loop else 'batch'}", ops, wanted)
            made = {name for name, _ in block.outputs} | {h.before for h in handovers}
            phases.insert(0, Phase(block, is_loop, tuple(handovers), frozenset(made & needed)))
            needed |= wanted
            needed.update(v.name for v in block.inputs)
        return tuple(phases)

    def _part(self, name: str, ops: Sequence[Op], wanted: Iterable[str]) -> Block:
        """A Block of some operations, with the constants that they use and those of their results in `wanted`."""
        made = {op.out.name for op in ops}
        used = dict.fromkeys(v.name for op in ops for v in op.operands)
        again = [self.constants[n] for n in used if n in self.constants and n not in made]
        inputs = tuple(self.values[n] for n in used if n not in made and n not in self.constants)
        outputs = tuple((op.out.name, op.out) for op in ops if op.out.name in set(wanted))
        body = (*again, *ops)
        return Block(name, inputs, body, outputs, self.block.order, self.block.size_of)


__all__ = ["Handover", "Phase", "distribute"]
