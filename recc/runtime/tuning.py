"""Tuning on a GPU: the probe that a cut must pass, the clock, and when cuts are tuned at all (`RECC_TUNE=1`).

The default is not to tune: the table that is shipped and the model give a cut at once.
"""

from __future__ import annotations

import os
import statistics
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recc.backends.triton_gpu.build import (
    Module,
    Sizes,
    build,
    run_backward,
    run_forward,
    scratch_dtype,
    scratch_shapes,
)
from recc.backends.triton_gpu.plan import Plan, Space
from recc.backends.triton_gpu.tuning import Timer, bucket, key_of, recall, remember, tune
from recc.forms.run import Item
from recc.forms.sequential import derive_sequential
from recc.recurrence import Kind, Recurrence

Array = NDArray[Any]

#: The type that arguments and outputs have on a probe, by how factors of matrix products are rounded.
_STORED = {"bfloat16": torch.bfloat16, "tf32": torch.float16}
#: Steps that cuts are timed with, and timed runs of each.
_STEPS, _RUNS = 2048, 9
_SEQUENCES = 2


def tuning() -> bool:
    """Whether cuts are tuned: `RECC_TUNE` is set, and not to 0."""
    return os.environ.get("RECC_TUNE", "0").lower() not in ("0", "", "false", "off", "no")


def arch_of(device: torch.device) -> str:
    """The architecture of a device as its vendor names it; empty for none that is compiled for."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return ""
    if torch.version.hip:
        return str(torch.cuda.get_device_properties(device).gcnArchName).split(":")[0]
    return "sm_{}{}".format(*torch.cuda.get_device_capability(device))


def tuned(space: Space, device: torch.device, heads: int = 1, timer: Timer | None = None) -> Plan:
    """The fastest cut of a form that agrees with the reference: as it was found before, else found now and kept.

    Args:
        space: the cuts to choose from.
        device: where kernels run.
        heads: the product of a sequence's batch axes; only `bucket(heads)` is looked at.
        timer: what times a cut, other than the device's own clock.

    If no cut may win, that of `plan` is taken, with a warning.
    """
    key = key_of(space, heads)
    known = recall(space, key)
    if known is not None:
        return known
    if timer is None:
        timer = Work(space, device, bucket(heads)).seconds
    found = tune(space.candidates(), Probe(space, device).judge, timer)
    if found.plan is None:
        reasons = "\n  ".join(found.notes)
        warnings.warn(
            f"no cut of {space.form.rec.name} may win, so it runs untuned:\n  {reasons}", RuntimeWarning, stacklevel=2
        )
        return space.shipped() or space.first()
    return remember(space, key, found)


@dataclass
class Case:
    """Tensors of one call, as kernels take them."""

    sizes: Sizes
    arguments: dict[str, Tensor]
    offsets: Tensor | None
    clock: Tensor
    outputs: dict[str, Tensor]
    final: dict[str, Tensor]


@dataclass
class Probe:
    """Small calls of a form, and what they should give: the sequential form interpreted in float64."""

    space: Space
    device: torch.device
    _known: dict[int, tuple[dict[str, Array], dict[str, Array], dict[str, Array]]] = field(default_factory=dict)

    def judge(self, plan: Plan) -> str:
        """What is wrong with a plan: the first value or gradient that is off by more than its type may be.

        Where kernels can split time, what they give for time in stretches is judged too.
        """
        module = build(plan.forward, plan.backward)
        found = self._compared(plan, module)
        if found or not module.text.splits:
            return found
        with _short_stretches(module):
            found = self._compared(plan, module)
        return f"with time in stretches {found}" if found else ""

    def _compared(self, plan: Plan, module: Module) -> str:
        from recc.fuzz import rel_rms, tolerance

        steps = 2 * plan.chunk + 3 if plan.chunk > 1 else plan.forward.segment + 5
        if steps not in self._known:
            self._known[steps] = self._expected(steps)
        arrays, weights, wanted = self._known[steps]
        found = self._run(module, steps, arrays, weights)
        stored = str(self._stored).removeprefix("torch.")
        for name, value in wanted.items():
            bound = tolerance(stored, steps, gradient=name.startswith("d "))
            error = rel_rms(found[name], value)
            if not error <= bound:
                return f"{name} is off by {error:.1e}, and {bound:.1e} is allowed"
        return ""

    @property
    def _stored(self) -> torch.dtype:
        if self.space.compute == "float64":
            return torch.float64
        return _STORED.get(self.space.products, torch.float32)

    def _expected(self, steps: int) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
        """Arguments, cotangents of outputs, and what the interpreter makes of them."""
        rec = self.space.form.rec
        arrays = drawn(rec, self.space.sizes, steps, self._stored)
        form = derive_sequential(rec)
        assert not hasattr(form, "reason"), "a program that has kernels has a sequential form"
        rng = np.random.default_rng(1)
        values: dict[str, list[Array]] = {}
        weights: dict[str, list[Array]] = {}
        for n in range(_SEQUENCES):
            own = {s.name: arrays[s.name][n] if s.kind is Kind.INPUT else arrays[s.name] for s in rec.arguments}
            item = Item(form, self.space.sizes, (steps,), own)
            item.forward()
            d_outputs = {k: self._rounded(rng.standard_normal(v.shape), rec, k) for k, v in item.outputs.items()}
            gradients, _ = item.backward(d_outputs, {})
            for table, more in ((weights, d_outputs), (values, item.outputs)):
                for k, v in more.items():
                    table.setdefault(k, []).append(v)
            for s in self.space.spec(self.space.chunks()[0]).grads():
                values.setdefault(f"d {s.name}", []).append(gradients[s.name])
        return arrays, {k: np.stack(v) for k, v in weights.items()}, {k: np.stack(v) for k, v in values.items()}

    def _rounded(self, array: Array, rec: Recurrence, name: str) -> Array:
        """A cotangent that the type of outputs can hold."""
        if rec.table[name].dtype == "complex":
            return array + 0j
        return as_array(torch.from_numpy(array).to(self._stored))

    def _run(
        self, module: Module, steps: int, arrays: Mapping[str, Array], weights: Mapping[str, Array]
    ) -> dict[str, Array]:
        case = case_of(self.space, self.device, steps, arrays, self._stored)
        shapes = scratch_shapes(module, case.sizes)
        saved = {
            n: torch.full(s, torch.nan, dtype=scratch_dtype(module, n), device=self.device) for n, s in shapes.items()
        }
        run_forward(
            module, case.sizes, case.arguments, {}, case.outputs, case.final, saved, case.offsets, None, case.clock
        )
        d_outputs = {}
        for name, weight in weights.items():
            symbol = self.space.form.rec.table[name]
            if symbol.dtype in ("real", "complex"):
                d_outputs[name] = self._laid_out(weight, case.outputs[name])
        raw = run_backward(
            module, case.sizes, case.arguments, {}, saved, d_outputs, {}, {}, case.offsets, case.clock
        )  # fmt: skip
        found = {n: self._read(t, n, steps) for n, t in case.outputs.items()}
        for s in self.space.spec(self.space.chunks()[0]).grads():
            if s.name in raw:
                found[f"d {s.name}"] = self._read(raw[s.name], s.name, steps)
            else:
                lead = (_SEQUENCES, steps) if s.kind is Kind.INPUT else (_SEQUENCES,)
                own = tuple(self.space.sizes[self.space.form.rec.axis[a].size_of] for a in s.axes)
                found[f"d {s.name}"] = np.zeros((*lead, *own))
        return found

    def _laid_out(self, array: Array, like: Tensor) -> Tensor:
        value = torch.from_numpy(array)
        value = torch.view_as_real(value) if value.is_complex() else value
        return value.to(self.device, like.dtype).reshape(like.shape).contiguous()

    def _read(self, value: Tensor, name: str, steps: int) -> Array:
        """A result as an array `[sequences, …]`, without the batch axes, each of which has one element."""
        symbol = self.space.form.rec.table[name]
        pair = symbol.dtype == "complex"
        array = as_array(value)
        array = array[..., 0] + 1j * array[..., 1] if pair else array
        own = tuple(self.space.sizes[self.space.form.rec.axis[a].size_of] for a in symbol.axes)
        lead = (_SEQUENCES,) if symbol.kind is Kind.PARAM else (_SEQUENCES, steps)
        return array.reshape(*lead, *own)


@contextmanager
def _short_stretches(module: Module) -> Iterator[None]:
    """Lets a module split sequences of a few chunks, which would need thirty and more."""
    usual = vars(module.functions)["LEAST"]
    vars(module.functions)["LEAST"] = 1
    try:
        yield
    finally:
        vars(module.functions)["LEAST"] = usual


@dataclass
class Work:
    """Calls that fill the device, to be timed."""

    space: Space
    device: torch.device
    heads: int = 1
    _case: tuple[Case, dict[str, Tensor]] | None = None

    def seconds(self, plan: Plan) -> tuple[float, float]:
        """The median time of a forward run that keeps what backward needs, and of a backward run."""
        module = build(plan.forward, plan.backward)
        case, d_outputs = self._drawn()
        shapes = scratch_shapes(module, case.sizes)
        saved = {n: torch.empty(s, dtype=scratch_dtype(module, n), device=self.device) for n, s in shapes.items()}

        def ahead() -> None:
            run_forward(module, case.sizes, case.arguments, {}, case.outputs, {}, saved, case.offsets, None, case.clock)

        def back() -> None:
            run_backward(module, case.sizes, case.arguments, {}, saved, d_outputs, {}, {}, case.offsets, case.clock)

        return _median(ahead), _median(back)

    def _drawn(self) -> tuple[Case, dict[str, Tensor]]:
        """Arguments for an item, of some sequence and head, for each of the device's processors, for every plan."""
        if self._case is None:
            stored = _STORED.get(self.space.products, getattr(torch, self.space.compute))
            heads = self.heads if self.space.batch else 1
            rows = -(-self.space.device.processors // heads)
            arrays = drawn(self.space.form.rec, self.space.sizes, _STEPS, stored, rows)
            case = case_of(self.space, self.device, _STEPS, arrays, stored, rows, heads)
            real = {s.name for s in self.space.form.rec.outputs if s.dtype in ("real", "complex")}
            self._case = case, {n: torch.ones_like(t) for n, t in case.outputs.items() if n in real}
        return self._case


def _median(run: Any) -> float:
    """The median of some runs by the device's clock, after two that are not timed."""
    run()
    run()
    times = []
    for _ in range(_RUNS):
        event: Any = torch.cuda.Event
        begin, end = (event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(float(begin.elapsed_time(end)) / 1e3)
    return statistics.median(times)


def drawn(
    rec: Recurrence, sizes: Mapping[str, int], steps: int, stored: torch.dtype, rows: int = _SEQUENCES
) -> dict[str, Array]:
    """Arguments from a program's domains, rounded to a type: inputs `[rows, steps, *axes]`, parameters `[*axes]`."""
    from recc.fuzz import Shapes, draw_arguments

    arrays = draw_arguments(rec, Shapes(sizes, (steps,), rows), np.random.default_rng(0))
    tensors = {n: torch.from_numpy(np.asarray(a)) for n, a in arrays.items()}
    return {n: as_array(x.to(stored) if x.is_floating_point() else x) for n, x in tensors.items()}


def case_of(
    space: Space, device: torch.device, steps: int, arrays: Mapping[str, Array], stored: torch.dtype,
    rows: int = _SEQUENCES, heads: int = 1,
) -> Case:  # fmt: skip
    """A call with as many equal heads along the last batch axis, its outputs filled with what is no number."""
    rec, ones = space.form.rec, (1,) * space.batch
    batch = (*ones[1:], heads) if ones else ()
    compute = getattr(torch, space.compute)
    arguments = {}
    for s in rec.arguments:
        lead = 2 if s.kind is Kind.INPUT else 0
        value = torch.from_numpy(np.array(arrays[s.name], order="C"))
        if s.dtype == "complex":
            value = torch.view_as_real(value.to(torch.complex128 if space.compute == "float64" else torch.complex64))
        elif s.dtype == "real":
            value = value.to(stored)
        shape = (*value.shape[:lead], *ones, *value.shape[lead:])
        if space.packed and s.kind is Kind.INPUT:
            shape = (1, rows * steps, *shape[2:])
        value = value.reshape(shape)
        if s.kind is Kind.INPUT:
            value = value.expand(*shape[:lead], *batch, *shape[lead + len(batch) :])
        arguments[s.name] = value.contiguous().to(device)
    offsets = torch.arange(0, rows * steps + 1, steps, device=device) if space.packed else None
    sizes = Sizes(1, rows * steps, rows, batch) if space.packed else Sizes(rows, steps, rows, batch)
    outputs = {}
    for s in rec.outputs:
        own = [space.sizes[rec.axis[a].size_of] for a in s.axes] + [2] * (s.dtype == "complex")
        kind = {"int": torch.int64, "bool": torch.bool, "complex": compute}.get(s.dtype, stored)
        fill = torch.nan if kind.is_floating_point else 0
        outputs[s.name] = torch.full((sizes.rows, sizes.steps, *batch, *own), fill, dtype=kind, device=device)
    clock = torch.zeros(1, dtype=torch.int64, device=device)
    return Case(sizes, arguments, offsets, clock, outputs, {})


def as_array(value: Tensor) -> Array:
    """A tensor as an array of wide numbers."""
    value = value.detach().cpu()
    return np.asarray((value.double() if value.is_floating_point() else value).numpy())


__all__ = ["Case", "Probe", "Work", "arch_of", "tuned", "tuning"]
