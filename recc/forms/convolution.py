"""The convolution form of a stage: constant transitions, so that the past acts through powers of A.

Law, for S[t] = A S[t-1] + Σ_m b_m ⊗ x_m[t] with A and b constant and x what varies,

    S[t] = A^(t+1) S0 + Σ_m Σ_{s <= t} (A^(t-s) b_m) ⊗ x_m[s]

The impulse response A^τ b is a scan with a constant transition, which a backend runs by squaring. Readouts
with constant factors f are applied to it before the sum over steps: what is convolved then has the axes of
the output, not of the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recc.forms import pairs
from recc.forms.block import Value
from recc.forms.lower import Pair
from recc.forms.transition import CannotDerive, Component, Transition
from recc.recurrence import Along, Expr, Read
from recc.structure import Affine, Drive, DriveTerm

if TYPE_CHECKING:
    from recc.forms.chunk_builder import ChunkBuilder


@dataclass(frozen=True)
class _Source:
    """One product of a drive: what is constant in it, on the state `target`, and what varies.

    `inner` are axes of what varies along which the transition mixes elements: the response has them as
    columns.
    """

    target: str
    constant: Pair
    varying: Pair
    inner: tuple[str, ...]


class ConvolutionSolver:
    """Runs a stage that is affine over the ring with a constant transition."""

    contracts = True

    def __init__(self, into: ChunkBuilder, structure: Affine, size: int = 0):
        self.into = into
        self.b = into.step
        self.axis = into.chunk
        self.transition = Transition(into, structure)
        self.coefficients = self.transition.coefficients()
        if any(self.axis in a.axes for a in self.coefficients.values()):
            raise CannotDerive("the transition varies in time")
        self.sources = [self._source(d, t) for d in structure.drives for t in d.terms]
        self._responses: dict[tuple[int, bool], tuple[Value, ...]] = {}

    def _source(self, drive: Drive, term: DriveTerm) -> _Source:
        b, t = self.b, self.transition
        lowered = [self.into.lower(g) for g in term.groups]
        varying = pairs.multiply(b, [p for p in lowered if self.axis in pairs.axes_of(p)])
        constant = pairs.multiply(b, [p for p in lowered if self.axis not in pairs.axes_of(p)])
        names = {a: b.fresh_axis(a) for a in t.rows if a in pairs.axes_of(varying)}
        meet = [Pair(b.map("real", b.map("eq", b.iota(a), b.iota(c)))) for a, c in names.items()]
        return _Source(
            drive.target,
            pairs.multiply(b, [constant, *meet]),
            pairs.rename(b, varying, names),
            tuple(names.values()),
        )

    def _scan(self, b: Sequence[Value], first: Sequence[Value], reverse: bool = False) -> tuple[Value, ...]:
        t = self.transition
        return self.b.scan(self.coefficients, b, first, self.axis, rows=t.rows, cols=t.cols, reverse=reverse)

    def _response(self, number: int, state: str, reverse: bool = False) -> Pair:
        """What one unit of a source makes of a state after its own step: `A^(τ+1) b`; reversed, `A^(C-τ) b`."""
        b, source = self.b, self.sources[number]
        if (number, reverse) not in self._responses:
            none = b.constant(0.0)
            starts = []
            for c in self.transition.components:
                on = source.constant.parts if (c.state, c.depth) == (source.target, 1) else ()
                starts.append(on[c.part] if c.part < len(on) else none)
            self._responses[number, reverse] = self._scan([none] * len(starts), starts, reverse)
        return self.transition.state(self._responses[number, reverse], state)

    def _at_once(self, number: int, state: str) -> Pair:
        """What a unit of a source makes of a state in its own step."""
        source = self.sources[number]
        return source.constant if source.target == state else Pair(self.b.constant(0.0))

    def _from_start(self, state: str) -> list[tuple[Pair, Pair, Pair, dict[str, str]]]:
        """For each component of the states before the chunk: `A^(t+1)` and its value at t = -1, and the component.

        The last item renames the state's axes to those that the products sum over.
        """
        b, t = self.b, self.transition
        first = t.first()
        found = []
        for c, k in t.number.items():
            if c.part or all(b.known(first[j]) == 0.0 for j in self._parts_of(c)):
                continue
            names = {a: b.fresh_axis(a) for a in t.rows}
            unit = b.constant(1.0)
            for a, col in names.items():
                unit = b.map("mul", unit, b.map("real", b.map("eq", b.iota(a), b.iota(col))))
            starts = [unit if j == k else b.constant(0.0) for j in range(len(first))]
            powers = t.state(self._scan([b.constant(0.0)] * len(first), starts), state)
            before = Pair(unit if (c.state, c.depth) == (state, 1) else b.constant(0.0))
            value = Pair(*(first[j] for j in self._parts_of(c)))
            found.append((powers, before, pairs.rename(b, value, names), names))
        return found

    def _parts_of(self, c: Component) -> list[int]:
        number = self.transition.number
        return [number[p] for p in (c, Component(c.state, c.depth, 1)) if p in number]

    def trajectory(self, state: str) -> Pair:
        """The state after every step."""
        return self._read(state, False, {}, [], ())

    def contract(self, read: Read, factors: Sequence[Expr], over: Sequence[str]) -> Pair:
        """`Σ_over Π factors * S`: with constant factors the response is contracted, not the state."""
        declared = self.transition.structure.rec.table[read.name].axes
        names = {d: i.axis for d, i in zip(declared, read.index, strict=True) if isinstance(i, Along)}
        lowered = [self.into.lower(f) for f in factors]
        varying = [p for p in lowered if self.axis in pairs.axes_of(p)]
        if varying:
            return pairs.multiply(self.b, [*lowered, self._read(read.name, bool(read.lags[0]), names, [], ())], over)
        return self._read(read.name, bool(read.lags[0]), names, lowered, over)

    def _read(
        self, state: str, exclusive: bool, names: dict[str, str], factors: Sequence[Pair], over: Sequence[str]
    ) -> Pair:
        b, summed = self.b, set(over)
        terms = []
        for number, source in enumerate(self.sources):
            varying = pairs.rename(b, source.varying, names)
            later = (summed & pairs.axes_of(varying)) | set(source.inner)
            kernel, now = (
                pairs.multiply(b, [*factors, pairs.rename(b, part, names)], summed - later)
                for part in (self._response(number, state), self._at_once(number, state))
            )
            kernel = self.into.moved(kernel, now)
            if exclusive:
                kernel = self.into.moved(kernel, Pair(b.constant(0.0)))
            terms.append(self._convolved(kernel, varying, later))
        for powers, before, value, inner in self._from_start(state):
            if exclusive:
                powers = self.into.moved(powers, before)
            move = pairs.multiply(b, [*factors, pairs.rename(b, powers, names)])
            value = pairs.rename(b, value, {a: n for a, n in names.items() if a not in inner})
            terms.append(pairs.multiply(b, [move, value], summed | set(inner.values())))
        return pairs.add(b, terms)

    def _convolved(self, kernel: Pair, arg: Pair, over: set[str]) -> Pair:
        b = self.b

        def product(x: Value, y: Value) -> Value:
            return b.convolve(x, y, self.axis, over)

        if kernel.im is None or arg.im is None:
            return Pair(*(product(x, y) for x in kernel.parts for y in arg.parts))
        return Pair(
            b.map("sub", product(kernel.re, arg.re), product(kernel.im, arg.im)),
            b.map("add", product(kernel.re, arg.im), product(kernel.im, arg.re)),
        )

    def final(self, state: str) -> Pair:
        """The state after the last step: one sum over the steps, no convolution."""
        b = self.b
        terms = []
        for number, source in enumerate(self.sources):
            before = pairs.shift(b, source.varying, self.axis, -1)
            response = self._response(number, state, reverse=True)
            terms.append(pairs.multiply(b, [response, before], {self.axis, *source.inner}))
            last = pairs.last(b, source.varying, self.axis)
            terms.append(pairs.multiply(b, [self._at_once(number, state), last], source.inner))
        for powers, _, value, inner in self._from_start(state):
            last = pairs.last(b, powers, self.axis)
            terms.append(pairs.multiply(b, [last, value], inner.values()))
        return pairs.add(b, terms)


__all__ = ["ConvolutionSolver"]
