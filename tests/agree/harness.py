"""Runs a program in several ways on the same arrays and gives values and gradients by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from recc.forms.run import Item
from recc.fuzz import Shapes, rel_rms
from recc.recurrence import Kind, Recurrence
from recc.runtime.call import state_names
from tests.agree.cases import Arrays, Program
from tests.oracles import torch_interpreter

#: A gradient that is one sum over all steps may cancel and has then no scale of its own: of so few elements,
#: it is measured on this share of the largest gradient if it is smaller than that.
_FEW, _SHARE = 8, 0.1


def tensors(arrays: Mapping[str, Any], dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:
    """Leaves that require gradients where they can; real ones of a given type."""
    found = {}
    for name, value in arrays.items():
        tensor = torch.tensor(value)
        if dtype is not None and tensor.is_floating_point():
            tensor = tensor.to(dtype)
        found[name] = tensor.requires_grad_(tensor.is_floating_point() or tensor.is_complex())
    return found


def named(program: Program, result: Any) -> dict[str, Any]:
    """The result of a call with `output_final_state=True`, outputs and states by name (the clock left out)."""
    outputs, final = result
    names = [s.name for s in program.rec.outputs]
    found = dict(zip(names, [outputs] if len(names) == 1 else outputs, strict=True))
    states = state_names(program.rec)
    if states:
        found.update(zip((f"final {n}" for n in states), [final] if len(states) == 1 else final, strict=True))
    clock = {f"final {n}" for n in states} - {f"final {slot.name}" for slot in program.rec.slots}
    return {n: v for n, v in found.items() if n not in clock}


def cut(program: Program, arrays: Mapping[str, Any], start: int, end: int) -> dict[str, Any]:
    """The inputs from one step to another, the rest as it is."""
    inputs = {s.name for s in program.rec.of_kind(Kind.INPUT)}
    return {n: v[:, start:end] if n in inputs else v for n, v in arrays.items()}


def in_pieces(program: Program, op: Any, leaves: Mapping[str, Any], state: Any) -> dict[str, Any]:
    """Outputs and final states by name of nine steps in four runs joined by the state, one of them empty."""
    outputs: dict[str, list[torch.Tensor]] = {s.name: [] for s in program.rec.outputs}
    for begin, end in ((0, 4), (4, 4), (4, 5), (5, 9)):
        result = op(**cut(program, leaves, begin, end), initial_state=state, output_final_state=True)
        state = result[1]
        for key, value in named(program, result).items():
            if key in outputs:
                outputs[key].append(value)
    joined = {n: torch.cat(parts, 1) for n, parts in outputs.items()}
    return joined | {n: v for n, v in named(program, result).items() if n not in outputs}


def cotangents(values: Mapping[str, Any], seed: int | tuple[int, ...] = 1) -> dict[str, np.ndarray[Any, Any]]:
    """A random weight for every element of every floating result, zero where the result is infinite."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, value in values.items():
        array = np.asarray(value)
        if array.dtype.kind not in "fc":
            continue
        weight = rng.standard_normal(array.shape)
        if array.dtype.kind == "c":
            weight = weight + 1j * rng.standard_normal(array.shape)
        found[name] = np.where(np.isfinite(array), weight, 0)
    return found


def gradients(
    results: Mapping[str, torch.Tensor], weights: Mapping[str, Any], leaves: Mapping[str, torch.Tensor]
) -> dict[str, np.ndarray[Any, Any]]:
    """The gradients of the weighted sum of results, zero where nothing flows."""
    flowing = [n for n in weights if results[n].requires_grad]
    wanted = {n: t for n, t in leaves.items() if t.requires_grad}
    if not flowing or not wanted:
        return {f"d {n}": np.zeros(t.shape) for n, t in wanted.items()}
    seeds = [torch.tensor(weights[n]).to(results[n].dtype) for n in flowing]
    found = torch.autograd.grad([results[n] for n in flowing], list(wanted.values()), seeds, allow_unused=True)
    zero = {n: torch.zeros_like(t) for n, t in wanted.items()}
    pairs = zip(wanted, found, strict=True)
    return {f"d {n}": plain(zero[n] if g is None else g) for n, g in pairs}


def plain(value: Any) -> np.ndarray[Any, Any]:
    """A NumPy array of a tensor, 16-bit floats widened."""
    if isinstance(value, torch.Tensor):
        value = value.detach().resolve_conj().resolve_neg()
        return (value.float() if value.dtype in (torch.float16, torch.bfloat16) else value).numpy()
    return np.asarray(value)


def by_oracle(
    program: Program, shapes: Shapes, arguments: Arrays, initial: Arrays, weights: Mapping[str, Any] | None = None
) -> tuple[Arrays, Arrays, dict[str, Any]]:
    """Values, gradients and weights by the torch interpreter in float64."""
    leaves, states = tensors(arguments), tensors(initial)
    sizes = {a.name: shapes.sizes[a.size_of] for a in program.rec.axes}
    result = torch_interpreter.run(program.rec, leaves, sizes=sizes, initial=states, length=shapes.steps[0])
    results = {**result.outputs, **{f"final {n}": v for n, v in result.final.items()}}
    values = {n: plain(v) for n, v in results.items()}
    weights = cotangents(values) if weights is None else weights
    return values, gradients(results, weights, {**leaves, **states}), dict(weights)


def by_kernels(
    program: Program,
    leaves: Mapping[str, torch.Tensor],
    states: Mapping[str, torch.Tensor],
    weights: Mapping[str, Any] | None,
    **options: Any,
) -> tuple[Arrays, Arrays]:
    """Values and gradients by the C kernels."""
    result = program.op(**leaves, initial_state=dict(states) or None, output_final_state=True, **options)
    results = named(program, result)
    values = {n: plain(v) for n, v in results.items()}
    return values, {} if weights is None else gradients(results, weights, {**leaves, **states})


def by_interpreter(
    program: Program,
    shapes: Shapes,
    arguments: Arrays,
    initial: Arrays,
    weights: Mapping[str, Any],
    form: Any = None,
    chunk: int | None = None,
) -> tuple[Arrays, Arrays]:
    """Values and gradients by a form (the sequential one), its Blocks run by their interpreter, item after item."""
    rec = program.rec
    form = program.op._native.form(None) if form is None else form
    scan = (slice(None),) * len(shapes.steps)
    values = {n: np.full_like(w, np.nan) for n, w in weights.items()}
    real = [s for s in rec.arguments if s.dtype in ("real", "complex")]
    found = {f"d {s.name}": np.zeros_like(arguments[s.name]) for s in real}
    found.update({f"d {n}": np.zeros_like(v) for n, v in initial.items()})
    for b in range(shapes.batch):
        for h in np.ndindex(*shapes.heads):
            row, state = (b, *scan, *h), (b, *h)
            given = {s.name: arguments[s.name][row if s.kind is Kind.INPUT else ()] for s in rec.arguments}
            start = {n: v[state] for n, v in initial.items()}
            item = Item(form, shapes.sizes, shapes.steps, given, start, chunk=chunk)
            item.forward()
            for name in values:
                is_final = name.startswith("final ")
                piece = item.final[name[6:]] if is_final else item.outputs[name]
                values[name][state if is_final else row] = piece
            last = {n[6:]: w[state] for n, w in weights.items() if n.startswith("final ")}
            d_arguments, d_initial = item.backward({n: w[row] for n, w in weights.items() if n in item.outputs}, last)
            for symbol in real:
                target = found[f"d {symbol.name}"]
                target[row if symbol.kind is Kind.INPUT else (...,)] += d_arguments[symbol.name]
            for name, piece in d_initial.items():
                found[f"d {name}"][state] = piece
    return values, found


def worst(found: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, float]:
    """The relative error of every tensor, NaN and Inf never passing but where both have the same infinity."""
    assert found.keys() >= expected.keys(), sorted(found.keys() ^ expected.keys())
    sizes = [float(np.abs(v).max(initial=0.0)) for n, v in expected.items() if n.startswith("d ")]
    largest = max(sizes, default=0.0)
    errors = {}
    for name, value in expected.items():
        out = found[name]
        if name.startswith("d "):
            scale = float(np.abs(value).max(initial=0.0))
            if scale < _SHARE * largest and (value.size <= _FEW or scale < 1e-6 * largest):
                assert out.shape == value.shape, name
                errors[name] = float(np.abs(out - value).max(initial=0.0)) / (_SHARE * largest)
                continue
        errors[name] = rel_rms(out, value, semiring=True)
    return errors


def differentiable(rec: Recurrence) -> set[str]:
    """The names of the gradients that the kernels give: constants have none."""
    return {f"d {s.name}" for s in rec.arguments if s.kind is not Kind.CONST and s.dtype in ("real", "complex")} | {
        f"d {slot.name}" for slot in rec.slots
    }


def agree(found: Mapping[str, Any], expected: Mapping[str, Any], bound: float, what: object = "") -> None:
    """Asserts that every expected tensor is within the bound."""
    errors = worst(found, expected)
    bad = {n: e for n, e in errors.items() if not e <= bound}
    assert not bad, f"{what}: {bad}"


__all__ = [
    "agree", "by_interpreter", "by_kernels", "by_oracle", "cotangents", "cut", "differentiable", "gradients",
    "in_pieces", "named", "plain", "tensors", "worst",
]  # fmt: skip
