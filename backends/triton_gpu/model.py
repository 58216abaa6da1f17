"""What a cut of a form into programs will take of a GPU, estimated without compiling it.

The law, for a Block whose values are tiles of one program: with `live` the most reals that are alive at once,

    registers of a thread  =  live / threads + a few of its own
    spills of a thread     =  a few bytes for each register that it may not have

because a value stays in registers from where it is made to where it is last read. Compilers do better (they make
small values again) and worse (operands of matrix products are laid out anew, and what is spilled is loaded into
registers again); `_FACTOR` and `_SPILLED` are what was seen when kernels were compiled for sm_90. What a chunk
then takes is

    seconds  =  max(latency + own / alone, P (products / rate + bytes / bandwidth + spilled bytes / cache bandwidth))

for P programs on a processor: latency is hidden by other programs, work is not. The figures rank cuts. They promise
no times.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, prod
from typing import Literal

from recc.backends.triton_gpu.compiler import Resources
from recc.backends.triton_gpu.device import DEVICES, Device, occupancy
from recc.backends.triton_gpu.lanes import held_factors, is_product, taped
from recc.backends.triton_gpu.spec import THIN, Spec, all_carries, power_of_two
from recc.forms.block import Block, Constant, Contract, Cumulate, Iota, Map, Matrix, Op, Reduce, Rename, Scan, Value
from recc.forms.passes import LANE, Pass

Way = Literal["forward", "backward"]

#: Bytes of an element of arguments and outputs, as they mostly are.
_STORED = 2
#: Bytes that memory moves together.
_SECTOR = 32
#: Registers that a thread needs beside those of tiles: addresses, positions, counters.
_OWN = 36
#: Registers taken per register's worth of tiles that are alive, as compiled kernels show.
_FACTOR = 1.2
#: A program that is foreseen to take this part less shared memory than there is has enough of it.
_SURE = 1.65
#: Registers that products of lanes take of every thread in a backward run, whatever the number of threads.
_LANED: Mapping[str, int] = {"bfloat16": 120, "tf32": 120, "tf32x3": 170, "ieee": 170}
#: Bytes spilled for each register that a thread lacks.
_SPILLED = 7
#: What one processor does in a second: products and sums on tensor cores and elsewhere, bytes from memory it is
#: given a share of, bytes to and from its first cache and the next, where spilled registers go.
_TENSOR, _PLAIN, _CACHE, _BEYOND = 2.5e12, 2.5e11, 1e11, 3e10
#: Bytes of spilled registers that the first cache holds; more go further.
_CACHED = 96 * 1024
#: Seconds that pass before the result of a matrix product, or of elements that meet along an axis, can be used.
_WAIT_PRODUCT, _WAIT_ALONG, _WAIT_STEP = 2.5e-7, 1.5e-7, 5e-7


@dataclass(frozen=True)
class Estimate:
    """What a program of a kernel takes, and what a step of one item then costs.

    `registers` are those of a thread, before any is spilled; `spills` and `shared` are bytes, as in `Resources`;
    `programs` run side by side on a processor; `seconds` is the time of a processor for a step of one item.
    """

    registers: int
    spills: int
    shared: int
    programs: int
    seconds: float


@dataclass
class Load:
    """What a Block asks of a program, whatever its number of threads."""

    live: float = 0.0
    shared: float = 0.0
    tensor: float = 0.0
    plain: float = 0.0
    wait: float = 0.0
    moved: float = 0.0
    #: Bytes of shared memory with what all steps multiply with.
    held: float = 0.0

    def also(self, other: Load) -> Load:
        """Both, one after the other."""
        most = max(self.live, other.live), max(self.shared, other.shared)
        sums = self.tensor + other.tensor, self.plain + other.plain, self.wait + other.wait
        return Load(*most, *sums, held=max(self.held, other.held))


def estimate(spec: Spec, way: Way, device: Device | None = None) -> Estimate:
    """What is foreseen of a cut: the worst pass in registers, spills and shared memory, the sum of all in time."""
    return foreseen(spec, way, loads(spec, way), device or DEVICES["sm_90"])


def foreseen(spec: Spec, way: Way, asked: Sequence[Load], device: Device) -> Estimate:
    """The same where it is known what Blocks ask of a program with these tiles, whatever its warps."""
    threads = spec.warps * device.warp_size
    most = min(device.registers_per_thread, device.registers // threads)
    found = []
    own = _OWN + (_LANED[spec.products] if spec.lanes and way == "backward" else 0)
    for load in asked:
        registers = round(own + _FACTOR * load.live / threads)
        spills = max(0, _SPILLED * (registers - most))
        shared = round(load.shared + (spec.stages - 1) * load.moved * (spec.chunk > 1 or spec.lanes))
        held = round(load.held)
        timed = _timed(spec, load, device, registers, spills, shared + held)
        if _SURE * shared + held > device.shared_per_program:
            timed = replace(timed, programs=0, seconds=inf)
        found.append(timed)
    return _both(found)


def compiled(spec: Spec, way: Way, taken: Sequence[Resources], device: Device) -> Estimate:
    """The same for kernels, one for each pass, of which it is known what they take."""
    found = [
        _timed(spec, load, device, r.registers, r.spills, r.shared)
        for load, r in zip(loads(spec, way), taken, strict=True)
    ]
    return _both(found)


def _both(found: Sequence[Estimate]) -> Estimate:
    return Estimate(
        max(e.registers for e in found), max(e.spills for e in found), max(e.shared for e in found),
        min(e.programs for e in found), sum(e.seconds for e in found),
    )  # fmt: skip


def _timed(spec: Spec, load: Load, device: Device, registers: int, spills: int, shared: int) -> Estimate:
    """What a step costs, given what a program takes."""
    threads = spec.warps * device.warp_size
    most = min(device.registers_per_thread, device.registers // threads)
    programs = occupancy(device, min(registers, most), spec.warps, shared)
    if not programs:
        return Estimate(registers, spills, shared, 0, inf)
    work = load.tensor / _TENSOR + load.plain / _PLAIN + load.moved * device.processors / device.bandwidth
    # A register that is spilled is written once and read once or twice, in every chunk.
    spilled = spills * threads * programs
    work += 3 * spills * threads / (_CACHE if spilled <= _CACHED else _BEYOND)
    alone = load.wait + work * max(1.0, 8 / spec.warps)
    items = spec.width(LANE) if spec.lanes else 1
    seconds = max(alone / programs, work) * spec.cut_parts / (spec.chunk * items)
    return Estimate(registers, spills, shared, programs, seconds)


def loads(spec: Spec, way: Way) -> list[Load]:
    """What the Blocks of each pass ask of a program. A backward run by steps makes the forward ones again."""
    return loads_of(spec, way, widths(spec))


def widths(spec: Spec) -> dict[str, int]:
    """The side of tiles along every axis."""
    lanes = {LANE: spec.width(LANE)} if spec.lanes else {}
    return {spec.scan: spec.chunk, **lanes, **{root: spec.width(root) for root in spec.sizes}}


def loads_of(spec: Spec, way: Way, width: Mapping[str, int]) -> list[Load]:
    """The same for tiles of other widths than those of `spec`."""
    found = []
    for loop in spec.form.passes:
        known = taped(loop) if spec.lanes and way == "backward" else ()
        load = _walk(spec, loop.step if way == "forward" else loop.step_vjp, width, known)
        if way == "backward" and spec.segment > 1:
            carries = [p.value for p in loop.writes if p.role == "carry"]
            load = load.also(_walk(spec, loop.step.live(carries), width))
        found.append(replace(load, moved=_traffic(spec, loop, way, width)))
    return found


def _traffic(spec: Spec, loop: Pass, way: Way, width: Mapping[str, int]) -> float:
    """The bytes that a program moves for a chunk: what it reads and writes, and the carries that are kept."""
    found = 0.0
    for port in (*loop.reads, *loop.writes):
        if port.role in ("argument", "output", "kept"):
            own = [width[spec.root(a)] for a in port.axes if a != loop.chunk]
            # Memory moves in sectors: of a narrow part of a row, what lies beside it comes along.
            elements = prod([*own[:-1], *(max(w, _SECTOR // _STORED) for w in own[-1:])]) * spec.chunk
            # Backward, what was read is read again and has a gradient; what was written has one that is read.
            times = 2 if way == "backward" and port.role != "output" else 1
            found += elements * times * _STORED
    kept = sum(prod(width[spec.root(a)] for a in c.axes) for c, _ in all_carries(loop))
    return found + 4 * kept / spec.segment


def _walk(spec: Spec, block: Block, width: Mapping[str, int], known: Collection[Value] = ()) -> Load:
    """Follows the operations of a Block in order, with what is alive after each.

    The matrices that lanes share are in shared memory, ready to be multiplied. Backward, products that are `known`
    from the tape need none.
    """
    ops, last = list(block.ops), _last_reads(block)
    home = _homes(block)
    alive = {v.name for v in block.inputs if v.name in last}
    size = {v.name: _size(block, width, v.axes) for v in block.inputs}
    factors = held_factors(block, known) if spec.lanes else frozenset()
    matrices = sum(size[n] * _FACTORS[spec.products] for n, _ in factors if n in size)
    size.update((n, 0) for n, _ in factors)
    held = float(sum(size[n] for n in alive))
    load = Load(live=held, held=matrices)
    for number, op in enumerate(ops):
        name = home[op.out.name]
        if name == op.out.name:
            size[name] = 0 if isinstance(op, Constant | Iota) else _size(block, width, op.out.axes)
            extra = _work(spec, block, op, load, width)
            if name in last and last[name] > number:
                alive.add(name)
                held += size[name]
            load.live = max(load.live, held + extra)
        gone = {home[v.name] for v in op.operands if last.get(home[v.name], -1) == number} & alive
        held -= sum(size[n] for n in gone)
        alive -= gone
    load.wait += _WAIT_STEP
    return load


def _homes(block: Block) -> dict[str, str]:
    """For each value the one whose elements it has: itself, unless it is another under other axis names."""
    home = {v.name: v.name for v in block.inputs}
    for op in block.ops:
        home[op.out.name] = home[op.arg.name] if isinstance(op, Rename) else op.out.name
    return home


def _last_reads(block: Block) -> dict[str, int]:
    """Where each value is read last; what the Block gives is read at its end."""
    home, last = _homes(block), {}
    for number, op in enumerate(block.ops):
        for v in op.operands:
            last[home[v.name]] = number
    for _, v in block.outputs:
        last[home[v.name]] = len(block.ops)
    return last


def _size(block: Block, width: Mapping[str, int], axes: Sequence[str]) -> int:
    """The elements of a tile."""
    return prod(width[block.root[a]] for a in axes)


def _work(spec: Spec, block: Block, op: Op, load: Load, width: Mapping[str, int]) -> float:
    """Adds what an operation does; gives the reals that it needs only while it runs."""
    whole = float(_size(block, width, tuple(op.space)))
    bytes_of = 2 if spec.products == "bfloat16" else 4
    if isinstance(op, Contract) and len(op.args) > 1:
        sizes = sorted(_size(block, width, v.axes) for v in op.args)[-2:]
        if dotted(spec, block, op, width):
            load.tensor += 2 * whole
            load.wait += _WAIT_PRODUCT
            # What lanes share is there already.
            shared = min(sizes) if spec.lanes and is_product(op) else sum(sizes)
            load.shared = max(load.shared, float(shared * bytes_of))
            # Factors are rounded before they meet.
            return sum(sizes) * bytes_of / 8
        load.plain += 2 * whole
        load.wait += _WAIT_ALONG if op.over else 0.0
        return whole if op.over and set(op.space) != {*max((v.axes for v in op.args), key=len)} else 0.0
    if isinstance(op, Matrix):
        side = width[block.root[op.rows]]
        load.tensor += 2 * whole * max(1, power_of_two(side) // THIN)
        load.wait += 6 * _WAIT_PRODUCT
        load.shared = max(load.shared, 2.0 * bytes_of * whole / max(1, side))
        return side * side
    if isinstance(op, Scan):
        load.plain += 12 * whole
        load.wait += 2 * _WAIT_ALONG
        load.shared = max(load.shared, 64.0 * spec.warps)
        return 2 * whole
    if isinstance(op, Cumulate | Reduce) or (isinstance(op, Contract) and op.over):
        load.plain += 2 * whole
        load.wait += _WAIT_ALONG
        return 0.0
    load.plain += whole * (8 if isinstance(op, Map) and op.fn in _SLOW else 1)
    return 0.0


#: Bytes of an element of such a factor, which is never bfloat16; products of three are of what it is and of what is
#: lost by rounding it.
_FACTORS: Mapping[str, int] = {"bfloat16": 4, "tf32": 4, "tf32x3": 8, "ieee": 4}

_SLOW = frozenset({"exp", "log", "log1p", "expm1", "sqrt", "rsqrt", "sigmoid", "tanh", "div", "softplus", "pow"})


def dotted(spec: Spec, block: Block, op: Contract, width: Mapping[str, int]) -> bool:
    """Whether a sum of products becomes a product of matrices."""
    if spec.compute != "float32" or not op.over:
        return False
    wide = [v for v in op.args if v.axes]
    for n, one in enumerate(wide):
        for other in wide[n + 1 :]:
            both = {*one.axes} & {*other.axes}
            sides = [{*one.axes} - both, both & {*op.over}, {*other.axes} - both]
            if both <= {*op.over} and all(s and _size(block, width, tuple(s)) >= THIN for s in sides):
                return True
    return False


__all__ = ["Estimate", "Load", "Way", "compiled", "dotted", "estimate", "foreseen", "loads", "loads_of", "widths"]
