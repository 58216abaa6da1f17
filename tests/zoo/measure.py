"""Runs a row of the table in every way that its program has, and measures each against the oracle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

import recc
import recc.zoo
from recc.backends.numpy_reference import run
from recc.errors import Refusal
from recc.fuzz import rel_rms
from recc.runtime.op import Op
from tests.agree.harness import cotangents, gradients, plain

from .row import Arrays, Row, leaves

#: The forms that a call can ask for, with the backends that emit them on a CPU.
FORMS = ("sequential", "scan", "chunked", "convolution")
WAYS = (("numpy", "sequential"), ("c", "sequential"), *(("torch", form) for form in FORMS))

#: The oracle's gradient by differences is good to about so much.
BY_DIFFERENCES = 1e-6


@dataclass(frozen=True)
class Errors:
    """The largest relative errors of a way: outputs, final states, gradients. `None` is: not compared."""

    outputs: float
    final: float | None
    gradients: float | None


@dataclass(frozen=True)
class Truth:
    """What the oracle says: values by name, weights of the loss, and gradients by name if it has them."""

    values: Arrays
    weights: Arrays
    gradients: Arrays | None


def forms_of(row: Row) -> Mapping[str, Any]:
    """The forms that the row's program has, and the reasons for those that it lacks."""
    return _derived(row.program)


@cache
def _derived(program: str) -> Mapping[str, Any]:
    """The forms of a program: deriving them takes a second for the larger ones."""
    found = getattr(recc.zoo, program).forms
    return {name: found[name] for name in FORMS if name in found}


def ways(row: Row) -> Iterator[tuple[str, str]]:
    """Backends and forms in which the program can run on a CPU."""
    found = forms_of(row)
    for backend, form in WAYS:
        if isinstance(found.get(form), Refusal):
            continue
        yield backend, form


def truth(row: Row, seed: int = 0) -> Truth:
    """The oracle's values, and its gradients of a weighted sum of them."""
    assert row.expected is not None
    arguments, initial = row.arrays(seed)
    given = row.given(arguments, initial)
    found = row.expected(given)
    values = {n: plain(v) for n, v in found.items()}
    weights = cotangents(values, (seed, 1))
    if not row.gradients:
        return Truth(values, weights, None)
    wanted = {**given.arguments, **{f"final {n}": v for n, v in given.state.items()}}
    tensors = {n: v for n, v in found.items() if isinstance(v, torch.Tensor)}
    return Truth(values, weights, backward(tensors, weights, wanted) if tensors else None)


def backward(values: Mapping[str, Any], weights: Arrays, wanted: Mapping[str, torch.Tensor]) -> Arrays:
    """The gradients of the weighted sum of those values that are tensors, by the names of what is wanted."""
    tensors = {n: v for n, v in values.items() if isinstance(v, torch.Tensor)}
    found = gradients(tensors, {n: w for n, w in weights.items() if n in tensors}, wanted)
    return {n.removeprefix("d "): g for n, g in found.items()}


def by_differences(row: Row, weights: Arrays, direction: Arrays, seed: int = 0) -> float:
    """The derivative of the oracle's weighted sum along a direction, by extrapolated central differences."""
    assert row.expected is not None
    arguments, initial = row.arrays(seed)

    def total(step: float) -> float:
        moved = {n: v + step * direction[n] if n in direction else v for n, v in arguments.items()}
        start = {n: v + step * direction.get(f"final {n}", 0) for n, v in initial.items()}
        assert row.expected is not None
        found = row.expected(row.given(moved, start))
        return sum(float(np.sum(np.real(np.conj(w) * plain(found[n])))) for n, w in weights.items())

    def central(step: float) -> float:
        return (total(step) - total(-step)) / (2 * step)

    step = 2e-4
    return (4 * central(step / 2) - central(step)) / 3


def measure(row: Row, backend: str, form: str, expected: Truth, seed: int = 0) -> Errors:
    """The errors of one way against the oracle."""
    arguments, initial = row.arrays(seed)
    if backend == "numpy":
        result = run(row.rec, arguments, sizes=_sizes(row), initial=initial, length=_length(row), dtype=np.float64)
        values: Mapping[str, Any] = {**result.outputs, **{f"final {n}": v for n, v in result.final.items()}}
        return _errors(row, expected, {n: plain(v) for n, v in values.items()}, None, seed)
    given, state = leaves(arguments), leaves(initial)
    values = call(row, op_of(row.program, backend, form), given, state)
    wanted = {**given, **{f"final {n}": v for n, v in state.items()}}
    gradients = backward(values, expected.weights, wanted) if row.gradients else None
    return _errors(row, expected, {n: plain(v) for n, v in values.items()}, gradients, seed)


@cache
def op_of(program: str, backend: str, form: str) -> Op:
    """The op of a program in a way, in chunks that do not divide the number of steps."""
    chunk = 4 if form == "chunked" else None
    found = recc.compile(recc.zoo.text(program), backend=backend, form=form, chunk_size=chunk)
    assert isinstance(found, Op)
    return found


def call(row: Row, op: Op, given: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """Outputs and final states by name."""
    options: dict[str, Any] = {} if row.timed else {"steps": row.steps[0]}
    if len(row.rec.scan) > 1:
        outputs, finals = op(**given, **options), ()
    else:
        outputs, finals = op(**given, initial_state=dict(state) or None, output_final_state=True, **options)
    values = dict(zip((s.name for s in row.rec.outputs), several(outputs), strict=True))
    pairs = zip((s.name for s in row.rec.slots), () if finals is None else several(finals), strict=False)
    return values | {f"final {n}": v for n, v in pairs}


def several(result: Any) -> tuple[Any, ...]:
    """One result or several as a tuple."""
    return result if isinstance(result, tuple) else (result,)


def _errors(row: Row, expected: Truth, values: Arrays, gradients: Arrays | None, seed: int) -> Errors:
    missing = expected.values.keys() - values.keys()
    assert not missing, f"{row}: the oracle names {sorted(missing)}, the program gives {sorted(values)}"
    assert any(not n.startswith("final ") for n in expected.values), f"{row}: the oracle gives no output"
    outputs = [_error(values[n], v) for n, v in expected.values.items() if not n.startswith("final ")]
    finals = [_error(values[n], v) for n, v in expected.values.items() if n.startswith("final ")]
    return Errors(max(outputs), max(finals, default=None), _gradient_error(row, expected, gradients, seed))


def _gradient_error(row: Row, expected: Truth, gradients: Arrays | None, seed: int) -> float | None:
    if gradients is None or not gradients:
        return None
    if expected.gradients is not None:
        # A gradient that cancels has no scale of its own: it is measured on the whole gradient's.
        top = max((float(np.abs(g).max(initial=0.0)) for g in expected.gradients.values()), default=0.0)
        return max(
            _scaled(_meant(row, n, gradients[n]), _meant(row, n, g), 1e-3 * top) for n, g in expected.gradients.items()
        )
    direction = {n: _meant(row, n, d) for n, d in cotangents(gradients, (seed, 2)).items()}
    claimed = sum(float(np.sum(np.real(np.conj(gradients[n]) * d))) for n, d in direction.items())
    norm = sum(float(np.sum(np.abs(g) ** 2)) for g in gradients.values()) ** 0.5
    return abs(claimed - by_differences(row, expected.weights, direction, seed)) / max(norm, 1e-30)


def _meant(row: Row, name: str, value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The part of a gradient that means something: of a symmetric matrix the symmetric part."""
    return (value + np.swapaxes(value, -1, -2)) / 2 if name in row.symmetric else value


def _scaled(out: np.ndarray[Any, Any], ref: np.ndarray[Any, Any], floor: float) -> float:
    assert out.shape == ref.shape
    if not np.isfinite(out).all() or not np.isfinite(ref).all():
        return float("inf")
    if not out.size:
        return 0.0
    norm = max(float(np.sqrt(np.mean(np.abs(ref) ** 2))), floor, 1e-30)
    return float(np.sqrt(np.mean(np.abs(out - ref) ** 2))) / norm


def _error(out: np.ndarray[Any, Any], ref: np.ndarray[Any, Any]) -> float:
    assert out.shape == ref.shape, f"shape {out.shape}, the oracle's {ref.shape}"
    return rel_rms(out, ref, semiring=True) if out.size else 0.0


def _sizes(row: Row) -> dict[str, int]:
    return {a.name: row.shapes.sizes[a.size_of] for a in row.rec.axes}


def _length(row: Row) -> int | None:
    return row.steps[0] if len(row.rec.scan) == 1 else None


__all__ = [
    "BY_DIFFERENCES",
    "FORMS",
    "WAYS",
    "Errors",
    "Truth",
    "call",
    "forms_of",
    "measure",
    "op_of",
    "truth",
    "ways",
]
