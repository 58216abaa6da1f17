"""Blocks as Python functions of plain torch operations.

A value of a Block becomes a tensor `[*lead, *axes]`, but of what is the same along an axis only one element is
held: constants are Python numbers, a broadcast is a view made where it is needed. See `ops` for what emitted
functions call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from recc.backends.torch_eager.scalar import call, literal, numbers_allowed
from recc.backends.torch_eager.writer import Held, Writer, at, dim, dims, permuted, quoted, total, tupled
from recc.forms.block import (
    ZERO,
    Block,
    Constant,
    Contract,
    Convolve,
    Cumulate,
    Gather,
    Iota,
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
)

#: The lines that a module of emitted functions begins with.
IMPORTS = ("import torch", "", "from recc.backends.torch_eager import convolve, ops, scan")


def emit_block(block: Block, name: str) -> str:
    """The text of a function `name(given, sizes, env)` that computes the outputs of a Block.

    The function takes tensors `[*lead, *axes]` by the names of the inputs, the size of each axis by the axis
    that gives it (see `Block.root`), and an `ops.Env`. It gives tensors by the names of the outputs, of full
    size along their axes. Leading dimensions broadcast: any tensor may have 1 in the place of a size. The same
    Block always gives the same text.
    """
    w = Writer(block)
    used = {v.name for op in block.ops for v in op.operands} | {v.name for _, v in block.outputs}
    for v in block.inputs:
        if v.name in used:
            w.define(v, f"given[{quoted(v.name)}]", v.axes)
    for op in block.ops:
        _RULES[type(op)](w, op)
    results = [f"        {quoted(n)}: {w.full(v, v.axes).code}," for n, v in block.outputs]
    return "\n".join([f"def {name}(given, sizes, env):", *w.lines, "    return {", *results, "    }", ""])


def _constant(w: Writer, op: Constant) -> None:
    w.held[op.out.name] = Held(literal(op.value, op.out.dtype), (), op.out.dtype, op.value)


def _iota(w: Writer, op: Iota) -> None:
    w.define(op.out, f"ops.iota({w.size(op.axis)}, env)", (op.axis,))


def _rename(w: Writer, op: Rename) -> None:
    held, names = w.get(op.arg), dict(op.names)
    axes = tuple(names.get(a, a) for a in held.axes)
    if axes == w.sort(axes):
        w.held[op.out.name] = replace(held, axes=axes)
    else:
        w.define(op.out, held.code, axes)


def _map(w: Writer, op: Map) -> None:
    args = [w.get(v) for v in op.args]
    known = [a.number for a in args]
    if op.fn in ("add", "mul"):
        unit = 0.0 if op.fn == "add" else 1.0
        for number, other in ((known[0], args[1]), (known[1], args[0])):
            if number == unit and other.dtype == op.out.dtype:
                w.held[op.out.name] = other
                return
    allowed = numbers_allowed(op.fn, known)
    args = [a if ok else w.tensor(v) for a, ok, v in zip(args, allowed, op.args, strict=True)]
    axes = w.sort(x for a in args for x in a.axes)
    condition = 1 if op.fn == "where" else 0
    texts = []
    for i, (a, number) in enumerate(zip(args, known, strict=True)):
        text = at(a, axes) if number is None else a.code  # a number broadcasts as it stands
        if op.out.dtype == "real" and a.dtype != "real" and i >= condition and op.fn != "real":
            text = literal(a.number, "real") if a.number is not None else f"{text}.to(env.dtype)"
        elif op.out.dtype == "int" and a.dtype == "bool" and i >= condition:  # torch does not count with truth values
            text = literal(a.number, "int") if a.number is not None else f"{text}.to(torch.int64)"
        texts.append(text)
    w.define(op.out, call(op.fn, texts, [a.number for a in args]), axes)


def _contract(w: Writer, op: Contract) -> None:
    factors = [w.get(v) for v in op.args]
    numbers = [f.code for f in factors if f.number is not None and f.number != 1.0]
    factors = [f for f in factors if f.number is None]
    present = {a for f in factors for a in f.axes}
    numbers += [w.size(a) for a in op.over if a not in present]
    over = [a for a in op.over if a in present]
    if not factors:
        w.define(op.out, f"ops.number(float({' * '.join(numbers or ['1.0'])}), env)", ())
        return
    if len(factors) > 1:
        factors = [total(f, [a for a in over if _only(f, a, factors)]) for f in factors]
        over = [a for a in over if any(a in f.axes for f in factors)]
    axes = w.sort(present - set(op.over))
    expression = _product(w, factors, over, axes)
    if numbers:
        expression = " * ".join([expression, *numbers])
    w.define(op.out, expression, axes)


def _only(factor: Held, axis: str, factors: Sequence[Held]) -> bool:
    """Whether no other factor has an axis."""
    return axis in factor.axes and sum(axis in f.axes for f in factors) == 1


def _product(w: Writer, factors: Sequence[Held], over: Sequence[str], axes: tuple[str, ...]) -> str:
    """The sum of a product: a matrix product wherever two factors have axes of their own."""
    if len(factors) == 1:
        return total(factors[0], over).code
    if not over:
        return " * ".join(at(f, axes) for f in factors)
    if len(factors) == 2 and {*factors[0].axes} == {*factors[1].axes}:
        one, other = factors
        return f"({one.code} * {at(other, one.axes)}).sum({dims(one.axes, over)})"
    codes = ", ".join(f.code for f in factors)
    if len(factors) == 2:
        left = ",".join("..." + _spell(w, f.axes) for f in factors)
        return f'torch.einsum("{left}->...{_spell(w, axes)}", {codes})'
    left = ",".join(_spell(w, f.axes) for f in factors)
    return f'ops.contract("{left}->{_spell(w, axes)}", {codes})'


def _spell(w: Writer, axes: Iterable[str]) -> str:
    return "".join(w.letters[a] for a in axes)


def _reduce(w: Writer, op: Reduce) -> None:
    held = w.full(op.arg, op.over)
    rest = tuple(a for a in held.axes if a not in op.over)
    if op.fn == "prod":
        w.define(op.out, f"ops.prod({held.code}, {dim(held.axes, op.over[0])})", rest)
    else:
        w.define(op.out, f"ops.a{op.fn}({held.code}, {dims(held.axes, op.over)})", rest)


def _cumulate(w: Writer, op: Cumulate) -> None:
    held = w.full(op.arg, (op.axis,))
    way = [f"{n}=True" for n in ("reverse", "exclusive") if getattr(op, n)]
    way += [f"every={op.every}"] if op.every else []
    arguments = ", ".join([held.code, str(dim(held.axes, op.axis)), *way])
    w.define(op.out, f"ops.cum{op.fn}({arguments})", held.axes)


def _scan(w: Writer, op: Scan) -> None:
    if op.out.name in w.held:
        return
    if len(op.b) == 1 and not op.rows and w.get(op.b[0]).number == ZERO[op.algebra]:
        _undriven(w, op)
        return
    group = {o.component: o.out for o in w.block.ops if isinstance(o, Scan) and o.group == op.group}
    way = [w.size(op.axis), *([quoted(op.algebra)] if op.algebra != "ring" else []), *(["reverse=True"] * op.reverse)]
    operands = [w.get(v) for v in (*op.a, *op.b, *op.first)]
    if op.rows or all(h.number is not None for h in operands):
        operands = [w.full(v, op.rows if i >= len(op.a) else (*op.rows, *op.cols)) for i, v in enumerate(op.operands)]
    held, rest = operands[: len(op.a)], operands[len(op.a) :]
    drives, firsts = rest[: len(op.b)], rest[len(op.b) :]
    every = {op.axis, *(a for h in (*held, *drives, *firsts) for a in h.axes)} - {*op.cols}
    if op.rows:
        mixed = {a for h in held for a in h.axes}
        columns = w.sort(every - mixed - {op.axis, *op.rows})
        batch = w.sort(every - {*columns, op.axis, *op.rows})
        axes: tuple[str, ...] = (*batch, op.axis, *columns, *op.rows)
        first, matrix = (*batch, *columns, *op.rows), (*batch, op.axis, *op.rows, *op.cols)
        fn, way = "scan.scan_matrix", [str(len(op.rows)), str(len(columns)), *way]
    else:
        axes = matrix = w.sort(every)
        first = tuple(a for a in axes if a != op.axis)
        fn, way = "scan.scan", [str(dim(axes, op.axis)), *way]
    parts = [tupled(at(h, matrix) for h in held), tupled(at(h, axes) for h in drives)]
    parts += [tupled(at(h, first) for h in firsts)]
    idle = all(w.get(v).number == 0.0 for v in op.b) and op.axis not in {a for v in op.a for a in v.axes}
    if idle and op.algebra == "ring" and not op.rows:
        fn, parts = "scan.powers", [parts[0], parts[2]]
    names = tupled(w.names[group[k].name] if k in group else "_" for k in range(len(op.b)))
    w.call(names if len(op.b) == 1 else names[1:-1], fn, [str(op.entries), *parts, *way], axes)
    for out in group.values():
        name = w.names[out.name]
        w.held[out.name] = Held(name, w.sort(axes), "real")
        if axes != w.sort(axes):
            w.line(f"{name} = {permuted(name, axes, w.sort(axes))}", w.sort(axes))


def _undriven(w: Writer, op: Scan) -> None:
    """A recurrence of one component to which nothing is added: running products of what it is multiplied by."""
    held, first = w.full(op.a[0], (op.axis,)), w.get(op.first[0])
    axes = w.sort((*held.axes, *first.axes))
    running, sign = ("cumprod", "*") if op.algebra == "ring" else ("cumsum", "+")
    made = f"ops.{running}({held.code}, {dim(held.axes, op.axis)}{', reverse=True' * op.reverse})"
    w.define(op.out, f"{at(replace(held, code=made), axes)} {sign} {at(first, axes)}", axes)


def _convolve(w: Writer, op: Convolve) -> None:
    factors = [w.full(op.kernel, (op.axis,)), w.full(op.arg, (op.axis,))]
    present = {a for f in factors for a in f.axes}
    sizes = [w.size(a) for a in op.over if a not in present]
    factors = [total(f, [a for a in op.over if _only(f, a, factors)]) for f in factors]
    axes = w.sort(present - set(op.over))
    equation = f"{_spell(w, factors[0].axes)},{_spell(w, factors[1].axes)}->{_spell(w, axes)}"
    way = ", reverse=True" * op.reverse
    arguments = f'"{equation}", {factors[0].code}, {factors[1].code}, "{w.letters[op.axis]}"{way}'
    w.define(op.out, " * ".join([f"convolve.convolve({arguments})", *sizes]), axes)


def _segment(w: Writer, op: Segment) -> None:
    held = w.full(op.arg, (op.row,))
    rest = tuple(a for a in held.axes if a != op.row)
    w.define(op.out, f"ops.segment({at(held, (*rest, op.row))})", (*rest, op.row, op.col))


def _mask(w: Writer, op: Mask) -> None:
    held = w.full(op.arg, (op.row, op.col))
    if held.axes[-2:] == (op.col, op.row):
        w.define(op.out, f"{held.code}.triu({int(op.strict)})", held.axes)
        return
    rest = tuple(a for a in held.axes if a not in (op.row, op.col))
    want = (*rest, op.row, op.col)
    w.define(op.out, f"{at(held, want)}.tril({-int(op.strict)})", want)


def _matrix(w: Writer, op: Matrix) -> None:
    pair = (op.rows, op.cols)
    a = w.full(op.args[0], pair)
    batch = tuple(x for x in a.axes if x not in pair)
    if op.fn.startswith("solve"):
        b = w.full(op.args[1], (op.rows,))
        columns = tuple(x for x in b.axes if x not in (*batch, op.rows))
        axes = (*batch, op.rows, *columns)
        way = ", transposed=True" * op.transposed
        arguments = f"{at(a, (*batch, *pair))}, {at(b, axes)}, {len(columns)}{way}"
        w.define(op.out, f"ops.{op.fn}({arguments})", axes)
        return
    held = [a, *(w.full(v, pair) for v in op.args[1:])]
    axes = (*w.sort({x for h in held for x in h.axes} - {*pair}), *pair)
    w.define(op.out, f"ops.{op.fn}({', '.join(at(h, axes) for h in held)})", axes)


def _shift(w: Writer, op: Shift) -> None:
    held = w.full(op.arg, (op.axis,))
    way = f"{dim(held.axes, op.axis)}, {op.offset}, {quoted(op.edge)}"
    w.define(op.out, f"ops.shift({held.code}, {way})", held.axes)


def _gather(w: Writer, op: Gather) -> None:
    held, index = w.full(op.arg, (op.axis,)), w.get(op.index)
    rest = tuple(a for a in held.axes if a != op.axis)
    if index.number is not None:
        way = f"{dim(held.axes, op.axis)}, {index.code}, {quoted(op.edge)}"
        w.define(op.out, f"ops.element({held.code}, {way})", rest)
        return
    shared = tuple(a for a in rest if a in index.axes)
    own = tuple(a for a in index.axes if a not in shared)
    alone = tuple(a for a in rest if a not in shared)
    table, places = at(held, (*shared, op.axis, *alone)), at(index, (*shared, *own))
    way = f"len(env.lead), {len(shared)}, {quoted(op.edge)}"
    w.define(op.out, f"ops.gather({table}, {places}, {way})", (*shared, *own, *alone))


def _scatter(w: Writer, op: Scatter) -> None:
    index = w.tensor(op.index)
    held = w.full(op.arg, index.axes)
    gone = [a for a in op.arg.axes if a not in index.axes and a not in op.out.axes]
    sizes = [w.size(a) for a in gone if a not in held.axes]
    held = total(held, [a for a in gone if a in held.axes])
    shared = tuple(a for a in index.axes if a in op.out.axes)
    own = tuple(a for a in index.axes if a not in shared)
    rest = tuple(a for a in held.axes if a not in index.axes)
    values, places = at(held, (*shared, *own, *rest)), at(index, (*shared, *own))
    way = f"len(env.lead), {len(shared)}, {w.size(op.axis)}, {quoted(op.edge)}"
    values = " * ".join([values, *sizes])
    w.define(op.out, f"ops.scatter({values}, {places}, {way})", (*shared, op.axis, *rest))


_RULES: Mapping[type[Op], Callable[[Writer, Any], None]] = {
    Constant: _constant,
    Iota: _iota,
    Rename: _rename,
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
}


__all__ = ["IMPORTS", "emit_block"]
