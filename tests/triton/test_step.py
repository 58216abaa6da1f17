"""Single steps with `backend="triton"`: with a new state, in place, and of sequences whose states lie in pages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

import recc
from recc.errors import UsageError
from recc.runtime.op import Op

DELTA = """recurrence delta(i, j)
    input  q[i], k[i], v[j]
    input  beta in [0, 1]
    param  w[j]
    state  S[i, j], z[i]
    S[t] = S[t-1] + beta[t] * k[t] * (v[t] * w - sum[i](k[t] * S[t-1]))
    z[t] = 0.5 * z[t-1] + k[t]
    output o[t] = sum[i](q[t] * S[t])
    output n[t] = sum[i](q[t] * z[t])
"""
CLOCKED = "recurrence clocked(n)\n input x[n]\n state h[n]\n h[t] = 0.5 * h[t-1] + t * x[t]\n output y[t] = h[t]\n"
WAVE = """recurrence wave(n)
    input  x[n] complex
    state  h[n] complex
    h[t] = 0.5 * cis(0.3) * h[t-1] + x[t]
    output y[t] = h[t]
"""
FREE = "recurrence free(n)\n param a[n]\n state h[n]\n h[t] = a * h[t-1]\n output y[t] = h[t]\n"

BACKENDS = ("triton", "c", "torch", "numpy")


def inputs(rows: int = 2, heads: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    sizes = {"q": (3,), "k": (3,), "v": (5,), "beta": ()}
    found = {n: torch.randn(rows, heads, *own, generator=g) for n, own in sizes.items()}
    return {**found, "beta": found["beta"].sigmoid(), "w": torch.ones(5)}


def states(rows: int = 2, heads: int = 2, seed: int = 1) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(rows, heads, *own, generator=g) for own in ((3, 5), (3,)))


def close(found: Any, expected: Any) -> None:
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def op() -> Op:
    found: Op = recc.compile(DELTA, backend="triton", form="chunked")
    return found


@pytest.fixture(scope="module")
def right() -> Op:
    found: Op = recc.compile(DELTA, backend="c")
    return found


def test_steps_are_the_sequential_form(op: Op, right: Op) -> None:
    """A chain of steps, the first without a state, is a call as a whole."""
    state, other = None, None
    for n in range(3):
        out, state = op.step(state, **inputs(seed=n))
        expected, other = right.step(other, **inputs(seed=n))
        close(out, expected)
        close(state, other)
        assert type(state)._fields == ("S", "z") and out.o.shape == (2, 2, 5)
    assert op._stepping.form == "sequential" and op._stepping._made_gpu.steps._ways
    assert ": sequential form, Triton." in op._stepping.source


def test_steps_have_gradients(op: Op, right: Op) -> None:
    found = []
    for one in (op, right):
        for _ in range(2):
            given = inputs()
            given["k"].requires_grad_()
            out, state = one.step(states(), **given)
        found.append(torch.autograd.grad(out.o.sum() + state.z.sum(), given["k"])[0])
    close(found[:1], found[1:])


@pytest.mark.parametrize("backend", BACKENDS)
def test_in_place(backend: str, right: Op) -> None:
    """The tensors that were given hold the new state, every time."""
    one = recc.compile(DELTA, backend=backend)

    def like(value: torch.Tensor) -> Any:
        # The reference takes arrays, and computes in float64.
        return value.double().numpy() if backend == "numpy" else value

    for n in range(3):
        given = inputs(seed=n)
        held = tuple(like(s) for s in states(seed=n))
        expected, new = right.step(states(seed=n), **given)
        out, back = one.step(held, inplace=True, **{name: like(v) for name, v in given.items()})
        assert back is held
        close(out, expected)
        close(held, new)


@pytest.mark.parametrize("backend", ["triton", "c", "torch"])
def test_pages(backend: str, right: Op) -> None:
    """States lie where `slots` says; other pages stay as they are, and a negative slot is no page."""
    one = recc.compile(DELTA, backend=backend)
    for n, dtype in enumerate((torch.int64, torch.int32, torch.int64)):
        pages, given = states(6, seed=n), inputs(3, seed=n)
        before = tuple(p.clone() for p in pages)
        slots = torch.tensor([4, -1, 2], dtype=dtype)
        expected, new = right.step(tuple(p[[4, 0, 2]] for p in before), **given)
        out, back = one.step(pages, slots=slots, **given)
        assert back is pages
        close([o[[0, 2]] for o in out], [e[[0, 2]] for e in expected])
        close([p[[4, 2]] for p in pages], [s[[0, 2]] for s in new])
        close([p[[0, 1, 3, 5]] for p in pages], [b[[0, 1, 3, 5]] for b in before])


@pytest.mark.parametrize("backend", ["triton", "c", "torch"])
def test_the_number_of_steps_in_place(backend: str) -> None:
    one, right = recc.compile(CLOCKED, backend=backend), recc.compile(CLOCKED, backend="c")
    x = torch.randn(2, 3)
    for _ in range(2):
        held = (torch.randn(2, 3), torch.tensor([3, 5]))
        expected, new = right.step(tuple(h.clone() for h in held), x=x)
        close([one.step(held, inplace=True, x=x)[0]], [expected])
        close(held, new)
        pages = (torch.randn(5, 3), torch.arange(5))
        pages[0][[3, 1]], pages[1][[3, 1]] = expected, torch.tensor([4, 6])
        after, newer = right.step(new, x=x)
        close([one.step(pages, slots=torch.tensor([3, 1]), x=x)[0]], [after])
        close([p[[3, 1]] for p in pages], newer)
        assert pages[1].tolist() == [0, 7, 2, 5, 4]
        one.step(pages, slots=torch.tensor([-1, -1]), x=x)
        assert pages[1].tolist() == [0, 7, 2, 5, 4]


def test_complex_states_and_no_inputs() -> None:
    x = torch.randn(2, 3, dtype=torch.complex64)
    for text, given in ((WAVE, {"x": x}), (FREE, {"a": torch.rand(3)})):
        one, right = recc.compile(text, backend="triton"), recc.compile(text, backend="c")
        held = torch.randn(2, 3, dtype=torch.complex64 if text is WAVE else torch.float32)
        for _ in range(3):
            expected, new = right.step(held, **given)
            close(one.step(held, **given), (expected, new))
            out, _ = one.step(held, inplace=True, **given)
            close([out, held], [expected, new])


def test_states_that_programs_share() -> None:
    """Where programs of a kernel have parts of an axis, a state without it is read by all and written by one."""
    one, right = recc.compile(DELTA, backend="triton"), recc.compile(DELTA, backend="c")
    g = torch.Generator().manual_seed(3)
    given = {n: 0.1 * torch.randn(1, *own, generator=g) for n, own in {"q": (128,), "k": (128,), "v": (128,)}.items()}
    given |= {"beta": torch.rand(1, generator=g), "w": torch.ones(128)}
    held = (torch.randn(1, 128, 128, generator=g), torch.randn(1, 128, generator=g))
    expected, new = right.step(tuple(h.clone() for h in held), **given)
    out, _ = one.step(held, inplace=True, **given)
    (frame,) = one._stepping._made_gpu.steps._ways.values()
    assert frame.shared == {"z"}
    close(out, expected)
    close(held, new)


def test_wrong_states_and_slots(op: Op) -> None:
    S, z = states()
    given = inputs()
    cases: list[tuple[str, Any, dict[str, Any]]] = [
        ("state: expected tensors for S, z, to be updated in place, got none for 'S'", None, {"inplace": True}),
        ("state: expected tensors for S, z", {"S": S}, {"inplace": True}),
        (
            "expected torch.float64 on cpu, to be updated in place, got torch.float32",
            (S.double(), z),
            {"inplace": True},
        ),
        ("state 'S': expected torch.float32", (S.half(), z), {"inplace": True}),
        ("contiguous", (S.transpose(0, 1).contiguous().transpose(0, 1), z), {"inplace": True}),
        ("initial state 'S': expected shape", (S[:1], z), {"inplace": True}),
        ("slots: expected .B. integers", (S, z), {"slots": torch.zeros(2)}),
        ("slots: expected .B. integers", (S, z), {"slots": torch.zeros(2, 1, dtype=torch.int64)}),
        (
            "slots: expected one for each of the 2 sequences, got 3",
            (S, z),
            {"slots": torch.zeros(3, dtype=torch.int64)},
        ),
        ("slots: expected a tensor on cpu", (S, z), {"slots": torch.zeros(2, dtype=torch.int64, device="meta")}),
    ]
    for message, state, more in cases:
        with pytest.raises(UsageError, match=message):
            op.step(state, **given, **more)
    clocked = recc.compile(CLOCKED, backend="triton")
    x = torch.zeros(2, 3)
    for clock in (3, None):
        with pytest.raises(UsageError, match="state 't'"):
            clocked.step((torch.zeros(2, 3), clock), inplace=True, x=x)
    with pytest.raises(UsageError, match="one number for each page"):
        clocked.step((torch.zeros(4, 3), torch.tensor(3)), slots=torch.tensor([0, 1]), x=x)


def test_in_place_changes_are_seen_by_autograd(op: Op) -> None:
    """A state that a gradient still needs cannot be overwritten unnoticed."""
    S, z = states()
    k = inputs()["k"].requires_grad_()
    loss = (S[:, :, :, 0] * k).sum()
    op.step((S, z), inplace=True, **inputs())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_under_a_tracer() -> None:
    """In place there is a step with a new state and a copy; pages are refused."""
    op = recc.compile(DELTA, backend="triton", form="chunked")
    held, other, given = states(), states(), inputs()
    traced = torch.compile(lambda s: op.step(s, inplace=True, **given)[0], fullgraph=True, backend="aot_eager")
    found = traced(other)
    close(found, op.step(held, inplace=True, **given)[0])
    close(other, held)
    slots = torch.tensor([1, 0])
    paged = torch.compile(lambda s: op.step(s, slots=slots, **given)[0], fullgraph=True, backend="aot_eager")
    with pytest.raises(Exception, match=r"slots under torch\.compile"):
        paged(other)
