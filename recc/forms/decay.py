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

from recc.forms.block import Value
from recc.forms.builder import Builder
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

    def __init__(self, b: Builder, value: Value, logs: bool, row: str, col: str, size: int):
        self.b = b
        self.logs = logs
        self.row, self.col = row, col
        self.size = size
        self.none = b.known(value) == (0.0 if logs else 1.0)
        self.value = b.spread(b.map("real", value), (row,))
        self.axes = frozenset(value.axes) - {row}

    def _done(self, value: Value) -> Value:
        return self.b.map("exp", value) if self.logs else value

    def _run(self, reverse: bool, exclusive: bool, every: int = 0) -> Value:
        fn = "sum" if self.logs else "prod"
        found = self.b.cumulate(fn, self.value, self.row, reverse=reverse, exclusive=exclusive, every=every)  # type: ignore[arg-type]  # one of two
        return self._done(found)

    def upto(self, exclusive: bool) -> Value:
        """Γ[t], or Γ[t-1] if exclusive: the product from the chunk's first step on."""
        return self.b.constant(1.0) if self.none else self._run(False, exclusive)

    def after(self) -> Value:
        """The product over all steps after t."""
        return self.b.constant(1.0) if self.none else self._run(True, True)

    def total(self) -> Value:
        """The product over the chunk."""
        if self.none:
            return self.b.constant(1.0)
        if self.logs:
            return self.b.map("exp", self.b.contract((self.value,), (self.row,)))
        return self.b.reduce("prod", self.value, (self.row,))

    def ratio(self, exclusive: bool) -> Value:
        """The product over s < r <= t (r < t if exclusive) for all t >= s (t > s), zero elsewhere."""
        b, row, col = self.b, self.row, self.col
        if self.none:
            return b.mask(b.constant(1.0), row, col, exclusive)
        if self.logs:
            inside = b.mask(b.spread(self.value, (col,)), row, col, True)
            sums = b.cumulate("sum", inside, row, exclusive=exclusive)
            return b.mask(b.map("exp", sums), row, col, exclusive)
        whole = b.segment(self.value, row, col)
        return b.shift(whole, row, -1, "zero") if exclusive else whole

    def levels(self, exclusive: bool) -> list[tuple[Value, Value, Value]]:
        """For each level: the product from the anchor to t, that from s (not included) to it, and which pairs."""
        found = []
        h = 1
        while h < self.size:
            down = self._run(False, exclusive, h)
            up = self.b.rename(self._run(True, True, h), {self.row: self.col})
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
