"""Fitting the language model in a given time, with the held-out bits per byte as it falls."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import torch
from torch.nn import functional

from recc.demo.corpus import SEPARATOR, Bytes
from recc.demo.model import LanguageModel
from recc.errors import UsageError


@dataclass(frozen=True)
class Recipe:
    """How to train: `seconds` of steps on `batch` pieces of `length` bytes, the rate falling by a cosine."""

    seconds: float = 60.0
    batch: int = 4
    length: int = 256
    rate: float = 4e-3
    decay: float = 0.3
    warm_up: int = 40
    seed: int = 0


@dataclass(frozen=True)
class Progress:
    """Where training is: seconds and bytes so far, and bits per byte of the last pieces and of held-out text."""

    share: float
    seconds: float
    steps: int
    bytes: int
    train: float
    held_out: float | None


def train(model: LanguageModel, text: Bytes, held_out: Bytes, recipe: Recipe, looks: int = 8) -> Iterator[Progress]:
    """Train, yielding after every step; about `looks` of the yields carry a look at the held-out text.

    Time spent on those looks, or by the caller between steps, does not count. Raises `UsageError` if the loss is
    no number.
    """
    torch.manual_seed(recipe.seed)
    tokens = torch.from_numpy(text.astype("int64"))
    heavy = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    light = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": heavy, "weight_decay": recipe.decay}, {"params": light, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.99), fused=True)
    spent, steps, smooth, looked = 0.0, 0, math.log(256), 0
    offsets = torch.arange(recipe.length + 1)
    while spent < recipe.seconds:
        began = perf_counter()
        rate = recipe.rate * _schedule(spent / recipe.seconds) * min(1.0, (steps + 1) / recipe.warm_up)
        for group in optimiser.param_groups:
            group["lr"] = rate
        at = torch.randint(len(tokens) - recipe.length, (recipe.batch, 1))
        piece = tokens[at + offsets]
        loss = functional.cross_entropy(model(piece[:, :-1]).flatten(0, 1), piece[:, 1:].flatten())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_([*heavy, *light], 1.0)
        optimiser.step()
        value = loss.item()
        _require_finite(value, steps)
        smooth += (value - smooth) * max(0.02, 1 / (steps + 1))
        steps += 1
        spent += perf_counter() - began
        share = min(1.0, spent / recipe.seconds)
        look = share >= (looked + 1) / looks or steps == 1
        looked += look and steps > 1
        seen = bits_per_byte(model, held_out) if look and share < 1 else None
        yield Progress(share, spent, steps, steps * recipe.batch * recipe.length, smooth / math.log(2), seen)


def _schedule(share: float) -> float:
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share))


def _require_finite(value: float, steps: int) -> None:
    if not math.isfinite(value):
        help = "the program is not stable for all values in its domains: narrow them, or bound its decay"
        raise UsageError("training", "a finite loss", f"{value} at step {steps + 1}", help)


@torch.no_grad()
def bits_per_byte(model: LanguageModel, text: Bytes, length: int = 4096) -> float:
    """The mean of `-log2 p(byte | the bytes before)` over a text, in windows of `length`, each read from its start."""
    tokens = torch.from_numpy(text.astype("int64"))
    before = torch.cat([tokens.new_tensor([SEPARATOR]), tokens[:-1]])
    whole = len(tokens) // length * length
    pieces = [
        (before[:whole].view(-1, length), tokens[:whole].view(-1, length)),
        (before[whole:][None], tokens[whole:][None]),
    ]
    total = 0.0
    for inputs, targets in pieces:
        for row in range(0, inputs.shape[0] if inputs.numel() else 0, 8):
            logits, wanted = model(inputs[row : row + 8]), targets[row : row + 8]
            total += functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="sum").item()
    return total / len(tokens) / math.log(2)
