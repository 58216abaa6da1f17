"""Traps of constant state spaces: public forms that are other functions, parameters tied to a length, bad bases."""

from __future__ import annotations

import numpy as np
import torch

import recc.zoo
from recc.fuzz import rel_rms
from tests.oracles.linear import bilinear, convolve, hippo, normal_plus_low_rank, powers
from tests.zoo.measure import op_of, truth
from tests.zoo.row import Row
from tests.zoo.rows import ROWS


def _row(system: str) -> Row:
    (row,) = (row for row in ROWS if row.system == system)
    return row


def _impulse(steps: int) -> np.ndarray:
    return np.eye(1, steps)


def test_the_parallel_form_of_spiking_lmuformer_is_another_function() -> None:
    """The public parallel form also spikes the memory; the recurrent one, and the program, hand it on as it is."""
    row = _row("spiking LMUFormer")
    arguments, initial = row.arrays()
    silent = {n: np.zeros_like(v) for n, v in initial.items()}
    memory_of = op_of("spiking_lmu", "c", "sequential")
    h = memory_of(**arguments, initial_state=silent)
    x, tau = torch.tensor(arguments["x"]), float(arguments["tau"])

    def neurons(current: torch.Tensor) -> torch.Tensor:
        v, spikes = torch.zeros_like(current[:, 0]), []
        for now in current.unbind(1):
            v = v + (now - v) / tau
            spikes.append((v >= 1).double())
            v = v * (1 - spikes[-1])
        return torch.stack(spikes, 1)

    u = neurons(x @ torch.tensor(arguments["Wu"]))
    response = powers(torch.tensor(arguments["A"]), row.steps[0]) @ torch.tensor(arguments["B"])
    memory = convolve(response, u[..., None])
    skip = x @ torch.tensor(arguments["Wx"]).T
    parallel = neurons(neurons(memory) @ torch.tensor(arguments["Wm"]).T + skip)
    recurrent = neurons(memory @ torch.tensor(arguments["Wm"]).T + skip)
    assert np.array_equal(h, recurrent.numpy())
    assert not np.array_equal(h, parallel.numpy())


def test_the_readout_that_s4_trains_is_tied_to_a_length() -> None:
    """`C (I - A^L)` is what the kernel reads; a recurrence has to undo it, and then runs at any length."""
    size, length, delta = 6, 16, 0.1
    values, p, b = normal_plus_low_rank("legs", size)
    rng = np.random.default_rng(0)
    trained = rng.standard_normal((1, size)) + 1j * rng.standard_normal((1, size))
    a = np.diag(values) - np.outer(p, p.conj())
    abar, left = (v.numpy() for v in bilinear(torch.tensor(a), delta))
    z = np.exp(-2j * np.pi * (np.arange(length) + 0.0) / length)
    inverse = np.linalg.inv(np.eye(size) - abar * z[:, None, None])
    kernel = np.fft.ifft(trained[0] @ (inverse @ (left @ b)).T).real
    common = {
        "u": _impulse(3 * length)[..., None], "lam_re": values.real, "lam_im": values.imag, "P": p, "Q": p, "B": b,
        "delta": np.array([delta]), "D": np.zeros(1),
    }  # fmt: skip
    undone = np.linalg.solve((np.eye(size) - np.linalg.matrix_power(abar, length)).T, trained.T).T
    right = recc.zoo.s4(C=undone, **common)[0, :, 0]
    wrong = recc.zoo.s4(C=trained, **common)[0, :, 0]
    assert rel_rms(right[:length], kernel) < 1e-10
    assert rel_rms(wrong[:length], kernel) > 1e-3
    # At another length the tied kernel would start again; the recurrence goes on.
    response = (undone @ np.stack([np.linalg.matrix_power(abar, k) @ left @ b for k in range(3 * length)]).T)[0].real
    assert rel_rms(right, response) < 1e-10
    assert rel_rms(np.tile(kernel, 3), response) > 1e-1


def test_the_normaliser_of_dss_softmax_keeps_its_length() -> None:
    """A run of another length than the trained one needs the trained length, not its own."""
    row = _row("DSS-softmax")
    arguments, _ = row.arrays()
    trained, steps = 16, 5
    u = np.random.default_rng(1).standard_normal((1, trained, 3))
    whole = recc.zoo.dss_softmax(**arguments | {"u": u, "length": np.asarray(float(trained))})
    kept = recc.zoo.dss_softmax(**arguments | {"u": u[:, :steps], "length": np.asarray(float(trained))})
    own = recc.zoo.dss_softmax(**arguments | {"u": u[:, :steps], "length": np.asarray(float(steps))})
    assert rel_rms(kept, whole[:, :steps]) < 1e-12
    assert rel_rms(own, whole[:, :steps]) > 1e-2


def test_the_state_free_kernel_of_rtf_is_periodised() -> None:
    """Sampled at L-th roots of unity, the transfer function gives the impulse response folded at L."""
    length, folds = 8, 60
    a, b = np.array([[-0.5, 0.3, -0.2]]), np.array([[1.0, -0.4, 0.7]])
    common = {"a": a, "h0": np.zeros(1), "first": np.eye(3)[0]}
    response = recc.zoo.rtf(u=_impulse(length * folds)[..., None], b=b, **common)[0, :, 0]
    above, below = np.concatenate([[0], b[0]]), np.concatenate([[1], a[0]])
    kernel = np.fft.irfft(np.fft.rfft(above, length) / np.fft.rfft(below, length), length)
    assert rel_rms(response.reshape(folds, length).sum(0), kernel) < 1e-10
    assert rel_rms(response[:length], kernel) > 1e-3
    # Reading the same b as truncated, `b (I - A^L)`, and undoing it gives the kernel as an impulse response.
    companion = np.diag(np.ones(2), -1)
    companion[0] = -a[0]
    undone = np.linalg.solve((np.eye(3) - np.linalg.matrix_power(companion, length)).T, b[0])[None]
    trained = recc.zoo.rtf(u=_impulse(length)[..., None], b=undone, **common)[0, :, 0]
    assert rel_rms(trained[1:], kernel[1:]) < 1e-10


def test_legs_is_not_diagonalised() -> None:
    """The eigenvectors of LegS lose all digits at 32 coefficients; the program stays dense and keeps its digits."""
    row = _row("HiPPO-LegS, the generalised bilinear rule")
    a, b = hippo("legs", 32)
    assert np.linalg.cond(np.linalg.eig(a)[1]) > 1e15
    assert "dense" in str(recc.zoo.hippo_legs.structure)
    rng = np.random.default_rng(0)
    given = {"f": rng.standard_normal((1, 40)), "A": -a, "B": b, "alpha": np.asarray(0.5), "one": np.eye(32)}
    found = recc.zoo.hippo_legs(**given)
    c = np.zeros(32, np.longdouble)
    for t, f in enumerate(given["f"][0]):
        half, right = (
            -a.astype(np.longdouble) / (2 * (t + 1)),
            c + a.astype(np.longdouble) / (2 * (t + 1)) @ c + b * f / (t + 1),
        )
        # A is lower triangular: the solve is a substitution.
        c = np.zeros(32, np.longdouble)
        for k in range(32):
            c[k] = (right[k] - half[k, :k] @ c[:k]) / (1 + half[k, k])
    assert rel_rms(found[0, -1], c.astype(float)) < 1e-10
    large = Row(**{f: getattr(row, f) for f in row.__dataclass_fields__} | {"sizes": {"n": 32}})
    arguments, initial = large.arrays()
    exact = recc.zoo.hippo_legs(**arguments, initial_state=initial)
    assert rel_rms(truth(large).values["coefficients"], exact) > 1e-6
