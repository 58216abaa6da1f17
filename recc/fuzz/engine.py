"""Looking for cases in which a compiled recurrence is wrong: one's own, or programs out of the grammar."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any, TypedDict, Unpack

from recc.errors import SourceError, Unsupported, UsageError
from recc.recurrence import Recurrence

from .drawing.case import Case
from .hunting.found import FEW_STEPS, STEPS, CounterExample, Origin, Trial
from .hunting.pool import Pool
from .hunting.work import LIMIT, Outcome, Task, again, examine, program_for
from .laws.trial import Finding
from .shrinking.shrink import Budget, shrink
from .telling.report import Report, Tally
from .telling.saved import save as save_one
from .ways.program import FORMS, Program

#: Of one law of one way so many counter-examples are shrunk; the numbers of the others are told.
_OF_ONE_KIND = 4

_Again = Callable[[Case, Finding], Finding | None]

#: Numbers to run, and how many they are: 0 where time alone says it.
_Chosen = tuple[Iterable[int], int]


@dataclass
class Hunt:
    """What to run and what to do about counter-examples: shared by `fuzz` and `fuzz_grammar`.

    `budget` bounds the shrinking of each counter-example, `None` leaves them as they are. With `keep_going` all that
    are different are collected, otherwise the first is raised. `save` is a folder, `log` a file for a line per run.
    """

    task: Task
    again: _Again
    programs: bool = True
    budget: Budget | None = field(default_factory=Budget)
    keep_going: bool = False
    save: Path | None = None
    log: Path | None = None
    progress: Callable[[Trial], None] | None = None

    def run(self, chosen: _Chosen, title: str, program: Program | None, jobs: int, limit: float) -> Report:
        """Go through numbers, in processes of their own if there are to be any.

        Raises `CounterExample` at the first, unless all are collected.
        """
        numbers, number_of = chosen
        if not jobs:
            return self._go((examine(self.task, n, program, limit) for n in numbers), number_of, title)
        with Pool(jobs, limit) as pool:
            there = replace(self, again=lambda case, finding: pool.again(self.task, case, finding))
            return there._go(pool.outcomes(self.task, numbers), number_of, title)

    def _go(self, outcomes: Iterator[Outcome], number_of: int, title: str) -> Report:
        tally = Tally(title, self.task.seed)
        try:
            for outcome in outcomes:
                tally.add(outcome)
                self._meet(tally, outcome)
                if self.progress is not None:
                    self.progress(tally.trial(outcome, number_of))
        finally:
            if self.log is not None:
                tally.append_to(self.log)
        return tally.report()

    def _meet(self, tally: Tally, outcome: Outcome) -> None:
        """Make the failures of a number small; others that fail of the small case too are told with it."""
        waiting = list(outcome.failures)
        while waiting:
            case, finding = waiting.pop(0)
            if self.keep_going and tally.kinds[finding.law, str(finding.way)] >= _OF_ONE_KIND:
                tally.more.append((outcome.number, finding.law, str(finding.way)))
                continue
            found = self._small(case, finding, outcome.number)
            alike = [f for _, f in waiting if self.again(found.case, f) is not None]
            found.also = tuple((f.law, f.way) for f in alike)
            waiting = [(c, f) for c, f in waiting if f not in alike]
            if not tally.meet(found):
                continue
            if self.save is not None:
                found.saved = str(save_one(self.save, found))
            if not self.keep_going:
                found.report = tally.report()
                raise found

    def _small(self, case: Case, finding: Finding, number: int) -> CounterExample:
        origin = Origin(self.task.seed, number, self.task.steps, self.task.text is None)
        if self.budget is None:
            return CounterExample(case, finding, origin)
        shrunk = shrink(case, lambda c: self.again(c, finding) is not None, self.budget, programs=self.programs)
        last = self.again(shrunk.case, finding) or finding
        return CounterExample(shrunk.case, last, origin, case, shrunk)


class Options(TypedDict, total=False):
    """What `fuzz` and `fuzz_grammar` both take.

    Args:
        start: the number of the first case, so that a long run can be made in slices.
        minutes: begin no case after so many; without `cases` as many cases as fit.
        laws: the names of the laws to check; all by default.
        dtypes: the element types to check; all that there are by default.
        keep_going: collect what is found in the report, each kind once, in place of raising the first.
        shrink: how long to look for a smaller case (a `Budget`), or `False` to leave it as it is.
        save: a folder for counter-examples, where they can be replayed from (`recc.fuzz.replay`).
        log: a file to which one line of JSON about this run is appended.
        jobs: how many processes work; with 0 this one does. In a process of its own a kernel that crashes is a finding.
        limit: a case that takes more seconds is a finding.
    """

    start: int
    minutes: float | None
    laws: Sequence[str] | None
    dtypes: Sequence[str] | None
    keep_going: bool
    shrink: Budget | bool
    save: str | Path | None
    log: str | Path | None
    jobs: int
    limit: float


def fuzz(
    op: Any,
    cases: int | None = None,
    seed: int = 0,
    steps: Sequence[int] = STEPS,
    progress: Callable[[Trial], None] | None = None,
    only: int | None = None,
    **options: Unpack[Options],
) -> Report:
    """Runs an op on random arguments from its domains and compares it with everything it must agree with.

    Every case draws sizes, lengths from `steps`, batch axes, values (sometimes on the bounds of their
    domains) and perhaps a state to begin with; every law that applies (`recc.fuzz.laws.plain`) is checked of it, within
    bounds that follow from the rounding of the element type and from how well conditioned the case is. A case that
    fails is made as small as it gets: program, sizes, values.

    Args:
        op: what `recc.compile` gives, or a `Program`: one recurrence in several ways.
        cases: how many (50 if no `minutes` are given). Without torch no gradients are compared.
        seed: the same seed gives the same cases.
        steps: the lengths to choose from.
        progress: called with a `Trial` after every case.
        only: the number of one case, to see a counter-example again.
        options: see `Options`.

    Raises:
        CounterExample: at the first case that does not hold.
        UsageError: if there is nothing to run.
    """
    rec = op.rec if isinstance(op, Program) else getattr(op, "recurrence", None)
    if not isinstance(rec, Recurrence):
        raise UsageError("op", "what recc.compile gives", type(op).__name__)
    chosen = _numbers(only, cases, 50, steps, options)
    whole = op if isinstance(op, Program) else Program.of_op(op)
    task = _task(options, Task(seed, rec.source.text, rec.name, rec.source.name, whole.asked, steps=tuple(steps)))
    limit = options.get("limit", LIMIT)

    def once_more(case: Case, finding: Finding) -> Finding | None:
        same = case.rec is rec
        return again(whole if same else _remade(op, whole, case.rec), case, finding, task, limit)

    hunt = _hunt(options, Hunt(task, once_more, _can_be_remade(op), progress=progress))
    return hunt.run(chosen, rec.name, whole, options.get("jobs", 0) if _is_plain(op) else 0, limit)


def fuzz_grammar(
    cases: int | None = None,
    seed: int = 0,
    steps: Sequence[int] = FEW_STEPS,
    progress: Callable[[Trial], None] | None = None,
    only: int | None = None,
    *,
    backends: Sequence[str] = ("numpy", "blocks", "c", "torch"),
    forms: Sequence[str] = FORMS,
    cases_each: int = 1,
    **options: Unpack[Options],
) -> Report:
    """Runs random programs out of the grammar in every way that they have, and compares all with one another.

    Program `n` of a seed is the same for ever.

    Args:
        cases: how many programs (100 if no `minutes` are given).
        seed: the same seed gives the same programs and arguments.
        steps: the lengths to choose from.
        progress: called with a `Trial` after every program.
        only: the number of one program.
        backends: the backends that take part; `blocks` interprets the Blocks of forms in NumPy.
        forms: the forms that take part, where a program has them.
        cases_each: how many cases each program has.
        options: see `Options`.

    Raises:
        CounterExample: at the first program that does not hold.
        UsageError: if there is nothing to run.
    """
    if cases_each < 1:
        raise UsageError("cases_each", "one case or more", str(cases_each))
    chosen = _numbers(only, cases, 100, steps, options)
    task = Task(
        seed, backends=tuple(backends), forms=tuple(forms), chunks=(3, None, 2, 4), steps=tuple(steps), cases=cases_each
    )
    task = _task(options, task)
    limit = options.get("limit", LIMIT)

    def once_more(case: Case, finding: Finding) -> Finding | None:
        return again(program_for(task, case.rec), case, finding, task, limit)

    hunt = _hunt(options, Hunt(task, once_more, progress=progress))
    return hunt.run(chosen, "programs out of the grammar", None, options.get("jobs", 0), limit)


def _numbers(only: int | None, cases: int | None, default: int, steps: Sequence[int], options: Options) -> _Chosen:
    """The numbers to run: one, a range, or as many as fit into a time. Raises `UsageError` where there are none."""
    start, minutes, jobs = options.get("start", 0), options.get("minutes"), options.get("jobs", 0)
    if (cases is not None and cases < 1) or not steps or min(steps) < 0:
        raise UsageError("cases and steps", "one case or more, of 0 steps or more", f"{cases} and {tuple(steps)}")
    if start < 0 or jobs < 0 or (only or 0) < 0:
        raise UsageError("start, jobs and only", "whole numbers from 0", f"{start}, {jobs} and {only}")
    if only is not None:
        return (only,), 1
    if cases is None and minutes is None:
        cases = default
    end = None if minutes is None else monotonic() + 60 * minutes
    numbers = count(start) if cases is None else range(start, start + cases)

    def until() -> Iterator[int]:
        for number in numbers:
            if end is not None and monotonic() > end:
                return
            yield number

    return until(), cases or 0


def _task(options: Options, task: Task) -> Task:
    return replace(task, laws=_names(options.get("laws")), dtypes=_names(options.get("dtypes")))


def _hunt(options: Options, hunt: Hunt) -> Hunt:
    chosen = options.get("shrink", True)
    budget = chosen if isinstance(chosen, Budget) else Budget() if chosen else None
    save, log = (None if p is None else Path(p) for p in (options.get("save"), options.get("log")))
    return replace(hunt, budget=budget, keep_going=options.get("keep_going", False), save=save, log=log)


def _names(names: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


def _is_plain(op: Any) -> bool:
    """Whether an op is no more than its program and options, so that another process can make it too."""
    from recc.runtime.op import Op

    return isinstance(op, Program) or type(op) is Op


def _can_be_remade(op: Any) -> bool:
    """Whether a smaller program can be compiled as the op was: not where its kernels were edited, or it is wrapped."""
    return _is_plain(op) and not os.environ.get("RECC_OVERRIDE")


def _remade(op: Any, program: Program, rec: Recurrence) -> Program:
    """Another recurrence in the ways of a program."""
    if isinstance(op, Program):
        return Program(rec, op.asked)
    maker, (_, *options) = op.__reduce__()
    try:
        return Program.of_op(maker(rec, *options))
    except (Unsupported, SourceError):
        return Program(rec, ())


__all__ = ["LIMIT", "STEPS", "CounterExample", "Hunt", "Report", "Trial", "fuzz", "fuzz_grammar"]
