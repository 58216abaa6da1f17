"""What the short ways of calls and of steps with Triton kernels have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from recc.runtime import gpu_op
from recc.runtime.gpu_frame import Frame

#: Ways of calls kept by the looks of their tensors.
_MOST_WAYS = 256

_ZEROS: dict[torch.device, Tensor] = {}


def keep(ways: dict[Any, Frame], way: Any, frame: Frame) -> None:
    """Keeps a way, and none of the others where there are many."""
    if len(ways) >= _MOST_WAYS:
        ways.clear()
    ways[way] = frame


def parts_of(state: Any) -> tuple[Any, ...] | None:
    """The states of a given one in order; `None` for what has names."""
    if state is None:
        return ()
    if isinstance(state, tuple):
        return tuple(state)
    return (state,) if type(state) is Tensor else None


def all_plain(tensors: Sequence[Any]) -> bool:
    """Whether all are tensors of torch itself, whose elements are what memory holds."""
    return all((type(t) is Tensor or type(t) is Parameter) and not (t.is_neg() or t.is_conj()) for t in tensors)


def is_clock(clock: Any) -> bool:
    """Whether this is a number of steps, or one for each sequence."""
    if isinstance(clock, Tensor):
        return clock.dtype in (torch.int64, torch.int32) and clock.ndim <= 1
    return clock is None or isinstance(clock, int)


def clock_of(clock: Any, device: torch.device) -> Tensor:
    """The number of the first step, or that of each sequence, as the kernels read it; nothing waits for the device."""
    if not isinstance(clock, int):
        tensor = clock if isinstance(clock, Tensor) else torch.as_tensor(clock)
        return tensor.to(device, torch.int64).reshape(-1)
    if clock or not gpu_op.plain():
        return torch.full((1,), clock, dtype=torch.int64, device=device)
    zero = _ZEROS.get(device)
    if zero is None:
        # Neither a part of a CUDA graph, whose memory is its own, nor of inference alone.
        with torch.inference_mode(False):
            zero = torch.full((1,), 0, dtype=torch.int64, device=device)
        if device.type != "cuda" or not torch.cuda.is_current_stream_capturing():
            _ZEROS[device] = zero
    return zero


__all__ = ["all_plain", "clock_of", "is_clock", "keep", "parts_of"]
