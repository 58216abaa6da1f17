"""What a run of the reference gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .functions import Array


@dataclass(frozen=True)
class Result:
    """Outputs `[B, *scan, *batch, *axes]` by name, final states `[B, *batch, *axes]` by slot, and the clock.

    `clock` is the number of steps run since the start of the sequence (one per sequence if packed).
    """

    outputs: dict[str, Array]
    final: dict[str, Array]
    clock: int | np.ndarray[tuple[int, ...], np.dtype[np.int64]]


__all__ = ["Result"]
