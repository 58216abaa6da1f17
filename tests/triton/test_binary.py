"""Kernels are compiled for GPUs that are not there, and their resources read from the binaries."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from recc.backends.triton_gpu.binary import (
    FP_FUSION,
    TARGETS,
    Binary,
    CompileError,
    Kernel,
    Resources,
    compile_all,
    compile_for,
    launch_options,
    load_for_compiling,
)
from recc.backends.triton_gpu.device import DEVICES
from tests.triton.resources import Names

ROOT = Path(__file__).resolve().parents[2]

TEXT = '''"""Small kernels of each kind."""

import triton
import triton.language as tl


@triton.jit
def add(x, y, out, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    tl.store(out + i, tl.load(x + i, inside) + tl.load(y + i, inside), inside)


@triton.jit
def products(q, k, out, first, steps, C: tl.constexpr, K: tl.constexpr, V: tl.constexpr):
    c, i, j = tl.arange(0, C), tl.arange(0, K), tl.arange(0, V)
    state = tl.zeros((K, V), tl.float32)
    if first is not None:
        state += tl.load(first + i[:, None] * V + j[None, :])
    for t in range(steps):
        a = tl.load(q + (t * C + c)[:, None] * K + i[None, :])
        b = tl.load(k + (t * C + c)[:, None] * V + j[None, :])
        state = tl.dot(tl.trans(a), b, state)
    tl.store(out + i[:, None] * V + j[None, :], state)


@triton.jit
def compose(a, b, c, d):
    return a * c, c * b + d


@triton.jit
def scan(a, b, out, C: tl.constexpr, D: tl.constexpr):
    at = tl.arange(0, C)[:, None] * D + tl.arange(0, D)[None, :]
    decay, h = tl.associative_scan((tl.load(a + at), tl.load(b + at)), 0, compose)
    tl.store(out + at, h + tl.sum(decay))


@triton.jit
def wrong(x, BLOCK: tl.constexpr):
    tl.store(x + tl.arange(0, BLOCK), nothing_of_this_name)


@triton.jit
def kinds(x, KIND: tl.constexpr):
    tl.store(x + tl.arange(0, 16), tl.zeros((16,), KIND))
'''


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("kernels") / "small.py"
    file.write_text(TEXT, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def kernels(path: Path) -> dict[Names, Kernel]:
    module = load_for_compiling(path)
    three = dict.fromkeys(("a", "b", "out"))
    small = {"C": 64, "K": 64, "V": 64, "first": None}
    dots = {"k": "*bf16", "out": "*fp32", "steps": "i32"}
    aligned = frozenset(("q", "k", "out"))
    return {
        ("small", "map", "add"): Kernel(
            module.add,
            {**dict.fromkeys(("x", "y", "out"), "*fp32"), "n": "i64"},
            {"BLOCK": 1024},
            frozenset(("x", "y", "out", "n")),
        ),
        ("small", "loop", "dot"): Kernel(module.products, {"q": "*bf16", **dots}, small, aligned),
        ("small", "scan", "fp32"): Kernel(module.scan, dict.fromkeys(three, "*fp32"), {"C": 64, "D": 32}),
        ("small", "scan", "fp64"): Kernel(module.scan, dict.fromkeys(three, "*fp64"), {"C": 64, "D": 32}),
    }


@pytest.fixture(scope="module")
def binaries(kernels: dict[Names, Kernel]) -> dict[tuple[Names, str], Binary]:
    return compile_all(kernels)


def resources(binaries: dict[tuple[Names, str], Binary], kernel: str, target: str) -> Resources:
    (found,) = (b for (names, to), b in binaries.items() if names[2] == kernel and to == target)
    return found.resources


@pytest.mark.parametrize("target", TARGETS)
def test_what_kernels_take(binaries: dict[tuple[Names, str], Binary], target: str) -> None:
    add, dot = (resources(binaries, name, target) for name in ("add", "dot"))
    assert (add.spills, add.shared, add.warps) == (0, 0, 4)
    assert 8 <= add.registers <= 64
    assert 500 < add.code < dot.code
    assert dot.spills == 0
    assert dot.shared >= 64 * 64 * 2, "a tile of products goes through shared memory"


@pytest.mark.parametrize("target", TARGETS)
def test_spills(kernels: dict[Names, Kernel], target: str) -> None:
    """One warp cannot hold these tiles. How many registers it then has is the compiler's affair: 64 is common."""
    if target == "gfx942":
        tiles = {"C": 16, "K": 128, "V": 128, "first": None}
        types = {**dict.fromkeys(("q", "k", "out"), "*fp32"), "steps": "i32"}
        kernel = Kernel(kernels["small", "loop", "dot"].fn, types, tiles, warps=1)
    else:
        kernel = replace(kernels["small", "scan", "fp64"], constants={"C": 64, "D": 64}, warps=1)
    taken = compile_for(kernel, target).resources
    assert taken.spills > 0
    assert 32 <= taken.registers <= DEVICES[target].registers_per_thread
    assert taken.warps == 1


@pytest.mark.parametrize("target", ("sm_80", "sm_90"))
def test_what_is_known_of_arguments_counts(kernels: dict[Names, Kernel], target: str) -> None:
    """Four numbers are loaded at once if the pointers are aligned and the end is at a multiple as well."""
    known = kernels["small", "map", "add"]
    loads = compile_for(known, target).assembly.count("ld.global.v4")
    assert loads > 0
    for name in ("x", "n"):
        less = compile_for(replace(known, aligned=known.aligned - {name}), target).assembly
        assert less.count("ld.global.v4") < loads


@pytest.mark.parametrize("target", TARGETS)
def test_doubles_take_twice_the_registers(binaries: dict[tuple[Names, str], Binary], target: str) -> None:
    single, double = (resources(binaries, f"fp{bits}", target) for bits in (32, 64))
    assert double.registers > 1.3 * single.registers
    assert double.shared == 2 * single.shared


def test_assembly(binaries: dict[tuple[Names, str], Binary]) -> None:
    for target, instruction in (("sm_80", "mma.sync"), ("sm_90", "wgmma"), ("gfx942", "v_mfma")):
        assert instruction in binaries[("small", "loop", "dot"), target].assembly


def test_occupancy_agrees_with_the_compiler(binaries: dict[tuple[Names, str], Binary]) -> None:
    """AMD's compiler writes its own figure, of warps on a quarter of a processor, without the shared memory."""
    device = DEVICES["gfx942"]
    for (_, target), binary in binaries.items():
        if target == "gfx942":
            told = int(binary.assembly.split("; Occupancy: ")[1].split()[0])
            taken = binary.resources
            alone = Resources(taken.registers, taken.spills, 0, taken.code, 4)
            assert alone.programs_per_processor(device) == told


def test_newer_and_older_targets(kernels: dict[Names, Kernel]) -> None:
    for target in ("sm_89", "sm_100"):
        binary = compile_for(kernels["small", "loop", "dot"], target)
        assert binary.target == target
        assert 0 < binary.resources.programs_per_processor(DEVICES[target]) <= 16


def test_compiled_again_from_the_cache(kernels: dict[Names, Kernel], binaries: dict[object, Binary]) -> None:
    start = time.perf_counter()
    again = compile_all(kernels)
    assert again == binaries
    assert time.perf_counter() - start < 5


def test_fusion_is_what_the_constant_says(kernels: dict[Names, Kernel]) -> None:
    assert launch_options(8, 3) == {"num_warps": 8, "num_stages": 3, "enable_fp_fusion": FP_FUSION}
    assert ("fma.rn.f32" in compile_for(kernels["small", "scan", "fp32"], "sm_80").assembly) is FP_FUSION


@pytest.mark.parametrize("target", TARGETS)
def test_a_kernel_that_does_not_compile(path: Path, target: str) -> None:
    kernel = Kernel(load_for_compiling(path).wrong, {"x": "*fp32"}, {"BLOCK": 16})
    with pytest.raises(CompileError, match="nothing_of_this_name") as caught:
        compile_for(kernel, target)
    assert (caught.value.kernel, caught.value.target) == ("wrong", target)
    assert str(caught.value).startswith(f"kernel wrong does not compile for {target}:")


def test_all_failures_are_told(path: Path, kernels: dict[Names, Kernel]) -> None:
    wrong = Kernel(load_for_compiling(path).wrong, {"x": "*fp32"}, {"BLOCK": 16})
    with pytest.raises(ExceptionGroup) as caught:
        compile_all({"right": kernels["small", "map", "add"], "wrong": wrong}, ("sm_80", "gfx942"))
    assert caught.group_contains(CompileError, match="sm_80")
    assert caught.group_contains(CompileError, match="gfx942")


def test_a_target_that_is_none(kernels: dict[Names, Kernel]) -> None:
    """A compiler that aborts ends its own process only, and the next kernel gets another."""
    kernel = kernels["small", "map", "add"]
    for target in ("sm_1", "gfx1"):
        with pytest.raises(CompileError, match=target):
            compile_for(kernel, target)
    assert compile_for(kernel, "sm_80").resources.registers > 0


def test_arguments_must_fit(path: Path) -> None:
    add = load_for_compiling(path).add
    pointers = dict.fromkeys(("x", "y", "out"), "*fp32")
    for signature, constants, message in (
        (pointers, {"BLOCK": 64}, "the argument n must be"),
        ({**pointers, "n": "i64"}, {"BLOCK": 64, "n": 1}, "the argument n must be"),
        ({**pointers, "n": "i64", "z": "i64"}, {"BLOCK": 64}, "no arguments of the kernel: z"),
        ({**pointers, "n": "i64"}, {"BLOCK": lambda: 1}, "cannot be sent"),
    ):
        with pytest.raises(CompileError, match=message):
            compile_for(Kernel(add, signature, constants), "sm_80")


def test_a_constant_may_be_a_dtype(path: Path) -> None:
    import triton.language as tl

    kinds = load_for_compiling(path).kinds
    for kind, name in ((tl.float32, "*fp32"), (tl.float64, "*fp64")):
        assert compile_for(Kernel(kinds, {"x": name}, {"KIND": kind}), "sm_80").name == "kinds"


def test_a_changed_file_is_compiled_anew(tmp_path: Path) -> None:
    file = tmp_path / "changed.py"
    registers = []
    for shape in (16, 4096):
        file.write_text(TEXT.replace("tl.arange(0, 16)", f"tl.arange(0, {shape})").replace("(16,)", f"({shape},)"))
        import triton.language as tl

        kernel = Kernel(load_for_compiling(file).kinds, {"x": "*fp32"}, {"KIND": tl.float32})
        registers.append(compile_for(kernel, "gfx942").resources.code)
    assert registers[0] < registers[1]


@pytest.mark.parametrize("interpret", ["0", "1"])
def test_both_kinds_live_in_one_process(path: Path, interpret: str) -> None:
    """Interpreted and compiled kernels side by side, with functions of Triton's library in the compiled one."""
    code = f"""
import importlib.util, sys
from recc.backends.triton_gpu import binary
assert "triton" not in sys.modules and "torch" not in sys.modules
spec = importlib.util.spec_from_file_location("small", {str(path)!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
other = binary.load_for_compiling({str(path)!r})
import triton
assert type(other.scan) is triton.JITFunction
assert (type(module.scan) is triton.JITFunction) is ({interpret} == 0)
assert triton.knobs.runtime.interpret is ({interpret} == 1)
types = dict.fromkeys(("a", "b", "out"), "*fp32")
both = [binary.compile_for(binary.Kernel(m.scan, types, dict(C=64, D=32)), "sm_90") for m in (module, other)]
assert both[0] == both[1] and both[0].resources.registers > 16
"""
    environment = {**os.environ, "TRITON_INTERPRET": interpret, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_module_is_not_entered(path: Path) -> None:
    before = set(sys.modules)
    module = load_for_compiling(path)
    assert isinstance(module, ModuleType)
    assert module.__name__ not in set(sys.modules) - before
