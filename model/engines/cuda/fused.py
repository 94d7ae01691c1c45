"""Launches the kernels; `model.engines.cuda.plain` is their readable twin.

    B  batch      H, W  height and width of the map    L  positions, H * W
    C  channels   k     side of a convolution's window

Maps are channels last, without gaps, except that a slice of a wider map has gaps between pixels.
"""

import torch
import triton
from jaxtyping import Float, Int
from torch import Tensor

from model.engines.cuda import kernels
from model.engines.cuda.operations import Norm

_TILE = 1024
"""Values in a program of a row kernel; at least one row."""
_PIXELS = 8
_CHANNELS = 64
_ROWS = 64
_MOST_CHUNKS = 64
_OPTIONS = {"num_warps": 4, "enable_fp_fusion": True}


def row_norm(
    x: Float[Tensor, "B H W C"],
    norm: Norm,
    dtype: torch.dtype,
    gate: Float[Tensor, "B H W C"] | None = None,
    moves: Int[Tensor, " n"] | None = None,
) -> Float[Tensor, "B H W C"]:
    """Normalise each pixel over its channels, times SiLU of `gate`, into `dtype`.

    `moves` is the place in its image of each pixel.
    """
    C = x.shape[3]
    rows = x.shape[0] * x.shape[1] * x.shape[2]
    y = torch.empty(x.shape, dtype=dtype, device=x.device)
    block = triton.next_power_of_2(C)
    tile_rows = max(1, _TILE // block)
    gated = x if gate is None else gate
    kernels.row_norm[(triton.cdiv(rows, tile_rows),)](
        x, gated, norm.weight, norm.bias, x if moves is None else moves, y, rows, C,
        _stride(x), _stride(gated), norm.eps, rows // x.shape[0],
        GATED=gate is not None, MOVED=moves is not None, ROWS=tile_rows, BLOCK=block, **_OPTIONS,
    )  # fmt: skip
    return y


def depthwise(
    x: Float[Tensor, "B H W C"],
    weight: Float[Tensor, "kk C"],
    bias: Float[Tensor, " C"] | None = None,
    *,
    silu: bool = False,
    out: Float[Tensor, "B H W C"] | None = None,
) -> Float[Tensor, "B H W C"]:
    """Convolve each channel with its own k x k window, zeros beyond the edge; then SiLU."""
    B, H, W, C = x.shape
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device) if out is None else out
    block = min(_CHANNELS, triton.next_power_of_2(C))
    kernels.depthwise[(B * H * triton.cdiv(W, _PIXELS), triton.cdiv(C, block))](
        x, weight, weight if bias is None else bias, y, H, W, C, _stride(x), _stride(y),
        SIDE=round(weight.shape[0] ** 0.5), ADDS=bias is not None, SILU=silu,
        PIXELS=_PIXELS, BLOCK=block, **_OPTIONS,
    )  # fmt: skip
    return y


def instance_norm_silu(
    x: Float[Tensor, "B H W C"],
    out: Float[Tensor, "B H W C"] | None = None,
    eps: float = 1e-5,
) -> Float[Tensor, "B H W C"]:
    """Normalise each channel over its map, then SiLU; in two passes that fill the device."""
    B, H, W, C = x.shape
    L = H * W
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device) if out is None else out
    block = min(_CHANNELS, triton.next_power_of_2(C))
    tiles = triton.cdiv(L, _ROWS * _MOST_CHUNKS)
    chunks = triton.cdiv(L, _ROWS * tiles)
    means, squares = torch.empty(2, B, chunks, C, device=x.device)
    grid = (B * chunks, triton.cdiv(C, block))
    kernels.moments[grid](
        x, means, squares, L, C, _stride(x), chunks, tiles, ROWS=_ROWS, BLOCK=block, **_OPTIONS
    )
    kernels.instance_norm[grid](
        x, means, squares, y, L, C, _stride(x), _stride(y), chunks, tiles, eps,
        CHUNKS=triton.next_power_of_2(chunks), ROWS=_ROWS, BLOCK=block, **_OPTIONS,
    )  # fmt: skip
    return y


def distance(
    teacher: Float[Tensor, "B H W C"], student: Float[Tensor, "B H W C"], eps: float = 1e-8
) -> Float[Tensor, "B H W"]:
    """Return 1 - the cosine between two maps' channels at each pixel, in float32."""
    C = teacher.shape[3]
    y = torch.empty(teacher.shape[:3], device=teacher.device)
    block = triton.next_power_of_2(C)
    tile_rows = max(1, _TILE // block)
    kernels.distance[(triton.cdiv(y.numel(), tile_rows),)](
        teacher, student, y, y.numel(), C, _stride(teacher), _stride(student), eps,
        ROWS=tile_rows, BLOCK=block, **_OPTIONS,
    )  # fmt: skip
    return y


def _stride(x: Tensor) -> int:
    """Return the distance between pixels; raises `ValueError` for gaps between rows or images."""
    _, H, W, _ = x.shape
    image, row, pixel, channel = x.stride()
    if channel != 1 or (H > 1 and row != W * pixel) or (x.shape[0] > 1 and image != H * W * pixel):
        raise ValueError(f"expected a channels-last map without gaps, got strides {x.stride()}")
    return pixel
