"""Programs over several scan axes as Triton kernels, in the interpreter, against the C kernels in float64."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

import recc
from recc.backends.triton_gpu.binary import compile_all
from recc.backends.triton_gpu.build import build
from recc.backends.triton_gpu.offline import kernels_of
from recc.backends.triton_gpu.plan import plan
from recc.backends.triton_gpu.spec import Spec, tileable
from recc.errors import UsageError
from recc.forms.sequential import derive_sequential
from recc.fuzz import Shapes
from recc.runtime import gpu
from recc.runtime.op import Op
from tests.agree.cases import Arrays, Program, program
from tests.agree.harness import agree, cotangents, gradients, named, plain, tensors
from tests.structure.test_systems import TEXTS
from tests.texts import CORNERS
from tests.triton.cases import poisoned

#: States that start with parameters, one of them complex; inputs of other steps; positions; whole numbers and truths.
STARTS = """
recurrence starts(d) over r, c
    input  x[d], done bool, w int(d)
    param  first[d], phase[d], a[d] in [0, 0.5], b in [-0.4, 0.4]
    state  h[d] = first * first, z[d] complex = cis(phase)
    z[r, c] = b * cis(a) * z[r+1, c-1] + 0.3 * z[r, c-2] + x[r, c-1] * x[r, c]
    u[r, c] = x[r-1, c] * first[d = w[r, c-1]] + 0.1 * r - 0.2 * c
    h[r, c] = where(done[r, c-1], first, a * h[r-1, c+1] + b * h[r, c+1]) + u[r, c]
    output y[r, c] = h[r, c] * re(z[r, c]) + im(z[r+1, c])
    output q[r, c] = sum[d](h[r+1, c-1])
"""
THREE = """
recurrence three over u, v, w
    input  x
    param  a in [0, 0.3]
    state  h = a
    h[u, v, w] = a * h[u-1, v, w] + a * h[u, v+1, w] + 0.2 * h[u, v, w-1] * h[u-1, v+1, w-1] + x[u, v, w]
    output y[u, v, w] = h[u, v, w]
"""
#: One axis that programs can share, and one that they cannot because a value that is kept lacks it.
SHARED = """
recurrence shared(d, e) over r, c
    input  x[d, e], g[e], s
    param  a[d] in [0, 0.4], b[e] in [0, 0.4]
    state  h[d, e] = a, k[e]
    k[r, c] = b * k[r-1, c] + b * k[r, c-1] + g[r, c-1] + s[r-1, c]
    h[r, c] = a * h[r-1, c] + b * h[r, c-1] + k[r-1, c-1] + x[r, c] * g[r, c] + s[r, c-1]
    output y[r, c] = h[r, c]
"""
CASES = {
    "roesser": recc.zoo.text("roesser"), "corners": CORNERS, "starts": STARTS, "three": THREE, "shared": SHARED,
    **{name: TEXTS[name] for name in ("grid", "pair_model", "plane", "chimera")},
}  # fmt: skip
SIZES = (3, 5)


def shapes(of: Program, steps: tuple[int, ...], batch: int = 1, heads: tuple[int, ...] = ()) -> Shapes:
    roots = [a.name for a in of.rec.axes if a.name == a.size_of]
    steps = steps if len(steps) == len(of.rec.scan) else (*steps, 2)
    return Shapes({a: SIZES[k % 2] for k, a in enumerate(roots)}, steps, batch, heads)


@cache
def op(text: str, backend: str) -> Op:
    return Op(program(text).rec, backend, "sequential")


def run(of: Program, backend: str, given: dict[str, torch.Tensor], weights: Any = None) -> tuple[Arrays, Arrays, Any]:
    """Values, gradients and weights, in memory that is poisoned."""
    with poisoned():
        results = named(of, op(of.name, backend)(**given, output_final_state=True))
        values = {n: plain(v) for n, v in results.items()}
        weights = cotangents(values) if weights is None else weights
        return values, gradients(results, weights, given), weights


def compare(of: Program, given: dict[str, torch.Tensor], what: object) -> None:
    values, expected, weights = run(of, "c", given)
    found = run(of, "triton", given, weights)
    agree(found[0], values, 1e-12, what)
    agree(found[1], expected, 1e-12, what)


@pytest.mark.parametrize("steps", [(1, 1), (1, 5), (5, 1), (3, 4)], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_a_program(name: str, steps: tuple[int, ...]) -> None:
    of = program(CASES[name])
    compare(of, tensors(of.draw(shapes(of, steps), seed=sum(steps))[0]), (name, steps))


@pytest.mark.parametrize("name", ["roesser", "starts"])
def test_several_batch_axes(name: str) -> None:
    """Rows, groups and heads; an input that is the same for all groups, a parameter that differs from head to head."""
    of = program(CASES[name])
    arguments, _ = of.draw(shapes(of, (2, 2), 2, (2, 2)))
    varies, fixed = ("u", "A1") if name == "roesser" else ("x", "first")
    arguments[varies] = arguments[varies][:, :, :, :1]
    arguments[fixed] = np.stack([arguments[fixed], 0.5 * arguments[fixed]])
    compare(of, tensors(arguments), name)


def test_any_strides_along_scan_axes() -> None:
    """Inputs of which every other step is meant, or columns first, are taken as they lie."""
    of = program(STARTS)
    given = tensors(of.draw(shapes(of, (2, 3), 2))[0])
    wide = torch.zeros(2, 4, 3, 3, dtype=torch.float64)
    wide[:, ::2] = given["x"].detach()
    other = {**given, "x": wide[:, ::2].requires_grad_(), "w": given["w"].mT.contiguous().mT}
    weights = None
    for backend in ("c", "triton"):
        values, expected, weights = run(of, backend, given, weights)
        found = run(of, backend, other, weights)
        agree({**found[0], **found[1]}, {**values, **expected}, 1e-12, backend)


def test_no_steps() -> None:
    """What has no steps has gradients of zero, for what states start with too."""
    of = program(SHARED)
    for steps in ((0, 3), (3, 0)):
        given = tensors(of.draw(shapes(of, steps, 2))[0])
        values, found, _ = run(of, "triton", given)
        assert values["y"].shape == (2, *steps, 3, 5)
        assert all(g.shape == given[n.removeprefix("d ")].shape and not g.any() for n, g in found.items())


def test_parts_of_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs share an axis only if whatever is kept has it; what else lacks it they sum up at the end."""
    of, make = program(SHARED.replace("recurrence shared", "recurrence parts")), gpu.build
    form = derive_sequential(of.rec)
    assert tileable(form) == ("e",)

    def cut(spec: Spec, back: Spec, *more: Any) -> Any:
        return make(replace(spec, tiles={"e": 4}), replace(back, tiles={"e": 2}), *more)

    monkeypatch.setattr(gpu, "build", cut)
    compare(of, tensors(of.draw(shapes(of, (2, 3), 2))[0]), "parts")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_narrower_types(dtype: torch.dtype) -> None:
    of = program(SHARED)
    arguments = {n: torch.tensor(x).to(dtype).double().numpy() for n, x in of.draw(shapes(of, (2, 3)))[0].items()}
    values, expected, weights = run(of, "c", tensors(arguments))
    found = run(of, "triton", tensors(arguments, dtype), weights)
    bound = {torch.float32: 2e-6, torch.float16: 2e-3}[dtype]
    agree(found[0], values, bound)
    agree(found[1], expected, 2 * bound)


def test_no_packed_sequences() -> None:
    of = program(SHARED)
    given = tensors(of.draw(shapes(of, (1, 4)))[0])
    with pytest.raises(UsageError, match="cu_seqlens: expected none: the program scans over r, c"):
        Op(of.rec, "triton", "auto")(**given, cu_seqlens=[0, 4])


def test_kernels_compile_for_a_gpu() -> None:
    """Loops are not pipelined: a step may read what the one before it wrote. A barrier ends each step."""
    for text, sizes in ((recc.zoo.text("roesser"), {"n": 8}), (CORNERS, {})):
        cut = plan(derive_sequential(program(text).rec), sizes, 1)
        binaries = compile_all(kernels_of(build(cut.forward, cut.backward), "bfloat16"), ("sm_90",), 2)
        for (kernel, _), binary in binaries.items():
            assert binary.resources.spills == 0, kernel
            assert "cp.async" not in binary.assembly, kernel
            assert ("bar.sync" in binary.assembly) == (kernel != "pass_2_forward"), kernel
