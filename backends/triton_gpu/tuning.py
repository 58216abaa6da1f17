"""Chooses among cuts by running them. A cut must agree with the reference before its time counts.

What runs and what times is handed in (`recc.runtime.tuning` has both for a GPU), so that the rules here hold and can
be tested without one. What was found is kept as a file for each key in the folder of `recc.backends.cache`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path

from recc import forms
from recc.backends.cache import cache_folder, writable_folder
from recc.backends.triton_gpu.plan import Plan, Space, written
from recc.backends.triton_gpu.shipped import Cuts

#: What is wrong with a plan, found by running it on a probe; empty if nothing is.
Judge = Callable[[Plan], str]
#: The seconds of a forward and of a backward run of a plan.
Timer = Callable[[Plan], tuple[float, float]]


@dataclass(frozen=True)
class Trial:
    """A plan that was tried: its seconds, or why it may not win."""

    plan: Plan
    seconds: tuple[float, float] | None = None
    note: str = ""


@dataclass(frozen=True)
class Tuned:
    """The plan that won, none if none may, and every trial."""

    plan: Plan | None
    trials: tuple[Trial, ...] = field(default=())

    @property
    def notes(self) -> tuple[str, ...]:
        """Why plans were dropped."""
        return tuple(t.note for t in self.trials if t.note)


def tune(plans: Sequence[Plan], judge: Judge, timer: Timer) -> Tuned:
    """The plan of least time, forward and backward together, among those that agree with the reference.

    Directions share the size of chunks only. So the winner has the fastest forward and the fastest backward cut
    of one size, and is itself judged before it wins. A plan that cannot be compiled or run is dropped.
    """
    trials = [_trial(plan, judge, timer) for plan in plans]
    good = [t for t in trials if t.seconds is not None]
    pairs: list[tuple[float, int, Plan]] = []
    for chunk in dict.fromkeys(t.plan.chunk for t in good):
        same = [t for t in good if t.plan.chunk == chunk]
        ahead, back = (min(same, key=lambda t: _of(t, way)) for way in (0, 1))
        pairs.append((_of(ahead, 0) + _of(back, 1), len(pairs), Plan(ahead.plan.forward, back.plan.backward)))
        # Each as it was tried, for the case that the best of both do not agree with the reference together.
        pairs += [(sum(t.seconds or ()), len(pairs) + n, t.plan) for n, t in enumerate(same)]
    known = {id(t.plan) for t in good}
    for _, _, plan in sorted(pairs, key=lambda pair: pair[:2]):
        note = "" if id(plan) in known or any(plan == t.plan for t in good) else _judged(plan, judge)
        if not note:
            return Tuned(plan, tuple(trials))
        trials.append(Trial(plan, None, note))
    return Tuned(None, tuple(trials))


def _of(trial: Trial, way: int) -> float:
    assert trial.seconds is not None
    return trial.seconds[way]


def _trial(plan: Plan, judge: Judge, timer: Timer) -> Trial:
    note = _judged(plan, judge)
    if note:
        return Trial(plan, None, note)
    try:
        return Trial(plan, timer(plan))
    except Exception as problem:  # noqa: BLE001 - whatever a launch raises rules out this plan and no other
        return Trial(plan, None, f"{name_of(plan)}: {type(problem).__name__}: {problem}")


def _judged(plan: Plan, judge: Judge) -> str:
    try:
        found = judge(plan)
    except Exception as problem:  # noqa: BLE001 - whatever a compiler raises rules out this plan and no other
        found = f"{type(problem).__name__}: {problem}"
    return f"{name_of(plan)}: {found}" if found else ""


def name_of(plan: Plan) -> str:
    """A plan in a few words."""
    ways = (
        f"{way} {dict(s.tiles)} × {s.warps} warps"
        for way, s in (("forward", plan.forward), ("backward", plan.backward))
    )
    return f"chunk {plan.chunk}, {', '.join(ways)}"


# What was found, on disk.


def bucket(heads: int) -> int:
    """The work of one step of a sequence, coarsely: its heads, as the power of four that is not smaller.

    It decides how many programs work on a sequence, so whether time is split for them. It is all of the work that a
    cut may know of. Were cuts to differ by the number of sequences, the bits of one would depend on its batch. Were
    they to differ by steps, the bits would change while a sequence grows, and packed sequences, of which the host
    knows the length of all together alone, would have others than separate ones.
    """
    found = 1
    while found < heads:
        found *= 4
    return found


def key_of(space: Space, heads: int) -> str:
    """What a tuned plan is found by: the space's own key, the coarse work, and what made the kernels."""
    return f"{space.key()} heads {bucket(heads)} triton {version('triton')} emitted by {_emitter()}"


@cache
def _emitter() -> str:
    """A digest of what emits kernels: a cut that was judged as emitted by another version was not judged."""
    folders = Path(__file__).parent, Path(forms.__file__).parent
    texts = [path.read_bytes() for folder in folders for path in sorted(folder.glob("*.py"))]
    return hashlib.sha256(b"".join(texts)).hexdigest()[:12]


def recall(space: Space, key: str) -> Plan | None:
    """The plan that was found for a key; none if there is none, or if its file is of another kind."""
    try:
        data = json.loads(_path(key).read_text(encoding="utf-8"))
        cuts = Cuts.of(data["cuts"])
        same = data["key"] == key
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not same or cuts.chunk not in space.chunks():
        return None
    return space.of(cuts.chunk, cuts.forward, cuts.backward)


def remember(space: Space, key: str, found: Tuned) -> Plan:
    """Keeps a plan that was found, with the trials for whoever wants to know why, and gives the one to be run.

    It is the first that was kept. Of processes that tune at once, each finds a cut of its own, and may find another:
    all run the same, or a sequence would have other bits in each.
    """
    assert found.plan is not None
    cuts = Cuts(found.plan.chunk, written(found.plan.forward), written(found.plan.backward))
    trials = [{"plan": name_of(t.plan), "seconds": t.seconds, "note": t.note} for t in found.trials]
    data = {"key": key, "cuts": cuts.data(), "trials": trials}
    path = _path(key)
    path = writable_folder(path.parent) / path.name
    partial = path.with_suffix(f".{os.getpid()}-{id(data):x}.part")
    partial.write_text(json.dumps(data, indent=1), encoding="utf-8")
    try:
        os.link(partial, path)  # which fails where there is a file already
    except OSError:
        if recall(space, key) is None:
            partial.replace(path)
    partial.unlink(missing_ok=True)
    return recall(space, key) or found.plan


def _path(key: str) -> Path:
    return cache_folder() / "tuned" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


__all__ = ["Judge", "Timer", "Trial", "Tuned", "bucket", "key_of", "name_of", "recall", "remember", "tune"]
