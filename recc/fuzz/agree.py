"""Whether two computations agree: the one table of tolerances, the measure, and gradients by differences.

The measure is the relative root mean square, `||out - ref|| / ||ref||`, of a whole tensor. Nothing that
is NaN passes, ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recc.backends.numpy_reference import run
from recc.errors import Refusal, Unsupported, UsageError
from recc.recurrence import Apply, Expr, Kind, Recurrence, walk

Array = NDArray[Any]

#: The largest relative RMS error against the float64 reference, by dtype, for stable programs at T <= 1024.
TOLERANCE: Mapping[str, float] = {
    "float64": 1e-10,
    "float32": 2e-6,
    "tf32": 2e-3,
    "float16": 2e-3,
    "bfloat16": 8e-3,
}
_COMPLEX = {"complex128": "float64", "complex64": "float32"}
_STEPS = 1024


def tolerance(dtype: str, steps: int, *, gradient: bool = False) -> float:
    """The bound on `rel_rms` for a run of `steps` steps.

    `TOLERANCE[dtype] * max(1, sqrt(steps / 1024))`, twice that for a gradient. `dtype` is a name such as
    `float32` (complex names count as their parts, a leading `torch.` is dropped). Raises `UsageError`
    for a dtype without a promise.
    """
    name = dtype.removeprefix("torch.")
    name = _COMPLEX.get(name, name)
    if name not in TOLERANCE:
        raise UsageError("dtype", f"one of {', '.join(TOLERANCE)}", dtype)
    return float(TOLERANCE[name] * max(1.0, (steps / _STEPS) ** 0.5) * (2 if gradient else 1))


def rel_rms(out: Any, ref: Any, *, semiring: bool = False) -> float:
    """The relative RMS error `||out - ref|| / ||ref||`; infinite if anything is NaN or infinite.

    A reference that is zero throughout has no scale: the result is then the RMS of `out` itself. Empty
    arrays agree. `semiring=True` is for values where an infinity has a meaning (max-plus, logarithms of
    probabilities): there the infinities of `out` and `ref` must be the same and in the same places, and
    the rest is measured. Raises `UsageError` if the shapes differ: nothing is broadcast.
    """
    a, b = (np.asarray(v) for v in (out, ref))
    if a.shape != b.shape:
        raise UsageError("out", f"the reference's shape {list(b.shape)}", f"shape {list(a.shape)}")
    if semiring and np.array_equal(a, b):
        return 0.0
    wide = np.clongdouble if "c" in (a.dtype.kind, b.dtype.kind) else np.longdouble
    a, b = a.astype(wide).ravel(), b.astype(wide).ravel()
    finite = np.isfinite(a) & np.isfinite(b)
    if not finite.all():
        if not semiring or not np.array_equal(a[~finite], b[~finite]):
            return float("inf")
        a, b = a[finite], b[finite]
    if a.size == 0:
        return 0.0
    top = np.abs(b).max() or np.longdouble(1)
    error, norm = (np.sqrt(np.mean(np.abs(v / top) ** 2)) for v in (a - b, b))
    return float(error / norm if norm > 0 else error)


@dataclass(frozen=True)
class Agreement:
    """How one tensor compares with its reference: `error` is a `rel_rms`, `bound` the tolerance."""

    name: str
    error: float
    bound: float

    @property
    def holds(self) -> bool:
        """Whether the error is a number within the bound."""
        return self.error <= self.bound

    def __str__(self) -> str:
        return f"{self.name}: rel error {self.error:.1e} {'<=' if self.holds else '>'} {self.bound:.1e}"


def compare(
    outs: Mapping[str, Any],
    refs: Mapping[str, Any],
    dtype: str,
    steps: int,
    *,
    gradient: bool = False,
    semiring: bool = False,
) -> tuple[Agreement, ...]:
    """Compare tensors by name, in the order of the reference.

    Raises `UsageError` if a name is on one side only.
    """
    for name in set(outs) ^ set(refs):
        raise UsageError(name, "a tensor on both sides", "a tensor on one side only")
    bound = tolerance(dtype, steps, gradient=gradient)
    return tuple(Agreement(n, rel_rms(outs[n], ref, semiring=semiring), bound) for n, ref in refs.items())


@dataclass(frozen=True)
class Derivative:
    """A derivative found by differences: its value, and an estimate of its absolute error."""

    value: float
    error: float


def no_differences(rec: Recurrence) -> Refusal | None:
    """Why differences of the values do not give the gradient of a program, if they do not.

    `stop` and `surrogate` say that the gradient is not the derivative of the value.
    """
    exprs: list[Expr] = [e.expr for e in rec.equations]
    exprs += [e for s in rec.symbols for e in (s.initial, s.value) if e is not None]
    for expr in exprs:
        for node in walk(expr):
            if isinstance(node, Apply) and node.fn in ("stop", "surrogate"):
                reason = f"the gradient of `{node.fn}` is not the derivative of its value"
                return Refusal("a gradient by differences", reason, "compare with automatic differentiation", node.span)
    return None


def random_direction(rec: Recurrence, arguments: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Array]:
    """A standard normal direction for every argument that has a gradient: real or complex, not a `const`."""
    found = {}
    for symbol in rec.arguments:
        if symbol.kind is Kind.CONST or symbol.dtype not in ("real", "complex"):
            continue
        shape = np.shape(arguments[symbol.name])
        found[symbol.name] = rng.standard_normal(shape)
        if symbol.dtype == "complex":
            found[symbol.name] = found[symbol.name] + 1j * rng.standard_normal(shape)
    return found


def inner(gradients: Mapping[str, Any], direction: Mapping[str, Any]) -> float:
    """`sum(re(conj(gradient) * direction))` over the names of `direction`, accumulated in long double.

    This is what a gradient claims the derivative along `direction` to be (for complex values the
    gradient is `dL/dre + i dL/dim`, as torch has it).
    """
    total = np.longdouble(0)
    for name, along in direction.items():
        gradient = np.asarray(gradients[name]).astype(np.clongdouble)
        total += np.sum(np.real(np.conj(gradient) * np.asarray(along).astype(np.clongdouble)))
    return float(total)


def directional_gradient(
    rec: Recurrence,
    arguments: Mapping[str, Any],
    cotangents: Mapping[str, Any],
    direction: Mapping[str, Any],
    *,
    initial: Mapping[str, Any] | None = None,
    final_cotangents: Mapping[str, Any] | None = None,
    initial_direction: Mapping[str, Any] | None = None,
    sizes: Mapping[str, int] | None = None,
    length: int | Mapping[str, int] | None = None,
    clock: int = 0,
    dtype: Any = np.longdouble,
) -> Derivative:
    """The derivative of `sum(re(conj(cotangent) * output))` along a direction, by the reference alone.

    Central differences of the reference, extrapolated (see `extrapolated_derivative`): no automatic
    differentiation takes part. `cotangents` and `final_cotangents` are by output and by slot,
    `direction` and `initial_direction` by argument and by slot; names that are left out count as zero,
    and arguments without a gradient (`const`, `int`, `bool`) are left where they are. In long double the
    error is about 1e-13 of the value for smooth programs; a kink within reach shows in `error`.

    Raises `Unsupported` for programs with `stop` or `surrogate`.
    """
    refusal = no_differences(rec)
    if refusal is not None:
        raise Unsupported(refusal)
    fixed = {s.name for s in rec.arguments if s.kind is Kind.CONST or s.dtype not in ("real", "complex")}
    moving = {name: d for name, d in direction.items() if name not in fixed}
    start, turn, last = initial or {}, initial_direction or {}, final_cotangents or {}

    def shifted(values: Mapping[str, Any], along: Mapping[str, Any], step: Any) -> dict[str, Array]:
        wide = {name: np.asarray(v) for name, v in values.items()}
        return wide | {name: wide[name] + step * np.asarray(d) for name, d in along.items()}

    def objective(step: Any) -> tuple[Any, Any]:
        result = run(rec, shifted(arguments, moving, step), initial=shifted(start, turn, step),
                     sizes=sizes, length=length, clock=clock, dtype=dtype)  # fmt: skip
        total = size = np.dtype(dtype).type(0)
        pairs = [(c, result.outputs[n]) for n, c in cotangents.items()]
        pairs += [(c, result.final[n]) for n, c in last.items()]
        for cotangent, value in pairs:
            terms = np.real(np.conj(np.asarray(cotangent)) * value)
            total, size = total + terms.sum(), size + np.abs(terms).sum()
        return total, size

    return extrapolated_derivative(objective, dtype)


def extrapolated_derivative(
    objective: Callable[[Any], tuple[Any, Any]], dtype: Any = np.longdouble, first: float = 2.0**-4, levels: int = 10
) -> Derivative:
    """The derivative at 0 by central differences at steps h, h/4, h/16, ... and Richardson's extrapolation.

    `objective(step)` gives the value and the sum of the magnitudes that it was added up from, which bounds
    the rounding error. The best entry of the table wins (see `refined`).
    """
    number = np.dtype(dtype).type
    rounding = np.finfo(dtype).eps
    best = Derivative(float("nan"), float("inf"))
    previous: list[Any] = []
    for level in range(levels):
        step = number(first) / number(4) ** level
        (up, up_size), (down, down_size) = objective(step), objective(-step)
        noise = rounding * (up_size + down_size) / (2 * step)
        previous, best = refined(previous, (up - down) / (2 * step), noise, best)
        if best.error <= 1e-14 * abs(best.value) or (level > 2 and noise > 4 * best.error):
            break
    return best


def refined(before: Sequence[Any], difference: Any, noise: Any, best: Derivative) -> tuple[list[Any], Derivative]:
    """The next row of Neville's table for steps that are quartered, and the best entry so far.

    `before` is the row above (none at first), `difference` the central difference at the next step and
    `noise` its rounding error. The entry with the least estimated error wins (Ridders, 1982).
    """
    row = [difference]
    for k, above in enumerate(before):
        weight = 16.0 ** (k + 1)  # exact in every type
        row.append((weight * row[k] - above) / (weight - 1))
        estimate = max(abs(row[-1] - row[k]), abs(row[-1] - above)) + noise
        if estimate < best.error:
            best = Derivative(float(row[-1]), float(estimate))
    return row, best


__all__ = [
    "TOLERANCE", "Agreement", "Derivative", "compare", "directional_gradient", "extrapolated_derivative",
    "inner", "no_differences", "random_direction", "refined", "rel_rms", "tolerance",
]  # fmt: skip
