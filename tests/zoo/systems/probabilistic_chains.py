"""Chains of labels: sums and maxima over paths, in logarithms."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor
from torch_struct import LinearChain, LogSemiring, MaxSemiring
from torchcrf import CRF

from tests.oracles.paths import all_paths
from tests.zoo.row import Arrays, Given, Row, Values

#: `0 (1 0)*` over two labels, and an automaton for it that has one run for every word: `p --label--> q`.
LANGUAGE = re.compile("0(10)*|1+2?")
EDGES = ((0, 0, 1), (1, 1, 2), (2, 0, 1), (0, 1, 3), (3, 1, 3), (3, 2, 4))
ACCEPTING = (1, 3, 4)


def _forward_crf(given: Given) -> Values:
    """The normaliser of pytorch-crf: its score of one path less its log-likelihood, for every length.

    The program takes a step before the first label, and the package does not: that step goes into its first scores.
    """
    scores, start, emission = given["A"], given.state["alpha"], given["emission"]
    crf = CRF(len(scores), batch_first=True).double().requires_grad_(False)
    crf.start_transitions.zero_()
    crf.end_transitions.zero_()
    del crf.transitions
    crf.transitions = scores.T  # from the row's label to the column's
    first = torch.logsumexp(scores + start[:, None], -1)
    whole = torch.cat([emission[:, :1] + first[:, None], emission[:, 1:]], 1)
    found = []
    for length in range(1, given.steps + 1):
        path = whole[:, :length, 0].sum(1) + (length - 1) * scores[0, 0]
        mask = torch.ones(len(whole), length, dtype=torch.bool)
        found.append(path - crf(whole[:, :length], torch.zeros_like(mask, dtype=torch.long), mask, reduction="none"))
    return {"evidence": torch.stack(found, 1)}


def _struct(edges: Tensor, start: Tensor, semiring: type) -> Tensor:
    """The sums of torch-struct over chains of every length from a start; `edges` is `[B, T, new, old]`."""
    whole = torch.cat([edges[:, :1] + start[:, None, None], edges[:, 1:]], 1)
    chain = LinearChain(semiring)
    return torch.stack([chain.sum(whole[:, : t + 1]) for t in range(edges.shape[1])], 1)


def _viterbi_struct(given: Given) -> Values:
    """The best path of torch-struct."""
    return {"score": _struct(given["A"] + given["emission"][..., None], given.state["h"], MaxSemiring)}


def _listed(given: Given, start: Tensor, scores: Tensor, labels: int, length: int) -> Tensor:
    """The scores `[B, paths]` of all paths of so many steps from a start; `scores` is `[B, T, new, old]`."""
    paths = all_paths(labels, length + 1)
    total = start[:, paths[:, 0]]
    for t in range(length):
        total = total + scores[:, t, paths[:, t + 1], paths[:, t]]
    return total


def _viterbi_listed(given: Given) -> Values:
    """All paths to every label, listed."""
    scores = given["A"] + given["emission"][..., None]
    start, labels = given.state["h"], given["A"].shape[0]
    listed = [_listed(given, start, scores, labels, t + 1) for t in range(given.steps)]
    ends = torch.stack([x.unflatten(1, (-1, labels)).amax(1) for x in listed], 1)
    return {"score": torch.stack([x.amax(1) for x in listed], 1), "path": ends, "final h": ends[:, -1]}


def _forward_listed(given: Given) -> Values:
    """All paths to every label, listed."""
    scores = given["A"] + given["emission"][..., None]
    start, labels = given.state["alpha"], given["A"].shape[0]
    listed = [_listed(given, start, scores, labels, t + 1) for t in range(given.steps)]
    final = torch.logsumexp(listed[-1].unflatten(1, (-1, labels)), 1)
    return {"evidence": torch.stack([torch.logsumexp(x, 1) for x in listed], 1), "final alpha": final}


def _factors(given: Given) -> Tensor:
    """The networks: a mixture of products, added up outside of logarithms; `[B, T, a, b, c]`."""
    leaves = torch.exp(given["leaf"] + given["component"][..., None])
    return torch.log(torch.einsum("uvsc,sabc->uvabc", leaves, torch.exp(given["weight"])))


def _second_order(given: Given) -> Values:
    """torch-struct's first-order chain over pairs of labels; pairs that do not overlap are forbidden."""
    factors, a = _factors(given), given["start"].shape[0]
    batch, steps = factors.shape[:2]
    same = torch.eye(a, dtype=torch.bool)[:, None, None, :]  # b of the new pair, c, a, b of the old one
    moved = factors.permute(0, 1, 3, 4, 2)[..., None].expand(-1, -1, -1, -1, -1, a)
    edges = torch.where(same, moved, torch.tensor(-1e30, dtype=torch.float64)).reshape(batch, steps, a * a, a * a)
    starts = {n: given.state[n].reshape(batch, a * a) for n in ("alpha", "best")}
    return {
        "log_partition": _struct(edges, starts["alpha"], LogSemiring),
        "best_score": _struct(edges, starts["best"], MaxSemiring),
    }


def _second_order_listed(given: Given) -> Values:
    """All label sequences, listed."""
    factors, a = _factors(given), given["start"].shape[0]
    sums, bests = [], []
    for length in range(1, given.steps + 1):
        paths = all_paths(a, length + 2)
        steps = sum(factors[:, t, paths[:, t], paths[:, t + 1], paths[:, t + 2]] for t in range(length))
        first = (paths[:, 0], paths[:, 1])
        sums.append(torch.logsumexp(given.state["alpha"][:, *first] + steps, -1))
        bests.append((given.state["best"][:, *first] + steps).amax(-1))
    return {"log_partition": torch.stack(sums, 1), "best_score": torch.stack(bests, 1)}


def _automaton(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """A start in the first state of the automaton, before any label, and its edges."""
    edge = np.full(arguments["edge"].shape, -np.inf)
    for p, label, q in EDGES:
        edge[label, q, p] = 0
    accept = np.full(arguments["accept"].shape, -np.inf)
    accept[list(ACCEPTING)] = 0
    start = np.full(arguments["start"].shape, -np.inf)
    start[:, 0] = rng.standard_normal(len(start))
    return arguments | {"edge": edge, "accept": accept, "start": start}


def _regular(given: Given) -> Values:
    """All label sequences, listed; those that Python's regular expressions do not match are left out."""
    psi, a, start = given["psi"], given["A"], given["start"][:, 0]
    labels = psi.shape[-1]
    sums, bests = [], []
    for length in range(1, given.steps + 1):
        paths = all_paths(labels, length)
        kept = paths[[bool(LANGUAGE.fullmatch("".join(map(str, path)))) for path in paths.tolist()]]
        scores = sum(psi[:, t, kept[:, t]] for t in range(length))
        scores = scores + sum(a[kept[:, t + 1], kept[:, t]] for t in range(length - 1))
        first = a[kept[:, 0]] + start
        sums.append(torch.logsumexp(scores + torch.logsumexp(first, -1), -1))
        bests.append((scores + first.amax(-1)).amax(-1))
    return {"log_partition": torch.stack(sums, 1), "best_score": torch.stack(bests, 1)}


def _impossible(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """No edges to any accepting state: the language has no words, and every sum is empty."""
    found = _automaton(arguments, rng)
    return found | {"accept": np.full_like(found["accept"], -np.inf)}


def _empty(given: Given) -> Values:
    """A sum over no words; nothing depends on anything."""
    none = torch.full(given["psi"].shape[:2], -torch.inf, dtype=torch.float64) + 0 * given["psi"].sum(-1)
    return {"log_partition": none, "best_score": none}


def _beats(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    beat = np.full(arguments["beat"].shape, -np.inf)
    beat[0] = 0
    return arguments | {"beat": beat}


def _companion(given: Given) -> Values:
    """Products of one column-stochastic companion matrix, in probabilities, normalised once at the end."""
    jump, size = given["jump"], len(given["jump"])
    roll = torch.roll(torch.eye(size, dtype=torch.float64), 1, 0)
    matrix = roll * (1 - jump) + torch.outer(torch.eye(size, dtype=torch.float64)[0], jump)
    assert torch.allclose(matrix.sum(0), torch.ones(size, dtype=torch.float64), atol=1e-14)
    steps = torch.exp(given["obs"])[..., None] * matrix
    mass = torch.exp(given.state["alpha"])
    products = [steps[:, 0]]
    for t in range(1, given.steps):
        products.append(steps[:, t] @ products[-1])
    whole = torch.einsum("tbxy,by->btx", torch.stack(products), mass)
    total = whole.sum(-1, keepdim=True)
    return {"posterior": whole / total, "evidence": total[..., 0].log(), "final alpha": whole[:, -1].log()}


def _rewarded(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    beat, late = np.zeros_like(arguments["beat"]), np.ones_like(arguments["late"])
    beat[0], late[0] = 1, 0
    return arguments | {"beat": beat, "late": late}


def _rewards(given: Given) -> Values:
    """The published loop, one sequence after another, on indices and masks."""
    late = int((given["late"] == 0).sum())
    beliefs, weights = [], []
    for obs, heard, p, w in zip(given["obs"], given["heard"], given.state["p"], given.state["w"], strict=True):
        for likelihood, loud in zip(obs, heard, strict=True):
            w = 0.7 * w / w.max() if w.max() > 1 else w
            jumps = torch.where(w < 0.7, 0.0, 1.0) * w
            onward = torch.roll(p * (1 - jumps), 1)
            moved = torch.cat([onward[:1] + p @ jumps, onward[1:]])
            if loud:
                seen = moved * likelihood
                seen = 0.8 * seen / seen.max() if seen.min() < 1e-5 else seen
                reward = torch.cat([torch.zeros(late), (seen - moved)[late:]])
                w = w - 4 * reward / (-reward).max() if (-reward).max() != 0 else w
                p = seen
            else:
                w = torch.cat([torch.zeros(late), (w - 2 * p * w)[late:]])
                p = moved
            beliefs.append(p)
            weights.append(w)
    shape = (len(given["obs"]), given.steps)
    belief, jump = torch.stack(beliefs).unflatten(0, shape), torch.stack(weights).unflatten(0, shape)
    return {"belief": belief, "weights": jump, "final p": belief[:, -1], "final w": jump[:, -1]}


def _guided(given: Given) -> Values:
    """The distribution of all paths at once, given what is observed, from every state that the chain may be in."""
    kernel, lik, p = given["K"], given["lik"], given.state["p"]
    size, steps = len(kernel), given.steps
    paths = all_paths(size, steps + 1)
    weight = given.state["pull"][:, paths[:, -1]]  # what is observed after the last step
    for t in range(steps):
        weight = weight * kernel[paths[:, t], paths[:, t + 1]] * lik[:, t][:, paths[:, t + 1]]
    by_start = weight.unflatten(1, (size, -1))
    law = by_start / by_start.sum(-1, keepdim=True) * p[..., None]
    law = law.flatten(1)
    guided = [torch.stack([law[:, paths[:, t + 1] == k].sum(-1) for k in range(size)], -1) for t in range(steps)]
    evidence = []
    for t in range(steps):
        rest = all_paths(size, steps - t + 1)
        total = given["p0"][rest[:, 0]] * given.state["pull"][:, rest[:, -1]]
        for k in range(steps - t):
            total = total * kernel[rest[:, k], rest[:, k + 1]] * lik[:, t + k][:, rest[:, k + 1]]
        evidence.append(total.sum(-1).log())
    return {"guided": torch.stack(guided, 1), "evidence": torch.stack(evidence, 1), "final p": guided[-1]}


def _likely(initial: Arrays, rng: np.random.Generator) -> Arrays:
    return {n: rng.uniform(0.2, 1, v.shape) for n, v in initial.items()}


def _cascaded(given: Given) -> Values:
    """All choices of words, listed; for every word the best that goes through it."""
    emission, word, left = given["emission"], given["word"], given.state["left"]
    size, steps = emission.shape[-1], given.steps
    paths = all_paths(size, steps + 1)  # the first place is before the first step
    found = []
    for b in range(len(emission)):
        before = torch.cat([torch.zeros(1, size, dtype=torch.long), word[b]])
        total = left[b][paths[:, 0]] + given.state["right"][b].max()  # of what follows the last step
        for t in range(steps):
            total = total + emission[b, t, paths[:, t + 1]]
            total = total + given["W"][before[t][paths[:, t]], before[t + 1][paths[:, t + 1]]]
        found.append([torch.stack([total[paths[:, t + 1] == k].max() for k in range(size)]) for t in range(steps)])
    return {"marginal": torch.stack([torch.stack(row) for row in found])}


LISTED = "all label sequences, listed"

ROWS = (
    Row("A96", "First-order linear-chain CRF, HMM forward", "pytorch-crf: CRF.forward", _forward_crf, "hmm_forward"),
    Row("A96", "First-order linear-chain CRF, HMM forward", LISTED, _forward_listed, "hmm_forward", steps=(6,)),
    Row("A96", "Viterbi", "torch-struct: LinearChain over MaxSemiring", _viterbi_struct, "viterbi"),
    Row("A96", "Viterbi", LISTED, _viterbi_listed, "viterbi", steps=(6,)),
    Row(
        "A96",
        "Higher-order linear-chain CRF with SPN factors",
        "torch-struct: LinearChain over pairs of labels",
        _second_order,
        "higher_order_crf",
        {"a": 3, "s": 2},
        (6,),
    ),
    Row(
        "A96",
        "Higher-order linear-chain CRF with SPN factors",
        LISTED,
        _second_order_listed,
        "higher_order_crf",
        {"a": 3, "s": 2},
        (5,),
        notes="Second order; a network of one sum node over products of leaves. Deeper networks are more lines.",
    ),
    Row(
        "A97",
        "RegCCRF (regular-constrained CRF)",
        f"{LISTED}, and matched with Python's re",
        _regular,
        "regular_crf",
        {"q": 5, "y": 3},
        (6,),
        draw=_automaton,
        state=False,
        notes="Whether the automaton has one run for every word is for the caller to know.",
    ),
    Row(
        "A97",
        "RegCCRF, an empty language",
        "a sum over no words is -inf and has no gradient",
        _empty,
        "regular_crf",
        {"q": 5, "y": 3},
        draw=_impossible,
        state=False,
    ),
    Row(
        "A99",
        "1-D state space beat tracking",
        "products of dense column-stochastic companion matrices, normalised at the end",
        _companion,
        "jump_back_beats",
        {"x": 6},
        draw=_beats,
    ),
    Row(
        "A99",
        "1-D state space beat tracking, adapted weights",
        "the loop of jump-reward-inference in torch, with branches and slices",
        _rewards,
        "jump_rewards",
        {"x": 6},
        draw=_rewarded,
        notes="The weights follow the filtered state, which makes the whole nonlinear. The machine of down-beats is "
        "the same program again, run at the beats.",
    ),
    Row(
        "A95",
        "Backward filtering forward guiding",
        "all paths of the chain, listed, weighed with what is observed",
        _guided,
        "guided_chain",
        {"n": 3},
        (5,),
        start=_likely,
        notes="On a chain of finite states. A tree as the index set of a scan is outside.",
    ),
    Row(
        "A98",
        "Cascaded Markov transformer decoding",
        "all choices of words, listed",
        _cascaded,
        "cascaded_markov",
        {"k": 3, "v": 5},
        (5,),
        notes="One round on sets that are given: the top-k that prunes them and grows the order is outside.",
    ),
)
