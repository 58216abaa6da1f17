"""Laws that need no reference: what becomes of the results where arguments or programs are changed in known ways."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from recc.errors import Refusal
from recc.recurrence import Recurrence

from ..bounds.bound import MEANINGLESS
from ..bounds.storage import normal
from ..drawing.case import Arrays
from ..drawing.draw import Array
from ..ways.program import Request, Runner
from .law import Law
from .respond import Answers, drives
from .trial import Finding, Trial, difference
from .turned import reordered, reversed_in_time

#: A power of two: multiplying by it rounds nothing.
_SCALE = 4.0

#: Multiplication by a power of two leaves every rounding as it was, but for numbers that are nearly zero.
_NEARLY_EXACT = 1e-13

_SHIFT = 0.75


def linear(rec: Recurrence, runner: Runner) -> str | None:
    """Programs that are linear in some inputs and all states."""
    del runner
    return None if drives(rec, "linear") is not None else "not linear in any input and all states together"


def shifting(rec: Recurrence, runner: Runner) -> str | None:
    """Programs that go up as some inputs and all states do."""
    del runner
    return None if drives(rec, "shifted") is not None else "results do not go up with inputs and states"


def _changed(t: Trial, request: Request, law: Answers, scale: float, shift: float) -> Request:
    found = drives(t.rec, law)
    assert found is not None
    return replace(
        request,
        arguments={n: v * scale + shift if n in found.inputs else v for n, v in request.arguments.items()},
        initial={n: v * scale + shift if n in found.slots else v for n, v in request.initial.items()},
    )


def _answering(t: Trial, law: Answers, values: Arrays) -> list[tuple[str, Array]]:
    """The results that answer to the drives."""
    found = drives(t.rec, law)
    assert found is not None
    return [(n, v) for n, v in values.items() if found.answers(n)]


def _scaled(t: Trial) -> Iterator[Finding]:
    whole, request = t.whole(), t.request(gradients=False)
    found = t.runner.run(_changed(t, request, "linear", _SCALE, 0.0))
    for name, value in _answering(t, "linear", whole.values):
        error = difference(found.values[name], value * _SCALE)
        t.compared.add(("forward", "float64"))
        what = f"{name}, the drive and the state {_SCALE:g} times as large"
        yield t.finding("scaling", what, "float64", error, _NEARLY_EXACT)


def _superposed(t: Trial) -> Iterator[Finding]:
    """One run of a sum against the sum of two runs; the gradients by what is linear are the same for both."""
    known = drives(t.rec, "linear")
    assert known is not None
    whole, request = t.whole(), t.request()
    other = replace(
        request,
        arguments={
            n: normal(v, t.rng).astype(v.dtype) if n in known.inputs else v for n, v in request.arguments.items()
        },
        initial={n: normal(v, t.rng).astype(v.dtype) if n in known.slots else v for n, v in request.initial.items()},
    )
    both = replace(
        request,
        arguments={n: v + other.arguments[n] if n in known.inputs else v for n, v in request.arguments.items()},
        initial={n: v + other.initial[n] if n in known.slots else v for n, v in request.initial.items()},
        weights=None,
    )
    second, total = t.runner.run(other), t.runner.run(both)
    for name, value in _answering(t, "linear", whole.values):
        sizes = [float(np.linalg.norm(v)) for v in (value, second.values[name], total.values[name])]
        size = float(np.linalg.norm(sizes)) or 1.0
        error = float(np.linalg.norm(total.values[name] - (value + second.values[name]))) / size
        if (bound := t.slack(name, times=4)) > MEANINGLESS:
            t.reasons.add("unstable")
            continue
        yield t.judge("superposition", f"{name} of a sum of drives and states", name, "float64", error, bound)
    moving = known.inputs | {f"initial {n}" for n in known.slots}
    own = {n: v for n, v in whole.gradients.items() if n in moving}
    yield from t.compare(
        "superposition", "for another drive and state", second.gradients, own, gradient=True, exact=False
    )


def _shifted(t: Trial) -> Iterator[Finding]:
    whole, request = t.whole(), t.request(gradients=False)
    found = t.runner.run(_changed(t, request, "shifted", 1.0, _SHIFT))
    expected = {n: v + _SHIFT for n, v in _answering(t, "shifted", whole.values)}
    for name, value in expected.items():
        scale = 1.0 + 1.0 / max(
            float(np.sqrt(np.mean(np.where(np.isfinite(value), value, 0) ** 2))) if value.size else 1.0, 1e-3
        )
        if (bound := t.slack(name) * scale) > MEANINGLESS:
            t.reasons.add("unstable")
            continue
        error = difference(found.values[name], value)
        what = f"{name}, the drive and the state higher by {_SHIFT:g}"
        yield t.judge("shift", what, name, "float64", error, bound)


def rewritable(rec: Recurrence, runner: Runner) -> str | None:
    """Rewritten programs are for ways that are quickly made; kernels of their own come in turn."""
    del rec, runner
    return None


def turnable(rec: Recurrence, runner: Runner) -> str | None:
    """Programs that mean something with time turned round."""
    del runner
    found = reversed_in_time(rec)
    return found.reason if isinstance(found, Refusal) else None


def _in_turn(t: Trial) -> bool:
    """Whether this case makes a program of its own: always where that costs little, else one in eight."""
    cheap = t.way.backend == "numpy" or (t.way.backend == "blocks" and t.way.form == "sequential")
    return t.make is not None and (cheap or t.case.number % 8 == 2)


def _turned(t: Trial) -> Iterator[Finding]:
    program = reversed_in_time(t.rec)
    if t.make is None or isinstance(program, Refusal) or not _in_turn(t):
        return
    request, whole = t.request(), t.whole()
    turned = replace(
        request,
        arguments={n: v[:, ::-1] if n in t.inputs else v for n, v in request.arguments.items()},
        weights=None if request.weights is None else
        {n: w if n.startswith("final ") else w[:, ::-1] for n, w in request.weights.items()},
    )  # fmt: skip
    found = t.make(program).run(turned)
    what = "with time turned round"
    values = {n: v if n.startswith("final ") else v[:, ::-1] for n, v in found.values.items()}
    gradients = {n: v[:, ::-1] if n in t.inputs else v for n, v in found.gradients.items()}
    yield from t.compare("reversal", what, values, whole.values, exact=False)
    yield from t.compare("reversal", what, gradients, t.finite(whole.gradients), gradient=True, exact=False)


def _reordered(t: Trial) -> Iterator[Finding]:
    made = reordered(t.rec)
    if t.make is None or isinstance(made, Refusal) or not _in_turn(t):
        return
    program, names = made
    request, whole = t.request(), t.whole()
    order = {n: _order(t.rec, program, names, n) for n in (*t.rec.table, *(s.name for s in t.rec.slots))}

    def turn(table: Arrays, back: bool = False) -> Arrays:
        found = {}
        for name, value in table.items():
            own = order[name.removeprefix("final ").removeprefix("initial ")]
            lead = value.ndim - len(own)
            inner = np.argsort(own) if back else own
            found[name] = np.transpose(value, (*range(lead), *(lead + int(k) for k in inner)))
        return found

    turned = replace(
        request, arguments=turn(dict(request.arguments)), initial=turn(dict(request.initial)),
        sizes={names[n]: size for n, size in request.sizes.items()},
        weights=None if request.weights is None else turn(dict(request.weights)),
    )  # fmt: skip
    found = t.make(program).run(turned)
    what = "with axes in another order, under other names"
    yield from t.compare("axes", what, turn(found.values, True), whole.values, exact=False)
    yield from t.compare(
        "axes", what, turn(found.gradients, True), t.finite(whole.gradients), gradient=True, exact=False
    )


def _order(rec: Recurrence, program: Recurrence, names: dict[str, str], name: str) -> list[int]:
    """Where each axis of a rewritten symbol was."""
    slots = {s.name: s.axes for s in rec.slots}
    turned = {s.name: s.axes for s in program.slots}
    before = [names[a] for a in (slots.get(name) or rec.table[name].axes if name in rec.table else slots[name])]
    after = turned.get(name) or program.table[name].axes if name in program.table else turned[name]
    return [before.index(a) for a in after]


METAMORPHIC: tuple[Law, ...] = (
    Law("scaling", "a linear program's results grow with its drive and state", linear, _scaled),
    Law("superposition", "a linear program adds up what its drives and states give", linear, _superposed),
    Law("shift", "results over max-plus go up with drive and state", shifting, _shifted),
    Law("reversal", "the program with time turned round gives turned results", turnable, _turned),
    Law("axes", "the order and the names of axes do not matter", rewritable, _reordered),
)

__all__ = ["METAMORPHIC"]
