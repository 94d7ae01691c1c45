"""The operations between matrix products, with two implementations."""

import importlib.util
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor


class Norm(NamedTuple):
    """The parameters of a layer norm, in float32."""

    weight: Tensor
    bias: Tensor
    eps: float


@runtime_checkable
class Operations(Protocol):
    """The functions of `model.engines.cuda.fused` and `model.engines.cuda.plain`."""

    def row_norm(
        self,
        x: Tensor,
        norm: Norm,
        dtype: torch.dtype,
        gate: Tensor | None = None,
        moves: Tensor | None = None,
    ) -> Tensor:
        """Normalise each pixel over its channels."""

    def depthwise(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        silu: bool = False,
        out: Tensor | None = None,
    ) -> Tensor:
        """Convolve each channel with its own window."""

    def instance_norm_silu(self, x: Tensor, out: Tensor | None = None, eps: float = 1e-5) -> Tensor:
        """Normalise each channel over its map, then SiLU."""

    def distance(self, teacher: Tensor, student: Tensor, eps: float = 1e-8) -> Tensor:
        """Return 1 - the cosine between two maps' channels at each pixel."""


def has_triton() -> bool:
    """Whether the fused kernels can be imported."""
    return importlib.util.find_spec("triton") is not None
