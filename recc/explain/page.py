"""What `op.explain()` gives: a program explained, as text, as LaTeX, in a notebook, and as a page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from recc.explain.costs import Setting
from recc.explain.document import Equations, Section
from recc.explain.html import fragment, page
from recc.explain.printers import equations_latex
from recc.explain.sections import sections
from recc.explain.terminal import render_latex, render_text
from recc.recurrence import Recurrence


@dataclass(frozen=True, repr=False)
class Explanation:
    """A program explained: its update, stages and structure, the equations of its forms, its adjoint.

    `print()` it in a terminal, show it in a notebook, or `save("page.html")` for a page with pictures on
    sample data. `latex()` gives every equation as an `align*` block. `setting` has the sizes that costs are
    told for.
    """

    rec: Recurrence
    setting: Setting = field(default_factory=Setting)

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """What it is made of, for other renderers."""
        return sections(self.rec, self.setting)

    @property
    def title(self) -> str:
        """The program's name and what it says of itself."""
        return f"{self.rec.name}: {self.rec.doc}" if self.rec.doc else self.rec.name

    def __str__(self) -> str:
        return f"{self.title}\n\n{render_text(self.sections)}"

    def __repr__(self) -> str:
        return str(self)

    def latex(self) -> str:
        """Every group of equations as an `align*` block, with what it is as a comment before it."""
        return render_latex(self.sections)

    def html(self) -> str:
        """One self-contained page: no network, no file beside it."""
        return page(self.rec.name, self.rec.doc, self.sections)

    def save(self, path: str | Path) -> Path:
        """Write the page to a file, and give its path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.html(), encoding="utf-8")
        return path

    def _repr_html_(self) -> str:
        return fragment(self.rec.name, self.rec.doc, self.sections)

    def _repr_latex_(self) -> str:
        update = next(s for s in self.sections if s.title == "update")
        (group,) = (b for b in update.blocks if isinstance(b, Equations))
        return f"$$\n{equations_latex(group.equations).replace('align*', 'aligned')}\n$$"

    def _repr_mimebundle_(self, include: Iterable[str] | None = None, exclude: Iterable[str] | None = None) -> Any:
        makers = {"text/plain": self.__str__, "text/html": self._repr_html_, "text/latex": self._repr_latex_}
        wanted = set(include or makers) - set(exclude or ())
        return {kind: make() for kind, make in makers.items() if kind in wanted}


__all__ = ["Explanation"]
