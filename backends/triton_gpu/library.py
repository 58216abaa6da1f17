"""The library of emitted kernels: the text of its functions, to be copied into a module that stands alone.

The functions lie in `scalars` and `tiles`; nothing here imports them, and so neither Triton nor a GPU is needed
to emit. Their names are their spelling in an emitted module, with no prefix: `softplus(x)`,
`solve(a, b, SIZE)`. They are named after NumPy's functions where it has them, and no name is one of Python's
own. A kernel must not use any of `names()` for a value, since within a function that would hide the function.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

#: The files, lowest first: a function uses those above it in its own file and those of earlier files.
_FILES = ("scalars.py", "tiles.py")


@dataclass(frozen=True)
class _Function:
    """The text of a function from its decorator on, and the library's functions that it uses."""

    text: str
    uses: tuple[str, ...]


def names() -> tuple[str, ...]:
    """The names of all functions, in the order of their definition."""
    return tuple(_functions())


def sources(names: Iterable[str]) -> str:
    """The text of some functions and of all that they use, each once, what is used above what uses it.

    The order does not depend on that of `names`. The text uses `triton` and `tl` (`triton.language`), which the
    module has to import. It ends with a line break; functions are two empty lines apart. It is empty for no names.

    Raises `KeyError` for a name that the library does not have.
    """
    functions = _functions()
    wanted: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name not in functions:
            raise KeyError(f"the library has no function {name!r}")
        if name not in wanted:
            wanted.add(name)
            left.extend(functions[name].uses)
    return "\n\n".join(function.text for name, function in functions.items() if name in wanted)


@cache
def _functions() -> Mapping[str, _Function]:
    found: dict[str, _Function] = {}
    for file in _FILES:
        text = Path(__file__).with_name(file).read_text(encoding="utf-8")
        lines = text.splitlines()
        for node in ast.parse(text, filename=file).body:
            if isinstance(node, ast.FunctionDef):
                start = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                body = "\n".join(lines[start - 1 : node.end_lineno]) + "\n"
                read = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
                found[node.name] = _Function(body, tuple(name for name in found if name in read))
    return found


__all__ = ["names", "sources"]
