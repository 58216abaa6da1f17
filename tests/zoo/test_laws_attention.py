"""What is true of attention-like and nonlinear systems as a whole: symmetries, and what one is a case of another."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import recc.zoo

Tensor = torch.Tensor


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("speed", [-1, 1])
def test_an_input_that_moves_moves_the_state(speed: int) -> None:
    """Seen from a frame that moves along, the state of one velocity is that of another."""
    places, channels, steps = 8, 2, 5
    kernels = _normal(channels, channels, 3, seed=1), _normal(channels, channels, 3, seed=2) / 2
    speeds = torch.arange(-2, 3)
    before = (torch.arange(places) - speeds[:, None]) % places
    u = _normal(1, steps, channels, places)
    moving = torch.stack([x.roll(speed * t, -1) for t, x in enumerate(u.unbind(1))], 1)
    _, still = recc.zoo.fernn(u, *kernels, before, output_final_state=True)
    _, moved = recc.zoo.fernn(moving, *kernels, before, output_final_state=True)
    for at in range(1, 4):
        seen, frame = moved[:, at + speed], still[:, at]
        _close(seen, frame.roll(speed * (steps - 1), -1))


def test_what_is_read_of_a_set_does_not_depend_on_its_order() -> None:
    order = torch.randperm(5, generator=torch.Generator().manual_seed(0))
    memory, weights = _normal(5, 3), [_normal(3, 3, seed=n) for n in range(1, 9)]
    _close(
        recc.zoo.read_process_write(memory, *weights, steps=4).read,
        recc.zoo.read_process_write(memory[order], *weights, steps=4).read,
    )
    x, features = _normal(1, 5, 3), _normal(4, 3, seed=9)
    for one, other in zip(recc.zoo.deep_sets(x, features), recc.zoo.deep_sets(x[:, order], features), strict=True):
        _close(one[:, -1], other[:, -1])


def test_members_of_the_delta_family_meet() -> None:
    """KDA with one decay for all channels is Gated DeltaNet; RWKV-7 with its key as removal key is DeltaNet."""
    q, v = _normal(1, 9, 3), _normal(1, 9, 2, seed=2)
    k = F.normalize(_normal(1, 9, 3, seed=1), dim=-1)
    g, beta = -_normal(1, 9, seed=3).abs(), torch.sigmoid(_normal(1, 9, seed=4))
    _close(recc.zoo.kda(q, k, v, g[..., None].expand(-1, -1, 3), beta), recc.zoo.gated_delta_net(q, k, v, g, beta))
    rate = beta[..., None].expand(-1, -1, 3)
    _close(recc.zoo.rwkv7(q, rate * k, v, torch.zeros_like(k), k, rate), recc.zoo.delta_net(q, k, v, beta))


def test_a_token_may_take_two_steps() -> None:
    """DeltaProduct with one of its two steps off is Gated DeltaNet."""
    q, v = _normal(1, 9, 3), _normal(1, 9, 2, seed=2)
    k, other = (F.normalize(_normal(1, 9, 3, seed=n), dim=-1) for n in (1, 5))
    g, beta = -_normal(1, 9, seed=3).abs(), torch.sigmoid(_normal(1, 9, seed=4))
    found = recc.zoo.gated_delta_product(q, k, other, v, v, g, beta, 0 * beta)
    _close(found, recc.zoo.gated_delta_net(q, k, v, g, beta))


def test_lion_is_attention_from_both_sides() -> None:
    q, k, v = _normal(1, 9, 3).abs(), _normal(1, 9, 3, seed=1).abs(), _normal(1, 9, 2, seed=2)
    g = -_normal(1, 9, seed=3).abs()
    there, back = recc.zoo.lion(q, k, v, 0 * g), recc.zoo.lion(q.flip(1), k.flip(1), v.flip(1), 0 * g).flip(1)
    _close(there, back)
