"""What torch itself checks: gradients by differences, the operator's registration, tracing."""

from __future__ import annotations

import copy
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.utils.checkpoint

from recc.errors import Unsupported
from recc.runtime.torch_op import backward_op, forward_op
from tests.agree.cases import program, programs
from tests.agree.harness import tensors

CHECKED = ("gated_delta", "selective", "lru again", "second", "both", "stencil", "forward", "matrices", "functions")


@pytest.mark.parametrize("name", CHECKED)
def test_gradcheck(name: str) -> None:
    """Analytic against numerical Jacobians in float64, through outputs and final states, batch and heads."""
    case = programs()[name]
    shapes = case.shapes(steps=3, batch=2 if name in ("second", "both") else 1, heads=())
    arguments, initial = case.draw(shapes, seed=3)
    fixed = {n: torch.tensor(v) for n, v in arguments.items() if v.dtype.kind in "ib" or n == "I"}
    leaves, states = tensors({n: v for n, v in arguments.items() if n not in fixed}), tensors(initial)

    def call(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = dict(zip([*leaves, *states], values, strict=True))
        start = {n: given.pop(n) for n in states} or None
        result, final = case.op(**given, **fixed, initial_state=start, output_final_state=True)
        found = [*([result] if isinstance(result, torch.Tensor) else result)]
        found += [final] if isinstance(final, torch.Tensor) else list(final)
        return tuple(v for v in found if v.is_floating_point() or v.is_complex())

    assert torch.autograd.gradcheck(call, [*leaves.values(), *states.values()], fast_mode=name == "functions")


def _flat(name: str) -> tuple[tuple[Any, ...], dict[str, torch.Tensor]]:
    """The arguments of `recc::forward` for a call of a program."""
    case = programs()[name]
    arguments, initial = case.draw(case.shapes())
    leaves, states = tensors(arguments), tensors(initial)
    case.op(**leaves)
    given = "1" * len(states)
    flat = (
        list(leaves.values()),
        list(states.values()),
        torch.tensor(0),
        given,
        None,
        case.op.key,
        "float64",
        -1,
        True,
    )
    return flat, leaves


@pytest.mark.parametrize("name", ["gated_delta", "both"])
def test_the_operator_is_registered_as_torch_asks(name: str) -> None:
    flat, _ = _flat(name)
    torch.library.opcheck(forward_op, flat)


@pytest.mark.parametrize("name", ["gated_delta", "both"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_torch_compile_sees_one_operator(name: str) -> None:
    """With `fullgraph=True`, forward and backward, amid other operations."""
    case = programs()[name]
    op = case.op
    arguments, initial = case.draw(case.shapes(heads=(2,)))

    def loss(leaves: dict[str, torch.Tensor], states: dict[str, torch.Tensor]) -> torch.Tensor:
        moved = {n: v * 1.5 if n in ("v", "x") else v for n, v in leaves.items()}
        out, final = op(**moved, initial_state=states, output_final_state=True)
        total = torch.tanh(out).sum()
        return total + sum(v.square().sum() for v in ((final,) if isinstance(final, torch.Tensor) else final))

    found = []
    for function in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        leaves, states = tensors(arguments), tensors(initial)
        value = function(leaves, states)
        value.backward()
        found.append([value.detach(), *(t.grad for t in (*leaves.values(), *states.values()))])
    for eager, traced in zip(*found, strict=True):
        torch.testing.assert_close(traced, eager, rtol=1e-13, atol=1e-13)


def test_a_second_derivative_is_refused() -> None:
    case = programs()["gated_delta"]
    leaves = tensors(case.draw(case.shapes())[0])
    first = torch.autograd.grad(case.op(**leaves).sum(), leaves["q"], create_graph=True)[0]
    with pytest.raises(Unsupported, match="a second derivative through a compiled recurrence"):
        torch.autograd.grad(first.square().sum(), leaves["q"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forward_mode_is_refused_and_not_taken_for_zero() -> None:
    case = programs()["gated_delta"]
    leaves = {n: torch.tensor(v) for n, v in case.draw(case.shapes())[0].items()}
    with pytest.raises(Unsupported, match="forward-mode differentiation through a compiled recurrence"):
        torch.func.jvp(lambda q: case.op(**{**leaves, "q": q}).sum(), (leaves["q"],), (leaves["q"],))
    with torch.autograd.forward_ad.dual_level(), pytest.raises(Unsupported, match="reverse mode only"):
        case.op(**{**leaves, "v": torch.autograd.forward_ad.make_dual(leaves["v"], leaves["v"])})


def test_checkpointing_runs_the_forward_again() -> None:
    case = programs()["gated_delta"]
    leaves = tensors(case.draw(case.shapes())[0])
    case.op(**leaves).sum().backward()
    again = tensors(case.draw(case.shapes())[0])
    torch.utils.checkpoint.checkpoint(lambda: case.op(**again).sum(), use_reentrant=False).backward()
    for name, leaf in leaves.items():
        torch.testing.assert_close(again[name].grad, leaf.grad, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["gated_delta", "both", "mamba", "roesser"])
def test_copies_and_pickles(name: str) -> None:
    """As parts of a module that is copied, saved, or sent to another process."""
    case = programs()[name]
    arguments, _ = case.draw(case.shapes())
    expected = case.op(**arguments)
    assert copy.deepcopy(case.op) is case.op
    other = pickle.loads(pickle.dumps(case.op))
    assert other.recurrence == case.rec
    assert other.key == case.op.key
    assert (other(**arguments) == expected).all()


def test_calls_from_many_threads_at_once() -> None:
    case = programs()["gated_delta"]
    leaves = {n: torch.tensor(v) for n, v in case.draw(case.shapes(steps=50, heads=(3,)))[0].items()}
    expected = case.op(**leaves)
    with ThreadPoolExecutor(6) as pool:
        for found in pool.map(lambda _: case.op(**leaves), range(60)):
            assert torch.equal(found, expected)


def test_no_gradient_is_kept_where_none_is_wanted() -> None:
    case = programs()["gated_delta"]
    leaves = tensors(case.draw(case.shapes())[0])
    with torch.no_grad():
        assert case.op(**leaves).grad_fn is None
    assert case.op(**{n: t.detach() for n, t in leaves.items()}).grad_fn is None
    flat, _ = _flat("gated_delta")
    outputs = len(case.rec.outputs) + len(case.rec.slots)
    assert len(forward_op(*flat)) > outputs
    assert len(forward_op(*flat[:-1], False)) == outputs


def test_gradients_only_where_they_are_asked_for() -> None:
    case = programs()["selective"]
    arguments, _ = case.draw(case.shapes())
    every = tensors(arguments)
    case.op(**every).sum().backward()
    for name in arguments:
        one = {n: torch.tensor(v) for n, v in arguments.items()}
        one[name].requires_grad_()
        case.op(**one).sum().backward()
        torch.testing.assert_close(one[name].grad, every[name].grad, rtol=0, atol=0)
        assert all(t.grad is None for n, t in one.items() if n != name)


def test_a_cotangent_of_the_state_alone() -> None:
    case = programs()["selective"]
    leaves = tensors(case.draw(case.shapes())[0])
    _, final = case.op(**leaves, output_final_state=True)
    final.sum().backward()
    assert leaves["C"].grad is None or not leaves["C"].grad.any()
    assert leaves["u"].grad is not None
    assert leaves["u"].grad.any()


def test_integer_outputs_have_no_gradient() -> None:
    case = program(
        """
recurrence counts
    input x, k int(3)
    state n
    n[t] = n[t-1] + k[t]
    output y[t] = n[t] * 2
    output z[t] = x[t] * n[t-1]
""".replace("int(3)", "in [0, 3]")
    )
    x = torch.ones(1, 4, dtype=torch.float64, requires_grad=True)
    k = torch.arange(4.0, dtype=torch.float64)[None]
    y, z = case.op(x=x, k=k)
    z.sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([[0.0, 0.0, 1.0, 3.0]], dtype=torch.float64))
    assert y.tolist() == [[0, 2, 6, 12]]


def test_names_of_operators() -> None:
    assert re.match(r"recc\.forward", str(forward_op))
    assert re.match(r"recc\.backward", str(backward_op))
