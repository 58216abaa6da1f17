"""A compiled program against rivals on the same tensors: agreement first, then time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recc.bench.rivals import Tensors
from recc.bench.timing import Run, Timing, race
from recc.fuzz import Shapes, draw_arguments, rel_rms
from recc.pipeline import compile

Function = Callable[[Tensors], Tensor]


def program(name: str) -> Any:
    """A program of this folder, compiled."""
    return compile(Path(__file__).with_name(f"{name}.recc"))


def draw(op: Any, shapes: Shapes) -> dict[str, Tensor]:
    """Arguments from their domains, in float32, the same ones every time."""
    drawn = draw_arguments(op.recurrence, shapes, np.random.default_rng(0), dtype=np.float32)
    return {n: torch.from_numpy(np.ascontiguousarray(v)) for n, v in drawn.items()}


@dataclass(frozen=True)
class Contest:
    """Times of recc and of each rival, forward and forward with backward; and how far apart their results are.

    `errors` is, for each rival, the largest relative RMS difference of the output and of any gradient.
    """

    forward: Mapping[str, Timing]
    both: Mapping[str, Timing]
    errors: Mapping[str, tuple[float, float]]


def hold(op: Any, arguments: Tensors, rivals: Mapping[str, Function], seconds: float, least: int = 3) -> Contest:
    """Compares the results of a one-output program with those of its rivals, and then times all of them."""
    contenders: dict[str, Function] = {"recc": lambda of: op(**of), **rivals}
    leaves = {n: t.clone().requires_grad_(t.is_floating_point()) for n, t in arguments.items()}
    weight = torch.randn(op(**arguments).shape, generator=torch.Generator().manual_seed(0))
    ways = {name: both_ways(run, leaves, weight) for name, run in contenders.items()}
    own = ways["recc"]()
    errors = {}
    for name in rivals:
        theirs = ways[name]()
        apart = [rel_rms(a.numpy(), b.numpy()) for a, b in zip(own, theirs, strict=True)]
        errors[name] = (apart[0], max(apart[1:]))
    forward = race({name: only_forward(run, arguments) for name, run in contenders.items()}, seconds, least)
    return Contest(forward, race(ways, seconds, least), errors)


def only_forward(run: Function, arguments: Tensors) -> Run:
    """A run that keeps nothing for a backward pass."""

    def go() -> Tensor:
        with torch.no_grad():
            return run(arguments)

    return go


def both_ways(run: Function, leaves: Tensors, weight: Tensor) -> Callable[[], Sequence[Tensor]]:
    """A run forward and backward: the output, and the gradients of its product with `weight`."""
    wanted = [t for t in leaves.values() if t.requires_grad]

    def go() -> Sequence[Tensor]:
        output = run(leaves)
        return output.detach(), *torch.autograd.grad(output, wanted, weight)

    return go


__all__ = ["Contest", "both_ways", "draw", "hold", "only_forward", "program"]
