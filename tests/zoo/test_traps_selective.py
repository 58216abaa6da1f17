"""Where a public definition and the obvious one differ: selective state spaces, resets, bounded roots."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from gateloop_transformer import CausalFullAttention
from mambapy.mamba import MambaBlock

import recc
import recc.zoo
from recc.errors import Refusal

FORMS = ("sequential", "scan", "chunked")


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _far(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).norm() > 1e-2 * b.norm())


def test_mamba_discretises_b_by_euler() -> None:
    u, b, c = _normal(2, 9, 3), _normal(2, 9, 4, seed=1), _normal(2, 9, 4, seed=2)
    delta, a, skip = _normal(2, 9, 3, seed=3).exp(), -_normal(3, 4, seed=4).exp(), torch.zeros(3, dtype=torch.float64)
    y = recc.zoo.mamba(u, delta, b, c, a, skip)
    torch.testing.assert_close(y, MambaBlock.selective_scan(None, u, delta, a, b, c, skip), rtol=0, atol=1e-12)
    decay = torch.exp(delta[..., None] * a)
    held = (decay - 1) / a * b[:, :, None] * u[..., None]
    state, outputs = torch.zeros_like(held[:, 0]), []
    for t in range(9):
        state = decay[:, t] * state + held[:, t]
        outputs.append((state * c[:, t, None]).sum(-1))
    assert _far(torch.stack(outputs, 1), y), "zero-order hold for B is another system"


def _surrogate(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """Attention in place of the scan: real parts of running products of gates multiply queries and divide keys."""
    past = a.cumprod(1).real.clamp(min=1e-10)
    return torch.tril((q * past) @ (k / past).mT) @ v


def _gated(positive: bool) -> tuple[torch.Tensor, ...]:
    """Queries, keys, values and gates of the package's layer, and what it makes of them."""
    torch.manual_seed(0)
    x, dim = _normal(2, 7, 8).abs(), 8
    layer = CausalFullAttention(dim, dim_head=dim, heads=1, data_dependent_rel_pos=True).double()
    with torch.no_grad():
        if positive:
            layer.to_a[0].weight.abs_()
            layer.to_a[0].weight[1::2] = 0  # the imaginary parts
        layer.to_out[-1].weight.copy_(torch.eye(dim))
        layer.to_out[-1].bias.zero_()
        q, k, v = layer.to_qkv(x)[:, :, 0]  # one head
        a = torch.view_as_complex(layer.to_a[0](x).reshape(*x.shape[:2], -1, 2))
        return q * dim**-0.5, k, v, torch.polar(torch.sigmoid(a.abs()), a.angle()), layer(x)


@pytest.mark.parametrize("positive", [True, False])
def test_the_surrogate_of_gateloop_is_the_scan_for_positive_gates_only(positive: bool) -> None:
    q, k, v, a, package = _gated(positive)
    gates = a.repeat_interleave(2, -1)  # a gate belongs to two neighbouring channels of the key
    scan = recc.zoo.gateloop(q, k, v, torch.logit(gates.abs()), gates.angle())
    along_time = _surrogate(q, k, v, gates)
    assert torch.allclose(along_time, scan, rtol=0, atol=1e-9) == positive
    assert positive or _far(along_time, scan)
    # The package takes the products over channels, where the paper has steps: it is the scan for neither.
    over_channels = a.cumprod(-1).real.clamp(min=1e-10).repeat_interleave(2, -1)
    found = torch.tril((q * over_channels) @ (k / over_channels).mT) @ v
    torch.testing.assert_close(package, found, rtol=1e-9, atol=1e-9)
    assert _far(package, scan)


def test_hydra_shifts_what_is_read_with_the_state() -> None:
    names = ("x", "Bf", "Cf", "df", "Br", "Cr", "dr")
    sizes = {"x": (3,), "df": (), "dr": ()}
    v = {n: _normal(2, 8, *sizes.get(n, (4,)), seed=k) for k, n in enumerate(names)}
    v["df"], v["dr"] = v["df"].exp(), v["dr"].exp()
    a, skip, w = torch.tensor(-0.7).double(), torch.tensor(0.3).double(), _normal(3, seed=9)
    none = torch.zeros((), dtype=torch.float64)

    def shifted(y: torch.Tensor) -> torch.Tensor:
        y = torch.roll(y, 1, 1)
        y[:, 0] = 0
        return y

    left = recc.zoo.ssd(v["x"], v["Bf"], v["Cf"], v["df"], a, none)
    turned = (t.flip(1) for t in (v["x"], v["Br"], v["Cr"], v["dr"]))
    right = recc.zoo.ssd(*turned, a, none)
    diagonal = (skip + v["x"] @ w)[..., None] * v["x"]
    y = recc.zoo.hydra(**v, A=a, D=skip, W=w)
    torch.testing.assert_close(y, shifted(left) + shifted(right).flip(1) + diagonal, rtol=0, atol=1e-12)
    # The state alone one step later is another system.
    late = {**v, "Cf": torch.roll(v["Cf"], -1, 1), "Cr": torch.roll(v["Cr"], 1, 1)}
    assert _far(recc.zoo.hydra(**late, A=a, D=skip, W=w), y)


def test_rotating_what_is_read_and_written_is_a_complex_decay() -> None:
    turning = recc.compile("""
recurrence turning(p, n)
    input  x[p], B[n] complex, C[n] complex, delta > 0
    param  A < 0, theta[n]
    state  z[p, n] complex
    z[t] = exp(delta[t] * A) * cis(-theta) * z[t-1] + delta[t] * B[t] * x[t]
    output y[t] = re(sum[n](conj(C[t]) * z[t]))
""")
    b, c = (torch.complex(_normal(2, 9, 4, seed=k), _normal(2, 9, 4, seed=k + 1)) for k in (1, 3))
    given = (_normal(2, 9, 3), b, c, _normal(2, 9, seed=5).exp(), -torch.ones((), dtype=torch.float64))
    theta = _normal(4, seed=6)
    torch.testing.assert_close(recc.zoo.cheems(*given, theta), turning(*given, theta), rtol=0, atol=1e-12)


def test_both_sides_of_a_scan_change_places_with_time() -> None:
    names = ("u", "df", "Bf", "Cf", "dr", "Br", "Cr")
    v = {n: _normal(2, 8, 3 if n in ("u", "df", "dr") else 4, seed=k) for k, n in enumerate(names)}
    v["df"], v["dr"] = v["df"].exp(), v["dr"].exp()
    rates = {"Af": -_normal(3, 4, seed=8).exp(), "Ar": -_normal(3, 4, seed=9).exp()}
    skip = _normal(3, seed=10)
    y = recc.zoo.bimamba(**v, **rates, D=skip)
    other = {"f": "r", "r": "f"}
    turned = {n[:-1] + other.get(n[-1], n[-1]): t.flip(1) for n, t in v.items()}
    swapped = {n[:-1] + other[n[-1]]: t for n, t in rates.items()}
    torch.testing.assert_close(recc.zoo.bimamba(**turned, **swapped, D=skip).flip(1), y, rtol=0, atol=1e-12)


def test_the_root_of_the_rg_lru_has_a_bounded_derivative() -> None:
    lam = torch.full((2,), -40.0, dtype=torch.float64, requires_grad=True)
    x, r, i = _normal(1, 1, 2), _normal(1, 1, 2, seed=1), _normal(1, 1, 2, seed=2)
    y = recc.zoo.griffin(x, r, i, torch.zeros(1, 1, dtype=torch.bool), lam)
    (bounded,) = torch.autograd.grad(y.sum(), lam)
    (free,) = torch.autograd.grad(recc.zoo.rg_lru(x, r, i, lam).sum(), lam)
    z = -torch.expm1(-16 * torch.sigmoid(r) * torch.nn.functional.softplus(lam)).detach()[0, 0]
    assert (z < 2.5e-7).all(), "where the derivative of the root is beyond 1000"
    torch.testing.assert_close(bounded, free * 1000 / (0.5 / z.sqrt()), rtol=1e-8, atol=0)
    begun = recc.zoo.griffin(x, r, i, torch.ones(1, 1, dtype=torch.bool), lam)
    torch.testing.assert_close(begun, torch.sigmoid(i) * x, rtol=0, atol=1e-15)


def test_columns_of_the_sd_ssm_are_scaled_up_too() -> None:
    u, s, a, b, w = _normal(1, 6, 3), _normal(2, 3), 0.1 * _normal(2, 4, 4), _normal(4, 3, seed=1), _normal(2, 4)
    y = recc.zoo.sd_ssm(u, s, a, b, w)
    assert (torch.linalg.vector_norm(a, 1.2, dim=1) < 1).all()
    torch.testing.assert_close(recc.zoo.sd_ssm(u, s, 0.01 * a, b, w), y, rtol=0, atol=1e-12)


def test_the_published_reset_is_not_associative_and_the_derived_one_is() -> None:
    def published(left: tuple[Any, ...], right: tuple[Any, ...]) -> tuple[Any, ...]:
        (a, b, _, d), (a2, b2, z2, d2) = left, right
        return a2 * (a * (1 - d2) + d2), a2 * ((1 - d2) * b + d2 * z2) + b2, z2, min(d + d2, 1)

    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(200):
        x, y, z = ((*rng.standard_normal(2), 0.7, int(rng.integers(2))) for _ in range(3))
        one, other = published(published(x, y), z), published(x, published(y, z))
        wrong += not np.allclose(one[:2], other[:2])
    assert wrong > 50

    u, done = _normal(2, 40, 2), torch.rand(2, 40, generator=torch.Generator().manual_seed(1)) < 0.2
    n = torch.complex(_normal(3, 2, seed=2), _normal(3, 2, seed=3))
    given = (u, done, -_normal(3, seed=4).exp(), _normal(3, seed=5), n, n.mT.contiguous(), n[:, 0].contiguous())
    text = recc.zoo.text("r2i")
    truth = recc.compile(text, backend="c")(*given)
    for form in FORMS:
        torch.testing.assert_close(recc.compile(text, backend="torch", form=form)(*given), truth, rtol=0, atol=1e-12)


RESETS = {
    "dropped, from a learnt state": ("start", lambda x, start: start),
    "a learnt state added": ("x[t-1] + start", lambda x, start: x + start),
    "no gradient through it": ("stop(x[t-1])", lambda x, start: x.detach()),
    "dropped, its gradient kept": ("x[t-1] - stop(x[t-1])", lambda x, start: x - x.detach()),
    "replaced, its gradient kept": ("x[t-1] - stop(x[t-1]) + start", lambda x, start: x - x.detach() + start),
    "none": ("x[t-1]", lambda x, start: x),
}


@pytest.mark.parametrize("kind", RESETS)
def test_six_kinds_of_reset(kind: str) -> None:
    written, reset = RESETS[kind]
    text = f"""
recurrence resets(n)
    input  u[n], done bool
    param  a[n] in (0, 1), start[n]
    state  x[n]
    x[t] = a * where(done[t], {written}, x[t-1]) + u[t]
    output y[t] = x[t] + 0 * start
"""
    u, a, start = _normal(2, 12, 3), torch.sigmoid(_normal(3, seed=1)), _normal(3, seed=2)
    done, weights = _normal(2, 12, seed=3) > 0.5, _normal(2, 12, 3, seed=4)
    leaves = [t.requires_grad_() for t in (u, a, start)]
    x, outputs = torch.zeros(2, 3, dtype=torch.float64), []
    for t in range(12):
        x = a * torch.where(done[:, t, None], reset(x, start), x) + u[:, t]
        outputs.append(x)
    y = torch.stack(outputs, 1)
    wanted = torch.autograd.grad((y * weights).sum(), leaves, materialize_grads=True, allow_unused=True)
    ways = [("c", "sequential")] + [("torch", f) for f in FORMS]
    for backend, form in ways:
        op = recc.compile(text, backend="torch")
        if isinstance(op.forms[form], Refusal):
            continue
        found = recc.compile(text, backend=backend, form=form)(u, done, a, start)
        torch.testing.assert_close(found, y, rtol=0, atol=1e-12)
        grads = torch.autograd.grad((found * weights).sum(), leaves, materialize_grads=True, allow_unused=True)
        for g, w in zip(grads, wanted, strict=True):
            torch.testing.assert_close(g, w, rtol=0, atol=1e-11)


def _even(order: tuple[int, ...]) -> bool:
    return sum(order[i] > order[j] for i in range(5) for j in range(i)) % 2 == 0


@pytest.mark.parametrize("program", ["selective_dense", "ids4"])
def test_dense_transitions_solve_the_word_problem_of_a5(program: str) -> None:
    group = [order for order in permutations(range(5)) if _even(order)]
    assert len(group) == 60
    matrices = torch.eye(5, dtype=torch.float64)[torch.tensor(group)]
    word = np.random.default_rng(0).integers(60, size=100)
    reached, product = [], tuple(range(5))
    for letter in word:
        product = tuple(product[k] for k in group[letter])
        reached.append(product)
    start = torch.arange(5, dtype=torch.float64)
    sym = torch.tensor(word)[None]
    if program == "ids4":
        letters = torch.nn.functional.one_hot(sym, 60).to(torch.float64)
        none = torch.zeros(60, 5, dtype=torch.float64)
        _, final = recc.zoo.ids4(
            letters, matrices, none.T.contiguous(), none, none[:, 0].contiguous(),
            initial_state=start[None], output_final_state=True,
        )  # fmt: skip
        assert final[0].tolist() == list(reached[-1])
    else:
        assert recc.zoo.selective_dense(sym, matrices, start)[0].tolist() == [list(p) for p in reached]
