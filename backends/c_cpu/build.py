"""Builds emitted C with the system's compiler, keeps the results, and loads them.

A kernel's file is named after a hash of everything that it depends on: its text, the header, the flags,
the compiler and the processor. `RECC_CACHE` is the folder (default `~/.cache/recc`); `RECC_CC` is the
compiler; `RECC_OVERRIDE=DIR` loads `DIR/<name>.c`, a hand-edited copy, in place of the emitted text.
"""

from __future__ import annotations

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

from recc.errors import InternalError, Refusal, Unsupported

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


@dataclass(frozen=True)
class Compiler:
    """A C compiler: the command, and the text by which it tells its version."""

    command: tuple[str, ...]
    version: str

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
        "install gcc or clang with the system's package manager, or `pip install recc-lang[cc]`, which brings a "
        "compiler along; backend='numpy', the reference, runs without one",
    )


@cache
def find_compiler() -> Compiler | None:
    """The first compiler that answers: `RECC_CC`, `CC`, cc, gcc, clang, then the ziglang package."""
    named = [shlex.split(os.environ[v]) for v in ("RECC_CC", "CC") if os.environ.get(v)]
    for command in [*named, ["cc"], ["gcc"], ["clang"]]:
        if command and shutil.which(command[0]):
            version = _version(command)
            if version is not None:
                return Compiler(tuple(command), version)
    if importlib.util.find_spec("ziglang") is not None:
        command = [sys.executable, "-m", "ziglang", "cc"]
        version = _version(command)
        if version is not None:
            return Compiler((sys.executable, "-m", "ziglang", "cc"), version)
    return None


def _version(command: list[str]) -> str | None:
    try:
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


@cache
def _processor() -> str:
    """What `-march=native` depends on."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    lines = [line for line in text.splitlines() if line.startswith(("flags", "Features", "model name", "CPU part"))]
    return "\n".join(sorted(set(lines)))


def cache_folder() -> Path:
    """Where built kernels are kept."""
    named = os.environ.get("RECC_CACHE")
    base = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recc"
    base.mkdir(parents=True, exist_ok=True)
    return base


Function = Callable[..., None]


@dataclass(frozen=True)
class Library:
    """A loaded kernel: where its text lies and its entry point."""

    path: Path
    run: Function


def build(source: str, label: str) -> Library:
    """Builds (or finds) and loads a kernel.

    Raises `Unsupported` without a compiler, `InternalError` if the compiler rejects the text.
    """
    compiler = find_compiler()
    if compiler is None:
        raise Unsupported(no_compiler())
    header = HEADER.read_text()
    parts = (source, header, " ".join(compiler.flags), compiler.version, _processor())
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    name = f"{label}_{digest}"
    override = os.environ.get("RECC_OVERRIDE")
    if override and (edited := Path(override) / f"{name}.c").exists():
        source = edited.read_text()
        name = f"{name}_{hashlib.sha256(source.encode()).hexdigest()[:8]}"
    folder = cache_folder()
    library = folder / f"{name}.so"
    text = folder / f"{name}.c"
    if not library.exists() or not text.exists():
        _compile(compiler, source, text, library)
    return Library(text, _load(library))


def _compile(compiler: Compiler, source: str, text: Path, library: Path) -> None:
    """Compiles beside the cache and moves the result in, so that no half-written file is ever loaded."""
    with tempfile.TemporaryDirectory(dir=text.parent) as folder:
        work = Path(folder)
        (work / text.name).write_text(source)
        shutil.copy(HEADER, work / HEADER.name)
        command = [*compiler.command, *compiler.flags, text.name, "-o", library.name, "-lm"]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            dump = text.with_suffix(".failed.c")
            dump.write_text(source + "\n/* " + " ".join(command) + "\n" + done.stderr.replace("*/", "* /") + " */\n")
            raise InternalError(f"the C compiler rejected emitted code:\n{done.stderr.strip()[:2000]}", str(dump))
        (work / text.name).replace(text)
        if not (text.parent / HEADER.name).exists() or (text.parent / HEADER.name).read_text() != HEADER.read_text():
            (work / HEADER.name).replace(text.parent / HEADER.name)
        (work / library.name).replace(library)


def _load(library: Path) -> Function:
    run = ctypes.CDLL(str(library)).recc_run
    run.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p]
    run.restype = None
    return run


__all__ = ["Compiler", "Library", "build", "cache_folder", "find_compiler", "no_compiler"]
