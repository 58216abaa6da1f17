"""Operations that follow an axis from one end to the other: running sums and products, and recurrences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from recc.backends.triton_gpu.move import moved
from recc.backends.triton_gpu.scalar import INLINE, LIBRARY, call, literal
from recc.backends.triton_gpu.writer import Held, Writer, at
from recc.errors import Refusal, Unsupported
from recc.forms.block import ONE, ZERO, Block, Constant, Contract, Cumulate, Map, Scan, Segment
from recc.forms.combine import combine, elements


def cumulate(w: Writer, op: Cumulate) -> None:
    """Writes a running sum or product, anew at every so many elements."""
    neutral = "0.0" if op.fn == "sum" else "1.0"
    held = w.full(w.get(op.arg), (op.axis,))
    every = op.every if op.every < w.width(op.axis) else 0
    if every == 1:
        if op.exclusive:
            w.put(
                op.out.name,
                Held(neutral, (), "real", float(neutral), frozenset(w.block.order) if op.fn == "sum" else frozenset()),
            )
        else:
            w.put(op.out.name, held)
        return
    if op.reverse:
        held = w.cleaned(held, (op.axis,), neutral)
    code, place = held.code, held.axes.index(op.axis)
    if op.exclusive:
        code = moved(w, held, op.axis, 1 if op.reverse else -1, "zero", neutral)
        if every:
            edge = every - 1 if op.reverse else 0
            starts = Held(f"({w.place(op.axis).code} % {every} == {edge})", (op.axis,), "bool")
            code = f"tl.where({at(starts, held.axes)}, {neutral}, {code})"
    shape = list(w.shape(held.axes))
    run = f"tl.cum{op.fn}"
    way = ", reverse=True" * op.reverse
    if every and shape[place] % every == 0:
        split = [*shape[:place], shape[place] // every, every, *shape[place + 1 :]]
        code = f"tl.reshape({run}(tl.reshape({code}, {split}), {place + 1}{way}), {shape})"
    else:
        code = f"{run}({code}, {place}{way})"
    clean = held.clean - {op.axis} if op.fn == "sum" else ()
    w.define(op.out, code, held.axes, clean)


def segment(w: Writer, op: Segment) -> None:
    """Writes the products over `col < r <= row`."""
    held = w.full(w.get(op.arg), (op.row,))
    axes = w.sort({*held.axes, op.col})
    row, col = at(w.place(op.row), axes), at(w.place(op.col), axes)
    code = f"tl.cumprod(tl.where({row} > {col}, {at(held, axes)}, 1.0), {axes.index(op.row)})"
    w.define(op.out, f"tl.where({row} >= {col}, {code}, 0.0)", axes, held.clean - {op.row})


def scan(w: Writer, op: Scan) -> None:
    """Writes a linear recurrence as a scan of step maps, with the combine that is derived for it.

    The state before the first step is taken into the drive of the first step, so that of every product of step
    maps only the drive is needed.
    """
    if op.out.name in w.held:
        return
    if op.rows:
        reason = f"the combine of the recurrence multiplies matrices along {', '.join(op.rows)}"
        raise Unsupported(Refusal("the Triton kernel", reason, "form='sequential' runs it"))
    found = elements(op, w.block)
    group = {o.component: o.out for o in w.block.ops if isinstance(o, Scan) and o.group == op.group}
    operands = [w.get(v) for v in op.operands]
    axes = w.sort({op.axis, *(a for h in operands for a in h.axes)})
    given = dict(zip(op.entries, op.a, strict=True))
    first = [w.get(v) for v in op.first]
    end = f"{w.size(op.axis)} - 1" if op.reverse else "0"
    starts = at(Held(f"({w.place(op.axis).code} == {end})", (op.axis,), "bool"), axes)
    hint = op.out.name
    maps: dict[str, Held] = {}
    for entry in found.a:
        a = w.get(given[entry]) if entry in given else _number(w, ZERO[op.algebra])
        neutral = ONE[op.algebra] if entry[0] == entry[1] else ZERO[op.algebra]
        if op.reverse:
            a = w.cleaned(w.full(a, (op.axis,)), (op.axis,), literal(neutral, "real"))
        maps[found.name(entry)] = w.full(a, axes)
    for k, v in enumerate(op.b):
        b = w.full(w.get(v), axes)
        into = [(w.get(given[e]), first[e[1]]) for e in op.entries if e[0] == k]
        code = _step(w, op, into, b, axes)
        b = w.new(f"{hint}_drive", f"tl.where({starts}, {code}, {b.code})", axes)
        if op.reverse:
            zero = literal(ZERO[op.algebra], "real")
            b = replace(w.cleaned(b, (op.axis,), zero), clean=frozenset())
        maps[f"b_{k}"] = w.full(b, axes)
    function = _combine(w, combine(op, w.block), list(maps))
    names = [w.body.names(group[k].name) if k in group else w.body.names("_made") for k in range(len(op.b))]
    unused = [w.body.names("_map") for _ in found.a]
    results = ", ".join([*unused, *names])
    # A recurrence whose transition is one everywhere is a running sum: its maps have one part.
    parts = [h.code for h in maps.values()]
    codes = parts[0] if len(parts) == 1 else f"({', '.join(parts)})"
    place = axes.index(op.axis)
    for k, out in group.items():
        if comment := w.body.comments.get(out.name):
            w.body.line(f"# {comment}")
        w.put(out.name, Held(names[k], axes, "real"))
    w.body.line(f"{results} = tl.associative_scan({codes}, {place}, {function}{', reverse=True' * op.reverse})")


def _number(w: Writer, value: float) -> Held:
    return Held(literal(value, "real"), (), "real", value)


def _step(w: Writer, op: Scan, into: Sequence[tuple[Held, Held]], drive: Held, axes: tuple[str, ...]) -> str:
    """`⊕ of a ⊗ first ⊕ b`: one step from the state before the first."""
    code = drive.code
    for a, first in into:
        if first.number == ZERO[op.algebra]:
            continue
        if op.algebra == "ring":
            code = f"({at(a, axes)} * {at(first, axes)} + {code})"
            continue
        term = f"({w.full(a, axes).code} + {at(first, axes)})"
        name = {"max-plus": "maximum", "min-plus": "minimum", "log-sum-exp": "logaddexp"}[op.algebra]
        code = f"{w.body.call(name)}({term}, {code})"
    return code


def _combine(w: Writer, block: Block, order: Sequence[str]) -> str:
    """The function that makes one map of two, the earlier one first; written once for each different one."""
    inputs = [f"{when} {name}" for when in ("earlier", "later") for name in order]
    names = {label: label.replace(" ", "_") for label in inputs}
    known: dict[str, str] = {v.name: names[v.name] for v in block.inputs}
    numbers: dict[str, float] = {}
    lines = []
    for n, op in enumerate(block.ops):
        if isinstance(op, Constant):
            known[op.out.name], numbers[op.out.name] = literal(op.value, "real"), op.value
            continue
        args = [known[v.name] for v in op.operands]
        if isinstance(op, Map) and op.fn in INLINE:
            code = call(op.fn, args)
        elif isinstance(op, Map):
            code = f"{w.body.call(LIBRARY[op.fn])}({', '.join(args)})"
        elif isinstance(op, Contract) and not op.over:
            code = " * ".join(args)
        else:
            raise AssertionError(f"a combine of tiles has {type(op).__name__}")
        known[op.out.name] = f"x{n + 1}"
        lines.append(f"    x{n + 1} = {code}")
    results = [known[block.output[name].name] if name in block.output else names[f"earlier {name}"] for name in order]
    text = "\n".join([f"({', '.join(names[label] for label in inputs)}):", *lines, f"    return {', '.join(results)}"])
    if text not in w.body.combines:
        w.body.combines[text] = f"combine_{len(w.body.combines) + 1}"
    return w.body.combines[text]


__all__ = ["cumulate", "scan", "segment"]
