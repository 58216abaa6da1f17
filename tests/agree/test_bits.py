"""The same bits: whatever the batch, the neighbours, the run, the threads, or what was in memory before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from recc.fuzz import Shapes
from recc.recurrence import Kind
from tests.agree.cases import Arrays, Program, programs
from tests.agree.harness import agree, by_kernels, by_oracle, cotangents, differentiable, tensors

SOME = ("gated_delta", "selective", "lru again", "second", "both", "stencil", "forward", "matrices", "mlstm", "roesser")


def _same(found: Arrays, expected: Arrays) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def _run(case: Program, arguments: Arrays, initial: Arrays, weights: Any) -> tuple[Arrays, Arrays]:
    return by_kernels(case, tensors(arguments), tensors(initial), weights)


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("heads", [(), (5,)])
def test_a_permuted_batch_gives_permuted_bits(name: str, heads: tuple[int, ...]) -> None:
    """And a part of the batch gives that part: an item knows nothing of its neighbours."""
    case = programs()[name]
    shapes = case.shapes(batch=4, heads=heads)
    arguments, initial = case.draw(shapes)
    weights = cotangents(_run(case, arguments, initial, None)[0])
    values, found = _run(case, arguments, initial, weights)
    inputs = {s.name for s in case.rec.of_kind(Kind.INPUT)}
    for order in ([2, 0, 3, 1], [3], [1, 1]):
        own = {n: v[order] if n in inputs else v for n, v in arguments.items()}
        part = {n: v[order] for n, v in initial.items()}
        again, claimed = _run(case, own, part, {n: w[order] for n, w in weights.items()})
        _same(again, {n: v[order] for n, v in values.items()})
        keys = [f"d {n}" for n in (*inputs, *initial) if f"d {n}" in found]
        _same({n: claimed[n] for n in keys}, {n: found[n][order] for n in keys})


@pytest.mark.parametrize("name", SOME)
def test_every_run_and_any_number_of_threads(name: str) -> None:
    case = programs()[name]
    long = 1 if len(case.rec.scan) > 1 else 40
    shapes = case.shapes(steps=5 * long, batch=3, heads=(2,))
    arguments, initial = case.draw(shapes)
    weights = cotangents(_run(case, arguments, initial, None)[0])
    before = torch.get_num_threads()
    runs = []
    try:
        for threads in (1, 2, 3, 2, 1):
            torch.set_num_threads(threads)
            runs.append(_run(case, arguments, initial, weights))
    finally:
        torch.set_num_threads(before)
    for values, found in runs[1:]:
        _same(values, runs[0][0])
        _same(found, runs[0][1])


def test_threads_were_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all calls worth a second thread, and more items than threads."""
    from recc.backends.c_cpu import launch

    monkeypatch.setattr(launch, "_THREAD_WORTH", 0)
    test_every_run_and_any_number_of_threads("gated_delta")


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fresh memory is full of NaN, and of the largest integers."""
    real_torch, real_numpy = torch.empty, np.empty

    def torch_empty(*args: Any, **kwargs: Any) -> torch.Tensor:
        tensor = real_torch(*args, **kwargs)
        is_float = tensor.is_floating_point() or tensor.is_complex()
        return tensor.fill_(float("nan") if is_float else torch.iinfo(tensor.dtype).max)

    def numpy_empty(*args: Any, **kwargs: Any) -> Any:
        array = real_numpy(*args, **kwargs)
        array.fill(np.nan if array.dtype.kind in "fc" else 255)
        return array

    monkeypatch.setattr(torch, "empty", torch_empty)
    monkeypatch.setattr(np, "empty", numpy_empty)
    yield


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("name", list(programs()))
def test_nothing_is_read_before_it_is_written(name: str) -> None:
    """Every element of results, gradients, states kept for later and scratch memory, is written first."""
    case = programs()[name]
    shapes = case.shapes(heads=(2,))
    arguments, initial = case.draw(shapes)
    for states in (initial, {}):
        result = case.op(**arguments, initial_state=states or None, output_final_state=True, steps=case.steps(shapes))
        del result
        values, expected, weights = by_oracle(case, shapes, arguments, states)
        found, claimed = by_kernels(case, tensors(arguments), tensors(states), weights, steps=case.steps(shapes))
        agree(found, values, 1e-10)
        agree(claimed, {n: g for n, g in expected.items() if n in differentiable(case.rec)}, 1e-10)


@pytest.mark.parametrize("name", ["selective", "second"])
@pytest.mark.parametrize("shift", [1, 3])
def test_bits_do_not_depend_on_where_memory_is(name: str, shift: int) -> None:
    case = programs()[name]
    shapes = case.shapes(heads=(2,))
    arguments, initial = case.draw(shapes)
    weights = cotangents(_run(case, arguments, initial, None)[0])
    expected = _run(case, arguments, initial, weights)

    def moved(arrays: Arrays) -> dict[str, torch.Tensor]:
        found = {}
        for key, value in arrays.items():
            room = torch.zeros(value.size + shift, dtype=torch.tensor(value).dtype)
            room[shift:] = torch.tensor(value).reshape(-1)
            found[key] = room[shift:].reshape(value.shape).detach().requires_grad_(value.dtype.kind in "fc")
        return found

    found = by_kernels(case, moved(arguments), moved(initial), weights)
    _same(found[0], expected[0])
    _same(found[1], expected[1])


def test_tiles_of_a_long_axis() -> None:
    """An axis that is split over items: the same numbers, and the same bits for any number of threads."""
    case = programs()["selective"]
    shapes = Shapes({"d": 128, "n": 32}, (3,), 1)
    arguments, initial = case.draw(shapes)
    values, expected, weights = by_oracle(case, shapes, arguments, initial)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        found, claimed = _run(case, arguments, initial, weights)
        torch.set_num_threads(1)
        again = _run(case, arguments, initial, weights)
    finally:
        torch.set_num_threads(before)
    assert any(cut.tiles is not None for cut in case.op._native._cuts.values())
    agree(found, values, 1e-10)
    agree(claimed, expected, 1e-10)
    _same(again[0], found)
    _same(again[1], claimed)
