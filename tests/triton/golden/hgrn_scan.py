# ruff: noqa: D103, F841, PIE808, RET504, RUF059, RUF100, SIM102, SIM300
"""hgrn: scan form, Triton.

    recurrence hgrn(d)
        "An elementwise gated linear recurrence. Qin and others, Hierarchically Gated Recurrent Network, 2023."
        input  x[d], f[d] in [0, 1]
        state  h[d]

        h[t] = f[t] * h[t-1] + (1 - f[t]) * x[t]
        output y[t] = h[t]

Made for d = 3: float32, matrix products in ieee, chunks of 16 steps.

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
def combine_1(earlier_a_00, earlier_b_0, later_a_00, later_b_0):
    x1 = earlier_a_00 * later_a_00
    x2 = earlier_b_0 * later_a_00
    x3 = later_b_0 + x2
    return x1, x3


@triton.jit
def pass_1_maps(
    heads,
    steps,
    programs,
    least,
    filling,
    f,
    f_row,
    f_step,
    f_head_0,
    x,
    x_row,
    x_step,
    x_head_0,
    map_M_h_h,
    most_stretches,
    map_F_h,
):
    item = tl.program_id(0).to(tl.int64)
    sequence, head = item // heads, item % heads
    head_0 = head
    row, begin, length = sequence, 0, tl.cast(steps, tl.int64)
    d = tl.arange(0, 4)
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
    # What the last stretch makes of what it is handed nobody asks for.
    if stop == count:
        return
    f_at = f + row * f_row + begin * f_step + head_0 * f_head_0
    x_at = x + row * x_row + begin * x_step + head_0 * x_head_0
    M_h_h = tl.broadcast_to(tl.full([], 1.0, tl.float32), [4])
    F_h = tl.broadcast_to(tl.full([], 0.0, tl.float32), [4])
    for here in range(start, stop):
        live = tl.minimum(length - here * 16, 16)
        at = here * 16 + t
        f_2 = tl.load(  # [t, d]
            f_at + (at * f_step)[:, None] + d[None, :], mask=(t < live)[:, None] & (d < 3)[None, :], other=0
        ).to(tl.float32)
        x1 = 1.0 - f_2  # [t, d]
        x_2 = tl.load(  # [t, d]
            x_at + (at * x_step)[:, None] + d[None, :], mask=(t < live)[:, None] & (d < 3)[None, :], other=0
        ).to(tl.float32)
        x2 = x_2 * x1  # [t, d]
        x2_1_drive = tl.where((t == 0)[:, None], (f_2 * F_h[None, :] + x2), x2)  # [t, d]
        map, x2_1 = tl.associative_scan((f_2, x2_1_drive), 0, combine_1)
        x4 = tl.sum(tl.where((t[:, None] == (live - 1)), x2_1, 0.0), 0)  # [d]
        x3_drive = tl.where(  # [t, d]
            (t == 0)[:, None],
            (f_2 * M_h_h[None, :] + tl.full([16, 4], 0.0, tl.float32)),
            tl.full([16, 4], 0.0, tl.float32),
        )
        map_2, x3 = tl.associative_scan((f_2, x3_drive), 0, combine_1)
        x5 = tl.sum(tl.where((t[:, None] == (live - 1)), x3, 0.0), 0)  # [d]
        M_h_h = x5
        F_h = x4
    tl.store(map_M_h_h + (item * most_stretches + stretch) * 3 + d, M_h_h, mask=(d < 3))
    tl.store(map_F_h + (item * most_stretches + stretch) * 3 + d, F_h, mask=(d < 3))


@triton.jit
def pass_1_join(
    heads,
    steps,
    programs,
    least,
    filling,
    slots,
    h_first,
    h_start,
    most_stretches,
    map_F_h,
    map_M_h_h,
):
    item = tl.program_id(0).to(tl.int64)
    sequence, head = item // heads, item % heads
    row, begin, length = sequence, 0, tl.cast(steps, tl.int64)
    d = tl.arange(0, 4)
    count = (length + 15) // 16
    whole = (count < 2 * least) | (2 * programs > filling)
    per = tl.maximum((count * programs + filling - 1) // filling, least)
    per = tl.where(whole, tl.maximum(count, 1), per)
    h = tl.broadcast_to(tl.full([], 0.0, tl.float32), [4])
    place = item
    if slots is not None:
        place = tl.load(slots + sequence).to(tl.int64) * heads + head
        if place < 0:
            return
    if h_first is not None:
        h_first_at = h_first + place * 3
    if h_first is not None:
        # h[t] = f[t] * h[t-1] + (1 - f[t]) * x[t]
        h_2 = tl.load(h_first_at + d, mask=(d < 3), other=0).to(tl.float32)  # [d]
        h = h_2
    stretches = tl.maximum((count + per - 1) // per, 1)
    for back in range(0, stretches):
        stretch = back
        tl.store(h_start + (item * most_stretches + stretch) * 3 + d, h, mask=(d < 3))
        c_3 = tl.load(map_F_h + (item * most_stretches + stretch) * 3 + d, mask=(d < 3), other=0).to(tl.float32)  # [d]
        h_after = c_3
        c_2 = tl.load(  # [d]
            map_M_h_h + (item * most_stretches + stretch) * 3 + d, mask=(d < 3), other=0
        ).to(tl.float32)
        x1 = h * c_2  # [d]
        x2 = h_after + x1  # [d]
        h = x2


@triton.jit
def pass_1_forward(
    heads,
    steps,
    programs,
    least,
    filling,
    f,
    f_row,
    f_step,
    f_head_0,
    x,
    x_row,
    x_step,
    x_head_0,
    y,
    slots,
    h_first,
    h_start,
    most_stretches,
    h_kept,
    h_last,
):
    item = tl.program_id(0).to(tl.int64)
    sequence, head = item // heads, item % heads
    head_0 = head
    row, begin, length = sequence, 0, tl.cast(steps, tl.int64)
    d = tl.arange(0, 4)
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
    f_at = f + row * f_row + begin * f_step + head_0 * f_head_0
    x_at = x + row * x_row + begin * x_step + head_0 * x_head_0
    y_at = y + ((row * steps + begin) * heads + head) * 3
    h = tl.broadcast_to(tl.full([], 0.0, tl.float32), [4])
    place = item
    if slots is not None:
        place = tl.load(slots + sequence).to(tl.int64) * heads + head
        if place < 0:
            return
    if h_first is not None:
        h_first_at = h_first + place * 3
    if h_first is not None:
        # h[t] = f[t] * h[t-1] + (1 - f[t]) * x[t]
        h_2 = tl.load(h_first_at + d, mask=(d < 3), other=0).to(tl.float32)  # [d]
        h = h_2
    if h_start is not None:
        # h[t] = f[t] * h[t-1] + (1 - f[t]) * x[t]
        h_3 = tl.load(h_start + (item * most_stretches + stretch) * 3 + d, mask=(d < 3), other=0).to(tl.float32)  # [d]
        h = h_3
    first_kept = sequence * ((length + 15) // 16)
    for here in range(start, stop):
        live = tl.minimum(length - here * 16, 16)
        at = here * 16 + t
        if h_kept is not None:
            tl.store(h_kept + ((first_kept + here) * heads + head) * 3 + d, h, mask=(d < 3))
        f_2 = tl.load(  # [t, d]
            f_at + (at * f_step)[:, None] + d[None, :], mask=(t < live)[:, None] & (d < 3)[None, :], other=0
        ).to(tl.float32)
        x1 = 1.0 - f_2  # [t, d]
        x_2 = tl.load(  # [t, d]
            x_at + (at * x_step)[:, None] + d[None, :], mask=(t < live)[:, None] & (d < 3)[None, :], other=0
        ).to(tl.float32)
        x2 = x_2 * x1  # [t, d]
        h_drive = tl.where((t == 0)[:, None], (f_2 * h[None, :] + x2), x2)  # [t, d]
        # h[t] = f[t] * h[t-1] + (1 - f[t]) * x[t]
        map, h_4 = tl.associative_scan((f_2, h_drive), 0, combine_1)
        tl.store(y_at + (at * heads * 3)[:, None] + d[None, :], h_4, mask=(t < live)[:, None] & (d < 3)[None, :])
        x3 = tl.sum(tl.where((t[:, None] == (live - 1)), h_4, 0.0), 0)  # [d]
        h = x3
    if h_last is not None:
        h_last_at = h_last + place * 3
    if h_last is not None:
        if stop == count:
            tl.store(h_last_at + d, h, mask=(d < 3))


@triton.jit
def pass_1_maps_back(
    heads,
    steps,
    programs,
    least,
    filling,
    f,
    f_row,
    f_step,
    f_head_0,
    d_y,
    h_kept,
    map_M_h_h,
    most_stretches,
    map_F_h,
):
    item = tl.program_id(0).to(tl.int64)
    sequence, head = item // heads, item % heads
    head_0 = head
    row, begin, length = sequence, 0, tl.cast(steps, tl.int64)
    d = tl.arange(0, 4)
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
    # What the last stretch makes of what it is handed nobody asks for.
    if start == 0:
        return
    f_at = f + row * f_row + begin * f_step + head_0 * f_head_0
    if d_y is not None:
        d_y_at = d_y + ((row * steps + begin) * heads + head) * 3
    M_h_h = tl.broadcast_to(tl.full([], 1.0, tl.float32), [4])
    F_h = tl.broadcast_to(tl.full([], 0.0, tl.float32), [4])
    for back in range(0, stop - start):
        here = stop - 1 - back
        live = tl.minimum(length - here * 16, 16)
        at = here * 16 + t
        x1 = tl.where((t[:, None] == (live - 1)), F_h[None, :], 0.0)  # [t, d]
        d_y_2 = tl.full([16, 4], 0.0, tl.float32)
        if d_y is not None:
            d_y_3 = tl.load(  # [t, d]
                d_y_at + (at * heads * 3)[:, None] + d[None, :], mask=(t < live)[:, None] & (d < 3)[None, :], other=0
            ).to(tl.float32)
            d_y_2 = d_y_3
        x3 = d_y_2 + x1  # [t, d]
        x2 = tl.where((t[:, None] == (live - 1)), M_h_h[None, :], 0.0)  # [t, d]
        f_2 = tl.load(  # [t, d]
            f_at + (at * f_step)[:, None] + d[None, :], mask=(t < live)[:, None] & (d < 3)[None, :], other=0
        ).to(tl.float32)
        x10 = tl.sum(tl.where((t[:, None] == tl.where(0 < live, 0, -1)), f_2, 0.0), 0)  # [d]
        x5 = tl.where(  # [t, d]
            (t < live - 1)[:, None],
            tl.gather(f_2, tl.broadcast_to((tl.minimum((t + 1), 15))[:, None].to(tl.int32), [16, 4]), 0),
            0.0,
        )
        x3_1_drive = tl.where((t == live - 1)[:, None], x3, x3)  # [t, d]
        map, x3_1 = tl.associative_scan(
            (tl.where((t < live)[:, None], x5, 1.0), tl.where((t < live)[:, None], x3_1_drive, 0.0)),
            0,
            combine_1,
            reverse=True,
        )
        x2_1_drive = tl.where((t == live - 1)[:, None], x2, x2)  # [t, d]
        map_2, x2_1 = tl.associative_scan(
            (tl.where((t < live)[:, None], x5, 1.0), tl.where((t < live)[:, None], x2_1_drive, 0.0)),
            0,
            combine_1,
            reverse=True,
        )
        x4 = tl.sum(tl.where((t[:, None] == tl.where(0 < live, 0, -1)), x3_1, 0.0), 0)  # [d]
        x6 = tl.sum(tl.where((t[:, None] == tl.where(0 < live, 0, -1)), x2_1, 0.0), 0)  # [d]
        x7 = x10 * x4  # [d]
        x8 = x10 * x6  # [d]
        M_h_h = x8
        F_h = x7
    tl.store(map_M_h_h + (item * most_stretches + stretch) * 3 + d, M_h_h, mask=(d < 3))
    tl.store(map_F_h + (item * most_stretches + stretch) * 3 + d, F_h, mask=(d < 3))


@triton.jit
def pass_1_join_back(
    heads,
    steps,
    programs,
    least,
    filling,
    d_h_last,
    h_start,
    most_stretches,
    map_F_h,
    map_M_h_h,
):
    item = tl.program_id(0).to(tl.int64)
    sequence, head = item // heads, item % heads
    row, begin, length = sequence, 0, tl.cast(steps, tl.int64)
    d = tl.arange(0, 4)
    count = (length + 15) // 16
    whole = (count < 2 * least) | (2 * programs > filling)
    per = tl.maximum((count * programs + filling - 1) // filling, least)
    per = tl.where(whole, tl.maximum(count, 1), per)
    d_h = tl.full([4], 0.0, tl.float32)
    if d_h_last is not None:
        d_h_last_at = d_h_last + item * 3
    if d_h_last is not None:
        d_h_2 = tl.load(d_h_last_at + d, mask=(d < 3), other=0).to(tl.float32)  # [d]
        d_h = d_h_2
    stretches = tl.maximum((count + per - 1) // per, 1)
    for back in range(0, stretches):
        stretch = stretches - 1 - back
        tl.store(h_start + (item * most_stretches + stretch) * 3 + d, d_h, mask=(d < 3))
        c_3 = tl.load(map_F_h + (item * most_stretches + stretch) * 3 + d, mask=(d < 3), other=0).to(tl.float32)  # [d]
        h_after = c_3
        c_2 = tl.load(  # [d]
            map_M_h_h + (item * most_stretches + stretch) * 3 + d, mask=(d < 3), other=0
        ).to(tl.float32)
        x1 = d_h * c_2  # [d]
        x2 = h_after + x1  # [d]
        d_h = x2


@triton.jit
def pass_1_backward(
    heads,
    steps,
    programs,
    least,
    filling,
    f,
    f_row,
    f_step,
    f_head_0,
    x,
    x_row,
    x_step,
    x_head_0,
    d_y,
    d_f,
    d_x,
    d_h_last,
    h_start,
    most_stretches,
    h_kept,
    d_h_first,
):
    item = tl.program_id(0).to(tl.int64)
    sequence, head = item // heads, item % heads
    head_0 = head
    row, begin, length = sequence, 0, tl.cast(steps, tl.int64)
    d = tl.arange(0, 4)
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
    f_at = f + row * f_row + begin * f_step + head_0 * f_head_0
    x_at = x + row * x_row + begin * x_step + head_0 * x_head_0
    if d_y is not None:
        d_y_at = d_y + ((row * steps + begin) * heads + head) * 3
    d_f_at = d_f + ((row * steps + begin) * heads + head) * 3
    d_x_at = d_x + ((row * steps + begin) * heads + head) * 3
    d_h = tl.full([4], 0.0, tl.float32)
    if d_h_last is not None:
        d_h_last_at = d_h_last + item * 3
    if d_h_last is not None:
        d_h_2 = tl.load(d_h_last_at + d, mask=(d < 3), other=0).to(tl.float32)  # [d]
        d_h = d_h_2
    if h_start is not None:
        d_h_3 = tl.load(  # [d]
            h_start + (item * most_stretches + stretch) * 3 + d, mask=(d < 3), other=0
        ).to(tl.float32)
        d_h = d_h_3
    first_kept = sequence * ((length + 15) // 16)
    for back in range(0, stop - start):
        here = stop - 1 - back
        live = tl.minimum(length - here * 16, 16)
        at = here * 16 + t
        x7 = tl.where(  # [t]
            (t >= 1),
            tl.gather(tl.full([16], 1.0, tl.float32), tl.broadcast_to((tl.maximum((t - 1), 0)).to(tl.int32), [16]), 0),
            0.0,
        )
        x8 = x7 == 0.0  # [t]
        x4 = tl.where((t[:, None] == (live - 1)), d_h[None, :], 0.0)  # [t, d]
        d_y_2 = tl.full([16, 4], 0.0, tl.float32)
        if d_y is not None:
            d_y_3 = tl.load(  # [t, d]
                d_y_at + (at * heads * 3)[:, None] + d[None, :], mask=(t < live)[:, None] & (d < 3)[None, :], other=0
            ).to(tl.float32)
            d_y_2 = d_y_3
        d_h_4 = d_y_2 + x4  # [t, d]
        f_2 = tl.load(  # [t, d]
            f_at + (at * f_step)[:, None] + d[None, :], mask=(t < live)[:, None] & (d < 3)[None, :], other=0
        ).to(tl.float32)
        x10 = tl.sum(tl.where((t[:, None] == tl.where(0 < live, 0, -1)), f_2, 0.0), 0)  # [d]
        x1 = 1.0 - f_2  # [t, d]
        x5 = tl.where(  # [t, d]
            (t < live - 1)[:, None],
            tl.gather(f_2, tl.broadcast_to((tl.minimum((t + 1), 15))[:, None].to(tl.int32), [16, 4]), 0),
            0.0,
        )
        d_h_1_drive = tl.where((t == live - 1)[:, None], d_h_4, d_h_4)  # [t, d]
        map, d_h_1 = tl.associative_scan(
            (tl.where((t < live)[:, None], x5, 1.0), tl.where((t < live)[:, None], d_h_1_drive, 0.0)),
            0,
            combine_1,
            reverse=True,
        )
        d_x_2 = d_h_1 * x1  # [t, d]
        tl.store(d_x_at + (at * heads * 3)[:, None] + d[None, :], d_x_2, mask=(t < live)[:, None] & (d < 3)[None, :])
        x11 = tl.sum(tl.where((t[:, None] == tl.where(0 < live, 0, -1)), d_h_1, 0.0), 0)  # [d]
        d_h_prev = x10 * x11  # [d]
        x_2 = tl.load(  # [t, d]
            x_at + (at * x_step)[:, None] + d[None, :], mask=(t < live)[:, None] & (d < 3)[None, :], other=0
        ).to(tl.float32)
        x2 = x_2 * x1  # [t, d]
        h_prev = tl.load(  # [d]
            h_kept + ((first_kept + here) * heads + head) * 3 + d, mask=(d < 3), other=0
        ).to(tl.float32)
        h_drive = tl.where((t == 0)[:, None], (f_2 * h_prev[None, :] + x2), x2)  # [t, d]
        # h[t] = f[t] * h[t-1] + (1 - f[t]) * x[t]
        map_2, h = tl.associative_scan((f_2, h_drive), 0, combine_1)
        x6 = tl.where(  # [t, d]
            (t >= 1)[:, None],
            tl.gather(h, tl.broadcast_to((tl.maximum((t - 1), 0))[:, None].to(tl.int32), [16, 4]), 0),
            0.0,
        )
        x9 = tl.where(x8[:, None], h_prev[None, :], x6)  # [t, d]
        d_f_2 = d_h_1 * x9  # [t, d]
        d_x1 = d_h_1 * x_2  # [t, d]
        x12 = -d_x1  # [t, d]
        d_f_1 = d_f_2 + x12  # [t, d]
        tl.store(d_f_at + (at * heads * 3)[:, None] + d[None, :], d_f_1, mask=(t < live)[:, None] & (d < 3)[None, :])
        d_h = d_h_prev
    if d_h_first is not None:
        d_h_first_at = d_h_first + item * 3
    if d_h_first is not None:
        if start == 0:
            tl.store(d_h_first_at + d, d_h, mask=(d < 3))
        d_h = tl.full([4], 0.0, tl.float32)
    d_h = tl.where(start == 0, d_h, 0.0)


def scratch(rows, steps, sequences, batch):
    """The shapes of what `forward` leaves for `backward`, by name.

    Elements are torch.float32; `kept NAME` is torch.float32.
    """
    heads = prod(batch)
    count = sequences * -(-steps // 16)
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
        strides = {"x": strides_of(arguments["x"], 3), "f": strides_of(arguments["f"], 3)}
    stretches = stretches_of(-(-steps // 16), heads * 1)
    starts = {}
    if stretches > 1:
        items = sequences * heads
        maps = {
            "1 M h h": (items * 1, stretches, 3),
            "1 F h": (items * 1, stretches, 3),
        }
        starts = {
            "1 h": (items * 1, stretches, 3),
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
                arguments["f"],
                strides["f"][0],
                strides["f"][1],
                strides["f"][2],
                arguments["x"],
                strides["x"][0],
                strides["x"][1],
                strides["x"][2],
                maps["1 M h h"],
                stretches,
                maps["1 F h"],
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
                initial.get("h"),
                starts.get("1 h"),
                stretches,
                maps["1 F h"],
                maps["1 M h h"],
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
            arguments["f"],
            strides["f"][0],
            strides["f"][1],
            strides["f"][2],
            arguments["x"],
            strides["x"][0],
            strides["x"][1],
            strides["x"][2],
            outputs["y"],
            slots,
            initial.get("h"),
            starts.get("1 h"),
            stretches,
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
    strides = {"x": strides_of(arguments["x"], 3), "f": strides_of(arguments["f"], 3)}
    d_arguments = {
        "x": torch.empty((1, rows, steps, *batch, 3), dtype=arguments["x"].dtype, device=device),
        "f": torch.empty((1, rows, steps, *batch, 3), dtype=arguments["f"].dtype, device=device),
    }
    stretches = stretches_of(-(-steps // 16), heads * 1)
    starts = {}
    if stretches > 1:
        items = sequences * heads
        maps = {
            "1 M h h": (items * 1, stretches, 3),
            "1 F h": (items * 1, stretches, 3),
        }
        starts = {
            "1 h": (items * 1, stretches, 3),
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
                arguments["f"],
                strides["f"][0],
                strides["f"][1],
                strides["f"][2],
                d_outputs.get("y"),
                saved.get("1 h"),
                maps["1 M h h"],
                stretches,
                maps["1 F h"],
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
                d_final.get("h"),
                starts.get("1 h"),
                stretches,
                maps["1 F h"],
                maps["1 M h h"],
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
            arguments["f"],
            strides["f"][0],
            strides["f"][1],
            strides["f"][2],
            arguments["x"],
            strides["x"][0],
            strides["x"][1],
            strides["x"][2],
            d_outputs.get("y"),
            d_arguments["f"],
            d_arguments["x"],
            d_final.get("h"),
            starts.get("1 h"),
            stretches,
            saved.get("1 h"),
            d_initial.get("h"),
        ),
        device,
        1,
        2,
    )
    return {n: added(x) for n, x in d_arguments.items()}
