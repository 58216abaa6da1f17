"""Maps that are carried along: a chunk after what is affine in earlier carries is affine in them, over any algebra."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recc.check import load
from recc.forms.advance import Tier, tier, tiers
from recc.forms.block import ZERO, Block, BlockError, Value
from recc.forms.builder import Builder
from recc.forms.interpret import interpret
from recc.forms.parallel import derive
from recc.forms.passes import Pass, Sequential
from recc.forms.segment import Carried
from recc.forms.semiring import LogSumExp, folded, logsumexp
from recc.forms.sequential import derive_sequential
from recc.forms.verify import verify
from tests.agree.cases import programs

Arrays = dict[str, Any]
SIZES = (3, 4, 2, 5)
CHUNK = 3

#: Programs with the algebras of their tiers, forward; none if what is carried is not affine.
TIERS = {
    "hmm_forward": ["log-sum-exp"], "viterbi": ["max-plus"], "mlstm": ["max-plus", "ring"],
    "slstm": ["max-plus", "ring"], "gated_delta": ["ring"], "hla": ["ring", "ring"], "lru": ["ring"],
    "gru": [], "kalman": [],
}  # fmt: skip


def carries(loop: Pass, back: bool) -> list[Carried]:
    before = {(p.name, p.part): p.value for p in loop.reads if p.role == "carry"}
    found = []
    for p in loop.writes:
        if p.role == "carry":
            old, axes = before[p.name, p.part], loop.step.output[p.value].axes
            names = (f"d {p.value}", f"d {old}") if back else (old, p.value)
            found.append(Carried(p.label, *names, axes))
    return found


def draw(block: Block, seed: int) -> tuple[Arrays, dict[str, int]]:
    rng, roots = np.random.default_rng(seed), sorted({r for _, r in block.size_of})
    sizes = {r: CHUNK if r == "t" else SIZES[k % len(SIZES)] for k, r in enumerate(roots)}
    shapes = {v.name: [sizes[block.root[a]] for a in v.axes] for v in block.inputs}
    kinds = {v.name: v.dtype for v in block.inputs}
    return {n: rng.normal(size=s) if kinds[n] == "real" else rng.integers(0, 2, s) for n, s in shapes.items()}, sizes


def run(block: Block, sizes: dict[str, int], *tables: Arrays) -> Arrays:
    given = {n: x for table in tables for n, x in table.items()}
    return interpret(block, {v.name: given[v.name] for v in block.inputs}, sizes)


def check(block: Block, found: tuple[Tier, ...]) -> None:
    """Three chunks, one after the other, and their map applied to where they start."""
    drawn, sizes = draw(block, 0)
    every = [c for one in found for c in one.carries]
    state = {c.label: drawn[c.before] for c in every}
    now, chunks = dict(state), []
    for seed in range(3):
        chunks.append(draw(block, seed)[0])
        after = run(block, sizes, chunks[-1], {c.before: now[c.label] for c in every})
        now = {c.label: after[c.after] for c in every}
    for one in found:
        for b in (one.start, one.step, one.fold):
            verify(b)
        sizes |= {column: sizes[block.root[axis]] for column, axis in one.columns.items()}
        pieces, known = run(one.start, sizes), {c.before: state[c.label] for c in one.known}
        for chunk in chunks:
            made = run(one.step, sizes, chunk, pieces, known)
            pieces = {n: made[n] for n in one.pieces}
            known = {c.before: made[c.after] for c in one.known if c.after in made}
        start = {f"C {c.label}": state[c.label] for c in one.carries}
        total = {f"A {c.label}": pieces[f"F {c.label}"] for c in one.carries}
        for name, value in run(one.fold, sizes, pieces, start, total).items():
            np.testing.assert_allclose(value, now[name[2:]], rtol=1e-10, atol=1e-10, err_msg=name)


def loops(name: str, form: str) -> tuple[Pass, ...]:
    rec = programs()[name].rec
    found = derive_sequential(rec) if form == "sequential" else derive(rec, form, CHUNK)
    return found.passes if isinstance(found, Sequential) or hasattr(found, "passes") else ()


@pytest.mark.parametrize("form", ["sequential", "scan", "chunked"])
@pytest.mark.parametrize("name", TIERS)
def test_a_map_is_what_its_chunks_do(name: str, form: str) -> None:
    for loop in loops(name, form):
        found = tiers(loop.step, carries(loop, False))
        assert [one.algebra for one in found] == TIERS[name]
        check(loop.step, found)
        if found:
            against = tiers(loop.step_vjp, carries(loop, True))
            assert {one.algebra for one in against} == {"ring"}
            check(loop.step_vjp, against)


def test_what_is_handed_back_to_a_maximum_waits_for_the_matrix() -> None:
    """Together the maps would be as wide as the square of the matrix."""
    (loop,) = loops("mlstm", "chunked")
    found = tiers(loop.step_vjp, carries(loop, True))
    assert [{n: v.axes for n, v in one.pieces.items() if n[0] == "M"} for one in found] == [
        {"M C C": (), "M z z": ()}, {"M m m": ()},
    ]  # fmt: skip


def test_what_is_known_may_not_depend_on_what_is_not() -> None:
    (loop,) = loops("mlstm", "sequential")
    c, z, m = carries(loop, False)
    with pytest.raises(BlockError, match="is not linear in m"):
        tier(loop.step, [c, z, m], "ring", ())
    (lru,) = loops("lru", "sequential")
    real, imaginary = carries(lru, False)
    with pytest.raises(BlockError, match="is not known before"):
        tier(lru.step, [real], "ring", [imaginary])


@pytest.mark.parametrize("algebra", [a for a in ZERO if a != "ring"])
def test_products_have_no_place_in_a_semiring(algebra: Any) -> None:
    (rec,) = load("recurrence r(d)\n input x[d]\n state h[d]\n h[t] = 0.5 * h[t-1] + x[t]\n output y[t] = h[t]\n")
    (loop,) = derive_sequential(rec).passes
    with pytest.raises(BlockError, match="is not linear in h"):
        tier(loop.step, carries(loop, False), algebra)


def test_sums_of_exponentials_are_found_again() -> None:
    """As they are written, and not if anything about them differs."""

    def made(top: float) -> Block:
        b = Builder("b", {"n": "n", "m": "m"})
        x: Value = b.input("x", ("n", "m"))
        y = logsumexp(b, x, ("m",))
        b.output("y", y)
        b.output("z", b.map("where", b.map("le", y, b.constant(0.0)), b.constant(top), b.map("add", y, y)))
        return b.build()

    block = folded(made(-np.inf))
    assert [op for op in block.ops if isinstance(op, LogSumExp)] == [
        LogSumExp(block.output["y"], block.inputs[0], ("m",))
    ]
