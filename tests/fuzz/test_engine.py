"""The loop: numbers, time, slices, kinds of counter-examples, processes that crash or hang, what a report says."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import recc
from recc.errors import UsageError
from recc.fuzz import Budget, CounterExample, Trial, fuzz_grammar
from recc.fuzz.hunting import pool
from recc.fuzz.hunting.found import skeleton
from recc.fuzz.hunting.pool import Ended, Late, Pool, Worker
from recc.fuzz.hunting.work import CRASH, HANG, Outcome, Task, TooLong, at_most, cases_of, examine, rec_of
from recc.fuzz.laws.checks import Cell
from recc.fuzz.telling.coverage import Coverage
from recc.fuzz.telling.junit import Verdict, junit
from recc.fuzz.ways.program import Program, Way

LEAK = """
recurrence leak(d)
    input  x[d], f[d] in [0, 1]
    state  h[d]
    h[t] = f[t] * h[t-1] + x[t]
    output y[t] = h[t]
    output z[t] = sum[d](h[t] ** 2)
"""


@pytest.fixture(scope="module")
def op() -> Any:
    return recc.compile(LEAK)


def test_a_range_and_a_slice_of_it(op: Any, tmp_path: Path) -> None:
    """Two slices compare what the whole compares; each leaves a line."""
    log = tmp_path / "logs" / "run.jsonl"
    whole = recc.fuzz(op, cases=4)
    slices = [recc.fuzz(op, cases=2, start=start, log=log) for start in (0, 2)]
    assert [s.numbers for s in slices] == [(0, 1), (2, 3)]
    assert sum(s.checks for s in slices) == whole.checks > 100
    assert slices[0].coverage.cells + slices[1].coverage.cells == whole.coverage.cells
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["from"], line["to"], line["cases"]) for line in lines] == [(0, 1, 2), (2, 3, 2)]
    assert all(line["cells"] == 4 and line["seed"] == 0 and line["found"] == [] for line in lines)
    assert lines[0]["versions"]["recc"] == recc.__version__


def test_as_many_as_fit_into_a_time(op: Any) -> None:
    seen: list[Trial] = []
    report = recc.fuzz(op, minutes=1e-9, progress=seen.append)
    assert report.cases <= 1 and report.numbers in (None, (0, 0))
    report = recc.fuzz(op, cases=2, minutes=10, progress=seen.append)
    assert report.cases == 2
    assert (seen[-1].number, seen[-1].count, seen[-1].cells, seen[-1].found) == (2, 2, 4, 0)


def test_laws_and_types_by_name(op: Any) -> None:
    report = recc.fuzz(op, cases=2, laws=["values", "pieces"], dtypes=["float64"])
    assert {law for law, _ in report.by_law} == {"values", "pieces"}
    assert set(report.values) == {"float64"}
    assert {cell.dtype for cell in report.coverage.cells} == {"float64"}


def test_several_ways_of_one_program() -> None:
    program = Program.of(LEAK, ("blocks", "torch"), ("scan", "sequential"))
    report = recc.fuzz(program, cases=2)
    ways = {way for _, way in report.by_law}
    assert ways == {str(way) for way in program.ways} and len(ways) == 6
    assert {(c.backend, c.form) for c in report.coverage.cells} == {
        (b, f) for b in ("blocks", "torch") for f in ("scan", "sequential")
    }


class Twice:
    """An op whose outputs are wrong: the one of them twice what it should be, the other negative."""

    def __init__(self, op: Any):
        self.op, self.recurrence = op, op.recurrence

    def __call__(self, **given: Any) -> Any:
        result, final = self.op(**given)
        return type(result)(2 * result[0], -result[1]), final


def test_the_first_or_all_that_are_different(op: Any, tmp_path: Path) -> None:
    with pytest.raises(CounterExample) as caught:
        recc.fuzz(Twice(op), cases=5, steps=(4,), shrink=Budget(20, 40))
    assert caught.value.report.cases == 1 and caught.value.law == "values"
    options: dict[str, Any] = {
        "steps": (4,),
        "keep_going": True,
        "shrink": Budget(20, 40),
        "save": tmp_path,
        "laws": ["values", "pieces"],
    }
    report = recc.fuzz(Twice(op), cases=6, **options)
    assert report.cases == 6
    # The program cannot be changed, so that all are of one kind, and pieces agree with one another.
    assert [(c.law, c.way) for c in report.counter_examples] == [("values", "c sequential")]
    assert report.more and {law for _, law, _ in report.more} == {"values"}
    assert "failed again at" in str(report) and "1 counter-example " in str(report)
    assert len(list(tmp_path.glob("*.recc"))) == 1
    verdicts = {v.law: v for v in report.verdicts}
    assert len(verdicts["values"].failures) == 1 and not verdicts["pieces"].failures


def test_as_it_was_drawn(op: Any) -> None:
    with pytest.raises(CounterExample) as caught:
        recc.fuzz(Twice(op), cases=1, steps=(4,), shrink=False)
    assert caught.value.shrunk is None and caught.value.case is caught.value.drawn
    assert "shrunk" not in str(caught.value)


def test_kinds_do_not_depend_on_names() -> None:
    one, other = (rec_of(Task(text=text), 0) for text in (LEAK, LEAK.replace("h", "state_of").replace("leak", "it")))
    a, b = (next(iter(cases_of(Task(text=""), rec, 0))) for rec in (one, other))
    assert skeleton(a) == skeleton(b)
    third = rec_of(Task(text=LEAK.replace("h[t-1]", "h[t-2]").replace("+ x", "- x")), 0)
    assert skeleton(next(iter(cases_of(Task(text=""), third, 0)))) != skeleton(a)


def test_programs_out_of_the_grammar(tmp_path: Path) -> None:
    seen: list[Trial] = []
    options: dict[str, Any] = {"backends": ("numpy", "blocks"), "keep_going": True, "shrink": False}
    report = fuzz_grammar(4, seed=1, progress=seen.append, **options)
    assert report.cases == 4 and len(seen) == 4 and report.numbers == (0, 3)
    assert {cell.backend for cell in report.coverage.cells} <= {"numpy", "blocks"}
    assert report.checks > 20
    again = fuzz_grammar(only=2, seed=1, **options)
    assert again.cases == 1 and again.numbers == (2, 2)
    assert rec_of(Task(seed=1), 2) == rec_of(Task(seed=1), 2) != rec_of(Task(seed=1), 3)


def test_in_processes_as_in_this_one(op: Any) -> None:
    here = recc.fuzz(op, cases=4, laws=["values"])
    there = recc.fuzz(op, cases=4, laws=["values"], jobs=2)
    assert (here.checks, dict(here.values), here.by_law) == (there.checks, dict(there.values), there.by_law)
    assert here.coverage.cells == there.coverage.cells


def test_a_kernel_that_crashes_and_one_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults that only another process survives, planted through edited kernels."""
    monkeypatch.setattr(pool, "_START", 12.0)
    monkeypatch.setenv("RECC_CACHE", str(tmp_path / "kernels"))
    op = recc.compile(LEAK)
    recc.fuzz(op, only=0, laws=["values"])
    edited = tmp_path / "edited"
    edited.mkdir()
    for fault, law, what in (
        ("*(volatile int *)0 = 1;", CRASH, "SIGSEGV"),
        ("for (volatile int hold = 1; hold;) {}", HANG, "longer than 3 s"),
    ):
        for kernel in (tmp_path / "kernels").glob("leak_forward_*.c"):
            text = kernel.read_text()
            assert "const int64_t t = s;" in text
            (edited / kernel.name).write_text(text.replace("const int64_t t = s;", f"const int64_t t = s; {fault}"))
        monkeypatch.setenv("RECC_OVERRIDE", str(edited))
        with pytest.raises(CounterExample) as caught:
            recc.fuzz(op, only=0, laws=["values"], jobs=1, limit=3, shrink=False)
        assert caught.value.law == law and what in str(caught.value)
        assert caught.value.way == "c sequential"


def test_a_worker(tmp_path: Path) -> None:
    worker = Worker(20)
    text = worker.ask("text", Task(seed=5), 1)
    assert text == rec_of(Task(seed=5), 1).source.text
    with pytest.raises(AssertionError):
        worker.ask("nonsense")
    assert worker._process is not None
    os.kill(worker._process.pid, signal.SIGKILL)
    with pytest.raises(Ended, match="SIGKILL"):
        worker.ask("text", Task(seed=5), 1)
    assert worker.ask("text", Task(seed=5), 1) == text
    worker.limit = 0
    with pytest.raises(Late):
        worker.ask("examine", Task(seed=5), 1)
    worker.close()
    worker.close()
    with Pool(1, 5) as some:
        assert some.worker is some.worker


def test_time_runs_out_in_this_process() -> None:
    with pytest.raises(TooLong), at_most(0.05):
        time.sleep(5)
    with at_most(None):
        time.sleep(0.001)
    before = signal.getsignal(signal.SIGALRM)
    with at_most(5):
        assert signal.getsignal(signal.SIGALRM) is not before
    assert signal.getsignal(signal.SIGALRM) is before


def test_an_error_is_a_finding(op: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from recc.fuzz.hunting import work

    def raises(*args: Any, **options: Any) -> Any:
        raise ZeroDivisionError("of no use")

    monkeypatch.setattr(work, "check_case", raises)
    outcome: Outcome = examine(Task(text=LEAK), 0, Program.of_op(op))
    ((_, finding),) = outcome.failures
    assert finding.what == "ZeroDivisionError: of no use" and not finding.holds
    with pytest.raises(CounterExample, match="leak is wrong: ZeroDivisionError: of no use"):
        recc.fuzz(op, cases=1, shrink=Budget(5, 5))


def test_options_that_make_no_sense(op: Any) -> None:
    for name, value in (("start", -1), ("jobs", -1), ("only", -2)):
        options: dict[str, Any] = {name: value}
        with pytest.raises(UsageError, match="whole numbers from 0"):
            recc.fuzz(op, **options)
    with pytest.raises(UsageError, match="cases_each: expected one case or more"):
        fuzz_grammar(1, cases_each=0)
    with pytest.raises(UsageError, match="one case or more"):
        fuzz_grammar(0)
    with pytest.raises(UsageError, match="--log: expected a file that can be written"):
        recc.fuzz(op, cases=1, laws=["values"], log="/dev/null/it")


def test_coverage_as_a_table() -> None:
    coverage = Coverage()
    assert str(coverage) == "nothing was compared"
    first = Cell("diagonal", "scan", "torch", "forward", "float32")
    assert coverage.add([first, Cell("dense", "sequential", "c", "backward", "float64")]) == 2
    assert coverage.add([first]) == 0 and len(coverage) == 2
    assert str(coverage).splitlines() == [
        "2 combinations of structure, form, backend, direction and type",
        "",
        "                    c  torch",
        "structure  sequential   scan",
        "dense               1      ·",
        "diagonal            ·      2",
        "",
        "direction, type    c  torch",
        "backward, float64  1      ·",
        "forward, float32   ·      2",
    ]


def test_junit() -> None:
    text = "it is <wrong> & \x00 \x1b[K bad\n  case: T = 1"
    verdicts = [
        Verdict("values", str(Way("c")), 12),
        Verdict("pieces", str(Way("torch", "chunked", 3)), 4, (("it is <wrong>", text),)),
        Verdict("step", "c sequential", 0),
    ]
    root = ElementTree.fromstring(junit("recc fuzz it", verdicts, 1.5, {"seed": "3"}))
    assert root.tag == "testsuites"
    (suite,) = root
    assert suite.attrib == {
        "name": "recc fuzz it",
        "tests": "3",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
        "time": "1.500",
    }
    assert [(p.get("name"), p.get("value")) for p in suite.iter("property")] == [("seed", "3")]
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert {n: c.get("classname") for n, c in cases.items()} == {
        "values": "recc.fuzz.c.sequential", "pieces": "recc.fuzz.torch.chunked.in.chunks.of.3",
        "step": "recc.fuzz.c.sequential",
    }  # fmt: skip
    (failure,) = cases["pieces"].findall("failure")
    assert failure.get("message") == "it is <wrong>" and failure.text == text.replace("\x00", "\ufffd").replace(
        "\x1b", "\ufffd"
    )
    assert cases["step"].find("skipped") is not None and cases["values"].find("failure") is None
