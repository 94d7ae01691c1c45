"""One position of the scan kernels: load its rows, compute delta, advance the state.

    D  channels a program advances at once, one a lane: a tile's columns
    N  states a channel, R  rank of the delta projection: a tile's rows, padded to the powers of
       two NP and RP

Every tile is (rows, channels) with the channels along the lanes. So a thread has all states of its
channel in registers, sums over the states need no other thread, and a row of the selection, shared
by all channels, is read by wide loads of one address.

Triton inlines these functions into the kernels in `forward` and `backward`.
"""

import triton
import triton.language as tl

COUNTS = ("images", "K", "per_group", "chunk", "chunks", "programs", "unit")
"""Arguments that Triton must not specialise on, so that one kernel serves every batch size."""

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)

# log1p(e) = s * P(s^2) with s = e / (2 + e), for e in (0, 1]: fitted, 2e-7 relative
_P0 = tl.constexpr(1.9999996787781078)
_P1 = tl.constexpr(0.6667587324226061)
_P2 = tl.constexpr(0.3959259014347997)
_P3 = tl.constexpr(0.34207213621125915)


@triton.jit
def exponential(z: tl.tensor) -> tl.tensor:
    """Return e^-|z|, for softplus and its slope."""
    return tl.exp2(-tl.abs(z) * LOG2_E)


@triton.jit
def softplus(z: tl.tensor) -> tl.tensor:
    """Return log(1 + e^z), without overflow and with a small relative error throughout."""
    e = exponential(z)
    s = tl.fdiv(e, 2.0 + e)
    x = s * s
    return tl.maximum(z, 0.0) + s * (((_P3 * x + _P2) * x + _P1) * x + _P0)


@triton.jit
def sigmoid(z: tl.tensor) -> tl.tensor:
    """Return the slope of softplus."""
    e = exponential(z)
    return tl.fdiv(tl.where(z >= 0, 1.0, e), 1.0 + e)


@triton.jit
def load_rows(
    u: tl.tensor, selection: tl.tensor, p: tl.tensor, d: tl.tensor, live: tl.tensor,
    stride_u: tl.tensor, stride_selection: tl.tensor,
    N: tl.constexpr, R: tl.constexpr, NP: tl.constexpr, RP: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Return u of the channels, dt, B and C at position p, in float32."""
    n, r = tl.arange(0, NP), tl.arange(0, RP)
    row = selection + p * stride_selection
    return (
        tl.load(u + p * stride_u + d, mask=live, other=0.0).to(tl.float32),
        tl.load(row + r, mask=r < R, other=0.0).to(tl.float32),
        tl.load(row + R + n, mask=n < N, other=0.0).to(tl.float32),
        tl.load(row + R + N + n, mask=n < N, other=0.0).to(tl.float32),
    )


@triton.jit
def load_parameters(
    A: tl.tensor, dt_weight: tl.tensor, dt_bias: tl.tensor, k: tl.tensor, d: tl.tensor,
    live: tl.tensor, channels: tl.tensor, unit: tl.tensor,
    N: tl.constexpr, R: tl.constexpr, NP: tl.constexpr, RP: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Return direction k's A times log2(e), its weights and its bias, for channels d.

    A is (K, N, D) here, and dt_weight (K, R, D): Triton lays a tile out along the contiguous axis.
    `unit` is 1, unknown to the compiler: if it saw aligned rows, it would give each thread four
    channels and spread a channel's states over threads.
    """
    n, r = tl.arange(0, NP)[:, None], tl.arange(0, RP)[:, None]
    channel = d + unit - 1
    rates = A + k * N * channels + n * channels + channel[None, :]
    a2 = tl.load(rates, mask=live[None, :] & (n < N), other=0.0)
    rows = dt_weight + k * R * channels + r * channels + channel[None, :]
    weight = tl.load(rows, mask=live[None, :] & (r < R), other=0.0)
    bias = tl.load(dt_bias + k * channels + d, mask=live, other=0.0)
    return a2.to(tl.float32) * LOG2_E, weight.to(tl.float32), bias.to(tl.float32)


@triton.jit
def project(dt: tl.tensor, weight: tl.tensor, bias: tl.tensor) -> tl.tensor:
    """Return weight @ dt + bias; delta is its softplus."""
    return tl.sum(dt[:, None] * weight, axis=0) + bias


@triton.jit
def advance(h: tl.tensor, decay: tl.tensor, delta_u: tl.tensor, B: tl.tensor) -> tl.tensor:
    """Return the state after a step."""
    return decay * h + delta_u[None, :] * B[:, None]
