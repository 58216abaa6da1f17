"""The two interpreters agree, and torch's gradients agree with differences of the reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recc.backends.numpy_reference import run
from recc.fuzz import Shapes, directional_gradient, draw_arguments, draw_initial, inner, random_direction, rel_rms
from tests.fuzz.programs import GRADIENTS_OF_THEIR_OWN, SMOOTH, Case
from tests.oracles import torch_interpreter


def _tensors(values: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {n: torch.tensor(v, requires_grad=v.dtype.kind in "fc") for n, v in values.items()}


@pytest.mark.parametrize("case", SMOOTH + GRADIENTS_OF_THEIR_OWN, ids=str)
@pytest.mark.parametrize("heads", [(), (2,)])
def test_values(case: Case, heads: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    shapes = case.shapes(heads=heads)
    arguments, initial = draw_arguments(case.rec, shapes, rng), draw_initial(case.rec, shapes, rng)
    expected = run(case.rec, arguments, initial=initial, clock=3)
    actual = torch_interpreter.run(case.rec, _tensors(arguments), initial=_tensors(initial), clock=3)
    assert actual.clock == expected.clock
    for name, value in expected.outputs.items():
        assert rel_rms(actual.outputs[name].detach().numpy(), value) < 1e-12
    assert actual.final.keys() == expected.final.keys()
    for name, value in expected.final.items():
        assert rel_rms(actual.final[name].detach().numpy(), value) < 1e-12


@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_sizes_of_zero_and_one(case: Case) -> None:
    few, one = dict.fromkeys(case.sizes, 0), dict.fromkeys(case.sizes, 1)
    nothing, once = (0,) * len(case.steps), (1,) * len(case.steps)
    for shapes in (
        Shapes(few, case.steps, 2, (2,)),
        Shapes(case.sizes, nothing, 2),
        Shapes(case.sizes, case.steps, 0),
        Shapes(one, once, 1, (0,)),
        Shapes(one, once, 1),
    ):
        rng = np.random.default_rng(4)
        arguments, initial = draw_arguments(case.rec, shapes, rng), draw_initial(case.rec, shapes, rng)
        expected = run(case.rec, arguments, initial=initial)
        actual = torch_interpreter.run(case.rec, _tensors(arguments), initial=_tensors(initial))
        for values, others in ((expected.outputs, actual.outputs), (expected.final, actual.final)):
            for name, value in values.items():
                np.testing.assert_allclose(others[name].detach().numpy(), value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_gradients(case: Case) -> None:
    rng = np.random.default_rng(2)
    shapes = case.shapes()
    arguments, initial = draw_arguments(case.rec, shapes, rng), draw_initial(case.rec, shapes, rng)
    leaves, states = _tensors(arguments), _tensors(initial)
    result = torch_interpreter.run(case.rec, leaves, initial=states)
    cotangents = {n: rng.standard_normal(v.shape) for n, v in result.outputs.items()}
    last = {n: rng.standard_normal(v.shape) for n, v in result.final.items()}
    pairs = [(v, cotangents[n]) for n, v in result.outputs.items()] + [(v, last[n]) for n, v in result.final.items()]
    sum((torch.real(v) * torch.tensor(c)).sum() for v, c in pairs).backward()
    direction = random_direction(case.rec, arguments, rng)
    turn = {n: rng.standard_normal(v.shape) * (1 + 1j if v.dtype.kind == "c" else 1) for n, v in initial.items()}
    found = directional_gradient(
        case.rec, arguments, cotangents, direction,
        initial=initial, initial_direction=turn, final_cotangents=last,
    )  # fmt: skip

    def gradient(leaf: torch.Tensor) -> np.ndarray:
        return (torch.zeros_like(leaf) if leaf.grad is None else leaf.grad).numpy()

    claimed = inner({n: gradient(leaves[n]) for n in direction}, direction)
    claimed += inner({n: gradient(states[n]) for n in turn}, turn)
    assert found.error < 1e-10 * max(1, abs(found.value))
    assert abs(claimed - found.value) < 1e-10 * max(1, abs(found.value))


def test_the_gradients_of_stop_and_surrogate() -> None:
    (case,) = GRADIENTS_OF_THEIR_OWN
    rng = np.random.default_rng(3)
    arguments = draw_arguments(case.rec, case.shapes(), rng)
    leaves = _tensors(arguments)
    torch_interpreter.run(case.rec, leaves).outputs["y"].sum().backward()
    x, w = (torch.tensor(arguments[n], requires_grad=True) for n in ("x", "w"))
    u, total = torch.zeros(2, 3, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for t in range(7):
        spike = (x[:, t] > 0).double()
        smooth = torch.sigmoid(4 * x[:, t])
        u = w * u * (1 - spike) + x[:, t]
        total = total + ((spike + smooth - smooth.detach()) * u).sum()
    total.backward()
    for name, leaf in (("x", x), ("w", w)):
        np.testing.assert_allclose(leaves[name].grad.numpy(), leaf.grad.numpy(), rtol=1e-12)
