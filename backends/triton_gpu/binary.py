"""Compiles kernels for GPUs that need not be there, and reads from the binaries what a program takes.

Kernels are compiled in processes of their own, which live as long as this one. That has three reasons. A process
that imported Triton with `TRITON_INTERPRET=1` cannot compile: functions of Triton's own library, `tl.sum` among
them, are then interpreted ones. A compiler that aborts takes only its own process with it. And several processes
compile at once. What they compile stays in Triton's cache (`TRITON_CACHE_DIR`).
"""

from __future__ import annotations

import atexit
import contextlib
import inspect
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from recc.backends.triton_gpu.compiler import (
    FP_FUSION,
    Binary,
    Job,
    Resources,
    launch_options,
    load_for_compiling,
    serve,
)
from recc.errors import ReccError

__all__ = [
    "FP_FUSION",
    "TARGETS",
    "Binary",
    "CompileError",
    "Kernel",
    "Resources",
    "compile_all",
    "compile_for",
    "launch_options",
    "load_for_compiling",
]

#: The targets that every emitted kernel is compiled for.
TARGETS = ("sm_80", "sm_90", "gfx942")

#: The characters that are kept of what a compiler prints before it fails: the last ones.
_TAIL = 4000

Name = TypeVar("Name")


class CompileError(ReccError):
    """A kernel did not compile: which one, for what target, and what the compiler said."""

    def __init__(self, kernel: str, target: str, message: str):
        self.kernel = kernel
        self.target = target
        self.message = message
        super().__init__(kernel, target, message)

    def __str__(self) -> str:
        return f"kernel {self.kernel} does not compile for {self.target}:\n{self.message}"


@dataclass(frozen=True)
class Kernel:
    """A kernel with everything that a compiler must know of its arguments.

    `fn` is what `triton.jit` made of a function at the top of a file, interpreted or not: the compiling process
    loads that file anew. `signature` has Triton's type of each argument that is passed at a launch ("*fp32", "i64",
    "fp32"), `constants` the values of all others, constexpr or not (a pointer that is absent is None; an integer
    that is 1 is a constant at a launch too). `aligned` names the arguments that are divisible by 16.
    """

    fn: Any
    signature: Mapping[str, str]
    constants: Mapping[str, object] = field(default_factory=dict)
    aligned: frozenset[str] = frozenset()
    warps: int = 4
    stages: int = 2

    @property
    def name(self) -> str:
        """The name of the function."""
        return str(_python(self.fn).__name__)

    @property
    def path(self) -> Path:
        """The file that the function is written in."""
        return Path(_python(self.fn).__code__.co_filename).absolute()


def compile_for(kernel: Kernel, target: str) -> Binary:
    """Compile a kernel for a target such as `sm_90` or `gfx942`. Raises `CompileError`."""
    return _compilers(_settings()).compile(kernel, target)


def compile_all(
    kernels: Mapping[Name, Kernel], targets: Iterable[str] = TARGETS, workers: int | None = None
) -> dict[tuple[Name, str], Binary]:
    """Compile every kernel for every target, `workers` at once (default: as many as there are processors).

    The results are under `(name, target)`, in the order of the arguments. Raises one `CompileError`, or an
    `ExceptionGroup` of them if several kernels failed, after all others were compiled.
    """
    jobs = [(name, kernel, target) for name, kernel in kernels.items() for target in targets]
    count = max(1, min(workers or len(os.sched_getaffinity(0)), len(jobs)))
    compilers = _compilers(_settings())
    failed: list[CompileError] = []
    done: dict[tuple[Name, str], Binary] = {}
    with ThreadPoolExecutor(count) as pool:
        waiting = [(name, target, pool.submit(compilers.compile, kernel, target)) for name, kernel, target in jobs]
        for name, target, result in waiting:
            try:
                done[name, target] = result.result()
            except CompileError as problem:
                failed.append(problem)
    if len(failed) > 1:
        raise ExceptionGroup(f"{len(failed)} kernels do not compile", failed)
    if failed:
        raise failed[0]
    return done


# The processes that compile.


class _Compiler:
    """One process that compiles what it is sent, one job after another."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from {serve.__module__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={**environment, "PYTHONPATH": os.pathsep.join(p or str(Path.cwd()) for p in sys.path)},
        )

    def compile(self, job: bytes) -> Binary | str:
        """The kernel of a pickled `Job`, compiled, or what the compiler said when it failed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.log.seek(0, os.SEEK_END)
        start = self.log.tell()
        try:
            self.process.stdin.write(job)
            self.process.stdin.flush()
            answer: Binary | str = pickle.load(self.process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            answer = f"the compiler ended with status {self.process.wait()}"
        if isinstance(answer, str):
            self.log.seek(start)
            said = self.log.read().decode("utf-8", "replace").strip()
            answer = "\n".join(part for part in (answer.strip(), said[-_TAIL:]) if part)
        return answer

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        self.log.close()


class _Compilers:
    """Compiling processes: as many as threads ask for at once, and kept for the next."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.idle: list[_Compiler] = []
        atexit.register(self.close)

    def compile(self, kernel: Kernel, target: str) -> Binary:
        """Compile with a process that is free, or a new one. Threads may call this together."""
        job = _job(kernel, target)
        try:
            compiler = self.idle.pop()
        except IndexError:
            compiler = _Compiler(self.environment)
        answer = compiler.compile(job)
        if compiler.process.poll() is None:
            self.idle.append(compiler)
        else:
            compiler.close()
        if isinstance(answer, str):
            raise CompileError(kernel.name, target, answer)
        return answer

    def close(self) -> None:
        """End the processes."""
        while self.idle:
            self.idle.pop().close()


@cache
def _compilers(settings: tuple[tuple[str, str], ...]) -> _Compilers:
    """The processes for one setting of the variables that Triton reads."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("TRITON_")}
    return _Compilers({**others, **dict(settings)})


def _settings() -> tuple[tuple[str, str], ...]:
    """The variables that Triton reads, without the one that makes it interpret."""
    kept = (n for n in os.environ if n.startswith("TRITON_") and n != "TRITON_INTERPRET")
    return tuple((name, os.environ[name]) for name in sorted(kept))


def _python(fn: Any) -> Any:
    """The Python function that `triton.jit`, and what may be around it, was given."""
    while not inspect.isfunction(fn):
        fn = fn.fn
    return fn


def _job(kernel: Kernel, target: str) -> bytes:
    """The `Job` of compiling a kernel, pickled; raises `CompileError` if the description does not fit the function."""
    function = _python(kernel.fn)
    names = list(inspect.signature(function).parameters)
    if "<locals>" in function.__qualname__:
        raise CompileError(kernel.name, target, f"{function.__qualname__} is not at the top of its file")
    for name in names:
        if (name in kernel.signature) == (name in kernel.constants):
            raise CompileError(
                kernel.name, target, f"the argument {name} must be in either the signature or the constants"
            )
    if unknown := {*kernel.signature, *kernel.constants, *kernel.aligned} - {*names}:
        raise CompileError(kernel.name, target, f"no arguments of the kernel: {', '.join(sorted(unknown))}")
    job = Job(
        path=str(kernel.path),
        function=kernel.name,
        signature={name: kernel.signature.get(name, "constexpr") for name in names},
        constants=dict(kernel.constants),
        aligned=kernel.aligned,
        warps=kernel.warps,
        stages=kernel.stages,
        target=target,
    )
    try:
        return pickle.dumps(job)
    except (pickle.PicklingError, AttributeError, TypeError) as problem:
        raise CompileError(kernel.name, target, f"a constant cannot be sent to a process: {problem}") from problem
