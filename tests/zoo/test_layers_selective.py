"""The layers of the examples around selective state spaces, with the weights of published ones."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mambapy.mamba import MambaBlock, MambaConfig

from tests.zoo.systems.selective import quadratic

EXAMPLES = Path(__file__).parents[2] / "examples" / "zoo"


def _example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def test_a_mamba_block_with_the_weights_of_mambapy() -> None:
    torch.manual_seed(0)
    theirs = MambaBlock(MambaConfig(d_model=12, n_layers=1, d_state=5)).double()
    ours = _example("mamba")["Mamba"](12, 5).double()
    ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():  # the package has these two in float32, and their gradients
        ours.A_log.copy_(theirs.A_log.float().exp().double().log())
    x = torch.randn(2, 9, 12, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-12)
    for block in (ours, theirs):
        block(x).square().sum().backward()
    wanted = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        rtol = 1e-5 if name in ("A_log", "D") else 1e-9
        torch.testing.assert_close(parameter.grad, wanted[name].grad, rtol=rtol, atol=1e-11)


def test_a_mamba2_block_against_its_quadratic_dual() -> None:
    torch.manual_seed(0)
    block = _example("mamba2")["Mamba2"](8, state=6, head=4).double()
    x = torch.randn(2, 9, 8, dtype=torch.float64)
    gate, mixed, step = block.in_proj(x).split([16, 28, 4], -1)
    causal = F.conv1d(F.pad(mixed.mT, (3, 0)), block.conv1d.weight, block.conv1d.bias, groups=28).mT
    u, b, c = F.silu(causal).split([16, 6, 6], -1)
    step = F.softplus(step + block.dt_bias)
    b, c = (v[:, :, None].expand(-1, -1, 4, -1) for v in (b, c))
    matrix = quadratic(-step * block.A_log.exp(), c, step[..., None] * b)
    heads = u.unflatten(-1, (4, 4))
    y = torch.einsum("bhts,bshp->bthp", matrix, heads) + block.D[:, None] * heads
    y = F.rms_norm(y.flatten(-2) * F.silu(gate), (16,), block.norm.weight, 1e-5)
    torch.testing.assert_close(block(x), block.out_proj(y), rtol=0, atol=1e-12)


def test_a_hawk_block_keeps_packed_segments_apart() -> None:
    torch.manual_seed(0)
    block = _example("hawk")["Hawk"](8, 12).double()
    with torch.no_grad():
        block.conv1d.weight[..., :-1] = 0  # the convolution reaches over the border: only its last tap is kept
    x = torch.randn(1, 10, 8, dtype=torch.float64)
    first = torch.zeros(1, 10, dtype=torch.bool)
    first[0, [0, 6]] = True
    apart = torch.cat([block(x[:, :6], first[:, :6]), block(x[:, 6:], first[:, 6:])], 1)
    torch.testing.assert_close(block(x, first), apart, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["mamba", "mamba2", "hawk"])
def test_examples_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    _example(name)["main"]()
    assert "out (2, 100, 32)" in capsys.readouterr().out
