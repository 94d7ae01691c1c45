"""The backward kernel: recomputes a chunk's states, then walks back for the gradients.

    b  batch    L  positions    K  directions    D  channels    N  states    R  rank of delta
    C  chunks of the sequence, J blocks of channels

With g the gradient of the state after a step, and h' the state before it,

    grad_C     = sum over d of h grad_y         grad_B  = sum over d of g delta u
    grad_u     = D grad_y + delta sum_n g B     grad_A += g delta decay h'
    grad_delta = sum_n g A decay h' + u sum_n g B

and grad_delta goes through the slope of softplus to dt, dt_weight and dt_bias. Sums over several
programs (u over directions, the selection over blocks of channels, parameters over chunks and
images) have one output a program, added afterwards in a fixed order.
"""

import triton
import triton.language as tl

from model.scan.triton.chunks import carried
from model.scan.triton.steps import (
    COUNTS,
    LN_2,
    advance,
    load_parameters,
    load_rows,
    project,
    sigmoid,
    softplus,
)


@triton.jit(do_not_specialize=COUNTS)
def chunk_gradients(
    u: tl.tensor, selection: tl.tensor, A: tl.tensor, D: tl.tensor, dt_weight: tl.tensor,
    dt_bias: tl.tensor, order: tl.tensor, grad_y: tl.tensor, ends: tl.tensor, end_sums: tl.tensor,
    starts: tl.tensor, start_sums: tl.tensor, scratch: tl.tensor, grad_u: tl.tensor,
    grad_selection: tl.tensor, grad_a: tl.tensor, grad_d: tl.tensor, grad_weight: tl.tensor,
    grad_bias: tl.tensor, images: tl.tensor, L: tl.tensor, channels: tl.tensor, K: tl.tensor,
    chunk: tl.tensor, chunks: tl.tensor, programs: tl.tensor, unit: tl.tensor,
    N: tl.constexpr, R: tl.constexpr, NP: tl.constexpr, RP: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Fill the gradients, float32, one (chunk, image, direction, block) after the other.

    grad_u (K, b, L, D), grad_selection (J, b, L, K, S), and the parameters' with (C b) before
    their own shapes. scratch (programs, chunk, NP, BLOCK) holds the states of a program's chunk.
    """
    blocks = tl.cdiv(channels, BLOCK)
    units = chunks * images * K * blocks
    scratch += tl.program_id(0).to(tl.int64) * chunk * (NP * BLOCK)
    for turn in range(tl.cdiv(units - tl.program_id(0), programs)):
        item = tl.program_id(0) + turn * programs
        block = item % blocks
        row = item // blocks  # (chunk, image, direction)
        k, image, index = row % K, row // K % images, row // (K * images)
        row, sequence = row.to(tl.int64), (image * K + k).to(tl.int64)
        first = image.to(tl.int64) * L
        _one_chunk(
            u + first * channels, selection + (first * K + k) * (R + 2 * N), A, D, dt_weight,
            dt_bias, order + k * L + index * chunk, grad_y + first * channels,
            ends + sequence * N * channels, end_sums + sequence * channels,
            starts + sequence * N * channels, start_sums + sequence * channels, scratch,
            grad_u + (k * images.to(tl.int64) * L + first) * channels,
            grad_selection + ((block * images * L + first) * K + k) * (R + 2 * N),
            grad_a + row * channels * N, grad_d + row * channels,
            grad_weight + row * channels * R, grad_bias + row * channels,
            block * BLOCK + tl.arange(0, BLOCK), k, index, tl.minimum(chunk, L - index * chunk),
            channels, K, chunks, images.to(tl.int64) * K * channels, unit, N, R, NP, RP, BLOCK,
        )  # fmt: skip


@triton.jit
def _one_chunk(
    u: tl.tensor, selection: tl.tensor, A: tl.tensor, D: tl.tensor, dt_weight: tl.tensor,
    dt_bias: tl.tensor, order: tl.tensor, grad_y: tl.tensor, ends: tl.tensor, end_sums: tl.tensor,
    starts: tl.tensor, start_sums: tl.tensor, scratch: tl.tensor, grad_u: tl.tensor,
    grad_selection: tl.tensor, grad_a: tl.tensor, grad_d: tl.tensor, grad_weight: tl.tensor,
    grad_bias: tl.tensor, d: tl.tensor, k: tl.tensor, index: tl.tensor, steps: tl.tensor,
    channels: tl.tensor, K: tl.tensor, chunks: tl.tensor, stride: tl.tensor, unit: tl.tensor,
    N: tl.constexpr, R: tl.constexpr, NP: tl.constexpr, RP: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    live = d < channels
    a2, weight, bias = load_parameters(
        A, dt_weight, dt_bias, k, d, live, channels, unit, N, R, NP, RP
    )
    skip = tl.load(D + k * channels + d, mask=live, other=0.0).to(tl.float32)
    h = carried(ends, end_sums, a2, d, live, index, stride * N, stride, channels, unit, N, NP)
    g = carried(
        starts + (chunks - 2) * stride * N, start_sums + (chunks - 2) * stride, a2, d, live,
        chunks - 1 - index, -stride * N, -stride, channels, unit, N, NP,
    )  # fmt: skip
    stride_rows = K * (R + 2 * N)
    _keep_states(
        u, selection, order, scratch, h, a2, weight, bias, d, live, channels, stride_rows, steps,
        unit, N, R, NP, RP, BLOCK,
    )  # fmt: skip
    tl.debug_barrier()
    add_a, add_d, add_weight, add_bias = _walk_back(
        u, selection, order, grad_y, scratch, grad_u, grad_selection, g, a2, weight, bias, skip,
        d, live, channels, stride_rows, steps, unit, N, R, NP, RP, BLOCK,
    )  # fmt: skip
    tl.debug_barrier()
    n, r = tl.arange(0, NP)[:, None], tl.arange(0, RP)[:, None]
    channel = d[None, :] + unit - 1
    tl.store(grad_a + n * channels + channel, add_a, mask=live[None, :] & (n < N))
    tl.store(grad_weight + r * channels + channel, add_weight, mask=live[None, :] & (r < R))
    tl.store(grad_d + d, add_d, mask=live)
    tl.store(grad_bias + d, add_bias, mask=live)


@triton.jit
def _keep_states(
    u: tl.tensor, selection: tl.tensor, order: tl.tensor, scratch: tl.tensor, h: tl.tensor,
    a2: tl.tensor, weight: tl.tensor, bias: tl.tensor, d: tl.tensor, live: tl.tensor,
    stride_u: tl.tensor, stride_selection: tl.tensor, steps: tl.tensor, unit: tl.tensor,
    N: tl.constexpr, R: tl.constexpr, NP: tl.constexpr, RP: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Walk the chunk from state h, and store the state before each step."""
    place = tl.arange(0, NP)[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :] + unit - 1
    for t in range(steps):
        u_now, dt, B, _ = load_rows(
            u, selection, tl.load(order + t), d, live, stride_u, stride_selection, N, R, NP, RP
        )
        tl.store(scratch + t * (NP * BLOCK) + place, h)
        delta = softplus(project(dt, weight, bias))
        h = advance(h, tl.exp2(delta[None, :] * a2), delta * u_now, B)


@triton.jit
def _walk_back(
    u: tl.tensor, selection: tl.tensor, order: tl.tensor, grad_y: tl.tensor, scratch: tl.tensor,
    grad_u: tl.tensor, grad_selection: tl.tensor, g: tl.tensor, a2: tl.tensor, weight: tl.tensor,
    bias: tl.tensor, skip: tl.tensor, d: tl.tensor, live: tl.tensor, stride_u: tl.tensor,
    stride_selection: tl.tensor, steps: tl.tensor, unit: tl.tensor,
    N: tl.constexpr, R: tl.constexpr, NP: tl.constexpr, RP: tl.constexpr, BLOCK: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Walk the chunk from its last step; return its gradients of A, D, dt_weight and dt_bias."""
    n, r = tl.arange(0, NP), tl.arange(0, RP)
    place = n[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :] + unit - 1
    add_a, add_weight, add_bias, add_d = a2 * 0.0, weight * 0.0, bias * 0.0, bias * 0.0
    for i in range(steps):
        t = steps - 1 - i
        p = tl.load(order + t)
        u_now, dt, B, C = load_rows(
            u, selection, p, d, live, stride_u, stride_selection, N, R, NP, RP
        )
        gy = tl.load(grad_y + p * stride_u + d, mask=live, other=0.0).to(tl.float32)
        h = tl.load(scratch + t * (NP * BLOCK) + place)
        z = project(dt, weight, bias)
        delta = softplus(z)
        decay = tl.exp2(delta[None, :] * a2)
        h *= decay
        g += gy[None, :] * C[:, None]
        past = g * h
        h += (delta * u_now)[None, :] * B[:, None]
        by_input = tl.sum(g * B[:, None], axis=0)
        grad_z = (tl.sum(past * a2, axis=0) * LN_2 + u_now * by_input) * sigmoid(z)
        tl.store(grad_u + p * stride_u + d, skip * gy + delta * by_input, mask=live)
        row = grad_selection + p * stride_selection
        tl.store(row + r, tl.sum(grad_z[None, :] * weight, axis=1), mask=r < R)
        tl.store(row + R + n, tl.sum(g * (delta * u_now)[None, :], axis=1), mask=n < N)
        tl.store(row + R + N + n, tl.sum(h * gy[None, :], axis=1), mask=n < N)
        add_a += past * delta[None, :]
        add_weight += grad_z[None, :] * dt[:, None]
        add_bias += grad_z
        add_d += gy * u_now
        g *= decay
    return add_a, add_d, add_weight, add_bias
