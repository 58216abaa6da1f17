"""The layers of the examples around fast-weight memories: published layers, and the same arithmetic without recc."""

from __future__ import annotations

import math
import runpy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from xlstm.blocks.mlstm.layer import mLSTMLayer, mLSTMLayerConfig

from tests.oracles.in_double import naive

EXAMPLES = Path(__file__).parents[2] / "examples" / "zoo"


def _example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def test_a_gated_deltanet_layer_around_the_package_in_chunks() -> None:
    torch.manual_seed(0)
    layer = _example("gated_deltanet")["GatedDeltaNet"](8, heads=2, head=3).double()
    x = torch.randn(2, 9, 8, dtype=torch.float64)
    causal = F.conv1d(F.pad(layer.in_proj(x).mT, (3, 0)), layer.conv1d.weight, layer.conv1d.bias, groups=24).mT
    q, k, v = (z.reshape(2, 9, 2, -1) for z in F.silu(causal).split([6, 6, 12], -1))
    decay, beta = layer.rates(x).split([2, 2], -1)
    o, _ = naive("gated_delta_rule", "naive_chunk_gated_delta_rule")(
        q=q / q.norm(dim=-1, keepdim=True),
        k=k / k.norm(dim=-1, keepdim=True),
        v=v,
        g=-layer.A_log.exp() * F.softplus(decay + layer.dt_bias),
        beta=beta.sigmoid(),
        chunk_size=4,
        scale=1.0,
    )
    o = F.rms_norm(o, (6,), layer.norm.weight, 1e-5) * F.silu(layer.gate(x)).reshape(2, 9, 2, 6)
    torch.testing.assert_close(layer(x), layer.out_proj(o.reshape(2, 9, 12)), rtol=0, atol=1e-12)


def test_an_rwkv7_layer_around_the_package_in_chunks() -> None:
    torch.manual_seed(0)
    layer = _example("rwkv7")["TimeMix"](8, head=4, rank=3).double()
    with torch.no_grad():
        layer.r_k.normal_()
    x = torch.randn(2, 8, 8, dtype=torch.float64)
    late = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
    xr, xw, xk, xv, xa, xg = (torch.lerp(x, late, mix) for mix in layer.shift)
    r, key, v = layer.receptance(xr), layer.key(xk), layer.value(xv)
    w, a = -torch.sigmoid(layer.decay(xw)) / math.sqrt(math.e), torch.sigmoid(layer.rate(xa))
    k = key + key * (a - 1) * layer.k_a
    r, w, k, v, a, removal = (z.reshape(2, 8, 2, 4).transpose(1, 2) for z in (r, w, k, v, a, key * layer.k_k))
    removal = removal / removal.norm(dim=-1, keepdim=True)
    run = naive("generalized_delta_rule/dplr", "dplr_chunkwise")
    o, _ = run(2 * r, k, v, -removal, removal * a, w, chunk_size=4)
    bonus = torch.einsum("bhti,bhti,hi->bht", r, k, layer.r_k)[..., None] * v
    o = F.layer_norm(o, (4,), eps=64e-5).transpose(1, 2).reshape(2, 8, 8) * layer.norm.weight + layer.norm.bias
    o = o + bonus.transpose(1, 2).reshape(2, 8, 8)
    torch.testing.assert_close(layer(x), layer.output(o * layer.gate(xg)), rtol=0, atol=1e-12)


def test_an_mlstm_layer_with_the_weights_of_xlstm() -> None:
    torch.manual_seed(0)
    config = mLSTMLayerConfig(embedding_dim=32, num_heads=2, context_length=9, qkv_proj_blocksize=64)
    theirs = mLSTMLayer(config).double()
    ours = _example("mlstm")["MLSTM"](32, heads=2).double()
    cell = theirs.mlstm_cell
    with torch.no_grad():
        for own, other in ((ours.q, theirs.q_proj), (ours.k, theirs.k_proj), (ours.v, theirs.v_proj)):
            own.weight.copy_(other.weight[0])  # one block: a whole matrix
        for own, other in ((ours.up, theirs.proj_up), (ours.down, theirs.proj_down), (ours.conv1d, theirs.conv1d.conv)):
            own.load_state_dict(other.state_dict(), strict=False)
        cell.fgate.weight.normal_(std=0.3)
        cell.igate.weight.normal_(std=0.3)
        ours.gates.weight.copy_(torch.cat([cell.igate.weight, cell.fgate.weight]))
        ours.gates.bias.copy_(torch.cat([cell.igate.bias, cell.fgate.bias]))
    x = torch.randn(2, 9, 32, dtype=torch.float64)
    cell.backend_fn = partial(cell.backend_fn, eps=0.0)  # else it adds 1e-6 to the normaliser
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["gated_deltanet", "rwkv7", "mlstm"])
def test_examples_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    _example(name)["main"]()
    assert "out (2, 100, 32)" in capsys.readouterr().out
