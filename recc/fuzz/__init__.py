"""Looking for counter-examples: `recc.fuzz(op)` raises the first one that it finds.

The package is callable: `recc.fuzz(op, …)` is `recc.fuzz.fuzz(op, …)`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from .agree import (
    TOLERANCE,
    Agreement,
    Derivative,
    compare,
    directional_gradient,
    inner,
    no_differences,
    random_direction,
    rel_rms,
    tolerance,
)
from .drawing.case import Case, draw_case
from .drawing.draw import Shapes, draw_arguments, draw_initial, draw_symbol
from .engine import CounterExample, Report, Trial, fuzz, fuzz_grammar
from .shrinking.shrink import Budget, shrink
from .telling.saved import replay, save


class _Fuzz(ModuleType):
    """The package as a function."""

    def __call__(self, op: Any, *args: Any, **kwargs: Any) -> Report:
        """See `recc.fuzz.fuzz`."""
        return fuzz(op, *args, **kwargs)


sys.modules[__name__].__class__ = _Fuzz

__all__ = [
    "TOLERANCE", "Agreement", "Budget", "Case", "CounterExample", "Derivative", "Report", "Shapes", "Trial", "compare",
    "directional_gradient", "draw_arguments", "draw_case", "draw_initial", "draw_symbol", "fuzz", "fuzz_grammar",
    "inner", "no_differences", "random_direction", "rel_rms", "replay", "save", "shrink", "tolerance",
]  # fmt: skip
