"""The difference between the scores of two plans, as a share of the tolerance."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from model.checkpoints.golden import Golden, synthetic_images
from model.scoring.baselines import AnyBaseline
from model.scoring.scores import Scoring

TOLERANCE = 1e-3
"""Largest difference of a raw score from float32's, before standardising."""
GOLDEN_SHARE = 0.5
"""Share of a golden image's tolerance for a plan; the rest is for differences between devices."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The number of a category's images, its baseline, and the tolerance of its scores."""

    count: int
    baseline: AnyBaseline | None
    tolerance: float


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """Images to score by two plans: the checkpoint's golden images, or synthetic ones."""

    images: UInt8[np.ndarray, "B 3 H W"]
    scoring: Scoring
    parts: tuple[Part, ...] = ()

    @classmethod
    def of(
        cls,
        scoring: Scoring,
        image_size: tuple[int, int],
        golden: Golden | None = None,
        baselines: Mapping[str, AnyBaseline] | None = None,
    ) -> "Agreement":
        """Use a checkpoint's golden images; `baselines` are needed if its scoring uses them."""
        if not golden:
            return cls(synthetic_images(image_size), scoring)
        by_category = baselines or {}
        parts = tuple(
            Part(len(entry.images), by_category.get(category), GOLDEN_SHARE * entry.tolerance)
            for category, entry in golden.items()
        )
        return cls(np.concatenate([entry.images for entry in golden.values()]), scoring, parts)

    def share(
        self, expected: Float32[np.ndarray, "B *what"], actual: Float32[np.ndarray, "B *what"]
    ) -> float:
        """Return the worst ratio of a difference to its tolerance; NaN if any score is NaN.

        `TOLERANCE` applies to raw scores or, for distance "mahalanobis", to the relative difference
        of an image's residuals. Standardised scores of golden images have their own tolerance,
        the only one for a memory: low precision changes features more than distances.
        """
        if self.scoring.memory and self.parts and all(part.baseline for part in self.parts):
            shares = []
        elif self.scoring.measures_differences or self.scoring.memory:
            shares = [_distance(expected, actual) / TOLERANCE]
        else:
            shares = [_difference(self.scoring, expected, actual) / TOLERANCE]
        start = 0
        for part in self.parts:
            these = slice(start, start + part.count)
            start += part.count
            before, after = expected[these], actual[these]
            if self.scoring.uses_baselines and part.baseline is not None:
                before, after = (part.baseline.standardise(these) for these in (before, after))
            elif self.scoring.measures_differences or self.scoring.memory:
                continue
            shares.append(_difference(self.scoring, before, after) / part.tolerance)
        return float(np.max(shares))


def _difference(
    scoring: Scoring,
    expected: Float32[np.ndarray, "B H W"],
    actual: Float32[np.ndarray, "B H W"],
) -> float:
    return float(np.abs(scoring.raw_scores(actual) - scoring.raw_scores(expected)).max())


def _distance(
    expected: Float32[np.ndarray, "B *what"], actual: Float32[np.ndarray, "B *what"]
) -> float:
    """Return the largest relative norm of an image's difference."""
    before, after = (values.reshape(len(values), -1) for values in (expected, actual))
    lengths = np.linalg.norm(before, axis=1)
    return float((np.linalg.norm(after - before, axis=1) / np.maximum(lengths, 1e-30)).max())
