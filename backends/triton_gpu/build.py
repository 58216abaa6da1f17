"""Keeps an emitted module as a file, loads it, and runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from triton.runtime.errors import OutOfResources

from recc.backends.emitted import emitted
from recc.backends.triton_gpu.module import Text
from recc.backends.triton_gpu.spec import Spec
from recc.errors import Refusal, Unsupported
from recc.forms.passes import Parallel


@dataclass(frozen=True)
class Module:
    """A loaded module with what it was made of."""

    text: Text
    path: Path
    source: str
    functions: ModuleType


@dataclass(frozen=True)
class Sizes:
    """The sizes of a call that are not those of axes. `extents` are the steps along each of several scan axes."""

    rows: int
    steps: int
    sequences: int
    batch: tuple[int, ...]
    extents: tuple[int, ...] = ()

    @property
    def items(self) -> int:
        """Independent recurrences."""
        found = self.sequences
        for size in self.batch:
            found *= size
        return found


def build(spec: Spec, back: Spec) -> Module:
    """Emits, keeps and loads the module of a form.

    Raises `Unsupported` for what kernels cannot do, `UsageError` for an edited module that does not load.
    """
    text = Text(spec, back)
    form = spec.form.name if isinstance(spec.form, Parallel) else "sequential"
    found = emitted(f"{spec.form.rec.name}_{form}_triton", str(text))
    return Module(text, found.path, found.source, found.functions)


def scratch_shapes(module: Module, sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """The shapes of what a forward run leaves for a backward run, by name."""
    found: Any = module.functions.scratch(sizes.rows, sizes.steps, sizes.sequences, sizes.batch)
    return dict(found)


def scratch_dtype(module: Module, name: str) -> torch.dtype:
    """The type of what a forward run leaves under a name."""
    spec = module.text.spec
    found: torch.dtype = getattr(torch, spec.compute if name.startswith("kept ") else spec.kept_type)
    return found


def run_forward(
    module: Module, sizes: Sizes, arguments: Mapping[str, Tensor], initial: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor], final: Mapping[str, Tensor], saved: Mapping[str, Tensor],
    offsets: Tensor | None, slots: Tensor | None, clock: Tensor, strides: Mapping[str, Sequence[int]] | None = None,
) -> None:  # fmt: skip
    """Fills `outputs`, `final` and `saved`.

    Args:
        module: the kernels.
        sizes: the sizes of the call.
        arguments: inputs `[rows, steps, *batch, *axes]` and parameters `[*batch, *axes]`, the own axes row by row,
            complex ones with a last axis of two reals.
        initial: given states `[sequences, *batch, *axes]`, row by row.
        outputs: to be filled, `[rows, steps, *batch, *axes]`.
        final: to be filled, like `initial`; may be the same memory. Slots that it lacks are not handed out.
        saved: to be filled, by `scratch_shapes`. Without gradients only `kept` values are needed.
        offsets: the boundaries of packed sequences.
        slots: where the states of each sequence lie in `initial` and `final`, if not in order; nowhere if negative.
        clock: the number of the first step of each sequence, or one for all.
        strides: those of arguments along their leading axes, zero along axes of one element, if they are known.

    Raises `Unsupported` where a program needs more of the device than there is.
    """
    try:
        module.functions.forward(
            arguments, initial, outputs, final, saved, offsets, slots, clock, clock.device,
            sizes.rows, sizes.steps, sizes.sequences, sizes.batch, strides, sizes.extents,
        )  # fmt: skip
    except OutOfResources as problem:
        raise _too_large(problem) from None


def _too_large(problem: OutOfResources) -> Unsupported:
    """What to say of kernels that the device has no room for."""
    reason = f"this device has too little for one of its programs ({problem})"
    return Unsupported(Refusal("the Triton kernel", reason, "a smaller chunk_size, or backend='torch', may run it"))


def run_backward(
    module: Module, sizes: Sizes, arguments: Mapping[str, Tensor], initial: Mapping[str, Tensor],
    saved: Mapping[str, Tensor], d_outputs: Mapping[str, Tensor], d_final: Mapping[str, Tensor],
    d_initial: Mapping[str, Tensor], offsets: Tensor | None, clock: Tensor,
) -> dict[str, Tensor]:  # fmt: skip
    """Fills `d_initial`; gives the gradients of arguments at full size along the batch, `[rows, steps, …]`.

    What lacks a gradient in `d_outputs` or `d_final` has none. Raises `Unsupported` as `run_forward` does.
    """
    try:
        found: dict[str, Tensor] = module.functions.backward(
            arguments, initial, saved, d_outputs, d_final, d_initial, offsets, clock, clock.device,
            sizes.rows, sizes.steps, sizes.sequences, sizes.batch, sizes.extents,
        )  # fmt: skip
    except OutOfResources as problem:
        raise _too_large(problem) from None
    return found


__all__ = [
    "Module",
    "Sizes",
    "build",
    "run_backward",
    "run_forward",
    "scratch_dtype",
    "scratch_shapes",
]
