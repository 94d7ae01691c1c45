"""From feature pairs to an anomaly map, in torch.

B     batch        h, w  size of one scale's feature maps        H, W  size of the anomaly map
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from model.scoring.smoothing import TRUNCATE


def anomaly_map(
    teacher: list[Float[Tensor, "B _ _ _"]],
    student: list[Float[Tensor, "B _ _ _"]],
    size: tuple[int, int],
    sigma: float = 4.0,
    weights: Sequence[float] | None = None,
) -> Float[Tensor, "B H W"]:
    """Return 1 - cosine similarity per scale, resized to `size`, averaged and blurred; 0 to 2.

    Resizing is bilinear with aligned corners. The Gaussian of `sigma` pixels is reflected at the
    edges and cut at 4 sigma, like `scipy.ndimage.gaussian_filter`. `weights` are the scales' shares
    in the average, equal by default. Source: MambaAD section 3.4; the published evaluator divides
    the sum of the three scales by 3 twice, so its maps are a third of these.
    """
    weights = weights or [1.0] * len(teacher)
    total = torch.zeros(1, 1, *size, device=teacher[0].device)
    for t, s, weight in zip(teacher, student, weights, strict=True):
        distance = 1 - F.cosine_similarity(t.float(), s.float(), dim=1)  # (B, h, w)
        total = total + weight * F.interpolate(
            distance.unsqueeze(1), size=size, mode="bilinear", align_corners=True
        )
    return _blur(total / sum(weights), sigma).squeeze(1)


def _blur(maps: Float[Tensor, "B 1 H W"], sigma: float) -> Float[Tensor, "B 1 H W"]:
    if sigma == 0:
        return maps
    radius = int(TRUNCATE * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, device=maps.device, dtype=maps.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    maps = F.conv2d(_mirrored(maps, radius, 2), kernel.view(1, 1, -1, 1))
    return F.conv2d(_mirrored(maps, radius, 3), kernel.view(1, 1, 1, -1))


def _mirrored(x: Tensor, radius: int, dim: int) -> Tensor:
    """Pad both ends of `dim` by mirror images that repeat the edge (scipy's "reflect")."""
    length = x.shape[dim]
    position = torch.arange(-radius, length + radius, device=x.device) % (2 * length)
    return x.index_select(dim, torch.minimum(position, 2 * length - 1 - position))
