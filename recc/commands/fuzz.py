"""`recc fuzz`: kernels against the reference on random arguments from their domains, or on random programs."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import recc.fuzz as fuzzing
from recc.commands.cores import share_cores
from recc.commands.programs import find, program, write
from recc.commands.progress import Progress
from recc.errors import Refusal, Unsupported, UsageError
from recc.fuzz.engine import LIMIT, Options
from recc.fuzz.hunting.found import FEW_STEPS, STEPS
from recc.fuzz.shrinking.shrink import Budget
from recc.fuzz.telling.junit import junit
from recc.fuzz.telling.report import versions
from recc.fuzz.ways.program import BACKENDS, FORMS, Program, cannot_run, dtypes_of, forms_of

_DTYPES = ("float64", "float32", "float16", "bfloat16")


def fuzz(options: argparse.Namespace) -> None:
    """Print what was compared, or what is wrong; exit status 1 if anything is."""
    share_cores()
    _check(options)
    if options.replay is not None:
        _replay(options)
        return
    progress = Progress()
    failure: fuzzing.CounterExample | None = None
    try:
        report = _run(options, progress)
    except fuzzing.CounterExample as found:
        failure, report = found, found.report
    finally:
        progress.close()
    wrong = report.counter_examples if failure is None else (failure,)
    if options.junit is not None:
        facts = {"seed": str(report.seed), "cases": str(report.cases), **versions()}
        write(options.junit, junit(f"recc fuzz {report.program}", report.verdicts, report.seconds, facts), "--junit")
    for each in wrong:
        print(f"{each}\n")
    if failure is None:
        print(report)
    if len(report.coverage):
        print(f"\n{report.coverage}")
    if wrong:
        raise SystemExit(1)


def _run(options: argparse.Namespace, progress: Progress) -> fuzzing.Report:
    chosen: Options = {
        "start": options.start, "minutes": options.minutes,
        "laws": options.law or None, "dtypes": options.dtype or None,
        "keep_going": options.keep_going, "save": options.save, "log": options.log, "jobs": options.jobs,
        "shrink": Budget(options.shrink) if options.shrink else False, "limit": options.limit or _limit(options),
    }  # fmt: skip
    title = "programs" if options.grammar else Path(options.file).stem

    def show(trial: fuzzing.Trial) -> None:
        progress.show(line(title, trial))

    if options.grammar:
        return fuzzing.fuzz_grammar(
            options.cases, options.seed, FEW_STEPS, show, options.only,
            backends=options.backend or ("numpy", "blocks", "c", "torch"), forms=options.form or FORMS, **chosen,
        )  # fmt: skip
    return fuzzing.fuzz(_subject(options), options.cases, options.seed, STEPS, show, options.only, **chosen)


def line(title: str, trial: fuzzing.Trial) -> str:
    """How far a run is, in a line."""
    of = f"/{trial.count}" if trial.count else ""
    speed = trial.number / trial.seconds if trial.seconds else 0.0
    minutes, seconds = divmod(int(trial.seconds), 60)
    parts = [f"{title}: {trial.number}{of}", f"{speed:.2g} cases/s", f"{minutes}:{seconds:02} min"]
    parts += [f"{trial.cells} combinations"] if trial.cells else []
    parts += [f"worst error {trial.worst:.1e}", f"{trial.found} found"]
    return " · ".join(parts)


def _limit(options: argparse.Namespace) -> float:
    """Triton's interpreter takes a while for what is no mistake."""
    if "triton" not in options.backend or cannot_run("triton") is not None:
        return LIMIT
    from recc.runtime.gpu import interpreted

    return LIMIT * (20 if interpreted() else 1)


def _subject(options: argparse.Namespace) -> Any:
    """What to fuzz: the op that users get, or a program in the ways that were asked for."""
    import recc

    rec = program(options.file, options.name)
    backends, forms = options.backend, options.form
    if not backends and not forms:
        return recc.compile(find(options.file), name=rec.name)
    if "auto" in (*backends, *forms):
        if len(backends) > 1 or len(forms) > 1:
            raise UsageError("--backend and --form", "auto alone, or others", "auto beside others")
        return recc.compile(find(options.file), rec.name, *(backends or ["auto"]), *(forms or ["auto"]))
    found = Program.of(rec, backends or BACKENDS, forms or FORMS)
    if not found.ways:
        missing = [cannot_run(b) or f"{b} has {', '.join(forms_of(b))}" for b in backends]
        reasons = "; ".join([*missing, *dict.fromkeys(found.refused.values())])
        what = f"fuzzing by {', '.join([*backends, *forms])}"
        raise Unsupported(Refusal(what, reasons, f"`recc explain {options.file}` lists the forms that it has"))
    return found


def _replay(options: argparse.Namespace) -> None:
    try:
        report = fuzzing.replay(options.replay)
    except fuzzing.CounterExample as found:
        print(found)
        raise SystemExit(1) from None
    print(f"it holds now\n{report}")


def _check(options: argparse.Namespace) -> None:
    """Raises `UsageError` for options that do not go together, or that name what there is not."""
    asked = [bool(options.file), options.grammar, options.replay is not None]
    if sum(asked) != 1:
        hint = "`recc zoo` lists programs to try: `recc fuzz hgrn`"
        given = [w for w, a in zip(("FILE", "--grammar", "--replay"), asked, strict=True) if a]
        raise UsageError(
            "recc fuzz", "one of FILE, --grammar and --replay", " and ".join(given) or "none of them", hint
        )
    extra = ("auto",) if options.file else ()
    _known("--backend", options.backend, (*extra, *BACKENDS))
    _known("--form", options.form, (*extra, *FORMS))
    _known("--dtype", options.dtype, _DTYPES)
    _known("--law", options.law, law_names())
    if "triton" in options.backend and "triton" not in sys.modules and shutil.which("nvidia-smi") is None:
        # Read when Triton is imported, by torch perhaps.
        os.environ.setdefault("TRITON_INTERPRET", "1")
    backends = [b for b in options.backend if b != "auto"] or BACKENDS
    for dtype in options.dtype:
        if not any(dtype in dtypes_of(b) for b in backends):
            raise UsageError("--dtype", f"an element type of {' or '.join(backends)}", dtype)


def _known(option: str, given: Sequence[str], known: Sequence[str]) -> None:
    from difflib import get_close_matches

    for word in given:
        if word not in known:
            near = get_close_matches(word, known, 1)
            raise UsageError(option, f"one of {', '.join(known)}", word, f"did you mean {near[0]}?" if near else "")


def law_names() -> tuple[str, ...]:
    """The names of all laws."""
    from recc.fuzz.laws.checks import LAWS

    return tuple(law.name for law in LAWS)


__all__ = ["fuzz", "law_names", "line"]
