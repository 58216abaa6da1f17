"""Looking for counter-examples: arguments drawn from the declared domains, and whether results agree."""

from __future__ import annotations

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
from .draw import Shapes, draw_arguments, draw_initial, draw_symbol

__all__ = [
    "TOLERANCE", "Agreement", "Derivative", "Shapes", "compare", "directional_gradient", "draw_arguments",
    "draw_initial", "draw_symbol", "inner", "no_differences", "random_direction", "rel_rms", "tolerance",
]  # fmt: skip
