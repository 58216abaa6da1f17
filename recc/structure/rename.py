"""Reading an expression along other axes, with the axes bound inside it kept apart.

Law: element `[…, a, …]` of `rename(e, {i: a})` is element `[…, i = a, …]` of `e`. A reduction inside
`e` that runs over an axis called `a` is made to run over a fresh one first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from recc.recurrence import REDUCTIONS, Along, Apply, At, Expr, Index, Matrix, Read, Reduce
from recc.structure.build import Workspace


class CannotFollow(Exception):
    """An index that has no counterpart inside the expression it is put into. `args[0]` says why."""


def rename(work: Workspace, expr: Expr, names: Mapping[str, str]) -> Expr:
    """The expression read along other axes: each axis that is a key becomes its value.

    Raises `CannotFollow` if two axes become one inside a softmax or a matrix function.
    """
    names = {a: b for a, b in names.items() if a != b and a in expr.axes}
    if not names:
        return expr
    if isinstance(expr, Read):
        return work.read(expr, tuple(_index(work, i, names) for i in expr.index))
    if isinstance(expr, Apply):
        args = tuple(rename(work, a, names) for a in expr.args)
        return replace(expr, args=args, axes=work.ordered(*(a.axes for a in args)))
    if isinstance(expr, Reduce):
        return _reduce(work, expr, names)
    assert isinstance(expr, Matrix)
    return _matrix(work, expr, names)


def _index(work: Workspace, index: Index, names: Mapping[str, str]) -> Index:
    if isinstance(index, Along):
        return replace(index, axis=names.get(index.axis, index.axis))
    return At(rename(work, index.expr, names))


def _reduce(work: Workspace, expr: Reduce, names: Mapping[str, str]) -> Expr:
    if REDUCTIONS[expr.fn]:
        _injective(expr, names)
        over = tuple(names.get(a, a) for a in expr.over)
        return work.reduce(expr.fn, over, rename(work, expr.arg, names), expr.span)
    arg, over = expr.arg, expr.over
    clash = {a: work.fresh(a) for a in over if a in names.values()}
    if clash:
        arg, over = rename(work, arg, clash), tuple(clash.get(a, a) for a in over)
    return work.reduce(expr.fn, over, rename(work, arg, names), expr.span)


def _matrix(work: Workspace, expr: Matrix, names: Mapping[str, str]) -> Expr:
    _injective(expr, names)
    rows, cols, args = expr.rows, expr.cols, expr.args
    if expr.fn == "solve":  # its columns are bound, and occur in the matrix only
        if cols in names.values():
            fresh = work.fresh(cols)
            args, cols = (rename(work, args[0], {cols: fresh}), args[1]), fresh
    else:
        cols = names.get(cols, cols)
    return work.matrix(expr, names.get(rows, rows), cols, tuple(rename(work, a, names) for a in args))


def _injective(expr: Reduce | Matrix, names: Mapping[str, str]) -> None:
    after = [names.get(a, a) for a in expr.axes]
    if len(set(after)) < len(after):
        twice = next(a for a in after if after.count(a) > 1)
        raise CannotFollow(f"both axes of `{expr.fn}` become {twice}")


__all__ = ["CannotFollow", "rename"]
