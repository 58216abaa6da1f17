"""Compiles the candidates of the rivals' kernels by several processes, before one process tries them.

A rival has a hundred candidates for one pair of sizes and compiles one after the other. Here every process
compiles its share of them, which Triton keeps on disk; the choice among them is made later, on a quiet device,
among all of them.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from multiprocessing.connection import Connection
from typing import Any

from recc.bench.gpu.families import family
from recc.bench.gpu.shapes import Shape

#: Steps are no constant of a kernel, so few of them will do; a multiple of every chunk.
_STEPS = 256

#: What `Ahead.compile` says when its time is up.
LATE = "not compiled in time"


def share(index: int, count: int) -> None:
    """From now on Triton's tuners try their share of the candidates only, each once."""
    from triton.runtime.autotuner import Autotuner

    prune: Any = Autotuner.prune_configs

    def some(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = prune(self, *args, **kwargs)
        return found[index::count] or [found[index % len(found)]]

    def once(self: Any, run: Any, **_: Any) -> list[float]:
        run()
        return [1.0, 1.0, 1.0]

    tuner: Any = Autotuner
    tuner.prune_configs = some
    tuner.do_bench = once


def hurry(warm: int = 5, repeat: int = 25) -> None:
    """From now on Triton's tuners take so many milliseconds for a candidate, a quarter of their own."""
    from triton.runtime.autotuner import Autotuner
    from triton.testing import do_bench

    def quick(self: Any, run: Any, quantiles: Any = None) -> Any:
        return do_bench(run, warmup=warm, rep=repeat, quantiles=quantiles)

    tuner: Any = Autotuner
    tuner.do_bench = quick


def serve(pipe: Connection, index: int, count: int) -> None:
    """Compiles for one family and shape after the other, as they come."""
    # What is chosen here is no choice: nothing of it may be kept.
    os.environ["FLA_CACHE_RESULTS"] = "0"
    share(index, count)
    while (asked := pipe.recv()) is not None:
        pipe.send(_compile(*asked))


def _compile(name: str, shape: Shape) -> str:
    """Runs the rival of a family forward and backward; the problem, if there is one."""
    import torch

    from recc.bench.gpu.measure import both, forward, leaves
    from recc.bench.gpu.rivals import Missing, fla

    rival = fla(name)
    if isinstance(rival, Missing):
        return rival.reason
    short = Shape(shape.name, shape.batch, _STEPS, shape.heads, shape.size)
    try:
        given = leaves(rival, family(name).draw(short, "cuda"))
        output = forward(rival, given)()
        both(rival, given, torch.ones_like(output))()
        torch.cuda.synchronize()
    except Exception as problem:  # noqa: BLE001  # whatever it is, it shows again where the rival is timed
        return f"{type(problem).__name__}: {problem}"
    finally:
        torch.cuda.empty_cache()
    return ""


class Ahead:
    """The processes, started when they are first needed."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._workers: list[tuple[Any, Any]] = []

    def compile(self, name: str, shape: Shape, seconds: float) -> str:
        """Compiles for a family and a shape; what went wrong, if anything. Ends the processes if it takes longer."""
        if self.count < 2:
            return ""
        if not self._workers:
            self._start()
        deadline = time.monotonic() + seconds
        try:
            for _, pipe in self._workers:
                pipe.send((name, shape))
            problems = []
            for _, pipe in self._workers:
                if not pipe.poll(max(0.0, deadline - time.monotonic())):
                    self.stop()
                    return LATE
                problems.append(pipe.recv())
        except (EOFError, OSError) as problem:
            self.stop()
            return f"a process died: {problem}"
        return next(filter(None, problems), "")

    def stop(self) -> None:
        """Ends the processes."""
        for process, pipe in self._workers:
            process.kill()
            process.join(10)
            pipe.close()
        self._workers = []

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        for index in range(self.count):
            pipe, other = context.Pipe()
            process = context.Process(target=serve, args=(other, index, self.count), daemon=True)
            process.start()
            other.close()
            self._workers.append((process, pipe))


__all__ = ["LATE", "Ahead", "hurry", "serve", "share"]
