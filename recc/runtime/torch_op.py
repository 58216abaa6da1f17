"""The torch operator: one for every program, with its autograd rule and its fake kernels.

`recc::forward` and `recc::backward` take flat lists of tensors and the program's key, so that
`torch.compile` sees one opaque operator with a gradient. Keys are content hashes, and programs register
themselves under their key when they are compiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch.autograd import forward_ad

from recc.errors import Refusal, Unsupported
from recc.layout import Layout
from recc.recurrence import Kind, Recurrence, Symbol
from recc.runtime.host import Host, to_host
from recc.runtime.layout import lay_out
from recc.runtime.native import Native

_PROGRAMS: dict[str, Native] = {}

# The plain library interface: `torch.library.custom_op` would import torch's compiler on the first call.
LIBRARY: Any = torch.library.Library("recc", "DEF")  # type: ignore[no-untyped-call]  # torch has no types here
LIBRARY.define(
    "forward(Tensor[] args, Tensor[] states, Tensor clock, str given, int[]? offsets, str key, str result, "
    "int steps, bool save) -> Tensor[]"
)
LIBRARY.define(
    "backward(Tensor[] args, Tensor[] states, Tensor clock, Tensor[] saved, Tensor[] d_results, str flowing, "
    "str given, int[]? offsets, str key, str result, int steps) -> Tensor[]"
)


def register(key: str, native: Native) -> None:
    """Makes a program known to the operator."""
    _PROGRAMS[key] = native


class _Frame:
    """What both directions derive from the operator's flat arguments."""

    def __init__(
        self, args: Sequence[torch.Tensor], states: Sequence[torch.Tensor], given: str, offsets: Sequence[int] | None,
        key: str, steps: int, fake: bool = False,
    ):  # fmt: skip
        self.native = _PROGRAMS[key]
        rec = self.rec = self.native.rec
        self.args = dict(zip((s.name for s in rec.arguments), args, strict=True))
        slots = [slot for slot, flag in zip(rec.slots, given, strict=True) if flag == "1"]
        self.states = dict(zip((slot.name for slot in slots), states, strict=True))
        shapes = {n: tuple(t.shape) for n, t in self.args.items()}
        of_states = {n: tuple(t.shape) for n, t in self.states.items()}
        length = steps if steps >= 0 else None
        # The sizes of fake tensors may be symbols, which are no keys.
        self.layout: Layout = (
            lay_out(rec, shapes, of_states, offsets, length)
            if fake
            else self.native.layout(shapes, of_states, offsets, length)
        )
        tensors = [*args, *states]
        wide = any(t.dtype in (torch.float64, torch.complex128) for t in tensors)
        self.compute = torch.float64 if wide else torch.float32
        self.compute_name: Any = "float64" if wide else "float32"

    def output_dtype(self, symbol: Symbol, result: str) -> torch.dtype:
        """The element type of an output."""
        if symbol.dtype == "complex":
            return torch.complex128 if self.compute is torch.float64 else torch.complex64
        if symbol.dtype != "real":
            return torch.int64 if symbol.dtype == "int" else torch.bool
        return getattr(torch, result)  # type: ignore[no-any-return]  # a type by its name

    def empty_outputs(self, result: str) -> list[torch.Tensor]:
        """Outputs `[B, T, *batch, *axes]`."""
        lay, rec = self.layout, self.rec
        found = []
        for symbol in rec.outputs:
            own = [lay.sizes[rec.axis[a].size_of] for a in symbol.axes]
            shape = (lay.batch_size, *lay.extents, *lay.full_batch, *own)
            found.append(torch.empty(shape, dtype=self.output_dtype(symbol, result)))
        return found

    def empty_states(self) -> list[torch.Tensor]:
        """States `[N, *batch, *axes]`, for every slot."""
        lay, rec = self.layout, self.rec
        wide = torch.complex128 if self.compute is torch.float64 else torch.complex64
        found = []
        for slot in rec.slots:
            own = [lay.sizes[rec.axis[a].size_of] for a in slot.axes]
            dtype = wide if slot.dtype == "complex" else self.compute
            found.append(torch.empty((lay.sequences, *lay.full_batch, *own), dtype=dtype))
        return found

    def empty_saved(self, save: bool) -> dict[str, torch.Tensor]:
        """What a backward run needs by name, in a fixed order; nothing if there will be none."""
        shapes = self._saved_shapes() if save else {}
        return {n: torch.empty(shape, dtype=self.compute) for n, shape in shapes.items()}

    def saved_names(self) -> list[str]:
        """The names of the saved tensors."""
        return list(self._saved_shapes())

    def _saved_shapes(self) -> dict[str, tuple[int, ...]]:
        narrow = frozenset(n for n, t in self.args.items() if t.dtype in (torch.float16, torch.bfloat16))
        return self.native.saved_shapes(self.layout, self.compute_name, narrow)


def _clock(clock: torch.Tensor) -> Any:
    return clock.detach().numpy().astype(np.int64)


def _hosts(tensors: dict[str, torch.Tensor]) -> dict[str, Host]:
    return {n: to_host(t) for n, t in tensors.items()}


def _named(rec: Recurrence, found: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    return dict(zip((s.name for s in rec.outputs), found, strict=True))


def _forward(
    args: Sequence[torch.Tensor], states: Sequence[torch.Tensor], clock: torch.Tensor, given: str,
    offsets: Sequence[int] | None, key: str, result: str, steps: int, save: bool,
) -> list[torch.Tensor]:  # fmt: skip
    """Outputs, final states, and saved tensors, one after the other."""
    frame = _Frame(args, states, given, offsets, key, steps)
    outputs, finals, saved = frame.empty_outputs(result), frame.empty_states(), frame.empty_saved(save)
    slots = [slot.name for slot in frame.rec.slots]
    frame.native.forward(
        frame.layout,
        frame.compute_name,
        _hosts(frame.args),
        _hosts(_named(frame.rec, outputs)),
        _hosts(frame.states),
        _hosts(dict(zip(slots, finals, strict=True))),
        {n: t.numpy() for n, t in saved.items()},
        _clock(clock),
        torch.get_num_threads(),
    )
    return [*outputs, *finals, *saved.values()]


def _forward_fake(
    args: Sequence[torch.Tensor], states: Sequence[torch.Tensor], clock: torch.Tensor, given: str,
    offsets: Sequence[int] | None, key: str, result: str, steps: int, save: bool,
) -> list[torch.Tensor]:  # fmt: skip
    frame = _Frame(args, states, given, offsets, key, steps, fake=True)
    return [*frame.empty_outputs(result), *frame.empty_states(), *frame.empty_saved(save).values()]


def _run_backward(
    args: Sequence[torch.Tensor], states: Sequence[torch.Tensor], clock: torch.Tensor, saved: Sequence[torch.Tensor],
    d_results: Sequence[torch.Tensor], flowing: str, given: str, offsets: Sequence[int] | None, key: str, result: str,
    steps: int,
) -> list[torch.Tensor]:  # fmt: skip
    """Gradients of the floating arguments, then of the given states.

    `d_results` are the gradients of outputs and final states that there are; `flowing` marks them.
    """
    frame = _Frame(args, states, given, offsets, key, steps)
    rec = frame.rec
    slots = [slot.name for slot in rec.slots]
    names = [s.name for s in rec.outputs] + slots
    there = [n for n, flag in zip(names, flowing, strict=True) if flag == "1"]
    found = dict(zip(there, d_results, strict=True))
    outputs: dict[str, torch.Tensor] = {}
    for symbol, template in zip(rec.outputs, frame.empty_outputs(result), strict=True):
        gradient = found.get(symbol.name)
        outputs[symbol.name] = template.zero_() if gradient is None else gradient.contiguous()
    finals = {n: found[n].contiguous() for n in slots if n in found}
    d_states = {n: torch.empty(t.shape, dtype=t.dtype) for n, t in frame.states.items()}
    hosts = _hosts(frame.args)
    raw = frame.native.backward(
        frame.layout,
        frame.compute_name,
        hosts,
        {n: h.storage for n, h in (*hosts.items(), *_hosts(outputs).items())},
        {n: t.numpy() for n, t in zip(frame.saved_names(), saved, strict=True)},
        _hosts(outputs),
        _hosts(frame.states),
        _hosts(finals),
        _hosts(d_states),
        _clock(clock),
        torch.get_num_threads(),
    )
    gradients = [_summed(frame, s, raw.get(s.name)) for s in differentiable(rec)]
    return [*gradients, *d_states.values()]


def _backward_fake(
    args: Sequence[torch.Tensor], states: Sequence[torch.Tensor], clock: torch.Tensor, saved: Sequence[torch.Tensor],
    d_results: Sequence[torch.Tensor], flowing: str, given: str, offsets: Sequence[int] | None, key: str, result: str,
    steps: int,
) -> list[torch.Tensor]:  # fmt: skip
    rec = _PROGRAMS[key].rec
    table = dict(zip((s.name for s in rec.arguments), args, strict=True))
    wanted = [table[s.name] for s in differentiable(rec)] + list(states)
    return [torch.empty(t.shape, dtype=t.dtype) for t in wanted]


def differentiable(rec: Recurrence) -> list[Symbol]:
    """The arguments that have gradients: real and complex inputs and parameters."""
    return [s for s in rec.arguments if s.dtype in ("real", "complex") and s.kind is not Kind.CONST]


def _summed(frame: _Frame, symbol: Symbol, raw: Any) -> torch.Tensor:
    """A gradient in its argument's shape and type: summed over what was broadcast."""
    argument = frame.args[symbol.name]
    if raw is None:
        return torch.zeros_like(argument)
    real = argument.real.dtype if argument.is_complex() else argument.dtype
    half = real in (torch.float16, torch.bfloat16) and raw.dtype == np.uint16
    full = torch.from_numpy(raw.view(np.int16)).view(real) if half else torch.from_numpy(raw)
    if argument.is_complex():
        # NumPy's strides of an array without elements are none that torch takes for pairs.
        full = torch.view_as_complex(full if full.numel() else torch.zeros(full.shape, dtype=full.dtype))
    if prod(full.shape) == prod(argument.shape):
        return full.reshape(argument.shape).to(argument.dtype)
    lay = frame.layout
    if symbol.kind is Kind.INPUT:
        argument = argument.reshape(argument.shape[0], lay.steps, *argument.shape[1 + len(lay.extents) :])
    own = len(symbol.axes) + (1 if lay.lanes is not None and symbol.name in lay.lanes else 0)
    lead = 2 if symbol.kind is Kind.INPUT else 1
    shape = list(argument.shape)
    before = lead if symbol.kind is Kind.INPUT else 0
    if lay.lanes is not None and symbol.name not in lay.lanes and len(shape) - before - own > 0:
        shape = shape[: len(shape) - own - 1] + shape[len(shape) - own :]
    padded = [1] * (full.ndim - len(shape)) + shape
    if symbol.kind is Kind.INPUT:
        missing = full.ndim - len(shape)
        padded = shape[:2] + [1] * missing + shape[2:]
    over = [i for i, (a, b) in enumerate(zip(full.shape, padded, strict=True)) if a != b]
    wide = full.to(torch.float32) if half else full
    return wide.sum(over, keepdim=True).reshape(frame.args[symbol.name].shape).to(argument.dtype)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: list[torch.Tensor]) -> None:
    args, states, clock, given, offsets, key, result, steps, _ = inputs
    rec = _PROGRAMS[key].rec
    count = len(rec.outputs) + len(rec.slots)
    ctx.save_for_backward(*args, *states, clock, *output[count:])
    ctx.parts = (len(args), len(states), len(output) - count)
    ctx.rest = (given, offsets, key, result, steps)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grads: list[torch.Tensor | None]) -> tuple[Any, ...]:
    given, offsets, key, result, steps = ctx.rest
    rec = _PROGRAMS[key].rec
    n_args, n_states, _ = ctx.parts
    tensors = list(ctx.saved_tensors)
    args, tensors = tensors[:n_args], tensors[n_args:]
    states, tensors = tensors[:n_states], tensors[n_states:]
    clock, saved = tensors[0], tensors[1:]
    count = len(rec.outputs) + len(rec.slots)
    flowing = "".join("0" if g is None else "1" for g in grads[:count])
    d_results = [g for g in grads[:count] if g is not None]
    found = backward_op(args, states, clock, saved, d_results, flowing, given, offsets, key, result, steps)
    wanted = {s.name: i for i, s in enumerate(differentiable(rec))}
    d_args = [found[wanted[s.name]] if s.name in wanted else None for s in rec.arguments]
    return d_args, list(found[len(wanted) :]), None, None, None, None, None, None, None


def refuse_tangents(tensors: Sequence[torch.Tensor]) -> None:
    """Raises `Unsupported` in forward mode, where the operator would drop the tangents without a word."""
    unpack: Any = forward_ad.unpack_dual
    if not torch.compiler.is_compiling() and any(unpack(t).tangent is not None for t in tensors):
        what = "forward-mode differentiation through a compiled recurrence"
        reason = "the emitted kernels have reverse mode only"
        raise Unsupported(Refusal(what, reason, "use torch.autograd.grad or backward()"))


def no_second_derivative(ctx: Any, *grads: Any) -> Any:
    """Raises `Unsupported`: emitted backward kernels have no derivative."""
    what = "a second derivative through a compiled recurrence"
    raise Unsupported(
        Refusal(
            what, "the emitted backward kernel has no derivative of its own", "differentiate the reference numerically"
        )
    )


LIBRARY.impl("forward", _forward, "CPU")
LIBRARY.impl("backward", _run_backward, "CPU")
torch.library.register_fake("recc::forward", _forward_fake, lib=LIBRARY)
torch.library.register_fake("recc::backward", _backward_fake, lib=LIBRARY)
torch.library.register_autograd("recc::forward", _backward, setup_context=_setup, lib=LIBRARY)
torch.library.register_autograd("recc::backward", no_second_derivative, lib=LIBRARY)

forward_op: Any = torch.ops.recc.forward.default
backward_op: Any = torch.ops.recc.backward.default

__all__ = [
    "LIBRARY", "backward_op", "differentiable", "forward_op", "no_second_derivative", "refuse_tangents", "register",
]  # fmt: skip
