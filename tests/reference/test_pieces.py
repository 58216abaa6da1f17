"""Runs cut into pieces, sequences packed end to end, batches that broadcast, and calls that do not fit."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from recc.backends.numpy_reference import Result, run, run_packed
from recc.errors import UsageError
from recc.fuzz import draw_arguments
from recc.recurrence import Kind, Recurrence, reads
from tests.fuzz.generate import random_program
from tests.reference.programs import close, program, result

SECOND_ORDER = """
recurrence second(d)
    input x[d]
    param a[d], b[d]
    state y[d] = 0.5 * a
    z[t] = x[t] * x[t-1]
    y[t] = a * y[t-1] + b * y[t-2] + x[t] - 0.3 * x[t-3] + z[t-1]
    output out[t] = y[t] + y[t-3] + t
"""

LATER_READS = """
recurrence cascade(i, j)
    input q[i], v[j]
    state S[i, j], E[j] = 1
    S[t] = 0.9 * S[t-1] + q[t] * v[t]
    E[t] = 0.5 * E[t-1] + sum[i](S[t-2] * q[t])
    output o[t] = E[t] + sum[i](S[t-1])
"""

BACKWARDS = """
recurrence backwards(d)
    input x[d]
    param a[d]
    state h[d] = 2
    h[t] = a * h[t+1] - 0.2 * h[t+2] + x[t] + x[t+1]
    output y[t] = h[t] + h[t+3]
"""


def _arguments(text: str, rng: np.random.Generator, batch: int, steps: int) -> dict[str, Any]:
    sizes = {"d": 3, "i": 2, "j": 4}
    found = {}
    for symbol in program(text).arguments:
        lead = (batch, steps) if symbol.kind is Kind.INPUT else ()
        found[symbol.name] = 0.4 * rng.standard_normal(lead + tuple(sizes[a] for a in symbol.axes))
    return found


def _part(text: str, arguments: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    inputs = {s.name for s in program(text).of_kind(Kind.INPUT)}
    return {name: v[:, start:stop] if name in inputs else v for name, v in arguments.items()}


def _same(first: Result, second: Result) -> None:
    for name, value in second.outputs.items():
        close(first.outputs[name], value)
    assert first.final.keys() == second.final.keys()
    for name, value in second.final.items():
        close(first.final[name], value)


@pytest.mark.parametrize("text", [SECOND_ORDER, LATER_READS])
def test_pieces_joined_by_the_state_equal_the_whole(text: str) -> None:
    steps = 9
    arguments = _arguments(text, np.random.default_rng(0), 2, steps)
    whole = result(text, arguments)
    for cut in range(steps + 1):
        first = result(text, _part(text, arguments, 0, cut))
        assert first.clock == cut
        second = result(text, _part(text, arguments, cut, steps), initial=first.final, clock=first.clock)
        joined = {n: np.concatenate([first.outputs[n], second.outputs[n]], axis=1) for n in first.outputs}
        _same(Result(joined, second.final, second.clock), whole)


def test_pieces_of_a_recurrence_from_right_to_left() -> None:
    steps = 9
    arguments = _arguments(BACKWARDS, np.random.default_rng(1), 2, steps)
    whole = result(BACKWARDS, arguments)
    for cut in range(steps + 1):
        right = result(BACKWARDS, _part(BACKWARDS, arguments, cut, steps))
        left = result(BACKWARDS, _part(BACKWARDS, arguments, 0, cut), initial=right.final)
        joined = {"y": np.concatenate([left.outputs["y"], right.outputs["y"]], axis=1)}
        _same(Result(joined, left.final, 0), whole)


@pytest.mark.parametrize("text", [SECOND_ORDER, LATER_READS, BACKWARDS])
def test_packed_sequences_equal_separate_ones(text: str) -> None:
    rng = np.random.default_rng(2)
    offsets = [0, 4, 4, 5, 12]
    rec = program(text)
    arguments = _arguments(text, rng, 1, 12)
    initial = {s.name: rng.standard_normal((4, *run(rec, arguments).final[s.name].shape[1:])) for s in rec.slots}
    packed = run_packed(rec, arguments, offsets, initial)
    for n, (start, stop) in enumerate(pairwise(offsets)):
        states = {name: v[n : n + 1] for name, v in initial.items()}
        alone = result(text, _part(text, arguments, start, stop), initial=states)
        for name, value in alone.outputs.items():
            close(packed.outputs[name][:, start:stop], value)
        for name, value in alone.final.items():
            close(packed.final[name][n : n + 1], value)
    assert np.asarray(packed.clock).tolist() == [4, 0, 1, 7]


def test_no_packed_sequence_at_all() -> None:
    arguments = _arguments(LATER_READS, np.random.default_rng(3), 1, 0)
    packed = run_packed(program(LATER_READS), arguments, [0])
    assert packed.outputs["o"].shape == (1, 0, 4)
    assert packed.final["S"].shape == (0, 2, 4)


def test_no_steps_hand_the_initial_state_on() -> None:
    arguments = _arguments(SECOND_ORDER, np.random.default_rng(4), 2, 0)
    nothing = result(SECOND_ORDER, arguments)
    assert nothing.outputs["out"].shape == (2, 0, 3)
    close(nothing.final["y"], np.tile(0.5 * arguments["a"], (2, 1)))
    given = {s.name: np.full((2, 3), 1.0 + s.depth) for s in program(SECOND_ORDER).slots}
    for name, value in result(SECOND_ORDER, arguments, initial=given).final.items():
        close(value, given[name])


def test_batch_axes_of_parameters_and_states_reach_the_outputs() -> None:
    rng = np.random.default_rng(5)
    text = "recurrence g(d)\n input x[d]\n param a[d]\n state h[d]\n h[t] = a * h[t-1] + x[t]\n output y[t] = h[t]\n"
    x, a = rng.standard_normal((4, 5, 2)), rng.standard_normal((3, 1, 2))
    h = rng.standard_normal((1, 1, 6, 2))
    out = result(text, {"x": x, "a": a}, initial={"h": h})
    assert out.outputs["y"].shape == (4, 5, 3, 6, 2)
    full = {"x": np.broadcast_to(x[:, :, None, None], (4, 5, 3, 6, 2)), "a": np.broadcast_to(a, (3, 6, 2))}
    _same(out, result(text, full, initial={"h": np.broadcast_to(h, (4, 3, 6, 2))}))


def test_arguments_that_do_not_fit() -> None:
    text = "recurrence g(d)\n input x[d], z[d]\n state h[d]\n h[t] = h[t-1] + x[t] * z[t]\n output y[t] = h[t]\n"
    good = {"x": np.zeros((2, 5, 3)), "z": np.zeros((2, 5, 3))}
    for wrong, name in (
        ({"x": good["x"]}, "z"),
        ({**good, "w": 0}, "w"),
        ({**good, "z": np.zeros((2, 5, 4))}, "z"),
        ({**good, "z": np.zeros((2, 6, 3))}, "z"),
        ({**good, "z": np.zeros((5, 3))}, "z"),
        ({**good, "z": np.zeros((2, 5, 3), complex)}, "z"),
        ({**good, "z": np.zeros((3, 5, 3))}, "arguments"),
    ):
        with pytest.raises(UsageError) as caught:
            result(text, wrong)
        assert caught.value.argument == name
    with pytest.raises(UsageError, match="unknown state"):
        result(text, good, initial={"g": np.zeros((2, 3))})
    with pytest.raises(UsageError, match="number of steps"):
        result("recurrence g\n param a\n state h = 1\n h[t] = a * h[t-1]\n output y[t] = h[t]\n", {"a": 1.0})
    with pytest.raises(UsageError, match="offsets"):
        run_packed(program(text), {n: v[:1] for n, v in good.items()}, [0, 4, 3])


def test_an_expression_of_great_depth() -> None:
    terms = " - ".join(["x[t]"] * 190)
    text = f"recurrence deep\n input x\n output y[t] = {'sin(' * 9}{terms}{')' * 9}\n"
    expected = np.full((1, 2), -188 * 0.5)
    for _ in range(9):
        expected = np.sin(expected)
    close(result(text, {"x": np.full((1, 2), 0.5)}).outputs["y"], expected)


def test_a_long_chain_of_constants() -> None:
    lines = ["recurrence chain", " input x", " c0 = 1"] + [f" c{k} = c{k - 1} + 1" for k in range(1, 1500)]
    text = "\n".join([*lines, " output y[t] = c1499 * x[t]", ""])
    assert result(text, {"x": np.ones((1, 1))}).outputs["y"][0, 0] == 1500


def _looks_back_only(rec: Recurrence) -> bool:
    return all(lag >= 0 for e in rec.equations for read in reads(e.expr) for lag in read.lags)


def test_random_programs_in_pieces_and_packed() -> None:
    tried = 0
    for seed in range(150):
        case = random_program(seed)
        rec = case.rec
        if not _looks_back_only(rec):
            continue
        tried += 1
        rng = np.random.default_rng(seed)
        arguments = draw_arguments(rec, case.shapes(batch=1), rng)
        inputs = {s.name for s in rec.of_kind(Kind.INPUT)}
        whole = run(rec, arguments)
        for cut in (0, 1, 4, 7):
            first = run(rec, {n: v[:, :cut] if n in inputs else v for n, v in arguments.items()})
            rest = {n: v[:, cut:] if n in inputs else v for n, v in arguments.items()}
            second = run(rec, rest, initial=first.final, clock=first.clock)
            joined = {n: np.concatenate([first.outputs[n], second.outputs[n]], axis=1) for n in first.outputs}
            _same(Result(joined, second.final, second.clock), whole)
        packed = run_packed(rec, arguments, [0, 3, 3, 7])
        alone = run(rec, {n: v[:, 3:] if n in inputs else v for n, v in arguments.items()})
        for name, value in alone.outputs.items():
            close(packed.outputs[name][:, 3:], value)
    assert tried >= 10
