"""What every form costs at given sizes, and which one is taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from recc.errors import UsageError
from recc.explain.document import Block, Cell, Paragraph, Table
from recc.forms.choose import Choice, Option, choose
from recc.forms.cost import Cost
from recc.recurrence import Recurrence

_SIZE = 64  # of an axis for which none is given


@dataclass(frozen=True)
class Setting:
    """The sizes that costs are told for: of axes by name (64 where none is given), steps, batch, and the device.

    `batch` counts sequences times the sizes of batch axes such as heads.
    """

    sizes: Mapping[str, int] = field(default_factory=dict)
    steps: int = 2048
    batch: int = 8
    device: str = "cpu"

    def of(self, rec: Recurrence) -> dict[str, int]:
        """The size of each axis that has one of its own. Raises `UsageError` for a name that is no axis."""
        for name in self.sizes:
            if name not in rec.axis:
                raise UsageError("sizes", f"axes among {', '.join(rec.axis) or 'none'}", f"{name!r}")
        given = {rec.axis[name].size_of: size for name, size in self.sizes.items()}
        return {a.size_of: given.get(a.size_of, _SIZE) for a in rec.axes}


def cost_blocks(rec: Recurrence, setting: Setting) -> Iterator[Block]:
    """The table of costs, after a sentence that says for what."""
    sizes = setting.of(rec)
    # A plane has as many steps in all as a line.
    extents = [max(1, round(setting.steps ** (1 / len(rec.scan))))] * len(rec.scan)
    named = [f"{name} = {size}" for name, size in sizes.items()]
    named += [f"{'T' if len(rec.scan) == 1 else s} = {n}" for s, n in zip(rec.scan, extents, strict=True)]
    yield Paragraph(
        f"Estimates for {', '.join(named)} and {setting.batch} sequences or heads on {setting.device}, forward and "
        "backward in float32. `recc bench` measures."
    )
    made = [choose(rec, backend, sizes, extents, setting.batch, setting.device) for backend in ("torch", "c")]
    rows = [row for choice in made for o in choice.options if o.cost is not None for row in [_row(choice, o, o.cost)]]
    heads = ("form", "time", "multiply-adds", "other", "bytes moved", "bytes held", "in a row", "")
    yield Table(heads, tuple(rows), (0,), headed=True)


def _row(choice: Choice, option: Option, cost: Cost) -> tuple[Cell, ...]:
    compiled = option.backend != "torch"
    name = f"{option.name}, compiled" if compiled else option.name
    name += f", chunks of {option.chunk}" if option.chunk else ""
    remarks = [option.out] if option.out else [n.text for n in option.notes]
    if choice.taken is option and not compiled:
        remarks.insert(0, "the cheapest in torch")
    time = _scaled(cost.seconds, (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)))
    counts = (cost.products, cost.scalars, cost.moved, cost.memory, cost.depth)
    return name, time, *(_scaled(n, _COUNTS) for n in counts), "; ".join(remarks)


_COUNTS = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0))


def _scaled(value: float, units: tuple[tuple[str, float], ...]) -> str:
    """A number with two digits and a unit that it is not parted from."""
    unit, size = next((u for u in units if value >= u[1]), units[-1])
    scaled = value / size
    return f"{scaled:.{0 if scaled >= 10 else 1}f}\N{NO-BREAK SPACE}{unit}".strip()


__all__ = ["Setting", "cost_blocks"]
