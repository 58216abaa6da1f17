"""The chunked form of a stage: matrix products inside chunks, a small state between them.

For a stage in normal form, with decay d, low-rank terms (u_r, w_r) and drives (b_m, c_m),

    S[t] = d[t] ⊙ S[t-1] + Σ_r u_r[t] ⊗ (w_r[t] · S[t-1]) + Σ_m b_m[t] ⊗ c_m[t]

what the low-rank terms read, p_r[t] = w_r[t] · S[t-1], obeys a unit lower triangular system over the steps
of a chunk that starts from S0:

    (I - L) P = W̄ S0 + N C      L[t, s] = Σ w_r[t] (Γ[t-1]/Γ[s]) u_r'[s],  N[t, s] = Σ w_r[t] (Γ[t-1]/Γ[s]) b_m[s]
                                W̄[t] = w_r[t] Γ[t-1],                       both for s < t only

and every later read is a product with S0, P and C under a mask: for a readout f[t] · S[t],

    f[t] Γ[t] · S0 + Σ_{s <= t} (Σ f[t] (Γ[t]/Γ[s]) u_r[s]) P_r[s] + Σ_{s <= t} (Σ f[t] (Γ[t]/Γ[s]) b_m[s]) C_m[s]

(s < t and Γ[t-1] where S[t-1] is read). P is kept as two parts, what S0 makes and what the drives make, so
that all but the small products with S0 can be done for every chunk at once. Nothing here depends on which
axes are summed: the same lines are key-side and value-side decays, left and right actions. Several
low-rank terms are eliminated one after the other, which is the block triangular system solved exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from recc.forms import pairs
from recc.forms.block import Value
from recc.forms.decay import Decay, log_of
from recc.forms.lower import Pair
from recc.forms.transition import CannotDerive
from recc.recurrence import Along, Apply, Expr, Number, Read
from recc.structure import Affine, Term, Workspace, number

if TYPE_CHECKING:
    from recc.forms.chunk_builder import ChunkBuilder


#: Factors of a product, each with axes of its own.
Groups = Sequence[Value]


class ChunkedSolver:
    """Runs a stage with one real state whose transition is diagonal, with or without low rank."""

    contracts = True

    def __init__(self, into: ChunkBuilder, structure: Affine, size: int):
        self.into = into
        self.b = b = into.step
        self.structure = structure
        self.row = into.chunk
        self.col = b.fresh_axis(into.chunk)
        (self.state,) = structure.states
        self.axes = structure.rec.table[self.state].axes
        self.low = [t for e in structure.entries for p in e.parts if p.kind == "low_rank" for t in p.terms]
        self.mixed = self._mixed()
        work = Workspace(structure.rec)
        self.decay = self._decay(work, size)
        self.start = b.map("real", into.carried(self.state).re)
        self.drives = [[self._real(g) for g in t.groups] for d in structure.drives for t in d.terms]
        self.u = [[self._real(g) for g in grouped(work, t.left)] for t in self.low]
        self.w = [self._right(t) for t in self.low]
        self._solved: tuple[list[Value], list[Value]] | None = None if self.low else ([], [])

    def _real(self, expr: Expr) -> Value:
        return self.b.map("real", self.into.lower(expr).re)

    def _mixed(self) -> tuple[str, ...]:
        """The axes that the low-rank terms sum over, in the state's names."""
        found = {tuple(d for d, i in self._places(t) if i.axis in t.over) for t in self.low}
        if len(found) > 1:
            raise CannotDerive("its low-rank terms sum over different axes")
        return next(iter(found), ())

    def _places(self, term: Term) -> list[tuple[str, Along]]:
        return [(d, i) for d, i in zip(self.axes, term.read.index, strict=True) if isinstance(i, Along)]

    def _right(self, term: Term) -> Value:
        """The w of a term, along the state's own axes."""
        return self.b.rename(self._real(term.right), {i.axis: d for d, i in self._places(term) if i.axis in term.over})

    def _decay(self, work: Workspace, size: int) -> Decay:
        """The decay of the stage, in logarithms where the text has an exponential."""
        terms = [t for e in self.structure.entries for p in e.parts if p.kind != "low_rank" for t in p.terms]
        expr = terms[0].left if terms else Number(0.0)
        logs = log_of(work, self.structure.rec, expr)
        value = self._real(expr if logs is None else logs)
        return Decay(self.b, value, logs is not None, self.row, self.col, size)

    # Products over pairs of steps.

    def _couple(
        self, left: Sequence[Value], right: Sequence[Value], over: set[str], exclusive: bool, decay: _Renamed
    ) -> list[tuple[Value, Value, Value]]:
        """Terms whose sum is `Σ_over left[t] (Γ[t]/Γ[s]) right[s]`: each a product score[t, s] down[t] up[s]."""
        b, one = self.b, self.b.constant(1.0)
        right = [self._at_col(v) for v in right]
        summed = decay.axes & over
        if not summed and not decay.axes:
            score = b.contract((*left, *right), over)
            return [(b.map("mul", self._wide(score), decay.ratio(exclusive)), one, one)]
        found: list[tuple[Value, Value, Value]] = []
        total = b.constant(0.0)
        raw = None if summed else self._wide(b.contract((*left, *right), over))
        for down, up, which in decay.levels(exclusive):
            if raw is None:
                score = self._wide(b.contract((*left, *right, down, up), over))
                total = b.map("add", total, b.map("where", which, score, b.constant(0.0)))
            else:
                found.append((b.map("where", which, raw, b.constant(0.0)), down, up))
        if not exclusive:
            same = [b.rename(v, {self.col: self.row}) for v in right]
            now = b.contract((*left, *same), over) if raw is None else raw
            total = b.map("add", total, b.map("where", decay.same(), self._wide(now), b.constant(0.0)))
        if b.known(total) != 0.0:
            found.append((total, one, one))
        return found

    def _at_col(self, value: Value) -> Value:
        return self.b.rename(value, {self.row: self.col})

    def _wide(self, score: Value) -> Value:
        return self.b.spread(score, (self.row, self.col))

    def _through(
        self, left: Sequence[Value], sources: Iterable[Groups], over: set[str], exclusive: bool, decay: _Renamed
    ) -> Value:
        """`Σ_{s <= t} Σ_over left[t] (Γ[t]/Γ[s]) Σ_sources Π groups[s]`.

        Factors that are not summed are multiplied after the mask. Sources that share those that are summed
        are added up first: they cost one product.
        """
        b = self.b
        shared: dict[tuple[Value, ...], Value] = {}
        for groups in sources:
            inside = tuple(sorted((g for g in groups if set(g.axes) & over), key=lambda v: v.name))
            outside = b.contract([g for g in groups if not set(g.axes) & over], ())
            shared[inside] = b.map("add", shared[inside], outside) if inside in shared else outside
        total = b.constant(0.0)
        for inside, outside in shared.items():
            for score, down, up in self._couple(left, inside, over, exclusive, decay):
                term = b.contract((score, up, self._at_col(outside)), (self.col,))
                total = b.map("add", total, b.map("mul", down, term))
        return total

    # The low-rank terms.

    def _reads(self) -> tuple[list[Value], list[Value]]:
        """P as two lists, a value for each low-rank term: what S0 is multiplied by, and what the drives make."""
        if self._solved is None:
            b, over, decay = self.b, set(self.mixed), _Renamed(self.decay, {})
            system = [[self._pairwise(w, u) for u in self.u] for w in self.w]
            before = self.decay.upto(True)
            from_start = [b.spread(b.map("mul", w, before), (self.row, *self.mixed)) for w in self.w]
            from_drives = []
            for w in self.w:
                from_drives.append(b.spread(self._through([w], self.drives, over, True, decay), (self.row,)))
            self._solved = self._solve(system, from_start), self._solve(system, from_drives)
        return self._solved

    def _pairwise(self, w: Value, u: Groups) -> Value:
        """One block of L."""
        b, over = self.b, set(self.mixed)
        total = b.constant(0.0)
        inside = [g for g in u if set(g.axes) & over]
        outside = self._at_col(b.contract([g for g in u if not set(g.axes) & over], ()))
        for score, down, up in self._couple([w], inside, over, True, _Renamed(self.decay, {})):
            total = b.map("add", total, b.map("mul", b.map("mul", score, down), b.map("mul", up, outside)))
        return total

    def _solve(self, system: list[list[Value]], sides: list[Value]) -> list[Value]:
        """The x with `x_r - Σ_r' L_rr' x_r' = side_r`: the first term is eliminated, then the next."""
        b = self.b
        if not sides:
            return []
        other = b.fresh_axis(self.row)
        first = self._unit_lower(system[0][0], sides[0])
        towards = [self._unit_lower(system[0][0], b.rename(block, {self.col: other})) for block in system[0][1:]]
        rest = [
            [
                b.map("add", row[k + 1], b.rename(self._times(row[0], z), {other: self.col}))
                for k, z in enumerate(towards)
            ]
            for row in system[1:]
        ]
        below = [
            b.map("add", side, self._times(row[0], first)) for row, side in zip(system[1:], sides[1:], strict=True)
        ]
        found = self._solve(rest, below)
        for z, x in zip(towards, found, strict=True):
            first = b.map("add", first, self._times(b.rename(z, {other: self.col}), x))
        return [first, *found]

    def _unit_lower(self, block: Value, side: Value) -> Value:
        return self.b.matrix("solve_unit_lower", (self.b.map("neg", block), side), self.row, self.col)

    def _times(self, block: Value, x: Value) -> Value:
        """A matrix over the steps times a value along them."""
        return self.b.contract((block, self._at_col(x)), (self.col,))

    # What the chunk hands over.

    def contract(self, read: Read, factors: Sequence[Expr], over: Sequence[str]) -> Pair:
        """`Σ_over Π factors * S`, never with the whole of S."""
        lowered = [self.into.lower(f) for f in factors]
        if any(p.im is not None for p in lowered):
            parts = [self._contracted(read, [p], set(over)) for p in _parts(pairs.multiply(self.b, lowered))]
            return Pair(*parts)
        return Pair(self._contracted(read, [self.b.map("real", p.re) for p in lowered], set(over)))

    def _contracted(self, read: Read, left: Sequence[Value], over: set[str]) -> Value:
        b, exclusive = self.b, bool(read.lags[0])
        names = {d: i.axis for d, i in zip(self.axes, read.index, strict=True) if isinstance(i, Along)}
        decay = _Renamed(self.decay, names)
        start = b.rename(self.start, names)
        factors = (*left, decay.upto(exclusive))
        sources = [[b.rename(g, names) for g in groups] for groups in self.drives]
        from_start, from_drives = self._reads()
        inner = {a: b.fresh_axis(a) for a in self.mixed}
        kept = [a for a in self.axes if a not in self.mixed and names[a] in over]
        weights: list[Groups] = []
        for u, x, p in zip(self.u, from_start, from_drives, strict=True):
            here = [b.rename(g, names) for g in u]
            sources.append([*here, b.rename(p, names)])
            if kept:
                sources.append([*here, b.rename(b.contract((x, self.start), self.mixed), names)])
            else:
                weights.append([*here, b.rename(x, {**names, **inner})])
        total = self._through(left, sources, over, exclusive, decay)
        if weights and over == {names[a] for a in self.mixed} and over <= {a for v in factors for a in v.axes}:
            # Everything that S0 is multiplied by, in one product.
            moved = b.rename(self._through(left, weights, over, exclusive, decay), {inner[a]: names[a] for a in inner})
            factors = (b.map("add", b.contract(factors, ()), moved),)
        elif weights:
            moved = self._through(left, weights, over, exclusive, decay)
            before = b.rename(self.start, {**names, **inner})
            total = b.map("add", total, b.contract((moved, before), inner.values()))
        return b.map("add", b.contract((*factors, start), over), total)

    def final(self, state: str) -> Pair:
        """The state after the chunk: `M S0 + F`."""
        b, after = self.b, self.decay.after()
        total = b.map("mul", self.decay.total(), self.start)
        from_start, from_drives = self._reads()
        inner = {a: b.fresh_axis(a) for a in self.mixed}
        sources = list(self.drives)
        move = b.constant(0.0)
        for u, x, p in zip(self.u, from_start, from_drives, strict=True):
            sources.append([*u, p])
            move = b.map("add", move, b.contract((*u, after, b.rename(x, inner)), (self.row,)))
        shared: dict[tuple[Value, ...], Value] = {}
        for groups in sources:
            inside = tuple(sorted((g for g in groups if set(g.axes) & set(self.mixed)), key=lambda v: v.name))
            outside = b.contract([g for g in groups if g not in inside], ())
            shared[inside] = b.map("add", shared[inside], outside) if inside in shared else outside
        for inside, outside in shared.items():
            total = b.map("add", total, b.contract((*inside, outside, after), (self.row,)))
        if self.low:
            total = b.map("add", total, b.contract((move, b.rename(self.start, inner)), inner.values()))
        return Pair(total)

    def trajectory(self, state: str) -> Pair:
        """The state after every step, where something needs all of it: a scan of the decay alone."""
        b = self.b
        total = b.constant(0.0)
        for groups in self.drives:
            total = b.map("add", total, b.contract(groups, ()))
        for u, x, p in zip(self.u, *self._reads(), strict=True):
            read = b.map("add", p, b.contract((x, self.start), self.mixed))
            total = b.map("add", total, b.contract((*u, read), ()))
        value = b.constant(1.0) if self.decay.none else self.decay.value
        if self.decay.logs and not self.decay.none:
            value = b.map("exp", value)
        (found,) = b.scan({(0, 0): value}, [total], [self.start], self.row)
        return Pair(found)


class _Renamed:
    """A decay along other axes than those of the state."""

    def __init__(self, decay: Decay, names: dict[str, str]):
        self.decay = decay
        self.names = names
        self.axes = {names.get(a, a) for a in decay.axes}

    def _put(self, value: Value) -> Value:
        return self.decay.b.rename(value, self.names)

    def upto(self, exclusive: bool) -> Value:
        return self._put(self.decay.upto(exclusive))

    def ratio(self, exclusive: bool) -> Value:
        return self.decay.ratio(exclusive)

    def levels(self, exclusive: bool) -> list[tuple[Value, Value, Value]]:
        return [(self._put(d), self._put(u), w) for d, u, w in self.decay.levels(exclusive)]

    def same(self) -> Value:
        return self.decay.same()


def grouped(work: Workspace, expr: Expr) -> list[Expr]:
    """The factors of a product, multiplied together where they have the same axes."""
    groups: dict[tuple[str, ...], Expr] = {}
    stack = [expr]
    while stack:
        node = stack.pop()
        fn, args = (node.fn, node.args) if isinstance(node, Apply) else ("", ())
        if fn == "mul":
            stack += reversed(args)
        elif fn == "neg":
            stack += [args[0], number(-1)]
        elif fn == "div" and args[0] != number(1):
            stack += [work.apply("div", number(1), args[1]), args[0]]
        elif node.axes in groups:
            groups[node.axes] = work.apply("mul", groups[node.axes], node)
        else:
            groups[node.axes] = node
    return list(groups.values())


def _parts(pair: Pair) -> list[Value]:
    return list(pair.parts)


__all__ = ["ChunkedSolver"]
