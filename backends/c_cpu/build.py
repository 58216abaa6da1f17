"""Builds emitted C with the system's compiler, keeps the results, and loads them.

A kernel's file is named after a hash of everything that it depends on: its text, the header, the flags,
the compiler and the processor. `RECC_CACHE` is the folder (default `~/.cache/recc`; if that cannot be written,
a passing folder, with a warning); `RECC_CC` is the compiler, whose options come after recc's own;
`RECC_OVERRIDE=DIR` loads `DIR/<name>.c`, a hand-edited copy, in place of the emitted text.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from recc.backends.cache import cache_folder, edited_copy
from recc.backends.cache import writable_folder as _writable_folder
from recc.errors import InternalError, Refusal, Unsupported, UsageError

HEADER = Path(__file__).with_name("recc_math.h")

_FLAGS = [
    "-std=gnu11",
    "-O3",
    "-march=native",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    "-fopenmp-simd",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
]


_WAYS_OUT = (
    "install gcc or clang with the headers of the C library, by the system's package manager, or "
    "`pip install recc-lang[cc]`, which brings a compiler along; backend='numpy', the reference, runs without one"
)

#: What any C compiler can build.
_LEAST = "#include <math.h>\n#include <stdint.h>\n#include <string.h>\ndouble least(double x) { return floor(x); }\n"


@dataclass(frozen=True)
class Compiler:
    """A C compiler: the command, and the text by which it tells its version."""

    command: tuple[str, ...]
    version: str

    @property
    def options(self) -> list[str]:
        """The options that the command ends in, which have the last word: `gcc -O1` is quicker to build with."""
        count = next((k for k, word in enumerate(reversed(self.command)) if not word.startswith("-")), 0)
        return list(self.command[len(self.command) - count :])

    @property
    def flags(self) -> list[str]:
        """What this compiler needs beside the common flags."""
        if "ziglang" in self.command:
            return [*_FLAGS, "-fno-sanitize=all"]
        if "clang" not in self.version and "avx512f" in _processor():
            return [*_FLAGS, "-mprefer-vector-width=512"]
        return _FLAGS


def no_compiler() -> Refusal:
    """The refusal where no C compiler can be found."""
    return Refusal(
        "backend 'c'",
        "no C compiler was found (looked for RECC_CC, CC, cc, gcc, clang and the ziglang package)",
        _WAYS_OUT,
    )


def find_compiler() -> Compiler | None:
    """The first compiler that answers: `RECC_CC`, `CC`, cc, gcc, clang, then the ziglang package.

    Raises `UsageError` if `RECC_CC` is set and does not answer: what is asked for by name is not replaced.
    """
    return _find(os.environ.get("RECC_CC", ""), os.environ.get("CC", ""), os.environ.get("PATH", ""))


@cache
def _find(named: str, usual: str, path: str) -> Compiler | None:
    if named:
        found = _ask(_words(named), path)
        if found is None:
            actual = f"{named!r}, which does not answer to --version"
            raise UsageError("RECC_CC", "the command of a C compiler", actual, "correct it, or unset it")
        return found
    zig = [sys.executable, "-m", "ziglang", "cc"] if importlib.util.find_spec("ziglang") is not None else []
    for command in (_words(usual), ["cc"], ["gcc"], ["clang"], zig):
        if (found := _ask(command, path)) is not None:
            return found
    return None


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # a quotation mark without its partner
        return []


def _ask(command: list[str], path: str) -> Compiler | None:
    if not command or shutil.which(command[0], path=path or None) is None:
        return None
    try:
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Compiler(tuple(command), done.stdout) if done.returncode == 0 else None


@cache
def _processor() -> str:
    """What `-march=native` depends on."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    lines = [line for line in text.splitlines() if line.startswith(("flags", "Features", "model name", "CPU part"))]
    return "\n".join(sorted(set(lines)))


Function = Callable[..., None]


@dataclass(frozen=True)
class Library:
    """A loaded kernel: where its text lies and its entry point."""

    path: Path
    run: Function


def build(source: str, label: str) -> Library:
    """Builds (or finds) and loads a kernel.

    Raises `Unsupported` without a compiler that works, `InternalError` if one that works rejects the text,
    `UsageError` for settings (`RECC_CC`, `RECC_CACHE`, `RECC_OVERRIDE`) that cannot be.
    """
    compiler = find_compiler()
    if compiler is None:
        raise Unsupported(no_compiler())
    parts = (source, HEADER.read_text(), " ".join([*compiler.command, *compiler.flags]), compiler.version, _processor())
    name = f"{label}_{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}"
    edited = edited_copy(name, ".c")
    if edited is not None:
        source = edited.read_text()
        name = f"{name}_{hashlib.sha256(source.encode()).hexdigest()[:8]}"
    folder = cache_folder()
    if (folder / f"{name}.so").exists() and (folder / f"{name}.c").exists():
        with contextlib.suppress(OSError):  # a library that does not load is built again
            return Library(folder / f"{name}.c", _load(folder / f"{name}.so"))
    folder = _writable_folder(folder)
    text, library = folder / f"{name}.c", folder / f"{name}.so"
    _compile(compiler, source, text, library, edited)
    try:
        return Library(text, _load(library))
    except OSError as problem:
        hint = "set RECC_CACHE to a folder on a file system that allows programs to run"
        raise UsageError("the cache of kernels", "a folder to load libraries from", str(problem), hint) from None


def _compile(compiler: Compiler, source: str, text: Path, library: Path, edited: Path | None) -> None:
    """Compiles beside the cache and moves the result in, so that no half-written file is ever loaded."""
    with tempfile.TemporaryDirectory(dir=text.parent) as folder:
        work = Path(folder)
        shutil.copy(HEADER, work / HEADER.name)
        said = _cc(compiler, work, source, text.name, library.name)
        if said is not None:
            if edited is not None:
                raise UsageError(f"the edited kernel {edited}", "C that compiles", f"\n{said}")
            _blame_compiler(compiler, work)
            dump = text.with_suffix(".failed.c")
            comment = f"{' '.join(compiler.command)}\n{said}".replace("*/", "* /")
            dump.write_text(f"{source}\n/* {comment} */\n")
            raise InternalError(f"the C compiler rejected emitted code:\n{said}", str(dump))
        (work / text.name).replace(text)
        if not (text.parent / HEADER.name).exists() or (text.parent / HEADER.name).read_text() != HEADER.read_text():
            (work / HEADER.name).replace(text.parent / HEADER.name)
        (work / library.name).replace(library)


def _cc(compiler: Compiler, work: Path, source: str, text: str, library: str) -> str | None:
    """Compiles in a folder. Gives what the compiler said if there is no library afterwards."""
    (work / text).write_text(source)
    command = [*compiler.command, *compiler.flags, *compiler.options, text, "-o", library, "-lm"]
    try:
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, errors="replace", check=False)
    except OSError as problem:
        return str(problem)
    if done.returncode == 0 and (work / library).exists():
        return None
    return done.stderr.strip()[:2000] or f"status {done.returncode} and no word"


def _blame_compiler(compiler: Compiler, work: Path) -> None:
    """Raises `UsageError` or `Unsupported` if the compiler cannot build even the least library.

    What is missing then is on the machine, most often the headers of the C library.
    """
    said = _cc(compiler, work, _LEAST, "least.c", "least.so")
    if said is None:
        return
    command = " ".join(compiler.command)
    reason = f"the C compiler `{command}` cannot build a library: {said.splitlines()[0]}"
    if os.environ.get("RECC_CC"):
        raise UsageError("RECC_CC", "a C compiler that works", reason)
    raise Unsupported(Refusal("backend 'c'", reason, _WAYS_OUT))


def _load(library: Path) -> Function:
    run = ctypes.CDLL(str(library)).recc_run
    run.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p]
    run.restype = None
    return run


__all__ = ["Compiler", "Library", "build", "cache_folder", "find_compiler", "no_compiler"]
