"""`recc check`, `explain`, `emit` and `zoo`; and how every command finds its program."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from recc import zoo
from recc.check import load
from recc.errors import UsageError
from recc.recurrence import Kind, Recurrence, Stage

_DTYPES = ("float32", "float64", "float16", "bfloat16")
ZOO = Path(__file__).resolve().parents[1] / "zoo"


def find(file: str) -> Path:
    """The path of a program: a file, or a name in the zoo. Raises `UsageError` if it is neither."""
    path = Path(file)
    if path.is_file():
        return path
    stored = ZOO / f"{file}.recc"
    if path.name == file and stored.is_file():
        return stored
    close = get_close_matches(file, zoo.names(), 1)
    hint = f"the zoo has `{close[0]}`" if close else "`recc zoo` lists the programs that come with recc"
    raise UsageError("FILE", "a program, or the name of one in the zoo", f"{file}, which is neither", hint)


def text_of(path: Path) -> str:
    """The text of a program. Raises `UsageError` if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("FILE", "a text in UTF-8 that can be read", f"{path}: {error}") from None


def programs(file: str, name: str | None = None) -> tuple[Recurrence, ...]:
    """The checked recurrences of a file, or the one of a name."""
    path = find(file)
    found = load(text_of(path), str(path))
    if name is None:
        return found
    chosen = tuple(r for r in found if r.name == name)
    if not chosen:
        raise UsageError("--name", f"one of {', '.join(r.name for r in found)}", name)
    return chosen


def program(file: str, name: str | None = None) -> Recurrence:
    """The one recurrence of a file. Raises `UsageError` if it has several and none is named."""
    found = programs(file, name)
    if len(found) > 1:
        raise UsageError(
            "--name", f"one of {', '.join(r.name for r in found)}", f"nothing, and {file} has {len(found)} recurrences"
        )
    return found[0]


def compiled(file: str, name: str | None, backend: str, form: str) -> tuple[Any, Recurrence]:
    """A compiled program, with what was checked."""
    import recc

    rec = program(file, name)
    return recc.compile(find(file), name=rec.name, backend=backend, form=form), rec


def check(file: str, name: str | None, *, full: bool) -> None:
    """Say of each recurrence that it is well formed, and what it is made of."""
    for rec in programs(file, name):
        print(f"{rec.name}: ok · {summary(rec)}")
        if full:
            print(f"\n{rec}\n")


def summary(rec: Recurrence) -> str:
    """Inputs, parameters, states, outputs and stages of a program, in a line."""
    counted = [
        _count(len(rec.of_kind(Kind.INPUT)), "input"),
        _count(len(rec.of_kind(Kind.PARAM)), "parameter"),
        _count(len(rec.states), "state"),
        _count(len(rec.outputs), "output"),
    ]
    running = [s for s in rec.stages if s.states]
    stages = _count(len(running), "stage") or "no recurrent stage"
    return f"{', '.join(c for c in counted if c)} · {stages}{_directions(running)}"


def _count(number: int, noun: str) -> str:
    return "" if number == 0 else f"1 {noun}" if number == 1 else f"{number} {noun}s"


def _directions(stages: Sequence[Stage]) -> str:
    found = {d for s in stages for d in s.direction}
    both = {1, -1} <= found
    return " in both directions" if both else " from right to left" if -1 in found else ""


def explain(options: argparse.Namespace) -> None:
    """Print what the compiler found in a program and what it can do with it, or write it as a page."""
    op, rec = compiled(options.file, options.name, options.backend, options.form)
    sizes = parse_sizes(options.size)
    _own_axes(rec, sizes)
    explanation = op.explain(sizes, options.steps, options.batch, options.device)
    if options.html is not None:
        write(options.html, explanation.html(), "--html")
        print(options.html)
    else:
        print(explanation.latex() if options.latex else explanation)


def emit(options: argparse.Namespace) -> None:
    """Print the kernels of a program, or write them to a file."""
    op, rec = compiled(options.file, options.name, options.backend, options.form)
    text = source(op, rec, parse_sizes(options.size), options.dtype)
    if options.out is None:
        print(text)
        return
    write(options.out, text)
    print(f"{options.out}: {text.count(chr(10)) + 1} lines")


def source(op: Any, rec: Recurrence, sizes: Mapping[str, int], dtype: str) -> str:
    """The emitted text of a program for some sizes of its axes."""
    _own_axes(rec, sizes)
    if dtype not in _DTYPES:
        raise UsageError("--dtype", f"one of {', '.join(_DTYPES)}", dtype)
    kernels: Mapping[str, str] = op.emit(sizes, dtype)
    return "\n".join(kernels.values())


def _own_axes(rec: Recurrence, sizes: Mapping[str, int]) -> None:
    """Raises `UsageError` for a size of an axis that has none of its own."""
    own = [a.name for a in rec.axes if a.name == a.size_of]
    for name in sizes:
        if name not in own:
            raise UsageError("--size", f"one of {', '.join(own) or 'no axes'}", name)


def parse_sizes(given: Sequence[str]) -> dict[str, int]:
    """`["i=64", "j=8,k=4"]` as `{"i": 64, "j": 8, "k": 4}`. Raises `UsageError` for anything else."""
    found = {}
    for text in (part for item in given for part in item.split(",")):
        name, equals, value = text.partition("=")
        if not equals or not value.isdigit() or int(value) == 0:
            raise UsageError("--size", "AXIS=N with N at least 1", text)
        found[name.strip()] = int(value)
    return found


def write(path: Path, text: str, option: str = "--out") -> None:
    """Write a text. Raises `UsageError` about an option if that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(option, "a place that can be written", f"{path}: {error.strerror}") from None


def show_zoo(name: str | None) -> None:
    """Print one program of the zoo, or a line about each."""
    if name is not None:
        print(zoo.text(name), end="")
        return
    width = max(map(len, zoo.names()), default=0)
    for each in zoo.names():
        first = load(zoo.text(each), each)[0]
        print(f"{each:<{width}}  {first.doc}".rstrip())
