"""Requests run by an op: by a backend's emitted code, through the call that users make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from recc.recurrence import Kind, Recurrence

from ..drawing.case import Arrays, cast
from ..drawing.draw import Array
from .program import EXACT, Request, Results, Way, dtypes_of

_HALF = ("float16", "bfloat16")


@dataclass
class OpRunner:
    """An op, or what can be called like one, on torch tensors where torch is installed, else on NumPy arrays."""

    op: Any
    way: Way

    @property
    def rec(self) -> Recurrence:
        """The program."""
        rec: Recurrence = self.op.recurrence
        return rec

    @property
    def exact(self) -> bool:
        """Whether a sequence has the same bits whatever is run beside it."""
        return self.way.backend in EXACT

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The element types that it runs in; NumPy has no bfloat16."""
        found = dtypes_of(self.way.backend)
        return found if self._torch else tuple(d for d in found if d != "bfloat16")

    @property
    def packs(self) -> bool:
        """Whether it takes packed sequences: those of one time axis."""
        return len(self.rec.scan) == 1

    @property
    def differentiates(self) -> bool:
        """Whether it gives gradients: through torch."""
        return self._torch

    @property
    def _torch(self) -> bool:
        return self.way.backend != "numpy" and find_spec("torch") is not None

    @property
    def _device(self) -> str:
        if self.way.backend != "triton":
            return "cpu"
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    def run(self, request: Request) -> Results:
        """Runs a request by one call, or by two where it is cut."""
        given = {n: self._put(v, request.dtype, request) for n, v in request.arguments.items()}
        state = "float32" if request.dtype in _HALF else request.dtype
        states = {n: self._put(v, state, request) for n, v in request.initial.items()}
        if request.cut is None:
            values = self._call(given, states, request, request.steps[0])
        else:
            values = self._joined(given, states, request)
        leaves = {**given, **{f"initial {n}": v for n, v in states.items()}}
        gradients = {} if request.weights is None else self._gradients(values, request.weights, leaves)
        return Results({n: _array(v) for n, v in values.items()}, gradients, _shared(values, leaves))

    def step_by_step(self, request: Request) -> Results | None:
        """Runs a request by `op.step`."""
        if not hasattr(self.op, "step"):
            return None
        inputs = {s.name for s in self.rec.of_kind(Kind.INPUT)}
        given = {n: self._put(v, request.dtype, request, leaf=False) for n, v in request.arguments.items()}
        states = {n: self._put(v, request.dtype, request, leaf=False) for n, v in request.initial.items()}
        state: Any = self._state(states, request.clock)
        parts: dict[str, list[Array]] = {s.name: [] for s in self.rec.outputs}
        for t in range(request.steps[0]):
            now = {n: v[:, t] if n in inputs else v for n, v in given.items()}
            result, state = self.op.step(state, **now)
            for symbol, value in zip(self.rec.outputs, _several(result, len(self.rec.outputs)), strict=True):
                parts[symbol.name].append(_array(value))
        found = {n: np.stack(v, 1) for n, v in parts.items()}
        finals = () if not self.rec.slots else _several(state, len(self.rec.slots) + self.rec.clock)
        found.update({f"final {s.name}": _array(v) for s, v in zip(self.rec.slots, finals, strict=False)})
        return Results(found)

    def _joined(self, given: Mapping[str, Any], states: Mapping[str, Any], request: Request) -> dict[str, Any]:
        """Two calls, the second with the state that the first gives, outputs joined."""
        assert request.cut is not None
        inputs = {s.name for s in self.rec.of_kind(Kind.INPUT)}
        first, second = (
            {n: v[:, piece] if n in inputs else v for n, v in given.items()}
            for piece in (slice(None, request.cut), slice(request.cut, None))
        )
        begun = self._call(first, states, request, request.cut)
        handed = {slot.name: begun[f"final {slot.name}"] for slot in self.rec.slots}
        later = replace(request, clock=request.clock + request.cut)
        done = self._call(second, handed, later, request.steps[0] - request.cut)
        for symbol in self.rec.outputs:
            pieces = [begun[symbol.name], done[symbol.name]]
            done[symbol.name] = _concatenate(pieces)
        return done

    def _call(self, given: Mapping[str, Any], states: Any, request: Request, steps: int) -> dict[str, Any]:
        """Outputs and final states by name."""
        options: dict[str, Any] = {} if self.rec.of_kind(Kind.INPUT) else {"steps": steps}
        if request.offsets is not None:
            options["cu_seqlens"] = list(request.offsets)
        state = self._state(states, request.clock)
        found = self.op(**given, initial_state=state, output_final_state=request.final, **options)
        outputs, final = found if request.final else (found, None)
        values = dict(zip((s.name for s in self.rec.outputs), _several(outputs, len(self.rec.outputs)), strict=True))
        finals = () if final is None else _several(final, len(self.rec.slots) + self.rec.clock)
        values.update(zip((f"final {slot.name}" for slot in self.rec.slots), finals, strict=False))
        return values

    def _state(self, states: Mapping[str, Any], clock: int) -> Any:
        handed = dict(states)
        if clock and self.rec.clock:
            handed[self.rec.scan[0]] = clock
        return handed or None

    def _put(self, value: Array, dtype: str, request: Request, leaf: bool = True) -> Any:
        if not self._torch:
            found = cast(value, dtype)
            return _scattered(found) if request.strided else found
        import torch

        kind = {"f": dtype, "c": "complex128" if dtype == "float64" else "complex64"}.get(value.dtype.kind)
        tensor = torch.from_numpy(np.array(value, order="C"))
        tensor = tensor if kind is None else tensor.to(getattr(torch, kind))
        tensor = tensor.to(self._device)
        tensor = _scattered_tensor(tensor) if request.strided else tensor
        wanted = leaf and request.weights is not None and value.dtype.kind in "fc"
        return tensor.detach().requires_grad_() if wanted else tensor

    def _gradients(self, values: Mapping[str, Any], weights: Mapping[str, Any], leaves: Mapping[str, Any]) -> Arrays:
        wanted = {n: t for n, t in leaves.items() if getattr(t, "requires_grad", False)}
        flowing = [n for n in weights if getattr(values[n], "requires_grad", False)]
        if not wanted:
            return {}
        import torch

        if not flowing:
            return {n: np.zeros(tuple(t.shape)) for n, t in wanted.items()}
        seeds = [
            torch.from_numpy(np.array(weights[n], order="C")).to(values[n].dtype).to(values[n].device) for n in flowing
        ]
        found = torch.autograd.grad(
            [values[n] for n in flowing], list(wanted.values()), seeds, allow_unused=True, materialize_grads=True
        )
        return {n: _array(g) for n, g in zip(wanted, found, strict=True)}


def _shared(values: Mapping[str, Any], leaves: Mapping[str, Any]) -> tuple[str, ...]:
    """The values in whose memory something else lies: an argument, a state, or another value."""
    places = [_place(v) for v in leaves.values()]
    found = []
    for name, value in values.items():
        place = _place(value)
        if place is not None:
            found += [name] * (place in places)
            places.append(place)
    return tuple(found)


def _place(value: Any) -> int | None:
    """Where the memory of an array begins, all of it that it is a view of; `None` if it has none."""
    if hasattr(value, "untyped_storage"):
        return value.untyped_storage().data_ptr() if value.numel() else None
    if not isinstance(value, np.ndarray) or not value.size:
        return None
    while isinstance(value.base, np.ndarray):
        value = value.base
    return int(value.ctypes.data)


def _concatenate(pieces: list[Any]) -> Any:
    if not hasattr(pieces[0], "detach"):
        return np.concatenate(pieces, 1)
    import torch

    return torch.cat(pieces, 1)


def _scattered(value: Array) -> Array:
    """The same elements, every second one of memory, the last axis backwards."""
    wide = np.zeros((*value.shape, 2), value.dtype)
    wide[..., 0] = value
    return wide[..., 0]


def _scattered_tensor(value: Any) -> Any:
    """The same elements, every second one of memory and the axes in the opposite order."""
    import torch

    order = tuple(reversed(range(value.ndim)))
    wide = torch.zeros((*value.permute(order).shape, 2), dtype=value.dtype, device=value.device)
    wide[..., 0] = value.permute(order)
    return wide[..., 0].permute(order)


def _several(result: Any, count: int) -> tuple[Any, ...]:
    return tuple(result) if isinstance(result, tuple) and count != 1 else (result,)


def _array(value: Any) -> Array:
    """A NumPy array, 16-bit floats widened."""
    if not hasattr(value, "detach"):
        return np.asarray(value)
    value = value.detach().resolve_conj().resolve_neg().cpu()
    wide = value.float() if str(value.dtype) in ("torch.float16", "torch.bfloat16") else value
    return np.asarray(wide.numpy())


__all__ = ["OpRunner"]
