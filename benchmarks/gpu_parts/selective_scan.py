"""mamba_ssm's kernel in Triton, a stand-in where mamba_ssm cannot be built.

It takes the arguments of `selective_scan_fn`, and works like it: one program per image, direction
and channel walks its sequence in blocks of steps, with a parallel scan over each block and one
state after the other. Only u, delta, B, C and y are in memory.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_STEPS = 512


@triton.jit
def _join(decay, state, later_decay, later_state):
    return decay * later_decay, later_decay * state + later_state


@triton.jit
def _kernel(
    u, delta, A, B, C, D, bias, y, L, channels, groups,
    N: tl.constexpr, NP: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)  # image * channels + channel
    channel = row % channels
    group = row // channels * groups + channel // (channels // groups)
    which = tl.arange(0, NP)
    states = tl.zeros((NP,), dtype=tl.float32)
    skip = tl.load(D + channel)
    shift = tl.load(bias + channel)
    step = tl.arange(0, STEPS)
    for start in range(0, L, STEPS):
        there = start + step < L
        x = tl.load(u + row * L + start + step, mask=there, other=0.0)
        d = tl.load(delta + row * L + start + step, mask=there, other=0.0) + shift
        d = tl.where(d > 20.0, d, tl.log(1.0 + tl.exp(tl.minimum(d, 20.0))))
        d = tl.where(there, d, 0.0)
        total = skip * x
        for n in tl.static_range(N):
            at = (group * N + n) * L + start + step
            b = tl.load(B + at, mask=there, other=0.0)
            c = tl.load(C + at, mask=there, other=0.0)
            decay = tl.exp(d * tl.load(A + channel * N + n))
            decays, scanned = tl.associative_scan((decay, d * b * x), 0, _join)
            scanned += decays * tl.sum(tl.where(which == n, states, 0.0))
            total += c * scanned
            last = tl.sum(tl.where(step == STEPS - 1, scanned, 0.0))
            states = tl.where(which == n, last, states)
        tl.store(y + row * L + start + step, total, mask=there)


def selective_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: None,
    delta_bias: Tensor, delta_softplus: bool,
) -> Tensor:  # fmt: skip
    """Compute `selective_scan_fn`, (b, K D, L), in float32."""
    assert z is None
    assert delta_softplus
    images, channels, L = u.shape
    N = A.shape[1]
    y = torch.empty_like(u)
    kernel: Any = _kernel
    steps = min(_STEPS, triton.next_power_of_2(L))
    kernel[(images * channels,)](
        u, delta, A, B, C, D, delta_bias, y, L, channels, B.shape[1],
        N=N, NP=triton.next_power_of_2(N), STEPS=steps, num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
    return y
