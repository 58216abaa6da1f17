"""Counts of symbols, and mixtures of them over segments of time."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import gammaln
from torch import Tensor

from tests.zoo.row import Arrays, Given, Row, Values


def _symbols(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    return arguments | {"symbol": np.arange(len(arguments["symbol"]), dtype=float)}


def _kt(given: Given) -> Values:
    """The closed form: a ratio of gamma functions of the counts."""
    size = len(given["symbol"])
    hits = torch.nn.functional.one_hot(given["x"], size).double()
    start = given.state["n"][:, None]
    counts = start + torch.cumsum(hits, 1)
    before = counts - hits + 0.5

    def mass(n: Tensor) -> Tensor:
        return torch.lgamma(n + 0.5).sum(-1) - torch.lgamma((n + 0.5).sum(-1))

    total = given.state["logp"][:, None] + mass(counts) - mass(start)
    finals = {"final n": counts[:, -1], "final logp": total[:, -1]}
    return {"predicted": before / before.sum(-1, keepdim=True), "total": total, **finals}


def _levels(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    return _symbols(arguments, rng) | {"length": 2.0 ** np.arange(4)}


def _tree(word: list[int], depth: int, size: int) -> float:
    """`PTW_d(x) = KT(x) / 2 + PTW_{d-1}(first half) PTW_{d-1}(the rest) / 2`, as a recursion over halves."""
    counts = np.bincount(word, minlength=size) + 0.5
    kt = float(np.exp(gammaln(counts).sum() - gammaln(counts.sum()) - size * gammaln(0.5) + gammaln(size / 2)))
    if depth == 0 or not word:
        return kt
    half = 2 ** (depth - 1)
    return kt / 2 + _tree(word[:half], depth - 1, size) * _tree(word[half:], depth - 1, size) / 2


def _partitions(given: Given) -> Values:
    """The direct recursion over halves, for every length."""
    size = len(given["symbol"])
    rows = [[np.log(_tree(w[: t + 1], 3, size)) for t in range(len(w))] for w in given["x"].tolist()]
    return {"log_probability": np.array(rows)}


ROWS = (
    Row(
        "A100",
        "KT estimator",
        "the closed form in gamma functions",
        _kt,
        "kt_estimator",
        draw=_symbols,
    ),
    Row(
        "A100",
        "KT mixing and partition tree weighting",
        "the direct recursion over halves",
        _partitions,
        "partition_tree_weighting",
        {"a": 2, "j": 4},
        (8,),
        draw=_levels,
        state=False,
        gradients=False,
        notes="The input is symbols: there is no gradient. Depth 3, level by level: the language has no recursion "
        "along an axis.",
    ),
)
