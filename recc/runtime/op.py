"""The callable that `recc.compile` gives."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from recc.errors import Refusal, Unsupported, UsageError
from recc.recurrence import Recurrence, Slot, Symbol
from recc.runtime.call import (
    Call,
    advanced,
    bind,
    offset_list,
    output_type,
    split_state,
    state_names,
    state_type,
    stays_there,
)  # fmt: skip
from recc.runtime.host import is_torch, to_host
from recc.runtime.native import Native
from recc.runtime.options import BACKENDS, FORMS, check_chunk_size, choose_backend, choose_form, has_kernels
from recc.runtime.step import no_step, step

if TYPE_CHECKING:
    from recc.explain import Explanation


class Op:
    """A compiled recurrence: call it with tensors or NumPy arrays.

    Inputs are `[B, T, *batch, *axes]`, parameters `[*batch, *axes]`, states `[N, *batch, *axes]`; batch axes
    broadcast. A call gives the output (a named tuple if there are several), and with
    `output_final_state=True` also the final state (a named tuple if there are several). Torch tensors
    in, torch tensors out, with gradients; NumPy arrays in, NumPy arrays out.
    """

    #: The devices on whose tensors `auto` runs Triton kernels.
    _kernel_devices = ("cuda",)

    def __init__(self, rec: Recurrence, backend: str = "auto", form: str = "auto", chunk_size: int | None = None):
        self.recurrence = rec
        self.backend = choose_backend(backend, form)
        self.chunk_size = check_chunk_size(chunk_size)
        self.form = choose_form(rec, form, self.backend, self.chunk_size)
        self._asked = (backend, form)
        self._native = Native(rec)
        # Where a tracer could come by, this is made now, and what has a lock around it in Python 3.11 worked out.
        early = self.backend == "torch" or (backend == "auto" and "torch" in sys.modules)
        self._made_eager: Any = _make_eager(self) if early else None
        _ = rec.table, rec.axis, rec.arguments, rec.outputs
        self._kernels = has_kernels(backend, form)
        there = backend == "triton" or (early and self._kernels and _sees_gpu())
        self._made_gpu: Any = _make_gpu(self) if there else None
        if there:
            _ = self._stepping, self._no_step
        self._make_outputs = output_type(tuple(s.name for s in rec.outputs))
        self._state_names = state_names(rec)
        self._make_state = state_type(self._state_names)
        self.__name__ = rec.name
        self.__doc__ = rec.doc or None

    @cached_property
    def key(self) -> str:
        """The program's content hash, under which the torch operator knows it."""
        text = f"{self.recurrence}\0{self.backend}\0{self.form}\0{self.chunk_size}"
        return f"{self.recurrence.name}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @property
    def _eager(self) -> Any:
        """What runs the program with torch operations; needs torch."""
        if self._made_eager is None:
            self._made_eager = _make_eager(self)
        return self._made_eager

    def _takes_kernels(self, call: Call) -> bool:
        """Whether a call is one for Triton kernels, which `auto` asks first for tensors on a GPU."""
        if self.backend == "triton" or not (self._kernels and call.torch and call.device.type in self._kernel_devices):
            return self.backend == "triton"
        if self._made_gpu is None:
            self._made_gpu = _make_gpu(self)
        return bool(self._made_gpu.serves(call))

    @property
    def _anywhere(self) -> bool:
        """Whether tensors may be on other devices than the CPU."""
        return self.backend in ("torch", "triton") or self._asked[0] == "auto"

    @cached_property
    def _stepping(self) -> Op:
        """The op that makes single steps with kernels: in the sequential form, whatever the form of longer calls."""
        asked = self._asked[0]
        return self if self._asked[1] == "sequential" else Op(self.recurrence, asked, "sequential")

    @cached_property
    def _no_step(self) -> Refusal | None:
        return no_step(self.recurrence)

    def __repr__(self) -> str:
        names = ", ".join(s.name for s in self.recurrence.arguments)
        return f"<recc op {self.recurrence.name}({names}), backend {self.backend!r}, form {self.form!r}>"

    def __reduce__(self) -> Any:
        """Pickles as the program and the options; kernels are found or built again where it is loaded."""
        return Op, (self.recurrence, *self._asked, self.chunk_size)

    def __deepcopy__(self, memo: Any) -> Op:
        """The op itself: it has no state but kernels, which copies of a module can share."""
        return self

    def __call__(
        self,
        *args: Any,
        initial_state: Any = None,
        output_final_state: bool = False,
        cu_seqlens: Any = None,
        steps: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Runs the recurrence over all steps.

        `initial_state` is the final state of an earlier call (or a mapping of slots, or one array);
        `cu_seqlens` are the N+1 boundaries of sequences packed along T in a batch of one; `steps` is T for
        programs without inputs. Raises `UsageError`.
        """
        if self._made_gpu is not None:
            found = self._made_gpu.again(args, kwargs, initial_state, output_final_state, cu_seqlens, steps)
            if found is not None:
                return self._made(found[0], found[1], output_final_state)
        stays = stays_there(cu_seqlens, self.backend)
        offsets = None if stays else offset_list(cu_seqlens)
        call = bind(self.recurrence, args, kwargs, initial_state, offsets, steps, self._anywhere)
        call.boundaries = cu_seqlens if stays else None
        if self._takes_kernels(call):
            outputs, finals = self._made_gpu.run(call, output_final_state, (args, kwargs, initial_state))
            return self._made(outputs, finals, output_final_state)
        if stays:
            call.offsets = offsets = offset_list(cu_seqlens)
        if self.backend == "numpy":
            outputs, finals = _run_reference(self.recurrence, call, offsets)
        elif self.backend == "torch" or not call.on_cpu:
            outputs, finals = self._eager.run(call, output_final_state)
        elif call.torch:
            outputs, finals = self._run_torch(call, offsets)
        else:
            outputs, finals = self._run_numpy(call)
        return self._results(call, outputs, finals, output_final_state)

    def step(self, state: Any, *, inplace: bool = False, slots: Any = None, **inputs: Any) -> tuple[Any, Any]:
        """Runs one step: inputs are `[B, *batch, *axes]`, without the time axis. Gives outputs and the new state.

        `state` is `None` before the first step. `inplace=True` writes the new state where the given one is and
        gives that back, without gradients. `slots` are `[B]` numbers of pages, int32 or int64: states are then
        `[P, *batch, *axes]`, the state of sequence b is page `slots[b]`, and it is updated in place. Where a number
        is negative the row is padding: no state changes, and the output is anything. Two sequences must not share a
        page; what happens then is undefined, because looking at the numbers would wait for the device.
        Raises `UsageError`, and `Unsupported` for programs that do not run step by step.
        """
        if self._no_step is not None:
            raise Unsupported(self._no_step)
        on_gpu = self._kernels and any(is_torch(v) and v.device.type in self._kernel_devices for v in inputs.values())
        kernels = self.backend == "triton" or on_gpu
        return step(self._stepping if kernels else self, state, inputs, inplace, slots)

    def reference(
        self,
        *args: Any,
        initial_state: Any = None,
        output_final_state: bool = False,
        cu_seqlens: Any = None,
        steps: int | None = None,
        dtype: Any = np.float64,
        **kwargs: Any,
    ) -> Any:
        """The same by the NumPy reference, step by step in float64 (or `np.longdouble`). NumPy arrays out."""
        offsets = offset_list(cu_seqlens)
        args = tuple(_plain(a) for a in args)
        kwargs = {n: _plain(v) for n, v in kwargs.items()}
        call = bind(self.recurrence, args, kwargs, _plain_state(initial_state), offsets, steps)
        outputs, finals = _run_reference(self.recurrence, call, offsets, dtype)
        return self._results(call, outputs, finals, output_final_state)

    def matrix(self, *args: Any, cu_seqlens: Any = None, steps: int | None = None, **kwargs: Any) -> dict[str, Any]:
        """The maps between steps that a linear recurrence is: what each read takes from each step's drive.

        Law: a read `sum[i](q[t] * S[t])` from the drive `v[s]` is `sum over s of map[t, s] * v[s]`, plus what
        the initial state gives; a map is exactly zero where s comes after t and between packed sequences.
        Gives for each pair, as text, an array `[B, T, T, *batch, *axes]` in float64, NumPy's as in
        `reference`. Raises `Unsupported` with the reason if the program has no matrix form.
        """
        from recc.runtime.maps import maps

        kwargs = {n: _plain(v) for n, v in kwargs.items()}
        call = bind(self.recurrence, tuple(_plain(a) for a in args), kwargs, None, offset_list(cu_seqlens), steps)
        return maps(self.recurrence, call)

    def check_inputs(self, *args: Any, **kwargs: Any) -> None:
        """Verifies that arguments are inside their declared domains. Raises `UsageError` at the first that is not."""
        from recc.runtime.domains import check_domain

        rec = self.recurrence
        call = bind(rec, args, kwargs, None, None, None, anywhere=True)
        for symbol in rec.arguments:
            check_domain(rec, symbol, _plain(call.arguments[symbol.name]), call.layout.sizes)

    @property
    def source(self) -> str:
        """The text of the kernels built so far; before the first call, that for sizes of 16 in float32.

        With the torch backend it is the module of torch functions, which is the same for all sizes; with Triton
        the modules of kernels.
        """
        runs = {"torch": lambda: self._eager, "triton": lambda: self._made_gpu.gpu}.get(self.backend)
        found = (runs() if runs else self._native).sources()
        if found:
            return "\n".join(found.values())
        return "\n".join(self.emit().values())

    def emit(
        self, sizes: Mapping[str, int] | None = None, dtype: Literal["float32", "float64"] = "float32"
    ) -> dict[str, str]:
        """The emitted kernels, `forward` and `backward`, for given sizes of axes (16 where none is given).

        With the torch backend and with Triton it is one text, `module`; Triton's is for one batch axis.
        """
        from recc.backends.c_cpu.kernel import emit
        from recc.backends.c_cpu.spec import Specialisation

        rec = self.recurrence
        table = {a.size_of: 16 for a in rec.axes}
        for name, size in (sizes or {}).items():
            if name not in rec.axis:
                raise UsageError("sizes", f"axes among {', '.join(rec.axis) or 'none'}", f"{name!r}")
            table[rec.axis[name].size_of] = size
        if self.backend == "torch":
            return {"module": self._eager.emit(*self._eager.choose(table))}
        if self.backend == "triton":
            return {"module": self._made_gpu.emit(table, dtype)}
        storage: Any = {s.name: _default_storage(s, dtype) for s in (*rec.arguments, *rec.outputs)}
        spec = Specialisation(self._native.form(None), table, dtype, storage)
        return {"forward": emit(spec, "forward").source, "backward": emit(spec, "backward").source}

    @cached_property
    def structure(self) -> Any:
        """For each stage that has states, what kind of recurrence it is, with the reason."""
        from recc.structure import classify

        return tuple(classify(self.recurrence, stage) for stage in self.recurrence.stages if stage.states)

    @cached_property
    def forms(self) -> Mapping[str, Any]:
        """Each form's name with the form, or the `Refusal` that says why it does not apply."""
        from recc.forms.table import forms

        return forms(self.recurrence)

    def explain(
        self, sizes: Mapping[str, int] | None = None, steps: int = 2048, batch: int = 8, device: str = "cpu"
    ) -> Explanation:
        """What the compiler found: stages, structure with reasons, the equations of the forms, the adjoint, costs.

        `print()` it, show it in a notebook, or `save("page.html")`. Costs are told for `sizes` of axes (64
        where none is given), `steps`, and `batch` sequences times heads.
        """
        from recc.explain import Setting, explain

        return explain(self.recurrence, Setting(sizes or {}, steps, batch, device))

    def _results(self, call: Call, outputs: list[Any], finals: list[Any], with_state: bool) -> Any:
        """The results of a call, with the number of steps run if that is a part of the state."""
        if with_state and len(self._state_names) > len(finals):
            finals = [*finals, advanced(call)]
        return self._made(outputs, finals, with_state)

    def _made(self, outputs: Sequence[Any], finals: Any, with_state: bool = False) -> Any:
        """One output as it is, several as a named tuple; the final state likewise if it is wanted."""
        result = outputs[0] if len(outputs) == 1 else self._make_outputs(*outputs)
        if not with_state:
            return result
        if not finals:
            return result, None
        return result, finals[0] if len(finals) == 1 else self._make_state(*finals)

    def _run_torch(self, call: Call, offsets: Sequence[int] | None) -> tuple[list[Any], list[Any]]:
        import torch

        from recc.runtime import torch_op

        rec = self.recurrence
        torch_op.register(self.key, self._native)
        args = [call.arguments[s.name] for s in rec.arguments]
        given = "".join("1" if slot.name in call.initial else "0" for slot in rec.slots)
        states = [call.initial[slot.name] for slot in rec.slots if slot.name in call.initial]
        save = torch.is_grad_enabled() and any(t.requires_grad for t in (*args, *states))
        torch_op.refuse_tangents([*args, *states])
        clock = torch.as_tensor(call.clock, dtype=torch.int64)
        steps = -1 if call.steps is None else call.steps
        flat = torch_op.forward_op(args, states, clock, given, offsets, self.key, call.result, steps, save)
        n_out, n_slots = len(rec.outputs), len(rec.slots)
        return list(flat[:n_out]), list(flat[n_out : n_out + n_slots])

    def _run_numpy(self, call: Call) -> tuple[list[Any], list[Any]]:
        from recc.backends.c_cpu.launch import default_threads

        rec = self.recurrence
        shapes = {n: v.shape for n, v in call.arguments.items()}
        lay = self._native.layout(shapes, {n: v.shape for n, v in call.initial.items()}, call.offsets, call.steps)
        outputs = {
            s.name: np.empty(
                (lay.batch_size, *lay.extents, *lay.full_batch, *_own(rec, s, lay.sizes)), _numpy_dtype(s, call)
            )
            for s in rec.outputs
        }
        finals = {
            s.name: np.empty((lay.sequences, *lay.full_batch, *_own(rec, s, lay.sizes)), _numpy_dtype(s, call, True))
            for s in rec.slots
        }
        self._native.forward(
            lay,
            call.compute,  # type: ignore[arg-type]  # the name of a type, and there are two
            {n: to_host(v) for n, v in call.arguments.items()},
            {n: to_host(v) for n, v in outputs.items()},
            {n: to_host(v) for n, v in call.initial.items()},
            {n: to_host(v) for n, v in finals.items()},
            {},
            np.asarray(call.clock, np.int64),
            default_threads(),
        )
        return list(outputs.values()), list(finals.values())


def _make_eager(op: Op) -> Any:
    from recc.runtime.eager import Eager

    return Eager(op.recurrence, op._asked[1], op.chunk_size)


def _make_gpu(op: Op) -> Any:
    from recc.runtime.gpu_call import Kernels

    return Kernels(op.recurrence, op.key, op._asked[1], op.chunk_size)


def _sees_gpu() -> bool:
    """Whether torch sees a GPU. It was imported before."""
    return bool(sys.modules["torch"].cuda.is_available())


def _own(rec: Recurrence, item: Symbol | Slot, sizes: Mapping[str, int]) -> list[int]:
    return [sizes[rec.axis[a].size_of] for a in item.axes]


def _numpy_dtype(item: Symbol | Slot, call: Call, state: bool = False) -> Any:
    if item.dtype == "complex":
        return np.complex128 if call.compute == "float64" else np.complex64
    if item.dtype != "real" and not state:
        return np.dtype("int64" if item.dtype == "int" else "bool")
    return np.dtype(call.compute if state else call.result)


def _default_storage(symbol: Symbol, dtype: str) -> str:
    if symbol.dtype in ("real", "complex"):
        return dtype
    return "int64" if symbol.dtype == "int" else "uint8"


def _plain(value: Any) -> Any:
    """A NumPy array of a tensor, 16-bit floats widened exactly."""
    if is_torch(value):
        import torch

        value = value.detach().cpu().resolve_conj()
        return (value.float() if value.dtype in (torch.float16, torch.bfloat16) else value).numpy()
    return value


def _plain_state(state: Any) -> Any:
    if isinstance(state, Mapping):
        return {n: _plain(v) for n, v in state.items()}
    if isinstance(state, (tuple, list)):
        return tuple(_plain(v) for v in state)
    return _plain(state)


def _run_reference(
    rec: Recurrence, call: Call, offsets: Sequence[int] | None, dtype: Any = np.float64
) -> tuple[list[Any], list[Any]]:
    from recc.runtime.referee import run_reference

    return run_reference(rec, call, offsets, dtype)


__all__ = ["BACKENDS", "FORMS", "Op", "split_state"]
