"""What the tests of the reference share."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from recc.backends.numpy_reference import Result, run
from recc.check import load
from recc.recurrence import Recurrence


@cache
def program(text: str) -> Recurrence:
    """The only recurrence of a text."""
    (rec,) = load(text)
    return rec


def outputs(text: str, arguments: dict[str, Any], **options: Any) -> dict[str, np.ndarray]:
    """Run a text."""
    return result(text, arguments, **options).outputs


def result(text: str, arguments: dict[str, Any], **options: Any) -> Result:
    return run(program(text), arguments, **options)


def close(actual: Any, expected: Any, tolerance: float = 1e-12) -> None:
    """Assert that two arrays have one shape and agree to rounding."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)
