"""Linear attention: states that add up, with or without a decay and a normaliser."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.oracles.in_double import naive
from tests.zoo.row import Arrays, Given, Row, Values

from .attention_delta import HEADS, root


def _normalised(given: Given) -> Values:
    """The package's sums, once of the values and once of ones."""
    q, k = (F.elu(given[n]) + 1 for n in "qk")
    run = naive("linear_attn", "naive_recurrent_linear_attn")
    top, state = run(q, k, given["v"], scale=1.0, initial_state=given.state["S"], output_final_state=True)
    ones = torch.ones_like(given["v"][..., :1])
    bottom, z = run(q, k, ones, scale=1.0, initial_state=given.state["z"][..., None], output_final_state=True)
    return {"o": top / bottom, "final S": state, "final z": z[..., 0]}


def _positive(initial: Arrays, rng: np.random.Generator) -> Arrays:
    return initial | {"z": np.abs(initial["z"])}


def _gla(given: Given) -> Values:
    o, final = naive("gla", "naive_recurrent_gla")(
        given["q"] * root(given["q"]), given["k"], given["v"], given["g"], given.state["S"], True
    )
    return {"o": o, "final S": final}


def _hgrn(given: Given) -> Values:
    drive = (1 - given["f"]) * given["x"]
    y, final = naive("hgrn", "naive_recurrent_hgrn")(drive, given["f"].log(), given.state["h"], True)
    return {"y": y, "final h": final}


def _rwkv6(given: Given) -> Values:
    r, k, v, w = (given[n].transpose(1, 2) for n in ("r", "k", "v", "w"))
    o, final = naive("rwkv6", "naive_recurrent_rwkv6", "recurrent_naive")(
        r, k, v, w, given["u"].expand(HEADS[0], -1), 1.0, given.state["S"], True
    )
    return {"o": o.transpose(1, 2), "final S": final}


def _rwkv4(given: Given) -> Values:
    """A softmax over the tokens so far, with the present one lifted by the bonus: no state at all."""
    k, v, w, u = (given[n] for n in "kvwu")
    steps = torch.arange(given.steps)
    gap = (steps[:, None] - steps)[None, :, :, None]
    scores = torch.where(gap > 0, (gap - 1) * w, torch.where(gap == 0, u, -torch.inf)) + k[:, None]
    return {"y": torch.einsum("btsd,bsd->btd", torch.softmax(scores, 2), v)}


def _kernel(folder: str, name: str) -> Callable[[Given], Values]:
    """The dense matrix of a kernel of products, in the package's words."""

    def expected(given: Given) -> Values:
        q, k, v = (given[n].transpose(1, 2) for n in "qkv")
        run = naive(folder, name)
        top = run(q, k, v, scale=1.0, use_norm=False)
        bottom = run(q, k, torch.ones_like(v[..., :1]), scale=1.0, use_norm=False)
        return {"o": (top / (bottom + (1e-6 if folder == "rebased" else 0))).transpose(1, 2)}

    return expected


def _retention(given: Given) -> Values:
    q, k, v = (given[n].transpose(1, 2) for n in "qkv")
    o = naive("retention", "naive_retention")(q * root(q), k, v)
    return {"o": o.transpose(1, 2)}


def _chunks_of_retention(given: Given) -> Values:
    """The package's scalar decays in chunks, with one decay for all steps of a head."""
    decay = given["gamma"].log().expand(given["q"].shape[:3])
    o, final = naive("simple_gla", "naive_chunk_simple_gla")(
        *(given[n] for n in "qkv"), decay, given.state["S"], output_final_state=True, chunk_size=4, scale=1.0
    )
    return {"o": o, "final S": final}


def _published_decays(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """One decay per head, as the package has them."""
    return arguments | {"gamma": 1 - 2.0 ** (-5 - np.arange(HEADS[0]))}


def _rotated(given: Given) -> Values:
    """Queries and keys turned by their positions, a decayed matrix of their products, then torch's norm and gate."""
    steps = torch.arange(given.steps, dtype=torch.float64)
    turn = torch.polar(torch.ones((), dtype=torch.float64), steps[:, None] * given["theta"])
    q, k = given["q"] * turn.conj(), given["k"] * turn.conj()
    gap = steps[:, None] - steps
    decay = torch.where(gap >= 0, given["gamma"] ** gap.clamp(min=0), 0)
    scores = torch.einsum("bti,bsi->bts", q.conj(), k).real * decay
    past = given["gamma"] ** (steps + 1)
    first = torch.polar(past[:, None].expand(-1, len(given["theta"])), (steps[:, None] + 1) * given["theta"])
    begun = torch.einsum("bti,ti,bij->btj", given["q"].conj(), first, given.state["S"]).real
    read = F.rms_norm(scores @ given["v"].to(torch.float64) + begun, (given["v"].shape[-1],), eps=1e-6)
    return {"o": F.silu(given["gate"]) * read}


def _irregular(given: Given) -> Values:
    """The parallel form: powers of the decay by differences of times."""
    times = torch.cumsum(given["gap"], 1)
    between = times[:, :, None] - times[:, None]
    weights = torch.where(between >= 0, torch.exp(between.clamp(min=0) * given["gamma"].log()), 0)
    scores = torch.einsum("bti,bsi->bts", given["q"], given["k"]) * weights
    past = given["gamma"] ** times
    o = scores @ given["v"] + torch.einsum("bt,bti,bij->btj", past, given["q"], given.state["S"])
    return {"o": o}


def _two_sided(log_decay: Tensor) -> Tensor:
    """The full mask `M[t, s]`: the product of decays between the two, whichever comes first."""
    steps = log_decay.shape[1]
    t, s, r = torch.meshgrid(*[torch.arange(steps)] * 3, indexing="ij")
    forward, backward = (s < r) & (r <= t), (t <= r) & (r < s)
    return torch.exp(torch.einsum("tsr,br->bts", (forward | backward).double(), log_decay))


def _lion(given: Given) -> Values:
    """The attention format: all pairs of tokens, a mask of decays, and rows that add up to one."""
    scores = torch.einsum("bti,bsi->bts", given["q"], given["k"]) * _two_sided(given["g"])
    return {"o": scores @ given["v"] / scores.sum(-1, keepdim=True)}


def _without_norm(given: Given) -> Values:
    scores = torch.einsum("bti,bsi->bts", given["q"], given["k"]) * _two_sided(given["g"])
    return {"o": scores @ given["v"]}


def _no_decay(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    return arguments | {"g": 0 * arguments["g"]}


def _same_decay(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    return arguments | {"g": np.full_like(arguments["g"], -0.3)}


def _prefixed(given: Given) -> Values:
    """Every query against all of the prefix and against the tokens so far."""
    inside = given["prefix"].double()
    causal = torch.ones(given.steps, given.steps, dtype=torch.float64).tril()
    body = torch.einsum("bti,bsi->bts", given["q"], given["k"]) * causal
    ahead = torch.einsum("bti,bsi->bts", given["q"], given["ke"]) * inside[:, None]
    top = body @ given["v"] + ahead @ given["ve"]
    return {"o": top / (body.sum(-1) + ahead.sum(-1))[..., None]}


def _prefix(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    inside = np.arange(arguments["prefix"].shape[1]) < 5
    return arguments | {"prefix": np.broadcast_to(inside, arguments["prefix"].shape).copy()}


def _second_order(given: Given) -> Values:
    """The dense form: a masked product, times its own transpose, masked again."""
    q, k = given["q"], given["k"]
    scores = torch.tril(torch.einsum("bti,bsi->bts", q, k))
    o = torch.tril(scores @ scores.mT) @ given["val"]
    before = torch.tril(torch.einsum("bti,bsi->bts", k, q), -1) @ given["val"]
    return {
        "o": o,
        "final S": torch.einsum("btd,bte->bde", k, k),
        "final C": torch.einsum("btd,btv->bdv", q, given["val"]),
        "final G": torch.einsum("btd,btv->bdv", k, before),
    }


def _decayed_second_order(given: Given) -> Values:
    """Sums over pairs of earlier tokens, each with the power of the decay that the two products have."""
    q, k, gamma = given["q"], given["k"], given["gamma"]
    steps = torch.arange(given.steps, dtype=torch.float64)
    t, i, j = steps[:, None, None], steps[:, None], steps
    both = torch.where((i <= t) & (j <= t), gamma ** (2 * t - i - j).clamp(min=0), 0)
    early = torch.where((i <= t) & (j < i), gamma ** (t - 1 - j).clamp(min=0), 0)
    weights = torch.einsum("tij,bti,bij->btj", both - early, q @ k.mT, k @ q.mT)
    return {"top": weights @ given["val"], "weight": weights.sum(-1)}


def _third_order(given: Given) -> Values:
    """Sums over triples of tokens so far, of which the latest is there twice at least."""
    steps = torch.arange(given.steps)
    a, b, c = torch.meshgrid(steps, steps, steps, indexing="ij")
    latest = torch.maximum(torch.maximum(a, b), c)
    twice = ((a == latest).int() + (b == latest).int() + (c == latest).int()) >= 2
    kept = (twice & (latest <= steps[:, None, None, None])).double()
    scores = given["q"] @ given["k"].mT
    return {"o": torch.einsum("tabc,nta,nba,nbc,ncv->ntv", kept, scores, scores, scores, given["val"])}


ROWS = (
    Row("A57", "Linear attention", "fla-core: naive_recurrent_linear_attn", _normalised, "linear_attention",
        heads=HEADS, start=_positive),
    Row("A57", "Gated linear attention", "fla-core: naive_recurrent_gla", _gla, "gated_linear_attention",
        heads=HEADS),
    Row("A57", "HGRN", "fla-core: naive_recurrent_hgrn", _hgrn, "hgrn"),
    Row("A57", "RWKV-6", "fla-core: naive_recurrent_rwkv6", _rwkv6, "rwkv6", heads=HEADS),
    Row("A57", "RWKV-4", "a softmax over the tokens so far", _rwkv4, "rwkv4", state=False,
        notes="The package has kernels for a GPU only."),
    Row("A57", "ReBased", "fla-core: naive_parallel_rebased", _kernel("rebased", "naive_parallel_rebased"),
        "rebased", heads=HEADS, state=False),
    Row("A58", "RetNet, one decay per head", "fla-core: naive_retention", _retention, "retention",
        heads=HEADS, draw=_published_decays, state=False, gradients=False,
        notes="The package's decays are constants, without a gradient; the next row has gradients."),
    Row("A58", "RetNet, one decay per head", "fla-core: naive_chunk_simple_gla", _chunks_of_retention, "retention",
        heads=HEADS, draw=_published_decays),
    Row("A58", "RetNet, rotated, with its norm and gate", "the matrix of rotated queries and keys, torch: rms_norm",
        _rotated, "retnet",
        notes="The parallel form of the paper divides rows by a clamped sum, which the norm undoes."),
    Row("A58", "TimelyGPT, irregular times", "the parallel form, by differences of times", _irregular, "timelygpt",
        notes="The public code has the gaps in its parallel form only and steps with a constant decay, which is "
        "another system: test_traps_attention.py."),
    Row("A59", "LION without a normaliser", "the full matrix under a mask of decays", _without_norm, "bidirectional",
        state=False),
    Row("A59", "LION-LIT", "the attention format", _lion, "lion", draw=_no_decay, state=False),
    Row("A59", "LION-D", "the attention format", _lion, "lion", draw=_same_decay, state=False),
    Row("A59", "LION-S", "the attention format", _lion, "lion", state=False),
    Row("A62", "JRT-RNN", "every query against the prefix and the tokens so far", _prefixed, "jrt_rnn",
        draw=_prefix, state=False,
        notes="The two projections of keys and values and the feature map are a composition."),
    Row("A62", "Based", "fla-core: naive_parallel_based", _kernel("based", "naive_parallel_based"), "based",
        heads=HEADS, state=False),
    Row("A63", "HLA of second order", "the dense masked matrix of matrices", _second_order, "hla", state=False),
    Row("A63", "HLA of second order with decay and normaliser", "sums over pairs of earlier tokens",
        _decayed_second_order, "hla_decay", state=False,
        notes="The published summaries of a piece do not join with a decay: test_traps_attention.py."),
    Row("A63", "HLA of third order", "sums over triples of tokens so far", _third_order, "hla_third_order",
        state=False,
        notes="The published corrections leave the triples whose latest token is among them twice or more, which is "
        "not the product of three masked matrices: test_traps_attention.py."),
)  # fmt: skip
