"""Several sequences laid end to end in one: each is run alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from recc.errors import UsageError
from recc.recurrence import Kind, Recurrence

from .functions import Array
from .interpreter import run
from .result import Result


def run_packed(
    rec: Recurrence,
    arguments: Mapping[str, Any],
    cu_seqlens: Any,
    initial: Mapping[str, Any] | None = None,
    *,
    sizes: Mapping[str, int] | None = None,
    clock: int | Array = 0,
    dtype: Any = np.float64,
) -> Result:
    """Run N sequences that lie end to end along time, `cu_seqlens` `[N+1]` being where each begins.

    Inputs have B = 1 and the total length; initial and final states, and the clock, have N in place of
    B. Outputs are `[1, T, *batch, *axes]`. Raises `UsageError` if the offsets do not rise from 0 to the
    length, or if the program has several scan axes.
    """
    offsets = np.asarray(cu_seqlens)
    if len(rec.scan) != 1:
        raise UsageError("cu_seqlens", "a program with one scan axis", f"scan axes {', '.join(rec.scan)}")
    if offsets.ndim != 1 or offsets.size < 1 or offsets[0] != 0 or np.any(np.diff(offsets) < 0):
        raise UsageError("cu_seqlens", "offsets that rise from 0", str(offsets))
    inputs = {s.name for s in rec.arguments if s.kind is Kind.INPUT}
    for name in inputs & set(arguments):
        shape = np.shape(arguments[name])
        if shape[:2] != (1, int(offsets[-1])):
            raise UsageError(name, f"shape [1, {int(offsets[-1])}, ...]", f"shape {list(shape)}")
    count = offsets.size - 1
    clocks = np.broadcast_to(np.asarray(clock, np.int64), (count,))
    pieces = []
    for n in range(max(count, 1)):  # no sequence at all: run an empty one for its shapes
        start, stop = (int(offsets[n]), int(offsets[n + 1])) if count else (0, 0)
        part = {name: np.asarray(v)[:, start:stop] if name in inputs else v for name, v in arguments.items()}
        states = {name: _pick(np.asarray(v), n) for name, v in (initial or {}).items()} if count else {}
        begin = int(clocks[n]) if count else 0
        pieces.append(run(rec, part, sizes=sizes, initial=states, clock=begin, length=stop - start, dtype=dtype))
    outputs = {s.name: np.concatenate([p.outputs[s.name] for p in pieces], axis=1) if s.varies
               else pieces[0].outputs[s.name] for s in rec.outputs}  # fmt: skip
    final = {s.name: np.concatenate([p.final[s.name] for p in pieces])[:count] for s in rec.slots}
    return Result(outputs, final, clocks + np.diff(offsets))


def _pick(states: Array, n: int) -> Array:
    return states[:1] if states.shape[0] == 1 else states[n : n + 1]


__all__ = ["run_packed"]
