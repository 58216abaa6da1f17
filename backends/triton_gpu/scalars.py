"""Scalar functions of emitted kernels, elementwise on tiles of any shape.

`library` copies what a kernel needs of this file into the kernel's own module: a function here may use
`triton`, `tl` and functions defined above it, and nothing else. Numbers are written where they are used: under
Triton's interpreter a number that is given a name becomes a float32.

Arguments are float32 or float64, and the result has their dtype. Errors are stated relative to the exact
value and hold for all arguments, next to zeros and at the ends of the range too: 4e-7 in float32 and 1e-15 in
float64 unless said otherwise. None of them relies on whether products and sums are fused.
"""
# mypy: ignore-errors
# Triton gives these functions their types: Python's own have nothing to say about them.

import triton
import triton.language as tl


@triton.jit
def maximum(x, y):
    """The larger of two numbers; NaN if either is. Integers too."""
    return tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def minimum(x, y):
    """The smaller of two numbers; NaN if either is. Integers too."""
    return tl.minimum(x, y, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def sign(x):
    """1, 0 or -1; NaN of NaN. Integers too."""
    return tl.where(x > 0, 1, tl.where(x < 0, -1, x))


@triton.jit
def exp(x):
    """`e**x`. Unlike `tl.exp` in float32, as good far from zero as near it.

    Law: `exp(x) = 2**k exp(r)` with `x = k ln 2 + r`, |r| <= 0.35, and a larger r only where x is beyond the range.
    The product of k and the upper part of ln 2, which has 9 bits (17 for float64 is not needed), is exact.
    """
    if x.dtype == tl.float64:
        return tl.exp(x)
    else:
        k = tl.floor(x * 1.4426950408889634 + 0.5)
        # Past the ends the power stays a normal number, and the rest takes x to 0 or infinity.
        k = tl.where(k > 127, 127.0, tl.where(k < -126, -126.0, k))
        r = (x - k * 0.693359375) + k * 2.1219444005469057e-4
        return tl.exp(r) * tl.exp2(k)


@triton.jit
def expm1(x):
    """`e**x - 1`, without cancellation near 0.

    Law: `2**k p + (2**k - 1)` with `x = k ln 2 + r`, |r| <= 0.35, and `p = expm1(r)` by its Taylor series,
    9 terms (15 in float64). Half of it is computed, since `2**128` is not a number.
    """
    if x.dtype == tl.float64:
        # Beyond these ends the result is -1 and infinity.
        y = tl.where(x < -80, -80.0, tl.where(x > 710, 710.0, x))
        k = tl.floor(y * 1.4426950408889634 + 0.5)
        r = (y - k * 0.69314718036912382) - k * 1.9082149292705877e-10
        s = 1 + r * (1.0 / 13) * (1 + r * (1.0 / 14) * (1 + r * (1.0 / 15)))
        s = 1 + r * (1.0 / 9) * (1 + r * (1.0 / 10) * (1 + r * (1.0 / 11) * (1 + r * (1.0 / 12) * s)))
    else:
        y = tl.where(x < -40, -40.0, tl.where(x > 89, 89.0, x))
        k = tl.floor(y * 1.4426950408889634 + 0.5)
        r = (y - k * 0.693359375) + k * 2.1219444005469057e-4
        s = 1 + r * (1.0 / 9)
    s = 1 + r * (1.0 / 5) * (1 + r * (1.0 / 6) * (1 + r * (1.0 / 7) * (1 + r * (1.0 / 8) * s)))
    p = r + r * (r * 0.5) * (1 + r * (1.0 / 3) * (1 + r * (1.0 / 4) * s))
    half = tl.exp2(k - 1)
    return tl.where(k == 0, tl.where(x == 0, x, p), 2 * (half * p + (half - 0.5)))


@triton.jit
def log1p(x):
    """`log(1 + x)`, without cancellation near 0; -inf at -1, NaN below.

    Law: with `u = 1 + x` rounded, `log(u) x / (u - 1)`: the quotient makes up for the rounding.
    Source: Goldberg, *What every computer scientist should know about floating-point arithmetic*, 1991, theorem 4.
    """
    u = 1 + x
    # Where 1 is lost beside x, u is x; there the quotient is 1, or infinity by infinity.
    return tl.where(u == 1, x, tl.where(u == x, tl.log(u), tl.log(u) * (x / (u - 1))))


@triton.jit
def sigmoid(x):
    """`1 / (1 + exp(-x))`, with the exponential of a negative number only."""
    small = exp(-tl.abs(x))
    return tl.where(x >= 0, 1.0, small) / (1 + small)


@triton.jit
def softplus(x):
    """`log(1 + exp(x))`: `max(x, 0) + log1p(exp(-|x|))`, both of one sign."""
    return tl.where(x < 0, 0.0, x) + log1p(exp(-tl.abs(x)))


@triton.jit
def log_sigmoid(x):
    """`log(sigmoid(x))`: `min(x, 0) - log1p(exp(-|x|))`, both of one sign."""
    return tl.where(x > 0, 0.0, x) - log1p(exp(-tl.abs(x)))


@triton.jit
def tanh(x):
    """The hyperbolic tangent: `-e / (e + 2)` for x > 0, with `e = expm1(-2x)`, and odd."""
    e = expm1(-2 * tl.abs(x))
    return tl.where(x == 0, x, tl.where(x > 0, -e, e) / (e + 2))


@triton.jit
def logaddexp(x, y):
    """`log(exp(x) + exp(y))`: `top + log1p(exp(-|x - y|))`, with top the larger one.

    Equal infinities give themselves: -inf beside -inf is -inf. The error is relative to top where the result
    is near zero.
    """
    equal = x == y
    gap = tl.where(equal, 0.0, tl.abs(x - y))
    return tl.where(x > y, x, y) + log1p(exp(-gap))


@triton.jit
def erf(x):
    """The error function, `2/sqrt(pi)` times the integral of `exp(-s**2)` over [0, x]."""
    return tl.erf(x)


@triton.jit
def power(x, y):
    """`x**y`. Where x is negative: NaN unless y is whole, and negative for odd y. `0**0 = 1`.

    Law: `exp(y log|x|)` and the sign, computed in float64. There the product is rounded before the exponential,
    so that a float64 result is off by `|y log x|` times 2e-16, at most 2e-13. Ones, zeros and infinities as in C.
    """
    wide = tl.abs(x).to(tl.float64)
    size = tl.exp(y.to(tl.float64) * tl.log(wide)).to(x.dtype)
    size = tl.where(wide == 1, 1.0, size)
    odd = (tl.floor(y) == y) & (tl.floor(y * 0.5) * 2 != y)
    # The quotient finds the sign of -0.
    below = (x < 0) | ((x == 0) & (1.0 / x < 0))
    signed = tl.where(below & odd, size * -1.0, size)  # `-size` has lost the sign of zero in some versions
    outside = (x < 0) & (x > float("-inf")) & (tl.floor(y) != y)
    return tl.where((x == 1) | (y == 0), 1.0, tl.where(outside, float("nan"), signed))


__all__ = [
    "erf", "exp", "expm1", "log1p", "log_sigmoid", "logaddexp", "maximum", "minimum", "power", "sigmoid", "sign",
    "softplus", "tanh",
]  # fmt: skip
