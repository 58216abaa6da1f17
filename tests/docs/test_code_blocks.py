"""Every fenced code block of the README and of docs/ does what it says.

What runs is decided by the word after the fence:

- `python`: executed, after the earlier `python` blocks of the same file, in the same namespace. Blocks with
  `>>>` prompts are doctests.
- `text output`, `c output`, `… output` after a `python` block: exactly what that block prints. `--update-golden`
  writes what it prints into the page.
- `recc`: a program that must pass every check; its text is the variable `program` of the `python` blocks after it.
  `recc error`: a program that must not pass.
- `console`: lines `$ recc …` run the command line; text below a command, if there is any, is what it prints,
  and a line `...` stands for any lines.

Anything else (`text`, `sh`, `c`, …) is only shown.
"""

from __future__ import annotations

import contextlib
import difflib
import doctest
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from recc.check import load
from recc.errors import SourceError

ROOT = Path(__file__).resolve().parents[2]
FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@dataclass(frozen=True)
class Fence:
    """A fenced block: the words after the fence, its text, the line that it begins on, and its place in the page."""

    info: str
    text: str
    line: int
    start: int
    end: int
    indent: int


def fences(markdown: str) -> Iterator[Fence]:
    for found in re.finditer(r"^( *)(`{3,})([^\n`]*)\n(.*?)^\1\2 *$", markdown, re.M | re.S):
        indent = len(found[1])
        text = "".join(line[indent:] for line in found[4].splitlines(keepends=True))
        line = markdown.count("\n", 0, found.start()) + 2
        yield Fence(found[3].strip(), text, line, found.start(4), found.end(4), indent)


def run_python(fence: Fence, name: str, namespace: dict[str, object]) -> str:
    printed = io.StringIO()
    if ">>> " in fence.text:
        test = doctest.DocTestParser().get_doctest(fence.text, namespace, name, name, fence.line - 1)
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        runner.run(test, out=printed.write, clear_globs=False)
        namespace.update(test.globs)
        assert runner.failures == 0, printed.getvalue()
        return ""
    code = compile("\n" * (fence.line - 1) + fence.text, name, "exec")
    with contextlib.redirect_stdout(printed):
        exec(code, namespace)
    return printed.getvalue()


def run_console(fence: Fence) -> None:
    commands = re.split(r"^\$ ", fence.text, flags=re.M)[1:]
    for command in commands:
        head, _, expected = command.partition("\n")
        words = shlex.split(head, comments=True)
        if not words or words[0] != "recc":
            continue
        from recc.cli import main

        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            status = main(words[1:])
        assert status in (0, 2), f"{head} ended with status {status}\n{printed.getvalue()}"
        if expected.strip():
            compare(printed.getvalue(), expected, head)
        else:
            assert status == 0, printed.getvalue()


def compare(printed: str, expected: str, what: str) -> None:
    """`printed` is `expected`, where a line `...` stands for any lines."""
    lines = [line.rstrip() for line in expected.strip().splitlines()]
    pattern = "".join("(?:.*\n)*?" if line == "..." else re.escape(line) + r" *\n" for line in lines)
    shown = "".join(line.rstrip() + "\n" for line in printed.strip().splitlines())
    assert re.fullmatch(pattern, shown), f"{what} prints\n{shown}\nand the text says\n{expected}"


def check_program(fence: Fence) -> None:
    if fence.info == "recc":
        load(fence.text)
        return
    with pytest.raises(SourceError):
        load(fence.text)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_code_blocks(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    printed = ""
    page = path.read_text(encoding="utf-8")
    update = bool(request.config.getoption("--update-golden"))
    written: list[tuple[Fence, str]] = []
    for fence in fences(page):
        place = f"{path.relative_to(ROOT)}:{fence.line}"
        if fence.info == "python":
            printed = run_python(fence, place, namespace)
        elif fence.info.endswith(" output"):
            if not update:
                assert plain(printed) == plain(fence.text), f"{place}\n{difference(fence.text, printed)}"
            written.append((fence, plain(printed)))
        elif fence.info in ("recc", "recc error"):
            check_program(fence)
            namespace["program"] = fence.text
        elif fence.info == "console":
            run_console(fence)
    if update and (changed := rewritten(page, written)) != page:
        path.write_text(changed, encoding="utf-8")


def plain(text: str) -> str:
    """A text without blanks at the ends of its lines and without empty lines around it."""
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


def difference(text: str, printed: str) -> str:
    """What a page says and what its code prints, as a diff, with what to do about it."""
    both = (plain(text).splitlines(), plain(printed).splitlines())
    lines = difflib.unified_diff(*both, "what the page says", "what its code prints", lineterm="", n=1)
    return "\n".join([*lines, "if the new output is right, run `make docs`"])


def rewritten(page: str, written: list[tuple[Fence, str]]) -> str:
    """A page with other texts in some of its blocks."""
    for fence, text in reversed(written):
        lines = [" " * fence.indent + line if line else "" for line in text.splitlines()]
        page = page[: fence.start] + "".join(f"{line}\n" for line in lines) + page[fence.end :]
    return page


def test_fences_are_found() -> None:
    text = "a\n```python\nx = 1\n```\n  ```text output\n  1\n  ```\n````md\n```\n````\n"
    assert [(f.info, f.text, f.line) for f in fences(text)] == [
        ("python", "x = 1\n", 3),
        ("text output", "1\n", 6),
        ("md", "```\n", 9),
    ]


def test_outputs_are_rewritten() -> None:
    page = "a\n```text output\nold\n```\n  ```c output\n  old\n  ```\nb\n"
    first, second = fences(page)
    assert rewritten(page, [(first, "new\n\nlines"), (second, "int x;")]) == (
        "a\n```text output\nnew\n\nlines\n```\n  ```c output\n  int x;\n  ```\nb\n"
    )


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for path in FILES:
        plain = re.sub(r"^ *(`{3,}).*?^ *\1 *$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
        plain = re.sub(r"(`+).+?\1", "", plain)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", plain):
            if "://" not in target and not (path.parent / target).exists():
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert not broken, "\n".join(broken)
