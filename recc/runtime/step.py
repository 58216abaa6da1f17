"""One step of a recurrence, for decoding: with a new state, or in place, perhaps of some of many sequences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from recc.errors import Refusal, Unsupported, UsageError
from recc.recurrence import Kind, Recurrence, reads
from recc.runtime.call import Call, bind, split_state
from recc.runtime.host import dtype_name, is_torch, kind_of


def no_step(rec: Recurrence) -> Refusal | None:
    """Why a program cannot run step by step, if it cannot."""
    if len(rec.scan) > 1:
        return Refusal("step", f"the program scans over {', '.join(rec.scan)}", "call the op as a whole")
    for equation in rec.equations:
        for read in reads(equation.expr):
            if any(lag < 0 for lag in read.lags):
                later = f"`{rec.source.slice(read.span)}` is read before it is there"
                return Refusal("step", later, "call the op as a whole", read.span)
    return None


def step(op: Any, state: Any, inputs: Mapping[str, Any], inplace: bool, slots: Any) -> tuple[Any, Any]:
    """Outputs and the state after one step of an op that runs step by step."""
    rec, gpu = op.recurrence, op._made_gpu
    inplace = inplace or slots is not None
    if gpu is not None:
        found = gpu.steps.again(inputs, state, slots, inplace)
        if found is not None:
            return (op._made(found[0], ()), state) if inplace else op._made(*found, True)
    widened = dict(inputs)
    for symbol in rec.of_kind(Kind.INPUT):
        value = widened.get(symbol.name)
        if value is not None:
            widened[symbol.name] = _widened(value)
    steps = None if rec.of_kind(Kind.INPUT) else 1
    if inplace:
        return _in_place(op, state, inputs, widened, steps, slots), state
    result, final = op(**widened, initial_state=state, output_final_state=True, steps=steps)
    if gpu is not None:
        gpu.steps.learn(inputs, widened, state, steps)
    return _narrowed(rec, result), final


def _widened(value: Any) -> Any:
    """An input with an axis of one step."""
    if is_torch(value) and value.ndim:
        return value.unsqueeze(1)
    value = value if hasattr(value, "shape") else np.asarray(value)
    return value[:, None] if len(value.shape) else value.reshape(1, 1)


def _narrowed(rec: Recurrence, result: Any) -> Any:
    """Outputs without the axis of one step."""
    return result[:, 0] if len(rec.outputs) == 1 else type(result)(*(part[:, 0] for part in result))


def _in_place(
    op: Any, state: Any, inputs: Mapping[str, Any], widened: Mapping[str, Any], steps: int | None, slots: Any
) -> Any:
    """The outputs of a step that leaves the new states where the old ones were."""
    rec: Recurrence = op.recurrence
    states, clock = split_state(rec, state)
    missing = [slot.name for slot in rec.slots if slot.name not in states]
    if missing or not rec.slots:
        expected = f"tensors for {', '.join(slot.name for slot in rec.slots)}, to be updated in place"
        raise UsageError("state", expected, f"none for {missing[0]!r}" if missing else "a program without states")
    parts = [states[slot.name] for slot in rec.slots]
    for value, name in (*zip(parts, states, strict=True), *(((clock, rec.scan[0]),) if rec.clock else ())):
        if not hasattr(value, "shape"):
            raise UsageError(f"state {name!r}", "a tensor or an array, to be updated in place", f"{value!r:.40}")
    if slots is not None:
        _refuse_tracers(slots)
        slots = _checked(slots, parts[0])
        if rec.clock and len(clock.shape) != 1:
            raise UsageError(f"state {rec.scan[0]!r}", "one number for each page", f"shape {list(clock.shape)}")
    call = bind(rec, (), widened, dict(states), None, steps, op._anywhere)
    call.paged = None if slots is None else int(slots.shape[0])
    if slots is not None:
        _check_rows(rec, call)
    if op._takes_kernels(call):
        found = op._made_gpu.steps.update(call, inputs, parts, clock if rec.clock else None, slots)
        if found is not None:
            return op._made(found, ())
    return _by_copy(op, parts, clock, widened, steps, slots)


def _refuse_tracers(slots: Any) -> None:
    """Raises `Unsupported` where a step of pages is traced: which of them change only a run can tell."""
    if is_torch(slots):
        import torch

        if torch.compiler.is_compiling():
            reason = "which pages it writes is not known while it is traced"
            instead = "leave it out of the compiled function, or pass the states themselves with inplace=True"
            raise Unsupported(Refusal("a step with slots under torch.compile", reason, instead))


def _checked(slots: Any, state: Any) -> Any:
    """The numbers of pages, as an array or tensor like the states. Raises `UsageError`."""
    if not hasattr(slots, "shape"):
        slots = np.asarray(slots)
    if is_torch(state) and not is_torch(slots):
        import torch

        slots = torch.as_tensor(slots, device=state.device)
    name = dtype_name(slots)
    if len(slots.shape) != 1 or name not in ("int32", "int64"):
        raise UsageError("slots", "[B] integers (int32 or int64)", f"shape {list(slots.shape)} of {name}")
    if is_torch(slots) and is_torch(state) and slots.device != state.device:
        raise UsageError("slots", f"a tensor on {state.device}, where the states are", f"one on {slots.device}")
    return slots.contiguous() if is_torch(slots) else slots


def _check_rows(rec: Recurrence, call: Call) -> None:
    rows = max((int(call.arguments[s.name].shape[0]) for s in rec.of_kind(Kind.INPUT)), default=1)
    if rows not in (1, call.paged):
        raise UsageError("slots", f"one for each of the {rows} sequences", f"{call.paged}")


def _by_copy(op: Any, parts: list[Any], clock: Any, inputs: Mapping[str, Any], steps: int | None, slots: Any) -> Any:
    """A step with a new state, which is then copied to where the old one was."""
    rec, places = op.recurrence, [*parts, *((clock,) if op.recurrence.clock else ())]
    names = [*(slot.name for slot in rec.slots), *(rec.scan if rec.clock else ())]
    picked = None if slots is None else slots.clip(0)
    taken = {n: p if picked is None else p[picked] for n, p in zip(names, places, strict=True)}
    result, final = op(**inputs, initial_state=taken, output_final_state=True, steps=steps)
    for name, place, new in zip(names, places, final if len(names) > 1 else (final,), strict=True):
        if kind_of(dtype_name(new)) != "int" and dtype_name(place) != dtype_name(new):
            raise UsageError(f"state {name!r}", f"{dtype_name(new)}, to be updated in place", dtype_name(place))
    for place, new in zip(places, final if len(names) > 1 else (final,), strict=True):
        _put(place, new, slots)
    return _narrowed(rec, _detached(rec, result))


def _put(place: Any, new: Any, slots: Any) -> None:
    if slots is not None:
        there = slots >= 0
        new, slots = new[there], slots[there]
    new = new.reshape(place.shape) if slots is None and new.shape[0] == 1 and not len(place.shape) else new
    if not is_torch(place):
        place[... if slots is None else slots] = new
        return
    import torch

    with torch.no_grad():
        if slots is None:
            place.copy_(new)
        else:
            place.index_copy_(0, slots.long(), new.to(place.dtype))


def _detached(rec: Recurrence, result: Any) -> Any:
    """Outputs without gradients: the state that they come from is overwritten."""
    if len(rec.outputs) == 1:
        return result.detach() if is_torch(result) else result
    return type(result)(*(part.detach() if is_torch(part) else part for part in result))


__all__ = ["no_step", "step"]
