"""Every program of the zoo: the two interpreters agree on values, and autograd with differences."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import recc.recurrence
from recc.backends.numpy_reference import run
from recc.check import load
from recc.fuzz import Shapes, directional_gradient, draw_arguments, inner, no_differences, random_direction, rel_rms
from recc.recurrence import Recurrence
from tests.oracles import torch_interpreter
from tests.zoo.core import CORE

#: Matrices that must be positive definite, which no domain can say.
COVARIANCES = {"kalman": ("Q", "P0")}

ZOO = [Path(recc.recurrence.__file__).parent / "zoo" / f"{name}.recc" for name in CORE]


@cache
def _programs(path: Path) -> tuple[Recurrence, ...]:
    return load(path.read_text(), path.name)


def _shapes(rec: Recurrence) -> Shapes:
    """Sizes that all differ, so that no axis can be taken for another."""
    roots = sorted({a.size_of for a in rec.axes})
    return Shapes({name: 2 + k for k, name in enumerate(roots)}, tuple(5 + k for k in range(len(rec.scan))), 2)


@pytest.mark.parametrize("path", ZOO, ids=lambda p: p.stem)
def test_values_and_gradients(path: Path) -> None:
    for rec in _programs(path):
        rng = np.random.default_rng(0)
        arguments = draw_arguments(rec, _shapes(rec), rng)
        for name in COVARIANCES.get(rec.name, ()):
            arguments[name] = arguments[name] @ arguments[name].T + np.eye(len(arguments[name]))
        expected = run(rec, arguments)
        leaves = {n: torch.tensor(v, requires_grad=v.dtype.kind in "fc") for n, v in arguments.items()}
        actual = torch_interpreter.run(rec, leaves)
        for values, others in ((expected.outputs, actual.outputs), (expected.final, actual.final)):
            for name, value in values.items():
                assert rel_rms(others[name].detach().numpy(), value, semiring=True) < 1e-12, (rec.name, name)
        if no_differences(rec) is not None:
            continue
        cotangents = {n: rng.standard_normal(v.shape) for n, v in expected.outputs.items()}
        torch.stack(
            [(torch.real(actual.outputs[n]) * torch.tensor(c)).sum() for n, c in cotangents.items()]
        ).sum().backward()
        direction = random_direction(rec, arguments, rng)
        found = directional_gradient(rec, arguments, cotangents, direction)
        gradients = {n: leaves[n].grad for n in direction}
        claimed = inner({n: np.zeros(arguments[n].shape) if g is None else g for n, g in gradients.items()}, direction)
        assert found.error < 1e-9 * max(1, abs(found.value)), rec.name
        assert abs(claimed - found.value) < 1e-9 * max(1, abs(found.value)), rec.name
