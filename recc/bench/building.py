"""How long it takes from a text to a kernel that can be called: cold, and from the cache.

Each figure comes from a process of its own, `python -m recc.bench.building NAME`, because a stage that has run
once in a process has loaded its libraries.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Literal

from recc.bench.report import Cell, Table
from recc.errors import InternalError

#: Programs of this folder, their titles, and the sizes to build for.
_CASES: tuple[tuple[str, str, dict[str, int]], ...] = (
    ("elementwise", "elementwise", {"d": 512}),
    ("selective", "diagonal, selective", {"d": 256, "n": 16}),
    ("correction", "matrix memory with a correction", {"i": 64, "j": 64}),
)
_IMPORT = "from time import perf_counter as now; start = now(); import recc; print(now() - start)"
_STAGES = ("parse + check", "derive", "emit, both", "cc, forward", "cc, backward", "total")


def building(repeats: int = 3) -> Table:
    """Milliseconds of each stage: cold, with the kernels in the cache, and again; and of `import recc`."""
    rows: list[tuple[Cell, ...]] = []
    _python("-c", _IMPORT + "; import recc.bench.building, recc.runtime.op")
    for name, title, sizes in _CASES:
        with tempfile.TemporaryDirectory() as cache:
            cold = _child(name, sizes, cache)
            warm = [_child(name, sizes, cache) for _ in range(repeats)]
        for how, found in (("cold", [cold[0]]), ("cached", [w[0] for w in warm]), ("again", [w[1] for w in warm])):
            rows.append((f"{title}, {how}", *(median(f[s] for f in found) * 1e3 for s in _STAGES)))
    imports = median(float(_python("-c", _IMPORT)) for _ in range(repeats)) * 1e3
    notes = (
        "cold: a new process and an empty cache; cached: a new process and the kernels of the one before",
        "again: once more in that process, whose libraries are loaded by then",
        f"import recc: {imports:.0f} ms",
    )
    return Table("From text to callable", ("ms", *_STAGES), tuple(rows), notes)


def _child(name: str, sizes: dict[str, int], cache: str) -> list[dict[str, float]]:
    found: list[dict[str, float]] = json.loads(
        _python("-m", "recc.bench.building", name, json.dumps(sizes), cache=cache)
    )
    return found


def _python(*arguments: str, cache: str | None = None) -> str:
    environment = dict(os.environ) if cache is None else {**os.environ, "RECC_CACHE": cache}
    # An installed package has its bytecode; so has this one then, from the second process on.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise InternalError(f"measuring a build failed:\n{done.stderr.strip()[-2000:]}")
    return done.stdout


def stages(name: str, sizes: dict[str, int]) -> dict[str, float]:
    """Seconds of each stage for one program, in float32."""
    marks = [perf_counter()]

    def mark() -> None:
        marks.append(perf_counter())

    from recc.pipeline import check_source, read

    (rec,) = check_source(read(Path(__file__).with_name(f"{name}.recc")))
    mark()
    from recc.forms.sequential import derive_sequential

    form = derive_sequential(rec, None)
    mark()
    from recc.backends.c_cpu.build import build
    from recc.backends.c_cpu.kernel import emit
    from recc.backends.c_cpu.spec import Specialisation

    spec = Specialisation(form, sizes, "float32", {s.name: "float32" for s in (*rec.arguments, *rec.outputs)})
    ways: tuple[Literal["forward", "backward"], ...] = ("forward", "backward")
    kernels = [emit(spec, way) for way in ways]
    mark()
    for kernel, way in zip(kernels, ways, strict=True):
        build(kernel.source, f"{name}_{way}")
        mark()
    taken = [b - a for a, b in pairwise(marks)]
    return dict(zip(_STAGES, [*taken, marks[-1] - marks[0]], strict=True))


if __name__ == "__main__":
    sys.stdout.write(json.dumps([stages(sys.argv[1], json.loads(sys.argv[2])) for _ in range(2)]))
