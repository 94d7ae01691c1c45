"""Random changes of good parts: mirroring, rotation, small shifts, brightness.

All are off by default and apply to 8-bit images before normalisation. Enable only changes after
which a good part is still good: a cell with bars must not be rotated by 90 degrees, and an
asymmetric part must not be mirrored.
"""

from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Generator, Tensor

from model.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """The random changes of training images.

    `hflip` and `vflip` mirror left-right and top-bottom with probability 1/2; `rot90` rotates by a
    random multiple of 90 degrees. `shift` moves by up to that share of each side and repeats the
    edge; `brightness` multiplies by a factor within 1 plus or minus that value.
    """

    hflip: bool = False
    vflip: bool = False
    rot90: bool = False
    shift: float = 0.0
    brightness: float = 0.0

    def __post_init__(self) -> None:
        for name in ("shift", "brightness"):
            if not 0 <= getattr(self, name) <= 0.5:
                raise ConfigError(f"{name} must be in [0, 0.5], got {getattr(self, name)}")

    @property
    def changes_anything(self) -> bool:
        """Whether any change is enabled."""
        return self != Augmentation()

    def apply(self, image: UInt8[Tensor, "3 H W"], generator: Generator) -> UInt8[Tensor, "3 H W"]:
        """Return the image, changed at random with the generator.

        Raises `ConfigError` for `rot90` on an image that is not square.
        """
        if self.rot90 and image.shape[-1] != image.shape[-2]:
            raise ConfigError(f"rot90 needs square images, got {tuple(image.shape[-2:])}")
        # Always draw all numbers, so that one option does not change the effect of the others.
        draws = torch.rand(6, generator=generator).tolist()
        if self.hflip and draws[0] < 0.5:
            image = image.flip(-1)
        if self.vflip and draws[1] < 0.5:
            image = image.flip(-2)
        if self.rot90:
            image = image.rot90(int(draws[2] * 4), (-2, -1))
        if self.shift:
            image = _move(image, -2, self.shift * (2 * draws[3] - 1))
            image = _move(image, -1, self.shift * (2 * draws[4] - 1))
        if self.brightness:
            factor = 1 + self.brightness * (2 * draws[5] - 1)
            image = (image * factor).round_().clamp_(max=255).to(torch.uint8)
        return image


def _move(image: UInt8[Tensor, "3 H W"], axis: int, share: float) -> UInt8[Tensor, "3 H W"]:
    """Move the image along an axis by a share of its length, and repeat the edge."""
    length = image.shape[axis]
    source = (torch.arange(length) - round(share * length)).clamp_(0, length - 1)
    return image.index_select(axis, source)
