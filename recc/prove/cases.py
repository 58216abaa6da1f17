"""What a program is proved on: sizes, unknowns for its arguments or random rational points in their place."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from recc.prove import arrays
from recc.prove.arrays import Array
from recc.prove.bounds import Bound
from recc.prove.duals import Dual
from recc.prove.functions import imaginary_part, real_part
from recc.prove.ring import Exact, Space
from recc.recurrence import Domain, Dtype, Kind, Recurrence

_ANY = Domain()
#: Bits of the numerators of random points: each coordinate is one of 2**64 values.
BITS = 64


@dataclass(frozen=True)
class Case:
    """One choice of sizes: those of axes by the axis that gives each, of scan axes (`steps`), and of chunks."""

    sizes: tuple[tuple[str, int], ...]
    steps: tuple[int, ...]
    chunks: tuple[int, ...]
    scan: tuple[str, ...]

    def __str__(self) -> str:
        names = ("T",) if len(self.scan) == 1 else self.scan
        words = [f"{n} = {s}" for n, s in zip(names, self.steps, strict=True)]
        return ", ".join(words + [f"{n} = {s}" for n, s in self.sizes])


def default_cases(rec: Recurrence) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Sizes for unknowns, and larger ones for random points, each from the smallest on."""
    wide = tuple(2 if k % 2 == 0 else 1 for k in range(len(rec.axes)))
    tall = tuple(1 if k % 2 == 0 else 2 for k in range(len(rec.axes)))
    small = [
        make_case(rec, (1,) * len(rec.axes), 1),
        make_case(rec, (1,) * len(rec.axes), 3),
        make_case(rec, wide, 2),
        make_case(rec, tall, 2),
        make_case(rec, (2,) * len(rec.axes), 3),
    ]
    # A complex number is two real ones, and a rotation many terms.
    heavy = any(symbol.dtype == "complex" for symbol in rec.symbols)
    large = [make_case(rec, (2,) * len(rec.axes), 3 if heavy else 4)]
    if not heavy:
        large.append(make_case(rec, tuple(3 if k % 2 == 0 else 2 for k in range(len(rec.axes))), 5))
    if len(rec.scan) == 1:
        # Chunks may be cut in halves, and those again: enough steps for several cuts.
        steps = 6 if heavy else 9
        large.append(replace(make_case(rec, (1,) * len(rec.axes), steps), chunks=(4, steps)))
    return tuple(dict.fromkeys(small)), tuple(large)


def make_case(rec: Recurrence, sizes: tuple[int, ...], steps: int) -> Case:
    """A case with sizes for the axes in order (that of an axis with a size of its own counts), chunks of 1 to T."""
    own = tuple((a.name, n) for a, n in zip(rec.axes, sizes, strict=True) if a.name == a.size_of)
    if len(rec.scan) > 1:
        return Case(own, (steps, max(1, steps - 1)) + (1,) * (len(rec.scan) - 2), (0,), rec.scan)
    return Case(own, (steps,), tuple(range(1, steps + 1)), rec.scan)


@dataclass
class Given:
    """Arguments and states of one case as exact numbers, and the direction of their derivative.

    Arrays of complex tensors have a last axis of size 2. `direction` maps each atom of the direction to the
    tensor and the place that it belongs to.
    """

    space: Space
    case: Case
    arguments: dict[str, Array]
    initial: dict[str, Array]
    clock: int
    direction: dict[int, tuple[str, tuple[int, ...]]]
    domains: dict[int, Domain | None]


class Maker:
    """Makes unknowns (`points` is `None`) or random rational numbers for everything a case needs."""

    def __init__(self, rec: Recurrence, case: Case, space: Space, points: random.Random | None):
        self.rec, self.case, self.space, self.points = rec, case, space, points
        own = dict(case.sizes)
        self.sizes = {a.name: own[a.size_of] for a in rec.axes}
        self.indices = random.Random(0)
        self.domains: dict[int, Domain | None] = {}

    def given(self, *, state: bool) -> Given:
        """All arguments, and states to begin with if `state`."""
        rec, case = self.rec, self.case
        found = {}
        for s in rec.arguments:
            shape = (*(case.steps if s.kind is Kind.INPUT else ()), *self.shape(s.axes))
            found[s.name] = self.tensor(s.name, shape, s.dtype, s.domain, self.sizes.get(s.indexes or "", 1))
        initial = {}
        if state:
            for slot in rec.slots:
                index = self.sizes.get(rec.table[slot.symbol].indexes or "", 1)
                initial[slot.name] = self.tensor(f"{slot.name}₀", self.shape(slot.axes), slot.dtype, _ANY, index)
        return Given(self.space, case, found, initial, 2 if state and rec.clock else 0, {}, self.domains)

    def shape(self, axes: tuple[str, ...]) -> tuple[int, ...]:
        """The sizes of some axes."""
        return tuple(self.sizes[a] for a in axes)

    def tensor(self, name: str, shape: tuple[int, ...], dtype: Dtype, domain: Domain = _ANY, size: int = 1) -> Array:
        """A tensor of unknowns or random numbers; integers are indices below `size`, chosen once for all."""
        parts = ("re", "im") if dtype == "complex" else ("",)
        result = np.empty((*shape, 2) if dtype == "complex" else shape, object)
        for at in np.ndindex(*shape):
            for k, part in enumerate(parts):
                place = ", ".join(map(str, at))
                label = (f"{part} " if part else "") + name + (f"[{place}]" if at else "")
                to = (*at, k) if part else at
                result[to] = self.element(label, dtype, domain, size)
        return result

    def element(self, label: str, dtype: Dtype, domain: Domain, size: int) -> Exact:
        """One unknown or random number."""
        space = self.space
        if dtype == "int":
            return space.number(self.indices.randrange(size))
        if self.points is None:
            above = dtype == "real" and (domain.lower > 0 or (domain.lower == 0 and domain.lower_open))
            made = space.input(label, positive=above, truth=dtype == "bool")
            (atom,) = made.atoms()
            self.domains[atom] = None if dtype == "bool" else domain
            return made
        if dtype == "bool":
            return space.number(self.points.randrange(2))
        number = space.number(draw(domain, self.points))
        return Exact(space, number.terms, Bound(above=1))


def draw(domain: Domain, rng: random.Random) -> Fraction:
    """A random rational number of a domain, one of 2**64, of moderate size."""
    part = Fraction(2 * rng.getrandbits(BITS) + 1, 2 << BITS)
    low, high = domain.lower, domain.upper
    if math.isfinite(low) and math.isfinite(high):
        return Fraction(low) + (Fraction(high) - Fraction(low)) * part
    if math.isfinite(low):
        return Fraction(low) + 2 * part
    if math.isfinite(high):
        return Fraction(high) - 2 * part
    return 4 * part - 2


def as_duals(rec: Recurrence, given: Given, *, slopes: bool) -> tuple[dict[str, Array], dict[str, Array]]:
    """Arguments and states for the unrolled loop: complex numbers as one, each real part with its own slope."""
    constant = {s.name for s in rec.arguments if s.kind is Kind.CONST}
    dtypes = {s.name: s.dtype for s in rec.arguments} | {s.name: s.dtype for s in rec.slots}

    def one(name: str, label: str, value: Array) -> Array:
        moving = slopes and name not in constant and dtypes[name] in ("real", "complex")
        flat = arrays.full(value.shape, None)
        for at, element in arrays.places(value):
            flat[at] = Dual(element, _direction(given, label, at) if moving else None)
        if dtypes[name] != "complex":
            return flat
        unit = Dual(given.space.unit)
        return arrays.each(lambda re, im: re + unit * im, flat[..., 0], flat[..., 1])

    return (
        {n: one(n, n, v) for n, v in given.arguments.items()},
        {n: one(n, f"{n}₀", v) for n, v in given.initial.items()},
    )


def _direction(given: Given, label: str, at: tuple[int, ...]) -> Exact:
    atom = given.space.atom("input", f"d {label}{list(at)}", ())
    given.direction[atom] = (label, at)
    return given.space.power(atom, 1)


def as_parts(value: Array, dtype: Dtype, select: Any = lambda x: x.value) -> Array:
    """An array of `Dual` as the pairs of real numbers that forms make; `select` takes the value or the slope."""
    plain = arrays.each(select, value)
    if dtype != "complex":
        return plain
    return np.stack([arrays.each(real_part, plain), arrays.each(imaginary_part, plain)], -1)


def places(domains: Mapping[int, Domain | None], count: int, seed: int = 0) -> Iterator[dict[int, Fraction]]:
    """Random values for all unknowns, inside their domains; those without one are truth values."""
    rng = random.Random(seed)
    for _ in range(count):
        yield {atom: Fraction(rng.randrange(2)) if d is None else draw(d, rng) for atom, d in domains.items()}


__all__ = ["BITS", "Case", "Given", "Maker", "as_duals", "as_parts", "default_cases", "draw", "make_case", "places"]
