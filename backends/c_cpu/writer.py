"""The frame of a kernel: its arrays, its scratch memory, its names, and the text around its passes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from recc.backends.c_cpu.memory import C_TYPE, Names, Storage
from recc.backends.c_cpu.spec import ArraySpec, Purpose, Specialisation
from recc.recurrence import Kind


@dataclass
class _Local:
    """A named stretch of scratch memory."""

    name: str
    offset: int
    type: str


@dataclass
class KernelWriter:
    """Collects what the passes need and writes the function around them.

    `written` remembers which gradients a pass has written already, so that later passes add to them;
    `used` counts the reals of scratch memory; `prelude` has what is done once, first.
    """

    spec: Specialisation
    direction: Literal["forward", "backward"]
    names: Names = field(default_factory=Names)
    arrays: dict[tuple[str, str, int], ArraySpec] = field(default_factory=dict)
    locals: list[_Local] = field(default_factory=list)
    prelude: dict[str, str] = field(default_factory=dict)
    body: list[str] = field(default_factory=list)
    used: int = 0
    written: set[tuple[str, str]] = field(default_factory=set)

    def array(
        self, purpose: Purpose, name: str, axes: tuple[str, ...], is_complex: bool = False, zeroed: bool = False
    ) -> str:
        """The C name of an array argument, declared on first use."""
        key = (purpose, name, 0)
        if key not in self.arrays:
            storage: Storage = "real"
            if purpose in ("in", "out", "d out") or (purpose == "d in" and self._written_once(name)):
                storage = self.spec.storage[name]
            size = self.spec.count(axes) * (2 if is_complex else 1)
            self.arrays[key] = ArraySpec(purpose, name, axes, storage, is_complex, 0, size, zeroed)
        return self._array_name(self.arrays[key])

    def checkpoints(self, number: int) -> str:
        """The C name of the array of a pass' checkpoints."""
        key = ("checkpoints", "", number)
        if key not in self.arrays:
            self.arrays[key] = ArraySpec(
                "checkpoints", "", (), "real", pass_number=number, size=self.spec.carried(number)
            )
        return self._array_name(self.arrays[key])

    def local(self, key: str, size: int, integer: bool = False, wanted: str = "") -> str:
        """The C name of a new stretch of scratch memory, aligned to a cache line."""
        name = self.names(key, wanted)
        reals = max(1, size) * (1 if not integer else 8 // self.spec.real_bytes)
        self.locals.append(_Local(name, self.used, "int64_t" if integer else "real"))
        line = 64 // self.spec.real_bytes
        self.used += (reals + line - 1) // line * line
        return name

    def reuse(self, key: str, size: int, integer: bool = False) -> str:
        """The C name of a stretch of scratch memory that is made on first use."""
        name = self.names.given.get(key)
        if name is not None and any(local.name == name for local in self.locals):
            return name
        return self.local(key, size, integer)

    def emit(self, text: str, depth: int = 1) -> None:
        """One line of the function's body."""
        self.body.append("    " * depth + text)

    def text(self) -> str:
        """The whole file."""
        rec = self.spec.form.rec
        lines = [f"/* {rec.name}: {self.direction} kernel, sequential form, {self.spec.compute}.", " *"]
        lines += [f" *   {line}".rstrip() for line in comment_safe(rec.source.text.strip()).splitlines()]
        sizes = ", ".join(f"{a} = {n}" for a, n in self.spec.sizes.items()) or "none"
        lines += [" *", f" * Sizes: {sizes}. Arrays are rows of the declared axes, one row per step t of an item."]
        lines += [" * NAME_prev is a state before the step, NAME after it; d_NAME is the gradient of NAME. */"]
        if self.spec.compute == "float64":
            lines.append("#define RECC_DOUBLE 1")
        lines += ['#include "recc_math.h"', "", *_HEAD.splitlines()]
        lines += [self._declare(i, array) for i, array in enumerate(self.arrays.values())]
        for local in self.locals:
            cast = f"(int64_t *)(scratch + {local.offset})" if local.type == "int64_t" else f"scratch + {local.offset}"
            lines.append(f"    {local.type} *restrict {local.name} = {cast};")
        lines += ["    (void)arrays, (void)item, (void)length, (void)first, (void)extent, (void)scratch;"]
        lines += [*self.prelude.values(), *self.body, "}", "", *_RUN.splitlines()]
        return "\n".join(lines) + "\n"

    def _written_once(self, name: str) -> bool:
        """Whether no gradient is ever added to what is stored: then it may have the argument's own type."""
        rec, passes = self.spec.form.rec, self.spec.form.passes
        reads = [p for loop in passes for p in loop.reads if p.role == "argument" and (p.name, p.part) == (name, 0)]
        return rec.table[name].kind is Kind.INPUT and len(reads) == 1

    def _array_name(self, array: ArraySpec) -> str:
        if array.purpose == "checkpoints":
            number = array.pass_number
            return self.names(f"checkpoints {number}", f"checkpoints_{number}" if number else "checkpoints")
        label = {"kept": "", "d kept": "d", "in": "", "out": "", "d in": "d", "d out": "d"}.get(array.purpose)
        return self.names(f"{array.purpose if label is None else label} {array.name}".strip())

    def _declare(self, i: int, array: ArraySpec) -> str:
        const = "const " if array.purpose in ("in", "initial", "d out", "d final") else ""
        axes = ", ".join(array.axes)
        name = self._array_name(array)
        return (
            f"    RECC_ARRAY({const}{C_TYPE[array.storage]}, {name}, {i}); /* {array.purpose} {array.name}[{axes}] */"
        )


def comment_safe(text: str) -> str:
    """Text that cannot end a C comment."""
    return text.replace("*/", "* /").replace("/*", "/ *")


_HEAD = """\
/* One item: `length` steps, `first` of them run before; `extent` has the sizes of several scan axes. */
static void run_item(const recc_array *arrays, int64_t item, int64_t length, int64_t first, const int64_t *extent,
                     real *scratch) {
"""

_RUN = """\
/* Threads call this with one shared counter; each takes the next item until none is left. */
RECC_EXPORT void recc_run(const recc_array *arrays, const int64_t *length, const int64_t *first, const int64_t *extent,
                          int64_t items, int64_t *next, real *scratch) {
    for (;;) {
        const int64_t item = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED);
        if (item >= items) return;
        run_item(arrays, item, length[item], first[item], extent, scratch);
    }
}
"""

__all__ = ["KernelWriter", "comment_safe"]
