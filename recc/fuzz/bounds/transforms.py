"""What Fourier transforms do to rounding: an error at any step is as large as the largest number at all steps.

A convolution by transforms of size T rounds by about log2(T) units of the product of both norms, wherever it is
small. Where a response or a drive grows by many powers of ten over a sequence, results at its small end are lost.
"""

from __future__ import annotations

from dataclasses import replace
from math import log2

import numpy as np

from recc.forms.block import Convolve, Op, Value
from recc.forms.choose import require
from recc.forms.interpret import interpret

from ..agree import rel_rms
from ..drawing.draw import Array
from ..ways.program import Way
from ..ways.run_blocks import BlockRunner
from .bound import CONFIDENCE, UNIT, Truth

_SAMPLES = 3


def lost(truth: Truth, way: Way, dtype: str) -> dict[str, float]:
    """How far the transforms of a convolution may move each value, and each gradient (`d x`), relative to its norm."""
    form = require(truth.rec, way.form, way.chunk)
    rng = np.random.default_rng((*truth.seed, 6))
    unit = UNIT["float64" if dtype == "float64" else "float32"]

    def rounding(op: Op, v: Value, value: Array) -> Array:
        if not isinstance(op, Convolve) or v is not op.out or not value.size:
            return value
        axis = v.axes.index(op.axis)
        # The product of both norms is not at hand here; the largest sum of magnitudes along the axis stands for it.
        size = np.max(np.abs(value), axis, keepdims=True, initial=0)
        steps = max(2, value.shape[axis])
        return np.asarray(value + unit * log2(steps) * size * rng.choice([-1.0, 1.0], value.shape))

    def run(noisy: bool) -> dict[str, Array]:
        runner = BlockRunner(form, way, lambda b, i, s: interpret(b, i, s, np.float64, rounding if noisy else None))
        found = runner.run(replace(truth.request, weights=truth.weights, dtype="float64"))
        return {**found.values, **{f"d {n}": v for n, v in found.gradients.items()}}

    exact = run(False)
    worst = dict.fromkeys(exact, 0.0)
    for _ in range(_SAMPLES):
        for name, value in run(True).items():
            error = rel_rms(value, exact[name], semiring=True)
            worst[name] = max(worst[name], error)
    return {name: CONFIDENCE * error for name, error in worst.items()}


__all__ = ["lost"]
