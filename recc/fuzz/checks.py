"""What is checked of one case: values, gradients, pieces of time, packed sequences, two precisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from recc.backends.numpy_reference import run
from recc.runtime.domains import works_with_infinities

from .agree import directional_gradient, inner, no_differences, random_direction, rel_rms, tolerance
from .case import Arrays, Case, cast, looks_ahead
from .draw import Array

#: Rounding errors inside a program may add up to so many times what rounding its arguments does.
_AMPLIFIED = 8

#: A change by rounding of this share of a result says that the program is not stable for these arguments,
#: and so does a gradient of this size where arguments and weights are of the order of 1.
_UNSTABLE = 1e-3
_EXPLODED = 1e4

_NARROW_EPS = 2.0**-24
_WIDER = 2.0**-29  # how much finer float64 is than float32

#: No more steps than this are differentiated by differences: the reference runs some twenty times for it.
_DIFFERENCED = 16


@dataclass(frozen=True)
class Finding:
    """One comparison of a case: what with what, its error, and the bound that it has to keep."""

    what: str
    dtype: str
    error: float
    bound: float
    gradient: bool = False

    @property
    def holds(self) -> bool:
        """Whether the error is a number within the bound."""
        return self.error <= self.bound


@dataclass(frozen=True)
class Results:
    """Outputs and final states by name (`final h`), and gradients by the argument's or state's name."""

    values: Arrays
    gradients: Arrays


def check_case(op: Any, case: Case) -> tuple[list[Finding], frozenset[str]]:
    """All findings of a case, and why some comparisons could not be made.

    The reasons are `undefined` (the reference gives NaN), `unstable` (rounding the arguments changes
    the result as much) and `kink` (differences do not converge). Stops at the first finding that does
    not hold.
    """
    expected = reference(case)
    if any(np.isnan(v).any() for v in expected.values()):
        return [], frozenset({"undefined"})
    if not works_with_infinities(case.rec) and not all(np.isfinite(v).all() for v in expected.values()):
        return [], frozenset({"unstable"})
    rng = np.random.default_rng((case.seed, case.number, 1))
    weights = {n: _weight(v, rng) for n, v in expected.items() if v.dtype.kind in "fc"}
    exact = run_op(op, case, "float64", weights)
    moved = run_op(op, case, "float64", weights, jitter=rng)
    doubt = _doubt(moved, exact)
    reasons: set[str] = set()
    found = [_value(n, exact.values[n], ref, "float64", case, doubt) for n, ref in expected.items()]
    if exact.gradients and not case.edges and case.shapes.steps[0] <= _DIFFERENCED:
        found += _by_differences(case, exact, weights, doubt, rng, reasons)
    found += [_is_number(n, g) for n, g in exact.gradients.items()]
    if not looks_ahead(case.rec):
        found.append(_pieces(op, case, exact, doubt))
    if len(case.rec.scan) == 1:
        found.append(_packed(op, case, doubt))
    if all(f.holds for f in found):
        found += _narrow(op, case, exact, weights, doubt, rng, reasons)
    return found, frozenset(reasons)


def reference(case: Case) -> Arrays:
    """Outputs and final states by the reference in float64."""
    result = run(
        case.rec, case.arguments, sizes=case.sizes, initial=case.initial, length=_length(case), dtype=np.float64
    )
    return {**result.outputs, **{f"final {n}": v for n, v in result.final.items()}}


def _length(case: Case) -> int | None:
    return case.shapes.steps[0] if len(case.rec.scan) == 1 else None


def run_op(
    op: Any, case: Case, dtype: str, weights: Mapping[str, Any], jitter: np.random.Generator | None = None
) -> Results:
    """Runs the op on a case in a precision, on torch tensors if torch is there, else on NumPy arrays.

    `jitter` moves every element of the arguments, and of the state between any two steps, by about
    float32's resolution: what it changes is what rounding has to change.
    """
    given = {n: cast(_jittered(v, jitter), dtype) for n, v in case.arguments.items()}
    states: dict[str, Any] = {n: cast(_jittered(v, jitter), dtype) for n, v in case.initial.items()}
    leaves: dict[str, Any] = {}
    if (torch := _torch()) is not None:
        leaves = {n: _leaf(torch, v) for n, v in (*given.items(), *((f"final {n}", v) for n, v in states.items()))}
        given = {n: leaves[n] for n in given}
        states = {n: leaves[f"final {n}"] for n in states}
    steps = case.shapes.steps[0]
    if jitter is None or looks_ahead(case.rec) or not case.rec.slots:
        values = _call(op, case, given, states, steps)
    else:
        values = _call_stepwise(op, case, given, states, jitter)
    return Results({n: _array(v) for n, v in values.items()}, _gradients(values, weights, leaves))


def _call(op: Any, case: Case, given: Mapping[str, Any], state: Any, steps: int) -> dict[str, Any]:
    """Outputs and final states by name, the whole state under no name."""
    options = {} if case.inputs else {"steps": steps}
    outputs, final = op(**given, initial_state=state or None, output_final_state=True, **options)
    values = dict(zip((s.name for s in case.rec.outputs), _several(outputs), strict=True))
    finals = () if final is None else _several(final)
    values.update(zip((f"final {slot.name}" for slot in case.rec.slots), finals, strict=False))
    return values


def _call_stepwise(
    op: Any, case: Case, given: Mapping[str, Any], states: dict[str, Any], jitter: np.random.Generator
) -> dict[str, Any]:
    parts: dict[str, list[Any]] = {}
    scan = case.rec.scan[0]
    for t in range(case.shapes.steps[0]):
        now = {n: v[:, t : t + 1] if n in case.inputs else v for n, v in given.items()}
        values = _call(op, case, now, {**states, scan: t} if case.rec.clock else states, 1)
        for symbol in case.rec.outputs:
            parts.setdefault(symbol.name, []).append(values[symbol.name])
        states = {slot.name: _moved(values[f"final {slot.name}"], jitter) for slot in case.rec.slots}
    if not parts:
        return _call(op, case, given, states, 0)
    torch = _torch()
    join = np.concatenate if torch is None else torch.cat
    found = {n: join(pieces, 1) for n, pieces in parts.items()}
    return {**found, **{f"final {n}": v for n, v in states.items()}}


def _moved(value: Any, jitter: np.random.Generator) -> Any:
    """A state moved by rounding, torch or NumPy."""
    factor = 1 + _NARROW_EPS * jitter.choice([-1.0, 1.0], tuple(value.shape))
    return value * _torch().as_tensor(factor) if hasattr(value, "detach") else np.asarray(value * factor)


def _gradients(values: Mapping[str, Any], weights: Mapping[str, Any], leaves: Mapping[str, Any]) -> Arrays:
    flowing = [n for n in weights if getattr(values[n], "requires_grad", False)]
    wanted = {n: t for n, t in leaves.items() if t.requires_grad}
    if not flowing or not wanted:
        return {}
    torch = _torch()
    seeds = [torch.as_tensor(weights[n]).to(values[n].dtype) for n in flowing]
    found = torch.autograd.grad(
        [values[n] for n in flowing], list(wanted.values()), seeds, allow_unused=True, materialize_grads=True
    )
    return {n: _array(g) for n, g in zip(wanted, found, strict=True)}


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        return None
    return torch


def _leaf(torch: Any, value: Array) -> Any:
    return torch.from_numpy(np.array(value)).requires_grad_(value.dtype.kind in "fc")


def _array(value: Any) -> Array:
    return np.asarray(value.detach().resolve_conj().numpy() if hasattr(value, "detach") else value)


def _weight(value: Array, rng: np.random.Generator) -> Array:
    """A random weight for every element, zero where the result is infinite."""
    return np.where(np.isfinite(value), _normal(value, rng), 0)


def _normal(like: Array, rng: np.random.Generator) -> Array:
    real = rng.standard_normal(like.shape)
    return real + 1j * rng.standard_normal(like.shape) if like.dtype.kind == "c" else real


def _jittered(value: Array, rng: np.random.Generator | None) -> Array:
    return value if rng is None or value.dtype.kind not in "fc" else np.asarray(_moved(np.asarray(value), rng))


def _doubt(moved: Results, exact: Results) -> dict[str, float]:
    """How much of every tensor rounding the arguments changes."""
    found = {n: _error(v, exact.values[n]) for n, v in moved.values.items()}
    return found | {f"d {n}": _error(g, exact.gradients[n]) for n, g in moved.gradients.items()}


def _error(out: Array, ref: Array) -> float:
    return rel_rms(out, ref, semiring=True) if out.size else 0.0


def _value(name: str, out: Array, ref: Array, dtype: str, case: Case, doubt: Mapping[str, float]) -> Finding:
    scale = 1.0 if dtype == "float32" else _WIDER
    bound = tolerance(dtype, max(1, case.shapes.steps[0])) + _AMPLIFIED * scale * doubt.get(name, 0.0)
    return Finding(f"{name} against the reference", dtype, _error(out, ref), bound)


def _is_number(name: str, gradient: Array) -> Finding:
    """A gradient of values that are numbers has no NaN."""
    error = float("nan") if np.isnan(gradient).any() else 0.0
    return Finding(f"the gradient of {name} is a number", "float64", error, 0.0, gradient=True)


def _by_differences(
    case: Case,
    exact: Results,
    weights: Mapping[str, Any],
    doubt: Mapping[str, float],
    rng: np.random.Generator,
    reasons: set[str],
) -> list[Finding]:
    """The gradient along a random direction against differences of the reference.

    The error is a share of the gradient's norm, which is the standard deviation of its component along
    a normal direction.
    """
    if no_differences(case.rec) is not None:
        return []
    direction = random_direction(case.rec, case.arguments, rng)
    turn = {n: _normal(v, rng) for n, v in case.initial.items()}
    truth = directional_gradient(
        case.rec,
        case.arguments,
        {n: w for n, w in weights.items() if not n.startswith("final ")},
        direction,
        initial=case.initial,
        final_cotangents={n.removeprefix("final "): w for n, w in weights.items() if n.startswith("final ")},
        initial_direction=turn,
        sizes=case.sizes,
        length=_length(case),
    )
    claimed = inner(exact.gradients, direction) + inner(exact.gradients, {f"final {n}": d for n, d in turn.items()})
    squares = sum(float(np.sum(np.abs(g) ** 2)) for g in exact.gradients.values())
    norm = max(squares**0.5, 1e-30)
    if not truth.error <= 1e-8 * norm or _exploded(exact):
        reasons.add("unstable" if _exploded(exact) else "kink")
        return []
    error = max(0.0, abs(claimed - truth.value) - truth.error) / norm
    what = "the gradient along a random direction against differences of the reference"
    bound = tolerance("float64", 1, gradient=True) + _AMPLIFIED * _WIDER * max(doubt.values(), default=0.0)
    return [Finding(what, "float64", error, bound, gradient=True)]


def _pieces(op: Any, case: Case, exact: Results, doubt: Mapping[str, float]) -> Finding:
    """Two runs, the second from the state that the first ended in."""
    steps = case.shapes.steps[0]
    options: list[dict[str, Any]] = [{}, {}] if case.inputs else [{"steps": case.cut}, {"steps": steps - case.cut}]
    first, state = op(
        **case.piece(0, case.cut), initial_state=case.initial or None, output_final_state=True, **options[0]
    )
    second, final = op(**case.piece(case.cut, steps), initial_state=state, output_final_state=True, **options[1])
    worst = 0.0
    for i, symbol in enumerate(case.rec.outputs):
        halves = [r[i] if isinstance(r, tuple) else r for r in (first, second)]
        worst = max(worst, _error(np.concatenate(halves, 1), exact.values[symbol.name]))
    for slot, value in zip(case.rec.slots, final if isinstance(final, tuple) else (final,), strict=False):
        worst = max(worst, _error(value, exact.values[f"final {slot.name}"]))
    return Finding(
        f"two pieces, cut at step {case.cut}, against the whole", "float64", worst, 1e-12 + _rounding(op, doubt)
    )


def _rounding(op: Any, doubt: Mapping[str, float]) -> float:
    """How far calls of other sizes may be apart: not at all, but for torch, which then adds up in another order."""
    if getattr(op, "backend", "") != "torch":
        return 0.0
    return tolerance("float64", 1) + _AMPLIFIED * _WIDER * max(doubt.values(), default=0.0)


def _packed(op: Any, case: Case, doubt: Mapping[str, float]) -> Finding:
    """Sequences packed along time against each alone, which kernels have to give equal to the bit."""
    row = {n: v[:1] if n in case.inputs else v for n, v in case.arguments.items()}
    whole = op(**row, cu_seqlens=list(case.offsets), **({} if case.inputs else {"steps": case.shapes.steps[0]}))
    worst = 0.0
    for begin, end in zip(case.offsets, case.offsets[1:], strict=False):
        part = {n: v[:, begin:end] if n in case.inputs else v for n, v in row.items()}
        alone = op(**part, **({} if case.inputs else {"steps": end - begin}))
        for one, other in zip(_several(alone), _several(whole), strict=True):
            if not np.array_equal(one, other[:, begin:end], equal_nan=one.dtype.kind in "fc"):
                worst = max(worst, _error(other[:, begin:end], one))
    return Finding(
        f"sequences packed at {list(case.offsets)} against each alone", "float64", worst, _rounding(op, doubt)
    )


def _several(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def _narrow(
    op: Any,
    case: Case,
    exact: Results,
    weights: Mapping[str, Any],
    doubt: Mapping[str, float],
    rng: np.random.Generator,
    reasons: set[str],
) -> list[Finding]:
    """float32 against float64: values and every gradient."""
    if not max(doubt.values(), default=0.0) < _UNSTABLE or _exploded(exact):
        reasons.add("unstable")
        return []
    narrow = run_op(op, case, "float32", weights)
    steps = max(1, case.shapes.steps[0])
    found = [_value(n, v, exact.values[n], "float32", case, doubt) for n, v in narrow.values.items()]
    for name, gradient in narrow.gradients.items():
        if case.edges:
            # Far out a derivative is a difference of nearly equal numbers: how near is not promised.
            continue
        bound = tolerance("float32", steps, gradient=True) + _AMPLIFIED * doubt[f"d {name}"]
        error = _error(gradient, exact.gradients[name])
        found.append(Finding(f"the gradient of {name} against float64", "float32", error, bound, gradient=True))
    if all(f.holds for f in found) or not _jumps(op, case, exact, weights, rng):
        return found
    reasons.add("unstable")
    return []


def _exploded(results: Results) -> bool:
    return any(not np.abs(g).max(initial=0.0) < _EXPLODED for g in results.gradients.values())


def _jumps(op: Any, case: Case, exact: Results, weights: Mapping[str, Any], rng: np.random.Generator) -> bool:
    """Whether some rounding of the arguments changes float64's own results by much: a jump lies near."""
    for _ in range(8):
        moved = _doubt(run_op(op, case, "float64", weights, jitter=rng), exact)
        if not max(moved.values(), default=0.0) < _UNSTABLE:
            return True
    return False


__all__ = ["Finding", "Results", "check_case", "reference", "run_op"]
