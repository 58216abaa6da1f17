"""Printing: the listing of a recurrence, held as golden files, is a program of the same meaning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recc.check import load

HERE = Path(__file__).parent
ZOO = sorted((HERE.parents[1] / "recc" / "zoo").glob("*.recc"))
LISTED = [
    "gated_delta_net",
    "mlstm",
    "lstm",
    "kalman",
    "roesser",
    "lru",
    "bidirectional",
    "conv_ssm",
    "selective_dense",
]


@pytest.mark.parametrize("name", LISTED)
def test_listing(name: str, golden: Callable[[Path, str], None]) -> None:
    (path,) = [p for p in ZOO if p.stem == name]
    (r,) = load(path.read_text(encoding="utf-8"))
    golden(HERE / "listings" / f"{name}.txt", str(r))


@pytest.mark.parametrize("path", ZOO, ids=lambda p: p.stem)
def test_listing_reads_back_as_the_same_program(path: Path) -> None:
    (r,) = load(path.read_text(encoding="utf-8"))
    (again,) = load(str(r))
    assert str(again) == str(r)
    assert again.stages == r.stages
    assert again.equations == r.equations
    assert sorted(again.slots, key=str) == sorted(r.slots, key=str)
    assert (again.axes, again.scan, again.clock) == (r.axes, r.scan, r.clock)


@pytest.mark.parametrize(
    "right",
    [
        "(a - b) - (a - b)",
        "a - (b + a)",
        "a / (b * a)",
        "(a / b) / a",
        "-(a**b)",
        "(-a)**b",
        "a**-b",
        "(a**b)**a",
        "-(a + b)",
        "-(a * b)",
        "-a * b",
        "where(not (a < b) and (b < a or a == b), a, -inf)",
        "where((a < b) == (b < a), 1e-05, 2.0)",
        "where(not (not a < b), 1, 3e100)",
    ],
)
def test_operators_keep_their_structure(right: str) -> None:
    (r,) = load(f"recurrence f\n param a, b\n input x\n output y[t] = {right} + x[t]\n")
    (again,) = load(str(r))
    assert again.equations == r.equations
