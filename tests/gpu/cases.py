"""What one check runs: a program in one form and element type, its arguments, and what they should give."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from recc.fuzz import Shapes
from recc.fuzz.drawing.case import looks_ahead
from recc.recurrence import Kind
from recc.runtime.op import Op
from tests.agree.cases import Arrays, Program, programs
from tests.agree.harness import cotangents, gradients, named, plain, tensors, worst
from tests.oracles import torch_interpreter

#: Rounding errors inside a program may add up to so many times what rounding its arguments does.
_AMPLIFIED = 8

#: A change by rounding of this share of a result says that the program is not stable for these arguments.
_UNSTABLE = 1e-3

_NARROW_EPS = 2.0**-24
_WIDER = 2.0**-29  # how much finer float64 is than float32

#: A program is stable for its arguments while its values and gradients stay below this.
_LARGE = 1e4

#: Below these it has died away: a type has no digits left there (float16 where it is stored, others anywhere).
_DIED, _LEAST = 1e-30, {"float16": 1e-3}

#: Steps to try, longest first, until the program is stable; the first is no multiple of any chunk.
_STEPS = {"odd": (7, 3), "wide": (131, 37, 9)}

#: Programs that invert matrices or look states up are quadratic in their axes: they keep their sizes small.
_SMALL_AXES = 3


@dataclass(frozen=True)
class Job:
    """A program, a form, an element type: what one worker does at a time."""

    program: str
    form: str
    dtype: str
    backend: str = "triton"
    device: str = "cuda"
    settings: tuple[str, ...] = ("odd", "wide")

    def __str__(self) -> str:
        return f"{self.program}/{self.form}/{self.dtype}"


@dataclass(frozen=True)
class Expected:
    """What the oracle gives in float64, with how much rounding alone may change each tensor."""

    values: Arrays
    gradients: Arrays
    weights: dict[str, Any]
    doubt: dict[str, float]
    dtype: str

    @property
    def stable(self) -> bool:
        """Whether nothing has grown or died away, and rounding changes little."""
        every = {**self.values, **self.gradients}
        sizes = {n: float(np.abs(v[np.isfinite(v)]).max(initial=0.0)) for n, v in every.items()}
        if any(np.isnan(v).any() for v in every.values()) or max(sizes.values(), default=0.0) >= _LARGE:
            return False
        least = _LEAST.get(self.dtype, _DIED)
        if any(0 < size < (_DIED if n.startswith(("final ", "d ")) else least) for n, size in sizes.items()):
            return False
        return max(self.doubt.values(), default=0.0) < _UNSTABLE


@dataclass(frozen=True)
class Setup:
    """A job with sizes and numbers; `setting` is `odd` (axes of 2, 3, ...) or `wide` (beyond a tile of 16)."""

    job: Job
    setting: str

    @cached_property
    def program(self) -> Program:
        return programs()[self.job.program]

    @cached_property
    def op(self) -> Op:
        return Op(self.program.rec, backend=self.job.backend, form=self.job.form)

    @property
    def dtype(self) -> torch.dtype:
        found: torch.dtype = getattr(torch, self.job.dtype)
        return found

    @property
    def inputs(self) -> set[str]:
        return {s.name for s in self.program.rec.of_kind(Kind.INPUT)}

    @property
    def in_pieces(self) -> bool:
        """Whether pieces of time can be run one after the other."""
        return not looks_ahead(self.program.rec)

    @property
    def exact(self) -> bool:
        """Whether the backend promises bits; torch's own operations add up in an order of their own."""
        return self.job.backend != "torch"

    def shapes(self, steps: int) -> Shapes:
        roots = sorted({a.size_of for a in self.program.rec.axes})
        wide = self.setting == "wide" and len(roots) < _SMALL_AXES
        sizes = {name: (17 + 3 * k if wide else 2 + k) for k, name in enumerate(roots)}
        scan = len(self.program.rec.scan)
        heads = (2,) if self.setting == "wide" else ()
        return Shapes(sizes, tuple((steps if scan == 1 else min(steps, 7)) + k for k in range(scan)), 2, heads)

    @cached_property
    def _chosen(self) -> tuple[Shapes, Arrays, Arrays, Expected]:
        """The longest of the runs for which the program is stable."""
        for steps in _STEPS[self.setting]:
            shapes = self.shapes(steps)
            arguments, initial = (self._rounded(a, s) for a, s in zip(self.program.draw(shapes), (0, 1), strict=True))
            found = self._by_oracle(shapes, arguments, initial)
            if found.stable:
                break
        return shapes, arguments, initial, found

    @property
    def size(self) -> Shapes:
        return self._chosen[0]

    @property
    def steps(self) -> int:
        return self.size.steps[0]

    @property
    def arguments(self) -> Arrays:
        """float64 arrays of numbers that the element type has."""
        return self._chosen[1]

    @property
    def initial(self) -> Arrays:
        return self._chosen[2]

    @property
    def expected(self) -> Expected:
        return self._chosen[3]

    def _rounded(self, arrays: Arrays, state: int) -> Arrays:
        """The numbers of the element type, as float64; states are handed over in float32 or wider."""
        narrow = self.dtype if not state or self.job.dtype == "float64" else torch.float32
        return {n: _wide(plain(t)) for n, t in tensors(arrays, narrow).items()}

    def _by_oracle(self, shapes: Shapes, arguments: Arrays, initial: Arrays) -> Expected:
        values, found, weights = self._oracle(shapes, arguments, initial, None)
        rng = np.random.default_rng(5)
        moved = [{n: _jittered(v, rng) for n, v in part.items()} for part in (arguments, initial)]
        other, turned, _ = self._oracle(shapes, moved[0], moved[1], weights, rng)
        doubt = worst({**other, **turned}, {**values, **found})
        return Expected(values, found, weights, doubt, self.job.dtype)

    def _oracle(
        self,
        shapes: Shapes,
        arguments: Arrays,
        initial: Arrays,
        weights: dict[str, Any] | None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Arrays, Arrays, dict[str, Any]]:
        """Values, gradients and weights by the torch interpreter in float64; weights are numbers of the type.

        With `rng` the state is moved by rounding between any two steps.
        """
        rec = self.program.rec
        leaves, states = tensors(arguments), tensors(initial)
        sizes = {a.name: shapes.sizes[a.size_of] for a in rec.axes}
        steps = shapes.steps[0]
        outputs: dict[str, list[torch.Tensor]] = {}
        now: Any = states
        for t in range(steps) if rng is not None and self.in_pieces else (None,):
            given = leaves if t is None else self.piece(leaves, t, t + 1)
            result = torch_interpreter.run(
                rec, given, sizes=sizes, initial=now, clock=t or 0, length=steps if t is None else 1
            )
            now = result.final if t is None else {n: _moved(v, rng) for n, v in result.final.items()}
            for name, value in result.outputs.items():
                outputs.setdefault(name, []).append(value)
        results = {**{n: torch.cat(v, 1) for n, v in outputs.items()}, **{f"final {n}": v for n, v in now.items()}}
        values = {n: plain(v) for n, v in results.items()}
        weights = self._rounded(cotangents(values), 0) if weights is None else weights
        return values, gradients(results, weights, {**leaves, **states}), weights

    def bound(self, name: str) -> float:
        """The table's bound for a tensor, and what rounding the arguments makes of it."""
        from recc.fuzz import tolerance

        scale = _WIDER if self.job.dtype == "float64" else 1.0
        gradient = name.startswith("d ")
        given = tolerance(self.job.dtype, max(1, self.steps), gradient=gradient)
        return given + _AMPLIFIED * scale * self.expected.doubt.get(name, 0.0)

    def leaves(self) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Arguments and initial states in this machine's memory, fresh leaves."""
        wide = self.dtype if self.job.dtype == "float64" else torch.float32
        return tensors(self.arguments, self.dtype), tensors(self.initial, wide)

    def there(self, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Tensors on the device; gradients flow back through the copy."""
        return {n: t.to(self.job.device) for n, t in given.items()}

    def call(self, given: dict[str, torch.Tensor], state: Any, **options: Any) -> dict[str, torch.Tensor]:
        """Outputs and final states by name, on the device."""
        if not self.inputs:
            options.setdefault("steps", self.steps)
        result = self.op(**given, initial_state=state or None, output_final_state=True, **options)
        return named(self.program, result)

    def piece(self, given: dict[str, Any], begin: int, end: int, row: int | None = None) -> dict[str, Any]:
        """The arguments of some steps, and of one sequence."""
        rows = slice(None) if row is None else slice(row, row + 1)
        return {n: v[rows, begin:end] if n in self.inputs else v for n, v in given.items()}


def _wide(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    kind: Any = {"f": np.float64, "c": np.complex128}.get(value.dtype.kind)
    return value if kind is None else value.astype(kind)


def _moved(value: torch.Tensor, rng: np.random.Generator | None) -> torch.Tensor:
    """A state moved by rounding; whole numbers as they are."""
    if rng is None or not (value.is_floating_point() or value.is_complex()):
        return value
    return value * torch.as_tensor(1 + _NARROW_EPS * rng.choice([-1.0, 1.0], tuple(value.shape)))


def _jittered(value: np.ndarray[Any, Any], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    if value.dtype.kind not in "fc":
        return value
    return np.asarray(value * (1 + _NARROW_EPS * rng.choice([-1.0, 1.0], value.shape)))


__all__ = ["Expected", "Job", "Setup"]
