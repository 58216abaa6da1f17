"""A second interpreter of a `Recurrence`, in torch, whose gradients come from torch's autograd.

It is written apart from the NumPy reference and in another style: every value has all axes of the header
(size 1 where it has none), every step's value is an entry of a dictionary, and a value is worked out when
it is first asked for. Gradients flow to all arguments and initial states.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recc.recurrence import (
    Along,
    Apply,
    Expr,
    Kind,
    Matrix,
    Number,
    Read,
    Recurrence,
    Reduce,
    Step,
    Symbol,
)


@dataclass(frozen=True)
class TorchResult:
    """As the reference's `Result`, with tensors that carry gradients."""

    outputs: dict[str, Tensor]
    final: dict[str, Tensor]
    clock: int


def run(
    rec: Recurrence,
    arguments: Mapping[str, Tensor],
    *,
    sizes: Mapping[str, int] | None = None,
    initial: Mapping[str, Tensor] | None = None,
    clock: int = 0,
    length: int | Mapping[str, int] | None = None,
    dtype: torch.dtype = torch.float64,
) -> TorchResult:
    """Run a recurrence; shapes as for the reference."""
    return _Run(rec, dict(arguments), dict(initial or {}), dict(sizes or {}), length, clock, dtype).result()


class _Surrogate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, forward: Tensor, backward: Tensor) -> Tensor:
        return forward.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return None, grads[0]


def safe_logsumexp(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The logarithm of a sum of exponentials whose gradient is zero, not NaN, where the sum is empty."""
    if any(x.shape[d] == 0 for d in dims):
        return torch.full_like(x.sum(dims), -math.inf)
    top = x.amax(dims, keepdim=True).detach()
    top = torch.where(torch.isfinite(top), top, torch.zeros_like(top))
    kept = torch.where(x == -math.inf, torch.zeros_like(x), x)
    total = torch.where(x == -math.inf, torch.zeros_like(x), torch.exp(kept - top)).sum(dims)
    nothing = total == 0
    logs = torch.log(torch.where(nothing, torch.ones_like(total), total))
    return torch.where(nothing, torch.full_like(logs, -math.inf), logs + top.squeeze(dims))


def _logaddexp(a: Tensor, b: Tensor) -> Tensor:
    return safe_logsumexp(torch.stack(torch.broadcast_tensors(a, b), -1), (-1,))


_SCALAR: dict[str, Any] = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "pow": torch.pow, "neg": torch.neg,
    "lt": torch.lt, "le": torch.le, "gt": torch.gt, "ge": torch.ge, "eq": torch.eq, "ne": torch.ne,
    "and": torch.logical_and, "or": torch.logical_or, "not": torch.logical_not,
    "exp": torch.exp, "log": torch.log, "log1p": torch.log1p, "expm1": torch.expm1, "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt, "sigmoid": torch.sigmoid, "log_sigmoid": torch.nn.functional.logsigmoid,
    "softplus": lambda x: _logaddexp(x, torch.zeros_like(x)), "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu, "relu": torch.relu, "tanh": torch.tanh, "sin": torch.sin, "cos": torch.cos,
    "abs": torch.abs, "sign": torch.sign, "floor": torch.floor, "erf": torch.erf,
    "min": torch.minimum, "max": torch.maximum,
    "clamp": lambda x, low, high: torch.clamp(x, low, high),
    "where": torch.where, "logaddexp": _logaddexp,
    "re": torch.real, "im": lambda x: x.imag if x.is_complex() else torch.zeros_like(x), "conj": torch.conj_physical,
    "cis": lambda x: torch.complex(torch.cos(x), torch.sin(x)), "stop": torch.Tensor.detach,
    "surrogate": lambda f, b: _Surrogate.apply(*torch.broadcast_tensors(f, b)),
}  # fmt: skip


def _extreme(x: Tensor, dims: tuple[int, ...], sign: int) -> Tensor:
    if any(x.shape[d] == 0 for d in dims):
        worst: float = -sign * math.inf
        if not x.is_floating_point():
            worst = torch.iinfo(x.dtype).min if sign > 0 else torch.iinfo(x.dtype).max
        return torch.full(x.sum(dims).shape, worst, dtype=x.dtype)
    return x.amax(dims) if sign > 0 else x.amin(dims)


def _prod(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    for d in sorted(dims, reverse=True):
        x = x.prod(d)
    return x


_REDUCE: dict[str, Any] = {
    "sum": lambda x, dims: x.sum(dims), "mean": lambda x, dims: x.mean(dims), "prod": _prod,
    "max": lambda x, dims: _extreme(x, dims, 1), "min": lambda x, dims: _extreme(x, dims, -1),
    "logsumexp": safe_logsumexp, "norm": lambda x, dims: torch.linalg.vector_norm(x, dim=dims),
}  # fmt: skip


class _Run:
    def __init__(
        self,
        rec: Recurrence,
        arguments: dict[str, Tensor],
        initial: dict[str, Tensor],
        sizes: dict[str, int],
        length: int | Mapping[str, int] | None,
        clock: int,
        dtype: torch.dtype,
    ):
        self.rec, self.clock = rec, clock
        self.types = {"bool": torch.bool, "int": torch.int64, "real": dtype, "complex": dtype.to_complex()}
        self.header = [a.name for a in rec.axes]
        self.sizes = {rec.axis[a].size_of: n for a, n in sizes.items()}
        self.steps: dict[str, int] = {}
        if length is not None:
            self.steps |= dict(length) if isinstance(length, Mapping) else {rec.scan[0]: length}
        first: list[tuple[int, ...]] = [(1,)]
        batches: list[tuple[int, ...]] = []
        for symbol in rec.arguments:
            value, scans = arguments[symbol.name], 0
            if symbol.kind is Kind.INPUT:
                scans = 1 + len(rec.scan)
                first.append((value.shape[0],))
                self.steps |= dict(zip(rec.scan, value.shape[1:scans], strict=True))
            end = value.dim() - len(symbol.axes)
            batches.append(tuple(value.shape[scans:end]))
            self.sizes |= {rec.axis[a].size_of: n for a, n in zip(symbol.axes, value.shape[end:], strict=True)}
        slots = {s.name: s for s in rec.slots}
        for name, value in initial.items():
            first.append((value.shape[0],))
            batches.append(tuple(value.shape[1 : value.dim() - len(slots[name].axes)]))
        self.batch = [*torch.broadcast_shapes(*first), *torch.broadcast_shapes(*batches)]
        self.lead = len(self.batch)
        self.arguments = {s.name: self._lift(arguments[s.name], s) for s in rec.arguments}
        self.handed = {}
        for name, value in initial.items():
            slot = slots[name]
            missing = self.lead + len(slot.axes) - value.dim()
            value = value.reshape(value.shape[:1] + (1,) * missing + value.shape[1:]).to(self.types[slot.dtype])
            self.handed[slot.symbol, slot.depth] = value
        self.known: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def size(self, axis: str) -> int:
        return self.sizes[self.rec.axis[axis].size_of]

    def _lift(self, value: Tensor, symbol: Symbol) -> Tensor:
        """Insert axes of size 1 so that the shape is `[B, *scan, *batch, *axes]` in full."""
        value = value.to(self.types[symbol.dtype])
        head = 1 + len(self.rec.scan) if symbol.kind is Kind.INPUT else 0
        missing = self.lead - 1 + len(symbol.axes) + head - value.dim()
        return value.reshape(*(value.shape[:head] if head else (1,)), *(1,) * missing, *value.shape[head:])

    def result(self) -> TorchResult:
        scan = [self.steps[s] for s in self.rec.scan]
        # ask in an order in which no question waits on a long chain of others
        for stage in self.rec.stages:
            ranges = [range(n) if d >= 0 else range(n - 1, -1, -1) for n, d in zip(scan, stage.direction, strict=True)]
            for at in itertools.product(*ranges):
                for name in stage.equations:
                    self.name(name, at)
        outputs = {}
        for symbol in self.rec.outputs:
            shape = [*self.batch, *(self.size(a) for a in symbol.axes)]
            every = [self.name(symbol.name, at).expand(shape) for at in itertools.product(*map(range, scan))]
            if every:
                outputs[symbol.name] = torch.stack(every, 1).reshape(shape[0], *scan, *shape[1:])
            else:
                outputs[symbol.name] = torch.zeros(shape[0], *scan, *shape[1:], dtype=self.types[symbol.dtype])
        final = {}
        for slot in self.rec.slots:
            shape = [*self.batch, *(self.size(a) for a in slot.axes)]
            step = scan[0] - slot.depth if self._starts_left(slot.symbol, 0) else slot.depth - 1
            final[slot.name] = self.name(slot.symbol, (step,)).expand(shape)
        return TorchResult(outputs, final, self.clock + (scan[0] if len(scan) == 1 else 0))

    def _starts_left(self, name: str, k: int) -> bool:
        """Whether the values before the first step lie to the left: states by their own direction."""
        ways = {n: stage.direction[k] for stage in self.rec.stages for n in stage.equations}
        mine = [ways.get(s.name, 0) for s in self.rec.states]
        if self.rec.table[name].kind is Kind.STATE:
            mine = [ways.get(name, 0)]
        return not mine or max(mine) >= 0

    def name(self, name: str, at: tuple[int, ...]) -> Tensor:
        """The value of a name at a step, `[B, *batch, *axes in declared order]`."""
        symbol = self.rec.table[name]
        at = at if symbol.varies else ()
        if (name, at) not in self.known:
            self.known[name, at] = self._name(symbol, at)
        return self.known[name, at]

    def _name(self, symbol: Symbol, at: tuple[int, ...]) -> Tensor:
        if symbol.varies:
            outside = [k for k, s in enumerate(self.rec.scan) if not 0 <= at[k] < self.steps[s]]
            if outside:
                return self._outside(symbol, at, outside)
        if symbol.name in self.arguments:
            value = self.arguments[symbol.name]
            return value[(slice(None), *at)] if symbol.varies else value
        expr = symbol.value if symbol.value is not None else self.rec.equation[symbol.name].expr
        return self._assign(expr, at, symbol)

    def _outside(self, symbol: Symbol, at: tuple[int, ...], outside: list[int]) -> Tensor:
        zero = torch.zeros([1] * self.lead + [self.size(a) for a in symbol.axes], dtype=self.types[symbol.dtype])
        for k in outside:
            if (at[k] < 0) != self._starts_left(symbol.name, k):
                return zero
        if len(at) == 1:
            depth = -at[0] if at[0] < 0 else at[0] - self.steps[self.rec.scan[0]] + 1
            if (symbol.name, depth) in self.handed:
                return self.handed[symbol.name, depth]
        return zero if symbol.initial is None else self._assign(symbol.initial, (), symbol)

    def _assign(self, expr: Expr, at: tuple[int, ...], symbol: Symbol) -> Tensor:
        value = self.value(expr, at).to(self.types[symbol.dtype])
        shape = list(value.shape[: self.lead]) + [self.size(a) if a in symbol.axes else 1 for a in self.header]
        value = value.expand(shape)
        rest = [a for a in self.header if a not in symbol.axes]
        places = [self.lead + self.header.index(a) for a in (*symbol.axes, *rest)]
        value = value.permute(*range(self.lead), *places)
        return value.reshape(value.shape[: self.lead + len(symbol.axes)])

    def value(self, expr: Expr, at: tuple[int, ...]) -> Tensor:
        """The value of an expression, `[B, *batch, *every axis of the header]`."""
        return self._value(expr, at).to(self.types[expr.dtype])

    def _value(self, expr: Expr, at: tuple[int, ...]) -> Tensor:
        ones = [1] * (self.lead + len(self.header))
        if isinstance(expr, Number):
            return torch.tensor(expr.value, dtype=torch.float64).reshape(ones)
        if isinstance(expr, Step):
            return torch.tensor(self.clock + at[self.rec.scan.index(expr.scan)]).reshape(ones)
        if isinstance(expr, Read):
            return self._read(expr, at)
        if isinstance(expr, Apply):
            return self._apply(expr, at)
        if isinstance(expr, Reduce):
            return self._reduce(expr, at)
        assert isinstance(expr, Matrix)
        return self._matrix(expr, at)

    def _apply(self, expr: Apply, at: tuple[int, ...]) -> Tensor:
        args = [self.value(a, at) for a in expr.args]
        if expr.fn == "where":
            wide = torch.promote_types(args[1].dtype, args[2].dtype)
            return torch.where(args[0], args[1].to(wide), args[2].to(wide))
        if expr.fn in ("and", "or", "not", "stop"):
            return _SCALAR[expr.fn](*args)
        wide = torch.int64
        for arg in args:
            wide = torch.promote_types(wide, arg.dtype)
        if expr.dtype in ("real", "complex"):
            wide = torch.promote_types(wide, self.types["real"])
        return _SCALAR[expr.fn](*(a.to(wide) for a in args))

    def _reduce(self, expr: Reduce, at: tuple[int, ...]) -> Tensor:
        arg = self.value(expr.arg, at)
        dims = tuple(self.lead + self.header.index(a) for a in expr.over)
        shape = list(arg.shape)
        for d, a in zip(dims, expr.over, strict=True):
            shape[d] = self.size(a)
        arg = arg.expand(shape)
        if arg.dtype in (torch.bool, torch.int64):
            arg = arg.to(torch.int64 if expr.dtype in ("int", "bool") else self.types["real"])
        if expr.fn == "softmax":
            return self._softmax(arg, dims)
        value: Tensor = _REDUCE[expr.fn](arg, dims)
        for d in sorted(dims):
            value = value.unsqueeze(d)
        return value

    def _softmax(self, x: Tensor, dims: tuple[int, ...]) -> Tensor:
        if x.numel() == 0:
            return x
        weights = torch.exp(x - x.amax(dims, keepdim=True).detach())
        return weights / weights.sum(dims, keepdim=True)

    def _matrix(self, expr: Matrix, at: tuple[int, ...]) -> Tensor:
        wide = self.types["complex" if any(a.dtype == "complex" for a in expr.args) else "real"]
        row, col = (self.lead + self.header.index(a) for a in (expr.rows, expr.cols))
        first = self.value(expr.args[0], at).to(wide).movedim((row, col), (-2, -1))
        if expr.fn == "inv":
            return torch.linalg.inv(first).movedim((-2, -1), (row, col))
        if expr.fn == "expm":
            return torch.linalg.matrix_exp(first).movedim((-2, -1), (row, col))
        right = self.value(expr.args[1], at).to(wide).movedim((row, col), (-2, -1))
        lead = torch.broadcast_shapes(first.shape[:-2], right.shape[:-2])
        solution = torch.linalg.solve(first.expand(*lead, *first.shape[-2:]), right.expand(*lead, *right.shape[-2:]))
        return solution.movedim((-2, -1), (row, col))

    def _read(self, expr: Read, at: tuple[int, ...]) -> Tensor:
        symbol = self.rec.table[expr.name]
        value = self.name(expr.name, tuple(s - lag for s, lag in zip(at, expr.lags, strict=False)))
        rank = self.lead + len(self.header)
        inside = torch.ones([1] * rank, dtype=torch.bool)
        if any(self.size(a) == 0 for a in symbol.axes):
            shape = [1] * self.lead + [self.size(a) if a in expr.axes else 1 for a in self.header]
            return torch.zeros(shape, dtype=value.dtype)
        places = []
        for declared, index in zip(symbol.axes, expr.index, strict=True):
            size = self.size(declared)
            if isinstance(index, Along):
                place = torch.arange(self.size(index.axis)) + index.offset
                shape = [1] * rank
                shape[self.lead + self.header.index(index.axis)] = -1
                place = place.reshape(shape)
            else:
                place = self.value(index.expr, at)
            edge = self.rec.axis[declared].edge
            if edge == "wrap":
                place = place % size
            else:
                if edge == "zero":
                    inside = inside & (place >= 0) & (place < size)
                place = place.clamp(0, size - 1)
            places.append(place)
        if not places:
            return value.reshape(*value.shape, *[1] * len(self.header))
        for k in range(self.lead):
            shape = [1] * rank
            shape[k] = -1
            places.insert(k, torch.arange(value.shape[k]).reshape(shape))
        picked = value[tuple(places)]
        return torch.where(inside, picked, torch.zeros_like(picked))
