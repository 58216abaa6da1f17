"""Compiles one kernel after another in a process of its own, and reads the binaries.

`recc.backends.triton_gpu.binary` starts these processes and says why they are wanted.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import re
import struct
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from recc.backends.triton_gpu.device import Device, occupancy

#: Whether a product and a sum may become one instruction with one rounding. Always given to the compiler, because
#: its own choice is not the same in all versions of Triton.
FP_FUSION = True


def launch_options(warps: int, stages: int) -> dict[str, int | bool]:
    """The options of a launch, the same as those that `compile_for` compiles with.

    `kernel[grid](*arguments, **launch_options(warps, stages))`: a launch takes the compiler's options as keywords,
    and Triton's interpreter ignores them.
    """
    return {"num_warps": warps, "num_stages": stages, "enable_fp_fusion": FP_FUSION}


@dataclass(frozen=True)
class Resources:
    """What one program of a kernel takes, read from the binary.

    `registers` are 32-bit ones of a thread (on AMD vector registers, accumulation ones included). `spills` is bytes
    of a thread that live in memory because they found no register. `shared` is bytes of shared memory of a program,
    `code` bytes of instructions, `warps` the warps of a program.
    """

    registers: int
    spills: int
    shared: int
    code: int
    warps: int

    def programs_per_processor(self, device: Device) -> int:
        """How many programs one processor of a device holds at once."""
        return occupancy(device, self.registers, self.warps, self.shared)


@dataclass(frozen=True)
class Binary:
    """A compiled kernel: its resources, and its assembly (PTX, or AMD's) to look for instructions in."""

    name: str
    target: str
    resources: Resources
    assembly: str


@dataclass(frozen=True)
class Job:
    """What is sent to a compiling process: a `Kernel` whose function is named by its file."""

    path: str
    function: str
    signature: Mapping[str, str]
    constants: Mapping[str, object]
    aligned: frozenset[str]
    warps: int
    stages: int
    target: str


def load_for_compiling(path: Path | str) -> ModuleType:
    """Load an emitted module with its kernels ready to be compiled, also where kernels are interpreted.

    The module is a new one each time, and is not entered in `sys.modules`.
    """
    import triton

    path = Path(path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python module", path=str(path))
    module = importlib.util.module_from_spec(spec)
    with triton.knobs.runtime.scope():
        triton.knobs.runtime.interpret = False
        spec.loader.exec_module(module)
    return module


def serve() -> None:
    """Read jobs from the standard input and answer each on the standard output, until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # compilers print: the answers' pipe is not for them
    jobs: BinaryIO = sys.stdin.buffer
    while True:
        try:
            job: Job = pickle.load(jobs)
        except EOFError:
            return
        answer: Binary | str
        try:
            answer = _compile(job)
        except Exception as problem:  # noqa: BLE001 - whatever a compiler raises is the answer
            answer = f"{type(problem).__name__}: {problem}"
        pickle.dump(answer, answers)
        answers.flush()


def _compile(job: Job) -> Binary:
    """Compile a job with Triton, in this process."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    stat = Path(job.path).stat()
    fn = getattr(_module(job.path, stat.st_mtime_ns, stat.st_size), job.function)
    source = ASTSource(
        fn=fn,
        signature=dict(job.signature),
        constexprs=dict(job.constants),
        attrs={(fn.arg_names.index(name),): [["tt.divisibility", 16]] for name in sorted(job.aligned)},
    )
    vendor, arch, warp = ("cuda", int(job.target[3:]), 32) if job.target[:3] == "sm_" else ("hip", job.target, 64)
    done = triton.compile(source, target=GPUTarget(vendor, arch, warp), options=launch_options(job.warps, job.stages))
    read = _read_cubin if vendor == "cuda" else _read_hsaco
    return Binary(job.function, job.target, read(done), done.asm["ptx" if vendor == "cuda" else "amdgcn"])


@cache
def _module(path: str, changed: int, size: int) -> ModuleType:
    """The module of a file as it stands; `changed` and `size` tell one state of the file from another."""
    del changed, size
    return load_for_compiling(path)


def _read_cubin(done: Any) -> Resources:
    """The resources of a kernel for NVIDIA's GPUs, as `cuobjdump`, which comes with Triton, tells them.

    Shared memory is what Triton asks for at a launch: none is in the binary but what the system reserves.
    """
    import triton

    path = next(path for name, path in done.metadata_group.items() if name.endswith(".cubin"))
    command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", path]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    usage = re.search(rf"Function {re.escape(done.name)}:\s*(.*)", said)
    if usage is None:
        raise ValueError(f"cuobjdump does not tell the resources of {done.name}:\n{said}")
    figures = {name: int(value) for name, value in re.findall(r"(\w+):(\d+)", usage[1])}
    return Resources(
        registers=figures["REG"],
        spills=figures["STACK"] + figures["LOCAL"],
        shared=done.metadata.shared,
        code=_code_size(done.asm["cubin"]),
        warps=done.metadata.num_warps,
    )


def _read_hsaco(done: Any) -> Resources:
    """The resources of a kernel for AMD's GPUs, from the metadata at the end of its assembly.

    A register that spills may find a place in an accumulation register; only what went to memory is counted.
    """

    def figure(name: str) -> int:
        found = re.search(rf"^\s*(?:- )?\.{name}:\s*(\d+)\s*$", done.asm["amdgcn"], re.MULTILINE)
        if found is None:
            raise ValueError(f"the assembly of {done.name} does not tell its {name}")
        return int(found[1])

    return Resources(
        registers=figure("vgpr_count"),
        spills=figure("private_segment_fixed_size"),
        shared=max(done.metadata.shared, figure("group_segment_fixed_size")),
        code=_code_size(done.asm["hsaco"]),
        warps=done.metadata.num_warps,
    )


def _code_size(binary: bytes) -> int:
    """The bytes of instructions in an ELF file of 64 bits, both vendors' format: those of its sections `.text*`."""
    if binary[:5] != b"\x7fELF\x02":
        raise ValueError("not an ELF file of 64 bits")
    (offset,) = struct.unpack_from("<Q", binary, 40)
    size, count, names = struct.unpack_from("<HHH", binary, 58)
    sections = [struct.unpack_from("<IIQQQQ", binary, offset + size * number) for number in range(count)]
    strings = sections[names][4]
    return sum(
        length for name, _, _, _, _, length in sections if binary[strings + name : strings + name + 5] == b".text"
    )
