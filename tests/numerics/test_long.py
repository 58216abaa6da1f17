"""Sequences of 4,096 and of 65,536 steps in single precision: the error grows no faster than the root of the steps.

A decay written as an exponential within 1e-7 of one is run in chunks, where logarithms are added up. Where a
coefficient has to be multiplied step by step it is given as a number of single precision: one that is
rounded anew from a logarithm or an angle is off by the same factor in every step, in any form.
"""

from __future__ import annotations

import pytest
import torch

from tests.numerics.measure import check

F32 = torch.float32
FOUR_THOUSAND = [
    ("scalar decay", "near one", "chunked", 64),
    ("scalar decay, state before", "rare", "chunked", 100),
    ("full decay", "slow", "chunked", 64),
    ("delta", "near one", "chunked", 64),
    ("low rank, key decay", "near one", "chunked", 64),
    ("key factor", "mixed", "chunked", 256),
    ("value factor", "ones and zeros", "scan", None),
    ("turn", "quarter", "chunked", 64),
    ("gate", "both", "chunked", 64),
]
SIXTY_FIVE_THOUSAND = [
    ("elementwise decay", "near one", "chunked", 64),
    ("elementwise decay", "slow", "scan", None),
    ("key decay", "rare", "chunked", 256),
    ("value factor", "near one", "chunked", 64),
    ("elementwise factor", "near one", "scan", None),
    ("elementwise factor", "alternating", "chunked", 100),
    ("scalar reset", "near one", "chunked", 64),
    ("delta", "none", "chunked", 64),
    ("constant decay", "near one", "convolution", None),
    ("constant decay", "alternating", "convolution", None),
    ("constant decay", "negative", "scan", None),
    ("constant phase", "any", "convolution", None),
    ("constant phase", "any", "scan", None),
    ("turn", "any", "scan", None),
    ("turn", "any", "chunked", 64),
]


@pytest.mark.parametrize(("name", "kind", "form", "chunk"), FOUR_THOUSAND)
def test_four_thousand_steps(name: str, kind: str, form: str, chunk: int | None) -> None:
    check(name, kind, 4096, form, chunk, F32)


@pytest.mark.parametrize(("name", "kind", "form", "chunk"), SIXTY_FIVE_THOUSAND)
def test_sixty_five_thousand_steps(name: str, kind: str, form: str, chunk: int | None) -> None:
    check(name, kind, 65536, form, chunk, F32)


@pytest.mark.parametrize(("name", "kind"), [("constant phase", "any"), ("elementwise factor", "signs")])
def test_the_step_loop_of_the_c_backend(name: str, kind: str) -> None:
    check(name, kind, 65536, "sequential", None, F32, backend="c")
