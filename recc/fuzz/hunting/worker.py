"""A process that fuzzes for another one, which outlives whatever happens here: `python -m recc.fuzz.hunting.worker`.

Messages are a length of 8 bytes and a pickle, in on standard input and out on what was standard output. A pickle is
made and read by recc alone, in processes that it started.
"""

from __future__ import annotations

import os
import pickle
import sys
from typing import IO, Any

from .work import again, examine, program_for, rec_of


def answer(message: tuple[Any, ...]) -> Any:
    """The answer to a message: an `Outcome`, or a `Finding` or nothing."""
    kind, *rest = message
    if kind == "examine":
        return examine(*rest)
    if kind == "again":
        task, case, finding = rest
        return again(program_for(task, case.rec), case, finding, task)
    assert kind == "text"
    return rec_of(*rest).source.text


def send(stream: IO[bytes], thing: Any) -> None:
    """Write a message."""
    data = pickle.dumps(thing)
    stream.write(len(data).to_bytes(8, "little") + data)
    stream.flush()


def serve() -> None:
    """Answer messages until there are no more."""
    # Whatever prints here must not stand among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while len(head := sys.stdin.buffer.read(8)) == 8:
        message = pickle.loads(sys.stdin.buffer.read(int.from_bytes(head, "little")))
        try:
            send(answers, (True, answer(message)))
        except Exception as problem:  # noqa: BLE001 - it is raised again where it was asked for
            try:
                send(answers, (False, problem))
            except (pickle.PicklingError, TypeError, AttributeError):
                send(answers, (False, RuntimeError(f"{type(problem).__name__}: {problem}")))


if __name__ == "__main__":
    serve()
