"""What is true of a whole transition: pairs, sides, resets, rings, ranks, cascades; and what it costs to find."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

import recc.recurrence
from recc.check import load
from recc.show import show_expr
from recc.structure import Affine, Nonlinear, structures
from recc.structure.build import Workspace
from tests.structure.laws import affine, found, laws, only, program
from tests.structure.test_systems import TEXTS

ZOO = sorted((Path(recc.recurrence.__file__).parent / "zoo").glob("*.recc"))


def test_a_rotation_tells_its_complex_number() -> None:
    (pair,) = affine(TEXTS["rotation"]).pairs
    assert pair.re is not None
    assert pair.im is not None
    assert (str(pair), show_expr(pair.re)) == ("x + i y", "r[t, d] * cos(angle[t, d])")
    assert show_expr(pair.im) == "r[t, d] * sin(angle[t, d])"
    assert str(pair.size) == "modulus in [0, 1]"


def test_complex_pairs_that_are_no_rotation_have_no_number() -> None:
    structure = affine(TEXTS["two_oscillators"])
    assert [(p.re, p.im) for p in structure.pairs] == [(None, None), (None, None)]
    assert not structure.rotation


@pytest.mark.parametrize(
    ("re", "im", "size"),
    [
        ("a * cos(w)", "a * sin(w)", "modulus in (0, 1)"),
        ("a", "0.5", "modulus in (0.5, 1.11803)"),
        ("3 / 5", "4 / 5", "modulus in [1, 1]"),
        ("w", "a", "modulus in (0, inf)"),
        ("cos(w) * a - sin(w) * a", "sin(w) * a + cos(w) * a", "modulus in (0, 1.41421)"),
    ],
)
def test_the_modulus_of_a_rotation(re: str, im: str, size: str) -> None:
    structure = affine(f"""
recurrence r
    input u
    param a in (0, 1), w
    state x, y
    x[t] = ({re}) * x[t-1] - ({im}) * y[t-1] + u[t]
    y[t] = ({im}) * x[t-1] + ({re}) * y[t-1]
    output o[t] = x[t] + y[t] + 0 * (a + w)
""")
    assert str(structure.pairs[0].size) == size


def test_the_laws_have_teeth() -> None:
    """A wrong claim about a whole transition is found out by numbers."""
    sides = affine(TEXTS["both_sides_sum"])
    ring = affine(TEXTS["open_end"])
    reset = affine(TEXTS["zero_first"])
    mirrored = affine(TEXTS["reflection"])
    ranks = affine(TEXTS["rank_one_and_axis"])
    (entry,) = ranks.entries
    parts = tuple(replace(p, factored=p.factored[:1]) for p in entry.parts)
    (condition,) = reset.resets
    wrong = [
        ("both_sides_sum", replace(sides, sides="product")),
        ("both_sides", replace(affine(TEXTS["both_sides"]), sides="sum")),
        ("open_end", replace(ring, circulant=("x",))),
        ("zero_first", replace(reset, resets=(Workspace(reset.rec).apply("not", condition),))),
        ("reflection", replace(mirrored, pairs=affine(TEXTS["rotation_backwards"]).pairs)),
        ("rank_one_and_axis", replace(ranks, entries=(replace(entry, parts=parts),))),
    ]
    for name, structure in wrong:
        with pytest.raises(AssertionError):
            laws(program(TEXTS[name]), structure)


def test_a_rank_that_an_axis_gives() -> None:
    """Both the dense terms and those of low rank are the update; the axis is in `ranks`."""
    (entry,) = affine(TEXTS["rank_one_and_axis"]).entries
    (part,) = [p for p in entry.parts if p.kind == "dense"]
    first, second = part.factored
    assert (first.ranks, second.ranks) == (("r",), ())
    assert (show_expr(first.left), show_expr(first.right)) == ("-U[t, n, r]", "W[t, n', r]")
    assert first.over == second.over == ("n'",)


@pytest.mark.parametrize("axes", [c for k in range(4) for c in combinations("abc", k)], ids="".join)
def test_diagonal_over_any_subset_of_axes(axes: tuple[str, ...]) -> None:
    gate = f"g[{', '.join(axes)}]" if axes else "g"
    structure = affine(f"""
recurrence r(a, b, c)
    input {gate} in [0, 1], x[a, b, c]
    state S[a, b, c]
    S[t] = g[t] * S[t-1] + x[t]
    output y[t] = S[t]
""")
    assert (structure.kind, structure.axes) == (("diagonal" if axes else "scalar"), axes)


@pytest.mark.parametrize("axis", "abc")
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_low_rank_along_any_axis(axis: str, rank: int) -> None:
    terms = "".join(f" - k{n}[t] * sum[{axis}](w{n}[t] * S[t-1])" for n in range(rank))
    structure = affine(f"""
recurrence r(a, b, c)
    input x[a, b, c], {", ".join(f"k{n}[{axis}], w{n}[{axis}]" for n in range(rank))}
    state S[a, b, c]
    S[t] = S[t-1]{terms} + x[t]
    output y[t] = S[t]
""")
    assert (structure.kind, structure.rank, structure.mixes) == ("diagonal+low_rank", rank, (axis,))


def test_an_action_is_a_product_of_matrices() -> None:
    """A map that differs from column to column is not one, nor is one that exchanges the axes."""
    head = "recurrence r(i, j = i)\n input x[i, j], k[i], g[j]\n state S[i, j]\n output y[t] = S[t] + 0 * g[t] * k[t]\n"
    for update, action in {
        "S[t] = S[t-1] - k[t] * sum[i](k[t] * S[t-1]) + x[t]": "left",
        "S[t] = S[t-1] - g[t] * k[t] * sum[i](k[t] * S[t-1]) + x[t]": "",
        "S[t] = S[t-1] - k[t] * sum[i](k[t] * S[t-1, j, i]) + x[t]": "",
        "S[t] = S[t-1] - g[t] * sum[j](g[t] * S[t-1]) + x[t]": "right",
    }.items():
        lines = head.splitlines()
        assert affine("\n".join([*lines[:-1], f" {update}", lines[-1]]) + "\n").action == action


def test_what_a_cascade_depends_on() -> None:
    """The transition's own gates, through names; what only the drive reads is no gate."""
    text = """
recurrence r(d)
    input x[d], a[d] in [0, 1]
    state p[d], q[d], h[d]
    p[t] = a[t] * p[t-1] + x[t]
    q[t] = a[t] * q[t-1] + p[t]
    gate[t] = sigmoid(q[t-1] + x[t])
    h[t] = gate[t] * h[t-1] + p[t]
    output y[t] = h[t]
"""
    shown = {s.stage.states: s.gates for s in found(text) if isinstance(s, Affine)}
    assert shown == {("p",): (), ("q",): (), ("h",): ("q",)}


def test_a_sum_of_another_algebra_is_to_blame_for_a_mixture() -> None:
    """`max` of what is linear over the ring only: neither linear, and the note says where max-plus fails."""
    text = TEXTS["mlstm_clamped"]
    structure = found(text)[1]
    assert isinstance(structure, Nonlinear)
    assert structure.reason.startswith("`max` of `keep[t] * n[t-1] + k[t]`")
    notes = [(program(text).source.slice(n.span), n.text) for n in structure.notes]
    assert notes[-1] == ("keep[t] * n[t-1]", "is not linear over max-plus")


def test_two_sides_are_both_in_the_reason() -> None:
    reason = only(TEXTS["both_sides_sum"]).reason
    assert reason == "`sum[i](k[t] * S[t-1])` mixes i, and `sum[j](S[t-1] * p[t])` mixes j"


def reflections(n: int) -> str:
    """A product of n maps, each identity plus rank one, after a decay."""
    before = ["S0[t] = exp(g[t]) * S[t-1]"]
    for k in range(1, n + 1):
        name = f"S{k}" if k < n else "S"
        before.append(f"{name}[t] = S{k - 1}[t] + k{k}[t] * (v[t] - sum[i](k{k}[t] * S{k - 1}[t]))")
    keys = ", ".join(f"k{k}[i]" for k in range(1, n + 1))
    body = "\n    ".join(before)
    return (
        f"recurrence r(i, j)\n    input {keys}, v[j], g <= 0\n    state S[i, j]\n    {body}\n    output o[t] = S[t]\n"
    )


def test_a_product_of_many_maps_of_rank_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rank is their number, and the work grows with its square, not with the 2^n products."""
    calls = counted(monkeypatch)
    counts = {}
    for n in (1, 2, 3, 4, 8, 16):
        before = len(calls)
        structure = only(reflections(n))
        counts[n] = len(calls) - before
        assert isinstance(structure, Affine)
        assert (structure.kind, structure.rank) == ("diagonal+low_rank", n)
    assert counts[16] <= 5 * counts[8]
    affine(reflections(7))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that grows by one with every scalar function that an analysis makes."""
    calls: list[str] = []
    apply = Workspace.apply

    def counting(self: Workspace, fn: str, *args: recc.recurrence.Expr, **rest: object) -> recc.recurrence.Apply:
        calls.append(fn)
        return apply(self, fn, *args, **rest)  # type: ignore[arg-type]  # `rest` is the span

    monkeypatch.setattr(Workspace, "apply", counting)
    return calls


def test_the_work_is_small_for_every_program(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch)
    recs = [rec for path in ZOO for rec in load(path.read_text(), path.name)]
    recs += [program(text) for text in TEXTS.values()]
    for rec in recs:
        before = len(calls)
        structures(rec)
        assert len(calls) - before < 2000, rec.name
