"""Wrong calls and what their callers read: every message is in `usage.txt`, in this order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import recc
from recc.errors import ReccError, UsageError
from tests.agree.cases import program, programs

HERE = Path(__file__).parent

CLOCKED = "recurrence clocked(n)\n input x[n]\n state h[n]\n h[t] = h[t-1] + t * x[t]\n output y[t] = h[t]\n"
WAVE = "recurrence wave(n)\n input x[n] complex\n state h[n] complex\n h[t] = h[t-1] + x[t]\n output y[t] = h[t]\n"
FREE = "recurrence free\n param a\n state h\n h[t] = a * h[t-1]\n output y[t] = h[t]\n"
ALONE = "recurrence alone\n input x\n output y[t] = 2 * x[t]\n"


def _calls() -> Iterator[tuple[str, Callable[[], Any]]]:
    delta, hmm = programs()["gated_delta"].op, programs()["forward"].op
    q, v, g = np.zeros((2, 5, 3)), np.zeros((2, 5, 4)), np.zeros((2, 5))
    good = {"q": q, "k": q, "v": v, "g": g, "beta": g}
    sym = {"sym": np.zeros((1, 4), int), "flag": np.zeros((1, 4), bool), "start": np.zeros(3)}
    sym |= {"A": np.zeros((3, 3)), "E": np.zeros((3, 2))}
    clocked, wave, free, alone = (program(t).op for t in (CLOCKED, WAVE, FREE, ALONE))
    x = np.zeros((2, 5, 3))
    one = {n: a[:1] for n, a in good.items()}

    def call(op: Any, given: dict[str, Any], *args: Any, **more: Any) -> Callable[[], Any]:
        return lambda: op(*args, **{**given, **more})

    yield "an argument is missing", call(delta, {n: a for n, a in good.items() if n != "beta"})
    yield "a name is misspelt", call(delta, good, betta=g)
    yield "a name is of something else", call(delta, good, heads=3)
    yield "too many by position", call(delta, {}, q, q, v, g, g, g)
    yield "by position and by name", call(delta, good, q)
    yield "not enough axes", call(delta, good, g=np.zeros(5))
    yield "a declared axis is missing", call(delta, good, v=np.zeros((2, 5)))
    yield "sizes differ", call(delta, good, k=np.zeros((2, 5, 6)))
    yield "numbers of steps differ", call(delta, good, g=np.zeros((2, 4)))
    yield "batches differ", call(delta, good, v=np.zeros((3, 5, 4)))
    yield (
        "heads differ",
        call(
            delta,
            good,
            q=np.zeros((2, 5, 6, 3)),
            k=np.zeros((2, 5, 4, 3)),
            v=v[:, :, None],
            g=g[..., None],
            beta=g[..., None],
        ),
    )
    yield "a transposed parameter", call(hmm, sym, A=np.zeros((3, 2)))
    yield "complex for real", call(delta, good, v=v * 1j)
    yield "real numbers for an index", call(hmm, sym, sym=np.zeros((1, 4)))
    yield "text", call(delta, good, g="g")
    yield "a list of rows of different lengths", call(delta, good, g=[[1.0, 2.0], [3.0]])
    yield "an element type that nothing computes with", call(delta, good, g=np.zeros((2, 5), np.uint64))
    yield "a tensor elsewhere", call(delta, good, q=torch.zeros(2, 5, 3, device="meta"))
    yield "a state elsewhere", call(delta, good, initial_state=torch.zeros(2, 3, 4, device="meta"))
    yield "a state of the wrong shape", call(delta, good, initial_state=np.zeros((2, 4, 3)))
    yield "a state without its batch axis", call(delta, good, initial_state=np.zeros((3, 4)))
    yield "too few axes in a state", call(delta, good, initial_state=np.zeros(3))
    yield "a state of too many rows", call(delta, good, initial_state=np.zeros((3, 3, 4)))
    yield "a state that does not exist", call(delta, good, initial_state={"s": np.zeros((2, 3, 4))})
    yield "the wrong number of states", call(delta, good, initial_state=(x, x))
    yield "one array for several states", call(clocked, {"x": x}, initial_state=np.zeros((2, 3)))
    yield "a complex state where it is real", call(delta, good, initial_state=np.zeros((2, 3, 4), complex))
    yield "a state of text", call(delta, good, initial_state=np.array(["a"]))
    yield "a state for a program without one", call(alone, {"x": g}, initial_state=g)
    yield "a clock that is not whole", call(clocked, {"x": x}, initial_state={"t": 0.5})
    yield "clocks of too many sequences", call(clocked, {"x": x}, initial_state={"t": np.arange(3)})
    yield "offsets that are not numbers", call(delta, one, cu_seqlens="0 5")
    yield "offsets in two dimensions", call(delta, one, cu_seqlens=torch.zeros(2, 2, dtype=torch.int32))
    yield "offsets that are not whole", call(delta, one, cu_seqlens=[0, 2.5, 5])
    yield "offsets that end too early", call(delta, one, cu_seqlens=[0, 2, 4])
    yield "offsets that go back", call(delta, one, cu_seqlens=[0, 4, 3, 5])
    yield "no offsets", call(delta, one, cu_seqlens=[])
    yield "packed sequences in several rows", call(delta, good, cu_seqlens=[0, 5])
    yield (
        "a state for each row, not for each sequence",
        call(delta, one, cu_seqlens=[0, 2, 5], initial_state=np.zeros((1, 3, 4))),
    )
    yield (
        "offsets over several scan axes",
        lambda: programs()["roesser"].op(
            *programs()["roesser"].draw(programs()["roesser"].shapes(batch=1))[0].values(), cu_seqlens=[0, 30]
        ),
    )
    yield "no way to tell the number of steps", call(free, {"a": 0.5}, initial_state=np.zeros(1))
    yield "a number of steps that is none", call(free, {"a": 0.5}, initial_state=np.zeros(1), steps=-2)
    yield "steps that contradict an input", call(clocked, {"x": x}, steps=4)
    yield "an unknown backend", lambda: recc.compile(ALONE, backend="cuda")
    yield "an unknown form", lambda: recc.compile(ALONE, form="parallel")
    yield "a complex number for a complex program is right, text is not", call(wave, {"x": "1j"})
    yield "an unknown axis for emit", lambda: delta.emit({"h": 3})
    yield "below a bound", lambda: delta.check_inputs(**{**good, "k": _unit(q), "g": g + 0.25})
    yield "outside an interval", lambda: delta.check_inputs(**{**good, "k": _unit(q), "beta": np.full((2, 5), 1.5)})
    yield "not of unit length", lambda: delta.check_inputs(**{**good, "k": q + 1})
    yield "not a number", lambda: delta.check_inputs(**{**good, "k": _unit(q), "v": v + np.nan})
    yield "an index beyond its axis", lambda: hmm.check_inputs(**{**sym, "sym": np.array([[0, 1, 2, -1]])})
    yield "a truth value of 2", lambda: hmm.check_inputs(**{**sym, "flag": np.array([[0, 1, 2, 1]])})
    yield "an open bound", lambda: programs()["selective"].op.check_inputs(
        u=np.zeros((1, 2, 3)), delta=np.zeros((1, 2, 3)), B=np.zeros((1, 2, 2)), C=np.zeros((1, 2, 2)),
        A=-np.ones((3, 2)), D=np.zeros(3),
    )  # fmt: skip


def _unit(like: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    found = np.zeros_like(like)
    found[..., 0] = 1
    return found


def test_messages(golden: Callable[[Path, str], None]) -> None:
    parts = []
    for label, call in _calls():
        with pytest.raises(ReccError) as caught:
            call()
        parts.append(f"{label}:\n  {str(caught.value).replace(chr(10), chr(10) + '  ')}\n")
    golden(HERE / "usage.txt", "\n".join(parts))


def test_a_usage_error_has_parts() -> None:
    with pytest.raises(UsageError) as caught:
        programs()["gated_delta"].op(q=1)
    assert caught.value.argument == "argument 'k'"
    assert caught.value.actual == "nothing"
