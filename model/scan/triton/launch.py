"""The host side of the CUDA backend: prepares tensors and launches kernels."""

from functools import lru_cache
from typing import Any

import torch
import triton
from torch import Tensor

from model.scan.triton import plan as planning
from model.scan.triton.backward import chunk_gradients
from model.scan.triton.chunks import chunk_ends
from model.scan.triton.forward import scan_chunks, sum_groups
from model.scan.triton.plan import GradientPlan, Plan, Shape

_SUM_BLOCK = 1024
OPTIONS = {"num_warps": 1, "num_stages": 1, "enable_fp_fusion": True}
_INTERPRETED_AS = 132  # multiprocessors of an H100, for the interpreter


@lru_cache(maxsize=8)
def multiprocessors(device: torch.device) -> int:
    """Return the device's number of multiprocessors."""
    if device.type != "cuda":
        return _INTERPRETED_AS
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def prepared(*tensors: Tensor) -> list[Tensor]:
    """Return a scan's arguments as the kernels expect them: contiguous, with int32 positions.

    A becomes (K, N, D) and dt_weight (K, R, D), adjacent channels in adjacent lanes; parameters in
    that layout are not copied. The selection becomes float32 here, in one pass: converted in the
    kernel, where every lane reads the full row, it would slow down each step.
    """
    u, selection, A, D, dt_weight, dt_bias, order = (tensor.detach() for tensor in tensors)
    A, dt_weight = A.transpose(1, 2), dt_weight.transpose(1, 2)
    inputs = (u, selection.float(), A, D, dt_weight, dt_bias, order.int())
    return [tensor.contiguous() for tensor in inputs]


def shape_of(u: Tensor, A: Tensor, dt_weight: Tensor) -> Shape:
    """Return the shape of a scan from its prepared arguments."""
    images, L, D = u.shape
    return Shape(images, L, A.shape[0], D, A.shape[1], dt_weight.shape[1])


def sizes(shape: Shape, block: int) -> dict[str, int]:
    """Return the compile-time sizes of the kernels."""
    N, R = shape.N, shape.R
    return {"N": N, "R": R, "NP": planning.padded(N), "RP": planning.padded(R), "BLOCK": block}


def launch(kernel: Any, programs: int, *arguments: Tensor | int, **options: int | bool) -> None:
    """Run a kernel on the device of its first tensor; `options` are the kernel's or Triton's."""
    first = arguments[0]
    assert isinstance(first, Tensor)
    with torch.cuda.device(first.get_device()):  # -1 on the CPU: no effect
        kernel[(programs,)](*arguments, **options, **OPTIONS)


def forward(inputs: list[Tensor], plan: Plan) -> Tensor:
    """Scan `inputs`, from `prepared`, by `plan`."""
    u, selection, A, D, dt_weight, dt_bias, order = inputs
    shape = shape_of(u, A, dt_weight)
    images, L, K, channels = shape.images, shape.L, shape.K, shape.D
    ends, sums = _ends(inputs, u, plan.block, plan.chunk, plan.chunks, reverse=False)
    parts = u.new_empty(plan.groups, images, L, channels, dtype=torch.float32)
    launch(
        scan_chunks, plan.chunks * images * plan.groups * triton.cdiv(channels, plan.block), u,
        selection, A, D, dt_weight, dt_bias, order, ends, sums, parts, images, L, channels, K,
        K // plan.groups, plan.chunk, 1, CHUNKED=plan.chunks > 1, **sizes(shape, plan.block),
        maxnreg=planning.register_limit(shape, plan.block),
    )  # fmt: skip
    return total(parts, u.dtype)


def _ends(
    inputs: list[Tensor], walked: Tensor, block: int, chunk: int, chunks: int, reverse: bool
) -> tuple[Tensor, Tensor]:
    """Return each chunk's end state and sum of deltas; `walked` is u or, in reverse, grad_y."""
    u, selection, A, _, dt_weight, dt_bias, order = inputs
    shape = shape_of(u, A, dt_weight)
    images, L, K, channels = shape.images, shape.L, shape.K, shape.D
    ends = u.new_empty(chunks - 1, images, K, shape.N, channels, dtype=torch.float32)
    sums = u.new_empty(chunks - 1, images, K, channels, dtype=torch.float32)
    if chunks > 1:
        launch(
            chunk_ends, (chunks - 1) * images * K * triton.cdiv(channels, block), walked,
            selection, A, dt_weight, dt_bias, order, ends, sums, images, L, channels, K, chunk, 1,
            REVERSED=reverse, **sizes(shape, block), maxnreg=planning.register_limit(shape, block),
        )  # fmt: skip
    return ends, sums


def backward(inputs: list[Tensor], grad_y: Tensor, plan: GradientPlan) -> list[Tensor]:
    """Return the gradients of u, selection, A, D, dt_weight and dt_bias, in `inputs`' layouts."""
    u, selection, A, D, dt_weight, dt_bias, order = inputs
    shape = shape_of(u, A, dt_weight)
    images, L, K, channels = shape.images, shape.L, shape.K, shape.D
    ends = _ends(inputs, u, plan.block, plan.chunk, plan.chunks, reverse=False)
    starts = _ends(inputs, grad_y, plan.block, plan.chunk, plan.chunks, reverse=True)
    constants = sizes(shape, plan.block)

    def empty(*size: int) -> Tensor:
        return u.new_empty(size, dtype=torch.float32)

    scratch = empty(plan.programs, plan.chunk, constants["NP"], plan.block)
    grad_u = empty(K, *u.shape)
    grad_selection = empty(triton.cdiv(channels, plan.block), *selection.shape)
    parts = [empty(plan.chunks * images, *x.shape) for x in (A, D, dt_weight, dt_bias)]
    launch(
        chunk_gradients, plan.programs, u, selection, A, D, dt_weight, dt_bias, order, grad_y,
        *ends, *starts, scratch, grad_u, grad_selection, *parts, images, L, channels, K,
        plan.chunk, plan.chunks, plan.programs, 1, **constants,
    )  # fmt: skip
    parameters = zip(parts, (A, D, dt_weight, dt_bias), strict=True)
    return [
        total(grad_u, u.dtype),
        total(grad_selection, selection.dtype),
        *(part.sum(dim=0).to(x.dtype) for part, x in parameters),
    ]


def total(parts: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the sum of parts (G, ...) over its first dimension, in `dtype`."""
    if len(parts) == 1 and dtype == parts.dtype:
        return parts[0]
    result = torch.empty_like(parts[0], dtype=dtype)
    size = result.numel()
    launch(
        sum_groups, triton.cdiv(size, _SUM_BLOCK), parts, result, size, groups=len(parts),
        BLOCK=_SUM_BLOCK,
    )  # fmt: skip
    return result
