"""`python -m tests.mutation`: plants every fault and tells which of them the fuzzer finds."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parents[2] / "docs" / "fuzzing.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
#: Of the faults that are planted so many have to be found.
WANTED = 0.95
_GROUPS = ("c", "torch", "triton", "forms")


def main() -> int:
    """Runs the harness. Gives 1 if a fault says nothing, or too few are found."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--budget", type=int, default=40, help="cases for a fault")
    parser.add_argument("--seconds", type=float, default=120.0, help="seconds for a fault")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="groups, or parts of names, with commas between them")
    parser.add_argument("--results", type=Path, help="a file of results; what has one there is not planted again")
    parser.add_argument("--write", action="store_true", help="write the table into docs/fuzzing.md")
    given = parser.parse_args()
    _prepare()
    from tests.mutation.harness import Budget, Result, measure

    wanted = [w for w in given.only.split(",") if w]
    groups = [g for g in _GROUPS if g in wanted] or _GROUPS
    parts = [w for w in wanted if w not in _GROUPS]
    faults = [
        fault
        for group in groups
        for fault in importlib.import_module(f"tests.mutation.faults_{group}").FAULTS
        if not parts or any(part in fault.name for part in parts)
    ]
    known = _known(given.results)
    results = [replace(Result(fault), **known[fault.name]) for fault in faults if fault.name in known]
    left = [fault for fault in faults if fault.name not in known]
    for result in measure(left, Budget(given.budget, given.seconds), given.jobs):
        results.append(result)
        known[result.fault.name] = {f.name: getattr(result, f.name) for f in fields(result) if f.name != "fault"}
        if given.results is not None:
            given.results.write_text(json.dumps(known, indent=1), encoding="utf-8")
        end = f"{result.law}, {result.way}, case {result.cases}" if result.caught else result.problem or "ESCAPES"
        print(f"{len(results):3} {result.fault.where}: {result.fault.name}: {end} ({result.seconds:.0f} s)", flush=True)
    results.sort(key=lambda result: faults.index(result.fault))
    text = table(results, given.budget, given.seconds)
    print("\n" + text)
    if given.write:
        write(text)
    found = sum(r.caught for r in results)
    return int(any(r.problem for r in results) or found < WANTED * len(results))


def _known(path: Path | None) -> dict[str, dict[str, Any]]:
    """The results of a file by the names of faults."""
    found: dict[str, dict[str, Any]] = {}
    return found if path is None or not path.exists() else json.loads(path.read_text(encoding="utf-8"))


def _prepare() -> None:
    """One thread each, kernels that are quickly built, Triton in its interpreter."""
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", TRITON_INTERPRET="1")
    os.environ.setdefault("RECC_CACHE", tempfile.mkdtemp(prefix="recc-faults-"))
    os.environ.setdefault("RECC_CC", "cc -O1")
    import torch

    torch.set_num_threads(1)
    if importlib.util.find_spec("triton") is not None:
        importlib.import_module("triton.language")


def table(results: Sequence[object], cases: int, seconds: float) -> str:
    """The score and the results, as Markdown."""
    from tests.mutation.harness import Result

    rows = [r for r in results if isinstance(r, Result)]
    found = [r for r in rows if r.caught]
    laws = ", ".join(f"`{law}` {count}" for law, count in Counter(r.law for r in found).most_common())
    late = sum(r.cases > 1 for r in found)
    score = (
        f"{len(found)} of {len(rows)} faults are found, {100 * len(found) / max(1, len(rows)):.1f} %, each within "
        f"{cases} cases and {seconds:g} seconds; {late} of them not by the first case. By law: {laws}."
    )
    lines = [
        score,
        "",
        "| where | fault | what it does | found by | in | cases |",
        "|---|---|---|---|---|---|",
    ]
    for r in rows:
        by = "an error" if re.match(r"\w+(Error|Exception)\b", r.what) else f"`{r.law}`"
        by = by if r.caught else "**escapes**"
        lines.append(f"| {r.fault.where} | {r.fault.name} | {r.fault.says} | {by} | {r.way} | {r.cases} |")
    escaped = [r for r in rows if not r.caught]
    if escaped:
        lines += ["", "What escapes, and why:", ""]
        lines += [f"- {r.fault.name} ({r.fault.where}): {r.fault.escapes or 'not known'}." for r in escaped]
    return "\n".join(lines)


def write(text: str) -> None:
    """Puts the table into the documentation."""
    document = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = document.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{DOCUMENT} has no {BEGIN} … {END}")
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
