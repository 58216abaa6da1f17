"""Every program by the torch backend: values, final states and gradients against the reference and its torch twin."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

import recc
from recc.backends.numpy_reference import run
from recc.errors import Refusal
from recc.forms.table import forms
from recc.fuzz import Shapes, tolerance
from recc.recurrence import Kind
from tests.agree.cases import Arrays, Program, programs
from tests.agree.harness import agree, by_kernels, by_oracle, cotangents, differentiable, named, plain, tensors
from tests.torch_eager.programs import TorchProgram, by_torch

NAMES = list(programs())
#: Two axes, a parameter over both, complex, order two with lagged inputs, several passes, gathers, several scan axes.
SOME = ("gated_delta", "selective", "lru again", "second", "both", "stencil", "forward", "lif", "functions", "roesser")


@cache
def _parallel() -> list[tuple[str, str]]:
    """Every program with every parallel form that it has."""
    found = []
    for name in NAMES:
        table = forms(programs()[name].rec)
        found += [(name, f) for f in ("scan", "chunked", "convolution", "matrix") if not isinstance(table[f], Refusal)]
    return found


def _rounded(arrays: Arrays) -> Arrays:
    """Arrays whose elements float32 can hold, so that both precisions are given the same numbers."""
    narrow = {"f": np.float32, "c": np.complex64}
    return {n: v.astype(narrow.get(v.dtype.kind, v.dtype)).astype(v.dtype) for n, v in arrays.items()}


@cache
def _expected(name: str, steps: int) -> tuple[Shapes, Arrays, Arrays, Arrays, Arrays, dict[str, Any]]:
    """Arguments, a state to begin with, and values, gradients and weights by the torch interpreter."""
    program = programs()[name]
    shapes = program.shapes(steps=steps, heads=(2,))
    arguments, initial = map(_rounded, program.draw(shapes))
    values, gradients, weights = by_oracle(program, shapes, arguments, initial)
    wanted = {n: g for n, g in gradients.items() if n in differentiable(program.rec)}
    return shapes, arguments, initial, values, wanted, weights


@pytest.mark.parametrize("name", NAMES)
def test_step_by_step_in_float64(name: str) -> None:
    program = by_torch(name)
    shapes, arguments, initial, values, expected, weights = _expected(name, 5)
    steps = program.steps(shapes)
    found, gradients = by_kernels(program, tensors(arguments), tensors(initial), weights, steps=steps)
    sizes = {a.name: shapes.sizes[a.size_of] for a in program.rec.axes}
    reference = run(program.rec, arguments, sizes=sizes, initial=initial, length=shapes.steps[0])
    agree(found, {**reference.outputs, **{f"final {n}": v for n, v in reference.final.items()}}, 1e-10, "reference")
    agree(found, values, 1e-10, "torch")
    agree(gradients, expected, 1e-10, "gradients")


@pytest.mark.parametrize("name", NAMES)
def test_step_by_step_in_float32(name: str) -> None:
    program = by_torch(name)
    shapes, arguments, initial, values, expected, weights = _expected(name, 5)
    leaves, states = tensors(arguments, torch.float32), tensors(initial, torch.float32)
    leaves = {n: (t.detach().to(torch.complex64).requires_grad_() if t.is_complex() else t) for n, t in leaves.items()}
    states = {n: (t.detach().to(torch.complex64).requires_grad_() if t.is_complex() else t) for n, t in states.items()}
    found, gradients = by_kernels(program, leaves, states, weights, steps=program.steps(shapes))
    agree(found, values, tolerance("float32", shapes.steps[0]), "values")
    agree(gradients, expected, tolerance("float32", shapes.steps[0], gradient=True), "gradients")


@pytest.mark.parametrize(("name", "form"), _parallel())
@pytest.mark.parametrize("chunk", [None, 3])
def test_parallel_forms(name: str, form: str, chunk: int | None) -> None:
    """Seven steps in chunks of three: two whole chunks and a shorter one. Or all steps at once."""
    program = by_torch(name, form, chunk)
    _, arguments, initial, values, expected, weights = _expected(name, 7)
    found, gradients = by_kernels(program, tensors(arguments), tensors(initial), weights)
    agree(found, values, 1e-10, "values")
    agree(gradients, expected, 1e-9, "gradients")


@pytest.mark.parametrize(("name", "form"), _parallel())
def test_parallel_forms_from_the_beginning(name: str, form: str) -> None:
    program = by_torch(name, form)
    shapes, arguments, _, _, _, _ = _expected(name, 7)
    values, expected, weights = by_oracle(program, shapes, arguments, {})
    found, gradients = by_kernels(program, tensors(arguments), {}, weights)
    agree(found, values, 1e-10, "values")
    agree(gradients, {n: g for n, g in expected.items() if n in differentiable(program.rec)}, 1e-9, "gradients")


def _holds(program: Program, shapes: Shapes, arguments: Arrays, initial: Arrays, what: object = "") -> None:
    values, expected, weights = by_oracle(program, shapes, arguments, initial)
    steps = program.steps(shapes)
    found, gradients = by_kernels(program, tensors(arguments), tensors(initial), weights, steps=steps)
    agree(found, values, 1e-10, what)
    agree(gradients, {n: g for n, g in expected.items() if n in differentiable(program.rec)}, 1e-9, what)


def _ways(names: tuple[str, ...]) -> list[TorchProgram]:
    """Programs step by step, and in whichever other form there is for them."""
    known = _parallel()
    found = [by_torch(n) for n in names]
    return found + [by_torch(n, f, 3 if f == "chunked" else None) for n, f in known if n in names]


def _label(program: TorchProgram) -> str:
    return f"{program.name} {program.form}"


@pytest.mark.parametrize("program", _ways(SOME), ids=_label)
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_few_steps(program: TorchProgram, steps: int) -> None:
    shapes = Shapes(dict(program.shapes().sizes), (steps,) * len(program.rec.scan), 2, (2,))
    arguments, initial = program.draw(shapes)
    _holds(program, shapes, arguments, {})
    _holds(program, shapes, arguments, initial)


@pytest.mark.parametrize("program", _ways(SOME), ids=_label)
def test_nothing_to_do(program: TorchProgram) -> None:
    """No rows, or no heads: nothing comes out, and the gradients of parameters are zero."""
    for batch, heads in ((0, ()), (0, (2,)), (2, (0,)), (2, (5, 0))):
        shapes = program.shapes(batch=batch, heads=heads)
        arguments, _ = program.draw(shapes)
        leaves = tensors(arguments)
        result = program.op(**leaves)
        values = (result,) if isinstance(result, torch.Tensor) else result
        for value in values:
            assert value.shape[0] == batch
            assert value.numel() == 0
        total = sum(v.abs().sum() for v in values)
        if isinstance(total, torch.Tensor) and total.requires_grad:
            total.backward()
        assert all(t.grad is None or not t.grad.abs().sum() for t in leaves.values())


@pytest.mark.parametrize("program", _ways(("gated_delta", "selective", "second", "stencil", "matrices")), ids=_label)
@pytest.mark.parametrize("size", [0, 1])
def test_axes_of_size_zero_and_one(program: TorchProgram, size: int) -> None:
    shapes = Shapes(dict.fromkeys({a.size_of for a in program.rec.axes}, size), (4,), 2, (2,))
    arguments, initial = program.draw(shapes)
    _holds(program, shapes, arguments, initial)


@pytest.mark.parametrize("program", _ways(SOME), ids=_label)
@pytest.mark.parametrize("seed", range(2))
def test_axes_of_size_one_broadcast(program: TorchProgram, seed: int) -> None:
    """Every argument has its own choice of B, of heads and of how many batch axes it has."""
    scans = len(program.rec.scan)
    shapes = program.shapes(heads=(2, 3), steps=4)
    arguments, initial = program.draw(shapes, seed)
    rng = np.random.default_rng(seed)
    narrow: Arrays = {}
    for i, symbol in enumerate(program.rec.arguments):
        value = arguments[symbol.name]
        if symbol.kind is Kind.INPUT:
            if i and rng.random() < 0.4:
                value = value[:1]
            for axis in (1 + scans, 2 + scans):
                if i and rng.random() < 0.4:
                    value = value.take([0], axis)
            if i and value.shape[1 + scans] == 1 and rng.random() < 0.5:
                value = value.take(0, 1 + scans)
        elif rng.random() < 0.5:
            value = np.stack([value * (1 - 0.1 * k) for k in range(3)]) if value.dtype.kind in "fc" else value
        narrow[symbol.name] = value
    _holds(program, shapes, narrow, initial if seed % 2 else {}, {n: v.shape for n, v in narrow.items()})


def test_rows_come_from_the_states_if_inputs_have_one() -> None:
    case = by_torch("selective")
    arguments, initial = case.draw(case.shapes(batch=1))
    many = {"h": np.random.default_rng(0).standard_normal((3, *initial["h"].shape[1:]))}
    _holds(case, case.shapes(batch=3), arguments, many)


@pytest.mark.parametrize("program", _ways(("gated_delta", "selective", "both", "functions")), ids=_label)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_sixteen_bit_storage(program: TorchProgram, dtype: torch.dtype) -> None:
    """Read, computed in float32, and rounded once when written; states stay in float32."""
    shapes = program.shapes(heads=(2,))
    arguments, initial = program.draw(shapes)
    leaves, states = tensors(arguments, dtype), tensors(initial, torch.float32)
    rounded = {n: plain(t).astype(np.float64) if t.is_floating_point() else arguments[n] for n, t in leaves.items()}
    given = {n: plain(t).astype(np.float64) for n, t in states.items()}
    values, _, _ = by_oracle(program, shapes, rounded, given)
    result = program.op(**leaves, initial_state=states, output_final_state=True)
    found = named(program, result)
    for name, value in found.items():
        assert value.dtype == (torch.float32 if name.startswith("final ") else dtype)
    bound = tolerance(str(dtype).removeprefix("torch."), shapes.steps[0])
    agree({n: plain(v) for n, v in found.items()}, {n: v for n, v in values.items() if "final" not in n}, bound)


@pytest.mark.parametrize("program", _ways(("gated_delta", "both", "forward", "lru again")), ids=_label)
def test_numpy_arrays_in_and_out(program: TorchProgram) -> None:
    shapes = program.shapes(heads=(2,))
    arguments, initial = program.draw(shapes)
    for value in arguments.values():
        value.setflags(write=False)
    backward = {n: np.ascontiguousarray(v[..., ::-1])[..., ::-1] for n, v in arguments.items()}
    leaves = {n: torch.tensor(v) for n, v in arguments.items()}
    expected = named(program, program.op(**leaves, output_final_state=True))
    for given in (arguments, backward):
        found = named(program, program.op(**given, output_final_state=True))
        for name, value in expected.items():
            assert isinstance(found[name], np.ndarray)
            np.testing.assert_array_equal(found[name], plain(value))
    del initial


@pytest.mark.parametrize("name", ["gated_delta", "both", "forward", "roesser"])
def test_results_have_memory_of_their_own(name: str) -> None:
    case = by_torch(name)
    leaves = {n: torch.tensor(v) for n, v in case.draw(case.shapes())[0].items()}
    before = {n: v.clone() for n, v in leaves.items()}
    result = case.op(**leaves, output_final_state=bool(case.rec.slots))
    for value in named(case, result).values() if case.rec.slots else (result,):
        assert value.is_contiguous()
        value.zero_()
    assert all(torch.equal(v, before[n]) for n, v in leaves.items())


def test_an_output_that_is_an_input_is_a_copy() -> None:
    op = recc.compile("recurrence copy(d)\n input x[d]\n output y[t] = x[t]\n", backend="torch")
    x = torch.ones(1, 2, 3)
    op(x).zero_()
    assert x.all()


def test_devices_without_memory_work_as_well() -> None:
    """Shapes and types of a call on the device `meta`, to which the default backend sends it to torch."""
    op = recc.compile(programs()["gated_delta"].rec.source.text)
    case = programs()["gated_delta"]
    leaves = {n: torch.tensor(v, device="meta") for n, v in case.draw(case.shapes(heads=(2,)))[0].items()}
    o, final = op(**leaves, output_final_state=True)
    assert o.device.type == final.device.type == "meta"
    assert o.shape == leaves["v"].shape


def test_cotangents_of_one_output_are_enough() -> None:
    case = by_torch("both")
    leaves = tensors(case.draw(case.shapes())[0])
    values = named(case, case.op(**leaves, output_final_state=True))
    weights = cotangents({n: plain(v) for n, v in values.items()})
    assert set(weights) >= {"y"}
    values["y"].sum().backward()
    assert leaves["x"].grad is not None
