"""Parameterisations that keep a transition stable: any real number gives an eigenvalue that decays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .spectra import softplus_inverse

Array = NDArray[Any]


@dataclass(frozen=True)
class Stable:
    """A map from a weight to an eigenvalue, and a way back.

    `continuous` says whether stable means negative (`exp(delta lambda)` follows) or between -1 and 1.
    `inverse` gives a weight for an eigenvalue within the map's image, NaN outside it. `law` is the map as a
    formula of the language, to be written into a program.
    """

    law: str
    continuous: bool
    forward: Callable[[Any], Array]
    inverse: Callable[[Any], Array]


def _root(x: Any) -> Array:
    """The root of a number, NaN for those that have none."""
    x = np.asarray(x, np.float64)
    return np.sqrt(np.where(x >= 0, x, np.nan))


#: By name. `best` bounds the ratio of gradient to weight: |f'| / f^2 is constant in the limit of large weights.
#: Source: Wang, Li, StableSSM, 2024.
STABLE: Mapping[str, Stable] = {
    "exp": Stable("-exp(w)", True, lambda w: -np.exp(np.asarray(w)), lambda x: np.log(-np.asarray(x))),
    "softplus": Stable(
        "-softplus(w)", True, lambda w: -np.logaddexp(0, np.asarray(w)), lambda x: softplus_inverse(-np.asarray(x))
    ),
    "best": Stable(
        "-1 / (w ** 2 + 0.5)",
        True,
        lambda w: -1 / (np.square(np.asarray(w)) + 0.5),
        lambda x: _root(-1 / np.asarray(x) - 0.5),
    ),
    "best discrete": Stable(
        "1 - 1 / (w ** 2 + 0.5)",
        False,
        lambda w: 1 - 1 / (np.square(np.asarray(w)) + 0.5),
        lambda x: _root(1 / (1 - np.asarray(x)) - 0.5),
    ),
    "sigmoid": Stable(
        "sigmoid(w)",
        False,
        lambda w: np.exp(-np.logaddexp(0, -np.asarray(w))),
        lambda x: np.log(np.asarray(x)) - np.log1p(-np.asarray(x)),
    ),
    "tanh": Stable("tanh(w)", False, lambda w: np.tanh(np.asarray(w)), lambda x: np.arctanh(np.asarray(x))),
}

__all__ = ["STABLE", "Stable"]
