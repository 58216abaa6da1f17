"""Every kernel of the zoo is compiled without a GPU; what it takes is held to the committed table.

Sizes are small, because spilling kernels take minutes to compile: 16 along every axis in chunks of 16 steps, where
products run on tensor cores; 8 for single steps; 4 for scans; 2 for forms of chunks that no GPU would be given at
larger sizes because their tiles have an axis too many.

Every line of the table has a digest of what was compiled, which is compared with that of what is emitted now. Compiled
are the kernels of lines where it differs, one of twenty others, and those of `ALWAYS`. `RECC_TARGETS=all make test
ARGS=tests/triton/test_resources.py` compiles everything. `make golden ARGS=tests/triton/test_resources.py` compiles and
writes the lines that have changed, with `RECC_TARGETS=all` the whole table.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache

import pytest

pytest.importorskip("triton")

import recc
from recc.backends.triton_gpu.binary import TARGETS, Kernel
from recc.backends.triton_gpu.build import build
from recc.backends.triton_gpu.model import estimate
from recc.backends.triton_gpu.offline import kernels_of
from recc.backends.triton_gpu.plan import Plan, Space
from recc.errors import Unsupported
from recc.forms.parallel import derive
from recc.forms.passes import Parallel, Sequential
from recc.forms.sequential import derive_sequential
from tests.triton.resources import HERE, Names, check, compiled, digest, due, read, strangers, table
from tests.zoo.core import CORE

FORMS = ("sequential", "scan", "chunked")
#: Steps of a chunk and the size of axes, for each form the first that is not foreseen to spill much.
SHAPES = {"sequential": ((1, 8),), "scan": ((16, 4), (8, 2)), "chunked": ((16, 16), (8, 2))}
#: Bytes that a thread may be foreseen to spill at these sizes.
SPILLS = 1024
#: What a thread may spill in truth: a few kernels with all of a form's derivation in one backward chunk.
MOST = 2048

#: The forms of programs of which every kernel is compiled every time: single steps, a scan, chunks.
ALWAYS = (("lif", "sequential"), ("hgrn", "scan"), ("linear_attention", "chunked"))
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
        for name_of_kernel, kernel in kernels_of(module, "bfloat16").items():
            yield (program, name, name_of_kernel), kernel


@cache
def workers() -> int:
    """Compilers at once: one in each process of several, as many as there are processors in a single one."""
    return 1 if "PYTEST_XDIST_WORKER" in os.environ else len(os.sched_getaffinity(0))


@pytest.mark.parametrize("program", CORE)
def test_kernels_take_what_the_table_says(program: str, pytestconfig: pytest.Config) -> None:
    update = bool(pytestconfig.getoption("--update-golden"))
    found = dict(kernels(program))
    digests = {names: digest(kernel) for names, kernel in found.items()}
    always = [names for names in found if names[:2] in ALWAYS and not update]
    every = EVERYTHING or (update and not table().exists())
    keys = due(digests, table(), every=every, always=always)
    check(compiled(found, keys, workers()), digests, update=update)


def test_no_thread_spills_much() -> None:
    assert [row for path in HERE.glob("resources-triton-*.txt") for row in read(path) if row.spills > MOST] == []


def test_most_kernels_spill_nothing() -> None:
    rows = [row for path in HERE.glob("resources-triton-*.txt") for row in read(path)]
    assert sum(row.spills == 0 for row in rows) >= 0.9 * len(rows)
    assert {row.target for row in rows} == {*TARGETS}


def test_the_table_has_no_programs_that_are_gone() -> None:
    assert strangers(CORE) == []
