"""Linear recurrences along a dimension, over a ring or a semiring, without a loop over all of it.

The dimension is cut into blocks of L steps. All blocks run side by side, each from a state of zero, and
multiply up their transitions; the states between blocks obey a recurrence of the same kind, L times shorter,
which is run in the same way; then each step gets what the state before its block adds to it:

    A[j] = a[j] A[j-1],   z[j] = a[j] z[j-1] + b[j],   out[j] = z[j] + A[j] state.

Products only, no division, so that a transition may be zero or of any sign. Powers of a transition that does
not vary are kept in double precision: one that is rounded is off by the same factor at every use. Where a
step is wide enough to be worth one operation, or a product of transitions costs more than it saves, the steps
are run one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from recc.backends.torch_eager.lse import logaddexp, logsumexp
from recc.backends.torch_eager.shapes import cut, joint, parts

Entry = tuple[int, int]
State = tuple[Tensor, ...]
Map = Mapping[Entry, Tensor]


class Algebra(NamedTuple):
    """The operations of one kind of recurrence.

    `times(x, m)` applies a transition to a state or to a transition before it, `more(b, x, m)` adds the
    result to b.
    """

    times: Callable[[Tensor, Tensor], Tensor]
    more: Callable[[Tensor, Tensor, Tensor], Tensor]


def _rows(x: Tensor, m: Tensor) -> Tensor:
    """Rows `[..., v, c]` times matrices `[..., c, r]`: as few products as there are matrices."""
    if prod(m.shape[:-2]) == 1:
        return x @ m.reshape(m.shape[-2:])
    if m.shape[-3] == 1 and x.shape[-3] != 1:
        return cut(x.flatten(-3, -2) @ m.squeeze(-3), -2, x.shape[-3:-1])
    return x @ m


def _each(x: Tensor, m: Tensor) -> Tensor:
    """The terms of a product of rows and matrices: `[..., v, c, r]`."""
    return x.unsqueeze(-1) + m.unsqueeze(-3)


_ELEMENTWISE = {
    "ring": Algebra(torch.mul, torch.addcmul),
    "max-plus": Algebra(torch.add, lambda b, x, m: torch.maximum(b, x + m)),
    "min-plus": Algebra(torch.add, lambda b, x, m: torch.minimum(b, x + m)),
    "log-sum-exp": Algebra(torch.add, lambda b, x, m: logaddexp(b, x + m)),
}
_MATRIX = {
    "ring": Algebra(_rows, lambda b, x, m: b + _rows(x, m)),
    "max-plus": Algebra(lambda x, m: _each(x, m).amax(-2), lambda b, x, m: torch.maximum(b, _each(x, m).amax(-2))),
    "min-plus": Algebra(lambda x, m: _each(x, m).amin(-2), lambda b, x, m: torch.minimum(b, _each(x, m).amin(-2))),
    "log-sum-exp": Algebra(
        lambda x, m: logsumexp(_each(x, m), -2), lambda b, x, m: logaddexp(b, logsumexp(_each(x, m), -2))
    ),
}


def scan(
    entries: Sequence[Entry],
    a: Sequence[Tensor | float],
    b: Sequence[Tensor | float],
    first: Sequence[Tensor | float],
    dim: int,
    size: int,
    algebra: str = "ring",
    reverse: bool = False,
) -> State:
    """The components of an elementwise recurrence; see `recc.forms.block.Scan`.

    Args:
        entries: the pairs (k, l) of components that have a transition.
        a: a transition for each, of full size or 1 along each dimension, or a number.
        b: a drive for each component, the same.
        first: the state before the first step for each, without dimension `dim`.
        dim: the dimension that the recurrence follows, counted from the end.
        size: its size.
        algebra: a name of `recc.forms.block.Algebra`.
        reverse: whether it runs from the end.
    """
    like = next(x for x in (*a, *b, *first) if isinstance(x, Tensor))

    def tensors(values: Sequence[Tensor | float], dims: int) -> list[Tensor]:
        return [x if isinstance(x, Tensor) else like.new_full((1,) * dims, x) for x in values]

    transitions, drives, starts = tensors(a, -dim), tensors(b, -dim), tensors(first, -dim - 1)
    every = [x.shape for x in (*transitions, *drives)] + [x.unsqueeze(dim).shape for x in starts]
    shape = joint(*every)
    shape[dim] = size
    rest = shape[:dim] + shape[dim:][1:]
    run = _Run(_ELEMENTWISE[algebra], dim, reverse, _elementwise_block)
    whole = tuple(x.expand(shape) for x in drives)
    return run.run(
        _exact(dict(zip(entries, transitions, strict=True)), dim, algebra),
        whole,
        tuple(x.expand(rest) for x in starts),
        size,
    )


def powers(
    entries: Sequence[Entry],
    a: Sequence[Tensor | float],
    first: Sequence[Tensor | float],
    dim: int,
    size: int,
    reverse: bool = False,
) -> State:
    """The components of an elementwise recurrence over the ring with a constant transition and no drives.

    Law: `out[j] = a^(j+1) first`, by doubling: from n of them the next n are `a^n` times these. Arguments
    are those of `scan`.
    """
    like = next(x for x in (*a, *first) if isinstance(x, Tensor))

    def tensors(values: Sequence[Tensor | float], dims: int) -> list[Tensor]:
        return [x if isinstance(x, Tensor) else like.new_full((1,) * dims, x) for x in values]

    transition = _exact(dict(zip(entries, tensors(a, -dim), strict=True)), dim, "ring")
    starts = [x.unsqueeze(dim) for x in tensors(first, -dim - 1)]
    shape = joint(*(x.shape for x in (*transition.values(), *starts)))
    run = _Run(_ELEMENTWISE["ring"], dim, reverse, _elementwise_block)
    none = tuple(x.new_zeros(()) for x in starts)
    found = run.apply(transition, tuple(x.expand(shape) for x in starts), none)
    while (count := found[0].shape[dim]) < size:
        part = tuple(x.narrow(dim, 0, min(count, size - count)) for x in found)
        found = tuple(torch.cat(pair, dim) for pair in zip(found, run.apply(transition, part, none), strict=True))
        transition = run.compose(transition, transition)
    found = tuple(x.narrow(dim, 0, size) for x in found)
    return tuple(x.flip(dim) for x in found) if reverse else found


def scan_matrix(
    entries: Sequence[Entry],
    a: Sequence[Tensor],
    b: Sequence[Tensor],
    first: Sequence[Tensor],
    rows: int,
    columns: int,
    size: int,
    algebra: str = "ring",
    reverse: bool = False,
) -> State:
    """The components of a recurrence whose transitions are matrices; see `recc.forms.block.Scan`.

    Args:
        entries: the pairs (k, l) of components that have a transition.
        a: `[*batch, size or 1, *rows, *cols]` for each.
        b: `[*batch, size or 1, *columns, *rows]` for each component.
        first: `[*batch, *columns, *rows]` for each.
        rows: the number of axes that the matrices mix.
        columns: the number of axes that all matrices lack, beside `batch` dimensions of size 1.
        size: the number of steps.
        algebra: a name of `recc.forms.block.Algebra`.
        reverse: whether it runs from the end.

    Returns:
        The components `[*batch, size, *columns, *rows]`.
    """
    batch = a[0].dim() - 2 * rows - 1
    # Batch dimensions that no matrix has are further columns: then one product serves all of them.
    wide = [d for d in range(batch) if all(x.shape[d] == 1 for x in a)]
    narrow = [d for d in range(batch) if d not in wide]
    lead = joint(*(x.shape[:batch] for x in (*a, *b, *first)))
    inner = joint(*(x.shape[batch:] for x in first), *(x.shape[batch + 1 :] for x in b))
    sides = (*(lead[d] for d in wide), *inner[:columns])
    mixed = prod(inner[columns:])

    def matrix(x: Tensor) -> Tensor:
        """Transposed, `[*narrow, steps, cols, rows]`."""
        own = [x.shape[d] for d in narrow]
        return x.reshape(*own, x.shape[batch], mixed, mixed).mT

    def state(x: Tensor, steps: tuple[int, ...]) -> Tensor:
        """`[*narrow, *steps, columns, rows]`."""
        whole, after = x.expand(*lead, *steps, *inner), batch + len(steps)
        whole = whole.permute(*narrow, *range(batch, after), *wide, *range(after, whole.dim()))
        return whole.reshape(*(lead[d] for d in narrow), *steps, prod(sides), mixed)

    run = _Run(_MATRIX[algebra], -3, reverse, _matrix_block)
    matrices = _exact(dict(zip(entries, map(matrix, a), strict=True)), -3, algebra)
    found = run.run(matrices, tuple(state(x, (size,)) for x in b), tuple(state(x, ()) for x in first), size)
    places = [*narrow, batch, *wide, *range(batch + 1, batch + 1 + columns + rows)]
    back = [places.index(d) for d in range(len(places))]
    return tuple(x.reshape(*x.shape[:-2], *sides, *inner[columns:]).permute(back) for x in found)


def _exact(a: Map, dim: int, algebra: str) -> Map:
    """Transitions that do not vary, in double precision where the device has it."""
    constant = all(x.shape[dim] == 1 and x.device.type != "mps" for x in a.values())
    return {e: x.double() for e, x in a.items()} if constant and algebra == "ring" else a


#: Elements of a step from which on one operation for it alone is well spent, by the kind of device.
_WIDE = {"cpu": 1 << 12}
_WIDE_ELSEWHERE = 1 << 20

#: Steps of a block: more are less to do between blocks, fewer are fewer operations.
_BLOCK = 16

#: Steps that are run one by one rather than in blocks.
_SHORT = 16


def _elementwise_block(a: Map, b: State, dim: int, size: int) -> int:
    """Steps of a block of an elementwise recurrence; 0 for no blocks."""
    width = b[0].numel() // max(1, b[0].shape[dim])
    if size <= _SHORT or width >= _WIDE.get(b[0].device.type, _WIDE_ELSEWHERE):
        return 0
    return _BLOCK


def _matrix_block(a: Map, b: State, dim: int, size: int) -> int:
    """The same where transitions are matrices: their products must cost less than the operations saved."""
    if size <= _SHORT:
        return 0
    m = next(iter(a.values()))
    constant = m.shape[dim] == 1
    products = len(a) * (1 if constant else m.numel() // max(1, size)) * m.shape[-1]
    state = sum(x.numel() // max(1, x.shape[dim]) for x in b) * m.shape[-1]
    # In units of one multiplication: about what starting an operation costs.
    start = 1 << (17 if m.device.type == "cpu" else 24)
    blocked = products + 2 * state + start * 8 // _BLOCK
    return _BLOCK if blocked < state + 2 * start else 0


class _Run(NamedTuple):
    """One recurrence: its operations, its dimension, its direction, and how long its blocks are."""

    algebra: Algebra
    dim: int
    reverse: bool
    block: Callable[[Map, State, int, int], int]

    def run(self, a: Map, b: State, first: State, size: int) -> State:
        """The states after each step."""
        length = self.block(a, b, self.dim, size)
        if size == 0:
            return b
        if not length or length >= size:
            return self.steps(a, b, first, size)
        rest = size % length
        if not rest:
            return self.blocks(a, b, first, length)[0]
        # Steps that fill no block are run one by one, after the others.
        lengths = [rest, size - rest] if self.reverse else [size - rest, rest]
        main, tail = (1, 0) if self.reverse else (0, 1)
        cuts = {e: parts(x, self.dim, lengths) if x.shape[self.dim] != 1 else (x, x) for e, x in a.items()}
        drives = [parts(x, self.dim, lengths) for x in b]
        found, last = self.blocks({e: x[main] for e, x in cuts.items()}, tuple(x[main] for x in drives), first, length)
        more = self.steps({e: x[tail] for e, x in cuts.items()}, tuple(x[tail] for x in drives), last, rest)
        pairs = zip(more, found, strict=True) if self.reverse else zip(found, more, strict=True)
        return tuple(torch.cat(pair, self.dim) for pair in pairs)

    def order(self, size: int) -> range:
        """The positions in the order in which they are run."""
        return range(size - 1, -1, -1) if self.reverse else range(size)

    def apply(self, m: Map, h: State, b: State) -> State:
        """`m h + b`, by components, in the precision of h."""
        found = list(b)
        for (k, i), x in m.items():
            found[k] = self.algebra.more(found[k], h[i], x.to(h[i].dtype))
        return tuple(found)

    def compose(self, later: Map, earlier: Map) -> dict[Entry, Tensor]:
        """The transition of two steps."""
        found: dict[Entry, Tensor] = {}
        for (k, i), x in later.items():
            for (j, source), y in earlier.items():
                if i == j:
                    before = found.get((k, source))
                    made = self.algebra.times(y, x) if before is None else self.algebra.more(before, y, x)
                    found[k, source] = made
        return found

    def steps(self, a: Map, b: State, first: State, size: int) -> State:
        """One step after the other."""
        dim = self.dim
        a = {e: x.to(b[0].dtype) for e, x in a.items()}
        transitions = {e: x.unbind(dim) if x.shape[dim] != 1 else (x.squeeze(dim),) * size for e, x in a.items()}
        drives = [x.unbind(dim) for x in b]
        found: list[State] = []
        state = first
        for t in self.order(size):
            state = self.apply({e: x[t] for e, x in transitions.items()}, state, tuple(x[t] for x in drives))
            found.append(state)
        return _stacked(found[:: -1 if self.reverse else 1], dim)

    def blocks(self, a: Map, b: State, first: State, length: int) -> tuple[State, State]:
        """Blocks of `length` steps side by side: the states after each step, and after the last one."""
        dim, count = self.dim, b[0].shape[self.dim] // length
        sizes = (count, length)
        transitions = {e: cut(x, dim, sizes).unbind(dim) if x.shape[dim] != 1 else (x,) * length for e, x in a.items()}
        drives = [cut(x, dim, sizes).unbind(dim) for x in b]
        inner: list[tuple[Map, State]] = []
        for j in self.order(length):
            m = {e: x[j] for e, x in transitions.items()}
            z = tuple(x[j] for x in drives)
            if inner:
                product, state = inner[-1]
                z = self.apply(m, state, z)
                m = self.compose(m, product)
            inner.append((m, z))
        after = self.run(*inner[-1], first, count)
        ends = [parts(x, dim, [1, count - 1] if self.reverse else [count - 1, 1]) for x in after]
        if self.reverse:
            last = tuple(x[0].squeeze(dim) for x in ends)
            before = tuple(torch.cat([x[1], f.unsqueeze(dim)], dim) for x, f in zip(ends, first, strict=True))
        else:
            last = tuple(x[1].squeeze(dim) for x in ends)
            before = tuple(torch.cat([f.unsqueeze(dim), x[0]], dim) for x, f in zip(ends, first, strict=True))
        found = [self.apply(m, before, z) for m, z in inner]
        # Steps of a block go behind the blocks: `dim` counts from the end.
        whole = _stacked(found[:: -1 if self.reverse else 1], dim)
        return tuple(x.flatten(dim - 1, dim) for x in whole), last


def _stacked(states: Sequence[State], dim: int) -> State:
    return tuple(torch.stack(found, dim) for found in zip(*states, strict=True))


__all__ = ["Algebra", "powers", "scan", "scan_matrix"]
