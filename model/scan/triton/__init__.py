"""The CUDA backend: fused Triton kernels that walk the un-permuted arrays.

Lower bound: every state update (h = exp(delta A) h + delta B u, then C h) takes one exponential and
four other operations. A Hopper multiprocessor computes 16 exponentials and issues 128 lanes of any
instruction a cycle, so the exponentials take 8 issue slots an update, and the four operations fit
beside them. Memory is no limit: an update moves less than half a byte.

The design fits everything else into those 8 slots; `benchmarks/results/kernel-counts.json` has the
counts. A thread has one channel with all its states, A and weights in registers, and no step needs
another thread. Rows that all channels share are 16-byte loads of one address, and the next
position's rows load while this one's are used. Delta takes one exponential and one reciprocal a
channel. To have enough warps, `plan` cuts long scans of small batches into chunks, which are walked
twice. There are no atomics: directions that run side by side have separate outputs, added in a
fixed order, so the same input gives the same bits.

The backward pass stores nothing from the forward pass: it walks chunks from both sides for the
states and gradients that enter them, then each chunk once forward, storing its states in a scratch
array, and once back.

The kernels also run under Triton's interpreter, on CPU tensors, for tests without a GPU.
"""

from typing import Any

import torch
import triton
from torch import Tensor

from model.scan.triton import launch
from model.scan.triton.plan import plan_backward, plan_forward

MAX_STATES = 64
MAX_RANK = 128
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def refusal(u: Tensor, A: Tensor, dt_weight: Tensor) -> str | None:
    """Return the requirement that a scan does not meet, or None if the kernels can run it."""
    if u.dtype not in DTYPES:
        return f"float32, bfloat16 or float16, got {u.dtype}"
    if A.shape[2] > MAX_STATES or dt_weight.shape[2] > MAX_RANK:
        states, rank = A.shape[2], dt_weight.shape[2]
        return f"up to {MAX_STATES} states and rank {MAX_RANK}, got {states} and {rank}"
    if u.device.type != "cuda" and not triton.knobs.runtime.interpret:
        return f"tensors on a CUDA device, got {u.device}"
    return None


@torch.library.custom_op("mambaad::hybrid_scan_cuda", mutates_args=())
def scan(
    u: Tensor, selection: Tensor, A: Tensor, D: Tensor, dt_weight: Tensor, dt_bias: Tensor,
    order: Tensor,
) -> Tensor:  # fmt: skip
    """Run the forward kernels as a torch operator; shapes as in `model.scan.hybrid_scan`."""
    inputs = launch.prepared(u, selection, A, D, dt_weight, dt_bias, order)
    shape = launch.shape_of(u, inputs[2], inputs[4])
    return launch.forward(inputs, plan_forward(shape, launch.multiprocessors(u.device)))


@torch.library.custom_op("mambaad::hybrid_scan_cuda_backward", mutates_args=())
def scan_backward(
    u: Tensor, selection: Tensor, A: Tensor, D: Tensor, dt_weight: Tensor, dt_bias: Tensor,
    order: Tensor, grad_y: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients of u, selection, A, D, dt_weight and dt_bias."""
    inputs = launch.prepared(u, selection, A, D, dt_weight, dt_bias, order)
    shape = launch.shape_of(u, inputs[2], inputs[4])
    plan = plan_backward(shape, launch.multiprocessors(u.device))
    of_u, of_rows, of_a, of_d, of_weight, of_bias = launch.backward(
        inputs, grad_y.contiguous(), plan
    )
    of_a, of_weight = (x.transpose(1, 2).contiguous() for x in (of_a, of_weight))
    return of_u, of_rows.to(selection.dtype), of_a, of_d, of_weight, of_bias


@scan.register_fake
def _(u: Tensor, *_: Tensor) -> Tensor:
    return torch.empty_like(u, memory_format=torch.contiguous_format)


@scan_backward.register_fake
def _(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(
        torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in tensors[:6]
    )


def _save_inputs(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
    return (*scan_backward(*ctx.saved_tensors, grad_y), None)


scan.register_autograd(_backward, setup_context=_save_inputs)
