"""What a kernel is compiled for, and what arrays it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from recc.backends.c_cpu.memory import Storage
from recc.forms.sequential import Sequential

Purpose = Literal[
    "in", "out", "initial", "final", "kept", "checkpoints", "d in", "d out", "d initial", "d final", "d kept"
]

#: Bytes of carries that a backward pass keeps at a time: small enough for a second-level cache.
_TAPE_BYTES = 512 * 1024


@dataclass(frozen=True)
class ArraySpec:
    """One array argument of a kernel: what it is for, whose, its axes in memory order, its element type.

    `pass_number` tells the checkpoints of several passes apart. `size` is the number of elements per
    step (or per item, where there are no steps). `zeroed` says that the kernel adds to it.
    """

    purpose: Purpose
    name: str
    axes: tuple[str, ...]
    storage: Storage
    complex: bool = False
    pass_number: int = 0
    size: int = 1
    zeroed: bool = False


@dataclass(frozen=True)
class Specialisation:
    """What a kernel is compiled for: sizes of axes, the computing type, element types of arguments."""

    form: Sequential
    sizes: Mapping[str, int]
    compute: Literal["float32", "float64"]
    storage: Mapping[str, Storage]

    @property
    def real_bytes(self) -> int:
        """Bytes of one computed real."""
        return 4 if self.compute == "float32" else 8

    def count(self, axes: tuple[str, ...]) -> int:
        """Elements of a tensor over axes."""
        root = self.form.passes[0].step.root
        total = 1
        for axis in axes:
            total *= self.sizes[root.get(axis, axis)]
        return total

    def carried(self, number: int) -> int:
        """Reals that a pass hands from one step to the next."""
        return sum(self.count(c.axes) * (2 if c.complex else 1) for c in self.form.passes[number].carries)

    def segment(self, number: int) -> int:
        """Steps between two checkpoints of a pass."""
        size = max(1, self.carried(number)) * self.real_bytes
        steps = 8
        while steps < 128 and 2 * steps * size <= _TAPE_BYTES:
            steps *= 2
        return steps


@dataclass(frozen=True)
class Kernel:
    """The C text of a kernel, its arrays in order, and the reals of scratch memory that a thread needs."""

    source: str
    arrays: tuple[ArraySpec, ...]
    scratch: int


__all__ = ["ArraySpec", "Kernel", "Purpose", "Specialisation"]
