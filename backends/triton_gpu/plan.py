"""How a form is cut into programs: chunks, parts of axes, warps.

A small space of cuts is ranked by what a model of the GPU says of each (`recc.backends.triton_gpu.model`), spills
first. What was found by compiling the best of them is in a table that is shipped
(`recc.backends.triton_gpu.shipped`); where it has no line, the model's first choice is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from math import prod

from recc.backends.triton_gpu.device import DEVICES, Device
from recc.backends.triton_gpu.lanes import with_lanes
from recc.backends.triton_gpu.model import Estimate, Way, foreseen, loads_of, widths
from recc.backends.triton_gpu.shipped import Cut, look_up, structure_of
from recc.backends.triton_gpu.spec import THIN, Compute, Products, Spec, parts_of, power_of_two, tileable
from recc.errors import Refusal
from recc.forms.parallel import derive
from recc.forms.passes import Parallel, Sequential

#: Sizes of chunks that are tried, where the caller leaves the choice. Fewer steps than 16 use no tensor cores.
CHUNKS = (16, 32, 64, 128)
#: The most cuts that are handed out to be tried.
MOST = 20
#: Cuts of each direction that are kept of each size of chunks.
_EACH = MOST // len(CHUNKS)
#: Steps between carries that are kept, where each step hands them over.
_SEGMENT = 32
#: Warps of a program, and the reals that each thread should have at least where there are several.
WARPS, _BUSY = (1, 2, 4, 8), 4
#: The narrowest part of an axis that is not multiplied along, and how many widths are tried: the widest ones.
_LEAST, _WIDTHS = 4, 5
_WAYS: tuple[Way, Way] = ("forward", "backward")
#: The architecture that is planned for where none is known.
ARCH = "sm_90"


@dataclass(frozen=True)
class Plan:
    """What the kernels of both directions are made for."""

    forward: Spec
    backward: Spec

    @property
    def chunk(self) -> int:
        """The steps of a chunk, the same in both directions: the carries that one keeps the other loads."""
        return self.forward.chunk


def plan(
    form: Sequential | Parallel,
    sizes: Mapping[str, int],
    batch: int,
    compute: Compute = "float32",
    products: Products = "ieee",
    packed: bool = False,
    *,
    free: bool = False,
    arch: str = ARCH,
) -> Plan:
    """The cut that a form runs with: from the table that is shipped, else the first that the model ranks.

    Args:
        form: the form.
        sizes: the size of each axis, by the axis that gives it.
        batch: the number of batch axes.
        compute: the type of real values inside kernels.
        products: how factors of matrix products are rounded.
        packed: whether sequences lie one after the other.
        free: whether the size of chunks may be chosen; else it is that of the form.
        arch: the architecture of the GPU.

    Never looks at the number of steps or sequences, so that a sequence has the same bits whatever its batch.
    """
    space = Space(form, dict(sizes), batch, compute, products, packed, free, arch)
    return space.shipped() or space.first()


@dataclass(frozen=True)
class Space:
    """The cuts of a form that may be taken. The fields are the arguments of `plan`."""

    form: Sequential | Parallel
    sizes: Mapping[str, int]
    batch: int
    compute: Compute = "float32"
    products: Products = "ieee"
    packed: bool = False
    free: bool = False
    arch: str = ARCH

    @property
    def device(self) -> Device:
        """The GPU; that of `ARCH` for an architecture that is not known."""
        return DEVICES.get(self.arch, DEVICES[ARCH])

    def chunks(self) -> tuple[int, ...]:
        """The sizes of chunks that may be taken."""
        if not isinstance(self.form, Parallel):
            return (1,)
        return CHUNKS if self.free else (power_of_two(self.form.chunk),)

    def spec(self, chunk: int) -> Spec:
        """A form with chunks of a size, not yet cut."""
        form = self.form
        if isinstance(form, Parallel) and power_of_two(form.chunk) != chunk:
            found = derive(form.rec, form.name, chunk)
            assert not isinstance(found, Refusal), "a form that is there for chunks of one size is there for others"
            form = found
        return self._whole(self._with_lanes or form, chunk)

    def _whole(self, form: Sequential | Parallel, chunk: int) -> Spec:
        segment = 1 if chunk > 1 else _SEGMENT
        return Spec(form, self.sizes, self.batch, self.compute, self.products, chunk, {}, segment, self.packed)

    @cached_property
    def _with_lanes(self) -> Sequential | None:
        """The form with several sequences per program, where there is one and a sequence costs less so."""
        if not isinstance(self.form, Sequential) or self.compute != "float32":
            return None
        found = with_lanes(self.form, self.sizes)
        if found is None:
            return None
        several, one = (
            sum(_price(self._ranked(self._whole(form, 1), way)[0][0]) for way in _WAYS) for form in (found, self.form)
        )
        return found if several < one else None

    def ranked(self, chunk: int, way: Way) -> list[tuple[Estimate, Spec]]:
        """The cuts of one direction, best first."""
        return self._ranked(self.spec(chunk), way)

    def _ranked(self, whole: Spec, way: Way) -> list[tuple[Estimate, Spec]]:
        found = []
        for tiles in _tilings(whole):
            # What Blocks ask for depends on tiles alone, and working it out takes longer than all the rest.
            asked = loads_of(whole, way, {**widths(whole), **tiles})
            live = max(load.live for load in asked)
            for warps in WARPS:
                if warps == 1 or live >= _BUSY * 32 * warps:
                    cut = replace(whole, tiles=tiles, warps=warps)
                    found.append((foreseen(cut, way, asked, self.device), cut))
        return sorted(found, key=lambda pair: _rank(*pair))

    def first(self) -> Plan:
        """The best cut by the model."""
        return self.candidates()[0]

    def candidates(self) -> list[Plan]:
        """At most `MOST` plans, best first.

        The n-th best of each direction make up the n-th plan of a size of chunks. Directions share nothing but
        that size, so the best of each can be told from these runs without trying every pair.
        """
        found: list[tuple[float, int, Plan]] = []
        each = _EACH if len(self.chunks()) > 1 else MOST
        for chunk in self.chunks():
            ahead, back = (self.ranked(chunk, way)[:each] for way in ("forward", "backward"))
            for n in range(max(len(ahead), len(back))):
                one, two = ahead[min(n, len(ahead) - 1)], back[min(n, len(back) - 1)]
                price = sum(_price(e) for e, _ in (one, two))
                found.append((price, len(found), Plan(one[1], two[1])))
        return [p for _, _, p in sorted(found, key=lambda entry: entry[:2])]

    def shipped(self) -> Plan | None:
        """What the table that is shipped has for this form, if it has a line and the line fits."""
        cuts = look_up(self.key())
        if cuts is None or cuts.chunk not in self.chunks():
            return None
        return self.of(cuts.chunk, cuts.forward, cuts.backward)

    def of(self, chunk: int, forward: Cut, backward: Cut) -> Plan | None:
        """The plan of written-down cuts; none if they are not cuts of this form."""
        whole = self.spec(chunk)
        axes = tileable(whole.form)
        if any(len(cut.widths) != len(axes) for cut in (forward, backward)):
            return None
        specs = [
            replace(whole, tiles=dict(zip(axes, cut.widths, strict=True)), warps=cut.warps, stages=cut.stages)
            for cut in (forward, backward)
        ]
        return Plan(*specs)

    def key(self) -> str:
        """What decides which cut is best: structure, form, sizes, element types, architecture.

        Never a name, nor the batch. The size of chunks is part of it where it is the caller's.
        """
        form = self.form
        name = form.name if isinstance(form, Parallel) else "sequential"
        sizes = "x".join(str(self.sizes[a.name]) for a in form.rec.axes if a.name == a.size_of) or "1"
        chunk = "" if self.free or not isinstance(form, Parallel) else f" chunk {power_of_two(form.chunk)}"
        return f"{self.arch} {structure_of(form.rec)} {name} {sizes} {self.compute} {self.products}{chunk}"


def written(spec: Spec) -> Cut:
    """A cut as it is written down: without the names of axes."""
    return Cut(tuple(spec.tiles[a] for a in tileable(spec.form)), spec.warps, spec.stages)


def _tilings(whole: Spec) -> Iterator[dict[str, int]]:
    """The widths of a program's part of each axis that programs can share: powers of two, up to all of it."""
    axes = tileable(whole.form)
    options = []
    for a in axes:
        full = power_of_two(whole.sizes[a])
        if a in whole.multiplied:
            full, least = max(full, THIN), THIN
        else:
            least = min(full, _LEAST)
        options.append([1 << n for n in range(least.bit_length() - 1, full.bit_length())][-_WIDTHS:])
    for found in product(*options):
        yield dict(zip(axes, found, strict=True))


def _price(found: Estimate) -> float:
    return found.seconds if found.programs else 1e3


def _rank(found: Estimate, spec: Spec) -> tuple[object, ...]:
    """What cuts are ranked by. Equal ones are told apart by their figures, so that the order is always the same."""
    return (not found.programs, found.seconds, found.spills, spec.warps, tuple(spec.tiles.values()))


def carried(spec: Spec) -> int:
    """The reals that a program carries from step to step."""
    return max(
        sum(prod(spec.width(spec.root(a)) for a in c.axes) * parts_of(c) for c in loop.carries)
        for loop in spec.form.passes
    )


def along(spec: Spec) -> int:
    """The reals of the largest tile that runs along time."""
    largest = 0
    for loop in spec.form.passes:
        if not loop.chunk:
            continue
        for op in loop.step.ops:
            root = loop.step.root
            if loop.chunk in op.out.axes:
                largest = max(largest, prod(spec.width(root[a]) for a in op.out.axes))
    return largest


__all__ = ["ARCH", "CHUNKS", "MOST", "Plan", "Space", "along", "carried", "plan", "written"]
