"""The recurrences that are measured: programs, their arguments, and what is aimed at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from recc.bench.gpu.shapes import CHANNELS, LONG, Shape

#: What every ratio of times should reach, and what those of one long sequence should.
FLOOR, LONG_GOAL = 0.9, 2.0
#: What a diagonal scan should reach of the measured bandwidth of a copy.
SCAN_GOAL = 0.8
#: What the host may take for a small call, in microseconds.
HOST_GOAL = 60.0


@dataclass(frozen=True)
class Family:
    """A recurrence. `decay` is one of none, constant, head, row; `goal` is for forward + backward over a rival."""

    name: str
    title: str
    decay: str
    correction: bool = False
    goal: float = FLOOR
    diagonal: bool = False

    @property
    def text(self) -> str:
        """The program."""
        return self.path.read_text(encoding="utf-8")

    @property
    def path(self) -> Path:
        """Its file: here, or among the other measured programs."""
        here = Path(__file__).with_name(f"{self.name}.recc")
        return here if here.exists() else Path(__file__).parents[1] / f"{self.name}.recc"

    def per_token(self, shape: Shape) -> tuple[int, ...]:
        """The numbers of each input for one step of one head."""
        if self.diagonal:
            return shape.size, shape.size
        gate = {"row": (shape.size,), "head": (1,)}.get(self.decay, ())
        return (shape.size,) * 3 + gate + (1,) * self.correction

    def shapes(self, group: tuple[Shape, ...]) -> tuple[Shape, ...]:
        """Those of a group, and with the first the one that is for scans alone."""
        return (*group, CHANNELS) if self.diagonal and group[0].name == "s3" else group

    def aim(self, shape: Shape, way: str) -> float:
        """The least ratio of a rival's time to ours that is aimed at."""
        if shape.name == LONG.name:
            return LONG_GOAL
        return self.goal if way == "both" else FLOOR

    def draw(self, shape: Shape, device: str, dtype: torch.dtype = torch.bfloat16, seed: int = 0) -> dict[str, Tensor]:
        """Random arguments `[B, T, H, ...]` by name; keys and queries have norm 1, gates are logsigmoid(normal)."""
        source = torch.Generator(device).manual_seed(seed)
        lead = (shape.batch, shape.steps, shape.heads)

        def normal(*axes: int) -> Tensor:
            return torch.randn(*lead, *axes, generator=source, device=device)

        if self.diagonal:
            wide = (shape.batch, shape.steps, shape.heads * shape.size)
            return {"x": normal(shape.size).reshape(wide).to(dtype),
                    "g": logsigmoid(normal(shape.size)).reshape(wide).to(dtype)}  # fmt: skip
        found = {n: normalize(normal(shape.size), dim=-1).to(dtype) for n in ("q", "k")}
        found["v"] = normal(shape.size).to(dtype)
        if self.decay == "constant":
            found["gamma"] = decays(shape.heads, device)
        elif self.decay != "none":
            found["g"] = logsigmoid(normal(*((shape.size,) if self.decay == "row" else ()))).to(dtype)
        if self.correction:
            found["beta"] = normal().sigmoid().to(dtype)
        return found


def decays(heads: int, device: str) -> Tensor:
    """A constant per head, `1 - 2^(-5 - h)` for the first eight and over again."""
    return 1 - 2.0 ** (-5.0 - (torch.arange(heads, device=device) % 8).float())


#: In the order in which they are measured.
FAMILIES = (
    Family("correction", "decay per head, correction", "head", correction=True, goal=1.3),
    Family("vector_gate", "decay per row", "row", goal=2.0),
    Family("scalar_gate", "decay per head", "head", goal=1.5),
    Family("log_scan", "diagonal scan", "row", diagonal=True),
    Family("vector_correction", "decay per row, correction", "row", correction=True, goal=1.1),
    Family("constant_gate", "constant decay", "constant", goal=1.5),
    Family("plain_correction", "correction", "none", correction=True),
    Family("no_gate", "no decay", "none"),
)


def family(name: str) -> Family:
    """A family by name."""
    return next(f for f in FAMILIES if f.name == name)


__all__ = ["FAMILIES", "FLOOR", "HOST_GOAL", "LONG_GOAL", "SCAN_GOAL", "Family", "decays", "family"]
