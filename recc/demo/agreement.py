"""The emitted kernel against the reference, on arguments drawn from the program's domains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from recc.backends.numpy_reference import run
from recc.fuzz import Shapes, directional_gradient, draw_arguments, inner, no_differences, random_direction, rel_rms
from recc.recurrence import Recurrence


@dataclass(frozen=True)
class Trial:
    """One comparison: what was run, and the largest relative error of its values and of its gradients."""

    number: int
    steps: int
    values: float
    gradients: float | None

    @property
    def worst(self) -> float:
        """The larger of the two."""
        return max(self.values, self.gradients or 0.0)


def trials(op: Any, rec: Recurrence, count: int, seed: int = 0) -> Iterator[Trial]:
    """Run `count` comparisons in float32.

    Values: relative RMS of every output against the float64 reference. Gradients: the derivative of a random
    weighting of the outputs along random directions of all arguments, the kernel's against the one that differences
    of the reference give, as a share of `|gradient| * |direction| / sqrt(n)`, what such a derivative
    usually is. None where the gradient is declared not to be the derivative (`stop`, `surrogate`).
    """
    rng = np.random.default_rng(seed)
    for number in range(1, count + 1):
        shapes = _shapes(rec, rng)
        drawn = {n: np.array(v, _narrow(v)) for n, v in draw_arguments(rec, shapes, rng).items()}
        reference = run(rec, drawn, sizes=shapes.sizes).outputs
        tensors = {n: torch.from_numpy(v.copy()) for n, v in drawn.items()}
        for name in random_direction(rec, drawn, rng):
            tensors[name].requires_grad_()
        outputs = op(**tensors)
        several = outputs if isinstance(outputs, tuple) else (outputs,)
        named = dict(zip((s.name for s in rec.outputs), several, strict=True))
        values = max(rel_rms(named[n].detach().numpy(), ref) for n, ref in reference.items())
        yield Trial(number, shapes.steps[0], values, _gradients(rec, shapes, drawn, tensors, named, rng))


def _gradients(
    rec: Recurrence,
    shapes: Shapes,
    drawn: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    outputs: Mapping[str, torch.Tensor],
    rng: np.random.Generator,
) -> float | None:
    if no_differences(rec) is not None:
        return None
    weights = {n: _weights(o, rng) for n, o in outputs.items() if o.requires_grad}
    wanted = {n: t for n, t in tensors.items() if t.requires_grad}
    if not weights or not wanted:
        return None
    total = torch.zeros(())
    for name, weight in weights.items():
        product = torch.from_numpy(weight).conj() * outputs[name]
        total = total + (product.real if product.is_complex() else product).sum()
    found = torch.autograd.grad(total, list(wanted.values()), allow_unused=True, materialize_grads=True)
    gradients = {n: g.resolve_conj().numpy() for n, g in zip(wanted, found, strict=True)}
    direction = random_direction(rec, drawn, rng)
    exact = directional_gradient(rec, drawn, weights, direction, sizes=shapes.sizes)
    norm = np.sqrt(sum(np.sum(np.abs(gradients[n]).astype(np.float64) ** 2) for n in direction))
    # For a normal direction the derivative has mean 0 and standard deviation |gradient|.
    apart = abs(inner(gradients, direction) - exact.value) - exact.error
    return max(0.0, apart) / max(float(norm), 1e-30)


def _weights(output: torch.Tensor, rng: np.random.Generator) -> Any:
    value = rng.standard_normal(output.shape).astype(np.float32)
    return value + 1j * rng.standard_normal(output.shape).astype(np.float32) if output.is_complex() else value


def _shapes(rec: Recurrence, rng: np.random.Generator) -> Shapes:
    sizes = {a.name: int(rng.integers(2, 9)) for a in rec.axes if a.name == a.size_of}
    steps = tuple(int(rng.integers(1, 65)) for _ in rec.scan)
    return Shapes(sizes, steps, int(rng.integers(1, 4)), (int(rng.integers(1, 4)),))


def _narrow(value: Any) -> Any:
    return {"f": np.float32, "c": np.complex64}.get(value.dtype.kind, value.dtype)
