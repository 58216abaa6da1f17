"""From a case that fails to a small one: the least program, sizes and values for which the same still fails.

Law: `fails(shrunk)` holds whenever `fails(case)` does, and no single reduction of `recc.fuzz.shrinking.reduce` and
`recc.fuzz.shrinking.fit` that makes it smaller keeps that, unless the budget ran out. The order of what is tried
depends on the case alone, so that the result is the same every time if only the evaluations are bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from time import monotonic

import numpy as np

from recc.check import load
from recc.diagnostics import Source
from recc.errors import InternalError, SourceError
from recc.parse import parse
from recc.syntax import RecurrenceSyntax

from ..drawing.case import Case
from .fit import array_names, array_of, fitted, narrower, plainer, smaller, with_values
from .reduce import PASSES, reductions
from .rewrite import text_of, weight

#: Whether what was found wrong of a case is wrong of another one too. Must not raise.
Fails = Callable[[Case], bool]


@dataclass(frozen=True)
class Budget:
    """At most so many seconds and evaluations of the predicate."""

    seconds: float = 60.0
    evaluations: int = 1000


@dataclass(frozen=True)
class Shrunk:
    """A small case that fails; `finished` says that nothing smaller was found with budget left."""

    case: Case
    evaluations: int
    seconds: float
    finished: bool


class _Spent(Exception):
    """The budget has run out."""


@dataclass
class _Search:
    """The smallest case so far. `tried` holds programs that did not fail, so that none is asked about twice."""

    case: Case
    fails: Fails
    budget: Budget
    evaluations: int = 0
    begun: float = field(default_factory=monotonic)
    tried: set[tuple[str, str]] = field(default_factory=set)

    def ask(self, candidate: Case) -> bool:
        """Whether a candidate fails as well; if it does it is the case from now on."""
        if self.evaluations >= self.budget.evaluations or self.seconds >= self.budget.seconds:
            raise _Spent
        if _typed(self.case) and not _typed(candidate):
            return False
        self.evaluations += 1
        if not self.fails(candidate):
            return False
        self.case = candidate
        return True

    @property
    def seconds(self) -> float:
        return monotonic() - self.begun

    def exhaust(self, candidates: Callable[[Case], Iterator[Case]]) -> bool:
        """Take candidates until none fails any more; whether any did."""
        progress = False
        while any(self.ask(c) for c in candidates(self.case)):
            progress = True
        return progress


def _typed(case: Case) -> bool:
    """Whether anything handed over has an element type to compute in: without, a call computes in float32."""
    return any(case.rec.table[n].dtype in ("real", "complex") for n in case.arguments) or bool(case.initial)


def shrink(case: Case, fails: Fails, budget: Budget | None = None, *, programs: bool = True) -> Shrunk:
    """The smallest case that still fails.

    Args:
        case: one for which `fails` holds.
        fails: whether the same goes wrong of a case; its program may be another one.
        budget: seconds and evaluations.
        programs: whether the program may be changed too; otherwise only sizes and values are.
    """
    search = _Search(case, fails, budget or Budget())
    finished = True
    try:
        while True:
            progress = search.exhaust(smaller)
            if programs:
                progress |= _shrink_program(search)
            progress |= search.exhaust(narrower)
            progress |= _shrink_values(search)
            if not progress:
                break
    except _Spent:
        finished = False
    return Shrunk(search.case, search.evaluations, search.seconds, finished)


def _shrink_program(search: _Search) -> bool:
    """Every reduction of the program in turn; after one that holds, the next from the same place on."""
    progress = False
    for way in PASSES:
        at = 0
        while True:
            current = written(search.case)
            for offset, candidate in enumerate(_from(reductions(current, way), at)):
                if _ask_program(search, candidate):
                    at += offset
                    progress = True
                    break
            else:
                break
    return progress


def _from(candidates: Iterator[RecurrenceSyntax], start: int) -> Iterator[RecurrenceSyntax]:
    for at, candidate in enumerate(candidates):
        if at >= start:
            yield candidate


def written(case: Case) -> RecurrenceSyntax:
    """The program of a case as it is written."""
    program = parse(Source(case.rec.source.text))
    return next(r for r in program.recurrences if r.name.text == case.rec.name)


def _ask_program(search: _Search, program: RecurrenceSyntax) -> bool:
    text = text_of(program)
    key = (text, str(search.case))
    if key in search.tried:
        return False
    search.tried.add(key)
    try:
        (rec,) = load(text, search.case.rec.source.name)
    except (SourceError, InternalError):
        return False
    candidate = fitted(search.case, rec)
    return candidate is not None and search.ask(candidate)


def _shrink_values(search: _Search) -> bool:
    """Whole arrays made plain, then pieces of them, from halves down to single elements."""
    progress = False
    for name, how in list(plainer(search.case)):
        progress |= _ask_values(search, name, how(array_of(search.case, name)))
    for name in array_names(search.case):
        size = array_of(search.case, name).size
        piece = (size + 1) // 2
        while size and piece:
            for start in range(0, size, piece):
                progress |= _plain_piece(search, name, slice(start, start + piece))
            piece = piece // 2
    return progress


def _plain_piece(search: _Search, name: str, piece: slice) -> bool:
    present = array_of(search.case, name)
    for value in (0, 1) if present.dtype.kind == "b" else (0, 1, None):
        changed = present.copy()
        flat = changed.reshape(-1)
        flat[piece] = np.round(flat[piece], 1) + 0 if value is None else value
        if np.array_equal(flat[piece], present.reshape(-1)[piece]):
            return False  # as plain as this already, or plainer
        if _ask_values(search, name, changed):
            return True
    return False


def _ask_values(search: _Search, name: str, value: np.ndarray) -> bool:
    present = array_of(search.case, name)
    if np.array_equal(present, value) or _plainness(value) >= _plainness(present):
        return False
    candidate = with_values(search.case, name, value.astype(present.dtype))
    return candidate is not None and search.ask(candidate)


def _plainness(value: np.ndarray) -> int:
    """0 for zero, 1 for one, 2 for other whole numbers, then by the digits after the point; added up."""
    if value.dtype.kind == "c":
        return _plainness(value.real) + _plainness(value.imag)
    if value.dtype.kind == "b":
        return int(value.sum())
    found = np.full(value.shape, 10)
    for digits in (6, 3, 2, 1, 0):
        with np.errstate(invalid="ignore", over="ignore"):
            found[np.round(value, digits) == value] = 3 + digits
    found[np.round(value) == value] = 2 + (np.abs(value) > 100)[np.round(value) == value]
    found[value == 1] = 1
    found[value == 0] = 0
    return int(found.sum())


def loaded(case: Case) -> Case:
    """The case with its program alone as source: without other recurrences and comments of the file."""
    (rec,) = load(text_of(written(case)), case.rec.source.name)
    return replace(case, rec=rec)


def size_of(case: Case) -> tuple[int, ...]:
    """How large a case is, program first."""
    arrays = [array_of(case, n) for n in array_names(case)]
    return (weight(written(case))[0], sum(a.size for a in arrays), sum(_plainness(a) for a in arrays))


__all__ = ["Budget", "Fails", "Shrunk", "loaded", "shrink", "size_of", "written"]
