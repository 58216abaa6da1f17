"""Which forms a program has: for each form's name the form itself, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recc.errors import Refusal
from recc.forms.parallel import PARALLEL, derive, kind_of
from recc.forms.passes import Parallel
from recc.forms.sequential import Sequential, derive_sequential
from recc.recurrence import Recurrence, reads
from recc.structure import Affine, Structure, structures

#: Every form by name, in the order in which they are shown.
NAMES = ("sequential", *PARALLEL, "newton", "step")

Form = Sequential | Parallel

_INSTEAD = "form='sequential' runs it"


def forms(rec: Recurrence, found: Sequence[Structure] | None = None) -> Mapping[str, Form | Refusal]:
    """Every form of a program by name, or its `Refusal`.

    `found` are the structures of the stages if they are known already. Every well-formed program has the
    sequential form on the `numpy` backend, also where no compiled one can be derived.
    """
    sequential = derive_sequential(rec)
    table: dict[str, Form | Refusal] = {"sequential": sequential}
    for name in PARALLEL:
        table[name] = derive(rec, name)
    table["newton"] = _newton(structures(rec) if found is None else found)
    table["step"] = _step(rec, sequential)
    return table


def _newton(found: Sequence[Structure]) -> Refusal:
    """Why there is no newton form."""
    what = "the newton form"
    with_states = [s for s in found if s.stage.states]
    if not with_states:
        return Refusal(what, "no equation reads an earlier step, so every step runs by itself", _INSTEAD)
    if all(isinstance(s, Affine) for s in with_states):
        return Refusal(what, "every update is affine, so there is nothing to linearise", _INSTEAD)
    shown = "; ".join(f"{', '.join(s.stage.states)}: {kind_of(s)}" for s in with_states)
    return Refusal(what, f"not derived yet, although the structure allows it ({shown})", _INSTEAD)


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
