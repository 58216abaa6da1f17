"""The checks of one job. Each gives how far it is off, in units of what is allowed; bits are equal or not."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from recc.errors import Unsupported
from tests.agree.harness import gradients, plain, worst
from tests.gpu.cases import Job, Setup

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Outcome:
    """What became of a check: `ratio` is the worst error over its bound, `status` one of ok, failed, refused, none."""

    check: str
    setting: str
    status: str
    ratio: float = 0.0
    note: str = ""

    def data(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)


class Off(AssertionError):
    """A check that does not hold."""


class Absent(Exception):
    """A check that a program has no use for, or a machine no means, with the reason."""


def numbers(setup: Setup) -> tuple[float, str]:
    """Values, final states and every gradient against float64; the same bits when run again."""
    found = _both_ways(setup, *setup.leaves())
    again = _both_ways(setup, *setup.leaves())
    _same(found, again, "two runs", exact=True)
    return _ratio(setup, found)


def alone(setup: Setup) -> tuple[float, str]:
    """One sequence of a batch and the same sequence alone."""
    given, states = setup.leaves()
    whole = _both_ways(setup, given, states)
    row = setup.size.batch - 1
    given, states = setup.leaves()
    one = {n: v.detach()[row : row + 1].requires_grad_(v.requires_grad) if n in setup.inputs else v
           for n, v in given.items()}  # fmt: skip
    start = {n: v.detach()[row : row + 1].requires_grad_() for n, v in states.items()}
    weights = {n: w[row : row + 1] for n, w in setup.expected.weights.items()}
    found = _both_ways(setup, one, start, weights)
    ours = _own(setup, {n: v[row : row + 1] for n, v in whole.items() if _has_batch(setup, n)})
    _same({n: found[n] for n in ours}, ours, "alone", setup.exact)
    return 0.0, ""


def packed(setup: Setup) -> tuple[float, str]:
    """Sequences packed along time, one of them empty, and each by itself."""
    if len(setup.program.rec.scan) > 1:
        raise Absent("more than one scan axis")
    steps = setup.steps
    offsets = [0, steps // 3, steps // 3, steps - 1, steps]
    given, _ = setup.leaves()
    row = _row(setup, given)
    cuts = torch.tensor(offsets, dtype=torch.int64, device=setup.job.device)
    weights = {n: w[:1] for n, w in setup.expected.weights.items() if not n.startswith("final ")}
    whole = _both_ways(setup, row, {}, weights, cu_seqlens=cuts, steps=None if setup.inputs else steps)
    for number, (begin, end) in enumerate(pairwise(offsets)):
        if begin == end:
            continue
        piece = {n: v.detach()[:, begin:end].requires_grad_(v.requires_grad) if n in setup.inputs else v
                 for n, v in row.items()}  # fmt: skip
        part = {n: w[:, begin:end] for n, w in weights.items()}
        options = {} if setup.inputs else {"steps": end - begin}
        found = _own(setup, _both_ways(setup, piece, {}, part, **options))
        for name, value in found.items():
            if not _has_batch(setup, name):
                continue
            state = name.startswith("final ")
            ours = whole[name][number : number + 1] if state else whole[name][:, begin:end]
            _same({name: value}, {name: ours}, f"sequence {number}", setup.exact)
    return 0.0, ""


def pieces(setup: Setup) -> tuple[float, str]:
    """A run in three pieces, joined by the states, against float64; step by step the same bits as the whole."""
    if not setup.in_pieces:
        raise Absent("steps are read before they are there")
    given, states = setup.leaves()
    there, state = setup.there(given), setup.there(states)
    steps = setup.steps
    parts: dict[str, list[torch.Tensor]] = {}
    for begin, end in ((0, steps // 2), (steps // 2, steps // 2), (steps // 2, steps)):
        options = {} if setup.inputs else {"steps": end - begin}
        result = _raw(setup, setup.piece(there, begin, end), state, **options)
        state = result[1]
        for name, value in _names(setup, result).items():
            if not name.startswith("final "):
                parts.setdefault(name, []).append(value)
    last = {n: v for n, v in _names(setup, result).items() if n.startswith("final ")}
    joined = {**{n: torch.cat(v, 1) for n, v in parts.items()}, **last}
    whole = setup.call(there, setup.there(states))
    if setup.job.form == "sequential":
        _same(joined, {n: whole[n] for n in joined}, "pieces", setup.exact)
    weights = setup.expected.weights
    here = {n: v.cpu() for n, v in joined.items()}
    values = {n: plain(v) for n, v in here.items()}
    return _ratio(setup, {**values, **gradients(here, weights, {**given, **states})})


def steps(setup: Setup) -> tuple[float, str]:
    """`op.step` from step to step against float64."""
    if not setup.in_pieces or not setup.inputs:
        raise Absent("no steps one by one")
    given, states = (setup.there(t) for t in setup.leaves())
    count = min(setup.steps, 5)
    outputs: dict[str, list[torch.Tensor]] = {}
    state: Any = states or None
    with torch.no_grad():
        for t in range(count):
            now = {n: v[:, t] if n in setup.inputs else v for n, v in given.items()}
            out, state = setup.op.step(state, **now)
            for name, value in _names(setup, (out, state)).items():
                if not name.startswith("final "):
                    outputs.setdefault(name, []).append(value)
    found = {n: plain(torch.stack(v, 1).cpu()) for n, v in outputs.items()}
    expected = {n: setup.expected.values[n][:, :count] for n in found}
    errors = worst(found, expected)
    return _largest({n: e / setup.bound(n) for n, e in errors.items()})


def graph(setup: Setup) -> tuple[float, str]:
    """A captured forward, replayed on other numbers, gives the bits of a plain call; so do packed ones and a step."""
    if setup.job.device != "cuda":
        raise Absent("no CUDA graphs here")
    given, _ = (setup.there(t) for t in setup.leaves())
    held = {n: v.detach().clone() for n, v in given.items()}
    _replayed(setup, held, lambda: setup.call(held, None), "forward")
    if len(setup.program.rec.scan) == 1 and setup.inputs:
        row = {n: v[:1].clone() if n in setup.inputs else v for n, v in held.items()}
        cuts = torch.tensor([0, setup.steps // 2, setup.steps], device="cuda")
        _replayed(setup, row, lambda: setup.call(row, None, cu_seqlens=cuts), "packed")
    if setup.in_pieces and setup.inputs and setup.program.rec.slots:
        now = {n: v[:, 0].clone() if n in setup.inputs else v for n, v in held.items()}
        with torch.no_grad():
            start = setup.op.step(None, **now)[1]
        _replayed(setup, now, lambda: _names(setup, setup.op.step(start, **now)), "step")
    return 0.0, ""


CHECKS: Mapping[str, Callable[[Setup], tuple[float, str]]] = {
    "numbers": numbers, "alone": alone, "packed": packed, "pieces": pieces, "steps": steps, "graph": graph,
}  # fmt: skip


def run(job: Job, names: tuple[str, ...] = tuple(CHECKS)) -> list[Outcome]:
    """Every check of a job, in order; the bits are looked at in the widest setting only."""
    found: list[Outcome] = []
    for setting in job.settings:
        setup = Setup(job, setting)
        for name in names:
            if name != "numbers" and setting != job.settings[-1]:
                continue
            outcome = _one(setup, name)
            found.append(outcome)
            if outcome.status == "refused" and name == "numbers":
                break
    return found


def _one(setup: Setup, name: str) -> Outcome:
    try:
        ratio, note = CHECKS[name](setup)
    except Unsupported as refused:
        return Outcome(name, setup.setting, "refused", note=str(refused))
    except Absent as reason:
        return Outcome(name, setup.setting, "none", note=str(reason))
    except Exception as problem:  # one check that breaks is told among the others
        where = "".join(traceback.format_exception(problem))[-3000:]
        return Outcome(name, setup.setting, "failed", float("inf"), where)
    if note == "unstable":
        return Outcome(name, setup.setting, "none", 0.0, "the program is not stable for its arguments")
    return Outcome(name, setup.setting, "ok" if ratio <= 1 else "failed", ratio, note)


def _both_ways(
    setup: Setup, given: Tensors, states: Tensors, weights: Mapping[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    """Values, and gradients of what has a weight, as arrays."""
    options = {n: v for n, v in options.items() if v is not None}
    results = {n: v.cpu() for n, v in setup.call(setup.there(given), setup.there(states), **options).items()}
    weights = setup.expected.weights if weights is None else weights
    known = {n: w for n, w in weights.items() if n in results}
    return {**{n: plain(v) for n, v in results.items()}, **gradients(results, known, {**given, **states})}


def _raw(setup: Setup, given: Tensors, state: Any, **options: Any) -> Any:
    return setup.op(**given, initial_state=state or None if isinstance(state, dict) else state,
                    output_final_state=True, **options)  # fmt: skip


def _names(setup: Setup, result: Any) -> Tensors:
    from tests.agree.harness import named

    return named(setup.program, result)


def _row(setup: Setup, given: Tensors) -> Tensors:
    return {n: v.detach()[:1].requires_grad_(v.requires_grad) if n in setup.inputs else v for n, v in given.items()}


def _has_batch(setup: Setup, name: str) -> bool:
    """Whether a tensor's first axis counts sequences: not that of a parameter's gradient."""
    plain_name = name.removeprefix("d ")
    return not name.startswith("d ") or plain_name in setup.inputs or plain_name in setup.initial


def _own(setup: Setup, values: dict[str, Any]) -> dict[str, Any]:
    """What belongs to one sequence."""
    return {n: v for n, v in values.items() if _has_batch(setup, n)}


def _ratio(setup: Setup, found: Mapping[str, Any]) -> tuple[float, str]:
    expected = {**setup.expected.values, **setup.expected.gradients}
    if not setup.expected.stable:
        return 0.0, "unstable"
    return _largest({n: e / setup.bound(n) for n, e in worst(found, expected).items()})


def _largest(ratios: Mapping[str, float]) -> tuple[float, str]:
    name = max(ratios, key=lambda n: ratios[n], default="")
    ratio = ratios.get(name, 0.0)
    return (ratio if ratio == ratio else float("inf")), name


def _same(found: Mapping[str, Any], expected: Mapping[str, Any], what: str, exact: bool) -> None:
    """Raises `Off` unless the bits are equal; where no bits are promised, unless they are near."""
    for name, value in expected.items():
        a, b = (np.ascontiguousarray(plain(v.cpu() if hasattr(v, "cpu") else v)) for v in (found[name], value))
        if a.shape != b.shape:
            raise Off(f"{what}: {name} has shape {a.shape}, not {b.shape}")
        if exact and a.tobytes() != b.tobytes():
            differ = int((a.reshape(-1).view(np.uint8) != b.reshape(-1).view(np.uint8)).sum())
            raise Off(f"{what}: {name} differs in {differ} bytes of {a.nbytes}")
        if not exact and not np.allclose(
            a, b, rtol=2e-2, atol=2e-2 * float(np.abs(b).max(initial=1.0)), equal_nan=True
        ):
            raise Off(f"{what}: {name} differs")


def _replayed(setup: Setup, held: Tensors, run: Callable[[], Tensors], what: str) -> None:
    """Captures a call, changes its arguments in place, replays it and compares with a plain call."""
    with torch.no_grad():
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                run()
        torch.cuda.current_stream().wait_stream(side)
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            results = run()
        for name in setup.inputs & held.keys():
            held[name].copy_(held[name].flip(-1) if held[name].dim() > 1 else held[name])
        captured.replay()
        torch.cuda.synchronize()
        _same({n: v.clone() for n, v in results.items()}, run(), f"graph of {what}", exact=True)


__all__ = ["CHECKS", "Absent", "Off", "Outcome", "run"]
