"""How many programs a processor of a GPU holds, and how much of a GPU a number of programs keeps busy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recc.backends.triton_gpu.device import DEVICES, Device, fill, occupancy

A100, L40S, H100, MI300X = (DEVICES[name] for name in ("sm_80", "sm_89", "sm_90", "gfx942"))
KIB = 1024


@pytest.mark.parametrize(
    ("device", "registers", "warps", "shared", "programs"),
    [
        (A100, 32, 4, 0, 16),  # all 64 warps
        (A100, 33, 4, 0, 12),  # 40 registers for each thread: 12 warps a quarter
        (A100, 64, 4, 0, 8),
        (A100, 128, 4, 0, 4),
        (A100, 255, 4, 0, 2),
        (A100, 255, 8, 0, 1),
        (A100, 255, 16, 0, 0),  # 16 warps of 256 registers are twice what there is
        (A100, 32, 1, 0, 32),  # places for programs
        (A100, 32, 4, 163 * KIB, 1),
        (A100, 32, 4, 163 * KIB + 1, 0),
        (A100, 32, 4, 81 * KIB, 2),
        (A100, 32, 4, 81 * KIB + 1, 1),  # each program also takes one KiB of the system's
        (A100, 256, 4, 0, 0),
        (L40S, 32, 4, 0, 12),
        (L40S, 32, 1, 0, 24),
        (L40S, 32, 4, 99 * KIB, 1),
        (H100, 32, 4, 227 * KIB, 1),
        (H100, 168, 12, 0, 1),  # 3 warps of 5376 registers in each quarter
        (H100, 64, 4, 56 * KIB, 4),
        (MI300X, 64, 4, 0, 8),  # 8 waves on each of 4 SIMDs
        (MI300X, 65, 4, 0, 7),
        (MI300X, 128, 4, 0, 4),
        (MI300X, 512, 4, 0, 1),
        (MI300X, 512, 8, 0, 0),
        (MI300X, 64, 4, 64 * KIB, 1),
        (MI300X, 64, 4, 32 * KIB + 1, 1),
        (MI300X, 64, 4, 64 * KIB + 1, 0),
    ],
)
def test_occupancy(device: Device, registers: int, warps: int, shared: int, programs: int) -> None:
    assert occupancy(device, registers, warps, shared) == programs


@settings(suppress_health_check=[HealthCheck.too_slow])  # on a machine with other things to do the first draws are
@given(
    device=st.sampled_from([*DEVICES.values()]),
    registers=st.integers(0, 512),
    warps=st.sampled_from([1, 2, 4, 8, 16, 32]),
    shared=st.integers(0, 250 * KIB),
)
def test_nothing_is_used_twice(device: Device, registers: int, warps: int, shared: int) -> None:
    count = occupancy(device, registers, warps, shared)
    assert 0 <= count <= device.programs
    assert count * warps <= device.warps
    assert count * warps * registers * device.warp_size <= device.registers
    assert count * (shared + device.reserved) <= device.shared or not count
    assert occupancy(device, registers + 8, warps, shared) <= count
    assert occupancy(device, registers, 2 * warps, shared) <= count
    assert occupancy(device, registers, warps, shared + KIB) <= count


def test_fill() -> None:
    assert fill(H100, 132, 1) == 1
    assert fill(H100, 66, 1) == 0.5
    assert fill(H100, 133, 1) == 133 / 264
    assert fill(H100, 133, 2) == 133 / 264
    assert fill(H100, 264, 2) == 1
    assert fill(H100, 0, 1) == fill(H100, 132, 0) == 0


@given(st.sampled_from([*DEVICES.values()]), st.integers(1, 10**6), st.integers(1, 32))
def test_fill_is_a_part(device: Device, programs: int, per_processor: int) -> None:
    places = device.processors * per_processor
    assert 0 < fill(device, programs, per_processor) <= 1
    assert fill(device, places * programs, per_processor) == 1
    if programs > places:
        assert fill(device, programs, per_processor) > 0.5


def test_what_makes_no_sense() -> None:
    for arguments in ((32, 0, 0), (-1, 4, 0), (32, 4, -1)):
        with pytest.raises(ValueError, match="a program has warps"):
            occupancy(A100, *arguments)
    with pytest.raises(ValueError, match="not negative"):
        fill(A100, -1, 1)


def test_table() -> None:
    for arch, device in DEVICES.items():
        assert device.arch == arch
        assert "data sheet" in device.source
        assert device.registers % (device.partitions * device.granule) == 0
        assert device.shared_per_program + device.reserved == device.shared
        assert device.warps * device.warp_size in (1536, 2048)
        assert 1e11 < device.bandwidth < 1e13


def test_needs_no_triton() -> None:
    code = "import sys, recc.backends.triton_gpu.device; print([m for m in ('torch', 'triton') if m in sys.modules])"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
