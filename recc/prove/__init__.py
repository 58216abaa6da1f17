"""Proofs for small sizes: `recc.prove(op)` shows every form of a program equal to its step loop, or raises.

The package is callable: `recc.prove(op, …)` is `recc.prove.prove(op, …)`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from .engine import prove
from .report import CounterExample, Finding, Report


class _Prove(ModuleType):
    """The package as a function."""

    def __call__(self, op: Any, *args: Any, **kwargs: Any) -> Report:
        """See `recc.prove.prove`."""
        return prove(op, *args, **kwargs)


sys.modules[__name__].__class__ = _Prove

__all__ = ["CounterExample", "Finding", "Report", "prove"]
