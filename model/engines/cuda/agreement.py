"""How far the scores of two plans lie apart, as a share of what is tolerated."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from model.checkpoints.golden import Golden, synthetic_images
from model.scoring.baselines import AnyBaseline
from model.scoring.scores import Scoring

TOLERANCE = 1e-3
"""What a raw score may differ by from float32's, before it is standardised."""
GOLDEN_SHARE = 0.5
"""How much of a golden image's own tolerance a plan may use up: it is there for devices, too."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The images of one category, and what its scores take and tolerate."""

    count: int
    baseline: AnyBaseline | None
    tolerance: float


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """Images to score by two plans: the checkpoint's golden ones, or else synthetic ones."""

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
        """Take a checkpoint's golden images, in order; `baselines` where its scores need them."""
        if not golden:
            return cls(synthetic_images(image_size), scoring)
        known = baselines or {}
        parts = tuple(
            Part(len(one.images), known.get(category), GOLDEN_SHARE * one.tolerance)
            for category, one in golden.items()
        )
        return cls(np.concatenate([one.images for one in golden.values()]), scoring, parts)

    def share(
        self, expected: Float32[np.ndarray, "B *what"], found: Float32[np.ndarray, "B *what"]
    ) -> float:
        """Return the worst difference of a score over its tolerance; NaN where one is NaN.

        Raw scores have `TOLERANCE`, differences that have no score as a share of their length;
        scores of golden images, measured from their baseline, their own beside it.
        """
        if self.scoring.measures_differences:
            shares = [_distance(expected, found) / TOLERANCE]
        else:
            shares = [_difference(self.scoring, expected, found) / TOLERANCE]
        start = 0
        for part in self.parts:
            these = slice(start, start + part.count)
            start += part.count
            before, after = expected[these], found[these]
            if self.scoring.uses_baselines and part.baseline is not None:
                before, after = (part.baseline.standardise(these) for these in (before, after))
            elif self.scoring.measures_differences:
                continue
            shares.append(_difference(self.scoring, before, after) / part.tolerance)
        return float(np.max(shares))


def _difference(
    scoring: Scoring,
    expected: Float32[np.ndarray, "B H W"],
    found: Float32[np.ndarray, "B H W"],
) -> float:
    return float(np.abs(scoring.raw_scores(found) - scoring.raw_scores(expected)).max())


def _distance(
    expected: Float32[np.ndarray, "B *what"], found: Float32[np.ndarray, "B *what"]
) -> float:
    """Return the length of the difference over the length, of the image where it is largest."""
    before, after = (values.reshape(len(values), -1) for values in (expected, found))
    lengths = np.linalg.norm(before, axis=1)
    return float((np.linalg.norm(after - before, axis=1) / np.maximum(lengths, 1e-30)).max())
