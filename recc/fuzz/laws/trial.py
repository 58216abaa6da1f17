"""One way of a program on one case: what laws look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from recc.recurrence import Kind, Recurrence

from ..agree import rel_rms
from ..bounds.bound import MEANINGLESS, Truth
from ..bounds.storage import narrowed
from ..bounds.transforms import lost
from ..drawing.case import Arrays, Case
from ..drawing.draw import Array
from ..ways.program import Request, Results, Runner, Way

_HALF = ("float16", "bfloat16")


@dataclass(frozen=True)
class Finding:
    """One comparison of a case: what with what, its error, the bound that it has to keep; by which law, of which way.

    `dtype` is empty where no numbers were compared, as where an error was raised.
    """

    what: str
    dtype: str
    error: float
    bound: float
    gradient: bool = False
    law: str = ""
    way: Way | None = None

    @property
    def holds(self) -> bool:
        """Whether the error is a number within the bound."""
        return self.error <= self.bound


@dataclass
class Shared:
    """What all ways of a program share on one case: the truth, by element type."""

    case: Case
    _truths: dict[str, Truth] = field(default_factory=dict)

    @property
    def rec(self) -> Recurrence:
        """The program."""
        return self.case.rec

    def request(self, dtype: str) -> Request:
        """The plain run of the case. Storage of 16 bits rounds the arguments; the reference gets what they are then."""
        case = self.case
        found = Request(case.arguments, case.initial, case.shapes.steps, case.shapes.sizes, dtype)
        if dtype not in _HALF:
            return found
        return replace(found, arguments={n: narrowed(v, dtype) for n, v in case.arguments.items()})

    def truth(self, dtype: str) -> Truth:
        """What the plain run has to give."""
        key = dtype if dtype in _HALF else ""
        if key not in self._truths:
            self._truths[key] = Truth(self.rec, self.request(dtype), (self.case.seed, self.case.number))
        return self._truths[key]


@dataclass
class Trial:
    """A way of a program on a case. `dtypes` are the element types that are asked for; `reasons` say what was left out.

    `alone` says that the program cannot be rewritten, because an op is run as it is. `make` gives another program
    in the same way.
    """

    runner: Runner
    shared: Shared
    dtypes: tuple[str, ...]
    rng: np.random.Generator
    make: Callable[[Recurrence], Runner] | None = None
    reasons: set[str] = field(default_factory=set)
    compared: set[tuple[str, str]] = field(default_factory=set)
    _whole: dict[str, Results] = field(default_factory=dict)
    _lost: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def case(self) -> Case:
        """The case."""
        return self.shared.case

    @property
    def rec(self) -> Recurrence:
        """The program."""
        return self.shared.rec

    @property
    def way(self) -> Way:
        """The way."""
        return self.runner.way

    @property
    def steps(self) -> int:
        """Steps along the (first) time axis."""
        return self.case.shapes.steps[0]

    @property
    def inputs(self) -> frozenset[str]:
        """The names of the arguments that vary with time."""
        return self.case.inputs

    def truth(self, dtype: str = "float64") -> Truth:
        """What the plain run has to give."""
        return self.shared.truth(dtype)

    def request(self, dtype: str = "float64", gradients: bool = True) -> Request:
        """The plain run, with gradients where the way has them."""
        found = self.shared.request(dtype)
        return replace(found, weights=self.truth(dtype).weights if gradients and self.runner.differentiates else None)

    def whole(self, dtype: str = "float64") -> Results:
        """What the way gives for the plain run, with gradients."""
        if dtype not in self._whole:
            self._whole[dtype] = self.runner.run(self.request(dtype))
        return self._whole[dtype]

    def slack(self, name: str, dtype: str = "float64", gradient: bool = False, times: float = 2.0) -> float:
        """How far two right runs of the way may be apart: both round."""
        return times * self.truth(dtype).bound(name, dtype, self.way, gradient)

    def compare(
        self, law: str, what: str, found: Mapping[str, Any], expected: Mapping[str, Any], dtype: str = "float64",
        gradient: bool = False, exact: bool | None = None, times: float = 2.0,
    ) -> Iterator[Finding]:  # fmt: skip
        """Every tensor of `expected` against the one found. `exact`: to the bit; `None`: where that is promised.

        A part of a tensor counts as a share of the whole: it may be nothing but rounding.
        """
        if missing := set(expected) - set(found):
            yield self.finding(
                law, f"{what}: {', '.join(sorted(missing))} is missing", dtype, float("inf"), 0.0, gradient
            )
            return
        exact = self.runner.exact if exact is None else exact
        for name, value in expected.items():
            shown = f"the gradient of {name}" if gradient else name
            error = difference(found[name], value, exact)
            bound = 0.0 if exact else self.slack(name, dtype, gradient, times)
            if bound < error:
                error *= self._share(name, value, dtype, gradient)
            if bound > MEANINGLESS:
                self.reasons.add("unstable")
                continue
            yield self.judge(law, f"{shown}, {what}", name, dtype, error, bound, gradient)

    def _share(self, name: str, part: Array, dtype: str, gradient: bool) -> float:
        """What part of a tensor is as a share of the whole, one at most; of a whole that is zero, what it is."""
        truth = self.truth(dtype)
        whole = (truth.judged[0] if gradient else truth.values).get(name)
        if whole is None:
            return 1.0
        own, all_of_it = _size(part) or 1.0, _size(whole) or 1.0
        return min(1.0, own / all_of_it)

    def judge(
        self, law: str, what: str, name: str, dtype: str, error: float, bound: float, gradient: bool = False
    ) -> Finding:
        """A finding; where it does not hold but a jump lies near the arguments, one that says nothing."""
        self.compared.add(("backward" if gradient else "forward", dtype))
        if not error <= bound and bound > 0 and self._excused(name, dtype, error, gradient):
            self.reasons.add("unstable")
            error = 0.0
        return self.finding(law, what, dtype, error, bound, gradient)

    def finite(self, gradients: Mapping[str, Array]) -> Arrays:
        """The gradients that are numbers; the others say nothing of sums."""
        found = {n: v for n, v in gradients.items() if np.isfinite(v).all()}
        if len(found) < len(gradients):
            self.reasons.add("undefined")
        return found

    def _excused(self, name: str, dtype: str, error: float, gradient: bool) -> bool:
        """Whether a jump lies near the arguments, or how the way runs explains an error."""
        truth = self.truth(dtype)
        if error <= max(4 * truth.jump(name, dtype, gradient), 2 * truth.loosely(name, dtype, self.way, gradient)):
            return True
        if gradient and not np.isfinite(error) and truth.endless:
            return True
        if self.way.form != "convolution" or not error < 10:
            return False
        key = "float64" if dtype == "float64" else "float32"
        if key not in self._lost:
            self._lost[key] = lost(truth, self.way, dtype)
        return error <= self._lost[key].get(f"d {name}" if gradient else name, 0.0)

    def finding(self, law: str, what: str, dtype: str, error: float, bound: float, gradient: bool = False) -> Finding:
        """A finding of this way."""
        return Finding(what, dtype, error, bound, gradient, law, self.way)

    def row(self, arguments: Mapping[str, Array], rows: Any, steps: slice = slice(None)) -> Arrays:
        """The arguments of some sequences and steps."""
        return {n: v[rows][:, steps] if n in self.inputs and v.shape[0] > 1 else
                v[:, steps] if n in self.inputs else v for n, v in arguments.items()}  # fmt: skip

    def is_input(self, name: str) -> bool:
        """Whether a gradient of this name is that of an argument that varies with time."""
        return name in self.rec.table and self.rec.table[name].kind is Kind.INPUT


def _size(value: Array) -> float:
    """The root mean square of what is finite."""
    finite = value[np.isfinite(value)]
    return float(np.sqrt(np.mean(np.abs(finite) ** 2))) if finite.size else 0.0


def difference(found: Any, expected: Any, exact: bool = False) -> float:
    """How far two tensors are apart: 0 where they are equal to the bit, infinite where their shapes differ.

    `exact` takes NaN in the same places for equal.
    """
    a, b = np.asarray(found), np.asarray(expected)
    if a.shape != b.shape:
        return float("inf")
    if exact and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc" and b.dtype.kind in "fc"):
        return 0.0
    error = rel_rms(a, b, semiring=True) if a.size else 0.0
    return max(error, 5e-324) if exact else error


__all__ = ["Finding", "Shared", "Trial", "difference"]
