"""Fast-weight programmers: rules that remove before they write."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.oracles.in_double import naive
from tests.oracles.trajectory import trajectory
from tests.zoo.row import Given, Row, Values

HEADS = (2,)


def root(x: Tensor) -> float:
    """What undoes the scale of queries that some of fla-core's functions apply unasked."""
    return float(x.shape[-1] ** 0.5)


def _first(*values: Tensor) -> list[Tensor]:
    """Heads before time."""
    return [v.transpose(1, 2) for v in values]


def _delta(given: Given) -> Values:
    q, k, v, beta = _first(*(given[n] for n in ("q", "k", "v", "beta")))
    o, _ = naive("delta_rule", "delta_rule_chunkwise")(q * root(q), k, v, beta, chunk_size=4)
    return {"o": o.transpose(1, 2)}


def _delta_steps(given: Given) -> Values:
    q, k, v, beta = _first(*(given[n] for n in ("q", "k", "v", "beta")))
    o, final = naive("delta_rule", "delta_rule_recurrence")(q * root(q), k, v, beta, given.state["S"])
    return {"o": o.transpose(1, 2), "final S": final}


def _chunked(folder: str, name: str, *arguments: str) -> Any:
    """One of fla-core's functions in chunks, on arguments of the same names."""

    def expected(given: Given) -> Values:
        o, final = naive(folder, name)(
            **{n: given[n] for n in arguments},
            scale=1.0,
            chunk_size=4,
            initial_state=given.state["S"],
            output_final_state=True,
        )
        return {"o": o, "final S": final}

    return expected


def _product(given: Given) -> Values:
    """The two steps of a token are two tokens of the function."""
    several = {n: torch.stack([given[f"{n}1"], given[f"{n}2"]], 2).flatten(1, 2) for n in ("k", "v", "beta")}
    o, final = naive("gated_delta_product", "naive_recurrent_gated_delta_product")(
        given["q"], g=given["g"], scale=1.0, initial_state=given.state["S"], num_householder=2, **several
    )
    return {"o": o, "final S": final}


def _oja(given: Given) -> Values:
    """KDA with keys and values exchanged; a head per value channel reads out the whole transposed state."""
    q, k, v = given["q"], given["k"], given["v"]
    size = v.shape[-1]
    basis = torch.eye(size, dtype=torch.float64).expand(*v.shape[:2], size, size)
    states, _ = naive("kda", "naive_chunk_kda")(
        q=basis,
        k=v.repeat(1, 1, size, 1),
        v=k.repeat(1, 1, size, 1),
        g=given["g"].repeat(1, 1, size, 1),
        beta=given["beta"].repeat(1, 1, size),
        scale=1.0,
        chunk_size=4,
        initial_state=given.state["S"].mT.repeat(1, size, 1, 1),
    )  # b t j i
    return {"o": torch.einsum("bti,btji->btj", q[:, :, 0], states)[:, :, None], "final S": states[:, -1, None].mT}


def _low_rank(folder: str, *names: str) -> Any:
    def expected(given: Given) -> Values:
        q, *rest = _first(*(given[n] for n in names))
        function = naive(f"generalized_delta_rule/{folder}", f"{folder}_chunkwise")
        o, final = function(q * root(q), *rest, initial_state=given.state["S"], chunk_size=4)
        return {"o": o.transpose(1, 2), "final S": final}

    return expected


def _rwkv7(given: Given) -> Values:
    r, k, v, kappa, a, w = _first(*(given[n] for n in ("r", "k", "v", "kappa", "a", "w")))
    o, final = naive("generalized_delta_rule/dplr", "dplr_chunkwise")(
        r * root(r), k, v, -kappa, kappa * a, w, initial_state=given.state["S"], chunk_size=4
    )
    return {"o": o.transpose(1, 2), "final S": final}


def _comba(given: Given) -> Values:
    o, final = naive("comba", "naive_chunk_comba")(
        q=given["q"] - given["d"] * given["k"],
        k=given["k"],
        v=given["v"],
        p=given["b"][..., None] * given["k"],
        g=given["g"],
        beta=given["beta"],
        chunk_size=4,
        scale=1.0,
        initial_state=given.state["S"],
        output_final_state=True,
    )
    return {"o": o, "final S": final}


def _momentum(given: Given) -> Values:
    names = ("q", "k", "v", "p", "beta", "eta")
    o, final = naive("momentum_delta_rule", "recurrent_momentum_delta_rule_ref")(
        **{n: given[n] for n in names},
        log_alpha=given["alpha"].log(),
        log_mu=given["mu"].log(),
        scale=1.0,
        initial_S=given.state["S"],
        initial_M=given.state["M"],
        output_final_state=True,
    )
    return {"o": o, "final S": final[0], "final M": final[1]}


def _preconditioned(given: Given) -> Values:
    o, final, sums = naive("precond_kda", "naive_recurrent_precond_kda")(
        **{n: given[n] for n in ("q", "k", "v", "g", "beta")},
        g_atk=given["ga"],
        beta_atk=given["beta_a"],
        scale=1.0,
        initial_state=given.state["S"],
        initial_A_state=given.state["A"],
        output_final_state=True,
        log_atk_scale=given["centre"].expand(HEADS[0]),
    )
    return {"o": o, "final S": final, "final A": sums}


def _gdn2(given: Given) -> Values:
    o, final = naive("gdn2", "naive_chunk_gdn2")(
        **{n: given[n] for n in ("q", "k", "v", "g")},
        b=given["erase"],
        w=given["write"],
        scale=1.0,
        initial_state=given.state["S"],
        output_final_state=True,
        chunk_size=4,
    )
    return {"o": o, "final S": final}


def _fed_back(given: Given) -> Values:
    """Memory and output of all steps as the root of one system."""
    start = torch.cat([given.state["S"].flatten(1), given.state["y"]], 1)
    i, j = given.state["S"].shape[1:]

    def update(before: Tensor) -> Tensor:
        memory = before[..., : i * j].reshape(*before.shape[:-1], i, j)
        last = torch.tanh(before[..., i * j :])
        q, k = (torch.softmax(given[f"x{n}"] + last @ given[f"R{n}"].T, -1) for n in "qk")
        wanted = given["xv"] + last @ given["Rv"].T
        beta = torch.sigmoid(given["xb"] + last @ given["Rb"])[..., None]
        held = torch.einsum("bti,btij->btj", k, memory)
        memory = memory + torch.einsum("bti,btj->btij", k, beta * (wanted - held))
        return torch.cat([memory.flatten(2), torch.einsum("bti,btij->btj", q, memory)], -1)

    states = trajectory(update, start, given.steps)
    last = states[:, -1]
    return {"o": states[..., i * j :], "final S": last[:, : i * j].reshape(-1, i, j), "final y": last[:, i * j :]}


ROWS = (
    Row("A57", "DeltaNet", "fla-core: delta_rule_chunkwise", _delta, "delta_net", heads=HEADS, steps=(12,),
        state=False),
    Row("A57", "DeltaNet", "fla-core: delta_rule_recurrence", _delta_steps, "delta_net", heads=HEADS),
    Row("A57", "Gated DeltaNet", "fla-core: naive_chunk_gated_delta_rule",
        _chunked("gated_delta_rule", "naive_chunk_gated_delta_rule", "q", "k", "v", "g", "beta"), "gated_delta_net",
        heads=HEADS),
    Row("A57", "Kimi Delta Attention", "fla-core: naive_chunk_kda",
        _chunked("kda", "naive_chunk_kda", "q", "k", "v", "g", "beta"), "kda", heads=HEADS, steps=(12,)),
    Row("A57", "DeltaProduct, gated", "fla-core: naive_recurrent_gated_delta_product", _product,
        "gated_delta_product", heads=HEADS),
    Row("A57", "Oja's rule, gated", "fla-core: naive_chunk_kda with keys and values exchanged", _oja,
        "gated_oja_rule", heads=(1,), steps=(12,)),
    Row("A57", "Identity plus low rank", "fla-core: iplr_chunkwise", _low_rank("iplr", "q", "k", "v", "a", "b"),
        "iplr", heads=HEADS, steps=(12,)),
    Row("A57", "Diagonal plus low rank", "fla-core: dplr_chunkwise", _low_rank("dplr", "q", "k", "v", "a", "b", "g"),
        "dplr", heads=HEADS, steps=(12,)),
    Row("A57", "Comba", "fla-core: naive_chunk_comba", _comba, "comba", heads=HEADS,
        notes="The package's function step by step removes from the state after its decay, its form in chunks before "
        "it, as in the paper: test_traps_attention.py."),
    Row("A57", "Delta rule with momentum (the linear memory of Titans)", "fla-core: recurrent_momentum_delta_rule_ref",
        _momentum, "momentum_delta_rule", heads=HEADS,
        notes="The package's form in chunks adds 1e-6 to beta: test_traps_attention.py."),
    Row("A57", "Preconditioned KDA", "fla-core: naive_recurrent_precond_kda", _preconditioned, "preconditioned_kda",
        heads=HEADS),
    Row("A57", "Gated DeltaNet 2", "fla-core: naive_chunk_gdn2", _gdn2, "gated_delta_net_2", heads=HEADS),
    Row("A57", "Recurrent fast-weight programmer", "torch: the root of all steps' equations, by Newton's method",
        _fed_back, "fast_weight_rnn", sizes={"i": 2, "j": 3}, steps=(7,)),
    Row("A67", "RWKV-7", "fla-core: dplr_chunkwise", _rwkv7, "rwkv7", heads=HEADS, steps=(12,),
        notes="State tuning trains the initial state alone: its gradient is among those compared. Token shift, the "
        "bonus r . k v, the norm of heads and the gate are a composition."),
)  # fmt: skip
