"""Golden images: a few good parts with their raw scores from when the checkpoint was saved.

On another device, with another backend or newer libraries, the network must give the same scores
within a tolerance in the manifest; otherwise the calibration does not apply. The images are stored
at the size of the network's input, so that decoding and resizing have no influence.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import UInt8

from model.errors import CheckpointError, ParityError
from model.inspection import Category

TOLERANCE = 0.02
"""Tolerance of a raw score, as a share of the distance from the median good part to the threshold:
much larger than rounding differences of devices, much smaller than a change of decision."""

SYNTHETIC = "synthetic"
"""The category of images without a category."""

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
                f"golden images must be uint8 with one raw score each; got {len(self.images)} of "
                f"{self.images.dtype} with {len(self.raw_scores)} scores"
            )


Golden: TypeAlias = Mapping[Category, GoldenImages]


def record(
    images: UInt8[np.ndarray, "n 3 H W"], category: Category, score: Scorer, scale: float | None
) -> GoldenImages:
    """Return golden images with their current scores.

    `scale` is the category's `Calibration.image_scale`; None uses the mean absolute score.
    """
    scores = tuple(score(images, [category] * len(images)))
    size = float(np.mean(np.abs(scores))) or 1.0
    return GoldenImages(images, scores, TOLERANCE * (size if scale is None else scale))


def check(golden: Golden, score: Scorer) -> float:
    """Return the largest difference of a raw score as a share of the tolerance, 0 to 1.

    Raises `ParityError` if it is above 1 or NaN.
    """
    worst = 0.0
    for category, saved in golden.items():
        scores = np.array(score(saved.images, [category] * len(saved.images)))
        differences = np.abs(scores - np.array(saved.raw_scores))
        share = float(differences.max()) / saved.tolerance
        if not share <= 1:
            raise ParityError(
                f"the scores of the golden images of {category!r} differ from the saved ones by "
                f"{differences.max():.4g}, expected at most {saved.tolerance:.4g}: the calibration "
                "does not apply to this device, backend or library"
            )
        worst = max(worst, share)
    return worst


def synthetic_images(size: tuple[int, int], count: int = 4) -> UInt8[np.ndarray, "n 3 H W"]:
    """Return random images of `size` (height, width): blocks of colour with noise."""
    height, width = size
    generator = np.random.default_rng(0)
    blocks = generator.integers(32, 224, (count, 3, -(-height // 8), -(-width // 8)))
    large = blocks.repeat(8, axis=2).repeat(8, axis=3)[..., :height, :width]
    noisy = large + generator.integers(-32, 32, large.shape)
    return noisy.astype(np.uint8)


def to_arrays(golden: Golden) -> dict[str, np.ndarray]:
    """Return the images by category."""
    return {category: saved.images for category, saved in golden.items()}


def to_entries(golden: Golden) -> dict[str, dict[str, Any]]:
    """Return the manifest's entries."""
    return {
        category: {"raw_scores": saved.raw_scores, "tolerance": saved.tolerance}
        for category, saved in golden.items()
    }


def from_arrays(
    arrays: Mapping[str, np.ndarray], entries: Mapping[str, Mapping[str, Any]]
) -> dict[str, GoldenImages]:
    """Combine the results of `to_arrays` and `to_entries`.

    Raises `CheckpointError` if their categories differ.
    """
    if arrays.keys() != entries.keys():
        raise CheckpointError(
            f"the golden images are of {sorted(arrays)}, but the manifest lists {sorted(entries)}"
        )
    return {category: GoldenImages(arrays[category], **entries[category]) for category in entries}
