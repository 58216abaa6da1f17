"""`recc fuzz`: a program's kernels against the reference on random arguments from its domains."""

from __future__ import annotations

import argparse
import sys

import recc.fuzz as fuzzing
from recc.commands.cores import share_cores
from recc.commands.programs import compiled


def fuzz(options: argparse.Namespace) -> None:
    """Print what was compared and the largest errors, or the first case that is wrong (exit status 1)."""
    share_cores()
    op, rec = compiled(options.file, options.name, options.backend, options.form)
    live = sys.stderr.isatty()

    def progress(trial: fuzzing.Trial) -> None:
        if live:
            print(f"\r{rec.name}: {trial.number}/{trial.count}", end="", file=sys.stderr, flush=True)

    try:
        report = fuzzing.fuzz(op, options.cases, options.seed, progress=progress, only=options.only)
    except fuzzing.CounterExample as found:
        print(found)
        raise SystemExit(1) from None
    finally:
        if live:
            print(file=sys.stderr)
    print(report)


__all__ = ["fuzz"]
