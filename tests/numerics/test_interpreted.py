"""The derived forms themselves in single precision: their Blocks, run by the interpreter, on hostile data.

Where these pass and the same data fails with a backend, the backend is at fault.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from recc.errors import Refusal
from recc.forms.interpret import interpret
from recc.forms.parallel import derive
from recc.forms.passes import Parallel
from recc.forms.run import Item
from recc.forms.segment import segment_map
from tests.numerics.cases import PROGRAMS, K, V, kinds
from tests.numerics.measure import expected, within

SINGLE = partial(interpret, dtype=np.float32)
SIZES = {"i": K, "j": V}
NAMES = (
    "scalar decay, state before", "key decay", "value decay", "delta, key decay", "low rank, key decay", "key reset",
    "value factor", "key factor", "delta, key factor", "elementwise factor", "constant decay", "turn", "constant phase",
)  # fmt: skip


def derived(name: str, form: str, chunk: int) -> Parallel | None:
    found = derive(PROGRAMS[name].compile("sequential", None).recurrence, form, chunk)
    return None if isinstance(found, Refusal) else found


@pytest.mark.parametrize("form", ["scan", "chunked", "convolution"])
@pytest.mark.parametrize("name", NAMES)
def test_blocks_in_single_precision(name: str, form: str) -> None:
    found = derived(name, form, 7)
    if found is None:
        return
    for kind in kinds(name):
        arrays, wanted, weights = expected(name, kind, 33)
        state = PROGRAMS[name].state
        given = {n: v[0] if v.shape[0] == 1 and v.ndim > 1 else v for n, v in arrays.items() if n != "initial"}
        item = Item(found, SIZES, (33,), given, {state: arrays["initial"][0]}, chunk=7, evaluate=SINGLE)
        item.forward()
        (output,) = item.outputs
        last = weights["final"][0]
        d_arguments, d_initial = item.backward({output: weights["output"][0]}, {state: last})
        made: dict[str, Any] = {"output": item.outputs[output], "final": item.final[state]}
        made.update({f"d {n}": v for n, v in d_arguments.items()}, **{"d initial": d_initial[state]})
        plain = {n: v if n in ("d f", "d theta", "d a") and v.ndim == 1 else v[0] for n, v in wanted.items()}
        plain = {n: v[None] if n == "output" else v for n, v in plain.items()}
        made["output"] = made["output"][None]
        within({n: made[n] for n in plain}, plain, torch.float32, (name, form, kind))


@pytest.mark.parametrize(("name", "kind"), [
    ("key decay", "rare"), ("value decay", "mixed"), ("delta, key decay", "slow"), ("key factor", "signs and zeros"),
    ("low rank, key decay", "near one"), ("turn", "any"),
])  # fmt: skip
@pytest.mark.parametrize("count", [2, 5, 13])
def test_segments_joined_by_their_maps(name: str, kind: str, count: int) -> None:
    found = derived(name, "chunked", 64)
    assert found is not None
    (loop,) = found.passes
    maps = segment_map(loop)
    arrays, wanted, _ = expected(name, kind, 65)
    given = {n: v[0] for n, v in arrays.items() if n != "initial"}
    program = PROGRAMS[name]
    cuts = np.linspace(0, 65, count + 1).astype(int)
    pieces = []
    for start, end in pairwise(cuts):
        sizes = {**SIZES, maps.pieces.root[loop.chunk]: end - start}
        ports = {p.value: p for p in loop.reads if p.role == "argument"}
        inputs = {}
        for v in maps.pieces.inputs:
            port = ports[v.name]
            value = given[port.name][start:end]
            inputs[v.name] = value.transpose([port.axes.index(a) for a in v.axes])
        pieces.append(SINGLE(maps.pieces, inputs, sizes))
    while len(pieces) > 1:  # a tree: neighbours first
        joined = []
        for first, second in zip(pieces[::2], pieces[1::2], strict=False):
            both = {**_numbered(first, "1"), **_numbered(second, "2")}
            joined.append(SINGLE(maps.join, {v.name: both[v.name] for v in maps.join.inputs}, SIZES))
        pieces = joined + ([pieces[-1]] if len(pieces) % 2 else [])
    carries = {p.value: p for p in loop.reads if p.role == "carry"}
    table = dict(pieces[0])
    for v in maps.apply.inputs:
        if v.name in carries:
            port = carries[v.name]
            value = arrays["initial"][0]
            value = value if not program.complex else (value.imag if port.part else value.real)
            table[v.name] = value.transpose([port.axes.index(a) for a in v.axes])
    after = SINGLE(maps.apply, {v.name: table[v.name] for v in maps.apply.inputs}, SIZES)
    parts = {}
    for port in (p for p in loop.writes if p.role == "carry"):
        axes = maps.apply.output[port.value].axes
        parts[port.part] = after[port.value].transpose([axes.index(a) for a in ("i", "j")[: len(axes)]])
    final = parts[0] + 1j * parts[1] if program.complex else parts[0]
    off = np.linalg.norm(final - wanted["final"][0]) / np.linalg.norm(wanted["final"][0])
    assert off <= 2e-6, (name, kind, count, off)


def _numbered(piece: Any, number: str) -> dict[str, Any]:
    """`M p q` and `F p` under the names that the Block of a join has for them."""
    return {f"{n[0]}{number}{n[1:]}": v for n, v in piece.items()}
