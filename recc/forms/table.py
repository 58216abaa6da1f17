"""Which forms a program has: for each form's name the form itself, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recc.errors import Refusal
from recc.forms.sequential import Sequential, derive_sequential
from recc.recurrence import Recurrence, reads
from recc.structure import Affine, Nonlinear, Structure, describe, structures

#: Every form by name, in the order in which they are shown.
NAMES = ("sequential", "scan", "chunked", "convolution", "matrix", "newton", "step")

Form = Sequential

_INSTEAD = "form='sequential' runs it"
_CHUNKED = ("identity", "scalar", "diagonal", "low_rank", "diagonal+low_rank")


def forms(rec: Recurrence, found: Sequence[Structure] | None = None) -> Mapping[str, Form | Refusal]:
    """Every form of a program by name, or its `Refusal`.

    `found` are the structures of the stages if they are known already. Every well-formed program has the
    sequential form on the `numpy` backend, also where no compiled one can be derived.
    """
    found = structures(rec) if found is None else found
    sequential = derive_sequential(rec)
    table: dict[str, Form | Refusal] = {"sequential": sequential}
    for name in NAMES[1:-1]:
        table[name] = _refusal(name, found)
    table["step"] = _step(rec, sequential)
    return table


def _refusal(form: str, found: Sequence[Structure]) -> Refusal:
    """Why a form does not apply: the structure forbids it, or recc does not derive it yet."""
    what = f"the {form} form"
    with_states = [s for s in found if s.stage.states]
    if not with_states:
        return Refusal(what, "no equation reads an earlier step, so every step runs by itself", _INSTEAD)
    for structure in with_states:
        reason = _forbids(form, structure)
        if reason:
            return Refusal(what, f"{', '.join(structure.stage.states)}: {reason}", _INSTEAD, structure.span)
    if form == "newton" and all(isinstance(s, Affine) for s in with_states):
        return Refusal(what, "every update is affine, so there is nothing to linearise", _INSTEAD)
    shown = "; ".join(f"{', '.join(s.stage.states)}: {_kind(s)}" for s in with_states)
    return Refusal(what, f"not derived yet, although the structure allows it ({shown})", _INSTEAD)


def _forbids(form: str, structure: Structure) -> str:
    """What in a structure rules a form out for good."""
    if form == "newton":
        return ""
    if isinstance(structure, Nonlinear):
        return f"the update is not affine, {structure.reason}"
    if not isinstance(structure, Affine):
        return ""
    if form in ("chunked", "convolution", "matrix") and structure.algebra != "ring":
        return f"the update is linear over {structure.algebra}, not over sums and products"
    if form == "convolution" and not structure.constant:
        return "the transition varies in time"
    if form == "chunked" and (structure.kind not in _CHUNKED or structure.order > 1 or len(structure.states) > 1):
        return f"the transition is {_kind(structure)}, and chunks need a diagonal one, with or without low rank"
    return ""


def _kind(structure: Structure) -> str:
    """The structure in a few words."""
    if not isinstance(structure, Affine):
        return "nonlinear"
    words: list[str] = [structure.algebra] if structure.algebra != "ring" else []
    words += [f"{len(structure.states)} coupled states"] if len(structure.states) > 1 else []
    words.append(describe(structure.kind, [p for e in structure.entries for p in e.parts], structure.rank))
    words += [f"order {structure.order}"] if structure.order > 1 else []
    return ", ".join(words)


def _step(rec: Recurrence, sequential: Form | Refusal) -> Form | Refusal:
    """One step with a given state: nothing may come from the steps after it."""
    what = "step"
    if isinstance(sequential, Refusal):
        return Refusal(what, sequential.reason, sequential.instead, sequential.span)
    if len(rec.scan) > 1:
        reason = f"the program scans over {', '.join(rec.scan)}, so that no single state leads from step to step"
        return Refusal(what, reason, "the whole plane at once")
    for stage in rec.stages:
        for target in stage.equations:
            for read in reads(rec.equation[target].expr):
                if any(lag < 0 for lag in read.lags):
                    return Refusal(
                        what,
                        f"`{target}` needs a later step of `{read.name}`, which is not known when a step is run",
                        "the whole sequence at once",
                        read.span,
                    )
    return sequential


__all__ = ["NAMES", "Form", "forms"]
