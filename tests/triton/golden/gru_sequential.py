# ruff: noqa: D103, F841, PIE808, RET504, RUF059, RUF100, SIM102, SIM300
"""gru: sequential form, Triton.

    recurrence gru(n, m = n)
        "Gated recurrent unit on projected inputs. Cho and others, 2014."
        input  xr[n], xz[n], xn[n]
        param  Rr[n, m], Rz[n, m], Rn[n, m], b[n]
        state  h[n]

        r[t] = sigmoid(xr[t] + sum[m](Rr * h[t-1, m]))
        z[t] = sigmoid(xz[t] + sum[m](Rz * h[t-1, m]))
        new[t] = tanh(xn[t] + r[t] * (sum[m](Rn * h[t-1, m]) + b))
        h[t] = z[t] * h[t-1] + (1 - z[t]) * new[t]
        output y[t] = h[t]

Made for n = 3: float32, matrix products in ieee, carries kept every 32.

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
def sigmoid(x):
    """`1 / (1 + exp(-x))`, with the exponential of a negative number only."""
    small = exp(-tl.abs(x))
    return tl.where(x >= 0, 1.0, small) / (1 + small)


@triton.jit
def tanh(x):
    """The hyperbolic tangent: `-e / (e + 2)` for x > 0, with `e = expm1(-2x)`, and odd."""
    e = expm1(-2 * tl.abs(x))
    return tl.where(x == 0, x, tl.where(x > 0, -e, e) / (e + 2))


@triton.jit
def pass_1_forward(
    heads,
    steps,
    Rr,
    Rr_head_0,
    Rz,
    Rz_head_0,
    Rn,
    Rn_head_0,
    b,
    b_head_0,
    xr,
    xr_row,
    xr_step,
    xr_head_0,
    xz,
    xz_row,
    xz_step,
    xz_head_0,
    xn,
    xn_row,
    xn_step,
    xn_head_0,
    y,
    slots,
    h_first,
    h_kept,
    h_last,
):
    item = tl.program_id(0).to(tl.int64)
    sequence, head = item // heads, item % heads
    head_0 = head
    row, begin, length = sequence, 0, tl.cast(steps, tl.int64)
    n = tl.arange(0, 4)
    count = length
    start, stop = 0, count
    Rr_at = Rr + head_0 * Rr_head_0
    Rz_at = Rz + head_0 * Rz_head_0
    Rn_at = Rn + head_0 * Rn_head_0
    b_at = b + head_0 * b_head_0
    xr_at = xr + row * xr_row + begin * xr_step + head_0 * xr_head_0
    xz_at = xz + row * xz_row + begin * xz_step + head_0 * xz_head_0
    xn_at = xn + row * xn_row + begin * xn_step + head_0 * xn_head_0
    y_at = y + ((row * steps + begin) * heads + head) * 3
    Rr_2 = tl.load(  # [n, m]
        Rr_at + (n * 3)[:, None] + n[None, :], mask=(n < 3)[:, None] & (n < 3)[None, :], other=0
    ).to(tl.float32)
    Rz_2 = tl.load(  # [n, m]
        Rz_at + (n * 3)[:, None] + n[None, :], mask=(n < 3)[:, None] & (n < 3)[None, :], other=0
    ).to(tl.float32)
    Rn_2 = tl.load(  # [n, m]
        Rn_at + (n * 3)[:, None] + n[None, :], mask=(n < 3)[:, None] & (n < 3)[None, :], other=0
    ).to(tl.float32)
    b_2 = tl.load(b_at + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
    h = tl.broadcast_to(tl.full([], 0.0, tl.float32), [4])
    place = item
    if slots is not None:
        place = tl.load(slots + sequence).to(tl.int64) * heads + head
        if place < 0:
            return
    if h_first is not None:
        h_first_at = h_first + place * 3
    if h_first is not None:
        # h[t] = z[t] * h[t-1] + (1 - z[t]) * new[t]
        h_2 = tl.load(h_first_at + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
        h = h_2
    first_kept = sequence * ((length + 31) // 32)
    for here in range(start, stop):
        at = here
        if h_kept is not None:
            if here % 32 == 0:
                tl.store(h_kept + ((first_kept + here // 32) * heads + head) * 3 + n, h, mask=(n < 3))
        x1 = tl.sum((Rr_2 * tl.where((n < 3), h, 0.0)[None, :]), 1)  # [n]
        xr_2 = tl.load(xr_at + (at * xr_step) + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
        x2 = x1 + xr_2  # [n]
        # r[t] = sigmoid(xr[t] + sum[m](Rr * h[t-1, m]))
        r = sigmoid(x2)  # [n]
        x3 = tl.sum((Rz_2 * tl.where((n < 3), h, 0.0)[None, :]), 1)  # [n]
        xz_2 = tl.load(xz_at + (at * xz_step) + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
        x4 = x3 + xz_2  # [n]
        # z[t] = sigmoid(xz[t] + sum[m](Rz * h[t-1, m]))
        z = sigmoid(x4)  # [n]
        x5 = tl.sum((Rn_2 * tl.where((n < 3), h, 0.0)[None, :]), 1)  # [n]
        x6 = b_2 + x5  # [n]
        x7 = r * x6  # [n]
        xn_2 = tl.load(xn_at + (at * xn_step) + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
        x8 = x7 + xn_2  # [n]
        # new[t] = tanh(xn[t] + r[t] * (sum[m](Rn * h[t-1, m]) + b))
        new = tanh(x8)  # [n]
        x9 = h * z  # [n]
        x10 = -x4  # [n]
        x11 = sigmoid(x10)  # [n]
        x12 = new * x11  # [n]
        # h[t] = z[t] * h[t-1] + (1 - z[t]) * new[t]
        h_3 = x12 + x9  # [n]
        tl.store(y_at + (at * heads * 3) + n, h_3, mask=(n < 3))
        h = h_3
    if h_last is not None:
        h_last_at = h_last + place * 3
    if h_last is not None:
        tl.store(h_last_at + n, h, mask=(n < 3))


@triton.jit
def pass_1_backward(
    heads,
    steps,
    Rr,
    Rr_head_0,
    Rz,
    Rz_head_0,
    Rn,
    Rn_head_0,
    b,
    b_head_0,
    xr,
    xr_row,
    xr_step,
    xr_head_0,
    xz,
    xz_row,
    xz_step,
    xz_head_0,
    xn,
    xn_row,
    xn_step,
    xn_head_0,
    d_y,
    d_xr,
    d_xz,
    d_xn,
    d_h_last,
    h_kept,
    h_tape,
    d_h_first,
    d_Rr_2,
    d_Rz_2,
    d_Rn_2,
    d_b,
):
    item = tl.program_id(0).to(tl.int64)
    sequence, head = item // heads, item % heads
    head_0 = head
    row, begin, length = sequence, 0, tl.cast(steps, tl.int64)
    n = tl.arange(0, 4)
    count = length
    start, stop = 0, count
    Rr_at = Rr + head_0 * Rr_head_0
    Rz_at = Rz + head_0 * Rz_head_0
    Rn_at = Rn + head_0 * Rn_head_0
    b_at = b + head_0 * b_head_0
    xr_at = xr + row * xr_row + begin * xr_step + head_0 * xr_head_0
    xz_at = xz + row * xz_row + begin * xz_step + head_0 * xz_head_0
    xn_at = xn + row * xn_row + begin * xn_step + head_0 * xn_head_0
    if d_y is not None:
        d_y_at = d_y + ((row * steps + begin) * heads + head) * 3
    d_xr_at = d_xr + ((row * steps + begin) * heads + head) * 3
    d_xz_at = d_xz + ((row * steps + begin) * heads + head) * 3
    d_xn_at = d_xn + ((row * steps + begin) * heads + head) * 3
    Rr_2 = tl.load(  # [n, m]
        Rr_at + (n * 3)[:, None] + n[None, :], mask=(n < 3)[:, None] & (n < 3)[None, :], other=0
    ).to(tl.float32)
    Rz_2 = tl.load(  # [n, m]
        Rz_at + (n * 3)[:, None] + n[None, :], mask=(n < 3)[:, None] & (n < 3)[None, :], other=0
    ).to(tl.float32)
    Rn_2 = tl.load(  # [n, m]
        Rn_at + (n * 3)[:, None] + n[None, :], mask=(n < 3)[:, None] & (n < 3)[None, :], other=0
    ).to(tl.float32)
    b_2 = tl.load(b_at + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
    d_h = tl.full([4], 0.0, tl.float32)
    if d_h_last is not None:
        d_h_last_at = d_h_last + item * 3
    if d_h_last is not None:
        d_h_2 = tl.load(d_h_last_at + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
        d_h = d_h_2
    first_kept = sequence * ((length + 31) // 32)
    d_Rr_total = tl.full([4, 4], 0.0, tl.float32)
    d_Rz_total = tl.full([4, 4], 0.0, tl.float32)
    d_Rn_total = tl.full([4, 4], 0.0, tl.float32)
    d_b_total = tl.full([4], 0.0, tl.float32)
    segments = (count + 31) // 32
    for back in range(0, segments):
        segment = segments - 1 - back
        first = segment * 32
        last = tl.minimum(first + 32, count)
        h_prev = tl.load(  # [n]
            h_kept + ((first_kept + segment) * heads + head) * 3 + n, mask=(n < 3), other=0
        ).to(tl.float32)
        h = h_prev
        for here in range(first, last):
            at = here
            tl.store(h_tape + (item * 32 + here - first) * 3 + n, h, mask=(n < 3))
            x1 = tl.sum((Rr_2 * tl.where((n < 3), h, 0.0)[None, :]), 1)  # [n]
            xr_2 = tl.load(xr_at + (at * xr_step) + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
            x2 = x1 + xr_2  # [n]
            # r[t] = sigmoid(xr[t] + sum[m](Rr * h[t-1, m]))
            r = sigmoid(x2)  # [n]
            x3 = tl.sum((Rz_2 * tl.where((n < 3), h, 0.0)[None, :]), 1)  # [n]
            xz_2 = tl.load(xz_at + (at * xz_step) + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
            x4 = x3 + xz_2  # [n]
            # z[t] = sigmoid(xz[t] + sum[m](Rz * h[t-1, m]))
            z = sigmoid(x4)  # [n]
            x5 = tl.sum((Rn_2 * tl.where((n < 3), h, 0.0)[None, :]), 1)  # [n]
            x6 = b_2 + x5  # [n]
            x7 = r * x6  # [n]
            xn_2 = tl.load(xn_at + (at * xn_step) + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
            x8 = x7 + xn_2  # [n]
            # new[t] = tanh(xn[t] + r[t] * (sum[m](Rn * h[t-1, m]) + b))
            new = tanh(x8)  # [n]
            x9 = h * z  # [n]
            x10 = -x4  # [n]
            x11 = sigmoid(x10)  # [n]
            x12 = new * x11  # [n]
            # h[t] = z[t] * h[t-1] + (1 - z[t]) * new[t]
            h_2 = x12 + x9  # [n]
            h = h_2
        # Other threads of this program read what was written.
        tl.debug_barrier()
        for again in range(0, last - first):
            here = last - 1 - again
            at = here
            h_prev_2 = tl.load(h_tape + (item * 32 + here - first) * 3 + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
            x1_2 = tl.sum((Rr_2 * tl.where((n < 3), h_prev_2, 0.0)[None, :]), 1)  # [n]
            xr_3 = tl.load(xr_at + (at * xr_step) + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
            x2_2 = x1_2 + xr_3  # [n]
            # r[t] = sigmoid(xr[t] + sum[m](Rr * h[t-1, m]))
            r_2 = sigmoid(x2_2)  # [n]
            x3_2 = tl.sum((Rz_2 * tl.where((n < 3), h_prev_2, 0.0)[None, :]), 1)  # [n]
            xz_3 = tl.load(xz_at + (at * xz_step) + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
            x4_2 = x3_2 + xz_3  # [n]
            # z[t] = sigmoid(xz[t] + sum[m](Rz * h[t-1, m]))
            z_2 = sigmoid(x4_2)  # [n]
            x5_2 = tl.sum((Rn_2 * tl.where((n < 3), h_prev_2, 0.0)[None, :]), 1)  # [n]
            x6_2 = b_2 + x5_2  # [n]
            x7_2 = r_2 * x6_2  # [n]
            xn_3 = tl.load(xn_at + (at * xn_step) + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
            x8_2 = x7_2 + xn_3  # [n]
            # new[t] = tanh(xn[t] + r[t] * (sum[m](Rn * h[t-1, m]) + b))
            new_2 = tanh(x8_2)  # [n]
            x10_2 = -x4_2  # [n]
            x11_2 = sigmoid(x10_2)  # [n]
            d_y_2 = tl.full([4], 0.0, tl.float32)
            if d_y is not None:
                d_y_3 = tl.load(d_y_at + (at * heads * 3) + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
                d_y_2 = d_y_3
            d_h_3 = d_h + d_y_2  # [n]
            d_new = d_h_3 * x11_2  # [n]
            d_x11 = d_h_3 * new_2  # [n]
            x13 = -x10_2  # [n]
            x14 = sigmoid(x13)  # [n]
            x15 = d_x11 * x11_2  # [n]
            d_x10 = x14 * x15  # [n]
            x16 = -d_x10  # [n]
            d_h_prev = d_h_3 * z_2  # [n]
            d_z = d_h_3 * h_prev_2  # [n]
            x17 = new_2 * new_2  # [n]
            x18 = 1.0 - x17  # [n]
            d_x8 = d_new * x18  # [n]
            tl.store(d_xn_at + (at * heads * 3) + n, d_x8, mask=(n < 3))
            d_r = d_x8 * x6_2  # [n]
            d_x6 = d_x8 * r_2  # [n]
            d_b_total += d_x6
            d_Rn = d_x6[:, None] * h_prev_2[None, :]  # [n, m]
            d_Rn_total += d_Rn
            d_h_prev_1 = tl.sum((Rn_2 * tl.where((n < 3), d_x6, 0.0)[:, None]), 0)  # [m]
            x19 = d_z * z_2  # [n]
            d_x4 = x11_2 * x19  # [n]
            d_x4_1 = d_x4 + x16  # [n]
            tl.store(d_xz_at + (at * heads * 3) + n, d_x4_1, mask=(n < 3))
            d_Rz = d_x4_1[:, None] * h_prev_2[None, :]  # [n, m]
            d_Rz_total += d_Rz
            d_h_prev_1_1 = tl.sum((Rz_2 * tl.where((n < 3), d_x4_1, 0.0)[:, None]), 0)  # [m]
            d_h_prev_1_2 = d_h_prev_1 + d_h_prev_1_1  # [m]
            x20 = -x2_2  # [n]
            x21 = sigmoid(x20)  # [n]
            x22 = d_r * r_2  # [n]
            d_x2 = x21 * x22  # [n]
            tl.store(d_xr_at + (at * heads * 3) + n, d_x2, mask=(n < 3))
            d_Rr = d_x2[:, None] * h_prev_2[None, :]  # [n, m]
            d_Rr_total += d_Rr
            d_h_prev_1_3 = tl.sum((Rr_2 * tl.where((n < 3), d_x2, 0.0)[:, None]), 0)  # [m]
            d_h_prev_1_4 = d_h_prev_1_2 + d_h_prev_1_3  # [m]
            d_h_prev_2 = d_h_prev + d_h_prev_1_4  # [n]
            d_h = d_h_prev_2
        tl.debug_barrier()
    if d_h_first is not None:
        d_h_first_at = d_h_first + item * 3
    if d_h_first is not None:
        tl.store(d_h_first_at + n, d_h, mask=(n < 3))
        d_h = tl.full([4], 0.0, tl.float32)
    d_Rr_at = d_Rr_2 + item * 9
    tl.store(d_Rr_at + (n * 3)[:, None] + n[None, :], d_Rr_total, mask=(n < 3)[:, None] & (n < 3)[None, :])
    d_Rz_at = d_Rz_2 + item * 9
    tl.store(d_Rz_at + (n * 3)[:, None] + n[None, :], d_Rz_total, mask=(n < 3)[:, None] & (n < 3)[None, :])
    d_Rn_at = d_Rn_2 + item * 9
    tl.store(d_Rn_at + (n * 3)[:, None] + n[None, :], d_Rn_total, mask=(n < 3)[:, None] & (n < 3)[None, :])
    d_b_at = d_b + item * 3
    tl.store(d_b_at + n, d_b_total, mask=(n < 3))


def scratch(rows, steps, sequences, batch):
    """The shapes of what `forward` leaves for `backward`, by name.

    Elements are torch.float32; `kept NAME` is torch.float32.
    """
    heads = prod(batch)
    count = sequences * -(-steps // 32)
    return {
        "1 h": (count, heads, 3),
    }


def forward(
    arguments, initial, outputs, final, saved, offsets, slots, clock, device,
    rows, steps, sequences, batch, strides=None, extents=(),
):
    """Fills `outputs`, `final` and `saved`, which may lack what is not wanted but `kept` values."""
    heads = prod(batch)
    if strides is None:
        strides = {
            "xr": strides_of(arguments["xr"], 3),
            "xz": strides_of(arguments["xz"], 3),
            "xn": strides_of(arguments["xn"], 3),
            "Rr": strides_of(arguments["Rr"], 1),
            "Rz": strides_of(arguments["Rz"], 1),
            "Rn": strides_of(arguments["Rn"], 1),
            "b": strides_of(arguments["b"], 1),
        }
    launch(
        pass_1_forward,
        (sequences * heads,),
        (
            heads,
            steps,
            arguments["Rr"],
            strides["Rr"][0],
            arguments["Rz"],
            strides["Rz"][0],
            arguments["Rn"],
            strides["Rn"][0],
            arguments["b"],
            strides["b"][0],
            arguments["xr"],
            strides["xr"][0],
            strides["xr"][1],
            strides["xr"][2],
            arguments["xz"],
            strides["xz"][0],
            strides["xz"][1],
            strides["xz"][2],
            arguments["xn"],
            strides["xn"][0],
            strides["xn"][1],
            strides["xn"][2],
            outputs["y"],
            slots,
            initial.get("h"),
            saved.get("1 h"),
            final.get("h"),
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
        "xr": strides_of(arguments["xr"], 3),
        "xz": strides_of(arguments["xz"], 3),
        "xn": strides_of(arguments["xn"], 3),
        "Rr": strides_of(arguments["Rr"], 1),
        "Rz": strides_of(arguments["Rz"], 1),
        "Rn": strides_of(arguments["Rn"], 1),
        "b": strides_of(arguments["b"], 1),
    }
    d_arguments = {
        "xr": torch.empty((1, rows, steps, *batch, 3), dtype=arguments["xr"].dtype, device=device),
        "xz": torch.empty((1, rows, steps, *batch, 3), dtype=arguments["xz"].dtype, device=device),
        "xn": torch.empty((1, rows, steps, *batch, 3), dtype=arguments["xn"].dtype, device=device),
        "Rr": torch.empty((1, sequences, *batch, 3, 3), dtype=torch.float32, device=device),
        "Rz": torch.empty((1, sequences, *batch, 3, 3), dtype=torch.float32, device=device),
        "Rn": torch.empty((1, sequences, *batch, 3, 3), dtype=torch.float32, device=device),
        "b": torch.empty((1, sequences, *batch, 3), dtype=torch.float32, device=device),
    }
    tape = {
        "1 h": torch.empty((sequences * heads * 1, 32, 3), dtype=torch.float32, device=device),
    }
    launch(
        pass_1_backward,
        (sequences * heads,),
        (
            heads,
            steps,
            arguments["Rr"],
            strides["Rr"][0],
            arguments["Rz"],
            strides["Rz"][0],
            arguments["Rn"],
            strides["Rn"][0],
            arguments["b"],
            strides["b"][0],
            arguments["xr"],
            strides["xr"][0],
            strides["xr"][1],
            strides["xr"][2],
            arguments["xz"],
            strides["xz"][0],
            strides["xz"][1],
            strides["xz"][2],
            arguments["xn"],
            strides["xn"][0],
            strides["xn"][1],
            strides["xn"][2],
            d_outputs.get("y"),
            d_arguments["xr"],
            d_arguments["xz"],
            d_arguments["xn"],
            d_final.get("h"),
            saved.get("1 h"),
            tape["1 h"],
            d_initial.get("h"),
            d_arguments["Rr"],
            d_arguments["Rz"],
            d_arguments["Rn"],
            d_arguments["b"],
        ),
        device,
        1,
        2,
    )
    return {n: added(x) for n, x in d_arguments.items()}
