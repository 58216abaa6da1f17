"""`op.check_inputs` finds the argument that breaks a promise, and lets those pass that keep it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import recc
from recc.fuzz.drawing.draw import Shapes, draw_arguments

OP = recc.compile("""
recurrence promises(i, a)
    input  k[i] unit, z[i] complex unit
    input  g <= 0, beta in (0, 1], sym int(a), on bool
    param  table[a], rate > 0
    state  h[i]
    h[t] = where(on[t], exp(g[t] * rate) * h[t-1], 0) + beta[t] * k[t]
    output y[t] = table[sym[t]] * sum[i](h[t] * re(z[t]))
""")


@pytest.fixture
def arguments() -> dict[str, Any]:
    shapes = Shapes({"i": 4, "a": 3}, (6,), 2)
    return draw_arguments(OP.recurrence, shapes, np.random.default_rng(0), dtype=np.float32)


def test_drawn_arguments_pass(arguments: dict[str, Any]) -> None:
    OP.check_inputs(**arguments)
    OP.check_inputs(**{name: torch.from_numpy(np.asarray(v)) for name, v in arguments.items()})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("g", 0.5, "argument 'g': expected values <= 0, got 0.5 at index [1, 2]"),
        ("g", np.nan, "argument 'g': expected numbers, got nan at index [1, 2]"),
        ("beta", 0.0, "argument 'beta': expected values in (0, 1], got 0 at index [1, 2]"),
        ("sym", 3, "argument 'sym': expected indices into axis 'a', from 0 to 2, got 3 at index [1, 2]"),
        ("sym", -1, "argument 'sym': expected indices into axis 'a', from 0 to 2, got -1 at index [1, 2]"),
        ("k", 2.0, "argument 'k': expected vectors of norm 1 along axis 'i', got norm 4 at index [1, 2]"),
        ("z", 1j, "argument 'z': expected vectors of norm 1 along axis 'i', got norm 2 at index [1, 2]"),
    ],
)
def test_broken_promises_are_told(arguments: dict[str, Any], name: str, value: Any, message: str) -> None:
    arguments[name][1, 2] = value
    with pytest.raises(recc.UsageError) as error:
        OP.check_inputs(**arguments)
    told, hint = str(error.value).splitlines()
    assert told == message
    assert f"it is declared `{name}" in hint


def test_a_parameter_without_axes(arguments: dict[str, Any]) -> None:
    arguments["rate"] = np.float32(0)
    with pytest.raises(recc.UsageError, match=r"argument 'rate': expected values > 0, got 0\n"):
        OP.check_inputs(**arguments)


def test_vectors_normalised_in_bfloat16_pass(arguments: dict[str, Any]) -> None:
    k = torch.randn(2, 6, 4)
    tensors = {name: torch.from_numpy(np.asarray(v)) for name, v in arguments.items()}
    tensors["k"] = torch.nn.functional.normalize(k, dim=-1).bfloat16()
    OP.check_inputs(**tensors)
