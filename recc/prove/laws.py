"""The laws that a form is held to, each on one case.

`values`: outputs and final states are those of the unrolled step loop. `pieces`: a run in two pieces, joined by
the state, is the whole run. `adjoint`: for all cotangents λ and directions x, `<λ, J x> = <Jᵀ λ, x>`, where J x is
the derivative of the unrolled loop and Jᵀ λ what the form's VJP Blocks give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from recc.forms.passes import Parallel, Sequential
from recc.forms.run import Evaluate, Item
from recc.prove.arrays import Array, places
from recc.prove.cases import Given, Maker, as_duals, as_parts
from recc.prove.compare import Comparison, Differs
from recc.prove.ring import Exact, Space, total
from recc.prove.unroll import Unrolled, unroll
from recc.recurrence import Dtype, Kind, Recurrence, reads

Form = Sequential | Parallel
Run = Callable[[Given, int], Item]


def chunks(form: Form, given: Given) -> tuple[int, ...]:
    """The sizes of chunks to try: a form of single steps has none."""
    return given.case.chunks if isinstance(form, Parallel) else (0,)


def loop(rec: Recurrence, given: Given, *, slopes: bool = False) -> Unrolled:
    """The unrolled step loop."""
    arguments, initial = as_duals(rec, given, slopes=slopes)
    sizes = dict(given.case.sizes)
    return unroll(rec, given.space, sizes, given.case.steps, arguments, initial, given.clock)


def run(form: Form, given: Given, chunk: int, evaluate: Evaluate) -> Item:
    """The form, run forward."""
    item = Item(
        form, dict(given.case.sizes), given.case.steps, given.arguments, given.initial, given.clock, chunk, evaluate
    )
    item.forward()
    return item


def values(form: Form, given: Given, evaluate: Evaluate, expected: Unrolled, compare: Comparison) -> None:
    """Outputs and final states, for every size of chunks."""
    for chunk in chunks(form, given):
        with _told(chunk, form):
            item = run(form, given, chunk, evaluate)
            _compare(form.rec, expected, item.outputs, item.final, compare)


def pieces(form: Form, given: Given, evaluate: Evaluate, expected: Unrolled, compare: Comparison) -> None:
    """Two pieces joined by the state, cut at either end and in the middle; chunks as large as a piece."""
    rec, (steps,) = form.rec, given.case.steps
    inputs = {s.name for s in rec.of_kind(Kind.INPUT)}
    for cut in sorted({1, steps // 2, steps - 1} & set(range(1, steps))):
        outputs: dict[str, list[Array]] = {s.name: [] for s in rec.outputs}
        state: Mapping[str, Array] = given.initial
        for begin, end in ((0, cut), (cut, steps)):
            part = {n: v[begin:end] if n in inputs else v for n, v in given.arguments.items()}
            item = Item(form, dict(given.case.sizes), (end - begin,), part, state, given.clock + begin, 0, evaluate)
            item.forward()
            state = item.final
            for name, value in item.outputs.items():
                outputs[name].append(value)
        joined = {s.name: np.concatenate(outputs[s.name]) for s in rec.outputs if s.varies}
        _compare(rec, expected, joined, state, compare)


def adjoint(form: Form, given: Given, evaluate: Evaluate, maker: Maker, compare: Comparison) -> None:
    """The gradient of all outputs and final states against the derivative of the unrolled loop."""
    rec, space = form.rec, given.space
    forward = loop(rec, given, slopes=True)
    seeds: dict[str, Array] = {}
    terms: list[Exact] = []
    dtypes = {s.name: s.dtype for s in rec.outputs} | {f"{s.name} at the end": s.dtype for s in rec.slots}
    found = {**forward.outputs, **{f"{n} at the end": v for n, v in forward.final.items()}}
    for name, value in found.items():
        shape = value.shape
        if dtypes[name] not in ("real", "complex"):
            seeds[name] = np.full(shape, 0, object)
            continue
        seeds[name] = maker.tensor(f"λ {name}", shape, dtypes[name])
        slope = as_parts(value, dtypes[name], lambda x: x.slope or space.zero)
        terms.extend(x * y for x, y in zip(slope.flat, seeds[name].flat, strict=True))
    wanted = _by_direction(space, total(space, terms), given)
    d_outputs = {s.name: seeds[s.name] for s in rec.outputs}
    d_final = {s.name: seeds[f"{s.name} at the end"] for s in rec.slots}
    for chunk in chunks(form, given)[-2:]:
        with _told(chunk, form):
            d_arguments, d_initial = run(form, given, chunk, evaluate).backward(d_outputs, d_final)
            claimed = {**d_arguments, **{f"{n}₀": v for n, v in d_initial.items()}}
            for label, at in given.direction.values():
                expected = wanted.get((label, at), space.zero)
                compare.check(f"the gradient of {_place(label, at)}", expected, space.number(claimed[label][at]))


def _by_direction(space: Space, number: Exact, given: Given) -> dict[tuple[str, tuple[int, ...]], Exact]:
    """The coefficient of every symbol of the direction."""
    found: dict[tuple[str, tuple[int, ...]], dict[int, int]] = {}
    for m, x in number.terms.items():
        powers = space.monomials[m]
        (atom,) = (a for a, _ in powers if a in given.direction)
        rest = space.monomial(tuple((a, e) for a, e in powers if a != atom))
        found.setdefault(given.direction[atom], {})[rest] = x  # type: ignore[assignment]  # fractions too
    return {place: Exact(space, dict(terms), number.bound) for place, terms in found.items()}


def _compare(
    rec: Recurrence,
    expected: Unrolled,
    outputs: Mapping[str, Array],
    final: Mapping[str, Array],
    compare: Comparison,
) -> None:
    """Every element of outputs and final states."""
    for name, dtype, wanted, value in _pairs(rec, expected, outputs, final):
        parts = as_parts(wanted, dtype)
        for at, element in places(parts):
            compare.check(_place(name, at), element, element.space.number(value[at]))


def _pairs(
    rec: Recurrence, expected: Unrolled, outputs: Mapping[str, Array], final: Mapping[str, Array]
) -> Iterator[tuple[str, Dtype, Array, Array]]:
    for s in rec.outputs:
        if s.name in outputs:
            yield s.name, s.dtype, _for_all_steps(expected.outputs[s.name], outputs[s.name], s.dtype), outputs[s.name]
    for slot in rec.slots:
        if slot.name in final:
            yield f"{slot.name} at the end", slot.dtype, expected.final[slot.name], final[slot.name]


def _for_all_steps(wanted: Array, value: Array, dtype: Dtype) -> Array:
    """An output that does not vary is the same at every step."""
    shape = value.shape[:-1] if dtype == "complex" else value.shape
    return np.broadcast_to(wanted, shape)


def joinable(rec: Recurrence) -> str:
    """Why pieces of time cannot be joined from left to right, if they cannot."""
    if len(rec.scan) > 1:
        return f"it scans over {', '.join(rec.scan)}"
    for equation in rec.equations:
        for read in reads(equation.expr):
            if any(lag < 0 for lag in read.lags):
                return f"`{equation.target}` reads a later step of `{read.name}`"
    return ""


class _told:
    """Adds the size of chunks to the place of a difference."""

    def __init__(self, chunk: int, form: Form):
        self.words = f" in chunks of {chunk}" if isinstance(form, Parallel) and chunk else ""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, Differs):
            error.place += self.words


def _place(label: str, at: tuple[int, ...]) -> str:
    return f"{label}[{', '.join(map(str, at))}]" if at else label


__all__ = ["Form", "adjoint", "chunks", "joinable", "loop", "pieces", "run", "values"]
