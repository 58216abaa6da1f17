"""The work of operations that follow an axis from one end to the other."""

from __future__ import annotations

from math import ceil, log2, prod

from recc.forms.block import Convolve, Cumulate, Scan, Segment
from recc.forms.product_work import product
from recc.forms.scan_work import launches_of, scan_work
from recc.forms.sweeps import Found, Held, Space, Sweep, passing

#: Launches that the derivative of each step of a scan takes beside twice its own: sums, taking arrays apart.
_SCAN_BACK = 3.0

#: Steps up to which a convolution is a product with a matrix: in any case, and if that is not much the larger.
SHORT, MEDIUM = 8, 256


def cumulate(w: Space, op: Cumulate, every: Held) -> Found:
    """A running sum or product."""
    held = every._replace(axes=every.axes | {op.axis})
    count, size = w.count(held), w.size[op.axis]
    extra = float(op.exclusive) + (2.0 if op.reverse and op.fn == "sum" else 0.0) + 2.0 * bool(op.every)
    if op.fn == "sum":
        sweep = Sweep(1 + extra, count * (1 + extra), count * (1 + extra), 4 * count)
        return Found(held, [sweep], [sweep.times(1.5)], 1)
    rounds = max(1.0, log2(max(2, op.every or size)) / 3)
    sweep = Sweep(extra + 12 * rounds, count * (5 + extra), count * (3 + extra), 2 * count)
    return Found(held, [sweep], [sweep.times(2)], 8 * rounds)


def scan(w: Space, op: Scan, every: Held) -> Found:
    """A linear recurrence; all its components are counted with the first."""
    held = every._replace(axes=(every.axes | {op.axis}) - frozenset(op.cols))
    if w.seen(op):
        return Found(held)
    outer = held.axes - {op.axis}
    width = w.elements(outer, every.full)
    a = [w.get(v) for v in op.a]
    each = max((w.elements((h.axes | {*op.rows, *op.cols}) - {op.axis}, h.full) for h in a), default=1.0)
    varies = any(op.axis in h.axes for h in a)
    rows = prod(w.size[r] for r in op.rows) if op.rows else 0
    if not (varies or rows) and op.algebra == "ring" and all(w.get(v).number == 0.0 for v in op.b):
        # Powers: from n of them the next n are that of order n times these.
        rounds, every_step = ceil(log2(max(2, w.size[op.axis]))), w.count(held) * len(op.b)
        doubling = Sweep((2.0 * len(op.entries) + 4) * rounds, 4 * every_step, 3 * every_step, 2 * every_step)
        return Found(held, [doubling], [doubling.times(2)], 2 * rounds, every_step)
    sweeps, depth = scan_work(w.size[op.axis], op.entries, len(op.b), width, each, rows, varies, op.algebra, w.wide)
    forward = [Sweep(*k) for k in sweeps]
    more = 2.0 + _SCAN_BACK / launches_of(op.algebra, rows)
    return Found(held, forward, [k.times(more, 2.0) for k in forward], depth, w.count(held) * len(op.b))


def convolve(w: Space, op: Convolve, every: Held) -> Found:
    """A causal convolution: with a Toeplitz matrix, or by Fourier transforms."""
    kernel, arg = (w.get(v)._replace(axes=w.get(v).axes | {op.axis}) for v in (op.kernel, op.arg))
    held = every._replace(axes=every.axes - frozenset(op.over))
    size = w.size[op.axis]
    windows = w.count(kernel) * size
    if size <= SHORT or (size <= MEDIUM and windows <= 2 * w.count(arg)):
        total = w.elements(kernel.axes | arg.axes, every.full) * size
        rows = size * w.elements(kernel.axes - arg.axes, kernel.full and not arg.full)
        columns = w.elements(arg.axes - kernel.axes, arg.full and not kernel.full)
        work = {"products": total, "thin": total / min(rows, columns, size)} if columns > 1 else {"scalars": total}
        forward = [passing(windows, windows), Sweep(2.0, windows + w.count(arg), windows + w.count(held), **work)]
        return Found(held, forward, [k.times(2) for k in forward], 2)
    doublings = log2(4 * size)
    there = w.count(kernel) + w.count(arg)
    forward = [Sweep(2.0, there, 4 * there, transformed=2 * there * doublings)]
    forward += [k._replace(scalars=4 * k.scalars, products=4 * k.products) for k in product(w, kernel, arg, held)]
    back = Sweep(1.0, 4 * w.count(held), 2 * w.count(held), transformed=2 * w.count(held) * doublings)
    forward.append(back)
    # Padded to twice the length, then complex, then both of the result.
    return Found(held, forward, [k.times(2) for k in forward], 3, 4 * there + 4 * w.count(held))


def segment(w: Space, op: Segment, every: Held) -> Found:
    """Products over all stretches."""
    held = every._replace(axes=(every.axes | {op.row, op.col}))
    rounds = ceil(log2(max(2, w.size[op.row])))
    count = w.count(held)
    sweep = Sweep(8.0 * rounds, 3 * count, 3 * count, count)
    return Found(held, [sweep], [sweep.times(2)], rounds)


__all__ = ["MEDIUM", "SHORT", "convolve", "cumulate", "scan", "segment"]
