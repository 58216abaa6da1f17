"""The table of cuts that is shipped, and the key under which a program is found in it.

`shipped.json` was made by `python -m recc.bench.cuts`, which compiles what the model ranks best and
keeps what spills least. Nothing in it was timed. It has a line per architecture, structure, form, sizes of axes and
element types; a program that is not in it gets the model's first choice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from recc.forms.block import Block, Value
from recc.forms.sequential import derive_sequential
from recc.recurrence import Recurrence

PATH = Path(__file__).with_name("shipped.json")


@dataclass(frozen=True)
class Cut:
    """How one direction is cut: the width of a program's part of each axis that can be shared, warps, stages."""

    widths: tuple[int, ...]
    warps: int
    stages: int = 2

    def data(self) -> list[Any]:
        """The same for a file."""
        return [list(self.widths), self.warps, self.stages]

    @staticmethod
    def of(data: Any) -> Cut:
        """What `data` gave. Raises `ValueError` or `TypeError` for anything else."""
        widths, warps, stages = data
        return Cut(tuple(int(w) for w in widths), int(warps), int(stages))


@dataclass(frozen=True)
class Cuts:
    """A line: the steps of a chunk (1 for single steps), and a cut for each direction."""

    chunk: int
    forward: Cut
    backward: Cut

    def data(self) -> dict[str, Any]:
        """The same for a file."""
        return {"chunk": self.chunk, "forward": self.forward.data(), "backward": self.backward.data()}

    @staticmethod
    def of(data: Any) -> Cuts:
        """What `data` gave. Raises `KeyError`, `ValueError` or `TypeError` for anything else."""
        return Cuts(int(data["chunk"]), Cut.of(data["forward"]), Cut.of(data["backward"]))


def look_up(key: str) -> Cuts | None:
    """The line of a key, if there is one."""
    return _table().get(key)


@cache
def _table() -> Mapping[str, Cuts]:
    if not PATH.exists():
        return {}
    return {key: Cuts.of(line) for key, line in json.loads(PATH.read_text(encoding="utf-8"))["cuts"].items()}


def structure_of(rec: Recurrence) -> str:
    """A digest of what a program computes: of the Blocks of its sequential form, all names numbered."""
    found = _DIGESTS.get(id(rec))
    if found is None or found[0] is not rec:
        form = derive_sequential(rec)
        passes = getattr(form, "passes", ())
        blocks = [[_numbered(b) for b in (p.prologue, p.step)] for p in passes]
        text = json.dumps([[p.directions for p in passes], blocks])
        found = _DIGESTS[id(rec)] = (rec, hashlib.sha256(text.encode()).hexdigest()[:12])
        if len(_DIGESTS) > _MOST:
            del _DIGESTS[next(iter(_DIGESTS))]
    return found[1]


#: Digests of programs by their identity, and how many are remembered.
_DIGESTS: dict[int, tuple[Recurrence, str]] = {}
_MOST = 64


def _numbered(block: Block) -> list[Any]:
    """A Block as plain data, values and axes numbered as they come."""
    numbers: dict[tuple[str, str], str] = {}

    def number(kind: str, name: str) -> str:
        return numbers.setdefault((kind, name), f"{kind}{len(numbers)}")

    def plain(item: Any) -> Any:
        if isinstance(item, Value):
            return [number("value", item.name), [plain(a) for a in item.axes], item.dtype]
        if isinstance(item, str):
            return [number("axis", item), number("axis", block.root[item])] if item in block.root else item
        if isinstance(item, tuple | list):
            return [plain(x) for x in item]
        return item if isinstance(item, int | float | bool | None) else str(item)

    lines = [[type(op).__name__, *(plain(getattr(op, f.name)) for f in fields(op))] for op in block.ops]
    return [plain(block.inputs), lines, [plain(v) for _, v in block.outputs]]


__all__ = ["PATH", "Cut", "Cuts", "look_up", "structure_of"]
