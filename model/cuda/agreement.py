"""How far the scores of two plans lie apart, as a share of what is tolerated."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from model.anomaly import Scoring
from model.baseline import Baseline
from model.golden import Golden, synthetic_images

TOLERANCE = 1e-3
"""What a raw score may differ by from float32's, before it is standardised."""
GOLDEN_SHARE = 0.5
"""How much of a golden image's own tolerance a plan may use up: it is there for devices, too."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The images of one category, and what its scores take and tolerate."""

    count: int
    baseline: Baseline | None
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
        baselines: Mapping[str, Baseline] | None = None,
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
        self, expected: Float32[np.ndarray, "B H W"], found: Float32[np.ndarray, "B H W"]
    ) -> float:
        """Return the worst difference of a score over its tolerance; NaN where one is NaN.

        Raw scores have `TOLERANCE`; those of golden images, standardised, their own beside it.
        """
        shares = [_difference(self.scoring, expected, found) / TOLERANCE]
        start = 0
        for part in self.parts:
            these = slice(start, start + part.count)
            start += part.count
            before, after = expected[these], found[these]
            if self.scoring.standardise and part.baseline is not None:
                before, after = (_standardised(part.baseline, maps) for maps in (before, after))
            shares.append(_difference(self.scoring, before, after) / part.tolerance)
        return float(np.max(shares))


def _difference(
    scoring: Scoring,
    expected: Float32[np.ndarray, "B H W"],
    found: Float32[np.ndarray, "B H W"],
) -> float:
    return float(np.abs(scoring.raw_scores(found) - scoring.raw_scores(expected)).max())


def _standardised(
    baseline: Baseline, maps: Float32[np.ndarray, "B H W"]
) -> Float32[np.ndarray, "B H W"]:
    return np.stack([baseline.standardise(values) for values in maps])
