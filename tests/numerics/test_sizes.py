"""The size of a chunk and the number of pieces of time are not visible beyond rounding."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from tests.numerics.cases import PROGRAMS, Arrays
from tests.numerics.measure import check, expected, leaves, pulled, refused, within

CHUNKS = (1, 2, 7, 16, 64, 100, 256)
CASES = [
    ("scalar decay", "mixed"), ("key decay", "rare"), ("value decay", "near one"), ("value factor", "mixed"),
    ("key factor", "signs and zeros"), ("delta, key decay", "mild"), ("low rank, key decay", "slow"),
    ("elementwise factor", "alternating"), ("scalar reset", "slow"), ("turn", "any"),
]  # fmt: skip


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_chunk_sizes_and_steps(name: str, kind: str, chunk: int) -> None:
    for steps in (1, 63, 64, 65, 300):
        check(name, kind, steps, "chunked", chunk, torch.float32)
    check(name, kind, 65, "chunked", chunk, torch.float64)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_thousand_steps(name: str, kind: str) -> None:
    for form, chunk in (("chunked", 16), ("chunked", 64), ("chunked", 100), ("scan", None), ("scan", 100)):
        check(name, kind, 1000, form, chunk, torch.float32)


@pytest.mark.parametrize("chunk", [None, 64])
@pytest.mark.parametrize("kind", ["negative", "near one", "mixed", "alternating"])
def test_constant_decays(kind: str, chunk: int | None) -> None:
    for form in ("scan", "convolution", "chunked"):
        for steps in (1, 63, 64, 65, 1000):
            check("constant decay", kind, steps, form, chunk, torch.float32)


def in_pieces(name: str, arrays: Arrays, weights: dict[str, Any], form: str, count: int) -> dict[str, Any]:
    """The result of calls that hand the state on, differentiated through all of them."""
    tensors = leaves(arrays, torch.float32)
    op = PROGRAMS[name].compile(form, 16 if form == "chunked" else None)
    steps = arrays["k" if "k" in arrays else "x"].shape[1]
    cuts = np.linspace(0, steps, count + 1).astype(int)
    state: Any = tensors["initial"]
    outputs = []
    for start, end in pairwise(cuts):
        piece = {n: x[:, start:end] if x.dim() > 1 else x for n, x in tensors.items() if n != "initial"}
        output, state = op(**piece, initial_state=state, output_final_state=True)
        outputs.append(output)
    return pulled({"output": torch.cat(outputs, 1), "final": state}, tensors, weights)


@pytest.mark.parametrize("form", ["sequential", "scan", "chunked"])
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_pieces_joined_by_the_state(name: str, kind: str, form: str) -> None:
    if refused(name, form):
        return
    arrays, wanted, weights = expected(name, kind, 65)
    for count in (1, 2, 3, 8, 65):
        within(in_pieces(name, arrays, weights, form, count), wanted, torch.float32, (name, kind, form, count))
