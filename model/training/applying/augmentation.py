"""Changes a good part's image at random, as the recipe allows."""

import torch
from jaxtyping import UInt8
from torch import Generator, Tensor

from model.errors import ConfigError
from model.training.recipe.augmentation import Augmentation


def augment(
    changes: Augmentation, image: UInt8[Tensor, "3 H W"], generator: Generator
) -> UInt8[Tensor, "3 H W"]:
    """Return the image, changed at random with the generator.

    Raises `ConfigError` for `rot90` on an image that is not square.
    """
    if changes.rot90 and image.shape[-1] != image.shape[-2]:
        raise ConfigError(f"rot90 needs square images, got {tuple(image.shape[-2:])}")
    # Always draw all numbers, so that one option does not change the effect of the others.
    draws = torch.rand(6, generator=generator).tolist()
    if changes.hflip and draws[0] < 0.5:
        image = image.flip(-1)
    if changes.vflip and draws[1] < 0.5:
        image = image.flip(-2)
    if changes.rot90:
        image = image.rot90(int(draws[2] * 4), (-2, -1))
    if changes.shift:
        image = _move(image, -2, changes.shift * (2 * draws[3] - 1))
        image = _move(image, -1, changes.shift * (2 * draws[4] - 1))
    if changes.brightness:
        factor = 1 + changes.brightness * (2 * draws[5] - 1)
        image = (image * factor).round_().clamp_(max=255).to(torch.uint8)
    return image


def _move(image: UInt8[Tensor, "3 H W"], axis: int, share: float) -> UInt8[Tensor, "3 H W"]:
    """Move the image along an axis by a share of its length, and repeat the edge."""
    length = image.shape[axis]
    source = (torch.arange(length) - round(share * length)).clamp_(0, length - 1)
    return image.index_select(axis, source)
