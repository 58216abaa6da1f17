"""What is written: figures as JSON, and the tables made of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from recc.bench.report import Cell, Table

#: The form of the file; a file of another form is not added to.
SCHEMA = 1

_WAYS = {"forward": "Forward", "both": "Forward + backward"}
_BEGIN, _END = "<!-- tables: begin -->", "<!-- tables: end -->"
_NONE = "No GPU has been measured yet."


@dataclass(frozen=True)
class Row:
    """One family on one shape, one way. Times in milliseconds, memory in bytes; `None` where there is no figure."""

    family: str
    title: str
    shape: str
    way: str
    recc: float | None
    rival: float | None
    rival_name: str
    goal: float
    least_bytes: int
    share_goal: float | None = None
    recc_memory: int | None = None
    rival_memory: int | None = None
    apart: float | None = None
    remark: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """What a later figure replaces."""
        return self.family, self.shape, self.way, self.rival_name

    @property
    def ratio(self) -> float | None:
        """How many times as long the rival takes."""
        return self.rival / self.recc if self.rival and self.recc else None


@dataclass(frozen=True)
class Error:
    """How far results are from float64: the output, and the worst gradient."""

    family: str
    title: str
    contender: str
    shape: str
    output: float
    gradient: float | None
    worst: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """What a later figure replaces."""
        return self.family, self.contender


@dataclass(frozen=True)
class Host:
    """Microseconds that a small call keeps the host: forward, and one step."""

    family: str
    title: str
    contender: str
    shape: str
    call: float
    step: float | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """What a later figure replaces."""
        return self.family, self.contender


@dataclass
class Record:
    """All figures of one device. `bandwidth` is that of a copy, bytes read and written per second."""

    device: dict[str, Any]
    versions: dict[str, str]
    bandwidth: float = 0.0
    rows: list[Row] = field(default_factory=list)
    errors: list[Error] = field(default_factory=list)
    hosts: list[Host] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *found: Row | Error | Host) -> None:
        """Adds figures, in place of earlier ones of the same things."""
        for one in found:
            tables: dict[type, list[Any]] = {Row: self.rows, Error: self.errors, Host: self.hosts}
            table = tables[type(one)]
            table[:] = [*(other for other in table if other.key != one.key), one]

    def least(self, row: Row) -> float | None:
        """The milliseconds that moving the fewest bytes takes."""
        return row.least_bytes / self.bandwidth * 1e3 if self.bandwidth else None

    def data(self) -> dict[str, Any]:
        """For a program: all figures in full, with the ratios."""
        rows = [{**asdict(r), "ratio": r.ratio, "least": self.least(r)} for r in self.rows]
        return {"schema": SCHEMA, **asdict(self), "rows": rows}

    def json(self) -> str:
        """The text of the file."""
        return json.dumps(self.data(), indent=1, allow_nan=True) + "\n"

    def markdown(self) -> str:
        """The page of the device."""
        facts = [f"- {n}: {v}" for n, v in {**self.device, **self.versions}.items()]
        facts.append(f"- a copy within the device: {self.bandwidth / 1e9:,.0f} GB/s, read and written")
        parts = [f"# {self.device['name']}", "[What is measured, and how](README.md).", "\n".join(facts)]
        parts += [t.markdown() for t in self.tables()]
        if self.left_out:
            parts.append("**Left out, for lack of time**\n\n" + "\n".join(f"- {one}" for one in self.left_out))
        return "\n\n".join([*parts, *self.notes]) + "\n"

    def tables(self) -> list[Table]:
        """Times by way, then errors, then the host."""
        found = [self._times(way) for way in _WAYS if any(r.way == way for r in self.rows)]
        if self.errors:
            columns = ("", "with", "shape", "output", "worst gradient", "of")
            lines = tuple((e.title, e.contender, e.shape, e.output, e.gradient, e.worst) for e in self.errors)
            found.append(Table("Errors against float64, bfloat16", columns, lines))
        if self.hosts:
            hosts = tuple((h.title, h.contender, h.shape, h.call, h.step) for h in self.hosts)
            found.append(Table("The host, µs", ("", "with", "shape", "call", "step"), hosts, ("goal: 60 µs a call",)))
        return found

    def _times(self, way: str) -> Table:
        columns = ("", "shape", "recc ms", "rival ms", "× rival", "goal", "least ms", "share of least", "goal of share",
                   "recc GiB", "rival GiB", "apart", "rival", "remark")  # fmt: skip
        lines = tuple(self._line(r) for r in self.rows if r.way == way)
        return Table(f"{_WAYS[way]}, bfloat16", columns, lines)

    def _line(self, row: Row) -> tuple[Cell, ...]:
        least = self.least(row)
        share = least / row.recc if least and row.recc else None
        memory = [None if m is None else m / 2**30 for m in (row.recc_memory, row.rival_memory)]
        return (row.title, row.shape, row.recc, row.rival, row.ratio, row.goal, least, share, row.share_goal, *memory,
                row.apart, row.rival_name, row.remark)  # fmt: skip


def slug(device: str) -> str:
    """The name of a device's files."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def read(path: Path, like: Record) -> Record | None:
    """The figures that a file has, if they are of the same device and versions."""
    if not path.exists():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    if (data.get("schema"), data.get("device"), data.get("versions")) != (SCHEMA, like.device, like.versions):
        return None
    rows = [Row(**{n: v for n, v in r.items() if n in Row.__dataclass_fields__}) for r in data["rows"]]
    return Record(data["device"], data["versions"], data["bandwidth"], rows, [Error(**e) for e in data["errors"]],
                  [Host(**h) for h in data["hosts"]], data["left_out"], data["notes"])  # fmt: skip


def write(record: Record, folder: Path) -> tuple[Path, Path]:
    """Writes `<device>.json` and `<device>.md` into a folder, and lists the page in its README if it has one."""
    name = slug(str(record.device["name"]))
    paths = folder / f"{name}.json", folder / f"{name}.md"
    for path, text in zip(paths, (record.json(), record.markdown()), strict=True):
        path.write_text(text, encoding="utf-8")
    index = folder / "README.md"
    if index.exists():
        pages = {p.stem: p.name for p in sorted(folder.glob("*.md")) if p != index}
        index.write_text(listed(index.read_text(encoding="utf-8"), pages), encoding="utf-8")
    return paths


def listed(page: str, pages: Mapping[str, str]) -> str:
    """The page with the list of tables between its marks."""
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    lines = "\n".join(f"- [{title}]({name})" for title, name in pages.items()) or _NONE
    return f"{before}{_BEGIN}\n{lines}\n{_END}{after}"


__all__ = ["SCHEMA", "Error", "Host", "Record", "Row", "listed", "read", "slug", "write"]
