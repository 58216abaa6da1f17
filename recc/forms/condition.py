"""How sound a form's numbers are: what its algebra multiplies up, and whether anything bounds it.

Every form computes the same values in exact arithmetic. In floating point they differ by what they multiply:
the step loop multiplies a state by one transition after another; a scan, a convolution and the map between
all steps multiply transitions with each other, over as many steps as there are. Where the domains promise
that a transition is at most 1 in modulus, such products only shrink and nothing is lost. Where they promise
more than 1, products over many steps leave the range of the numbers. Where they promise nothing, products
grow if and only if states do, and that is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf, log

from recc.forms.passes import Parallel
from recc.structure import Affine, Structure

#: The logarithm of the largest float32.
_LARGEST = 88.0
_POINTWISE = ("zero", "identity", "scalar", "diagonal")
_WAY = {
    "scan": "a scan multiplies transitions",
    "convolution": "a convolution takes powers of the transition",
    "matrix": "the map between steps multiplies transitions",
    "chunked": "a chunk multiplies decays",
}


@dataclass(frozen=True)
class Note:
    """Something to know about a form's numbers. `bad` says that they cannot be trusted at these sizes."""

    text: str
    bad: bool = False


def conditions(form: Parallel, found: Mapping[str, Structure], steps: int, chunk: int) -> tuple[Note, ...]:
    """What there is to say of a form's numbers, the same thing once.

    Args:
        form: the form.
        found: the structure of the stage of each state.
        steps: the steps of a sequence.
        chunk: steps of a chunk, 0 for all of them.
    """
    notes = []
    for states, route in form.routes:
        structure = found.get(states[0])
        if isinstance(structure, Affine):
            name = "scan" if route.startswith("a scan") else form.name
            notes += list(_of_stage(structure, name, min(steps, chunk) if chunk else steps))
    return tuple(dict.fromkeys(notes))


def _of_stage(structure: Affine, name: str, steps: int) -> Iterator[Note]:
    states = ", ".join(structure.states)
    way = f"{states}: {_WAY[name]} over {steps} steps"
    if structure.algebra != "ring" or structure.kind in ("zero", "identity"):
        return
    pointwise = structure.kind in _POINTWISE
    if name != "chunked" and not pointwise:
        along = ", ".join(structure.mixes) or "its axes"
        yield Note(f"{states}: products of matrices along {along}, which may cancel")
    low, high = _bounds(structure)
    most = max(abs(low), abs(high))
    if not pointwise and name != "chunked":
        return
    if most == inf:
        if pointwise:
            yield Note(f"{way}, and nothing promises that |transition| <= 1")
    elif most > 1 and steps * log(most) > _LARGEST:
        yield Note(f"{way}, which may be as large as {most:g}: their product may be too large for float32", True)
    elif most > 1:
        yield Note(f"{way}, which may be as large as {most:g}")


def _bounds(structure: Affine) -> tuple[float, float]:
    """The interval that the coefficient of the pointwise part is promised to be in."""
    size = structure.pairs[0].size if structure.rotation else structure.size
    return (-inf, inf) if size is None else (size.low, size.high)


__all__ = ["Note", "conditions"]
