"""The operations of a Block as lines of a Triton kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from typing import Any

from recc.backends.triton_gpu.along import cumulate, scan, segment
from recc.backends.triton_gpu.contract import contract
from recc.backends.triton_gpu.move import gather, matrix, scatter, shift
from recc.backends.triton_gpu.scalar import KEEPS_ZERO, LIBRARY, call, literal
from recc.backends.triton_gpu.schedule import scheduled
from recc.backends.triton_gpu.writer import Held, Writer, at
from recc.errors import Refusal, Unsupported
from recc.forms.block import (
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

#: Products of matrices after which a tile that is cheap to make again is made again rather than kept.
KEEP = 2
#: Tiles of fewer elements are kept.
SMALL = 2048
#: Operations without products of matrices.
_CHEAP = (Map, Rename, Cumulate, Segment, Mask, Constant, Iota)


def emit_ops(w: Writer) -> None:
    """Writes the lines of all operations of a Block, whose inputs `w` knows.

    A long Block has more tiles that wait for their last use than registers. What is loaded, or made of what is loaded
    without products of matrices, is loaded and made again where it is used late (`Writer.reload`).
    """
    makers = {op.out.name: op for op in w.block.ops}
    again = _made_again(w)
    order = w.block.ops
    if w.spec.chunk > 1:
        order = scheduled(w.block, lambda v: 0 if v.name in again else prod(w.shape(v.axes)), w.held)
    made = {v.name: n for n, v in w.block.outputs}
    born: dict[str, int] = {}
    products = 0
    for op in order:
        if op.out.name in w.pending:
            continue
        for v in op.operands:
            if v.name in again:
                _freshen(w, v.name, makers, born, products)
        before = len(w.body.lines)
        _RULES[type(op)](w, op)
        born[op.out.name] = products
        products += any("tl.dot(" in line for line in w.body.lines[before:])
        if op.out.name in made and made[op.out.name] in w.sinks:
            w.sinks.pop(made[op.out.name])()
    while w.sinks:
        w.sinks.pop(next(iter(w.sinks)))()


def _made_again(w: Writer) -> frozenset[str]:
    """The large tiles that may be made more than once."""
    if not w.reload:
        return frozenset()
    free = {v.name for v in w.block.inputs if v.name in w.reload or prod(w.shape(v.axes)) < SMALL}
    for op in w.block.ops:
        if isinstance(op, _CHEAP) and all(v.name in free for v in op.operands):
            free.add(op.out.name)
    every = (*w.block.inputs, *(op.out for op in w.block.ops))
    return frozenset(v.name for v in every if v.name in free and prod(w.shape(v.axes)) >= SMALL)


def _freshen(w: Writer, name: str, makers: Mapping[str, Op], born: dict[str, int], now: int) -> None:
    """Makes a tile again if it was made long ago."""
    held = w.held.get(name)
    if held is None:
        born[name] = now
        return
    if now - born.get(name, 0) < KEEP or held.number is not None or prod(w.shape(held.axes)) < SMALL:
        return
    born[name] = now
    if name in w.reload:
        w.put(name, w.reload[name]())
        return
    op = makers[name]
    for v in op.operands:
        _freshen(w, v.name, makers, born, now)
    _RULES[type(op)](w, op)


def _constant(w: Writer, op: Constant) -> None:
    clean = frozenset(w.block.order) if op.value == 0 else frozenset()
    w.put(op.out.name, Held(literal(op.value, op.out.dtype), (), op.out.dtype, op.value, clean))


def _iota(w: Writer, op: Iota) -> None:
    w.put(op.out.name, w.place(op.axis))


def _rename(w: Writer, op: Rename) -> None:
    held, names = w.get(op.arg), dict(op.names)
    axes = tuple(names.get(a, a) for a in held.axes)
    clean = frozenset(names.get(a, a) for a in held.clean)
    w.put(op.out.name, replace(held, axes=axes, clean=clean))


def _map(w: Writer, op: Map) -> None:
    args = [w.get(v) for v in op.args]
    known = [a.number for a in args]
    if op.fn in ("add", "mul"):
        unit = 0.0 if op.fn == "add" else 1.0
        for number, other in ((known[0], args[1]), (known[1], args[0])):
            if number == unit and other.dtype == op.out.dtype:
                w.put(op.out.name, other)
                return
    if op.fn in ("stop", "surrogate") and args[0].dtype == op.out.dtype:
        w.put(op.out.name, args[0])
        return
    if all(n is not None for n in known):
        args[-1] = w.made(args[-1])
    library = LIBRARY.get(op.fn)
    if op.fn == "exp" and w.spec.products != "bfloat16":
        # The machine's own is a few bits short where the argument is large.
        library = "exp"
    if library or op.fn in ("real", "int", "where") or len(args) == 1:
        # Functions take tensors; of a choice only the condition has to be one, and one of the branches.
        first = 1 if op.fn == "where" and known[2] is None else len(args) if op.fn != "where" else 2
        args = [w.made(a) if i < first else a for i, a in enumerate(args)]
    axes = w.sort(x for a in args for x in a.axes)
    condition = 1 if op.fn == "where" else 0
    codes = []
    for i, a in enumerate(args):
        code = at(a, axes)
        if op.out.dtype == "real" and a.dtype != "real" and i >= condition:
            code = literal(a.number, "real") if a.number is not None else f"{code}.to({w.spec.real})"
        codes.append(code)
    if op.fn == "real":
        expression = codes[0]
    elif not library:
        expression = call(op.fn, codes)
    else:
        if len(args) > 1:
            codes = [at(w.full(a, axes), axes) if a.axes != axes else c for a, c in zip(args, codes, strict=True)]
        expression = f"{w.body.call(library)}({', '.join(codes)})"
    w.define(op.out, expression, axes, _clean(op.fn, args, axes))


def _clean(fn: str, args: list[Held], axes: tuple[str, ...]) -> set[str]:
    """The axes beyond whose ends the result of a function is zero."""
    if fn == "where":
        args = args[1:]
    elif fn == "mul":
        # Zero times what has no such elements, or has zeros there.
        return {
            x for x in axes if any(x in a.clean for a in args) and all(x in a.clean or x not in a.axes for a in args)
        }
    elif fn == "div":
        return {x for x in args[0].clean if x not in args[1].axes}
    elif fn not in KEEPS_ZERO:
        return set()
    return {x for x in axes if all(x in a.clean or a.number == 0 for a in args)}


def _reduce(w: Writer, op: Reduce) -> None:
    neutral = {"max": 'float("-inf")', "min": 'float("inf")', "prod": "1.0"}[op.fn]
    name = {"max": "amax", "min": "amin", "prod": "product"}[op.fn]
    held = w.cleaned(w.full(w.get(op.arg), op.over), op.over, neutral)
    code, axes = held.code, list(held.axes)
    for a in op.over:
        code = f"{w.body.call(name)}({code}, {axes.index(a)})"
        axes.remove(a)
    w.define(op.out, code, axes, held.clean)


def _mask(w: Writer, op: Mask) -> None:
    # A choice between two numbers would be one of float32.
    held = w.made(w.get(op.arg))
    axes = w.sort({*held.axes, op.row, op.col})
    sign = ">" if op.strict else ">="
    keep = f"({at(w.place(op.row), axes)} {sign} {at(w.place(op.col), axes)})"
    # Beyond the end of the later axis nothing is kept of an earlier step, if that is clean there.
    clean = {a for a in held.clean if a in axes}
    w.define(op.out, f"tl.where({keep}, {at(held, axes)}, 0.0)", axes, clean)


def _convolve(w: Writer, op: Convolve) -> None:
    reason = "its Blocks have transforms of whole sequences"
    raise Unsupported(Refusal("the Triton backend", reason, "backend='torch' runs it"))


_RULES: Mapping[type[Op], Callable[[Writer, Any], None]] = {
    Constant: _constant,
    Iota: _iota,
    Rename: _rename,
    Map: _map,
    Contract: contract,
    Reduce: _reduce,
    Cumulate: cumulate,
    Scan: scan,
    Convolve: _convolve,
    Segment: segment,
    Mask: _mask,
    Matrix: matrix,
    Shift: shift,
    Gather: gather,
    Scatter: scatter,
}


__all__ = ["emit_ops"]
