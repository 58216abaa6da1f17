"""Single steps with Triton kernels: one launch, with a new state or in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from recc.errors import UsageError
from recc.runtime import gpu_op
from recc.runtime.call import Call, check_clock
from recc.runtime.gpu import check_device
from recc.runtime.gpu_frame import Frame, frame_of, look
from recc.runtime.gpu_ways import all_plain, clock_of, is_clock, keep, parts_of

if TYPE_CHECKING:
    from recc.runtime.gpu_call import Kernels


class Steps:
    """The steps that an op's kernels have made, by the looks of inputs without an axis of time, states and slots."""

    def __init__(self, kernels: Kernels):
        self.kernels = kernels
        self.rec = kernels.rec
        self._ways: dict[Any, Frame] = {}

    def again(self, inputs: Mapping[str, Any], state: Any, slots: Any, inplace: bool) -> tuple[Any, Any] | None:
        """Outputs and the parts of the state after a step that looks like an earlier one; `None` if it does not."""
        if not gpu_op.plain() or not self._ways:
            return None
        kernels = self.kernels
        given, parts = kernels.in_order((), inputs), parts_of(state)
        if given is None or parts is None:
            return None
        clock: Any = None
        if parts and kernels.clocked:
            parts, clock = parts[:-1], parts[-1]
            if not is_clock(clock) or (inplace and not isinstance(clock, Tensor)):
                return None
        tensors = (*given, *parts) if slots is None else (*given, *parts, slots)
        if not all_plain(tensors):
            return None
        frame = self._ways.get((*map(look, tensors), inplace, None if clock is None else getattr(clock, "shape", ())))
        if frame is None or (not inplace and torch.is_grad_enabled() and any(t.requires_grad for t in tensors)):
            return None
        if inplace:
            return self._write(frame, given, parts, clock, slots), ()
        first = clock_of(0 if clock is None else clock, frame.device)
        finals = frame.empty_finals()
        initial, final = dict(zip(frame.given, parts, strict=True)), dict(zip(frame.slots, finals, strict=True))
        outputs = frame.step(given, initial, first, None, final)
        return outputs, kernels.with_clock(finals, first, None, frame.layout, True)

    def learn(self, inputs: Mapping[str, Any], widened: Mapping[str, Any], state: Any, steps: int | None) -> None:
        """Keeps the way of a step that was made as a call of one step."""
        kernels = self.kernels
        given, wide, parts = kernels.in_order((), inputs), kernels.in_order((), widened), parts_of(state)
        if given is None or wide is None or parts is None or not all_plain((*given, *wide)):
            return
        clock = parts[-1] if parts and kernels.clocked else None
        parts = parts[:-1] if parts and kernels.clocked else parts
        if not all_plain(parts):
            return
        frame = kernels.ways.get((*map(look, wide), *map(look, parts), 0, steps))
        self._keep(frame, given, wide, parts, clock, None, False)

    def _keep(
        self, frame: Frame | None, given: Sequence[Tensor], wide: Sequence[Tensor], parts: Sequence[Tensor], clock: Any,
        slots: Tensor | None, inplace: bool,
    ) -> None:  # fmt: skip
        if frame is not None and frame.lead_strides(wide) is not None:
            last = () if slots is None else (look(slots),)
            shape = None if clock is None else getattr(clock, "shape", ())
            keep(self._ways, (*map(look, (*given, *parts)), *last, inplace, shape), frame)

    def update(
        self, call: Call, inputs: Mapping[str, Any], states: Sequence[Tensor], clock: Any, slots: Tensor | None
    ) -> list[Tensor] | None:
        """The outputs of one step that writes states where it read them; `None` where a tracer looks on.

        `states` are those of all slots, `[N, *batch, *axes]`; with `slots` they are `[P, …]`, and so is `clock`.
        `inputs` are those without an axis of time, `call` has them with one. Raises `UsageError`.
        """
        if not gpu_op.plain() or not call.torch:
            return None
        check_device(call.device)
        for slot, state in zip(self.rec.slots, states, strict=True):
            where, bound = f"state {slot.name!r}", call.initial[slot.name]
            if bound is not state:
                raise UsageError(where, f"{bound.dtype} on {bound.device}, to be updated in place", _said(state))
            if not state.is_contiguous() or state.is_neg() or state.is_conj():
                raise UsageError(where, "a contiguous tensor, to be updated in place", f"strides {state.stride()}")
        if clock is not None and not isinstance(clock, Tensor):
            raise UsageError(f"state {self.rec.scan[0]!r}", "a tensor, to be updated in place", f"{clock!r:.40}")
        args = [call.arguments[s.name].resolve_neg() for s in self.rec.arguments]
        steps = -1 if call.steps is None else call.steps
        flags, count = "1" * len(states), call.paged
        frame = frame_of(self.kernels.gpu, args, states, flags, count, call.result, steps, count is not None)
        given = self.kernels.in_order((), inputs)
        if given is not None and all_plain(given) and all(_same_memory(a, b) for a, b in zip(given, args, strict=True)):
            self._keep(frame, given, args, states, clock, slots, True)
        with torch.no_grad():
            return self._write(frame, args, states, clock, slots, wide=True)

    def _write(
        self, frame: Frame, args: Sequence[Tensor], states: Sequence[Tensor], clock: Any, slots: Tensor | None,
        wide: bool = False,
    ) -> list[Tensor]:  # fmt: skip
        """Runs a step in place. `wide` arguments have an axis of one step, and so outputs would have."""
        first = clock_of(0, frame.device)
        if clock is not None:
            first = clock if slots is None else clock.index_select(0, slots.clamp(min=0))
            first = clock_of(first, frame.device)
            check_clock(self.rec, first, frame.layout)
        final = dict(zip(frame.slots, states, strict=True))
        # What several programs of a kernel read must not be written before all have read it.
        initial = {n: t.clone() if n in frame.shared else t for n, t in final.items()} if frame.shared else final
        if wide:
            found = [o.select(1, 0) for o in frame.forward(args, initial, first, None, slots, False, final)[0]]
        else:
            found = frame.step(args, initial, first, slots, final)
        for state in states:
            if not state.is_inference():
                increment_version(state)
        if clock is not None and slots is None:
            clock.add_(1)
        elif clock is not None and slots is not None:
            clock.index_add_(0, slots.clamp(min=0), (slots >= 0).to(clock.dtype))
        return found


def _said(value: Any) -> str:
    return f"{value.dtype} on {value.device}" if isinstance(value, Tensor) else type(value).__name__


def _same_memory(a: Tensor, b: Tensor) -> bool:
    """Whether one tensor is the other, or a view of all of it."""
    return a is b or (a.dtype == b.dtype and a.data_ptr() == b.data_ptr() and a.numel() == b.numel())


__all__ = ["Steps"]
