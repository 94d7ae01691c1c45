"""Golden images: a few good parts with the raw scores that they had when the checkpoint was saved.

A network that is loaded on another device, by another backend or with newer libraries must score
them as it did then, within a tolerance that the manifest states; else what was calibrated is not
what would be served. They lie in the checkpoint at the size of the network's input, so that neither
a decoder nor a resize comes between.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import UInt8

from model.errors import CheckpointError, ParityError
from model.inspection import Category

TOLERANCE = 0.02
"""What a raw score may differ by, as a share of the distance from the median good part to the
threshold: far more than the rounding of another device, far less than what changes a decision."""

SYNTHETIC = "synthetic"
"""Stands where a category would, for images that show none."""

Scorer: TypeAlias = Callable[[UInt8[np.ndarray, "B 3 H W"], Sequence[Category]], Sequence[float]]
"""From images and their categories to raw scores: `Detector.raw_scores`."""


@dataclass(frozen=True, slots=True, eq=False)
class GoldenImages:
    """One category's golden images; `raw_scores` and `tolerance` are in the network's units."""

    images: UInt8[np.ndarray, "n 3 H W"]
    raw_scores: tuple[float, ...]
    tolerance: float

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or len(self.images) != len(self.raw_scores):
            raise CheckpointError(
                f"golden images are bytes, with one raw score each; got {len(self.images)} of "
                f"{self.images.dtype} with {len(self.raw_scores)} scores"
            )


Golden: TypeAlias = Mapping[Category, GoldenImages]


def record(
    images: UInt8[np.ndarray, "n 3 H W"], category: Category, score: Scorer, scale: float | None
) -> GoldenImages:
    """Score images as they are scored now.

    `scale` is the category's `Calibration.image_scale`; without one, the scores' own size stands
    in for it.
    """
    scores = tuple(score(images, [category] * len(images)))
    size = float(np.mean(np.abs(scores))) or 1.0
    return GoldenImages(images, scores, TOLERANCE * (size if scale is None else scale))


def check(golden: Golden, score: Scorer) -> float:
    """Return the largest difference of a raw score, as a share of what is tolerated: 0 to 1.

    Raises `ParityError` where it is above 1, or not a number.
    """
    worst = 0.0
    for category, known in golden.items():
        found = np.array(score(known.images, [category] * len(known.images)))
        differences = np.abs(found - np.array(known.raw_scores))
        share = float(differences.max()) / known.tolerance
        if not share <= 1:
            raise ParityError(
                f"the golden images of {category!r} score otherwise than when they were saved: "
                f"by {differences.max():.4g}, and {known.tolerance:.4g} is tolerated; this "
                "device, backend or library does not compute what was calibrated"
            )
        worst = max(worst, share)
    return worst


def synthetic_images(size: tuple[int, int], count: int = 4) -> UInt8[np.ndarray, "n 3 H W"]:
    """Return images of nothing, of a size (height, width): blocks of colour under noise."""
    height, width = size
    generator = np.random.default_rng(0)
    blocks = generator.integers(32, 224, (count, 3, -(-height // 8), -(-width // 8)))
    large = blocks.repeat(8, axis=2).repeat(8, axis=3)[..., :height, :width]
    noisy = large + generator.integers(-32, 32, large.shape)
    return noisy.astype(np.uint8)


def to_arrays(golden: Golden) -> dict[str, np.ndarray]:
    """Return the images of every category by name."""
    return {category: known.images for category, known in golden.items()}


def to_entries(golden: Golden) -> dict[str, dict[str, Any]]:
    """Return what the manifest says about them."""
    return {
        category: {"raw_scores": known.raw_scores, "tolerance": known.tolerance}
        for category, known in golden.items()
    }


def from_arrays(
    arrays: Mapping[str, np.ndarray], entries: Mapping[str, Mapping[str, Any]]
) -> dict[str, GoldenImages]:
    """Put together what `to_arrays` and `to_entries` returned.

    Raises `CheckpointError` where they do not belong together.
    """
    if arrays.keys() != entries.keys():
        raise CheckpointError(
            f"golden images of {sorted(arrays)}, and the manifest tells of {sorted(entries)}"
        )
    return {category: GoldenImages(arrays[category], **entries[category]) for category in entries}
