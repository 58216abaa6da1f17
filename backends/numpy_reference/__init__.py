"""The reference: a `Recurrence` interpreted step by step, in float64 or long double.

It emits nothing and knows no forms: it follows the meaning of a program as `recc.recurrence` states it,
one step after another, and is what every kernel is judged by. It shares no code with the rest of the
compiler behind `Recurrence`.
"""

from __future__ import annotations

from .interpreter import run
from .packed import run_packed
from .result import Result

__all__ = ["Result", "run", "run_packed"]
