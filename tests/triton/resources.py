"""The committed table of what compiled kernels take: one line for each kernel and target, one file for each Triton.

    binaries = compile_all({("gla", "chunked", "forward"): kernel, ...})
    check(binaries, update=pytestconfig.getoption("--update-golden"))

A table holds many programs; `check` compares (or writes) the lines of those programs that it is given. Registers,
spills and shared memory depend on the compiler in Triton's wheel and on nothing else, so the lines must be equal:
more spills are a fault, fewer are written down with `--update-golden`. Under a Triton that has no table, only what
the targets can hold is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from importlib.metadata import version as installed
from pathlib import Path

from recc.backends.triton_gpu.binary import TARGETS, Binary
from recc.backends.triton_gpu.device import DEVICES, occupancy

HERE = Path(__file__).parent
HEAD = """\
# What a program of each kernel takes: registers of a thread, bytes that a thread spills, bytes of shared memory.
# Tests compile all of it for sm_90, and for the other targets, to save time, both directions of single steps and the
# forward kernels of scans and chunks; RECC_TARGETS=all compiles everything.
# Written by make golden ARGS=tests/triton/test_resources.py
"""
HINT = "read the difference, then write it down: pytest tests/triton --update-golden"

#: The names of a kernel: its program, its form, itself.
Names = tuple[str, str, str]
Binaries = Mapping[tuple[Names, str], Binary]


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    program: str
    form: str
    kernel: str
    target: str
    registers: int
    spills: int
    shared: int

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.program, self.form, self.kernel, self.target

    @property
    def place(self) -> tuple[str, str, str, int, str]:
        known = TARGETS.index(self.target) if self.target in TARGETS else len(TARGETS)
        return self.program, self.form, self.kernel, known, self.target


COLUMNS = tuple(f.name for f in fields(Row))
WORDS = 4


def check(
    binaries: Binaries,
    *,
    update: bool,
    folder: Path = HERE,
    version: str | None = None,
    among: Callable[[Row], bool] = lambda row: True,
) -> None:
    """Hold kernels to what their targets have, and to the lines `among` those of the table; or write them into it."""
    too_much = [line for key, binary in binaries.items() for line in beyond(key[0], binary)]
    assert not too_much, "kernels that their targets cannot run:\n" + "\n".join(too_much)
    path = folder / f"resources-triton-{version or installed('triton')}.txt"
    rows = rows_of(binaries)
    programs = {row.program for row in rows}
    if update:
        others = [row for row in read(path) if row.program not in programs] if path.exists() else []
        path.write_text(HEAD + render([*others, *rows]), encoding="utf-8")
    elif path.exists():
        known = [row for row in read(path) if row.program in programs and among(row)]
        found = differences(known, rows)
        assert not found, "\n".join([f"{path.name} tells of other kernels:", *found, HINT])
    else:
        assert any(folder.glob("resources-triton-*.txt")), f"there is no table: {HINT}"


def strangers(programs: Iterable[str], folder: Path = HERE) -> list[str]:
    """The programs in the tables that are none of those given: lines left over from what is gone."""
    known = set(programs)
    return sorted({r.program for path in folder.glob("resources-triton-*.txt") for r in read(path)} - known)


def rows_of(binaries: Binaries) -> list[Row]:
    """The lines of some kernels, in the table's order."""
    rows = []
    for (names, target), binary in binaries.items():
        assert all(name and len(name.split()) == 1 for name in names), f"names without blanks: {names}"
        taken = binary.resources
        rows.append(Row(*names, target, taken.registers, taken.spills, taken.shared))
    assert len({row.key for row in rows}) == len(rows)
    return sorted(rows, key=lambda row: row.place)


def beyond(names: Names, binary: Binary) -> list[str]:
    """What a kernel takes that its target does not have."""
    device, taken = DEVICES[binary.target], binary.resources
    where = " ".join((*names, binary.target))
    found = []
    if taken.registers > device.registers_per_thread:
        found.append(f"{where}: {taken.registers} registers of {device.registers_per_thread}")
    if taken.shared > device.shared_per_program:
        found.append(f"{where}: {taken.shared} bytes of shared memory of {device.shared_per_program}")
    if not found and not occupancy(device, taken.registers, taken.warps, taken.shared):
        found.append(f"{where}: {taken.warps} warps of {taken.registers} registers do not fit a processor")
    return found


def render(rows: Iterable[Row]) -> str:
    """The text of a table: words to the left, numbers to the right."""
    cells = [COLUMNS, *(tuple(map(str, astuple(row))) for row in sorted(rows, key=lambda row: row.place))]
    widths = [max(len(line[c]) for line in cells) for c in range(len(COLUMNS))]
    lines = []
    for line in cells:
        padded = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        padded[:WORDS] = [cell.ljust(width) for cell, width in zip(line[:WORDS], widths, strict=False)]
        lines.append("  ".join(padded) + "\n")
    return "".join(lines)


def read(path: Path) -> list[Row]:
    """The lines of a table."""
    text = path.read_text(encoding="utf-8")
    head, *lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert tuple(head.split()) == COLUMNS, f"{path} is not a table of {COLUMNS}"
    rows = []
    for line in lines:
        program, form, kernel, target, *numbers = line.split()
        rows.append(Row(program, form, kernel, target, *map(int, numbers)))
    return rows


def differences(committed: Iterable[Row], actual: Iterable[Row]) -> list[str]:
    """What differs between two sets of lines, in words, the worst first."""
    before = {row.key: row for row in committed}
    after = {row.key: row for row in actual}
    worse: list[str] = []
    other: list[str] = []
    for key in sorted({*before, *after}):
        old, new, where = before.get(key), after.get(key), " ".join(key)
        if old is None:
            other.append(f"  {where}: not in the table")
        elif new is None:
            other.append(f"  {where}: in the table, and no longer compiled")
        elif old != new:
            changes = [(n, getattr(old, n), getattr(new, n)) for n in ("registers", "spills", "shared")]
            told = ", ".join(f"{n} {a} -> {b}" for n, a, b in changes if a != b)
            (worse if new.spills > old.spills else other).append(f"  {where}: {told}")
    return [f"{line}  (more spills)" for line in worse] + other
