"""recc: write the recurrence, get the kernels.

A recurrence, in ten lines of a small language, becomes a differentiable operator:

    op = recc.compile(text_or_path)
    o = op(q, k, v, g, beta)

Everything public is named here; importing recc brings in neither torch nor SymPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recc.errors import InternalError, ReccError, Refusal, SourceError, Unsupported, UsageError
from recc.pipeline import compile

if TYPE_CHECKING:
    from recc import init as init
    from recc import zoo as zoo
    from recc.fuzz import fuzz as fuzz
    from recc.prove import prove as prove

__version__ = "0.1.0"

__all__ = [
    "InternalError", "ReccError", "Refusal", "SourceError", "Unsupported", "UsageError", "__version__", "compile",
    "fuzz", "init", "prove", "zoo",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Loads `recc.fuzz`, `recc.init`, `recc.prove` and `recc.zoo` on first use."""
    if name in ("fuzz", "init", "prove", "zoo"):
        from importlib import import_module

        return import_module(f"recc.{name}")
    raise AttributeError(f"module 'recc' has no attribute {name!r}")
