"""Names that C, its library or the emitted code itself use are the user's to use all the same."""

from __future__ import annotations

import numpy as np
import pytest

from tests.agree.cases import program
from tests.agree.harness import agree, by_kernels, by_oracle, tensors

PROGRAM = """
recurrence names(AXIS)
    input INPUT[AXIS], g <= 0
    param PARAM[AXIS]
    state STATE[AXIS]
    LOCAL[t] = tanh(INPUT[t]) * PARAM
    STATE[t] = exp(g[t]) * STATE[t-1] + LOCAL[t] * sum[AXIS](LOCAL[t] * STATE[t-1])
    output OUTPUT[t] = sum[AXIS](STATE[t] * LOCAL[t])
"""

#: Each line: a name for the axis, the input, the parameter, the state, the intermediate and the output.
NAMES = """
asm checkpoints linux NAN tape int64_t
NAN item INFINITY unix x_t x_at
d x x_at x_step x_t_1 d_x
M_PI next T_MAX memcpy restrict x1
begin end scratch d_S carry_tape checkpoints
real row length first extent arrays
S_prev S NULL double now target
""".strip().splitlines()


@pytest.mark.parametrize("names", NAMES)
def test_names(names: str) -> None:
    text = PROGRAM
    for role, name in zip("AXIS INPUT PARAM STATE LOCAL OUTPUT".split(), names.split(), strict=True):
        text = text.replace(role, name)
    case = program(text)
    shapes = case.shapes(steps=4, batch=1)
    arguments, initial = case.draw(shapes)
    values, expected, weights = by_oracle(case, shapes, arguments, initial)
    found, gradients = by_kernels(case, tensors(arguments), tensors(initial), weights)
    agree(found, values, 1e-10)
    agree(gradients, expected, 1e-10)
    assert all(np.isfinite(v).all() for v in found.values())
