"""The house rules that can be read off the files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import recc

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(p for top in ("recc", "backends") for p in (ROOT / top).rglob("*.py"))


def requirements() -> dict[str, str]:
    """Every line of the requirements, by the package it is about."""
    lines = [line for path in (ROOT / "requirements").glob("*.txt") for line in path.read_text().splitlines()]
    kept = [line for line in lines if line and not line.startswith(("#", "-r "))]
    return {re.split(r"[=<>!~ ]", line)[0]: line for line in kept}


def test_every_requirement_is_pinned_once() -> None:
    for line in requirements().values():
        assert re.fullmatch(r'[\w-]+==[\w.]+(; platform_system == "Linux")?', line), line
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = project["dependencies"] + [
        d for extra in ("torch", "triton", "cc", "demo") for d in project["optional-dependencies"][extra]
    ]
    for line in needed:
        assert re.split(r"[=<>!~ ]", line)[0] in requirements(), line


def test_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == recc.__version__
    assert f"## {recc.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_no_model_is_known_by_name() -> None:
    """The names of published models stand in the zoo and nowhere in the code."""
    named = {p.stem for p in (ROOT / "recc/zoo").glob("*.recc") if "_" in p.stem}
    assert named
    for path in SOURCES:
        words = set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
        assert not words & named, f"{path.relative_to(ROOT)} knows {words & named}"


def test_nothing_is_left_to_do() -> None:
    for path in SOURCES + sorted((ROOT / "tests").rglob("*.py")):
        if path == Path(__file__):
            continue
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\b(TODO|FIXME|XXX)\b", text), path
        assert not re.search(r"except Exception:\s*\n\s*pass\b", text), path
        for line in text.splitlines():
            ignored = re.search(r"# type: ignore(\[[\w-]+\])?(.*)", line)
            assert ignored is None or (ignored[1] and "# " in ignored[2]), f"{path}: {line.strip()}: say why"


def test_decisions_are_listed() -> None:
    folder = ROOT / "docs" / "adr"
    index = (folder / "README.md").read_text()
    for page in folder.glob("[0-9]*.md"):
        text = page.read_text()
        assert f"({page.name})" in index
        assert text.startswith(f"# {page.name[:4]}. ")
        for heading in ("Context", "Decision", "Consequences", "What would change our mind"):
            assert f"\n## {heading}\n" in text, f"{page.name} lacks {heading}"
