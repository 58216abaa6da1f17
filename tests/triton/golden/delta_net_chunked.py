# ruff: noqa: D103, F841, PIE808, RET504, RUF059, RUF100, SIM102, SIM300
"""delta_net: chunked form, Triton.

    recurrence delta_net(i, j)
        "The delta rule over a matrix memory. Schlag and others, 2021; Yang and others, 2024."
        input  q[i], k[i] unit, v[j]
        input  beta in [0, 1]
        state  S[i, j]

        S[t] = S[t-1] + beta[t] * k[t] * (v[t] - sum[i](k[t] * S[t-1]))
        output o[t] = sum[i](q[t] * S[t])

Made for i = 3, j = 3: float32, matrix products in ieee, chunks of 16 steps.

A program of a kernel makes one item, that is one sequence of one batch element (`head`), or its part of the axes
that are cut. Inputs are `[rows, steps, *batch, *axes]` with any strides along the first of these and the own axes
row by row; parameters `[*batch, *axes]`, states `[sequences, *batch, *axes]`. A tile has a power of two of
elements along each axis; what lies beyond the end of an axis is arbitrary, and set to the neutral element before
elements along the axis meet. NAME_prev is a state before a step or chunk, d_NAME a gradient.
"""

from math import prod

import torch
import triton
import triton.language as tl

#: Programs of one sequence that fill a device, and the fewest chunks of a stretch of time.
PROGRAMS, LEAST = 256, 16


def launch(kernel, grid, arguments, device, warps, stages):
    """Launches a kernel, unless there is nothing to do."""
    if min(grid) < 1:
        return
    if device.type == "cuda" and device.index != torch.cuda.current_device():
        with torch.cuda.device(device):
            kernel[grid](*arguments, num_warps=warps, num_stages=stages, enable_fp_fusion=True)
    else:
        kernel[grid](*arguments, num_warps=warps, num_stages=stages, enable_fp_fusion=True)


def strides_of(x, lead):
    """The strides of leading axes, zero where there is one element for all."""
    return [0 if size == 1 else stride for size, stride in zip(x.shape[:lead], x.stride()[:lead], strict=True)]


def added(x):
    """The sum over the first axis, in an order that its size decides; that of `x.sum(0)` depends on the batch too."""
    while x.shape[0] > 1:
        half = x.shape[0] // 2
        rest = x[2 * half :]
        x = x[:half] + x[half : 2 * half]
        if rest.shape[0]:
            x[0] += rest[0]
    return x[0]


def stretches_of(count, programs):
    """The most stretches that the chunks of a sequence are cut into, if it has `count` of them at most.

    One, unless few programs work on a sequence and have many chunks to go through. How many there are depends on the
    sequence alone, and kernels work it out: so it has the same bits in any batch, packed or not.
    """
    if count < 2 * LEAST or 2 * programs > PROGRAMS:
        return 1
    return min(-(-count // LEAST), -(-PROGRAMS // programs))


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
def pass_1_maps(
    heads,
    steps,
    programs,
    least,
    filling,
    k,
    k_row,
    k_step,
    k_head_0,
    beta,
    beta_row,
    beta_step,
    beta_head_0,
    v,
    v_row,
    v_step,
    v_head_0,
    map_M_S_S,
    most_stretches,
    map_F_S,
):
    item = tl.program_id(0).to(tl.int64)
    sequence, head = item // heads, item % heads
    head_0 = head
    row, begin, length = sequence, 0, tl.cast(steps, tl.int64)
    i = tl.arange(0, 16)
    j = tl.arange(0, 16)
    t = tl.arange(0, 16)
    count = (length + 15) // 16
    whole = (count < 2 * least) | (2 * programs > filling)
    per = tl.maximum((count * programs + filling - 1) // filling, least)
    per = tl.where(whole, tl.maximum(count, 1), per)
    stretch = tl.program_id(2).to(tl.int64)
    start = stretch * per
    stop = tl.minimum(start + per, count)
    if (stretch > 0) & (start >= count):
        return
    i_in = tl.arange(0, 16)
    # What the last stretch makes of what it is handed nobody asks for.
    if stop == count:
        return
    k_at = k + row * k_row + begin * k_step + head_0 * k_head_0
    beta_at = beta + row * beta_row + begin * beta_step + head_0 * beta_head_0
    v_at = v + row * v_row + begin * v_step + head_0 * v_head_0
    x1 = i[:, None] == i_in[None, :]  # [i, i_in]
    x2 = tl.where(x1, tl.full([], 1.0, tl.float32), 0.0)  # [i, i_in]
    M_S_S = x2
    F_S = tl.broadcast_to(tl.full([], 0.0, tl.float32), [16, 16])
    for here in range(start, stop):
        live = tl.minimum(length - here * 16, 16)
        at = here * 16 + t
        beta_2 = tl.load(beta_at + (at * beta_step), mask=(t < live), other=0).to(tl.float32)  # [t]
        x1_2 = -beta_2  # [t]
        v_2 = tl.load(  # [t, j]
            v_at + (at * v_step)[:, None] + j[None, :], mask=(t < live)[:, None] & (j < 3)[None, :], other=0
        ).to(tl.float32)
        x7 = beta_2[:, None] * v_2  # [t, j]
        k_2 = tl.load(  # [t, i]
            k_at + (at * k_step)[:, None] + i[None, :], mask=(t < live)[:, None] & (i < 3)[None, :], other=0
        ).to(tl.float32)
        x2_2 = tl.dot(k_2, tl.permute(k_2, (1, 0)), input_precision="ieee")  # [t, t_1]
        x3 = tl.where((t[:, None] > t[None, :]), tl.full([], 1.0, tl.float32), 0.0)  # [t, t_1]
        x4 = x2_2 * x3  # [t, t_1]
        x5 = x1_2[:, None] * x4  # [t, t_1]
        x8 = -x5  # [t, t_1]
        x10 = solve_unit_lower(x8, x7, live, "ieee")  # [t, j]
        x20 = tl.dot(tl.permute(k_2, (1, 0)), tl.where((t < live)[:, None], x10, 0.0), input_precision="ieee")  # [i, j]
        x13 = F_S + x20  # [i, j]
        x6 = k_2 * x1_2[:, None]  # [t, i]
        x9 = solve_unit_lower(x8, x6, live, "ieee")  # [t, i]
        x19 = tl.dot(  # [i, i_2]
            tl.permute(k_2, (1, 0)), tl.where((t < live)[:, None], x9, 0.0), input_precision="ieee"
        )
        x11 = tl.dot(x19, tl.where((i < 3)[:, None], F_S, 0.0), input_precision="ieee")  # [i, j]
        x14 = x11 + x13  # [i, j]
        x12 = tl.dot(x19, tl.where((i < 3)[:, None], M_S_S, 0.0), input_precision="ieee")  # [i, i_in]
        x15 = M_S_S + x12  # [i, i_in]
        M_S_S = x15
        F_S = x14
    tl.store(
        map_M_S_S + (item * most_stretches + stretch) * 9 + (i * 3)[:, None] + i_in[None, :],
        M_S_S,
        mask=(i < 3)[:, None] & (i_in < 3)[None, :],
    )
    tl.store(
        map_F_S + (item * most_stretches + stretch) * 9 + (i * 3)[:, None] + j[None, :],
        F_S,
        mask=(i < 3)[:, None] & (j < 3)[None, :],
    )


@triton.jit
def pass_1_join(
    heads,
    steps,
    programs,
    least,
    filling,
    slots,
    S_first,
    S_start,
    most_stretches,
    map_F_S,
    map_M_S_S,
):
    item = tl.program_id(0).to(tl.int64)
    sequence, head = item // heads, item % heads
    row, begin, length = sequence, 0, tl.cast(steps, tl.int64)
    i = tl.arange(0, 16)
    j = tl.arange(0, 16)
    count = (length + 15) // 16
    whole = (count < 2 * least) | (2 * programs > filling)
    per = tl.maximum((count * programs + filling - 1) // filling, least)
    per = tl.where(whole, tl.maximum(count, 1), per)
    S = tl.broadcast_to(tl.full([], 0.0, tl.float32), [16, 16])
    place = item
    if slots is not None:
        place = tl.load(slots + sequence).to(tl.int64) * heads + head
        if place < 0:
            return
    if S_first is not None:
        S_first_at = S_first + place * 9
    if S_first is not None:
        # S[t] = S[t-1] + beta[t] * k[t] * (v[t] - sum[i](k[t] * S[t-1]))
        S_2 = tl.load(  # [i, j]
            S_first_at + (i * 3)[:, None] + j[None, :], mask=(i < 3)[:, None] & (j < 3)[None, :], other=0
        ).to(tl.float32)
        S = S_2
    i_in = tl.arange(0, 16)
    stretches = tl.maximum((count + per - 1) // per, 1)
    for back in range(0, stretches):
        stretch = back
        tl.store(
            S_start + (item * most_stretches + stretch) * 9 + (i * 3)[:, None] + j[None, :],
            S,
            mask=(i < 3)[:, None] & (j < 3)[None, :],
        )
        c_2 = tl.load(  # [i, j]
            map_F_S + (item * most_stretches + stretch) * 9 + (i * 3)[:, None] + j[None, :],
            mask=(i < 3)[:, None] & (j < 3)[None, :],
            other=0,
        ).to(tl.float32)
        S_after = c_2
        x2 = tl.load(  # [i, i_in]
            map_M_S_S + (item * most_stretches + stretch) * 9 + (i * 3)[:, None] + i_in[None, :],
            mask=(i < 3)[:, None] & (i_in < 3)[None, :],
            other=0,
        ).to(tl.float32)
        x1 = tl.dot(x2, tl.where((i_in < 3)[:, None], S, 0.0), input_precision="ieee")  # [i, j]
        x2_2 = S_after + x1  # [i, j]
        S = x2_2


@triton.jit
def pass_1_forward(
    heads,
    steps,
    programs,
    least,
    filling,
    k,
    k_row,
    k_step,
    k_head_0,
    beta,
    beta_row,
    beta_step,
    beta_head_0,
    v,
    v_row,
    v_step,
    v_head_0,
    q,
    q_row,
    q_step,
    q_head_0,
    o,
    slots,
    S_first,
    S_start,
    most_stretches,
    S_kept,
    S_last,
):
    item = tl.program_id(0).to(tl.int64)
    sequence, head = item // heads, item % heads
    head_0 = head
    row, begin, length = sequence, 0, tl.cast(steps, tl.int64)
    i = tl.arange(0, 16)
    j = tl.arange(0, 16)
    t = tl.arange(0, 16)
    count = (length + 15) // 16
    whole = (count < 2 * least) | (2 * programs > filling)
    per = tl.maximum((count * programs + filling - 1) // filling, least)
    per = tl.where(whole, tl.maximum(count, 1), per)
    stretch = tl.program_id(2).to(tl.int64)
    start = stretch * per
    stop = tl.minimum(start + per, count)
    if (stretch > 0) & (start >= count):
        return
    k_at = k + row * k_row + begin * k_step + head_0 * k_head_0
    beta_at = beta + row * beta_row + begin * beta_step + head_0 * beta_head_0
    v_at = v + row * v_row + begin * v_step + head_0 * v_head_0
    q_at = q + row * q_row + begin * q_step + head_0 * q_head_0
    o_at = o + ((row * steps + begin) * heads + head) * 3
    S = tl.broadcast_to(tl.full([], 0.0, tl.float32), [16, 16])
    place = item
    if slots is not None:
        place = tl.load(slots + sequence).to(tl.int64) * heads + head
        if place < 0:
            return
    if S_first is not None:
        S_first_at = S_first + place * 9
    if S_first is not None:
        # S[t] = S[t-1] + beta[t] * k[t] * (v[t] - sum[i](k[t] * S[t-1]))
        S_2 = tl.load(  # [i, j]
            S_first_at + (i * 3)[:, None] + j[None, :], mask=(i < 3)[:, None] & (j < 3)[None, :], other=0
        ).to(tl.float32)
        S = S_2
    if S_start is not None:
        # S[t] = S[t-1] + beta[t] * k[t] * (v[t] - sum[i](k[t] * S[t-1]))
        S_3 = tl.load(  # [i, j]
            S_start + (item * most_stretches + stretch) * 9 + (i * 3)[:, None] + j[None, :],
            mask=(i < 3)[:, None] & (j < 3)[None, :],
            other=0,
        ).to(tl.float32)
        S = S_3
    first_kept = sequence * ((length + 15) // 16)
    for here in range(start, stop):
        live = tl.minimum(length - here * 16, 16)
        at = here * 16 + t
        if S_kept is not None:
            tl.store(
                S_kept + ((first_kept + here) * heads + head) * 9 + (i * 3)[:, None] + j[None, :],
                S,
                mask=(i < 3)[:, None] & (j < 3)[None, :],
            )
        beta_2 = tl.load(beta_at + (at * beta_step), mask=(t < live), other=0).to(tl.float32)  # [t]
        x1 = -beta_2  # [t]
        v_2 = tl.load(  # [t, j]
            v_at + (at * v_step)[:, None] + j[None, :], mask=(t < live)[:, None] & (j < 3)[None, :], other=0
        ).to(tl.float32)
        x7 = beta_2[:, None] * v_2  # [t, j]
        q_2 = tl.load(  # [t, i]
            q_at + (at * q_step)[:, None] + i[None, :], mask=(t < live)[:, None] & (i < 3)[None, :], other=0
        ).to(tl.float32)
        k_2 = tl.load(  # [t, i]
            k_at + (at * k_step)[:, None] + i[None, :], mask=(t < live)[:, None] & (i < 3)[None, :], other=0
        ).to(tl.float32)
        x2 = tl.dot(k_2, tl.permute(k_2, (1, 0)), input_precision="ieee")  # [t, t_1]
        x3 = tl.where((t[:, None] > t[None, :]), tl.full([], 1.0, tl.float32), 0.0)  # [t, t_1]
        x4 = x2 * x3  # [t, t_1]
        x5 = x1[:, None] * x4  # [t, t_1]
        x8 = -x5  # [t, t_1]
        x10 = solve_unit_lower(x8, x7, live, "ieee")  # [t, j]
        x6 = k_2 * x1[:, None]  # [t, i]
        x9 = solve_unit_lower(x8, x6, live, "ieee")  # [t, i]
        x11 = tl.dot(q_2, tl.permute(k_2, (1, 0)), input_precision="ieee")  # [t, t_1]
        x12 = tl.where((t[:, None] >= t[None, :]), tl.full([], 1.0, tl.float32), 0.0)  # [t, t_1]
        x13 = x11 * x12  # [t, t_1]
        x14 = tl.dot(  # [t, j]
            tl.where((t < live)[None, :], x13, 0.0), tl.where((t < live)[:, None], x10, 0.0), input_precision="ieee"
        )
        x15 = tl.dot(  # [t, i_1]
            tl.where((t < live)[None, :], x13, 0.0), tl.where((t < live)[:, None], x9, 0.0), input_precision="ieee"
        )
        x16 = q_2 + x15  # [t, i'1]
        x17 = tl.dot(x16, tl.where((i < 3)[:, None], S, 0.0), input_precision="ieee")  # [t, j]
        # output o[t] = sum[i](q[t] * S[t])
        o_2 = x14 + x17  # [t, j]
        tl.store(o_at + (at * heads * 3)[:, None] + j[None, :], o_2, mask=(t < live)[:, None] & (j < 3)[None, :])
        x19 = tl.dot(  # [i, i_2]
            tl.permute(k_2, (1, 0)), tl.where((t < live)[:, None], x9, 0.0), input_precision="ieee"
        )
        x20 = tl.dot(tl.permute(k_2, (1, 0)), tl.where((t < live)[:, None], x10, 0.0), input_precision="ieee")  # [i, j]
        x21 = tl.dot(x19, tl.where((i < 3)[:, None], S, 0.0), input_precision="ieee")  # [i, j]
        x22 = S + x20  # [i, j]
        # S[t] = S[t-1] + beta[t] * k[t] * (v[t] - sum[i](k[t] * S[t-1]))
        S_4 = x21 + x22  # [i, j]
        S = S_4
    if S_last is not None:
        S_last_at = S_last + place * 9
    if S_last is not None:
        if stop == count:
            tl.store(S_last_at + (i * 3)[:, None] + j[None, :], S, mask=(i < 3)[:, None] & (j < 3)[None, :])


@triton.jit
def pass_1_maps_back(
    heads,
    steps,
    programs,
    least,
    filling,
    k,
    k_row,
    k_step,
    k_head_0,
    beta,
    beta_row,
    beta_step,
    beta_head_0,
    q,
    q_row,
    q_step,
    q_head_0,
    d_o,
    S_kept,
    map_M_S_S,
    most_stretches,
    map_F_S,
):
    item = tl.program_id(0).to(tl.int64)
    sequence, head = item // heads, item % heads
    head_0 = head
    row, begin, length = sequence, 0, tl.cast(steps, tl.int64)
    i = tl.arange(0, 16)
    j = tl.arange(0, 16)
    t = tl.arange(0, 16)
    count = (length + 15) // 16
    whole = (count < 2 * least) | (2 * programs > filling)
    per = tl.maximum((count * programs + filling - 1) // filling, least)
    per = tl.where(whole, tl.maximum(count, 1), per)
    stretch = tl.program_id(2).to(tl.int64)
    start = stretch * per
    stop = tl.minimum(start + per, count)
    if (stretch > 0) & (start >= count):
        return
    i_in = tl.arange(0, 16)
    # What the last stretch makes of what it is handed nobody asks for.
    if start == 0:
        return
    k_at = k + row * k_row + begin * k_step + head_0 * k_head_0
    beta_at = beta + row * beta_row + begin * beta_step + head_0 * beta_head_0
    q_at = q + row * q_row + begin * q_step + head_0 * q_head_0
    if d_o is not None:
        d_o_at = d_o + ((row * steps + begin) * heads + head) * 3
    x1 = i[:, None] == i_in[None, :]  # [i, i_in]
    x2 = tl.where(x1, tl.full([], 1.0, tl.float32), 0.0)  # [i, i_in]
    M_S_S = x2
    F_S = tl.broadcast_to(tl.full([], 0.0, tl.float32), [16, 16])
    for back in range(0, stop - start):
        here = stop - 1 - back
        live = tl.minimum(length - here * 16, 16)
        at = here * 16 + t
        beta_2 = tl.load(beta_at + (at * beta_step), mask=(t < live), other=0).to(tl.float32)  # [t]
        x1_2 = -beta_2  # [t]
        q_2 = tl.load(  # [t, i]
            q_at + (at * q_step)[:, None] + i[None, :], mask=(t < live)[:, None] & (i < 3)[None, :], other=0
        ).to(tl.float32)
        k_2 = tl.load(  # [t, i]
            k_at + (at * k_step)[:, None] + i[None, :], mask=(t < live)[:, None] & (i < 3)[None, :], other=0
        ).to(tl.float32)
        x2_2 = tl.dot(k_2, tl.permute(k_2, (1, 0)), input_precision="ieee")  # [t, t_1]
        x3 = tl.where((t[:, None] > t[None, :]), tl.full([], 1.0, tl.float32), 0.0)  # [t, t_1]
        x4 = x2_2 * x3  # [t, t_1]
        x5 = x1_2[:, None] * x4  # [t, t_1]
        x8 = -x5  # [t, t_1]
        x6 = k_2 * x1_2[:, None]  # [t, i]
        x9 = solve_unit_lower(x8, x6, live, "ieee")  # [t, i]
        x11 = tl.dot(q_2, tl.permute(k_2, (1, 0)), input_precision="ieee")  # [t, t_1]
        x19 = tl.dot(  # [i, i_2]
            tl.permute(k_2, (1, 0)), tl.where((t < live)[:, None], x9, 0.0), input_precision="ieee"
        )
        x12 = tl.where((t[:, None] >= t[None, :]), tl.full([], 1.0, tl.float32), 0.0)  # [t, t_1]
        x13 = x11 * x12  # [t, t_1]
        x15 = tl.dot(  # [t, i_1]
            tl.where((t < live)[None, :], x13, 0.0), tl.where((t < live)[:, None], x9, 0.0), input_precision="ieee"
        )
        x16 = q_2 + x15  # [t, i'1]
        d_o_2 = tl.full([16, 16], 0.0, tl.float32)
        if d_o is not None:
            d_o_3 = tl.load(  # [t, j]
                d_o_at + (at * heads * 3)[:, None] + j[None, :], mask=(t < live)[:, None] & (j < 3)[None, :], other=0
            ).to(tl.float32)
            d_o_2 = d_o_3
        d_S_prev_1 = tl.dot(  # [i'1, j]
            tl.permute(tl.where((t < live)[:, None], x16, 0.0), (1, 0)), d_o_2, input_precision="ieee"
        )
        x7 = tl.dot(tl.permute(x19, (1, 0)), tl.where((i < 3)[:, None], F_S, 0.0), input_precision="ieee")  # [i_2, j]
        x10 = tl.dot(  # [i_2, i_in]
            tl.permute(x19, (1, 0)), tl.where((i < 3)[:, None], M_S_S, 0.0), input_precision="ieee"
        )
        x17 = M_S_S + x10  # [i, i_in]
        x14 = F_S + x7  # [i, j]
        x18 = d_S_prev_1 + x14  # [i, j]
        M_S_S = x17
        F_S = x18
    tl.store(
        map_M_S_S + (item * most_stretches + stretch) * 9 + (i * 3)[:, None] + i_in[None, :],
        M_S_S,
        mask=(i < 3)[:, None] & (i_in < 3)[None, :],
    )
    tl.store(
        map_F_S + (item * most_stretches + stretch) * 9 + (i * 3)[:, None] + j[None, :],
        F_S,
        mask=(i < 3)[:, None] & (j < 3)[None, :],
    )


@triton.jit
def pass_1_join_back(
    heads,
    steps,
    programs,
    least,
    filling,
    d_S_last,
    S_start,
    most_stretches,
    map_F_S,
    map_M_S_S,
):
    item = tl.program_id(0).to(tl.int64)
    sequence, head = item // heads, item % heads
    row, begin, length = sequence, 0, tl.cast(steps, tl.int64)
    i = tl.arange(0, 16)
    j = tl.arange(0, 16)
    count = (length + 15) // 16
    whole = (count < 2 * least) | (2 * programs > filling)
    per = tl.maximum((count * programs + filling - 1) // filling, least)
    per = tl.where(whole, tl.maximum(count, 1), per)
    d_S = tl.full([16, 16], 0.0, tl.float32)
    if d_S_last is not None:
        d_S_last_at = d_S_last + item * 9
    if d_S_last is not None:
        d_S_2 = tl.load(  # [i, j]
            d_S_last_at + (i * 3)[:, None] + j[None, :], mask=(i < 3)[:, None] & (j < 3)[None, :], other=0
        ).to(tl.float32)
        d_S = d_S_2
    i_in = tl.arange(0, 16)
    stretches = tl.maximum((count + per - 1) // per, 1)
    for back in range(0, stretches):
        stretch = stretches - 1 - back
        tl.store(
            S_start + (item * most_stretches + stretch) * 9 + (i * 3)[:, None] + j[None, :],
            d_S,
            mask=(i < 3)[:, None] & (j < 3)[None, :],
        )
        c_2 = tl.load(  # [i, j]
            map_F_S + (item * most_stretches + stretch) * 9 + (i * 3)[:, None] + j[None, :],
            mask=(i < 3)[:, None] & (j < 3)[None, :],
            other=0,
        ).to(tl.float32)
        S_after = c_2
        x2 = tl.load(  # [i, i_in]
            map_M_S_S + (item * most_stretches + stretch) * 9 + (i * 3)[:, None] + i_in[None, :],
            mask=(i < 3)[:, None] & (i_in < 3)[None, :],
            other=0,
        ).to(tl.float32)
        x1 = tl.dot(x2, tl.where((i_in < 3)[:, None], d_S, 0.0), input_precision="ieee")  # [i, j]
        x2_2 = S_after + x1  # [i, j]
        d_S = x2_2


@triton.jit
def pass_1_backward(
    heads,
    steps,
    programs,
    least,
    filling,
    k,
    k_row,
    k_step,
    k_head_0,
    beta,
    beta_row,
    beta_step,
    beta_head_0,
    v,
    v_row,
    v_step,
    v_head_0,
    q,
    q_row,
    q_step,
    q_head_0,
    d_o,
    d_k,
    d_beta,
    d_v,
    d_q,
    d_S_last,
    S_start,
    most_stretches,
    S_kept,
    d_S_first,
):
    item = tl.program_id(0).to(tl.int64)
    sequence, head = item // heads, item % heads
    head_0 = head
    row, begin, length = sequence, 0, tl.cast(steps, tl.int64)
    i = tl.arange(0, 16)
    j = tl.arange(0, 16)
    t = tl.arange(0, 16)
    count = (length + 15) // 16
    whole = (count < 2 * least) | (2 * programs > filling)
    per = tl.maximum((count * programs + filling - 1) // filling, least)
    per = tl.where(whole, tl.maximum(count, 1), per)
    stretch = tl.program_id(2).to(tl.int64)
    start = stretch * per
    stop = tl.minimum(start + per, count)
    if (stretch > 0) & (start >= count):
        return
    k_at = k + row * k_row + begin * k_step + head_0 * k_head_0
    beta_at = beta + row * beta_row + begin * beta_step + head_0 * beta_head_0
    v_at = v + row * v_row + begin * v_step + head_0 * v_head_0
    q_at = q + row * q_row + begin * q_step + head_0 * q_head_0
    if d_o is not None:
        d_o_at = d_o + ((row * steps + begin) * heads + head) * 3
    d_k_at = d_k + ((row * steps + begin) * heads + head) * 3
    d_beta_at = d_beta + ((row * steps + begin) * heads + head) * 1
    d_v_at = d_v + ((row * steps + begin) * heads + head) * 3
    d_q_at = d_q + ((row * steps + begin) * heads + head) * 3
    d_S = tl.full([16, 16], 0.0, tl.float32)
    if d_S_last is not None:
        d_S_last_at = d_S_last + item * 9
    if d_S_last is not None:
        d_S_2 = tl.load(  # [i, j]
            d_S_last_at + (i * 3)[:, None] + j[None, :], mask=(i < 3)[:, None] & (j < 3)[None, :], other=0
        ).to(tl.float32)
        d_S = d_S_2
    if S_start is not None:
        d_S_3 = tl.load(  # [i, j]
            S_start + (item * most_stretches + stretch) * 9 + (i * 3)[:, None] + j[None, :],
            mask=(i < 3)[:, None] & (j < 3)[None, :],
            other=0,
        ).to(tl.float32)
        d_S = d_S_3
    first_kept = sequence * ((length + 15) // 16)
    for back in range(0, stop - start):
        here = stop - 1 - back
        live = tl.minimum(length - here * 16, 16)
        at = here * 16 + t
        beta_2 = tl.load(beta_at + (at * beta_step), mask=(t < live), other=0).to(tl.float32)  # [t]
        x1 = -beta_2  # [t]
        q_2 = tl.load(  # [t, i]
            q_at + (at * q_step)[:, None] + i[None, :], mask=(t < live)[:, None] & (i < 3)[None, :], other=0
        ).to(tl.float32)
        S_prev = tl.load(  # [i, j]
            S_kept + ((first_kept + here) * heads + head) * 9 + (i * 3)[:, None] + j[None, :],
            mask=(i < 3)[:, None] & (j < 3)[None, :],
            other=0,
        ).to(tl.float32)
        k_2 = tl.load(  # [t, i]
            k_at + (at * k_step)[:, None] + i[None, :], mask=(t < live)[:, None] & (i < 3)[None, :], other=0
        ).to(tl.float32)
        x2 = tl.dot(k_2, tl.permute(k_2, (1, 0)), input_precision="ieee")  # [t, t_1]
        x3 = tl.where((t[:, None] > t[None, :]), tl.full([], 1.0, tl.float32), 0.0)  # [t, t_1]
        x4 = x2 * x3  # [t, t_1]
        x5 = x1[:, None] * x4  # [t, t_1]
        x8 = -x5  # [t, t_1]
        x6 = k_2 * x1[:, None]  # [t, i]
        x9 = solve_unit_lower(x8, x6, live, "ieee")  # [t, i]
        x11 = tl.dot(q_2, tl.permute(k_2, (1, 0)), input_precision="ieee")  # [t, t_1]
        x12 = tl.where((t[:, None] >= t[None, :]), tl.full([], 1.0, tl.float32), 0.0)  # [t, t_1]
        x13 = x11 * x12  # [t, t_1]
        x15 = tl.dot(  # [t, i_1]
            tl.where((t < live)[None, :], x13, 0.0), tl.where((t < live)[:, None], x9, 0.0), input_precision="ieee"
        )
        x16 = q_2 + x15  # [t, i'1]
        x19 = tl.dot(  # [i, i_2]
            tl.permute(k_2, (1, 0)), tl.where((t < live)[:, None], x9, 0.0), input_precision="ieee"
        )
        d_S_prev_2 = tl.dot(  # [i_2, j]
            tl.permute(x19, (1, 0)), tl.where((i < 3)[:, None], d_S, 0.0), input_precision="ieee"
        )
        d_S_prev = d_S + d_S_prev_2  # [i, j]
        d_x19 = tl.dot(  # [i, i_2]
            tl.where((j < 3)[None, :], d_S, 0.0), tl.permute(S_prev, (1, 0)), input_precision="ieee"
        )
        d_x10 = tl.dot(k_2, tl.where((i < 3)[:, None], d_S, 0.0), input_precision="ieee")  # [t, j]
        d_k_1 = tl.dot(x9, tl.permute(d_x19, (1, 0)), input_precision="ieee")  # [t, i]
        d_x9_3 = tl.dot(k_2, tl.where((i < 3)[:, None], d_x19, 0.0), input_precision="ieee")  # [t, i_2]
        d_o_2 = tl.full([16, 16], 0.0, tl.float32)
        if d_o is not None:
            d_o_3 = tl.load(  # [t, j]
                d_o_at + (at * heads * 3)[:, None] + j[None, :], mask=(t < live)[:, None] & (j < 3)[None, :], other=0
            ).to(tl.float32)
            d_o_2 = d_o_3
        d_S_prev_1 = tl.dot(  # [i'1, j]
            tl.permute(tl.where((t < live)[:, None], x16, 0.0), (1, 0)), d_o_2, input_precision="ieee"
        )
        d_x16 = tl.dot(d_o_2, tl.permute(S_prev, (1, 0)), input_precision="ieee")  # [t, i'1]
        d_S_prev_3 = d_S_prev + d_S_prev_1  # [i, j]
        d_x13 = tl.dot(d_x16, tl.permute(x9, (1, 0)), input_precision="ieee")  # [t, t_1]
        d_x9_2 = tl.dot(  # [t_1, i_1]
            tl.permute(tl.where((t < live)[:, None], x13, 0.0), (1, 0)), d_x16, input_precision="ieee"
        )
        d_x9 = d_x9_2 + d_x9_3  # [t, i]
        d_x10_1 = tl.dot(  # [t_1, j]
            tl.permute(tl.where((t < live)[:, None], x13, 0.0), (1, 0)), d_o_2, input_precision="ieee"
        )
        d_x10_2 = d_x10 + d_x10_1  # [t, j]
        x18 = solve_unit_lower_t(x8, d_x10_2, live, "ieee")  # [t, j]
        x26 = solve_unit_lower_t(x8, d_x9, live, "ieee")  # [t, i]
        x27 = tl.dot(x26, tl.permute(x9, (1, 0)), input_precision="ieee")  # [t, t_1]
        x28 = tl.where((t[:, None] > t[None, :]), x27, 0.0)  # [t, t_1]
        x29 = -x28  # [t, t_1]
        d_v_2 = beta_2[:, None] * x18  # [t, j]
        tl.store(d_v_at + (at * heads * 3)[:, None] + j[None, :], d_v_2, mask=(t < live)[:, None] & (j < 3)[None, :])
        d_x1 = tl.sum((k_2 * x26), 1)  # [t]
        d_k_5 = x1[:, None] * x26  # [t, i]
        v_2 = tl.load(  # [t, j]
            v_at + (at * v_step)[:, None] + j[None, :], mask=(t < live)[:, None] & (j < 3)[None, :], other=0
        ).to(tl.float32)
        d_beta_2 = tl.sum((v_2 * tl.where((j < 3)[None, :], x18, 0.0)), 1)  # [t]
        x7 = beta_2[:, None] * v_2  # [t, j]
        x10 = solve_unit_lower(x8, x7, live, "ieee")  # [t, j]
        d_x13_1 = tl.dot(d_o_2, tl.permute(x10, (1, 0)), input_precision="ieee")  # [t, t_1]
        d_x13_2 = d_x13 + d_x13_1  # [t, t_1]
        d_x11 = d_x13_2 * x12  # [t, t_1]
        d_k_4 = tl.dot(  # [t_1, i'1]
            tl.permute(tl.where((t < live)[:, None], d_x11, 0.0), (1, 0)), q_2, input_precision="ieee"
        )
        d_q_1 = tl.dot(tl.where((t < live)[None, :], d_x11, 0.0), k_2, input_precision="ieee")  # [t, i'1]
        d_q_1_1 = d_q_1 + d_x16  # [t, i'1]
        tl.store(d_q_at + (at * heads * 3)[:, None] + i[None, :], d_q_1_1, mask=(t < live)[:, None] & (i < 3)[None, :])
        x23 = tl.dot(tl.where((j < 3)[None, :], x18, 0.0), tl.permute(x10, (1, 0)), input_precision="ieee")  # [t, t_1]
        d_k_2 = tl.dot(x10, tl.permute(tl.where((j < 3)[None, :], d_S, 0.0), (1, 0)), input_precision="ieee")  # [t, i]
        d_k_2_2 = d_k_2 + d_k_1  # [t, i]
        d_k_3 = d_k_2_2 + d_k_4  # [t, i]
        d_k_6 = d_k_3 + d_k_5  # [t, i]
        x24 = tl.where((t[:, None] > t[None, :]), x23, 0.0)  # [t, t_1]
        x25 = -x24  # [t, t_1]
        d_x8 = x25 + x29  # [t, t_1]
        x30 = -d_x8  # [t, t_1]
        d_x1_1 = tl.sum((tl.where((t < live)[None, :], x30, 0.0) * tl.where((t < live)[None, :], x4, 0.0)), 1)  # [t]
        d_x1_2 = d_x1 + d_x1_1  # [t]
        d_x4 = x1[:, None] * x30  # [t, t_1]
        d_x2 = d_x4 * x3  # [t, t_1]
        x31 = -d_x1_2  # [t]
        d_beta_1 = d_beta_2 + x31  # [t]
        tl.store(d_beta_at + (at * heads * 1), d_beta_1, mask=(t < live))
        d_k_7 = tl.dot(tl.where((t < live)[None, :], d_x2, 0.0), k_2, input_precision="ieee")  # [t, i]
        d_k_8 = d_k_6 + d_k_7  # [t, i]
        d_k_2_1 = tl.dot(  # [t_1, i]
            tl.permute(tl.where((t < live)[:, None], d_x2, 0.0), (1, 0)), k_2, input_precision="ieee"
        )
        d_k_9 = d_k_2_1 + d_k_8  # [t, i]
        tl.store(d_k_at + (at * heads * 3)[:, None] + i[None, :], d_k_9, mask=(t < live)[:, None] & (i < 3)[None, :])
        d_S = d_S_prev_3
    if d_S_first is not None:
        d_S_first_at = d_S_first + item * 9
    if d_S_first is not None:
        if start == 0:
            tl.store(d_S_first_at + (i * 3)[:, None] + j[None, :], d_S, mask=(i < 3)[:, None] & (j < 3)[None, :])
        d_S = tl.full([16, 16], 0.0, tl.float32)
    d_S = tl.where(start == 0, d_S, 0.0)


def scratch(rows, steps, sequences, batch):
    """The shapes of what `forward` leaves for `backward`, by name.

    Elements are torch.float32; `kept NAME` is torch.float32.
    """
    heads = prod(batch)
    count = sequences * -(-steps // 16)
    return {
        "1 S": (count, heads, 9),
    }


def forward(
    arguments, initial, outputs, final, saved, offsets, slots, clock, device,
    rows, steps, sequences, batch, strides=None, extents=(),
):
    """Fills `outputs`, `final` and `saved`, which may lack what is not wanted but `kept` values."""
    heads = prod(batch)
    if strides is None:
        strides = {
            "q": strides_of(arguments["q"], 3),
            "k": strides_of(arguments["k"], 3),
            "v": strides_of(arguments["v"], 3),
            "beta": strides_of(arguments["beta"], 3),
        }
    stretches = stretches_of(-(-steps // 16), heads * 1)
    starts = {}
    if stretches > 1:
        items = sequences * heads
        maps = {
            "1 M S S": (items * 1, stretches, 9),
            "1 F S": (items * 1, stretches, 9),
        }
        starts = {
            "1 S": (items * 1, stretches, 9),
        }
        maps = {n: torch.empty(shape, dtype=torch.float32, device=device) for n, shape in maps.items()}
        starts = {n: torch.empty(shape, dtype=torch.float32, device=device) for n, shape in starts.items()}
        launch(
            pass_1_maps,
            (sequences * heads, 1, stretches),
            (
                heads,
                steps,
                heads * 1,
                LEAST,
                PROGRAMS,
                arguments["k"],
                strides["k"][0],
                strides["k"][1],
                strides["k"][2],
                arguments["beta"],
                strides["beta"][0],
                strides["beta"][1],
                strides["beta"][2],
                arguments["v"],
                strides["v"][0],
                strides["v"][1],
                strides["v"][2],
                maps["1 M S S"],
                stretches,
                maps["1 F S"],
            ),
            device,
            1,
            1,
        )
        launch(
            pass_1_join,
            (sequences * heads,),
            (
                heads,
                steps,
                heads * 1,
                LEAST,
                PROGRAMS,
                slots,
                initial.get("S"),
                starts.get("1 S"),
                stretches,
                maps["1 F S"],
                maps["1 M S S"],
            ),
            device,
            1,
            1,
        )
    launch(
        pass_1_forward,
        (sequences * heads, 1, stretches),
        (
            heads,
            steps,
            heads * 1,
            LEAST,
            PROGRAMS,
            arguments["k"],
            strides["k"][0],
            strides["k"][1],
            strides["k"][2],
            arguments["beta"],
            strides["beta"][0],
            strides["beta"][1],
            strides["beta"][2],
            arguments["v"],
            strides["v"][0],
            strides["v"][1],
            strides["v"][2],
            arguments["q"],
            strides["q"][0],
            strides["q"][1],
            strides["q"][2],
            outputs["o"],
            slots,
            initial.get("S"),
            starts.get("1 S"),
            stretches,
            saved.get("1 S"),
            final.get("S"),
        ),
        device,
        1,
        2,
    )


def backward(
    arguments, initial, saved, d_outputs, d_final, d_initial, offsets, clock, device,
    rows, steps, sequences, batch, extents=(),
):
    """Fills `d_initial`; gives the gradients of arguments, at full size along the batch, by name."""
    heads = prod(batch)
    strides = {
        "q": strides_of(arguments["q"], 3),
        "k": strides_of(arguments["k"], 3),
        "v": strides_of(arguments["v"], 3),
        "beta": strides_of(arguments["beta"], 3),
    }
    d_arguments = {
        "q": torch.empty((1, rows, steps, *batch, 3), dtype=arguments["q"].dtype, device=device),
        "k": torch.empty((1, rows, steps, *batch, 3), dtype=arguments["k"].dtype, device=device),
        "v": torch.empty((1, rows, steps, *batch, 3), dtype=arguments["v"].dtype, device=device),
        "beta": torch.empty((1, rows, steps, *batch), dtype=arguments["beta"].dtype, device=device),
    }
    stretches = stretches_of(-(-steps // 16), heads * 1)
    starts = {}
    if stretches > 1:
        items = sequences * heads
        maps = {
            "1 M S S": (items * 1, stretches, 9),
            "1 F S": (items * 1, stretches, 9),
        }
        starts = {
            "1 S": (items * 1, stretches, 9),
        }
        maps = {n: torch.empty(shape, dtype=torch.float32, device=device) for n, shape in maps.items()}
        starts = {n: torch.empty(shape, dtype=torch.float32, device=device) for n, shape in starts.items()}
        launch(
            pass_1_maps_back,
            (sequences * heads, 1, stretches),
            (
                heads,
                steps,
                heads * 1,
                LEAST,
                PROGRAMS,
                arguments["k"],
                strides["k"][0],
                strides["k"][1],
                strides["k"][2],
                arguments["beta"],
                strides["beta"][0],
                strides["beta"][1],
                strides["beta"][2],
                arguments["q"],
                strides["q"][0],
                strides["q"][1],
                strides["q"][2],
                d_outputs.get("o"),
                saved.get("1 S"),
                maps["1 M S S"],
                stretches,
                maps["1 F S"],
            ),
            device,
            1,
            1,
        )
        launch(
            pass_1_join_back,
            (sequences * heads,),
            (
                heads,
                steps,
                heads * 1,
                LEAST,
                PROGRAMS,
                d_final.get("S"),
                starts.get("1 S"),
                stretches,
                maps["1 F S"],
                maps["1 M S S"],
            ),
            device,
            1,
            1,
        )
    launch(
        pass_1_backward,
        (sequences * heads, 1, stretches),
        (
            heads,
            steps,
            heads * 1,
            LEAST,
            PROGRAMS,
            arguments["k"],
            strides["k"][0],
            strides["k"][1],
            strides["k"][2],
            arguments["beta"],
            strides["beta"][0],
            strides["beta"][1],
            strides["beta"][2],
            arguments["v"],
            strides["v"][0],
            strides["v"][1],
            strides["v"][2],
            arguments["q"],
            strides["q"][0],
            strides["q"][1],
            strides["q"][2],
            d_outputs.get("o"),
            d_arguments["k"],
            d_arguments["beta"],
            d_arguments["v"],
            d_arguments["q"],
            d_final.get("S"),
            starts.get("1 S"),
            stretches,
            saved.get("1 S"),
            d_initial.get("S"),
        ),
        device,
        1,
        2,
    )
    return {n: added(x) for n, x in d_arguments.items()}
