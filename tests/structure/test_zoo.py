"""What is found of every program of the zoo: the whole table, stage by stage."""

from __future__ import annotations

from pathlib import Path

import pytest

import recc.recurrence
from recc.check import load
from recc.structure import Nonlinear, structures
from tests.zoo.core import CORE

ZOO = Path(recc.recurrence.__file__).parent / "zoo"

#: For each program its stages with states, in order: the states and what their structure is.
TABLE: dict[str, dict[str, str]] = {
    "all_pole_filter": {
        "y": "diagonal over d, order 2, constant, real",
    },
    "bidirectional": {
        "F": "scalar, varying in time, real, coefficient in (0, 1]",
        "R": "scalar, varying in time, real, coefficient in (0, 1]",
    },
    "conv_ssm": {
        "X": "shifted diagonals (in place, x-1, x+1), constant, real",
    },
    "delta_net": {
        "S": "identity + rank 1 along i, from the left, varying in time, real",
    },
    "gated_delta_net": {
        "S": "scalar + rank 1 along i, from the left, varying in time, real, coefficient in (0, 1]",
    },
    "gated_linear_attention": {
        "S": "diagonal over i, varying in time, real, coefficient in (0, 1]",
    },
    "gru": {
        "h": "nonlinear: `sigmoid` of `xr[t] + sum[m](Rr * h[t-1, m])`, which depends on the state",
    },
    "hawkes": {
        "R": "scalar, varying in time, real, coefficient in (0, 1]",
    },
    "hgrn": {
        "h": "diagonal over d, varying in time, real, coefficient in [0, 1]",
    },
    "hla": {
        "S": "identity, constant, real",
        "C": "identity, constant, real",
        "G": "identity, constant, real",
    },
    "hmm_forward": {
        "alpha": "log-sum-exp, dense along n, varying in time, real",
    },
    "kalman": {
        "P": "nonlinear: divides by `variance[t]`, which depends on the state",
        "x": "dense along n, varying in time, real",
    },
    "lif": {
        "u": "nonlinear, elementwise: `>=` of `v[t]`, which depends on the state",
    },
    "linear_attention": {
        "S": "identity, constant, real",
        "z": "identity, constant, real",
    },
    "lru": {
        "h": "diagonal over n, constant, complex, coefficient modulus in (0, 1)",
    },
    "lssl": {
        "h": "dense along n, constant, real",
    },
    "lstm": {
        "c, h": "nonlinear: `sigmoid` of `xi[t] + sum[m](Ri * h[t-1, m])`, which depends on the state",
    },
    "mamba": {
        "h": "diagonal over d, n, varying in time, real, coefficient in (0, 1)",
    },
    "mlstm": {
        "m": "max-plus, scalar, varying in time, real, coefficient in (-inf, 0]",
        "C": "scalar, varying in time, real, coefficient in (0, 1]",
        "z": "scalar, varying in time, real, coefficient in (0, 1]",
    },
    "resettable_s5": {
        "h": "diagonal over n, varying in time, complex, coefficient modulus in [0, 1), with resets",
    },
    "retention": {
        "S": "scalar, constant, real, coefficient in (0, 1)",
    },
    "rg_lru": {
        "h": "diagonal over d, varying in time, real, coefficient in (0, 1)",
    },
    "roesser": {
        "down, right": "2 coupled states (down, right), dense along n, constant, real",
    },
    "rwkv7": {
        "S": "diagonal over i + rank 1 along i, from the left, varying in time, real, coefficient in (0, 1]",
    },
    "s4d": {
        "h": "diagonal over d, n, constant, complex",
    },
    "selective_dense": {
        "h": "dense along n, varying in time, real",
    },
    "slstm": {
        "m": "max-plus, diagonal over d, varying in time, real",
        "c": "diagonal over d, varying in time, real, coefficient in (0, 1]",
        "n": "diagonal over d, varying in time, real, coefficient in (0, 1]",
    },
    "ssd": {
        "h": "scalar, varying in time, real, coefficient in (0, 1)",
    },
    "viterbi": {
        "h": "max-plus, dense along n, varying in time, real",
    },
}  # fmt: skip


def test_every_program_is_in_the_table() -> None:
    assert set(CORE) <= set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_verdicts(name: str) -> None:
    path = ZOO / f"{name}.recc"
    (rec,) = load(path.read_text(), path.name)
    found = {", ".join(s.stage.states): s for s in structures(rec) if s.stage.states}
    assert {k: str(s).removeprefix("affine: ") for k, s in found.items()} == TABLE[name]
    for structure in found.values():
        assert rec.source.slice(structure.span), "a verdict points at a term of the text"
        assert structure.reason
        if isinstance(structure, Nonlinear):
            assert structure.target in structure.stage.equations
