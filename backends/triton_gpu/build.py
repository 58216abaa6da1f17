"""Keeps an emitted module as a file, loads it, and runs it."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from triton.runtime.errors import OutOfResources

from recc.backends.cache import cache_folder, edited_copy, writable_folder
from recc.backends.triton_gpu.module import Text
from recc.backends.triton_gpu.spec import Spec
from recc.errors import Refusal, Unsupported, UsageError
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
    source = str(text)
    name = name_of(spec, source)
    edited = edited_copy(name, ".py")
    if edited is not None:
        source = edited.read_text(encoding="utf-8")
        name = f"{name}_{_digest(source)[:8]}"
    path = _kept(name, source)
    return Module(text, path, source, _load(name, path, edited))


def name_of(spec: Spec, source: str) -> str:
    """The name of a module, by which `RECC_OVERRIDE` finds an edited copy."""
    form = spec.form.name if isinstance(spec.form, Parallel) else "sequential"
    return f"{spec.form.rec.name}_{form}_triton_{_digest(source)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _kept(name: str, source: str) -> Path:
    path = cache_folder() / f"{name}.py"
    if not path.exists() or path.read_text(encoding="utf-8") != source:
        path = writable_folder(path.parent) / path.name
        partial = path.with_suffix(f".{id(source):x}.part")
        partial.write_text(source, encoding="utf-8")
        partial.replace(path)
    return path


def _load(name: str, path: Path, edited: Path | None) -> ModuleType:
    """The module. Triton reads the text of kernels from their file, so that it has to be there."""
    known = sys.modules.get(f"recc_emitted_{name}")
    if known is not None and known.__file__ == str(path):
        return known
    spec = importlib.util.spec_from_file_location(f"recc_emitted_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    try:
        spec.loader.exec_module(module)
    except Exception as problem:
        del sys.modules[module.__name__]
        if edited is None:
            raise
        actual = f"{type(problem).__name__}: {problem}"
        raise UsageError(f"the edited module {edited}", "Python that runs", actual) from problem
    return module


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
    "name_of",
    "run_backward",
    "run_forward",
    "scratch_dtype",
    "scratch_shapes",
    "torch",
]
