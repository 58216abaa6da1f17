# ruff: noqa: D103, F841, PIE808, RET504, RUF059, RUF100, SIM102, SIM300
"""retention: chunked form, Triton.

    recurrence retention(i, j)
        "Retention: one constant decay per head. Sun and others, Retentive Network, 2023."
        input  q[i], k[i], v[j]
        param  gamma in (0, 1)
        state  S[i, j]

        S[t] = gamma * S[t-1] + k[t] * v[t]
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
def product_pair(x, y):
    """The combine of `product`."""
    return x * y


@triton.jit
def product(x, axis: tl.constexpr):
    """The product of the elements along an axis."""
    return tl.reduce(x, axis, product_pair)


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
    v,
    v_row,
    v_step,
    v_head_0,
    gamma,
    gamma_head_0,
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
    # What the last stretch makes of what it is handed nobody asks for.
    if stop == count:
        return
    k_at = k + row * k_row + begin * k_step + head_0 * k_head_0
    v_at = v + row * v_row + begin * v_step + head_0 * v_head_0
    gamma_at = gamma + head_0 * gamma_head_0
    gamma_2 = tl.load(gamma_at).to(tl.float32)
    M_S_S = tl.full([], 1.0, tl.float32)
    F_S = tl.broadcast_to(tl.full([], 0.0, tl.float32), [16, 16])
    for here in range(start, stop):
        live = tl.minimum(length - here * 16, 16)
        at = here * 16 + t
        x10 = product(tl.where((t < live), tl.broadcast_to(gamma_2, [16]), 1.0), 0)
        x9 = tl.cumprod(  # [t]
            tl.where(
                (t < live - 1),
                tl.gather(
                    tl.where((t < live), tl.broadcast_to(gamma_2, [16]), 1.0),
                    tl.broadcast_to((tl.minimum((t + 1), 15)).to(tl.int32), [16]),
                    0,
                ),
                1.0,
            ),
            0,
            reverse=True,
        )
        x2 = M_S_S * x10
        k_2 = tl.load(  # [t, i]
            k_at + (at * k_step)[:, None] + i[None, :], mask=(t < live)[:, None] & (i < 3)[None, :], other=0
        ).to(tl.float32)
        v_2 = tl.load(  # [t, j]
            v_at + (at * v_step)[:, None] + j[None, :], mask=(t < live)[:, None] & (j < 3)[None, :], other=0
        ).to(tl.float32)
        x12 = tl.dot(  # [i, j]
            tl.permute((k_2 * tl.where((t < live), x9, 0.0)[:, None]), (1, 0)), v_2, input_precision="ieee"
        )
        x1 = F_S * x10  # [i, j]
        x3 = x1 + x12  # [i, j]
        M_S_S = x2
        F_S = x3
    tl.store(map_M_S_S + (item * most_stretches + stretch) * 1, M_S_S)
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
    gamma,
    gamma_head_0,
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
        # S[t] = gamma * S[t-1] + k[t] * v[t]
        S_2 = tl.load(  # [i, j]
            S_first_at + (i * 3)[:, None] + j[None, :], mask=(i < 3)[:, None] & (j < 3)[None, :], other=0
        ).to(tl.float32)
        S = S_2
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
        c = tl.load(map_M_S_S + (item * most_stretches + stretch) * 1).to(tl.float32)
        x1 = S * c  # [i, j]
        x2 = S_after + x1  # [i, j]
        S = x2


@triton.jit
def pass_1_forward(
    heads,
    steps,
    programs,
    least,
    filling,
    gamma,
    gamma_head_0,
    k,
    k_row,
    k_step,
    k_head_0,
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
    gamma_at = gamma + head_0 * gamma_head_0
    k_at = k + row * k_row + begin * k_step + head_0 * k_head_0
    v_at = v + row * v_row + begin * v_step + head_0 * v_head_0
    q_at = q + row * q_row + begin * q_step + head_0 * q_head_0
    o_at = o + ((row * steps + begin) * heads + head) * 3
    gamma_2 = tl.load(gamma_at).to(tl.float32)
    S = tl.broadcast_to(tl.full([], 0.0, tl.float32), [16, 16])
    place = item
    if slots is not None:
        place = tl.load(slots + sequence).to(tl.int64) * heads + head
        if place < 0:
            return
    if S_first is not None:
        S_first_at = S_first + place * 9
    if S_first is not None:
        # S[t] = gamma * S[t-1] + k[t] * v[t]
        S_2 = tl.load(  # [i, j]
            S_first_at + (i * 3)[:, None] + j[None, :], mask=(i < 3)[:, None] & (j < 3)[None, :], other=0
        ).to(tl.float32)
        S = S_2
    if S_start is not None:
        # S[t] = gamma * S[t-1] + k[t] * v[t]
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
        x10 = product(tl.where((t < live), tl.broadcast_to(gamma_2, [16]), 1.0), 0)
        x1 = tl.cumprod(tl.broadcast_to(gamma_2, [16]), 0)  # [t]
        x9 = tl.cumprod(  # [t]
            tl.where(
                (t < live - 1),
                tl.gather(
                    tl.where((t < live), tl.broadcast_to(gamma_2, [16]), 1.0),
                    tl.broadcast_to((tl.minimum((t + 1), 15)).to(tl.int32), [16]),
                    0,
                ),
                1.0,
            ),
            0,
            reverse=True,
        )
        x3 = tl.where(  # [t, t_1]
            t[:, None] >= t[None, :],
            tl.cumprod(tl.where(t[:, None] > t[None, :], tl.broadcast_to(gamma_2, [16])[:, None], 1.0), 0),
            0.0,
        )
        x11 = S * x10  # [i, j]
        q_2 = tl.load(  # [t, i]
            q_at + (at * q_step)[:, None] + i[None, :], mask=(t < live)[:, None] & (i < 3)[None, :], other=0
        ).to(tl.float32)
        v_2 = tl.load(  # [t, j]
            v_at + (at * v_step)[:, None] + j[None, :], mask=(t < live)[:, None] & (j < 3)[None, :], other=0
        ).to(tl.float32)
        k_2 = tl.load(  # [t, i]
            k_at + (at * k_step)[:, None] + i[None, :], mask=(t < live)[:, None] & (i < 3)[None, :], other=0
        ).to(tl.float32)
        x12 = tl.dot(  # [i, j]
            tl.permute((k_2 * tl.where((t < live), x9, 0.0)[:, None]), (1, 0)), v_2, input_precision="ieee"
        )
        # S[t] = gamma * S[t-1] + k[t] * v[t]
        S_4 = x11 + x12  # [i, j]
        x2 = tl.dot(q_2, tl.permute(k_2, (1, 0)), input_precision="ieee")  # [t, t_1]
        x4 = x2 * x3  # [t, t_1]
        x5 = tl.dot(tl.where((t < live)[None, :], x4, 0.0), v_2, input_precision="ieee")  # [t, j]
        x6 = tl.dot(q_2, tl.where((i < 3)[:, None], S, 0.0), input_precision="ieee")  # [t, j]
        x7 = x1[:, None] * x6  # [t, j]
        # output o[t] = sum[i](q[t] * S[t])
        o_2 = x5 + x7  # [t, j]
        tl.store(o_at + (at * heads * 3)[:, None] + j[None, :], o_2, mask=(t < live)[:, None] & (j < 3)[None, :])
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
    q,
    q_row,
    q_step,
    q_head_0,
    d_o,
    gamma,
    gamma_head_0,
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
    # What the last stretch makes of what it is handed nobody asks for.
    if start == 0:
        return
    q_at = q + row * q_row + begin * q_step + head_0 * q_head_0
    if d_o is not None:
        d_o_at = d_o + ((row * steps + begin) * heads + head) * 3
    gamma_at = gamma + head_0 * gamma_head_0
    gamma_2 = tl.load(gamma_at).to(tl.float32)
    M_S_S = tl.full([], 1.0, tl.float32)
    F_S = tl.broadcast_to(tl.full([], 0.0, tl.float32), [16, 16])
    for back in range(0, stop - start):
        here = stop - 1 - back
        live = tl.minimum(length - here * 16, 16)
        at = here * 16 + t
        x10 = product(tl.where((t < live), tl.broadcast_to(gamma_2, [16]), 1.0), 0)
        x1 = tl.cumprod(tl.broadcast_to(gamma_2, [16]), 0)  # [t]
        x3 = M_S_S * x10
        d_o_2 = tl.full([16, 16], 0.0, tl.float32)
        if d_o is not None:
            d_o_3 = tl.load(  # [t, j]
                d_o_at + (at * heads * 3)[:, None] + j[None, :], mask=(t < live)[:, None] & (j < 3)[None, :], other=0
            ).to(tl.float32)
            d_o_2 = d_o_3
        d_x6 = d_o_2 * x1[:, None]  # [t, j]
        x2 = F_S * x10  # [i, j]
        q_2 = tl.load(  # [t, i]
            q_at + (at * q_step)[:, None] + i[None, :], mask=(t < live)[:, None] & (i < 3)[None, :], other=0
        ).to(tl.float32)
        d_S_prev_1 = tl.dot(  # [i'1, j]
            tl.permute(q_2, (1, 0)), tl.where((t < live)[:, None], d_x6, 0.0), input_precision="ieee"
        )
        x4 = d_S_prev_1 + x2  # [i, j]
        M_S_S = x3
        F_S = x4
    tl.store(map_M_S_S + (item * most_stretches + stretch) * 1, M_S_S)
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
        c = tl.load(map_M_S_S + (item * most_stretches + stretch) * 1).to(tl.float32)
        x1 = d_S * c  # [i, j]
        x2 = S_after + x1  # [i, j]
        d_S = x2


@triton.jit
def pass_1_backward(
    heads,
    steps,
    programs,
    least,
    filling,
    gamma,
    gamma_head_0,
    k,
    k_row,
    k_step,
    k_head_0,
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
    d_v,
    d_q,
    d_S_last,
    S_start,
    most_stretches,
    S_kept,
    d_S_first,
    d_gamma_2,
    d_gamma_partial,
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
    gamma_at = gamma + head_0 * gamma_head_0
    k_at = k + row * k_row + begin * k_step + head_0 * k_head_0
    v_at = v + row * v_row + begin * v_step + head_0 * v_head_0
    q_at = q + row * q_row + begin * q_step + head_0 * q_head_0
    if d_o is not None:
        d_o_at = d_o + ((row * steps + begin) * heads + head) * 3
    d_k_at = d_k + ((row * steps + begin) * heads + head) * 3
    d_v_at = d_v + ((row * steps + begin) * heads + head) * 3
    d_q_at = d_q + ((row * steps + begin) * heads + head) * 3
    gamma_2 = tl.load(gamma_at).to(tl.float32)
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
    d_gamma_total = tl.full([], 0.0, tl.float32)
    for back in range(0, stop - start):
        here = stop - 1 - back
        live = tl.minimum(length - here * 16, 16)
        at = here * 16 + t
        x10 = product(tl.where((t < live), tl.broadcast_to(gamma_2, [16]), 1.0), 0)
        x1 = tl.cumprod(tl.broadcast_to(gamma_2, [16]), 0)  # [t]
        x9 = tl.cumprod(  # [t]
            tl.where(
                (t < live - 1),
                tl.gather(
                    tl.where((t < live), tl.broadcast_to(gamma_2, [16]), 1.0),
                    tl.broadcast_to((tl.minimum((t + 1), 15)).to(tl.int32), [16]),
                    0,
                ),
                1.0,
            ),
            0,
            reverse=True,
        )
        x14 = tl.cumprod(  # [t]
            tl.where(
                (t >= 1),
                tl.gather(
                    tl.broadcast_to(gamma_2, [16]), tl.broadcast_to((tl.maximum((t - 1), 0)).to(tl.int32), [16]), 0
                ),
                1.0,
            ),
            0,
        )
        x17 = tl.where(  # [t]
            (t >= 1),
            tl.gather(tl.broadcast_to(gamma_2, [16]), tl.broadcast_to((tl.maximum((t - 1), 0)).to(tl.int32), [16]), 0),
            0.0,
        )
        x18 = tl.where(  # [t, t_2]
            t[:, None] >= t[None, :], tl.cumprod(tl.where(t[:, None] > t[None, :], x17[:, None], 1.0), 0), 0.0
        )
        d_S_prev = d_S * x10  # [i, j]
        q_2 = tl.load(  # [t, i]
            q_at + (at * q_step)[:, None] + i[None, :], mask=(t < live)[:, None] & (i < 3)[None, :], other=0
        ).to(tl.float32)
        S_prev = tl.load(  # [i, j]
            S_kept + ((first_kept + here) * heads + head) * 9 + (i * 3)[:, None] + j[None, :],
            mask=(i < 3)[:, None] & (j < 3)[None, :],
            other=0,
        ).to(tl.float32)
        d_x10 = tl.sum(tl.sum((S_prev * tl.where((i < 3)[:, None] & (j < 3)[None, :], d_S, 0.0)), 0), 0)
        x15 = d_x10 * x14  # [t]
        d_gamma_1 = x15 * x9  # [t]
        v_2 = tl.load(  # [t, j]
            v_at + (at * v_step)[:, None] + j[None, :], mask=(t < live)[:, None] & (j < 3)[None, :], other=0
        ).to(tl.float32)
        k_2 = tl.load(  # [t, i]
            k_at + (at * k_step)[:, None] + i[None, :], mask=(t < live)[:, None] & (i < 3)[None, :], other=0
        ).to(tl.float32)
        d_x9_part = tl.dot(  # [t, j]
            k_2, tl.where((i < 3)[:, None] & (j < 3)[None, :], d_S, 0.0), input_precision="ieee"
        )
        d_x9 = tl.sum((v_2 * d_x9_part), 1)  # [t]
        x16 = tl.where(  # [t]
            (t >= 1), tl.gather(d_x9, tl.broadcast_to((tl.maximum((t - 1), 0)).to(tl.int32), [16]), 0), 0.0
        )
        x19 = tl.sum((tl.where((t < live)[None, :], x18, 0.0) * tl.where((t < live), x16, 0.0)[None, :]), 1)  # [t]
        d_gamma_1_1 = x19 * x9  # [t]
        d_gamma_1_2 = d_gamma_1 + d_gamma_1_1  # [t]
        x2 = tl.dot(q_2, tl.permute(k_2, (1, 0)), input_precision="ieee")  # [t, t_1]
        x3 = tl.where(  # [t, t_1]
            t[:, None] >= t[None, :],
            tl.cumprod(tl.where(t[:, None] > t[None, :], tl.broadcast_to(gamma_2, [16])[:, None], 1.0), 0),
            0.0,
        )
        x22 = tl.where(  # [t, t_2]
            t[:, None] >= t[None, :],
            tl.cumprod(tl.where(t[:, None] > t[None, :], tl.broadcast_to(gamma_2, [16])[:, None], 1.0), 0),
            0.0,
        )
        x4 = x2 * x3  # [t, t_1]
        x6 = tl.dot(q_2, S_prev, input_precision="ieee")  # [t, j]
        d_o_2 = tl.full([16, 16], 0.0, tl.float32)
        if d_o is not None:
            d_o_3 = tl.load(  # [t, j]
                d_o_at + (at * heads * 3)[:, None] + j[None, :], mask=(t < live)[:, None] & (j < 3)[None, :], other=0
            ).to(tl.float32)
            d_o_2 = d_o_3
        d_x1 = tl.sum((d_o_2 * x6), 1)  # [t]
        x23 = tl.sum((tl.where((t < live)[:, None], x22, 0.0) * d_x1[:, None]), 0)  # [t_2]
        d_v_1 = tl.dot(  # [t_1, j]
            tl.permute(tl.where((t < live)[:, None], x4, 0.0), (1, 0)), d_o_2, input_precision="ieee"
        )
        d_gamma_1_5 = x14 * x23  # [t]
        d_x6 = d_o_2 * x1[:, None]  # [t, j]
        d_q_1 = tl.dot(d_x6, tl.permute(S_prev, (1, 0)), input_precision="ieee")  # [t, i'1]
        d_S_prev_1 = tl.dot(  # [i'1, j]
            tl.permute(q_2, (1, 0)), tl.where((t < live)[:, None], d_x6, 0.0), input_precision="ieee"
        )
        d_x4 = tl.dot(d_o_2, tl.permute(v_2, (1, 0)), input_precision="ieee")  # [t, t_1]
        x8 = tl.dot(v_2, tl.permute(tl.where((j < 3)[None, :], d_S, 0.0), (1, 0)), input_precision="ieee")  # [t, i]
        d_k_2 = x8 * x9[:, None]  # [t, i]
        d_x3 = d_x4 * x2  # [t, t_1]
        d_x2 = d_x4 * x3  # [t, t_1]
        x20 = tl.dot(  # [t_1, t_2]
            tl.permute(d_x3, (1, 0)), tl.where((t < live)[:, None], x3, 0.0), input_precision="ieee"
        )
        x21 = tl.where(  # [t, t_1]
            (t >= 1)[:, None],
            tl.gather(x3, tl.broadcast_to((tl.maximum((t - 1), 0))[:, None].to(tl.int32), [16, 16]), 0),
            0.0,
        )
        d_gamma_1_3 = tl.sum((x20 * tl.permute(tl.where((t < live)[None, :], x21, 0.0), (1, 0))), 0)  # [t]
        d_gamma_1_4 = d_gamma_1_2 + d_gamma_1_3  # [t]
        d_gamma_1_6 = d_gamma_1_4 + d_gamma_1_5  # [t]
        d_gamma = tl.sum(tl.where((t < live), d_gamma_1_6, 0.0), 0)
        d_gamma_total += d_gamma
        d_k_2_2 = tl.dot(  # [t_1, i'1]
            tl.permute(tl.where((t < live)[:, None], d_x2, 0.0), (1, 0)), q_2, input_precision="ieee"
        )
        d_q_1_1 = tl.dot(tl.where((t < live)[None, :], d_x2, 0.0), k_2, input_precision="ieee")  # [t, i'1]
        d_q_1_2 = d_q_1 + d_q_1_1  # [t, i'1]
        tl.store(d_q_at + (at * heads * 3)[:, None] + i[None, :], d_q_1_2, mask=(t < live)[:, None] & (i < 3)[None, :])
        x13 = tl.dot(k_2, tl.where((i < 3)[:, None], d_S, 0.0), input_precision="ieee")  # [t, j]
        d_v_2 = x13 * x9[:, None]  # [t, j]
        d_v_2_2 = d_v_2 + d_v_1  # [t, j]
        tl.store(d_v_at + (at * heads * 3)[:, None] + j[None, :], d_v_2_2, mask=(t < live)[:, None] & (j < 3)[None, :])
        d_k_1 = d_k_2 + d_k_2_2  # [t, i]
        tl.store(d_k_at + (at * heads * 3)[:, None] + i[None, :], d_k_1, mask=(t < live)[:, None] & (i < 3)[None, :])
        d_S_prev_2 = d_S_prev + d_S_prev_1  # [i, j]
        d_S = d_S_prev_2
    if d_S_first is not None:
        d_S_first_at = d_S_first + item * 9
    if d_S_first is not None:
        if start == 0:
            tl.store(d_S_first_at + (i * 3)[:, None] + j[None, :], d_S, mask=(i < 3)[:, None] & (j < 3)[None, :])
        d_S = tl.full([16, 16], 0.0, tl.float32)
    d_S = tl.where(start == 0, d_S, 0.0)
    d_gamma_at = d_gamma_2 + item * 1 + tl.cast(stretch, tl.int64) * d_gamma_partial
    tl.store(d_gamma_at, d_gamma_total)


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
            "gamma": strides_of(arguments["gamma"], 1),
        }
    stretches = stretches_of(-(-steps // 16), heads * 1)
    starts = {}
    if stretches > 1:
        items = sequences * heads
        maps = {
            "1 M S S": (items * 1, stretches, 1),
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
                arguments["v"],
                strides["v"][0],
                strides["v"][1],
                strides["v"][2],
                arguments["gamma"],
                strides["gamma"][0],
                maps["1 M S S"],
                stretches,
                maps["1 F S"],
            ),
            device,
            2,
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
                arguments["gamma"],
                strides["gamma"][0],
                slots,
                initial.get("S"),
                starts.get("1 S"),
                stretches,
                maps["1 F S"],
                maps["1 M S S"],
            ),
            device,
            2,
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
            arguments["gamma"],
            strides["gamma"][0],
            arguments["k"],
            strides["k"][0],
            strides["k"][1],
            strides["k"][2],
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
        2,
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
        "gamma": strides_of(arguments["gamma"], 1),
    }
    most = stretches_of(-(-steps // 16), heads * 1)
    d_arguments = {
        "q": torch.empty((1, rows, steps, *batch, 3), dtype=arguments["q"].dtype, device=device),
        "k": torch.empty((1, rows, steps, *batch, 3), dtype=arguments["k"].dtype, device=device),
        "v": torch.empty((1, rows, steps, *batch, 3), dtype=arguments["v"].dtype, device=device),
        "gamma": torch.zeros((1 * most, sequences, *batch), dtype=torch.float32, device=device),
    }
    stretches = stretches_of(-(-steps // 16), heads * 1)
    starts = {}
    if stretches > 1:
        items = sequences * heads
        maps = {
            "1 M S S": (items * 1, stretches, 1),
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
                arguments["q"],
                strides["q"][0],
                strides["q"][1],
                strides["q"][2],
                d_outputs.get("o"),
                arguments["gamma"],
                strides["gamma"][0],
                saved.get("1 S"),
                maps["1 M S S"],
                stretches,
                maps["1 F S"],
            ),
            device,
            2,
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
            2,
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
            arguments["gamma"],
            strides["gamma"][0],
            arguments["k"],
            strides["k"][0],
            strides["k"][1],
            strides["k"][2],
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
            d_arguments["v"],
            d_arguments["q"],
            d_final.get("S"),
            starts.get("1 S"),
            stretches,
            saved.get("1 S"),
            d_initial.get("S"),
            d_arguments["gamma"],
            sequences * heads * 1,
        ),
        device,
        2,
        2,
    )
    return {n: added(x) for n, x in d_arguments.items()}
