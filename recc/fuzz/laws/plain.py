"""The laws that hold for every program in every way, each checked of one way of a program on one case."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import numpy as np

from recc.recurrence import Recurrence

from ..agree import inner, no_differences, tolerance
from ..bounds.bound import CONFIDENCE, MEANINGLESS
from ..bounds.differences import Slopes, slopes
from ..drawing.draw import Array
from ..ways.program import Runner
from .law import Law, always, compiled, differentiable, in_pieces
from .trial import Finding, Trial, difference

#: Longer runs than this are not differentiated by differences.
_DIFFERENCED = 16

#: A gradient of this size where arguments and weights are of the order of 1 says that the program is not stable.
_EXPLODED = 1e4


def _values(t: Trial) -> Iterator[Finding]:
    for dtype in t.dtypes:
        truth, found = t.truth(dtype), t.whole(dtype).values
        if truth.overflows(dtype):
            t.reasons.add("unstable")
            continue
        for name, ref in truth.values.items():
            if name not in found:
                yield t.finding("values", f"{name} is missing", dtype, float("inf"), 0.0)
                continue
            bound = truth.bound(name, dtype, t.way)
            if bound > MEANINGLESS:
                t.reasons.add("unstable")
                continue
            yield t.judge("values", f"{name} against the reference", name, dtype, difference(found[name], ref), bound)


def _gradients(t: Trial) -> Iterator[Finding]:
    for dtype in t.dtypes:
        truth = t.truth(dtype)
        expected, _, largest = truth.judged
        if truth.overflows(dtype) or (dtype != "float64" and not largest < 1e37):
            t.reasons.add("unstable")
            continue
        found = t.whole(dtype).gradients
        for name, ref in expected.items():
            bound = truth.bound(name, dtype, t.way, gradient=True)
            if bound > MEANINGLESS or not np.isfinite(ref).all():
                t.reasons.add("unstable")
                continue
            what = f"the gradient of {name} against that of the steps' VJP"
            if name not in found:
                yield t.finding("gradients", f"{what}: it is missing", dtype, float("inf"), 0.0, True)
                continue
            yield t.judge("gradients", what, name, dtype, difference(found[name], ref), bound, gradient=True)


def _numbers(t: Trial) -> Iterator[Finding]:
    for name, value in t.whole().gradients.items():
        error = float("nan") if np.isnan(value).any() else 0.0
        if error and (t.truth().endless or t.truth().singular("float64")):
            t.reasons.add("undefined")
            continue
        yield t.finding("numbers", f"the gradient of {name} is a number", "float64", error, 0.0, gradient=True)


def _own(t: Trial) -> Iterator[Finding]:
    for name in t.whole().values:
        error = float(name in t.whole().shared)
        yield t.finding("own", f"{name} lies in memory of its own", "float64", error, 0.0)


def differenced(rec: Recurrence, runner: Runner) -> str | None:
    """Programs whose gradient is not the derivative of their values are left out."""
    refusal = no_differences(rec)
    return refusal.reason if refusal is not None else differentiable(rec, runner)


def _differences(t: Trial) -> Iterator[Finding]:
    gradients = t.whole().gradients
    if t.case.edges or t.steps > _DIFFERENCED or not gradients:
        return
    truth = t.truth()
    found: Slopes = slopes(truth)
    names = [n for n in found.direction if n in gradients]
    right = truth.judged[0]
    size = float(np.sqrt(sum(float(np.sum(np.abs(gradients[n]) ** 2)) for n in names)))
    # A gradient that is zero throughout has no scale.
    norm = max(size, 1e-30) if any(np.any(right[n]) for n in names if n in right) else 1.0
    if not norm < _EXPLODED * max(1.0, found.size):
        t.reasons.add("unstable")
        return
    if not found.error <= 1e-8 * norm or found.kink > 1e-4 * norm:
        t.reasons.add("kink")
        return
    spreads = truth.judged[1]
    moved = [spreads[n].rounding("float64") * float(np.linalg.norm(gradients[n])) for n in names if n in spreads]
    bound = tolerance("float64", 1, gradient=True) + CONFIDENCE * float(np.linalg.norm(moved)) / norm
    if bound > MEANINGLESS or np.isnan(bound):
        t.reasons.add("unstable")
        return
    claimed = inner(gradients, {n: found.direction[n] for n in names})
    error = max(0.0, abs(claimed - found.value) - found.error) / norm
    what = "the gradient along a random direction against differences of the reference"
    yield t.finding("differences", what, "float64", error, bound, gradient=True)


def _pieces(t: Trial) -> Iterator[Finding]:
    whole = t.whole()
    joined = t.runner.run(replace(t.request(), cut=t.case.cut))
    what = f"two pieces, cut at step {t.case.cut}, against the whole"
    # Kernels that run step after step make the same steps; others cut time into other chunks.
    exact = t.runner.exact and t.way.form == "sequential" and t.way.backend == "c"
    yield from t.compare("pieces", what, joined.values, whole.values, exact=exact)
    yield from t.compare("pieces", what, joined.gradients, t.finite(whole.gradients), gradient=True, exact=False)


def _again(t: Trial) -> Iterator[Finding]:
    for dtype in t.dtypes[:2]:
        whole = t.whole(dtype)
        with poisoned_memory():
            again = t.runner.run(t.request(dtype))
        what = "the same call again, with other rubbish in memory that is not set"
        yield from t.compare("again", what, again.values, whole.values, dtype, exact=True)
        yield from t.compare("again", what, again.gradients, whole.gradients, dtype, gradient=True, exact=True)


def poisoned_memory() -> Any:
    """While this holds, memory that NumPy and torch hand out unset is full of NaN."""
    stack = mock.patch.object(np, "empty", _filled(np.empty))
    try:
        import torch
    except ImportError:
        return stack
    return _Both(stack, mock.patch.object(torch, "empty", _filled(torch.empty)))


@dataclass
class _Both:
    first: Any
    second: Any

    def __enter__(self) -> None:
        self.first.__enter__()
        self.second.__enter__()

    def __exit__(self, *args: Any) -> None:
        self.second.__exit__(*args)
        self.first.__exit__(*args)


def _filled(make: Callable[..., Any]) -> Callable[..., Any]:
    def made(*args: Any, **options: Any) -> Any:
        found = make(*args, **options)
        kind = str(found.dtype)
        if "float" in kind or "complex" in kind:
            found.fill_(float("nan")) if hasattr(found, "fill_") else found.fill(np.nan)
        elif isinstance(found, np.ndarray) and found.dtype == np.uint8:
            found.fill(0xFF)  # scratch: every float in it is NaN
        return found

    return made


def _bare(t: Trial) -> Iterator[Finding]:
    """Kernels are called in another way where nobody asks for the final state, or gives it a weight."""
    request, names = t.request(), {s.name for s in t.rec.outputs}
    whole = t.whole()
    if request.weights is not None:
        weights = {n: w if n in names else np.zeros_like(w) for n, w in request.weights.items()}
        whole = t.runner.run(replace(request, weights=weights))
        request = replace(request, weights={n: w for n, w in weights.items() if n in names})
    found = t.runner.run(replace(request, final=False))
    what = "a call that asks for outputs alone"
    yield from t.compare("bare", what, found.values, {n: v for n, v in whole.values.items() if n in names})
    yield from t.compare("bare", what, found.gradients, t.finite(whole.gradients), gradient=True)


def _step(t: Trial) -> Iterator[Finding]:
    if t.steps == 0:
        return
    found = t.runner.step_by_step(replace(t.request(gradients=False)))
    if found is None:
        return
    exact = t.way.backend == "c"
    yield from t.compare("step", "single steps against the whole", found.values, t.whole().values, exact=exact)


def _layout(t: Trial) -> Iterator[Finding]:
    whole = t.whole()
    found = t.runner.run(replace(t.request(), strided=True))
    what = "arrays whose elements do not lie in order"
    yield from t.compare("layout", what, found.values, whole.values)
    yield from t.compare("layout", what, found.gradients, t.finite(whole.gradients), gradient=True)


def _causal(t: Trial) -> Iterator[Finding]:
    """What comes later changes nothing before it."""
    cut = t.case.cut
    if not (0 < cut < t.steps) or not t.inputs:
        return
    request = t.request(gradients=False)
    arguments = {
        n: _other_from(v, cut, t.way.backend == "c") if n in t.inputs else v for n, v in request.arguments.items()
    }
    found = t.runner.run(replace(request, arguments=arguments))
    whole = t.whole().values
    before = {s.name: whole[s.name][:, :cut] for s in t.rec.outputs}
    exact = t.way.backend == "c"
    now = {n: found.values[n][:, :cut] for n in before}
    if t.way.form == "convolution":
        # A transform rounds by the size of all steps.
        now = {n: np.concatenate([v, whole[n][:, cut:]], 1) for n, v in now.items()}
        before = {n: whole[n] for n in before}
    yield from t.compare("causal", f"steps before {cut} where later ones are others", now, before, exact=exact, times=8)


def _other_from(value: Array, cut: int, none: bool) -> Array:
    """Other values from a step on: no numbers, or those that are there in another order.

    A form that multiplies by zero what comes too late cannot do so with NaN.
    """
    later = np.full_like(value[:, cut:], np.nan) if none and value.dtype.kind in "fc" else value[:, cut:][:, ::-1]
    return np.concatenate([value[:, :cut], later], 1)


PLAIN: tuple[Law, ...] = (
    Law("values", "outputs and final states are those of the reference", always, _values),
    Law("gradients", "gradients are those of the sequential form's VJP", differentiable, _gradients),
    Law("numbers", "a gradient of values that are numbers is one", differentiable, _numbers),
    Law("own", "results lie in no memory of arguments, states or each other", compiled, _own),
    Law("differences", "gradients are the reference's derivatives", differenced, _differences),
    Law("pieces", "two runs joined by the state are one", in_pieces, _pieces),
    Law("again", "a call gives the same again", compiled, _again),
    Law("bare", "a call without final states gives the same outputs", compiled, _bare),
    Law("step", "single steps make up the whole", in_pieces, _step),
    Law("layout", "where elements lie does not matter", compiled, _layout),
    Law("causal", "later steps do not matter to earlier ones", in_pieces, _causal),
)

__all__ = ["PLAIN", "poisoned_memory"]
