"""Every row of the table of systems, in the order of their numbers."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from . import systems
from .row import Row

#: How many systems the list has.
COUNT = 101


def _number(row: Row) -> int:
    return int(row.id.removeprefix("A"))


def _collected() -> tuple[Row, ...]:
    modules = [import_module(f"{systems.__name__}.{m.name}") for m in iter_modules(systems.__path__)]
    found: list[Row] = [row for module in modules for row in getattr(module, "ROWS", ())]
    return tuple(sorted(found, key=_number))


ROWS = _collected()
WORKING = tuple(row for row in ROWS if row.program)

__all__ = ["COUNT", "ROWS", "WORKING"]
