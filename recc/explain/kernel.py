"""The equations of the convolution form of a stage whose transition is the same at every step.

With A the transition, what a drive adds at step s has passed through it t - s times by step t:

    S[t] = Σ_{s ≤ t} A^(t-s) b[s],    and a readout with a constant factor C has the kernel K[τ] = C A^τ B
"""

from __future__ import annotations

from collections.abc import Sequence

from recc.explain.combine import Groups, Step
from recc.explain.letters import Letters, Way
from recc.explain.linear import Factors, Linear, Readout, summed
from recc.explain.notation import Binary, Equation, Node, Power, Shift, add, at, times, total
from recc.recurrence import Expr
from recc.structure import Affine


def kernel_equations(structure: Affine, stage: Linear | None) -> Groups:
    """The kernel of each readout, or of the state, and the convolution with it."""
    rec = structure.rec
    if len(rec.scan) != 1 or not structure.constant or structure.algebra != "ring":
        return []
    if stage is None or stage.low or not stage.keeps:
        return _of_matrices(Step(structure)) if Step(structure).plain else []
    found: list[Equation] = []
    for readout in stage.readouts:
        if not readout.lag and not any(f.varies for f in readout.factors):
            found += _readout(stage, readout)
    return [("From a state of zero, a convolution along time:", found or _state(stage))]


def _split(factors: Sequence[Expr]) -> tuple[Factors, Factors]:
    """Factors that are the same at every step, and the others."""
    return tuple(f for f in factors if not f.varies), tuple(f for f in factors if f.varies)


def _apart(way: Way) -> Node:
    first, last = (way.here, way.other) if way.direction > 0 else (way.other, way.here)
    return Binary("sub", first, last)


def _power(stage: Linear, exponent: Node) -> tuple[Node, tuple[str, ...]]:
    if stage.decay is None:
        return times(()), ()
    return Power(stage.node(stage.decay, stage.way.here), exponent), stage.decay.axes


def _state(stage: Linear) -> list[Equation]:
    way = stage.way
    power = _power(stage, _apart(way))[0]
    below = way.upto(way.other, way.here)
    terms = [
        total((below,), times([power, *(stage.node(f, way.other) for side in drive for f in side)]))
        for drive in stage.drives
    ]
    return [Equation(add(terms), at(stage.state.name, way.here, stage.state.axes))]


def _readout(stage: Linear, readout: Readout) -> list[Equation]:
    way, letters = stage.way, stage.way.letters
    tau = Shift(letters["apart"])
    kernels: list[Equation] = []
    terms: list[Node] = []
    called = dict(readout.names)
    for m, drive in enumerate(stage.drives):
        constant, varying = _split([stage.along(f, readout.names) for side in drive for f in side])
        if any(set(f.axes) & set(readout.over) for f in varying):
            return _state(stage)
        power, axes = _power(stage, tau)
        factors = [
            *((stage.node(f, way.here), f.axes) for f in readout.factors),
            (power, tuple(called.get(a, a) for a in axes)),
            *((stage.node(f, way.here), f.axes) for f in constant),
        ]
        letter: Node | str = letters["kernel"] if len(stage.drives) == 1 else at(letters["kernel"], Shift(str(m + 1)))
        present = {a for _, own in factors for a in own} - set(readout.over)
        own = tuple(a for a in readout.whole.axes if a in present)
        kernels.append(Equation(summed(readout.over, factors), at(letter, tau, own)))
        applied = times([at(letter, _apart(way), own), stage.node(varying, way.other)])
        terms.append(total((way.upto(way.other, way.here),), applied))
    left = stage.maths.target(readout.left) if readout.left else stage.maths.node(readout.whole)
    return [*kernels, Equation(add(terms), left)]


def _of_matrices(step: Step) -> Groups:
    rec = step.rec
    way = Way(rec.scan[0], step.structure.stage.direction[0], Letters(rec))
    power = Power(at(way.letters["map"]), _apart(way))
    single = len(step.components) == 1
    left = step.stacked(way.here) if single else at(way.letters["stacked"], way.here)
    right = total((way.upto(way.other, way.here),), times([power, at(way.letters["added"], way.other)]))
    lead = "From a state of zero, a convolution with the powers of the matrix, found by repeated squaring:"
    return [(lead, [Equation(right, left)])]


__all__ = ["kernel_equations"]
