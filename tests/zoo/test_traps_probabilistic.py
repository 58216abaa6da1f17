"""Traps of filters and chains: what keeps a structure, and what takes it away."""

from __future__ import annotations

import numpy as np
import torch

import recc.zoo
from recc.errors import Refusal
from tests.oracles.gaussian import Joint
from tests.zoo.measure import forms_of
from tests.zoo.rows import ROWS


def test_a_beat_tracker_is_a_companion_matrix_until_its_weights_adapt() -> None:
    """With fixed weights of the jumps the transition is an exact column-stochastic companion matrix; adapted, none."""
    fixed = next(row for row in ROWS if row.program == "jump_back_beats")
    adapted = next(row for row in ROWS if row.program == "jump_rewards")
    assert "companion" in str(recc.zoo.jump_back_beats.structure)
    assert not isinstance(forms_of(fixed)["scan"], Refusal)
    refused = forms_of(adapted)["scan"]
    assert isinstance(refused, Refusal) and "not affine" in refused.reason


def test_a_beat_tracker_keeps_its_mass() -> None:
    """Without observations the chances still add up to one: every column of the companion matrix does."""
    size, steps = 5, 9
    beat = np.where(np.arange(size) == 0, 0.0, -np.inf)
    start = np.log(np.full(size, 1 / size))
    found = recc.zoo.jump_back_beats(
        obs=np.zeros((1, steps, size)), jump=np.linspace(0.1, 0.9, size), start=start, beat=beat
    )
    assert np.abs(found.evidence).max() < 1e-14


def test_the_discriminative_filter_without_its_prior_counts_it_twice() -> None:
    """Dropping `S^-1` (the robust variant) is another filter: it is what remains as S grows."""
    rng = np.random.default_rng(0)
    steps, n = 6, 2
    given = {
        "f": rng.standard_normal((1, steps, n)),
        "Q": np.broadcast_to(np.eye(n), (1, steps, n, n)).copy(),
        "A": 0.5 * np.eye(n),
        "G": np.eye(n),
        "mu0": np.zeros(n),
        "Sigma0": np.eye(n),
    }
    op = recc.zoo.discriminative_kalman
    near, far = op(**given, S=4 * np.eye(n)), op(**given, S=1e12 * np.eye(n))
    eye = torch.eye(n, dtype=torch.float64)
    plain = Joint(
        (0.5 * eye).expand(steps, n, n),
        eye.expand(steps, n, n),
        eye.expand(steps, n, n),
        eye.expand(steps, n, n),
        torch.tensor(given["f"][0]),
        torch.zeros(n, dtype=torch.float64),
        eye,
    )
    robust = plain.filtered()[0].numpy()
    assert np.abs(far.filtered[0] - robust).max() < 1e-10
    assert np.abs(near.filtered[0] - robust).max() > 1e-2
