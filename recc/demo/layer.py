"""Any causal program as a layer of a network: its inputs are read off a hidden vector, its outputs projected back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, prod, sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from recc.errors import Refusal, Unsupported, UsageError
from recc.recurrence import Kind, Recurrence, Symbol, reads

_WIDEST = 64
_MOST_IN_HEAD, _MOST_IN_LAYER = 64 * 64, 4 * 64 * 64


def require_causal(rec: Recurrence) -> None:
    """Raise `Unsupported` unless each output depends on this step and on earlier ones only, along one time axis."""

    def refuse(reason: str, where: Symbol | None) -> Unsupported:
        help = "give the demo a program that runs left to right"
        return Unsupported(Refusal("a causal language model", reason, help, where.span if where else None))

    if len(rec.scan) > 1:
        raise refuse(f"the program has {len(rec.scan)} scan axes, and text has one", None)
    if not rec.outputs or not rec.of_kind(Kind.INPUT):
        raise refuse("the program needs at least one input and one output", None)
    for stage in rec.stages:
        if -1 in stage.direction:
            raise refuse(
                "it runs from right to left, so it reads the text that is to be predicted",
                rec.table[stage.equations[0]],
            )
    for equation in rec.equations:
        for read in reads(equation.expr):
            if any(lag < 0 for lag in read.lags):
                raise refuse(f"`{read.name}` is read at a later step", rec.table[equation.target])


@dataclass(frozen=True)
class Sizes:
    """The sizes of a program's axes, and of the head axis that it is given as a batch axis."""

    axes: Mapping[str, int]
    heads: int

    def of(self, rec: Recurrence, symbol: Symbol) -> tuple[int, ...]:
        """The sizes of a symbol's declared axes."""
        return tuple(self.axes[rec.axis[a].size_of] for a in symbol.axes)


def choose_sizes(rec: Recurrence, width: int, given: Mapping[str, int]) -> Sizes:
    """Sizes that make a layer about `width` wide at a bounded cost for each step.

    Axes start at 64 and are halved, those that no output has first, until the largest tensor of a step has at most
    4096 elements for each head and 16384 for all. `given` sizes are kept. Raises `UsageError` for an axis that the
    program does not have.
    """
    own = [a.name for a in rec.axes if a.name == a.size_of]
    for name in given:
        if name not in own:
            raise UsageError("--size", f"one of {', '.join(own) or 'no axes'}", name)
    axes = {a: given.get(a, _WIDEST) for a in own}
    outside = {rec.axis[a].size_of for s in rec.outputs for a in s.axes}

    def elements(symbol: Symbol) -> int:
        return prod(axes[rec.axis[a].size_of] for a in symbol.axes)

    while True:
        heads = max(1, width // sum(map(elements, rec.outputs)))
        largest = max(map(elements, rec.symbols))
        free = [a for a in own if a not in given and axes[a] > 2]
        if not free or (largest <= _MOST_IN_HEAD and heads * largest <= _MOST_IN_LAYER):
            return Sizes(axes, heads)
        narrowed = max(free, key=lambda a: (axes[a] // (4 if a in outside else 1), axes[a]))
        axes[narrowed] //= 2


class Program(nn.Module):
    """`[B, T, width] -> [B, T, width]` through a compiled program.

    Each input is a linear image of the hidden vector, squashed into its declared domain; `int` and `bool` inputs
    are read off the bytes of the text. Each parameter is trained inside its domain. Heads are a batch axis.
    """

    def __init__(self, op: Any, rec: Recurrence, width: int, sizes: Sizes):
        super().__init__()
        self.op, self.rec, self.sizes = op, rec, sizes
        self.smooth = tuple(s for s in rec.of_kind(Kind.INPUT) if s.dtype in ("real", "complex"))
        self.discrete = tuple(s for s in rec.of_kind(Kind.INPUT) if s.dtype in ("int", "bool"))
        self.parts = [sizes.heads * prod(sizes.of(rec, s)) * (1 + (s.dtype == "complex")) for s in self.smooth]
        self.read = nn.Linear(width, sum(self.parts)) if self.parts else None
        if self.read is not None:
            biases = [_first_bias(s, n, sizes.heads) for s, n in zip(self.smooth, self.parts, strict=True)]
            self.read.bias.data.copy_(torch.cat(biases))
        self.raw = nn.ParameterDict()
        for symbol in rec.arguments:
            if symbol.kind is not Kind.INPUT:
                start = _first_parameter(symbol, (sizes.heads, *sizes.of(rec, symbol)))
                self.raw[symbol.name] = nn.Parameter(start, requires_grad=symbol.kind is Kind.PARAM)
        self.out = [sizes.heads * prod(sizes.of(rec, s)) * (1 + (s.dtype == "complex")) for s in rec.outputs]
        self.norm = nn.RMSNorm(sum(self.out) // sizes.heads)

    @property
    def width_out(self) -> int:
        """How many numbers the program's outputs are for each step."""
        return sum(self.out)

    def arguments(self, hidden: Tensor, tokens: Tensor) -> dict[str, Tensor]:
        """The program's arguments: inputs `[B, T, H, *axes]`, parameters `[H, *axes]`."""
        found = {name: inside(self.rec.table[name], raw) for name, raw in self.raw.items()}
        values = self.read(hidden).split(self.parts, -1) if self.read is not None else ()
        lead = (*hidden.shape[:-1], self.sizes.heads)
        for symbol, value in zip(self.smooth, values, strict=True):
            pair = (2,) if symbol.dtype == "complex" else ()
            found[symbol.name] = inside(symbol, value.reshape(*lead, *self.sizes.of(self.rec, symbol), *pair))
        for symbol in self.discrete:
            shape = self.sizes.of(self.rec, symbol)
            value = _discrete(symbol, tokens, self.sizes, self.rec)
            found[symbol.name] = (
                value.reshape(*tokens.shape, *(1,) * (1 + len(shape))).expand(*lead, *shape).contiguous()
            )
        return found

    def merge(self, outputs: Any) -> Tensor:
        """The outputs side by side, head by head, at size 1: `[B, T, width_out]`."""
        several = outputs if isinstance(outputs, tuple) else (outputs,)
        flat = []
        for symbol, value in zip(self.rec.outputs, several, strict=True):
            real = torch.view_as_real(value) if value.is_complex() else value.float()
            axes = len(symbol.axes) + value.is_complex()
            flat.append(real.flatten(real.ndim - axes) if axes else real.unsqueeze(-1))
        normed: Tensor = self.norm(torch.cat(flat, -1)).flatten(-2)
        return normed

    def forward(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """Whole sequences, `[B, T, width]` and their bytes `[B, T]`, each from the program's own initial state."""
        return self.merge(self.op(**self.arguments(hidden, tokens)))

    def step(self, state: Any, hidden: Tensor, tokens: Tensor) -> tuple[Tensor, Any]:
        """One step, `[B, width]` and bytes `[B]`, from a state (`None`: the initial one); the next state too."""
        found = self.arguments(hidden[:, None], tokens[:, None])
        once = {n: v[:, 0] if self.rec.table[n].kind is Kind.INPUT else v for n, v in found.items()}
        outputs, state = self.op.step(state, **once)
        return self.merge(outputs), state


def inside(symbol: Symbol, raw: Tensor) -> Tensor:
    """Bring any numbers into a symbol's domain, smoothly; a complex value comes from pairs along the last axis."""
    domain = symbol.domain
    if symbol.dtype == "int":
        return raw.long()
    if symbol.dtype == "bool":
        return raw > 0
    if symbol.dtype == "complex":
        value = torch.view_as_complex(raw.contiguous())
        size = value.abs().clamp_min(1e-6)
        if domain.unit and not symbol.axes:
            return value / size
        if domain.upper < inf:
            value = value / size * (domain.upper * torch.tanh(size))
        return functional.normalize(value, dim=-1) if domain.unit else value
    if domain.unit:
        return functional.normalize(raw, dim=-1) if symbol.axes else torch.where(raw < 0, -1.0, 1.0)
    if domain.lower > -inf and domain.upper < inf:
        return domain.lower + (domain.upper - domain.lower) * torch.sigmoid(raw)
    if domain.upper < inf:
        return domain.upper - functional.softplus(raw)
    if domain.lower > -inf:
        return domain.lower + functional.softplus(raw)
    return raw


def _first_bias(symbol: Symbol, count: int, heads: int) -> Tensor:
    """Where an input starts: for a half-line near its end, at sizes between 0.003 and 0.2 over the heads.

    A half-line usually holds the logarithm of a decay or the size of a step: the heads then start with
    memories of different lengths.
    """
    one_sided = symbol.dtype == "real" and (symbol.domain.lower > -inf) != (symbol.domain.upper < inf)
    if not one_sided or symbol.domain.unit:
        return torch.zeros(count)
    return -torch.linspace(1.5, 6, heads).repeat_interleave(count // heads)


def _first_parameter(symbol: Symbol, shape: Sequence[int]) -> Tensor:
    """Where a parameter starts, before it is brought into its domain: small, so that a transition contracts."""
    if symbol.dtype in ("int", "bool"):
        return torch.zeros(*shape)
    pair = (2,) if symbol.dtype == "complex" else ()
    value = torch.randn(*shape, *pair)
    if symbol.domain.bounded or symbol.domain.unit:
        return value
    return value * (0.5 / sqrt(shape[-1]) if len(shape) > 2 else 0.3)


def _discrete(symbol: Symbol, tokens: Tensor, sizes: Sizes, rec: Recurrence) -> Tensor:
    """An `int` input is the byte, folded into its range; a `bool` input says that a word has just ended."""
    if symbol.dtype == "bool":
        return tokens <= ord(" ")
    if symbol.indexes is not None:
        return tokens % sizes.axes[rec.axis[symbol.indexes].size_of]
    low = int(symbol.domain.lower) if symbol.domain.lower > -inf else 0
    high = int(symbol.domain.upper) if symbol.domain.upper < inf else low + 255
    return low + tokens % (high - low + 1)
