"""Laws of what is run beside a sequence: in one batch, or packed with others. It has to make no difference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..drawing.case import Arrays
from ..drawing.draw import Array
from ..ways.program import Request, Results
from .law import Law, compiled, packing
from .trial import Finding, Trial

_POISONS = (np.nan, np.inf, -1e30, 1e30)


def _packed_request(t: Trial) -> Request:
    """The first row as packed sequences, each with a state to begin with if the case has one."""
    request, count = t.request(), len(t.case.offsets) - 1
    arguments = t.row(request.arguments, slice(0, 1))
    initial = {n: v[np.arange(count) % v.shape[0]] for n, v in request.initial.items()}
    return replace(request, arguments=arguments, initial=initial, offsets=t.case.offsets, weights=None)


def _weights_for(t: Trial, values: Arrays) -> Arrays:
    rng = np.random.default_rng((t.case.seed, t.case.number, 5))
    return {
        n: np.where(np.isfinite(v), rng.standard_normal(v.shape), 0) for n, v in values.items() if v.dtype.kind in "fc"
    }


def _packed(t: Trial) -> Iterator[Finding]:
    request = _packed_request(t)
    whole = t.runner.run(request)
    what = f"sequences packed at {list(t.case.offsets)} against each alone"
    weights = _weights_for(t, whole.values) if t.runner.differentiates else None
    if weights is not None:
        whole = t.runner.run(replace(request, weights=weights))
    total: Arrays = {}
    for k, (begin, end) in enumerate(zip(t.case.offsets, t.case.offsets[1:], strict=False)):
        alone = t.runner.run(_alone(t, request, k, weights))
        piece = _piece(whole, t, begin, end, k)
        yield from t.compare("packed", what, piece.values, alone.values)
        own = {n: v for n, v in alone.gradients.items() if t.is_input(n) or n.startswith("initial ")}
        yield from t.compare("packed", what, piece.gradients, own, gradient=True)
        for name, value in alone.gradients.items():
            if name not in own:
                total[name] = total.get(name, 0) + value
    shared = {n: v for n, v in total.items() if np.isfinite(v).all()}
    yield from t.compare("packed", what, whole.gradients, shared, gradient=True, exact=False)


def _alone(t: Trial, request: Request, k: int, weights: Arrays | None) -> Request:
    """One of packed sequences by itself."""
    begin, end = t.case.offsets[k : k + 2]
    own = None
    if weights is not None:
        own = {n: w[k : k + 1] if n.startswith("final ") else w[:, begin:end] for n, w in weights.items()}
    return replace(
        request,
        arguments=t.row(request.arguments, slice(0, 1), slice(begin, end)),
        initial={n: v[k : k + 1] for n, v in request.initial.items()},
        steps=(end - begin,),
        offsets=None,
        weights=own,
    )


def _piece(whole: Results, t: Trial, begin: int, end: int, k: int) -> Results:
    """What a packed run gave of one sequence."""
    values = {n: v[k : k + 1] if n.startswith("final ") else v[:, begin:end] for n, v in whole.values.items()}
    gradients = {}
    for name, value in whole.gradients.items():
        if t.is_input(name):
            gradients[name] = value[:, begin:end]
        elif name.startswith("initial "):
            gradients[name] = value[k : k + 1]
    return Results(values, gradients)


def _poisoned(value: Array, poison: float) -> Array:
    return np.full_like(value, poison) if value.dtype.kind in "fc" else value


def _poison(t: Trial) -> Iterator[Finding]:
    """Neighbours in a packed call, and in a batch, that hold no numbers."""
    poison = _POISONS[t.case.number % len(_POISONS)]
    request = _packed_request(t)
    lengths = np.diff(t.case.offsets)
    k = int(np.argmax(lengths))
    begin, end = t.case.offsets[k : k + 2]
    weights = _weights_for(t, t.runner.run(request).values) if t.runner.differentiates else None
    if weights is not None:
        # No weight on the neighbours: their own gradients are anything.
        places = {n: (0, k, k + 1) if n.startswith("final ") else (1, begin, end) for n in weights}
        weights = {n: _kept(w, *places[n]) for n, w in weights.items()}
    request = replace(request, weights=weights)
    arguments = {n: _spoilt(v, 1, begin, end, poison) if n in t.inputs else v for n, v in request.arguments.items()}
    initial = {n: _spoilt(v, 0, k, k + 1, poison) for n, v in request.initial.items()}
    clean = _piece(t.runner.run(request), t, begin, end, k)
    found = _piece(t.runner.run(replace(request, arguments=arguments, initial=initial)), t, begin, end, k)
    what = f"sequence {k} of those packed at {list(t.case.offsets)}, its neighbours all {poison}"
    yield from t.compare("poison", what, found.values, clean.values)
    yield from t.compare("poison", what, found.gradients, clean.gradients, gradient=True)


def _spoilt(value: Array, axis: int, begin: int, end: int, poison: float) -> Array:
    found = np.moveaxis(_poisoned(value, poison).copy(), axis, 0)
    found[begin:end] = np.moveaxis(value, axis, 0)[begin:end]
    return np.moveaxis(found, 0, axis)


def _kept(value: Array, axis: int, begin: int, end: int) -> Array:
    found = np.moveaxis(np.zeros_like(value), axis, 0)
    found[begin:end] = np.moveaxis(value, axis, 0)[begin:end]
    return np.moveaxis(found, 0, axis)


def _batch(t: Trial) -> Iterator[Finding]:
    """Rows in another order, and one row beside others that hold no numbers."""
    if t.case.shapes.batch < 2 or not t.inputs:
        return  # without inputs there is one row
    whole, request = t.whole(), t.request()
    order = np.roll(np.arange(t.case.shapes.batch), 1)
    weights = None if request.weights is None else {n: w[order] for n, w in request.weights.items()}
    initial = {n: v[order] for n, v in request.initial.items()}
    found = t.runner.run(replace(request, arguments=t.row(request.arguments, order), initial=initial, weights=weights))
    what = "rows in another order"
    yield from t.compare("batch", what, found.values, {n: v[order] for n, v in whole.values.items()})
    rows = {n: v[order] for n, v in whole.gradients.items() if t.is_input(n) or n.startswith("initial ")}
    yield from t.compare("batch", what, found.gradients, rows, gradient=True)
    rest = {n: v for n, v in whole.gradients.items() if n not in rows}
    yield from t.compare("batch", what, found.gradients, t.finite(rest), gradient=True, exact=False)
    poison = _POISONS[(t.case.number + 1) % len(_POISONS)]
    keep = t.case.number % t.case.shapes.batch
    arguments = {n: _spoilt(v, 0, keep, keep + 1, poison) if n in t.inputs else v for n, v in request.arguments.items()}
    spoilt = t.runner.run(replace(request, arguments=arguments, weights=None))
    mine = {n: v[keep] for n, v in whole.values.items()}
    what = f"row {keep} beside rows that are all {poison}"
    yield from t.compare("batch", what, {n: v[keep] for n, v in spoilt.values.items()}, mine, times=4)


BESIDE: tuple[Law, ...] = (
    Law("packed", "packed sequences are what each is alone", packing, _packed),
    Law("poison", "what stands beside a sequence does not matter", packing, _poison),
    Law("batch", "rows do not know of each other", compiled, _batch),
)

__all__ = ["BESIDE"]
