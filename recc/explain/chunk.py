"""The equations of the chunked form of one stage, with the program's own names in them.

With Γ[t] the product of d since the chunk began and p_r[t] = w_r[t] · S[t-1],

    (I - L) P = W̄ S0 + N C
    L[(t,r),(s,r')] = Σ_i w_r[t] (Γ[t-1]/Γ[s]) u_r'[s]  for s < t
    W̄[t,r] = w_r[t] Γ[t-1],     N[(t,r),(s,m)] = Σ_i w_r[t] (Γ[t-1]/Γ[s]) b_m[s]  for s < t
    S[t] = Γ[t] S0 + Σ_{s ≤ t} (Γ[t]/Γ[s]) (Σ_r u_r[s] p_r[s] + Σ_m b_m[s] c_m[s])

Only the terms that the stage has are written.
"""

from __future__ import annotations

from collections.abc import Sequence

from recc.explain.linear import Factors, Linear, Low, Readout, summed
from recc.explain.notation import ONE, Big, Binary, Call, Equation, Node, Power, Shift, add, at, times, total
from recc.recurrence import Apply, Expr

Weighed = tuple[Node, tuple[str, ...]]  # a factor with its axes


class Chunk:
    """Writes the equations of one stage."""

    def __init__(self, stage: Linear):
        self.stage = stage
        self.way = stage.way
        self.letters = stage.way.letters
        self.t, self.s = self.way.here, self.way.other
        decay = stage.decay
        self.axes = () if decay is None else decay.axes

    def decay(self) -> list[Equation]:
        """What the product of the decays is: a power, a product, or the exponential of a sum."""
        decay = self.stage.decay
        if decay is None:
            return []
        left = self.gamma(self.t)
        if not decay.varies:
            steps = self.t if self.way.direction > 0 else _difference(self.way.start, self.t)
            return [Equation(Power(self.stage.node(decay, self.t), steps), left)]
        below, step = self.way.whole(self.t)
        product: Node = Big("prod", (below,), self.stage.node(decay, step))
        exponent = logarithm(decay)
        if exponent is not None:
            product = Binary("so", product, Call("exp", (Big("sum", (below,), self.stage.node(exponent, step)),)))
        return [Equation(product, left)]

    def ratio(self) -> list[Equation]:
        """What the ratio of two such products stands for, so that nothing is divided."""
        decay = self.stage.decay
        if decay is None:
            return []
        left = self.weight(self.t, self.s)
        if not decay.varies:
            power = Power(self.stage.node(decay, self.t), _difference(self.t, self.s, self.way.direction))
            return [Equation(power, left)]
        below, step = self.way.after(self.s, self.t)
        exponent = logarithm(decay)
        if exponent is None:
            return [Equation(Big("prod", (below,), self.stage.node(decay, step)), left)]
        return [Equation(Call("exp", (Big("sum", (below,), self.stage.node(exponent, step)),)), left)]

    def gamma(self, place: Shift) -> Node:
        """Γ at a place."""
        if self.stage.decay is None:
            return ONE
        return at(self.letters["decay"], place, self.axes)

    def weight(self, last: Shift, first: Shift) -> Node:
        """Γ[last] / Γ[first]."""
        return ONE if self.stage.decay is None else Binary("div", self.gamma(last), self.gamma(first))

    def probes(self) -> list[Equation]:
        """The triangular system that gives what the terms of low rank read of the state."""
        found: list[Equation] = []
        before = self.way.before(self.t)
        for r, low in enumerate(self.stage.low):
            w = self._weighed(low.w, self.t)
            state = at(self.stage.state.name, before, self.stage.state.axes)
            probe = self.probe(r, self.t)
            found.append(Equation(summed(low.over, [w, (state, self.stage.state.axes)]), probe))
            gamma = (self.gamma(before), self.axes)
            reach = at(self._letter("reach", r), self.t, self._axes((), [low.w], True))
            found.append(Equation(times([w[0], gamma[0]]), reach))
            found += [self._low(r, q, low) for q in range(len(self.stage.low))]
            found += [self._inflow(r, m, low) for m in range(len(self.stage.drives))]
            found.append(Equation(self._solved(r, low), probe))
        return found

    def probe(self, r: int, place: Shift) -> Node:
        """What the term r reads of the state, at a step."""
        low = self.stage.low[r]
        axes = [a for a in self.stage.state.axes if a not in low.over]
        return at(self._letter("probe", r), place, axes)

    def states(self) -> list[Equation]:
        """The state at a step of the chunk, from the state before the chunk and what came since."""
        side = f"for {self.t.name} = {self.way.end.name} the state after the chunk"
        return [Equation(self._unrolled(self.t, (), (), ()), self._state(self.t), side)]

    def readout(self, readout: Readout) -> Equation:
        """A readout at a step of the chunk, as a product of a masked matrix with the drives."""
        factors = [self._weighed(f, self.t) for f in readout.factors]
        place = Shift(self.t.name, self.t.offset - readout.lag)
        right = self._unrolled(place, factors, readout.over, readout.names)
        left = self.stage.maths.target(readout.left) if readout.left else self.stage.maths.node(readout.whole)
        # States further back than the one before the chunk, or after it, belong to other chunks.
        back = readout.lag * self.way.direction
        side: Node | str = self.way.upto(self.way.start, place) if back > 1 else ""
        return Equation(right, left, self.way.upto(place, self.way.end) if back < 0 else side)

    def _state(self, place: Shift) -> Node:
        return at(self.stage.state.name, place, self.stage.state.axes)

    def _unrolled(
        self,
        place: Shift,
        factors: Sequence[Weighed],
        over: Sequence[str],
        names: Sequence[tuple[str, str]],
    ) -> Node:
        """Σ_over factors · S[place] with S written out."""
        called = dict(names)
        axes = tuple(called.get(a, a) for a in self.axes)
        state = tuple(called.get(a, a) for a in self.stage.state.axes)
        terms: list[Node] = []
        first = at(self.stage.state.name, self.way.start, state, brief=any(a != b for a, b in names))
        terms.append(summed(over, [*factors, (self._gamma_along(place, axes), axes), (first, state)]))
        below = self.way.upto(self.s, place)
        weight = self._weight_along(place, self.s, axes)
        for r, low in enumerate(self.stage.low):
            u = self._weighed(self.stage.along(low.u, names), self.s)
            probe = self._probe_along(r, called)
            terms.append(total((below,), summed(over, [*factors, (weight, axes), u, probe])))
        for drive in self.stage.drives:
            parts = [self._weighed(self.stage.along(f, names), self.s) for side in drive for f in side]
            terms.append(total((below,), summed(over, [*factors, (weight, axes), *parts])))
        return add(terms)

    def _gamma_along(self, place: Shift, axes: Sequence[str]) -> Node:
        return ONE if self.stage.decay is None else at(self.letters["decay"], place, axes)

    def _weight_along(self, last: Shift, first: Shift, axes: Sequence[str]) -> Node:
        if self.stage.decay is None:
            return ONE
        return Binary("div", self._gamma_along(last, axes), self._gamma_along(first, axes))

    def _probe_along(self, r: int, called: dict[str, str]) -> Weighed:
        axes = [called.get(a, a) for a in self.stage.state.axes if a not in self.stage.low[r].over]
        return at(self._letter("probe", r), self.s, axes), tuple(axes)

    def _low(self, r: int, q: int, low: Low) -> Equation:
        """L[(t, r), (s, q)]."""
        other = self.stage.low[q]
        right = self._masked(low, (other.u,))
        axes = self._axes(low.over, [low.w, other.u], True)
        return Equation(right, self._pairwise("low", r, q, axes), self.way.upto(self.s, self.t, strict=True))

    def _inflow(self, r: int, m: int, low: Low) -> Equation:
        """N[(t, r), (s, m)]."""
        inner = self.stage.drives[m][0]
        axes = self._axes(low.over, [low.w, *inner], True)
        left = self._pairwise("inflow", r, m, axes)
        return Equation(self._masked(low, inner), left, self.way.upto(self.s, self.t, strict=True))

    def _masked(self, low: Low, others: Factors) -> Node:
        before = self.way.before(self.t)
        weight = (self.weight(before, self.s), self.axes)
        return summed(low.over, [self._weighed(low.w, self.t), weight, *(self._weighed(e, self.s) for e in others)])

    def _solved(self, r: int, low: Low) -> Node:
        """The row of the triangular system."""
        reach = at(self._letter("reach", r), self.t, self._axes((), [low.w], True))
        axes = self._axes((), [low.w], True)
        terms: list[Node] = []
        start = (self._state(self.way.start), self.stage.state.axes)
        terms.append(summed(low.over, [(reach, axes), start]))
        below = self.way.upto(self.s, self.t, strict=True)
        for q, other in enumerate(self.stage.low):
            matrix = self._pairwise("low", r, q, self._axes(low.over, [low.w, other.u], True))
            terms.append(total((below,), times([matrix, self.probe(q, self.s)])))
        for m, (inner, outer) in enumerate(self.stage.drives):
            matrix = self._pairwise("inflow", r, m, self._axes(low.over, [low.w, *inner], True))
            terms.append(total((below,), times([matrix, self.stage.node(outer, self.s)])))
        return add(terms)

    def _pairwise(self, role: str, r: int, q: int, axes: Sequence[str]) -> Node:
        many = len(self.stage.low if role == "low" else self.stage.drives) > 1 or len(self.stage.low) > 1
        letter = at(self.letters[role], (Shift(str(r + 1)), Shift(str(q + 1)))) if many else self.letters[role]
        return at(letter, (self.t, self.s), axes)

    def _letter(self, role: str, r: int) -> Node | str:
        letter = self.letters[role]
        return at(letter, Shift(str(r + 1))) if len(self.stage.low) > 1 else letter

    def _axes(self, over: Sequence[str], exprs: Sequence[Expr], decayed: bool) -> tuple[str, ...]:
        present = {a for e in exprs for a in e.axes} | (set(self.axes) if decayed else set())
        return tuple(a for a in self.stage.state.axes if a in present and a not in over)

    def _weighed(self, expr: Expr, place: Shift) -> Weighed:
        return self.stage.node(expr, place), expr.axes


def logarithm(decay: Expr) -> Expr | None:
    """The exponent, if a real decay is written as an exponential, in its equation too."""
    if isinstance(decay, Apply) and decay.fn == "exp" and decay.dtype != "complex":
        return decay.args[0]
    return None


def _difference(first: Shift, second: Shift, direction: int = 1) -> Node:
    first, second = (first, second) if direction > 0 else (second, first)
    return Binary("sub", first, second)


def chunk_equations(stage: Linear) -> list[tuple[str, list[Equation]]]:
    """The equations of the chunked form in groups, each with the sentence that leads to it.

    None where nothing of a state is kept as it is: then no step reaches further than the next.
    """
    if not stage.keeps:
        return []
    chunk = Chunk(stage)
    groups = []
    if stage.decay is not None:
        groups.append(
            ("The decay from the start of the chunk, and from one step to another:", [*chunk.decay(), *chunk.ratio()])
        )
    if stage.low:
        groups.append(
            ("What the terms of low rank read of the state solves a unit lower triangular system:", chunk.probes())
        )
    groups.append(("The state within the chunk and after it:", chunk.states()))
    if stage.readouts:
        groups.append(("What is read of it:", [chunk.readout(r) for r in stage.readouts]))
    return groups


__all__ = ["Chunk", "chunk_equations", "logarithm"]
