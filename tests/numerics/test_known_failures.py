"""What users of other libraries reported, each as a test of its own, in the forms that derive chunks and scans.

A comment names the project and the issue. None of them may come back as a failure of ours.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

import recc
from tests.numerics.cases import PROGRAMS, K, V, draw
from tests.numerics.measure import by_form, by_loop, check, distance, expected, within

F32 = torch.float32
ATTENTIONS = ("scalar decay", "scalar decay, state before", "key decay", "value decay", "delta", "delta, key decay")


def tensors(name: str, kind: str, steps: int, batch: int = 1) -> dict[str, Tensor]:
    """Arguments in single precision, gradients wanted."""
    arrays = draw(name, kind, steps, batch)
    return {n: torch.tensor(v, dtype=F32, requires_grad=True) for n, v in arrays.items()}


# fla-org/flash-linear-attention #77: an exclusive cumulative decay, less that of the first row of its block, made a
# large positive exponent and NaN in the gradient; #99 and #736: NaN in the triangular system of a delta rule.
@pytest.mark.parametrize("kind", ["strong", "steep", "cut", "all cut", "saturated", "mixed"])
@pytest.mark.parametrize("name", ATTENTIONS)
def test_no_nan_from_exclusive_cumulative_decay(name: str, kind: str) -> None:
    for chunk in (16, 64, 256):
        check(name, kind, 257, "chunked", chunk, F32)


# flash-linear-attention #122: NaN in the output of a long sequence, here of the length that was reported.
def test_no_nan_in_a_long_sequence() -> None:
    check("key decay", "steep", 43884, "chunked", 64, F32)


# flash-linear-attention #1187: states kept in half precision were not enough and training ended in NaN. Here they
# are in single precision whatever the inputs are, and so is what a call hands to the next.
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("form", ["sequential", "scan", "chunked"])
def test_state_in_fp16_is_kept_in_single_precision(form: str, dtype: torch.dtype) -> None:
    op = PROGRAMS["scalar decay"].compile(form, 16 if form == "chunked" else None)
    steps = 512
    k = torch.full((1, steps, K), 16.0, dtype=dtype)
    v = torch.full((1, steps, V), 16.0, dtype=dtype)
    q = torch.full((1, steps, K), 2.0**-10, dtype=dtype)
    output, final = op(q=q, k=k, v=v, g=torch.zeros(1, steps, dtype=dtype), output_final_state=True)
    assert final.dtype == F32 and output.dtype == dtype
    assert torch.equal(final, torch.full_like(final, 256.0 * steps)), "above what half precision holds"
    wanted = torch.arange(1, steps + 1, dtype=F32) * (256 * K * 2.0**-10)
    assert distance(output[0, :, 0].float(), wanted) <= {torch.float16: 2e-3, torch.bfloat16: 8e-3}[dtype]


# flash-linear-attention #285 and #494: a sequence in one call, and in two with the state handed on, disagreed.
@pytest.mark.parametrize("form", ["scan", "chunked"])
@pytest.mark.parametrize("name", ["delta", "delta, key decay", "key decay"])
def test_whole_run_equals_segmented_run(name: str, form: str) -> None:
    op = PROGRAMS[name].compile(form, 16 if form == "chunked" else None)
    given = tensors(name, "mild", 100, batch=2)
    state = given.pop("initial")
    whole, last = op(**given, initial_state=state, output_final_state=True)
    for cut in (1, 16, 37, 99):
        first, between = op(**{n: x[:, :cut] for n, x in given.items()}, initial_state=state, output_final_state=True)
        second, end = op(**{n: x[:, cut:] for n, x in given.items()}, initial_state=between, output_final_state=True)
        assert distance(torch.cat([first, second], 1).detach(), whole.detach()) <= 2e-6
        assert distance(end.detach(), last.detach()) <= 2e-6


# flash-linear-attention #83: and run step by step.
@pytest.mark.parametrize("name", ["delta", "key decay"])
def test_whole_run_equals_single_steps(name: str) -> None:
    op = PROGRAMS[name].compile("chunked", 16)
    given = tensors(name, "mild", 40)
    state: Any = given.pop("initial")
    whole, last = op(**given, initial_state=state, output_final_state=True)
    outputs = []
    for t in range(40):
        output, state = op.step(state, **{n: x[:, t] for n, x in given.items()})
        outputs.append(output)
    assert distance(torch.stack(outputs, 1).detach(), whole.detach()) <= 2e-6
    assert distance(state.detach(), last.detach()) <= 2e-6


# flash-linear-attention #671 and #1003: results changed with the size of the batch.
@pytest.mark.parametrize("form", ["scan", "chunked"])
@pytest.mark.parametrize("name", ["delta, key decay", "key decay", "scalar decay"])
def test_result_does_not_depend_on_the_batch(name: str, form: str) -> None:
    op = PROGRAMS[name].compile(form, 16 if form == "chunked" else None)
    given = tensors(name, "mild", 65, batch=8)
    given["initial_state"] = given.pop("initial")
    alone = op(**{n: x[:1] for n, x in given.items()})
    together = op(**given)
    # The products of matrices are torch's own: their order may follow the size of the batch, their error may not.
    assert distance(together[:1].detach(), alone.detach()) <= 1e-6
    repeated = op(**{n: x[:1].expand(8, *x.shape[1:]) for n, x in given.items()})
    assert torch.equal(repeated[0], repeated[7]), "equal sequences of one call have equal bits"


# The same, with the project's own kernels: the same bits.
def test_result_does_not_depend_on_the_batch_to_the_last_bit() -> None:
    op = PROGRAMS["delta, key decay"].compile("sequential", None, backend="c")
    given = tensors("delta, key decay", "mild", 65, batch=8)
    given["initial_state"] = given.pop("initial")
    assert torch.equal(op(**given)[2:3], op(**{n: x[2:3] for n, x in given.items()}))


# flash-linear-attention #1082 and five fixes before it: offsets were counted in 32 bits.
@pytest.mark.skipif(not sys.platform.startswith("linux") or sys.maxsize < 1 << 32, reason="needs lazy mappings")
@pytest.mark.parametrize("form", ["sequential", "scan", "chunked"])
def test_offsets_beyond_int32(form: str) -> None:
    op = PROGRAMS["elementwise factor"].compile(form, 2 if form == "chunked" else None)
    rng = np.random.default_rng(0)
    near = {n: torch.tensor(rng.standard_normal((3, 4, K)), dtype=F32) for n in ("x", "f")}
    wanted, last = op(**near, output_final_state=True)
    apart = (1 << 30) + 64
    with mapped((2 * apart + 4 * K) * 4) as memory:
        far = torch.frombuffer(memory, dtype=F32).as_strided((3, 4, K), (apart, K, 1))
        far.copy_(near["x"])
        output, final = op(x=far, f=near["f"], output_final_state=True)
        assert torch.equal(output, wanted) and torch.equal(final, last)
        del far


class mapped:
    """Memory that is reserved and not filled."""

    def __init__(self, size: int):
        self.size = size

    def __enter__(self) -> Any:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
        try:
            self.memory = mmap.mmap(-1, self.size, flags=flags)
        except OSError as problem:
            pytest.skip(f"this system reserves no {self.size >> 30} GiB of addresses: {problem}")
        return self.memory

    def __exit__(self, *failure: object) -> None:
        return


# flash-linear-attention #117, #663 and #1147: each new length or batch size started tuning anew.
@pytest.mark.parametrize("form", ["scan", "chunked"])
def test_a_new_length_builds_nothing(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECC_CACHE", str(tmp_path))
    op = recc.compile(PROGRAMS["key decay"].text, backend="torch", form=form)
    files = []
    for steps, batch in ((5, 1), (64, 1), (65, 3), (200, 2)):
        given = tensors("key decay", "mild", steps, batch)
        given.pop("initial")
        op(**given)
        files.append(sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.py")))
    assert files[0] and all(f == files[0] for f in files)


def selective(a: dict[str, Tensor], D: int, N: int) -> tuple[Tensor, Tensor]:
    """A selective state space step by step."""
    state = a["initial_state"]
    outputs = []
    for t in range(a["u"].shape[1]):
        step = a["delta"][:, t, :, None]
        state = torch.exp(step * a["A"]) * state + step * a["B"][:, t, None, :] * a["u"][:, t, :, None]
        outputs.append((a["C"][:, t, None, :] * state).sum(-1) + a["D"] * a["u"][:, t])
    return torch.stack(outputs, 1), state


@pytest.fixture
def scan_data() -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(3)
    D, N, T = 5, 4, 70
    yield {
        "u": rng.standard_normal((1, T, D)), "delta": rng.uniform(1e-3, 2, (1, T, D)),
        "B": rng.standard_normal((1, T, N)), "C": rng.standard_normal((1, T, N)),
        "A": -np.exp(rng.uniform(-3, 3, (D, N))), "D": rng.standard_normal(D),
        "initial_state": rng.standard_normal((1, D, N)),
    }  # fmt: skip


# state-spaces/mamba #175 and #258: no initial state, and the gradient of the last state was dropped in silence.
@pytest.mark.parametrize("form", ["sequential", "scan", "chunked"])
def test_final_state_gradient_with_initial_state(form: str, scan_data: dict[str, Any]) -> None:
    op = recc.compile(Path(recc.__file__).parent / "zoo" / "mamba.recc", backend="torch", form=form)
    results = []
    for dtype in (F32, torch.float64):
        leaves = {n: torch.tensor(v.astype(np.float32), dtype=dtype, requires_grad=True) for n, v in scan_data.items()}
        if dtype == F32:
            output, final = op(**leaves, output_final_state=True)
        else:
            output, final = selective(leaves, 5, 4)
        # The last state alone: the outputs have no part in the gradient.
        weight = torch.linspace(-1, 1, final.numel()).reshape(final.shape)
        wanted = [n for n in leaves if n not in ("C", "D")]
        found = torch.autograd.grad((final * weight.to(dtype)).sum(), [leaves[n] for n in wanted])
        results.append([output.detach(), final.detach(), *found])
    names = ["output", "final", *(f"d {n}" for n in wanted)]
    for n, x, y in zip(names, *results, strict=True):
        assert distance(x, y) <= (4e-6 if n.startswith("d ") else 2e-6), n


# state-spaces/mamba #180: no packed sequences; flash-linear-attention #1155: packed calls of other lengths.
@pytest.mark.parametrize("form", ["sequential", "scan", "chunked"])
def test_packing(form: str, scan_data: dict[str, Any]) -> None:
    op = recc.compile(Path(recc.__file__).parent / "zoo" / "mamba.recc", backend="torch", form=form)
    given = {n: torch.tensor(v, dtype=F32) for n, v in scan_data.items()}
    params = {n: given[n] for n in ("A", "D")}
    inputs = {n: given[n] for n in ("u", "delta", "B", "C")}
    for offsets in ([0, 1, 8, 70], [0, 64, 65, 70], [0, 0, 33, 70]):
        states = torch.randn(len(offsets) - 1, 5, 4, generator=torch.Generator().manual_seed(0))
        cuts = torch.tensor(offsets, dtype=torch.int64)
        packed, last = op(**inputs, **params, initial_state=states, output_final_state=True, cu_seqlens=cuts)
        for i, (start, end) in enumerate(pairwise(offsets)):
            piece = {n: x[:, start:end] for n, x in inputs.items()}
            alone, final = op(**piece, **params, initial_state=states[i : i + 1], output_final_state=True)
            assert distance(packed[:, start:end], alone) <= 1e-6
            assert distance(last[i : i + 1], final) <= 1e-6


# flash-linear-attention #640, #913, #945 and #984, state-spaces/mamba #997: gradients were wrong in silence at
# some sizes, where a tuned variant had been compiled wrongly.
@pytest.mark.parametrize(("keys", "values"), [(1, 1), (3, 5), (16, 8), (17, 33), (32, 1)])
def test_gradients_are_right_at_every_size(keys: int, values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for steps in (15, 33):
        name = "delta, key decay"
        arrays = draw(name, "mild", steps)
        rng = np.random.default_rng(steps)
        wide = {"q": keys, "k": keys, "g": keys, "v": values}
        for n, size in wide.items():
            arrays[n] = rng.standard_normal((1, steps, size)).astype(np.float32).astype(np.float64)
        arrays["k"] = (arrays["k"] / np.linalg.norm(arrays["k"], axis=-1, keepdims=True)).astype(np.float32)
        arrays["k"] = arrays["k"].astype(np.float64)
        arrays["g"] = -np.abs(arrays["g"])
        arrays["initial"] = rng.standard_normal((1, keys, values)).astype(np.float32).astype(np.float64)
        wanted, weights = by_loop(name, arrays)
        for form, chunk in (("chunked", 16), ("chunked", 64), ("scan", None)):
            found = by_form(name, arrays, weights, form, chunk, F32)
            within(found, wanted, F32, (keys, values, steps, form, chunk))


# The same issues, of which #913 read beyond its arrays: torch fills new memory with NaN where it is asked to.
def test_nothing_is_read_before_it_is_written() -> None:
    before, memory = torch.are_deterministic_algorithms_enabled(), cast(Any, torch.utils.deterministic)
    fill = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = True
    try:
        for name in ("key decay", "delta, key decay", "elementwise factor"):
            for form in ("scan", "chunked"):
                check(name, "mild" if "factor" in name else "mixed", 65, form, 16 if form == "chunked" else None, F32)
    finally:
        torch.use_deterministic_algorithms(before)
        memory.fill_uninitialized_memory = fill


# flash-linear-attention #113, #630 and #685: no way to run on a CPU.
@pytest.mark.parametrize("form", ["sequential", "scan", "chunked", "matrix"])
def test_every_form_runs_on_a_cpu(form: str) -> None:
    assert "TRITON_INTERPRET" not in os.environ
    check("scalar decay", "mild", 33, form, None, F32)


# flash-linear-attention #110 and #109: recurrences that had to be asked for. With gates saturated both ways.
@pytest.mark.parametrize("far", [20.0, 80.0])
def test_recurrences_that_had_to_be_asked_for(far: float) -> None:
    rng = np.random.default_rng(0)
    gates = torch.tensor(rng.choice([-far, far], size=(2, 1, 65, K)), dtype=F32)
    x = torch.tensor(rng.standard_normal((1, 65, K)), dtype=F32)
    op = recc.compile(Path(recc.__file__).parent / "zoo" / "rg_lru.recc", backend="torch", form="chunked")
    given = [t.clone().requires_grad_() for t in (x, gates[0], gates[1], torch.zeros(K))]
    output = op(*given)
    reference = op.reference(*(t.detach().double().numpy() for t in given))
    assert distance(output.detach(), np.asarray(reference)) <= 2e-6
    grads = torch.autograd.grad(output.sum(), given)
    assert all(torch.isfinite(g).all() for g in grads)


# A gate of -1e-7 beside a stabiliser of 80 is lost by the program's own `f[t] + m[t-1] - m[t]`, in every form: the
# step loop in single precision is the measure where it is worse than the table.
@pytest.mark.parametrize("gate", [-80.0, -0.5, -1e-7, 0.0])
@pytest.mark.parametrize("size", [-80.0, 80.0, 0.0])
def test_stabilised_states_with_saturated_gates(gate: float, size: float) -> None:
    rng = np.random.default_rng(0)
    u = rng.choice([size, size / 2, 0.0], size=(1, 65))
    # Positive, so that the sum that is divided by is not near zero by chance.
    q, k, v = (np.abs(rng.standard_normal((1, 65, n))) for n in (K, K, V))
    given = [torch.tensor(x, dtype=F32, requires_grad=True) for x in (q, k, v, np.full((1, 65), gate), u)]
    path = Path(recc.__file__).parent / "zoo" / "mlstm.recc"
    step_loop = recc.compile(path, backend="c")
    reference = np.asarray(step_loop.reference(*(t.detach().double().numpy() for t in given)))
    allowed = max(2e-6, 1.5 * distance(step_loop(*given).detach(), reference))
    for form in ("chunked", "scan"):
        output = recc.compile(path, backend="torch", form=form)(*given)
        assert distance(output.detach(), reference) <= allowed
        assert all(torch.isfinite(g).all() for g in torch.autograd.grad(output.sum(), given))


# pytorch/pytorch #95408: an associative scan with derivatives, here of the second order too.
def test_a_scan_is_differentiable_twice() -> None:
    op = PROGRAMS["elementwise factor"].compile("scan", None)
    rng = np.random.default_rng(0)
    x, f = (torch.tensor(rng.standard_normal((1, 6, K)), requires_grad=True) for _ in range(2))
    assert torch.autograd.gradgradcheck(lambda x, f: op(x=x, f=f), (x, f))


# A delta rule with keys that are not normalised grows like the product of |1 - beta |k|^2|: that is the
# recurrence itself and not an error. It grows by the same factor in every form, to the end of the number range.
@pytest.mark.parametrize("form", ["sequential", "scan", "chunked"])
def test_keys_that_are_not_normalised_grow_as_they_should(form: str) -> None:
    name = "delta"
    arrays, _, _ = expected(name, "none", 33)
    arrays = {**arrays, "k": 2 * arrays["k"], "beta": np.full_like(arrays["beta"], 1.0)}
    wanted, weights = by_loop(name, arrays)
    assert np.abs(wanted["final"]).max() > 1e6
    found = by_form(name, arrays, weights, form, 16 if form == "chunked" else None, F32)
    # An error grows with the state: all that is measured is that it is small beside it.
    for n, v in wanted.items():
        assert distance(found[n], v) <= 1e-4, n
