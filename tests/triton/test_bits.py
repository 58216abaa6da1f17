"""The same bits: alone and in a batch, whatever the neighbours, in every run, in every place of memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

from recc.recurrence import Kind
from tests.agree.cases import Arrays, Program
from tests.agree.harness import cotangents, tensors
from tests.triton.cases import CHUNK, by_kernels, case, drawn, op, shapes

RUNS = [
    ("gated_delta", "chunked"), ("gated_delta", "sequential"), ("selective", "scan"), ("mlstm", "chunked"),
    ("second", "scan"), ("both", "sequential"), ("lru", "scan"), ("forward", "sequential"),
]  # fmt: skip


def same(found: Arrays, expected: Arrays) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def run(of: Program, form: str, arguments: Arrays, initial: Arrays, weights: Any) -> tuple[Arrays, Arrays]:
    """In float32, where roundings would show."""
    leaves, states = tensors(arguments, torch.float32), tensors(initial, torch.float32)
    return by_kernels(of, op(of.name, form), leaves, states, weights)


@pytest.mark.parametrize(("name", "form"), RUNS)
def test_an_item_knows_nothing_of_its_neighbours(name: str, form: str) -> None:
    """A batch of other items gives what each gave before, an item alone what it gives in the batch.

    The neighbours are other numbers, twice the item itself, or NaN. Every run repeats an earlier one.
    """
    of = case(name)
    arguments, initial = drawn(of, shapes(of, steps=CHUNK + 1 if form == "chunked" else 3, batch=3))
    weights = cotangents(run(of, form, arguments, initial, None)[0])
    values, found = run(of, form, arguments, initial, weights)
    inputs = {s.name for s in of.rec.of_kind(Kind.INPUT)}
    keys = [f"d {n}" for n in (*inputs, *initial) if f"d {n}" in found]
    for order in ([2, 1, 1], [1]):
        own = {n: v[order] if n in inputs else v for n, v in arguments.items()}
        part = {n: v[order] for n, v in initial.items()}
        again, claimed = run(of, form, own, part, {n: w[order] for n, w in weights.items()})
        same(again, {n: v[order] for n, v in values.items()})
        same({n: claimed[n] for n in keys}, {n: found[n][order] for n in keys})
    ill = {n: v.copy() for n, v in arguments.items()}
    for name in inputs:
        if ill[name].dtype.kind in "fc":
            ill[name][[0, 2]] = np.nan
    again, claimed = run(of, form, ill, initial, weights)
    same({n: v[1] for n, v in again.items()}, {n: v[1] for n, v in values.items()})
    same({n: claimed[n][1] for n in keys}, {n: found[n][1] for n in keys})


@pytest.mark.parametrize(("name", "form"), RUNS[:4])
def test_a_head_knows_nothing_of_its_neighbours(name: str, form: str) -> None:
    of = case(name)
    arguments, initial = drawn(of, shapes(of, steps=3, heads=(3,)))
    weights = cotangents(run(of, form, arguments, initial, None)[0])
    values, found = run(of, form, arguments, initial, weights)
    inputs = {s.name for s in of.rec.of_kind(Kind.INPUT)}
    own = {n: v[:, :, 1] if n in inputs else v for n, v in arguments.items()}
    states = {n: v[:, 1] for n, v in initial.items()}

    def at(key: str) -> Any:
        return np.s_[:, 1] if key.startswith("final ") or key.removeprefix("d ") in initial else np.s_[:, :, 1]

    alone, claimed = run(of, form, own, states, {n: w[at(n)] for n, w in weights.items()})
    same(alone, {n: v[at(n)] for n, v in values.items()})
    for name in (*inputs, *initial):
        if f"d {name}" in found:
            np.testing.assert_array_equal(claimed[f"d {name}"], found[f"d {name}"][at(f"d {name}")], err_msg=name)


@pytest.mark.parametrize(("name", "form"), RUNS[::2])
def test_every_run(name: str, form: str) -> None:
    """Gradients of parameters too, which are sums over all items."""
    of = case(name)
    arguments, initial = drawn(of, shapes(of, batch=2))
    weights = cotangents(run(of, form, arguments, initial, None)[0])
    first, second = (run(of, form, arguments, initial, weights) for _ in range(2))
    same(second[0], first[0])
    same(second[1], first[1])


@pytest.mark.parametrize(("name", "form"), RUNS[:3])
def test_the_steps_that_follow_change_nothing(name: str, form: str) -> None:
    """A sequence that goes on gives the same up to where it ended before, in its last chunk too."""
    of = case(name)
    arguments, initial = drawn(of, shapes(of, steps=CHUNK + 3))
    inputs = {s.name for s in of.rec.of_kind(Kind.INPUT)}
    short = {n: v[:, : CHUNK + 1] if n in inputs else v for n, v in arguments.items()}
    long, ends = run(of, form, arguments, initial, None)[0], run(of, form, short, initial, None)[0]
    for symbol in of.rec.outputs:
        np.testing.assert_array_equal(long[symbol.name][:, : CHUNK + 1], ends[symbol.name])
