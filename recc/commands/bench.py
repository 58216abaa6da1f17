"""`recc bench`: how fast the kernels of a program are on this machine, against moving the same memory."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from recc import zoo
from recc.commands.cores import share_cores
from recc.commands.programs import compiled, parse_sizes
from recc.errors import ReccError, UsageError
from recc.fuzz import Shapes, draw_arguments
from recc.recurrence import Recurrence

_LEAST_RUNS = 5


@dataclass(frozen=True)
class Measured:
    """Milliseconds of a run, and of `torch.add` moving as many bytes in the same process."""

    run: float
    add: float

    def __str__(self) -> str:
        return f"{self.run:9.2f} {self.run / self.add:8.1f}"


def bench(options: argparse.Namespace) -> None:
    """Print a row for each program: a file, or all of the zoo.

    Raises `UsageError` without torch, or for sizes that are none.
    """
    share_cores()
    _require_torch()
    sizes, names = parse_sizes(options.size), [options.file] if options.file else list(zoo.names())
    shown = f"B {options.batch}, T {options.steps}, {options.heads} heads, float32"
    print(f"{shown}; milliseconds, and as multiples of torch.add moving the same bytes\n")
    print(f"{'program':<24} {'sizes':<22} {'forward':>9} {'× add':>8} {'fwd + bwd':>9} {'× add':>8} {'Msteps/s':>9}")
    for name in names:
        try:
            op, rec = compiled(name, options.name if options.file else None, "auto", "auto")
            if len(rec.scan) > 1:
                raise UsageError("FILE", "a program with one scan axis", f"{len(rec.scan)} of them")
            print(_row(op, rec, options, sizes), flush=True)
        except ReccError as refused:
            if options.file:
                raise
            print(f"{name:<24} {str(refused).splitlines()[0]}")


def _row(op: Any, rec: Recurrence, options: argparse.Namespace, sizes: Mapping[str, int]) -> str:
    from recc.demo.layer import choose_sizes

    chosen = choose_sizes(rec, 64 * options.heads, sizes).axes
    shapes = Shapes(chosen, (options.steps,), options.batch, (options.heads,))
    forward, both = measure(op, rec, shapes, options.seconds)
    steps = options.batch * options.steps * options.heads / forward.run / 1e3
    shown = ", ".join(f"{a} {n}" for a, n in chosen.items()) or "scalars"
    return f"{rec.name:<24} {shown:<22} {forward} {both} {steps:9.2f}"


def measure(op: Any, rec: Recurrence, shapes: Shapes, seconds: float) -> tuple[Measured, Measured]:
    """Forward alone, and forward with backward, for about `seconds` each, on arguments drawn from the domains."""
    import torch

    drawn = draw_arguments(rec, shapes, np.random.default_rng(0), dtype=np.float32)
    tensors = {n: torch.from_numpy(np.ascontiguousarray(v)) for n, v in drawn.items()}
    smooth = [t for t in tensors.values() if t.is_floating_point() or t.is_complex()]

    def values() -> list[torch.Tensor]:
        result = op(**tensors)
        return list(result) if isinstance(result, tuple) else [result]

    with torch.no_grad():
        outputs = values()
        forward = _against_add(values, _bytes([*tensors.values(), *outputs]), seconds)
    for tensor in smooth:
        tensor.requires_grad_()
    if not any(o.requires_grad for o in values()):
        return forward, Measured(float("nan"), 1.0)
    ones = [torch.ones_like(o) for o in outputs]

    def gradients() -> None:
        live = [(o, w) for o, w in zip(values(), ones, strict=True) if o.requires_grad]
        torch.autograd.grad([o for o, _ in live], smooth, [w for _, w in live], allow_unused=True)

    # Inputs are read in both directions; outputs and gradients of inputs are written, gradients of outputs read.
    moved = 2 * _bytes(tensors.values()) + 2 * _bytes(outputs) + _bytes(smooth)
    return forward, _against_add(gradients, moved, seconds)


def _against_add(run: Callable[[], object], moved: int, seconds: float) -> Measured:
    """Medians of alternating runs of both, after a warm-up of each."""
    import torch

    a, b = torch.ones(max(1, moved // 12)), torch.ones(max(1, moved // 12))
    c = torch.empty_like(a)
    times: tuple[list[float], list[float]] = ([], [])
    contenders: tuple[Callable[[], object], ...] = (run, lambda: torch.add(a, b, out=c))
    for each in contenders:
        each()
    began = perf_counter()
    while perf_counter() - began < seconds or len(times[0]) < _LEAST_RUNS:
        for each, taken in zip(contenders, times, strict=True):
            start = perf_counter()
            each()
            taken.append(perf_counter() - start)
    return Measured(median(times[0]) * 1e3, median(times[1]) * 1e3)


def _bytes(tensors: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def _require_torch() -> None:
    try:
        import torch  # noqa: F401  # only whether it is there
    except ImportError:
        raise UsageError("recc bench", "torch, to measure against", "none", "pip install 'recc-lang[torch]'") from None
