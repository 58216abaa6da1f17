"""Segment maps: a chunk is one affine map of its carries, and two chunks join to one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recc.check import load
from recc.errors import Refusal
from recc.forms.block import Block, BlockError, Value
from recc.forms.builder import Builder
from recc.forms.interpret import interpret
from recc.forms.linear import Linear
from recc.forms.parallel import derive
from recc.forms.passes import Pass
from recc.forms.segment import SegmentMap, segment_map
from recc.forms.sequential import derive_sequential
from recc.forms.verify import verify
from recc.forms.vjp import vjp
from tests.agree.cases import programs
from tests.forms.chunks import CASES
from tests.forms.laws import AXES, SIZES

Arrays = dict[str, np.ndarray[Any, Any]]

#: Programs whose steps are not affine over the ring in what they carry, with what the message says.
NOT_AFFINE = {
    "gru": "sigmoid", "lstm": "sigmoid", "hmm_forward": "max", "kalman": "div", "lif": "ge", "mlstm": "semiring",
    "slstm": "semiring", "viterbi": "max", "dense": "tanh", "stencil": "sin", "forward": "max", "matrices": "expm",
    "bidirectional": "mul",
}  # fmt: skip


def sizes_of(block: Block, chunk: int) -> dict[str, int]:
    """Small sizes that all differ, and one for the axis of the chunk."""
    roots = sorted({root for _, root in block.size_of})
    return {root: chunk if root in ("c", "t") else 2 + i for i, root in enumerate(roots)}


def draw(block: Block, chunk: int, seed: int) -> Arrays:
    rng, sizes = np.random.default_rng(seed), sizes_of(block, chunk)
    found = {}
    for v in block.inputs:
        shape = [sizes[block.root[a]] for a in v.axes]
        found[v.name] = 0.7 * rng.normal(size=shape) if v.dtype == "real" else rng.integers(0, 2, shape)
    return found


def run(block: Block, chunk: int, *arrays: Mapping[str, Any]) -> Arrays:
    inputs = {n: v for table in arrays for n, v in table.items()}
    return interpret(block, {v.name: inputs[v.name] for v in block.inputs}, sizes_of(block, chunk))


def close(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        scale = max(1.0, float(np.abs(value).max(initial=0)))
        np.testing.assert_allclose(found[name], value, rtol=1e-10, atol=1e-11 * scale, err_msg=name)


def numbered(pieces: Mapping[str, Any], number: int) -> Arrays:
    return {n.replace(n[0], f"{n[0]}{number}", 1): v for n, v in pieces.items()}


def check(loop: Pass, chunk: int) -> SegmentMap:
    """One chunk against its map, two against the join of theirs."""
    found = segment_map(loop)
    for block in (found.pieces, found.join, found.apply):
        verify(block)
    before = {p.name + str(p.part): p.value for p in loop.reads if p.role == "carry"}
    after = {p.name + str(p.part): p.value for p in loop.writes if p.role == "carry"}
    assert before.keys() == after.keys()
    assert not {v.name for v in found.pieces.inputs} & set(before.values())
    step = loop.step.live(after.values())
    step = replace(step, inputs=loop.step.inputs)
    first, second = draw(step, chunk, 1), draw(step, chunk, 2)
    carries = {name: first.pop(name) for name in before.values()}
    second = {n: v for n, v in second.items() if n not in carries}

    middle = run(step, chunk, first, carries)
    pieces = [run(found.pieces, chunk, arrays) for arrays in (first, second)]
    close(run(found.apply, chunk, pieces[0], carries), middle)
    last = run(step, chunk, second, {before[key]: middle[name] for key, name in after.items()})
    joined = run(found.join, chunk, numbered(pieces[0], 1), numbered(pieces[1], 2))
    assert joined.keys() == pieces[0].keys()
    assert all(joined[n].shape == v.shape for n, v in pieces[0].items())
    close(run(found.apply, chunk, joined, carries), last)
    return found


@pytest.mark.parametrize("chunk", [1, 2, 5])
@pytest.mark.parametrize("name", CASES)
def test_chunks_by_hand(name: str, chunk: int) -> None:
    for loop in CASES[name].passes:
        check(loop, chunk)


@pytest.mark.parametrize("name", [n for n, p in programs().items() if len(p.rec.scan) == 1])
def test_single_steps(name: str) -> None:
    """The step Block of every program is either affine in what it carries or says why not."""
    refused = []
    for loop in derive_sequential(programs()[name].rec).passes:
        try:
            check(loop, 1)
        except BlockError as error:
            refused.append(str(error))
    assert len(refused) == (name in NOT_AFFINE), refused
    for message in refused:
        assert re.match(r"step: [^=]* = .*is not linear in \w+", message)
        assert NOT_AFFINE[name] in message


@pytest.mark.parametrize("form", ["scan", "chunked"])
@pytest.mark.parametrize("name", ["gated_delta_net", "mamba", "lssl", "hla", "second", "both", "lru", "conv_ssm"])
def test_derived_forms(name: str, form: str) -> None:
    """Chunks of several steps; matrix states are acted on from one side, diagonal transitions stay diagonal."""
    rec = programs()[name].rec
    found = derive(rec, form)
    if isinstance(found, Refusal):
        assert form == "chunked"
        return
    for loop in found.passes:
        check(loop, 4)
    matrix = {
        "gated_delta_net": ("i", "i_in"),
        "mamba": ("d", "n"),
        "lssl": ("n", "n_in"),
        "conv_ssm": ("x", "p", "x_in"),
    }
    if name in matrix:
        assert list(entries(found.passes[0]).values()) == [matrix[name]]


def entries(loop: Pass) -> dict[str, tuple[str, ...]]:
    return {n: v.axes for n, v in segment_map(loop).pieces.outputs if n.startswith("M ")}


def test_what_acts_alike_on_all_of_an_axis_is_no_matrix_of_it() -> None:
    assert entries(CASES["attention"].passes[0]) == {"M S S": ()}
    by_step = {n: derive_sequential(programs()[n].rec).passes[0] for n in ("gated_delta_net", "mamba", "lssl", "ssd")}
    assert entries(by_step["gated_delta_net"]) == {"M S S": ("i", "i_in")}
    assert entries(by_step["mamba"]) == {"M h h": ("d", "n")}
    assert entries(by_step["lssl"]) == {"M h h": ("n", "n_in")}
    assert set(entries(by_step["ssd"]).values()) == {()}


def test_a_delay_line_forgets() -> None:
    assert entries(CASES["delay"].passes[0]) == {}


def test_joined_maps_have_entries_that_one_has_not() -> None:
    """In a chain of three the last is moved by the first only after two pieces."""

    states = {"x": "u[t]", "y": "x[t-1] * u[t]", "z": "y[t-1] + z[t-1]"}
    loop = of_states(states)
    assert set(entries(loop)) == {"M y x", "M z x", "M z y", "M z z"}
    check(loop, 1)


@pytest.mark.parametrize("name", ["attention", "gated_delta_net", "lru"])
def test_gradients_through_the_map(name: str) -> None:
    """Cotangents through `apply` and then `pieces` are those through the step Block."""
    loop = CASES[name].passes[0] if name in CASES else derive_sequential(programs()[name].rec).passes[0]
    found = segment_map(loop)
    after = [p.value for p in loop.writes if p.role == "carry"]
    step = loop.step.live(after)
    inputs = draw(step, 3, 1)
    seeds = {f"d {n}": np.random.default_rng(2).normal(size=v.shape) for n, v in run(step, 3, inputs).items()}
    expected = run(vjp(step, list(inputs), after), 3, inputs, seeds)
    pieces = run(found.pieces, 3, inputs)
    back = run(vjp(found.apply, [v.name for v in found.apply.inputs], after), 3, pieces, inputs, seeds)
    through = vjp(found.pieces, [v.name for v in found.pieces.inputs], list(pieces))
    back |= run(through, 3, inputs, {f"d {n}": back[f"d {n}"] for n in pieces})
    close({n: back[n] for n in expected}, expected)


def of_states(equations: Mapping[str, str]) -> Pass:
    """The only pass of a program with these states and an input `u`."""
    lines = ["recurrence case(n)", "input u[n]", *(f"state {n}[n]" for n in equations)]
    lines += [f"{n}[t] = {right}" for n, right in equations.items()]
    lines += [f"output out_{n}[t] = {n}[t]" for n in equations]
    (rec,) = load("\n".join(lines))
    (loop,) = derive_sequential(rec).passes
    return loop


#: One operation or a few that are linear in `s`; `f` and `g` are free.
LINEAR: dict[str, Callable[[Builder, Value, Value, Value], Value]] = {
    "sub and neg": lambda b, s, f, g: b.map("sub", g, b.map("neg", s)),
    "div": lambda b, s, f, g: b.map("div", s, b.map("exp", f)),
    "where": lambda b, s, f, g: b.map("where", b.map("gt", f, g), s, g),
    "contract": lambda b, s, f, g: b.contract((s, f, g), ("n",)),
    "contract over all": lambda b, s, f, g: b.contract((s,), ("b", "n")),
    "running sum": lambda b, s, f, g: b.cumulate("sum", b.map("mul", s, g), "t", True, True, 2),
    "mask": lambda b, s, f, g: b.mask(b.map("mul", g, s), "t", "s"),
    "solve": lambda b, s, f, g: b.matrix("solve_unit_lower", (b.map("mul", f, b.rename(g, {"n": "m"})), s), "n", "m"),
    "solve back": lambda b, s, f, g: b.matrix(
        "solve_unit_lower", (b.map("mul", f, b.rename(g, {"n": "m"})), s), "n", "m", transposed=True
    ),
    "shift": lambda b, s, f, g: b.shift(s, "n", 1, "wrap"),
    "shift off the end": lambda b, s, f, g: b.shift(b.map("mul", g, s), "t", -1, "zero"),
    "gather": lambda b, s, f, g: b.gather(b.map("mul", s, g), "t", b.constant(-1, dtype="int"), "wrap"),
    "gather by itself": lambda b, s, f, g: b.gather(s, "n", b.iota("t"), "zero"),
    "scatter": lambda b, s, f, g: b.scatter(b.map("mul", s, g), "k", b.iota("t"), "wrap", ("b", "n", "k")),
    "scatter of a sum": lambda b, s, f, g: b.scatter(s, "k", b.iota("n"), "zero", ("b", "k")),
    "rename": lambda b, s, f, g: b.rename(s, {"n": "m"}),
    "scan": lambda b, s, f, g: b.scan({(0, 0): f, (1, 0): g}, (g, b.map("mul", s, g)), (s, s), "t")[1],
    "dense scan": lambda b, s, f, g: b.scan(
        {(0, 0): b.map("mul", f, b.rename(g, {"n": "m"}))}, (g,), (s,), "t", rows=("n",), cols=("m",)
    )[0],
    "convolve": lambda b, s, f, g: b.convolve(g, b.map("mul", s, g), "t", ("n",)),
    "convolve with a free argument": lambda b, s, f, g: b.convolve(b.map("mul", s, g), g, "t", reverse=True),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_operations(name: str) -> None:
    """The parts of a value at zero and in each element of the seed add up to the value."""
    b = Builder("case", dict(AXES))
    s, f, g = b.input("s", ("b", "n")), b.input("f", ("n",)), b.input("g", ("t", "n"))
    b.output("y", LINEAR[name](b, s, f, g))
    block = b.build()
    verify(block)
    new = Builder("parts", {**AXES, "b_in": "b", "n_in": "n"})
    linear = Linear(block, {"s": ("s", {"b": "b_in", "n": "n_in"})}, new)
    y = block.output["y"]
    parts = linear.parts_of(y)
    for label, v in parts.items():
        new.output(label, new.spread(v, (*y.axes, "b_in", "n_in") if label else y.axes))
    pieces = new.build()
    verify(pieces)
    rng = np.random.default_rng(0)
    inputs = {v.name: rng.normal(size=[SIZES[AXES[a]] for a in v.axes]) for v in block.inputs}
    expected = interpret(block, inputs, SIZES)["y"]
    found = interpret(pieces, inputs, SIZES)
    total = np.tensordot(found["s"], inputs["s"], 2) + found.get("", 0.0)
    np.testing.assert_allclose(total, expected, rtol=1e-12, atol=1e-12)


#: One operation that is not linear in `s`.
NOT_LINEAR: dict[str, Callable[[Builder, Value, Value, Value], Value]] = {
    "exp": lambda b, s, f, g: b.map("exp", s),
    "square": lambda b, s, f, g: b.map("mul", s, s),
    "divisor": lambda b, s, f, g: b.map("div", f, s),
    "condition": lambda b, s, f, g: b.map("where", b.map("gt", s, f), s, f),
    "max over the semiring": lambda b, s, f, g: b.map("max", s, f),
    "reduction": lambda b, s, f, g: b.reduce("max", s, ("n",)),
    "contraction with itself": lambda b, s, f, g: b.contract((s, s), ("n",)),
    "running product": lambda b, s, f, g: b.cumulate("prod", b.map("mul", s, g), "t"),
    "products": lambda b, s, f, g: b.segment(b.map("mul", s, g), "t", "s"),
    "matrix": lambda b, s, f, g: b.matrix("solve", (b.map("mul", s, f), f), "n", "m"),
    "inverse": lambda b, s, f, g: b.matrix("inv", (b.map("mul", s, f),), "n", "m"),
    "transition": lambda b, s, f, g: b.scan({(0, 0): s}, (g,), (f,), "t")[0],
    "over the semiring max-plus": lambda b, s, f, g: b.scan({(0, 0): f}, (g,), (s,), "t", "max-plus")[0],
    "a gradient of its own": lambda b, s, f, g: b.map("stop", s),
}


@pytest.mark.parametrize("name", NOT_LINEAR)
def test_operations_that_are_not(name: str) -> None:
    b = Builder("case", dict(AXES))
    s, f, g = b.input("s", ("b", "n")), b.input("f", ("n",)), b.input("g", ("t", "n"))
    b.output("y", NOT_LINEAR[name](b, s, f, g))
    with pytest.raises(BlockError, match=r"case: .* is not linear in the seed") as error:
        Linear(b.build(), {"s": ("the seed", {"n": "n_in"})}, Builder("parts", {**AXES, "n_in": "n"}))
    assert ("semiring" in str(error.value)) == ("semiring" in name)
