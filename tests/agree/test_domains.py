"""`op.check_inputs`: what is drawn from a domain is inside it, and what is not is told with its place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recc.errors import UsageError
from recc.fuzz import draw_arguments
from tests.agree.cases import program, programs
from tests.agree.harness import tensors

EVERY = """
recurrence every(d, a)
    input low <= 0, below < 1, part in [0, 1), index int(a), flag bool
    input z[d] complex, ring[d] complex unit, k[d] unit
    param E[a] > 0, w complex
    state h[d] complex
    h[t] = w * h[t-1] + z[t] * ring[t] + k[t] * low[t] * below[t] * part[t] * E[a = index[t]]
    output y[t] = where(flag[t], h[t], 0 * h[t])
"""


@pytest.mark.parametrize("name", list(programs()))
@pytest.mark.parametrize("edges", [False, True])
def test_what_is_drawn_is_inside(name: str, edges: bool) -> None:
    case = programs()[name]
    for dtype in (np.float32, np.float64):
        drawn = draw_arguments(case.rec, case.shapes(heads=(2,)), np.random.default_rng(0), edges=edges, dtype=dtype)
        case.op.check_inputs(**drawn)
        case.op.check_inputs(**tensors(drawn))


def test_sixteen_bit_vectors_are_of_unit_length_as_far_as_they_can_be() -> None:
    case = programs()["gated_delta"]
    drawn = tensors(case.draw(case.shapes(steps=50))[0], torch.bfloat16)
    case.op.check_inputs(**drawn)


def test_infinities_where_they_mean_something() -> None:
    viterbi, delta = programs()["viterbi"], programs()["gated_delta"]
    drawn, _ = viterbi.draw(viterbi.shapes())
    name = next(n for n, v in drawn.items() if v.dtype.kind == "f" and v.ndim == 2)
    drawn[name][0, 0] = -np.inf
    viterbi.op.check_inputs(**drawn)
    drawn, _ = delta.draw(delta.shapes())
    drawn["v"][0, 1, 2] = np.inf
    with pytest.raises(UsageError, match=r"argument 'v': expected finite numbers, got inf at index \[0, 1, 2\]"):
        delta.op.check_inputs(**drawn)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("low", 1e-9, r"values <= 0, got 1e-09 at index \[1, 2\]"),
        ("below", 1.0, r"values < 1, got 1 at"),
        ("part", 1.0, r"values in \[0, 1\), got 1 at"),
        ("part", -0.5, r"values in \[0, 1\), got -0.5 at"),
        ("index", 3, r"indices into axis 'a', from 0 to 2, got 3 at"),
        ("index", -1, r"from 0 to 2, got -1 at"),
        ("z", np.nan, r"numbers, got nan\+0j at"),
        ("ring", 2.0, r"vectors of norm 1 along axis .d., got norm"),
        ("k", 2.0, r"vectors of norm 1 along axis .d., got norm"),
        ("E", 0.0, r"values > 0, got 0 at index \[0\]"),
        ("w", np.inf, r"finite numbers, got inf\+0j"),
    ],
)
def test_what_is_outside(name: str, value: float, message: str) -> None:
    case = program(EVERY)
    shapes = case.shapes()
    drawn, _ = case.draw(type(shapes)({"d": 2, "a": 3}, shapes.steps, 2))
    case.op.check_inputs(**drawn)
    array = np.array(drawn[name])
    array[{2: (1, 2), 3: (1, 2, 0), 1: (0,), 0: ()}[array.ndim]] = value
    with pytest.raises(UsageError, match=message):
        case.op.check_inputs(**{**drawn, name: array})
