"""`recc.fuzz` finds planted mistakes, and none in what is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import recc
from recc.errors import UsageError
from recc.fuzz import CounterExample, Trial, draw_case
from recc.fuzz.engine import STEPS
from tests.agree.cases import program, programs

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    "name", ["gated_delta", "selective", "both", "stencil", "functions", "roesser", "lif", "kalman"]
)
def test_no_counter_example(name: str) -> None:
    seen: list[Trial] = []
    report = recc.fuzz(programs()[name].op, cases=3, steps=(0, 1, 9), progress=seen.append)
    assert report.cases == len(seen) == 3
    assert [t.number for t in seen] == [1, 2, 3]
    assert all(t.count == 3 and t.worst < 1e-3 for t in seen)
    assert report.checks > 20
    assert report.values["float64"] < 1e-10
    if name != "kalman":
        assert report.values["float32"] < 1e-5
    assert "no counter-example (seed 0)" in str(report)


class Planted:
    """An op with a mistake: `mistake` changes the result of a call, given the arguments."""

    def __init__(self, op: Any, mistake: Callable[[Any, Mapping[str, Any]], Any]):
        self.op, self.mistake = op, mistake
        self.recurrence = op.recurrence

    def __call__(self, **given: Any) -> Any:
        return self.mistake(self.op(**given), given)


def _value(result: Any, given: Mapping[str, Any]) -> Any:
    """The last step's output is slightly off."""
    del given
    out, final = result if isinstance(result, tuple) else (result, None)
    out = out * 1
    if out.shape[1]:
        out[:, -1] *= 1 + 1e-5
    return (out, final) if isinstance(result, tuple) else out


def _gradient(result: Any, given: Mapping[str, Any]) -> Any:
    """The gradient of v is one and a half times what it should be."""
    if not isinstance(result, tuple) or not isinstance(given["v"], torch.Tensor) or not given["v"].requires_grad:
        return result
    out, final = result
    return out + 0.5 * (given["v"] - given["v"].detach()), final


def _nan(result: Any, given: Mapping[str, Any]) -> Any:
    """A gradient is NaN where beta is at the end of its domain."""
    beta = given["beta"]
    if not isinstance(result, tuple) or not isinstance(beta, torch.Tensor):
        return result
    out, final = result
    return out + (1 - beta).sqrt().unsqueeze(-1) * 0, final


def _state(result: Any, given: Mapping[str, Any]) -> Any:
    """The state handed over is not the one that the run ended in."""
    del given
    return (result[0], 0.9 * result[1]) if isinstance(result, tuple) else result


def _packing(result: Any, given: Mapping[str, Any]) -> Any:
    """In packed calls the last bit differs."""
    if given.get("cu_seqlens") is None:
        return result
    return result[0] * (1 + torch.finfo(result[0].dtype).eps), result[1]


def _precision(result: Any, given: Mapping[str, Any]) -> Any:
    """float32 is computed in bfloat16."""
    if not isinstance(result, tuple) or given["v"].dtype not in (torch.float32, np.float32):
        return result
    return result[0].bfloat16().float(), result[1]


MISTAKES = {
    _value: "o against the reference",
    _gradient: "the gradient of v against that of",
    _nan: "the gradient of beta against that of",
    _state: "final S against the reference",
    _packing: "sequences packed at",
    _precision: "o against the reference, float32",
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m.__name__)
def test_planted_mistakes_are_found(mistake: Callable[..., Any]) -> None:
    op = Planted(programs()["gated_delta"].op, mistake)
    with pytest.raises(CounterExample, match=MISTAKES[mistake]) as caught:
        recc.fuzz(op, cases=30)
    found = caught.value
    with pytest.raises(CounterExample) as again:
        recc.fuzz(op, seed=found.case.seed, only=found.case.number)
    assert str(again.value) == str(found)


def test_the_text_of_a_counter_example(golden: Callable[[Path, str], None]) -> None:
    with pytest.raises(CounterExample) as caught:
        recc.fuzz(Planted(programs()["gated_delta"].op, _state), steps=(4,), seed=7)
    golden(HERE / "counter_example.txt", str(caught.value) + "\n")


def test_a_program_that_is_not_stable_is_told_apart() -> None:
    """Chaos: rounding grows without bound, and float32 is not held to a table that cannot hold."""
    chaos = program("""
recurrence logistic
    input x in [0, 1]
    state h = 0.3
    h[t] = 3.9 * h[t-1] * (1 - h[t-1]) + 0 * x[t]
    output y[t] = h[t] + x[t]
""")
    report = recc.fuzz(chaos.op, cases=8, steps=(33,))
    assert report.left_out["unstable"] > 0
    assert "rounding the arguments changes the result" in str(report)


def test_where_nothing_is_defined_nothing_is_compared() -> None:
    roots = program("recurrence roots\n input x\n output y[t] = sqrt(x[t] - 100)\n")
    report = recc.fuzz(roots.op, cases=3, steps=(2,))
    assert report.left_out == {"undefined": 3}
    assert report.checks == 0


def test_cases_are_the_same_for_the_same_seed() -> None:
    rec = programs()["gated_delta"].rec
    one, other = draw_case(rec, 3, 5, STEPS), draw_case(rec, 3, 5, STEPS)
    assert str(one) == str(other)
    for name, value in one.arguments.items():
        np.testing.assert_array_equal(value, other.arguments[name])
    assert str(draw_case(rec, 3, 6, STEPS)) != str(one)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"cases": 0}, "one case or more"), ({"steps": ()}, "of 0 steps or more"), ({"steps": (3, -1)}, "of 0 steps")],
)
def test_nothing_to_run(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recc.fuzz(programs()["gated_delta"].op, **options)
    with pytest.raises(UsageError, match=r"op: expected what recc.compile gives, got function"):
        recc.fuzz(test_nothing_to_run)
