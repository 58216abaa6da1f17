"""Forms with one planted error each, made by editing the Blocks of a derived form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from recc.check import load
from recc.errors import Refusal
from recc.forms.block import Block, Map, Op
from recc.forms.passes import Parallel, Pass, Sequential
from recc.forms.table import forms
from recc.recurrence import Recurrence

Form = Sequential | Parallel
Change = Callable[[Op], Op | None]


class Program:
    """What `recc.prove` asks of an op."""

    def __init__(self, text: str):
        (self.recurrence,) = load(text)

    def form(self, name: str) -> Form:
        return form_of(self.recurrence, name)


def form_of(rec: Recurrence, name: str) -> Form:
    found = forms(rec)[name]
    assert not isinstance(found, Refusal), found
    return found


def edited(block: Block, change: Change, number: int = 0) -> Block:
    """A Block in which `change` has rewritten one operation: the one of this number that it applies to."""
    ops, seen, done = [], 0, False
    for op in block.ops:
        new = change(op)
        if new is not None and seen == number:
            op, done = new, True
        seen += new is not None
        ops.append(op)
    assert done, f"nothing to change in\n{block}"
    return replace(block, ops=tuple(ops))


def planted(form: Form, change: Change, number: int = 0, where: str = "step") -> Form:
    """The form with an edited step Block (whose VJP follows), or with an edited VJP alone (`step_vjp`)."""

    def wrong(loop: Pass) -> Pass:
        if where == "step":
            return replace(loop, step=edited(loop.step, change, number))
        copy = replace(loop)
        copy.__dict__["step_vjp"] = edited(loop.step_vjp, change, number)
        return copy

    first, *rest = form.passes
    made = replace(form, passes=(wrong(first), *rest))
    return replace(made, start=()) if isinstance(made, Parallel) else made


def count(block: Block, change: Change) -> int:
    """How many operations a change applies to."""
    return sum(change(op) is not None for op in block.ops)


def fewer(op: Op) -> Op | None:
    """A sum without its second term."""
    if isinstance(op, Map) and op.fn == "add" and op.args[0].axes == op.out.axes and op.out.dtype == "real":
        return replace(op, fn="max", args=(op.args[0], op.args[0]))
    return None


def swapped(fn: str, other: str) -> Change:
    """One scalar function in place of another."""
    return lambda op: replace(op, fn=other) if isinstance(op, Map) and op.fn == fn else None
