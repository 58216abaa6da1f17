"""What a device can do, in a few numbers: all that the cost model knows of it.

The numbers are coarse on purpose. They decide between algorithms whose costs differ by factors, and are right
if they are right within a factor of two: `python -m recc.bench.calibrate` measures those of the machine
at hand and prints them beside these.
"""

from __future__ import annotations

from dataclasses import dataclass

from recc.errors import UsageError

_KIB, _MIB, _GIB = 1 << 10, 1 << 20, 1 << 30


@dataclass(frozen=True)
class Device:
    """A device, by what limits an operation on it.

    Args:
        name: the type of torch's devices.
        products: multiply-adds a second in products of large matrices.
        matrix: seconds that each matrix of a batch of products takes beside its multiply-adds.
        solves: multiply-adds a second in substitutions of triangular systems.
        scalars: additions a second, elementwise, of arrays in the caches.
        transforms: elements a second of a Fourier transform, for each doubling of its length.
        bandwidth: bytes a second, read or written.
        large: bytes of intermediates that are there from the run before; more come as new pages of memory.
        fresh: bytes a second that new pages of memory take.
        thin: rows, columns or terms from which on a product of matrices runs at its full rate.
        launch: seconds that an operation takes to start.
        launch_back: the same for its derivative.
        call: seconds of one run of an emitted function, beside its operations.
        memory: bytes that intermediates may take.
        wide: elements of a step from which on a scan runs one operation for it alone.
        kernel: elementwise operations a second of a compiled loop over steps, on one core.
        loop: seconds that each operation of a compiled step takes beside its elements.
        start: seconds of a call, whatever it computes; several times as much for gradients of compiled loops.
        cores: how many there are for compiled loops.
    """

    name: str
    products: float
    matrix: float
    solves: float
    scalars: float
    transforms: float
    bandwidth: float
    large: int
    fresh: float
    thin: int
    launch: float
    launch_back: float
    call: float
    memory: int
    wide: int
    kernel: float
    loop: float
    start: float
    cores: int


#: Measured coarsely on two cores with 256-bit vectors; public figures of a data-centre GPU of 2020.
DEVICES = {
    "cpu": Device(
        name="cpu", products=8e10, matrix=1e-7, solves=1.5e10, scalars=1e10, transforms=4e9, bandwidth=3e10,
        large=16 * _MIB, fresh=5e9, thin=16, launch=2.2e-6, launch_back=4.5e-6, call=7e-6, memory=4 * _GIB,
        wide=1 << 12, kernel=2.5e10, loop=2e-9, start=1.5e-4, cores=2,
    ),
    "cuda": Device(
        name="cuda", products=8e12, matrix=1e-9, solves=2e11, scalars=5e12, transforms=5e11, bandwidth=1.3e12,
        large=1 << 60, fresh=1.3e12, thin=32, launch=8e-6, launch_back=1e-5, call=1.5e-5, memory=32 * _GIB,
        wide=1 << 20, kernel=0.0, loop=0.0, start=1.5e-4, cores=0,
    ),
}  # fmt: skip


def device_named(name: str) -> Device:
    """The device of a name; `cuda:1` is `cuda`. Raises `UsageError` for one that has no numbers."""
    found = DEVICES.get(name.partition(":")[0])
    if found is None:
        raise UsageError("device", f"one of {', '.join(DEVICES)}", repr(name))
    return found


__all__ = ["DEVICES", "Device", "device_named"]
