"""The decoder for inference: its weights in one precision, its maps channels last throughout.

    B  batch            H, W  height and width of the map     L  positions, H * W
    C  map channels     D  inner channels, 2 C                K  directions
    N  states a channel R  rank of the delta projection       S  R + 2 N, the selection's size

Equivalent to `model.network.decoder`, with its parameters, but made for a GPU. The residual stream
is float32 in every precision. The two branches of a module share their first product and their
norms; nothing is concatenated or copied in another order.
"""

from dataclasses import dataclass, field
from typing import TypeVar

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from model.engines.cuda.operations import Norm, Operations
from model.network.blocks import HSS, LSS, ConvBranch
from model.network.decoder import Decoder, PatchExpand
from model.scan import hybrid_scan

_Kind = TypeVar("_Kind", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Placement:
    """Device and precision of the weights, and the operations between matrix products.

    `scan_dtype` is the dtype of the scan's inputs; its states are always float32. `sizes` collects
    the bytes of placed weights.
    """

    device: torch.device
    dtype: torch.dtype
    scan_dtype: torch.dtype
    operations: Operations
    scan_backend: str
    sizes: list[int] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """The bytes of all placed weights."""
        return sum(self.sizes)

    def weight(self, parameter: Tensor) -> Tensor:
        """Return a copy for matrix products."""
        return self._placed(parameter, self.dtype)

    def exact(self, parameter: Tensor) -> Tensor:
        """Return a copy in float32."""
        return self._placed(parameter, torch.float32)

    def along_channels(self, parameter: Float[Tensor, "K D n"]) -> Float[Tensor, "K D n"]:
        """Return a copy in float32, in the memory order of the scan's kernels: K, n, D."""
        return self.exact(parameter.transpose(1, 2)).transpose(1, 2)

    def norm(self, module: nn.LayerNorm) -> Norm:
        """Return a norm's parameters."""
        return Norm(self.exact(module.weight), self.exact(module.bias), module.eps)

    def windows(self, conv: nn.Conv2d) -> Float[Tensor, "kk C"]:
        """Return a depth-wise convolution's windows, channels last."""
        return self.exact(rearrange(conv.weight.detach(), "C 1 i j -> (i j) C"))

    def _placed(self, parameter: Tensor, dtype: torch.dtype) -> Tensor:
        placed = parameter.detach().to(self.device, dtype, copy=True).contiguous()
        self.sizes.append(placed.nbytes)
        return placed


class InferenceHSS:
    """One `HSS` block."""

    def __init__(self, block: HSS, placement: Placement) -> None:
        self._ops, self._dtype = placement.operations, placement.dtype
        self._scan_dtype, self._backend = placement.scan_dtype, placement.scan_backend
        self._norm, self._out_norm = placement.norm(block.norm), placement.norm(block.out_norm)
        self._in_proj = placement.weight(block.in_proj.weight)
        self._windows, self._conv_bias = placement.windows(block.conv), _bias(block.conv, placement)
        self._selection = placement.weight(block.selection_weight.flatten(0, 1))
        self._rates = placement.along_channels(-torch.exp(block.A_log))
        self._skip = placement.exact(block.D)
        self._dt_weight = placement.along_channels(block.dt_weight)
        self._dt_bias = placement.exact(block.dt_bias)
        self._order = block.order.to(placement.device, copy=True)
        self._out_proj = placement.weight(block.out_proj.weight)

    def __call__(
        self, x: Float[Tensor, "B H W C"], out: Float[Tensor, "B H W C"] | None = None
    ) -> Float[Tensor, "B H W C"]:
        """Return x plus the gated, scanned and projected x; in `out`, rounded, if given."""
        ops = self._ops
        both = F.linear(ops.row_norm(x, self._norm, self._dtype), self._in_proj)
        u, gate = both.chunk(2, dim=-1)  # (B, H, W, D) each, two slices of one map
        u = ops.depthwise(u, self._windows, self._conv_bias, silu=True)
        y = ops.row_norm(self._scan(u), self._out_norm, self._dtype, gate)
        projected = F.linear(y, self._out_proj)
        if out is None:
            return x + projected  # float32, as x is
        return torch.add(x, projected, out=out)

    def _scan(self, u: Float[Tensor, "B H W D"]) -> Float[Tensor, "B H W D"]:
        K = self._order.shape[0]
        selection = F.linear(u, self._selection)  # one product for all directions
        y = hybrid_scan(
            u.flatten(1, 2).to(self._scan_dtype),
            rearrange(selection, "B H W (K S) -> B (H W) K S", K=K).to(self._scan_dtype),
            self._rates, self._skip, self._dt_weight, self._dt_bias, self._order,
            backend=self._backend,
        )  # fmt: skip
        return y.view(u.shape)


class InferenceLSS:
    """One `LSS` module; its branches run side by side, in the two halves of one map."""

    def __init__(self, module: LSS, placement: Placement) -> None:
        self._ops, self._dtype = placement.operations, placement.dtype
        self._blocks = [InferenceHSS(_checked(b, HSS), placement) for b in module.hss]
        branches: tuple[ConvBranch, ...] = (module.branch5, module.branch7)
        self._before = torch.cat([_matrix(branch.before, placement) for branch in branches])
        self._before_bias = torch.cat([_low_bias(branch.before, placement) for branch in branches])
        self._windows = [placement.windows(branch.depthwise) for branch in branches]
        self._after = [_matrix(branch.after, placement).T for branch in branches]
        self._after_bias = [_low_bias(branch.after, placement) for branch in branches]
        self._merge = _matrix(module.merge, placement)
        self._merge_bias = _low_bias(module.merge, placement)

    def __call__(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Return x plus the merged global and local paths."""
        C = x.shape[3]
        paths = torch.empty(*x.shape[:3], 3 * C, dtype=self._dtype, device=x.device)
        state = x
        for block in self._blocks[:-1]:
            state = block(state)
        self._blocks[-1](state, out=paths[..., :C])
        self._local(x.to(self._dtype), paths[..., C:])
        return x + F.linear(paths, self._merge, self._merge_bias)

    def _local(self, x: Float[Tensor, "B H W C"], out: Float[Tensor, "B H W CC"]) -> None:
        """Fill `out` with both branches, the 5x5 one first."""
        ops, C = self._ops, x.shape[3]
        y = ops.instance_norm_silu(F.linear(x, self._before, self._before_bias))
        z = torch.empty_like(y)
        halves = (slice(0, C), slice(C, 2 * C))
        for half, windows in zip(halves, self._windows, strict=True):
            ops.depthwise(y[..., half], windows, out=z[..., half])
        z = ops.instance_norm_silu(z)
        flat, into = z.flatten(0, 2), torch.empty_like(z)
        for half, after, bias in zip(halves, self._after, self._after_bias, strict=True):
            torch.addmm(bias, flat[:, half], after, out=into.flatten(0, 2)[:, half])
        ops.instance_norm_silu(into, out=out)


class InferenceExpand:
    """One `PatchExpand`; its norm writes each pixel to its place in the larger map."""

    def __init__(self, module: PatchExpand, size: tuple[int, int], placement: Placement) -> None:
        self._ops = placement.operations
        self._expand = placement.weight(module.expand.weight)
        self._norm = placement.norm(module.norm)
        self._moves = _pixel_moves(*size).to(placement.device)

    def __call__(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B h w c"]:
        """(B, H, W, inputs) -> (B, 2 H, 2 W, outputs), float32."""
        B, H, W, _ = x.shape
        patches = F.linear(x.to(self._expand.dtype), self._expand)
        pixels = patches.view(B, 2 * H, 2 * W, -1)  # four times as many, not yet in place
        return self._ops.row_norm(pixels, self._norm, torch.float32, moves=self._moves)


class InferenceDecoder:
    """The `Decoder` of a network; `sizes` are its stages' map sizes, coarse to fine."""

    def __init__(
        self, decoder: Decoder, sizes: tuple[tuple[int, int], ...], placement: Placement
    ) -> None:
        self._stages = [
            [
                InferenceLSS(_checked(module, LSS), placement)
                for module in _checked(stage, nn.Sequential)
            ]
            for stage in decoder.stages
        ]
        self._expands = [
            InferenceExpand(_checked(expand, PatchExpand), size, placement)
            for expand, size in zip(decoder.expands, sizes[:-1], strict=True)
        ]

    def __call__(
        self, fused: Float[Tensor, "B h w C"], unused_scales: int = 0
    ) -> list[Float[Tensor, "B _ _ _"]]:
        """Return the reconstructed maps, channels last, fine to coarse, without unused ones."""
        x = fused.float()
        for module in self._stages[0]:
            x = module(x)
        maps: list[Tensor] = []
        used = len(self._expands) - unused_scales
        for expand, stage in zip(self._expands[:used], self._stages[1 : 1 + used], strict=True):
            x = expand(x)
            for module in stage:
                x = module(x)
            maps.insert(0, x)
        return maps


def _pixel_moves(H: int, W: int) -> Int[Tensor, " n"]:
    """Return the place of each pixel of a row-major (H, W, 2, 2) in a (2 H, 2 W) map."""
    places = torch.arange(4 * H * W, dtype=torch.int32).view(H, 2, W, 2)
    return rearrange(places, "H i W j -> (H W i j)").contiguous()


def _matrix(conv: nn.Conv2d, placement: Placement) -> Tensor:
    return placement.weight(conv.weight.flatten(1))


def _low_bias(conv: nn.Conv2d, placement: Placement) -> Tensor:
    if conv.bias is None:
        return torch.zeros(conv.out_channels, dtype=placement.dtype, device=placement.device)
    return placement.weight(conv.bias)


def _bias(conv: nn.Conv2d, placement: Placement) -> Tensor | None:
    return None if conv.bias is None else placement.exact(conv.bias)


def _checked(module: nn.Module, kind: type[_Kind]) -> _Kind:
    assert isinstance(module, kind)
    return module
