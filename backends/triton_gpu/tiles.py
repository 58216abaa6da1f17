"""Products, inverses and exponentials of matrices that lie in tiles, and what scans and reductions need.

`library` copies what a kernel needs of this file into the kernel's own module, with the rules of `scalars`.

A matrix is a tile whose sides are powers of two. Its real part is the upper left corner, `SIZE` or `size` rows and
as many columns; the rest is padding. Padding may hold anything, NaN included, and none of it reaches the real part
of a result. Only `matmul` reads all of its operands. `PRECISION` is the `input_precision` of `tl.dot` for
float32: "ieee", "tf32" or, on NVIDIA only, "tf32x3". Products of float64 are always exact ones.
"""
# mypy: ignore-errors
# Triton gives these functions their types: Python's own have nothing to say about them.

import triton
import triton.language as tl

from recc.backends.triton_gpu.scalars import maximum, minimum


@triton.jit
def product_pair(x, y):
    """The combine of `product`."""
    return x * y


@triton.jit
def product(x, axis: tl.constexpr):
    """The product of the elements along an axis."""
    return tl.reduce(x, axis, product_pair)


@triton.jit
def amax(x, axis: tl.constexpr):
    """The largest element along an axis; NaN if any is."""
    return tl.reduce(x, axis, maximum)


@triton.jit
def amin(x, axis: tl.constexpr):
    """The smallest element along an axis; NaN if any is."""
    return tl.reduce(x, axis, minimum)


@triton.jit
def segmented_sum(x, x_starts, y, y_starts):
    """The combine of a running sum that starts anew wherever a flag is set.

    For `tl.associative_scan((x, starts), axis, segmented_sum)`: `out[t] = x[t] + (0 if starts[t] else out[t-1])`.
    Flags are integers or booleans. A NaN ends where its stretch does.
    """
    return tl.where(y_starts != 0, y, x + y), x_starts | y_starts


@triton.jit
def segmented_prod(x, x_starts, y, y_starts):
    """The combine of a running product that starts anew wherever a flag is set, like `segmented_sum`."""
    return tl.where(y_starts != 0, y, x * y), x_starts | y_starts


@triton.jit
def widened(x):
    """A float64 tile as it is, any other as float32."""
    if x.dtype == tl.float64:
        return x
    else:
        return x.to(tl.float32)


@triton.jit
def dot(a, b, PRECISION: tl.constexpr):
    """`a @ b` by `tl.dot`, whose result is float64 for float64 and float32 otherwise.

    Without tensor cores, as "ieee" is on NVIDIA, every multiplication becomes an instruction: large
    products go through k by 16 in a loop, which keeps code and registers small.
    """
    n: tl.constexpr = a.shape[0]
    k: tl.constexpr = a.shape[1]
    m: tl.constexpr = b.shape[1]
    if a.dtype == tl.float64:
        return tl.dot(a, b, input_precision="ieee", out_dtype=tl.float64)
    elif a.dtype == tl.float32 and PRECISION == "ieee" and n * k * m > 32768:
        part = tl.arange(0, k // 16)
        total = tl.zeros((n, m), tl.float32)
        for c in range(k // 16):
            left = tl.sum(tl.where(part[None, :, None] == c, tl.reshape(a, (n, k // 16, 16)), 0.0), axis=1)
            right = tl.sum(tl.where(part[:, None, None] == c, tl.reshape(b, (k // 16, 16, m)), 0.0), axis=0)
            total = tl.dot(left, right, total, input_precision="ieee")
        return total
    else:
        return tl.dot(a, b, input_precision=PRECISION)


@triton.jit
def spread_columns(x):
    """`[r, c]` with zeros between its columns up to 16 of them: column j goes to `j * 16 / c`."""
    STEP: tl.constexpr = 16 // x.shape[1]
    first = tl.arange(0, STEP)[None, None, :] == 0
    return tl.reshape(tl.where(first, x[:, :, None], 0.0), (x.shape[0], 16)).to(x.dtype)


@triton.jit
def spread_rows(x):
    """`[r, c]` with zeros between its rows up to 16 of them: row i goes to `i * 16 / r`."""
    STEP: tl.constexpr = 16 // x.shape[0]
    first = tl.arange(0, STEP)[None, :, None] == 0
    return tl.reshape(tl.where(first, x[:, None, :], 0.0), (16, x.shape[1])).to(x.dtype)


@triton.jit
def matmul(a, b, PRECISION: tl.constexpr):
    """`a @ b` for `a` [n, k] and `b` [k, m] of one dtype, any sides; float64 for float64, float32 otherwise.

    Tensor cores take sides of 16 and more. A short side is filled up with zeros if the product is large, and a
    small product is made by multiplying and adding up. The padding of k has to be zero.
    """
    n: tl.constexpr = a.shape[0]
    k: tl.constexpr = a.shape[1]
    m: tl.constexpr = b.shape[1]
    if n >= 16 and k >= 16 and m >= 16:
        return dot(a, b, PRECISION)
    elif n == 1 or k == 1 or m == 1 or n * k * m <= 8192:
        return tl.sum(widened(a)[:, :, None] * widened(b)[None, :, :], axis=1)
    elif k < 16:
        return matmul(spread_columns(a), spread_rows(b), PRECISION)
    elif n < 16:
        wide = tl.reshape(matmul(spread_rows(a), b, PRECISION), (n, 16 // n, m))
        return tl.sum(tl.where(tl.arange(0, 16 // n)[None, :, None] == 0, wide, 0.0), axis=1)
    else:
        wide = tl.reshape(matmul(a, spread_columns(b), PRECISION), (n, m, 16 // m))
        return tl.sum(tl.where(tl.arange(0, 16 // m)[None, None, :] == 0, wide, 0.0), axis=2)


@triton.jit
def inverse_unit_lower(a, size, PRECISION: tl.constexpr):
    """The inverse of `a` [n, n] taken as unit lower triangular; its diagonal and upper part are not read.

    `size` is the number of real rows, a constant or an integer; the padding of the result is that of the identity.
    Law: blocks of 16 on the diagonal, all at once, by elimination column by column (`X -= a[:, j] X[j, :]` for
    j = 0, 1, …, from the identity on). Then neighbours are joined to blocks of twice the side:

        inverse of [[P, 0], [Q, R]] = [[P', 0], [-R' Q P', R']],   that is   X - X Q X.

    Both are backward substitutions in another order. (A product of powers of the lower part would
    cancel.) Source: Golub and Van Loan, *Matrix Computations*, 2013, section 3.1.
    """
    n: tl.constexpr = a.shape[0]
    BLOCK: tl.constexpr = 16 if n > 16 else n
    COUNT: tl.constexpr = n // BLOCK
    LEVELS: tl.constexpr = (COUNT > 1) + (COUNT > 2) + (COUNT > 4) + (COUNT > 8) + (COUNT > 16)
    rows = tl.arange(0, n)[:, None]
    cols = tl.arange(0, n)[None, :]
    lower = tl.where((rows > cols) & (rows < size), widened(a), 0.0)
    diagonal = tl.arange(0, COUNT)[:, None, None, None] == tl.arange(0, COUNT)[None, None, :, None]
    blocks = tl.sum(tl.where(diagonal, tl.reshape(lower, (COUNT, BLOCK, COUNT, BLOCK)), 0.0), axis=2)
    row = tl.arange(0, BLOCK)[None, :, None]
    col = tl.arange(0, BLOCK)[None, None, :]
    x = tl.where(row == col, tl.zeros_like(blocks) + 1, 0.0)
    for j in range(BLOCK - 1):
        below = tl.sum(tl.where(col == j, blocks, 0.0), axis=2)
        done = tl.sum(tl.where(row == j, x, 0.0), axis=1)
        x -= below[:, :, None] * done[:, None, :]
    x = tl.reshape(tl.where(diagonal, x[:, :, None, :], 0.0), (n, n))
    for level in range(LEVELS):
        side = BLOCK << level
        neighbours = (rows // side != cols // side) & (rows // (2 * side) == cols // (2 * side))
        x -= matmul(matmul(x, tl.where(neighbours, lower, 0.0), PRECISION), x, PRECISION)
    return x


@triton.jit
def solve_unit_lower(a, b, size, PRECISION: tl.constexpr):
    """The x with `(unit lower part of a) x = b`, for `a` [n, n] and `b` [n, m]; see `inverse_unit_lower`.

    Rows from `size` on are zero.
    """
    real = tl.arange(0, b.shape[0])[:, None] < size
    return matmul(inverse_unit_lower(a, size, PRECISION), tl.where(real, widened(b), 0.0), PRECISION)


@triton.jit
def solve_unit_lower_t(a, b, size, PRECISION: tl.constexpr):
    """The x with `(transpose of the unit lower part of a) x = b`, otherwise like `solve_unit_lower`."""
    real = tl.arange(0, b.shape[0])[:, None] < size
    return matmul(tl.trans(inverse_unit_lower(a, size, PRECISION)), tl.where(real, widened(b), 0.0), PRECISION)


@triton.jit
def solve(a, b, SIZE):
    """The x with `a x = b`, for `a` [n, n] and `b` [n, m], float32 or float64. Rows from `SIZE` on are zero.

    Law: Gauss-Jordan elimination with partial pivoting. A singular matrix gives infinities or NaN.
    Source: Golub and Van Loan, *Matrix Computations*, 2013, section 3.4.
    """
    place = tl.arange(0, a.shape[0])
    rows = place[:, None]
    cols = place[None, :]
    left = tl.where((rows < SIZE) & (cols < SIZE), a, 0.0)
    x = tl.where(rows < SIZE, b, 0.0)
    for k in range(SIZE):
        column = tl.sum(tl.where(cols == k, left, 0.0), axis=1)
        pivot = tl.argmax(tl.where(place >= k, tl.abs(column), -1.0), axis=0)
        scale = tl.sum(tl.where(place == pivot, column, 0.0), axis=0)
        top = tl.sum(tl.where(place == k, column, 0.0), axis=0)
        # Rows k and pivot change places. The column is that of the rows as they are afterwards, without row k.
        factor = tl.where(place == k, 0.0, tl.where(place == pivot, top, column))[:, None]
        chosen = tl.sum(tl.where(rows == pivot, left, 0.0), axis=0)[None, :] / scale
        moved = tl.sum(tl.where(rows == k, left, 0.0), axis=0)[None, :]
        left = tl.where(rows == k, chosen, tl.where(rows == pivot, moved, left) - factor * chosen)
        chosen = tl.sum(tl.where(rows == pivot, x, 0.0), axis=0)[None, :] / scale
        moved = tl.sum(tl.where(rows == k, x, 0.0), axis=0)[None, :]
        x = tl.where(rows == k, chosen, tl.where(rows == pivot, moved, x) - factor * chosen)
    return x


@triton.jit
def identity(a):
    """The identity matrix with the shape and the dtype of `a`."""
    same = tl.arange(0, a.shape[0])[:, None] == tl.arange(0, a.shape[1])[None, :]
    return tl.where(same, tl.zeros_like(a) + 1, 0.0)


@triton.jit
def inv(a, SIZE):
    """The inverse of `a` [n, n], by `solve`. Padding is zero below and the identity's on the right."""
    return solve(a, identity(a), SIZE)


@triton.jit
def within(a, SIZE):
    """`a` with zeros for its padding."""
    return tl.where((tl.arange(0, a.shape[0])[:, None] < SIZE) & (tl.arange(0, a.shape[1])[None, :] < SIZE), a, 0.0)


@triton.jit
def halvings(a):
    """How often to halve `a` until its 1-norm is at most 1/2. None for a norm that is infinite or NaN."""
    norm = tl.max(tl.sum(tl.abs(a), axis=0), axis=0)
    norm = tl.where(norm < float("inf"), norm, 0.5)
    return tl.where(norm > 0.5, tl.ceil(tl.log2(norm)) + 1, 0.0)


@triton.jit
def expm(a, SIZE):
    """The matrix exponential of `a` [n, n], float32 or float64. The padding of the result is the identity's.

    Law: a Taylor series, 9 terms (16 in float64), of `a` halved until its norm is at most 1/2, squared as often.
    Source: Moler and Van Loan, *Nineteen dubious ways*, 2003, method 3.
    """
    TERMS: tl.constexpr = 16 if a.dtype == tl.float64 else 9
    small = within(a, SIZE)
    times = halvings(small)
    small = small * tl.exp2(-times)
    one = identity(a)
    x = one
    for i in range(TERMS):
        x = one + matmul(small, x, "ieee") / (TERMS - i)
    for _ in range(times.to(tl.int32)):
        x = matmul(x, x, "ieee")
    return x


@triton.jit
def expm_vjp(a, g, SIZE):
    """The gradient of `sum(g * expm(a))` with respect to `a`, all [n, n]. The padding of the result is zero.

    Law: the derivative of `expm` at `a` transposed in the direction `g`, carried along with every step of `expm`:
    `d(S X) = S dX + dS X` in the series, `d(X X) = X dX + dX X` in the squarings.
    Source: Higham, *Functions of Matrices*, 2008, sections 3.2 and 10.6.
    """
    TERMS: tl.constexpr = 16 if a.dtype == tl.float64 else 9
    small = tl.trans(within(a, SIZE))
    times = halvings(small)
    small = small * tl.exp2(-times)
    step = within(g, SIZE) * tl.exp2(-times)
    one = identity(a)
    x = one
    d = tl.zeros_like(a)
    for i in range(TERMS):
        d = (matmul(small, d, "ieee") + matmul(step, x, "ieee")) / (TERMS - i)
        x = one + matmul(small, x, "ieee") / (TERMS - i)
    for _ in range(times.to(tl.int32)):
        d = matmul(x, d, "ieee") + matmul(d, x, "ieee")
        x = matmul(x, x, "ieee")
    return d


__all__ = [
    "amax", "amin", "dot", "expm", "expm_vjp", "halvings", "identity", "inv", "inverse_unit_lower", "matmul", "product",
    "product_pair", "segmented_prod", "segmented_sum", "solve", "solve_unit_lower", "solve_unit_lower_t",
    "spread_columns", "spread_rows", "widened", "within",
]  # fmt: skip
