"""Workers that each run one job at a time; one that dies or hangs is replaced, and its job has failed."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from typing import Any

from tests.gpu.cases import Job
from tests.gpu.checks import CHECKS, Outcome, run

#: A job that takes longer than this has hung.
_JOB_SECONDS = 150.0


def prepare() -> None:
    """One thread for torch, and every new tensor filled with NaN: what a kernel does not write shows."""
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True


def serve(pipe: Connection) -> None:
    """Runs jobs as they come until there is none. Ends by itself when the device no longer answers."""
    import warnings

    import torch

    warnings.simplefilter("ignore")
    prepare()
    while (asked := pipe.recv()) is not None:
        job, names = asked
        outcomes = run(job, names)
        healthy = True
        if job.device == "cuda":
            try:
                torch.cuda.synchronize()
                torch.cuda.empty_cache()
            except RuntimeError as problem:
                healthy = False
                outcomes.append(Outcome("device", "", "failed", float("inf"), str(problem)))
        pipe.send(outcomes)
        if not healthy:
            return


class Worker:
    """A process with its pipe, started when it is first needed."""

    def __init__(self) -> None:
        self._process: Any = None
        self._pipe: Any = None

    def do(self, job: Job, names: tuple[str, ...], seconds: float) -> list[Outcome]:
        """The outcomes of a job; one failed outcome if the process died or took too long."""
        if self._process is None or not self._process.is_alive():
            self._start()
        try:
            self._pipe.send((job, names))
            if not self._pipe.poll(seconds):
                self.stop()
                if seconds < _JOB_SECONDS:  # the time of all jobs is up, which is nothing against this one
                    return []
                return [Outcome("worker", "", "failed", float("inf"), f"no answer within {seconds:.0f} s")]
            found: list[Outcome] = self._pipe.recv()
        except (EOFError, OSError):
            code = self._process.exitcode
            self.stop()
            return [Outcome("worker", "", "failed", float("inf"), f"the process died, exit code {code}")]
        return found

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other,), daemon=True)
        self._process.start()
        other.close()

    def stop(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join(10)
        self._process = self._pipe = None


Task = tuple[Any, Callable[[Worker, float], list[Outcome]]]


def task(job: Job, names: tuple[str, ...] = tuple(CHECKS)) -> Task:
    """A job for a worker."""
    return job, lambda worker, left: worker.do(job, names, min(_JOB_SECONDS, left))


def run_all(tasks: Sequence[Task], workers: int, deadline: float, done: Callable[[Any, list[Outcome]], None]) -> None:
    """Runs tasks in order by several workers; what has not begun by the deadline is left out."""
    queue: SimpleQueue[Task] = SimpleQueue()
    for one in tasks:
        queue.put(one)
    lock = threading.Lock()

    def work() -> None:
        worker = Worker()
        try:
            while (left := deadline - time.monotonic()) > 0:
                try:
                    name, function = queue.get_nowait()
                except Empty:
                    return
                found = function(worker, left + 10)
                if found:
                    with lock:
                        done(name, found)
        finally:
            worker.stop()

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def cores() -> int:
    """How many workers this machine is good for."""
    return max(1, min(14, len(os.sched_getaffinity(0)) - 1))


__all__ = ["Worker", "cores", "prepare", "run_all", "task"]
