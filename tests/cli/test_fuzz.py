"""`recc fuzz`: what it prints, its exit statuses, its files, and a user's edited kernel that is wrong."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

import recc
from recc.cli import main
from recc.commands.fuzz import line
from recc.commands.progress import Progress
from recc.fuzz import Trial

LEAK = """
recurrence leak(d)
    input  x[d], f[d] in [0, 1]
    state  h[d]
    h[t] = f[t] * h[t-1] + x[t]
    output y[t] = h[t]
"""


def status(arguments: list[str]) -> int:
    """The exit status of a command."""
    try:
        return main(arguments)
    except SystemExit as done:
        return int(done.code or 0)


@pytest.fixture
def program(tmp_path: Path) -> str:
    path = tmp_path / "leak.recc"
    path.write_text(LEAK)
    return str(path)


@pytest.fixture
def edited(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Emits the kernels of case 0, replaces a piece of their text, and has them taken in place of those."""

    def edit(old: str, new: str) -> None:
        monkeypatch.setenv("RECC_CACHE", str(tmp_path / "kernels"))
        recc.fuzz(recc.compile(program), only=0)
        (tmp_path / "edited").mkdir()
        found = 0
        for kernel in (tmp_path / "kernels").glob("leak_forward_*.c"):
            text = kernel.read_text()
            found += old in text
            (tmp_path / "edited" / kernel.name).write_text(text.replace(old, new))
        assert found
        monkeypatch.setenv("RECC_OVERRIDE", str(tmp_path / "edited"))

    return edit


def test_nothing_found(program: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    junit, log = tmp_path / "out" / "junit.xml", tmp_path / "log.jsonl"
    options = ["--cases", "2", "--seed", "3", "--from", "4", "--junit", str(junit), "--log", str(log)]
    assert main(["fuzz", program, *options]) == 0
    told = capsys.readouterr().out
    assert told.startswith("leak: 2 cases, ") and "no counter-example (seed 3)" in told
    assert "combinations of structure, form, backend, direction and type" in told and "diagonal over d" in told
    root = ElementTree.parse(junit).getroot()
    (suite,) = root
    assert suite.get("name") == "recc fuzz leak" and root.get("failures") == "0"
    names = {case.get("name") for case in suite.iter("testcase")}
    assert {"values", "gradients", "pieces", "packed"} <= names
    assert {case.get("classname") for case in suite.iter("testcase")} == {"recc.fuzz.c.sequential"}
    assert json.loads(log.read_text())["from"] == 4


def test_an_edited_kernel_that_is_wrong(
    program: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], edited: Callable[[str, str], None]
) -> None:
    """What a user breaks in a kernel of his own is shown, saved, and seen again from the file."""
    edited(" + x1);", " - x1);")
    junit, folder = tmp_path / "junit.xml", tmp_path / "found"
    assert status(["fuzz", program, "--only", "0", "--save", str(folder), "--junit", str(junit), "--shrink", "20"]) == 1
    told = capsys.readouterr().out
    assert told.startswith("leak is wrong: ")
    assert "  law: values, way: c sequential\n" in told and "h[t] = f[t] * h[t-1] + x[t]" in told
    assert "  again: recc.fuzz(op, seed=0, only=0)\n" in told
    (saved,) = folder.glob("*.recc")
    assert f"  saved: {saved}\n" in told
    failures = list(ElementTree.parse(junit).getroot().iter("failure"))
    assert failures and all("leak is wrong" in (f.text or "") for f in failures)
    for given in (saved, saved.with_suffix(".json")):
        assert status(["fuzz", "--replay", str(given)]) == 1
        assert capsys.readouterr().out.startswith("leak is wrong: ")


def test_a_counter_example_that_is_right_by_now(
    program: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], edited: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    edited(" + x1);", " - x1);")
    assert status(["fuzz", program, "--only", "0", "--save", str(tmp_path / "found"), "--shrink", "0"]) == 1
    monkeypatch.delenv("RECC_OVERRIDE")
    capsys.readouterr()
    (saved,) = (tmp_path / "found").glob("*.py")
    assert main(["fuzz", "--replay", str(saved)]) == 0
    assert capsys.readouterr().out.startswith("it holds now\nleak: 1 cases, ")


def test_random_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two slices that are asked for in different words compare the same."""
    options = ["--grammar", "--backend", "numpy", "--backend", "blocks", "--form", "sequential", "--dtype", "float64"]
    log = tmp_path / "log.jsonl"
    common = [*options, "--law", "values", "--log", str(log), "--keep-going", "--shrink", "0"]
    for words in (["--cases", "1", "--from", "3"], ["--only", "3"]):
        assert main(["fuzz", *common, *words]) == 0
        assert capsys.readouterr().out.startswith("programs out of the grammar: 1 cases, ")
    one, other = (json.loads(text) for text in log.read_text().splitlines())
    same = ("from", "to", "cases", "checks", "cells", "worst", "found", "versions")
    assert {k: one[k] for k in same} == {k: other[k] for k in same} and one["from"] == 3


MISTAKES = {
    "nothing to fuzz": (["fuzz"], "recc fuzz: expected one of FILE, --grammar and --replay, got none of them"),
    "two things": (["fuzz", "hgrn", "--grammar"], "got FILE and --grammar"),
    "a program that is not there": (["fuzz", "hgrm"], "the zoo has `hgrn`"),
    "a backend": (["fuzz", "hgrn", "--backend", "tritn"], "did you mean triton?"),
    "a form": (["fuzz", "hgrn", "--form", "chunk"], "did you mean chunked?"),
    "a type": (["fuzz", "hgrn", "--dtype", "float31"], "--dtype: expected one of float64, float32, float16, bfloat16"),
    "a type of no backend": (
        ["fuzz", "hgrn", "--backend", "numpy", "--dtype", "float32"],
        "--dtype: expected an element type of numpy, got float32",
    ),
    "a law": (["fuzz", "hgrn", "--law", "value"], "did you mean values?"),
    "auto and others": (["fuzz", "hgrn", "--backend", "auto", "--backend", "c"], "auto alone, or others"),
    "auto out of the grammar": (["fuzz", "--grammar", "--backend", "auto"], "--backend: expected one of numpy"),
    "no such way": (["fuzz", "gru", "--backend", "c", "--form", "scan"], "by c, scan does not apply: c has sequential"),
    "a form that does not apply": (["fuzz", "gru", "--backend", "torch", "--form", "scan"], "recc explain gru"),
    "no cases": (["fuzz", "hgrn", "--cases", "0"], "0 is no whole number above zero"),
    "a number that is none": (["fuzz", "hgrn", "--from", "-1"], "argument --from"),
    "a time that is none": (["fuzz", "hgrn", "--minutes", "nan"], "nan is no number from 0"),
    "nothing to replay": (["fuzz", "--replay", "nowhere"], "NAME.recc, NAME.npz and NAME.json lie together"),
    "a folder that is none": (
        ["fuzz", "hgrn", "--cases", "1", "--law", "values", "--log", "/dev/null/x"],
        "--log: expected a file that can be written",
    ),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_mistakes_are_told_in_plain_words(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, expected = MISTAKES[what]
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert expected in told.err and "Traceback" not in told.err
    assert told.out == ""


def test_the_help_tells_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fuzz", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "exit status: 0 nothing found, 1 a counter-example, 2 a mistake" in told


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress() -> None:
    trial = Trial(6, 50, 7, 1e-8, 3e-8, cells=12, found=1, seconds=75)
    shown = "leak: 6/50 · 0.08 cases/s · 1:15 min · 12 combinations · worst error 3.0e-08 · 1 found"
    assert line("leak", trial) == shown
    assert line("leak", Trial(6, 0, 7, 0.0, None, seconds=3)).startswith("leak: 6 · 2 cases/s")
    live = Terminal()
    progress = Progress(live)
    progress.show(shown)
    progress.show("too soon")
    progress.close()
    progress.close()
    assert live.getvalue().count("\r\x1b[K") == 2 and "too soon" not in live.getvalue()
    assert "leak: 6/50" in live.getvalue()
    plain = io.StringIO()
    quiet = Progress(plain, every=1000)
    quiet.show(shown)
    assert plain.getvalue() == ""
    often = Progress(plain, every=0)
    often.show(shown)
    often.close()
    assert plain.getvalue() == f"{shown}\n"
