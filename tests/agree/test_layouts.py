"""Batch axes, broadcasting, element types, strides, frameworks: the same numbers however they are laid out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from recc.fuzz import Shapes, tolerance
from recc.recurrence import Kind
from tests.agree.cases import Arrays, Program, program, programs
from tests.agree.harness import agree, by_kernels, by_oracle, cotangents, differentiable, named, plain, tensors

#: Two axes, a parameter over both, complex, order two with lagged inputs, several passes, gathers, no inputs' axes.
SOME = ("gated_delta", "selective", "lru again", "second", "both", "stencil", "forward", "lif")


def _holds(program: Program, shapes: Shapes, arguments: Arrays, initial: Arrays, what: object = "") -> None:
    """Kernels against torch's gradients."""
    values, expected, weights = by_oracle(program, shapes, arguments, initial)
    found, gradients = by_kernels(program, tensors(arguments), tensors(initial), weights)
    agree(found, values, 1e-10, what)
    agree(gradients, {n: g for n, g in expected.items() if n in differentiable(program.rec)}, 1e-10, what)


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("with_state", [False, True])
def test_a_batch_axis_as_the_vector_axis(name: str, with_state: bool) -> None:
    program = programs()[name]
    shapes = program.shapes(heads=(2, 5))
    arguments, initial = program.draw(shapes)
    program.op(**arguments)
    assert any(form is not None for form in program.op._native._forms), "a batch axis was to become the vector axis"
    _holds(program, shapes, arguments, initial if with_state else {})


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("seed", range(4))
def test_axes_of_size_one_broadcast(name: str, seed: int) -> None:
    """Every argument has its own choice of B, of heads and of how many batch axes it has."""
    program = programs()[name]
    shapes = program.shapes(heads=(2, 3), batch=2)
    arguments, initial = program.draw(shapes, seed)
    rng = np.random.default_rng(seed)
    narrow: Arrays = {}
    for i, symbol in enumerate(program.rec.arguments):
        value, lead = arguments[symbol.name], 0
        if symbol.kind is Kind.INPUT:
            lead = 2
            if i and rng.random() < 0.4:
                value = value[:1]
            for axis in (2, 3):
                if i and rng.random() < 0.4:
                    value = value.take([0], axis)
            if i and value.shape[2] == 1 and rng.random() < 0.5:
                value = value[:, :, 0]
        elif rng.random() < 0.5:
            own = value.shape
            value = np.stack([value * (1 - 0.1 * k) for k in range(3)]) if value.dtype.kind in "fc" else value
            assert value.ndim - lead >= len(own)
        narrow[symbol.name] = value
    _holds(program, shapes, narrow, initial if seed % 2 else {}, {n: v.shape for n, v in narrow.items()})


@pytest.mark.parametrize("seed", range(2))
def test_the_vector_axis_broadcasts(seed: int) -> None:
    """Grouped heads where the heads are the vector axis: some arguments have it, some not."""
    program = programs()["selective"]
    shapes = program.shapes(heads=(2, 5))
    arguments, initial = program.draw(shapes, seed)
    arguments["B"] = arguments["B"][:, :, :, :1]
    arguments["C"] = arguments["C"][:, :, 0, 0]
    arguments["A"] = np.stack([arguments["A"] * (1 + 0.1 * k) for k in range(5)])
    _holds(program, shapes, arguments, initial if seed else {})


def _transposed(x: torch.Tensor) -> torch.Tensor:
    """The same values, the first and the last axis swapped in memory."""
    return x.transpose(0, -1).contiguous().transpose(0, -1) if x.dim() > 1 else x


def _gaps(x: torch.Tensor) -> torch.Tensor:
    """The same values as every third element of something larger, which holds NaN or nonsense between."""
    room = torch.full((*x.shape, 3), float("nan") if x.is_floating_point() or x.is_complex() else 1).to(x.dtype)
    room[..., 1] = x
    return room[..., 1]


def _inside(x: torch.Tensor) -> torch.Tensor:
    """The same values inside a larger tensor."""
    room = torch.full([n + 2 for n in x.shape], float("nan") if x.is_floating_point() or x.is_complex() else 1)
    room = room.to(x.dtype)
    room[tuple(slice(1, -1) for _ in x.shape)] = x
    return room[tuple(slice(1, -1) for _ in x.shape)]


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("layout", [_transposed, _gaps, _inside])
def test_strides(name: str, layout: Callable[[torch.Tensor], torch.Tensor]) -> None:
    program = programs()[name]
    shapes = program.shapes(heads=(2,))
    arguments, initial = program.draw(shapes)
    weights = cotangents(by_kernels(program, tensors(arguments), tensors(initial), None)[0])
    first = by_kernels(program, tensors(arguments), tensors(initial), weights)

    def strange(arrays: Arrays) -> dict[str, torch.Tensor]:
        found = {n: layout(torch.tensor(v)).detach() for n, v in arrays.items()}
        return {n: t.requires_grad_(t.is_floating_point() or t.is_complex()) for n, t in found.items()}

    second = by_kernels(program, strange(arguments), strange(initial), weights)
    for one, other in zip(first, second, strict=True):
        for key, value in one.items():
            np.testing.assert_array_equal(other[key], value, err_msg=key)


def test_expanded_tensors_and_negative_strides() -> None:
    program = programs()["selective"]
    shapes = program.shapes(heads=(2,))
    arguments, initial = program.draw(shapes)
    arguments["B"] = np.broadcast_to(arguments["B"][:, :1], arguments["B"].shape)
    expected = named(program, program.op(**{n: v.copy() for n, v in arguments.items()}, output_final_state=True))
    leaves = {n: torch.tensor(v) for n, v in arguments.items()}
    leaves["B"] = torch.tensor(arguments["B"][:, :1].copy()).expand(arguments["B"].shape)
    found = named(program, program.op(**leaves, output_final_state=True))
    backward = {n: np.ascontiguousarray(v[..., ::-1])[..., ::-1] for n, v in arguments.items()}
    upside = {n: np.ascontiguousarray(v[:, ::-1])[:, ::-1] if v.ndim > 2 else v for n, v in arguments.items()}
    for other in (backward, upside):
        again = named(program, program.op(**other, output_final_state=True))
        for name, value in expected.items():
            np.testing.assert_array_equal(again[name], value)
            np.testing.assert_array_equal(plain(found[name]), value)
    del initial


@pytest.mark.parametrize("name", ["gated_delta", "selective", "both"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_sixteen_bit_storage(name: str, dtype: torch.dtype) -> None:
    """Results in 16 bits are within its resolution; states, which stay in float32, within that of float32."""
    program = programs()[name]
    shapes = program.shapes(heads=(2,))
    arguments, initial = program.draw(shapes)
    leaves, states = tensors(arguments, dtype), tensors(initial, torch.float32)
    rounded = {n: plain(t).astype(np.float64) if t.is_floating_point() else arguments[n] for n, t in leaves.items()}
    given = {n: plain(t).astype(np.float64) for n, t in states.items()}
    values, expected, weights = by_oracle(program, shapes, rounded, given)
    weights = {n: plain(torch.tensor(w).to(dtype)).astype(np.float64) for n, w in weights.items()}
    values, expected, weights = by_oracle(program, shapes, rounded, given, weights)
    results = named(program, program.op(**leaves, initial_state=states, output_final_state=True))
    for symbol in program.rec.outputs:
        assert results[symbol.name].dtype is dtype
    found, gradients = by_kernels(program, leaves, states, weights)
    finals = {n: v for n, v in values.items() if n.startswith("final ")}
    assert all(results[n].dtype is torch.float32 for n in finals)
    agree(found, finals, tolerance("float32", shapes.steps[0]), "final states")
    agree(found, values, tolerance(str(dtype), shapes.steps[0]), "values")
    agree(gradients, expected, tolerance(str(dtype), shapes.steps[0], gradient=True), "gradients")


def test_element_types_may_differ() -> None:
    """Parameters in float32 beside inputs in bfloat16, or float64 beside float32: the widest computes."""
    program = programs()["selective"]
    shapes = program.shapes(heads=(2,))
    arguments, _initial = program.draw(shapes)
    arguments = {n: v.astype(np.float32).astype(np.float64) for n, v in arguments.items()}
    values, expected, weights = by_oracle(program, shapes, arguments, {})
    mixed = tensors(arguments, torch.float32)
    mixed["u"] = torch.tensor(arguments["u"]).requires_grad_()
    found, gradients = by_kernels(program, mixed, {}, weights)
    agree(found, values, 1e-10)
    agree(gradients, {n: g for n, g in expected.items() if n == "d u"}, 1e-10)
    agree(gradients, expected, tolerance("float32", 5))
    half = tensors(arguments, torch.bfloat16) | {n: torch.tensor(arguments[n]).float().requires_grad_() for n in "AD"}
    rounded = {n: plain(t).astype(np.float64) for n, t in half.items()}
    values, expected, weights = by_oracle(program, shapes, rounded, {}, weights)
    found, gradients = by_kernels(program, half, {}, weights)
    agree(found, values, tolerance("bfloat16", 5))
    agree(gradients, expected, tolerance("bfloat16", 5, gradient=True))
    assert gradients["d A"].dtype == np.float32


@pytest.mark.parametrize("kind", [np.int32, np.int16, np.uint8, np.int8, np.int64, np.float32])
def test_integers_of_any_width(kind: Any) -> None:
    """An index of any integer type; a bool stands for 0 and 1; integers stand for reals."""
    program = programs()["forward"]
    shapes = program.shapes(heads=())
    arguments, _ = program.draw(shapes)
    expected = program.op(**arguments)
    if np.issubdtype(kind, np.integer):
        other = arguments | {"sym": arguments["sym"].astype(kind), "flag": arguments["flag"].astype(np.uint8)}
        np.testing.assert_array_equal(program.op(**other), expected)
    else:
        whole = arguments | {"start": np.arange(3)}
        same = arguments | {"start": np.arange(3.0)}
        np.testing.assert_array_equal(program.op(**whole), program.op(**same))


@pytest.mark.parametrize("name", ["gated_delta", "lru again", "both"])
def test_numpy_in_numpy_out(name: str) -> None:
    program = programs()[name]
    shapes = program.shapes(heads=(2,))
    arguments, initial = program.draw(shapes)
    by_torch, _ = by_kernels(program, tensors(arguments), tensors(initial), None)
    by_numpy = named(program, program.op(**arguments, initial_state=initial, output_final_state=True))
    by_list = named(
        program,
        program.op(**{n: v.tolist() for n, v in arguments.items()}, initial_state=initial, output_final_state=True),
    )
    for key, value in by_torch.items():
        assert isinstance(by_numpy[key], np.ndarray)
        np.testing.assert_array_equal(by_numpy[key], value)
        np.testing.assert_array_equal(by_list[key], value)
    reference = named(program, program.op.reference(**arguments, initial_state=initial, output_final_state=True))
    agree(by_numpy, reference, 1e-10)


def test_records_other_byte_orders_and_negated_views() -> None:
    """Elements that no kernel could read where they lie are copied first."""
    program = programs()["gated_delta"]
    arguments, _ = program.draw(program.shapes())
    expected = program.op(**arguments)
    swapped = {n: v.astype(v.dtype.newbyteorder()) for n, v in arguments.items()}
    np.testing.assert_array_equal(program.op(**swapped), expected)
    packed = {}
    for key, value in arguments.items():
        room = np.zeros(value.shape, [("other", np.float32), ("value", np.float64), ("flag", np.bool_)])
        room["value"] = value
        packed[key] = room["value"]
    np.testing.assert_array_equal(program.op(**packed), expected)
    leaves = {
        n: torch.complex(torch.zeros(v.shape).double(), torch.tensor(-v)).conj().imag for n, v in arguments.items()
    }
    assert all(t.is_neg() for t in leaves.values())
    np.testing.assert_array_equal(plain(program.op(**leaves)), expected)


def test_numbers_of_python_and_numpy_are_arrays_too() -> None:
    case = program("recurrence leaky\n input x\n param a\n state h\n h[t] = a * h[t-1] + x[t]\n output y[t] = h[t]\n")
    x = np.random.default_rng(0).standard_normal((1, 6))
    expected = case.op(x, np.asarray(0.5))
    for half in (0.5, np.float64(0.5), torch.tensor(0.5, dtype=torch.float64)):
        np.testing.assert_array_equal(plain(case.op(x, half)), expected)
