"""HSS and LSS, the blocks of the Mamba decoder.

    B  batch            H, W  height and width of the map     L  positions, H * W
    C  map channels     D  inner channels, 2 C                K  directions
    N  states a channel R  rank of the delta projection       S  R + 2 N, the selection's size

Maps are channels last, (B, H, W, C), from the first block to the last. Source: MambaAD sections
3.2 and 3.3; the published `SS2D`, `VSSBlock` and `ConvBNSSMBlock`.
"""

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from model.network.timm_parts import DropPath
from model.scan import hybrid_scan, order_table

EXPANSION = 2
RANK_DIVISOR = 16
DELTA_RANGE = (0.001, 0.1)


class HSS(nn.Module):
    """Hybrid state space block: gated selective scan over K directions, with a residual path."""

    order: Tensor

    def __init__(
        self, channels: int, size: tuple[int, int], scan: str, directions: int, state_size: int,
        drop_path: float,
    ) -> None:  # fmt: skip
        super().__init__()
        D, K, N = EXPANSION * channels, directions, state_size
        R = math.ceil(channels / RANK_DIVISOR)
        self.backend = "auto"
        self.norm = nn.LayerNorm(channels)
        self.in_proj = nn.Linear(channels, 2 * D, bias=False)
        self.conv = nn.Conv2d(D, D, 3, padding=1, groups=D)
        self.act = nn.SiLU()
        self.selection_weight = nn.Parameter(torch.empty(K, R + 2 * N, D))
        self.dt_weight = nn.Parameter(torch.empty(K, D, R))
        self.dt_bias = nn.Parameter(torch.empty(K, D))
        self.A_log = nn.Parameter(torch.empty(K, D, N))
        self.D = nn.Parameter(torch.ones(K, D))
        self.out_norm = nn.LayerNorm(D)
        self.out_proj = nn.Linear(D, channels, bias=False)
        self.drop_path = DropPath(drop_path)
        table = order_table(scan, directions, *size)
        self.register_buffer("order", torch.from_numpy(table.copy()), persistent=False)
        if not self.A_log.is_meta:  # there, parameters have shapes alone
            self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Initialise the parameters; delta is log-uniform in `DELTA_RANGE`, as in Mamba."""
        _, D, R = self.dt_weight.shape
        self.A_log.copy_(torch.arange(1.0, self.A_log.shape[2] + 1).log())
        self.selection_weight.uniform_(-(D**-0.5), D**-0.5)
        self.dt_weight.uniform_(-(R**-0.5), R**-0.5)
        low, high = (math.log(x) for x in DELTA_RANGE)
        delta = torch.exp(torch.rand_like(self.dt_bias) * (high - low) + low)
        self.dt_bias.copy_(delta + torch.log(-torch.expm1(-delta)))  # softplus backwards
        nn.init.trunc_normal_(self.in_proj.weight, std=0.02)
        nn.init.trunc_normal_(self.out_proj.weight, std=0.02)
        _init_conv(self.conv)

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Return x plus the gated, scanned and projected x."""
        u, gate = self.in_proj(self.norm(x)).chunk(2, dim=-1)  # (B, H, W, D) each
        u = _depthwise(self.conv, u, self.act)
        y = self.out_norm(self._scan(u)) * F.silu(gate)
        out: Tensor = x + self.drop_path(self.out_proj(y))
        return out

    def _scan(self, u: Float[Tensor, "B H W D"]) -> Float[Tensor, "B H W D"]:
        _, H, W, _ = u.shape
        K = self.order.shape[0]
        u = rearrange(u, "B H W D -> B (H W) D")
        selection = F.linear(u, self.selection_weight.flatten(0, 1))  # one GEMM, all directions
        if torch.is_autocast_enabled(u.device.type):  # a state adds up thousands of steps
            u, selection = u.float(), selection.float()
        y = hybrid_scan(
            u, rearrange(selection, "B L (K S) -> B L K S", K=K), -torch.exp(self.A_log), self.D,
            self.dt_weight, self.dt_bias, self.order, backend=self.backend,
        )  # fmt: skip
        return rearrange(y, "B (H W) D -> B H W D", H=H, W=W)


class ConvBranch(nn.Module):
    """1x1, depth-wise k x k and 1x1 convolution, each instance-normalised and passed by SiLU."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.before = nn.Conv2d(channels, channels, 1)
        self.depthwise = nn.Conv2d(
            channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False
        )
        self.after = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Return a map of the same shape."""
        x = _norm_silu(_pointwise(self.before, x))
        x = _norm_silu(_depthwise(self.depthwise, x))
        return _norm_silu(_pointwise(self.after, x))


class LSS(nn.Module):
    """Locality-enhanced state space module: HSS blocks beside 5x5 and 7x7 branches, merged."""

    def __init__(self, channels: int, blocks: list[HSS]) -> None:
        super().__init__()
        self.hss = nn.Sequential(*blocks)
        self.branch5 = ConvBranch(channels, 5)
        self.branch7 = ConvBranch(channels, 7)
        self.merge = nn.Conv2d(3 * channels, channels, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                _init_conv(module)

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Return x plus the merged global and local paths."""
        paths = torch.cat([self.hss(x), self.branch5(x), self.branch7(x)], dim=-1)
        return x + _pointwise(self.merge, paths)


def _init_conv(conv: nn.Conv2d) -> None:
    """Draw the weights with variance 2 / fan-out, as the published initialisation does."""
    fan_out = conv.kernel_size[0] * conv.kernel_size[1] * conv.out_channels // conv.groups
    nn.init.normal_(conv.weight, std=math.sqrt(2 / fan_out))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def _pointwise(conv: nn.Conv2d, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W c"]:
    return F.linear(x, conv.weight.flatten(1), conv.bias)


def _depthwise(
    conv: nn.Module, x: Float[Tensor, "B H W C"], act: nn.Module | None = None
) -> Float[Tensor, "B H W C"]:
    y: Tensor = conv(rearrange(x, "B H W C -> B C H W"))
    y = y if act is None else act(y)
    return rearrange(y, "B C H W -> B H W C").contiguous()


def _norm_silu(x: Float[Tensor, "B H W C"], eps: float = 1e-5) -> Float[Tensor, "B H W C"]:
    """Instance normalisation (no affine part, statistics over the map) and SiLU."""
    positions = x.flatten(1, 2)  # two means take a fifth of the time of torch.var_mean here
    centred = positions - positions.mean(dim=1, keepdim=True)
    variance = centred.square().mean(dim=1, keepdim=True)
    return F.silu(centred * torch.rsqrt(variance + eps)).view_as(x)
