"""From Syntax to Recurrence: the meaning of a program, or all of its mistakes at once.

A check goes through a recurrence in four parts: its names (`declare`), its values and equations
(`equations`, `expressions`, `indexing`, `typed`), its stages (`stages`), and what it lacks as a whole
(`unused`). A part goes on after a mistake; what a mistake makes unknown is silent afterwards.
"""

from __future__ import annotations

from recc import syntax
from recc.check.declare import declare
from recc.check.equations import Equations
from recc.check.errors import Errors, TooMany
from recc.check.scope import Scope
from recc.check.stages import plan
from recc.check.unused import check_slots, check_whole
from recc.diagnostics import Note, Source, Span
from recc.errors import InternalError, SourceError
from recc.parse import parse
from recc.recurrence import Recurrence


def check(program: syntax.Program, source: Source) -> tuple[Recurrence, ...]:
    """Check every recurrence of a program.

    Raises `SourceError` with all mistakes, in the order of the text (at most fifty).
    """
    errors = Errors()
    checked: list[Recurrence] = []
    names: dict[str, Span] = {}
    try:
        for written in program.recurrences:
            name = written.name
            if name.text in names:
                notes = (Note(names[name.text], "the first of this name"),)
                errors.add("duplicate-recurrence", name.span, notes=notes, name=name.text)
            names.setdefault(name.text, name.span)
            found = _check_one(written, source, errors)
            if found is not None:
                checked.append(found)
    except TooMany:
        pass
    if errors:
        raise SourceError(source, tuple(sorted(errors.found, key=lambda d: d.span)))
    return tuple(checked)


def load(text: str, name: str = "<text>") -> tuple[Recurrence, ...]:
    """Read and check a text: its recurrences, in order. Raises `SourceError`."""
    source = Source(text, name)
    return check(parse(source), source)


def _check_one(written: syntax.RecurrenceSyntax, source: Source, errors: Errors) -> Recurrence | None:
    before = len(errors.found)
    scope = Scope(written, errors)
    declare(scope)
    equations = Equations(scope)
    equations.check()
    order = [name for name in scope.equations if name in equations.checked]
    found = plan({name: equations.checked[name] for name in order}, scope.symbols, scope.scan, errors)
    check_whole(scope)
    check_slots(scope, found)
    if len(errors.found) > before:
        return None
    if equations.checked.keys() != scope.equations.keys():
        raise InternalError(f"an equation of `{written.name.text}` was dropped without a message")
    symbols = tuple(sorted(scope.symbols.values(), key=lambda s: s.span))
    return Recurrence(
        name=written.name.text,
        doc=written.doc,
        axes=tuple(scope.axes.values()),
        scan=scope.scan,
        symbols=symbols,
        equations=tuple(equations.checked[name] for stage in found.stages for name in stage.equations),
        stages=found.stages,
        slots=found.slots,
        clock=found.clock,
        source=source,
    )


__all__ = ["check", "load"]
