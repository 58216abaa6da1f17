"""What a module of Triton kernels is made for: a form, its sizes, and how it is cut into programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Literal

from recc.backends.triton_gpu.lanes import LANES, multiplied
from recc.forms.block import Contract
from recc.forms.linear import bound_axes
from recc.forms.passes import LANE, Carry, Parallel, Pass, Sequential
from recc.recurrence import Kind, Slot, Symbol

Compute = Literal["float32", "float64"]
#: How the factors of matrix products are rounded: not at all, to the 10 bits of tf32 (or, in three products, to
#: twice as many), or to bfloat16.
Products = Literal["ieee", "tf32x3", "tf32", "bfloat16"]

#: The types that carries may be kept in.
Kept = Literal["", "float32", "float64", "bfloat16"]

#: The smallest side of a tile that is multiplied with another on tensor cores.
THIN = 16


@dataclass(frozen=True)
class Spec:
    """One module.

    Args:
        form: the form that it runs.
        sizes: the size of each axis, by the axis that gives it.
        batch: the number of batch axes.
        compute: the type of real values inside kernels.
        products: how factors of matrix products are rounded.
        chunk: the steps of a chunk, a power of two; 1 for forms that make single steps.
        tiles: the width of a program's part of an axis, for axes that are cut (`tileable`).
        turns: those of them whose parts one program takes in turn.
        segment: steps or chunks between carries that are kept for the backward run.
        packed: whether sequences lie one after the other along time, with offsets.
        warps: groups of 32 threads of a program.
        stages: loads that are in flight in a loop, at most.
        kept: the type that carries are kept in, where it is not to be `kept_type`'s own choice.
    """

    form: Sequential | Parallel
    sizes: Mapping[str, int]
    batch: int
    compute: Compute = "float32"
    products: Products = "ieee"
    chunk: int = 1
    tiles: Mapping[str, int] = field(default_factory=dict)
    segment: int = 1
    packed: bool = False
    warps: int = 4
    stages: int = 2
    kept: Kept = ""
    turns: tuple[str, ...] = ()

    @property
    def kept_type(self) -> str:
        """The type that carries are kept in for the backward run.

        What is kept of a chunk goes into matrix products and nowhere else than into the gradients of that chunk: it is
        rounded as their factors are. What is kept of a step is where others are computed from again, and stays whole.
        """
        return self.kept or ("bfloat16" if self.products == "bfloat16" and self.chunk > 1 else self.compute)

    @property
    def real(self) -> str:
        """The type of real values, in Triton's words."""
        return f"tl.{self.compute}"

    @property
    def lanes(self) -> bool:
        """Whether a program makes several sequences at once, along the axis `LANE` of its tiles."""
        return isinstance(self.form, Sequential) and self.form.lanes is not None

    @cached_property
    def scan(self) -> str:
        """The axis of time; over several the program has no chunks."""
        return self.form.rec.scan[0]

    def size(self, root: str) -> int:
        """The size of an axis that is not time."""
        return self.sizes[root]

    def width(self, root: str) -> int:
        """The side of a program's tiles along an axis: a power of two."""
        if root == LANE:
            return LANES
        if root == self.scan and self.chunk > 1:
            return self.chunk
        if root in self.tiles:
            return self.tiles[root]
        least = THIN if root in self.padded else 1
        return max(least, power_of_two(self.sizes[root]))

    def ragged(self, root: str) -> bool:
        """Whether a tile may reach beyond the axis."""
        if root == LANE or (root == self.scan and self.chunk > 1):
            return True
        return self.sizes[root] % self.width(root) != 0

    def parts(self, root: str) -> int:
        """How many programs share an axis."""
        return -(-self.sizes[root] // self.width(root))

    @cached_property
    def cut(self) -> tuple[str, ...]:
        """The axes that several programs share, in order."""
        return tuple(a for a in self.tiles if self.parts(a) > 1 and a not in self.turns)

    @cached_property
    def cut_parts(self) -> int:
        """How many programs work on one item."""
        return prod(map(self.parts, self.cut))

    def missing(self, axes: Sequence[str]) -> tuple[str, ...]:
        """The cut axes that a tensor lacks."""
        return tuple(a for a in self.cut if a not in axes)

    def copies(self, axes: Sequence[str]) -> int:
        """How many programs have their own copy of what lacks cut axes."""
        return prod(map(self.parts, self.missing(axes)))

    @cached_property
    def multiplied(self) -> frozenset[str]:
        """The axes, by what gives their size, that matrix products of chunks, or of lanes, run along."""
        if isinstance(self.form, Sequential) and self.lanes:
            return frozenset(r for r in multiplied(self.form) if self.sizes[r] > 2)
        return frozenset(r for side in self._sides for r in side if self.sizes.get(r, 0) > 2)

    @cached_property
    def padded(self) -> frozenset[str]:
        """Those of them that have wider tiles for it: of sides that would be too thin for tensor cores."""
        if self.lanes:
            return self.multiplied
        thin = [s for s in self._sides if prod(power_of_two(self.sizes.get(r, self.chunk)) for r in s) < THIN]
        return self.multiplied & {r for side in thin for r in side}

    @cached_property
    def _sides(self) -> frozenset[tuple[str, ...]]:
        """The sides of the matrix products in chunks, by what gives the sizes of their axes."""
        found: set[tuple[str, ...]] = set()
        for loop in self.form.passes if self.chunk >= THIN else ():
            for block in (loop.step, loop.step_vjp):
                for op in block.ops:
                    if isinstance(op, Contract):
                        found.update(tuple(sorted(block.root[a] for a in side)) for side in _sides_of(op))
        return frozenset(found)

    def count(self, axes: Sequence[str]) -> int:
        """The elements of a tensor, by the axes of the program that it has; those of one lane, if it has several."""
        return prod(self.sizes[self.form.rec.axis[a].size_of] for a in axes if a != LANE)

    def root(self, axis: str) -> str:
        """The axis that gives the size of one of the program's own."""
        return axis if axis == LANE else self.form.rec.axis[axis].size_of

    def lagged(self, name: str) -> bool:
        """Whether an input is read at other steps of a grid too, so that its gradient is a sum over steps."""
        return any(p.name == name and p.role == "argument" and p.lags for loop in self.form.passes for p in loop.reads)

    def grads(self) -> tuple[Symbol, ...]:
        """The arguments that have gradients."""
        rec = self.form.rec
        return tuple(s for s in rec.arguments if s.dtype in ("real", "complex") and s.kind is not Kind.CONST)


def _sides_of(op: Contract) -> list[set[str]]:
    """The axes of each side of a matrix product; of more than two factors, those that may be in one.

    Two factors make one if each has axes of its own, and all that they share is summed. What is shared and not summed
    stays so whatever they are multiplied with before, so the same must hold for two of many.
    """
    over, axes = {*op.over}, [{*v.axes} for v in op.args]
    if len(axes) < 2 or not any(a & b and a & b <= over for n, a in enumerate(axes) for b in axes[n + 1 :]):
        return []
    own = [a - over for a in axes]
    if not any(a - b and b - a for n, a in enumerate(own) for b in own[n + 1 :]):
        return []
    return [own[0], axes[0] & axes[1], own[1]] if len(axes) == 2 else [{a} for a in op.space]


def power_of_two(number: int) -> int:
    """The smallest power of two that is not smaller."""
    return 1 << max(0, number - 1).bit_length()


def tileable(form: Sequential | Parallel) -> tuple[str, ...]:
    """The axes that programs can share: no element of any tensor meets another along them.

    What lacks such an axis every program computes for itself. Gradients of what lacks it are sums over it: each
    program has a part of the sum, and as everything after it in the backward Block is linear, parts may be added
    up at the very end. Over several scan axes a program reads what it kept itself, so that whatever is kept has the
    axes that are shared.
    """
    rec = form.rec
    found = {a.name for a in rec.axes if a.name == a.size_of} - {a.size_of for a in rec.axes if a.name != a.size_of}
    found -= {*rec.scan}
    for loop in form.passes:
        for op in (*loop.step.ops, *loop.prologue.ops):
            found -= bound_axes(op)
        if len(rec.scan) > 1:
            found = found.intersection(*(p.axes for p in loop.writes if p.role == "kept"))
    return tuple(a.name for a in rec.axes if a.name in found and _carried(form, a.name))


def _carried(form: Sequential | Parallel, axis: str) -> bool:
    """Whether an axis is one of what is carried or written, so that sharing it shares work."""
    return any(axis in p.axes for loop in form.passes for p in loop.writes)


def parts_of(item: Symbol | Slot | Carry) -> int:
    """The reals of an element: two for complex numbers."""
    pair = item.complex if isinstance(item, Carry) else item.dtype == "complex"
    return 2 if pair else 1


def carry_values(loop: Pass) -> dict[tuple[str, int], str]:
    """The names in the step Block of every part of every carry, before the step."""
    return {(p.name, p.part): p.value for p in loop.reads if p.role == "carry"}


def all_carries(loop: Pass) -> list[tuple[Carry, int]]:
    """Every part of every carry."""
    return [(c, k) for c in loop.carries for k in range(parts_of(c))]


__all__ = [
    "THIN", "Compute", "Products", "Spec", "all_carries", "carry_values",
    "parts_of", "power_of_two", "tileable",
]  # fmt: skip
