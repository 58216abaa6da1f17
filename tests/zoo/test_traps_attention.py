"""Where a public definition and the obvious one differ: fast-weight programmers, higher orders, inner training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import recc.zoo
from tests.oracles.in_double import naive

Tensor = torch.Tensor
ONE_HEAD = (2, 8, 1)


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _unit(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(_normal(*shape, seed=seed), dim=-1)


def _near(a: Tensor, b: Tensor, bound: float = 1e-10) -> bool:
    return bool((a - b).norm() <= bound * b.norm())


@pytest.mark.parametrize("decays", [True, False])
def test_comba_removes_before_its_state_decays(decays: bool) -> None:
    q, k, v = _normal(*ONE_HEAD, 3), _unit(*ONE_HEAD, 3, seed=1), _normal(*ONE_HEAD, 2, seed=2)
    g = -_normal(*ONE_HEAD, seed=3).abs() * decays
    beta, b = (torch.sigmoid(_normal(*ONE_HEAD, seed=n)) for n in (4, 5))
    given = {"q": q, "k": k, "v": v, "p": b[..., None] * k, "g": g, "beta": beta, "scale": 1.0}
    found = recc.zoo.comba(q=q, k=k, v=v, g=g, beta=beta, b=b, d=torch.zeros((), dtype=torch.float64))
    chunks, _ = naive("comba", "naive_chunk_comba")(**given, chunk_size=4)
    steps, _ = naive("comba", "naive_recurrent_comba")(**given)
    assert _near(chunks, found)
    assert _near(steps, found) == (not decays), "its function step by step reads the state after the decay"
    assert decays == (not _near(steps, found, 1e-2))


def test_the_momentum_rule_in_chunks_adds_to_its_step_size() -> None:
    q, v = _normal(*ONE_HEAD, 3), _normal(*ONE_HEAD, 2, seed=2)
    k, p = (_unit(*ONE_HEAD, 3, seed=n) for n in (1, 3))
    alpha, mu, eta, beta = (torch.sigmoid(_normal(*ONE_HEAD, seed=n)) for n in (4, 5, 6, 7))
    given = {"q": q, "k": k, "v": v, "p": p, "eta": eta, "log_alpha": alpha.log(), "log_mu": mu.log(), "scale": 1.0}
    chunks, _ = naive("momentum_delta_rule", "chunk_momentum_delta_rule_ref")(**given, beta=beta, chunk_size=4)
    run = recc.zoo.momentum_delta_rule
    shared = {"q": q, "k": k, "p": p, "v": v, "alpha": alpha, "mu": mu, "eta": eta}
    assert not _near(chunks, run(**shared, beta=beta))
    assert _near(chunks, run(**shared, beta=beta + 1e-6))


def test_timelygpt_with_a_constant_decay_is_another_system() -> None:
    q, k, v = _normal(2, 9, 3), _normal(2, 9, 3, seed=1), _normal(2, 9, 2, seed=2)
    gap, gamma = _normal(2, 9, seed=3).exp(), torch.tensor(0.8, dtype=torch.float64)
    constant = recc.zoo.retention(q, k, v, gamma)
    assert _near(recc.zoo.timelygpt(q, k, v, torch.ones_like(gap), gamma), constant)
    assert not _near(recc.zoo.timelygpt(q, k, v, gap, gamma), constant, 1e-2)


def _pieces_of_hla(gamma: float, length: int) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor], Tensor]:
    """The summaries of a first piece, of a second one by itself, and of both; and the second one's keys."""
    q, k, v = _normal(1, 9, 3), _normal(1, 9, 3, seed=1), _normal(1, 9, 2, seed=2)

    def summaries(part: slice) -> dict[str, Tensor]:
        given = (x[:, part] for x in (q, k, v))
        _, final = recc.zoo.hla_decay(*given, torch.tensor(gamma, dtype=torch.float64), output_final_state=True)
        return {name: getattr(final, name) for name in ("S", "C", "G")}

    cut = 9 - length
    return summaries(slice(cut)), summaries(slice(cut, 9)), summaries(slice(9)), k[:, cut:]


@pytest.mark.parametrize("gamma", [1 - 1e-15, 0.7])
def test_the_published_summaries_of_hla_join_without_a_decay_only(gamma: float) -> None:
    length = 4
    before, after, whole, keys = _pieces_of_hla(gamma, length)
    faded = gamma**length
    joined = faded * before["G"] + after["G"] + after["S"] @ (faded * before["C"])
    assert _near(faded * before["S"] + after["S"], whole["S"])
    assert _near(joined, whole["G"]) == (gamma != 0.7)
    assert gamma != 0.7 or not _near(joined, whole["G"], 1e-2)
    # What is needed is one summary more: the sum of k k' of the piece without a decay.
    plain = gamma ** (length - 1) * keys.mT @ keys
    assert _near(faded * before["G"] + after["G"] + plain @ before["C"], whole["G"])


def test_hla_of_third_order_is_not_the_product_of_masked_matrices() -> None:
    q, k, v = _normal(2, 7, 3), _normal(2, 7, 3, seed=1), _normal(2, 7, 2, seed=2)
    scores = torch.tril(q @ k.mT)
    assert _near(torch.tril(scores @ scores.mT) @ v, recc.zoo.hla(q, k, v))
    third = recc.zoo.hla_third_order(q, k, v)
    for product in (scores @ scores.mT @ scores, torch.tril(scores @ scores.mT) @ scores):
        assert not _near(torch.tril(product) @ v, third, 1e-2)


def _ttt(eta: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor], Tensor]:
    """The package's output and weights, those of the zoo, and the package's readout of the zoo's weights."""
    q, k, v = (_normal(2, 8, 1, 3, seed=n) for n in (1, 2, 3))
    w, b = _normal(3, seed=4), _normal(3, seed=5)
    o, weights, bias = naive("ttt", "chunk_ttt_linear_ref")(
        q.clone(), k, v, w[None], b[None], eta[..., None], scale=1.0, mini_batch_size=4, output_final_state=True
    )
    first = (torch.arange(8) % 4 == 0)[None, :, None].expand(2, 8, 1)
    found, final = recc.zoo.ttt_linear(q, k, v, eta, first, w, b, output_final_state=True)
    return (o, weights, bias[..., 0, :]), (found, final.W, final.c), q


def test_the_package_adds_what_ttt_reads_to_itself() -> None:
    (package, *weights), (found, *final), q = _ttt(torch.full((2, 8, 1), 0.1, dtype=torch.float64))
    assert _near(weights[0], final[0])
    assert _near(weights[1], final[1])
    assert not _near(package, found, 1e-2), "the paper adds the query to the normed readout"
    # The last step's readout, from the weights that both agree on.
    last = torch.einsum("bhi,bhij->bhj", q[:, -1], weights[0]) + weights[1]
    assert _near(package[:, -1] - last, found[:, -1] - q[:, -1])


def test_the_package_has_one_step_size_per_mini_batch() -> None:
    (_, *weights), (_, *final), _ = _ttt(torch.sigmoid(_normal(2, 8, 1)))
    assert not _near(weights[0], final[0], 1e-2), "its weights move by the step size of the last token of a batch"


def test_the_published_modes_of_retention_differ_by_a_scale_of_each_row() -> None:
    """Rows are divided by their weights in parallel, by a running root step by step: only a norm makes them agree."""
    steps, gamma = 12, 0.8
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((steps, 3)) for _ in range(3))
    lag = np.subtract.outer(np.arange(steps), np.arange(steps))
    decay = np.where(lag >= 0, gamma ** np.maximum(lag, 0.0), 0.0)
    weights = q @ k.T * decay / np.sqrt(decay.sum(1, keepdims=True))
    parallel = weights @ v / np.maximum(np.abs(weights.sum(1, keepdims=True)), 1)
    state, scale, recurrent = np.zeros((3, 3)), 0.0, []
    for at in range(steps):
        grown = scale * gamma + 1
        state = state * (np.sqrt(scale) * gamma / np.sqrt(grown)) + np.outer(k[at], v[at]) / np.sqrt(grown)
        scale = grown
        recurrent.append(q[at] @ state)
    plain = recc.zoo.retention(q[None], k[None], v[None], gamma=np.asarray(gamma))[0]
    modes = [parallel, np.array(recurrent)]
    assert np.abs(modes[0] - modes[1]).max() > 0.1
    for mode in modes:
        same = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (mode, plain)]
        np.testing.assert_allclose(*same, rtol=0, atol=1e-12)
