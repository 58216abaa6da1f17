"""Runs a program by a form and by the step loop, and measures how far they are apart."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

import recc
from tests.numerics.cases import PROGRAMS, Arrays, draw

#: The table of promises: relative error of values at up to 1024 steps. It grows with the root of the steps beyond.
BOUND = {torch.float32: 2e-6, torch.float64: 1e-10}
_COMPLEX = {torch.float32: torch.complex64, torch.float64: torch.complex128}


def bound(dtype: torch.dtype, steps: int) -> float:
    """What values may be off; gradients twice as much."""
    return float(BOUND[dtype] * max(1.0, steps / 1024) ** 0.5)


def leaves(arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    """Tensors that collect gradients where they can."""
    found = {}
    for name, value in arrays.items():
        kind = {"f": dtype, "c": _COMPLEX[dtype]}.get(value.dtype.kind, torch.bool)
        found[name] = torch.tensor(value, dtype=kind, requires_grad=kind != torch.bool)
    return found


def pulled(results: Mapping[str, Tensor], given: Mapping[str, Tensor], weights: Mapping[str, Any]) -> dict[str, Any]:
    """Results and the gradients of their weighted sum, as arrays."""
    wanted = {n: x for n, x in given.items() if x.requires_grad}
    seeds = [torch.as_tensor(weights[n]).to(x.dtype) for n, x in results.items()]
    found: Any = torch.autograd.grad(list(results.values()), list(wanted.values()), seeds, allow_unused=True)
    values = {n: x.detach().resolve_conj().numpy() for n, x in results.items()}
    for (name, x), d in zip(wanted.items(), found, strict=True):
        values[f"d {name}"] = torch.zeros_like(x).numpy() if d is None else d.resolve_conj().numpy()
    return values


def by_loop(name: str, arrays: Arrays) -> tuple[dict[str, Any], dict[str, Any]]:
    """Output, final state and gradients by the step loop, and the weights of what was differentiated."""
    program = PROGRAMS[name]
    given = leaves(arrays, torch.float64)
    output, states = program.steps(given)
    results = {"output": output, "final": states[:, -1]}
    rng = np.random.default_rng(7)
    weights = {}
    for n, x in results.items():
        weight = rng.standard_normal(x.shape) + (1j * rng.standard_normal(x.shape) if x.is_complex() else 0)
        weights[n] = weight.astype(np.complex64 if x.is_complex() else np.float32)
    return pulled(results, given, weights), weights


@cache
def expected(name: str, kind: str, steps: int, given: bool = True) -> tuple[Arrays, dict[str, Any], dict[str, Any]]:
    """Data and what the step loop makes of them."""
    arrays = draw(name, kind, steps, given=given)
    return arrays, *by_loop(name, arrays)


def by_form(
    name: str, arrays: Arrays, weights: Mapping[str, Any], form: str, chunk: int | None, dtype: torch.dtype,
    backend: str = "torch", given: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """The same by a form."""
    tensors = leaves(arrays, dtype)
    initial = tensors["initial"] if given else None
    op = PROGRAMS[name].compile(form, chunk, backend)
    arguments = {n: x for n, x in tensors.items() if n != "initial"}
    output, final = op(**arguments, initial_state=initial, output_final_state=True)
    return pulled({"output": output, "final": final}, tensors, weights)


def distance(found: Any, wanted: Any) -> float:
    """`‖found - wanted‖ / ‖wanted‖`; infinite if anything is not a number."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape, (found.shape, wanted.shape)
    if not np.isfinite(found).all():
        return float("inf")
    off, size = np.linalg.norm(found - wanted), np.linalg.norm(wanted)
    return float(off / size) if size else float(off)


def errors(found: Mapping[str, Any], wanted: Mapping[str, Any], dtype: torch.dtype) -> dict[str, float]:
    """How far each tensor is off, in units of what it may be off.

    A gradient that is a millionth of the largest one is measured on that: below it, a number of the larger
    one's size has no digits.
    """
    ratios = {}
    largest = max(float(np.abs(v).max(initial=0.0)) for n, v in wanted.items() if n.startswith("d "))
    allowed = bound(dtype, wanted["output"].shape[1])
    for name, value in wanted.items():
        gradient = name.startswith("d ")
        off = distance(found[name], value)
        if gradient and float(np.abs(value).max(initial=0.0)) < 1e-6 * largest and np.isfinite(found[name]).all():
            off = float(np.abs(found[name] - value).max(initial=0.0)) / largest
        ratios[name] = off / allowed / (2 if gradient else 1)
    return ratios


def within(found: Mapping[str, Any], wanted: Mapping[str, Any], dtype: torch.dtype, what: object) -> None:
    """Asserts that every tensor is within the table of promises."""
    bad = {n: f"{r:.3g} times" for n, r in errors(found, wanted, dtype).items() if not r <= 1}
    assert not bad, f"{what}, {dtype}: off by more than promised, {bad}"


def check(name: str, kind: str, steps: int, form: str, chunk: int | None, dtype: torch.dtype, **options: Any) -> None:
    """Asserts that a form is within the table of promises on hostile data."""
    arrays, wanted, weights = expected(name, kind, steps)
    found = by_form(name, arrays, weights, form, chunk, dtype, **options)
    within(found, wanted, dtype, (name, kind, steps, form, chunk))


@cache
def refused(name: str, form: str) -> bool:
    """Whether a program has no such form."""
    found = PROGRAMS[name].compile("sequential", None).forms
    return isinstance(found.get(form), recc.Refusal)


__all__ = [
    "bound",
    "by_form",
    "by_loop",
    "check",
    "distance",
    "errors",
    "expected",
    "leaves",
    "pulled",
    "refused",
    "within",
]
