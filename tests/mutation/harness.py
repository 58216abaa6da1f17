"""Plants faults one by one, each in a process of its own, and lets the fuzzer look for them."""

from __future__ import annotations

import multiprocessing
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

import recc.zoo
from recc.check import load
from recc.fuzz.drawing.case import draw_case
from recc.fuzz.hunting.found import STEPS
from recc.fuzz.laws.checks import LAWS, check_case
from recc.fuzz.laws.trial import Finding
from recc.fuzz.ways.program import Program
from recc.fuzz.writing.programs import numbered_program
from recc.recurrence import Recurrence
from tests.mutation.fault import Fault, NotThere, Planted

#: What is raised where a fault makes no program of a language, which anybody would see.
_UNBUILT = re.compile(r"rejected emitted code|^(SyntaxError|IndentationError|NameError)\b")

#: A child process that gives no word for so many seconds beyond its budget hangs.
_PATIENCE = 60.0


@dataclass(frozen=True)
class Budget:
    """How long a fault is looked for: so many cases, or so many seconds, whichever ends first."""

    cases: int = 40
    seconds: float = 60.0


@dataclass(frozen=True)
class Result:
    """What came of a fault. `places` is how often its place was met; `law` is empty where it was not seen.

    `problem` tells why a result says nothing: the fault applies nowhere, or the case fails without it too.
    """

    fault: Fault
    law: str = ""
    way: str = ""
    what: str = ""
    program: str = ""
    cases: int = 0
    seconds: float = 0.0
    places: int = 0
    problem: str = ""

    @property
    def caught(self) -> bool:
        """Whether the fuzzer saw the fault."""
        return bool(self.law) and not self.problem


def measure(faults: Sequence[Fault], budget: Budget, jobs: int = 1) -> Iterator[Result]:
    """The result of every fault, in their order."""
    if jobs <= 1:
        yield from (look_for(fault, budget) for fault in faults)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda fault: look_for(fault, budget), faults)


def look_for(fault: Fault, budget: Budget) -> Result:
    """Looks for a fault in a child process, and makes sure in another that its case is right without the fault."""
    found = _elsewhere(fault, budget, range(budget.cases), True)
    if not found.law or found.problem:
        return found
    last = found.cases - 1
    alone = replace(fault, ways=tuple(w for w in fault.ways if str(w) == found.way) or fault.ways)
    right = _elsewhere(alone, replace(budget, seconds=10 * budget.seconds), range(last, last + 1), False, found.law)
    if right.law:
        return replace(found, problem=f"without the fault {right.law} fails as well: {right.what}")
    return found


def _elsewhere(fault: Fault, budget: Budget, numbers: Sequence[int], planted: bool, law: str = "") -> Result:
    """`hunt` in a child process. One that ends by itself, or does not end, is a finding too."""
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)
    made = 0
    child = fork.Process(target=_child, args=(there, fault, budget, numbers, planted, law), daemon=True)
    begun = time.monotonic()
    child.start()
    there.close()
    try:
        while here.poll(max(0.0, begun + budget.seconds + _PATIENCE - time.monotonic())):
            said = here.recv()
            if isinstance(said, Result):
                return replace(said, fault=fault)
            made = said
        return Result(fault, "an end in time", cases=made, seconds=time.monotonic() - begun)
    except EOFError:
        child.join()
        what = f"status {child.exitcode}"
        return Result(fault, "no crash", what=what, cases=made, seconds=time.monotonic() - begun)
    finally:
        if child.is_alive():
            child.kill()
        child.join()
        here.close()


def _child(there: Connection, fault: Fault, budget: Budget, numbers: Sequence[int], planted: bool, law: str) -> None:
    # What a broken kernel writes to the terminal is of no interest.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    found = hunt(fault, budget, numbers, planted, there.send, law)
    there.send(replace(found, fault=None))  # type: ignore[arg-type]  # put back by the parent
    there.close()


def hunt(
    fault: Fault,
    budget: Budget,
    numbers: Sequence[int],
    planted: bool = True,
    tell: Callable[[int], None] = lambda number: None,
    law: str = "",
) -> Result:
    """Runs cases of the fault's programs in turn until a law fails, with the fault planted or without.

    `tell` hears which case comes next. With `law` no other is checked.
    """
    count, begun = Planted(), time.monotonic()
    programs: dict[str, Program] = {}
    made = 0
    try:
        with fault.patch.planted(count) if planted else nullcontext():
            for number in numbers:
                if time.monotonic() - begun > budget.seconds:
                    break
                name = fault.programs[number % len(fault.programs)]
                if name not in programs:
                    programs[name] = Program(recurrence(name), fault.ways)
                made = number + 1
                tell(made)
                finding = _first(programs[name], number // len(fault.programs), law)
                if finding is not None and _UNBUILT.search(finding.what):
                    return Result(fault, problem=f"it does not build: {finding.what}", places=count.places)
                if finding is not None:
                    return Result(fault, finding.law or "runs", str(finding.way), finding.what, name, made,
                                  time.monotonic() - begun, count.places)  # fmt: skip
    except NotThere as missing:
        return Result(fault, problem=str(missing))
    problem = "" if count.places or not planted else "it applies nowhere"
    return Result(fault, cases=made, seconds=time.monotonic() - begun, places=count.places, problem=problem)


def _first(program: Program, number: int, law: str) -> Finding | None:
    """The first thing that fails of a case, of one law or of all."""
    case = draw_case(program.rec, 0, number, STEPS)
    one = [law] if law in {known.name for known in LAWS} else None
    checked = check_case(program, case, laws=one)
    failures: tuple[Finding, ...] = checked.failures
    return failures[0] if failures else None


def recurrence(name: str) -> Recurrence:
    """A program of the zoo by its name, or a random one by `SEED/NUMBER`."""
    if "/" in name:
        seed, _, number = name.partition("/")
        (rec,) = load(numbered_program(int(seed), int(number)).text, name)
        return rec
    (rec,) = load(recc.zoo.text(name), name)
    return rec


__all__ = ["Budget", "Result", "hunt", "look_for", "measure", "recurrence"]
