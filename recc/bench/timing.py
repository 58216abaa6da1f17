"""Timing several ways of doing the same thing side by side."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter

Run = Callable[[], object]

#: How long one contender runs before it is the next one's turn, in seconds.
_TURN = 0.1


@dataclass(frozen=True)
class Timing:
    """Seconds of one run: the median and the least of `runs` of them."""

    median: float
    least: float
    runs: int


def race(contenders: Mapping[str, Run], seconds: float, least: int = 3) -> dict[str, Timing]:
    """Times contenders in turns, for about `seconds` each and at least `least` turns.

    A turn is a run that is not counted, then as many as fit into a tenth of a second, so that each finds
    its own memory in the caches and a slow spell of the machine hits all alike. A contender that takes
    longer than a turn is not run in vain after the first turn. The garbage collector waits outside.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    turns = dict.fromkeys(contenders, 0)
    active = dict(contenders)
    while active:
        for name, run in list(active.items()):
            taken = times[name]
            if not taken or min(taken) < _TURN:
                run()
            taken += _turn(run)
            turns[name] += 1
            if turns[name] >= least and sum(taken) >= seconds:
                del active[name]
    return {name: Timing(median(taken), min(taken), len(taken)) for name, taken in times.items()}


def _turn(run: Run) -> list[float]:
    taken: list[float] = []
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        began = perf_counter()
        while not taken or perf_counter() - began < _TURN:
            start = perf_counter()
            run()
            taken.append(perf_counter() - start)
    finally:
        if enabled:
            gc.enable()
    return taken


__all__ = ["Run", "Timing", "race"]
