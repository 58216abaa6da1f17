"""The matrix form of a stage: the map from the drives of all steps to the reads of all steps.

Law, for an affine stage with drives b_m[s] ⊗ c_m[s] and a read f[t] · S[t],

    y[t] = f[t] Φ[t, -1] S0 + Σ_m Σ_{s <= t} α_m[t, s] c_m[s],    α_m[t, s] = f[t] Φ[t, s] b_m[s]

with Φ[t, s] = A[t] … A[s+1]. α is what interpretability work calls hidden attention. It is the scan of the
stage started by a drive at step s alone, for all s at once, so that it exists for every linear stage and
is exactly zero where s > t.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from recc.forms import pairs
from recc.forms.block import Value
from recc.forms.lower import Pair
from recc.forms.transition import Transition
from recc.recurrence import Along, Expr, Read
from recc.structure import Affine, Drive, DriveTerm

if TYPE_CHECKING:
    from recc.forms.chunk_builder import ChunkBuilder


class MatrixSolver:
    """Runs a stage that is affine over the ring."""

    contracts = True

    def __init__(self, into: ChunkBuilder, structure: Affine, size: int = 0):
        self.into = into
        self.b = into.step
        self.row = into.chunk
        self.col = self.b.fresh_axis(into.chunk)
        self.structure = structure
        self.transition = Transition(into, structure)
        self.coefficients = self.transition.coefficients()

    def _scan(self, b: Sequence[Value], first: Sequence[Value]) -> tuple[Value, ...]:
        t = self.transition
        return self.b.scan(self.coefficients, b, first, self.row, rows=t.rows, cols=t.cols)

    def _responses(self, drive: Drive, inside: Pair, state: str) -> Pair:
        """`Φ[t, s] b[s]` for the part of a drive that is not summed later."""
        b = self.b
        now = b.map("eq", b.iota(self.row), b.iota(self.col))
        drives = []
        for c in self.transition.components:
            on = inside.parts if (c.state, c.depth) == (drive.target, 1) else ()
            part = on[c.part] if c.part < len(on) else b.constant(0.0)
            drives.append(b.map("where", now, part, b.constant(0.0)) if b.known(part) != 0.0 else part)
        return self.transition.state(self._scan(drives, [b.constant(0.0)] * len(drives)), state)

    def _split(self, term: DriveTerm, held: set[str]) -> tuple[list[Expr], list[Expr]]:
        """The groups of a drive that the transition or the read sums over, and those that pass through."""
        inside = [g for g in term.groups if set(g.axes) & held]
        return inside, [g for g in term.groups if g not in inside]

    def trajectory(self, state: str) -> Pair:
        """The state after every step."""
        (scan,) = self.into.rec.scan
        return self._read(state, False, {}, [], (), f"{state}[{scan}]")

    def contract(self, read: Read, factors: Sequence[Expr], over: Sequence[str]) -> Pair:
        """`Σ_over Π factors * S` as a product with α."""
        declared = self.structure.rec.table[read.name].axes
        names = {d: i.axis for d, i in zip(declared, read.index, strict=True) if isinstance(i, Along)}
        text = self.into.shown((*factors, read), over)
        lowered = [self.into.lower(f) for f in factors]
        return self._read(read.name, bool(read.lags[0]), names, lowered, over, text)

    def _read(
        self,
        state: str,
        exclusive: bool,
        names: dict[str, str],
        factors: Sequence[Pair],
        over: Sequence[str],
        text: str,
    ) -> Pair:
        b, t = self.b, self.transition
        back = {n: a for a, n in names.items()}
        held = set(t.rows) | {back.get(a, a) for a in over}
        terms = []
        for drive in self.structure.drives:
            for term in drive.terms:
                inside, outside = self._split(term, held)
                whole = self._responses(drive, pairs.multiply(b, [self.into.lower(g) for g in inside]), state)
                if exclusive:
                    whole = self.into.moved(whole, Pair(b.constant(0.0)))
                alpha = pairs.multiply(b, [*factors, pairs.rename(b, whole, names)], over)
                alpha = Pair(*(b.spread(p, (self.row, self.col)) for p in alpha.parts))
                passed = self.into.shown(outside, ()) or "1"
                if text:
                    self.into.maps.append((f"{text} from {passed}", alpha, self.col))
                through = [pairs.rename(b, self.into.lower(g), {**names, self.row: self.col}) for g in outside]
                terms.append(pairs.multiply(b, [alpha, *through], (self.col,)))
        first = t.first()
        if any(b.known(v) != 0.0 for v in first):
            alone = t.state(self._scan([b.constant(0.0)] * len(first), first), state)
            if exclusive:
                alone = self.into.moved(alone, self.into.carried(state))
            terms.append(pairs.multiply(b, [*factors, pairs.rename(b, alone, names)], over))
        return pairs.add(b, terms)

    def final(self, state: str) -> Pair:
        """The state after the last step."""
        trajectory = self._read(state, False, {}, [], (), "")
        return Pair(*(self.b.last(self.b.spread(p, (self.row,)), self.row) for p in trajectory.parts))


__all__ = ["MatrixSolver"]
