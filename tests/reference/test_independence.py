"""The reference stands alone: it imports the meaning of a program and nothing that is judged by it."""

from __future__ import annotations

import ast
from pathlib import Path

import recc.backends.numpy_reference

ALLOWED = {"recc.recurrence", "recc.errors", "recc.diagnostics"}


def test_what_the_reference_imports() -> None:
    (folder,) = recc.backends.numpy_reference.__path__
    modules = sorted(Path(folder).glob("*.py"))
    assert len(modules) >= 5
    for module in modules:
        for node in ast.walk(ast.parse(module.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [str(node.module)]
            assert not [n for n in names if n.split(".")[0] in ("scipy", "torch", "sympy", "lark")], module
            assert {n for n in names if n.split(".")[0] == "recc"} <= ALLOWED, module
