"""One case of fuzzing: sizes, arguments from the program's domains, a state, and where to cut time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recc.recurrence import Kind, Recurrence, reads

from .draw import Array, Shapes, draw_arguments, draw_initial

Arrays = dict[str, Array]

#: So many choices of sizes there are for one seed: every one costs a compilation.
_SIZES = 3


@dataclass(frozen=True)
class Case:
    """What one case runs. Its arrays are float64 (complex128) with values that float32 can hold.

    `edges`: values on the bounds of domains and far away are among the arguments. `initial` is empty
    where no state is given. `cut` is the step at which the run is cut in two, `offsets` are boundaries of
    packed sequences within the first row.
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
        words += ["values at the ends of domains"] if self.edges else []
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
    shapes = Shapes(_sizes(rec, seed, kind), extents, int(rng.integers(1, 4)), heads)
    edges = bool(rng.random() < 0.4)
    arguments = _narrow(draw_arguments(rec, shapes, rng, edges=edges))
    initial = _narrow(draw_initial(rec, shapes, rng)) if rec.slots and rng.random() < 0.5 else {}
    cut = int(rng.integers(0, extents[0] + 1))
    inside = np.sort(rng.integers(0, extents[0] + 1, 3))
    offsets = (0, *(int(n) for n in inside), extents[0])
    return Case(rec, seed, number, shapes, edges, arguments, initial, cut, offsets)


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


def _narrow(arrays: Arrays) -> Arrays:
    return {n: cast(v, "float32", "float64") for n, v in arrays.items()}


def cast(value: Array, *dtypes: str) -> Array:
    """An array in one real type after the other, complex ones in their complex kin, others as they are."""
    for dtype in dtypes:
        kind: Any = {"f": np.dtype(dtype), "c": np.result_type(dtype, np.complex64)}.get(value.dtype.kind)
        value = value if kind is None else value.astype(kind)
    return value


__all__ = ["Arrays", "Case", "cast", "draw_case", "looks_ahead"]
