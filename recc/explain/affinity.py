"""Which values are affine in an input while everything else is held fixed.

Law: if `affine_in(rec, x)[y]` is true, then y is a linear map of x plus something that does not depend on
x. Found from the expressions alone; what cannot be told apart from other dependence counts as such.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from recc.recurrence import Apply, At, Expr, Matrix, Read, Recurrence, Reduce


class How(IntEnum):
    """How a value depends on an input. The larger wins where two meet."""

    FREE = 0
    AFFINE = 1
    OTHER = 2


_LINEAR = frozenset(["add", "sub", "neg", "re", "im", "conj", "stop"])


def dependence(rec: Recurrence, name: str) -> Mapping[str, How]:
    """How every symbol depends on an input, by going through the equations until nothing changes."""
    found = {s.name: How.FREE for s in rec.symbols}
    found[name] = How.AFFINE
    changed = True
    while changed:
        changed = False
        for equation in rec.equations:
            now = max(found[equation.target], _of(equation.expr, found))
            changed = changed or now != found[equation.target]
            found[equation.target] = now
    return found


def _of(expr: Expr, known: Mapping[str, How]) -> How:
    if isinstance(expr, Read):
        gathered = [_of(i.expr, known) for i in expr.index if isinstance(i, At)]
        return How.OTHER if any(gathered) else known[expr.name]
    parts = [_of(e, known) for e in expr.children]
    most = max(parts, default=How.FREE)
    if most is How.FREE:
        return most
    if isinstance(expr, Reduce):
        return most if expr.fn in ("sum", "mean") else How.OTHER
    if isinstance(expr, Matrix):
        return most if expr.fn == "solve" and parts[0] is How.FREE else How.OTHER
    assert isinstance(expr, Apply)
    if expr.fn in _LINEAR:
        return most
    if expr.fn == "mul":
        return most if How.FREE in parts else How.OTHER
    if expr.fn == "div":
        return most if parts[1] is How.FREE else How.OTHER
    if expr.fn == "where":
        return most if parts[0] is How.FREE else How.OTHER
    return How.OTHER


__all__ = ["How", "dependence"]
