"""`recc.prove`: every law on every form of a program, with unknowns where that can be done, at points where not."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recc.errors import Refusal, Unsupported, UsageError
from recc.forms import table
from recc.forms.passes import Parallel, Sequential
from recc.prove import laws as rules
from recc.prove.blocks import evaluator
from recc.prove.cases import Case, Maker, default_cases
from recc.prove.combines import combine_laws, scans
from recc.prove.compare import Comparison, Differs
from recc.prove.report import CounterExample, Finding, Report, Sense
from recc.prove.ring import Space, TooLarge, Undecided
from recc.recurrence import Recurrence

Form = Sequential | Parallel
Progress = Callable[[str, str, Case | None], None]

#: Products of terms that one law may take on one case before it is tested at points instead.
WORK = 200_000
_WORK_AT_POINTS = 300_000
#: The laws, in the order in which they are looked at.
LAWS = ("values", "pieces", "adjoint", "combine")


def prove(
    op: Any,
    forms: Mapping[str, Form | Refusal] | Sequence[str] | None = None,
    points: int = 1,
    seed: int = 0,
    work: int = WORK,
    laws: Sequence[str] = LAWS,
    progress: Progress | None = None,
) -> Report:
    """Proves each form of a program equal to the unrolled step loop, for small sizes, in exact arithmetic.

    Every law of `recc.prove.laws` and `recc.prove.combines` is checked on a few sizes with unknowns for all
    arguments, cotangents and initial states; equality is then a theorem for these sizes. Where the expressions
    grow too large, or turn on the sign of an unknown, and for larger sizes, both sides are evaluated at random
    rational points instead.

    Args:
        op: what `recc.compile` gives.
        forms: the forms to look at: names, or forms by name; all that the program has if none are given.
        points: how many random points.
        seed: the same seed gives the same points.
        work: how much each law may take on each case before it is tested at points.
        laws: those to look at, of `values`, `pieces`, `adjoint` and `combine`.
        progress: called with form, law and case before each step.

    Raises:
        CounterExample: at the first law that a form breaks, at the smallest of the sizes.
        Unsupported: if a form is named that the program does not have.
        UsageError: if there is nothing to prove.
    """
    rec = getattr(op, "recurrence", None)
    if rec is None:
        raise UsageError("op", "what recc.compile gives", type(op).__name__)
    if points < 1:
        raise UsageError("points", "one or more", str(points))
    for law in laws:
        if law not in LAWS:
            raise UsageError("laws", f"some of {', '.join(LAWS)}", law)
    if not rec.arguments:
        raise UsageError("op", "a program with arguments", f"{rec.name}, which has none")
    start = time.monotonic()
    chosen, refused = _chosen(rec, forms)
    findings: list[Finding] = []
    for name, form in chosen.items():
        run = _Proof(rec, name, form, points, seed, work, tuple(laws), progress or (lambda *_: None))
        findings += run.findings()
    return Report(rec.name, tuple(findings), tuple(refused), time.monotonic() - start)


def _chosen(
    rec: Recurrence, forms: Mapping[str, Form | Refusal] | Sequence[str] | None
) -> tuple[dict[str, Form], list[tuple[str, str]]]:
    """The forms to prove, and the refusals of the others."""
    known = forms if isinstance(forms, Mapping) else table.forms(rec)
    names = list(known) if forms is None or isinstance(forms, Mapping) else list(forms)
    found: dict[str, Form] = {}
    refused: list[tuple[str, str]] = []
    for name in names:
        if name not in known:
            raise UsageError("forms", f"some of {', '.join(known)}", name)
        form = known[name]
        if isinstance(form, Refusal):
            if forms is not None and not isinstance(forms, Mapping):
                raise Unsupported(form)
            refused.append((name, form.reason))
        elif all(form is not other for other in found.values()):
            found[name] = form
    return found, refused


@dataclass
class _Proof:
    """One form of a program."""

    rec: Recurrence
    name: str
    form: Form
    points: int
    seed: int
    work: int
    wanted: tuple[str, ...]
    progress: Progress
    found: list[Finding] = field(default_factory=list)

    def findings(self) -> list[Finding]:
        """All laws."""
        small, large = default_cases(self.rec)
        for law in (w for w in LAWS[:-1] if w in self.wanted):
            reason = rules.joinable(self.rec) if law == "pieces" else ""
            if reason:
                self.found.append(Finding(self.name, law, "left out", (), note=f"{reason}, so pieces do not join"))
                continue
            cases = [c for c in small if law != "pieces" or c.steps[0] > 1]
            open_ = self.with_unknowns(law, cases)
            wide = {"values": large, "pieces": large[:1], "adjoint": tuple(dict.fromkeys((large[0], large[-1])))}[law]
            proved = {c for c in cases if c not in open_}
            self.at_points(law, [*open_, *(c for c in wide if c not in proved and c not in open_)])
        if "combine" in self.wanted:
            self.combine()
        return self.found

    def with_unknowns(self, law: str, cases: Sequence[Case]) -> list[Case]:
        """Proves a law on unknowns; gives the cases in which that cannot be done."""
        start, open_, proved, count, undefined = time.monotonic(), [], [], 0, 0
        for case in cases:
            space = Space(self.work)
            try:
                compare = self.check(law, case, space, None)
            except (TooLarge, Undecided):
                open_.append(case)
                continue
            if compare.alike:
                open_.append(case)
                continue
            proved.append(case)
            count, undefined = count + compare.same, undefined + compare.undefined
        if proved:
            self.add(law, "proved", proved, count, start, undefined=undefined)
        return open_

    def at_points(self, law: str, cases: Sequence[Case]) -> None:
        """Tests a law at random points."""
        start, failure = time.monotonic(), 0.0
        done: dict[Sense, list[Case]] = {"identity-tested": [], "alike": []}
        count: dict[Sense, int] = {"identity-tested": 0, "alike": 0}
        undefined, notes = 0, dict[str, list[Case]]()
        for case in cases:
            chance, alike, same = 1.0, 0, 0
            try:
                for point in range(self.points):
                    space = Space(max(self.work, _WORK_AT_POINTS))
                    compare = self.check(law, case, space, random.Random(f"{self.seed} {point}"))
                    chance *= min(1.0, compare.failure(len(space.atoms)))
                    alike, same = alike + compare.alike, same + compare.same
                    undefined += compare.undefined
            except TooLarge:
                notes.setdefault("the numbers grow too large", []).append(case)
                continue
            except Undecided as why:
                notes.setdefault(str(why), []).append(case)
                continue
            sense: Sense = "alike" if alike else "identity-tested"
            done[sense].append(case)
            count[sense] += same + alike
            failure = max(failure, chance if sense == "identity-tested" else 0.0)
        for sense, held in done.items():
            if held:
                self.add(
                    law, sense, held, count[sense], start, points=self.points, failure=failure, undefined=undefined
                )
        for note, left in notes.items():
            self.found.append(Finding(self.name, law, "left out", tuple(left), note=note))

    def check(self, law: str, case: Case, space: Space, points: random.Random | None) -> Comparison:
        """One law on one case, with the initial states of the program and with given ones."""
        self.progress(self.name, law, case)
        maker = Maker(self.rec, case, space, points)
        compare = Comparison(maker.domains)
        evaluate = evaluator(space)
        for state in (False, True) if self.rec.slots else (False,):
            given = maker.given(state=state)
            try:
                if law == "adjoint":
                    rules.adjoint(self.form, given, evaluate, maker, compare)
                    continue
                expected = rules.loop(self.rec, given)
                law_of = rules.values if law == "values" else rules.pieces
                law_of(self.form, given, evaluate, expected, compare)
            except Differs as found:
                found.place += " from a given state" if state else ""
                raise CounterExample(self.rec, self.name, law, case, found) from None
        return compare

    def combine(self) -> None:
        """The laws of every combine."""
        start, count, alike = time.monotonic(), 0, 0
        for block, group in scans(self.form):
            self.progress(self.name, "combine", None)
            compare = Comparison({})
            space = Space(self.work)
            try:
                combine_laws(block, group, space, compare)
            except Differs as found:
                raise CounterExample(self.rec, self.name, "combine", None, found) from None
            except (TooLarge, Undecided) as why:
                self.found.append(Finding(self.name, "combine", "left out", (), note=str(why) or "too large"))
                continue
            count, alike = count + compare.same, alike + compare.alike
        if count or alike:
            note = "associative, with an identity; its product of steps is the scan"
            self.add("combine", "alike" if alike else "proved", (), count + alike, start, note=note)

    def add(self, law: str, sense: Sense, cases: Sequence[Case], count: int, start: float, **more: Any) -> None:
        """Notes a law that holds."""
        seconds = time.monotonic() - start
        self.found.append(Finding(self.name, law, sense, tuple(cases), count, seconds, **more))
