"""Fusion of the encoder's three feature maps into the decoder's input, at stride 32.

Source: MambaAD section 3.1 (the half-FPN bottleneck) and the published `MFF_OCE`.
"""

from jaxtyping import Float
from torch import Tensor, nn

from model.network.timm_parts import Bottleneck

BOTTLENECKS = 3


def _conv_norm_relu(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    # The published 1x1 convolutions keep a bias that the batch norm makes redundant.
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=kernel == 1)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Fusion(nn.Module):
    """Brings three maps to stride 16, adds them, and halves the sum with bottlenecks."""

    def __init__(self, channels: tuple[int, int, int]) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.out_channels = 2 * coarse
        self.fine_down = _conv_norm_relu(fine, middle, kernel=3, stride=2)
        self.middle = _conv_norm_relu(middle, middle, kernel=1, stride=1)
        self.middle_down = _conv_norm_relu(middle, coarse, kernel=3, stride=2)
        self.coarse = _conv_norm_relu(coarse, coarse, kernel=1, stride=1)
        self.merge = _conv_norm_relu(coarse, coarse, kernel=1, stride=1)
        self.bottlenecks = self._bottlenecks(coarse)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _bottlenecks(self, coarse: int) -> nn.Sequential:
        planes = self.out_channels // Bottleneck.expansion
        shortcut = nn.Sequential(
            nn.Conv2d(coarse, self.out_channels, 1, stride=2, bias=False),
            nn.BatchNorm2d(self.out_channels),
        )
        first = Bottleneck(coarse, planes, stride=2, downsample=shortcut)
        others = [Bottleneck(self.out_channels, planes) for _ in range(BOTTLENECKS - 1)]
        return nn.Sequential(first, *others)

    def forward(self, features: list[Float[Tensor, "B _ _ _"]]) -> Float[Tensor, "B C h w"]:
        """(B, c, H/4, W/4), (B, c, H/8, W/8), (B, c, H/16, W/16) -> (B, 2 c, H/32, W/32)."""
        fine, middle, coarse = features
        middle = self.middle(middle) + self.fine_down(fine)
        merged = self.merge(self.middle_down(middle) + self.coarse(coarse))
        fused: Tensor = self.bottlenecks(merged)
        return fused
