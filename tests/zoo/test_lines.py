"""The README's count of lines is what the script prints."""

from __future__ import annotations

from pathlib import Path

from .lines import code_lines, kernels, program_lines, table

ROOT = Path(__file__).resolve().parents[2]


def test_the_readme_shows_the_count() -> None:
    assert table() in (ROOT / "README.md").read_text(encoding="utf-8"), "python -m tests.zoo.lines"


def test_what_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    docstring = '"""A docstring\nof two lines."""\n\n'
    path.write_text(docstring + '# a comment\nx = (\n    1,  # one\n)\n\ndef f():\n    "doc"\n    return x\n')
    assert code_lines(path) == 5
    assert program_lines("hgrn") == 5


def test_shared_modules_are_found() -> None:
    own, all_of = kernels("gated_delta_rule")
    assert {p.name for p in own} >= {"fused_recurrent.py", "wy_fast.py"}
    assert {p.name for p in all_of - own} >= {"chunk_delta_h.py", "chunk_o.py"}
