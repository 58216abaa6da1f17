"""Products of decays over stretches of a chunk, by routes that neither divide nor cancel.

For a decay d[t], Γ[t] is the product of d up to t, and Γ[t]/Γ[s] that of d over s < r <= t. The ratio is
never computed as one. Where d is written as an exponential its logarithms are summed, over just the steps
that count: sums of terms of one sign lose nothing, and every exponent is at most zero. A decay that may be
zero, negative or of unknown sign is multiplied up over just these steps in the same way.

A ratio over all pairs (t, s) has the square of the chunk's elements, times those of the decay. Where that
is too many, pairs are sorted into levels h = 1, 2, 4, …: t and s stand in neighbouring blocks of h steps,
t in the odd one, so that the boundary between them is an anchor: the ratio is the product from the anchor
to t times that from s to the anchor. Each pair t > s belongs to exactly one level.
"""

from __future__ import annotations

from math import inf, log

from recc.forms import pairs
from recc.forms.block import Value
from recc.forms.builder import Builder
from recc.forms.lower import Pair
from recc.recurrence import Apply, Expr, Number, Read, Recurrence
from recc.structure import Workspace


def log_of(work: Workspace, rec: Recurrence, expr: Expr) -> Expr | None:
    """An expression for the logarithm of a positive or zero one that is written as an exponential.

    `None` where the text does not say so: then products are taken, which need no logarithm.
    """
    if isinstance(expr, Number):
        return None if expr.value < 0 else Number(log(expr.value) if expr.value else -inf)
    if isinstance(expr, Read):
        plain = tuple(getattr(i, "axis", "") for i in expr.index) == rec.table[expr.name].axes
        symbol = rec.table[expr.name]
        inside = symbol.value if symbol.value is not None else None
        if expr.name in rec.equation:
            inside = rec.equation[expr.name].expr
        if not plain or any(expr.lags) or inside is None or any(getattr(i, "offset", 0) for i in expr.index):
            return None
        return log_of(work, rec, inside)
    if not isinstance(expr, Apply) or expr.dtype == "complex":
        return None
    fn, args = expr.fn, expr.args
    if fn == "exp":
        return args[0]
    if fn == "sigmoid":
        return work.apply("log_sigmoid", args[0])
    if fn == "sub" and isinstance(args[0], Number) and args[0].value == 1 and getattr(args[1], "fn", "") == "sigmoid":
        return work.apply("log_sigmoid", work.apply("neg", args[1].children[0]))
    if fn in ("sqrt", "stop"):
        inner = log_of(work, rec, args[0])
        if inner is None:
            return None
        return work.apply("mul", Number(0.5), inner) if fn == "sqrt" else work.apply("stop", inner)
    if fn == "pow" and isinstance(args[1], Number) and args[1].value > 0:
        inner = log_of(work, rec, args[0])
        return None if inner is None else work.apply("mul", args[1], inner)
    if fn in ("mul", "where"):
        logs = [log_of(work, rec, a) for a in args[-2:]]
        if logs[0] is None or logs[1] is None:
            return None
        return work.apply("add", *logs) if fn == "mul" else work.apply("where", args[0], *logs)  # type: ignore[arg-type]  # none is None
    return None


class Decay:
    """The decay of a chunk along its axis `row`; `col` is a second index over the same steps.

    `value` is the decay itself, or its logarithm if `logs`; it may lack the axis. `size` is the largest
    size of a chunk, on which the number of levels depends.
    """

    def __init__(self, b: Builder, value: Pair, logs: bool, row: str, col: str, size: int):
        self.b = b
        self.logs = logs
        self.row, self.col = row, col
        self.size = size
        self.none = value.im is None and b.known(value.re) == (0.0 if logs else 1.0)
        self.value = pairs.spread(b, pairs.real(b, value), (row,))
        self.axes = frozenset(pairs.axes_of(value)) - {row}
        self._one = Pair(b.constant(1.0))

    def _run(self, reverse: bool, exclusive: bool, every: int = 0) -> Pair:
        """The running product, restarting every so many steps."""
        b = self.b
        if self.value.im is not None:
            return self._run_complex(reverse, exclusive, every)
        way = {"reverse": reverse, "exclusive": exclusive, "every": every}
        if self.logs:
            return Pair(b.map("exp", b.cumulate("sum", self.value.re, self.row, **way)))  # type: ignore[arg-type]  # by name
        return Pair(b.cumulate("prod", self.value.re, self.row, **way))  # type: ignore[arg-type]  # by name

    def _run_complex(self, reverse: bool, exclusive: bool, every: int) -> Pair:
        """The same for complex decays, as a scan whose transition is zero where the product restarts."""
        b, row = self.b, self.row
        one, zero = b.constant(1.0), b.constant(0.0)
        value = self.value
        if exclusive:
            value = Pair(*(b.shift(part, row, 1 if reverse else -1, "zero") for part in value.parts))
        position = b.map("real", b.iota(row))
        size = b.contract((b.constant(1.0, (row,)),), (row,))
        starts = b.map("eq", position, b.map("sub", size, one) if reverse else zero)
        if every:
            at = b.map("add", position, one) if reverse else position
            blocks = b.map("mul", at, b.constant(1.0 / every))
            starts = b.map("or", starts, b.map("eq", blocks, b.map("floor", blocks)))
        first = Pair(one, zero) if exclusive else value
        on = Pair(*(b.map("where", starts, zero, part) for part in value.parts))
        drive = [b.map("where", starts, part, zero) for part in first.parts]
        re, im = pairs.both(b, on)
        table = {(0, 0): re, (0, 1): b.map("neg", im), (1, 0): im, (1, 1): re}
        return Pair(*b.scan(table, drive, [zero, zero], row, reverse=reverse))

    def upto(self, exclusive: bool) -> Pair:
        """Γ[t], or Γ[t-1] if exclusive: the product from the chunk's first step on."""
        return self._one if self.none else self._run(False, exclusive)

    def after(self) -> Pair:
        """The product over all steps after t."""
        return self._one if self.none else self._run(True, True)

    def total(self) -> Pair:
        """The product over the chunk."""
        b, row = self.b, self.row
        if self.none:
            return self._one
        if self.value.im is not None:
            return Pair(*(b.last(part, row) for part in self._run(False, False).parts))
        if self.logs:
            return Pair(b.map("exp", b.contract((self.value.re,), (row,))))
        return Pair(b.reduce("prod", self.value.re, (row,)))

    def ratio(self, exclusive: bool) -> Pair:
        """The product over s < r <= t (r < t if exclusive) for all t >= s (t > s), zero elsewhere."""
        b, row, col = self.b, self.row, self.col
        if self.none:
            return Pair(b.mask(b.constant(1.0), row, col, exclusive))
        if self.value.im is not None:
            return self._ratio_complex(exclusive)
        if self.logs:
            inside = b.mask(b.spread(self.value.re, (col,)), row, col, True)
            sums = b.cumulate("sum", inside, row, exclusive=exclusive)
            return Pair(b.mask(b.map("exp", sums), row, col, exclusive))
        whole = b.segment(self.value.re, row, col)
        return Pair(b.shift(whole, row, -1, "zero") if exclusive else whole)

    def _ratio_complex(self, exclusive: bool) -> Pair:
        b, row = self.b, self.row
        zero = b.constant(0.0)
        re, im = pairs.both(b, self.value)
        table = {(0, 0): re, (0, 1): b.map("neg", im), (1, 0): im, (1, 1): re}
        whole = b.scan(table, [b.map("real", self.same()), zero], [zero, zero], row)
        return Pair(*(b.shift(part, row, -1, "zero") if exclusive else part for part in whole))

    def levels(self, exclusive: bool) -> list[tuple[Pair, Pair, Value]]:
        """For each level: the product from the anchor to t, that from s (not included) to it, and which pairs."""
        found = []
        h = 1
        while h < self.size:
            down = self._run(False, exclusive, h)
            up = pairs.rename(self.b, self._run(True, True, h), {self.row: self.col})
            found.append((down, up, self._pairs(h)))
            h *= 2
        return found

    def _pairs(self, h: int) -> Value:
        """Where t stands in an odd block of h steps and s in the block before."""
        b = self.b

        def block(axis: str, size: int) -> Value:
            return b.map("floor", b.map("mul", b.map("real", b.iota(axis)), b.constant(1.0 / size)))

        same = b.map("eq", block(self.row, 2 * h), block(self.col, 2 * h))
        return b.map("and", same, b.map("gt", block(self.row, h), block(self.col, h)))

    def same(self) -> Value:
        """Where t = s."""
        return self.b.map("eq", self.b.iota(self.row), self.b.iota(self.col))


__all__ = ["Decay", "log_of"]
