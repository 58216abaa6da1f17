"""Everything that `recc bench` measures when no program is named, in order; and the machine that it ran on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from recc.backends.c_cpu.build import find_compiler
from recc.bench import figures
from recc.bench.building import building
from recc.bench.derived import derived
from recc.bench.growth import growth
from recc.bench.memory import memory
from recc.bench.report import Table

#: Threads of torch, and so of the kernels, while the figures are taken.
THREADS = 2

#: A quick run has sequences this much shorter; its figures are for a first look only.
_QUICK = 16


def suite(seconds: float, quick: bool) -> Iterator[Table]:
    """The tables, one by one as they are measured. Sets torch's threads to two while it runs."""
    shrink = _QUICK if quick else 1
    parts: tuple[Callable[[], Table], ...] = (
        partial(figures.elementwise, seconds, shrink),
        partial(figures.selective, seconds, shrink),
        partial(figures.correction, seconds, shrink),
        partial(growth, seconds, (1 << 18) // shrink),
        partial(memory, shrink),
        partial(building, 1 if quick else 5),
    )
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        for part in parts:
            yield part()
        yield from derived(seconds, shrink)
    finally:
        torch.set_num_threads(before)


def machine(version: str) -> dict[str, object]:
    """What a figure depends on: processor, versions, threads, and how busy the machine is."""
    compiler = find_compiler()
    facts: dict[str, object] = {
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "compiler": compiler.version.splitlines()[0] if compiler else "none",
        "versions": f"recc {version}, torch {torch.__version__}, NumPy {np.__version__}",
        "threads": THREADS,
    }
    if hasattr(os, "getloadavg"):
        facts["load when it began"] = f"{os.getloadavg()[0]:.1f}"
    return facts


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return os.uname().machine
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    vectors = ("avx512f", "avx2", "sve", "asimd")
    flags = next((line.split() for line in lines if line.startswith(("flags", "Features"))), [])
    widest = next((v for v in vectors if v in flags), "no vectors known")
    return f"{names[0] if names else os.uname().machine} ({widest})"


__all__ = ["THREADS", "machine", "suite"]
