"""The checks of `make test-gpu`, without a GPU: right kernels pass, and each kind of mistake is noticed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from recc.runtime.op import Op  # noqa: E402  # torch may not be there
from tests.gpu import __main__ as script  # noqa: E402
from tests.gpu import pool, sanitizer  # noqa: E402
from tests.gpu.cases import Job, Setup  # noqa: E402
from tests.gpu.checks import Outcome, run  # noqa: E402

CALL = Op.__call__
BIT = 1.2e-7
JOB = Job("gated_delta_net", "sequential", "float32", "c", "cpu", ("odd",))


class _Steeper(torch.autograd.Function):
    """The same value with a gradient that is off."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0] * (1 + 3e-5)


def wrong_value(o: Any, s: Any, call: int, options: Any) -> Any:
    return o * (1 + 1e-5), s


def wrong_gradient(o: Any, s: Any, call: int, options: Any) -> Any:
    return (_Steeper.apply(o) if o.requires_grad else o), s


def wrong_state(o: Any, s: Any, call: int, options: Any) -> Any:
    return o, s * (1 + 1e-4)


def other_bits_every_time(o: Any, s: Any, call: int, options: Any) -> Any:
    return o * (1 + BIT * (call % 2)), s


def other_bits_in_a_batch(o: Any, s: Any, call: int, options: Any) -> Any:
    return o * (1 + BIT * (o.shape[0] > 1)), s


def other_bits_when_packed(o: Any, s: Any, call: int, options: Any) -> Any:
    return o * (1 + BIT * ("cu_seqlens" in options)), s


def unwritten(o: Any, s: Any, call: int, options: Any) -> Any:
    o = o.clone()
    o.view(-1)[-1] = float("nan")
    return o, s


@pytest.mark.parametrize(
    ("mistake", "check"),
    [
        (wrong_value, "numbers"),
        (wrong_gradient, "numbers"),
        (wrong_state, "pieces"),
        (wrong_state, "steps"),
        (other_bits_every_time, "numbers"),
        (other_bits_in_a_batch, "alone"),
        (other_bits_when_packed, "packed"),
        (unwritten, "numbers"),
    ],
)
def test_mistakes_are_noticed(mistake: Callable[..., Any], check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(1000))

    def call(self: Op, *args: Any, **options: Any) -> Any:
        return mistake(*CALL(self, *args, **options), next(calls), options)

    monkeypatch.setattr(Op, "__call__", call)
    (found,) = run(JOB, (check,))
    assert found.status == "failed" and found.ratio > 1
    assert script.cell([found]).startswith("FAILED") and check in script.failures({JOB: [found]})[0]


def test_right_kernels_pass() -> None:
    found = run(JOB)
    assert {o.check: o.status for o in found} == {
        "numbers": "ok", "alone": "ok", "packed": "ok", "pieces": "ok", "steps": "ok", "graph": "none",
    }  # fmt: skip
    assert 0 < float(script.cell(found)) < 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_every_type_is_judged_by_its_own_bound(dtype: str) -> None:
    setup = Setup(Job("hgrn", "sequential", dtype, "c", "cpu", ("odd",)), "odd")
    assert setup.expected.stable
    (found,) = run(setup.job, ("numbers",))
    assert found.status == "ok"


def test_an_argument_that_overflows_is_no_failure() -> None:
    """Steps are taken away until a program is stable, and what is not stable is not judged."""
    setup = Setup(Job("selective_dense", "sequential", "float32", "c", "cpu"), "wide")
    assert setup.steps < 131 and setup.expected.stable


def test_the_time_of_a_worker_that_hangs_is_up() -> None:
    worker = pool.Worker()
    try:
        assert worker.do(JOB, ("numbers",), 0.0) == []
    finally:
        worker.stop()


def test_what_does_not_begin_in_time_is_left_out() -> None:
    found: dict[Any, list[Outcome]] = {}
    pool.run_all([("one", lambda _, left: [Outcome("x", "", "ok")])], 1, time.monotonic() - 1, found.__setitem__)
    assert not found
    pool.run_all([("one", lambda _, left: [Outcome("x", "", "ok")])], 1, time.monotonic() + 9, found.__setitem__)
    assert found == {"one": [Outcome("x", "", "ok")]}
    assert script.cell(None) == "left out"


def test_a_missing_tool_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sanitizer, "tool", lambda: None)
    (found,) = sanitizer.check("memcheck", "hgrn", "scan", 1.0)
    assert found.status == "none" and "not on this machine" in found.note
