"""Every form of every program as Triton kernels, in the interpreter, against an independent oracle.

Values, final states, and the gradients of inputs, parameters and initial states. Fresh memory holds NaN, tiles
reach beyond axes, and the last chunk is not full.
"""

from __future__ import annotations

from collections import Counter

import pytest
import torch

pytest.importorskip("triton")

from recc.errors import Unsupported
from tests.agree.harness import agree, tensors
from tests.triton.cases import (
    BOUND,
    CHUNK,
    FORMS,
    MATRICES,
    by_kernels,
    case,
    classes,
    drawn,
    forms_of,
    forms_to_run,
    half,
    names,
    op,
    oracle,
    refused,
    shapes,
    single,
)
from tests.zoo.core import CORE

ZOO = [n for n in CORE if n in names()]


@pytest.mark.parametrize("name", names())
def test_a_program(name: str) -> None:
    """In float64, where a form agrees to the last digits or is wrong."""
    program, runs = case(name), forms_to_run(name)
    sizes = shapes(program, steps=CHUNK + 1)
    arguments, initial = drawn(program, sizes)
    values, expected, weights = oracle(program, sizes, arguments, initial)
    for form in runs:
        leaves, states = tensors(arguments), tensors(initial)
        found = by_kernels(program, op(name, form), leaves, states, weights, steps=program.steps(sizes))
        agree(found[0], values, BOUND[torch.float64], (name, form))
        agree(found[1], expected, 2 * BOUND[torch.float64], (name, form))


@pytest.mark.parametrize("form", FORMS[1:])
def test_what_is_refused(form: str) -> None:
    """Exactly what the form itself refuses, step maps that are matrices, and the matrices that are listed."""
    for name in names():
        program = case(name)
        reason = refused(name, form) or "of a matrix for each element along" * ((name, form) in MATRICES)
        if not reason:
            continue
        sizes = shapes(program, steps=1)
        with pytest.raises(Unsupported) as why:
            op(name, form)(**tensors(drawn(program, sizes)[0]), steps=program.steps(sizes))
        assert reason in str(why.value), name


def test_that_the_listed_refusals_are_all() -> None:
    for name, form in MATRICES:
        assert form not in forms_of(name) and not refused(name, form)


#: How many programs of each class run in each form, at least.
LEAST = {
    "nonlinear": {"sequential": 20}, "diagonal": {"sequential": 40, "scan": 40, "chunked": 40},
    "diagonal+low_rank": {"sequential": 20, "chunked": 20}, "dense": {"sequential": 30},
    "semiring": {"sequential": 20, "scan": 20}, "second order": {"sequential": 12, "scan": 10},
    "complex": {"sequential": 12, "scan": 8, "chunked": 6}, "resets": {"sequential": 10, "scan": 4, "chunked": 4},
    "from the end": {"sequential": 12, "scan": 8, "chunked": 8}, "whole numbers": {"sequential": 6},
    "several outputs": {"sequential": 6, "scan": 2, "chunked": 2},
    "the clock": {"sequential": 6, "scan": 2, "chunked": 2},
    "shift": {"sequential": 8}, "gather": {"sequential": 3}, "shift+low_rank": {"sequential": 3},
}  # fmt: skip


def test_there_are_many_of_every_class() -> None:
    found: Counter[tuple[str, str]] = Counter()
    for name in names():
        found.update((kind, form) for kind in classes(name) for form in forms_to_run(name))
    few = {(k, f): found[k, f] for k, least in LEAST.items() for f, n in least.items() if found[k, f] < n}
    assert not few


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("name", ZOO)
def test_single_and_half_precision(name: str, dtype: torch.dtype) -> None:
    """The form that is fastest on long sequences; in single precision with chunks that go to tensor cores, and a rest.

    Half precision is that of arguments and outputs: what is compared with was computed of the same numbers.
    """
    program = case(name)
    form = forms_of(name)[-1]
    if form == "chunked" and "complex" in classes(name):
        form = "scan"  # Its products have four times as many parts, and the interpreter takes as long.
    large = form == "chunked" and dtype is torch.float32
    sizes = shapes(program, steps=19 if large else CHUNK + 1)
    arguments, initial = drawn(program, sizes)
    initial = {n: single(x) for n, x in initial.items()}
    arguments = {n: half(x) if dtype is torch.float16 else single(x) for n, x in arguments.items()}
    weights = {n: half(w) for n, w in oracle(program, sizes, arguments, initial)[2].items()}
    values, expected, _ = oracle(program, sizes, arguments, initial, weights)
    leaves, states = tensors(arguments, dtype), tensors(initial, torch.float32)
    run = op(name, form, 16 if large else CHUNK)
    found = by_kernels(program, run, leaves, states, weights, steps=program.steps(sizes))
    agree(found[0], values, BOUND[dtype], (name, form))
    agree(found[1], expected, 2 * BOUND[dtype], (name, form))


@pytest.mark.parametrize("steps", [0, 1, CHUNK, 2 * CHUNK + 1])
@pytest.mark.parametrize("name", ["gated_delta", "selective", "both", "probability", "mlstm", "functions"])
def test_lengths(name: str, steps: int) -> None:
    """No step at all, one, a full chunk, and a rest of one step."""
    name = {"probability": "forward"}.get(name, name)
    program = case(name)
    sizes = shapes(program, steps=steps)
    for start in (True, False):
        arguments, initial = drawn(program, sizes, seed=steps)
        initial = initial if start else {}
        values, expected, weights = oracle(program, sizes, arguments, initial)
        for form in forms_of(name)[-1:] if start else forms_of(name)[:1]:
            found = by_kernels(program, op(name, form), tensors(arguments), tensors(initial), weights)
            agree(found[0], values, BOUND[torch.float64], (name, form, start))
            agree(found[1], expected, 2 * BOUND[torch.float64], (name, form, start))
