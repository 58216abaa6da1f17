"""Pages that list things list all of them: the index its pages, the decisions theirs, the page of forms each form."""

from __future__ import annotations

import re
from pathlib import Path

from recc.forms.parallel import PARALLEL

DOCS = Path(__file__).resolve().parents[2] / "docs"


def linked(page: Path) -> set[Path]:
    """The files that a page links to."""
    targets = re.findall(r"\]\(([^)#\s:]+)[^)]*\)", page.read_text(encoding="utf-8"))
    return {(page.parent / target).resolve() for target in targets}


def test_index_has_every_page() -> None:
    pages = {*DOCS.glob("*.md"), *(DOCS / "maths").glob("*.md")} - {DOCS / "index.md"}
    assert not {str(p.relative_to(DOCS)) for p in pages - linked(DOCS / "index.md")}


def test_every_decision_is_listed() -> None:
    pages = set((DOCS / "adr").glob("[0-9]*.md"))
    assert not {p.name for p in pages - linked(DOCS / "adr" / "README.md")}


def test_decisions_are_numbered_and_say_what_would_change_them() -> None:
    for page in sorted((DOCS / "adr").glob("[0-9]*.md")):
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {page.name[:4]}. "), page.name
        titles = re.findall(r"^## (.+)$", text, re.M)
        assert titles == ["Context", "Decision", "Consequences", "What would change our mind"], page.name


def test_every_form_is_on_the_page_of_forms() -> None:
    text = (DOCS / "forms.md").read_text(encoding="utf-8").partition("## Choose a form")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| \[?`(\w+)`", text.partition("What each costs")[0], re.M)
    assert rows == ["sequential", *PARALLEL]
