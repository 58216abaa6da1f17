"""What a form costs at given sizes: operations, bytes, memory, how much is one after the other, and a time.

A form is Blocks in loops, so that its cost is the sum over the operations of its Blocks, times the trips of
the loop that each is in (`recc.forms.work` has the formulas). With the rates of a device (`recc.forms.device`),
the time of an array library is

    Σ over sweeps of  launch + products / rate + scalars / rate + bytes / bandwidth

and that of a compiled loop over steps, which fuses a step's operations and runs items side by side,

    max(Σ over operations of (scalars / rate + start) * items / cores,  bytes / bandwidth).

No formula asks what a program is: two programs with the same Blocks have the same cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from recc.forms.block import Block, Contract, Map, Matrix
from recc.forms.device import Device, device_named
from recc.forms.distribute import Phase, distribute
from recc.forms.passes import Parallel, Pass, Port, Sequential, free_axes
from recc.forms.work import WEIGHT, Held, Sweep, Walk

_BYTES = 4  # of a float32
#: Operations, most of them views, that lay out an array by chunks, or put it together again.
_LAID_OUT = 3.0
#: Steps between two checkpoints of a compiled backward run.
_SEGMENT = 128


@dataclass(frozen=True)
class Cost:
    """The cost of one run of a form.

    Args:
        products: multiply-adds in products of matrices.
        scalars: other arithmetic, in units of an addition (see `recc.forms.work.WEIGHT`).
        moved: bytes read and written.
        memory: bytes of intermediates at the same time; inputs and results are not counted.
        depth: operations one after the other, however many processors there are.
        launches: operations started, those of every trip of a loop.
        quadratic: whether an intermediate has the square of the steps.
        seconds: an estimate of the time on the device.
    """

    products: float
    scalars: float
    moved: float
    memory: float
    depth: float
    launches: float
    quadratic: bool
    seconds: float


def cost(
    form: Sequential | Parallel,
    sizes: Mapping[str, int],
    steps: int | Sequence[int],
    batch: int = 1,
    device: str | Device = "cpu",
    *,
    backend: str = "torch",
    backward: bool = False,
    chunk: int | None = None,
) -> Cost:
    """The cost of one run of a form.

    Args:
        form: the form.
        sizes: the size of each axis, by the axis that gives it.
        steps: the steps along the scan axis, or along each of them.
        batch: sequences times the sizes of all batch axes.
        device: a device or its name.
        backend: `torch`, or `c` for compiled loops (the sequential form only).
        backward: whether gradients of every argument are computed as well.
        chunk: steps of a chunk, 0 for all of them; those of the form if none is given.
    """
    machine = device_named(device) if isinstance(device, str) else device
    extents = (steps,) if isinstance(steps, int) else tuple(steps)
    tally = _Tally(machine, backward)
    if backend == "c":
        assert isinstance(form, Sequential), form
        _compiled(tally, form, sizes, prod(extents), batch)
        return tally.cost(False)
    size = 0
    passes: Iterable[Pass] = form.passes
    if isinstance(form, Parallel):
        size = form.chunk if chunk is None else chunk
        passes = form.passes if size else _starting(form)
    passes = tuple(passes)
    tally.seconds = machine.start
    for loop in passes:
        _pass(tally, loop, sizes, extents, batch, size)
    return tally.cost(any(_quadratic(loop) for loop in passes) and not size)


@dataclass
class _Tally:
    """Sums of sweeps, as seconds of a device and as counts."""

    device: Device
    backward: bool
    sums: list[float] = field(default_factory=lambda: [0.0] * len(Sweep._fields))
    seconds: float = 0.0
    depth: float = 0.0
    held: float = 0.0
    most: float = 0.0

    def add(self, sweeps: Iterable[Sweep], trips: float = 1.0, back: bool = False) -> None:
        """Sweeps of one direction, run in each of so many trips."""
        d = self.device
        start = d.launch_back if back else d.launch
        for k in sweeps:
            launches, read, written, scalars, products, matrices, solved, transformed, slow = k
            seconds = launches * start + scalars / d.scalars + (read + written) * _BYTES / d.bandwidth
            if products or matrices or solved or transformed:
                seconds += max(products, slow * d.thin) / d.products + matrices * d.matrix
                seconds += solved / d.solves + transformed / d.transforms
            self.seconds += seconds * trips
            self.count(k, trips)

    def count(self, sweep: Sweep, trips: float = 1.0) -> None:
        """Counts a sweep without its time."""
        sums = self.sums
        for i, x in enumerate(sweep):
            if x:
                sums[i] += x * trips

    def hold(self, elements: float, trips: float = 1.0) -> None:
        """Elements that are there until the run ends (for gradients), or until the phase does."""
        if self.backward:
            self.held += elements * trips
        else:
            self.most = max(self.most, elements)

    def cost(self, quadratic: bool) -> Cost:
        """The sums as a cost."""
        s = Sweep(*self.sums)
        products = s.products + s.solved
        moved = (s.read + s.written) * _BYTES
        memory = (self.held + self.most) * _BYTES
        seconds = self.seconds + max(0.0, memory - self.device.large) / self.device.fresh
        return Cost(products, s.scalars + s.transformed, moved, memory, self.depth, s.launches, quadratic, seconds)


def _pass(tally: _Tally, loop: Pass, sizes: Mapping[str, int], extents: Sequence[int], batch: int, chunk: int) -> None:
    """One pass in torch operations: its prologue, then its phases for each stretch of equal chunks."""
    parameters = {p.value: Held(_axes(loop.prologue, p.value), False, None, True) for p in loop.parameters}
    _walk(tally, loop.prologue, sizes, 1, parameters)
    if len(extents) > 1:
        trips = prod(extents)
        inputs = {p.value: Held(_axes(loop.step, p.value), p.role != "prologue", None, True) for p in loop.reads}
        _walk(tally, loop.step, sizes, batch, inputs, trips)
        tally.add([Sweep(6.0 * len(loop.reads))], trips)
        return
    (steps,) = extents
    phases = _phases(loop)
    for count, size in _stretches(steps, chunk if loop.chunk else 1):
        _stretch(tally, loop, phases, dict(sizes), batch, count, size)


def _stretches(steps: int, chunk: int) -> list[tuple[int, int]]:
    size = min(chunk, steps) or steps
    if not size:
        return []
    rest = [(1, steps % size)] if steps % size else []
    return [(steps // size, size), *rest]


#: The passes of forms that take the whole sequence at once, with the forms, so that no other takes their place.
_STARTS: dict[int, tuple[Parallel, tuple[Pass, ...]]] = {}


def _starting(form: Parallel) -> tuple[Pass, ...]:
    """The passes of a call without an initial state that wants no final one."""
    found = _STARTS.get(id(form))
    if found is None:
        if len(_STARTS) >= _MOST_PHASES:
            _STARTS.clear()
        passes = tuple(p.without_finals() for p in form.start) or form.passes
        found = _STARTS[id(form)] = (form, passes)
    return found[1]


#: The phases of passes that have been looked at, with the passes, so that no other takes their place.
_PHASES: dict[int, tuple[Pass, tuple[Phase, ...]]] = {}
_MOST_PHASES = 512


def _phases(loop: Pass) -> tuple[Phase, ...]:
    """The phases of a pass along one scan axis, worked out once."""
    found = _PHASES.get(id(loop))
    if found is None:
        if len(_PHASES) >= _MOST_PHASES:
            _PHASES.clear()
        found = _PHASES[id(loop)] = (loop, distribute(loop, sink=bool(loop.chunk)))
    return found[1]


def _stretch(
    tally: _Tally, loop: Pass, phases: Sequence[Phase], sizes: dict[str, int], batch: int, count: int, size: int
) -> None:
    """So many chunks of one size: phases for all of them at once, and phases in a loop over them."""
    if loop.chunk:
        sizes[loop.step.root[loop.chunk]] = size
    device = tally.device
    known: dict[str, Held] = {}
    for p in loop.reads:
        real = p.dtype == "real" and p.role != "clock"
        held = known[p.value] = Held(_axes(loop.step, p.value), p.role != "prologue", None, real)
        if loop.chunk and p.role in ("argument", "kept"):  # laid out by chunks
            n = _elements(held, loop.step, sizes, batch) * count
            tally.add([Sweep(_LAID_OUT, n, n)])
            if tally.backward:
                tally.add([Sweep(_LAID_OUT, n, n)], back=True)
    for phase in phases:
        trips, lead = (count, batch) if phase.loop else (1, batch * count)
        made = _walk(tally, phase.block, sizes, lead, known, trips)
        known.update(made)
        tally.seconds += trips * device.call
        given = [_elements(known[v.name], loop.step, sizes, batch) for v in phase.block.inputs]
        gives = [_elements(known[n], loop.step, sizes, batch) for n in phase.gives if n in known]
        if phase.loop:
            # Each chunk's inputs are taken out, what it gives is put together.
            tally.add([Sweep(0.5 * len(given)), Sweep(0.2 * len(gives))], count)
            tally.add([Sweep(1.0, n * count, n * count) for n in gives])
            if tally.backward:
                tally.add([Sweep(1.0, n * count, n * count) for n in (*given, *gives)], back=True)
        else:
            carried = [_elements(known[h.after], loop.step, sizes, batch) for h in phase.carries if h.after in known]
            tally.add([Sweep(1.0, n * count, n * count) for n in carried])
        tally.hold(sum(gives) * count)
    for p in (p for p in loop.writes if p.role != "carry"):
        n = _elements(Held(_axes(loop.step, loop.step.output[p.value].name), True), loop.step, sizes, batch) * count
        tally.add([Sweep(_LAID_OUT, n, n)])
        if tally.backward:
            tally.add([Sweep(_LAID_OUT, n, n)], back=True)


def _walk(
    tally: _Tally, block: Block, sizes: Mapping[str, int], lead: int, inputs: Mapping[str, Held], trips: float = 1.0
) -> Mapping[str, Held]:
    """Adds the sweeps of a Block, and gives what stands for its values."""
    walk = Walk(block, sizes, lead, inputs, tally.device.wide)
    after: dict[str, float] = {}
    made = 0.0
    uses: dict[str, int] = {}
    for piece in walk.pieces():
        tally.add(piece.forward, trips)
        after[piece.name] = piece.depth + max([after.get(n, 0.0) for n in piece.operands], default=0.0)
        made += piece.made
        if tally.backward:
            tally.add(piece.backward, trips, back=True)
            for name in piece.operands:
                held = walk.held[name]
                uses[name] = uses.get(name, 0) + 1
                if uses[name] > 1 and held.grad:  # gradients of one value from several uses are added up
                    n = walk.count(held)
                    tally.add([Sweep(1.0, 2 * n, n, n)], trips, back=True)
    tally.hold(made, trips)
    tally.depth += trips * max(after.values(), default=0.0)
    return walk.held


def _elements(held: Held, block: Block, sizes: Mapping[str, int], lead: int) -> float:
    return prod((sizes[block.root[a]] for a in held.axes), start=1.0) * (lead if held.full else 1)


def _axes(block: Block, name: str) -> frozenset[str]:
    value = block.input.get(name) or block.output.get(name)
    if value is None:
        value = next(op.out for op in block.ops if op.out.name == name)
    return frozenset(value.axes)


def _quadratic(loop: Pass) -> bool:
    """Whether a value of the step has two axes of the size of the chunk."""
    block = loop.step
    root = block.root.get(loop.chunk, "")
    return bool(root) and any(sum(block.root[a] == root for a in op.out.axes) > 1 for op in block.ops)


def _compiled(tally: _Tally, form: Sequential, sizes: Mapping[str, int], steps: int, batch: int) -> None:
    """The sequential form as compiled loops: what a step computes, times steps and items."""
    d = tally.device
    if not d.cores:
        tally.seconds = float("inf")
        return
    items = batch * prod(sizes[a] for a in free_axes(form))
    side = min(d.cores, max(1, items))
    work, moved, carried = 0.0, 0.0, 0.0
    for loop in form.passes:
        blocks = [(loop.step, 1.0)]
        if tally.backward:
            blocks = [(loop.step, 2.0), (loop.step_vjp, 1.0)]
        for block, times in blocks:
            products, scalars = _step_work(block, sizes)
            work += times * steps * batch * ((products + scalars) / d.kernel + len(block.ops) * d.loop)
            tally.count(Sweep(0.0, scalars=scalars, products=products), times * steps * batch)
        # Arrays in memory are read and written once a direction; carries stay in the first cache.
        ports = (*loop.reads, *loop.writes)
        through = sum(_size(loop, p, sizes) for p in ports if p.role in ("argument", "kept", "output"))
        moved += through * steps * batch * (3.0 if tally.backward else 1.0) * _BYTES
        carried += sum(_size(loop, p, sizes) for p in loop.writes if p.role == "carry")
        tally.depth += steps * len(loop.step.ops)
    tally.seconds = max(work / side, moved / d.bandwidth) + d.start * (5 if tally.backward else 1)
    tally.count(Sweep(2.0 if tally.backward else 1.0, read=moved / _BYTES))
    tally.most = carried * (batch * (1 + steps // _SEGMENT) + side * _SEGMENT if tally.backward else side)


def _size(loop: Pass, port: Port, sizes: Mapping[str, int]) -> int:
    return prod(sizes[loop.step.root[a]] for a in port.axes)


def _step_work(block: Block, sizes: Mapping[str, int]) -> tuple[float, float]:
    """Multiply-adds and other arithmetic of one run of a Block, in loops over all axes of each operation."""
    products = scalars = 0.0
    for op in block.ops:
        space = prod(sizes[block.root[a]] for a in op.space)
        if isinstance(op, Contract):
            products += space * max(1, len(op.args) - 1)
        elif isinstance(op, Matrix):
            scalars += space * sizes[block.root[op.rows]]
        elif isinstance(op, Map):
            scalars += space * WEIGHT.get(op.fn, 1.0)
    return products, scalars


__all__ = ["Cost", "cost"]
