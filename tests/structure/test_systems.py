"""Published systems and one program for each shape of a transition: what they are, by their mathematics.

Each program in `systems/*.recc` says in the comments below its name what its stages with states are. That was
worked out by hand before it was compared with what recc finds.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recc.check import load
from recc.recurrence import Recurrence
from recc.show import show_expr
from recc.structure import Affine, Nonlinear, Structure, structures
from tests.structure.laws import laws, program

FILES = sorted((Path(__file__).parent / "systems").glob("*.recc"))


def texts() -> dict[str, str]:
    """Every program of the files by its name."""
    found: dict[str, str] = {}
    for path in FILES:
        for text in re.split(r"^(?=recurrence )", path.read_text(), flags=re.MULTILINE)[1:]:
            name = re.split(r"\W", text.removeprefix("recurrence "), maxsplit=1)[0]
            assert name not in found
            found[name] = text
    return found


TEXTS = texts()


def verdict(rec: Recurrence, structure: Structure) -> str:
    """A structure as the comments have it."""
    shown = str(structure).removeprefix("affine: ")
    if isinstance(structure, Nonlinear):
        kind = "nonlinear, elementwise" if structure.elementwise else "nonlinear"
        shown = f"{kind}: `{' '.join(rec.source.slice(structure.span).split())}`"
    if isinstance(structure, Affine):
        shown += "".join(f" at `{show_expr(c, rec.scan)}`" for c in structure.resets)
        shown += f", gated by {', '.join(structure.gates)}" if structure.gates else ""
    shown += "".join(
        f", from the end of {s}" for s, d in zip(rec.scan, structure.stage.direction, strict=True) if d < 0
    )
    return f"{', '.join(structure.stage.states)}: {shown}"


@pytest.mark.parametrize("name", TEXTS)
def test_a_system(name: str) -> None:
    """The verdict is that of the comments; it points at the text; and what it says holds for numbers."""
    rec = program(TEXTS[name])
    stages = [s for s in structures(rec) if s.stage.states]
    expected = re.findall(r"^    # (.*)$", TEXTS[name].split("\n    input")[0], flags=re.MULTILINE)
    assert [verdict(rec, s) for s in stages] == expected
    for structure in stages:
        assert rec.source.slice(structure.span).strip()
        assert structure.reason
        if isinstance(structure, Affine):
            laws(rec, structure, seeds=1)


def test_there_are_many() -> None:
    papers = {n for t in TEXTS.values() for n in re.findall(r'"(A\d+)', t)}
    assert len(papers) >= 60
    assert len(TEXTS) >= 150


def test_the_files_are_programs_themselves() -> None:
    for path in FILES:
        names = [rec.name for rec in load(path.read_text(), path.name)]
        assert set(names) <= set(TEXTS)
