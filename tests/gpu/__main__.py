"""`python -m tests.gpu`: programs of every structure, in every form and element type, on a GPU against float64."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import recc.zoo
from recc.check import load
from recc.errors import Unsupported
from recc.recurrence import Recurrence
from recc.runtime.op import Op
from recc.runtime.options import FORMS
from tests.gpu import pool, sanitizer
from tests.gpu.cases import Job
from tests.gpu.checks import CHECKS, Outcome, run
from tests.zoo.core import CORE

DTYPES = ("float32", "bfloat16", "float16", "float64")
#: The forms that a backend has, where it lacks some that programs have.
OWN = {"triton": ("sequential", "scan", "chunked")}
_STATUS = {"ok": "ok", "failed": "FAILED", "refused": "refused", "none": "-"}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__)
    parser.add_argument("--backend", default="triton")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", default="", help="programs, with commas between them")
    parser.add_argument("--forms", default="", help="forms, with commas between them")
    parser.add_argument("--dtypes", default=",".join(DTYPES))
    parser.add_argument("--checks", default=",".join(CHECKS))
    parser.add_argument("--small", action="store_true", help="the smallest sizes only")
    parser.add_argument("--inline", action="store_true", help="in this process, without workers")
    parser.add_argument("--workers", type=int, default=pool.cores())
    parser.add_argument("--limit", type=float, default=440.0, help="seconds after which nothing new begins")
    return parser.parse_args()


def zoo(only: str) -> dict[str, Recurrence]:
    """The programs to run."""
    wanted = set(filter(None, only.split(",")))
    found = {
        rec.name: rec for name in (recc.zoo.names() if wanted else CORE) for rec in load(recc.zoo.text(name), name)
    }
    return {n: rec for n, rec in found.items() if not wanted or n in wanted}


def plan(options: argparse.Namespace) -> tuple[list[Job], dict[tuple[str, str], str]]:
    """The jobs, by element type and then by program; and the forms that are refused, with the reasons."""
    asked = tuple(filter(None, options.forms.split(","))) or OWN.get(options.backend, FORMS)
    forms = [f for f in asked if f != "auto"]
    settings = ("odd",) if options.small else ("odd", "wide")
    there: list[tuple[str, str]] = []
    refused: dict[tuple[str, str], str] = {}
    for name, rec in zoo(options.only).items():
        for form in forms:
            try:
                Op(rec, backend=options.backend, form=form)
                there.append((name, form))
            except Unsupported as reason:
                refused[name, form] = str(reason)
    jobs = [
        Job(name, form, dtype, options.backend, options.device, settings)
        for dtype in options.dtypes.split(",")
        for name, form in there
    ]
    return jobs, refused


def summary(jobs: list[Job], found: dict[Job, list[Outcome]]) -> str:
    """A line for each program and form: the worst error over its bound by element type, or what became of it."""
    dtypes = list(dict.fromkeys(job.dtype for job in jobs))
    rows = defaultdict(dict)
    for job in jobs:
        rows[job.program, job.form][job.dtype] = cell(found.get(job))
    width = max((len(f"{p} {f}") for p, f in rows), default=10)
    lines = ["".ljust(width) + "".join(d.rjust(12) for d in dtypes)]
    lines += [f"{p} {f}".ljust(width) + "".join(r.get(d, "").rjust(12) for d in dtypes) for (p, f), r in rows.items()]
    return "\n".join(lines)


def cell(outcomes: list[Outcome] | None) -> str:
    """What a job comes to in one word or number."""
    if outcomes is None:
        return "left out"
    if any(o.status == "failed" for o in outcomes):
        worst = max(o.ratio for o in outcomes if o.status == "failed")
        return f"FAILED {worst:.2g}" if worst < float("inf") else "FAILED"
    kept = [o.ratio for o in outcomes if o.status == "ok"]
    if kept:
        return f"{max(kept):.2f}"
    return "refused" if any(o.status == "refused" for o in outcomes) else "-"


def failures(found: dict[Any, list[Outcome]]) -> list[str]:
    """The end of what is known of every failure."""
    lines = []
    for name, outcomes in found.items():
        for o in outcomes:
            if o.status == "failed":
                last = o.note.strip().splitlines()[-1] if o.note.strip() else ""
                lines.append(f"FAILED {name} {o.setting} {o.check}: ratio {o.ratio:.3g} {last[:200]}")
    return lines


def counted(found: dict[Any, list[Outcome]]) -> str:
    """How many checks ended how, by check."""
    table: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for outcomes in found.values():
        for o in outcomes:
            table[o.check][o.status] += 1
    return "\n".join(f"{c}: " + ", ".join(f"{n} {_STATUS[s]}" for s, n in by.items()) for c, by in table.items())


def keep(found: dict[Any, list[Outcome]], refused: dict[tuple[str, str], str], seconds: float) -> None:
    """Writes everything where `$OUT` points, if it does."""
    if not (folder := os.environ.get("OUT")):
        return
    data = {
        "seconds": seconds,
        "jobs": {str(n): [o.data() for o in outcomes] for n, outcomes in found.items()},
        "refused": {f"{p}/{f}": reason for (p, f), reason in refused.items()},
    }
    (Path(folder) / "gpu-checks.json").write_text(json.dumps(data, indent=1), encoding="utf-8")


def main() -> int:
    options = arguments()
    if options.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            print("there is no CUDA device: nothing was checked")
            return 1
        print(torch.cuda.get_device_name(), "torch", torch.__version__)
    began = time.monotonic()
    jobs, refused = plan(options)
    names = tuple(options.checks.split(","))
    found: dict[Any, list[Outcome]] = {}

    def done(name: Any, outcomes: list[Outcome]) -> None:
        found[name] = outcomes
        if options.device == "cuda" and any(o.status == "failed" for o in outcomes):
            print(*failures({name: outcomes}), sep="\n", flush=True)

    if options.inline:
        pool.prepare()
        for job in jobs:
            done(job, run(job, names))
    else:
        tasks = [pool.task(job, names) for job in jobs]
        if options.device == "cuda" and not options.only:
            tasks[len(tasks) // len(options.dtypes.split(",")) : 0] = [
                (" ".join(case), lambda _, left, case=case: sanitizer.check(*case, left)) for case in sanitizer.CASES
            ]
        pool.run_all(tasks, max(1, min(options.workers, len(tasks))), began + options.limit, done)
    seconds = time.monotonic() - began
    keep(found, refused, seconds)
    bad = failures(found)
    others = {n: o for n, o in found.items() if not isinstance(n, Job)}
    print(*bad, sep="\n")
    print("\nworst error over its bound, by program and form")
    print(summary(jobs, found))
    print(*(f"{n}: {o[0].status} {o[0].note[:120]}" for n, o in others.items()), sep="\n")
    print(counted(found))
    left = [str(job) for job in jobs if job not in found]
    if left:
        print(f"LEFT OUT, for lack of time: {len(left)} of {len(jobs)}: {', '.join(left[:12])} ...")
    print(f"{len(refused)} forms do not apply; {len(bad)} failures; {seconds:.0f} s")
    return 1 if bad or left or not found else 0


if __name__ == "__main__":
    sys.exit(main())
