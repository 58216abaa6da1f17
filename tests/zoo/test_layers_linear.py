"""The layers of the examples around constant state spaces."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import torch
from s5.s5_model import S5SSM
from torch.nn import functional

from tests.oracles.linear import convolve, vandermonde

EXAMPLES = Path(__file__).parents[2] / "examples" / "zoo"


def _example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def test_an_s5_layer_with_the_state_space_of_s5_pytorch() -> None:
    """Its readout is `re(C x)`, half of the one with conjugate pairs."""
    torch.manual_seed(0)
    ours, width, half = _example("s5")["S5"](6, state=8).double(), 6, 4
    modes = torch.complex(-torch.exp(ours.decay), ours.rate).detach()
    eye = torch.eye(half, dtype=torch.complex64)
    theirs = S5SSM(modes, eye, eye, width, half, 0.001, 0.1, bcInit="dense").double()
    theirs.Lambda.data, theirs.B.data, theirs.D.data = modes, ours.B.data, ours.D.data
    theirs.C.data, theirs.log_step.data = 2 * torch.view_as_complex(ours.C.data), ours.log_step.data
    theirs.get_BC_tilde = lambda: (torch.view_as_complex(theirs.B), theirs.C)  # the package casts B to complex64
    x = torch.randn(2, 9, width, dtype=torch.float64)
    y = functional.gelu(torch.stack([theirs(one) for one in ours.norm(x)]))
    torch.testing.assert_close(ours(x), x + y * torch.sigmoid(ours.gate(y)), rtol=0, atol=1e-12)


def test_an_h3_layer_head_by_head() -> None:
    """Shifted keys by conv1d, then one long convolution for each head."""
    torch.manual_seed(0)
    layer = _example("h3")["H3"](6, heads=2, state=8, taps=3).double()
    x = torch.randn(2, 9, 6, dtype=torch.float64)
    q, k, v = (p(x) for p in (layer.q, layer.k, layer.v))
    shifted = functional.conv1d(functional.pad(k.mT, (2, 0)), layer.taps.flip(-1).reshape(6, 1, 3), groups=6).mT
    keys = shifted + layer.skip.flatten() * k
    heads = []
    for h in range(2):
        lam = torch.complex(-torch.exp(layer.decay[h]), layer.rate[h])
        step = torch.exp(layer.log_step[h]) * lam
        gain = torch.view_as_complex(layer.C[h]) * torch.expm1(step) / lam
        kernel = 2 * (vandermonde(torch.exp(step), 9) @ gain).real
        part = slice(3 * h, 3 * h + 3)
        pairs = torch.einsum("bti,btj->btij", keys[..., part], v[..., part])
        mixed = convolve(kernel[:, None, None], pairs) + layer.D[h] * pairs
        heads.append(torch.einsum("bti,btij->btj", q[..., part], mixed))
    torch.testing.assert_close(layer(x), layer.out(torch.cat(heads, -1)), rtol=0, atol=1e-12)
