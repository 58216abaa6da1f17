"""Relative changes of random sign in place of rounding, in the reference and in Blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod, sqrt
from typing import Literal

import numpy as np

from recc.forms import block as blocks
from recc.forms.interpret import lay
from recc.layout import LANE
from recc.recurrence import Apply, Expr, Matrix, Number, Reduce

from ..drawing.draw import Array

Manner = Literal["results", "terms"]

_PLAIN = frozenset({"neg", "min", "max", "clamp", "where", "abs", "sign", "floor", "re", "im", "conj", "stop",
                    "surrogate", "relu", "real", "int"})  # fmt: skip
_ONE = frozenset({"add", "sub", "mul", "div", "sqrt"})
_FUNCTION = 4.0  # other functions are within so many units in the last place
_CHOOSING = frozenset({"max", "min"})
_SMOOTH_AT_INFINITY = _PLAIN | {"add", "sub", "logaddexp"}  # infinities, the zeros of semirings, pass through these


@dataclass
class Noise:
    """Stands for rounding: `unit[k]` times a random sign, relative to each value of sample k; sample 0 stays as it is.

    `axis` is where samples lie in a value of the reference; in Blocks they lie along the lane, `rows` of each.

    Seen on the way: `largest` is the largest finite magnitude; `condition` the largest of what Blocks solve; `endless`
    says that an infinity came where the derivative of a function is none, as that of a product or of `logsumexp` at
    +inf.

    `manners` are those in which Blocks are not run as they stand: `results`, the derivative of a sigmoid is taken from
    its result s as s (1 - s), in which a unit of 1 is lost, not one of 1 - s; `terms`, the terms of a sum are rounded
    each. `uneven` changes are any numbers up to two units: of many that are nearly the same, each is then the largest
    in some sample.
    """

    unit: Array
    rng: np.random.Generator
    least: Array
    rows: int = 1
    largest: float = 0.0
    condition: float = 1.0
    endless: bool = False
    manners: frozenset[Manner] = frozenset()
    uneven: bool = False
    _sizes: dict[str, int] = field(default_factory=dict)
    _terms: Array = field(default_factory=lambda: np.zeros(()))

    def of_reference(self, expr: Expr, value: Array) -> Array:
        """A value of the reference, `[B, samples, *batch, *axes]`."""
        amplitude = _of_expr(expr, value)
        if value.dtype.kind not in "fc":
            return value
        self.endless = self.endless or _endless(expr, value)
        if not amplitude:
            return value
        alone = len(self.unit) == 1
        value = value if alone else np.broadcast_to(value, (value.shape[0], len(self.unit), *value.shape[2:]))
        along = (1,) * value.ndim if alone else (1, -1, *(1,) * (value.ndim - 2))
        moved = self._moved(value, amplitude, along)
        if isinstance(expr, Apply) and expr.fn == "gelu":
            moved += _tail(value) * (self._moved(np.ones_like(value), 1.0, along) - 1)
        return moved

    def of_block(self, op: blocks.Op, v: blocks.Value, value: Array) -> Array:
        """An operand or a result of an operation of a Block."""
        self._sizes.update(zip(v.axes, value.shape, strict=True))
        if isinstance(op, blocks.Matrix) and op.fn in ("solve", "inv") and v is not op.out:
            self.condition = max(self.condition, _condition(op, v, value))
        if "results" in self.manners and isinstance(op, blocks.Map) and op.fn == "sigmoid" and v is op.out:
            return value + self.of_lanes(v, np.ones_like(value), 1.0) - 1
        if "terms" in self.manners and isinstance(op, blocks.Map) and op.fn in ("add", "sub"):
            return self._of_terms(op, v, value)
        amplitude = _of_op(op, v, self._sizes)
        return self.of_lanes(v, value, amplitude) if amplitude else value

    def _of_terms(self, op: blocks.Op, v: blocks.Value, value: Array) -> Array:
        """A sum, which rounds as much as its terms do: also where it has the same term twice, as x - x."""
        if v is not op.out:
            self._terms = self._terms + lay(np.abs(value), v.axes, op.out.axes)
            return value
        terms, self._terms = np.broadcast_to(self._terms, value.shape), np.zeros(())
        change = self.of_lanes(v, np.ones(value.shape, terms.dtype), 1.0) - 1
        return np.asarray(value + np.where(np.isfinite(terms), terms, 0) * change)

    def of_lanes(self, v: blocks.Value, value: Array, amplitude: float) -> Array:
        """A value of a Block, if it is one of each lane."""
        if LANE not in v.axes:
            return value
        return self._moved(value, amplitude, tuple(-1 if a == LANE else 1 for a in v.axes))

    def of_argument(self, value: Array, axis: int) -> Array:
        """An argument or a state of all samples, which lie along an axis."""
        if value.dtype.kind not in "fc":
            return value
        rows, self.rows = self.rows, 1
        found = self._moved(value, 1.0, tuple(-1 if k == axis else 1 for k in range(value.ndim)))
        self.rows = rows
        return found

    def _signs(self, value: Array) -> Array:
        if self.uneven:
            return self.rng.uniform(-2, 2, value.shape)
        return self.rng.integers(0, 2, value.shape, np.int8) * 2 - 1

    def _moved(self, value: Array, amplitude: float, along: tuple[int, ...]) -> Array:
        size = np.abs(value)
        self.largest = max(self.largest, float(np.max(size, initial=0.0, where=np.isfinite(size))))
        unit, least = (np.repeat(u, self.rows).reshape(along) for u in (self.unit, self.least))
        sign = self._signs(value)
        if value.dtype.kind == "c":
            sign = (sign + 1j * self._signs(value)) / sqrt(2)
        change = sign * unit * amplitude
        with np.errstate(all="ignore"):
            moved = np.where(np.isfinite(size), value * (1 + change), value)
            near = (size < least) & (value != 0)
            return np.asarray(np.where(near, value + change * least, moved))


def _endless(expr: Expr, value: Array) -> bool:
    """Whether a function has no derivative because of infinities: of its value, or of what is reduced."""
    if isinstance(expr, Apply):
        return expr.fn not in _SMOOTH_AT_INFINITY and bool(np.isinf(value).any())
    if isinstance(expr, Reduce) and expr.fn == "logsumexp":
        return bool(np.isposinf(value.real).any())
    return isinstance(expr, Reduce | Matrix) and expr.fn not in _CHOOSING and bool(np.isinf(value).any())


def _tail(gelu: Array) -> Array:
    """A unit of what `gelu` is made of in kernels, x (1 + erf(x / √2)) / 2, where x is negative and less is left.

    There |gelu(x)| < exp(-x² / 2), which bounds |x|; an x of more than 40 leaves nothing in any type.
    """
    with np.errstate(divide="ignore"):
        x = np.minimum(np.sqrt(-2 * np.log(np.minimum(np.abs(gelu), 1))), 40)
    return np.asarray(np.where(gelu < 0, x, 0))


def _condition(op: blocks.Matrix, v: blocks.Value, value: Array) -> float:
    """The largest condition of what is solved: of matrices, `[..., n, n]`; of right sides, infinite if they are."""
    if v is not op.args[0]:
        return float("inf") if np.isinf(value).any() else 1.0
    batch = tuple(a for a in v.axes if a not in (op.rows, op.cols))
    matrices = lay(value, v.axes, (*batch, op.rows, op.cols))
    good = matrices[np.isfinite(matrices).all((-2, -1))].astype(np.float64)
    return float(np.max(np.nan_to_num(np.linalg.cond(good), nan=np.inf), initial=1.0)) if good.size else 1.0


def _of_expr(expr: Expr, value: Array) -> float:
    if isinstance(expr, Number):
        return 0.0 if expr.value == float(np.float32(expr.value)) else 0.5
    if isinstance(expr, Apply):
        return 0.0 if expr.fn in _PLAIN else 1.0 if expr.fn in _ONE else _FUNCTION
    if isinstance(expr, Reduce):
        return 0.0 if expr.fn in _CHOOSING else sqrt(max(1, value.shape[-1]))
    return float(max(1, value.shape[-1])) if isinstance(expr, Matrix) else 0.0


def _of_op(op: blocks.Op, v: blocks.Value, sizes: Mapping[str, int]) -> float:
    if isinstance(op, blocks.Map):
        return 0.0 if v is not op.out or op.fn in _PLAIN else 1.0 if op.fn in _ONE else _FUNCTION
    if isinstance(op, blocks.Reduce) and op.fn in _CHOOSING:
        return 0.0
    if isinstance(op, blocks.Contract | blocks.Reduce):
        return sqrt(max(2, prod(sizes.get(a, 1) for a in op.over)))
    if isinstance(op, blocks.Scatter | blocks.Cumulate):
        return sqrt(max(2, sizes.get(op.axis, 1)))
    return float(max(1, sizes.get(op.rows, 1))) if isinstance(op, blocks.Matrix) else 0.0


__all__ = ["Manner", "Noise"]
