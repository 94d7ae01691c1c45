"""The forward kernels: the scan itself, and the sum over the directions.

    b  batch    L  positions    K  directions    D  channels    N  states    R  rank of delta
    G  groups of directions, each with its own output

A program is one warp: it takes (chunk, image, group of directions, block of channels), blocks
fastest, so that programs that run side by side read the same rows of the selection. To hide the
latency of loads, the rows of the next position are loaded before this position's arithmetic, and
its place in the order one position earlier.
"""

import triton
import triton.language as tl

from model.scan.triton.chunks import carried
from model.scan.triton.steps import COUNTS, advance, load_parameters, load_rows, project, softplus


@triton.jit(do_not_specialize=COUNTS)
def scan_chunks(
    u: tl.tensor, selection: tl.tensor, A: tl.tensor, D: tl.tensor, dt_weight: tl.tensor,
    dt_bias: tl.tensor, order: tl.tensor, ends: tl.tensor, sums: tl.tensor, y: tl.tensor,
    images: tl.tensor, L: tl.tensor, channels: tl.tensor, K: tl.tensor, per_group: tl.tensor,
    chunk: tl.tensor, unit: tl.tensor,
    N: tl.constexpr, R: tl.constexpr, NP: tl.constexpr, RP: tl.constexpr, BLOCK: tl.constexpr,
    CHUNKED: tl.constexpr,
) -> None:  # fmt: skip
    """Fill y (G, b, L, D), float32, with the sum of each group's directions.

    With more than one chunk a group has one direction: else two programs would add to the same
    positions.
    """
    blocks = tl.cdiv(channels, BLOCK)
    d = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    live = d < channels
    row = tl.program_id(0) // blocks  # (chunk, image, group)
    group = row % (K // per_group)
    image = (row // (K // per_group) % images).to(tl.int64)
    index = row // (K // per_group * images)
    start = index * chunk
    u += image * L * channels
    selection += image * L * K * (R + 2 * N)
    y += (group * images + image) * L * channels
    for k in range(group * per_group, (group + 1) * per_group):
        a2, weight, bias = load_parameters(
            A, dt_weight, dt_bias, k, d, live, channels, unit, N, R, NP, RP
        )
        h = a2 * 0.0
        if CHUNKED:
            sequence = image * K + k
            h = carried(
                ends + sequence * N * channels, sums + sequence * channels, a2, d, live, index,
                images * K * N * channels, images * K * channels, channels, unit, N, NP,
            )  # fmt: skip
        _scan_direction(
            u, selection + k * (R + 2 * N), order + k * L + start, y, h, a2, weight, bias,
            tl.load(D + k * channels + d, mask=live, other=0.0).to(tl.float32), d,
            live, live & (d * 0 + k > group * per_group), channels, K * (R + 2 * N),
            tl.minimum(chunk, L - start), N, R, NP, RP,
        )  # fmt: skip


@triton.jit
def _scan_direction(
    u: tl.tensor, selection: tl.tensor, order: tl.tensor, y: tl.tensor, h: tl.tensor, a2: tl.tensor,
    weight: tl.tensor, bias: tl.tensor, skip: tl.tensor, d: tl.tensor, live: tl.tensor,
    adds: tl.tensor, stride_u: tl.tensor, stride_selection: tl.tensor, steps: tl.tensor,
    N: tl.constexpr, R: tl.constexpr, NP: tl.constexpr, RP: tl.constexpr,
) -> None:  # fmt: skip
    """Walk `steps` of one direction from state h; where `adds`, add to the values of y.

    y, too, is loaded a step ahead: a direction visits each position once.
    """
    p, p_next = tl.load(order), tl.load(order + tl.minimum(1, steps - 1))
    u_now, dt, B, C = load_rows(u, selection, p, d, live, stride_u, stride_selection, N, R, NP, RP)
    y_now = tl.load(y + p * stride_u + d, mask=adds, other=0.0)
    for t in tl.range(steps, loop_unroll_factor=2):
        p_after = tl.load(order + tl.minimum(t + 2, steps - 1))
        u_next, dt_next, B_next, C_next = load_rows(
            u, selection, p_next, d, live, stride_u, stride_selection, N, R, NP, RP
        )
        y_next = tl.load(y + p_next * stride_u + d, mask=adds, other=0.0)
        delta = softplus(project(dt, weight, bias))
        h = advance(h, tl.exp2(delta[None, :] * a2), delta * u_now, B)
        y_now += tl.sum(h * C[:, None], axis=0) + skip * u_now
        tl.store(y + p * stride_u + d, y_now, mask=live)
        u_now, dt, B, C, y_now = u_next, dt_next, B_next, C_next, y_next
        p, p_next = p_next, p_after


@triton.jit
def sum_groups(
    parts: tl.tensor, total: tl.tensor, size: tl.tensor, groups: tl.constexpr, BLOCK: tl.constexpr
) -> None:
    """Add the rows of parts (G, size), float32, in order, into total (size,) of any dtype."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    value = tl.load(parts + place, mask=inside, other=0.0)
    for group in tl.static_range(1, groups):
        value += tl.load(parts + group * size + place, mask=inside, other=0.0)
    tl.store(total + place, value.to(total.dtype.element_ty), mask=inside)
