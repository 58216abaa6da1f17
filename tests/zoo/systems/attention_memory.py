"""Memories of slots, partitions and codewords, and attention by a softmax as a recurrence."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from tests.oracles.all_at_once import masked
from tests.oracles.in_double import naive
from tests.zoo.row import Arrays, Given, Row, Values

from .attention_delta import HEADS


def _mixture(given: Given) -> Values:
    """torch's top-k; each memory is run over the tokens routed to it, packed, with the package's scalar decays."""
    q, k, v, g = (given[n] for n in "qkvg")
    batch, memories = given.state["S"].shape[:2]
    best, chosen = given["score"].topk(2)
    share = torch.zeros_like(given["score"]).scatter(-1, chosen, torch.softmax(best, -1))
    run = naive("simple_gla", "naive_recurrent_simple_gla")
    single = (q, given["ks"], given["vs"], g)
    o, final = run(*(x.unsqueeze(2) for x in single), 1.0, given.state["shared"][:, None])
    rows, finals = list(o[:, :, 0].unbind(0)), []
    for b in range(batch):
        for n in range(memories):
            mine = (chosen[b] == n).any(-1).nonzero()[:, 0]
            packed = (q[b, mine], k[b, mine, n], v[b, mine, n], g[b, mine])
            read, state = run(*(x[None, :, None] for x in packed), 1.0, given.state["S"][b, n][None, None])
            rows[b] = rows[b].index_add(0, mine, share[b, mine, n, None] * read[0, :, 0])
            finals.append(state)
    states = torch.cat(finals).reshape(given.state["S"].shape)
    return {"o": torch.stack(rows), "final S": states, "final shared": final[:, 0]}


def _codebook(given: Given) -> Values:
    """Softmax attention to keys that are rounded to the nearest codeword."""
    code = torch.cdist(given["k"].detach(), given["code"].detach()[None]).argmin(-1)
    return {"o": F.scaled_dot_product_attention(given["q"], given["code"][code], given["v"], is_causal=True, scale=1.0)}


def _sums(given: Given) -> Values:
    phi = F.relu(given["x"] @ given["W"].T)
    total = torch.cumsum(torch.cat([given.state["s"][:, None], phi], 1), 1)[:, 1:]
    top = torch.cummax(torch.cat([given.state["m"][:, None], phi], 1), 1).values[:, 1:]
    return {"total": total, "top": top, "final s": total[:, -1], "final m": top[:, -1]}


def _slots(given: Given) -> Values:
    o, (keys, values) = naive("gsa", "naive_recurrent_gsa")(
        *(given[n] for n in ("q", "k", "v", "s", "g")),
        scale=1.0,
        initial_state=(given.state["K"].mT, given.state["V"]),
        output_final_state=True,
    )
    return {"o": o, "final K": keys.mT, "final V": values}


def _bounded(given: Given) -> Values:
    q, k, v, s = (given[n].transpose(1, 2) for n in "qkvs")
    o, _ = naive("abc", "naive_cumsum_abc")(q * q.shape[-1] ** 0.5, k, v, s)
    return {"o": o.transpose(1, 2)}


def _least_squares(given: Given) -> Values:
    """The ridge regression of values on keys, weighted by age, solved by QR at every step."""
    q, k, v = (given[n] for n in "qkv")
    past = torch.cumsum(given["g"], 1)
    age = past[:, :, None] - past[:, None]
    causal = torch.ones(age.shape[1:], dtype=torch.bool).tril()
    roots = torch.where(causal, torch.exp(torch.where(causal, age, 0) / 2), 0) * given["beta"][:, None].sqrt()
    ridge = torch.diag(given["lam"].sqrt()).expand(*roots.shape[:2], -1, -1)
    rows = torch.cat([ridge, roots[..., None] * k[:, None]], 2)
    orthogonal, upper = torch.linalg.qr(rows)
    targets = torch.einsum("bts,bsj->btsj", roots, v)
    found = torch.linalg.solve_triangular(upper, orthogonal[..., k.shape[-1] :, :].mT @ targets, upper=True)
    return {"o": torch.einsum("bti,btij->btj", q, found)}


def _mesa(given: Given) -> Values:
    o, keys, both = naive("mesa_net", "naive_mesa_net_exact")(
        *(given[n] for n in ("q", "k", "v", "g")),
        given["lam"].expand(HEADS[0], -1),
        given["beta"],
        given.state["H"],
        given.state["G"],
    )
    return {"o": o, "final H": keys, "final G": both}


def _identity(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    return arguments | {"one": np.eye(arguments["one"].shape[0])}


def _covariance(initial: Arrays, rng: np.random.Generator) -> Arrays:
    return initial | {"H": initial["H"] @ np.swapaxes(initial["H"], -1, -2)}


def _prefix_softmax(given: Given) -> Values:
    """A softmax over the tokens so far for every key channel: no decay and no state."""
    past = torch.ones(given.steps, given.steps, dtype=torch.bool).tril()[None, :, :, None]
    weights = torch.softmax(given["k"][:, None].masked_fill(~past, -torch.inf), 2)
    states = torch.einsum("btsi,bsj->btij", weights, given["v"])
    return {
        "o": torch.einsum("bti,btij->btj", F.silu(given["q"]), states),
        "final S": states[:, -1],
        "final z": torch.logcumsumexp(given["k"], 1)[:, -1],
    }


def _prefixes(given: Given) -> Values:
    """torch's attention of the one query to every prefix."""
    k, v, q = given["k"], given["v"], given["q"]
    read = [
        F.scaled_dot_product_attention(q.expand(len(k), 1, -1), k[:, : t + 1], v[:, : t + 1], scale=1.0)
        for t in range(given.steps)
    ]
    return {"o": torch.cat(read, 1)}


def _segments(given: Given) -> Values:
    """torch's attention of every slot to all tokens of all segments so far."""
    k, v, q = given["k"], given["v"], given["q"]
    read = []
    for t in range(given.steps):
        keys, values = (x[:, : t + 1].flatten(1, 2) for x in (k, v))
        read.append(F.scaled_dot_product_attention(q.expand(len(k), -1, -1), keys, values, scale=1.0))
    return {"memory": torch.stack(read, 1), "final M": read[-1]}


def _partitions(given: Given) -> Values:
    """torch's top-k makes gates of zeros; then the masked matrix of decays."""
    weights = torch.softmax(given["score"], -1)
    chosen = torch.zeros_like(weights).scatter(-1, given["score"].topk(2).indices, 1.0)
    gate = weights * chosen
    drive = torch.einsum("bti,btj->btij", torch.softmax(given["k"], -1), given["v"])
    decay = torch.exp(given["g"])[..., None]
    kept = torch.where(chosen[..., None, None] > 0, decay[:, :, None], 1)
    states = masked(kept, gate[..., None, None] * drive[:, :, None], given.state["S"])
    shared = masked(decay, drive, given.state["shared"])
    read = torch.einsum("btn,bti,btnij->btj", gate, given["q"], states)
    o = read + torch.einsum("bti,btij->btj", given["q"], shared)
    return {"o": o, "final S": states[:, -1], "final shared": shared[:, -1]}


ROWS = (
    Row("A57", "Gated slot attention", "fla-core: naive_recurrent_gsa", _slots, "gated_slot_attention",
        heads=HEADS),
    Row("A57", "ABC", "fla-core: naive_cumsum_abc", _bounded, "abc", heads=HEADS, state=False),
    Row("A57", "MesaNet", "fla-core: naive_mesa_net_exact", _mesa, "mesa_net", heads=HEADS,
        sizes={"i": 3, "j": 3}, draw=_identity, start=_covariance),
    Row("A57", "MesaNet", "a ridge regression of every step, solved by QR", _least_squares, "mesa_net",
        draw=_identity, state=False),
    Row("A60", "LightNet", "a softmax over the tokens so far per key channel", _prefix_softmax, "lightnet",
        state=False,
        notes="Positions (MD-TPE, MD-LRPE), norm and gate are a composition."),
    Row("A61", "Aaren", "torch: scaled_dot_product_attention on every prefix", _prefixes, "aaren", state=False),
    Row("A64", "Mixture of memories", "torch: topk, the tokens of each memory packed; fla-core: "
        "naive_recurrent_simple_gla", _mixture, "mom", sizes={"n": 4},
        notes="The best two are found by comparing with the second largest score, so ties pick more than two. Runs "
        "every memory at every step; packing tokens per memory is a matter of speed."),
    Row("A65", "Sparse state expansion", "torch: topk; the dense masked matrix of products of decays", _partitions,
        "sse", sizes={"n": 4},
        notes="From the paper alone: top-2, the same gate to write and to read, gated linear attention as its base. "
        "Low-rank queries and keys of the branch and the balancing loss are a composition."),
    Row("A66", "LongVQ", "torch: scaled_dot_product_attention to keys rounded to the codebook", _codebook,
        "longvq", state=False,
        notes="Reconstructed from the paper. The codebook has the gradient of the readout; the straight-through "
        "gradient of keys and the moving averages that train it are a composition."),
    Row("A71", "LaMemo", "torch: scaled_dot_product_attention to all segments so far", _segments, "lamemo",
        state=False,
        notes="A step is a segment. Queries of slots stay as they are; positions are a composition."),
    Row("A73", "Deep Sets", "torch: cumsum, cummax", _sums, "deep_sets"),
)  # fmt: skip
