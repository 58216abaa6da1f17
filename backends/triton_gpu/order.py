"""Which form a GPU runs first: by the structure of a program's stages, never by its name.

Chunks of matrix products are worth their work where a state has an axis that its transition does not decay one by
one: then the products over a chunk's steps are shared along it, on tensor cores. A state whose every element has a
decay of its own, or a complex one, is a scan; what is not affine, or mixes along an axis, runs step by step.
"""

from __future__ import annotations

from recc.forms.parallel import chained
from recc.recurrence import Recurrence
from recc.structure import Affine, Structure

_SHARED = ("zero", "identity", "scalar", "diagonal", "low_rank", "diagonal+low_rank")


def order_of(rec: Recurrence) -> tuple[str, ...]:
    """The forms that kernels can run, the one to try first at the front."""
    if len(rec.scan) > 1:
        return ("sequential",)
    _, found = chained(rec)
    affine = [s for s in found if isinstance(s, Affine)]
    if not found or len(affine) < len(found):
        return ("sequential",)
    if any(_shares(s) for s in affine):
        return ("chunked", "scan", "sequential")
    return ("scan", "chunked", "sequential")


def _shares(structure: Structure) -> bool:
    """Whether the work of a chunk can be shared along an axis of the state."""
    if not isinstance(structure, Affine) or structure.algebra != "ring" or structure.kind not in _SHARED:
        return False
    if "low_rank" in structure.kind:
        return True
    terms = [t for entry in structure.entries for part in entry.parts for t in part.terms]
    state = structure.rec.table[structure.states[0]]
    if state.dtype == "complex" or any(t.left.dtype == "complex" for t in terms):
        return False
    decayed = {a for t in terms for a in t.left.axes}
    return len(state.axes) > 1 and bool({*state.axes} - decayed)


__all__ = ["order_of"]
