"""The torch operator of Triton kernels, with its autograd rule and its fake kernels.

Like that of C kernels (`recc.runtime.torch_op`), but nothing here waits for the device: boundaries of packed
sequences stay where they are. Tracers and `torch.func` see the operators `recc::triton_forward` and
`recc::triton_backward`. A plain call takes the way past them (`run`), which costs the host a third of the time and
does the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from recc.runtime.call import check_clock
from recc.runtime.gpu import Gpu
from recc.runtime.gpu_frame import Frame, frame_of
from recc.runtime.torch_op import LIBRARY, differentiable, no_second_derivative

_PROGRAMS: dict[str, Gpu] = {}
#: Devices whose tensors have no elements for kernels to run on: the operator says what they would give.
SHAPES_ONLY: tuple[str, ...] = ("meta",)

LIBRARY.define(
    "triton_forward(Tensor[] args, Tensor[] states, Tensor clock, str given, Tensor? offsets, str key, str result, "
    "int steps, bool save, bool final) -> Tensor[]"
)
LIBRARY.define(
    "triton_backward(Tensor[] args, Tensor[] states, Tensor clock, Tensor? offsets, Tensor[] saved, "
    "Tensor[] d_results, str flowing, str given, str key, str result, int steps) -> Tensor[]"
)


def register(key: str, gpu: Gpu) -> None:
    """Makes a program known to the operator."""
    _PROGRAMS[key] = gpu


def plain() -> bool:
    """Whether nobody looks on who would have to see an operator: a tracer, a mode, `torch.func`, forward mode."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
        or torch._C._get_tracing_state() is not None
    )


def run(
    frame: Frame, args: Sequence[Tensor], states: Sequence[Tensor], clock: Tensor, offsets: Tensor | None, final: bool
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Outputs and final states of a plain call, the latter only if they are wanted."""
    if torch.is_grad_enabled() and any(t.requires_grad for t in (*args, *states)):
        found: Any = _Run.apply(frame, clock, offsets, final, *args, *states)  # type: ignore[no-untyped-call]  # torch's
    else:
        found, _ = _forward_all(frame, args, states, clock, offsets, False, final)
    return found[: len(frame.outputs)], found[len(frame.outputs) :]


def _forward_all(
    frame: Frame, args: Sequence[Tensor], states: Sequence[Tensor], clock: Tensor, offsets: Tensor | None,
    save: bool, final: bool,
) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
    """Outputs with final states, and what a backward run needs."""
    finals = frame.empty_finals() if final else []
    table = dict(zip(frame.slots, finals, strict=True)) if final else {}
    given = dict(zip(frame.given, states, strict=True))
    outputs, saved = frame.forward(args, given, clock, offsets, None, save, table)
    return [*outputs, *finals], list(saved.values()) if save else []


def _named(frame: Frame, grads: Sequence[Tensor | None]) -> dict[str, Tensor]:
    """The gradients that there are, by the names of outputs and states."""
    names = (*frame.outputs, *frame.slots)
    return {n: g for n, g in zip(names, grads, strict=False) if g is not None}


class _Run(torch.autograd.Function):
    """A plain call with its gradient."""

    @staticmethod
    def forward(ctx: Any, frame: Frame, clock: Tensor, offsets: Tensor | None, final: bool, *tensors: Tensor) -> Any:
        args, states = tensors[: len(frame.names)], tensors[len(frame.names) :]
        results, saved = _forward_all(frame, args, states, clock, offsets, True, final)
        ctx.frame, ctx.packed = frame, offsets is not None
        packed = () if offsets is None else (offsets,)
        ctx.save_for_backward(*tensors, clock, *packed, *saved)
        ctx.mark_non_differentiable(*(t for t in results if not (t.is_floating_point() or t.is_complex())))
        ctx.set_materialize_grads(False)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        frame, saved = ctx.frame, ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, None, None, None, *_Back.apply(frame, ctx.packed, saved, len(grads), *grads, *saved)  # type: ignore[no-untyped-call]  # torch's
        return None, None, None, None, *_gradients(frame, ctx.packed, saved, grads)


class _Back(torch.autograd.Function):
    """A backward run whose own gradient somebody may ask for, and is told that there is none."""

    @staticmethod
    def forward(ctx: Any, frame: Frame, packed: bool, saved: Sequence[Tensor], count: int, *tensors: Any) -> Any:
        return tuple(_gradients(frame, packed, saved, tensors[:count]))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return no_second_derivative(ctx, *grads)


def _gradients(
    frame: Frame, packed: bool, saved: Sequence[Tensor], grads: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """A gradient or `None` for every argument and given state."""
    n_args, n_states = len(frame.names), len(frame.given)
    args, states, rest = saved[:n_args], saved[n_args : n_args + n_states], saved[n_args + n_states :]
    offsets = rest[1] if packed else None
    found = frame.backward(args, states, rest[0], offsets, rest[2 if packed else 1 :], _named(frame, grads))
    return _spread(frame, found)


def _spread(frame: Frame, found: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradients of arguments that have one, and `None` for the others, then those of states."""
    wanted = {s.name: i for i, s in enumerate(differentiable(frame.rec))}
    return [*(found[wanted[n]] if n in wanted else None for n in frame.names), *found[len(wanted) :]]


# The operators.


def _operands(
    args: Sequence[Tensor],
    states: Sequence[Tensor],
    given: str,
    offsets: Tensor | None,
    key: str,
    result: str,
    steps: int,
) -> Frame:
    sequences = None if offsets is None else offsets.shape[0] - 1
    return frame_of(_PROGRAMS[key], args, states, given, sequences, result, steps)


def _forward(
    args: Sequence[Tensor], states: Sequence[Tensor], clock: Tensor, given: str, offsets: Tensor | None, key: str,
    result: str, steps: int, save: bool, final: bool,
) -> list[Tensor]:  # fmt: skip
    """Outputs, final states if they are wanted, and saved tensors, one after the other."""
    frame = _operands(args, states, given, offsets, key, result, steps)
    check_clock(frame.rec, clock, frame.layout)
    results, saved = _forward_all(frame, args, states, clock, offsets, save, final)
    return [*results, *saved]


def _forward_fake(
    args: Sequence[Tensor], states: Sequence[Tensor], clock: Tensor, given: str, offsets: Tensor | None, key: str,
    result: str, steps: int, save: bool, final: bool,
) -> list[Tensor]:  # fmt: skip
    sequences = None if offsets is None else offsets.shape[0] - 1
    # The sizes of fake tensors may be symbols, which are no keys.
    frame = Frame(_PROGRAMS[key], args, states, given, sequences, result, steps)
    finals = frame.empty_finals() if final else []
    return [*frame.empty_outputs(), *finals, *(frame.empty_saved(True).values() if save else [])]


def _run_backward(
    args: Sequence[Tensor], states: Sequence[Tensor], clock: Tensor, offsets: Tensor | None, saved: Sequence[Tensor],
    d_results: Sequence[Tensor], flowing: str, given: str, key: str, result: str, steps: int,
) -> list[Tensor]:  # fmt: skip
    """Gradients of the floating arguments, then of the given states.

    `d_results` are the gradients of outputs and final states that there are; `flowing` marks them.
    """
    frame = _operands(args, states, given, offsets, key, result, steps)
    there = iter(d_results)
    grads = [next(there) if flag == "1" else None for flag in flowing]
    return frame.backward(args, states, clock, offsets, saved, _named(frame, grads))


def _backward_fake(
    args: Sequence[Tensor], states: Sequence[Tensor], clock: Tensor, offsets: Tensor | None, saved: Sequence[Tensor],
    d_results: Sequence[Tensor], flowing: str, given: str, key: str, result: str, steps: int,
) -> list[Tensor]:  # fmt: skip
    rec = _PROGRAMS[key].rec
    table = dict(zip((s.name for s in rec.arguments), args, strict=True))
    wanted = [table[s.name] for s in differentiable(rec)] + list(states)
    return [torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in wanted]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    args, states, clock, given, offsets, key, result, steps, _, final = inputs
    rec = _PROGRAMS[key].rec
    ctx.count = len(rec.outputs) + (len(rec.slots) if final else 0)
    packed = [] if offsets is None else [offsets]
    ctx.save_for_backward(*args, *states, clock, *packed, *output[ctx.count :])
    ctx.parts = (len(args), len(states), len(packed))
    ctx.rest = (given, key, result, steps)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grads: list[Tensor | None]) -> tuple[Any, ...]:
    given, key, result, steps = ctx.rest
    rec = _PROGRAMS[key].rec
    n_args, n_states, n_packed = ctx.parts
    tensors = list(ctx.saved_tensors)
    args, tensors = tensors[:n_args], tensors[n_args:]
    states, tensors = tensors[:n_states], tensors[n_states:]
    clock, tensors = tensors[0], tensors[1:]
    offsets, saved = (tensors[0] if n_packed else None), tensors[n_packed:]
    flowing = "".join("0" if g is None else "1" for g in grads[: ctx.count])
    d_results = [g for g in grads[: ctx.count] if g is not None]
    found = backward_op(args, states, clock, offsets, saved, d_results, flowing, given, key, result, steps)
    wanted = {s.name: i for i, s in enumerate(differentiable(rec))}
    d_args = [found[wanted[s.name]] if s.name in wanted else None for s in rec.arguments]
    return d_args, list(found[len(wanted) :]), *(None,) * 8


for _device in ("CPU", "CUDA"):
    LIBRARY.impl("triton_forward", _forward, _device)
    LIBRARY.impl("triton_backward", _run_backward, _device)
torch.library.register_fake("recc::triton_forward", _forward_fake, lib=LIBRARY)
torch.library.register_fake("recc::triton_backward", _backward_fake, lib=LIBRARY)
torch.library.register_autograd("recc::triton_forward", _backward, setup_context=_setup, lib=LIBRARY)
torch.library.register_autograd("recc::triton_backward", no_second_derivative, lib=LIBRARY)

forward_op: Any = torch.ops.recc.triton_forward.default
backward_op: Any = torch.ops.recc.triton_backward.default

__all__ = ["backward_op", "forward_op", "plain", "register", "run"]
