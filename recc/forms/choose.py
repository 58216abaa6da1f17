"""Which form runs a program where the caller leaves the choice."""

from __future__ import annotations

from collections.abc import Mapping

from recc.errors import Refusal
from recc.forms.table import Form
from recc.recurrence import Recurrence

#: The forms from the one that has the most work side by side to the one that has the least.
_ORDER = ("chunked", "convolution", "scan", "sequential")


def choose(
    rec: Recurrence, table: Mapping[str, Form | Refusal], sizes: Mapping[str, int] | None = None, steps: int = 0
) -> str:
    """The name of the form to run.

    Args:
        rec: the program.
        table: its forms by name, or their refusals (see `recc.forms.table`).
        sizes: the size of each axis, if known.
        steps: the steps of a sequence, 0 if unknown.
    """
    del rec, sizes
    if steps == 1:
        return "sequential"
    return next(name for name in _ORDER if not isinstance(table.get(name, Refusal(name, "")), Refusal))


__all__ = ["choose"]
