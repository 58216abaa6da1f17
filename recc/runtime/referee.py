"""Runs a bound call through the NumPy reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from recc.recurrence import Recurrence
from recc.runtime.call import Call
from recc.runtime.host import is_torch


def run_reference(
    rec: Recurrence, call: Call, offsets: Sequence[int] | None, dtype: Any
) -> tuple[list[Any], list[Any]]:
    """Outputs and final states of a call, in order, as NumPy arrays of the wide type.

    Where the call was made with tensors, the results are tensors.
    """
    from recc.backends.numpy_reference import run, run_packed

    arguments = {n: _numpy(v) for n, v in call.arguments.items()}
    initial = {n: _numpy(v) for n, v in call.initial.items()}
    lay = call.layout
    if offsets is None:
        result = run(
            rec,
            arguments,
            sizes={a.name: lay.sizes[a.size_of] for a in rec.axes},
            initial=initial,
            clock=_numpy(call.clock),
            length=lay.extents[0] if len(lay.extents) == 1 else dict(zip(rec.scan, lay.extents, strict=True)),
            dtype=dtype,
        )
    else:
        result = run_packed(rec, arguments, offsets, initial=initial, clock=_numpy(call.clock), dtype=dtype)
    outputs = [result.outputs[s.name] for s in rec.outputs]
    finals = [result.final[slot.name] for slot in rec.slots]
    if call.torch:
        import torch

        return [torch.from_numpy(a) for a in outputs], [torch.from_numpy(a) for a in finals]
    return outputs, finals


def _numpy(value: Any) -> Any:
    if is_torch(value):
        import torch

        value = value.detach()
        return (value.float() if value.dtype in (torch.float16, torch.bfloat16) else value).numpy()
    return np.asarray(value)


__all__ = ["run_reference"]
