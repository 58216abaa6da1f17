# ruff: noqa: D103, F841, PIE808, RET504, RUF059, RUF100, SIM102, SIM300
"""viterbi: sequential form, Triton.

    recurrence viterbi(n, m = n)
        "Scores of the best path to every state of a hidden Markov model. Viterbi, 1967."
        input  emission[n]
        param  A[n, m], start[n]                        # A[n, m]: the score of a step from m to n
        state  h[n] = start

        h[t] = emission[t] + max[m](A + h[t-1, m])
        output score[t] = max[n](h[t])
        output path[t] = h[t]

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
def maximum(x, y):
    """The larger of two numbers; NaN if either is. Integers too."""
    return tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def amax(x, axis: tl.constexpr):
    """The largest element along an axis; NaN if any is."""
    return tl.reduce(x, axis, maximum)


@triton.jit
def pass_1_maps(
    heads,
    steps,
    programs,
    least,
    filling,
    emission,
    emission_row,
    emission_step,
    emission_head_0,
    A,
    A_head_0,
    start_2,
    start_head_0,
    map_M_h_h,
    most_stretches,
    map_F_h,
):
    item = tl.program_id(0).to(tl.int64)
    sequence, head = item // heads, item % heads
    head_0 = head
    row, begin, length = sequence, 0, tl.cast(steps, tl.int64)
    n = tl.arange(0, 4)
    count = length
    units = (count + 31) // 32
    whole = (units < 2 * least) | (2 * programs > filling)
    per = tl.maximum((units * programs + filling - 1) // filling, least)
    per = tl.where(whole, tl.maximum(units, 1), per)
    stretch = tl.program_id(2).to(tl.int64)
    start = stretch * per * 32
    stop = tl.minimum(start + per * 32, count)
    if (stretch > 0) & (start >= count):
        return
    n_in = tl.arange(0, 4)
    # What the last stretch makes of what it is handed nobody asks for.
    if stop == count:
        return
    emission_at = emission + row * emission_row + begin * emission_step + head_0 * emission_head_0
    A_at = A + head_0 * A_head_0
    A_2 = tl.load(  # [n, m]
        A_at + (n * 3)[:, None] + n[None, :], mask=(n < 3)[:, None] & (n < 3)[None, :], other=0
    ).to(tl.float32)
    x1 = n[:, None] == n_in[None, :]  # [n, n_in]
    x2 = tl.where(x1, tl.full([], 0.0, tl.float32), float("-inf"))  # [n, n_in]
    M_h_h = x2
    F_h = tl.broadcast_to(tl.full([], float("-inf"), tl.float32), [4])
    for here in range(start, stop):
        at = here
        x1_2 = A_2 + F_h[None, :]  # [n, m]
        x2_2 = A_2[:, :, None] + M_h_h[None, :, :]  # [n, m, n_in]
        x3 = amax(tl.where((n < 3)[None, :], x1_2, float("-inf")), 1)  # [n]
        x4 = amax(tl.where((n < 3)[None, :, None], x2_2, float("-inf")), 1)  # [n, n_in]
        emission_2 = tl.load(emission_at + (at * emission_step) + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
        x5 = emission_2 + x3  # [n]
        x6 = emission_2[:, None] + x4  # [n, n_in]
        M_h_h = x6
        F_h = x5
    tl.store(
        map_M_h_h + (item * most_stretches + stretch) * 9 + (n * 3)[:, None] + n_in[None, :],
        M_h_h,
        mask=(n < 3)[:, None] & (n_in < 3)[None, :],
    )
    tl.store(map_F_h + (item * most_stretches + stretch) * 3 + n, F_h, mask=(n < 3))


@triton.jit
def pass_1_join(
    heads,
    steps,
    programs,
    least,
    filling,
    A,
    A_head_0,
    start_2,
    start_head_0,
    slots,
    h_first,
    h_start,
    most_stretches,
    map_F_h,
    map_M_h_h,
):
    item = tl.program_id(0).to(tl.int64)
    sequence, head = item // heads, item % heads
    head_0 = head
    row, begin, length = sequence, 0, tl.cast(steps, tl.int64)
    n = tl.arange(0, 4)
    count = length
    units = (count + 31) // 32
    whole = (units < 2 * least) | (2 * programs > filling)
    per = tl.maximum((units * programs + filling - 1) // filling, least)
    per = tl.where(whole, tl.maximum(units, 1), per)
    start_at = start_2 + head_0 * start_head_0
    start_3 = tl.load(start_at + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
    h = start_3
    place = item
    if slots is not None:
        place = tl.load(slots + sequence).to(tl.int64) * heads + head
        if place < 0:
            return
    if h_first is not None:
        h_first_at = h_first + place * 3
    if h_first is not None:
        # h[t] = emission[t] + max[m](A + h[t-1, m])
        h_2 = tl.load(h_first_at + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
        h = h_2
    n_in = tl.arange(0, 4)
    stretches = tl.maximum((units + per - 1) // per, 1)
    for back in range(0, stretches):
        stretch = back
        tl.store(h_start + (item * most_stretches + stretch) * 3 + n, h, mask=(n < 3))
        c_2 = tl.load(map_F_h + (item * most_stretches + stretch) * 3 + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
        h_after = c_2
        x2 = tl.load(  # [n, n_in]
            map_M_h_h + (item * most_stretches + stretch) * 9 + (n * 3)[:, None] + n_in[None, :],
            mask=(n < 3)[:, None] & (n_in < 3)[None, :],
            other=0,
        ).to(tl.float32)
        x1 = h[None, :] + x2  # [n, n_in]
        x2_2 = amax(tl.where((n_in < 3)[None, :], x1, float("-inf")), 1)  # [n]
        x3 = maximum(h_after, x2_2)  # [n]
        h = x3


@triton.jit
def pass_1_forward(
    heads,
    steps,
    programs,
    least,
    filling,
    A,
    A_head_0,
    start_2,
    start_head_0,
    emission,
    emission_row,
    emission_step,
    emission_head_0,
    score,
    path,
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
    n = tl.arange(0, 4)
    count = length
    units = (count + 31) // 32
    whole = (units < 2 * least) | (2 * programs > filling)
    per = tl.maximum((units * programs + filling - 1) // filling, least)
    per = tl.where(whole, tl.maximum(units, 1), per)
    stretch = tl.program_id(2).to(tl.int64)
    start = stretch * per * 32
    stop = tl.minimum(start + per * 32, count)
    if (stretch > 0) & (start >= count):
        return
    A_at = A + head_0 * A_head_0
    start_at = start_2 + head_0 * start_head_0
    emission_at = emission + row * emission_row + begin * emission_step + head_0 * emission_head_0
    score_at = score + ((row * steps + begin) * heads + head) * 1
    path_at = path + ((row * steps + begin) * heads + head) * 3
    A_2 = tl.load(  # [n, m]
        A_at + (n * 3)[:, None] + n[None, :], mask=(n < 3)[:, None] & (n < 3)[None, :], other=0
    ).to(tl.float32)
    start_3 = tl.load(start_at + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
    h = start_3
    place = item
    if slots is not None:
        place = tl.load(slots + sequence).to(tl.int64) * heads + head
        if place < 0:
            return
    if h_first is not None:
        h_first_at = h_first + place * 3
    if h_first is not None:
        # h[t] = emission[t] + max[m](A + h[t-1, m])
        h_2 = tl.load(h_first_at + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
        h = h_2
    if h_start is not None:
        # h[t] = emission[t] + max[m](A + h[t-1, m])
        h_3 = tl.load(h_start + (item * most_stretches + stretch) * 3 + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
        h = h_3
    first_kept = sequence * ((length + 31) // 32)
    for here in range(start, stop):
        at = here
        if h_kept is not None:
            if here % 32 == 0:
                tl.store(h_kept + ((first_kept + here // 32) * heads + head) * 3 + n, h, mask=(n < 3))
        x1 = A_2 + h[None, :]  # [n, m]
        x2 = amax(tl.where((n < 3)[None, :], x1, float("-inf")), 1)  # [n]
        emission_2 = tl.load(emission_at + (at * emission_step) + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
        # h[t] = emission[t] + max[m](A + h[t-1, m])
        h_4 = emission_2 + x2  # [n]
        tl.store(path_at + (at * heads * 3) + n, h_4, mask=(n < 3))
        # output score[t] = max[n](h[t])
        score_2 = amax(tl.where((n < 3), h_4, float("-inf")), 0)
        tl.store(score_at + (at * heads * 1), score_2)
        h = h_4
    if h_last is not None:
        h_last_at = h_last + place * 3
    if h_last is not None:
        if stop == count:
            tl.store(h_last_at + n, h, mask=(n < 3))


@triton.jit
def pass_1_maps_back(
    heads,
    steps,
    programs,
    least,
    filling,
    emission,
    emission_row,
    emission_step,
    emission_head_0,
    d_score,
    d_path,
    A,
    A_head_0,
    start_2,
    start_head_0,
    h_kept,
    h_tape,
    most_stretches,
    map_M_h_h,
    map_F_h,
):
    item = tl.program_id(0).to(tl.int64)
    sequence, head = item // heads, item % heads
    head_0 = head
    row, begin, length = sequence, 0, tl.cast(steps, tl.int64)
    n = tl.arange(0, 4)
    count = length
    units = (count + 31) // 32
    whole = (units < 2 * least) | (2 * programs > filling)
    per = tl.maximum((units * programs + filling - 1) // filling, least)
    per = tl.where(whole, tl.maximum(units, 1), per)
    stretch = tl.program_id(2).to(tl.int64)
    start = stretch * per * 32
    stop = tl.minimum(start + per * 32, count)
    if (stretch > 0) & (start >= count):
        return
    n_in = tl.arange(0, 4)
    # What the last stretch makes of what it is handed nobody asks for.
    if start == 0:
        return
    emission_at = emission + row * emission_row + begin * emission_step + head_0 * emission_head_0
    if d_score is not None:
        d_score_at = d_score + ((row * steps + begin) * heads + head) * 1
    if d_path is not None:
        d_path_at = d_path + ((row * steps + begin) * heads + head) * 3
    first_kept = sequence * ((length + 31) // 32)
    A_at = A + head_0 * A_head_0
    A_2 = tl.load(  # [n, m]
        A_at + (n * 3)[:, None] + n[None, :], mask=(n < 3)[:, None] & (n < 3)[None, :], other=0
    ).to(tl.float32)
    x1 = n[:, None] == n_in[None, :]  # [n, n_in]
    x2 = tl.where(x1, tl.full([], 1.0, tl.float32), 0.0)  # [n, n_in]
    M_h_h = x2
    F_h = tl.broadcast_to(tl.full([], 0.0, tl.float32), [4])
    segments = (stop - start + 31) // 32
    for back in range(0, segments):
        segment = start // 32 + segments - 1 - back
        first = segment * 32
        last = tl.minimum(first + 32, stop)
        h_prev = tl.load(  # [n]
            h_kept + ((first_kept + segment) * heads + head) * 3 + n, mask=(n < 3), other=0
        ).to(tl.float32)
        h = h_prev
        for here in range(first, last):
            at = here
            tl.store(h_tape + ((item * most_stretches + stretch) * 32 + here - first) * 3 + n, h, mask=(n < 3))
            x1_2 = A_2 + h[None, :]  # [n, m]
            x2_2 = amax(tl.where((n < 3)[None, :], x1_2, float("-inf")), 1)  # [n]
            emission_2 = tl.load(emission_at + (at * emission_step) + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
            # h[t] = emission[t] + max[m](A + h[t-1, m])
            h_2 = emission_2 + x2_2  # [n]
            h = h_2
        # Other threads of this program read what was written.
        tl.debug_barrier()
        for again in range(0, last - first):
            here = last - 1 - again
            at = here
            h_prev_2 = tl.load(  # [n]
                h_tape + ((item * most_stretches + stretch) * 32 + here - first) * 3 + n, mask=(n < 3), other=0
            ).to(tl.float32)
            x1_3 = A_2 + h_prev_2[None, :]  # [n, m]
            x2_3 = amax(tl.where((n < 3)[None, :], x1_3, float("-inf")), 1)  # [n]
            emission_3 = tl.load(emission_at + (at * emission_step) + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
            # h[t] = emission[t] + max[m](A + h[t-1, m])
            h_3 = emission_3 + x2_3  # [n]
            # output score[t] = max[n](h[t])
            score = amax(tl.where((n < 3), h_3, float("-inf")), 0)
            d_path_2 = tl.full([4], 0.0, tl.float32)
            if d_path is not None:
                d_path_3 = tl.load(d_path_at + (at * heads * 3) + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
                d_path_2 = d_path_3
            x3 = F_h + d_path_2  # [n]
            x3_1 = h_3 == score  # [n]
            x4 = x3_1.to(tl.float32)  # [n]
            x5 = tl.sum(tl.where((n < 3), x4, 0.0), 0)
            d_score_2 = tl.full([], 0.0, tl.float32)
            if d_score is not None:
                d_score_3 = tl.load(d_score_at + (at * heads * 1)).to(tl.float32)
                d_score_2 = d_score_3
            x6 = d_score_2 / x5
            x7 = tl.where(x3_1, x6, 0.0)  # [n]
            x8 = x3 + x7  # [n]
            x8_1 = x1_3 == x2_3[:, None]  # [n, m]
            x9 = x8_1.to(tl.float32)  # [n, m]
            x10 = tl.sum(tl.where((n < 3)[None, :], x9, 0.0), 1)  # [n]
            x11 = x8 / x10  # [n]
            x12 = M_h_h / x10[:, None]  # [n, n_in]
            x13 = tl.where(x8_1, x11[:, None], 0.0)  # [n, m]
            x14 = tl.where(x8_1[:, :, None], x12[:, None, :], 0.0)  # [n, m, n_in]
            x15 = tl.sum(tl.where((n < 3)[:, None], x13, 0.0), 0)  # [m]
            x16 = tl.sum(tl.where((n < 3)[:, None, None], x14, 0.0), 0)  # [m, n_in]
            M_h_h = x16
            F_h = x15
        tl.debug_barrier()
    tl.store(
        map_M_h_h + (item * most_stretches + stretch) * 9 + (n * 3)[:, None] + n_in[None, :],
        M_h_h,
        mask=(n < 3)[:, None] & (n_in < 3)[None, :],
    )
    tl.store(map_F_h + (item * most_stretches + stretch) * 3 + n, F_h, mask=(n < 3))


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
    n = tl.arange(0, 4)
    count = length
    units = (count + 31) // 32
    whole = (units < 2 * least) | (2 * programs > filling)
    per = tl.maximum((units * programs + filling - 1) // filling, least)
    per = tl.where(whole, tl.maximum(units, 1), per)
    d_h = tl.full([4], 0.0, tl.float32)
    if d_h_last is not None:
        d_h_last_at = d_h_last + item * 3
    if d_h_last is not None:
        d_h_2 = tl.load(d_h_last_at + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
        d_h = d_h_2
    n_in = tl.arange(0, 4)
    stretches = tl.maximum((units + per - 1) // per, 1)
    for back in range(0, stretches):
        stretch = stretches - 1 - back
        tl.store(h_start + (item * most_stretches + stretch) * 3 + n, d_h, mask=(n < 3))
        c_2 = tl.load(map_F_h + (item * most_stretches + stretch) * 3 + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
        h_after = c_2
        x2 = tl.load(  # [n, n_in]
            map_M_h_h + (item * most_stretches + stretch) * 9 + (n * 3)[:, None] + n_in[None, :],
            mask=(n < 3)[:, None] & (n_in < 3)[None, :],
            other=0,
        ).to(tl.float32)
        x1 = tl.sum((x2 * tl.where((n_in < 3), d_h, 0.0)[None, :]), 1)  # [n]
        x2_2 = h_after + x1  # [n]
        d_h = x2_2


@triton.jit
def pass_1_backward(
    heads,
    steps,
    programs,
    least,
    filling,
    A,
    A_head_0,
    start_2,
    start_head_0,
    emission,
    emission_row,
    emission_step,
    emission_head_0,
    d_score,
    d_path,
    d_emission,
    d_h_last,
    h_start,
    most_stretches,
    h_kept,
    h_tape,
    d_h_first,
    d_A,
    d_A_partial,
    d_start,
    d_start_partial,
):
    item = tl.program_id(0).to(tl.int64)
    sequence, head = item // heads, item % heads
    head_0 = head
    row, begin, length = sequence, 0, tl.cast(steps, tl.int64)
    n = tl.arange(0, 4)
    count = length
    units = (count + 31) // 32
    whole = (units < 2 * least) | (2 * programs > filling)
    per = tl.maximum((units * programs + filling - 1) // filling, least)
    per = tl.where(whole, tl.maximum(units, 1), per)
    stretch = tl.program_id(2).to(tl.int64)
    start = stretch * per * 32
    stop = tl.minimum(start + per * 32, count)
    if (stretch > 0) & (start >= count):
        return
    A_at = A + head_0 * A_head_0
    emission_at = emission + row * emission_row + begin * emission_step + head_0 * emission_head_0
    if d_score is not None:
        d_score_at = d_score + ((row * steps + begin) * heads + head) * 1
    if d_path is not None:
        d_path_at = d_path + ((row * steps + begin) * heads + head) * 3
    d_emission_at = d_emission + ((row * steps + begin) * heads + head) * 3
    A_2 = tl.load(  # [n, m]
        A_at + (n * 3)[:, None] + n[None, :], mask=(n < 3)[:, None] & (n < 3)[None, :], other=0
    ).to(tl.float32)
    d_h = tl.full([4], 0.0, tl.float32)
    if d_h_last is not None:
        d_h_last_at = d_h_last + item * 3
    if d_h_last is not None:
        d_h_2 = tl.load(d_h_last_at + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
        d_h = d_h_2
    if h_start is not None:
        d_h_3 = tl.load(  # [n]
            h_start + (item * most_stretches + stretch) * 3 + n, mask=(n < 3), other=0
        ).to(tl.float32)
        d_h = d_h_3
    first_kept = sequence * ((length + 31) // 32)
    d_A_total = tl.full([4, 4], 0.0, tl.float32)
    segments = (stop - start + 31) // 32
    for back in range(0, segments):
        segment = start // 32 + segments - 1 - back
        first = segment * 32
        last = tl.minimum(first + 32, stop)
        h_prev = tl.load(  # [n]
            h_kept + ((first_kept + segment) * heads + head) * 3 + n, mask=(n < 3), other=0
        ).to(tl.float32)
        h = h_prev
        for here in range(first, last):
            at = here
            tl.store(h_tape + ((item * most_stretches + stretch) * 32 + here - first) * 3 + n, h, mask=(n < 3))
            x1 = A_2 + h[None, :]  # [n, m]
            x2 = amax(tl.where((n < 3)[None, :], x1, float("-inf")), 1)  # [n]
            emission_2 = tl.load(emission_at + (at * emission_step) + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
            # h[t] = emission[t] + max[m](A + h[t-1, m])
            h_2 = emission_2 + x2  # [n]
            h = h_2
        # Other threads of this program read what was written.
        tl.debug_barrier()
        for again in range(0, last - first):
            here = last - 1 - again
            at = here
            h_prev_2 = tl.load(  # [n]
                h_tape + ((item * most_stretches + stretch) * 32 + here - first) * 3 + n, mask=(n < 3), other=0
            ).to(tl.float32)
            x1_2 = A_2 + h_prev_2[None, :]  # [n, m]
            x2_2 = amax(tl.where((n < 3)[None, :], x1_2, float("-inf")), 1)  # [n]
            emission_3 = tl.load(emission_at + (at * emission_step) + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
            # h[t] = emission[t] + max[m](A + h[t-1, m])
            h_3 = emission_3 + x2_2  # [n]
            # output score[t] = max[n](h[t])
            score = amax(tl.where((n < 3), h_3, float("-inf")), 0)
            d_path_2 = tl.full([4], 0.0, tl.float32)
            if d_path is not None:
                d_path_3 = tl.load(d_path_at + (at * heads * 3) + n, mask=(n < 3), other=0).to(tl.float32)  # [n]
                d_path_2 = d_path_3
            d_h_4 = d_h + d_path_2  # [n]
            x3 = h_3 == score  # [n]
            x4 = x3.to(tl.float32)  # [n]
            x5 = tl.sum(tl.where((n < 3), x4, 0.0), 0)
            d_score_2 = tl.full([], 0.0, tl.float32)
            if d_score is not None:
                d_score_3 = tl.load(d_score_at + (at * heads * 1)).to(tl.float32)
                d_score_2 = d_score_3
            x6 = d_score_2 / x5
            x7 = tl.where(x3, x6, 0.0)  # [n]
            d_h_1 = d_h_4 + x7  # [n]
            tl.store(d_emission_at + (at * heads * 3) + n, d_h_1, mask=(n < 3))
            x8 = x1_2 == x2_2[:, None]  # [n, m]
            x9 = x8.to(tl.float32)  # [n, m]
            x10 = tl.sum(tl.where((n < 3)[None, :], x9, 0.0), 1)  # [n]
            x11 = d_h_1 / x10  # [n]
            x12 = tl.where(x8, x11[:, None], 0.0)  # [n, m]
            d_A_total += x12
            d_h_prev_1 = tl.sum(tl.where((n < 3)[:, None], x12, 0.0), 0)  # [m]
            d_h = d_h_prev_1
        tl.debug_barrier()
    if d_h_first is not None:
        d_h_first_at = d_h_first + item * 3
    if d_h_first is not None:
        if start == 0:
            tl.store(d_h_first_at + n, d_h, mask=(n < 3))
        d_h = tl.full([4], 0.0, tl.float32)
    d_h = tl.where(start == 0, d_h, 0.0)
    d_A_at = d_A + item * 9 + tl.cast(stretch, tl.int64) * d_A_partial
    tl.store(d_A_at + (n * 3)[:, None] + n[None, :], d_A_total, mask=(n < 3)[:, None] & (n < 3)[None, :])
    d_start_at = d_start + item * 3 + tl.cast(stretch, tl.int64) * d_start_partial
    tl.store(d_start_at + n, d_h, mask=(n < 3))


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
            "emission": strides_of(arguments["emission"], 3),
            "A": strides_of(arguments["A"], 1),
            "start": strides_of(arguments["start"], 1),
        }
    stretches = stretches_of(-(-steps // 32), heads * 1)
    starts = {}
    if stretches > 1:
        items = sequences * heads
        maps = {
            "1 M h h": (items * 1, stretches, 9),
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
                arguments["emission"],
                strides["emission"][0],
                strides["emission"][1],
                strides["emission"][2],
                arguments["A"],
                strides["A"][0],
                arguments["start"],
                strides["start"][0],
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
                arguments["A"],
                strides["A"][0],
                arguments["start"],
                strides["start"][0],
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
            arguments["A"],
            strides["A"][0],
            arguments["start"],
            strides["start"][0],
            arguments["emission"],
            strides["emission"][0],
            strides["emission"][1],
            strides["emission"][2],
            outputs["score"],
            outputs["path"],
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
    strides = {
        "emission": strides_of(arguments["emission"], 3),
        "A": strides_of(arguments["A"], 1),
        "start": strides_of(arguments["start"], 1),
    }
    most = stretches_of(-(-steps // 32), heads * 1)
    d_arguments = {
        "emission": torch.empty((1, rows, steps, *batch, 3), dtype=arguments["emission"].dtype, device=device),
        "A": torch.zeros((1 * most, sequences, *batch, 3, 3), dtype=torch.float32, device=device),
        "start": torch.zeros((1 * most, sequences, *batch, 3), dtype=torch.float32, device=device),
    }
    tape = {
        "1 h": torch.empty((sequences * heads * 1 * most, 32, 3), dtype=torch.float32, device=device),
    }
    stretches = stretches_of(-(-steps // 32), heads * 1)
    starts = {}
    if stretches > 1:
        items = sequences * heads
        maps = {
            "1 M h h": (items * 1, stretches, 9),
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
                arguments["emission"],
                strides["emission"][0],
                strides["emission"][1],
                strides["emission"][2],
                d_outputs.get("score"),
                d_outputs.get("path"),
                arguments["A"],
                strides["A"][0],
                arguments["start"],
                strides["start"][0],
                saved.get("1 h"),
                tape["1 h"],
                stretches,
                maps["1 M h h"],
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
            arguments["A"],
            strides["A"][0],
            arguments["start"],
            strides["start"][0],
            arguments["emission"],
            strides["emission"][0],
            strides["emission"][1],
            strides["emission"][2],
            d_outputs.get("score"),
            d_outputs.get("path"),
            d_arguments["emission"],
            d_final.get("h"),
            starts.get("1 h"),
            stretches,
            saved.get("1 h"),
            tape["1 h"],
            d_initial.get("h"),
            d_arguments["A"],
            sequences * heads * 9,
            d_arguments["start"],
            sequences * heads * 3,
        ),
        device,
        1,
        2,
    )
    return {n: added(x) for n, x in d_arguments.items()}
