"""Runs a form on a call's tensors: from its layout to that of a run and back, packed sequences included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recc.backends.torch_eager.grid import run_grid
from recc.backends.torch_eager.launch import Part, Run, run_line
from recc.backends.torch_eager.module import Module
from recc.backends.torch_eager.shapes import cut
from recc.forms.passes import Parallel
from recc.layout import Layout
from recc.recurrence import Kind, Recurrence, Slot, Symbol

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Types:
    """Element types and place of a run: real values are computed in `compute`, outputs given in `result`."""

    compute: torch.dtype
    result: torch.dtype
    device: torch.device


def execute(
    module: Module, layout: Layout, types: Types, arguments: Tensors, initial: Tensors, clock: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Runs a form.

    Args:
        module: the emitted functions of the form.
        layout: how the tensors are laid out, without a lane.
        types: element types and device.
        arguments: inputs `[B, *scan, *batch, *axes]` and parameters `[*batch, *axes]` by name.
        initial: the states that are given, `[N, *batch, *axes]`.
        clock: the number of the first step, one for all or `[N]`.

    Returns:
        Outputs `[B, *scan, *batch, *axes]` and final states `[N, *batch, *axes]` by name, on memory of their own;
        no final states from a module that makes outputs only.
    """
    rec = module.form.rec
    size = module.form.chunk if isinstance(module.form, Parallel) else 0
    given = _parts({s.name: _argument(rec, s, arguments[s.name], layout, types.compute) for s in rec.arguments})
    states = _parts(dict(initial))
    clock = clock.reshape(-1)
    if not layout.packed:
        run = Run(
            module, (layout.sequences, *layout.batch), layout.extents, layout.sizes, types.compute, types.device, size,
            given, states, clock,
        )  # fmt: skip
        _run(run)
        outputs, finals = run.outputs, run.final
    else:
        outputs, finals = _packed(module, layout, types, given, states, clock, size)
    out = {s.name: _output(s, outputs, types) for s in rec.outputs}
    # A state may be a piece of the memory of all steps, or of an argument's: it gets its own.
    slots = rec.slots if module.variant != "outputs" else ()
    last = {slot.name: _joined(slot, finals).clone(memory_format=torch.contiguous_format) for slot in slots}
    return out, last


def _run(run: Run) -> None:
    for functions in run.module.passes:
        if functions.step is None:
            run_line(run, functions)
        else:
            run_grid(run, functions)


def _argument(rec: Recurrence, symbol: Symbol, value: Tensor, layout: Layout, compute: torch.dtype) -> Tensor:
    """An argument in a type to compute with, with all batch axes, of size 1 where it lacks them."""
    if symbol.dtype == "real":
        value = value.to(compute)
    elif symbol.dtype == "int":
        value = value.to(torch.int64)
    elif symbol.dtype == "bool" and value.dtype != torch.bool:
        value = value != 0
    before = 1 + len(rec.scan) if symbol.kind is Kind.INPUT else 0
    missing = len(layout.batch) - (value.ndim - before - len(symbol.axes)) + (0 if before else 1)
    return value.reshape(*value.shape[:before], *(1,) * missing, *value.shape[before:])


def _parts(tensors: Tensors) -> dict[Part, Tensor]:
    """Complex tensors as their real and imaginary parts."""
    found: dict[Part, Tensor] = {}
    for name, value in tensors.items():
        if value.is_complex():
            found[name, 0], found[name, 1] = value.real, value.imag
        else:
            found[name, 0] = value
    return found


def _joined(item: Symbol | Slot, parts: Mapping[Part, Tensor]) -> Tensor:
    if item.dtype == "complex":
        return torch.complex(parts[item.name, 0], parts[item.name, 1])
    return parts[item.name, 0]


def _output(symbol: Symbol, parts: Mapping[Part, Tensor], types: Types) -> Tensor:
    value = _joined(symbol, parts)
    return value.to(types.result) if symbol.dtype == "real" else value


def _packed(
    module: Module, layout: Layout, types: Types, given: Mapping[Part, Tensor], states: Mapping[Part, Tensor],
    clock: Tensor, chunk: int,
) -> tuple[dict[Part, Tensor], dict[Part, Tensor]]:  # fmt: skip
    """Packed sequences: those of one length are a batch, and each batch is a run of its own."""
    rec = module.form.rec
    inputs = {s.name for s in rec.of_kind(Kind.INPUT)}
    groups: dict[int, list[int]] = {}
    for number, length in enumerate(layout.lengths):
        groups.setdefault(length, []).append(number)
    runs = []
    for length, members in (groups or {0: []}).items():
        starts = [layout.starts[n] for n in members]
        which = torch.tensor(members, dtype=torch.int64, device=types.device)
        rows = _rows(starts, length, types.device)
        cut = {k: _taken(v, rows, starts, length) if k[0] in inputs else v for k, v in given.items()}
        run = Run(
            module, (len(members), *layout.batch), (length,), layout.sizes, types.compute, types.device, chunk, cut,
            {k: v.index_select(0, which) for k, v in states.items()},
            clock.index_select(0, which) if clock.shape[0] == layout.sequences else clock,
        )  # fmt: skip
        _run(run)
        runs.append((rows, which, run))
    places = torch.cat([rows for rows, _, _ in runs]).argsort()
    order = torch.cat([which for _, which, _ in runs]).argsort()
    outputs = {
        key: torch.cat([run.outputs[key].flatten(0, 1) for _, _, run in runs]).index_select(0, places).unsqueeze(0)
        for key in runs[0][2].outputs
    }
    finals = {key: torch.cat([run.final[key] for _, _, run in runs]).index_select(0, order) for key in runs[0][2].final}
    return outputs, finals


def _rows(starts: Sequence[int], length: int, device: torch.device) -> Tensor:
    """The steps of all sequences of a group, one sequence after the other."""
    first = torch.tensor(starts, dtype=torch.int64, device=device)
    return (first[:, None] + torch.arange(length, device=device)).reshape(-1)


def _taken(value: Tensor, rows: Tensor, starts: Sequence[int], length: int) -> Tensor:
    """The sequences of a group, `[sequences, length, …]`, from `[1, T, …]`: a view if they lie side by side."""
    whole, count = value.squeeze(0), len(starts)
    if starts and list(starts) == [starts[0] + n * length for n in range(count)]:
        return cut(whole.narrow(0, starts[0], count * length), 0, (count, length))
    return cut(whole.index_select(0, rows), 0, (count, length))


__all__ = ["Types", "execute"]
