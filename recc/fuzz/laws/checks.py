"""Every law of every way of a program on one case: `check_case`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from recc.errors import Unsupported
from recc.forms.parallel import kind_of
from recc.recurrence import Recurrence
from recc.runtime.domains import works_with_infinities
from recc.structure import structures

from ..drawing.case import Case
from ..ways.program import Program, Way, _make
from .law import Law
from .metamorphic import METAMORPHIC
from .neighbours import BESIDE
from .plain import PLAIN
from .trial import Finding, Shared, Trial

#: Every law, in the order in which they are checked.
LAWS: tuple[Law, ...] = (*PLAIN, *BESIDE, *METAMORPHIC)


@dataclass(frozen=True)
class Cell:
    """One combination that was compared. `direction` is `forward` (values) or `backward` (gradients)."""

    structure: str
    form: str
    backend: str
    direction: str
    dtype: str


@dataclass(frozen=True)
class Checked:
    """What came of a case: comparisons, why some could not be made, and what was covered.

    Reasons: `undefined` (the reference gives NaN), `unstable` (rounding changes a result by as much as a wrong
    kernel would), `kink` (differences of the reference do not converge), `refused` (a way lacks what a law runs).
    """

    findings: tuple[Finding, ...]
    left_out: frozenset[str]
    covered: frozenset[Cell]

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings that do not hold."""
        return tuple(f for f in self.findings if not f.holds)


def check_case(
    program: Any, case: Case, laws: Iterable[Law | str] | None = None, dtypes: Sequence[str] | None = None
) -> Checked:
    """Check laws of every way of a program on a case.

    Args:
        program: a `Program`, or an op, which has one way.
        case: sizes, arguments, and where to cut.
        laws: laws or their names, all by default.
        dtypes: element types; by default float64 and float32, and 16 bits in some cases.

    An error that is not a refusal is a finding of the law that met it, without an element type.
    """
    program = program if isinstance(program, Program) else Program.of_op(program)
    chosen = [law for law in LAWS if laws is None or law.name in _names(laws)]
    shared = Shared(case)
    found: list[Finding] = []
    reasons: set[str] = set()
    covered: set[Cell] = set()
    _ = program.ways
    for way, problem in program.failed.items():
        if way in program.asked:
            found.append(_raised("runs", way, problem))
    values = shared.truth("float64").values
    if any(np.isnan(v).any() for v in values.values()):
        return Checked(tuple(found), frozenset({"undefined"}), frozenset())
    if not works_with_infinities(case.rec) and not all(np.isfinite(v).all() for v in values.values()):
        return Checked(tuple(found), frozenset({"unstable"}), frozenset())
    for number, way in enumerate(program.ways):
        runner = program.runner(way)
        assert runner is not None
        types = tuple(d for d in (_types(way, case) if dtypes is None else dtypes) if d in runner.dtypes)
        if not types:
            continue
        trial = Trial(runner, shared, types, np.random.default_rng((case.seed, case.number, 7, number)))
        if not program.as_it_is:
            trial.make = lambda rec, way=way: _make(rec, way)
        for law in chosen:
            more = _check(law, trial)
            found += more
            if more and not more[-1].dtype:
                break  # what raises in one law raises in the next
        reasons |= trial.reasons
        covered |= {Cell(kind, way.form, way.backend, direction, dtype)
                    for kind in kinds(case.rec) for direction, dtype in trial.compared}  # fmt: skip
    return Checked(tuple(found), frozenset(reasons), frozenset(covered))


def _check(law: Law, trial: Trial) -> list[Finding]:
    """What a law finds; an error that the way raises is a finding."""
    found: list[Finding] = []
    if law.applies(trial.rec, trial.runner) is not None:
        return found
    try:
        found.extend(law.check(trial))
    except Unsupported:
        trial.reasons.add("refused")
    except Exception as problem:  # noqa: BLE001 - whatever a well-formed program raises is a finding
        found.append(_raised(law.name, trial.way, problem))
    return found


def _raised(law: str, way: Way, problem: BaseException) -> Finding:
    first = (str(problem).strip().splitlines() or [""])[0]
    return Finding(f"{type(problem).__name__}: {first}", "", float("inf"), 0.0, law=law, way=way)


def _names(laws: Iterable[Law | str]) -> set[str]:
    return {law if isinstance(law, str) else law.name for law in laws}


def _types(way: Way, case: Case) -> tuple[str, ...]:
    """The element types of a way in a case: those of 16 bits cost kernels of their own, and come in turn.

    An op that is given no real number takes torch's default type.
    """
    given = (*case.arguments.values(), *case.initial.values())
    if way.backend in ("c", "torch") and not any(v.dtype.kind in "fc" for v in given):
        return ("float32",)
    narrow = ("float16", "bfloat16")[case.number // 8 % 2 : case.number // 8 % 2 + 1] if case.number % 8 == 5 else ()
    if way.backend == "triton":
        return ("float32", *(("float16",) if case.number % 2 else ()))
    return ("float64", "float32", *narrow)


@lru_cache(maxsize=64)
def kinds(rec: Recurrence) -> tuple[str, ...]:
    """The kinds of the stages of a program that have states, in words, with the way they run in time."""
    found = [kind_of(s) + _way(s.stage.direction) for s in structures(rec) if s.stage.states]
    return tuple(dict.fromkeys(found)) or ("no state",)


def _way(direction: tuple[int, ...]) -> str:
    if len(direction) > 1:
        return ", over a plane"
    return ", right to left" if direction == (-1,) else ""


__all__ = ["LAWS", "Cell", "Checked", "Finding", "check_case", "kinds"]
