"""Reading and writing the arrays of `recc run`: columns of .csv files and arrays of .npz files."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from recc.errors import UsageError
from recc.recurrence import Kind, Recurrence, Symbol

Array = NDArray[Any]


@dataclass(frozen=True)
class Table:
    """What a data file holds: arrays by name of argument, and the columns that are nobody's argument, as text."""

    arrays: Mapping[str, Array]
    others: Mapping[str, Sequence[str]]


def read(path: Path, rec: Recurrence) -> Table:
    """Read a .csv or .npz file. Raises `UsageError` if it is neither or cannot be read."""
    readers = {".csv": _read_csv, ".npz": _read_npz}
    if path.suffix.lower() not in readers:
        raise UsageError("--data", "a .csv or .npz file", str(path))
    try:
        return readers[path.suffix.lower()](path, rec)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError("--data", "a file that can be read", f"{path}: {error}") from None


def setting(text: str) -> tuple[str, Array]:
    """`name=0.5` or `name=[1, 2]` as a name and an array. Raises `UsageError` for anything else."""
    name, equals, value = text.partition("=")
    expected = "NAME=VALUE, the value a number or nested lists of numbers"
    if not equals or not name.strip():
        raise UsageError("--set", expected, text)
    try:
        array = np.asarray(json.loads(value))
    except ValueError:
        raise UsageError("--set", expected, text) from None
    if array.dtype.kind not in "biuf":
        raise UsageError("--set", expected, text)
    return name.strip(), array


def shaped(rec: Recurrence, symbol: Symbol, array: Array, steps: tuple[int, ...], *, fixed: bool) -> Array:
    """An array as a compiled program takes it.

    Inputs become `[B, *steps, …, *axes]`: a missing B is put in front; a value given once (`fixed`) is repeated
    for every step. Raises `UsageError` for too few dimensions.
    """
    axes, scans = len(symbol.axes), len(rec.scan)
    if symbol.dtype in ("int", "bool"):
        array = _whole(symbol, array)
    else:
        array = array.astype(np.complex128 if symbol.dtype == "complex" else np.float64)
    if symbol.kind is not Kind.INPUT:
        if array.ndim < axes:
            raise UsageError(
                symbol.name, f"{axes} dimensions, for {', '.join(symbol.axes)}", f"shape {list(array.shape)}"
            )
        return array
    if fixed and array.ndim == axes:
        return np.broadcast_to(array, (1, *steps, *array.shape)).copy()
    if array.ndim == scans + axes:
        return array[None]
    if array.ndim < scans + axes:
        wanted = ", ".join((*rec.scan, *symbol.axes))
        raise UsageError(symbol.name, f"dimensions for {wanted}", f"shape {list(array.shape)}")
    return array


def steps_of(rec: Recurrence, arrays: Mapping[str, Array]) -> tuple[int, ...]:
    """The lengths along the scan axes, from the first input of a data file. Raises `UsageError` without one."""
    for symbol in rec.of_kind(Kind.INPUT):
        if symbol.name in arrays:
            shape, least = arrays[symbol.name].shape, len(rec.scan) + len(symbol.axes)
            if len(shape) >= least:
                start = int(len(shape) > least)
                return shape[start : start + len(rec.scan)]
    names = ", ".join(s.name for s in rec.of_kind(Kind.INPUT))
    raise UsageError(
        "--data", f"at least one of the inputs {names}", "none", "name the columns or arrays like the inputs"
    )


def write(path: Path | None, outputs: Mapping[str, Array], rec: Recurrence, table: Table) -> None:
    """Write outputs `[B, *steps, …, *axes]`: as .npz, or as .csv with the data's other columns in front.

    Raises `UsageError` where the outputs are no table (several sequences, several scan axes).
    """
    if path is not None and path.suffix.lower() == ".npz":
        save(path, outputs, "--out")
        return
    columns = _columns(rec, outputs)
    if path is None:
        _write_csv(sys.stdout, columns, table)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            _write_csv(file, columns, table)
    except OSError as error:
        raise UsageError("--out", "a place that can be written", f"{path}: {error.strerror}") from None


def require_kind(path: Path | None) -> None:
    """Raise `UsageError` if the outputs cannot be written to a file of this name: before they are worked out."""
    if path is not None and path.suffix.lower() not in (".csv", ".npz"):
        raise UsageError("--out", "a .csv or .npz file", str(path))


def save(path: Path, arrays: Mapping[str, Any], option: str) -> None:
    """Write arrays as an .npz file. Raises `UsageError` if that cannot be done."""
    stored: dict[str, Any] = {name: np.asarray(value) for name, value in arrays.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez(file, **stored)
    except OSError as error:
        raise UsageError(option, "a place that can be written", f"{path}: {error.strerror}") from None


def load_arrays(path: Path, option: str) -> dict[str, Array]:
    """The arrays of an .npz file by name. Raises `UsageError` if it is none."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            if not isinstance(stored, np.lib.npyio.NpzFile):
                raise UsageError(option, "an .npz file", f"{path}, a single array")
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
        raise UsageError(option, "an .npz file of plain arrays", f"{path}: {error}") from None


def _whole(symbol: Symbol, array: Array) -> Array:
    rounded = np.asarray(array).astype(np.int64)
    if not np.array_equal(rounded, array):
        raise UsageError(symbol.name, "whole numbers", f"{array.ravel()[(rounded != array).ravel()][0]} among them")
    return rounded.astype(np.bool_) if symbol.dtype == "bool" else rounded


def _read_npz(path: Path, rec: Recurrence) -> Table:
    stored = load_arrays(path, "--data")
    names = {s.name for s in rec.arguments}
    for name in stored:
        if name not in names:
            raise UsageError("--data", f"arrays named {', '.join(sorted(names))}", f"one named {name}")
    return Table(stored, {})


_COLUMN = re.compile(r"(?P<name>[A-Za-z_]\w*?)(?:\[(?P<bracket>\d+(?:\s*,\s*\d+)*)\]|(?P<tail>(?:_\d+)+))?")


def _read_csv(path: Path, rec: Recurrence) -> Table:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    if len(rows) < 2:
        raise UsageError("--data", "a header and at least one row", f"{len(rows)} rows in {path}")
    header = [cell.strip() for cell in rows[0]]
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise UsageError("--data", f"{len(header)} cells in every row of {path}", f"{len(row)} in row {number}")
    if len(set(header)) < len(header):
        raise UsageError("--data", "a name for each column, all different", ", ".join(header))
    if len(rec.scan) > 1:
        raise UsageError("--data", f"an .npz file, for {len(rec.scan)} scan axes", f"{path}, a table with one")
    found: dict[str, dict[tuple[int, ...], Array]] = {}
    others: dict[str, list[str]] = {}
    for at, column in enumerate(header):
        cells = [row[at].strip() for row in rows[1:]]
        owner = _owner(column, rec)
        if owner is None:
            others[column] = cells
        else:
            found.setdefault(owner[0], {})[owner[1]] = _numbers(column, cells)
    return Table({name: _assemble(name, parts) for name, parts in found.items()}, others)


def _owner(column: str, rec: Recurrence) -> tuple[str, tuple[int, ...]] | None:
    """The input that a column belongs to and its place in it: `k_0` and `k[0]` are k's, unless `k_0` is an input."""
    inputs = {s.name: s for s in rec.of_kind(Kind.INPUT)}
    if column in inputs and not inputs[column].axes:
        return column, ()
    match = _COLUMN.fullmatch(column)
    if match is None:
        return None
    digits = match["bracket"] or (match["tail"] or "").strip("_").replace("_", ",")
    place = tuple(int(d) for d in digits.split(",") if d.strip())
    symbol = inputs.get(match["name"])
    if symbol is None or len(place) != len(symbol.axes):
        return None
    return symbol.name, place


def _numbers(column: str, cells: Sequence[str]) -> Array:
    values = []
    for number, cell in enumerate(cells, 2):
        try:
            values.append(float(cell))
        except ValueError:
            raise UsageError("--data", f"numbers in column {column}", f"{cell!r} in row {number}") from None
    return np.asarray(values)


def _assemble(name: str, parts: Mapping[tuple[int, ...], Array]) -> Array:
    """Columns by place as one array `[T, *axes]`. Raises `UsageError` if a place is missing."""
    sizes = tuple(max(axis) + 1 for axis in zip(*parts, strict=True))
    steps = len(next(iter(parts.values())))
    whole = np.empty((steps, *sizes))
    for place in np.ndindex(sizes):
        if place not in parts:
            raise UsageError(
                "--data", f"a column for every element of {name}", f"none for {name}[{', '.join(map(str, place))}]"
            )
        whole[(slice(None), *place)] = parts[place]
    return whole


def _columns(rec: Recurrence, outputs: Mapping[str, Array]) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for symbol in rec.outputs:
        value = np.asarray(outputs[symbol.name])
        if len(rec.scan) > 1 or value.shape[0] != 1 or value.ndim != 2 + len(symbol.axes):
            raise UsageError(
                "--out", "an .npz file, for what is no table", f"{symbol.name} of shape {list(value.shape)}"
            )
        for place in np.ndindex(value.shape[2:]):
            suffix = "".join(f"_{p}" for p in place)
            part = value[(0, slice(None), *place)]
            if part.dtype.kind == "c":
                found |= {f"{symbol.name}{suffix}_re": part.real, f"{symbol.name}{suffix}_im": part.imag}
            else:
                found[symbol.name + suffix] = part
    return found


def _write_csv(file: TextIO, columns: Mapping[str, Array], table: Table) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*table.others, *columns])
    texts = [[f"{v:.10g}" if part.dtype.kind == "f" else str(int(v)) for v in part] for part in columns.values()]
    writer.writerows(zip(*table.others.values(), *texts, strict=True))
