"""What recc found in a program, as a text to read in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from recc.diagnostics import NOWHERE, Span
from recc.errors import Refusal
from recc.explain.maths import Maths
from recc.forms.table import forms
from recc.recurrence import Kind, Recurrence, Stage, Symbol
from recc.show import show_domain, show_expr
from recc.structure import Affine, Cut, Nonlinear, Structure, cuts, normal_form, structures

_MOST_ENTRIES = 12  # pairs of states that are listed


def explain(rec: Recurrence, *, latex: bool = False) -> str:
    """A program explained: its symbols and update, its stages with their structure, what each form can do.

    With `latex` the update is given as LaTeX, an `align*` block that can be pasted into a paper.
    """
    found = structures(rec)
    lines = [f"{rec.name}: {rec.doc}" if rec.doc else rec.name, "", "symbols", *_symbols(rec), "", "update"]
    lines += _latex(rec) if latex else [f"  {line}" for line in _updates(rec)]
    lines += ["", "stages"]
    for number, structure in enumerate(found, 1):
        lines += _stage(rec, number, structure)
    handed = cuts(rec)
    if handed:
        lines += ["", "handed from stage to stage in place of a state", *_cuts(rec, handed)]
    lines += ["", "forms", *_forms(rec, found)]
    return "\n".join(lines)


def _symbols(rec: Recurrence) -> Iterator[str]:
    rows = [_symbol(rec, s) for s in rec.symbols if s.kind is not Kind.LOCAL]
    widths = [max((len(row[k]) for row in rows), default=0) for k in range(2)]
    for name, kind, rest in rows:
        yield f"  {name:<{widths[0]}}  {kind:<{widths[1]}}  {rest}".rstrip()


def _symbol(rec: Recurrence, symbol: Symbol) -> tuple[str, str, str]:
    name = f"{symbol.name}[{', '.join(symbol.axes)}]" if symbol.axes else symbol.name
    rest = show_domain(symbol)
    value = symbol.initial if symbol.kind is Kind.STATE else symbol.value
    if value is not None:
        rest = f"{rest} = {show_expr(value, rec.scan)}".strip()
    elif symbol.kind is Kind.STATE:
        rest = f"{rest} starts at zero".strip()
    return name, symbol.kind.value, rest


def _updates(rec: Recurrence) -> Iterator[str]:
    maths = Maths(rec)
    for equation in rec.equations:
        yield maths.equation(equation.target, equation.expr)


def _latex(rec: Recurrence) -> list[str]:
    maths = Maths(rec, latex=True)
    rows = [maths.equation(e.target, e.expr).replace(" = ", " &= ", 1) for e in rec.equations]
    ended = [f"  {row} \\\\" for row in rows[:-1]] + [f"  {row}" for row in rows[-1:]]
    return [r"\begin{align*}", *ended, r"\end{align*}"]


def _stage(rec: Recurrence, number: int, structure: Structure) -> Iterator[str]:
    stage = structure.stage
    names = ", ".join(stage.states or stage.equations)
    if not stage.states:
        once = not any(rec.table[n].varies for n in stage.equations)
        yield f"  {number}. {names}: {'once for all steps' if once else str(structure)}"
        return
    yield f"  {number}. {names}, {_way(stage, rec.scan)}"
    yield f"     {str(structure).partition(':')[0] if isinstance(structure, Nonlinear) else structure}"
    yield f"     because {structure.reason}{_where(rec, structure.span)}"
    if isinstance(structure, Affine):
        yield from _affine(structure)
    elif isinstance(structure, Nonlinear):
        for note in structure.notes:
            yield f"       `{_text(rec, note.span)}` {note.text}{_where(rec, note.span)}"


def _affine(structure: Affine) -> Iterator[str]:
    maths = Maths(structure.rec)
    for name, expr in normal_form(structure).items():
        yield f"     {maths.equation(name, expr)}"
    if len(structure.entries) > 1:
        yield from (f"       {entry}" for entry in structure.entries[:_MOST_ENTRIES])
        if len(structure.entries) > _MOST_ENTRIES:
            yield f"       and {len(structure.entries) - _MOST_ENTRIES} more"
    if structure.resets:
        yield f"     nothing is kept where {' or '.join(maths.expr(c) for c in structure.resets)}"
    if structure.stopped:
        yield "     no gradient passes through the part inside `stop`"


def _way(stage: Stage, scan: Sequence[str]) -> str:
    ways = {1: "left to right", -1: "right to left", 0: "in any direction"}
    if len(scan) == 1:
        return ways[stage.direction[0]]
    return ", ".join(f"{ways[d]} along {s}" for s, d in zip(scan, stage.direction, strict=True) if d)


def _where(rec: Recurrence, span: Span) -> str:
    if span == NOWHERE:
        return ""
    line, column = rec.source.position(span.start)
    return f" (line {line}, column {column})"


def _text(rec: Recurrence, span: Span) -> str:
    return " ".join(rec.source.slice(span).split())


def _cuts(rec: Recurrence, handed: Sequence[Cut]) -> Iterator[str]:
    maths = Maths(rec)
    for cut in handed:
        axes = f"over {', '.join(cut.axes)}" if cut.axes else "one number a step"
        yield f"  {maths.expr(cut.expr)}, {axes}: made by stage {cut.maker + 1}, read by {', '.join(cut.readers)}"


def _forms(rec: Recurrence, found: Sequence[Structure]) -> Iterator[str]:
    table = forms(rec, found)
    width = max(map(len, table))
    for name, form in table.items():
        if not isinstance(form, Refusal):
            yield f"  {name:<{width}}  yes"
        elif name == "sequential":
            yield f"  {name:<{width}}  by the numpy backend only: {form.reason}{_where(rec, form.span or NOWHERE)}"
        else:
            yield f"  {name:<{width}}  no: {form.reason}{_where(rec, form.span or NOWHERE)}"


__all__ = ["explain"]
