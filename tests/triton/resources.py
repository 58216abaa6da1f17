"""The committed table of what compiled kernels take: one line for each kernel and target, one file for each Triton.

    digests = {("gla", "chunked", "forward"): digest(kernel), ...}
    keys = due(digests)
    check(compiled(kernels, keys), digests, update=pytestconfig.getoption("--update-golden"))

A table holds many programs; `check` compares (or writes) the lines of those programs that it is given. Registers,
spills and shared memory depend on the text of a kernel, the types of its arguments, its options and the compiler in
Triton's wheel, and on nothing else. A line has a digest of the first three and stands in the file of the last, so a
line whose digest is that of the kernel emitted now is true if it ever was. Whether it was is seen by compiling some
of them anew: another sample for each state of the table (`sampled`). Figures must be equal: more spills are a fault,
fewer are written down with `--update-golden`. Under a Triton that has no table, only what the targets can hold is
checked.
"""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, fields, replace
from functools import cache
from importlib.metadata import version as installed
from pathlib import Path

from recc.backends.triton_gpu.binary import TARGETS, Binary, Kernel, compile_all, launch_options
from recc.backends.triton_gpu.device import DEVICES, occupancy

HERE = Path(__file__).parent
HEAD = """\
# What a program of each kernel takes: registers of a thread, bytes that a thread spills, bytes of shared memory.
# The last column is a digest of what was compiled. Tests compare it with that of what is emitted now, and compile some
# lines anew, others for each state of this file; RECC_TARGETS=all compiles everything.
# Lines of kernels that have changed are written by make golden ARGS=tests/triton/test_resources.py
"""
HINT = "read the difference, then write it down: make golden ARGS=tests/triton/test_resources.py"
#: Of how many lines one is compiled anew, other ones for each state of the table.
SHARE = 20

#: The names of a kernel: its program, its form, itself.
Names = tuple[str, str, str]
#: A kernel and its target.
Key = tuple[Names, str]
Binaries = Mapping[Key, Binary]


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
    digest: str

    @property
    def key(self) -> Key:
        return (self.program, self.form, self.kernel), self.target

    @property
    def place(self) -> tuple[str, str, str, int, str]:
        known = TARGETS.index(self.target) if self.target in TARGETS else len(TARGETS)
        return self.program, self.form, self.kernel, known, self.target


COLUMNS = tuple(f.name for f in fields(Row))
WORDS = 4


def table(folder: Path = HERE, version: str | None = None) -> Path:
    """The file for a version of Triton, the one that is installed unless another is named."""
    return folder / f"resources-triton-{version or installed('triton')}.txt"


def digest(kernel: Kernel) -> str:
    """A digest of all that decides what a kernel takes: its text and that of what it calls, its types, its options."""
    texts = "".join(functions_of(kernel.path)[name] for name in called(kernel.path, kernel.name))
    rest = sorted(kernel.signature.items()), sorted(kernel.constants.items()), sorted(kernel.aligned)
    told = repr((rest, sorted(launch_options(kernel.warps, kernel.stages).items())))
    return hashlib.sha256((texts + told).encode()).hexdigest()[:10]


@cache
def functions_of(path: Path) -> dict[str, str]:
    """The functions at the top of a file, each as its tokens: without comments and layout."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    return {
        node.name: " ".join(tokens("".join(lines[node.lineno - 1 : node.end_lineno])))
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef)
    }


def tokens(text: str) -> Iterator[str]:
    """The tokens of a text, with marks where blocks begin and end."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.INDENT, tokenize.DEDENT, tokenize.NEWLINE):
            yield tokenize.tok_name[token.type]
        elif token.type not in (tokenize.COMMENT, tokenize.NL):
            yield token.string


def called(path: Path, name: str) -> list[str]:
    """A function of a file and all that it uses of the others, in order of their names."""
    functions, found, left = functions_of(path), set[str](), [name]
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left += {*functions[one].split()} & functions.keys()
    return sorted(found)


def due(digests: Mapping[Names, str], path: Path, *, every: bool = False, always: Iterable[Names] = ()) -> list[Key]:
    """The kernels to be compiled: those whose line is missing or of another text, those of the sample, some `always`.

    With `every`, all are.
    """
    known = {row.key: row.digest for row in read(path)} if path.exists() else {}
    seed = hashlib.sha256(path.read_bytes() if path.exists() else b"").hexdigest()
    always = set(always)
    return [
        (names, target)
        for names, text in digests.items()
        for target in TARGETS
        if every or names in always or sampled(seed, (names, target))
        # Without a table there is nothing to compare with, and a sample says whether kernels compile.
        or (known and known.get((names, target)) != text)
    ]  # fmt: skip


def sampled(seed: str, key: Key) -> bool:
    """Whether a line is one of those that are compiled anew, in a state of the table that `seed` stands for."""
    return int(hashlib.sha256(f"{seed} {key}".encode()).hexdigest(), 16) % SHARE == 0


def compiled(kernels: Mapping[Names, Kernel], keys: Iterable[Key], workers: int) -> dict[Key, Binary]:
    """The kernels of some lines, compiled."""
    keys, found = list(keys), dict[Key, Binary]()
    for target in TARGETS:
        some = {names: kernels[names] for names, wanted in keys if wanted == target}
        found.update(compile_all(some, (target,), workers) if some else {})
    return found


def check(
    binaries: Binaries, digests: Mapping[Names, str], *, update: bool, folder: Path = HERE, version: str | None = None
) -> None:
    """Hold kernels to what their targets have, and to their lines; or write these.

    Args:
        binaries: those that were compiled.
        digests: of every kernel of some programs as it is emitted now, compiled or not.
        update: write the lines of these programs; those of kernels that were not compiled stay.
        folder: where tables are.
        version: of Triton, if not the one that is installed.
    """
    too_much = [line for key, binary in binaries.items() for line in beyond(key[0], binary)]
    assert not too_much, "kernels that their targets cannot run:\n" + "\n".join(too_much)
    path, programs = table(folder, version), {names[0] for names in digests}
    rows = {row.key: row for row in rows_of(binaries, digests)}
    known = {row.key: row for row in read(path)} if path.exists() else {}
    own = {key: row for key, row in known.items() if key[0][0] in programs}
    every = {(names, target) for names in digests for target in TARGETS}
    if update:
        kept = {key: row for key, row in known.items() if key not in own}
        same = {key: own[key] for key in every & own.keys() if own[key].digest == digests[key[0]]}
        path.write_text(HEAD + render({**kept, **same, **rows}.values()), encoding="utf-8")
    elif path.exists():
        # What was not compiled has the figures that its line tells.
        actual = {key: replace(own[key], digest=digests[key[0]]) for key in every & own.keys()}
        found = differences(own.values(), {**actual, **rows}.values())
        lacking = sorted(every - own.keys() - rows.keys())
        found += [f"  {' '.join([*names, target])}: not in the table" for names, target in lacking]
        assert not found, "\n".join([f"{path.name} tells of other kernels:", *found, HINT])
    else:
        assert any(folder.glob("resources-triton-*.txt")), f"there is no table: {HINT}"


def strangers(programs: Iterable[str], folder: Path = HERE) -> list[str]:
    """The programs in the tables that are none of those given: lines left over from what is gone."""
    known = set(programs)
    return sorted({r.program for path in folder.glob("resources-triton-*.txt") for r in read(path)} - known)


def rows_of(binaries: Binaries, digests: Mapping[Names, str]) -> list[Row]:
    """The lines of some kernels, in the table's order."""
    rows = []
    for (names, target), binary in binaries.items():
        assert all(name and len(name.split()) == 1 for name in names), f"names without blanks: {names}"
        taken = binary.resources
        rows.append(Row(*names, target, taken.registers, taken.spills, taken.shared, digests[names]))
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
        program, form, kernel, target, *numbers, text = line.split()
        rows.append(Row(program, form, kernel, target, *map(int, numbers), text))
    return rows


def differences(committed: Iterable[Row], actual: Iterable[Row]) -> list[str]:
    """What differs between two sets of lines, in words, the worst first."""
    before = {row.key: row for row in committed}
    after = {row.key: row for row in actual}
    worse: list[str] = []
    other: list[str] = []
    for key in sorted({*before, *after}):
        old, new, where = before.get(key), after.get(key), " ".join([*key[0], key[1]])
        if old is None:
            other.append(f"  {where}: not in the table")
        elif new is None:
            other.append(f"  {where}: in the table, and no longer emitted")
        elif old != new:
            changes = [(n, getattr(old, n), getattr(new, n)) for n in ("registers", "spills", "shared")]
            told = [f"{n} {a} -> {b}" for n, a, b in changes if a != b]
            told += ["emitted otherwise than when the line was written"] * (old.digest != new.digest)
            (worse if new.spills > old.spills else other).append(f"  {where}: {', '.join(told)}")
    return [f"{line}  (more spills)" for line in worse] + other
