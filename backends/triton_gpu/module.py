"""From a form to one Python module of Triton kernels, which stands alone: it imports torch and triton only.

The module has a forward and a backward kernel for each pass, and two functions that launch them. The file is
named after a hash of its text and lies in the folder of `recc.backends.cache`; `RECC_OVERRIDE=DIR` loads
`DIR/<name>.py`, a hand-edited copy, in its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

from recc.backends.triton_gpu.backward import Backward
from recc.backends.triton_gpu.forward import Forward
from recc.backends.triton_gpu.grid import GridBackward, GridForward
from recc.backends.triton_gpu.kernel import Kernel
from recc.backends.triton_gpu.lanes import taped
from recc.backends.triton_gpu.library import sources
from recc.backends.triton_gpu.spec import Spec, all_carries, parts_of
from recc.backends.triton_gpu.stretches import BackwardJoin, ForwardJoin, Splitting, splitting
from recc.backends.triton_gpu.taped import TapedBackward
from recc.backends.triton_gpu.tidy import NOQA, tidy
from recc.errors import Unsupported
from recc.forms.passes import LANE, Parallel
from recc.recurrence import Kind

_NOTATION = """\
A program of a kernel makes one item, that is one sequence of one batch element (`head`), or its part of the axes
that are cut. Inputs are `[rows, steps, *batch, *axes]` with any strides along the first of these and the own axes
row by row; parameters `[*batch, *axes]`, states `[sequences, *batch, *axes]`. A tile has a power of two of
elements along each axis; what lies beyond the end of an axis is arbitrary, and set to the neutral element before
elements along the axis meet. NAME_prev is a state before a step or chunk, d_NAME a gradient.
"""

_HOST = '''\
def launch(kernel, grid, arguments, device, warps, stages):
    """Launches a kernel, unless there is nothing to do."""
    if min(grid) < 1:
        return
    if device.type == "cuda" and device.index != torch.cuda.current_device():
        with torch.cuda.device(device):
            kernel[grid](*arguments, num_warps=warps, num_stages=stages, enable_fp_fusion=True)
    else:
        kernel[grid](*arguments, num_warps=warps, num_stages=stages, enable_fp_fusion=True)


def strides_of(x, lead):
    """The strides of leading axes, zero where there is one element for all."""
    return [0 if size == 1 else stride for size, stride in zip(x.shape[:lead], x.stride()[:lead], strict=True)]


def added(x):
    """The sum over the first axis, in an order that its size decides; that of `x.sum(0)` depends on the batch too."""
    while x.shape[0] > 1:
        half = x.shape[0] // 2
        rest = x[2 * half :]
        x = x[:half] + x[half : 2 * half]
        if rest.shape[0]:
            x[0] += rest[0]
    return x[0]

'''

_SPLIT = '''\
def stretches_of(count, programs):
    """The most stretches that the chunks of a sequence are cut into, if it has `count` of them at most.

    One, unless few programs work on a sequence and have many chunks to go through. How many there are depends on the
    sequence alone, and kernels work it out: so it has the same bits in any batch, packed or not.
    """
    if count < 2 * LEAST or 2 * programs > PROGRAMS:
        return 1
    return min(-(-count // LEAST), -(-PROGRAMS // programs))
'''


@dataclass
class Text:
    """The text of a module, kernel by kernel.

    `back` is what backward kernels are made for: the same as `spec` but for the parts of axes, warps and stages.
    """

    spec: Spec
    back: Spec
    used: set[str] = field(default_factory=set)
    combines: dict[str, str] = field(default_factory=dict)
    _split: dict[int, list[tuple[Splitting, str]]] = field(default_factory=dict)

    @cached_property
    def kernels(self) -> tuple[tuple[Kernel, str], ...]:
        """Every kernel with its text: the forward ones in order, then the backward ones."""
        found: list[tuple[Kernel, str]] = []
        ahead, against = (GridForward, GridBackward) if len(self.spec.form.rec.scan) > 1 else (Forward, Backward)
        against = TapedBackward if self.back.lanes else against
        for number in range(len(self.spec.form.passes)):
            split = self.split(number)
            found += [(k, text) for k, text in split if k.way == "forward"]
            kernel = ahead(self.spec, number, "forward", self.used, self.combines, bool(split))
            found.append((kernel, kernel.write()))
        for number in range(len(self.spec.form.passes)):
            split = self.split(number)
            found += [(k, text) for k, text in split if k.way == "backward"]
            back = against(self.back, number, "backward", self.used, self.combines, bool(split))
            found.append((back, back.write()))
        return tuple(found)

    @property
    def splits(self) -> bool:
        """Whether the time of any pass can be split."""
        return any(self.split(n) for n in range(len(self.spec.form.passes)))

    def split(self, number: int) -> list[tuple[Splitting, str]]:
        """The kernels that split the time of a pass, forward and backward; none where it cannot be split."""
        if number not in self._split:
            self._split[number] = list(self._splitting(number))
        return self._split[number]

    def _splitting(self, number: int) -> Iterator[tuple[Splitting, str]]:
        # The library functions of kernels that turn out not to fit are not the module's.
        used: set[str] = set()
        combines = dict(self.combines)
        kernels = splitting(self.spec, self.back, number, used, combines)
        try:
            written = [(kernel, kernel.write()) for kernel in kernels]
        except Unsupported:
            # Maps of a program whose state is large do not fit: its time stays whole.
            return
        self.used |= used
        self.combines.update(combines)
        yield from written

    def kernel(self, number: int, way: str) -> Kernel:
        """The kernel of a pass and a direction."""
        return next(k for k, _ in self.kernels if k.name == f"pass_{number + 1}_{way}")

    def __str__(self) -> str:
        kernels = [text for _, text in self.kernels]
        combines = [f"@triton.jit\ndef {name}{text}\n" for text, name in self.combines.items()]
        host = [_HOST, *([_SPLIT] if self.splits else []), sources(sorted(self.used))]
        parts = [self._head(), *(text.rstrip() for text in host if text)]
        parts += [t.rstrip() for t in (*combines, *kernels)]
        parts += [self._scratch(), self._forward(), self._backward()]
        return tidy("\n\n\n".join(parts) + "\n")

    def _head(self) -> str:
        spec, rec = self.spec, self.spec.form.rec
        name = spec.form.name if isinstance(spec.form, Parallel) else "sequential"
        sizes = ", ".join(f"{a} = {n}" for a, n in spec.sizes.items())
        facts = [f"{spec.compute}", f"matrix products in {spec.products}"]
        facts += [f"chunks of {spec.chunk} steps"] if spec.chunk > 1 else []
        facts += [f"{a} in parts of {spec.width(a)}" for a in spec.cut]
        carries = any(loop.carries for loop in spec.form.passes)
        facts += [f"carries kept every {spec.segment}"] if spec.segment > 1 and carries else []
        facts += ["packed sequences"] if spec.packed else []
        facts += [f"{spec.width(LANE)} sequences in a program"] if spec.lanes else []
        lines = [
            f"{rec.name}: {name} form, Triton.",
            "",
            *(f"    {t}".rstrip() for t in rec.source.text.strip().splitlines()),
        ]
        lines += ["", f"Made for {sizes or 'no axes'}: {', '.join(facts)}.", "", _NOTATION]
        if spec.lanes:
            lines[-1] = _NOTATION.replace("one item, that is one sequence of", "items, sequences side by side, of")
        head = "\n".join(lines).replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
        imports = "from math import prod\n\nimport torch\nimport triton\nimport triton.language as tl"
        time = "\n\n#: Programs of one sequence that fill a device, and the fewest chunks of a stretch of time.\n"
        time += "PROGRAMS, LEAST = 256, 16"
        return f'{NOQA}\n"""{head}"""\n\n{imports}{time if self.splits else ""}'

    # Functions that launch kernels.

    @property
    def _kept(self) -> dict[str, tuple[tuple[str, ...], int]]:
        """What passes keep for later ones: `[rows, steps, heads, …]`, with the axes of its own."""
        found = {}
        for loop in self.spec.form.passes:
            for port in loop.writes:
                if port.role == "kept":
                    found[port.name] = (tuple(a for a in port.axes if a != loop.chunk), 1 + port.complex)
        return found

    def _scratch(self) -> str:
        spec = self.spec
        every = spec.chunk * spec.segment
        count = f"steps // {every} + sequences" if spec.packed else f"sequences * -(-steps // {every})"
        lines = ["def scratch(rows, steps, sequences, batch):"]
        types = f"torch.{spec.kept_type}; `kept NAME` is torch.{spec.compute}"
        lines += [
            '    """The shapes of what `forward` leaves for `backward`, by name.',
            "",
            f"    Elements are {types}.",
        ]
        lines += ['    """']
        lines += ["    heads = prod(batch)", f"    count = {count}", "    return {"]
        for name, (axes, reals) in self._kept.items():
            lines.append(f'        "kept {name}": (rows, steps, heads, {spec.count(axes) * reals}),')
        for number, loop in enumerate(spec.form.passes):
            for carry in loop.carries:
                own = spec.count(carry.axes) * parts_of(carry)
                lines.append(f'        "{number + 1} {carry.name}": (count, heads, {own}),')
        return "\n".join([*lines, "    }"])

    def _launch(self, kernel: Kernel, indent: str = "    ") -> list[str]:
        spec = kernel.spec
        items = "blocks * heads" if spec.lanes else "sequences * heads"
        grid = f"({items}, {spec.cut_parts})" if spec.cut else f"({items},)"
        if kernel.stretched and not isinstance(kernel, (ForwardJoin, BackwardJoin)):
            grid = f"(sequences * heads, {spec.cut_parts}, stretches)"
        lines = [f"{indent}launch(", f"{indent}    {kernel.name},", f"{indent}    {grid},", f"{indent}    ("]
        lines += [f"{indent}        {a.host}," for a in kernel.arguments]
        return [
            *lines,
            f"{indent}    ),",
            f"{indent}    device,",
            f"{indent}    {spec.warps},",
            f"{indent}    {spec.stages},",
            f"{indent})",
        ]

    def _launches(self, number: int, way: str) -> Iterator[str]:
        """The kernels of a pass and a direction, in stretches of time where that fills the device better."""
        main = self.kernel(number, way)
        split = [k for k, _ in self.split(number) if k.way == way]
        if split:
            spec = main.spec
            yield f"    stretches = stretches_of(-(-steps // {spec.chunk * spec.segment}), heads * {spec.cut_parts})"
            yield "    starts = {}"
            yield "    if stretches > 1:"
            yield "        items = sequences * heads"
            yield "        maps = {"
            pieces = {name: (kernel, v) for kernel in split for name, v in kernel.tier.pieces.items()}
            for name, (kernel, value) in pieces.items():
                own = prod(kernel.spec.sizes[kernel.tier.start.root[a]] for a in value.axes)
                yield f'            "{number + 1} {name}": (items * {kernel.copies(name)}, stretches, {own}),'
            yield "        }"
            yield "        starts = {"
            for carry, part in all_carries(spec.form.passes[number]):
                copies = spec.copies(carry.axes) if way == "backward" else 1
                name = carry.label(part)
                yield f'            "{number + 1} {name}": (items * {copies}, stretches, {spec.count(carry.axes)}),'
            yield "        }"
            made = f"dtype=torch.{spec.compute}, device=device"
            yield f"        maps = {{n: torch.empty(shape, {made}) for n, shape in maps.items()}}"
            yield f"        starts = {{n: torch.empty(shape, {made}) for n, shape in starts.items()}}"
            for kernel in split:
                yield from self._launch(kernel, "        ")
        yield from self._launch(main)

    def _strides(self) -> list[str]:
        rec, batch = self.spec.form.rec, self.spec.batch
        lead = [(s.name, (1 + len(rec.scan) if s.kind is Kind.INPUT else 0) + batch) for s in rec.arguments]
        entries = ", ".join(f'"{n}": strides_of(arguments["{n}"], {k})' for n, k in lead)
        return [f"    strides = {{{entries}}}"]

    def _blocks(self) -> list[str]:
        """How many programs the sequences take, where each makes several."""
        return [f"    blocks = -(-sequences // {self.spec.width(LANE)})"] if self.spec.lanes else []

    def _forward(self) -> str:
        lines = [
            "def forward(",
            "    arguments, initial, outputs, final, saved, offsets, slots, clock, device,",
            "    rows, steps, sequences, batch, strides=None, extents=(),",
            "):",
            '    """Fills `outputs`, `final` and `saved`, which may lack what is not wanted but `kept` values."""',
            "    heads = prod(batch)",
            *self._blocks(),
            "    if strides is None:",
            *(f"    {line}" for line in self._strides()),
        ]
        if self._kept:
            lines.append('    kept = {n.removeprefix("kept "): x for n, x in saved.items() if n.startswith("kept ")}')
        for number in range(len(self.spec.form.passes)):
            lines += self._launches(number, "forward")
        return "\n".join(lines)

    def _backward(self) -> str:
        spec = self.spec
        lines = [
            "def backward(",
            "    arguments, initial, saved, d_outputs, d_final, d_initial, offsets, clock, device,",
            "    rows, steps, sequences, batch, extents=(),",
            "):",
            '    """Fills `d_initial`; gives the gradients of arguments, at full size along the batch, by name."""',
            "    heads = prod(batch)",
            *self._blocks(),
            *self._strides(),
        ]
        if self._kept:
            lines.append('    kept = {n.removeprefix("kept "): x for n, x in saved.items() if n.startswith("kept ")}')
        lines += self._gradients()
        for number in reversed(range(len(spec.form.passes))):
            for port in spec.form.passes[number].writes:
                if port.role == "kept" and port.part == 0:
                    lines.append(f'    d_kept["{port.name}"] = added(d_kept["{port.name}"])')
            lines += self._launches(number, "backward")
        if self._shared:
            lines += ["    for n, x in d_shared.items():", "        d_initial[n].copy_(added(x))"]
        lines.append("    return {n: added(x) for n, x in d_arguments.items()}")
        return "\n".join(lines)

    def _gradients(self) -> Iterator[str]:
        """Memory for gradients, with a part for each program that has its own part of a sum."""
        spec, reached = self.back, self.reached
        if self.splits:
            yield f"    most = stretches_of(-(-steps // {spec.chunk * spec.segment}), heads * {spec.cut_parts})"
        yield "    d_arguments = {"
        for s in spec.grads():
            if s.name not in reached:
                continue
            axes = self.kernels[0][0].layout(s)
            copies = spec.copies(axes)
            own = ", ".join(str(spec.sizes[spec.root(a)]) for a in axes if a != LANE)
            steps = "*extents" if len(spec.form.rec.scan) > 1 else "steps"
            lead = f"rows, {steps}" if s.kind is Kind.INPUT else "blocks" if spec.lanes else "sequences"
            pair = ", 2" if s.dtype == "complex" else ""
            dtype = (
                f'arguments["{s.name}"].dtype'
                if copies == 1 and s.kind is Kind.INPUT and not self._twice(s.name)
                else f"torch.{spec.compute}"
            )
            many = f"{copies} * most" if s.kind is not Kind.INPUT and self._stretched(s.name) else copies
            shape = f"({many}, {lead}, *batch{', ' + own if own else ''}{pair})"
            # Sequences of fewer stretches than there may be leave some of the sums as they are.
            fill = "zeros" if spec.lagged(s.name) or isinstance(many, str) else "empty"
            yield f'        "{s.name}": torch.{fill}({shape}, dtype={dtype}, device=device),'
        yield "    }"
        if self._kept:
            yield "    d_kept = {"
            for name, (axes, reals) in self._kept.items():
                copies = spec.copies(axes)
                shape = f"({copies}, rows, steps, heads, {spec.count(axes) * reals})"
                yield f'        "{name}": torch.zeros({shape}, dtype=torch.{spec.compute}, device=device),'
            yield "    }"
        if self._shared:
            made = f"dtype=torch.{spec.compute}, device=device"
            entries = ", ".join(f'"{n}": {k}' for n, k in self._shared.items())
            yield f"    d_shared = {{{entries}}}"
            yield "    d_shared = {n: k for n, k in d_shared.items() if n in d_initial}"
            yield f"    d_shared = {{n: torch.empty((k, *d_initial[n].shape), {made}) for n, k in d_shared.items()}}"
        tapes = [(n, c) for n, loop in enumerate(spec.form.passes) for c in loop.carries if spec.segment > 1]
        if tapes:
            yield "    tape = {"
            for number, carry in tapes:
                # Kernels that have no more than a part of the maps use the same memory, one after the other.
                split = [k for k, _ in self.split(number) if k.way == "backward"]
                copies = max(k.spec.copies(carry.axes) for k in [self.kernel(number, "backward"), *split])
                rows = f"sequences * heads * {copies}" + (" * most" if split else "")
                shape = f"({rows}, {spec.segment}, {spec.count(carry.axes) * parts_of(carry)})"
                made = f"torch.empty({shape}, dtype=torch.{spec.compute}, device=device)"
                yield f'        "{number + 1} {carry.name}": {made},'
            for number, loop in enumerate(spec.form.passes if spec.lanes else ()):
                for v in taped(loop):
                    shape = f"(sequences * heads * {spec.copies(v.axes)}, {spec.segment}, {spec.count(v.axes)})"
                    made = f"torch.empty({shape}, dtype=torch.{spec.compute}, device=device)"
                    yield f'        "{number + 1} made {v.name}": {made},'
            yield "    }"

    @property
    def _shared(self) -> dict[str, int]:
        """How many programs carry a state that lacks cut axes, by slot: its gradient is the sum over them."""
        spec, found = self.back, {}
        for carry in (c for loop in spec.form.passes for c in loop.carries if c.slot):
            copies = spec.copies(carry.axes)
            if copies > 1:
                found[carry.name] = copies
        return found

    def _stretched(self, name: str) -> bool:
        """Whether a parameter's gradient is a sum over stretches of time."""
        passes = enumerate(self.spec.form.passes)
        return any(self.split(n) and any(p.name == name for p in loop.parameters) for n, loop in passes)

    def _twice(self, name: str) -> bool:
        """Whether several kernels, or steps, add to a gradient."""
        passes = self.spec.form.passes
        times = sum(any(p.name == name for p in (*loop.reads, *loop.parameters)) for loop in passes)
        return times > 1 or self.spec.lagged(name)

    @cached_property
    def reached(self) -> frozenset[str]:
        """The arguments to which gradients flow."""
        found: set[str] = set()
        for kernel, _ in self.kernels:
            found.update(key[1] for key in kernel.known if key[0] == "d in")
        return frozenset(found)


__all__ = ["Text"]
