"""`recc bench`: what kernels cost on this machine, against the same work in torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from recc import __version__, zoo
from recc.commands.cores import share_cores
from recc.commands.programs import compiled, find, parse_sizes, program
from recc.errors import ReccError, UsageError
from recc.recurrence import Recurrence

_ZOO_COLUMNS = ("", "sizes", "forward ms", "× torch.add", "forward + backward ms", "× torch.add, both")


def bench(options: argparse.Namespace) -> None:
    """Print the tables of the suite, those of one program, or a row for each program of the zoo.

    Raises `UsageError` without torch, or for sizes that are none.
    """
    share_cores()
    _require_torch()
    sizes = parse_sizes(options.size)
    if options.file:
        _program(options, sizes)
    elif options.choices:
        _choices(options)
    elif options.zoo:
        _zoo(options)
    else:
        _suite(options)


def _program(options: argparse.Namespace, sizes: Mapping[str, int]) -> None:
    from recc.bench.program import measure, table

    op, rec = compiled(options.file, options.name, options.backend, options.form)
    shapes = _shapes(rec, options, sizes)
    tables = [table(rec, shapes, measure(op, shapes, options.seconds))]
    if options.form == "auto" and options.backend in ("auto", "c", "torch"):
        tables += _forms(rec, shapes, options)
    _finish(options, tables)


def _forms(rec: Recurrence, shapes: Any, options: argparse.Namespace) -> list[Any]:
    """A table for each direction with every form, measured and predicted."""
    import recc
    from recc.bench.forms import compare, tables

    def build(form: str, backend: str, chunk: int | None) -> Any:
        return recc.compile(find(options.file), rec.name, backend=backend, form=form, chunk_size=chunk)

    backends = ("c", "torch") if options.backend == "auto" else (options.backend,)
    return tables(
        rec, shapes, compare(rec, shapes, build, options.seconds, backends=backends, chunk=options.chunk_size)
    )


def _zoo(options: argparse.Namespace) -> None:
    from recc.bench.program import measure, summary
    from recc.bench.report import Table

    rows: list[tuple[Any, ...]] = []
    for name in zoo.names():
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            op, rec = compiled(name, None, "auto", "auto")
            shapes = _shapes(rec, options, {})
            rows.append(summary(rec, shapes, measure(op, shapes, options.seconds)))
        except ReccError as refused:
            rows.append((name, str(refused).splitlines()[0], None, None, None, None))
    shown = f"B {options.batch}, T {options.steps}, {options.heads} heads, float32"
    _finish(options, [Table(f"The zoo · {shown}", _ZOO_COLUMNS, tuple(rows))])


def _choices(options: argparse.Namespace) -> None:
    """A table for each setting with every program of the zoo."""
    from recc.bench.choices import SETTINGS, table

    facts, found = _facts(), []
    for batch, steps, heads in SETTINGS:
        sized = argparse.Namespace(batch=batch, steps=steps, heads=heads)
        programs = [program(name) for name in zoo.names()]
        shapes = ((rec, _shapes(rec, sized, {})) for rec in programs)
        found.append(table(f"B {batch}, T {steps}, H {heads}, float32", shapes, options.seconds))
        print(found[-1].text(), "\n", flush=True)
    _keep(options, facts, found)


def _facts() -> dict[str, object]:
    from recc.bench.suite import machine

    return machine(__version__)


def _suite(options: argparse.Namespace) -> None:
    from recc.bench.suite import machine, suite

    facts = machine(__version__)
    for name, value in facts.items():
        print(f"{name}: {value}")
    tables = []
    for table in suite(options.seconds, options.quick):
        print(f"\n{table.text()}", flush=True)
        tables.append(table)
    _keep(options, facts, tables)


def _finish(options: argparse.Namespace, tables: list[Any]) -> None:
    print("\n\n".join(table.text() for table in tables))
    _keep(options, _facts(), tables)


def _keep(options: argparse.Namespace, facts: Mapping[str, object], tables: list[Any]) -> None:
    from recc.bench.report import write_block, write_json

    if options.json is not None:
        write_json(options.json, facts, tables)
    if options.write is not None:
        flags = [f"--{name}" for name in ("quick", "zoo", "choices") if getattr(options, name)]
        words = ["recc bench", options.file or "", *flags]
        write_block(options.write, facts, tables, " ".join(w for w in words if w))


def _shapes(rec: Recurrence, options: argparse.Namespace, sizes: Mapping[str, int]) -> Any:
    from recc.demo.layer import choose_sizes
    from recc.fuzz import Shapes

    chosen = choose_sizes(rec, 64 * options.heads, sizes).axes
    # Over several scan axes, about as many steps in all.
    side = max(1, round(options.steps ** (1 / len(rec.scan))))
    return Shapes(chosen, (side,) * len(rec.scan), options.batch, (options.heads,))


def _require_torch() -> None:
    try:
        import torch  # noqa: F401  # only whether it is there
    except ImportError:
        raise UsageError("recc bench", "torch, to measure against", "none", "pip install 'recc-lang[torch]'") from None
