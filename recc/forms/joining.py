"""Joining: a loop over chunks as a tree, where the carries of its phase are affine in those before the chunk.

A phase in a loop takes the carries c[n] from chunk to chunk. Where it is affine in them, `c[n+1] = M[n] c[n] + F[n]`,
and with maps composed in pairs, (M2, F2) after (M1, F1) being (M2 M1, M2 F1 + F2), all carries are known after
about 2 log2 N rounds for N chunks. That is some 2 N compositions in place of N steps:

    loop  =  N (launches + work of a step)
    tree  =  launches once + 2 log2 N launches of a join + N (2 work of a join + work of pieces)

so that the tree pays where steps are small beside what an operation takes to start.
Source: G. Blelloch, *Prefix Sums and Their Applications*, 1990.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import log2
from typing import NamedTuple

from recc.forms.block import Block, BlockError
from recc.forms.device import Device
from recc.forms.distribute import Phase, distribute
from recc.forms.passes import Parallel, Pass
from recc.forms.segment import Carried, SegmentMap, block_map
from recc.forms.work import Held, Sweep, Walk

_BYTES = 4  # of a float32
#: Operations that a join takes beside its own for each piece, to take every second chunk out and put them together
#: again, and elements that it moves for each of theirs; so many times as much for gradients as well.
_WOVEN, _MOVED, _BACK = 4.0, 4.0, 4.0
#: How much quicker a tree has to be: it holds more, and estimates are coarse.
_DOUBT = 1.5


class Work(NamedTuple):
    """What one run of a Block takes for one chunk: seconds beside starting operations, and how many are started."""

    seconds: float
    launches: float

    def plus(self, seconds: float, launches: float) -> Work:
        """With more of both."""
        return Work(self.seconds + seconds, self.launches + launches)


def joins(count: int, step: Work, join: Work, once: Work, device: Device) -> bool:
    """Whether a tree over chunks is clearly quicker than a loop over them.

    If it is for some chunks, two at least, it is for twice as many.

    Args:
        count: chunks.
        step: a trip of the loop.
        join: a composition of two maps.
        once: what the tree computes for all chunks at once, per chunk: maps, and their application.
        device: where it runs.
    """
    if count < 2:
        return False
    loop = count * (step.launches * device.launch + step.seconds)
    started = once.launches + 2 * log2(count) * join.launches
    return _DOUBT * (started * device.launch + count * (once.seconds + 2 * join.seconds)) < loop


def phase_map(loop: Pass, phase: Phase) -> SegmentMap | None:
    """The affine map of a phase that runs in a loop over chunks; `None` if there is none.

    `apply` gives the carries after a chunk by the names that they have before it.
    """
    ports = {p.value: p for p in loop.reads if p.role == "carry"}
    if not (phase.loop and loop.chunk) or any(ports[h.before].dtype != "real" for h in phase.carries):
        return None
    values = {**loop.step.input, **{op.out.name: op.out for op in phase.block.ops}}
    inputs = {v.name: v for v in phase.block.inputs}
    outputs, carries = [], []
    for h in phase.carries:
        after = values[h.after]
        if h.after in loop.step.input:
            inputs[h.after] = after
        outputs.append((h.before, after))
        carries.append(Carried(ports[h.before].label, h.before, h.before, after.axes))
    block = replace(phase.block, inputs=tuple(inputs.values()), outputs=tuple(outputs))
    try:
        return block_map(block, carries)
    except BlockError:
        return None


class Joinable(NamedTuple):
    """A phase in a loop over chunks that could run as a tree: its pass, itself, and its affine map."""

    loop: Pass
    phase: Phase
    map: SegmentMap


def joinable(form: Parallel) -> dict[tuple[int, int], Joinable]:
    """Every phase of a form that could run as a tree, by the numbers of its pass and its own, both from 0."""
    found = {}
    for n, loop in enumerate(form.passes):
        for k, phase in enumerate(distribute(loop) if len(loop.directions) == 1 else ()):
            one = phase_map(loop, phase)
            if one is not None:
                found[n, k] = Joinable(loop, phase, one)
    return found


def joins_phase(
    one: Joinable, sizes: Mapping[str, int], count: int, size: int, batch: int, device: Device, backward: bool
) -> bool:
    """Whether a phase is quicker as a tree.

    Args:
        one: the phase.
        sizes: the size of each axis, by the axis that gives it.
        count: chunks.
        size: steps of a chunk.
        batch: sequences times the sizes of batch axes.
        device: where it runs.
        backward: whether gradients are computed as well.
    """
    loop, phase, found = one
    sizes = {**sizes, loop.step.root[loop.chunk]: size}

    def work(block: Block) -> Work:
        return _work(block, sizes, batch, device, backward)

    step, join, pieces, applied = (work(b) for b in (phase.block, found.join, found.pieces, found.apply))
    # Each trip takes its inputs out of those of all chunks.
    step = step.plus(device.call, 0.5 * len(phase.block.inputs) + 0.2 * len(phase.gives))
    moved = sum(_elements(found.join, v.axes, sizes, batch) for _, v in found.join.outputs)
    calls, times = device.call / device.launch, _BACK if backward else 1.0
    woven = _WOVEN * len(found.join.outputs) * times
    join = join.plus(_MOVED * moved * times * _BYTES / device.bandwidth, woven + calls)
    once = pieces.plus(*applied).plus(0.0, len(phase.carries) + 2 * calls)
    if phase.gives - {h.before for h in phase.carries}:
        once = once.plus(*work(phase.block))
    return joins(count, step, join, once, device)


def _elements(block: Block, axes: tuple[str, ...], sizes: Mapping[str, int], batch: int) -> float:
    found = float(batch)
    for a in axes:
        found *= sizes[block.root[a]]
    return found


def _work(block: Block, sizes: Mapping[str, int], batch: int, device: Device, backward: bool) -> Work:
    """The work of a Block for one chunk, every input taken as one that differs between chunks and sequences."""
    inputs = {v.name: Held(frozenset(v.axes), True, None, v.dtype == "real") for v in block.inputs}
    seconds = launches = 0.0
    for piece in Walk(block, sizes, batch, inputs, device.wide).pieces():
        for sweep in (*piece.forward, *(piece.backward if backward else ())):
            seconds += _seconds(sweep, device)
            launches += sweep.launches
    return Work(seconds, launches)


def _seconds(k: Sweep, d: Device) -> float:
    """The time of a sweep beside its start."""
    found = k.scalars / d.scalars + (k.read + k.written) * _BYTES / d.bandwidth
    found += max(k.products, k.thin * d.thin) / d.products + k.matrices * d.matrix
    return found + k.solved / d.solves + k.transformed / d.transforms


__all__ = ["Joinable", "Work", "joinable", "joins", "joins_phase", "phase_map"]
