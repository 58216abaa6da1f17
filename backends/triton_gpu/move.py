"""Operations that move elements: shifts, gathers, scatters, and matrices, which the library has."""

from __future__ import annotations

from math import prod

from recc.backends.triton_gpu.writer import Held, Writer, at
from recc.errors import Refusal, Unsupported
from recc.forms.block import Gather, Matrix, Scatter, Shift
from recc.recurrence import Edge


def moved(w: Writer, held: Held, axis: str, offset: int, edge: Edge, outside: str = "0.0") -> str:
    """`arg[x + offset]` along an axis of a tile, `outside` beyond the ends unless the edge is another."""
    held = w.full(held, (axis,))
    size, place = w.size(axis), w.place(axis).code
    at_ = f"({place} + {offset})" if offset >= 0 else f"({place} - {-offset})"
    inside = f"{place} < {size} - {offset}" if offset >= 0 else f"{place} >= {-offset}"
    if edge == "zero":
        # Within the tile, whatever lies there: what comes from outside the axis is set aside below.
        index = f"tl.minimum({at_}, {w.width(axis) - 1})" if offset >= 0 else f"tl.maximum({at_}, 0)"
    elif edge == "clamp":
        index = f"tl.minimum(tl.maximum({at_}, 0), {size} - 1)"
    else:
        # A remainder has the sign of what is divided.
        index = f"(({at_} % {size} + {size}) % {size})"
    code = _taken(w, held, axis, Held(f"({index})", (axis,), "int"))
    if edge != "zero":
        return code
    return f"tl.where({at(Held(f'({inside})', (axis,), 'bool'), held.axes)}, {code}, {outside})"


def _taken(w: Writer, held: Held, axis: str, index: Held) -> str:
    """`arg[axis = index]`, for an index along the same axis and maybe others of the tile."""
    shape = w.shape(held.axes)
    if prod(shape) == w.width(axis) == 1:
        return held.code
    wide = f"tl.broadcast_to({at(index, held.axes)}.to(tl.int32), {list(shape)})"
    return f"tl.gather({held.code}, {wide}, {held.axes.index(axis)})"


def shift(w: Writer, op: Shift) -> None:
    """Writes `out[x] = arg[x + offset]`."""
    held = w.full(w.get(op.arg), (op.axis,))
    outside = {"real": "0.0", "int": "0", "bool": "False"}[op.out.dtype]
    code = moved(w, held, op.axis, op.offset, op.edge, outside)
    w.define(op.out, code, held.axes, held.clean - {op.axis})


def _index(w: Writer, held: Held, axis: str, edge: Edge) -> Held:
    """An index within its axis, or one that no element has."""
    size = w.size(axis)
    if held.number is not None:
        number = int(held.number)
        if edge == "zero":
            code = (
                f"tl.where({number} < {size}, {number}, -1)"
                if not size.isdigit()
                else str(number if number < int(size) else -1)
            )
        elif edge == "clamp" and number == 0:
            code = "0"
        elif edge == "clamp":
            code = "0" if number < 0 else f"({size} - 1 if {size} - 1 < {number} else {number})"
            code = code if number < 0 else f"tl.minimum({size} - 1, {number})" if not size.isdigit() else code
        elif number == -1:
            code = f"({size} - 1)"
        else:
            code = f"(({number} % {size} + {size}) % {size})"
        return Held(code, (), "int")
    if edge == "clamp":
        return Held(f"tl.minimum(tl.maximum({held.code}, 0), {size} - 1)", held.axes, "int")
    if edge == "wrap":
        return Held(f"(({held.code} % {size} + {size}) % {size})", held.axes, "int")
    if w.ragged(axis):
        # What lies between the end of the axis and that of its tile is no element either.
        return Held(f"tl.where({held.code} < {size}, {held.code}, -1)", held.axes, "int")
    return held


def gather(w: Writer, op: Gather) -> None:
    """Writes `out = arg[axis = index]`: as a sum with one term, or by the index along the axis itself."""
    held = w.full(w.get(op.arg), (op.axis,))
    index = _index(w, w.get(op.index), op.axis, op.edge)
    zero = {"real": "0.0", "int": "0", "bool": "False"}[op.out.dtype]
    if op.axis in index.axes:
        axes = w.sort({*held.axes, *index.axes})
        held = w.full(held, axes)
        inside = f"({index.code} >= 0) & ({index.code} < {w.size(op.axis)})"
        safe = Held(f"tl.where({inside}, {index.code}, 0)", index.axes, "int")
        found = _taken(w, held, op.axis, safe)
        w.define(op.out, f"tl.where({at(Held(f'({inside})', index.axes, 'bool'), axes)}, {found}, {zero})", axes)
        return
    axes = w.sort({*held.axes, *index.axes})
    w.check(axes, op.out.name)
    hit = f"({at(w.place(op.axis), axes)} == {at(index, axes)})"
    code = f"tl.sum(tl.where({hit}, {at(held, axes)}, {zero}), {axes.index(op.axis)})"
    if op.out.dtype == "bool":
        code = f"({code} != 0)"
    rest = [a for a in axes if a != op.axis]
    w.define(op.out, code, rest, held.clean - {*index.axes})


def scatter(w: Writer, op: Scatter) -> None:
    """Writes `out[axis = a] = sum of arg where index = a`."""
    index = _index(w, w.get(op.index), op.axis, op.edge)
    held = w.get(op.arg)
    gone = [a for a in op.arg.axes if a not in op.out.axes]
    held = w.cleaned(w.full(held, gone), gone) if gone else w.made(held)
    axes = w.sort({*held.axes, *index.axes, op.axis})
    w.check(axes, op.out.name)
    hit = f"({at(w.place(op.axis), axes)} == {at(index, axes)})"
    code, left = f"tl.where({hit}, {at(held, axes)}, 0.0)", list(axes)
    for a in gone:
        code = f"tl.sum({code}, {left.index(a)})"
        left.remove(a)
    w.define(op.out, code, left, held.clean)


def matrix(w: Writer, op: Matrix) -> None:
    """Writes a call of the library's function of matrices."""
    pair = (op.rows, op.cols)
    first = w.full(w.get(op.args[0]), pair)
    batch = [a for a in first.axes if a not in pair]
    others = [w.full(w.get(v), (op.rows,) if op.fn.startswith("solve") else pair) for v in op.args[1:]]
    batch += [a for h in others if not op.fn.startswith("solve") for a in h.axes if a not in pair]
    if batch:
        reason = f"`{op.fn}` of a matrix for each element along {', '.join(batch)}"
        raise Unsupported(Refusal("the Triton kernel", reason, "backend='torch' or 'c' runs it"))
    matrices = [at(first, pair)]
    size = w.size(op.rows)
    if not op.fn.startswith("solve"):
        matrices += [at(h, pair) for h in others]
        code = f"{w.body.call(op.fn)}({', '.join(matrices)}, {size})"
        w.define(op.out, code, pair)
        return
    (side,) = others
    columns = tuple(a for a in side.axes if a != op.rows)
    axes = (op.rows, *columns)
    code = at(side, axes)
    flat = [w.width(op.rows), prod(w.shape(columns))]
    if len(columns) != 1:
        code = f"tl.reshape({code}, {flat})"
    name: str = op.fn
    if op.transposed and op.fn == "solve":
        matrices = [f"tl.trans({matrices[0]})"]
    elif op.transposed:
        name = f"{op.fn}_t"
    precision = "tf32" if w.spec.products == "bfloat16" else w.spec.products
    more = f', "{precision}"' if op.fn == "solve_unit_lower" else ""
    code = f"{w.body.call(name)}({matrices[0]}, {code}, {size}{more})"
    if len(columns) != 1:
        code = f"tl.reshape({code}, {list(w.shape(axes))})"
    w.define(op.out, code, axes, side.clean & {*columns})


__all__ = ["gather", "matrix", "moved", "scatter", "shift"]
