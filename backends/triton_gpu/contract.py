"""Sums of products: on tensor cores where two factors have axes of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from recc.backends.triton_gpu.spec import THIN, Products
from recc.backends.triton_gpu.writer import Held, Writer, at
from recc.forms.block import Contract
from recc.forms.passes import LANE


def contract(w: Writer, op: Contract) -> None:
    """Writes `out = sum over axes of the product of the factors`."""
    factors = [w.get(v) for v in op.args]
    numbers = [f.code for f in factors if f.number is not None and f.number != 1.0]
    factors = [f for f in factors if f.number is None]
    present = {a for f in factors for a in f.axes}
    numbers += [_amount(w, a) for a in op.over if a not in present]
    over = [a for a in op.over if a in present]
    if not factors:
        w.define(op.out, f"tl.full([], {' * '.join(numbers or ['1.0'])}, {w.spec.real})", ())
        return
    factors = [w.cleaned(f, [a for a in over if a in f.axes]) for f in factors]
    factors = _merged(w, factors, over)
    hint = op.out.name
    while len(factors) > 1:
        one, other = _cheapest(w, factors, over)
        rest = [f for i, f in enumerate(factors) if i not in (one, other)]
        kept = {a for f in rest for a in f.axes}
        gone = [a for a in over if a in {*factors[one].axes, *factors[other].axes} - kept]
        last = not rest and not numbers
        made = _pair(w, factors[one], factors[other], gone, hint if last else f"{hint}_part")
        factors = _merged(w, [*rest, made], over)
    held = factors[0]
    if left := [a for a in over if a in held.axes]:
        held = _summed(w, held, left, hint if not numbers else f"{hint}_part")
    if numbers:
        held = w.new(hint, " * ".join([held.code, *numbers]), held.axes, "real", held.clean)
    w.put(op.out.name, held)


def _amount(w: Writer, axis: str) -> str:
    """The number of elements along an axis, as a real."""
    size = w.size(axis)
    return f"{float(size)}" if size.isdigit() else f"{size}.to({w.spec.real})"


def _merged(w: Writer, factors: Sequence[Held], over: Sequence[str]) -> list[Held]:
    """Factors multiplied into others that have all their axes, each sum over an axis of one factor taken."""
    found: list[Held] = []
    for held in sorted(factors, key=lambda f: -len(f.axes)):
        own = [a for a in over if a in held.axes and sum(a in f.axes for f in factors) == 1]
        if own and len(factors) > 1:
            held = _summed(w, held, own, "part")
        for n, larger in enumerate(found):
            if {*held.axes} <= {*larger.axes}:
                code = f"({at(larger, larger.axes)} * {at(held, larger.axes)})"
                found[n] = replace(larger, code=code, clean=_both_clean(larger, held))
                break
        else:
            found.append(held)
    return found


def _both_clean(one: Held, other: Held) -> frozenset[str]:
    """The axes along which a product is clean."""
    every = {*one.axes, *other.axes}
    clean = one.clean | other.clean
    return frozenset(a for a in every & clean if all(a in f.clean or a not in f.axes for f in (one, other)))


def _cheapest(w: Writer, factors: Sequence[Held], over: Sequence[str]) -> tuple[int, int]:
    """The two factors whose product, summed as far as the others allow, is smallest."""
    best: tuple[int, int, int] | None = None
    for one in range(len(factors)):
        for other in range(one + 1, len(factors)):
            rest = {a for i, f in enumerate(factors) if i not in (one, other) for a in f.axes}
            axes = {*factors[one].axes, *factors[other].axes}
            axes -= {a for a in over if a not in rest}
            size = prod(w.shape(tuple(axes)))
            if best is None or size < best[0]:
                best = (size, one, other)
    assert best is not None
    return best[1], best[2]


def _summed(w: Writer, held: Held, over: Sequence[str], hint: str) -> Held:
    """The sum over axes."""
    code, axes = held.code, list(held.axes)
    for a in over:
        code = f"tl.sum({code}, {axes.index(a)})"
        axes.remove(a)
    return w.new(hint, code, axes, "real", held.clean)


def _pair(w: Writer, one: Held, other: Held, over: Sequence[str], hint: str) -> Held:
    """The sum of a product of two factors: a matrix product if both have axes of their own and none beside."""
    both = {*one.axes} & {*other.axes}
    alone = [w.sort({*f.axes} - both) for f in (one, other)]
    if all(alone) and w.sort((alone[0][0], alone[1][0]))[0] == alone[1][0]:
        # The product comes out with its axes in canonical order.
        one, other = other, one
    shared = w.sort(both - {*over})
    rows = tuple(a for a in one.axes if a not in both)
    columns = tuple(a for a in other.axes if a not in both)
    inner = tuple(a for a in one.axes if a in over)
    sides = [prod(w.shape(axes)) for axes in (rows, inner, columns)]
    clean = _both_clean(one, other)
    if over and not shared and rows and columns and min(sides) >= THIN and w.spec.compute == "float32":
        left = _flat(w, one, rows, inner)
        right = _flat(w, other, inner, columns)
        # Of what is carried, errors add up from step to step.
        products = _finer(w) if w.spec.lanes and LANE not in over else w.spec.products
        code = f"tl.dot({', '.join(_rounded(c, products) for c in (left, right))}{_precision(products)})"
        if len(rows) + len(columns) > 2:
            code = f"tl.reshape({code}, {list(w.shape((*rows, *columns)))})"
        return w.new(hint, code, (*rows, *columns), "real", clean)
    wide = w.sort({*one.axes, *other.axes})
    w.check(wide, hint)
    product = Held(f"({at(one, wide)} * {at(other, wide)})", wide, "real", None, clean)
    if over:
        return _summed(w, product, over, hint)
    return w.new(hint, product.code, wide, "real", clean)


def _flat(w: Writer, held: Held, rows: tuple[str, ...], columns: tuple[str, ...]) -> str:
    """A factor as a matrix."""
    code = at(held, (*rows, *columns))
    if len(rows) + len(columns) == 2:
        return code
    sides = [prod(w.shape(rows)), prod(w.shape(columns))]
    return f"tl.reshape({code}, {sides})"


def _finer(w: Writer) -> Products:
    """How factors are rounded where bfloat16 would be too coarse."""
    return "tf32" if w.spec.products == "bfloat16" else w.spec.products


def _rounded(code: str, products: Products) -> str:
    return f"{code}.to(tl.bfloat16)" if products == "bfloat16" else code


def _precision(products: Products) -> str:
    return "" if products == "bfloat16" else f', input_precision="{products}"'


__all__ = ["contract"]
