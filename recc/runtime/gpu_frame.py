"""What a call with Triton kernels derives from the shapes and element types of its tensors, kept by those."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from recc.backends.triton_gpu.build import Module, Sizes, run_backward, run_forward, scratch_dtype, scratch_shapes
from recc.layout import Layout
from recc.recurrence import Kind, Symbol
from recc.runtime.gpu import Gpu, Key, compute_of, products_of
from recc.runtime.layout import lay_out, leading
from recc.runtime.torch_op import differentiable

#: Frames kept by shape. Decoding has one; training on sequences of any length has one per length.
_MOST_FRAMES = 256

#: Shape, strides, element type and device of a tensor.
Look = tuple[Any, ...]


def look(tensor: Tensor) -> Look:
    """What kernels and their launches depend on, beside the elements."""
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device


def frame_of(
    gpu: Gpu, args: Sequence[Tensor], states: Sequence[Tensor], given: str, sequences: int | None, result: str,
    steps: int, paged: bool = False,
) -> Frame:  # fmt: skip
    """The frame of a call, the same for the same shapes."""
    key = (*map(look, args), *map(look, states), given, sequences, result, steps, paged)
    found: Frame | None = gpu.frames.get(key)
    if found is None:
        found = Frame(gpu, args, states, given, sequences, result, steps, paged)
        if len(gpu.frames) >= _MOST_FRAMES:
            gpu.frames.clear()
        gpu.frames[key] = found
    return found


class Frame:
    """A call's layout, its kernels, and the shapes of all that they fill.

    Args:
        gpu: the program's kernels.
        args: arguments in declared order.
        states: the initial states that are given.
        given: for each slot `1` if its state is given, else `0`.
        sequences: N where sequences are packed, or where `paged` states are more than the call's sequences.
        result: the element type of outputs.
        steps: T of a program without inputs, else -1.
        paged: whether states are `[P, *batch, *axes]`, and slots say which of them are meant.
    """

    def __init__(
        self, gpu: Gpu, args: Sequence[Tensor], states: Sequence[Tensor], given: str, sequences: int | None,
        result: str, steps: int, paged: bool = False,
    ):  # fmt: skip
        rec = self.rec = gpu.rec
        self.gpu = gpu
        self.names = tuple(s.name for s in rec.arguments)
        self.slots = tuple(slot.name for slot in rec.slots)
        self.given = tuple(n for n, flag in zip(self.slots, given, strict=True) if flag == "1")
        self.outputs = tuple(s.name for s in rec.outputs)
        shapes = {n: tuple(t.shape) for n, t in zip(self.names, args, strict=True)}
        of_states = {n: tuple(t.shape) for n, t in zip(self.given, states, strict=True)}
        if paged and sequences is not None:
            of_states = {n: (sequences, *shape[1:]) for n, shape in of_states.items()}
        packed = sequences is not None and not paged
        length = steps if steps >= 0 else None
        self.layout: Layout = lay_out(
            rec, shapes, of_states, None, length, lane=False, sequences=sequences if packed else None
        )
        compute = compute_of([*args, *states])
        self.compute: torch.dtype = getattr(torch, compute)
        self.complex = torch.complex128 if compute == "float64" else torch.complex64
        self.device = next((t.device for t in (*args, *states)), torch.device("cpu"))
        lay = self.layout
        # Sizes of axes decide on kernels, so that a tracer's symbols for them become numbers; T and N stay.
        sizes = tuple((n, int(size)) for n, size in lay.sizes.items())
        products = products_of((t.dtype for t in args), compute, self.device)
        self.key = Key(sizes, len(lay.batch), compute, products, packed, gpu.heads(lay.batch, self.device))
        self.sizes = Sizes(lay.batch_size, lay.steps, lay.sequences, lay.batch, lay.extents)
        self.results = [self._result(s, result) for s in rec.outputs]
        self.finals = [
            (
                (lay.sequences, *lay.batch, *self._own(slot.axes)),
                self.complex if slot.dtype == "complex" else self.compute,
            )
            for slot in rec.slots
        ]
        self._strides: dict[str, list[int]] | None = None
        self._ready: tuple[Module, dict[str, tuple[int, ...]], frozenset[str]] | None = None
        #: Whether kernels take the memory of all arguments as it is, with strides for the axes before their own.
        self.as_they_are = all(self._is_ready(s, t) for s, t in zip(rec.arguments, args, strict=True))
        self._whole = not any(self._missing(s, t) for s, t in zip(rec.arguments, args, strict=True))

    def _own(self, axes: Sequence[str]) -> list[int]:
        return [self.layout.sizes[self.rec.axis[a].size_of] for a in axes]

    def _result(self, symbol: Symbol, result: str) -> tuple[tuple[int, ...], torch.dtype]:
        """The shape `[B, T, *batch, *axes]` and the type of an output."""
        kinds = {"complex": self.complex, "int": torch.int64, "bool": torch.bool, "real": getattr(torch, result)}
        lay = self.layout
        return (lay.batch_size, *lay.extents, *lay.batch, *self._own(symbol.axes)), kinds[symbol.dtype]

    # Kernels.

    def _module(self) -> tuple[Module, dict[str, tuple[int, ...]], frozenset[str]]:
        """The kernels, what a forward run leaves for a backward run, and what of it is needed in any case."""
        if self._ready is None:
            module = self.gpu.module(self.key)
            scratch = scratch_shapes(module, self.sizes)
            self._ready = module, scratch, frozenset(n for n in scratch if _needed(n))
        return self._ready

    @property
    def scratch(self) -> dict[str, tuple[int, ...]]:
        """The shapes of what a forward run leaves for a backward run."""
        return self._module()[1]

    @cached_property
    def shared(self) -> frozenset[str]:
        """The states that several programs of a kernel read and one writes."""
        cut = self._module()[0].text.spec.cut
        return frozenset(slot.name for slot in self.rec.slots if any(a not in slot.axes for a in cut))

    # Arguments.

    def arguments(self, args: Sequence[Tensor]) -> dict[str, Tensor]:
        """Arguments as kernels take them: all batch axes, own axes row by row, complex ones as pairs of reals."""
        if self.as_they_are and self._whole:
            return dict(zip(self.names, args, strict=True))
        return {s.name: self._argument(s, t) for s, t in zip(self.rec.arguments, args, strict=True)}

    def lead_strides(self, args: Sequence[Tensor]) -> dict[str, list[int]] | None:
        """The strides of arguments along the axes before their own, zero where there is one element for all."""
        if self._strides is None and self.as_they_are:
            self._strides = {s.name: self._lead_strides(s, t) for s, t in zip(self.rec.arguments, args, strict=True)}
        return self._strides

    def _lead_strides(self, symbol: Symbol, value: Tensor) -> list[int]:
        lead, own = leading(self.rec, symbol), value.ndim - len(symbol.axes)
        found = [0 if value.shape[i] == 1 else value.stride(i) for i in range(own)]
        return [*found[:lead], *(0,) * self._missing(symbol, value), *found[lead:]]

    def _missing(self, symbol: Symbol, value: Tensor) -> int:
        return len(self.layout.batch) - (value.ndim - leading(self.rec, symbol) - len(symbol.axes))

    def _is_ready(self, symbol: Symbol, value: Tensor) -> bool:
        return symbol.dtype != "complex" and _row_by_row(value, len(symbol.axes))

    def _argument(self, symbol: Symbol, value: Tensor) -> Tensor:
        own, lead, missing = len(symbol.axes), leading(self.rec, symbol), self._missing(symbol, value)
        if missing:
            value = value.reshape(*value.shape[:lead], *(1,) * missing, *value.shape[lead:])
        if symbol.dtype == "complex":
            value, own = torch.view_as_real(value.resolve_conj()), own + 1
        return value if _row_by_row(value, own) else value.contiguous()

    # Runs.

    def empty_outputs(self) -> list[Tensor]:
        """Outputs, to be filled."""
        device = self.device
        return [torch.empty(shape, dtype=dtype, device=device) for shape, dtype in self.results]

    def empty_finals(self) -> list[Tensor]:
        """Final states of all slots, to be filled."""
        device = self.device
        return [torch.empty(shape, dtype=dtype, device=device) for shape, dtype in self.finals]

    def empty_saved(self, save: bool) -> dict[str, Tensor]:
        """What a backward run needs, by name; without one, what later passes need."""
        module, scratch, needed = self._module()
        return {
            n: torch.empty(shape, dtype=scratch_dtype(module, n), device=self.device)
            for n, shape in scratch.items()
            if save or n in needed
        }

    def forward(
        self, args: Sequence[Tensor], states: Mapping[str, Tensor], clock: Tensor, offsets: Tensor | None,
        slots: Tensor | None, save: bool, finals: Mapping[str, Tensor],
    ) -> tuple[list[Tensor], dict[str, Tensor]]:  # fmt: skip
        """Outputs, and what a backward run needs; fills the final states."""
        outputs, saved = self.empty_outputs(), self.empty_saved(save)
        given = dict(zip(self.names, args, strict=True)) if self.as_they_are else self.arguments(args)
        run_forward(
            self._module()[0], self.sizes, given, real(states),
            real(zip(self.outputs, outputs, strict=True)), real(finals), saved, offsets, slots, clock,
            self.lead_strides(args),
        )  # fmt: skip
        return outputs, saved

    def step(
        self, args: Sequence[Tensor], initial: Mapping[str, Tensor], clock: Tensor, slots: Tensor | None,
        final: Mapping[str, Tensor],
    ) -> list[Tensor]:  # fmt: skip
        """Outputs of one step, from arguments without the axis of steps; all that takes them has been worked out."""
        device = self.device
        outputs = [torch.empty(shape[:1] + shape[2:], dtype=dtype, device=device) for shape, dtype in self.results]
        run_forward(
            self._module()[0], self.sizes, dict(zip(self.names, args, strict=True)), real(initial),
            real(zip(self.outputs, outputs, strict=True)), real(final), self.empty_saved(False), None, slots, clock,
            self._strides,
        )  # fmt: skip
        return outputs

    def backward(
        self, args: Sequence[Tensor], states: Sequence[Tensor], clock: Tensor, offsets: Tensor | None,
        saved: Sequence[Tensor], found: Mapping[str, Tensor],
    ) -> list[Tensor]:  # fmt: skip
        """Gradients of the floating arguments, then of the given states, from those of outputs and final states."""
        rec, given = self.rec, dict(zip(self.given, states, strict=True))
        d_states = {n: torch.empty(t.shape, dtype=t.dtype, device=t.device) for n, t in given.items()}
        floating = [s.name for s in rec.outputs if s.name in found and s.dtype in ("real", "complex")]
        raw = run_backward(
            self._module()[0], self.sizes, self.arguments(args), real(given),
            dict(zip(self.scratch, saved, strict=True)), real({n: found[n] for n in floating}),
            real({n: found[n] for n in self.slots if n in found}), real(d_states), offsets, clock,
        )  # fmt: skip
        table = dict(zip(self.names, args, strict=True))
        return [*(self._summed(s, table[s.name], raw.get(s.name)) for s in differentiable(rec)), *d_states.values()]

    def _summed(self, symbol: Symbol, argument: Tensor, full: Tensor | None) -> Tensor:
        """A gradient in its argument's shape and type: summed over what was broadcast."""
        if full is None:
            return torch.zeros(argument.shape, dtype=argument.dtype, device=argument.device)
        if argument.is_complex():
            full = torch.view_as_complex(full)
        if symbol.kind is not Kind.INPUT:
            full = full.sum(0) if full.shape[0] != 1 else full[0]
        if full.shape == argument.shape:
            return full if full.dtype == argument.dtype else full.to(argument.dtype)
        lead = leading(self.rec, symbol)
        missing = full.ndim - argument.ndim
        padded = (*argument.shape[:lead], *(1,) * missing, *argument.shape[lead:])
        over = [i for i, (a, b) in enumerate(zip(full.shape, padded, strict=True)) if a != b]
        if over:
            full = full.to(self.complex if full.is_complex() else self.compute)
            # Over sequences in whatever order is fastest; over the heads of one, in one that no batch changes.
            full = _folded(full, over) if symbol.kind is Kind.INPUT else full.sum(over, keepdim=True)
        return full.reshape(argument.shape).to(argument.dtype)


def real(tensors: Any) -> dict[str, Tensor]:
    """Complex tensors as pairs of reals; all row by row."""
    return {
        n: torch.view_as_real(t.resolve_conj().contiguous()) if t.dtype.is_complex else t.contiguous()
        for n, t in dict(tensors).items()
    }


def _folded(x: Tensor, over: Sequence[int]) -> Tensor:
    """The sum over axes, which stay with one element, in an order that depends on no other axis."""
    for axis in over:
        while (size := x.shape[axis]) > 1:
            half = size // 2
            rest = x.narrow(axis, 2 * half, size - 2 * half)
            x = x.narrow(axis, 0, half) + x.narrow(axis, half, half)
            if rest.shape[axis]:
                x.narrow(axis, 0, 1).add_(rest)
    return x


def _needed(name: str) -> bool:
    """Whether a forward run alone needs a kept tensor: those that later passes read are named `kept NAME`."""
    return name.startswith("kept ")


def _row_by_row(value: Tensor, own: int) -> bool:
    """Whether the last axes of a tensor lie row by row."""
    expected, first = 1, value.ndim - own
    for size, stride in zip(reversed(value.shape[first:]), reversed(value.stride()[first:]), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


__all__ = ["Frame", "frame_of", "look"]
