"""The state that enters each chunk of a sequence, so that chunks can be walked side by side.

    b  batch    K  directions    D  channels    N  states    C  chunks

One program first walks each chunk from a state of zero, and stores its end state and the sum of its
deltas: the chunk's decay is one exponential of that sum. The state that enters a chunk follows from
the chunks before it (`carried`), without a kernel in between.

The backward pass is the same walk from the other side. The gradient of the state after step t is
g_t = C_t grad_y_t + decay_(t+1) g_(t+1), so with grad_y in the place of u and C in that of B, a
chunk passes the result of its first step to the chunk before it.
"""

import triton
import triton.language as tl

from model.scan.triton.steps import COUNTS, advance, load_parameters, load_rows, project, softplus


@triton.jit(do_not_specialize=COUNTS)
def chunk_ends(
    u: tl.tensor, selection: tl.tensor, A: tl.tensor, dt_weight: tl.tensor, dt_bias: tl.tensor,
    order: tl.tensor, ends: tl.tensor, sums: tl.tensor, images: tl.tensor, L: tl.tensor,
    channels: tl.tensor, K: tl.tensor, chunk: tl.tensor, unit: tl.tensor,
    N: tl.constexpr, R: tl.constexpr, NP: tl.constexpr, RP: tl.constexpr, BLOCK: tl.constexpr,
    REVERSED: tl.constexpr,
) -> None:  # fmt: skip
    """Store the end and the sum of deltas of every chunk except the last (reversed: the first).

    ends (C - 1, b, K, N, D) and sums (C - 1, b, K, D), float32. Reversed, `u` is grad_y.
    """
    blocks = tl.cdiv(channels, BLOCK)
    d = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    live = d < channels
    row = tl.program_id(0) // blocks  # (chunk, image, direction)
    k = row % K
    image = (row // K % images).to(tl.int64)
    start = row // (K * images) * chunk
    a2, weight, bias = load_parameters(
        A, dt_weight, dt_bias, k, d, live, channels, unit, N, R, NP, RP
    )
    u += image * L * channels
    selection += (image * L * K + k) * (R + 2 * N)
    order += k * L + start
    steps = chunk
    if REVERSED:
        steps = tl.minimum(chunk, L - start - chunk)
        order += chunk + steps - 1
    h, total = _walk(
        u, selection, order, a2, weight, bias, d, live, channels, K * (R + 2 * N), steps,
        N, R, NP, RP, REVERSED,
    )  # fmt: skip
    n = tl.arange(0, NP)[:, None]
    place = row.to(tl.int64) * N * channels + n * channels + d[None, :] + unit - 1
    tl.store(ends + place, h, mask=live[None, :] & (n < N))
    tl.store(sums + row.to(tl.int64) * channels + d, total, mask=live)


@triton.jit
def _walk(
    u: tl.tensor, selection: tl.tensor, order: tl.tensor, a2: tl.tensor, weight: tl.tensor,
    bias: tl.tensor, d: tl.tensor, live: tl.tensor, stride_u: tl.tensor,
    stride_selection: tl.tensor, steps: tl.tensor,
    N: tl.constexpr, R: tl.constexpr, NP: tl.constexpr, RP: tl.constexpr, REVERSED: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Return the state and the sum of the deltas after `steps` of `order`, from a state of zero."""
    step: tl.constexpr = -1 if REVERSED else 1
    p_next = tl.load(order + tl.minimum(1, steps - 1) * step)
    u_now, dt, B, C = load_rows(
        u, selection, tl.load(order), d, live, stride_u, stride_selection, N, R, NP, RP
    )
    h = a2 * 0.0
    total = bias * 0.0
    for t in tl.range(steps, loop_unroll_factor=2):
        p_after = tl.load(order + tl.minimum(t + 2, steps - 1) * step)
        u_next, dt_next, B_next, C_next = load_rows(
            u, selection, p_next, d, live, stride_u, stride_selection, N, R, NP, RP
        )
        delta = softplus(project(dt, weight, bias))
        decay = tl.exp2(delta[None, :] * a2)
        if REVERSED:
            h = decay * (h + u_now[None, :] * C[:, None])
        else:
            h = advance(h, decay, delta * u_now, B)
        total += delta
        u_now, dt, B, C, p_next = u_next, dt_next, B_next, C_next, p_after
    return h, total


@triton.jit
def carried(
    ends: tl.tensor, sums: tl.tensor, a2: tl.tensor, d: tl.tensor, live: tl.tensor,
    count: tl.tensor, stride_ends: tl.tensor, stride_sums: tl.tensor, channels: tl.tensor,
    unit: tl.tensor,
    N: tl.constexpr, NP: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Return the state that enters a chunk, from the ends of the `count` chunks before it.

    `ends` and `sums` point to the farthest chunk's; the strides lead to nearer ones. For `unit`
    see `load_parameters`.
    """
    n = tl.arange(0, NP)[:, None]
    place = n * channels + d[None, :] + unit - 1
    inside = live[None, :] & (n < N)
    state = a2 * 0.0
    for _ in range(count):
        total = tl.load(sums + d, mask=live, other=0.0)
        end = tl.load(ends + place, mask=inside, other=0.0)
        state = tl.exp2(total[None, :] * a2) * state + end
        ends += stride_ends
        sums += stride_sums
    return state
