"""`op.matrix`: the maps between steps, against products of the program's own coefficients and against the op."""

from __future__ import annotations

import numpy as np
import pytest

import recc

RNG = np.random.default_rng(0)


def gated(steps: int, batch: tuple[int, ...] = (2,)) -> dict[str, np.ndarray]:
    shape = (batch[0], steps, *batch[1:])
    draw = {n: RNG.standard_normal((*shape, size)) for n, size in {"q": 3, "k": 3, "v": 4}.items()}
    draw["k"] /= np.linalg.norm(draw["k"], axis=-1, keepdims=True)
    return {**draw, "g": -RNG.random(shape), "beta": RNG.random(shape)}


def test_map_times_drive_is_the_output() -> None:
    given = gated(6, (2, 3))
    (name,) = found = recc.zoo.gated_delta_net.matrix(**given)
    assert name == "sum[i](q[t, i] * S[t, i, j]) from beta[t] * v[t, j]"
    alpha = found[name]
    assert alpha.shape == (2, 6, 6, 3)
    made = np.einsum("btsh,bsh,bshj->bthj", alpha, given["beta"], given["v"])
    np.testing.assert_allclose(made, recc.zoo.gated_delta_net.reference(**given), rtol=1e-10, atol=1e-12)


def test_map_of_a_product_of_matrices() -> None:
    given = gated(5, (1,))
    (alpha,) = recc.zoo.gated_delta_net.matrix(**given).values()
    q, k, g, beta = (given[n][0] for n in ("q", "k", "g", "beta"))
    for t in range(5):
        for s in range(5):
            move = np.eye(3)
            for r in range(s + 1, t + 1):
                move = np.exp(g[r]) * (np.eye(3) - beta[r] * np.outer(k[r], k[r])) @ move
            expected = q[t] @ move @ k[s] if s <= t else 0.0
            assert alpha[0, t, s] == pytest.approx(expected, rel=1e-10, abs=1e-14)


def test_exactly_zero_above_the_diagonal_and_between_sequences() -> None:
    given = gated(9, (1,))
    (alpha,) = recc.zoo.gated_delta_net.matrix(**given, cu_seqlens=[0, 4, 4, 9]).values()
    t, s = np.indices((9, 9))
    forbidden = (s > t) | ((t >= 4) & (s < 4))
    assert (alpha[0][forbidden] == 0.0).all()
    assert (alpha[0][~forbidden] != 0.0).all()
    (first,) = recc.zoo.gated_delta_net.matrix(**{n: v[:, :4] for n, v in given.items()}).values()
    np.testing.assert_array_equal(alpha[:, :4, :4], first)


def test_off_diagonal_blocks_have_the_rank_of_the_state() -> None:
    given = {
        "x": RNG.standard_normal((1, 12, 3)),
        "B": RNG.standard_normal((1, 12, 2)),
        "C": RNG.standard_normal((1, 12, 2)),
    }
    found = recc.zoo.ssd.matrix(**given, delta=RNG.random((1, 12)), A=np.array(-1.0), D=np.array(0.0))
    (alpha,) = found.values()
    assert np.linalg.matrix_rank(alpha[0, 6:, :6]) == 2


def test_right_to_left_is_above_the_diagonal() -> None:
    op = recc.compile(
        """
        recurrence back()
            input x, a in [0, 1]
            state h
            h[t] = a[t] * h[t+1] + x[t]
            output y[t] = 2 * h[t]
        """
    )
    a, x = RNG.random((1, 5)), RNG.standard_normal((1, 5))
    found = op.matrix(x=x, a=a)
    (alpha,) = found.values()
    assert (np.tril(alpha[0], -1) == 0).all()
    np.testing.assert_allclose(2 * alpha[0] @ x[0], op.reference(x=x, a=a)[0], rtol=1e-12)


def test_complex_maps() -> None:
    rng = np.random.default_rng(1)
    given = {
        "u": rng.standard_normal((1, 6, 2)),
        "A": -rng.random((2, 3)) + 1j * rng.standard_normal((2, 3)),
        "B": rng.standard_normal((2, 3)) + 0j,
        "C": rng.standard_normal((2, 3)) + 1j * rng.standard_normal((2, 3)),
        "delta": rng.random(2),
        "D": np.zeros(2),
    }
    (alpha,) = recc.zoo.s4d.matrix(**given).values()
    made = 2 * np.einsum("btsd,bsd->btd", alpha, given["u"]).real
    np.testing.assert_allclose(made, recc.zoo.s4d.reference(**given), rtol=1e-10)


def test_refused_with_the_reason() -> None:
    with pytest.raises(recc.Unsupported, match="not affine"):
        recc.zoo.lstm.matrix(
            **{n: np.zeros((1, 3, 2)) for n in ("xi", "xf", "xo", "xz")},
            **{n: np.zeros((2, 2)) for n in ("Ri", "Rf", "Ro", "Rz")},
        )
