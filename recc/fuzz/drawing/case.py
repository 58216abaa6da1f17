"""One case of fuzzing: sizes, arguments from the program's domains, a state, and where to cut time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from recc.recurrence import Kind, Recurrence, reads

from .draw import Array, Shapes, draw_arguments, draw_initial
from .edges import KINDS, possible

Arrays = dict[str, Array]

#: So many choices of sizes there are for one seed: every one costs a compilation.
_SIZES = 3
#: One case in so many is as long as this, of one sequence, where long ones are asked for.
_LONG_EVERY, LONG, _LONGEST = 32, 130, 33
#: How arrays may lie in memory beside the ordinary way.
_LAYOUTS = ("transposed", "strided")


@dataclass(frozen=True)
class Case:
    """What one case runs. Its arrays are float64 (complex128) with values that float32 can hold.

    `edges`: values at the edges of domains are among the arguments; `kinds` says which (`recc.fuzz.drawing.edges`),
    and what else is out of the ordinary: no steps, one step, axes of size 1, empty packed sequences, arrays
    that are not contiguous. `initial` is empty where no state is given. `cut` is the step at which the run
    is cut in two, `offsets` are boundaries of packed sequences within the first row.
    """

    rec: Recurrence
    seed: int
    number: int
    shapes: Shapes
    edges: bool
    arguments: Arrays
    initial: Arrays
    cut: int
    offsets: tuple[int, ...]
    kinds: tuple[str, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """The size of every axis."""
        return {a.name: self.shapes.sizes[a.size_of] for a in self.rec.axes}

    @property
    def inputs(self) -> frozenset[str]:
        """The names of the arguments that vary with time."""
        return frozenset(s.name for s in self.rec.of_kind(Kind.INPUT))

    def piece(self, start: int, end: int) -> Arrays:
        """The arguments of the steps from `start` to `end`."""
        return {n: v[:, start:end] if n in self.inputs else v for n, v in self.arguments.items()}

    def __str__(self) -> str:
        words = [f"{name} = {size}" for name, size in self.shapes.sizes.items()]
        scan = ("T",) if len(self.rec.scan) == 1 else self.rec.scan
        words += [f"{name} = {steps}" for name, steps in zip(scan, self.shapes.steps, strict=True)]
        words += [f"B = {self.shapes.batch}"]
        words += [f"heads {self.shapes.heads}"] if self.shapes.heads else []
        words += ["parameters of their own for heads"] if self.shapes.params_have_batch else []
        words += [f"values at the edges of domains ({', '.join(k for k in self.kinds if k in KINDS)})"] * self.edges
        words += [k for k in self.kinds if k in _LAYOUTS]
        words += [f"initial {', '.join(self.initial)}"] if self.initial else []
        return ", ".join(words)


def draw_case(rec: Recurrence, seed: int, number: int, steps: Sequence[int]) -> Case:
    """Case `number` of a seed: the same for the same program, whatever the other cases."""
    rng = np.random.default_rng((seed, number))
    kind = number % _SIZES
    one_scan = len(rec.scan) == 1
    extents = tuple(int(rng.choice(list(steps))) if one_scan else int(rng.integers(0, 5)) for _ in rec.scan)
    # Four heads or more become the vector axis of a thin program, which is a kernel of its own.
    heads = ((), (2,), (5,) if kind == 0 else (3, 1), ())[int(rng.integers(4))]
    # A batch axis comes with an input: a state alone cannot bring one.
    heads = heads if rec.of_kind(Kind.INPUT) else ()
    own = bool(heads) and np.random.default_rng((seed, number, 2)).random() < 0.4
    shapes = Shapes(_sizes(rec, seed, kind), extents, int(rng.integers(1, 4)), heads, own)
    if one_scan and number % _LONG_EVERY == 11 and max(steps, default=0) >= _LONGEST:
        # Kernels keep states for their gradients every 128 steps or more often.
        extents, shapes = (LONG,), Shapes(shapes.sizes, (LONG,), 1, ())
    kinds = [k for k in possible(rec) if rng.random() < 0.4] if rng.random() < 0.4 else []
    arguments = _narrow(rec, draw_arguments(rec, shapes, rng, edges=kinds))
    initial = _narrow(rec, draw_initial(rec, shapes, rng)) if rec.slots and rng.random() < 0.5 else {}
    cut = int(rng.integers(0, extents[0] + 1))
    offsets = _offsets(extents[0], rng)
    layout = _LAYOUTS[int(rng.integers(2))] if rng.random() < 0.15 else ""
    if layout:
        arguments = {n: laid_out(v, layout) for n, v in arguments.items()}
        initial = {n: laid_out(v, layout) for n, v in initial.items()}
    odd = {
        "no steps": 0 in extents,
        "one step": 1 in extents,
        "axes of size 1": 1 in shapes.sizes.values(),
        "empty sequences": any(a == b for a, b in pairwise(offsets)),
        layout: bool(layout),
    }
    told = (*kinds, *(name for name, holds in odd.items() if holds))
    return Case(rec, seed, number, shapes, bool(kinds), arguments, initial, cut, offsets, told)


def steps_around(chunk: int) -> tuple[int, ...]:
    """Lengths of sequences where a form that works in chunks of so many steps may break."""
    return tuple(sorted({0, 1, chunk - 1, chunk, chunk + 1, 2 * chunk + 1}))


def laid_out(value: Array, layout: str) -> Array:
    """The same array with its axes the other way round in memory, or with gaps of NaN between its elements."""
    if value.ndim == 0:
        return value
    if layout == "transposed":
        return np.asarray(value, order="F")
    filler = np.nan if value.dtype.kind in "fc" else 0
    wide = np.full((*value.shape[:-1], 2 * value.shape[-1]), filler, value.dtype)
    wide[..., ::2] = value
    return wide[..., ::2]


def _offsets(steps: int, rng: np.random.Generator) -> tuple[int, ...]:
    """Boundaries of packed sequences; empty ones among them, at the ends too."""
    inside = rng.integers(0, steps + 1, 3)
    if rng.random() < 0.3:
        inside[int(rng.integers(3))] = (0, steps)[int(rng.integers(2))]
    return (0, *(int(n) for n in np.sort(inside)), steps)


def looks_ahead(rec: Recurrence) -> bool:
    """Whether a step needs a later one, so that pieces of time cannot be run one after the other."""
    return len(rec.scan) > 1 or any(lag < 0 for e in rec.equations for r in reads(e.expr) for lag in r.lags)


def _sizes(rec: Recurrence, seed: int, kind: int) -> dict[str, int]:
    """All different; small, ones among them; larger than a short vector."""
    rng = np.random.default_rng((seed, 1 << 20, kind))
    roots = [a.name for a in rec.axes if a.name == a.size_of]
    if kind == 0:
        return {name: 2 + k for k, name in enumerate(roots)}
    low, high = ((1, 4), (5, 10))[kind - 1]
    return {name: int(rng.integers(low, high)) for name in roots}


def _narrow(rec: Recurrence, arrays: Arrays) -> Arrays:
    """Arrays with values that float32 can hold too, still within their domains."""
    return {n: _within(rec, n, cast(v, "float32", "float64")) for n, v in arrays.items()}


def _within(rec: Recurrence, name: str, value: Array) -> Array:
    """A value that rounding took over a bound, back to the next number of float32 inside."""
    symbol = rec.table.get(name)
    if symbol is None or symbol.dtype != "real" or not symbol.domain.bounded:
        return value
    narrow, domain = value.astype(np.float32), symbol.domain
    for over, inner in ((value > domain.upper, -np.inf), (value < domain.lower, np.inf)):
        narrow = np.where(over, np.nextafter(narrow, np.float32(inner)), narrow)
    return narrow.astype(np.float64)


def cast(value: Array, *dtypes: str) -> Array:
    """An array in one real type after the other, complex ones in their complex kin, others as they are."""
    for dtype in dtypes:
        kind: Any = {"f": np.dtype(dtype), "c": np.result_type(dtype, np.complex64)}.get(value.dtype.kind)
        value = value if kind is None else value.astype(kind)
    return value


__all__ = ["Arrays", "Case", "cast", "draw_case", "laid_out", "looks_ahead", "steps_around"]
