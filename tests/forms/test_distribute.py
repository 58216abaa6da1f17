"""Phases run one after the other compute what the loop over chunks computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from recc.check import load
from recc.forms.builder import Builder
from recc.forms.distribute import Phase, distribute
from recc.forms.interpret import interpret
from recc.forms.passes import Carry, Parallel, Pass, Port
from recc.forms.sequential import derive_sequential
from recc.forms.verify import verify
from tests.agree.cases import programs
from tests.forms.chunks import CASES

Arrays = dict[str, np.ndarray[Any, Any]]
SIZE = 3


def _sizes(loop: Pass, chunk: int) -> dict[str, int]:
    roots = sorted(set(loop.step.root.values()))
    sizes = {name: 2 + k for k, name in enumerate(roots)}
    if loop.chunk:
        sizes[loop.step.root[loop.chunk]] = chunk
    return sizes


def _draw(loop: Pass, chunks: int, sizes: Mapping[str, int]) -> list[Arrays]:
    """What each chunk reads; the carries of the first, and prologue values that are the same in all."""
    rng = np.random.default_rng(0)
    drawn: list[Arrays] = []
    for n in range(chunks):
        now = {}
        for port in loop.reads:
            value = loop.step.input[port.value]
            shape = tuple(sizes[loop.step.root[a]] for a in value.axes)
            if port.role == "prologue" and n:
                now[port.value] = drawn[0][port.value]
            elif port.role != "carry" or n == 0:
                real = 0.5 * rng.standard_normal(shape)
                now[port.value] = real if value.dtype == "real" else rng.integers(0, 2, shape)
        drawn.append(now)
    return drawn


def _by_chunks(loop: Pass, drawn: list[Arrays], sizes: Mapping[str, int]) -> tuple[list[Arrays], Arrays]:
    """What the loop writes in each chunk, and the carries after the last."""
    entering = {(p.name, p.part): p.value for p in loop.reads if p.role == "carry"}
    carries = {name: drawn[0][name] for name in entering.values()}
    written = []
    for now in drawn:
        found = interpret(loop.step, {**now, **carries}, sizes)
        carries = {entering[p.name, p.part]: found[p.value] for p in loop.writes if p.role == "carry"}
        written.append({p.value: found[p.value] for p in loop.writes if p.role != "carry"})
    return written, carries


def _by_phases(
    loop: Pass, phases: tuple[Phase, ...], drawn: list[Arrays], sizes: Mapping[str, int]
) -> tuple[list[Arrays], Arrays]:
    """The same by phases, each run for all chunks before the next one."""
    tables = [{v: a for v, a in now.items() if n or v not in _entering(loop)} for n, now in enumerate(drawn)]
    carries = {name: drawn[0][name] for name in _entering(loop)}
    for phase in phases:
        state = {h.before: carries[h.before] for h in phase.carries}
        befores = []
        for table in tables:
            befores.append(state)
            if not phase.block.ops and not phase.carries:
                continue
            given = {**table, **state} if phase.loop else table
            found = interpret(phase.block, {v.name: given[v.name] for v in phase.block.inputs}, sizes)
            table.update(found)
            state = {h.before: {**given, **found}[h.after] for h in phase.carries}
        carries.update(state)
        for table, before in zip(tables, befores, strict=True):
            table.update({h.before: before[h.before] for h in phase.carries if h.before in phase.gives})
    outputs = {p.value: loop.step.output[p.value].name for p in loop.writes if p.role != "carry"}
    return [{name: table[value] for name, value in outputs.items()} for table in tables], carries


def _entering(loop: Pass) -> set[str]:
    return {p.value for p in loop.reads if p.role == "carry"}


def _agrees(loop: Pass, chunks: int = 4) -> None:
    sizes = _sizes(loop, SIZE)
    drawn = _draw(loop, chunks, sizes)
    expected, last = _by_chunks(loop, drawn, sizes)
    for sink in (True, False):
        phases = distribute(loop, sink)
        for phase in phases:
            verify(phase.block)
        found, carries = _by_phases(loop, phases, drawn, sizes)
        for mine, theirs in zip(found, expected, strict=True):
            assert mine.keys() == theirs.keys()
            for name, value in theirs.items():
                np.testing.assert_allclose(mine[name], value, rtol=1e-12, atol=1e-12)
        for name, value in last.items():
            np.testing.assert_allclose(carries[name], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_passes_by_hand(name: str) -> None:
    for loop in CASES[name].passes:
        _agrees(loop)


@pytest.mark.parametrize("name", list(programs()))
def test_single_steps_of_every_program(name: str) -> None:
    for loop in derive_sequential(programs()[name].rec).passes:
        if len(loop.directions) == 1:
            _agrees(loop)


def _linear() -> Pass:
    """A pass with a state in a loop, a delay line, a state that reads the first one, and a readout."""
    (rec,) = load("""
recurrence linear(i)
    input x[i], g
    state h[i], s[i]
    h[t] = exp(g[t]) * h[t-1] + x[t]
    s[t] = s[t-1] * g[t] + tanh(h[t-1]) * x[t-1]
    output y[t] = sum[i](s[t] * x[t])
""")
    (loop,) = derive_sequential(rec).passes
    return loop


def test_what_is_in_which_phase() -> None:
    phases = distribute(_linear())
    shown = [(p.loop, [h.name for h in p.carries], [op.out.name for op in p.block.ops]) for p in phases]
    loops = [names for is_loop, names, _ in shown if is_loop]
    assert loops == [["h"], ["s"]]
    first, *_ = shown
    assert first[1] == ["x_lag1"], "a delay line is the input moved by one step"
    for is_loop, names, ops in shown:
        if is_loop:
            assert len(ops) == 2, (names, ops)  # the product and the sum, nothing else
    assert not shown[-1][0], "the readout runs for all steps at once"


def test_unsunk_phases_have_one_loop() -> None:
    phases = distribute(_linear(), sink=False)
    assert [p.loop for p in phases] == [False, True]
    assert phases[-1].gives == {"y"}


def test_two_states_that_need_each_other_are_one_loop() -> None:
    (rec,) = load("""
recurrence pair
    input x
    state a, b
    a[t] = a[t-1] + x[t] * b[t-1]
    b[t] = b[t-1] - x[t] * a[t]
    output y[t] = a[t] * b[t]
""")
    (loop,) = derive_sequential(rec).passes
    loops = [p for p in distribute(loop) if p.loop]
    assert [[h.name for h in p.carries] for p in loops] == [["a", "b"]]
    _agrees(loop)


def test_without_carries_there_is_one_phase() -> None:
    (rec,) = load("recurrence plain\n input x\n output y[t] = 2 * x[t]\n output z[t] = 1\n")
    (loop,) = derive_sequential(rec).passes
    (phase,) = distribute(loop)
    assert not phase.loop
    _agrees(loop)


def test_a_register_of_older_values() -> None:
    """Carries that hand on each other's value before the step."""
    (rec,) = load("recurrence old\n input x\n state h\n h[t] = h[t-1] * h[t-3] + x[t-2]\n output y[t] = h[t-1]\n")
    (loop,) = derive_sequential(rec).passes
    _agrees(loop, chunks=6)


def test_components_of_a_scan_stay_together() -> None:
    b = Builder("step", {"c": "c"})
    x, first = b.input("x", ("c",)), [b.input(n, ()) for n in ("h_prev", "z_prev")]
    h, z = b.scan({(0, 0): x, (1, 0): x, (1, 1): x}, (x, x), first, "c")
    for name, value in (("carry h", b.last(h, "c")), ("carry z", b.constant(0.0)), ("y", z)):
        b.output(name, value)
    carries = tuple(Carry(n, n, 1, (), False, True) for n in ("h", "z"))
    reads = (Port("x", "argument", "x", ("c",)), *(Port(f"{c.name}_prev", "carry", c.name, ()) for c in carries))
    writes = (*(Port(f"carry {c.name}", "carry", c.name, ()) for c in carries), Port("y", "output", "y", ("c",)))
    loop = Pass((1,), Builder("prologue", {}).build(), b.build(), (), reads, writes, carries, "c")
    _agrees(loop)
    (only,) = [p for p in distribute(loop) if p.loop]
    assert {v.name for v in (h, z)} <= {op.out.name for op in only.block.ops}


def test_the_cases_are_parallel_forms() -> None:
    assert all(isinstance(form, Parallel) for form in CASES.values())
