"""The count that matters: lines of a program beside lines of hand-written kernels for the same recurrence.

`python -m tests.zoo.lines` prints the table that the README shows. On both sides blank lines, comments and
docstrings are left out. On the side of fla-core the modules counted are those that hold Triton kernels: of the
operation's own folder, and in the second figure also those that it imports from elsewhere in the package. Kernels
written a second time for another accelerator, which are in folders named `backends`, are not counted.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import recc.zoo

#: The folder of fla-core's `ops` that computes what a program computes.
SAME = {
    "linear_attention": "linear_attn",
    "retention": "retention",
    "lightnet": "lightnet",
    "ssd": "simple_gla",
    "gated_linear_attention": "gla",
    "hgrn": "hgrn",
    "rwkv4": "rwkv4",
    "rwkv6": "rwkv6",
    "based": "based",
    "rebased": "rebased",
    "abc": "abc",
    "gated_slot_attention": "gsa",
    "delta_net": "delta_rule",
    "gated_delta_net": "gated_delta_rule",
    "gated_delta_net_2": "gdn2",
    "gated_delta_product": "gated_delta_product",
    "gated_oja_rule": "gated_oja_rule",
    "comba": "comba",
    "kda": "kda",
    "preconditioned_kda": "precond_kda",
    "iplr": "generalized_delta_rule/iplr",
    "dplr": "generalized_delta_rule/dplr",
    "rwkv7": "rwkv7",
    "mesa_net": "mesa_net",
}


def program_lines(name: str) -> int:
    """The lines of a program without comments, its docstring and blank lines."""
    lines = [line.split("#")[0].strip() for line in recc.zoo.text(name).splitlines()]
    return sum(bool(line) and not line.startswith('"') for line in lines)


@cache
def code_lines(path: Path) -> int:
    """The lines of a Python module that hold code."""
    source = path.read_text(encoding="utf-8")
    idle = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in idle:
            found.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(found)


def _root() -> Path:
    spec = find_spec("fla")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def _module_path(name: str) -> Path | None:
    base = _root().parent.joinpath(*name.split("."))
    return next((p for p in (base / "__init__.py", base.with_suffix(".py")) if p.exists()), None)


@cache
def _imports(path: Path) -> tuple[Path, ...]:
    """The modules of fla.ops that a module takes names from; a name that a package passes on is followed."""
    found: list[Path] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("fla.ops."):
            for alias in node.names:
                found += _origin(node.module, alias.name)
    return tuple(found)


def _origin(module: str, name: str) -> Iterator[Path]:
    """Where a name that is imported from a module is written."""
    whole, inside = _module_path(f"{module}.{name}"), _module_path(module)
    if whole is not None:
        yield whole
    elif inside is not None and inside.name != "__init__.py":
        yield inside
    elif inside is not None:
        for node in ast.walk(ast.parse(inside.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and any(a.name == name for a in node.names):
                yield from _origin(f"{module}.{node.module}" if node.level else node.module, name)


def _counts(path: Path) -> bool:
    inside = path.relative_to(_root()).parts
    return path.name not in ("__init__.py", "naive.py") and "backends" not in inside


def kernels(folder: str) -> tuple[set[Path], set[Path]]:
    """Modules with kernels: those of the folder, and those plus what they import elsewhere in fla.ops."""
    own = {p for p in (_root() / "ops" / folder).rglob("*.py") if _counts(p)}
    seen, todo = set(own), list(own)
    while todo:
        for path in _imports(todo.pop()):
            if _counts(path) and path not in seen:
                seen.add(path)
                todo.append(path)
    jitted = {p for p in seen if "@triton.jit" in p.read_text(encoding="utf-8")}
    return jitted & own, jitted


def table() -> str:
    """The README's table."""
    lines = [
        f"| program | lines | lines of kernels in fla-core {version('fla-core')} | with shared modules |",
        "|---|--:|--:|--:|",
    ]
    for name, folder in SAME.items():
        own, all_of = kernels(folder)
        counts = [sum(map(code_lines, paths)) for paths in (own, all_of)]
        shown = " | ".join(f"{count:,}" if count else "-" for count in counts)
        lines.append(f"| [{name}](recc/zoo/{name}.recc) | {program_lines(name)} | {shown} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
