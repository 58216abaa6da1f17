"""Initial values and discretisations that people use with state space recurrences, as NumPy arrays.

Matrices of online function approximation (`hippo`) and their diagonal and low-rank forms (`normal_plus_low_rank`,
`diagonal`), rings and blocks of eigenvalues, time scales, ways from continuous to discrete time, and
parameterisations that keep a transition stable. All are float64 or complex128 and know nothing of any program:
what they return is passed to an op as its parameters, through `torch.from_numpy` where it is to be learnt.
"""

from __future__ import annotations

from .continuous import bilinear, discretise, zoh
from .hippo import MEASURES, LowRank, diagonal_blocks, hippo, normal_plus_low_rank
from .spectra import arithmetic, diagonal, log_uniform, ring, softplus_inverse
from .stable import STABLE, Stable

__all__ = [
    "MEASURES", "STABLE", "LowRank", "Stable", "arithmetic", "bilinear", "diagonal", "diagonal_blocks", "discretise",
    "hippo", "log_uniform", "normal_plus_low_rank", "ring", "softplus_inverse", "zoh",
]  # fmt: skip
