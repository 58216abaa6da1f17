"""Results that lie in memory of something else, planted in an op."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import recc
from recc.fuzz.ways.run_op import _shared

KEPT = """
recurrence kept
    input x
    state h
    h[t] = 0.5 * h[t-1] + x[t]
    output y[t] = h[t]
    output same[t] = x[t]
"""


def test_views_are_seen_however_they_are_taken() -> None:
    for make, twist in ((torch.zeros, torch.Tensor.t), (np.zeros, np.transpose)):
        x, y = make((2, 3)), make((2, 3))
        assert _shared({"y": y}, {"x": x}) == ()
        assert _shared({"y": x[1:]}, {"x": x}) == ("y",)
        assert _shared({"y": twist(x)[::2][:, None]}, {"x": x}) == ("y",)
        assert _shared({"y": y, "final h": y[:1]}, {"x": x}) == ("final h",)
        assert _shared({"y": x[:0]}, {"x": x}) == ()


@pytest.mark.parametrize("backend", ["numpy", "c", "torch"])
def test_an_op_that_hands_on_its_argument_is_caught(backend: str) -> None:
    op = recc.compile(KEPT, backend=backend)
    recc.fuzz(op, cases=3, laws=["own"])

    class Lazy:
        recurrence, backend, form, chunk_size = op.recurrence, op.backend, op.form, None

        def __call__(self, **given: Any) -> Any:
            outputs, final = op(**given)
            return type(outputs)(outputs.y, given["x"]), final

    with pytest.raises(recc.fuzz.CounterExample, match="same lies in memory of its own"):
        recc.fuzz(Lazy(), cases=3, laws=["own"], shrink=False)
