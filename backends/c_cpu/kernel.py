"""From the sequential form to one C file: a forward or a backward kernel.

A kernel runs **items**, one sequence of one batch element each, and shares nothing between them, so the
bits of an item do not depend on its neighbours or on the number of threads. It takes a table of arrays
(`ArraySpec`), each with an offset per item and a stride per step, so that strides, broadcasting and
packed sequences are all the caller's arithmetic and none of the kernel's.
"""

from __future__ import annotations

from typing import Literal

from recc.backends.c_cpu.backward import BackwardPass
from recc.backends.c_cpu.forward import ForwardPass
from recc.backends.c_cpu.spec import ArraySpec, Kernel, Specialisation
from recc.backends.c_cpu.writer import KernelWriter


def emit(spec: Specialisation, direction: Literal["forward", "backward"]) -> Kernel:
    """The kernel of one direction. The same specialisation always gives the same text."""
    writer = KernelWriter(spec, direction)
    numbers = range(len(spec.form.passes))
    for number in numbers if direction == "forward" else reversed(numbers):
        (ForwardPass if direction == "forward" else BackwardPass)(writer, number).write()
    return Kernel(writer.text(), tuple(writer.arrays.values()), max(1, writer.used))


__all__ = ["ArraySpec", "Kernel", "Specialisation", "emit"]
