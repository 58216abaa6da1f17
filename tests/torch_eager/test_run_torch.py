"""What torch can do with plain operations: second derivatives, forward mode, `torch.func`, tracing, saving."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch

import recc
from recc.runtime.op import Op
from tests.agree.cases import programs
from tests.agree.harness import tensors
from tests.torch_eager.programs import TorchProgram, by_torch

#: With the number of steps: tracing takes its time.
COMPILED = [
    (by_torch("gated_delta"), 3),
    (by_torch("retention", "chunked", 2), 4),
    (by_torch("both", "scan"), 2),
    (by_torch("roesser"), 1),
]
WAYS = [
    by_torch("gated_delta"),
    by_torch("gated_delta", "chunked", 2),
    by_torch("gated_delta", "scan"),
    by_torch("lru again", "scan"),
    by_torch("second"),
    by_torch("both", "chunked", 2),
    by_torch("roesser"),
]


def _label(program: TorchProgram) -> str:
    return f"{program.name} {program.form}"


def _function(case: TorchProgram, steps: int = 3) -> tuple[Any, list[torch.Tensor]]:
    """A function of the floating arguments and states of a small call, and the tensors to call it with."""
    arguments, initial = case.draw(case.shapes(steps=steps, batch=1), seed=3)
    fixed = {n: torch.tensor(v) for n, v in arguments.items() if v.dtype.kind in "ib"}
    leaves, states = tensors({n: v for n, v in arguments.items() if n not in fixed}), tensors(initial)
    op = case.op

    def call(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = dict(zip([*leaves, *states], values, strict=True))
        start = {n: given.pop(n) for n in states} or None
        result, final = op(**given, **fixed, initial_state=start, output_final_state=True)
        found = [result] if isinstance(result, torch.Tensor) else list(result)
        found += [] if final is None else [final] if isinstance(final, torch.Tensor) else list(final)
        return tuple(v for v in found if v.is_floating_point() or v.is_complex())

    return call, [*leaves.values(), *states.values()]


@pytest.mark.parametrize("case", WAYS, ids=_label)
def test_first_and_second_derivatives(case: TorchProgram) -> None:
    """Analytic against numerical, in reverse mode, in forward mode and twice."""
    call, values = _function(case)
    torch.autograd.gradcheck(call, values, fast_mode=True, check_forward_ad=True)
    torch.autograd.gradgradcheck(call, values, fast_mode=True)


@pytest.mark.parametrize("case", [w for w in WAYS if w.name != "lru again"], ids=_label)
def test_functions_of_functions(case: TorchProgram) -> None:
    """`torch.func`: a Jacobian in both modes, a gradient, and a map over another batch axis."""
    call, values = _function(case)
    values = [v.detach() for v in values]

    def first(x: torch.Tensor) -> torch.Tensor:
        return call(x, *values[1:])[0]

    backward, forward = torch.func.jacrev(first)(values[0]), torch.func.jacfwd(first)(values[0])
    torch.testing.assert_close(backward, forward)
    gradient = torch.func.grad(lambda x: first(x).square().sum())(values[0])
    torch.testing.assert_close(
        gradient, torch.tensordot(2 * first(values[0]), backward, backward.dim() - values[0].dim())
    )
    many = torch.stack([values[0], 2 * values[0], -values[0]])
    mapped = torch.func.vmap(first)(many)
    torch.testing.assert_close(mapped, torch.stack([first(x) for x in many]))


@pytest.mark.parametrize(("case", "steps"), COMPILED, ids=lambda v: _label(v) if isinstance(v, TorchProgram) else "")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_torch_compile_traces_all_of_it(case: TorchProgram, steps: int) -> None:
    """With `fullgraph=True`, forward and backward, amid other operations, and before any other call."""
    torch._dynamo.reset()
    call, values = _function(case, steps)

    def loss(*given: torch.Tensor) -> torch.Tensor:
        found = call(*(1.5 * v for v in given))
        return sum((v.abs().square().sum() for v in found), torch.zeros(()))

    found = []
    for function in (torch.compile(loss, fullgraph=True, dynamic=False, backend="aot_eager"), loss):
        leaves = [v.detach().clone().requires_grad_(v.requires_grad) for v in values]
        value = function(*leaves)
        value.backward()
        found.append([value.detach(), *(t.grad for t in leaves)])
    for traced, eager in zip(*found, strict=True):
        torch.testing.assert_close(traced, eager, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_each_length_is_compiled_anew() -> None:
    """Also where a tracer would rather have symbols for sizes."""
    torch._dynamo.reset()
    op = recc.compile(
        "recurrence decay(d)\n input x[d]\n state h[d]\n h[t] = h[t-1] / 2 + x[t]\n output y[t] = h[t]\n",
        backend="torch",
        form="sequential",
    )
    compiled = torch.compile(lambda x: 2 * op(x), fullgraph=True, backend="eager")
    for steps in (3, 4, 5):
        x = torch.randn(1, steps, 2)
        torch.testing.assert_close(compiled(x), 2 * op(x))


@pytest.mark.parametrize("name", ["gated_delta", "roesser"])
def test_copies_and_pickles(name: str) -> None:
    case = by_torch(name)
    arguments, _ = case.draw(case.shapes())
    expected = case.op(**arguments)
    assert copy.deepcopy(case.op) is case.op
    other = pickle.loads(pickle.dumps(case.op))
    assert (other.backend, other.form) == ("torch", "sequential")
    assert (other(**arguments) == expected).all()
    auto = pickle.loads(pickle.dumps(recc.compile(case.rec.source.text, name=case.rec.name)))
    assert (auto.backend, auto.form) == ("c", "sequential")


def test_no_gradient_where_none_is_wanted() -> None:
    case = by_torch("gated_delta")
    leaves = tensors(case.draw(case.shapes())[0])
    assert case.op(**leaves).grad_fn is not None
    with torch.no_grad():
        assert case.op(**leaves).grad_fn is None
    with torch.inference_mode():
        assert not case.op(**leaves).requires_grad
    assert case.op(**{n: t.detach() for n, t in leaves.items()}).grad_fn is None


def test_the_operator_of_the_c_backend_has_no_part_in_it() -> None:
    case = by_torch("gated_delta")
    leaves = {n: torch.tensor(v) for n, v in case.draw(case.shapes())[0].items()}
    with torch.profiler.profile() as profile:
        case.op(**leaves)
    assert not [e.key for e in profile.key_averages() if e.key.startswith("recc::")]


def test_one_op_for_both_backends_gives_both_the_same() -> None:
    arguments, _ = programs()["gated_delta"].draw(programs()["gated_delta"].shapes())
    rec = programs()["gated_delta"].rec
    leaves = {n: torch.tensor(v) for n, v in arguments.items()}
    first, second = (Op(rec, backend=b)(**leaves) for b in ("c", "torch"))
    torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", ["sequential", "scan", "convolution"])
def test_constants_have_no_gradient(form: str) -> None:
    """A constant that the caller gives is cut off, though its tensor asks for a gradient, as in compiled kernels."""
    text = """
        recurrence r(d)
        input x[d]
        const c[d]
        param a[d]
        state h[d]
        h[t] = a * h[t-1] + c * x[t]
        output y[t] = h[t]
    """
    x, c, a = (torch.rand(shape, dtype=torch.float64, requires_grad=True) for shape in ((1, 4, 2), (2,), (2,)))
    for backend in ("torch", "c") if form == "sequential" else ("torch",):
        y = recc.compile(text, backend=backend, form=form)(x, c, a)
        found = torch.autograd.grad(y.sum(), [x, c, a], allow_unused=True, materialize_grads=True)
        assert found[0].abs().sum() > 0 and found[2].abs().sum() > 0
        assert not found[1].any()
