"""What GPUs have of the resources that kernels use, and how many programs run at once because of it.

A **program** is one block of threads (Triton's `program_id`), a **processor** what runs several of them side by
side (NVIDIA: streaming multiprocessor; AMD: compute unit), a **warp** the threads that share one instruction (AMD:
wavefront). The figures are those of the vendors' documents, named with each device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

KIB = 1024


@dataclass(frozen=True)
class Device:
    """One model of GPU: what a processor has, and how many processors there are.

    Registers have 32 bits and are counted for the whole processor, `granule` of them at a time for a warp. `shared`
    is bytes of a processor's shared memory, of which every program also takes `reserved`; one program may ask for
    `shared_per_program`. `bandwidth` is the memory's, in bytes per second. `source` says which documents this is from.
    """

    name: str
    arch: str
    processors: int
    bandwidth: float
    registers: int
    registers_per_thread: int
    granule: int
    shared: int
    shared_per_program: int
    shared_granule: int
    reserved: int
    warp_size: int
    warps: int
    programs: int
    source: str
    #: Parts of a processor that each hold a quarter of the registers, and warps whole.
    partitions: int = 4


def _nvidia(
    name: str,
    arch: str,
    processors: int,
    bandwidth: float,
    *,
    shared: int,
    warps: int = 64,
    programs: int = 32,
    source: str,
) -> Device:
    """A GPU of compute capability 8.0 or above: what all of those have in common, and what is told apart."""
    return Device(
        name=name,
        arch=arch,
        processors=processors,
        bandwidth=bandwidth,
        registers=65536,
        registers_per_thread=255,
        granule=256,
        shared=shared * KIB,
        shared_per_program=(shared - 1) * KIB,
        shared_granule=128,
        reserved=KIB,
        warp_size=32,
        warps=warps,
        programs=programs,
        source=f"CUDA C++ Programming Guide, technical specifications per compute capability; {source}",
    )


#: The devices by the name of their architecture: one, usual, model for each.
DEVICES: Mapping[str, Device] = MappingProxyType(
    {
        device.arch: device
        for device in (
            _nvidia(
                "A100 80GB",
                "sm_80",
                108,
                2.039e12,
                shared=164,
                source="NVIDIA A100 Tensor Core GPU data sheet (SXM); NVIDIA A100 architecture whitepaper",
            ),
            _nvidia(
                "L40S",
                "sm_89",
                142,
                864e9,
                shared=100,
                warps=48,
                programs=24,
                source="NVIDIA L40S data sheet; NVIDIA Ada GPU architecture whitepaper",
            ),
            _nvidia(
                "H100",
                "sm_90",
                132,
                3.35e12,
                shared=228,
                source="NVIDIA H100 data sheet (SXM); NVIDIA H100 architecture whitepaper",
            ),
            _nvidia(
                "B200",
                "sm_100",
                148,
                8e12,
                shared=228,
                source="NVIDIA Blackwell tuning guide; NVIDIA DGX B200 data sheet; its processors as CUDA tells them",
            ),
            Device(
                name="MI300X",
                arch="gfx942",
                processors=304,
                bandwidth=5.3e12,
                registers=131072,
                registers_per_thread=512,
                granule=8 * 64,
                shared=64 * KIB,
                shared_per_program=64 * KIB,
                shared_granule=512,
                reserved=0,
                warp_size=64,
                warps=32,
                programs=32,
                source="AMD Instinct MI300X data sheet; ROCm documentation, hardware specifications; "
                "AMD Instinct MI300 instruction set architecture; LLVM user guide for the AMDGPU backend",
            ),
        )
    }
)


def occupancy(device: Device, registers: int, warps: int, shared: int) -> int:
    """How many programs one processor holds at once; 0 if not even one fits.

    `registers` are those of a thread, `warps` those of a program, `shared` the bytes that a program asks for. The
    least of what registers, warps, shared memory and the places for programs allow:

        min(partitions floor(R / (partitions ceil(r w))) / warps,  W / warps,  S / ceil(shared + reserved),  P)

    with R registers on a processor, r on a thread, w threads in a warp, and W warps, S bytes and P places there.
    """
    if warps < 1 or registers < 0 or shared < 0:
        raise ValueError(f"a program has warps and no negative resources: {registers=}, {warps=}, {shared=}")
    if registers > device.registers_per_thread or shared > device.shared_per_program:
        return 0
    held = device.warps
    if registers:
        each = _ceil(registers * device.warp_size, device.granule)
        held = min(held, device.partitions * (device.registers // device.partitions // each))
    bounds = [held // warps, device.programs]
    if taken := _ceil(shared + device.reserved, device.shared_granule):
        bounds.append(device.shared // taken)
    return min(bounds)


def fill(device: Device, programs: int, per_processor: int) -> float:
    """The part of the device that `programs` programs keep busy, averaged over the waves they run in: 0 to 1.

        programs / (places * ceil(programs / places)),  places = processors * per_processor

    A last wave that is nearly empty costs as much time as a full one, which is what the mean shows.
    """
    if programs < 0 or per_processor < 0:
        raise ValueError(f"a number of programs is not negative: {programs=}, {per_processor=}")
    places = device.processors * per_processor
    if not programs or not places:
        return 0.0
    return programs / _ceil(programs, places)


def _ceil(value: int, multiple: int) -> int:
    """The least multiple that is no smaller than the value."""
    return -(-value // multiple) * multiple
