"""The structure of a recurrence: what kind of map each stage applies to its states, and why.

It is found symbolically, from the equations alone: an update is taken apart into terms that are linear
in the stage's earlier states, over (+, *) or a semiring, and what is left (`affine`, `ring`,
`semirings`); the terms say what the map does (`parts`, `classify`), and put together again they are the
update (`rebuilt`).
"""

from __future__ import annotations

from recc.structure.affine import NotAffine
from recc.structure.build import Workspace, number
from recc.structure.classify import classify, structures
from recc.structure.cuts import Cut, cuts
from recc.structure.data import (
    Affine,
    Drive,
    DriveTerm,
    Entry,
    Nonlinear,
    Pair,
    Part,
    Pointwise,
    Semiring,
    Structure,
    Term,
    describe,
)
from recc.structure.readout import Readout
from recc.structure.rebuild import normal_form, rebuilt
from recc.structure.size import Size

__all__ = [
    "Affine", "Cut", "Drive", "DriveTerm", "Entry", "Nonlinear", "NotAffine", "Pair", "Part", "Pointwise", "Readout",
    "Semiring", "Size", "Structure", "Term", "Workspace", "classify", "cuts", "describe", "normal_form", "number",
    "rebuilt", "structures",
]  # fmt: skip
