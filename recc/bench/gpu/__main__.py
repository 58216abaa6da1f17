"""`python -m recc.bench.gpu`: recc beside fla-core and mamba-ssm on the GPU of this machine."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from recc.bench.gpu.ahead import hurry
from recc.bench.gpu.families import FAMILIES
from recc.bench.gpu.measure import facts
from recc.bench.gpu.record import Record, read, slug, write
from recc.bench.gpu.rivals import versions
from recc.bench.gpu.run import Plan, Session

#: Where tables are kept, from the root of a checkout.
FOLDER = Path("docs/benchmarks")


def main(argv: list[str] | None = None) -> int:
    """Measures, prints, and on a GPU writes `docs/benchmarks/<device>.json` and the page beside it."""
    options = parser().parse_args(argv)
    cuda = options.device == "cuda"
    if cuda and not torch.cuda.is_available():
        print("there is no CUDA device: nothing was measured")
        return 1
    plan = Plan(options.backend, options.form, options.device, options.small, names(options.families),
                names(options.shapes), options.limit, options.ahead if cuda else 0, options.chunk_size)  # fmt: skip
    record = Record(facts(options.device), versions())
    kept = cuda and not options.small
    folder = options.folder
    if cuda:
        hurry()
        record.notes.append("Rivals' kernels are chosen by Triton's tuner, 25 ms for a candidate.")
    if kept and not options.anew:
        earlier = read(folder / f"{slug(str(record.device['name']))}.json", record)
        if earlier is not None:
            record = earlier
            record.left_out = []
    session = Session(plan, record, (lambda found: keep(found, folder)) if kept else lambda _: None, told)
    found = session.run()
    if kept:
        keep(found, folder)
    print()
    for table in found.tables():
        print(table.text(), end="\n\n")
    for one in found.left_out:
        print(f"left out, for lack of time: {one}")
    for note in found.notes:
        print(note)
    print(f"{plan.limit - session.left:.0f} s")
    if not kept:
        print("tried, not measured: figures are kept of a GPU, at full sizes, only")
    return 0


def parser() -> argparse.ArgumentParser:
    """The options."""
    cores = len(os.sched_getaffinity(0))
    found = argparse.ArgumentParser(prog="python -m recc.bench.gpu", description=__doc__)
    found.add_argument("--backend", default="triton")
    found.add_argument("--form", default="auto")
    found.add_argument("--chunk-size", type=int, default=None)
    found.add_argument("--device", default="cuda")
    found.add_argument("--small", action="store_true", help="tiny shapes, to try the script; nothing is written")
    found.add_argument("--families", default="", help=f"with commas, of: {', '.join(f.name for f in FAMILIES)}")
    found.add_argument("--shapes", default="", help="with commas, of: s1 ... s6, long, channels")
    found.add_argument("--limit", type=float, default=450.0, help="seconds; what does not fit is left out")
    found.add_argument("--ahead", type=int, default=min(14, cores - 1), help="processes that compile rivals' kernels")
    found.add_argument("--anew", action="store_true", help="drop earlier figures of this device")
    found.add_argument("--folder", type=Path, default=FOLDER)
    return found


def names(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(filter(None, text.split(",")))


def keep(record: Record, folder: Path) -> None:
    """Writes the record into the folder, and where `$OUT` points."""
    folder.mkdir(parents=True, exist_ok=True)
    write(record, folder)
    if out := os.environ.get("OUT"):
        write(record, Path(out))


def told(line: str) -> None:
    """Prints a line at once."""
    print(line, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
