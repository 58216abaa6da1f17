"""What recc found in a program: as text for a terminal, as LaTeX, in a notebook, and as a page with pictures."""

from __future__ import annotations

from recc.explain.costs import Setting
from recc.explain.page import Explanation
from recc.recurrence import Recurrence


def explain(rec: Recurrence, setting: Setting | None = None) -> Explanation:
    """A program explained: its symbols and update, its stages with their structure, what each form does.

    `str()` is the text for a terminal; see `Explanation` for the rest. `setting` has the sizes that costs
    are told for.
    """
    return Explanation(rec, setting or Setting())


__all__ = ["Explanation", "Setting", "explain"]
