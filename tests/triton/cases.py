"""The programs that Triton kernels run in the interpreter, by class, and how they are run.

Programs come from the tests of agreement (the zoo, the language), from updates and published systems, and from
the templates below, for the classes that those have few of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from recc.errors import Refusal
from recc.forms.block import Scan
from recc.forms.parallel import derive
from recc.fuzz import Shapes
from recc.recurrence import Kind
from recc.runtime.op import Op
from recc.structure import Nonlinear, structures
from tests.agree.cases import Arrays, Program, program, programs
from tests.agree.harness import by_oracle, differentiable, gradients, named, plain
from tests.agree.updates import UPDATES
from tests.structure.test_systems import TEXTS
from tests.texts import attention_text

FORMS = ("sequential", "scan", "chunked")
#: The steps of a chunk in small runs.
CHUNK = 4
#: Relative errors of values; those of gradients may be twice as large.
BOUND = {torch.float64: 1e-10, torch.float32: 2e-6, torch.float16: 2e-3}
#: The header of a program that scans over several axes.
_PLANE = re.compile(r"^recurrence .* over .*,", re.MULTILINE)
#: Sizes of axes, by their order. Tiles reach beyond some and fit others.
_SIZES = (3, 2, 5, 4, 6, 7)


def _vector(name: str, declared: str, update: str, read: str = "h[t]", state: str = "h[d]") -> str:
    axes = "d, e = d" if "sum[e]" in update else "d"
    return f"""
recurrence {name}({axes})
    input x[d]
    {declared}
    state {state}
    h[t] = {update}
    output y[t] = {read}
"""


def _templates() -> Iterator[str]:
    """Programs of the classes that others have few of."""
    for word, fn in (("most", "max"), ("least", "min"), ("soft", "logaddexp")):
        yield _vector(f"{word}_scalar", "input g <= 0", f"{fn}(g[t] + h[t-1], x[t])")
        yield _vector(f"{word}_vector", "param a[d]", f"{fn}(h[t-1] - a, x[t] * a)", "h[t-1] + h[t]")
        yield _vector(
            f"{word}_reset", "input done bool, g[d]", f"{fn}(where(done[t], g[t], h[t-1]), x[t])", "exp(h[t])"
        )
        yield _vector(f"{word}_back", "input g[d] <= 0", f"{fn}(g[t] + h[t+1], x[t])")
        yield _vector(f"{word}_second", "param a[d], b", f"{fn}({fn}(h[t-1] + a, h[t-2] + b), x[t])")
    pair = "param a[d] in [0, 0.5], b in [-0.4, 0.4]"
    yield _vector("second_back", pair, "a * h[t+1] + b * h[t+2] + x[t]")
    yield _vector("second_varying", "input a[d] in [0, 0.5], b in [-0.4, 0.4]", "a[t] * h[t-1] - b[t] * h[t-2] + x[t]")
    yield _vector("second_reset", f"{pair}\n    input done bool", "where(done[t], 0, a * h[t-1] + b * h[t-2]) + x[t]")
    yield _vector("second_complex", "param r in [0, 0.5], f[d]", "r * cis(f) * h[t-1] + 0.2 * h[t-2] + x[t]",
                  "re(h[t]) + im(h[t-1])", "h[d] complex")  # fmt: skip
    yield _vector("second_dense", "param A[d, e], b in [-0.4, 0.4]", "sum[e](A * h[t-1, e]) + b * h[t-2] + x[t]")
    yield _vector("only_two_ago", "input g[d] <= 0", "exp(g[t]) * h[t-2] + x[t]", "h[t] * x[t-1] + h[t-2]")
    yield _vector("back_vector", "input g[d] <= 0", "exp(g[t]) * h[t+1] + x[t] * x[t+1]", "h[t] + h[t+1]")
    yield _vector("back_negative", "input a[d] in [-1, 1]", "a[t] * h[t+1] + x[t]")
    yield _vector("back_dense", "param A[d, e]", "sum[e](A * h[t+1, e]) + x[t]")
    yield _vector("back_cell", "param A[d, e]", "tanh(sum[e](A * h[t+1, e]) + x[t])", "h[t] * t")
    yield _vector("back_complex", "input f[d]", "0.8 * cis(f[t]) * h[t+1] + x[t]", "re(h[t])", "h[d] complex")
    decays = {
        "none": ("", "S[t-1]"), "number": ("", "0.9 * S[t-1]"), "negative": ("param c in [-1, 0]", "c * S[t-1]"),
        "scalar": ("input g <= 0", "exp(g[t]) * S[t-1]"), "keys": ("input g[i] <= 0", "exp(g[t]) * S[t-1]"),
        "values": ("input f[j] in [0, 1]", "f[t] * S[t-1]"), "full": ("input g[i, j] <= 0", "exp(g[t]) * S[t-1]"),
        "signed": ("input f[i] in [-1, 1]", "f[t] * S[t-1]"),
    }  # fmt: skip
    for word, (declared, kept) in decays.items():
        yield attention_text(f"before_{word}", declared, f"{kept} + k[t] * v[t]", "S[t-1]")
    for word in ("none", "scalar", "keys", "signed"):
        declared, kept = decays[word]
        update = f"{kept} - 0.3 * k[t] * sum[i](k[t] * S[t-1]) + k[t] * v[t]".replace("t-1", "t+1")
        yield attention_text(f"back_delta_{word}", declared, update)
    three = " - ".join(["exp(g[t]) * S[t-1]", *(f"0.2 * {n}[t] * sum[i]({n}[t] * S[t-1])" for n in "kab")])
    yield attention_text("rank_three", "input a[i], b[i], g <= 0", f"{three} + k[t] * v[t]")
    yield (
        "recurrence no_axes\n    input x, g <= 0\n    state h\n"
        "    h[t] = exp(g[t]) * h[t-1] + x[t]\n    output y[t] = h[t]\n"
    )
    yield "recurrence no_state(d)\n    input x[d]\n    param w[d]\n    output y[t] = sum[d](w * x[t-1]) + t\n"


#: Forms that are there, and that kernels do not run: they need a matrix for each element of an axis.
MATRICES = {
    ("system blocks_of_rank_one", "chunked"),
    ("system legs_gbt", "scan"),
    ("system linear_cde_expm", "scan"),
    ("system linear_ode", "scan"),
    ("system middle_axis", "chunked"),
    ("system mixture_of_memories", "chunked"),
    ("update value decay left rank", "chunked"),
}
_KEPT = {name for name, _ in MATRICES}


@cache
def _named() -> Mapping[str, str]:
    found = {f"update {n}": t for n, t in UPDATES.items()}
    found |= {f"made {t.split()[1].split('(')[0]}": t for t in _templates()}
    systems = [n for n, t in TEXTS.items() if not _PLANE.search(t)]
    # Two of three: the interpreter is slow, and there are more than twenty of every class among them.
    return found | {f"system {n}": TEXTS[n] for k, n in enumerate(systems) if k % 3 != 2 or f"system {n}" in _KEPT}


def names() -> list[str]:
    """Every program that has one axis of time."""
    return [n for n, p in programs().items() if len(p.rec.scan) == 1] + list(_named())


def case(name: str) -> Program:
    """A program by its name here."""
    return programs().get(name) or program(_named()[name])


@cache
def refused(name: str, form: str) -> str:
    """Why kernels do not run a program by a form, as far as the form tells; nothing if they do."""
    if form == "sequential":
        return ""
    found = derive(case(name).rec, form, CHUNK)
    if isinstance(found, Refusal):
        return found.reason
    steps = [op for loop in found.passes for op in (*loop.step.ops, *loop.step_vjp.ops)]
    if (name, form) not in MATRICES and any(isinstance(op, Scan) and op.rows for op in steps):
        return "the combine of the recurrence multiplies matrices"
    return ""


#: Systems whose chunks solve for many times more unknowns than others have.
_LARGE = ("system six_reflections", "system house_4")


@cache
def forms_of(name: str) -> tuple[str, ...]:
    """The forms in which kernels run a program."""
    return tuple(f for f in FORMS if not refused(name, f) and (name, f) not in MATRICES)


def forms_to_run(name: str) -> tuple[str, ...]:
    """The forms in which the tests run a program: published systems, of which there are many, in one each, in turn."""
    found = forms_of(name)
    if name in _LARGE:
        return ("sequential",)
    if not name.startswith("system "):
        return found
    return (found[list(TEXTS).index(name.removeprefix("system ")) % len(found)],)


def classes(name: str) -> set[str]:
    """The classes of structure of a program's stages."""
    rec, found = case(name).rec, set[str]()
    for structure in structures(rec):
        stage = structure.stage
        if not stage.states:
            continue
        if isinstance(structure, Nonlinear):
            found.add("nonlinear")
        elif structure.algebra != "ring":
            found.add("semiring")
        else:
            kinds = {"identity": "diagonal", "scalar": "diagonal", "low_rank": "diagonal+low_rank"}
            found.add(kinds.get(structure.kind, structure.kind))
            found |= {"second order"} if structure.order > 1 else set()
            found |= {"resets"} if structure.resets else set()
        found |= {"from the end"} if stage.direction[0] < 0 else set()
        found |= {"complex"} if any(rec.table[s].dtype == "complex" for s in stage.states) else set()
    kinds_of_inputs = {s.dtype for s in rec.of_kind(Kind.INPUT)}
    found |= {"whole numbers"} if "int" in kinds_of_inputs else set()
    found |= {"several outputs"} if len(rec.outputs) > 1 else set()
    return found | ({"the clock"} if rec.clock else set())


def shapes(of: Program, *, steps: int = 5, batch: int = 1, heads: tuple[int, ...] = ()) -> Shapes:
    """Small sizes that differ from axis to axis."""
    roots = sorted({a.size_of for a in of.rec.axes})
    return Shapes({a: _SIZES[k % len(_SIZES)] for k, a in enumerate(roots)}, (steps,), batch, heads)


def drawn(of: Program, sizes: Shapes, seed: int = 0) -> tuple[Arrays, Arrays]:
    """Arguments, and a state to begin with."""
    arguments, initial = of.draw(sizes, seed)
    if of.rec.name == "kt_counts":
        # Its counts are arguments of a logarithm.
        arguments["onehot"] = np.eye(*arguments["onehot"].shape)
        initial = {n: np.abs(x) for n, x in initial.items()}
    return arguments, initial


@cache
def op(name: str, form: str, chunk: int = CHUNK) -> Op:
    """The op with Triton kernels; one for the whole run."""
    return Op(case(name).rec, "triton", form, None if form == "sequential" else chunk)


@contextmanager
def poisoned() -> Iterator[None]:
    """Fresh memory is full of NaN, and of the largest integers."""
    real = torch.empty

    def empty(*args: Any, **kwargs: Any) -> torch.Tensor:
        tensor = real(*args, **kwargs)
        if tensor.is_floating_point() or tensor.is_complex():
            return tensor.fill_(float("nan"))
        return tensor.fill_(True if tensor.dtype is torch.bool else torch.iinfo(tensor.dtype).max)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "empty", empty)
        yield


def by_kernels(
    of: Program, run: Op, leaves: Mapping[str, torch.Tensor], states: Mapping[str, torch.Tensor],
    weights: Mapping[str, Any] | None, **options: Any,
) -> tuple[Arrays, Arrays]:  # fmt: skip
    """Values and gradients by Triton kernels, in memory that is poisoned."""
    with poisoned():
        result = run(**leaves, initial_state=dict(states) or None, output_final_state=True, **options)
        results = named(of, result)
        values = {n: plain(v) for n, v in results.items()}
        if weights is None:
            return values, {}
        found = gradients(results, weights, {**leaves, **states})
    return values, {n: g for n, g in found.items() if n in differentiable(of.rec)}


def half(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The nearest real numbers that have 16 bits, in as many bits as before."""
    return array.astype(np.float16).astype(array.dtype) if array.dtype.kind == "f" else array


def single(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The nearest numbers that have 32 bits, in as many as before."""
    kinds = {"f": np.float32, "c": np.complex64}
    return array.astype(kinds[array.dtype.kind]).astype(array.dtype) if array.dtype.kind in kinds else array


def oracle(of: Program, sizes: Shapes, arguments: Arrays, initial: Arrays, weights: Any = None) -> tuple[Any, Any, Any]:
    """Values, gradients of what has any, and weights, in float64."""
    values, found, weights = by_oracle(of, sizes, arguments, initial, weights)
    return values, {n: g for n, g in found.items() if n in differentiable(of.rec)}, weights


__all__ = [
    "BOUND", "CHUNK", "FORMS", "MATRICES", "by_kernels", "case", "classes", "drawn", "forms_of",
    "forms_to_run", "half", "names", "op", "oracle", "poisoned", "refused", "shapes", "single",
]  # fmt: skip
