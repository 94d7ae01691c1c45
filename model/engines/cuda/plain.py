"""The operations of the fused kernels in plain torch: their oracle and stand-in.

    B  batch      H, W  height and width of the map    C  channels

Maps are channels last.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from model.engines.cuda.operations import Norm


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
    y = F.layer_norm(x.float(), x.shape[3:], norm.weight, norm.bias, norm.eps)
    if gate is not None:
        y = y * F.silu(gate.float())
    if moves is not None:
        y = torch.empty_like(y).flatten(1, 2).index_copy_(1, moves.long(), y.flatten(1, 2))
    return y.view(x.shape).to(dtype)


def depthwise(
    x: Float[Tensor, "B H W C"],
    weight: Float[Tensor, "kk C"],
    bias: Float[Tensor, " C"] | None = None,
    *,
    silu: bool = False,
    out: Float[Tensor, "B H W C"] | None = None,
) -> Float[Tensor, "B H W C"]:
    """Convolve each channel with its own k x k window, zeros beyond the edge; then SiLU."""
    channels, side = x.shape[3], round(weight.shape[0] ** 0.5)
    windows = weight.T.reshape(channels, 1, side, side).to(x.dtype)
    biases = None if bias is None else bias.to(x.dtype)
    nchw = x.permute(0, 3, 1, 2)
    y = F.conv2d(nchw, windows, biases, padding=side // 2, groups=channels).permute(0, 2, 3, 1)
    y = F.silu(y) if silu else y
    return y.contiguous() if out is None else out.copy_(y)


def instance_norm_silu(
    x: Float[Tensor, "B H W C"],
    out: Float[Tensor, "B H W C"] | None = None,
    eps: float = 1e-5,
) -> Float[Tensor, "B H W C"]:
    """Normalise each channel over its map, then SiLU."""
    variance, mean = torch.var_mean(x.float(), dim=(1, 2), correction=0, keepdim=True)
    y = F.silu((x.float() - mean) * torch.rsqrt(variance + eps))
    return y.to(x.dtype) if out is None else out.copy_(y)


def distance(
    teacher: Float[Tensor, "B H W C"], student: Float[Tensor, "B H W C"], eps: float = 1e-8
) -> Float[Tensor, "B H W"]:
    """Return 1 - the cosine between two maps' channels at each pixel, in float32."""
    return 1 - F.cosine_similarity(teacher.float(), student.float(), dim=3, eps=eps)
