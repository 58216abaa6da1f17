"""Runs the passes of a form along one scan axis, with torch operations only.

Inside a run every tensor is `[B, T, *batch, *axes]` or, for what does not vary, `[1, *batch, *axes]`, with 1
in place of any batch size for what is the same along it. Functions of the emitted module get `[*lead, *axes]`:

- for all chunks at once, `lead` is `(chunks, B, *batch)`, and a chunk's steps are along the chunk axis;
- in a loop over chunks, and for what does not vary, `lead` is `(B, *batch)`.

A pass that makes single steps is run in the same way: its chunks are one step long and have no axis for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from recc.backends.torch_eager.module import Function, Module, PassFunctions, TreeFunctions
from recc.backends.torch_eager.ops import Env
from recc.backends.torch_eager.shapes import cut
from recc.backends.torch_eager.tree import Level, Pieces, numbered, prefixes
from recc.forms.distribute import Phase
from recc.forms.passes import Carry, Pass, Port

#: A tensor of the program, and 0 for its real or 1 for its imaginary part.
Part = tuple[str, int]


@dataclass
class Run:
    """The tensors of one run, by name and part.

    Args:
        module: the emitted functions.
        lead: `(B, *batch)`.
        steps: the steps along each scan axis.
        sizes: the size of each axis, by the axis that gives it.
        dtype: of real values.
        device: where everything is.
        chunk: steps of a chunk, 0 for all of them; of no meaning to passes that make single steps.
        arguments: inputs `[B, *scan, *batch, *axes]`, parameters `[1, *batch, *axes]`.
        initial: the given states `[B, *batch, *axes]`.
        clock: the number of the first step of each sequence, `[B]` or `[1]`.
    """

    module: Module
    lead: tuple[int, ...]
    steps: tuple[int, ...]
    sizes: Mapping[str, int]
    dtype: torch.dtype
    device: torch.device
    chunk: int
    arguments: Mapping[Part, Tensor]
    initial: Mapping[Part, Tensor]
    clock: Tensor
    kept: dict[Part, Tensor] = field(default_factory=dict)
    outputs: dict[Part, Tensor] = field(default_factory=dict)
    final: dict[Part, Tensor] = field(default_factory=dict)

    def env(self, lead: tuple[int, ...]) -> Env:
        """What an emitted function needs to know beside its inputs."""
        return Env(lead, self.dtype, self.device)

    def prologue(self, functions: PassFunctions) -> Mapping[str, Tensor]:
        """What does not vary with time, and the first carries."""
        block = functions.loop.prologue
        given = {}
        for port in functions.loop.parameters:
            value = self.arguments[port.name, port.part]
            given[port.value] = order(value, len(self.lead), port.axes, block.input[port.value].axes)
        return functions.prologue(given, self.sizes, self.env((1, *self.lead[1:])))

    def first(self, loop: Pass, fixed: Mapping[str, Tensor]) -> dict[Part, Tensor]:
        """The carries before the first step, along the axes of their values."""
        found = {}
        for port in (p for p in loop.reads if p.role == "carry"):
            key, axes = (port.name, port.part), loop.step.input[port.value].axes
            carry = carry_of(loop, port)
            if carry.slot and key in self.initial:
                value = order(self.initial[key], len(self.lead), carry.axes, axes)
            else:
                value = fixed[f"init {port.label}"]
            found[key] = full(value, self.lead)
        return found

    def finish(self, loop: Pass, carries: Mapping[Part, Tensor]) -> None:
        """Takes the carries after the last step as final states."""
        for port in (p for p in loop.writes if p.role == "carry"):
            carry = carry_of(loop, port)
            if carry.slot:
                axes = loop.step.output[port.value].axes
                value = order(carries[port.name, port.part], len(self.lead), axes, carry.axes)
                self.final[port.name, port.part] = value

    def zeros(self, loop: Pass, port: Port, lead: tuple[int, ...]) -> Tensor:
        """Zeros for a port, its own axes without time after leading ones."""
        shape = [self.sizes[loop.step.root[a]] for a in port.axes if a != loop.chunk]
        kinds = {"real": self.dtype, "int": torch.int64, "bool": torch.bool}
        return torch.zeros((*lead, *shape), dtype=kinds[port.dtype], device=self.device)

    def written(self, port: Port) -> dict[Part, Tensor]:
        """The table that a port writes to."""
        return self.outputs if port.role == "output" else self.kept


def run_line(run: Run, functions: PassFunctions) -> None:
    """Runs one pass along a single scan axis, and adds to `run` what it writes."""
    loop = functions.loop
    (steps,) = run.steps
    fixed = run.prologue(functions)
    carries = run.first(loop, fixed)
    given = {p.value: _whole(run, loop, p) for p in loop.reads if p.role in ("argument", "kept", "clock")}
    invariant = {p.value: fixed[p.name].unsqueeze(0) for p in loop.reads if p.role == "prologue"}
    pieces: dict[str, list[Tensor]] = {p.value: [] for p in loop.writes if p.role != "carry"}
    for start, count, size in _stretches(steps, run.chunk if loop.chunk else 1):
        stretch = _Stretch(run, functions, count, size, carries)
        table = dict(invariant)
        for port in (p for p in loop.reads if p.value in given):
            piece = given[port.value].narrow(1, start, count * size) if count * size < steps else given[port.value]
            table[port.value] = stretch.stacked(piece, port)
        stretch.run(table)
        for port in (p for p in loop.writes if p.role != "carry"):
            pieces[port.value].append(stretch.unstacked(table[loop.step.output[port.value].name], port))
        carries = stretch.carries
    for port in (p for p in loop.writes if p.role != "carry"):
        whole = _joined(run, loop, port, pieces[port.value])
        whole = whole.flip(1) if loop.directions[0] == -1 else whole
        if port.role == "output":
            # What may lie in an argument's memory is copied: the caller may write to a result.
            own = port.value in functions.views
            whole = whole.clone(memory_format=torch.contiguous_format) if own else whole.contiguous()
        run.written(port)[port.name, port.part] = whole
    run.finish(loop, carries)


def _stretches(steps: int, chunk: int) -> Iterator[tuple[int, int, int]]:
    """Stretches of equal chunks: the first step, the number of chunks, and their size."""
    size = min(chunk, steps) or steps
    whole = steps // size * size if size else 0
    if whole:
        yield 0, whole // size, size
    if steps > whole:
        yield whole, 1, steps - whole


def _whole(run: Run, loop: Pass, port: Port) -> Tensor:
    """What a port reads at all steps, `[B, T, *batch, *axes]`, in the order in which the pass runs."""
    if port.role == "clock":
        numbers = run.clock[:, None] + torch.arange(run.steps[0], device=run.device)
        found = numbers.reshape(*numbers.shape, *(1 for _ in run.lead[1:]))
    else:
        found = (run.arguments if port.role == "argument" else run.kept)[port.name, port.part]
    return found.flip(1) if loop.directions[0] == -1 else found


def _joined(run: Run, loop: Pass, port: Port, pieces: Sequence[Tensor]) -> Tensor:
    """The whole of an output from its pieces of time."""
    if len(pieces) > 1:
        return torch.cat(list(pieces), 1)
    if pieces:
        return pieces[0]
    return run.zeros(loop, port, (run.lead[0], 0, *run.lead[1:]))


class _Stretch:
    """A stretch of `count` chunks of `size` steps: values of all chunks are `[count, B, *batch, *axes]`."""

    def __init__(self, run: Run, functions: PassFunctions, count: int, size: int, carries: Mapping[Part, Tensor]):
        self._run = run
        self._functions = functions
        self._count = count
        self._size = size
        loop = functions.loop
        self._sizes = {**run.sizes, loop.step.root[loop.chunk]: size} if loop.chunk else run.sizes
        self.carries = dict(carries)

    def stacked(self, value: Tensor, port: Port) -> Tensor:
        """From `[B, T, *batch, *axes]` to the chunks of a value, its axes in the order of the Block."""
        loop = self._functions.loop
        wanted = loop.step.input[port.value].axes
        heads = len(self._run.lead) - 1
        if not loop.chunk:
            places = {a: 2 + heads + i for i, a in enumerate(port.axes)}
            return value.permute(1, 0, *range(2, 2 + heads), *(places[a] for a in wanted))
        value = cut(value, 1, (self._count, self._size))
        places = {a: 2 + heads + i for i, a in enumerate(port.axes)}
        places[loop.chunk] = 2
        value = value.permute(1, 0, *range(3, 3 + heads), *(places[a] for a in wanted))
        return value.contiguous() if self._functions.products else value

    def unstacked(self, value: Tensor, port: Port) -> Tensor:
        """The reverse of `stacked`, of full size along the batch."""
        loop = self._functions.loop
        have = loop.step.output[port.value].axes
        value = full(value, (self._count, *self._run.lead))
        heads = len(self._run.lead) - 1
        places = {a: 2 + heads + i for i, a in enumerate(have)}
        own = [places[a] for a in port.axes if a != loop.chunk]
        if not loop.chunk:
            return value.permute(1, 0, *range(2, 2 + heads), *own)
        value = value.permute(1, 0, places[loop.chunk], *range(2, 2 + heads), *own)
        return value.flatten(1, 2)

    def run(self, table: dict[str, Tensor]) -> None:
        """Runs the phases: `table` gets every value that one hands to another or that the pass writes."""
        of = self._functions
        for phase, function, tree in zip(of.phases, of.functions, of.trees, strict=True):
            if tree is not None and self._count > 1:
                self._tree(phase, function, tree, table)
            elif phase.loop:
                self._loop(phase, function, table)
            else:
                self._batch(phase, function, table)
        loop = self._functions.loop
        for port in (p for p in loop.writes if p.role == "carry" and (p.name, p.part) not in self.carries):
            value = table[loop.step.output[port.value].name]
            self.carries[port.name, port.part] = full(value, (self._count, *self._run.lead))[-1]

    def _batch(self, phase: Phase, function: Function | None, table: dict[str, Tensor]) -> None:
        if function is not None:
            given = {v.name: table[v.name] for v in phase.block.inputs}
            table.update(function(given, self._sizes, self._run.env((self._count, *self._run.lead))))
        for carry in phase.carries:
            after = full(table[carry.after], (self._count, *self._run.lead))
            key = (carry.name, carry.part)
            if carry.before in phase.gives:
                table[carry.before] = torch.cat([self.carries[key].unsqueeze(0), after[:-1]])
            self.carries[key] = after[-1]

    def _loop(self, phase: Phase, function: Function | None, table: dict[str, Tensor]) -> None:
        state = {h.before: self.carries[h.name, h.part] for h in phase.carries}
        env = self._run.env(self._run.lead)
        given = {v.name: self._each(table[v.name]) for v in phase.block.inputs if v.name not in state}
        found: dict[str, list[Tensor]] = {name: [] for name in sorted(phase.gives)}
        for i in range(self._count):
            now = {n: values[i] for n, values in given.items()} | state
            made = {**now, **function(now, self._sizes, env)} if function is not None else now
            for name, values in found.items():
                values.append(full(made[name], self._run.lead))
            state = {h.before: full(made[h.after], self._run.lead) for h in phase.carries}
        self.carries.update({(h.name, h.part): state[h.before] for h in phase.carries})
        table.update({name: torch.stack(values) for name, values in found.items()})

    def _tree(self, phase: Phase, function: Function | None, tree: TreeFunctions, table: dict[str, Tensor]) -> None:
        """The phase for all chunks at once, in the rounds of a tree."""
        lead = (self._count, *self._run.lead)
        env = self._run.env(lead)
        pieces = tree.pieces({v.name: table[v.name] for v in tree.map.pieces.inputs}, self._sizes, env)
        level = Level(pieces, len(lead))

        def join(first: Pieces, second: Pieces) -> Pieces:
            count = len(next(iter(first.values())))
            made = tree.join(numbered(first, second), self._sizes, self._run.env((count, *self._run.lead)))
            return level(made, count)

        maps = prefixes(level(pieces, self._count), join)
        first = {h.before: self.carries[h.name, h.part].unsqueeze(0) for h in phase.carries}
        found = tree.apply({**maps, **first}, self._sizes, env)
        for h in phase.carries:
            after = full(found[h.before], lead)
            table[h.before] = torch.cat([first[h.before], after[:-1]])
            self.carries[h.name, h.part] = after[-1]
        if function is not None and phase.gives - first.keys():
            table.update(function({v.name: table[v.name] for v in phase.block.inputs}, self._sizes, env))

    def _each(self, values: Tensor) -> Sequence[Tensor]:
        """The value in each chunk."""
        found = values.unbind(0)
        return found if len(found) == self._count else found * self._count


def carry_of(loop: Pass, port: Port) -> Carry:
    """The carry that a port reads."""
    return next(c for c in loop.carries if c.name == port.name)


def full(value: Tensor, lead: tuple[int, ...]) -> Tensor:
    """A value with its leading axes of full size."""
    own = value.shape[len(lead) :]
    return value if value.shape[: len(lead)] == lead else value.expand(*lead, *own)


def order(value: Tensor, before: int, have: Sequence[str], want: Sequence[str]) -> Tensor:
    """The axes after the first `before` in another order."""
    if tuple(have) == tuple(want):
        return value
    return value.permute(*range(before), *(before + tuple(have).index(a) for a in want))


__all__ = ["Part", "Run", "full", "order", "run_line"]
