"""Runs calls with Triton kernels: the way of a first call, and the short way of one like an earlier one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import index
from typing import Any

import torch
from torch import Tensor

from recc.backends.triton_gpu.spec import Compute
from recc.errors import UsageError
from recc.layout import Layout
from recc.recurrence import Recurrence
from recc.runtime import gpu_op
from recc.runtime.call import Call, check_clock
from recc.runtime.gpu import Gpu, Key, check_device, compute_of, interpreted, products_of
from recc.runtime.gpu_frame import Frame, frame_of, look
from recc.runtime.gpu_step import Steps
from recc.runtime.gpu_ways import all_plain, clock_of, is_clock, keep, parts_of
from recc.runtime.layout import lay_out
from recc.runtime.torch_op import refuse_tangents

#: What was passed: by position, by name, and the state.
Given = tuple[Sequence[Any], Mapping[str, Any], Any]


class Kernels:
    """The Triton kernels of one program, and the calls that they have run.

    Args:
        rec: the program.
        key: the name under which the torch operator knows it.
        form: the form that was asked for, or `auto`.
        chunk: steps of a chunk, if that was asked for.
    """

    def __init__(self, rec: Recurrence, key: str, form: str, chunk: int | None):
        self.rec = rec
        self.key = key
        self.gpu = Gpu(rec, form, chunk)
        self.names = tuple(s.name for s in rec.arguments)
        #: Whether the state ends with a number of steps.
        self.clocked = bool(rec.clock and rec.slots)
        self.ways: dict[Any, Frame] = {}
        self.steps = Steps(self)
        gpu_op.register(key, self.gpu)

    # The way of a first call.

    def run(self, call: Call, final: bool, given: Given | None = None) -> tuple[list[Any], list[Any]]:
        """Outputs and final states; arrays of NumPy go to the device and back.

        `given` is what was passed, by position and by name, and the state: if kernels take it as it is, the next
        call of the same looks goes the short way. Raises `UsageError`, `Unsupported`.
        """
        if not call.torch:
            return self._run_numpy(call, final)
        check_device(call.device)
        rec = self.rec
        args = [call.arguments[s.name].resolve_neg() for s in rec.arguments]
        states = [call.initial[slot.name].resolve_neg() for slot in rec.slots if slot.name in call.initial]
        flags = "".join("1" if slot.name in call.initial else "0" for slot in rec.slots)
        offsets = self._offsets(call)
        steps = -1 if call.steps is None else call.steps
        clock = clock_of(call.clock, call.device)
        if not gpu_op.plain() or call.device.type in gpu_op.SHAPES_ONLY:
            return self._run_operator(call, args, states, flags, offsets, clock, steps, final)
        sequences = None if offsets is None else offsets.shape[0] - 1
        frame = frame_of(self.gpu, args, states, flags, sequences, call.result, steps)
        check_clock(rec, clock, frame.layout)
        outputs, finals = gpu_op.run(frame, args, states, clock, offsets, final)
        if given is not None and call.offsets is None and self._as_given(given, args, states):
            count = 0 if call.boundaries is None else call.boundaries.shape[0]
            keep(self.ways, (*map(look, args), *map(look, states), count, call.steps), frame)
        return list(outputs), self.with_clock(list(finals), clock, offsets, frame.layout, final)

    def _run_operator(
        self, call: Call, args: list[Tensor], states: list[Tensor], flags: str, offsets: Tensor | None, clock: Tensor,
        steps: int, final: bool,
    ) -> tuple[list[Any], list[Any]]:  # fmt: skip
        """The call as one operator, which tracers see."""
        save = torch.is_grad_enabled() and any(t.requires_grad for t in (*args, *states))
        refuse_tangents([*args, *states])
        flat = gpu_op.forward_op(args, states, clock, flags, offsets, self.key, call.result, steps, save, final)
        n_out = len(self.rec.outputs)
        finals = list(flat[n_out : n_out + len(self.rec.slots)]) if final else []
        layout = self._layout(call, offsets) if final and self.clocked else None
        return list(flat[:n_out]), self.with_clock(finals, clock, offsets, layout, final)

    def _layout(self, call: Call, offsets: Tensor | None) -> Layout:
        shapes = {n: tuple(v.shape) for n, v in call.arguments.items()}
        states = call.state_shapes
        sequences = None if offsets is None else offsets.shape[0] - 1
        offsets_there = call.offsets if offsets is None else None
        return lay_out(self.rec, shapes, states, offsets_there, call.steps, lane=False, sequences=sequences)

    def with_clock(
        self, finals: list[Any], clock: Tensor, offsets: Tensor | None, layout: Layout | None, final: bool
    ) -> list[Any]:
        """The final states, with the number of steps run if it is one of them: `[N]`."""
        if not (final and self.clocked) or layout is None:
            return finals
        ran = offsets.diff() if offsets is not None else layout.steps
        return [*finals, (clock + ran).to(torch.int64).expand(layout.sequences).contiguous()]

    def _offsets(self, call: Call) -> Tensor | None:
        """The boundaries of packed sequences, on the device."""
        if call.boundaries is not None:
            return check_boundaries(call.boundaries, call.device).contiguous()
        if call.offsets is None:
            return None
        _ = call.layout  # checks them
        return torch.tensor(call.offsets, dtype=torch.int64).to(call.device, non_blocking=True)

    def _run_numpy(self, call: Call, final: bool) -> tuple[list[Any], list[Any]]:
        device = torch.device("cpu" if interpreted() or not torch.cuda.is_available() else "cuda")
        check_device(device)

        def moved(values: Mapping[str, Any]) -> dict[str, Tensor]:
            return {n: torch.tensor(v, device=device) for n, v in values.items()}

        clock = call.clock if isinstance(call.clock, int) else torch.tensor(call.clock, device=device)
        there = Call(
            call.rec, moved(call.arguments), moved(call.initial), clock, call.offsets, call.steps, call.compute,
            call.result, True, device,
        )  # fmt: skip
        with torch.no_grad():
            outputs, finals = self.run(there, final)
        return [v.cpu().numpy() for v in outputs], [v.cpu().numpy() for v in finals]

    def emit(self, sizes: Mapping[str, int], dtype: str) -> str:
        """The text of the module for sizes of axes, one batch axis, and inputs of a type."""
        compute: Compute = "float64" if dtype == "float64" else "float32"
        products = products_of([getattr(torch, dtype)], compute, None)
        return self.gpu.emit(Key(tuple(sizes.items()), 1, compute, products, False))

    # Whether there are kernels at all, for backends that have another choice.

    def serves(self, call: Call) -> bool:
        """Whether kernels run a call, rather than refuse the program, its form or its sizes."""
        lay = self._layout(call, call.boundaries)
        tensors = [*call.arguments.values(), *call.initial.values()]
        dtypes = tuple(t.dtype for t in call.arguments.values())
        # `index` makes plain numbers of the symbols by which a tracer may stand for sizes.
        sizes = tuple((n, index(size)) for n, size in lay.sizes.items())
        found: bool = self._serves(sizes, len(lay.batch), compute_of(tensors), dtypes, lay.packed, call.device)
        return found

    # Deriving and emitting is not for a tracer to look into.
    @torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # torch gives it no types
    def _serves(
        self,
        sizes: tuple[tuple[str, int], ...],
        batch: int,
        compute: Compute,
        dtypes: tuple[torch.dtype, ...],
        packed: bool,
        device: torch.device,
    ) -> bool:
        return self.gpu.serves(Key(sizes, batch, compute, products_of(dtypes, compute, device), packed))

    # The way of calls that look like an earlier one.

    def _as_given(self, given: Given, args: Sequence[Tensor], states: Sequence[Tensor]) -> bool:
        """Whether what was passed is what runs, nothing converted or left out."""
        values, parts = self.in_order(*given[:2]), parts_of(given[2])
        if values is None or parts is None:
            return False
        parts = parts[:-1] if parts and self.clocked else parts
        passed = (*values, *parts)
        return len(passed) == len(args) + len(states) and all(
            a is b for a, b in zip(passed, (*args, *states), strict=True)
        )

    def again(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        state: Any,
        final: bool,
        boundaries: Any,
        steps: int | None,
    ) -> tuple[Sequence[Any], Sequence[Any]] | None:
        """The results of a call that looks like an earlier one; `None` if it does not."""
        if not gpu_op.plain() or not self.ways:
            return None
        given = self.in_order(args, kwargs)
        parts = parts_of(state)
        if given is None or parts is None:
            return None
        clock: Any = None
        if parts and self.clocked:
            parts, clock = parts[:-1], parts[-1]
            if not is_clock(clock):
                return None
        tensors = (*given, *parts)
        if not all_plain(tensors):
            return None
        count = 0
        if boundaries is not None:
            if type(boundaries) is not Tensor or boundaries.device.type == "cpu" or boundaries.ndim != 1:
                return None
            count = boundaries.shape[0]
        frame = self.ways.get((*map(look, tensors), count, steps))
        if frame is None:
            return None
        if boundaries is not None:
            boundaries = check_boundaries(boundaries, frame.device).contiguous()
        first = clock_of(0 if clock is None else clock, frame.device)
        if clock is not None:
            check_clock(self.rec, first, frame.layout)
        outputs, finals = gpu_op.run(frame, given, parts, first, boundaries, final)
        if final and self.clocked:
            finals = self.with_clock(list(finals), first, boundaries, frame.layout, final)
        return outputs, finals

    def in_order(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """The arguments in declared order; `None` if some are missing or more than declared."""
        if len(args) + len(kwargs) != len(self.names):
            return None
        if not kwargs:
            return tuple(args)
        rest = self.names[len(args) :]
        try:
            return (*args, *[kwargs[n] for n in rest])
        except KeyError:
            return None


def check_boundaries(boundaries: Tensor, device: torch.device) -> Tensor:
    """Boundaries that are never read on the host: their form alone is looked at. Raises `UsageError`."""
    if boundaries.ndim != 1 or boundaries.shape[0] < 1 or boundaries.dtype not in (torch.int32, torch.int64):
        expected = "N+1 integer offsets in one dimension (int32 or int64)"
        raise UsageError("cu_seqlens", expected, f"shape {list(boundaries.shape)} of {boundaries.dtype}")
    if boundaries.device != device:
        raise UsageError("cu_seqlens", f"offsets on {device}, where the inputs are", f"a tensor on {boundaries.device}")
    return boundaries


__all__ = ["Kernels", "check_boundaries"]
