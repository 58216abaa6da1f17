"""Imports point one way, nothing heavy is imported by `import recc`, and files keep their size."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Lowest first; a module imports from its own level and from those below. The longest matching prefix counts.
LEVELS = (
    ("recc.diagnostics",),
    ("recc.errors", "recc.version"),
    ("recc.syntax", "recc.recurrence"),
    ("recc.mistakes",),
    ("recc.parse", "recc.builder", "recc.misreadings"),
    ("recc.show",),
    ("recc.check",),
    ("recc.structure",),
    ("recc.layout",),
    ("recc.forms",),
    ("recc.backends",),
    ("recc.explain",),
    ("recc.runtime",),
    ("recc.pipeline",),
    ("recc.fuzz", "recc.init", "recc.prove", "recc.zoo"),
    ("recc",),
    ("recc.bench",),
    ("recc.commands", "recc.demo"),
    ("recc.cli", "recc.__main__"),
)
# An import that points up but is made inside a function only, with its reason.
UPWARDS = {
    ("recc.runtime.tuning", "recc.fuzz"): "a cut is judged as the fuzzer judges: the table of tolerances is there",
    ("recc.fuzz.telling.report", "recc"): "results are told with the version, which is a public name of the package",
    ("recc.recurrence", "recc.show"): "`str()` of a level is defined next to it, its printer is a module of its own",
    ("recc.syntax", "recc.show"): "the same",
}


def modules() -> dict[str, Path]:
    found = {}
    for top, prefix in (("recc", ()), ("backends", ("recc",))):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = (*prefix, *path.relative_to(ROOT).with_suffix("").parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def level(module: str) -> int:
    best, depth = -1, -1
    for number, names in enumerate(LEVELS):
        for name in names:
            exact = name == "recc" and module != "recc"
            if not exact and (module == name or module.startswith((name + ".", name + "_"))) and len(name) > best:
                best, depth = len(name), number
    assert depth >= 0, f"{module} has no level: add it to LEVELS in {__file__}"
    return depth


def imported(module: str, path: Path) -> Iterator[tuple[str, bool]]:
    """The recc modules that a module imports, each with whether it is imported inside a function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lazy = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)}
    typing_only = {
        id(n)
        for b in ast.walk(tree)
        if isinstance(b, ast.If) and "TYPE_CHECKING" in ast.unparse(b.test)
        for n in ast.walk(b)
    }
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])
            submodules = [f"{base}.{a.name}" for a in node.names if f"{base}.{a.name}" in MODULES]
            names = submodules or [base]
        for name in names:
            assert name.split(".")[0] != "backends", f"{module} imports {name}: write recc.{name}"
            if name.split(".")[0] == "recc":
                yield name, id(node) in lazy


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    for name, lazy in imported(module, MODULES[module]):
        if lazy and (module, name) in UPWARDS:
            continue
        assert level(name) <= level(module), f"{module} imports {name}, which is above it"


def test_the_reference_knows_nothing_of_forms() -> None:
    for module, path in MODULES.items():
        if module.startswith("recc.backends.numpy_reference"):
            for name, _ in imported(module, path):
                below = ("recc.recurrence", "recc.errors", "recc.diagnostics", "recc.backends.numpy_reference")
                assert name.startswith(below), f"{module} imports {name}"


def test_import_recc_is_light() -> None:
    code = "import recc, sys; print(*[m for m in ('torch', 'sympy', 'lark', 'triton') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_sizes() -> None:
    """No module is longer than 400 lines and no function longer than 60; the longest are printed."""
    files, functions = [], []
    for module, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        files.append((text.count("\n"), module))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                functions.append((length, f"{module}.{node.name}"))
    for title, table in (("module", files), ("function", functions)):
        for length, name in sorted(table, reverse=True)[:10]:
            print(f"{length:5} lines  {title}  {name}")
    too_long = [name for length, name in files if length > 400] + [name for length, name in functions if length > 60]
    assert not too_long, f"split {too_long}"
