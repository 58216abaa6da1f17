"""Every kernel of the zoo is compiled without a GPU; what it takes is held to the committed table.

Sizes are small, because spilling kernels take minutes to compile: 16 along every axis in chunks of 16 steps, where
products run on tensor cores; 8 for single steps; 4 for scans; 2 for forms of chunks that no GPU would be given at
larger sizes because their tiles have an axis too many.

All kernels are compiled for sm_90; for sm_80 and gfx942, to save time, both directions of single steps, and of scans
and chunks the forward kernels. `RECC_TARGETS=all make test ARGS=tests/triton/test_resources.py` compiles everything,
as does `make golden ARGS=tests/triton/test_resources.py`, which writes the table anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache

import pytest

pytest.importorskip("triton")

import recc
from recc.backends.triton_gpu.binary import TARGETS, Kernel, compile_all
from recc.backends.triton_gpu.build import build
from recc.backends.triton_gpu.model import estimate
from recc.backends.triton_gpu.offline import kernels_of
from recc.backends.triton_gpu.plan import Plan, Space
from recc.errors import Unsupported
from recc.forms.parallel import derive
from recc.forms.passes import Parallel, Sequential
from recc.forms.sequential import derive_sequential
from tests.triton.resources import HERE, Names, check, read, strangers

FORMS = ("sequential", "scan", "chunked")
#: Steps of a chunk and the size of axes, for each form the first that is not foreseen to spill much.
SHAPES = {"sequential": ((1, 8),), "scan": ((16, 4), (8, 2)), "chunked": ((16, 16), (8, 2))}
#: Bytes that a thread may be foreseen to spill at these sizes.
SPILLS = 1024
#: What a thread may spill in truth: a few kernels with all of a form's derivation in one backward chunk.
MOST = 2048

PROGRAMS = [n for n in recc.zoo.names() if len(getattr(recc.zoo, n).recurrence.scan) == 1]
FIRST, *OTHERS = ("sm_90", "sm_80", "gfx942")
EVERYTHING = os.environ.get("RECC_TARGETS") == "all"


def planned(program: str, name: str) -> Plan | None:
    """The cut of a form at the first of its shapes that suits it; none if the program lacks the form."""
    rec = getattr(recc.zoo, program).recurrence
    for chunk, size in SHAPES[name]:
        form = derive_sequential(rec) if name == "sequential" else derive(rec, name, chunk)
        if not isinstance(form, Sequential | Parallel):
            return None
        sizes = {a.name: size for a in rec.axes if a.name == a.size_of}
        plan = Space(form, sizes, 1, "float32", "bfloat16").first()
        if max(estimate(plan.forward, "forward").spills, estimate(plan.backward, "backward").spills) <= SPILLS:
            return plan
    return plan


def kernels(program: str) -> Iterator[tuple[Names, Kernel]]:
    """Every kernel of a program, with bfloat16 arguments and outputs."""
    for name in FORMS:
        plan = planned(program, name)
        if plan is None:
            continue
        try:
            module = build(plan.forward, plan.backward)
        except Unsupported:
            continue  # what a form of a program cannot do is the business of other tests
        for kernel, compiled in kernels_of(module, "bfloat16").items():
            yield (program, name, kernel), compiled


@cache
def workers() -> int:
    """Compilers at once: one in each process of several, as many as there are processors in a single one."""
    return 1 if "PYTEST_XDIST_WORKER" in os.environ else len(os.sched_getaffinity(0))


def quick(form: str, kernel: str) -> bool:
    """Whether a kernel is compiled for every target every time."""
    return form == "sequential" or kernel.endswith("forward")


@pytest.mark.parametrize("program", PROGRAMS)
def test_kernels_take_what_the_table_says(program: str, pytestconfig: pytest.Config) -> None:
    update = bool(pytestconfig.getoption("--update-golden"))
    every = update or EVERYTHING
    found = dict(kernels(program))
    binaries = compile_all(found, (FIRST,), workers())
    some = {names: kernel for names, kernel in found.items() if every or quick(*names[1:])}
    binaries.update(compile_all(some, OTHERS, workers()))
    worst = max(b.resources.spills for b in binaries.values())
    assert worst <= MOST, f"a thread of {program} spills {worst} bytes"
    check(binaries, update=update, among=lambda row: every or row.target == FIRST or quick(row.form, row.kernel))


def test_most_kernels_spill_nothing() -> None:
    rows = [row for path in HERE.glob("resources-triton-*.txt") for row in read(path)]
    assert sum(row.spills == 0 for row in rows) >= 0.9 * len(rows)
    assert {row.target for row in rows} == {*TARGETS}


def test_the_table_has_no_programs_that_are_gone() -> None:
    assert strangers(PROGRAMS) == []
