"""Blocks as Python functions of plain torch operations.

A value of a Block becomes a tensor `[*lead, *axes]`, but of what is the same along an axis only one element is
held: constants are Python numbers, a broadcast is a view made where it is needed. See `ops` for what emitted
functions call.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from recc.backends.torch_eager.names import identifiers, letters
from recc.backends.torch_eager.scalar import call, literal, numbers_allowed
from recc.forms.block import (
    Block,
    BlockDtype,
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
    Value,
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
    return _Emitter(block).function(name)


@dataclass(frozen=True)
class Held:
    """What stands for a value: an expression, and the axes that it has; the value is the same along others.

    `number` is the number that it is, if it is one; then `code` is its text.
    """

    code: str
    axes: tuple[str, ...]
    dtype: BlockDtype
    number: float | None = None


class _Emitter:
    """One function: its lines so far, and what stands for each value."""

    def __init__(self, block: Block):
        self.block = block
        self.lines: list[str] = []
        self.held: dict[str, Held] = {}
        self.names = identifiers(v.name for v in (*block.inputs, *(op.out for op in block.ops)))
        self.letters = letters(block.order)

    def function(self, name: str) -> str:
        """The whole text."""
        block = self.block
        used = {v.name for op in block.ops for v in op.operands} | {v.name for _, v in block.outputs}
        for v in block.inputs:
            if v.name in used:
                self.define(v, f"given[{quoted(v.name)}]", v.axes)
        for op in block.ops:
            _RULES[type(op)](self, op)
        results = [f"        {quoted(n)}: {self.full(v, v.axes).code}," for n, v in block.outputs]
        return "\n".join([f"def {name}(given, sizes, env):", *self.lines, "    return {", *results, "    }", ""])

    def line(self, text: str, axes: Sequence[str] | None = None) -> None:
        """Adds a line, with the axes of what it makes."""
        self.lines.append(f"    {text}" if axes is None else f"    {text}  # [{', '.join(axes)}]")

    def define(self, out: Value, expression: str, axes: Sequence[str]) -> None:
        """Gives a value its tensor, whose axes are in the order `axes`."""
        want = self.sort(axes)
        name = self.names[out.name]
        self.line(f"{name} = {permuted(expression, axes, want)}", want)
        self.held[out.name] = Held(name, want, out.dtype)

    def sort(self, axes: Iterable[str]) -> tuple[str, ...]:
        """Axes in canonical order, each once."""
        wanted = set(axes)
        return tuple(a for a in self.block.order if a in wanted)

    def size(self, axis: str) -> str:
        """The size of an axis."""
        return f"sizes[{quoted(self.block.root[axis])}]"

    def get(self, v: Value) -> Held:
        """What stands for a value."""
        return self.held[v.name]

    def tensor(self, v: Value) -> Held:
        """What stands for a value, as a tensor."""
        held = self.get(v)
        return held if held.number is None else replace(held, code=f"ops.number({held.code}, env)", number=None)

    def full(self, v: Value, axes: Collection[str]) -> Held:
        """A value as a tensor that has at least these axes."""
        held = self.tensor(v)
        missing = set(axes) - set(held.axes)
        if not missing:
            return held
        want = self.sort({*held.axes, *axes})
        inner = want[min(want.index(a) for a in missing) :]
        sizes = ", ".join(self.size(a) for a in inner) + ("," if len(inner) == 1 else "")
        return replace(held, code=f"ops.spread({at(held, want)}, ({sizes}))", axes=want)


def quoted(name: str) -> str:
    """A name as a Python string."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def dim(axes: Sequence[str], axis: str) -> int:
    """The dimension of an axis, counted from the end."""
    return axes.index(axis) - len(axes)


def dims(axes: Sequence[str], over: Iterable[str]) -> str:
    """Several dimensions as a Python tuple."""
    found = ", ".join(str(dim(axes, a)) for a in over)
    return f"({found},)" if "," not in found else f"({found})"


def permuted(expression: str, have: Sequence[str], want: Sequence[str]) -> str:
    """The expression of a tensor with its axes in another order."""
    moved = [a for h, a in zip(have, want, strict=True) if h != a]
    if not moved:
        return expression
    if len(moved) == 2:
        return f"{expression}.transpose({dim(want, moved[0])}, {dim(want, moved[1])})"
    return f"{expression}.movedim({dims(have, moved)}, {dims(want, moved)})"


def at(held: Held, want: Sequence[str]) -> str:
    """The tensor along `want`, in that order, of size 1 along those it lacks."""
    if held.number is not None:
        return held.code
    code = permuted(held.code, held.axes, [a for a in want if a in held.axes])
    for place in range(1, len(want) + 1):
        if want[-place] not in held.axes:
            code += f".unsqueeze({-place})"
    return code


def _constant(e: _Emitter, op: Constant) -> None:
    e.held[op.out.name] = Held(literal(op.value, op.out.dtype), (), op.out.dtype, op.value)


def _iota(e: _Emitter, op: Iota) -> None:
    e.define(op.out, f"ops.iota({e.size(op.axis)}, env)", (op.axis,))


def _rename(e: _Emitter, op: Rename) -> None:
    held, names = e.get(op.arg), dict(op.names)
    axes = tuple(names.get(a, a) for a in held.axes)
    if axes == e.sort(axes):
        e.held[op.out.name] = replace(held, axes=axes)
    else:
        e.define(op.out, held.code, axes)


def _map(e: _Emitter, op: Map) -> None:
    args = [e.get(v) for v in op.args]
    known = [a.number for a in args]
    if op.fn in ("add", "mul"):
        unit = 0.0 if op.fn == "add" else 1.0
        for number, other in ((known[0], args[1]), (known[1], args[0])):
            if number == unit and other.dtype == op.out.dtype:
                e.held[op.out.name] = other
                return
    allowed = numbers_allowed(op.fn, known)
    args = [a if ok else e.tensor(v) for a, ok, v in zip(args, allowed, op.args, strict=True)]
    axes = e.sort(x for a in args for x in a.axes)
    condition = 1 if op.fn == "where" else 0
    texts = []
    for i, a in enumerate(args):
        text = at(a, axes)
        if op.out.dtype == "real" and a.dtype != "real" and i >= condition and op.fn != "real":
            text = literal(a.number, "real") if a.number is not None else f"{text}.to(env.dtype)"
        texts.append(text)
    e.define(op.out, call(op.fn, texts, [a.number for a in args]), axes)


def _contract(e: _Emitter, op: Contract) -> None:
    factors = [e.get(v) for v in op.args]
    numbers = [f.code for f in factors if f.number is not None and f.number != 1.0]
    factors = [f for f in factors if f.number is None]
    present = {a for f in factors for a in f.axes}
    numbers += [e.size(a) for a in op.over if a not in present]
    over = [a for a in op.over if a in present]
    if not factors:
        e.define(op.out, f"ops.number(float({' * '.join(numbers or ['1.0'])}), env)", ())
        return
    if len(factors) > 1:
        factors = [_summed(f, [a for a in over if _only(f, a, factors)]) for f in factors]
        over = [a for a in over if any(a in f.axes for f in factors)]
    axes = e.sort(present - set(op.over))
    expression = _product(e, factors, over, axes)
    if numbers:
        expression = " * ".join([expression, *numbers])
    e.define(op.out, expression, axes)


def _only(factor: Held, axis: str, factors: Sequence[Held]) -> bool:
    """Whether no other factor has an axis."""
    return axis in factor.axes and sum(axis in f.axes for f in factors) == 1


def _summed(held: Held, over: Sequence[str]) -> Held:
    """The sum over axes."""
    if not over:
        return held
    rest = tuple(a for a in held.axes if a not in over)
    return replace(held, code=f"{held.code}.sum({dims(held.axes, over)})", axes=rest)


def _product(e: _Emitter, factors: Sequence[Held], over: Sequence[str], axes: tuple[str, ...]) -> str:
    """The sum of a product: a matrix product wherever two factors have axes of their own."""
    if len(factors) == 1:
        return _summed(factors[0], over).code
    if not over:
        return " * ".join(at(f, axes) for f in factors)
    if len(factors) == 2 and {*factors[0].axes} == {*factors[1].axes}:
        one, other = factors
        return f"({one.code} * {at(other, one.axes)}).sum({dims(one.axes, over)})"
    codes = ", ".join(f.code for f in factors)
    if len(factors) == 2:
        left = ",".join("..." + _spell(e, f.axes) for f in factors)
        return f'torch.einsum("{left}->...{_spell(e, axes)}", {codes})'
    left = ",".join(_spell(e, f.axes) for f in factors)
    return f'ops.contract("{left}->{_spell(e, axes)}", {codes})'


def _spell(e: _Emitter, axes: Iterable[str]) -> str:
    return "".join(e.letters[a] for a in axes)


def _reduce(e: _Emitter, op: Reduce) -> None:
    held = e.full(op.arg, op.over)
    rest = tuple(a for a in held.axes if a not in op.over)
    if op.fn == "prod":
        e.define(op.out, f"ops.prod({held.code}, {dim(held.axes, op.over[0])})", rest)
    else:
        e.define(op.out, f"ops.a{op.fn}({held.code}, {dims(held.axes, op.over)})", rest)


def _cumulate(e: _Emitter, op: Cumulate) -> None:
    held = e.full(op.arg, (op.axis,))
    way = [f"{n}=True" for n in ("reverse", "exclusive") if getattr(op, n)]
    way += [f"every={op.every}"] if op.every else []
    arguments = ", ".join([held.code, str(dim(held.axes, op.axis)), *way])
    e.define(op.out, f"ops.cum{op.fn}({arguments})", held.axes)


def _scan(e: _Emitter, op: Scan) -> None:
    if op.out.name in e.held:
        return
    group = {o.component: o.out for o in e.block.ops if isinstance(o, Scan) and o.group == op.group}
    way = [e.size(op.axis), *([quoted(op.algebra)] if op.algebra != "ring" else []), *(["reverse=True"] * op.reverse)]
    held = [e.full(v, (*op.rows, *op.cols)) for v in op.a]
    drives, firsts = ([e.full(v, op.rows) for v in values] for values in (op.b, op.first))
    every = {op.axis, *(a for h in (*held, *drives, *firsts) for a in h.axes)} - {*op.cols}
    if op.rows:
        mixed = {a for h in held for a in h.axes}
        columns = e.sort(every - mixed - {op.axis, *op.rows})
        batch = e.sort(every - {*columns, op.axis, *op.rows})
        axes: tuple[str, ...] = (*batch, op.axis, *columns, *op.rows)
        first, matrix = (*batch, *columns, *op.rows), (*batch, op.axis, *op.rows, *op.cols)
        fn, way = "scan.scan_matrix", [str(len(op.rows)), str(len(columns)), *way]
    else:
        axes = matrix = e.sort(every)
        first = tuple(a for a in axes if a != op.axis)
        fn, way = "scan.scan", [str(dim(axes, op.axis)), *way]
    parts = [tupled(at(h, matrix) for h in held), tupled(at(h, axes) for h in drives)]
    parts += [tupled(at(h, first) for h in firsts)]
    names = [e.names[group[k].name] if k in group else "_" for k in range(len(op.b))]
    e.line(f"{', '.join(names)}{',' * (len(names) == 1)} = {fn}({', '.join([str(op.entries), *parts, *way])})", axes)
    for out in group.values():
        name = e.names[out.name]
        e.held[out.name] = Held(name, e.sort(axes), "real")
        if axes != e.sort(axes):
            e.line(f"{name} = {permuted(name, axes, e.sort(axes))}", e.sort(axes))


def tupled(items: Iterable[str]) -> str:
    """A Python tuple of expressions."""
    found = list(items)
    return f"({', '.join(found)}{',' * (len(found) == 1)})"


def _convolve(e: _Emitter, op: Convolve) -> None:
    factors = [e.full(op.kernel, (op.axis,)), e.full(op.arg, (op.axis,))]
    present = {a for f in factors for a in f.axes}
    sizes = [e.size(a) for a in op.over if a not in present]
    factors = [_summed(f, [a for a in op.over if _only(f, a, factors)]) for f in factors]
    axes = e.sort(present - set(op.over))
    equation = f"{_spell(e, factors[0].axes)},{_spell(e, factors[1].axes)}->{_spell(e, axes)}"
    way = ", reverse=True" * op.reverse
    arguments = f'"{equation}", {factors[0].code}, {factors[1].code}, "{e.letters[op.axis]}"{way}'
    e.define(op.out, " * ".join([f"convolve.convolve({arguments})", *sizes]), axes)


def _segment(e: _Emitter, op: Segment) -> None:
    held = e.full(op.arg, (op.row,))
    rest = tuple(a for a in held.axes if a != op.row)
    e.define(op.out, f"ops.segment({at(held, (*rest, op.row))})", (*rest, op.row, op.col))


def _mask(e: _Emitter, op: Mask) -> None:
    held = e.full(op.arg, (op.row, op.col))
    if held.axes[-2:] == (op.col, op.row):
        e.define(op.out, f"{held.code}.triu({int(op.strict)})", held.axes)
        return
    rest = tuple(a for a in held.axes if a not in (op.row, op.col))
    want = (*rest, op.row, op.col)
    e.define(op.out, f"{at(held, want)}.tril({-int(op.strict)})", want)


def _matrix(e: _Emitter, op: Matrix) -> None:
    pair = (op.rows, op.cols)
    a = e.full(op.args[0], pair)
    batch = tuple(x for x in a.axes if x not in pair)
    if op.fn.startswith("solve"):
        b = e.full(op.args[1], (op.rows,))
        columns = tuple(x for x in b.axes if x not in (*batch, op.rows))
        axes = (*batch, op.rows, *columns)
        way = ", transposed=True" * op.transposed
        arguments = f"{at(a, (*batch, *pair))}, {at(b, axes)}, {len(columns)}{way}"
        e.define(op.out, f"ops.{op.fn}({arguments})", axes)
        return
    held = [a, *(e.full(v, pair) for v in op.args[1:])]
    axes = (*e.sort({x for h in held for x in h.axes} - {*pair}), *pair)
    e.define(op.out, f"ops.{op.fn}({', '.join(at(h, axes) for h in held)})", axes)


def _shift(e: _Emitter, op: Shift) -> None:
    held = e.full(op.arg, (op.axis,))
    way = f"{dim(held.axes, op.axis)}, {op.offset}, {quoted(op.edge)}"
    e.define(op.out, f"ops.shift({held.code}, {way})", held.axes)


def _gather(e: _Emitter, op: Gather) -> None:
    held, index = e.full(op.arg, (op.axis,)), e.get(op.index)
    rest = tuple(a for a in held.axes if a != op.axis)
    if index.number is not None:
        way = f"{dim(held.axes, op.axis)}, {index.code}, {quoted(op.edge)}"
        e.define(op.out, f"ops.element({held.code}, {way})", rest)
        return
    shared = tuple(a for a in rest if a in index.axes)
    own = tuple(a for a in index.axes if a not in shared)
    alone = tuple(a for a in rest if a not in shared)
    table, places = at(held, (*shared, op.axis, *alone)), at(index, (*shared, *own))
    way = f"len(env.lead), {len(shared)}, {quoted(op.edge)}"
    e.define(op.out, f"ops.gather({table}, {places}, {way})", (*shared, *own, *alone))


def _scatter(e: _Emitter, op: Scatter) -> None:
    index = e.tensor(op.index)
    held = e.full(op.arg, index.axes)
    gone = [a for a in op.arg.axes if a not in index.axes and a not in op.out.axes]
    sizes = [e.size(a) for a in gone if a not in held.axes]
    held = _summed(held, [a for a in gone if a in held.axes])
    shared = tuple(a for a in index.axes if a in op.out.axes)
    own = tuple(a for a in index.axes if a not in shared)
    rest = tuple(a for a in held.axes if a not in index.axes)
    values, places = at(held, (*shared, *own, *rest)), at(index, (*shared, *own))
    way = f"len(env.lead), {len(shared)}, {e.size(op.axis)}, {quoted(op.edge)}"
    found = " * ".join([f"ops.scatter({values}, {places}, {way})", *sizes])
    e.define(op.out, found, (*shared, op.axis, *rest))


_RULES: Mapping[type[Op], Callable[[_Emitter, Any], None]] = {
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
