"""The two interpreters agree on random programs, and autograd agrees with differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recc.backends.numpy_reference import run
from recc.fuzz import directional_gradient, draw_arguments, draw_initial, inner, random_direction, rel_rms
from tests.agree.harness import cotangents, gradients
from tests.fuzz.generate import random_program
from tests.oracles import torch_interpreter


def _tensors(values: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {n: torch.tensor(v, requires_grad=v.dtype.kind in "fc") for n, v in values.items()}


@pytest.mark.parametrize("first", range(0, 100, 10))
def test_values(first: int) -> None:
    for seed in range(first, first + 10):
        case, rng = random_program(seed), np.random.default_rng(seed)
        shapes = case.shapes(heads=(2,) if seed % 3 == 0 else ())
        arguments, initial = draw_arguments(case.rec, shapes, rng), draw_initial(case.rec, shapes, rng)
        expected = run(case.rec, arguments, initial=initial, clock=seed)
        actual = torch_interpreter.run(case.rec, _tensors(arguments), initial=_tensors(initial), clock=seed)
        for values, others in ((expected.outputs, actual.outputs), (expected.final, actual.final)):
            assert values.keys() == others.keys()
            for name, value in values.items():
                assert rel_rms(others[name].detach().numpy(), value) < 1e-11, (case.text, name)


@pytest.mark.parametrize("first", range(0, 30, 5))
def test_gradients(first: int) -> None:
    for seed in range(first, first + 5):
        case, rng = random_program(seed), np.random.default_rng(seed)
        arguments = draw_arguments(case.rec, case.shapes(), rng)
        leaves = _tensors(arguments)
        result = torch_interpreter.run(case.rec, leaves)
        weights = cotangents({n: v.detach().numpy() for n, v in result.outputs.items()}, seed)
        found = gradients(result.outputs, weights, leaves)
        direction = random_direction(case.rec, arguments, rng)
        expected = directional_gradient(case.rec, arguments, weights, direction)
        claimed = inner({n: found[f"d {n}"] for n in direction}, direction)
        scale = max(1, abs(expected.value))
        assert abs(claimed - expected.value) < 1e-10 * scale + 10 * expected.error, case.text
        assert expected.error < 1e-6 * scale, case.text
