"""From expressions to Block values: complex numbers become pairs, index rules become operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log

from recc.errors import Refusal, Unsupported
from recc.forms.block import Value
from recc.forms.builder import Builder
from recc.forms.semiring import logsumexp, powers
from recc.recurrence import Along, Apply, Expr, Matrix, Number, Read, Recurrence, Reduce, Step


@dataclass(frozen=True)
class Pair:
    """A value of the program: one Block value, or two for a complex number."""

    re: Value
    im: Value | None = None

    @property
    def parts(self) -> tuple[Value, ...]:
        """The real values that it is made of."""
        return (self.re,) if self.im is None else (self.re, self.im)


@dataclass
class Lowering:
    """Lowers expressions of one recurrence into a Builder.

    `resolve` gives the tensor that a name stands for at given lags, over its declared axes; `clock`
    gives the step's number along a scan axis; `invariant` is asked first for whatever does not vary
    with time, and `early` for every reduction; both may answer `None`.
    """

    rec: Recurrence
    builder: Builder
    resolve: Callable[[Read], Pair]
    clock: Callable[[str], Value]
    invariant: Callable[[Expr], Pair | None]
    early: Callable[[Reduce], Pair | None] = lambda _: None

    def lower(self, expr: Expr, hint: str = "") -> Pair:
        """The value of an expression. Axes that it does not depend on are left out."""
        if not expr.varies and not isinstance(expr, Number):
            found = self.invariant(expr)
            if found is not None:
                return found
        match expr:
            case Number():
                return Pair(self.builder.constant(expr.value, dtype="int" if expr.dtype == "int" else "real"))
            case Step():
                return Pair(self.clock(expr.scan))
            case Read():
                return self._read(expr)
            case Reduce():
                return self.early(expr) or self._reduce(expr, hint)
            case Matrix():
                return self._matrix(expr, hint)
            case Apply():
                return self._apply(expr, hint)
        raise AssertionError(f"no lowering for {type(expr).__name__}")

    def real(self, value: Value) -> Value:
        """The value as a real."""
        return self.builder.map("real", value)

    def _read(self, expr: Read) -> Pair:
        base = self.resolve(expr)
        return Pair(*(self._index(part, expr) for part in base.parts))

    def _index(self, value: Value, expr: Read) -> Value:
        """Applies index rules: shifts first, then renames, then diagonals and gathers."""
        b = self.builder
        symbol = self.rec.table[expr.name]
        names: dict[str, str] = {}
        gathers: list[tuple[str, Value, str]] = []
        for axis, index in zip(symbol.axes, expr.index, strict=True):
            if axis not in value.axes:
                # The same all along the axis, but not beyond its ends.
                inside = isinstance(index, Along) and not index.offset
                if inside or self.rec.axis[axis].edge != "zero":
                    continue
                value = b.spread(value, (axis,))
            if isinstance(index, Along):
                value = b.shift(value, axis, index.offset, self.rec.axis[axis].edge)
                if index.axis not in names.values():
                    names[axis] = index.axis
                    continue
                position = b.iota(index.axis)
            else:
                position = self.lower(index.expr).re
                if position.dtype != "int":  # sums and maxima are made of reals, whatever they are of
                    position = b.map("int", position)
            names[axis] = b.fresh_axis(axis)
            gathers.append((names[axis], position, axis))
        value = b.rename(value, names)
        for axis, position, declared in gathers:
            value = b.gather(value, axis, position, self.rec.axis[declared].edge)
        return value

    def _matrix(self, expr: Matrix, hint: str) -> Pair:
        args = [self.lower(a) for a in expr.args]
        if any(a.im is not None for a in args):
            raise Unsupported(
                Refusal(
                    f"{expr.fn} of a complex matrix",
                    "compiled backends take real matrices only",
                    "backend='numpy' runs it, and a real matrix of twice the size compiles",
                    expr.span,
                )
            )
        values = tuple(self.real(a.re) for a in args)
        return Pair(self.builder.matrix(expr.fn, values, expr.rows, expr.cols, hint=hint))

    def _reduce(self, expr: Reduce, hint: str) -> Pair:
        b = self.builder
        over = expr.over
        if expr.fn in ("sum", "mean"):
            factors = _factors(expr.arg) if expr.arg.dtype != "complex" else [expr.arg]
            lowered = [self.lower(f) for f in factors]
            if all(p.im is None for p in lowered):
                values = [self.real(p.re) for p in lowered]
                space = {a for v in values for a in v.axes}
                total = Pair(b.contract(self._grouped(values, space), over, hint=hint))
            else:
                total = Pair(*(b.contract((part,), over, hint=hint) for part in lowered[0].parts))
            return total if expr.fn == "sum" else self._divide_by_size(total, over)
        arg = self.lower(expr.arg, hint)
        if expr.fn == "norm":
            squares = [b.contract((p, p), over) for p in map(self.real, arg.parts)]
            return Pair(self._safe_sqrt(squares[0] if len(squares) == 1 else b.map("add", *squares), hint))
        if arg.im is not None:
            raise Unsupported(
                Refusal(f"{expr.fn} of complex values", "compiled backends have it for reals only", "", expr.span)
            )
        value = b.spread(self.real(arg.re), over)
        if expr.fn == "logsumexp":
            return Pair(logsumexp(b, value, over, hint))
        if expr.fn == "softmax":
            shares = powers(b, value, over)[0]
            return Pair(b.map("div", shares, b.contract((shares,), over), hint=hint))
        assert expr.fn in ("max", "min", "prod")
        return Pair(b.reduce(expr.fn, value, over, hint=hint))  # type: ignore[arg-type]  # asserted above

    def _divide_by_size(self, total: Pair, over: tuple[str, ...]) -> Pair:
        b = self.builder
        size = b.contract((b.constant(1.0, over),), over)
        return Pair(*(b.map("div", part, size) for part in total.parts))

    def _safe_sqrt(self, square: Value, hint: str) -> Value:
        """The root of a sum of squares, with gradient 0 where it is 0 (sqrt alone would give inf * 0)."""
        b = self.builder
        nothing = b.map("le", square, b.constant(0.0))
        inner = b.map("where", nothing, b.constant(1.0), square)
        return b.map("where", nothing, b.constant(0.0), b.map("sqrt", inner), hint=hint)

    def _grouped(self, values: list[Value], whole: set[str]) -> list[Value]:
        """Factors multiplied together as long as the product has fewer axes than the whole.

        `delta[d] * B[n] * u[d]` becomes `(delta * u)[d] * B[n]`: one operation over d and n, not two.
        """
        values = list(values)
        while len(values) > 2:
            pairs = [
                (len(set(x.axes) | set(y.axes)), i, j)
                for j, y in enumerate(values)
                for i, x in enumerate(values[:j])
                if (set(x.axes) | set(y.axes)) != whole
            ]
            if not pairs:
                break
            _, i, j = min(pairs)
            product = self.builder.map("mul", values[i], values[j])
            values = [product if k == i else v for k, v in enumerate(values) if k != j]
        return values

    def _apply(self, expr: Apply, hint: str) -> Pair:
        if expr.fn == "mul" and expr.varies and expr.dtype == "real":
            factors = _factors(expr)
            if len(factors) > 2 and all(f.dtype != "complex" for f in factors):
                return Pair(self._product([self.real(self.lower(f).re) for f in factors], hint))
        args = [self.lower(a) for a in expr.args]
        if any(p.im is not None for p in args) or expr.fn == "cis":
            return _complex(self, expr, args, hint)
        return Pair(self._scalar(expr, [p.re for p in args], hint))

    def _product(self, values: list[Value], hint: str) -> Value:
        b = self.builder
        values = self._grouped(values, {a for v in values for a in v.axes})
        result = values[0]
        for i, value in enumerate(values[1:], start=2):
            result = b.map("mul", result, value, hint=hint if i == len(values) else "")
        return result

    def _scalar(self, expr: Apply, args: list[Value], hint: str) -> Value:
        b = self.builder
        fn = expr.fn
        if fn in ("re", "conj"):
            return self.real(args[0])
        if fn == "im":
            return b.constant(0.0)
        if fn in ("and", "or", "not"):
            return b.map(fn, *args, hint=hint)
        if fn == "where":
            chosen = self._same(args[1:])
            return b.map("where", args[0], *chosen, hint=hint)
        if fn in (
            "add",
            "sub",
            "mul",
            "neg",
            "min",
            "max",
            "abs",
            "lt",
            "le",
            "gt",
            "ge",
            "eq",
            "ne",
            "stop",
            "surrogate",
        ):
            return b.map(fn, *self._same(args), hint=hint)
        reals = [self.real(v) for v in args]
        if fn == "pow":
            return self._power(reals[0], reals[1], hint)
        if fn == "silu":
            return b.map("mul", reals[0], b.map("sigmoid", reals[0]), hint=hint)
        if fn == "relu":
            return b.map("where", b.map("le", reals[0], b.constant(0.0)), b.constant(0.0), reals[0], hint=hint)
        if fn == "gelu":
            inner = b.map("erf", b.map("mul", reals[0], b.constant(0.5**0.5)))
            half = b.map("mul", b.constant(0.5), reals[0])
            return b.map("mul", half, b.map("add", b.constant(1.0), inner), hint=hint)
        if fn == "clamp":
            x, low, high = reals
            below = b.map("where", b.map("lt", x, low), low, x)
            return b.map("where", b.map("gt", below, high), high, below, hint=hint)
        return b.map(fn, *reals, hint=hint)

    def _same(self, args: list[Value]) -> list[Value]:
        """The arguments in one dtype: integers stay integers, anything else becomes real."""
        if all(v.dtype != "real" for v in args):
            return args
        return [self.real(v) for v in args]

    def _power(self, base: Value, exponent: Value, hint: str) -> Value:
        """A small whole power is a product; a half is a root; anything else is `pow`."""
        b = self.builder
        number = b.known(exponent)
        if number is not None and number == int(number) and 1 <= abs(number) <= 8:
            result = _whole_power(b, base, abs(int(number)))
            return result if number > 0 else b.map("div", b.constant(1.0), result, hint=hint)
        if number == 0.0:
            return b.constant(1.0)
        if number == 0.5:
            return b.map("sqrt", base, hint=hint)
        if number is None and (fixed := b.known(base)) is not None and fixed > 0:
            return b.map("exp", b.map("mul", exponent, b.constant(log(fixed))), hint=hint)
        return b.map("pow", base, exponent, hint=hint)


def _whole_power(b: Builder, base: Value, exponent: int) -> Value:
    result: Value | None = None
    while exponent:
        if exponent & 1:
            result = base if result is None else b.map("mul", result, base)
        exponent >>= 1
        if exponent:
            base = b.map("mul", base, base)
    assert result is not None
    return result


def _factors(expr: Expr) -> list[Expr]:
    """The factors of a product, so that a sum of it is one contraction."""
    if isinstance(expr, Apply) and expr.fn == "mul" and expr.dtype != "complex" and expr.varies:
        return [f for a in expr.args for f in _factors(a)]
    return [expr]


def _complex(low: Lowering, expr: Apply, args: list[Pair], hint: str) -> Pair:
    """A scalar function of which an argument or the result is complex, in terms of reals."""
    b = low.builder
    fn = expr.fn

    def both(p: Pair) -> tuple[Value, Value]:
        return low.real(p.re), b.constant(0.0) if p.im is None else p.im

    if fn == "where":
        (xr, xi), (yr, yi) = both(args[1]), both(args[2])
        return Pair(b.map("where", args[0].re, xr, yr, hint=hint), b.map("where", args[0].re, xi, yi, hint=hint))
    pairs = [both(p) for p in args]
    xr, xi = pairs[0]
    if fn in ("add", "sub"):
        yr, yi = pairs[1]
        return Pair(b.map(fn, xr, yr, hint=hint), b.map(fn, xi, yi, hint=hint))
    if fn == "mul":
        return _complex_product(b, args, pairs, hint)
    if fn == "div":
        return _complex_quotient(b, args, pairs, hint)
    if fn in ("eq", "ne"):
        yr, yi = pairs[1]
        return Pair(b.map("and" if fn == "eq" else "or", b.map(fn, xr, yr), b.map(fn, xi, yi), hint=hint))
    if fn == "cis":
        angle = low.real(args[0].re)
        return Pair(b.map("cos", angle, hint=hint), b.map("sin", angle, hint=hint))
    if fn in ("neg", "stop"):
        return Pair(b.map(fn, xr, hint=hint), b.map(fn, xi, hint=hint))
    if fn == "conj":
        return Pair(xr, b.map("neg", xi, hint=hint))
    if fn in ("re", "im"):
        return Pair(xr if fn == "re" else xi)
    if fn == "abs":
        square = b.map("add", b.map("mul", xr, xr), b.map("mul", xi, xi))
        return Pair(low._safe_sqrt(square, hint))
    if fn == "exp":
        size = b.map("exp", xr)
        return Pair(b.map("mul", size, b.map("cos", xi), hint=hint), b.map("mul", size, b.map("sin", xi), hint=hint))
    if fn in ("sin", "cos"):
        return _complex_sine(b, fn, xr, xi, hint)
    exponent = b.known(pairs[1][0]) if fn == "pow" and args[1].im is None else None
    if exponent is not None and exponent == int(exponent) and 1 <= abs(exponent) <= 8:
        result = args[0]
        for _ in range(abs(int(exponent)) - 1):
            result = _complex_product(b, [result, args[0]], [both(result), pairs[0]], hint)
        one = Pair(b.constant(1.0))
        return result if exponent > 0 else _complex_quotient(b, [one, result], [both(one), both(result)], hint)
    raise Unsupported(
        Refusal(
            f"{fn} of complex values", "compiled backends do not have it", "backend='numpy' runs the program", expr.span
        )
    )


def _complex_product(b: Builder, args: list[Pair], pairs: list[tuple[Value, Value]], hint: str) -> Pair:
    (xr, xi), (yr, yi) = pairs
    if args[0].im is None:
        return Pair(b.map("mul", xr, yr, hint=hint), b.map("mul", xr, yi, hint=hint))
    if args[1].im is None:
        return Pair(b.map("mul", xr, yr, hint=hint), b.map("mul", xi, yr, hint=hint))
    real = b.map("sub", b.map("mul", xr, yr), b.map("mul", xi, yi), hint=hint)
    return Pair(real, b.map("add", b.map("mul", xr, yi), b.map("mul", xi, yr), hint=hint))


def _complex_quotient(b: Builder, args: list[Pair], pairs: list[tuple[Value, Value]], hint: str) -> Pair:
    (xr, xi), (yr, yi) = pairs
    if args[1].im is None:
        return Pair(b.map("div", xr, yr, hint=hint), b.map("div", xi, yr, hint=hint))
    size = b.map("add", b.map("mul", yr, yr), b.map("mul", yi, yi))
    real = b.map("add", b.map("mul", xr, yr), b.map("mul", xi, yi))
    imaginary = b.map("sub", b.map("mul", xi, yr), b.map("mul", xr, yi))
    return Pair(b.map("div", real, size, hint=hint), b.map("div", imaginary, size, hint=hint))


def _complex_sine(b: Builder, fn: str, xr: Value, xi: Value, hint: str) -> Pair:
    """sin(x + iy) = sin x cosh y + i cos x sinh y, and likewise for cos, with exponentials."""
    up, down = b.map("exp", xi), b.map("exp", b.map("neg", xi))
    half = b.constant(0.5)
    cosh = b.map("mul", half, b.map("add", up, down))
    sinh = b.map("mul", half, b.map("sub", up, down))
    s, c = b.map("sin", xr), b.map("cos", xr)
    if fn == "sin":
        return Pair(b.map("mul", s, cosh, hint=hint), b.map("mul", c, sinh, hint=hint))
    return Pair(b.map("mul", c, cosh, hint=hint), b.map("neg", b.map("mul", s, sinh), hint=hint))


__all__ = ["Lowering", "Pair"]
