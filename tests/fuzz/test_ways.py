"""The ways of a program: which there are, why others are not, and that each runs what it is asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import recc
from recc.errors import Refusal, SourceError
from recc.forms.parallel import PARALLEL, derive
from recc.fuzz.agree import rel_rms
from recc.fuzz.bounds.bound import reference
from recc.fuzz.laws.turned import reordered, reversed_in_time
from recc.fuzz.ways.program import FORMS, Program, Request, Runner, Way, triton_runs
from tests.fuzz.test_laws import CELL, GATED, PATH, case_of, program

CLOCKED = """
recurrence clocked(n)
    input  x[n], c complex
    state  h[n] = 0.5, z complex
    h[t] = 0.5 * h[t-1] + t * x[t]
    z[t] = 0.3 * z[t-1] + c[t] * sum[n](h[t])
    output y[t] = h[t-1] + re(z[t])
"""
CHUNK = 3


def request_of(text: str, initial: bool = True, seed: int = 2) -> Request:
    case = case_of(text, seed, initial)
    request = Request(case.arguments, case.initial, case.shapes.steps, case.shapes.sizes)
    values = reference(case.rec, request)
    rng = np.random.default_rng(0)
    return replace(request, weights={n: rng.standard_normal(v.shape) for n, v in values.items()})


def runner(text: str, way: Way) -> Runner:
    found = program(text).runner(way)
    assert found is not None, (program(text).refused, program(text).failed)
    return found


def test_a_program_has_the_ways_of_its_forms() -> None:
    found = program(GATED)
    derivable = [f for f in PARALLEL if not isinstance(derive(found.rec, f), Refusal)]
    assert "chunked" in derivable and "convolution" not in derivable
    expected = {Way("numpy"), Way("c"), Way("blocks"), Way("torch")}
    expected |= {Way(b, f, c) for b in ("blocks", "torch") for f in derivable for c in (CHUNK, None)}
    assert set(found.ways) == expected
    assert set(found.asked) - set(found.ways) == set(found.refused)
    assert all("varies in time" in reason for reason in found.refused.values())
    assert not found.failed


def test_what_was_asked_for_is_what_there_is() -> None:
    some = Program.of(GATED, ("torch", "c"), ("sequential", "scan"), (7,))
    assert some.ways == (Way("torch"), Way("torch", "scan", 7), Way("c"))
    assert some.only(some.ways[1:2]).ways == (Way("torch", "scan", 7),)
    assert str(Way("torch", "scan", 7)) == "torch scan in chunks of 7"
    with pytest.raises(SourceError):
        Program.of("recurrence r\n output y[t] = z[t]\n")


def test_triton_takes_part_where_it_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    if not triton_runs():
        assert Program.of(CELL, ("triton",)).asked == ()
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert Program.of(CELL, ("triton",), FORMS, (CHUNK,)).asked == (
        Way("triton"),
        Way("triton", "scan", CHUNK),
        Way("triton", "chunked", CHUNK),
    )


def test_a_kernel_is_built_once() -> None:
    found = program(GATED)
    assert found.runner(Way("c")) is found.runner(Way("c"))
    assert found.only([Way("c")]).runner(Way("c")) is found.runner(Way("c"))


@pytest.mark.parametrize("text", [GATED, PATH, CELL, CLOCKED], ids=["gated", "path", "cell", "clocked"])
def test_all_ways_give_the_same(text: str) -> None:
    request = request_of(text, initial=text != PATH)
    values = reference(program(text).rec, request)
    gradients = runner(text, Way("blocks")).run(request).gradients
    for way in program(text).ways:
        found = runner(text, way).run(request)
        assert set(found.values) == set(values)
        assert max(rel_rms(found.values[n], v, semiring=True) for n, v in values.items()) < 1e-12, way
        if runner(text, way).differentiates:
            assert set(found.gradients) == set(gradients)
            assert max(rel_rms(found.gradients[n], g) for n, g in gradients.items()) < 1e-11, way


@pytest.mark.parametrize("way", [Way("c"), Way("torch"), Way("blocks"), Way("blocks", "scan", CHUNK)], ids=str)
def test_a_cut_run_gives_the_gradients_of_the_whole(way: Way) -> None:
    request = request_of(CLOCKED)
    whole, joined = (runner(CLOCKED, way).run(r) for r in (request, replace(request, cut=4)))
    for one, other in ((whole.values, joined.values), (whole.gradients, joined.gradients)):
        assert set(one) == set(other)
        assert max(rel_rms(other[n], v) for n, v in one.items()) < 1e-13


@pytest.mark.parametrize("way", [Way("c"), Way("torch"), Way("numpy")], ids=str)
def test_steps_and_scattered_arrays_give_the_same(way: Way) -> None:
    request = replace(request_of(CLOCKED), weights=None)
    run = runner(CLOCKED, way)
    whole = run.run(request).values
    steps = run.step_by_step(request)
    assert steps is not None
    scattered = run.run(replace(request, strided=True)).values
    for found in (steps.values, scattered):
        assert max(rel_rms(found[n], v) for n, v in whole.items()) < 1e-14


def test_arrays_are_scattered_indeed() -> None:
    import torch

    from recc.fuzz.ways.run_op import _scattered, _scattered_tensor

    value = np.arange(24.0).reshape(2, 3, 4)
    scattered, tensor = _scattered(value), _scattered_tensor(torch.from_numpy(value))
    assert np.array_equal(scattered, value) and not scattered.flags.contiguous
    assert np.array_equal(tensor.numpy(), value) and not tensor.is_contiguous()


@pytest.mark.parametrize("name", ["gated_delta_net", "mamba", "lssl", "bidirectional"])
def test_axes_in_another_order_are_another_program_of_the_same_kind(name: str) -> None:
    rec = recc.compile(recc.zoo.text(name)).recurrence
    made = reordered(rec)
    assert not isinstance(made, Refusal)
    other, names = made
    assert set(names) == {a.name for a in rec.axes}
    assert [a.name for a in other.axes] != [a.name for a in rec.axes]
    again = reordered(other)
    assert not isinstance(again, Refusal)
    assert [s.axes for s in again[0].symbols] == [tuple(again[1][names[a]] for a in s.axes) for s in rec.symbols]


def test_time_turns_round_and_back() -> None:
    rec = program(GATED).rec
    once = reversed_in_time(rec)
    assert not isinstance(once, Refusal)
    assert [s.direction for s in once.stages if s.states] == [(-1,)]
    assert reversed_in_time(once) == rec
    for text in (CLOCKED, recc.zoo.text("bidirectional")):
        assert isinstance(reversed_in_time(recc.compile(text).recurrence), Refusal)
