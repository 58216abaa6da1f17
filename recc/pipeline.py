"""The whole story, one named line per stage.

    text ─parse─▶ Syntax ─check─▶ Recurrence ─derive─▶ Form ─emit─▶ source ─load─▶ callable

Parsing and checking happen when a program is compiled; deriving, emitting and building when the op first
sees sizes and element types, and once per such combination.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from recc.diagnostics import Source
from recc.errors import UsageError
from recc.recurrence import Recurrence


def compile(  # the name that users write as recc.compile
    text_or_path: str | Path,
    name: str | None = None,
    backend: str = "auto",
    form: str = "auto",
    chunk_size: int | None = None,
) -> Any:
    """Compiles a recurrence from a program's text, or from a `.recc` file.

    `name` chooses among several recurrences of one file. `backend` is `auto`, `numpy`, `c`, `torch` or
    `triton`; `form` is `auto`, `sequential`, `scan`, `chunked`, `convolution`, `matrix` or `newton`.
    Gives an `Op`. Raises `SourceError` with every mistake of the program, `UsageError` for a wrong
    argument, `Unsupported` for a form or backend that does not apply.
    """
    from recc.runtime.op import Op

    source = read(text_or_path)
    rec = select(check_source(source), name, source)
    return Op(rec, backend, form, chunk_size)


def read(text_or_path: str | Path) -> Source:
    """The program's text with the name it is shown under. A string with no line break may be a path."""
    if isinstance(text_or_path, Path) or ("\n" not in text_or_path and text_or_path.strip().endswith(".recc")):
        path = Path(text_or_path)
        try:
            return Source(path.read_text(encoding="utf-8"), str(path))
        except FileNotFoundError:
            near = get_close_matches(path.name, [p.name for p in path.parent.glob("*.recc")], 1)
            hint = f"did you mean {path.parent / near[0]}?" if near else "give the program's text or the path of a file"
            raise UsageError("the program", "a file that exists", str(path), hint) from None
        except (OSError, UnicodeDecodeError) as problem:
            raise UsageError("the program", "a readable text file", f"{path} ({problem})") from None
    return Source(text_or_path)


def check_source(source: Source) -> tuple[Recurrence, ...]:
    """Every recurrence of a text: text ─parse─▶ Syntax ─check─▶ Recurrence. Raises `SourceError`."""
    from recc.check import check
    from recc.parse import parse

    return check(parse(source), source)


def select(found: tuple[Recurrence, ...], name: str | None, source: Source) -> Recurrence:
    """The recurrence of a name, or the only one."""
    names = [rec.name for rec in found]
    if name is None:
        if len(found) != 1:
            expected = f"a name, since {source.name} has {len(found)} recurrences"
            raise UsageError("name", expected, "none", f"choose one of {', '.join(names)}")
        return found[0]
    if name not in names:
        near = get_close_matches(name, names, 1)
        hint = f"did you mean {near[0]!r}?" if near else ""
        raise UsageError("name", f"one of {', '.join(names)}", repr(name), hint)
    return found[names.index(name)]


__all__ = ["check_source", "compile", "read", "select"]
