"""Random programs, kernels against torch's gradients: what no one thought of writing a test for."""

from __future__ import annotations

import numpy as np
import pytest

from recc.fuzz import Shapes
from tests.agree.cases import Program, program
from tests.agree.harness import agree, by_kernels, by_oracle, tensors
from tests.fuzz.generate import random_program


@pytest.mark.parametrize("seed", range(1000, 1016))
def test_random_programs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    case: Program = program(random_program(seed).text)
    sizes = {a.size_of: int(rng.choice([2, 3, 5, 9, 17])) for a in case.rec.axes}
    heads = ((), (2,), (5,), (2, 1))[seed % 4]
    shapes = Shapes(sizes, (int(rng.choice([1, 6, 11])),), 2, heads)
    arguments, initial = case.draw(shapes, seed)
    initial = initial if seed % 3 else {}
    values, expected, weights = by_oracle(case, shapes, arguments, initial)
    found, gradients = by_kernels(case, tensors(arguments), tensors(initial), weights)
    agree(found, values, 1e-10, case.rec.source.text)
    agree(gradients, expected, 1e-10, case.rec.source.text)
