"""A small byte-level language model around a compiled program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from recc.demo.layer import Program, Sizes
from recc.recurrence import Recurrence

_ALPHABET = 256


class ShortConvolution(nn.Module):
    """`y[t] = sum[k < taps](w[k] * x[t - taps + 1 + k])` for each channel: each step sees the bytes just before."""

    def __init__(self, width: int, taps: int = 4):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(taps, width) / taps**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, width] -> [B, T, width]`, zeros before the start."""
        return self.window(functional.pad(x, (0, 0, len(self.weight) - 1, 0)))

    def window(self, x: Tensor) -> Tensor:
        """`[B, T + taps - 1, width] -> [B, T, width]`, with the steps before the first in front."""
        steps = x.shape[1] - len(self.weight) + 1
        total = x[:, :steps] * self.weight[0]
        for k in range(1, len(self.weight)):
            total = total + x[:, k : k + steps] * self.weight[k]
        return total

    def step(self, before: Tensor | None, x: Tensor) -> tuple[Tensor, Tensor]:
        """One step `[B, width]` with the `taps - 1` steps before it; the window of the next step too."""
        if before is None:
            before = x.new_zeros(x.shape[0], len(self.weight) - 1, x.shape[1])
        seen = torch.cat([before, x[:, None]], 1)
        return self.window(seen)[:, 0], seen[:, 1:]


class Block(nn.Module):
    """`x + project(program(silu(conv(n))) * silu(gate(n)))` with `n = norm(x)`."""

    def __init__(self, op: Any, rec: Recurrence, width: int, sizes: Sizes):
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.conv = ShortConvolution(width)
        self.program = Program(op, rec, width, sizes)
        self.gate = nn.Linear(width, self.program.width_out)
        self.project = nn.Linear(self.program.width_out, width, bias=False)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Whole sequences: `[B, T, width] -> [B, T, width]`."""
        n = self.norm(x)
        y = self.program(functional.silu(self.conv(n)), tokens)
        return x + self._leave(y, n)

    def step(self, state: Any, x: Tensor, tokens: Tensor) -> tuple[Tensor, Any]:
        """One step: `[B, width] -> [B, width]`, with the state before it and after it."""
        window, inner = state if state is not None else (None, None)
        n = self.norm(x)
        c, window = self.conv.step(window, n)
        y, inner = self.program.step(inner, functional.silu(c), tokens)
        return x + self._leave(y, n), (window, inner)

    def _leave(self, y: Tensor, n: Tensor) -> Tensor:
        left: Tensor = self.project(y * functional.silu(self.gate(n)))
        return left


@dataclass
class Memory:
    """What the model keeps between two bytes: the window of each convolution, the state of each program."""

    window: Tensor | None
    blocks: list[Any]


class LanguageModel(nn.Module):
    """Bytes in, logits of the next byte out: embedding, short convolution, recurrent blocks, head."""

    def __init__(self, op: Any, rec: Recurrence, width: int, sizes: Sizes, blocks: int = 2):
        super().__init__()
        self.embedding = nn.Embedding(_ALPHABET, width)
        self.conv = ShortConvolution(width)
        self.blocks = nn.ModuleList(Block(op, rec, width, sizes) for _ in range(blocks))
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, _ALPHABET)
        nn.init.normal_(self.head.weight, std=0.01)

    def forward(self, tokens: Tensor) -> Tensor:
        """`[B, T] -> [B, T, 256]`."""
        x = self.embedding(tokens)
        x = x + self.conv(x)
        for block in self.blocks:
            x = block(x, tokens)
        logits: Tensor = self.head(self.norm(x))
        return logits

    def step(self, memory: Memory | None, tokens: Tensor) -> tuple[Tensor, Memory]:
        """`[B] -> [B, 256]` by one step of every block, and what to keep for the next byte."""
        memory = memory or Memory(None, [None] * len(self.blocks))
        e = self.embedding(tokens)
        c, window = self.conv.step(memory.window, e)
        x, states = e + c, []
        for block, state in zip(self.blocks, memory.blocks, strict=True):
            assert isinstance(block, Block)
            x, state = block.step(state, x, tokens)
            states.append(state)
        return self.head(self.norm(x)), Memory(window, states)

    @torch.no_grad()
    def sample(self, prompt: bytes, length: int, temperature: float = 0.7, seed: int = 0) -> bytes:
        """Continue a prompt by `length` bytes, one step at a time."""
        generator = torch.Generator().manual_seed(seed)
        memory: Memory | None = None
        logits, said = torch.zeros(1, _ALPHABET), bytearray()
        for byte in prompt:
            logits, memory = self.step(memory, torch.tensor([byte]))
        for _ in range(length):
            chances = torch.softmax(logits[0] / temperature, -1)
            said.append(int(torch.multinomial(chances, 1, generator=generator)))
            logits, memory = self.step(memory, torch.tensor([said[-1]]))
        return bytes(said)
