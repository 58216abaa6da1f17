"""How far apart two right results may be: a running error bound, computed with the reference.

Every rounding of a run is stood for by a relative change of random sign, in the reference for values and in the VJP
of the sequential form for gradients; several samples are run side by side in long double. For sensitivities s to
roundings of size u a sample changes a result by u times the sum of +-s, whose mean square is u² times the sum of s².
That sum is the square of the condition here. See docs/maths/error-bounds.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import log2, sqrt
from typing import Any

import numpy as np

from recc.backends.numpy_reference import run
from recc.forms import block as blocks
from recc.forms.interpret import interpret
from recc.forms.passes import Sequential
from recc.forms.sequential import derive_sequential
from recc.recurrence import Kind, Recurrence
from recc.runtime.domains import works_with_infinities

from ..agree import rel_rms, tolerance
from ..drawing.case import Arrays
from ..drawing.draw import Array
from ..ways.program import Request, Way
from ..ways.run_blocks import Rows, rows_of
from .noise import Manner, Noise
from .storage import stored, weight

#: Half the distance between neighbouring numbers near 1.
UNIT: Mapping[str, float] = {
    "float64": 2.0**-53, "float32": 2.0**-24, "tf32": 2.0**-11, "float16": 2.0**-11, "bfloat16": 2.0**-8,
}  # fmt: skip

#: So many samples measure the condition, in steps of float64's unit; so many more take steps of float32's, to see
#: what is not linear between the two.
SAMPLES, COARSE = 16, 4

#: A right kernel's error is below this many times the root mean square of the samples, but with probability 1e-9
#: or less: see docs/maths/error-bounds.md.
CONFIDENCE = 8.0

#: A comparison with a bound above this says nothing: the program is unstable for these arguments.
MEANINGLESS = 0.1

#: Beyond this float32 has no numbers, with room for sums and squares on the way; below, fewer digits.
_LARGEST, _SMALLEST = 1e37, 2.0**-126

_HALF = ("float16", "bfloat16")


@dataclass(frozen=True)
class Spread:
    """How far the samples of a tensor lie from what they are samples of, as relative root mean squares.

    `fine` is per unit of float64's rounding, the condition; `coarse` is per unit of float32's.
    """

    fine: float
    coarse: float

    def rounding(self, dtype: str) -> float:
        """What rounding in an element type makes of the tensor. Sums are float32 where storage is narrower."""
        if dtype == "float64":
            return UNIT["float64"] * self.fine
        return UNIT["float32"] * max(self.fine, self.coarse)


@dataclass
class Truth:
    """What a request has to give, by the reference, and how far rounding moves it.

    Gradients are those of the sequential form's VJP in long double: they are judged by differences of the reference
    (`recc.fuzz.laws.plain`), and judge every other way. `weights` are random ones for every floating value.
    """

    rec: Recurrence
    request: Request
    seed: tuple[int, ...]
    weights: dict[str, Array] = field(init=False)
    manners: frozenset[Manner] = frozenset()
    _wides: dict[str, dict[str, float]] = field(default_factory=dict)
    _others: dict[frozenset[Manner], Truth] = field(default_factory=dict)
    _bounds: dict[tuple[str, str, str, str, bool], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = np.random.default_rng((*self.seed, 1))
        self.weights = {n: weight(v, rng) for n, v in self.values.items() if v.dtype.kind in "fc"}

    @cached_property
    def values(self) -> Arrays:
        """Outputs and final states (`final h`) by the reference in float64."""
        return reference(self.rec, self.request)

    @cached_property
    def _copies(self) -> Request:
        return copies(self.rec, self.request, 1 + SAMPLES + COARSE)

    def _noise(self, number: int, rows: int = 1, units: Array | None = None) -> Noise:
        fine, coarse = [UNIT["float64"]] * SAMPLES, [UNIT["float32"]] * COARSE
        unit = np.array([0.0, *fine, *coarse], np.longdouble) if units is None else units
        least = np.where(unit >= UNIT["float32"] / 2, _SMALLEST, 0)
        return Noise(unit, np.random.default_rng((*self.seed, number)), least, rows)

    @cached_property
    def _moved(self) -> tuple[Arrays, Noise]:
        """The values of all samples, `[B, *steps, samples, ...]`, and what was seen on the way."""
        noise = self._noise(2)
        if not self.request.arguments and not self.request.initial:
            return self._one_by_one(noise), noise
        request = replace(self._copies, arguments=self._shaken(noise, False), initial=self._shaken(noise, True))
        found = reference(self.rec, request, np.longdouble, noise)
        return found, noise

    def _one_by_one(self, noise: Noise) -> Arrays:
        """The same for a program that takes nothing, so that samples cannot lie along a batch axis."""
        units = list(zip(noise.unit, noise.least, strict=True))
        found = []
        for unit, least in units:
            noise.unit, noise.least = np.array([unit]), np.array([least])
            found.append(reference(self.rec, self.request, np.longdouble, noise))
        return {name: np.stack([one[name] for one in found], self._axis(name)) for name in found[0]}

    def _shaken(self, noise: Noise, states: bool) -> Arrays:
        """Arguments or states of all samples, moved."""
        table = self._copies.initial if states else self._copies.arguments
        return {name: noise.of_argument(value, self._place(name, states)) for name, value in table.items()}

    def _place(self, name: str, state: bool) -> int:
        """Where the samples of an argument or of a state lie."""
        if state:
            return 1
        return 1 + len(self.request.steps) if self.rec.table[name].kind is Kind.INPUT else 0

    @cached_property
    def spreads(self) -> dict[str, Spread]:
        """How far rounding moves each value: in the reference, or in the steps' Blocks if that is more.

        The Blocks have functions in terms of others, as kernels do (`gelu` by `erf`). They count where they give
        what the reference gives.
        """
        found = {n: self._spread(v, self._axis(n)) for n, v in self._moved[0].items()}
        for name, value in self._judged[1].items():
            axis = self._axis(name)
            error = rel_rms(np.take(value, 0, axis), self.values[name], semiring=True)
            if error <= tolerance("float64", 1) + CONFIDENCE * found[name].rounding("float64"):
                other = self._spread(value, axis)
                found[name] = Spread(_larger(found[name].fine, other.fine), _larger(found[name].coarse, other.coarse))
        return found

    def _axis(self, name: str) -> int:
        """Where the samples of a value lie."""
        return 1 if name.startswith("final ") else 1 + len(self.request.steps)

    @cached_property
    def _judged(self) -> tuple[Arrays, Arrays, Noise]:
        """Gradients and values of all samples by the steps' Blocks, and what was seen on the way."""
        count, lead = 1 + SAMPLES + COARSE, rows_of(self.rec, self.request)
        noise = self._noise(3, int(np.prod(lead[1:])))
        if not self.request.arguments and not self.request.initial:
            return {}, {}, noise
        request = replace(self._copies, arguments=self._shaken(noise, False), initial=self._shaken(noise, True))
        rows = Rows.of(self.rec, request, np.longdouble)
        # The lane is [B, samples, *heads].
        noise.unit, noise.least = (np.tile(np.repeat(u, noise.rows), lead[0]) for u in (noise.unit, noise.least))
        noise.rows = 1
        form = derive_sequential(self.rec, (s.name for s in self.rec.arguments))
        terms = sqrt(max(1, int(np.prod(self.request.steps)) * int(np.prod(lead))))

        def evaluate(block: blocks.Block, inputs: Mapping[str, Array], sizes: Mapping[str, int]) -> Mapping[str, Array]:
            back = any(block is loop.step_vjp for loop in form.passes)
            noise.manners = self.manners if back else self.manners - {"results"}
            found = interpret(block, inputs, sizes, np.longdouble, noise.of_block)
            for name in _added_up(form, block):
                found[name] = noise.of_lanes(block.output[name], found[name], terms)
            return found

        rows.run_lanes(form, evaluate)
        places = {n: self._axis(n) for n in self.weights}
        weights = {n: np.repeat(np.expand_dims(w, places[n]), count, places[n]) for n, w in self.weights.items()}
        return rows.finish(weights).gradients, rows.values, noise

    @cached_property
    def judged(self) -> tuple[Arrays, dict[str, Spread], float]:
        """Gradients, how far rounding moves each, and the largest magnitude on the way."""
        moved, _, noise = self._judged
        gradients, spreads = {}, {}
        for name, value in moved.items():
            axis = self._place(name.removeprefix("initial "), name.startswith("initial "))
            gradients[name] = np.asarray(np.take(value, 0, axis).reshape(self._given(name).shape))
            spreads[name] = self._spread(value, axis)
        return gradients, spreads, noise.largest

    def _given(self, name: str) -> Array:
        return self.request.initial[name[8:]] if name.startswith("initial ") else self.request.arguments[name]

    def _spread(self, moved: Array, axis: int) -> Spread:
        ref = np.take(moved, 0, axis)
        errors = np.array([rel_rms(np.take(moved, k, axis), ref, semiring=True) for k in range(1, moved.shape[axis])])
        fine, coarse = errors[:SAMPLES] / UNIT["float64"], errors[SAMPLES:] / UNIT["float32"]
        with np.errstate(over="ignore", invalid="ignore"):
            return Spread(*(float(np.sqrt(np.mean(e**2))) for e in (fine, coarse)))

    def overflows(self, dtype: str) -> bool:
        """Whether numbers on the way are too large for an element type."""
        return dtype != "float64" and self._moved[1].largest > _LARGEST

    def singular(self, dtype: str) -> bool:
        """Whether what is solved on the way has no digits in an element type: another elimination may meet a zero."""
        unit = UNIT["float64" if dtype == "float64" else "float32"]
        return not self._judged[2].condition * unit <= MEANINGLESS

    @property
    def endless(self) -> bool:
        """Whether an infinity on the way leaves gradients without a meaning; see `Noise`."""
        return self._moved[1].endless

    def bound(self, name: str, dtype: str, way: Way, gradient: bool = False) -> float:
        """How far a right result of a way may be from the reference; see docs/maths/error-bounds.md."""
        key = (name, dtype, way.backend, way.form, gradient)
        if key not in self._bounds:
            self._bounds[key] = self._bound(name, dtype, way, gradient)
        return self._bounds[key]

    def _bound(self, name: str, dtype: str, way: Way, gradient: bool) -> float:
        spread = self.judged[1][name] if gradient else self.spreads[name]
        steps = max(1, *self.request.steps)
        # States are float32 where storage is narrower, and so are the sums that lead to them.
        state = dtype in _HALF and name.startswith(("final ", "initial "))
        kept = "float32" if state and way.backend in ("c", "torch") else dtype
        found = tolerance(kept, steps, gradient=gradient) + CONFIDENCE * growth(way, steps) * spread.rounding(dtype)
        found += stored(self.judged[0][name] if gradient else self.values[name], "float32" if state else dtype)
        return float("inf") if np.isnan(found) or self.singular(dtype) else found

    def loosely(self, name: str, dtype: str, way: Way, gradient: bool = False) -> float:
        """The bound for how a way runs: torch makes derivatives of results, a parallel form adds the terms of the drive
        one by one.
        """
        manners: set[Manner] = set()
        if gradient and way.backend == "torch":
            manners.add("results")
        if way.form != "sequential":
            manners.add("terms")
        if not manners:
            return 0.0
        key = frozenset(manners)
        if key not in self._others:
            self._others[key] = Truth(self.rec, self.request, (*self.seed, 8), manners=key)
            self._others[key].weights = self.weights
        return self._others[key].bound(name, dtype, way, gradient)

    def jump(self, name: str, dtype: str, gradient: bool = False) -> float:
        """How far rounding eight times as coarse moves a tensor, if that is far more than eight times as much; or 0."""
        return self._wide(dtype).get(("d " if gradient else "") + name, 0.0)

    def _wide(self, dtype: str) -> dict[str, float]:
        narrow = "float64" if dtype == "float64" else "float32"
        if narrow in self._wides:
            return self._wides[narrow]
        unit = 8 * UNIT[narrow]
        other = _Wide(self.rec, self.request, (*self.seed, 9), unit=unit)
        apart = unit * self.judged[2] if works_with_infinities(self.rec) else 0.0
        choices = _Wide(self.rec, self.request, (*self.seed, 9), unit=unit, apart=apart) if apart else other
        other.weights = choices.weights = self.weights
        found = {}
        for mark, mine, wide in (("", self.spreads, other.spreads), ("d ", self.judged[1], choices.judged[1])):
            for name, spread in wide.items():
                moved = spread.fine * UNIT["float64"]
                found[mark + name] = 0.0 if moved <= 48 * mine[name].rounding(narrow) + 1e-300 else moved
        self._wides[narrow] = {name: float("inf") if np.isnan(moved) else moved for name, moved in found.items()}
        return self._wides[narrow]


@dataclass
class _Wide(Truth):
    """The same with all samples at one coarse unit, of which the worst counts.

    `apart` is added to or taken from every argument that is not zero: what is lost of it in a form that adds the
    argument to something large first, which in a maximum makes a tie of two that are not.
    """

    unit: float = 0.0
    apart: float = 0.0

    def _noise(self, number: int, rows: int = 1, units: Array | None = None) -> Noise:
        unit = np.array([0.0, *[self.unit] * (SAMPLES + COARSE)], np.longdouble)
        return replace(super()._noise(number, rows, unit), uneven=True)

    def _shaken(self, noise: Noise, states: bool) -> Arrays:
        table = super()._shaken(noise, states)
        if not self.apart:
            return table
        moved = {}
        for name, value in table.items():
            step = noise.of_argument(np.ones_like(value), self._place(name, states)) - 1
            there = (
                value.dtype.kind in "fc" and value != 0
            )  # a zero is none of what is lost, and ties of zeros are ties
            moved[name] = np.where(there, value + self.apart / self.unit * step, value)
        return moved

    def _spread(self, moved: Array, axis: int) -> Spread:
        ref = np.take(moved, 0, axis)
        errors = [rel_rms(np.take(moved, k, axis), ref, semiring=True) for k in range(1, moved.shape[axis])]
        return Spread(max(errors) / UNIT["float64"], 0.0)


def growth(way: Way, steps: int) -> float:
    """What the condition of the recurrence is multiplied by for a form that groups steps in another way.

    A term that passes through n steps is multiplied by n transitions, of which each product rounds; where the
    sequential form rounds their sum, a parallel form rounds each term: sqrt(n) times as much. An FFT adds log2(n).
    """
    if way.form == "sequential":
        return 1.0
    return sqrt(1 + steps) + (log2(1 + steps) if way.form == "convolution" else 0.0)


def reference(rec: Recurrence, request: Request, dtype: Any = np.float64, noise: Noise | None = None) -> Arrays:
    """Outputs and final states (`final h`) by the reference."""
    steps = request.steps
    result = run(
        rec,
        request.arguments,
        sizes={a.name: request.sizes[a.size_of] for a in rec.axes},
        initial=request.initial,
        clock=request.clock,
        length=steps[0] if len(steps) == 1 else dict(zip(rec.scan, steps, strict=True)),
        dtype=dtype,
        rounding=None if noise is None else noise.of_reference,
    )
    return {**result.outputs, **{f"final {n}": v for n, v in result.final.items()}}


def copies(rec: Recurrence, request: Request, count: int) -> Request:
    """The same run `count` times side by side, along a first batch axis, in long double."""
    heads = len(rows_of(rec, request)) - 1
    arguments = {}
    for symbol in rec.arguments:
        lead = 1 + len(request.steps) if symbol.kind is Kind.INPUT else 0
        arguments[symbol.name] = _repeated(request.arguments[symbol.name], lead, len(symbol.axes), heads, count)
    own = {slot.name: len(slot.axes) for slot in rec.slots}
    initial = {n: _repeated(v, 1, own[n], heads, count) for n, v in request.initial.items()}
    return replace(request, arguments=arguments, initial=initial)


def _repeated(value: Array, lead: int, own: int, heads: int, count: int) -> Array:
    have = value.ndim - lead - own
    value = value.reshape((*value.shape[:lead], 1, *(1,) * (heads - have), *value.shape[lead:]))
    value = np.repeat(value, count, lead)
    kinds: Mapping[str, Any] = {"f": np.longdouble, "c": np.clongdouble}
    return value.astype(kinds.get(value.dtype.kind, value.dtype))


def _larger(one: float, other: float) -> float:
    """The larger of two, NaN counting as larger than all."""
    return float(np.maximum(one, other))


def _added_up(form: Sequential, block: blocks.Block) -> tuple[str, ...]:
    """The results of a backward step that are summed over all steps and rows: what flows to what does not vary.

    A sum of n terms that is added up one by one rounds n times, each term sqrt(n) times as much as alone.
    """
    for loop in form.passes:
        if block is loop.step_vjp:
            fixed = {s.name for s in form.rec.arguments if s.kind is not Kind.INPUT}
            ports = [p for p in loop.reads if p.role == "prologue" or (p.role == "argument" and p.name in fixed)]
            return tuple(f"d {p.value}" for p in ports if f"d {p.value}" in block.output)
    return ()


__all__ = [
    "CONFIDENCE", "MEANINGLESS", "SAMPLES", "UNIT", "Spread", "Truth", "copies", "growth", "reference",
]  # fmt: skip
