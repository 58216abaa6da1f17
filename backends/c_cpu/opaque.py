"""Operations that run as a whole: running sums and products, segment products, small matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recc.forms.block import Cumulate, Matrix, Segment, Value

if TYPE_CHECKING:
    from recc.backends.c_cpu.loops import NestWriter


def write_opaque(w: NestWriter, op: Cumulate | Segment | Matrix) -> None:
    """Writes the operation with loops of its own; operands and result are complete arrays."""
    if isinstance(op, Cumulate):
        _cumulate(w, op)
    elif isinstance(op, Segment):
        _segment(w, op)
    else:
        _matrix(w, op)


def _cumulate(w: NestWriter, op: Cumulate) -> None:
    around = [a for a in op.out.axes if a != op.axis]
    for axis in around:
        w.open(axis)
    total = w.names(f"{op.out.name} total")
    w.emit("{")
    w.depth += 1
    w.emit(f"real {total} = {'0' if op.fn == 'sum' else '1'};")
    size = w.sizes[op.axis]
    step = w.names(f"{op.out.name} step")
    w.emit(f"for (int64_t {step} = 0; {step} < {size}; ++{step}) {{")
    w.depth += 1
    w.index[op.axis] = f"({size - 1} - {step})" if op.reverse else step
    update = f"{total} = {total} {'+' if op.fn == 'sum' else '*'} {w.arg(op.arg)};"
    result = f"{w.at(op.out, w.index)} = {total};"
    for line in (result, update) if op.exclusive else (update, result):
        w.emit(line)
    del w.index[op.axis]
    w.depth -= 1
    w.emit("}")
    w.depth -= 1
    w.emit("}")
    for axis in reversed(around):
        w.close(axis)


def _segment(w: NestWriter, op: Segment) -> None:
    around = [a for a in op.out.axes if a not in (op.row, op.col)]
    for axis in around:
        w.open(axis)
    w.open(op.col)
    product = w.names(f"{op.out.name} product")
    w.emit(f"real {product} = 1;")
    w.open(op.row)
    row, col = w.index[op.row], w.index[op.col]
    w.emit(f"if ({row} > {col}) {product} = {product} * {w.arg(op.arg)};")
    w.emit(f"{w.at(op.out, w.index)} = {row} < {col} ? 0 : {product};")
    w.close(op.row)
    w.close(op.col)
    for axis in reversed(around):
        w.close(axis)


def _matrix(w: NestWriter, op: Matrix) -> None:
    """Copies each matrix into contiguous memory, calls the library function, copies the result out."""
    size = w.sizes[op.rows]
    pair = (op.rows, op.cols)
    around = [a for a in w.nest.order if a not in pair and any(a in v.axes for v in (op.out, *op.args))]
    for axis in around:
        w.open(axis)
    w.emit("{")
    w.depth += 1
    names = [w.names(f"{op.out.name} argument {i}") for i in range(len(op.args))]
    result = w.names(f"{op.out.name} result")
    row, col = w.names(f"{op.out.name} row"), w.names(f"{op.out.name} col")
    for value, name in zip(op.args, names, strict=True):
        _copy(w, value, name, pair, (row, col), size, fill=True)
    count = size * size if op.cols in op.out.axes else size
    w.emit(f"RECC_ALIGNED real {result}[{max(1, count)}];")
    way = f", {int(op.transposed)}" if op.fn.startswith("solve") else ""
    w.emit(f"recc_{op.fn}({size}, {', '.join(names)}, {result}{way});")
    _copy(w, op.out, result, pair, (row, col), size, fill=False)
    w.depth -= 1
    w.emit("}")
    for axis in reversed(around):
        w.close(axis)


def _copy(
    w: NestWriter, value: Value, name: str, pair: tuple[str, str], at: tuple[str, str], size: int, fill: bool
) -> None:
    present = [(axis, var) for axis, var in zip(pair, at, strict=True) if axis in value.axes]
    if fill:
        w.emit(f"RECC_ALIGNED real {name}[{max(1, size ** len(present))}];")
    for axis, var in present:
        w.emit(f"for (int64_t {var} = 0; {var} < {size}; ++{var}) {{")
        w.depth += 1
        w.index[axis] = var
    place = f"{at[0]} * {size} + {at[1]}" if len(present) == 2 else present[0][1]
    if fill:
        w.emit(f"{name}[{place}] = {w.arg(value)};")
    else:
        w.emit(f"{w.at(value, w.index)} = {name}[{place}];")
    for axis, _ in reversed(present):
        del w.index[axis]
        w.depth -= 1
        w.emit("}")


__all__ = ["write_opaque"]
