"""Fuzzing in processes of its own, so that a kernel that crashes or never ends is a finding and not the end."""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import IO, Any

from ..drawing.case import Case
from ..laws.trial import Finding
from .work import CRASH, HANG, Outcome, Task, broken, cases_of, rec_of, ways_of

#: A process that has only begun needs so many seconds more, to import what it needs.
_START = 60.0


class Ended(Exception):
    """A process ended while it worked. `why` says how."""

    def __init__(self, why: str):
        self.why = why
        super().__init__(why)


class Late(Exception):
    """A process did not answer in time, and was ended."""


class Worker:
    """One process that answers messages, started again after it has ended."""

    def __init__(self, limit: float):
        self.limit = limit
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, *message: Any) -> Any:
        """The answer to a message. Raises `Ended`, `Late`, and whatever was raised there."""
        fresh = self._process is None
        process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        until = monotonic() + self.limit + (_START if fresh else 0)
        data = pickle.dumps(message)
        try:
            process.stdin.write(len(data).to_bytes(8, "little") + data)
            process.stdin.flush()
            size = int.from_bytes(_read(process.stdout, 8, until), "little")
            good, found = pickle.loads(_read(process.stdout, size, until))
        except (EOFError, BrokenPipeError):
            why = _why(process.wait())
            self.close()
            raise Ended(why) from None
        except Late:
            self.close()
            raise
        if not good:
            raise found
        return found

    def _start(self) -> subprocess.Popen[bytes]:
        # The same recc as here, wherever it lies; one thread each; kernels of Triton in its interpreter if need be.
        root = str(Path(__file__).parents[3])
        path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH", "")) if p)
        env = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "", **os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "recc.fuzz.hunting.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**env, "PYTHONPATH": path},
        )
        return self._process

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue


def _read(stream: IO[bytes], size: int, until: float) -> bytes:
    """So many bytes of a stream. Raises `EOFError` where it ends, `Late` after a time."""
    found = b""
    descriptor = stream.fileno()
    while len(found) < size:
        left = until - monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            raise Late
        piece = os.read(descriptor, size - len(found))
        if not piece:
            raise EOFError
        found += piece
    return found


def _why(status: int) -> str:
    if status >= 0:
        return f"the process ends with status {status}"
    try:
        return f"the process is ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"the process is ended by signal {-status}"


class Pool:
    """Some workers. `limit` is how many seconds one number may take."""

    def __init__(self, jobs: int, limit: float):
        self.jobs = jobs
        self.limit = limit
        self._mine = threading.local()
        self._workers: list[Worker] = []
        self._closed = False
        self._threads = ThreadPoolExecutor(jobs)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *problem: object) -> None:
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.close()

    @property
    def worker(self) -> Worker:
        """The worker of the present thread."""
        found: Worker | None = getattr(self._mine, "worker", None)
        if found is None:
            found = self._mine.worker = Worker(self.limit)
            self._workers.append(found)
        return found

    def outcomes(self, task: Task, numbers: Iterable[int]) -> Iterator[Outcome]:
        """The outcomes of numbers, in their order; a few are worked on ahead."""
        waiting: deque[Future[Outcome]] = deque()
        for number in numbers:
            waiting.append(self._threads.submit(self.examine, task, number))
            while len(waiting) > 2 * self.jobs or (waiting and waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def examine(self, task: Task, number: int) -> Outcome:
        """The outcome of a number; a crash or a hang is a failure of the way that shows it when it is alone."""
        begun = monotonic()
        try:
            found: Outcome = self.worker.ask("examine", task, number)
            return found
        except Ended as problem:
            kind, what = CRASH, problem.why
        except Late:
            kind, what = HANG, f"it takes longer than {self.limit:g} s"
        outcome = Outcome(number, seconds=monotonic() - begun)
        if self._closed:
            return outcome
        rec = rec_of(task, number)
        for case in cases_of(task, rec, number):
            outcome.cases += 1
            for way in ways_of(task, rec):
                found_here = self.again(task, case, broken(kind, what, way))
                if found_here is not None:
                    outcome.failures.append((case, found_here))
                    return outcome
        case = next(iter(cases_of(task, rec, number)))
        outcome.failures.append((case, broken(kind, f"{what}, not in any way alone")))
        return outcome

    def again(self, task: Task, case: Case, finding: Finding) -> Finding | None:
        """`recc.fuzz.hunting.work.again` in a worker: a crash or a hang is found again by happening."""
        try:
            found: Finding | None = self.worker.ask("again", task, case, finding)
            return found
        except Ended as problem:
            return broken(CRASH, problem.why, finding.way) if finding.law == CRASH else None
        except Late:
            return broken(HANG, f"it takes longer than {self.limit:g} s", finding.way) if finding.law == HANG else None


__all__ = ["Ended", "Late", "Pool", "Worker"]
