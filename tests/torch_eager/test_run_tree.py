"""Loops over chunks as trees: the same values, final states and gradients, and when a tree is taken."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from recc.backends.torch_eager.tree import prefixes
from recc.forms.device import DEVICES
from recc.forms.joining import Work, joinable, joins, joins_phase
from recc.forms.parallel import derive
from recc.forms.passes import Parallel
from recc.runtime.eager import Eager
from recc.runtime.op import Op
from tests.agree.cases import program, programs
from tests.agree.harness import agree, by_kernels, cotangents, tensors
from tests.torch_eager.programs import TorchProgram

#: Programs, the form, and how many phases run as trees.
CASES = {
    ("gated_delta_net", "chunked"): 1,
    ("gated_linear_attention", "chunked"): 1,
    ("linear_attention", "chunked"): 2,
    ("mamba", "chunked"): 1,
    ("s4d", "chunked"): 1,
    ("s4d", "scan"): 1,
    ("bidirectional", "chunked"): 2,
    ("second", "scan"): 1,
}
CELL = """recurrence doubtful(d)
    input  x[d], f[d]
    state  h[d], m[d]
    m[t] = max(m[t-1], x[t])
    h[t] = sigmoid(f[t]) * h[t-1] + m[t-1] * x[t]
    output y[t] = h[t] + m[t]
"""
LEAK = """recurrence leak(d)
    input  x[d], f[d]{0}
    state  h[d]
    h[t] = exp(f[t]) * h[t-1] + x[t]
    output y[t] = h[t]
"""


class Forced(TorchProgram):
    """A program whose loops over chunks run as trees wherever they can, or nowhere."""

    join = True

    @property
    def op(self) -> Op:
        return _op(self.name, self.form, self.chunk, self.join)


class Looped(Forced):
    join = False


@cache
def _op(name: str, form: str, chunk: int | None, join: bool) -> Op:
    rec = programs()[name].rec if name in programs() else program(name).rec
    op = Op(rec, backend="torch", form=form, chunk_size=chunk)
    op._made_eager = Eager(rec, form, chunk, join)
    return op


def _same(name: str, form: str, steps: int, chunk: int, trees: int) -> None:
    """The loop and the tree, with a state to begin with."""
    rec = programs()[name].rec if name in programs() else program(name).rec
    forced, looped = (kind(name, rec, form, chunk) for kind in (Forced, Looped))
    shapes = forced.shapes(steps=steps, heads=(2,))
    arguments, initial = forced.draw(shapes)
    weights = cotangents(by_kernels(looped, tensors(arguments), tensors(initial), None)[0])
    expected, expected_gradients = by_kernels(looped, tensors(arguments), tensors(initial), weights)
    values, gradients = by_kernels(forced, tensors(arguments), tensors(initial), weights)
    agree(values, expected, 1e-13, "values")
    agree(gradients, expected_gradients, 1e-12, "gradients")
    trees = trees if steps >= 2 * chunk else 0
    keys = [key for key in forced.op._eager._modules if len(key[3]) == trees]
    assert len(keys) == 1
    assert forced.op._eager._modules[keys[0]].source.count("_join(given") == trees
    assert "_join(given" not in "".join(looped.op._eager.sources().values())


@pytest.mark.parametrize(("steps", "chunk"), [(3, 3), (6, 3), (9, 3), (14, 2), (11, 3), (5, 1)])
@pytest.mark.parametrize(("name", "form"), CASES)
def test_tree_is_loop(name: str, form: str, steps: int, chunk: int) -> None:
    """1, 2, 3 and 7 chunks, chunks of one step, and a shorter chunk at the end, which is looped over."""
    _same(name, form, steps, chunk, CASES[name, form])


def test_a_phase_that_is_not_affine_keeps_its_loop() -> None:
    """The phase of a maximum runs as a loop, and what reads it as a tree; a cell over max-plus has no tree at all."""
    _same(CELL, "chunked", 11, 3, 1)
    for name in ("viterbi", "hmm_forward"):
        _same(name, "scan", 11, 3, 0)


def test_compiled_and_mapped() -> None:
    op = _op("gated_linear_attention", "chunked", 2, True)
    rec = op.recurrence
    shapes = Forced(rec.name, rec, "chunked", 2).shapes(steps=7)
    arguments, _ = programs()[rec.name].draw(shapes)
    given = [torch.tensor(v) for v in arguments.values()]
    expected = op(*given)
    mapped = torch.func.vmap(lambda *one: op(*one))(*(torch.stack([v, v]) for v in given))
    torch.testing.assert_close(mapped[1], expected, rtol=1e-13, atol=1e-13)
    compiled = torch.compile(lambda *one: op(*one), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*given), expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 13, 64])
def test_prefixes(count: int) -> None:
    """Pieces of text: every prefix in order, in no more than 2 log2 N rounds and 2 N joins."""
    rounds: list[int] = []

    def join(first: Any, second: Any) -> Any:
        rounds.append(len(first["M"]))
        m = second["M"] @ first["M"]
        return {"M": m, "F": (second["M"] @ first["F"].unsqueeze(-1)).squeeze(-1) + second["F"]}

    rng = np.random.default_rng(count)
    pieces = {"M": torch.tensor(rng.normal(size=(count, 2, 2))), "F": torch.tensor(rng.normal(size=(count, 2)))}
    found = prefixes(pieces, join)
    c = torch.zeros(2, dtype=torch.float64)
    for n in range(count):
        c = pieces["M"][n] @ c + pieces["F"][n]
        torch.testing.assert_close(found["F"][n], c)
    assert sum(rounds) <= 2 * count
    assert len(rounds) <= 2 * np.log2(count)


@pytest.mark.parametrize("device", DEVICES.values(), ids=str)
def test_choice_is_monotone(device: Any) -> None:
    small, once = Work(1e-7, 3.0), Work(1e-6, 10.0)
    rising = [1e-8, 1e-6, 1e-5, 1e-4, 1e-2]
    more_chunks = [joins(2**k, small, Work(1e-7, 5.0), once, device) for k in range(14)]
    assert more_chunks == sorted(more_chunks)
    assert (more_chunks[0], more_chunks[-1]) == (False, True)
    larger_steps = [joins(64, Work(s, 3.0), Work(1e-6, 5.0), once, device) for s in rising]
    assert larger_steps == sorted(larger_steps)
    larger_joins = [joins(64, small, Work(s, 5.0), once, device) for s in rising]
    assert larger_joins == sorted(larger_joins, reverse=True)
    assert (larger_joins[0], larger_joins[-1]) == (True, False)
    more_at_once = [joins(64, small, Work(1e-7, 5.0), Work(s, 10.0), device) for s in rising]
    assert more_at_once == sorted(more_at_once, reverse=True)


def test_which_phases_are_joined() -> None:
    """Elementwise carries of many chunks, not wide matrices; a GPU, which starts slowly, sooner than a CPU."""

    def taken(name: str, count: int, batch: int, device: str, size: int = 64) -> bool:
        form = derive(programs()[name].rec, "chunked", 16)
        assert isinstance(form, Parallel)
        one = next(iter(joinable(form).values()))
        sizes = {a.size_of: size for a in form.rec.axes}
        return joins_phase(one, sizes, count, 16, batch, DEVICES[device], False)

    for device in DEVICES:
        assert taken("linear_attention", 256, 1, device, 4)
        assert not taken("linear_attention", 2, 1, device, 4)
        assert not taken("gated_delta_net", 256, 64, device, 128)
    assert [taken("gated_linear_attention", 64, 16, d) for d in ("cpu", "cuda")] == [False, True]


def test_unbounded_products_are_left_to_the_loop() -> None:
    """A tree multiplies all transitions with each other: without a promise that they are at most 1, it is not taken."""
    for domain, some in (("", False), (" <= 0", True)):
        eager = Eager(program(LEAK.format(domain)).rec, "chunked", 4)
        assert bool(eager.joined("chunked", 4, {"d": 2}, 4000, 1, "cpu", False)) == some
        eager.join = True
        assert eager.joined("chunked", 4, {"d": 2}, 4000, 1, "cpu", False)
        eager.join = False
        assert not eager.joined("chunked", 4, {"d": 2}, 4000, 1, "cpu", False)
