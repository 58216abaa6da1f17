"""The ways in which a program can be run, and one case run in one of them.

A way is a backend with a form: the NumPy reference behind the usual call, kernels in C, operations of torch,
Triton's interpreter, or `blocks`: the Blocks of a form, interpreted in NumPy, with their VJP Blocks for gradients.
Whatever it is, it takes and gives plain NumPy arrays by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from recc.errors import Unsupported
from recc.forms.parallel import PARALLEL
from recc.recurrence import Recurrence

from ..drawing.case import Arrays
from ..drawing.draw import Array

#: The backends of ways, in the order in which they are tried. `blocks` interprets a form's Blocks.
BACKENDS = ("numpy", "blocks", "c", "torch", "triton")
#: The forms of ways.
FORMS = ("sequential", *PARALLEL)
_HAS: Mapping[str, tuple[str, ...]] = {
    "numpy": ("sequential",), "blocks": FORMS, "c": ("sequential",), "torch": FORMS,
    "triton": ("sequential", "scan", "chunked"),
}  # fmt: skip
#: The element types in which a backend computes or stores.
_DTYPES: Mapping[str, tuple[str, ...]] = {
    "numpy": ("float64",), "blocks": ("float64",), "c": ("float64", "float32", "float16", "bfloat16"),
    "torch": ("float64", "float32", "float16", "bfloat16"), "triton": ("float64", "float32", "float16"),
}  # fmt: skip
#: The backends whose results for a sequence do not depend, by a single bit, on what is run beside it.
EXACT = frozenset({"c", "triton"})


@dataclass(frozen=True)
class Way:
    """A backend, a form and the size of its chunks (`None`: the form's own)."""

    backend: str
    form: str = "sequential"
    chunk: int | None = None

    def __str__(self) -> str:
        chunk = "" if self.chunk is None else f" in chunks of {self.chunk}"
        return f"{self.backend} {self.form}{chunk}"


@dataclass(frozen=True)
class Request:
    """One run: what is handed over, and what is asked for.

    Arrays are float64 or complex128, integers and truth values; inputs are `[B, *steps, *heads, *axes]`. They
    are run in `dtype`. With `weights`, by the names of values, the gradients of the weighted sum are
    wanted too. `offsets` are boundaries of packed sequences. `cut` runs steps before and from it as two calls, joined
    by the state. `clock` is the number of steps already run. `strided` gives arrays whose elements do not lie in order.
    Without `final` the call asks for outputs alone.
    """

    arguments: Mapping[str, Array]
    initial: Mapping[str, Array]
    steps: tuple[int, ...]
    sizes: Mapping[str, int]
    dtype: str = "float64"
    weights: Mapping[str, Array] | None = None
    offsets: tuple[int, ...] | None = None
    cut: int | None = None
    clock: int = 0
    strided: bool = False
    final: bool = True


@dataclass(frozen=True)
class Results:
    """Outputs and final states (`final h`) by name; gradients by the name of the argument, or `initial h`.

    `shared` are values that lie in the memory of an argument, of a state, or of another value.
    """

    values: Arrays
    gradients: Arrays = field(default_factory=dict)
    shared: tuple[str, ...] = ()


class Runner(Protocol):
    """A way of one program, ready to run."""

    @property
    def way(self) -> Way:
        """Which way it is."""

    @property
    def rec(self) -> Recurrence:
        """The program."""

    @property
    def exact(self) -> bool:
        """Whether a sequence has the same bits whatever is run beside it."""

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The element types that it runs in."""

    @property
    def packs(self) -> bool:
        """Whether it takes packed sequences."""

    @property
    def differentiates(self) -> bool:
        """Whether it gives gradients."""

    def run(self, request: Request) -> Results:
        """Runs a request."""

    def step_by_step(self, request: Request) -> Results | None:
        """The values of a request by single steps, `None` where there is no such call."""


@dataclass
class Program:
    """A program and the ways in which it is run; each is derived and compiled when it is first asked for.

    `refused` has the ways that the program does not have, with the reason; `failed` those that could not be made,
    with what was raised. `as_it_is` says that an op was given, which stands for no other program.
    """

    rec: Recurrence
    asked: tuple[Way, ...]
    refused: dict[Way, str] = field(default_factory=dict)
    failed: dict[Way, BaseException] = field(default_factory=dict)
    as_it_is: bool = False
    _runners: dict[Way, Runner] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        text_or_rec: str | Path | Recurrence,
        backends: Sequence[str] = ("numpy", "blocks", "c", "torch"),
        forms: Sequence[str] = FORMS,
        chunks: Sequence[int | None] = (3, None),
        name: str | None = None,
    ) -> Program:
        """The ways of a program through some backends and forms.

        `chunks` are the sizes of chunks in which each parallel form is run, `None` for its own. Triton takes part
        only where it can run (`triton_runs`); a backend that is not installed is left out. Raises `SourceError`.
        """
        rec = text_or_rec if isinstance(text_or_rec, Recurrence) else _read(text_or_rec, name)
        found = []
        for backend in backends:
            if cannot_run(backend) is not None:
                continue
            for form in _HAS[backend]:
                if form in forms:
                    sizes = (None,) if form == "sequential" else chunks
                    found += [Way(backend, form, chunk) for chunk in sizes]
        return cls(rec, tuple(found))

    @classmethod
    def of_op(cls, op: Any) -> Program:
        """A program with one way: that of an op, which is run as it is."""
        from .run_op import OpRunner

        way = Way(getattr(op, "backend", "c"), getattr(op, "form", "sequential"), getattr(op, "chunk_size", None))
        found = cls(op.recurrence, (way,), as_it_is=True)
        found._runners[way] = OpRunner(op, way)
        return found

    def only(self, ways: Sequence[Way]) -> Program:
        """The same program with some ways, what was compiled included."""
        return Program(self.rec, tuple(ways), self.refused, self.failed, self.as_it_is, self._runners)

    @cached_property
    def ways(self) -> tuple[Way, ...]:
        """The ways that the program has."""
        return tuple(way for way in self.asked if self.runner(way) is not None)

    def runner(self, way: Way) -> Runner | None:
        """What runs a way; `None` where it was refused or failed."""
        if way in self._runners:
            return self._runners[way]
        if way in self.refused or way in self.failed:
            return None
        try:
            self._runners[way] = _make(self.rec, way)
        except Unsupported as refusal:
            self.refused[way] = str(refusal)
            return None
        except Exception as problem:  # noqa: BLE001 - whatever it is, it is a finding
            self.failed[way] = problem
            return None
        return self._runners[way]


def cannot_run(backend: str) -> str | None:
    """Why nothing of a backend can be run here, if nothing can: what is missing, and what would help."""
    if backend in ("torch", "triton") and find_spec("torch") is None:
        return "torch is not installed"
    if backend != "triton":
        return None
    if find_spec("triton") is None:
        return "Triton is not installed"
    import torch

    from recc.runtime.gpu import interpreted

    if interpreted():
        return None
    return None if torch.cuda.is_available() else "torch sees no GPU, and TRITON_INTERPRET=1 is not set"


def triton_runs() -> bool:
    """Whether Triton kernels can be run here: in its interpreter, or on a GPU."""
    return cannot_run("triton") is None


def _make(rec: Recurrence, way: Way) -> Runner:
    if way.backend == "blocks":
        from recc.forms.choose import require

        from .run_blocks import BlockRunner

        return BlockRunner(require(rec, way.form, way.chunk), way)
    from recc.runtime.op import Op

    from .run_op import OpRunner

    return OpRunner(Op(rec, way.backend, way.form, way.chunk), way)


def forms_of(backend: str) -> tuple[str, ...]:
    """The forms that a backend can emit or run."""
    return _HAS[backend]


def dtypes_of(backend: str) -> tuple[str, ...]:
    """The element types of a backend."""
    return _DTYPES.get(backend, ("float64", "float32"))


def _read(text: str | Path, name: str | None) -> Recurrence:
    from recc.pipeline import check_source, read, select

    source = read(text)
    return select(check_source(source), name, source)


__all__ = [
    "BACKENDS", "EXACT", "FORMS", "Program", "Request", "Results", "Runner", "Way", "cannot_run", "dtypes_of",
    "forms_of", "triton_runs",
]  # fmt: skip
