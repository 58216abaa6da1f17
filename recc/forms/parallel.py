"""The parallel forms of a program: which there are, and how each stage is run in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from recc.errors import Refusal, Unsupported
from recc.forms.chunk_builder import ChunkBuilder, ChunkPlanner, Solver, SolverMaker
from recc.forms.chunked import ChunkedSolver
from recc.forms.convolution import ConvolutionSolver
from recc.forms.matrix import MatrixSolver
from recc.forms.passes import Parallel
from recc.forms.scan import ScanSolver
from recc.forms.transition import CannotDerive
from recc.recurrence import Recurrence
from recc.structure import Affine, Nonlinear, Structure, classify, describe

_INSTEAD = "form='sequential' runs it"
_CHUNKED = ("zero", "identity", "scalar", "diagonal", "low_rank", "diagonal+low_rank")
#: The size of a chunk unless the caller chooses another; 0 is the whole sequence.
DEFAULT_CHUNK = {"scan": 0, "chunked": 64, "convolution": 0, "matrix": 0}
#: The parallel forms, in the order in which they are shown.
PARALLEL = tuple(DEFAULT_CHUNK)
_SOLVER: Mapping[str, Callable[..., Solver]] = {
    "scan": ScanSolver,
    "chunked": ChunkedSolver,
    "convolution": ConvolutionSolver,
    "matrix": MatrixSolver,
}
_ROUTE = {
    "scan": "a scan of step maps",
    "chunked": "matrix products in chunks",
    "convolution": "a convolution with the powers of the transition",
    "matrix": "the map from all steps to all steps",
}


def chained(rec: Recurrence) -> tuple[Recurrence, tuple[Structure, ...]]:
    """The structures of the stages with states, and one recurrence that has what all their terms use."""
    found: list[Structure] = []
    for states in [s.states for s in rec.stages if s.states]:
        stage = next(s for s in rec.stages if s.states == states)
        structure = classify(rec, stage)
        found.append(structure)
        if isinstance(structure, Affine):
            rec = structure.rec
    return rec, tuple(replace(s, rec=rec) if isinstance(s, Affine) else s for s in found)


def derive(rec: Recurrence, name: str, chunk: int | None = None, maps: bool = False) -> Parallel | Refusal:
    """The parallel form of a name, or why there is none.

    `chunk` is the size of a chunk, 0 for the whole sequence at once; each form has its own default. A stage
    that the form itself cannot run is run by a scan if it can be; one at least must be run by the form.
    With `maps` the matrix form also has its maps between steps (`Pass.maps`).
    """
    what = f"the {name} form"
    if len(rec.scan) > 1:
        reason = f"the program scans over {', '.join(rec.scan)}, and its steps are not one after the other"
        return Refusal(what, reason, _INSTEAD)
    work, found = chained(rec)
    if not found:
        return Refusal(what, "no equation reads an earlier step, so every step runs by itself", _INSTEAD)
    chunk = DEFAULT_CHUNK[name] if chunk is None else chunk
    refusals: dict[str, Refusal] = {}
    for structure in found:
        reason = _forbids(name, structure)
        if reason:
            names = ", ".join(structure.stage.states)
            refusals[structure.stage.states[0]] = Refusal(what, f"{names}: {reason}", _INSTEAD, structure.span)
        if isinstance(structure, Nonlinear):
            return refusals[structure.stage.states[0]]
    while len(refusals) < len(found):
        try:
            return _built(rec, work, name, chunk, maps, [s for s in found if isinstance(s, Affine)], refusals)
        except _Failed as failure:
            (state, *_) = failure.structure.states
            names = ", ".join(failure.structure.states)
            refusal = Refusal(what, f"{names}: {failure.reason}", _INSTEAD, failure.structure.span)
            if state in refusals or name == "scan":
                return refusal
            refusals[state] = refusal
        except Unsupported as problem:
            return Refusal(what, f"{problem.refusal.what}: {problem.refusal.reason}", _INSTEAD, problem.refusal.span)
    return next(iter(refusals.values()))


class _Failed(Exception):
    """The solver of a stage cannot be built."""

    def __init__(self, structure: Affine, reason: str):
        self.structure = structure
        self.reason = reason
        super().__init__(reason)


def _built(
    rec: Recurrence,
    work: Recurrence,
    name: str,
    chunk: int,
    maps: bool,
    found: Sequence[Affine],
    refused: Mapping[str, Refusal],
) -> Parallel:
    makers: dict[str, SolverMaker] = {}
    routes = []
    for structure in found:
        own = structure.states[0] not in refused
        route = name if own else "scan"
        routes.append((structure.states, _ROUTE[route] if own or name == "scan" else f"{_ROUTE['scan']} in each chunk"))
        makers.update(dict.fromkeys(structure.states, partial(_make, _SOLVER[route], structure, chunk)))
    plans = [
        ChunkPlanner(work, None, makers=makers, fresh=fresh, maps=maps)
        for fresh in ((False,) if chunk else (False, True))
    ]
    passes = [plan.plan().passes for plan in plans]
    longest = chunk if name == "chunked" else 0
    return Parallel(name, rec, passes[0], chunk, tuple(routes), passes[-1] if len(passes) > 1 else (), longest)


def _make(kind: Callable[..., Solver], structure: Affine, chunk: int, into: ChunkBuilder) -> Solver:
    try:
        return kind(into, structure, chunk)
    except CannotDerive as why:
        raise _Failed(structure, str(why)) from None


def _forbids(form: str, structure: Structure) -> str:
    """What in a structure rules a form out."""
    if not isinstance(structure, Affine):
        return f"the update is not affine, {structure.reason}"
    if structure.stopped:
        return "`stop` holds back part of the gradient that the form would pass on"
    if form != "scan" and structure.algebra != "ring":
        return f"the update is linear over {structure.algebra}, not over sums and products"
    if form == "convolution" and not structure.constant:
        return "the transition varies in time"
    if form == "chunked" and (structure.kind not in _CHUNKED or structure.order > 1 or len(structure.states) > 1):
        return f"the transition is {kind_of(structure)}, and chunks need a diagonal one, with or without low rank"
    return ""


def kind_of(structure: Structure) -> str:
    """The structure in a few words."""
    if not isinstance(structure, Affine):
        return "nonlinear"
    words: list[str] = [structure.algebra] if structure.algebra != "ring" else []
    words += [f"{len(structure.states)} coupled states"] if len(structure.states) > 1 else []
    words.append(describe(structure.kind, [p for e in structure.entries for p in e.parts], structure.rank))
    words += [f"order {structure.order}"] if structure.order > 1 else []
    return ", ".join(words)


__all__ = ["DEFAULT_CHUNK", "PARALLEL", "chained", "derive", "kind_of"]
