"""Numbers in emitted text."""

from __future__ import annotations

from math import isinf, isnan

from recc.forms.block import BlockDtype


def real_text(value: float, nan: str, inf: str, below: str) -> str:
    """A real number with all its digits, or the language's word for one that is not finite.

    Args:
        value: the number.
        nan: what stands for no number.
        inf: what stands for infinity.
        below: what stands for minus infinity.
    """
    if isnan(value):
        return nan
    if isinf(value):
        return inf if value > 0 else below
    return repr(float(value))


def python_text(value: float, dtype: BlockDtype, nan: str, inf: str, below: str) -> str:
    """A number of a Block's type in Python; reals as `real_text` writes them."""
    if dtype == "real":
        return real_text(value, nan, inf, below)
    return str(bool(value)) if dtype == "bool" else str(int(value))


__all__ = ["python_text", "real_text"]
