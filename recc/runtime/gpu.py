"""The Triton kernels of a program, and where they run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor

from recc.backends.triton_gpu.build import Module, build
from recc.backends.triton_gpu.module import Text
from recc.backends.triton_gpu.order import order_of
from recc.backends.triton_gpu.plan import ARCH, Plan, Space
from recc.backends.triton_gpu.spec import Compute, Products
from recc.backends.triton_gpu.tuning import bucket
from recc.errors import Refusal, Unsupported
from recc.forms.table import Form
from recc.recurrence import Recurrence
from recc.runtime.options import form_named
from recc.runtime.tuning import arch_of, tuned, tuning

#: Forms that kernels can run.
ORDER = ("chunked", "scan", "sequential")
#: Kinds of devices that kernels are compiled for.
COMPILED = ("cuda",)
#: Steps of a chunk unless the caller chooses another number.
_CHUNK = {"chunked": 64, "scan": 32}


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter, on the CPU."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() not in ("0", "", "false", "off", "no")


def tunes(device: torch.device) -> bool:
    """Whether calls with tensors on a device run cuts that were tuned there."""
    return tuning() and device.type in COMPILED and not interpreted()


def check_device(device: torch.device) -> None:
    """Raises `Unsupported` unless kernels run on tensors of a device."""
    # Tensors on `meta` have shapes only, which is all that a tracer wants to know.
    if device.type in COMPILED or device.type == "meta" or (device.type == "cpu" and interpreted()):
        return
    instead = "backend='torch' runs on any device"
    if device.type == "cpu":
        there = torch.cuda.is_available()
        reason = f"the tensors are on the CPU, {'not on the GPU' if there else 'and torch sees no GPU'}"
        move = "move them there with .cuda(), or " if there else ""
        instead = (
            f"{move}use backend='c', or set TRITON_INTERPRET=1 before Triton is imported, to try kernels out slowly"
        )
    else:
        reason = f"the tensors are on {str(device)!r}, and kernels are made for GPUs that torch calls 'cuda'"
    raise Unsupported(Refusal("backend 'triton'", reason, instead))


@dataclass(frozen=True)
class Key:
    """What decides which kernels a call runs: never the number of steps or of sequences.

    `heads` is that of a sequence, coarsely, where cuts are tuned for it (`Gpu.heads`), and 0 where they are not.
    """

    sizes: tuple[tuple[str, int], ...]
    batch: int
    compute: Compute
    products: Products
    packed: bool
    heads: int = 0


@dataclass
class Gpu:
    """The Triton kernels of one program, emitted per sizes and element types as calls come.

    `form` and `chunk` are what the caller asked for: a form's name or `auto`, a size of chunks or `None`.
    """

    rec: Recurrence
    form: str
    chunk: int | None
    _modules: dict[Key, Module | Unsupported] = field(default_factory=dict)
    _forms: dict[str, Form] = field(default_factory=dict)
    #: What calls are laid out like, by shapes; `recc.runtime.gpu_frame` fills it.
    frames: dict[Any, Any] = field(default_factory=dict)

    def heads(self, batch: Sequence[int], device: torch.device) -> int:
        """The heads of a call's sequences as they stand in its key."""
        # Over several scan axes there is one way to go.
        return bucket(prod(map(int, batch))) if len(self.rec.scan) == 1 and tunes(device) else 0

    def module(self, key: Key) -> Module:
        """The kernels for a call, built on first use. Raises `Unsupported` where there are none."""
        found = self._modules.get(key)
        if found is None:
            try:
                found = self._first(key, lambda cut: build(cut.forward, cut.backward))
            except Unsupported as why:
                found = why
            self._modules[key] = found
        if isinstance(found, Unsupported):
            raise Unsupported(found.refusal)
        return found

    def serves(self, key: Key) -> bool:
        """Whether there are kernels for a call."""
        try:
            self.module(key)
        except Unsupported:
            return False
        return True

    def emit(self, key: Key) -> str:
        """The text of the module for a call."""
        text: str = self._first(key, lambda cut: str(Text(cut.forward, cut.backward)))
        return text

    def _first(self, key: Key, make: Any) -> Any:
        """What is made of the first form that has kernels. Raises `Unsupported` with the last reason if none has."""
        problem: Unsupported | None = None
        for name in order_of(self.rec) if self.form == "auto" else (self.form,):
            try:
                return make(self._cut(name, key))
            except Unsupported as why:
                problem = why
        assert problem is not None
        raise problem

    def _cut(self, name: str, key: Key) -> Plan:
        """How a form is cut into programs: as tuned if the key is of a call that tunes, else by table and model.

        In the interpreter, where no size of chunks is faster than another, it is the usual one.
        """
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        free = self.chunk is None and not interpreted()
        space = Space(
            self._derived(name), dict(key.sizes), key.batch, key.compute, key.products, key.packed, free,
            arch_of(device) or ARCH,
        )  # fmt: skip
        if key.heads:
            return tuned(space, device, key.heads)
        return space.shipped() or space.first()

    def _derived(self, name: str) -> Form:
        if name not in self._forms:
            if name not in ORDER:
                reason = "it takes all steps at once, which the kernels do not hold"
                raise Unsupported(Refusal(f"form {name!r} on backend 'triton'", reason, "backend='torch' has it"))
            chunk = self.chunk if self.chunk is not None or name == "sequential" else _CHUNK[name]
            self._forms[name] = form_named(self.rec, name, chunk)
        return self._forms[name]

    def sources(self) -> dict[str, str]:
        """The text of every module built so far, by file."""
        return {str(m.path): m.source for m in self._modules.values() if isinstance(m, Module)}


def products_of(dtypes: Iterable[torch.dtype], compute: Compute, device: torch.device | None) -> Products:
    """How factors of matrix products are rounded for arguments of given types; not at all in the interpreter.

    Of 16-bit floats bfloat16 has the range of float32 and so is what states can be rounded to; the bits of
    float16 are those of tf32, which has that range too.
    """
    found = set(dtypes)
    if compute == "float64" or (device is not None and device.type == "cpu" and interpreted()):
        return "ieee"
    if torch.bfloat16 in found:
        return "bfloat16"
    if torch.float16 in found:
        return "tf32"
    # Three products of tf32 have nearly the bits of float32, at the speed of tensor cores; AMD's have float32 itself.
    return "ieee" if torch.version.hip else "tf32x3"


def compute_of(tensors: Sequence[Tensor]) -> Compute:
    """The type that kernels compute in: float64 if any tensor is, else float32."""
    return "float64" if any(t.dtype in (torch.float64, torch.complex128) for t in tensors) else "float32"


__all__ = ["COMPILED", "ORDER", "Gpu", "Key", "check_device", "compute_of", "interpreted", "products_of"]
