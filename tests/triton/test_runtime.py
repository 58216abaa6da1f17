"""Calls with `backend="triton"`: what is run and refused, what tracers see, and that nothing waits for the device."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

import recc
from recc.errors import Refusal, Unsupported, UsageError
from recc.fuzz import fuzz
from recc.runtime import gpu, options
from recc.runtime.op import Op

GATED = """recurrence gated(d)
    input  x[d], f[d]
    param  bias[d]
    state  h[d]
    keep[t] = sigmoid(f[t] + bias)
    h[t] = keep[t] * h[t-1] + (1 - keep[t]) * x[t]
    output y[t] = h[t]
"""
CLOCKED = "recurrence clocked(n)\n input x[n]\n state h[n]\n h[t] = 0.5 * h[t-1] + t * x[t]\n output y[t] = h[t]\n"
CELL = """recurrence cell(d)
    input  x[d]
    state  h[d]
    h[t] = tanh(h[t-1] + x[t])
    output y[t] = h[t]
    output z[t] = 2 * h[t]
"""
CONSTANT = "recurrence r\n input x\n state h\n h[t] = 0.5 * h[t-1] + x[t]\n output y[t] = h[t]\n"
GRID = """recurrence grid(n) over r, c
    input  x[n]
    state  h[n]
    h[r, c] = 0.5 * h[r-1, c] + 0.25 * h[r, c-1] + x[r, c]
    output y[r, c] = h[r, c]
"""


@pytest.fixture(scope="module")
def gated() -> Op:
    return op_of(GATED)


def op_of(text: str, form: str = "auto", chunk: int | None = 4) -> Op:
    found: Op = recc.compile(text, backend="triton", form=form, chunk_size=chunk if form != "sequential" else None)
    return found


def drawn(steps: int = 6, rows: int = 2, dtype: torch.dtype = torch.float32, seed: int = 0) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    x, f = (torch.randn(rows, steps, 3, generator=g, dtype=torch.float64).to(dtype) for _ in range(2))
    return [x, f, torch.randn(3, generator=g, dtype=torch.float64).to(dtype)]


def agree(op: Op, *args: torch.Tensor, **more: Any) -> None:
    wide = [a.detach().double() for a in args]
    expected, last = op.reference(*wide, output_final_state=True, **more)
    y, final = op(*args, output_final_state=True, **more)
    for a, b in ((y, expected), (final, last)):
        for u, v in zip(a, b, strict=True) if isinstance(a, tuple) else [(a, b)]:
            np.testing.assert_allclose(u.detach().double().numpy(), v, rtol=2e-5, atol=1e-5)


# What runs.


@pytest.mark.parametrize("form", ["auto", "sequential", "scan", "chunked"])
def test_a_second_call_goes_the_short_way(form: str) -> None:
    op = op_of(GATED, form)
    assert (op.backend, op.form) == ("triton", form)
    agree(op, *drawn())
    assert op._made_gpu.ways
    agree(op, *drawn(seed=1))
    agree(op, *drawn(steps=0))
    names = dict(zip(("bias", "f", "x"), reversed(drawn(seed=2)), strict=True))
    assert torch.equal(op(**names), op(*drawn(seed=2))), "whatever the order of names"
    x, f, bias = drawn(seed=3)
    turned = x.transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(op(turned, f, bias), op(x, f, bias)), "other strides are another way"


def test_arrays_and_odd_tensors() -> None:
    op = op_of(GATED)
    x, f, bias = drawn()
    y, last = op(x.numpy(), f.numpy(), bias.numpy(), output_final_state=True)
    assert isinstance(y, np.ndarray) and isinstance(last, np.ndarray)
    np.testing.assert_array_equal(y, op(x, f, bias).numpy())
    agree(op, x.expand(2, -1, -1)[:, ::2], f[:1, ::2], bias)
    agree(op, x, f.half().float(), bias.bfloat16().float())
    negated = torch.complex(x, x).conj().imag
    assert negated.is_neg()
    for _ in range(2):
        assert torch.allclose(op(negated, f, bias), op(-x, f, bias))


@pytest.mark.parametrize("types", [("float16", "float32"), ("float32", "float16"), ("float64", "float32")])
def test_element_types(types: tuple[str, str]) -> None:
    """Outputs have the widest type of the inputs, states that of float32 at least."""
    op = op_of(GATED)
    x, f, bias = drawn()
    x, f = x.to(getattr(torch, types[0])), f.to(getattr(torch, types[1]))
    state = torch.ones(2, 3, dtype=torch.float16)
    y, last = op(x, f, bias, initial_state=state, output_final_state=True)
    wide = "float64" if "float64" in types else "float32"
    assert (str(y.dtype), str(last.dtype)) == (f"torch.{wide}", f"torch.{wide}")
    expected = op.reference(x.double(), f.double(), bias.double(), initial_state=state.double())
    np.testing.assert_allclose(y.double().numpy(), expected, rtol=1e-5, atol=1e-5)


def test_several_outputs_and_the_number_of_steps() -> None:
    cell, clocked = op_of(CELL, "sequential"), op_of(CLOCKED, "sequential")
    x = drawn()[0]
    for _ in range(2):
        found = cell(x)
        assert torch.equal(found.z, 2 * found.y)
        _, first = clocked(x[:, :2], output_final_state=True)
        assert first.t.tolist() == [2, 2]
        y, last = clocked(x[:, 2:], initial_state=first, output_final_state=True)
        assert last.t.tolist() == [6, 6]
        assert torch.allclose(y, clocked(x)[:, 2:], atol=1e-6)
    with pytest.raises(UsageError, match="one for each sequence"):
        clocked(x, initial_state=first._replace(t=torch.arange(3)))


def test_packed_sequences() -> None:
    op = op_of(CLOCKED, "sequential")
    x = drawn(rows=1)[0]
    cuts = torch.tensor([0, 2, 2, 6], dtype=torch.int32)
    y, last = op(x, cu_seqlens=cuts, output_final_state=True)
    assert last.t.tolist() == [2, 0, 4]
    assert torch.equal(y, op(x, cu_seqlens=[0, 2, 2, 6]))
    for a, b in ((0, 2), (2, 6)):
        assert torch.equal(y[:, a:b], op(x[:, a:b]))
    for wrong in ([0, 2, 5], [0, 4, 2, 6]):
        with pytest.raises(UsageError, match="cu_seqlens"):
            op(x, cu_seqlens=torch.tensor(wrong))


# What is refused.


def test_where_kernels_do_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    op = op_of(GATED)
    with monkeypatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "0")
        with pytest.raises(Unsupported, match=r"the tensors are on the CPU, and torch sees no GPU.*TRITON_INTERPRET=1"):
            op(*drawn())
        with pytest.raises(Unsupported, match="TRITON_INTERPRET=1"):
            op(*(a.numpy() for a in drawn()))
        with pytest.raises(Unsupported, match="TRITON_INTERPRET=1"):
            op.step(None, x=drawn()[0][:, 0], f=drawn()[1][:, 0], bias=drawn()[2])
        assert "tl.load" in op.emit({"d": 8})["module"], "kernels can be written anywhere"
    with pytest.raises(Unsupported, match="kernels are made for GPUs that torch calls 'cuda'"):
        gpu.check_device(torch.device("mps"))
    x, f, bias = drawn()
    with pytest.raises(UsageError, match="argument 'f': expected a tensor on cpu, as the first one, got one on meta"):
        op(x, f.to("meta"), bias)


def test_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "find_spec", lambda name: None if name == "triton" else object())
    with pytest.raises(Unsupported, match=r"triton is not installed; install it \(`pip install recc-lang\[triton\]`"):
        recc.compile(GATED, backend="triton")
    assert not recc.compile(GATED)._kernels


def test_programs_and_forms_without_kernels() -> None:
    with pytest.raises(Unsupported, match="it takes all steps at once"):
        recc.compile(CONSTANT,
                     backend="triton", form="matrix")(torch.zeros(1, 3))  # fmt: skip
    with pytest.raises(Unsupported, match="not affine"):
        op_of(CELL, "scan")
    with pytest.raises(UsageError, match="cu_seqlens: expected none: the program scans over"):
        recc.compile(GRID, backend="c")(torch.zeros(1, 2, 2, 3), cu_seqlens=[0, 4])


def test_boundaries_of_a_wrong_form() -> None:
    """Boundaries on a device are not read, but looked at."""
    from recc.runtime.gpu_call import check_boundaries

    cpu = torch.device("cpu")
    for wrong in (torch.zeros(2, 2, dtype=torch.int64), torch.zeros(3), torch.zeros(0, dtype=torch.int32)):
        with pytest.raises(UsageError, match="integer offsets in one dimension"):
            check_boundaries(wrong, cpu)
    with pytest.raises(UsageError, match="offsets on cpu, where the inputs are"):
        check_boundaries(torch.zeros(2, dtype=torch.int64, device="meta"), cpu)


# The op as an object.


def test_copies_and_names(gated: Op) -> None:
    again = pickle.loads(pickle.dumps(gated))
    assert (again.backend, again.form, again.chunk_size, again.key) == ("triton", "auto", 4, gated.key)
    assert torch.equal(again(*drawn()), gated(*drawn()))
    assert copy.deepcopy(gated) is gated
    keys = {op_of(GATED, form, chunk).key for form in ("scan", "chunked", "auto") for chunk in (4, 8)}
    assert len(keys) == 6
    assert "@triton.jit" in gated.source
    sixteen = gated.emit({"d": 32}, "bfloat16")["module"]  # type: ignore[arg-type]  # the command line has it
    assert "bfloat16" in sixteen and "d = 32" in sixteen


def test_the_command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from recc.cli import main

    monkeypatch.setenv("TRITON_INTERPRET", "0")
    assert main(["emit", "retention", "--backend", "triton", "--form", "chunked", "--size", "i=64"]) == 0
    assert "i = 64" in (text := capsys.readouterr().out) and "@triton.jit" in text
    assert main(["fuzz", "retention", "--backend", "triton", "--cases", "1"]) == 2
    assert "TRITON_INTERPRET=1" in capsys.readouterr().err


# `auto`, with tensors that say that they are on a GPU.


@pytest.fixture
def kind(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Which forms `auto` builds kernels for, where tensors on the CPU pass for ones on a GPU."""
    seen: list[str] = []
    whole = gpu.Gpu._derived

    def derived(self: gpu.Gpu, name: str) -> Any:
        seen.append(name)
        return whole(self, name)

    monkeypatch.setattr(gpu.Gpu, "_derived", derived)
    monkeypatch.setattr(Op, "_kernel_devices", ("cpu",))
    yield seen


def test_auto_takes_kernels_on_a_gpu(kind: list[str]) -> None:
    op = recc.compile(GATED)
    assert op.backend == "c", "on the CPU"
    agree(op, *drawn())
    assert kind[0] in ("chunked", "scan") and op._made_gpu.ways
    kind.clear()
    agree(recc.compile(GATED, form="scan", chunk_size=4), *drawn())
    assert set(kind) == {"scan"}
    kind.clear()
    agree(recc.compile(CELL), drawn()[0])
    assert kind[-1] == "sequential", "the first that the program has"


@pytest.mark.parametrize("text", [GATED, CELL, CONSTANT])
def test_auto_under_a_tracer(kind: list[str], monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Kernels are there from the start where torch sees a GPU, so that a tracer finds them, or their refusal."""
    monkeypatch.setattr("recc.runtime.op._sees_gpu", lambda: True)
    op = recc.compile(text)
    args = drawn()[: len(op.recurrence.arguments)] if text is not CONSTANT else [torch.randn(2, 5)]
    traced = torch.compile(lambda *a: op(*a), fullgraph=True, backend="aot_eager")
    for a, b in zip(traced(*args), op(*args), strict=True):
        assert torch.allclose(a, b)
    assert kind


def test_auto_goes_to_torch_where_there_are_no_kernels(kind: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = recc.compile(CONSTANT, form="matrix")
    agree(matrix, torch.randn(1, 4))
    assert not kind, "kernels do not have the form"

    def refuse(self: gpu.Gpu, name: str) -> Any:
        kind.append(name)
        raise Unsupported(Refusal(f"form {name!r}", "of a test"))

    monkeypatch.setattr(gpu.Gpu, "_derived", refuse)
    op = recc.compile(GATED)
    for _ in range(2):
        agree(op, *drawn())
        op.step(None, x=drawn()[0][:, 0], f=drawn()[1][:, 0], bias=drawn()[2])
    assert kind and not op._made_gpu.ways


def test_several_scan_axes() -> None:
    one, other = op_of(GRID, "sequential"), recc.compile(GRID, backend="c")
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    for _ in range(2):
        assert torch.allclose(one(x), other(x))


# Nothing waits for the device.

WAITS = ("tolist", "item", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__", "__array__")


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tensors on `meta` pass for ones on a GPU: kernels are not launched, and whoever looks at an element fails."""
    import recc.runtime.gpu_frame as frames
    from recc.runtime import gpu_op

    def never(*args: Any, **more: Any) -> Any:
        raise AssertionError("the host waits for the device")

    monkeypatch.setattr(frames, "run_forward", lambda *args: None)
    monkeypatch.setattr(gpu_op, "SHAPES_ONLY", ())
    for name in WAITS:
        monkeypatch.setattr(torch.Tensor, name, never)
    yield


@pytest.mark.parametrize("text", [GATED, CLOCKED])
def test_nothing_waits_for_the_device(far: None, text: str) -> None:
    op = op_of(text)
    args = [a.to("meta") for a in drawn(rows=1)][: len(op.recurrence.arguments)]
    cuts = torch.zeros(4, dtype=torch.int32, device="meta")
    for _ in range(3):  # the second and the third go the short way
        y, state = op(*args, output_final_state=True)
        y, state = op(*args, initial_state=state, output_final_state=True)
        y, packed = op(*args, cu_seqlens=cuts, output_final_state=True)
        y, packed = op(*args, cu_seqlens=cuts, initial_state=packed, output_final_state=True)
        now = {s.name: a[:, 0] if a.ndim == 3 else a for s, a in zip(op.recurrence.arguments, args, strict=True)}
        y, state = op.step(state, **now)
        y, state = op.step(state, inplace=True, **now)
        pages = torch.zeros(1, dtype=torch.int64, device="meta")
        y, packed = op.step(packed, slots=pages, **now)
    assert y.shape == (1, 3)


# Gradients.


def leaves(dtype: torch.dtype = torch.float64, rows: int = 1) -> list[torch.Tensor]:
    return [a.requires_grad_() for a in drawn(3, rows, dtype)]


def test_gradients(gated: Op) -> None:
    state = torch.randn(1, 3, dtype=torch.float64, requires_grad=True)

    def call(*values: torch.Tensor) -> Any:
        return gated(*values[:3], initial_state=values[3], output_final_state=True)

    assert torch.autograd.gradcheck(call, (*leaves(), state), fast_mode=True)
    packed = leaves()
    cuts = torch.tensor([0, 1, 3])
    assert torch.autograd.gradcheck(lambda *a: gated(*a, cu_seqlens=cuts), packed, fast_mode=True)


def test_gradients_of_some() -> None:
    op, other = op_of(GATED, "sequential"), recc.compile(GATED, backend="c")
    for wanted in ([0], [1, 2], [2]):
        results = []
        for one in (op, other):
            args = drawn(dtype=torch.float64)
            for n in wanted:
                args[n].requires_grad_()
            _, last = one(*args, output_final_state=True)
            results.append(torch.autograd.grad(last.sum(), [args[n] for n in wanted]))
        for a, b in zip(*results, strict=True):
            assert torch.allclose(a, b)
    cell = op_of(CELL, "sequential")
    x = leaves()[0]
    (only,) = torch.autograd.grad(cell(x).z.sum(), x)
    (both,) = torch.autograd.grad(cell(x).y.sum(), x)
    assert torch.allclose(only, 2 * both)
    with torch.inference_mode():
        inferred = op(*drawn())
    assert torch.equal(inferred, op(*drawn()))
    assert not op(*drawn()).requires_grad


def test_second_derivatives_and_forward_mode_are_refused(gated: Op) -> None:
    args = leaves()
    (first,) = torch.autograd.grad(gated(*args).sum(), args[:1], create_graph=True)
    with pytest.raises(Unsupported, match="a second derivative"):
        first.sum().backward()
    with pytest.raises(Unsupported, match="reverse mode only"):
        torch.func.jvp(lambda x: gated(x, *drawn(3, 1)[1:]), (drawn(3, 1)[0],), (drawn(3, 1)[0],))
    from torch.autograd import forward_ad

    with forward_ad.dual_level(), pytest.raises(Unsupported, match="reverse mode only"):
        gated(forward_ad.make_dual(drawn(3, 1)[0], drawn(3, 1)[1]), *drawn(3, 1)[1:])


# Tracers.


@pytest.mark.parametrize("form", ["sequential", "chunked"])
def test_torch_compile(form: str) -> None:
    op = op_of(GATED, form)

    def loss(x: torch.Tensor, f: torch.Tensor, bias: torch.Tensor, cuts: torch.Tensor) -> torch.Tensor:
        y, last = op(x, f, bias, cu_seqlens=cuts, output_final_state=True)
        result: torch.Tensor = (y * y).sum() + last.sum()
        return result

    cuts = torch.tensor([0, 2, 3])
    results = []
    for function in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        args = leaves()
        value = function(*args, cuts)
        results.append([value, *torch.autograd.grad(value, args)])
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b)


def test_one_graph_for_all_lengths(gated: Op) -> None:
    from torch._dynamo.testing import CompileCounterWithBackend

    counter = CompileCounterWithBackend("aot_eager")
    traced = torch.compile(lambda *a: gated(*a), fullgraph=True, dynamic=True, backend=counter)
    for steps in (5, 7, 9):
        assert torch.allclose(traced(*drawn(steps)), gated(*drawn(steps)))
    assert counter.frame_count == 1


def test_fake_tensors_on_a_gpu() -> None:
    """What a tracer without a GPU sees of tensors on one."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    op = recc.compile(GATED)
    with FakeTensorMode():
        y, last = op(*(torch.empty(a.shape, device="cuda") for a in drawn()), output_final_state=True)
    assert (y.device.type, tuple(y.shape), tuple(last.shape)) == ("cuda", (2, 6, 3), (2, 3))
    assert op._made_gpu is not None


def test_tracers_see_one_operator(gated: Op) -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    args = drawn(3, 1)
    gated(*args)
    with torch.no_grad():
        graph = make_fx(lambda x: gated(x, *args[1:]) * 2)(args[0]).graph
    names = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    assert [n for n in names if "recc" in n] == ["recc.triton_forward.default"]
    assert gated(*(a.to("meta") for a in args)).device.type == "meta"


def test_the_operators_keep_their_word() -> None:
    from recc.runtime import gpu_op

    op = op_of(CLOCKED, "sequential")
    x, clock = drawn(3, 1)[0].requires_grad_(), torch.zeros(1, dtype=torch.int64)
    state = torch.ones(2, 3, requires_grad=True)
    cuts = torch.tensor([0, 1, 3])
    for states, given, offsets in (([], "0", None), ([state], "1", cuts)):
        inputs = ([x], states, clock, given, offsets, op.key, "float32", -1, True, True)
        torch.library.opcheck(
            gpu_op.forward_op, inputs, test_utils=("test_schema", "test_faketensor", "test_aot_dispatch_static")
        )


# Agreement.


@pytest.mark.parametrize("text", [GATED, CLOCKED, CELL])
def test_fuzz(text: str) -> None:
    report = fuzz(op_of(text, "auto" if text == GATED else "sequential"), cases=1, steps=(0, 1, 5))
    assert report.checks


def test_a_program_that_needs_too_much_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    from triton.runtime.errors import OutOfResources

    op = recc.compile(CLOCKED, backend="triton")
    x = torch.ones(1, 3, 2)
    op(x)
    (module,) = op._made_gpu.gpu._modules.values()

    def launch(*_: object) -> None:
        raise OutOfResources(300_000, 232_448, "shared memory")

    monkeypatch.setattr(module.functions, "launch", launch)
    with pytest.raises(recc.Unsupported, match=r"too little for one of its programs .*smaller chunk_size"):
        op(x)
