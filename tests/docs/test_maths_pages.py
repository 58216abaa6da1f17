"""The tables of docs/maths say what the code does, for every operation and function."""

from __future__ import annotations

import re
from pathlib import Path

from recc.forms import block
from recc.forms.block import MAP_ARITY
from recc.forms.vjp import _RULES
from recc.forms.vjp_rules import RULES

MATHS = Path(__file__).resolve().parents[2] / "docs" / "maths"


def test_vjp_page_has_every_scalar_function() -> None:
    text = (MATHS / "vjp.md").read_text(encoding="utf-8").partition("## The scalar functions")[2].partition("## ")[0]
    first = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = [name for cell in first for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(named) == sorted(MAP_ARITY)
    silent = {name for cell in text.splitlines() if cell.endswith("| none |") for name in re.findall(r"`(\w+)`", cell)}
    assert silent == {name for name, rules in RULES.items() if not any(rules)}


def test_vjp_page_has_every_operation() -> None:
    text = (MATHS / "vjp.md").read_text(encoding="utf-8").partition("## The operations")[2].partition("## ")[0]
    first = [re.split(r"[|]", line)[1] for line in text.splitlines() if line.startswith("| ")]
    named = {name for cell in first for name in re.findall(r"[A-Z]\w+", cell)}
    operations = {c.__name__ for c in vars(block).values() if isinstance(c, type) and issubclass(c, block.Op)} - {"Op"}
    assert named == operations
    assert {c.__name__ for c in _RULES} == operations - {"Constant", "Iota"}
