"""One number's worth of fuzzing: a program, its cases, everything that they were compared with.

What is done here can be done in another process as well (`recc.fuzz.hunting.worker`): tasks and outcomes can be
pickled.
"""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from time import monotonic
from types import FrameType
from typing import Any

from recc.check import load
from recc.errors import SourceError
from recc.recurrence import Recurrence

from ..drawing.case import Case, draw_case
from ..laws.checks import check_case
from ..laws.trial import Finding
from ..ways.program import FORMS, Program, Way
from .found import STEPS, largest

#: What is wrong of a program that no law is about: the process ended, or never did; or an error was raised.
CRASH, HANG, RAISES = "no crash", "an end in time", "no error"

#: A single case, or a replay of one, may take so many seconds.
LIMIT = 120.0


@dataclass(frozen=True)
class Task:
    """What is drawn and compared: cases of a program, or programs out of the grammar where `text` is `None`.

    Ways are given, or they are all that a program has of some backends and forms, in chunks of every size; a program
    out of the grammar in chunks of one of them, in turn. `laws` and `dtypes` are names, `None` for all. `cases` are
    how many cases each program out of the grammar has.
    """

    seed: int = 0
    text: str | None = None
    name: str | None = None
    file: str = "<text>"
    ways: tuple[Way, ...] | None = None
    backends: tuple[str, ...] = ("numpy", "blocks", "c", "torch")
    forms: tuple[str, ...] = FORMS
    chunks: tuple[int | None, ...] = (3, None)
    laws: tuple[str, ...] | None = None
    dtypes: tuple[str, ...] | None = None
    steps: tuple[int, ...] = STEPS
    cases: int = 1


@dataclass
class Outcome:
    """What came of one number. `checks` are comparisons by law and way, `worst` errors by type and gradient or not."""

    number: int
    cases: int = 0
    steps: int = 0
    checks: Counter[tuple[str, str]] = field(default_factory=Counter)
    worst: dict[tuple[str, bool], float] = field(default_factory=dict)
    covered: list[frozenset[Any]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[Case, Finding]] = field(default_factory=list)
    seconds: float = 0.0


class TooLong(BaseException):
    """A case took longer than it may. No `Exception`: what catches those has to let it through."""


@contextmanager
def at_most(seconds: float | None) -> Iterator[None]:
    """Raises `TooLong` inside after so many seconds, in a process's main thread; elsewhere nothing is bounded.

    Code in C is interrupted only when it comes back, so that a kernel that never does needs a process of its own.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def rec_of(task: Task, number: int) -> Recurrence:
    """The program of a number: the task's own, or one out of the grammar. Raises `SourceError`."""
    if task.text is not None:
        return _own(task.text, task.name, task.file)
    from ..writing.programs import numbered_program

    (rec,) = load(numbered_program(task.seed, number).text, f"program {number} of seed {task.seed}")
    return rec


@lru_cache(maxsize=4)
def _own(text: str, name: str | None, file: str) -> Recurrence:
    found = load(text, file)
    return next(r for r in found if name in (None, r.name))


@lru_cache(maxsize=2)
def _program(task: Task) -> Program:
    return program_for(task, rec_of(task, 0))


def program_for(task: Task, rec: Recurrence, number: int | None = None) -> Program:
    """A recurrence in the ways of a task; with a number in chunks of one size, another one for the next number."""
    if task.ways is not None:
        return Program(rec, task.ways)
    chunks = task.chunks if number is None else (task.chunks[number % len(task.chunks)],)
    return Program.of(rec, task.backends, task.forms, chunks)


def cases_of(task: Task, rec: Recurrence, number: int) -> Iterator[Case]:
    """The cases of a number: one of a program of one's own, several of one out of the grammar."""
    if task.text is not None:
        yield draw_case(rec, task.seed, number, task.steps)
        return
    for k in range(task.cases):
        yield draw_case(rec, task.seed, number * task.cases + k, task.steps)


def examine(task: Task, number: int, program: Program | None = None, limit: float | None = None) -> Outcome:
    """Everything that there is to compare of a number; at most one failure of each law and way."""
    begun = monotonic()
    outcome = Outcome(number)
    if program is None:
        program = _program(task) if task.text is not None else program_for(task, rec_of(task, number), number)
    for case in cases_of(task, program.rec, number):
        outcome.cases += 1
        outcome.steps = max(outcome.steps, case.shapes.steps[0])
        look(program, case, outcome, task, limit)
    outcome.seconds = monotonic() - begun
    return outcome


def look(program: Program, case: Case, outcome: Outcome, task: Task, limit: float | None) -> None:
    """Compare one case and add what comes of it to an outcome."""
    try:
        with at_most(limit):
            checked = check_case(program, case, laws=task.laws, dtypes=task.dtypes)
    except TooLong:
        outcome.failures.append((case, broken(HANG, f"it takes longer than {limit} s")))
        return
    except Exception as problem:  # noqa: BLE001 - whatever a well-formed program raises is a finding
        outcome.failures.append((case, broken(RAISES, _told(problem))))
        return
    for finding in checked.findings:
        outcome.checks[finding.law, str(finding.way)] += 1
    for key, error in largest([f for f in checked.findings if f.holds]).items():
        outcome.worst[key] = max(outcome.worst.get(key, 0.0), error)
    outcome.left_out.update(checked.left_out)
    outcome.covered.append(frozenset(checked.covered))
    known = {(f.law, str(f.way)) for _, f in outcome.failures}
    for finding in checked.findings:
        if not finding.holds and (finding.law, str(finding.way)) not in known:
            known.add((finding.law, str(finding.way)))
            outcome.failures.append((case, finding))


def _told(problem: BaseException) -> str:
    first = str(problem).strip().splitlines()[:1]
    return f"{type(problem).__name__}: {first[0]}" if first else type(problem).__name__


def broken(law: str, what: str, way: Way | None = None) -> Finding:
    """A finding of what is no comparison: a crash, a hang, an error."""
    return Finding(what, "", float("inf"), 0.0, law=law, way=way)


def same_fault(found: Finding, other: Finding) -> bool:
    """Whether a finding does not hold, and is of the law, the way and the kind of another."""
    if found.holds or (found.law, str(found.way)) != (other.law, str(other.way)):
        return False
    if not found.dtype and not other.dtype:  # an error of the same kind
        return found.what.split(":")[0] == other.what.split(":")[0]
    return (found.dtype, found.gradient) == (other.dtype, other.gradient)


def again(program: Program, case: Case, finding: Finding, task: Task, limit: float | None = None) -> Finding | None:
    """The finding of the same law and way for another case, if it does not hold there either."""
    chosen = [way for way in program.asked if str(way) == str(finding.way)]
    laws = None if finding.law in (CRASH, HANG, RAISES) else (finding.law,)
    outcome = Outcome(case.number)
    alone = program.only(chosen) if chosen else program
    narrowed = Task(task.seed, laws=laws, dtypes=(finding.dtype,) if finding.dtype else None)
    look(alone, case, outcome, narrowed, limit)
    return next((f for _, f in outcome.failures if same_fault(f, finding)), None)


def is_well_formed(text: str) -> bool:
    """Whether a text passes every check."""
    try:
        load(text)
    except SourceError:
        return False
    return True


def ways_of(task: Task, rec: Recurrence) -> Sequence[Way]:
    """The ways that a program is asked in."""
    return program_for(task, rec).asked


__all__ = ["LIMIT",
    "CRASH", "HANG", "RAISES", "Outcome", "Task", "TooLong", "again", "at_most", "broken", "cases_of", "examine",
    "is_well_formed", "look", "program_for", "rec_of", "same_fault", "ways_of",
]  # fmt: skip
