"""What calls may ask of Triton kernels beside a plain run: states, packed sequences, groups of heads, parts of axes.

Where the law is that two runs are the same, they are compared to the bit.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

from recc.backends.triton_gpu.spec import Spec, tileable
from recc.recurrence import Kind
from recc.runtime import gpu
from recc.runtime.op import Op
from tests.agree.cases import Arrays, Program
from tests.agree.harness import agree, cotangents, cut, gradients, in_pieces, plain, tensors
from tests.c_cpu.test_offsets import FAR, far
from tests.triton.cases import BOUND, CHUNK, by_kernels, case, drawn, op, oracle, poisoned, shapes

EXACT = BOUND[torch.float64]
#: Programs and forms of every kind of loop: chunks with a solve, a scan, chunks that keep values for a later
#: pass, steps, steps from both ends, the clock.
RUNS = [
    ("gated_delta", "chunked"), ("selective", "scan"), ("mlstm", "chunked"), ("second", "scan"),
    ("forward", "sequential"), ("both", "sequential"), ("both", "chunked"), ("functions", "sequential"),
    ("lru", "scan"),
]  # fmt: skip
FORWARD = [r for r in RUNS if r[0] != "both"]


def same(found: Any, expected: Any, what: object) -> None:
    np.testing.assert_array_equal(found, expected, err_msg=str(what))


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Spec], dict[str, Any]]], None]:
    """A function that changes every plan: it is given what makes of a spec the fields to replace."""
    build = gpu.build

    def change(make: Callable[[Spec], dict[str, Any]]) -> None:
        def other(spec: Spec, back: Spec, *more: Any) -> Any:
            return build(replace(spec, **make(spec)), replace(back, **make(back)), *more)

        monkeypatch.setattr(gpu, "build", other)

    return change


# States.


@pytest.mark.parametrize(("name", "form"), FORWARD)
def test_pieces_joined_by_the_state_are_the_whole(name: str, form: str) -> None:
    """Values, and gradients that flow from piece to piece; a piece may be empty, and end within a chunk."""
    of = case(name)
    sizes = shapes(of, steps=9)
    arguments, initial = drawn(of, sizes)
    values, expected, weights = oracle(of, sizes, arguments, initial)
    leaves, states = tensors(arguments), tensors(initial)
    with poisoned():
        joined = in_pieces(of, op(name, form), leaves, states)
        found = gradients(joined, weights, {**leaves, **states})
    agree({n: plain(v) for n, v in joined.items()}, values, EXACT, "values")
    agree(found, expected, 2 * EXACT, "gradients")


def test_some_states_are_given_and_some_gradients_flow() -> None:
    """A state that is not given begins as the program says; what has no gradient counts as zero."""
    of = case("mlstm")
    sizes = shapes(of)
    arguments, initial = drawn(of, sizes)
    for given, wanted in ((("C",), ("h",)), (("m", "z"), ("final C",)), ((), ("final z", "final m"))):
        some = {n: initial[n] for n in given}
        values, expected, weights = oracle(of, sizes, arguments, some)
        part = {n: weights[n] for n in wanted}
        values, expected, _ = oracle(
            of, sizes, arguments, some, {n: w if n in part else 0 * w for n, w in weights.items()}
        )
        found = by_kernels(of, op("mlstm", "chunked"), tensors(arguments), tensors(some), part)
        agree(found[0], values, EXACT, (given, wanted))
        agree(found[1], expected, 2 * EXACT, (given, wanted))


# Packed sequences.

#: Lengths 4 (a chunk), 0, 1, 5 (a rest of one), 3.
OFFSETS = (0, 4, 4, 5, 10, 13)


@pytest.mark.parametrize(("name", "form"), RUNS)
def test_packed_is_separate(name: str, form: str) -> None:
    """To the bit, gradients too; those of parameters are sums over the sequences."""
    of, run = case(name), op(name, form)
    arguments, _ = drawn(of, shapes(of, steps=OFFSETS[-1]))
    count = len(OFFSETS) - 1
    _, initial = drawn(of, shapes(of, batch=count), seed=3)
    leaves, states = tensors(arguments), tensors(initial)
    offsets = torch.tensor(OFFSETS)
    weights = cotangents(by_kernels(of, run, leaves, states, None, cu_seqlens=offsets)[0])
    values, found = by_kernels(of, run, leaves, states, weights, cu_seqlens=offsets)
    outputs = {s.name for s in of.rec.outputs}
    inputs = {s.name for s in of.rec.of_kind(Kind.INPUT)}
    total: Arrays = {}
    for i, (begin, end) in enumerate(itertools.pairwise(OFFSETS)):
        own = tensors(cut(of, arguments, begin, end))
        part = {n: w[:, begin:end] if n in outputs else w[i : i + 1] for n, w in weights.items()}
        alone, claimed = by_kernels(of, run, own, tensors({n: v[i : i + 1] for n, v in initial.items()}), part)
        for key, value in alone.items():
            same(value, values[key][:, begin:end] if key in outputs else values[key][i : i + 1], (key, i))
        for key, value in claimed.items():
            plainly = key.removeprefix("d ")
            if plainly in inputs:
                same(value, found[key][:, begin:end], (key, i))
            elif plainly in initial:
                same(value, found[key][i : i + 1], (key, i))
            else:
                total[key] = total.get(key, 0) + value
    agree(found, total, 1e-12, "parameters")


@pytest.mark.parametrize(("name", "form"), [("gated_delta", "chunked"), ("selective", "scan"), ("both", "sequential")])
def test_nothing_leaks_between_sequences(name: str, form: str) -> None:
    """NaN in every other sequence leaves a sequence and its gradients as they are."""
    of, run = case(name), op(name, form)
    arguments, _ = drawn(of, shapes(of, steps=9))
    offsets, (begin, end) = torch.tensor([0, 4, 7, 9]), (4, 7)
    weights = cotangents(by_kernels(of, run, tensors(arguments), {}, None, cu_seqlens=offsets)[0])
    inputs = {s.name for s in of.rec.of_kind(Kind.INPUT)}
    poison = {n: x.copy() for n, x in arguments.items()}
    for name in inputs:
        poison[name][:, :begin] = poison[name][:, end:] = np.nan
    values, expected = by_kernels(of, run, tensors(arguments), {}, weights, cu_seqlens=offsets)
    found, claimed = by_kernels(of, run, tensors(poison), {}, weights, cu_seqlens=offsets)
    for symbol in of.rec.outputs:
        same(found[symbol.name][:, begin:end], values[symbol.name][:, begin:end], symbol.name)
    for name in inputs:
        same(claimed[f"d {name}"][:, begin:end], expected[f"d {name}"][:, begin:end], name)


# Batch axes.


@pytest.mark.parametrize(("name", "form"), [("gated_delta", "chunked"), ("selective", "scan"), ("lru", "sequential")])
@pytest.mark.parametrize("heads", [(3,), (2, 2)])
def test_batch_axes(name: str, form: str, heads: tuple[int, ...]) -> None:
    """Parameters with batch axes, and without."""
    of = case(name)
    for own in (False, True):
        sizes = replace(shapes(of, steps=3, heads=heads), params_have_batch=own)
        arguments, initial = drawn(of, sizes)
        if not own:
            values, expected, weights = oracle(of, sizes, arguments, initial)
            found = by_kernels(of, op(name, form), tensors(arguments), tensors(initial), weights)
            agree(found[0], values, EXACT)
            agree(found[1], expected, 2 * EXACT)
            continue
        weights = cotangents(by_kernels(of, op(name, form), tensors(arguments), tensors(initial), None)[0])
        values, found = by_kernels(of, op(name, form), tensors(arguments), tensors(initial), weights)
        at = (1,) * len(heads)
        one = {s.name: x[(slice(None),) * 2 + at if s.kind is Kind.INPUT else at] for s, x in _with(of, arguments)}
        start = {n: x[(slice(None), *at)] for n, x in initial.items()}
        part = {n: w[(slice(None),) * (1 if n.startswith("final ") else 2) + at] for n, w in weights.items()}
        alone, claimed = by_kernels(of, op(name, form), tensors(one), tensors(start), part)
        for key, value in alone.items():
            same(values[key][(slice(None),) * (1 if key.startswith("final ") else 2) + at], value, key)
        for symbol, _ in _with(of, arguments):
            key = f"d {symbol.name}"
            where = (slice(None),) * 2 + at if symbol.kind is Kind.INPUT else at
            agree({key: found[key][where]}, {key: claimed[key]}, 1e-13)


def _with(of: Program, arrays: Arrays) -> list[tuple[Any, Any]]:
    return [(s, arrays[s.name]) for s in of.rec.arguments]


@pytest.mark.parametrize("form", ["sequential", "chunked"])
def test_groups_of_heads(form: str) -> None:
    """Keys that several queries share are read where they lie: values to the bit, gradients are sums."""
    of = case("gated_delta")
    sizes = shapes(of, steps=CHUNK + 1, heads=(2, 2))
    arguments, _ = drawn(of, sizes)
    shared = {n: x[:, :, :, :1] for n, x in arguments.items() if n in ("k", "v", "g")}
    full = {n: np.broadcast_to(shared.get(n, x), x.shape).copy() for n, x in arguments.items()}
    weights = cotangents(by_kernels(of, op("gated_delta", form), tensors(full), {}, None)[0])
    values, expected = by_kernels(of, op("gated_delta", form), tensors(full), {}, weights)
    found, claimed = by_kernels(of, op("gated_delta", form), tensors({**arguments, **shared}), {}, weights)
    for key, value in values.items():
        same(found[key], value, key)
    for key, value in expected.items():
        summed = value.sum(3, keepdims=True) if key.removeprefix("d ") in shared else value
        agree({key: claimed[key]}, {key: summed}, 1e-13, key)


# How a form is cut into programs.

PARTS = [
    ("gated_delta", "chunked"),
    ("selective", "scan"),
    ("selective", "chunked"),
    ("mlstm", "sequential"),
    ("mlstm", "chunked"),
    ("both", "scan"),
]


@pytest.mark.parametrize(("name", "form"), PARTS)
def test_parts_of_axes(name: str, form: str, planned: Any) -> None:
    """Several programs share an item: the numbers are those of one, and what they have in common comes once."""
    of = case(name)
    sizes = replace(shapes(of), sizes=dict.fromkeys(shapes(of).sizes, 5))
    arguments, initial = drawn(of, sizes)
    values, expected, weights = oracle(of, sizes, arguments, initial)
    seen = set()

    def narrow(spec: Any) -> dict[str, Any]:
        found = {"tiles": dict.fromkeys(tileable(spec.form), 2)}
        seen.add(replace(spec, **found).cut_parts)
        return found

    planned(narrow)
    run = Op(of.rec, "triton", form, None if form == "sequential" else CHUNK)
    found = by_kernels(of, run, tensors(arguments), tensors(initial), weights)
    assert min(seen) >= 3
    agree(found[0], values, EXACT)
    agree(found[1], expected, 2 * EXACT)


@pytest.mark.parametrize("segment", [1, 4, 32])
def test_carries_kept_now_and_then(segment: int, planned: Any) -> None:
    """Steps between two kept carries are computed again: fewer steps than a segment, as many, and more."""
    planned(lambda spec: {"segment": segment})
    for name, lengths in (("mlstm", (3, 4, 9)), ("both", (9,))):
        of = case(name)
        run = Op(of.rec, "triton", "sequential")
        for steps in lengths:
            sizes = shapes(of, steps=steps)
            arguments, initial = drawn(of, sizes)
            values, expected, weights = oracle(of, sizes, arguments, initial)
            found = by_kernels(of, run, tensors(arguments), tensors(initial), weights)
            agree(found[0], values, EXACT, (name, steps))
            agree(found[1], expected, 2 * EXACT, (name, steps))


def test_segments_of_chunks_and_of_packed_sequences(planned: Any) -> None:
    planned(lambda spec: {"segment": 2})
    of = case("gated_delta")
    run = Op(of.rec, "triton", "chunked", CHUNK)
    for steps, offsets in ((13, None), (13, torch.tensor([0, 9, 9, 13]))):
        arguments, _ = drawn(of, shapes(of, steps=steps))
        plainly = op("gated_delta", "chunked")
        weights = cotangents(by_kernels(of, plainly, tensors(arguments), {}, None, cu_seqlens=offsets)[0])
        expected = by_kernels(of, plainly, tensors(arguments), {}, weights, cu_seqlens=offsets)
        found = by_kernels(of, run, tensors(arguments), {}, weights, cu_seqlens=offsets)
        for one, other in zip(found, expected, strict=True):
            agree(one, other, 1e-13)


# Memory.


@pytest.mark.parametrize(("name", "form"), [("gated_delta", "chunked"), ("selective", "sequential"), ("lru", "scan")])
def test_memory_of_any_layout(name: str, form: str) -> None:
    """Transposed, with gaps, the same along an axis, not at the beginning of its memory: the same bits."""
    of, run = case(name), op(name, form)
    arguments, initial = drawn(of, shapes(of, batch=2, steps=3))

    def turned(x: torch.Tensor) -> torch.Tensor:
        return x.detach().permute(*range(x.ndim)[::-1]).contiguous().permute(*range(x.ndim)[::-1])

    def gaps(x: torch.Tensor) -> torch.Tensor:
        room = torch.full([3 * n + 1 for n in x.shape], 7, dtype=x.dtype)
        inside = room[tuple(slice(1, None, 3) for _ in x.shape)]
        return inside.copy_(x.detach())

    leaves, states = tensors(arguments), tensors(initial)
    weights = cotangents(by_kernels(of, run, leaves, states, None)[0])
    values, expected = by_kernels(of, run, leaves, states, weights)
    for layout in (turned, gaps):
        moved = {n: layout(x).requires_grad_(x.requires_grad) for n, x in leaves.items()}
        start = {n: layout(x).requires_grad_(x.requires_grad) for n, x in states.items()}
        found, claimed = by_kernels(of, run, moved, start, weights)
        for key, value in {**values, **expected}.items():
            same({**found, **claimed}[key], value, (layout.__name__, key))


@pytest.mark.parametrize("form", ["sequential", "chunked"])
def test_offsets_have_64_bits(form: str) -> None:
    """Rows, steps and the elements between them may be more than 32 bits can count."""
    of, run = case("gated_delta"), Op(case("gated_delta").rec, "triton", form, CHUNK if form == "chunked" else None)
    by_kernels(of, run, *map(tensors, drawn(of, shapes(of))), None)
    kernels = [k for k in run.source.split("@triton.jit")[1:] if "tl.program_id" in k]
    assert len(kernels) >= 2
    for kernel in kernels:
        assert "tl.program_id(0).to(tl.int64)" in kernel
        assert re.search(r"tl.cast\(\w+, tl.int64\)", kernel)
        # Numbers of steps are made of those; nothing is counted from a number of 32 bits.
        assert not re.search(r"tl\.program_id\(\d\) [*+]", kernel)


def test_rows_that_lie_far_apart() -> None:
    """An offset of 32 bits would wrap between the first row and the second."""
    of = case("made no_axes")
    x, g = (torch.tensor(a, dtype=torch.float32) for a in drawn(of, shapes(of, batch=2, steps=3))[0].values())
    apart = FAR * 2 + 5
    with far((2, 3), (apart, 1), np.float32) as room:
        room[:] = x.numpy()
        wide = torch.from_numpy(room)
        assert wide.stride(0) * (wide.shape[0] - 1) > 2**31
        run = Op(of.rec, "triton", "sequential")
        same(run(wide, g).numpy(), run(x, g).numpy(), "rows")
        del wide
