"""Makes the table of cuts that is shipped: `python -m recc.bench.cuts [--form chunked] [--sizes 64,128] [PROGRAM …]`.

For each program, given as a file or as a name of the zoo, and each size of its axes, the cuts that the model ranks
best are compiled, without a GPU, and the one is kept whose registers, spills and shared memory, as read from the
binary, promise the least time. Nothing is timed. A line of the table says only which cut to start from.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from recc import zoo
from recc.backends.triton_gpu.binary import CompileError, compile_for
from recc.backends.triton_gpu.build import build
from recc.backends.triton_gpu.model import Estimate, Way, compiled
from recc.backends.triton_gpu.offline import kernels_of
from recc.backends.triton_gpu.plan import Plan, Space, written
from recc.backends.triton_gpu.shipped import PATH, Cuts
from recc.backends.triton_gpu.spec import Spec
from recc.errors import Refusal, Unsupported
from recc.forms.parallel import derive
from recc.pipeline import check_source, read, select
from recc.recurrence import Recurrence

_HOW = (
    "Found by compiling, not by timing: of the cuts that the model ranks best, the one whose registers, spills and "
    "shared memory promise the least time. Made by `python -m recc.bench.cuts`."
)
_WAYS: tuple[Way, Way] = ("forward", "backward")


def main(arguments: list[str] | None = None) -> None:
    """Adds lines for some programs to the table, or renews them."""
    parser = argparse.ArgumentParser(prog="python -m recc.bench.cuts", description=__doc__)
    parser.add_argument("programs", nargs="*", help="files, or names of the zoo")
    parser.add_argument("--sizes", default="64,128", help="of all axes, or 256x16 for each, in declared order")
    parser.add_argument("--form", default="chunked")
    parser.add_argument("--arch", default="sm_90,sm_80")
    parser.add_argument("--tries", type=int, default=4, help="cuts to compile of each direction")
    asked = parser.parse_args(arguments)
    table = json.loads(PATH.read_text(encoding="utf-8"))["cuts"] if PATH.exists() else {}
    for program in asked.programs:
        rec = _recurrence(program)
        form = derive(rec, asked.form, 64)
        if isinstance(form, Refusal):
            print(f"{program}: {form.reason}")
            continue
        for size in asked.sizes.split(","):
            sizes = sizes_of(rec, size)
            for arch in asked.arch.split(","):
                space = Space(form, sizes, 1, "float32", "bfloat16", False, True, arch)
                best = search(space, asked.tries)
                if best is not None:
                    cuts = Cuts(best.chunk, written(best.forward), written(best.backward))
                    table[space.key()] = cuts.data()
                    print(f"{program} {size} {arch}: {cuts.data()}", flush=True)
                    write(table)


def sizes_of(rec: Recurrence, text: str) -> dict[str, int]:
    """The sizes of a program's axes: one number for all, or one for each."""
    axes = [a.name for a in rec.axes if a.name == a.size_of]
    found = [int(n) for n in text.split("x")]
    return dict(zip(axes, found * len(axes) if len(found) == 1 else found, strict=True))


def write(table: Mapping[str, object], path: Path = PATH) -> None:
    """Writes the table, a line for each key."""
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(table[key])}" for key in sorted(table))
    path.write_text(f'{{"how": {json.dumps(_HOW)},\n "cuts": {{\n{lines}\n}}}}\n', encoding="utf-8")


def search(space: Space, tries: int) -> Plan | None:
    """The plan of least time among those that compile, by what its kernels take."""
    plans = space.candidates()
    found: dict[Way, list[tuple[Estimate, Spec]]] = {"forward": [], "backward": []}
    for way in _WAYS:
        specs = _distinct(getattr(p, way) for p in plans)
        for spec in specs[:tries]:
            taken = _taken(space, spec, way)
            if taken is not None:
                found[way].append((taken, spec))
    pairs = [
        (one.seconds + two.seconds, n, Plan(ahead, back))
        for n, (one, ahead) in enumerate(found["forward"])
        for two, back in found["backward"]
        if ahead.chunk == back.chunk and one.programs and two.programs
    ]
    return min(pairs, key=lambda pair: pair[:2])[2] if pairs else None


def _distinct(specs: Iterable[Spec]) -> list[Spec]:
    found: dict[object, Spec] = {}
    for spec in specs:
        found.setdefault((spec.chunk, tuple(spec.tiles.items()), spec.warps, spec.stages), spec)
    return list(found.values())


def _taken(space: Space, spec: Spec, way: Way) -> Estimate | None:
    """What the kernels of one direction take; none if they do not compile."""
    try:
        kernels = kernels_of(build(spec, spec), "bfloat16")
        names = [f"pass_{n + 1}_{way}" for n in range(len(spec.form.passes))]
        taken = [compile_for(kernels[name], space.arch).resources for name in names]
    except (CompileError, Unsupported) as problem:
        print(f"  {way} {spec.chunk} {dict(spec.tiles)} {spec.warps}: {str(problem)[:200]}")
        return None
    estimate = compiled(spec, way, taken, space.device)
    print(f"  {way} chunk {spec.chunk} parts {dict(spec.tiles)} warps {spec.warps}: {estimate}", flush=True)
    return estimate


def _recurrence(program: str) -> Recurrence:
    source = read(program if program.endswith(".recc") else zoo.text(program))
    return select(check_source(source), None, source)


if __name__ == "__main__":
    main()
