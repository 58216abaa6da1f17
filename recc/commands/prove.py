"""`recc prove`: a program's forms against its step loop, in exact arithmetic."""

from __future__ import annotations

import argparse
import sys

import recc.prove as proving
from recc.commands.programs import compiled
from recc.prove.cases import Case


def prove(options: argparse.Namespace) -> None:
    """Print what was proved and for which sizes, or the first law that a form breaks (exit status 1)."""
    op, rec = compiled(options.file, options.name, "auto", "auto")
    live = sys.stderr.isatty()

    def progress(form: str, law: str, case: Case | None) -> None:
        if live:
            sizes = f", {case}" if case is not None else ""
            print(f"\r\x1b[K{rec.name}: {form}, {law}{sizes}", end="", file=sys.stderr, flush=True)

    try:
        report = proving.prove(op, options.form, options.points, options.seed, progress=progress)
    except proving.CounterExample as found:
        print(found)
        raise SystemExit(1) from None
    finally:
        if live:
            print(file=sys.stderr)
    print(report)


__all__ = ["prove"]
