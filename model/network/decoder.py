"""The Mamba decoder: four stages of LSS modules, each at twice the resolution of the last.

Source: MambaAD section 3.1 and the published `MambaUPNet`, `VSSLayer_up` and `PatchExpand2D`.
"""

from itertools import pairwise

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from model.network.blocks import HSS, LSS
from model.network.config import NetworkConfig


class PatchExpand(nn.Module):
    """Doubles height and width: each position becomes a 2x2 patch of `outputs` channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.expand = nn.Linear(inputs, 4 * outputs, bias=False)
        self.norm = nn.LayerNorm(outputs)
        nn.init.trunc_normal_(self.expand.weight, std=0.02)

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B h w c"]:
        """(B, H, W, inputs) -> (B, 2 H, 2 W, outputs)."""
        patches = rearrange(self.expand(x), "B H W (i j c) -> B (H i) (W j) c", i=2, j=2)
        normed: Tensor = self.norm(patches)
        return normed


class Decoder(nn.Module):
    """Reconstructs the encoder's feature maps from the fused one.

    `widths` are the channels of the four stages, coarse to fine: the fusion's, then the encoder's.
    """

    def __init__(self, config: NetworkConfig, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.expands = nn.ModuleList(PatchExpand(*pair) for pair in pairwise(widths))
        rates = _drop_path_rates(config)
        self.stages = nn.ModuleList(
            nn.Sequential(*_modules(config, stage, width, rates[stage]))
            for stage, width in enumerate(widths)
        )

    def forward(
        self, fused: Float[Tensor, "B C h w"], unused_scales: int = 0
    ) -> list[Float[Tensor, "B _ _ _"]]:
        """Return the reconstructed maps at strides 4, 8 and 16, without the first `unused_scales`.

        The stages of unused scales, the most expensive ones, do not run.
        """
        x = self.stages[0](rearrange(fused, "B C h w -> B h w C").contiguous())
        maps: list[Tensor] = []
        used = len(self.expands) - unused_scales
        for expand, stage in zip(self.expands[:used], self.stages[1 : 1 + used], strict=True):
            x = stage(expand(x))
            maps.insert(0, rearrange(x, "B H W C -> B C H W"))
        return maps


def _modules(config: NetworkConfig, stage: int, width: int, rates: list[float]) -> list[LSS]:
    """Build modules of three HSS blocks if 3 divides the depth, else of two."""
    blocks = _blocks_per_module(config.depths[stage])
    return [LSS(width, [_hss(config, stage, width, rate) for _ in range(blocks)]) for rate in rates]


def _hss(config: NetworkConfig, stage: int, width: int, rate: float) -> HSS:
    size = config.stage_sizes[stage]
    return HSS(width, size, config.scan, config.directions, config.state_size, rate)


def _blocks_per_module(depth: int) -> int:
    return 3 if depth % 3 == 0 else 2


def _drop_path_rates(config: NetworkConfig) -> list[list[float]]:
    """Return the rate of each LSS module: it falls linearly over the HSS blocks, coarse to fine.

    As in the published network, a module gets the rate at its index in the stage.
    """
    # On the CPU, also where the network is built without memory: the values are needed here.
    rates = torch.linspace(config.drop_path, 0, sum(config.depths), device="cpu").tolist()
    starts = [sum(config.depths[:stage]) for stage in range(len(config.depths))]
    return [
        rates[start : start + depth // _blocks_per_module(depth)]
        for start, depth in zip(starts, config.depths, strict=True)
    ]
