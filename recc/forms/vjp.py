"""Reverse-mode differentiation of Blocks: the only automatic differentiation in recc.

The VJP of a Block is a Block. Every backward pass, of every form on every backend, is made of VJPs.
A cotangent may lack axes of its value: it is then the same along them, as everywhere in a Block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from recc.forms.block import (
    Block,
    BlockError,
    Contract,
    Convolve,
    Cumulate,
    Gather,
    Map,
    Mask,
    Matrix,
    Op,
    Reduce,
    Rename,
    Scan,
    Scatter,
    Segment,
    Shift,
    Value,
)
from recc.forms.builder import Builder
from recc.forms.vjp_rules import RULES, Local
from recc.forms.vjp_scan import scan_contributions
from recc.recurrence import Edge


def vjp(block: Block, wrt: Sequence[str], seeds: Sequence[str], name: str | None = None) -> Block:
    """The Block that carries cotangents of outputs back to inputs.

    For outputs `y = f(x)`, seeds among the outputs and `wrt` among the inputs, the result computes
    `d x = sum over seeds of (∂y/∂x)ᵀ (d y)`.

    Args:
        block: the Block to differentiate.
        wrt: names of real inputs.
        seeds: names of real outputs.
        name: the name of the result, `<block>_vjp` if none is given.

    Returns:
        A Block whose inputs are those of `block` and one `"d " + y` per seed, with the axes of y, and
        whose outputs are one `"d " + x` per name in `wrt`, with the axes of x: zero if nothing flows.
        Forward values that the cotangents need are computed again; forward outputs are not outputs.

    Raises:
        BlockError: if a name is unknown or not real, or an operation has no derivative (`expm_vjp`).
    """
    for kind, names, known in (("input", wrt, block.input), ("output", seeds, block.output)):
        for n in names:
            if n not in known:
                raise BlockError(f"vjp of {block.name}: no {kind} {n!r}")
            if known[n].dtype != "real":
                raise BlockError(f"vjp of {block.name}: {kind} {n!r} is {known[n].dtype}, not real")
    return _Reverse(block, wrt, seeds, name or f"{block.name}_vjp").run()


class _Reverse:
    """One run of reverse mode: a Builder that first repeats the Block, and the cotangents so far."""

    def __init__(self, block: Block, wrt: Sequence[str], seeds: Sequence[str], name: str):
        self.b = b = Builder(name, dict(block.size_of))
        self.given = tuple(b.order)
        self.table = {v.name: b.input(v.name, v.axes, v.dtype) for v in block.inputs}
        self.wrt = tuple(self.table[n] for n in wrt)
        self.seeds = tuple((n, b.input(f"d {n}", block.output[n].axes)) for n in seeds)
        for n, seed in self.seeds:
            if seed.name != f"d {n}":
                raise BlockError(f"{name}: an input is called d {n} already")
        for op in block.ops:
            self.table[op.out.name] = b.replay(op, self.table)
        self.output = {n: self.table[v.name] for n, v in block.outputs}
        self.cotangent: dict[str, Value] = {}
        self.groups: dict[tuple[object, ...], list[Scan]] = {}

    def run(self) -> Block:
        """The whole Block of cotangents."""
        forward = tuple(self.b.ops)
        self.active = {v.name for v in self.wrt}
        for op in forward:
            if op.out.dtype == "real" and any(v.name in self.active for v in op.operands):
                self.active.add(op.out.name)
        for n, seed in self.seeds:
            self.flow(self.output[n], (seed,), seed.axes)
        for op in forward:
            if isinstance(op, Scan):
                self.groups.setdefault(op.group, []).append(op)
        for op in reversed(forward):
            results = self.groups[op.group] if isinstance(op, Scan) else [op]
            # All components of a recurrence at the first of them: whatever reads one of them is done by then.
            if op is results[0]:
                found = (self.cotangent.get(r.out.name) for r in results)
                if (g := next((g for g in found if g is not None), None)) is not None:
                    _RULES[type(op)](self, op, g)
        for v in self.wrt:
            flown = self.cotangent.get(v.name)
            self.b.output(f"d {v.name}", self.b.spread(self.b.constant(0.0) if flown is None else flown, v.axes))
        return self.b.build()

    def flow(self, value: Value, factors: Iterable[Value], space: Iterable[str]) -> None:
        """Adds to the cotangent of a value: a product over `space`, summed over the axes it lacks."""
        if value.name not in self.active:
            return
        hint = f"d_{value.name}"
        more = self.b.contract(factors, set(space) - set(value.axes), hint)
        if self.b.known(more) == 0.0:
            return
        before = self.cotangent.get(value.name)
        self.cotangent[value.name] = more if before is None else self.b.map("add", before, more, hint=hint)

    def scratch(self, like: str, taken: Iterable[str]) -> str:
        """An axis of the size of `like`, of no meaning to the forward Block and not in `taken`."""
        used = {*self.given, *taken}
        for axis, root in self.b.order.items():
            if axis not in used and root == self.b.order[like]:
                return axis
        return self.b.fresh_axis(like)


def _map(r: _Reverse, op: Map, g: Value) -> None:
    local = Local(r.b, g, op.out, op.args)
    for arg, rule in zip(op.args, RULES[op.fn], strict=True):
        if rule is not None and arg.name in r.active:
            r.flow(arg, rule(local), op.out.axes)


def _contract(r: _Reverse, op: Contract, g: Value) -> None:
    for i, arg in enumerate(op.args):
        r.flow(arg, (g, *op.args[:i], *op.args[i + 1 :]), op.space)


def _reduce(r: _Reverse, op: Reduce, g: Value) -> None:
    b, arg = r.b, op.arg
    if op.fn == "prod":
        (axis,) = op.over
        before = b.cumulate("prod", arg, axis, exclusive=True)
        after = b.cumulate("prod", arg, axis, reverse=True, exclusive=True)
        r.flow(arg, (g, before, after), arg.axes)
        return
    winner = b.map("eq", arg, op.out)
    count = b.contract((b.map("real", winner),), op.over)
    r.flow(arg, (b.map("where", winner, b.map("div", g, count), b.constant(0.0)),), arg.axes)


def _cumulate(r: _Reverse, op: Cumulate, g: Value) -> None:
    """Sums run the other way. For products, with w another index over the axis,

    d arg[w] = sum over x >= w of g[x] · (product before w) · (product of w+1 … x),

    without a division, so that zeros in `arg` are exact.
    """
    b, arg, axis = r.b, op.arg, op.axis
    if op.fn == "sum":
        back = b.cumulate("sum", g, axis, not op.reverse, op.exclusive, op.every)
        r.flow(arg, (back,), arg.axes)
        return
    w = r.scratch(axis, (*arg.axes, *g.axes))
    others = b.cumulate("prod", arg, axis, op.reverse, True, op.every)
    if op.exclusive:
        g = _apart(b, b.shift(g, axis, -1, "zero"), op) if op.reverse else b.shift(_apart(b, g, op), axis, 1, "zero")
    # A zero where a stretch begins: no product reaches from one stretch into another.
    if op.reverse:
        stretch = b.segment(_apart(b, b.shift(arg, axis, -1, "zero"), op), axis, w)
        summed = b.contract((b.rename(g, {axis: w}), stretch), (w,))
    else:
        stretch = b.segment(_apart(b, arg, op), axis, w)
        summed = b.rename(b.contract((g, stretch), (axis,)), {w: axis})
    r.flow(arg, (summed, others), arg.axes)


def _apart(b: Builder, v: Value, op: Cumulate) -> Value:
    """A value with zeros where a stretch of a running product begins."""
    if not op.every:
        return v
    place, every = b.iota(op.axis), b.constant(op.every, dtype="int")
    whole = b.map("mul", b.map("floor", b.map("div", place, every)), every)
    return b.map("where", b.map("eq", whole, place), b.constant(0.0), v)


def _scan(r: _Reverse, op: Scan, g: Value) -> None:
    """One adjoint for all components, with the cotangents of all of them. See `recc.forms.vjp_scan`."""
    del g  # that of one component
    names = {c.component: c.out.name for c in r.groups[op.group]}
    seeds = {k: r.cotangent[name] for k, name in names.items() if name in r.cotangent}
    for value, factors, space in scan_contributions(r.b, op, seeds, r.active):
        r.flow(value, factors, space)


def _convolve(r: _Reverse, op: Convolve, g: Value) -> None:
    """Correlations with the cotangent. Over the axes that an operand lacks it is summed."""
    b, kernel, arg, axis = r.b, op.kernel, op.arg, op.axis
    space = op.space
    if arg.name in r.active:
        r.flow(arg, (b.convolve(kernel, g, axis, space - {*arg.axes}, not op.reverse),), arg.axes)
    if kernel.name in r.active:
        left, right = (g, arg) if op.reverse else (arg, g)
        r.flow(kernel, (b.convolve(left, right, axis, space - {*kernel.axes}, reverse=True),), kernel.axes)


def _segment(r: _Reverse, op: Segment, g: Value) -> None:
    """With y[t, s] the product over s < r <= t: d arg[r] = sum over t, s of y[t, r] · g[t, s] · y[r - 1, s]."""
    b, y = r.b, op.out
    w = r.scratch(op.row, (*y.axes, *g.axes))
    below = b.contract((g, b.rename(y, {op.col: w})), (op.row,))
    above = b.shift(y, op.row, -1, "zero")
    r.flow(op.arg, (b.rename(below, {w: op.row}), above), (*op.arg.axes, op.col))


def _mask(r: _Reverse, op: Mask, g: Value) -> None:
    r.flow(op.arg, (r.b.mask(g, op.row, op.col, op.strict),), op.out.axes)


def _matrix(r: _Reverse, op: Matrix, g: Value) -> None:
    b, rows, cols, y = r.b, op.rows, op.cols, op.out
    a = op.args[0]
    if op.fn.startswith("solve"):
        adjoint = b.matrix(op.fn, (a, g), rows, cols, transposed=not op.transposed)
        r.flow(op.args[1], (adjoint,), y.axes)
        left, right = (y, adjoint) if op.transposed else (adjoint, y)
        total = b.contract((left, b.rename(right, {rows: cols})), {*y.axes} - {*a.axes})
        if op.fn == "solve_unit_lower":
            total = b.mask(total, rows, cols, strict=True)
        r.flow(a, (b.constant(-1.0), total), a.axes)
    elif op.fn == "inv":
        # d A = -Yᵀ G Yᵀ with Y = A⁻¹.
        p = r.scratch(rows, (*y.axes, *g.axes))
        q = r.scratch(cols, (*y.axes, *g.axes, p))
        half = b.contract((b.rename(y, {rows: p, cols: rows}), b.rename(g, {rows: p, cols: q})), (p,))
        r.flow(a, (b.constant(-1.0), half, b.rename(y, {rows: cols, cols: q})), (*y.axes, q))
    elif op.fn == "expm":
        r.flow(a, (b.matrix("expm_vjp", (a, g), rows, cols),), y.axes)
    elif a.name in r.active:
        raise BlockError(f"{r.b.name}: {op.fn} has no derivative by {a}: a second derivative of expm")
    else:
        transpose = b.rename(a, {rows: cols, cols: rows})
        r.flow(op.args[1], (b.matrix("expm_vjp", (transpose, g), rows, cols),), y.axes)


def _shift(r: _Reverse, op: Shift, g: Value) -> None:
    b, axis = r.b, op.axis
    if op.edge != "clamp":
        r.flow(op.arg, (b.shift(g, axis, -op.offset, op.edge),), op.arg.axes)
        return
    index = b.map("add", b.iota(axis), b.constant(op.offset, dtype="int"))
    _scatter_back(r, op.arg, axis, index, "clamp", g)


def _gather(r: _Reverse, op: Gather, g: Value) -> None:
    _scatter_back(r, op.arg, op.axis, op.index, op.edge, g)


def _scatter_back(r: _Reverse, arg: Value, axis: str, index: Value, edge: Edge, g: Value) -> None:
    """The cotangent of a gather: every element is added where it came from."""
    b = r.b
    if axis in index.axes:
        # The place that an element came from and the place that it went to are two different axes.
        w = r.scratch(axis, (*arg.axes, *index.axes, *g.axes))
        index, g = b.rename(index, {axis: w}), b.rename(g, {axis: w})
    kept = {axis, *g.axes, *index.axes} & set(arg.axes)
    r.flow(arg, (b.scatter(g, axis, index, edge, kept),), arg.axes)


def _scatter(r: _Reverse, op: Scatter, g: Value) -> None:
    back = r.b.gather(r.b.spread(g, (op.axis,)), op.axis, op.index, op.edge)
    r.flow(op.arg, (back,), op.arg.axes)


def _rename(r: _Reverse, op: Rename, g: Value) -> None:
    r.flow(op.arg, (r.b.rename(g, {new: old for old, new in op.names}),), op.arg.axes)


_RULES: dict[type[Op], Callable[[_Reverse, Any, Value], None]] = {
    Map: _map,
    Contract: _contract,
    Reduce: _reduce,
    Cumulate: _cumulate,
    Scan: _scan,
    Convolve: _convolve,
    Segment: _segment,
    Mask: _mask,
    Matrix: _matrix,
    Shift: _shift,
    Gather: _gather,
    Scatter: _scatter,
    Rename: _rename,
}
