"""`recc run`: a program on real data."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from recc.commands import data
from recc.commands.programs import compiled
from recc.errors import UsageError
from recc.recurrence import Kind, Recurrence
from recc.runtime.call import state_names


def run(options: argparse.Namespace) -> None:
    """Read the inputs, run the program in float64, write the outputs."""
    data.require_kind(options.out)
    op, rec = compiled(options.file, options.name, options.backend, options.form)
    table = data.read(options.data, rec) if options.data is not None else data.Table({}, {})
    given = dict(data.setting(text) for text in options.set)
    arguments = _arguments(rec, table, given)
    keywords: dict[str, Any] = {}
    for option, path in (("--initial-state", options.initial_state), ("--final-state", options.final_state)):
        if path is not None and not state_names(rec):
            raise UsageError(option, "a program whose state can be handed over", f"{rec.name}, which has none")
    if options.initial_state is not None:
        keywords["initial_state"] = _initial(rec, data.load_arrays(options.initial_state, "--initial-state"))
    if options.final_state is not None:
        keywords["output_final_state"] = True
    result = op(**arguments, **keywords)
    outputs, final = result if options.final_state is not None else (result, None)
    several = outputs if isinstance(outputs, tuple) else (outputs,)
    named = {s.name: np.asarray(v) for s, v in zip(rec.outputs, several, strict=True)}
    data.write(options.out, named, rec, table)
    if options.final_state is not None:
        states = final if isinstance(final, tuple) else (final,)
        data.save(options.final_state, dict(zip(state_names(rec), states, strict=True)), "--final-state")
    if options.out is not None:
        print(f"{options.out}: {', '.join(f'{n} {list(v.shape)}' for n, v in named.items())}")


def _arguments(rec: Recurrence, table: data.Table, given: dict[str, data.Array]) -> dict[str, data.Array]:
    names = [s.name for s in rec.arguments]
    for name in given:
        if name not in names:
            raise UsageError("--set", f"one of {', '.join(names)}", name)
    steps = data.steps_of(rec, {**table.arrays, **given})
    found = {}
    for symbol in rec.arguments:
        if symbol.name not in given and symbol.name not in table.arrays:
            help = f"add a column {_column(symbol.axes, symbol.name)} to the data, or --set {symbol.name}=VALUE"
            if symbol.kind is not Kind.INPUT:
                help = f"--set {symbol.name}=VALUE"
            raise UsageError(symbol.name, "a value", "none", help)
        fixed = symbol.name in given
        array = given[symbol.name] if fixed else table.arrays[symbol.name]
        found[symbol.name] = data.shaped(rec, symbol, array, steps, fixed=fixed)
    return found


def _column(axes: tuple[str, ...], name: str) -> str:
    return name if not axes else f"{name}{'_0' * len(axes)}, …"


def _initial(rec: Recurrence, stored: dict[str, data.Array]) -> Any:
    wanted = state_names(rec)
    if set(wanted) != set(stored):
        raise UsageError(
            "--initial-state", f"states named {', '.join(wanted) or 'nothing'}", ", ".join(sorted(stored)) or "nothing"
        )
    return stored[wanted[0]] if len(wanted) == 1 else tuple(stored[name] for name in wanted)
