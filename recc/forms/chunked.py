"""The chunked form of a stage: matrix products inside chunks, a small state between them.

For a stage in normal form, with decay d, low-rank terms (u_r, w_r) and drives (b_m, c_m),

    S[t] = d[t] ⊙ S[t-1] + Σ_r u_r[t] ⊗ (w_r[t] · S[t-1]) + Σ_m b_m[t] ⊗ c_m[t]

let u_r = μ_r û_r, where μ_r has all factors that the low-rank terms do not sum over. What is written along
û_r at step t is x_r = μ_r p_r + Σ c_m, where p_r[t] = w_r[t] · S[t-1] is what the term reads and the sum is
over the drives with b_m = û_r. It obeys a unit lower triangular system over the steps of a chunk that starts
from S0, with the other drives in N:

    (I - L) X = μ (W̄ S0 + N C) + C'    L[t, s] = μ_r[t] Σ w_r[t] (Γ[t-1]/Γ[s]) û_r'[s]
                                       N[t, s] = Σ w_r[t] (Γ[t-1]/Γ[s]) b_m[s],            both for s < t only
                                       W̄[t] = w_r[t] Γ[t-1]

and every later read is a product with S0, X and C under a mask: for a readout f[t] · S[t],

    f[t] Γ[t] · S0 + Σ_{s <= t} (Σ f[t] (Γ[t]/Γ[s]) û_r[s]) X_r[s] + Σ_{s <= t} (Σ f[t] (Γ[t]/Γ[s]) b_m[s]) C_m[s]

(s < t and Γ[t-1] where S[t-1] is read). The unknown is what is written, not what is read, because a step
that overwrites reads what it removes: over a long chunk what was read and what was driven each add up to
much more than the state, and would cancel. X is kept as two parts, what S0 makes and what the drives make,
so that all but the small products with S0 can be done for every chunk at once. Nothing here depends on which
axes are summed: the same lines are key-side and value-side decays, left and right actions. Several
low-rank terms are eliminated one after the other, which is the block triangular system solved exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
Groups = Sequence[Pair]
#: A score over pairs of steps, what multiplies it at the later step, and at the earlier one.
Coupling = tuple[Pair, Pair, Pair]


class ChunkedSolver:
    """Runs a stage with one state whose transition is diagonal, with or without low rank."""

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
        if self.decay.axes and not size:
            raise CannotDerive("a decay that is not the same for the whole state needs the size of a chunk")
        self.start = pairs.real(b, into.carried(self.state))
        self.w = [self._right(t) for t in self.low]
        terms = [self._split([self._lower(g) for g in grouped(work, t.left)]) for t in self.low]
        self.u, self.scale = [u for u, _ in terms], [scale for _, scale in terms]
        #: For each low-rank term the drives along its u, without it.
        self.along: list[list[Groups]] = [[] for _ in self.low]
        self.drives: list[Groups] = []
        for groups in ([self._lower(g) for g in t.groups] for d in structure.drives for t in d.terms):
            inside, outside = self._split(groups)
            if inside in self.u:
                self.along[self.u.index(inside)].append(outside)
            else:
                self.drives.append(groups)
        self._solved: tuple[list[Pair], list[Pair]] | None = None if self.low else ([], [])

    def _lower(self, expr: Expr) -> Pair:
        return pairs.real(self.b, self.into.lower(expr))

    def _mixed(self) -> tuple[str, ...]:
        """The axes that the low-rank terms sum over, in the state's names."""
        found = {tuple(d for d, i in self._places(t) if i.axis in t.over) for t in self.low}
        if len(found) > 1:
            raise CannotDerive("its low-rank terms sum over different axes")
        return next(iter(found), ())

    def _places(self, term: Term) -> list[tuple[str, Along]]:
        """The state's axes with the indices that a term reads them by."""
        places = [(d, i) for d, i in zip(self.axes, term.read.index, strict=True) if isinstance(i, Along)]
        if len(places) < len(self.axes) or any(
            i.offset or (d != i.axis and i.axis not in term.over) for d, i in places
        ):
            raise CannotDerive("a low-rank term reads the state elsewhere than in place")
        return places

    def _right(self, term: Term) -> Pair:
        """The w of a term, along the state's own axes."""
        names = {i.axis: d for d, i in self._places(term) if i.axis in term.over}
        return pairs.rename(self.b, self._lower(term.right), names)

    def _decay(self, work: Workspace, size: int) -> Decay:
        """The decay of the stage, in logarithms where the text has an exponential."""
        terms = [t for e in self.structure.entries for p in e.parts if p.kind != "low_rank" for t in p.terms]
        expr = terms[0].left if terms else Number(0.0)
        logs = log_of(work, self.structure.rec, expr)
        value = self._lower(expr if logs is None else logs)
        return Decay(self.b, value, logs is not None, self.row, self.col, size)

    def _split(self, groups: Groups, over: Iterable[str] | None = None) -> tuple[Groups, Groups]:
        """Factors with one of some axes, those that low-rank terms sum over if none are given, and the rest."""
        axes = set(self.mixed if over is None else over)
        inside = [g for g in groups if pairs.axes_of(g) & axes]
        return sorted(inside, key=lambda g: g.re.name), [g for g in groups if g not in inside]

    def _mul(self, factors: Iterable[Pair], over: Iterable[str] = ()) -> Pair:
        return pairs.multiply(self.b, factors, over)

    def _add(self, *terms: Pair) -> Pair:
        return pairs.add(self.b, terms)

    def _rename(self, value: Pair, names: Mapping[str, str]) -> Pair:
        return pairs.rename(self.b, value, names)

    def _at_col(self, value: Pair) -> Pair:
        return self._rename(value, {self.row: self.col})

    # Products over pairs of steps.

    def _couple(self, left: Groups, right: Groups, over: set[str], exclusive: bool, decay: _Renamed) -> list[Coupling]:
        """Terms whose sum is `Σ_over left[t] (Γ[t]/Γ[s]) right[s]`: each a product score[t, s] down[t] up[s]."""
        b, one = self.b, Pair(self.b.constant(1.0))
        right = [self._at_col(v) for v in right]
        pair = (self.row, self.col)
        if not decay.axes:
            score = pairs.spread(b, self._mul((*left, *right), over), pair)
            return [(self._mul((score, decay.ratio(exclusive))), one, one)]
        found: list[Coupling] = []
        total = Pair(b.constant(0.0))
        raw = None if decay.axes & over else pairs.spread(b, self._mul((*left, *right), over), pair)
        for down, up, which in decay.levels(exclusive):
            if raw is None:
                score = pairs.spread(b, self._mul((*left, *right, down, up), over), pair)
                total = self._add(total, pairs.where(b, which, score))
            else:
                found.append((pairs.where(b, which, raw), down, up))
        if not exclusive:
            same = [self._rename(v, {self.col: self.row}) for v in right]
            now = self._mul((*left, *same), over) if raw is None else raw
            total = self._add(total, pairs.where(b, decay.same(), pairs.spread(b, now, pair)))
        if not pairs.is_zero(b, total):
            found.append((total, one, one))
        return found

    def _shared(self, sources: Iterable[Groups], over: set[str]) -> list[tuple[Groups, Groups]]:
        """Products as factors that are summed over and factors that are not.

        Those that share the former are added up: they cost one product.
        """
        found: dict[tuple[Pair, ...], list[Groups]] = {}
        for groups in sources:
            inside, outside = self._split(groups, over)
            found.setdefault(tuple(inside), []).append(outside)
        shared: list[tuple[Groups, Groups]] = []
        for inside, rests in found.items():
            if len(rests) > 1 and inside:
                rests = [[self._add(*(self._mul(rest) for rest in rests))]]
            shared += [(inside, rest) for rest in rests]
        return shared

    def _through(
        self, left: Groups, sources: Iterable[Groups], over: set[str], exclusive: bool, decay: _Renamed
    ) -> Pair:
        """`Σ_{s <= t} Σ_over left[t] (Γ[t]/Γ[s]) Σ_sources Π groups[s]`, what is not summed after the mask."""
        terms = []
        for inside, outside in self._shared(sources, over):
            later = [self._at_col(g) for g in outside]
            for score, down, up in self._couple(left, inside, over, exclusive, decay):
                terms.append(self._mul((down, self._mul((score, up, *later), (self.col,)))))
        return self._add(*terms)

    # The low-rank terms.

    def _written(self) -> tuple[list[Pair], list[Pair]]:
        """X as two lists, a value for each low-rank term: what S0 is multiplied by, and what the drives make."""
        if self._solved is None:
            b, over, decay = self.b, set(self.mixed), _Renamed(self.decay, {})
            system = [
                [self._pairwise(w, scale, u) for u in self.u] for w, scale in zip(self.w, self.scale, strict=True)
            ]
            before = self.decay.upto(True)
            from_start, from_drives = [], []
            for w, scale, along in zip(self.w, self.scale, self.along, strict=True):
                from_start.append(pairs.spread(b, self._mul((*scale, w, before)), (self.row, *self.mixed)))
                read = self._through([w], self.drives, over, True, decay)
                added = self._add(*(self._mul(groups) for groups in along), self._mul((*scale, read)))
                from_drives.append(pairs.spread(b, added, (self.row,)))
            self._solved = self._solve(system, from_start), self._solve(system, from_drives)
        return self._solved

    def _pairwise(self, w: Pair, scale: Groups, u: Groups) -> Pair:
        """One block of L."""
        couplings = self._couple([w], u, set(self.mixed), True, _Renamed(self.decay, {}))
        return self._add(*(self._mul((score, down, up, *scale)) for score, down, up in couplings))

    def _solve(self, system: list[list[Pair]], sides: list[Pair]) -> list[Pair]:
        """The x with `x_r - Σ_r' L_rr' x_r' = side_r`; a complex unknown is two real ones."""
        b = self.b
        if all(p.im is None for p in (*sides, *(p for row in system for p in row))):
            return [Pair(x) for x in self._eliminate([[p.re for p in row] for row in system], [p.re for p in sides])]
        blocks: list[list[Value]] = []
        for row in system:
            parts = [pairs.both(b, p) for p in row]
            blocks.append([v for re, im in parts for v in (re, b.map("neg", im))])
            blocks.append([v for re, im in parts for v in (im, re)])
        found = self._eliminate(blocks, [v for p in sides for v in pairs.both(b, p)])
        return [Pair(re, im) for re, im in zip(found[::2], found[1::2], strict=True)]

    def _eliminate(self, system: list[list[Value]], sides: list[Value]) -> list[Value]:
        """The same over the reals: the first unknown is eliminated from all other rows, then the next."""
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
        found = self._eliminate(rest, below)
        for z, x in zip(towards, found, strict=True):
            first = b.map("add", first, self._times(b.rename(z, {other: self.col}), x))
        return [first, *found]

    def _unit_lower(self, block: Value, side: Value) -> Value:
        return self.b.matrix("solve_unit_lower", (self.b.map("neg", block), side), self.row, self.col)

    def _times(self, block: Value, x: Value) -> Value:
        """A matrix over the steps times a value along them."""
        return self.b.contract((block, self.b.rename(x, {self.row: self.col})), (self.col,))

    # What the chunk hands over.

    def contract(self, read: Read, factors: Sequence[Expr], over: Sequence[str]) -> Pair:
        """`Σ_over Π factors * S`, never with the whole of S."""
        b, exclusive, summed = self.b, bool(read.lags[0]), set(over)
        left = [self._lower(f) for f in factors]
        names = {d: i.axis for d, i in zip(self.axes, read.index, strict=True) if isinstance(i, Along)}
        decay = _Renamed(self.decay, names)
        start = self._rename(self.start, names)
        before = [*left, decay.upto(exclusive)]
        sources = [[self._rename(g, names) for g in groups] for groups in self.drives]
        inner = {a: b.fresh_axis(a) for a in self.mixed}
        kept = [a for a in self.axes if a not in self.mixed and names[a] in summed]
        weights: list[Groups] = []
        for u, x, p in zip(self.u, *self._written(), strict=True):
            here = [self._rename(g, names) for g in u]
            sources.append([*here, self._rename(p, names)])
            if kept:
                sources.append([*here, self._rename(self._mul((x, self.start), self.mixed), names)])
            else:
                weights.append([*here, self._rename(x, {**names, **inner})])
        total = self._through(left, sources, summed, exclusive, decay)
        if (
            weights
            and summed == {names[a] for a in self.mixed}
            and summed <= {a for p in before for a in pairs.axes_of(p)}
        ):
            # Everything that S0 is multiplied by, in one product.
            moved = self._through(left, weights, summed, exclusive, decay)
            before = [self._add(self._mul(before), self._rename(moved, {inner[a]: names[a] for a in inner}))]
        elif weights:
            moved = self._through(left, weights, summed, exclusive, decay)
            total = self._add(total, self._mul((moved, self._rename(self.start, {**names, **inner})), inner.values()))
        return self._add(self._mul((*before, start), over), total)

    def final(self, state: str) -> Pair:
        """The state after the chunk: `M S0 + F`."""
        after = self.decay.after()
        inner = {a: self.b.fresh_axis(a) for a in self.mixed}
        sources: list[Groups] = list(self.drives)
        moves = []
        for u, x, p in zip(self.u, *self._written(), strict=True):
            sources.append([*u, p])
            moves.append(self._mul((*u, after, self._rename(x, inner)), (self.row,)))
        terms = [self._mul((self.decay.total(), self.start))]
        for inside, outside in self._shared(sources, set(self.mixed)):
            terms.append(self._mul((*inside, *outside, after), (self.row,)))
        if moves:
            terms.append(self._mul((self._add(*moves), self._rename(self.start, inner)), inner.values()))
        return self._add(*terms)

    def trajectory(self, state: str) -> Pair:
        """The state after every step, where something needs all of it: a scan of the decay alone."""
        b = self.b
        terms = [self._mul(groups) for groups in self.drives]
        for u, x, p in zip(self.u, *self._written(), strict=True):
            terms.append(self._mul((*u, self._add(p, self._mul((x, self.start), self.mixed)))))
        drive, value = self._add(*terms), self.decay.value
        if self.decay.none or self.decay.logs:
            value = Pair(b.constant(1.0) if self.decay.none else b.map("exp", value.re))
        if all(p.im is None for p in (drive, value, self.start)):
            return Pair(*b.scan({(0, 0): value.re}, [drive.re], [self.start.re], self.row))
        re, im = pairs.both(b, value)
        table = {(0, 0): re, (0, 1): b.map("neg", im), (1, 0): im, (1, 1): re}
        return Pair(*b.scan(table, pairs.both(b, drive), pairs.both(b, self.start), self.row))


class _Renamed:
    """A decay along other axes than those of the state."""

    def __init__(self, decay: Decay, names: dict[str, str]):
        self.decay = decay
        self.names = names
        self.axes = {names.get(a, a) for a in decay.axes}

    def _put(self, value: Pair) -> Pair:
        return pairs.rename(self.decay.b, value, self.names)

    def upto(self, exclusive: bool) -> Pair:
        return self._put(self.decay.upto(exclusive))

    def ratio(self, exclusive: bool) -> Pair:
        return self.decay.ratio(exclusive)

    def levels(self, exclusive: bool) -> list[tuple[Pair, Pair, Value]]:
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


__all__ = ["ChunkedSolver"]
