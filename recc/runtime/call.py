"""Binding a call: which argument is which, what is missing, and in which element types it runs."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

import numpy as np

from recc.errors import UsageError
from recc.layout import Layout
from recc.recurrence import Kind, Recurrence, Slot, Symbol
from recc.runtime.host import check_dtype, dtype_name, is_torch, kind_of
from recc.runtime.layout import describe, lay_out


@dataclass
class Call:
    """A bound call: arrays of one framework by name.

    `compute` is float64 if any argument is, else float32. `result` is the element type of the outputs:
    the widest of the inputs'. `clock` counts steps already run, per sequence. `device` is that of the
    tensors (`None` for NumPy arrays). `boundaries` are those of packed sequences in a tensor that is not read
    here, in place of `offsets`; `paged` is the number of sequences where states are those of more, of which some
    are picked. The layout is worked out
    when it is first asked for: under `torch.compile` only the operator does so, outside the trace.
    """

    rec: Recurrence
    arguments: Mapping[str, Any]
    initial: Mapping[str, Any]
    clock: Any
    offsets: Sequence[int] | None
    steps: int | None
    compute: str
    result: str
    torch: bool
    device: Any = None
    boundaries: Any = None
    paged: int | None = None
    _layout: Layout | None = None

    @property
    def on_cpu(self) -> bool:
        """Whether the arrays lie in this machine's memory."""
        return self.device is None or self.device.type == "cpu"

    @property
    def layout(self) -> Layout:
        """How the arrays are laid out. Raises `UsageError`."""
        if self._layout is None:
            shapes = {n: tuple(v.shape) for n, v in self.arguments.items()}
            self._layout = lay_out(self.rec, shapes, self.state_shapes, self.offsets, self.steps)
        return self._layout

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the initial states, `[N, *batch, *axes]`."""
        shapes = {n: tuple(v.shape) for n, v in self.initial.items()}
        return shapes if self.paged is None else {n: (self.paged, *shape[1:]) for n, shape in shapes.items()}


def bind(
    rec: Recurrence,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    initial_state: Any,
    offsets: Sequence[int] | None,
    steps: Any,
    anywhere: bool = False,
) -> Call:
    """Binds positional and named arguments in declared order. Raises `UsageError`.

    `anywhere` allows tensors that are not on the CPU; all are on one device then.
    """
    if steps is not None and (not isinstance(steps, (int, np.integer)) or steps < 0):
        raise UsageError("steps", "a whole number, 0 or more", f"{steps!r}")
    found = _by_name(rec, args, kwargs)
    states, clock = split_state(rec, initial_state)
    given = [*found.values(), *states.values()]
    torch = any(is_torch(v) for v in given)
    device = next((v.device for v in given if is_torch(v)), None)
    # Numbers and lists of Python have no type of their own to compute in.
    typed = [hasattr(v, "dtype") for v in given]
    found = {n: _as_array(f"argument {n!r}", v, device, anywhere) for n, v in found.items()}
    states = {n: _as_array(f"initial state {n!r}", v, device, anywhere) for n, v in states.items()}
    names = [dtype_name(v) for v in (*found.values(), *states.values())]
    wide = any(own and n in ("float64", "complex128") for own, n in zip(typed, names, strict=True))
    compute = "float64" if wide or not any(typed) else "float32"
    slots = {slot.name: slot for slot in rec.slots}
    pairs = zip(found.items(), typed, strict=False)
    arrays = {n: _argument(rec.table[n], v, own, torch, compute) for (n, v), own in pairs}
    states = {n: _state(slots[n], v, torch, compute) for n, v in states.items()}
    steps = None if steps is None else int(steps)
    return Call(rec, arrays, states, clock, offsets, steps, compute, _result(rec, arrays, compute), torch, device)


def _by_name(rec: Recurrence, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    names = [s.name for s in rec.arguments]
    if len(args) > len(names):
        signature = f"{rec.name}({', '.join(names)})"
        raise UsageError("the call", f"at most {len(names)} arguments, {signature}", f"{len(args)}")
    found = dict(zip(names, args, strict=False))
    for name, value in kwargs.items():
        if name not in names:
            close = get_close_matches(name, names, 1)
            hint = f"did you mean {close[0]!r}?" if close else ""
            raise UsageError(f"argument {name!r}", f"one of {', '.join(names) or 'none'}", "an unknown name", hint)
        if name in found:
            raise UsageError(f"argument {name!r}", "one value", "two, by position and by name")
        found[name] = value
    for symbol in rec.arguments:
        if found.get(symbol.name) is None:
            raise UsageError(f"argument {symbol.name!r}", f"an array {describe(rec, symbol)}", "nothing")
    return {name: found[name] for name in names}


def _argument(symbol: Symbol, value: Any, typed: bool, torch: bool, compute: str) -> Any:
    """The argument in an element type that stands for what is declared; its own if it came with one."""
    check_dtype(symbol, dtype_name(value))
    if symbol.dtype == "complex":
        return _cast(value, "complex128" if compute == "float64" else "complex64", torch)
    if symbol.dtype == "real" and (not typed or kind_of(dtype_name(value)) != "real"):
        return _cast(value, compute, torch)
    return value


def _state(slot: Slot, value: Any, torch: bool, compute: str) -> Any:
    """The state in the computing type."""
    if slot.dtype == "complex":
        return _cast(value, "complex128" if compute == "float64" else "complex64", torch)
    if kind_of(dtype_name(value)) == "complex":
        raise UsageError(f"initial state {slot.name!r}", "real numbers", dtype_name(value))
    return _cast(value, compute, torch)


def _as_array(who: str, value: Any, device: Any, anywhere: bool) -> Any:
    """A tensor on the device of the others, or a NumPy array of whole elements in this machine's byte order.

    Raises `UsageError`.
    """
    if is_torch(value):
        if value.device.type != "cpu" and not anywhere:
            hint = "move it with .cpu(), or use backend='torch'"
            raise UsageError(who, "a tensor on the CPU", f"one on {value.device}", hint)
        if value.device != device:
            raise UsageError(who, f"a tensor on {device}, as the first one", f"one on {value.device}")
        return value
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise UsageError(who, "an array, or numbers in rows of equal length", f"{type(value).__name__}") from error
    if array.dtype.kind not in "biufc":
        raise UsageError(who, "numbers", f"elements of type {array.dtype}")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if not array.flags.aligned or any(stride % array.itemsize for stride in array.strides):
        array = array.copy()  # a field of records
    if device is None:
        return array
    import torch as framework

    return framework.as_tensor(array, device=device)


def _cast(value: Any, name: str, torch: bool) -> Any:
    if dtype_name(value) == name:
        return value
    if torch:
        import torch as framework

        return value.to(getattr(framework, name))
    return value.astype(name)


def _result(rec: Recurrence, arrays: Mapping[str, Any], compute: str) -> str:
    names = [dtype_name(arrays[s.name]) for s in rec.of_kind(Kind.INPUT) if s.dtype in ("real", "complex")]
    ranks = ("bfloat16", "float16", "float32", "float64")
    reals = {"complex64": "float32", "complex128": "float64"}
    found = {reals.get(n, n) for n in names}
    if not found:
        return compute
    return "float32" if found == {"bfloat16", "float16"} else max(found, key=ranks.index)


def advanced(call: Call) -> Any:
    """The clock after a call: steps run so far, per sequence."""
    if not call.torch:
        return np.asarray(call.clock, np.int64) + np.array(call.layout.lengths, np.int64)
    import torch

    clock = torch.as_tensor(call.clock, dtype=torch.int64, device=call.device)
    return clock + torch.tensor(call.layout.lengths, dtype=torch.int64, device=call.device)


def stays_there(offsets: Any, backend: str) -> bool:
    """Whether boundaries are in a tensor that is not read here: on another device, or while kernels are traced."""
    if not is_torch(offsets):
        return False
    import torch

    return offsets.device.type != "cpu" or (backend == "triton" and torch.compiler.is_compiling())


def offset_list(offsets: Any) -> list[int] | None:
    """The boundaries of packed sequences as numbers. Raises `UsageError`."""
    if offsets is None:
        return None
    if hasattr(offsets, "tolist"):
        offsets = offsets.tolist()
    if not isinstance(offsets, (list, tuple)) or not all(isinstance(n, int) for n in offsets):
        raise UsageError("cu_seqlens", "N+1 integer offsets in one dimension", f"{offsets!r:.60}")
    return list(offsets)


@cache
def state_type(names: tuple[str, ...]) -> Any:
    """The named tuple of a program's states."""
    return namedtuple("State", names)  # the fields are known at run time only


@cache
def output_type(names: tuple[str, ...]) -> Any:
    """The named tuple of a program's outputs."""
    return namedtuple("Outputs", names)  # the fields are known at run time only


def state_names(rec: Recurrence) -> tuple[str, ...]:
    """The fields of the state: the slots, and the scan axis if the program uses its number."""
    return (*(slot.name for slot in rec.slots), *(rec.scan if rec.clock and rec.slots else ()))


def split_state(rec: Recurrence, state: Any) -> tuple[dict[str, Any], Any]:
    """The given initial states by slot, and the number of steps already run.

    Takes the final state of another call, a mapping of some slots, a sequence of all, or one array if
    there is one slot.
    """
    if state is None:
        return {}, 0
    names = state_names(rec)
    if not rec.slots:
        raise UsageError("initial_state", "none: the program carries no state from one call to the next", "a state")
    if isinstance(state, Mapping):
        for name in state:
            if name not in names:
                close = get_close_matches(str(name), names, 1)
                hint = f"did you mean {close[0]!r}?" if close else ""
                raise UsageError("initial_state", f"states among {', '.join(names)}", f"{name!r}", hint)
        found = {n: v for n, v in state.items() if v is not None}
    elif isinstance(state, (tuple, list)):
        if len(state) != len(names):
            expected = f"{len(names)} state{'s' if len(names) > 1 else ''} ({', '.join(names)})"
            raise UsageError("initial_state", expected, f"{len(state)}")
        found = {n: v for n, v in zip(names, state, strict=True) if v is not None}
    elif len(names) == 1:
        found = {names[0]: state}
    else:
        raise UsageError("initial_state", f"{len(names)} states ({', '.join(names)})", "one array")
    clock = found.pop(rec.scan[0], 0) if rec.clock else 0
    return found, _whole(rec.scan[0], clock)


def _whole(name: str, clock: Any) -> Any:
    """The number of steps already run, or one for each sequence."""
    if isinstance(clock, int):
        return clock
    array = clock if is_torch(clock) else np.asarray(clock)
    if kind_of(dtype_name(array)) != "int" or len(array.shape) > 1:
        actual = f"{clock!r}" if not len(array.shape) else f"shape {list(array.shape)} of {dtype_name(array)}"
        raise UsageError(f"initial state {name!r}", "a whole number of steps, or [N] of them", actual)
    return clock


def check_clock(rec: Recurrence, clock: Any, layout: Layout) -> None:
    """Raises `UsageError` unless there is one number of steps already run, or one for each sequence."""
    if tuple(clock.shape) not in ((), (1,), (layout.sequences,)):
        expected = f"a whole number of steps, or {layout.sequences} of them, one for each sequence"
        raise UsageError(f"initial state {rec.scan[0]!r}", expected, f"shape {list(clock.shape)}")


__all__ = [
    "Call",
    "bind",
    "check_clock",
    "offset_list",
    "output_type",
    "split_state",
    "state_names",
    "state_type",
    "stays_there",
]
