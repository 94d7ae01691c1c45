"""The frozen encoder's feature maps on one grid, as input of the rivals.

B  batch    C  channels of all scales used    h, w  the grid, that of stride 8
"""

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from model.images.preprocess import Preprocessing
from model.network import Encoder
from model.network.normalise import normalise

SIGMA = 4.0
"""The blur of a rival's map in pixels, from both papers."""


class Features:
    """An encoder with its preprocessing, on one device."""

    def __init__(
        self, encoder: Encoder, preprocessing: Preprocessing, device: str | torch.device = "cpu"
    ) -> None:
        self.device = torch.device(device)
        self.encoder = encoder.to(self.device)
        self.preprocessing = preprocessing

    @torch.inference_mode()
    def scales(self, images: UInt8[np.ndarray, "B 3 H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Return the feature maps at strides 4, 8 and 16."""
        pixels = torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
        maps: list[Tensor] = self.encoder.in_parts(normalise(pixels, self.preprocessing))
        return maps


def on_one_grid(scales: list[Float[Tensor, "B _ _ _"]], size: tuple[int, int]) -> Tensor:
    """Concatenate the scales' channels: averages finer maps, interpolates coarser ones."""
    resized = [
        F.adaptive_avg_pool2d(maps, size)
        if maps.shape[-1] >= size[1]
        else F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
        for maps in scales
    ]
    return torch.cat(resized, dim=1).contiguous()


def spread(
    distances: Float[Tensor, "B h w"], size: tuple[int, int]
) -> Float32[np.ndarray, "B H W"]:
    """Resize distances on the grid to anomaly maps of `size`, and blur them."""
    maps = F.interpolate(distances[:, None], size=size, mode="bilinear", align_corners=False)
    blurred: np.ndarray = ndimage.gaussian_filter(
        maps[:, 0].float().cpu().numpy(), (0, SIGMA, SIGMA)
    )
    return blurred
