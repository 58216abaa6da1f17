"""What the sequential form is made of: ports, carries, passes.

See `recc.forms.sequential` for the law and for how a program becomes passes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from recc.forms.block import Block, BlockDtype
from recc.forms.linear import bound_axes
from recc.forms.vjp import vjp
from recc.layout import LANE
from recc.recurrence import Recurrence

Role = Literal["argument", "carry", "kept", "prologue", "clock", "output", "map"]


def part_name(name: str, pair: bool, part: int) -> str:
    """The name of a part of a tensor: its own, or for complex numbers NAME_re and NAME_im."""
    return f"{name}_{('re', 'im')[part]}" if pair else name


@dataclass(frozen=True)
class Port:
    """One real tensor that enters or leaves a Block, and what it is outside.

    `value` is the Block's own name for it; `name` and `part` say which tensor of the program it is
    (`part` is 0 for the real and 1 for the imaginary part, `complex` whether there are two).
    `axes` are in memory order. `lags` are not empty where, over several scan axes, the tensor of another
    step is read; `starts` then says from which end along each the tensor is computed.
    """

    value: str
    role: Role
    name: str
    axes: tuple[str, ...]
    dtype: BlockDtype = "real"
    complex: bool = False
    part: int = 0
    lags: tuple[int, ...] = ()
    starts: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """The name of this part of the tensor."""
        return part_name(self.name, self.complex, self.part)


@dataclass(frozen=True)
class Carry:
    """What a loop hands from one step to the next: `symbol` as it was `depth` steps before.

    `slot` says whether the caller sees it as part of the state.
    """

    name: str
    symbol: str
    depth: int
    axes: tuple[str, ...]
    complex: bool
    slot: bool

    def label(self, part: int) -> str:
        """The name of one of its parts."""
        return part_name(self.name, self.complex, part)


@dataclass(frozen=True)
class Pass:
    """One loop over time, or one in another per scan axis. A direction is 1 (left to right) or -1.

    The prologue Block has the parameters as inputs; its outputs are the prologue values that the step
    reads and, as `init NAME`, the first value of each carry, or what a read of value NAME finds where it
    leaves the ends at which a state starts.

    `chunk` is empty where the step Block makes one step. Otherwise it is the axis along which it makes a
    chunk of consecutive ones: inputs, kept values and outputs have that axis first, in the order in which
    the pass runs; carries are as they were before the chunk and as they are after it. Such a Block runs
    for chunks of any size.

    `maps` are outputs of the step Block that nothing else of the form needs: maps between all steps, with
    the axes of the read's step and the drive's step first. They are there only where they were asked for.
    """

    directions: tuple[int, ...]
    prologue: Block
    step: Block
    parameters: tuple[Port, ...]
    reads: tuple[Port, ...]
    writes: tuple[Port, ...]
    carries: tuple[Carry, ...]
    chunk: str = ""
    maps: tuple[Port, ...] = ()

    @cached_property
    def step_vjp(self) -> Block:
        """From cotangents of carries, outputs and kept values to those of everything the step reads."""
        wanted = [p.value for p in self.reads if p.dtype == "real" and p.role != "clock"]
        return vjp(self.step, wanted, [n for n, v in self.step.outputs if v.dtype == "real"], "step_vjp")

    @cached_property
    def prologue_vjp(self) -> Block:
        """From cotangents of prologue values and first carries to those of the parameters."""
        wanted = [p.value for p in self.parameters if p.dtype == "real"]
        return vjp(self.prologue, wanted, [n for n, v in self.prologue.outputs if v.dtype == "real"], "prologue_vjp")

    def without_finals(self) -> Pass:
        """The same pass for whoever does not want to know the carries after it, where it makes all steps at once."""
        writes = tuple(p for p in self.writes if p.role != "carry")
        step = self.step.live(p.value for p in writes)
        reads = tuple(p for p in self.reads if p.value in step.input)
        return replace(self, step=step, reads=reads, writes=writes, carries=())

    def __str__(self) -> str:
        way = ", ".join("left to right" if d == 1 else "right to left" for d in self.directions)
        carried = ", ".join(c.name for c in self.carries) or "nothing"
        return f"pass {way}, carrying {carried}\n{self.prologue}\n{self.step}"


@dataclass(frozen=True)
class Sequential:
    """The sequential form of a program. `lanes` are the arguments that have the `lane` axis."""

    rec: Recurrence
    passes: tuple[Pass, ...]
    lanes: frozenset[str] | None

    def __str__(self) -> str:
        return "\n\n".join(str(p) for p in self.passes)


@dataclass(frozen=True)
class Parallel:
    """A parallel form of a program: passes that make a chunk of steps at once.

    `chunk` is the size of a chunk unless the caller chooses another, 0 for the whole sequence; `routes`
    says for each stage with states how it is run, in words. `start` are passes for a call without an
    initial state, with the first carries folded in; only forms that take the whole sequence at once have
    them. `longest` is the largest chunk that the Blocks hold for, 0 if they hold for any.
    """

    name: str
    rec: Recurrence
    passes: tuple[Pass, ...]
    chunk: int
    routes: tuple[tuple[tuple[str, ...], str], ...]
    start: tuple[Pass, ...] = ()
    longest: int = 0

    def __str__(self) -> str:
        return "\n\n".join(str(p) for p in self.passes)


def free_axes(form: Sequential) -> set[str]:
    """The axes along which no element of any tensor meets another, so that they could be batch axes.

    Such an axis is the first of every output, carry and kept value, and of every argument that has it;
    no operation sums, shifts, renames or counts along it; no other axis shares its size.
    """
    found = {a.name for a in form.rec.axes if a.name == a.size_of}
    found -= {a.size_of for a in form.rec.axes if a.name != a.size_of}
    for loop in form.passes:
        for op in (*loop.step.ops, *loop.prologue.ops):
            found -= bound_axes(op)
        for port in (*loop.parameters, *loop.reads, *loop.writes):
            if port.role == "argument":
                found -= set(port.axes[1:])
            elif port.role in ("carry", "kept", "output"):
                found &= set(port.axes[:1])
    return found


__all__ = ["LANE", "Carry", "Parallel", "Pass", "Port", "Role", "Sequential", "free_axes"]
