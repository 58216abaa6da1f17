"""Time in stretches: programs that share a sequence give what one gives that goes through all of it.

Modules split time of sequences of 32 chunks and more. Here they are told that one chunk is enough (`LEAST`), so that
every stretch is one chunk, or one segment of steps, and all joins are made.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

from recc.backends.triton_gpu import shares
from recc.backends.triton_gpu.build import build
from recc.backends.triton_gpu.spec import Spec, tileable
from recc.recurrence import Kind
from recc.runtime.op import Op
from tests.agree.cases import Arrays, Program, program
from tests.agree.harness import agree, cotangents, tensors
from tests.agree.harness import by_kernels as by_c
from tests.triton.cases import BOUND, by_kernels, case, drawn, op, oracle, shapes

EXACT = BOUND[torch.float64]
CHUNK, SEGMENT = 4, 4

#: A running maximum, with decays; sums of exponentials whose transition is minus infinity now and then; a maximum of
#: two earlier steps; a product of two states, one of which has to be known first; two chains of tiers.
TEXTS = {
    "prefix max": """
recurrence prefix_max(d)
    input x[d]
    state h[d] = -inf
    h[t] = max(h[t-1], x[t])
    output y[t] = h[t]
""",
    "leaky max": """
recurrence leaky_max(d)
    input x[d], f[d] <= 0
    state m[d] = -inf
    m[t] = max(f[t] + m[t-1], x[t])
    output y[t] = m[t]
""",
    "soft": """
recurrence soft(d)
    input x[d], f[d]
    state h[d] = -inf
    h[t] = logaddexp(f[t] + h[t-1], x[t])
    output y[t] = exp(h[t])
""",
    "shortest": """
recurrence shortest(n, m = n)
    input cost[n, m]
    param start[n]
    state h[n] = start
    h[t] = min[m](cost[t] + h[t-1, m])
    output y[t] = h[t]
""",
    "soft paths": """
recurrence soft_paths(n, m = n)
    input a[n, m], u[n]
    state h[n]
    h[t] = logaddexp(logsumexp[m](a[t] + h[t-1, m]), u[t])
    output y[t] = h[t]
""",
    "two ago": """
recurrence two_ago(d)
    input x[d], f[d], g[d]
    state h[d]
    h[t] = max(max(f[t] + h[t-1], g[t] + h[t-2]), x[t])
    output y[t] = h[t]
""",
    "gated by a state": """
recurrence gated_by_a_state(i, j)
    input x, k[i], v[j], q[i]
    state a, S[i, j]
    a[t] = 0.9 * a[t-1] + x[t]
    S[t] = sigmoid(a[t]) * S[t-1] + k[t] * v[t]
    output o[t] = sum[i](q[t] * S[t])
""",
    "three tiers": """
recurrence three_tiers(i, j)
    input f <= 0, u, k[i], v[j], q[i]
    state m = -inf, z[i], S[i, j]
    m[t] = max(f[t] + m[t-1], u[t])
    z[t] = exp(f[t] + m[t-1] - m[t]) * z[t-1] + exp(u[t] - m[t]) * k[t]
    S[t] = tanh(z[t]) * S[t-1] + k[t] * v[t]
    output o[t] = sum[i](q[t] * S[t])
""",
}
RUNS = [
    ("prefix max", "scan"), ("leaky max", "scan"), ("soft", "scan"),
    ("soft", "sequential"), ("shortest", "sequential"), ("soft paths", "sequential"), ("two ago", "sequential"),
    ("hmm_forward", "sequential"), ("viterbi", "sequential"), ("mlstm", "chunked"),
    ("mlstm", "sequential"), ("slstm", "scan"), ("made least_back", "scan"), ("made soft_reset", "scan"),
    ("gated by a state", "chunked"), ("three tiers", "sequential"),
    ("gated_delta", "chunked"), ("gated_delta", "sequential"), ("selective", "scan"),
    ("hla", "chunked"), ("lru", "scan"), ("made back_dense", "sequential"),
]  # fmt: skip
#: Whose columns are matrices, and whose are made in turns where they are cut.
MATRICES = [("viterbi", "sequential"), ("hmm_forward", "sequential"), ("gated_delta", "chunked")]


def named(name: str) -> Program:
    return program(TEXTS[name]) if name in TEXTS else case(name)


def runner(of: Program, form: str) -> Op:
    return Op(of.rec, "triton", form, None if form == "sequential" else CHUNK)


Change = Callable[[Spec], dict[str, Any]]


class Split:
    """Modules that are built meanwhile split time wherever they can. `grids` has what kernels were launched on."""

    def __init__(self, patch: pytest.MonkeyPatch):
        self.grids: dict[str, set[tuple[int, ...]]] = {}
        self.change: Change = lambda spec: {}

        def other(spec: Spec, back: Spec, *more: Any) -> Any:
            short = [replace(s, segment=min(s.segment, SEGMENT)) for s in (spec, back)]
            found = build(*(replace(s, **self.change(s)) for s in short), *more)
            functions = found.functions
            launch = functions.launch

            def noted(kernel: Any, grid: tuple[int, ...], *rest: Any) -> None:
                self.grids.setdefault(kernel.__name__, set()).add(grid)
                launch(kernel, grid, *rest)

            patch.setattr(functions, "LEAST", 1)
            patch.setattr(functions, "launch", noted)
            return found

        patch.setattr("recc.runtime.gpu.build", other)

    def happened(self) -> bool:
        """Whether both directions went through more than one stretch."""
        return all(max(g[-1] for g in self.grids[f"pass_1_{way}"]) > 1 for way in ("forward", "backward"))


@pytest.fixture
def split(monkeypatch: pytest.MonkeyPatch) -> Iterator[Split]:
    yield Split(monkeypatch)


def same(found: Arrays, expected: Arrays) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


@pytest.mark.parametrize(("name", "form"), RUNS)
def test_stretches_are_the_whole(name: str, form: str, split: Split) -> None:
    """Values, final states and all gradients are those of the reference and of the C kernels."""
    of = named(name)
    sizes = shapes(of, steps=3 * CHUNK + 1)
    arguments, initial = drawn(of, sizes)
    values, expected, weights = oracle(of, sizes, arguments, initial)
    leaves, states = tensors(arguments), tensors(initial)
    found = by_kernels(of, runner(of, form), leaves, states, weights)
    agree(found[0], values, EXACT)
    agree(found[1], expected, 2 * EXACT)
    other = by_c(of, tensors(arguments), tensors(initial), weights)
    agree(found[0], other[0], EXACT)
    agree(found[1], {n: other[1][n] for n in found[1]}, 2 * EXACT)
    assert split.happened()


@pytest.mark.parametrize(("name", "form"), [("soft", "scan"), ("hmm_forward", "sequential"), ("mlstm", "chunked"),
                                            ("viterbi", "sequential"), ("gated_delta", "chunked")])  # fmt: skip
def test_in_float32(name: str, form: str, split: Split) -> None:
    of = named(name)
    sizes = shapes(of, steps=6 * CHUNK + 1)
    arguments, initial = drawn(of, sizes)
    values, expected, weights = oracle(of, sizes, arguments, initial)
    leaves, states = tensors(arguments, torch.float32), tensors(initial, torch.float32)
    found = by_kernels(of, runner(of, form), leaves, states, weights)
    bound = BOUND[torch.float32]
    agree(found[0], values, bound)
    agree(found[1], expected, 2 * bound)
    assert split.happened()


#: Lengths 17 (five chunks, the last of one step), 0, 4 (one chunk), 1, 9.
OFFSETS = (0, 17, 17, 21, 22, 31)


@pytest.mark.parametrize(("name", "form"), [
    ("leaky max", "scan"), ("soft", "sequential"), ("viterbi", "sequential"), ("hmm_forward", "sequential"),
    ("mlstm", "chunked"), ("mlstm", "sequential"), ("gated_delta", "chunked"), ("made least_back", "scan"),
])  # fmt: skip
def test_packed_is_separate(name: str, form: str, split: Split) -> None:
    """To the bit: each sequence is split as its own length says. So is one of a batch and alone."""
    of, run = named(name), runner(named(name), form)
    arguments, _ = drawn(of, shapes(of, steps=OFFSETS[-1]))
    _, initial = drawn(of, shapes(of, batch=len(OFFSETS) - 1), seed=3)
    offsets = torch.tensor(OFFSETS)
    leaves = tensors(arguments, torch.float32)
    states = tensors(initial, torch.float32)
    weights = cotangents(by_kernels(of, run, leaves, states, None, cu_seqlens=offsets)[0])
    values, found = by_kernels(of, run, leaves, states, weights, cu_seqlens=offsets)
    outputs = {s.name for s in of.rec.outputs}
    inputs = {s.name for s in of.rec.of_kind(Kind.INPUT)}
    for i, (begin, end) in enumerate(itertools.pairwise(OFFSETS)):
        own = {n: x[:, begin:end] if n in inputs else x for n, x in arguments.items()}
        part = {n: w[:, begin:end] if n in outputs else w[i : i + 1] for n, w in weights.items()}
        state = {n: v[i : i + 1] for n, v in initial.items()}
        alone, claimed = by_kernels(of, run, tensors(own, torch.float32), tensors(state, torch.float32), part)
        expected = {n: v[:, begin:end] if n in outputs else v[i : i + 1] for n, v in values.items()}
        same(alone, expected)
        for key, value in claimed.items():
            if key.removeprefix("d ") in inputs:
                np.testing.assert_array_equal(value, found[key][:, begin:end], err_msg=f"{key} {i}")
            elif key.removeprefix("d ") in initial:
                np.testing.assert_array_equal(value, found[key][i : i + 1], err_msg=f"{key} {i}")
    assert split.happened()


@pytest.mark.parametrize(("name", "form"), [("soft", "scan"), ("viterbi", "sequential"), ("mlstm", "chunked")])
def test_an_item_knows_nothing_of_its_neighbours(name: str, form: str, split: Split) -> None:
    of, run = named(name), runner(named(name), form)
    arguments, initial = drawn(of, shapes(of, steps=4 * CHUNK + 1, batch=3))
    inputs = {s.name for s in of.rec.of_kind(Kind.INPUT)}
    values = by_kernels(of, run, tensors(arguments, torch.float32), tensors(initial, torch.float32), None)[0]
    own = {n: x[1:2] if n in inputs else x for n, x in arguments.items()}
    part = {n: x[1:2] for n, x in initial.items()}
    alone = by_kernels(of, run, tensors(own, torch.float32), tensors(part, torch.float32), None)[0]
    same(alone, {n: v[1:2] for n, v in values.items()})
    assert max(g[-1] for g in split.grids["pass_1_forward"]) > 1


def infinite(of: Program, steps: int) -> Arrays:
    """Arguments that are the zero of the algebra at some places, all of them at some steps, and equal at others."""
    arguments, _ = drawn(of, shapes(of, steps=steps, batch=2))
    nothing = np.inf if of.rec.name == "shortest" else -np.inf
    for s in of.rec.of_kind(Kind.INPUT):
        x = np.round(arguments[s.name])
        x.reshape(-1)[::3] = nothing
        x[0, : steps // 2] = nothing
        arguments[s.name] = x
    return arguments


@pytest.mark.parametrize(("name", "form"), [
    ("prefix max", "scan"), ("leaky max", "scan"), ("soft", "scan"), ("soft", "sequential"),
    ("shortest", "sequential"), ("soft paths", "sequential"), ("hmm_forward", "sequential"),
    ("viterbi", "sequential"),
])  # fmt: skip
def test_infinities_and_ties(name: str, form: str, split: Split) -> None:
    """Nothing turns into NaN; of equal terms each has the share that it has where time is whole."""
    of = named(name)
    arguments = infinite(of, 4 * CHUNK + 1)
    expected = by_c(of, tensors(arguments), {}, None)[0]
    weights = cotangents(expected)
    expected, claimed = by_c(of, tensors(arguments), {}, weights)
    values, found = by_kernels(of, runner(of, form), tensors(arguments), {}, weights)
    assert not any(np.isnan(v).any() for v in (*values.values(), *found.values()))
    assert any(np.isinf(v).any() for v in (*arguments.values(), *values.values()))
    agree(values, expected, EXACT)
    agree(found, {n: claimed[n] for n in found}, 2 * EXACT)
    assert split.happened()


@pytest.mark.parametrize(("name", "form"), MATRICES)
@pytest.mark.parametrize("together", [True, False])
def test_columns_in_parts(name: str, form: str, together: bool, split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs have some columns of a map each, and whoever applies it takes them in turns."""
    of = named(name)
    sizes = replace(shapes(of, steps=4 * CHUNK + 1), sizes=dict.fromkeys(shapes(of).sizes, 6))
    arguments, initial = drawn(of, sizes)
    values, expected, weights = oracle(of, sizes, arguments, initial)
    monkeypatch.setattr(shares, "_LARGEST", 128)
    monkeypatch.setattr(shares, "_TOGETHER", 1 << 12 if together else 0)
    run = runner(of, form)
    found = by_kernels(of, run, tensors(arguments), tensors(initial), weights)
    agree(found[0], values, EXACT)
    agree(found[1], expected, 2 * EXACT)
    assert all(grid[1] > 1 for way in ("maps", "maps_back") for grid in split.grids[f"pass_1_{way}"])
    assert "for turn in range(0, " in run.source
    assert ("pass_1_maps_constants" in run.source) == (not together)


@pytest.mark.parametrize(("name", "form", "together"), [
    ("mlstm", "chunked", True), ("mlstm", "sequential", True), ("gated_delta", "chunked", False),
    ("gated_delta", "chunked", True), ("gated_delta", "sequential", False), ("selective", "scan", True),
])  # fmt: skip
def test_parts_of_axes(name: str, form: str, together: bool, split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that share an item, too, each with its own part of the cotangents of what they all carry."""
    of = named(name)
    sizes = replace(shapes(of, steps=3 * CHUNK + 1), sizes=dict.fromkeys(shapes(of).sizes, 5))
    arguments, initial = drawn(of, sizes)
    values, expected, weights = oracle(of, sizes, arguments, initial)
    monkeypatch.setattr(shares, "_TOGETHER", 1 << 12 if together else 0)
    split.change = lambda spec: {"tiles": dict.fromkeys(tileable(spec.form), 2)}
    found = by_kernels(of, runner(of, form), tensors(arguments), tensors(initial), weights)
    agree(found[0], values, EXACT)
    agree(found[1], expected, 2 * EXACT)
    assert split.happened()


@pytest.mark.parametrize(("name", "form"), [("gru", "sequential"), ("kalman", "sequential"), ("lstm", "sequential")])
def test_time_stays_whole(name: str, form: str) -> None:
    """What is carried is not affine over any algebra."""
    of = case(name)
    arguments, initial = drawn(of, shapes(of))
    by_kernels(of, op(name, form), tensors(arguments), tensors(initial), None)
    assert "_maps(" not in op(name, form).source
